/* A stream of the Messages API, or what says that it is one: every event is a JSON object in one line, the result is JSON within its bound, and both are the same however the bytes are cut. The first byte says
 * where the cuts are. */
#include <stdlib.h>

#include "common/json.h"
#include "common/limits.h"
#include "runner/anthropic_events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_event(void *ctx, enum event_kind kind, struct str data)
{
    struct strbuf *seen = ctx;
    POST(kind < EVENT_KIND_COUNT && kind != EVENT_RUNTIME_TERMINAL && kind != EVENT_RUNTIME_STARTED);
    POST(data.len > 1 && data.ptr[0] == '{' && json_valid(data, LIMIT_JSON_DEPTH) && !memchr(data.ptr, '\n', data.len));
    strbuf_addf(seen, "%d ", (int)kind);
    strbuf_add(seen, data);
    strbuf_addc(seen, '\n');
}

static bool on_frame(void *ctx, const struct sse_frame *frame)
{
    struct anthropic_events *a = ctx;
    anthropic_events_take(a, frame);
    return a->state == ANTHROPIC_OPEN;
}

static void feed(struct strbuf *seen, const uint8_t *data, size_t size, size_t step)
{
    struct anthropic_events a;
    struct strbuf result;
    struct sse s;
    strbuf_init(seen, 64U << 20);
    strbuf_init(&result, LIMIT_RESULT);
    anthropic_events_init(&a, on_event, seen);
    sse_init(&s, ANTHROPIC_FRAME_MAX, on_frame, &a);
    for (size_t at = 0; at < size; at += step) {
        size_t len = step < size - at ? step : size - at;
        char *piece = malloc(len);
        PRE(piece != NULL);
        memcpy(piece, data + at, len);
        if (!sse_feed(&s, (struct str){piece, len}))
            at = size;
        free(piece);
    }
    anthropic_events_result(&a, &result);
    POST(!strbuf_failed(&result) && json_valid(strbuf_str(&result), LIMIT_JSON_DEPTH));
    strbuf_addf(seen, "%d %d ", (int)a.state, a.began);
    strbuf_add(seen, strbuf_str(&result));
    strbuf_add(seen, strbuf_str(&a.error_type));
    strbuf_add(seen, strbuf_str(&a.error));
    strbuf_done(&result);
    sse_done(&s);
    anthropic_events_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct strbuf whole, cut;
    feed(&whole, data + 1, size - 1, size - 1);
    feed(&cut, data + 1, size - 1, (size_t)data[0] % 17 + 1);
    POST(str_eq(strbuf_str(&whole), strbuf_str(&cut)));
    strbuf_done(&whole);
    strbuf_done(&cut);
    return 0;
}
