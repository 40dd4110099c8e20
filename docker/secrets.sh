#!/bin/sh
# Makes what a deployment has to keep secret, once: docker/.env (or the file that is named), which compose reads by itself. What stands there already stays.
set -eu
umask 077
file=${1:-$(dirname "$0")/.env}

touch "$file"
chmod 600 "$file"
for name in ERRAND_ROOT_KEY ERRAND_MASTER_KEY ERRAND_REDIS_API_PASSWORD ERRAND_REDIS_RUNNER_PASSWORD ERRAND_REDIS_DOCTOR_PASSWORD ERRAND_REDIS_OPERATOR_PASSWORD; do
    grep -q "^$name=" "$file" || echo "$name=$(head -c 32 /dev/urandom | sha256sum | cut -c 1-64)" >>"$file"
done
