/* What agents print: every event is a JSON object within its bound, and the same however the output is cut. Byte 0: protocol, and whether the first line is
 * prolonged beyond the bounds; byte 1: where the cuts are. */
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
        POST(a.result_text.len <= LIMIT_RESULT && (!a.result_truncated || a.result_text.len == 0));
        POST(utf8_complete_len(strbuf_str(seen)) == seen->len);
    }
    strbuf_addf(seen, "%d %d %d ", a.claim.made, a.claim.error, a.result_truncated);
    strbuf_add(seen, strbuf_str(&a.claim.result));
    strbuf_add(seen, strbuf_str(&a.claim.message));
    POST(a.claim.result.len == 0 || json_valid(strbuf_str(&a.claim.result), LIMIT_JSON_DEPTH));
    adapter_done(&a);
}

/* The first line's bytes again and again, `wanted` in all, then the rest: short inputs reach the bounds of lines and of results too. */
static uint8_t *prolong(const uint8_t *data, size_t size, size_t wanted, size_t *ret_len)
{
    const uint8_t *newline = memchr(data, '\n', size);
    size_t first = newline ? (size_t)(newline - data) : size;
    size_t begin = first > 0 ? wanted : 0;
    uint8_t *out = malloc(begin + size - first + 1);
    PRE(out != NULL);
    for (size_t at = 0; at < begin; at += first)
        memcpy(out + at, data, first < begin - at ? first : begin - at);
    memcpy(out + begin, data + first, size - first);
    *ret_len = begin + size - first;
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    struct strbuf whole, cut;
    bool text = data[0] & 1, is_long = (data[0] & 0xfe) == 0x4c && data[1] >= 0xf8; /* seldom: they cost more */
    size_t step = data[1] % 23u + 1, len = size - 2;
    uint8_t *bytes = NULL;
    if (is_long) {
        size_t more = 4099 * (data[1] & 7u);
        bytes = prolong(data + 2, size - 2, more + (text ? LIMIT_RESULT : LINE_MAX_BYTES + LINE_PIECE_BYTES), &len);
        step = more + 4099;
    }
    feed(&whole, bytes ? bytes : data + 2, len, len, text);
    feed(&cut, bytes ? bytes : data + 2, len, step, text);
    POST(!strbuf_failed(&whole) && !strbuf_failed(&cut));
    POST(str_eq(strbuf_str(&whole), strbuf_str(&cut)));
    strbuf_done(&whole);
    strbuf_done(&cut);
    free(bytes);
    return 0;
}
