#include "common/chain.h"

#include <stdio.h>

enum { DIGITS = 24 };
static const int64_t NUMBER_MAX = INT64_C(9007199254740992);

void chain_begin(struct str workspace, char ret_h[SHA256_HEX_LEN + 1])
{
    const struct str parts[] = {STR("errand audit log"), workspace};
    crypto_sha256_hex_parts(parts, ARRAY_LEN(parts), ret_h);
}

void chain_add(char h[SHA256_HEX_LEN + 1], const struct chain_entry *e)
{
    char n[DIGITS], t[DIGITS], before[SHA256_HEX_LEN + 1];
    snprintf(n, sizeof n, "%lld", (long long)e->n);
    snprintf(t, sizeof t, "%lld", (long long)e->t_ms);
    memcpy(before, h, sizeof before);
    const struct str parts[] = {str_of(before), str_of(n), str_of(t),  e->who,     e->from,
                                e->what,        e->object, e->request, e->outcome, e->detail};
    crypto_sha256_hex_parts(parts, ARRAY_LEN(parts), h);
}

bool chain_number(struct str text, int64_t *ret_n)
{
    int64_t n = 0;
    if (text.len == 0 || text.len > 16)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        n = n * 10 + (text.ptr[i] - '0');
    }
    if (n > NUMBER_MAX)
        return false;
    *ret_n = n;
    return true;
}

bool chain_id(struct str id, int64_t *ret_t_ms, int64_t *ret_n)
{
    const char *dash = id.len > 0 ? memchr(id.ptr, '-', id.len) : NULL;
    int64_t t, n;
    if (!dash || !chain_number((struct str){id.ptr, (size_t)(dash - id.ptr)}, &t) ||
        !chain_number((struct str){dash + 1, id.len - (size_t)(dash + 1 - id.ptr)}, &n))
        return false;
    *ret_t_ms = t;
    *ret_n = n;
    return true;
}
