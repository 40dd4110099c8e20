/* The load engine's reading of answers: heads, and the framing of chunks. It reads what an Errand node writes; anything else is an error, never a guess. */
#include <stdlib.h>
#include <strings.h>

#include "cli/bench_load_parts.h"

enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_LAST };
enum { HEAD_MAX = 65536 };

static bool is_field(struct str line, struct str name)
{
    return line.len > name.len && line.ptr[name.len] == ':' && strncasecmp(line.ptr, name.ptr, name.len) == 0;
}

static bool has_value(struct str line, size_t name_len, struct str value)
{
    struct str v = {line.ptr + name_len + 1, line.len - name_len - 1};
    while (v.len > 0 && *v.ptr == ' ') {
        v.ptr++;
        v.len--;
    }
    return v.len >= value.len && strncasecmp(v.ptr, value.ptr, value.len) == 0;
}

static void take_field(struct load_head *h, struct str line)
{
    switch (line.ptr[0] | 0x20) {
    case 'c':
        if (is_field(line, STR("content-length"))) {
            h->length = strtoll(line.ptr + 15, NULL, 10); /* ends at the CR */
            h->stream = false;
        } else if (is_field(line, STR("connection"))) {
            h->closes = has_value(line, 10, STR("close"));
        }
        break;
    case 't':
        if (is_field(line, STR("transfer-encoding")))
            h->chunked = has_value(line, 17, STR("chunked"));
        break;
    default:
        break;
    }
}

bool load_head_parse(struct str bytes, struct load_head *ret_head)
{
    const char *end = memmem(bytes.ptr, bytes.len, "\r\n\r\n", 4);
    struct load_head h = {.stream = true};
    if (!end && bytes.len < HEAD_MAX)
        return false;
    *ret_head = h;
    if (!end || end - bytes.ptr < 12 || memcmp(bytes.ptr, "HTTP/1.", 7) != 0)
        return true;
    h.status = atoi(bytes.ptr + 9);
    h.len = (size_t)(end - bytes.ptr) + 4;
    for (const char *p = memchr(bytes.ptr, '\n', h.len); p && p + 1 < end;) {
        const char *next = memchr(p + 1, '\r', (size_t)(end + 2 - p - 1));
        if (!next)
            break;
        if (next > p + 1)
            take_field(&h, (struct str){p + 1, (size_t)(next - p - 1)});
        p = next + 1;
    }
    if (h.length < 0)
        h.status = 0;
    if (h.status == 204 || h.status == 304)
        h.stream = false;
    *ret_head = h;
    return true;
}

static enum load_stream_end give(struct load_conn *c, struct str bytes)
{
    struct load *l = c->load;
    if (l->fns->stream && bytes.len > 0 && !l->fns->stream(l->ctx, c, bytes))
        return LOAD_STREAM_STOPPED;
    return LOAD_STREAM_ON;
}

/* One byte of the line with a chunk's size. */
static enum load_stream_end size_byte(struct load_conn *c, char b)
{
    int digit = hex_value(b);
    if (b == '\n') {
        c->chunk_part = c->chunk_left > 0 ? CHUNK_DATA : CHUNK_LAST;
        return c->chunk_left > 0 ? LOAD_STREAM_ON : LOAD_STREAM_DONE;
    }
    if (b == '\r')
        return LOAD_STREAM_ON;
    if (digit < 0 || c->chunk_left > INT32_MAX)
        return LOAD_STREAM_BROKEN;
    c->chunk_left = c->chunk_left * 16 + digit;
    return LOAD_STREAM_ON;
}

enum load_stream_end load_stream_feed(struct load_conn *c, struct str bytes)
{
    enum load_stream_end end = LOAD_STREAM_ON;
    if (!c->chunked)
        return give(c, bytes);
    for (size_t at = 0; at < bytes.len && end == LOAD_STREAM_ON;) {
        if (c->chunk_part == CHUNK_DATA) {
            size_t left = bytes.len - at, take = (size_t)c->chunk_left < left ? (size_t)c->chunk_left : left;
            end = give(c, (struct str){bytes.ptr + at, take});
            at += take;
            c->chunk_left -= (int64_t)take;
            if (c->chunk_left == 0)
                c->chunk_part = CHUNK_END;
        } else if (c->chunk_part == CHUNK_END) {
            if (bytes.ptr[at++] == '\n')
                c->chunk_part = CHUNK_SIZE;
        } else {
            end = size_byte(c, bytes.ptr[at++]);
        }
    }
    return end;
}
