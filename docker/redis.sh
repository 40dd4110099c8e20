#!/bin/sh
# The container's Redis: its users from the passwords that the container was given (see users.sh), then redis-server; arguments go to it.
# `redis.sh health` asks whether it serves, as a user that can do nothing else; `redis.sh mend FOLDER` does what is done before each start, to the append-only files in FOLDER.
set -eu
run=/run/errand

# A machine that dies may leave half a transaction at the end of the file. Redis 7.0 cuts off the command that is not whole, but leaves those before it, and executes them together with the next transaction when it
# starts once more: half a submit comes back, without its Idempotency-Key. So the whole transaction goes first. Only at the very end: what is broken further up is for Redis to refuse.
mend() {
    file=$(awk '$5 == "type" && $6 == "i" { name = $2 } END { print name }' "$1"/*.manifest 2>/dev/null) || return 0
    [ -n "$file" ] && [ -s "$1/$file" ] || return 0
    said=$(redis-check-aof "$1/$file" 2>&1) && return 0
    behind=$(printf '%s\n' "$said" | sed -n 's/.*, diff=\([0-9]*\)$/\1/p' | tail -n 1)
    [ "${behind:-0}" -gt 0 ] && [ "$behind" -le 4194304 ] || return 0
    echo "cutting off the last $behind bytes of $file, which are not whole" >&2
    echo y | redis-check-aof --fix "$1/$file" >/dev/null || true
}

if [ "${1-}" = mend ]; then
    mend "$2"
    exit
fi

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
mend /data/appendonlydir
exec redis-server /etc/redis/errand.conf "$@"
