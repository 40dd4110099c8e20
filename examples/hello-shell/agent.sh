#!/bin/sh
# Greets, from a sandbox. Its job is one JSON line; it prints events, one JSON object a line.
# Errand has checked the input against `inputSchema` before there was a run: a name of letters needs no escaping, in sed or in JSON. The result is checked, too.
set -eu

say() { printf '{"kind":"%s","data":%s}\n' "$1" "$2"; }

read -r job
input=$(printf '%s\n' "$job" | sed 's/.*"input":[[:space:]]*\({[^}]*}\).*/\1/')
name=$(printf '%s\n' "$input" | sed -n 's/.*"name"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p')
times=$(printf '%s\n' "$input" | sed -n 's/.*"times"[[:space:]]*:[[:space:]]*\([0-9]*\).*/\1/p')
: "${times:=1}"

i=0
while [ "$i" -lt "$times" ]; do
    say assistant_text "{\"text\":\"Hello, $name!\\n\"}"
    i=$((i + 1))
done
say runtime_terminal "{\"status\":\"success\",\"result\":{\"greeting\":\"Hello, $name!\",\"times\":$times}}"
