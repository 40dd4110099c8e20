/* Shared output buffers: see http.h. */
#include <stdio.h>
#include <stdlib.h>

#include "api/http.h"

enum { FRAME_MAX = 12 }; /* "ffffffff\r\n" and the NUL */

struct http_buf *http_buf_new(size_t payload_len)
{
    if (payload_len >= UINT32_MAX - 64)
        return NULL;
    struct http_buf *b = malloc(sizeof *b + FRAME_MAX + payload_len + 2);
    if (!b)
        return NULL;
    char frame[FRAME_MAX + 1];
    int n = snprintf(frame, sizeof frame, "%zx\r\n", payload_len);
    char *room = (char *)(b + 1);
    *b = (struct http_buf){.refs = 1, .len = (uint32_t)payload_len, .data = room + FRAME_MAX};
    b->wire = b->data - n;
    b->wire_len = (uint32_t)((size_t)n + payload_len + 2);
    memcpy(b->wire, frame, (size_t)n);
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
