/* Shared output buffers: see http.h. */
#include <stdlib.h>

#include "api/http.h"

enum { FRAME_MAX = 12 }; /* "ffffffff\r\n" */

struct http_buf *http_buf_new(size_t payload_len)
{
    if (payload_len >= UINT32_MAX - 64)
        return NULL;
    struct http_buf *b = malloc(sizeof *b + FRAME_MAX + payload_len + 2);
    if (!b)
        return NULL;
    static const char hex[] = "0123456789abcdef";
    char frame[FRAME_MAX], *from = frame + sizeof frame;
    size_t left = payload_len;
    *--from = '\n';
    *--from = '\r';
    do
        *--from = hex[left & 15];
    while ((left >>= 4) > 0);
    size_t n = (size_t)(frame + sizeof frame - from);
    char *room = (char *)(b + 1);
    *b = (struct http_buf){.refs = 1, .len = (uint32_t)payload_len, .data = room + FRAME_MAX};
    b->wire = b->data - n;
    b->wire_len = (uint32_t)(n + payload_len + 2);
    memcpy(b->wire, from, n);
    b->data[payload_len] = '\r';
    b->data[payload_len + 1] = '\n';
    return b;
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
