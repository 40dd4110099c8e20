/* Heads and chunked bodies: what is accepted is whole, unambiguous and within its bounds; and the same however it is cut. The first byte says where the cuts are. */
#include <stdlib.h>

#include "api/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BODY = 4096 };

static void *exact(const uint8_t *data, size_t len)
{
    char *p = malloc(len ? len : 1);
    PRE(p != NULL);
    memcpy(p, data, len);
    return p;
}

static void check_req(struct http_req *req, const struct http_head *head)
{
    POST(req->path.len > 0 && req->path.ptr[0] == '/' && !memchr(req->path.ptr, 0, req->path.len));
    POST(req->header_count <= LIMIT_HEADER_COUNT && req->target.len <= LIMIT_TARGET);
    POST(http_header_count(req, "host") <= 1 && http_header_count(req, "content-length") <= 1);
    POST(!(head->chunked && head->has_length) && head->content_length >= 0);
    struct str name, value;
    for (size_t i = 0; http_query_name(req, i, &name); i++)
        (void)http_query(req, name.ptr, i, &value);
}

/* Every shorter beginning is either not whole or refused with the same word. */
static void parse_head(const uint8_t *data, size_t size)
{
    struct http_req req = {0};
    struct http_head head = {0};
    size_t skip = 0, len = 0;
    const char *why = NULL;
    char *text = exact(data, size);
    enum err err = http_head_length((struct str){text, size}, &skip, &len, &why);
    arena_init(&req.arena, 1 << 20);
    if (!err && len > 0) {
        POST(skip + len <= size && len <= LIMIT_HEADERS + 2);
        if (http_head_parse(&req, (struct str){text + skip, len}, &head, &why) == ERR_OK)
            check_req(&req, &head);
        size_t again = 0;
        char *shorter = exact(data, skip + len - 1);
        POST(http_head_length((struct str){shorter, skip + len - 1}, &skip, &again, &why) == ERR_OK && again == 0);
        free(shorter);
    }
    arena_done(&req.arena);
    free(text);
}

static enum err decode(const uint8_t *data, size_t size, size_t step, struct strbuf *body, size_t *ret_used)
{
    struct http_chunked state = {0};
    int status = HTTP_CHUNKED_MORE;
    enum err err = ERR_OK;
    const char *why;
    strbuf_init(body, MAX_BODY);
    *ret_used = 0;
    for (size_t at = 0; at < size && !err && status == HTTP_CHUNKED_MORE; at += step) {
        size_t n = step < size - at ? step : size - at;
        char *piece = exact(data + at, n);
        struct str in = {piece, n};
        err = http_chunked_feed(&state, &in, body, MAX_BODY, &status, &why);
        *ret_used = at + n - in.len;
        free(piece);
    }
    POST(body->len <= MAX_BODY);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t step = data[0] % 13u + 1, whole_used, cut_used;
    parse_head(data + 1, size - 1);
    struct strbuf whole, cut;
    enum err err = decode(data + 1, size - 1, size, &whole, &whole_used);
    POST(decode(data + 1, size - 1, step, &cut, &cut_used) == err);
    POST(err || (whole_used == cut_used && str_eq(strbuf_str(&whole), strbuf_str(&cut))));
    strbuf_done(&whole);
    strbuf_done(&cut);
    return 0;
}
