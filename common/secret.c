#include "common/secret.h"

#include <stdio.h>
#include <stdlib.h>

bool posix_name_valid(struct str s, size_t max)
{
    if (s.len == 0 || s.len > max || (s.ptr[0] >= '0' && s.ptr[0] <= '9'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'))
            return false;
    }
    return true;
}

bool secret_ref_parse(struct str ref, struct str *ret_name, int64_t *ret_version)
{
    const char *at = ref.len > 0 ? memchr(ref.ptr, '@', ref.len) : NULL;
    struct str name = {ref.ptr, at ? (size_t)(at - ref.ptr) : ref.len};
    int64_t version = 0;
    if (at) {
        struct str digits = {at + 1, ref.len - name.len - 1};
        if (digits.len == 0 || digits.len > 9 || digits.ptr[0] == '0')
            return false;
        for (size_t i = 0; i < digits.len; i++) {
            if (digits.ptr[i] < '0' || digits.ptr[i] > '9')
                return false;
            version = version * 10 + (digits.ptr[i] - '0');
        }
    }
    if (!posix_name_valid(name, LIMIT_NAME))
        return false;
    *ret_name = name;
    *ret_version = version;
    return true;
}

struct str secret_context(struct str workspace, struct str name, int64_t version, char buf[SECRET_CONTEXT_MAX])
{
    int len = snprintf(buf, SECRET_CONTEXT_MAX, "secret %.*s/%.*s %lld", STR_ARG(workspace), STR_ARG(name),
                       (long long)version);
    PRE(len > 0 && len < SECRET_CONTEXT_MAX); /* both names were bounded before */
    return (struct str){buf, (size_t)len};
}
