/* What Redis answers: however it is cut, the same trees come out, and they are those that hiredis' own reader makes. The first byte says where the cuts are. */
#include <stdlib.h>

#include "common/resp.h"
#include "common/strbuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(struct strbuf *out, const redisReply *r)
{
    strbuf_addf(out, "%d:%lld:%zu:%zu;", r->type, r->type == REDIS_REPLY_INTEGER ? r->integer : 0, r->len, r->elements);
    if (r->str) {
        POST(r->str[r->len] == 0);
        strbuf_add(out, (struct str){r->str, r->len});
    }
    for (size_t i = 0; i < r->elements; i++)
        put(out, r->element[i]);
    strbuf_addc(out, '\n');
}

/* Every reply of the bytes, fed in steps. Returns how many. */
static size_t take(struct strbuf *seen, const uint8_t *data, size_t size, size_t step)
{
    struct resp *r = resp_new();
    PRE(r);
    strbuf_init(seen, 64U << 20);
    size_t replies = 0;
    enum resp_found found = RESP_MORE;
    for (size_t at = 0; at < size && found != RESP_BROKEN;) {
        size_t room, len = step < size - at ? step : size - at;
        char *to = resp_room(r, &room);
        PRE(to && room > 0);
        len = len < room ? len : room;
        memcpy(to, data + at, len);
        resp_filled(r, len);
        at += len;
        const redisReply *reply;
        const char *why = NULL;
        while ((found = resp_next(r, &reply, &why)) == RESP_REPLY) {
            put(seen, reply);
            replies++;
        }
        POST((found == RESP_BROKEN) == (why != NULL));
        if (data[0] & 1)
            resp_rest(r);
    }
    resp_free(r);
    return replies;
}

/* Up to so many replies as hiredis reads them. */
static void take_theirs(struct strbuf *seen, const uint8_t *data, size_t size, size_t most)
{
    redisReader *reader = redisReaderCreate();
    PRE(reader);
    strbuf_init(seen, 64U << 20);
    void *reply = NULL;
    if (redisReaderFeed(reader, (const char *)data, size) == REDIS_OK)
        while (most-- > 0 && redisReaderGetReply(reader, &reply) == REDIS_OK && reply) {
            put(seen, reply);
            freeReplyObject(reply);
        }
    redisReaderFree(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf whole, cut, theirs;
    if (size < 2 || size > 1 << 20)
        return 0;
    size_t n = take(&whole, data + 1, size - 1, size - 1);
    POST(take(&cut, data + 1, size - 1, (size_t)data[0] % 17 + 1) == n);
    POST(str_eq(strbuf_str(&whole), strbuf_str(&cut)));
    take_theirs(&theirs, data + 1, size - 1, n);
    POST(str_starts(strbuf_str(&whole), strbuf_str(&theirs))); /* it refuses more: numbers with zeros before them */
    strbuf_done(&whole);
    strbuf_done(&cut);
    strbuf_done(&theirs);
    return 0;
}
