#!/bin/sh
# The smallest agent: it reads its job (one JSON line), and everything it prints is the answer.
# With the protocol `text` there is nothing else to know.
set -eu

IFS= read -r job || [ -n "${job:-}" ] || job='{}'
# The greeted one: "name" of the input, as far as sed can read JSON: a plain string.
name=$(printf '%s\n' "$job" | sed -n 's/.*"name"[[:space:]]*:[[:space:]]*"\([^"\\]*\)".*/\1/p')

printf 'Hello, %s!\n' "${name:-world}"
printf 'This is attempt %s of run %s.\n' "${ERRAND_ATTEMPT:-?}" "${ERRAND_RUN_ID:-?}"
for word in Text streams out as it is printed; do
    printf '%s ' "$word"
    sleep 0.05
done
printf '\nDone.\n'
