/* Reading replies: nothing here trusts a reply's shape. */
#include <errno.h>
#include <stdlib.h>

#include "common/redis.h"

struct str redis_str(const redisReply *r)
{
    if (!r || (r->type != REDIS_REPLY_STRING && r->type != REDIS_REPLY_STATUS && r->type != REDIS_REPLY_ERROR))
        return STR_NONE;
    return (struct str){r->str, r->len};
}

int64_t redis_int(const redisReply *r, int64_t otherwise)
{
    enum { SHORT = 18 }; /* digits that no number overflows by */
    if (r && r->type == REDIS_REPLY_INTEGER)
        return r->integer;
    struct str s = redis_str(r);
    int64_t n = 0;
    size_t i = 0;
    while (i < s.len && i < SHORT && s.ptr[i] >= '0' && s.ptr[i] <= '9')
        n = n * 10 + (s.ptr[i++] - '0');
    if (i > 0 && i == s.len)
        return n;
    char text[24];
    if (s.len == 0 || s.len >= sizeof text || (s.ptr[0] != '-' && (s.ptr[0] < '0' || s.ptr[0] > '9')))
        return otherwise;
    memcpy(text, s.ptr, s.len);
    text[s.len] = 0;
    char *end;
    errno = 0;
    n = strtoll(text, &end, 10);
    return end == text + s.len && errno == 0 ? n : otherwise;
}

const redisReply *redis_at(const redisReply *r, size_t i)
{
    return r && r->type == REDIS_REPLY_ARRAY && i < r->elements ? r->element[i] : NULL;
}

const redisReply *redis_field(const redisReply *flat, const char *field)
{
    struct str name = str_of(field);
    for (size_t i = 0; flat && flat->type == REDIS_REPLY_ARRAY && i + 1 < flat->elements; i += 2)
        if (str_eq(redis_str(flat->element[i]), name))
            return flat->element[i + 1];
    return NULL;
}
