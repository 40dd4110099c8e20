#!/bin/sh
# Prints Redis' ACL file: users.acl (or the template that is named) with the SHA-256 of every user's password. Nothing of a password itself is printed.
#
#     umask 077; ERRAND_REDIS_API_PASSWORD=… ERRAND_REDIS_RUNNER_PASSWORD_FILE=… docker/users.sh >/etc/redis/users.acl
#
# The password of a mark #@NAME@ is in ERRAND_REDIS_NAME_PASSWORD, or in the file that ERRAND_REDIS_NAME_PASSWORD_FILE names; a user without one is off.
# ERRAND_PREFIX: what every key begins with, where it is not errand:.
set -eu
export LC_ALL=C
template=${1:-$(dirname "$0")/users.acl}

die() {
    echo "users.sh: $*" >&2
    exit 2
}

# hash_of NAME: the SHA-256 of its password in hex; nothing where there is none.
hash_of() {
    variable=ERRAND_REDIS_$1_PASSWORD
    eval "password=\${$variable-} file=\${${variable}_FILE-}"
    if [ -z "$password" ] && [ -n "$file" ]; then
        password=$(cat "$file") || die "${variable}_FILE can't be read"
        [ -n "$password" ] || die "${variable}_FILE is empty"
    fi
    case $password in
    '') return ;;
    *[[:space:]]*) die "$variable has white space in it" ;;
    # podman-compose leaves ${NAME:-} as it stands where there is no value: that text must not become a password.
    *\$*) die "$variable has a \$ in it: was it not filled in?" ;;
    esac
    # What Redis stores is a plain SHA-256: only a password that nobody can guess is safe behind it.
    [ ${#password} -ge 32 ] || die "$variable must have at least 32 characters (head -c 32 /dev/urandom | base64)"
    printf '%s' "$password" | sha256sum | cut -c 1-64
}

names=$(grep -v '^ *#' "$template" | grep -o '#@[A-Z]*@' | tr -d '#@')
hashes=
for name in $names; do
    hash=$(hash_of "$name")
    [ -z "$hash" ] || hashes="$hashes $name=$hash"
done
[ -n "$hashes" ] || die "no password is set: see the head of $0"

# A prefix is text: what means something in a pattern loses that.
prefix=${ERRAND_PREFIX:-errand:}
case $prefix in
*[[:space:]]*) die "ERRAND_PREFIX has white space in it" ;;
esac
prefix=$(printf '%s' "$prefix" | sed 's/[][*?\\]/\\&/g')

export hashes prefix
awk '
    BEGIN {
        n = split(ENVIRON["hashes"], pairs, " ")
        for (i = 1; i <= n; i++) {
            at = index(pairs[i], "=")
            hash[substr(pairs[i], 1, at - 1)] = substr(pairs[i], at + 1)
        }
    }
    # A word of a rule, as Redis is to have it.
    function word(w, at, name) {
        if (w ~ /^#@[A-Z]*@$/) {
            name = substr(w, 3, length(w) - 3)
            return name in hash ? "#" hash[name] : "off"
        }
        at = index(w, "errand:")
        if (w ~ /^(~|&|%R~)errand:/)
            return substr(w, 1, at - 1) ENVIRON["prefix"] substr(w, at + 7)
        return w
    }
    /^ *(#|$)/ { next }
    {
        if ($1 == "user" && line != "")
            print line
        if ($1 == "user")
            line = ""
        for (i = 1; i <= NF; i++)
            line = line (line == "" ? "" : " ") word($i)
    }
    END { print line }' "$template"
