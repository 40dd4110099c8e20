/* What agents print: every event is a JSON object within its bound, and the same however the output is cut. Byte 0: protocol, byte 1: where the cuts are. */
#include <stdlib.h>

#include "common/json.h"
#include "common/limits.h"
#include "runner/adapter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_event(void *ctx, enum event_kind kind, struct str data)
{
    struct strbuf *seen = ctx;
    POST(kind < EVENT_KIND_COUNT && kind != EVENT_RUNTIME_TERMINAL && kind != EVENT_RUNTIME_STARTED);
    POST(data.len > 1 && data.ptr[0] == '{' && data.len <= LIMIT_EVENT && json_valid(data, LIMIT_JSON_DEPTH));
    strbuf_addf(seen, "%d ", (int)kind);
    strbuf_add(seen, data);
    strbuf_addc(seen, '\n');
}

static void feed(struct strbuf *seen, const uint8_t *data, size_t size, size_t step, bool text)
{
    struct adapter a;
    strbuf_init(seen, 64U << 20);
    adapter_init(&a, text ? STR("text") : STR("events"), on_event, seen);
    for (size_t at = 0; at < size; at += step) {
        size_t n = step < size - at ? step : size - at;
        char *piece = malloc(n);
        PRE(piece != NULL);
        memcpy(piece, data + at, n);
        adapter_feed(&a, (struct str){piece, n});
        free(piece);
    }
    adapter_end(&a);
    if (text) { /* how the text is cut to events may differ, the text itself may not */
        strbuf_reset(seen);
        strbuf_add(seen, strbuf_str(&a.result_text));
        POST(a.result_truncated || utf8_complete_len(strbuf_str(seen)) == seen->len);
    }
    strbuf_addf(seen, "%d %d ", a.claim.made, a.claim.error);
    strbuf_add(seen, strbuf_str(&a.claim.result));
    strbuf_add(seen, strbuf_str(&a.claim.message));
    POST(a.claim.result.len == 0 || json_valid(strbuf_str(&a.claim.result), LIMIT_JSON_DEPTH));
    adapter_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    struct strbuf whole, cut;
    bool text = data[0] & 1;
    feed(&whole, data + 2, size - 2, size, text);
    feed(&cut, data + 2, size - 2, data[1] % 23u + 1, text);
    POST(str_eq(strbuf_str(&whole), strbuf_str(&cut)));
    strbuf_done(&whole);
    strbuf_done(&cut);
    return 0;
}
