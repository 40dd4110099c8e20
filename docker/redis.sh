#!/bin/sh
# The container's Redis: its users from the passwords that the container was given (see users.sh), then redis-server; arguments go to it.
# `redis.sh health` asks whether it serves, as a user that can do nothing else.
set -eu
run=/run/errand

if [ "${1-}" = health ]; then
    REDISCLI_AUTH=$(cat $run/health)
    export REDISCLI_AUTH
    [ "$(redis-cli --user errand-health ping)" = PONG ]
    exit
fi

umask 077
head -c 32 /dev/urandom | sha256sum | cut -c 1-64 >$run/health
ERRAND_REDIS_HEALTH_PASSWORD_FILE=$run/health users.sh /etc/redis/users.acl >$run/users.acl.new
mv $run/users.acl.new $run/users.acl # an empty file, of a users.sh that failed, would let everybody in
# Only the hashes are needed from here on.
for name in $(env | grep -o '^ERRAND_REDIS_[A-Z]*_PASSWORD'); do
    unset "$name"
done
exec redis-server /etc/redis/errand.conf "$@"
