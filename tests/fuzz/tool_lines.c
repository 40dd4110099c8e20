#include "tool_lines.h"

#include <stdlib.h>

#include "common/json.h"
#include "common/limits.h"
#include "runner/adapter.h"

struct seen {
    struct strbuf events, text;
    size_t count;
};

static void on_event(void *ctx, enum event_kind kind, struct str data)
{
    struct seen *s = ctx;
    struct arena arena;
    struct json *root = NULL;
    POST(kind < EVENT_KIND_COUNT && kind != EVENT_RUNTIME_TERMINAL && kind != EVENT_RUNTIME_STARTED &&
         kind != EVENT_FILE_UPLOADED);
    POST(data.len > 1 && data.ptr[0] == '{' && data.len + 128 <= LIMIT_EVENT && json_valid(data, LIMIT_JSON_DEPTH - 2));
    s->count++;
    strbuf_addf(&s->events, "%d ", (int)kind);
    strbuf_add(&s->events, data);
    strbuf_addc(&s->events, '\n');
    if (kind != EVENT_ASSISTANT_TEXT)
        return;
    arena_init(&arena, 64 << 20);
    POST(json_parse(&arena, data, LIMIT_JSON_DEPTH, 1, &root, NULL) == ERR_OK);
    POST(json_get(root, "text") && json_get(root, "text")->type == JSON_STRING);
    strbuf_add(&s->text, json_get(root, "text")->string);
    arena_done(&arena);
}

static void seen_init(struct seen *s)
{
    *s = (struct seen){.count = 0};
    strbuf_init(&s->events, 64U << 20);
    strbuf_init(&s->text, 64U << 20);
}

static void seen_done(struct seen *s)
{
    strbuf_done(&s->events);
    strbuf_done(&s->text);
}

static void feed(struct seen *s, const char *protocol, struct str bytes, size_t step)
{
    struct adapter a;
    seen_init(s);
    adapter_init(&a, str_of(protocol), on_event, s);
    for (size_t at = 0; at < bytes.len; at += step) {
        size_t n = step < bytes.len - at ? step : bytes.len - at;
        char *piece = malloc(n);
        PRE(piece != NULL);
        memcpy(piece, bytes.ptr + at, n);
        adapter_feed(&a, (struct str){piece, n});
        free(piece);
    }
    adapter_end(&a);
    strbuf_addf(&s->events, "%d %d ", a.claim.made, a.claim.error);
    strbuf_add(&s->events, strbuf_str(&a.claim.result));
    strbuf_add(&s->events, strbuf_str(&a.claim.message));
    POST(a.claim.result.len == 0 || strbuf_failed(&a.claim.result) ||
         json_valid(strbuf_str(&a.claim.result), LIMIT_JSON_DEPTH));
    POST(!strbuf_failed(&s->events));
    adapter_done(&a);
}

static void feed_lines(const char *protocol, struct str bytes)
{
    struct adapter a;
    struct seen s;
    seen_init(&s);
    adapter_init(&a, str_of(protocol), on_event, &s);
    while (bytes.len > 0) {
        const char *newline = memchr(bytes.ptr, '\n', bytes.len);
        size_t n = newline ? (size_t)(newline - bytes.ptr) + 1 : bytes.len, before = s.count;
        struct str line = {bytes.ptr, newline ? n - 1 : n};
        bool empty = line.len == 0 || (line.len == 1 && line.ptr[0] == '\r');
        adapter_feed(&a, (struct str){bytes.ptr, n});
        if (!newline)
            adapter_end(&a);
        POST(empty || s.count > before);
        bytes.ptr += n;
        bytes.len -= n;
    }
    adapter_end(&a);
    adapter_done(&a);
    seen_done(&s);
}

void tool_lines_check(const char *protocol, struct str bytes, size_t step)
{
    struct seen whole, cut;
    feed(&whole, protocol, bytes, bytes.len + 1);
    feed(&cut, protocol, bytes, step);
    POST(str_eq(strbuf_str(&whole.events), strbuf_str(&cut.events)));
    seen_done(&whole);
    seen_done(&cut);
    feed_lines(protocol, bytes);
}

void tool_lines_text(const char *protocol, struct str bytes, struct strbuf *out)
{
    struct seen s;
    feed(&s, protocol, bytes, 4096);
    strbuf_add(out, strbuf_str(&s.text));
    seen_done(&s);
}
