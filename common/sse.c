#include "common/sse.h"

#include <stdlib.h>

void sse_init(struct sse *s, size_t max, sse_fn fn, void *ctx)
{
    *s = (struct sse){.retry_ms = -1, .fn = fn, .ctx = ctx};
    strbuf_init(&s->line, max);
    strbuf_init(&s->data, max);
    strbuf_init(&s->event, 4096);
    strbuf_init(&s->id, 4096);
}

void sse_done(struct sse *s)
{
    strbuf_done(&s->line);
    strbuf_done(&s->data);
    strbuf_done(&s->event);
    strbuf_done(&s->id);
}

static void clear_frame(struct sse *s)
{
    strbuf_reset(&s->event);
    strbuf_reset(&s->data);
    strbuf_reset(&s->id);
    s->has_data = s->has_id = false;
}

void sse_reset(struct sse *s)
{
    strbuf_reset(&s->line);
    clear_frame(s);
    s->after_cr = s->begun = false;
}

static void on_field(struct sse *s, struct str name, struct str value)
{
    if (str_eqz(name, "data")) {
        if (s->has_data)
            strbuf_addc(&s->data, '\n');
        strbuf_add(&s->data, value);
        s->has_data = true;
    } else if (str_eqz(name, "event")) {
        strbuf_reset(&s->event);
        strbuf_add(&s->event, value);
    } else if (str_eqz(name, "id") && !(value.len && memchr(value.ptr, '\0', value.len))) {
        strbuf_reset(&s->id);
        strbuf_add(&s->id, value);
        s->has_id = true;
    } else if (str_eqz(name, "retry") && value.len > 0 && value.len < 10) {
        int64_t ms = 0;
        for (size_t i = 0; i < value.len; i++) {
            if (value.ptr[i] < '0' || value.ptr[i] > '9')
                return;
            ms = ms * 10 + (value.ptr[i] - '0');
        }
        s->retry_ms = ms;
    }
}

/* An empty line ends a frame; one without data is none. */
static bool on_frame_end(struct sse *s)
{
    bool go_on = true;
    if (s->has_data) {
        struct sse_frame frame = {.event = s->event.len ? strbuf_str(&s->event) : STR("message"),
                                  .data = strbuf_str(&s->data),
                                  .id = strbuf_str(&s->id)};
        go_on = s->fn(s->ctx, &frame);
    }
    clear_frame(s);
    return go_on;
}

static bool on_line(struct sse *s)
{
    struct str line = strbuf_str(&s->line);
    if (!s->begun && str_starts(line, STR("\xef\xbb\xbf")))
        line = (struct str){line.ptr + 3, line.len - 3};
    s->begun = true;
    if (line.len == 0)
        return on_frame_end(s);
    const char *colon = memchr(line.ptr, ':', line.len);
    if (colon == line.ptr)
        return true; /* a comment: the heartbeat */
    struct str name = line, value = STR_NONE;
    if (colon) {
        name.len = (size_t)(colon - line.ptr);
        value = (struct str){colon + 1, line.len - name.len - 1};
        if (value.len && *value.ptr == ' ')
            value = (struct str){value.ptr + 1, value.len - 1};
    }
    on_field(s, name, value);
    return true;
}

bool sse_feed(struct sse *s, struct str bytes)
{
    while (bytes.len > 0) {
        if (s->after_cr && *bytes.ptr == '\n') {
            s->after_cr = false;
            bytes = (struct str){bytes.ptr + 1, bytes.len - 1};
            continue;
        }
        s->after_cr = false;
        size_t n = 0;
        while (n < bytes.len && bytes.ptr[n] != '\n' && bytes.ptr[n] != '\r')
            n++;
        strbuf_add(&s->line, (struct str){bytes.ptr, n});
        if (n < bytes.len) {
            s->after_cr = bytes.ptr[n] == '\r';
            bool go_on = on_line(s);
            strbuf_reset(&s->line);
            if (!go_on)
                return false;
            n++;
        }
        if (strbuf_failed(&s->line) || strbuf_failed(&s->data) || strbuf_failed(&s->event) || strbuf_failed(&s->id))
            return false;
        bytes = (struct str){bytes.ptr + n, bytes.len - n};
    }
    return true;
}
