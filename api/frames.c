#include "api/frames.h"

enum {
    SEQ_DIGITS = 16,
    KIND_MAX = 24,
    LINE_MIN = 50, /* of the shortest canonical line */
    /* What a frame has beyond its line: "id: " seq "\nevent: " kind "\ndata: " and the empty line; the line's own newline counts with it. */
    FRAME_EXTRA = 4 + SEQ_DIGITS + 8 + KIND_MAX + 7 + 2,
};

/* Where a line says what a frame needs. */
struct head {
    struct str seq, kind;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The number at *at, which moves behind it. */
static bool take_digits(const char **at, const char *end, struct str *ret_digits)
{
    const char *p = *at;
    while (p < end && is_digit(*p))
        p++;
    *ret_digits = (struct str){*at, (size_t)(p - *at)};
    *at = p;
    return ret_digits->len > 0 && ret_digits->len <= SEQ_DIGITS;
}

static bool take_text(const char **at, const char *end, struct str text)
{
    if ((size_t)(end - *at) < text.len || memcmp(*at, text.ptr, text.len) != 0)
        return false;
    *at += text.len;
    return true;
}

/* As event_write writes it: {"seq":N,"tMs":N,"kind":"K","data":{…}} */
static bool read_head(const char *line, const char *end, struct head *ret_head)
{
    enum { T_MS_DIGITS = 13 }; /* from 2001 to 2286 */
    struct str t_ms;
    const char *p = line;
    if (!take_text(&p, end, STR("{\"seq\":")) || !take_digits(&p, end, &ret_head->seq) ||
        !take_text(&p, end, STR(",\"tMs\":")))
        return false;
    const char *behind = end - p > T_MS_DIGITS ? p + T_MS_DIGITS : p;
    if (take_text(&behind, end, STR(",\"kind\":\"")))
        p = behind;
    else if (!take_digits(&p, end, &t_ms) || !take_text(&p, end, STR(",\"kind\":\"")))
        return false;
    size_t most = end - p < KIND_MAX + 1 ? (size_t)(end - p) : KIND_MAX + 1;
    const char *quote = memchr(p, '"', most);
    if (!quote || quote == p)
        return false;
    ret_head->kind = (struct str){p, (size_t)(quote - p)};
    return take_text(&quote, end, STR("\",\"data\":{")) && end - quote >= 2 && end[-1] == '}';
}

static int64_t number_of(struct str digits)
{
    int64_t n = 0;
    for (size_t i = 0; i < digits.len; i++)
        n = n * 10 + (digits.ptr[i] - '0');
    return n;
}

static char *put(char *out, struct str s)
{
    memcpy(out, s.ptr, s.len);
    return out + s.len;
}

/* A seq or a kind of a line that goes on to `end`: in one piece of fixed size where there is so much, for which no call is needed. What it leaves behind it is written over. */
static char *put_short(char *out, struct str s, const char *end)
{
    if (end - s.ptr < KIND_MAX)
        return put(out, s);
    memcpy(out, s.ptr, KIND_MAX);
    return out + s.len;
}

static char *put_frame(char *out, const struct head *h, struct str line)
{
    const char *end = line.ptr + line.len;
    out = put(out, STR("id: "));
    out = put_short(out, h->seq, end);
    out = put(out, STR("\nevent: "));
    out = put_short(out, h->kind, end);
    out = put(out, STR("\ndata: "));
    out = put(out, line);
    return put(out, STR("\n\n"));
}

/* Behind the last frame of the lines; NULL when they need more room than there is. */
static char *put_lines(char *out, const char *out_end, struct str lines, int64_t after)
{
    const char *end = lines.ptr + lines.len;
    for (const char *p = lines.ptr, *next; p < end; p = next) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *line_end = newline ? newline : end;
        next = line_end + 1;
        struct head h;
        if (!read_head(p, line_end, &h) || (after >= 0 && number_of(h.seq) <= after))
            continue;
        struct str line = {p, (size_t)(line_end - p)};
        if ((size_t)(out_end - out) < line.len + FRAME_EXTRA)
            return NULL;
        out = put_frame(out, &h, line);
    }
    return out;
}

static struct http_buf *encode(const struct frames_source *from, size_t room, int64_t after)
{
    struct http_buf *b = http_buf_new(room);
    char *out = b ? b->data : NULL;
    for (size_t i = 0; out && i < from->count; i++)
        out = put_lines(out, b->data + room, from->parts[i], after);
    if (out && out > b->data) {
        http_buf_shorten(b, (size_t)(out - b->data));
        return b;
    }
    http_buf_unref(b);
    return NULL;
}

static size_t count_lines(struct str s)
{
    size_t n = 1;
    for (const char *p = s.ptr, *end = s.ptr + s.len; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++)
        n++;
    return n;
}

struct http_buf *frames_new(const struct frames_source *from, int64_t after)
{
    size_t bytes = 0, lines = 0;
    for (size_t i = 0; i < from->count; i++)
        bytes += from->parts[i].len;
    if (bytes == 0)
        return NULL;
    size_t most = bytes / LINE_MIN + from->count, events = from->events < most ? from->events : most;
    struct http_buf *b = encode(from, bytes + events * FRAME_EXTRA, after);
    if (b || events == most)
        return b;
    for (size_t i = 0; i < from->count; i++) /* there are more than it said, or none that is wanted */
        lines += count_lines(from->parts[i]);
    return lines > events ? encode(from, bytes + lines * FRAME_EXTRA, after) : NULL;
}
