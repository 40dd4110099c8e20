/* The load engine's reading of answers: heads, and the framing of chunks. It reads what an Errand node writes; anything else is an error, never a guess. */
#include <strings.h>

#include "cli/bench_frames.h"
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
            h->length = bench_digits((struct str){line.ptr + 15, line.len - 15});
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

/* Goes through the lines once; they end at the empty one. */
bool load_head_parse(struct str bytes, struct load_head *ret_head)
{
    struct load_head h = {.stream = true};
    const char *line = bytes.ptr, *end = bytes.ptr + bytes.len, *lf;
    while ((lf = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        size_t len = (size_t)(lf - line);
        len -= len > 0 && line[len - 1] == '\r';
        if (len == 0)
            break;
        if (line == bytes.ptr)
            h.status = len >= 12 && memcmp(line, "HTTP/1.", 7) == 0 ? (int)bench_digits((struct str){line + 9, 3}) : 0;
        else
            take_field(&h, (struct str){line, len});
        line = lf + 1;
    }
    if (!lf && bytes.len < HEAD_MAX)
        return false;
    if (!lf)
        h.status = 0;
    h.len = lf ? (size_t)(lf + 1 - bytes.ptr) : bytes.len;
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
