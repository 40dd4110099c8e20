/* Batches of events, as an envelope or as lines: what is accepted is canonical, in order, within its bounds, and means the same when it is read again. */
#include <stdlib.h>

#include "api/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_lines(const struct batch_entry *e, int64_t *last, int64_t *t)
{
    struct str rest = e->lines;
    int64_t n = 0;
    POST(e->lines.len <= LIMIT_ENTRY || e->n == 1);
    while (rest.len > 0) {
        const char *newline = memchr(rest.ptr, '\n', rest.len);
        struct str line = {rest.ptr, newline ? (size_t)(newline - rest.ptr) : rest.len};
        struct event_head h;
        POST(event_peek(line, &h) == ERR_OK && json_valid(line, LIMIT_JSON_DEPTH) && line.len <= LIMIT_EVENT);
        POST(h.seq > *last && h.t_ms >= *t && h.kind != EVENT_RUNTIME_TERMINAL);
        POST(n > 0 || h.seq == e->first);
        *last = h.seq;
        *t = h.t_ms;
        n++;
        rest.len -= line.len + (newline ? 1 : 0);
        rest.ptr += line.len + (newline ? 1 : 0);
    }
    POST(n == e->n && *last == e->last && *t == e->t);
}

/* The stored lines, sent again as lines, give the same entries. */
static void check_again(struct arena *a, const struct event_batch *b)
{
    static struct event_batch again;
    struct strbuf text;
    const char *detail;
    strbuf_init(&text, 64U << 20);
    for (size_t i = 0; i < b->entry_count; i++) {
        strbuf_add(&text, b->entries[i].lines);
        strbuf_addc(&text, '\n');
    }
    strbuf_add(&text, b->claim_line);
    POST(batch_parse(a, strbuf_str(&text), true, STR("r"), &again, &detail) == ERR_OK);
    POST(again.count == b->count && again.entry_count == b->entry_count && again.last == b->last);
    for (size_t i = 0; i < b->entry_count; i++)
        POST(str_eq(again.entries[i].lines, b->entries[i].lines));
    POST(str_eq(again.claim_line, b->claim_line) && str_eq(again.claim_error, b->claim_error));
    strbuf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct event_batch b;
    struct arena a;
    const char *detail = NULL;
    if (size < 1)
        return 0;
    char *text = malloc(size > 1 ? size - 1 : 1); /* of just its size, so that a read past its end is seen */
    PRE(text != NULL);
    memcpy(text, data + 1, size - 1);
    arena_init(&a, 64 << 20);
    enum err err = batch_parse(&a, (struct str){text, size - 1}, data[0] & 1, STR("r"), &b, &detail);
    free(text);
    if (err) {
        POST(err == ERR_NO_MEMORY || detail);
    } else {
        int64_t last = -1, t = 0;
        POST(b.count >= 1 && b.count <= LIMIT_BATCH_EVENTS);
        for (size_t i = 0; i < b.entry_count; i++)
            check_lines(&b.entries[i], &last, &t);
        POST(b.claim_line.len == 0 ||
             (b.claim_seq > last && b.claim_t >= t && json_valid(b.claim_line, LIMIT_JSON_DEPTH)));
        POST(b.claim_error.len == 0 || json_valid(b.claim_error, LIMIT_JSON_DEPTH));
        check_again(&a, &b);
    }
    arena_done(&a);
    return 0;
}
