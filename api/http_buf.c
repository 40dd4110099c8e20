/* Shared output buffers: see http.h. */
#include <stdlib.h>

#include "api/http.h"

enum { FRAME_MAX = 16 }; /* "ffffffff\r\n", and the payload aligned */

/* The chunk's framing, around a payload of that length. */
static void put_framing(struct http_buf *b, size_t payload_len)
{
    static const char hex[] = "0123456789abcdef";
    char *p = b->data;
    *--p = '\n';
    *--p = '\r';
    size_t rest = payload_len;
    do
        *--p = hex[rest & 15];
    while (rest >>= 4);
    b->wire = p;
    b->len = (uint32_t)payload_len;
    b->wire_len = (uint32_t)((size_t)(b->data - p) + payload_len + 2);
    b->data[payload_len] = '\r';
    b->data[payload_len + 1] = '\n';
}

struct http_buf *http_buf_new(size_t payload_len)
{
    if (payload_len >= UINT32_MAX - 64)
        return NULL;
    struct http_buf *b = malloc(sizeof *b + FRAME_MAX + payload_len + 2);
    if (!b)
        return NULL;
    *b = (struct http_buf){.refs = 1, .data = (char *)(b + 1) + FRAME_MAX};
    put_framing(b, payload_len);
    return b;
}

void http_buf_shorten(struct http_buf *b, size_t payload_len)
{
    PRE(b->refs == 1 && payload_len <= b->len);
    put_framing(b, payload_len);
}

struct http_buf *http_buf_ref(struct http_buf *b)
{
    b->refs++;
    return b;
}

void http_buf_unref(struct http_buf *b)
{
    if (b && --b->refs == 0)
        free(b);
}
