#!/bin/sh
# Looks around in its sandbox and says what it found. It ends with status 1 when it could do what a sandbox should not let it do.
set -u
escaped=0

refused() { # refused WHAT COMMAND…
    what=$1
    shift
    if "$@"; then
        echo "$what: possible!"
        escaped=1
    else
        echo "$what: refused"
    fi
}
write_to() { (: >"$1") 2>/dev/null; } # in a shell of its own: a redirection that fails would end this one

read -r _
printf 'user:       %s, groups %s\n' "$(id -un)" "$(id -Gn)"
printf 'network:    %s\n' "$(sed -n 's/^ *\([^ ]*\):.*/\1/p' /proc/net/dev | tr '\n' ' ')"
printf 'processes:  %s\n' "$(echo /proc/[0-9]*/stat | wc -w)"
printf 'code:       %s\n' "$(cd "$ERRAND_CODE_DIR" && echo ./*)"
[ "$(grep -c : /proc/net/dev)" = 1 ] || escaped=1
refused 'writing to /usr' write_to /usr/.look-around
refused 'writing to its code' write_to "$ERRAND_CODE_DIR/.look-around"
refused 'writing to /' write_to /.look-around
write_to "$HOME/.look-around" && echo "writing to its private folder: possible, and gone at the end"
exit $escaped
