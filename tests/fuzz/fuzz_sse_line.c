/* A remote agent's Server-Sent Events, or what says that it is them: every frame becomes lines, every line an event or a claim that is as it must be, and all is the same however the bytes are cut. A stream that breaks
 * off and is sent again from its beginning adds nothing. The first byte says where the cuts are. */
#include <stdlib.h>

#include "common/json.h"
#include "common/limits.h"
#include "runner/adapter.h"
#include "runner/event_ids.h"
#include "runner/sse_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct strbuf seen;
    struct adapter adapter;
    struct event_ids ids;
    struct strbuf names; /* the ids, each between line ends */
    bool all_ids;        /* each event could be resumed from, and has an id of its own */
};

static void on_event(void *ctx, enum event_kind kind, struct str data)
{
    struct run *r = ctx;
    POST(kind < EVENT_KIND_COUNT && kind != EVENT_RUNTIME_TERMINAL && kind != EVENT_RUNTIME_STARTED);
    POST(data.len > 1 && data.ptr[0] == '{' && data.len <= LIMIT_EVENT && json_valid(data, LIMIT_JSON_DEPTH));
    strbuf_addf(&r->seen, "%d ", (int)kind);
    strbuf_add(&r->seen, data);
    strbuf_addc(&r->seen, '\n');
}

static bool is_new(struct run *r, struct str id)
{
    struct strbuf name;
    strbuf_init(&name, EVENT_ID_MAX + 2);
    strbuf_addf(&name, "\n%.*s\n", STR_ARG(id));
    bool known = r->names.len > 0 && memmem(r->names.ptr, r->names.len, name.ptr, name.len);
    strbuf_add(&r->names, strbuf_str(&name));
    strbuf_done(&name);
    return !known;
}

static bool on_frame(void *ctx, const struct sse_frame *frame)
{
    struct run *r = ctx;
    struct strbuf line;
    if (!event_ids_take(&r->ids, frame->id))
        return true;
    r->all_ids = r->all_ids && event_ids_can_resume(&r->ids) && is_new(r, frame->id);
    strbuf_init(&line, 8 * frame->data.len + 8 * frame->event.len + 256);
    sse_line(frame, &line);
    POST(!strbuf_failed(&line) && line.ptr[line.len - 1] == '\n');
    adapter_feed(&r->adapter, strbuf_str(&line));
    strbuf_done(&line);
    return true;
}

static void feed(struct run *r, const uint8_t *data, size_t size, size_t step)
{
    struct sse s;
    sse_init(&s, LIMIT_RESULT + LIMIT_EVENT, on_frame, r);
    event_ids_resume(&r->ids);
    for (size_t at = 0; at < size; at += step) {
        size_t len = step < size - at ? step : size - at;
        char *piece = malloc(len);
        PRE(piece != NULL);
        memcpy(piece, data + at, len);
        if (!sse_feed(&s, (struct str){piece, len}))
            at = size;
        free(piece);
    }
    sse_done(&s);
}

static void begin(struct run *r)
{
    *r = (struct run){.all_ids = true};
    strbuf_init(&r->seen, 64U << 20);
    strbuf_init(&r->names, 64U << 20);
    adapter_init(&r->adapter, STR("events"), on_event, r);
}

static void end(struct run *r)
{
    strbuf_done(&r->seen);
    strbuf_done(&r->names);
    adapter_done(&r->adapter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct run whole, cut;
    begin(&whole);
    begin(&cut);
    feed(&whole, data + 1, size - 1, size - 1);
    feed(&cut, data + 1, size - 1, (size_t)data[0] % 17 + 1);
    POST(str_eq(strbuf_str(&whole.seen), strbuf_str(&cut.seen)) && whole.adapter.claim.made == cut.adapter.claim.made);
    size_t before = whole.seen.len;
    bool resumable = whole.all_ids;
    feed(&whole, data + 1, size - 1, size - 1);
    POST(!resumable || whole.seen.len == before);
    end(&whole);
    end(&cut);
    return 0;
}
