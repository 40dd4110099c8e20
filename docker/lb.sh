#!/bin/sh
# nginx, with the addresses that its servers' names have now. By itself nginx asks for them once: a node that comes back under another address
# would stay unknown to it, and one name without an address would keep it from starting at all.
set -eu
source=${1:-/etc/nginx/nginx.conf}
config=/tmp/nginx.conf

# The configuration with names replaced; a server whose name has no address is marked as down.
resolved() {
    awk '
        $1 == "server" && match($2, /^[A-Za-z][A-Za-z0-9.-]*:/) {
            name = substr($2, 1, RLENGTH - 1)
            ask = "getent ahosts " name
            address = ""
            ask | getline address
            close(ask)
            sub(/ .*/, "", address)
            if (address ~ /:/)
                address = "[" address "]"
            if (address == "")
                sub(/server .*/, "server 127.0.0.1:1 down;")
            else
                sub(name, address)
        }
        { print }' "$source"
}

resolved >$config
nginx -c $config -g 'daemon off;' &
nginx=$!
trap 'kill -QUIT $nginx' QUIT TERM INT
while kill -0 $nginx 2>/dev/null; do
    resolved >$config.new
    if ! cmp -s $config $config.new; then
        mv $config.new $config
        kill -HUP $nginx
    fi
    sleep 2 &
    wait $! || true
done
wait $nginx
