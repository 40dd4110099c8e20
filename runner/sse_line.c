#include "runner/sse_line.h"

#include "common/event.h"
#include "common/json.h"
#include "common/limits.h"

enum { ARENA_MAX = 16 << 20 };

static void under_its_kind(enum event_kind kind, struct str data, struct strbuf *out)
{
    strbuf_addf(out, "{\"kind\":\"%s\",\"data\":", event_kind_name(kind));
    strbuf_add(out, data);
    strbuf_addc(out, '}');
}

static void with_its_name(const struct sse_frame *frame, struct strbuf *out)
{
    struct json_writer w;
    strbuf_addz(out, "{\"kind\":\"notification\",\"data\":");
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str(&w, "event", frame->event);
    json_kv_str(&w, "text", frame->data);
    json_object_end(&w);
    strbuf_addc(out, '}');
}

void sse_line(const struct sse_frame *frame, struct strbuf *out)
{
    struct arena arena;
    struct json *root = NULL;
    enum event_kind named = event_kind_of(frame->event);
    arena_init(&arena, ARENA_MAX);
    bool object = json_parse(&arena, frame->data, LIMIT_JSON_DEPTH - 4, 1, &root, NULL) ==
                      ERR_OK && /* one more is put around it */
                  root->type == JSON_OBJECT;
    if (object && named != EVENT_KIND_COUNT && !json_get(root, "kind"))
        under_its_kind(named, root->raw, out);
    else if (object)
        strbuf_add(out, root->raw);
    else if (str_eqz(frame->event, "message"))
        strbuf_add(out, frame->data);
    else
        with_its_name(frame, out);
    strbuf_addc(out, '\n');
    arena_done(&arena);
}
