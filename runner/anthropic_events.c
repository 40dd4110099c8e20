#include "runner/anthropic_events.h"

#include "common/json.h"
#include "common/limits.h"

enum {
    ARENA_MAX = 32 << 20,
    EVENT_OVERHEAD = 1024,                         /* what stands around a value in its event */
    TOOL_INPUT_MAX = LIMIT_EVENT - EVENT_OVERHEAD, /* of one tool call, raw */
    NAME_MAX_BYTES = 256
};

static const char *const usage_names[] = {"input_tokens", "output_tokens", "cache_creation_input_tokens",
                                          "cache_read_input_tokens"};

void anthropic_events_init(struct anthropic_events *a, anthropic_event_fn fn, void *ctx)
{
    *a = (struct anthropic_events){.usage = {-1, -1, -1, -1}, .fn = fn, .ctx = ctx};
    strbuf_init(&a->block.id, NAME_MAX_BYTES);
    strbuf_init(&a->block.name, NAME_MAX_BYTES);
    strbuf_init(&a->block.input, TOOL_INPUT_MAX);
    strbuf_init(&a->text, LIMIT_RESULT);
    strbuf_init(&a->tools, LIMIT_RESULT);
    strbuf_init(&a->stop_reason, NAME_MAX_BYTES);
    strbuf_init(&a->error_type, NAME_MAX_BYTES);
    strbuf_init(&a->error, LIMIT_ERROR_MESSAGE * 4);
}

void anthropic_events_done(struct anthropic_events *a)
{
    strbuf_done(&a->block.id);
    strbuf_done(&a->block.name);
    strbuf_done(&a->block.input);
    strbuf_done(&a->text);
    strbuf_done(&a->tools);
    strbuf_done(&a->stop_reason);
    strbuf_done(&a->error_type);
    strbuf_done(&a->error);
}

void anthropic_events_reset(struct anthropic_events *a)
{
    PRE(!a->began);
    anthropic_event_fn fn = a->fn;
    void *ctx = a->ctx;
    anthropic_events_done(a);
    anthropic_events_init(a, fn, ctx);
}

bool anthropic_error_passes(struct str type)
{
    static const char *const passing[] = {"overloaded_error", "api_error", "rate_limit_error", "timeout_error"};
    for (size_t i = 0; i < ARRAY_LEN(passing); i++)
        if (str_eqz(type, passing[i]))
            return true;
    return false;
}

static void fail(struct anthropic_events *a, struct str type, struct str message)
{
    a->state = ANTHROPIC_FAILED;
    strbuf_add(&a->error_type, type);
    if (message.len > LIMIT_ERROR_MESSAGE) {
        message.len = LIMIT_ERROR_MESSAGE;
        message.len = utf8_complete_len(message);
    }
    strbuf_add(&a->error, message);
}

static struct str text_of(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

/* ---- events ---- */

struct event {
    struct strbuf data;
    struct json_writer w;
};

static void event_begin(struct event *e)
{
    strbuf_init(&e->data, 2 * ANTHROPIC_FRAME_MAX);
    json_writer_init(&e->w, &e->data);
    json_object_begin(&e->w);
}

static void event_end(struct event *e, struct anthropic_events *a, enum event_kind kind)
{
    json_object_end(&e->w);
    if (!strbuf_failed(&e->data))
        a->fn(a->ctx, kind, strbuf_str(&e->data));
    strbuf_done(&e->data);
}

static void say_text(struct anthropic_events *a, struct str text)
{
    struct event e;
    if (text.len == 0)
        return;
    event_begin(&e);
    json_kv_str(&e.w, "text", text);
    event_end(&e, a, EVENT_ASSISTANT_TEXT);
    a->began = true;
    if (text.len > a->text.max - a->text.len)
        a->text_truncated = true;
    if (!a->text_truncated)
        strbuf_add(&a->text, text);
}

/* notification {"type": type, key: text} */
static void note_text(struct anthropic_events *a, const char *type, const char *key, struct str text)
{
    struct event e;
    if (text.len == 0)
        return;
    event_begin(&e);
    json_kv_str(&e.w, "type", str_of(type));
    json_kv_str(&e.w, key, text);
    event_end(&e, a, EVENT_NOTIFICATION);
    a->began = true;
}

/* notification {"type": type, key: raw}: what has no kind of its own is handed on as it came. */
static void note_raw(struct anthropic_events *a, struct str type, const char *key, struct str raw)
{
    struct event e;
    event_begin(&e);
    json_kv_str(&e.w, "type", type);
    json_kv_raw(&e.w, key, raw);
    event_end(&e, a, EVENT_NOTIFICATION);
}

static void write_usage(const struct anthropic_events *a, struct json_writer *w)
{
    for (size_t i = 0; i < ARRAY_LEN(usage_names); i++)
        if (a->usage[i] >= 0)
            json_kv_int(w, usage_names[i], a->usage[i]);
}

static void take_usage(struct anthropic_events *a, const struct json *usage)
{
    for (size_t i = 0; i < ARRAY_LEN(usage_names); i++) {
        const struct json *n = json_get(usage, usage_names[i]);
        if (n && n->type == JSON_INT && n->integer >= 0)
            a->usage[i] = n->integer; /* those of message_delta are of the whole message */
    }
}

/* ---- blocks ---- */

static void block_open(struct anthropic_events *a, int64_t index, bool tool, bool server)
{
    struct anthropic_block *b = &a->block;
    b->open = true;
    b->index = index;
    b->tool = tool;
    b->server = server;
    strbuf_reset(&b->id);
    strbuf_reset(&b->name);
    strbuf_reset(&b->input);
}

static bool is_tool_result(struct str type)
{
    struct str end = STR("_tool_result");
    return type.len >= end.len && memcmp(type.ptr + type.len - end.len, end.ptr, end.len) == 0;
}

static void tool_response(struct anthropic_events *a, const struct json *block)
{
    const struct json *content = json_get(block, "content");
    struct event e;
    event_begin(&e);
    json_kv_str(&e.w, "id", text_of(block, "tool_use_id"));
    if (content)
        json_kv_raw(&e.w, "content", content->raw);
    event_end(&e, a, EVENT_TOOL_RESPONSE);
    a->began = true;
}

static void on_block_start(struct anthropic_events *a, const struct json *root, int64_t index)
{
    const struct json *block = json_get(root, "content_block");
    struct str type = text_of(block, "type");
    bool server = str_eqz(type, "server_tool_use"), tool = server || str_eqz(type, "tool_use");
    block_open(a, index, tool, server);
    if (tool) {
        const struct json *input = json_get(block, "input");
        strbuf_add(&a->block.id, text_of(block, "id"));
        strbuf_add(&a->block.name, text_of(block, "name"));
        if (strbuf_failed(&a->block.id) || strbuf_failed(&a->block.name))
            fail(a, STR("invalid_stream"), STR("the id or the name of a tool call is longer than 256 bytes"));
        else if (input && input->type == JSON_OBJECT && input->count > 0)
            strbuf_add(&a->block.input, input->raw); /* usually it is empty, and comes in deltas */
        a->began = true;
    } else if (str_eqz(type, "text")) {
        say_text(a, text_of(block, "text"));
    } else if (str_eqz(type, "thinking")) {
        note_text(a, "thinking", "text", text_of(block, "thinking"));
    } else if (is_tool_result(type)) {
        tool_response(a, block);
    } else if (block) {
        note_raw(a, type.len > 0 ? type : STR("content_block"), "block", block->raw);
        a->began = true;
    }
}

static void on_block_delta(struct anthropic_events *a, const struct json *root)
{
    const struct json *delta = json_get(root, "delta");
    struct str type = text_of(delta, "type");
    if (str_eqz(type, "text_delta")) {
        say_text(a, text_of(delta, "text"));
    } else if (str_eqz(type, "thinking_delta")) {
        note_text(a, "thinking", "text", text_of(delta, "thinking"));
    } else if (str_eqz(type, "signature_delta")) {
        note_text(a, "thinking_signature", "signature", text_of(delta, "signature"));
    } else if (str_eqz(type, "input_json_delta") && a->block.tool) {
        strbuf_add(&a->block.input, text_of(delta, "partial_json"));
        if (strbuf_failed(&a->block.input))
            fail(a, STR("invalid_stream"), STR("the input of a tool call is longer than an event may be"));
    } else if (delta) {
        note_raw(a, type.len > 0 ? type : STR("content_block_delta"), "delta", delta->raw);
        a->began = true;
    }
}

/* The input as it stands in events: without white space that means nothing. False: it is no object. */
static bool tool_input(struct arena *arena, struct str text, struct str *ret_raw)
{
    struct json *root = NULL;
    if (text.len == 0)
        text = STR("{}");
    if (json_parse(arena, text, LIMIT_JSON_DEPTH - 4, 1, &root, NULL) != ERR_OK || root->type != JSON_OBJECT)
        return false;
    *ret_raw = root->raw;
    return true;
}

static void write_tool(struct json_writer *w, const struct anthropic_block *b, bool whole, struct str raw)
{
    json_kv_str(w, "id", strbuf_str(&b->id));
    json_kv_str(w, "name", strbuf_str(&b->name));
    if (whole)
        json_kv_raw(w, "input", raw);
    else
        json_kv_str(w, "partialInput", strbuf_str(&b->input));
    if (b->server)
        json_kv_bool(w, "server", true);
}

/* For the result: those that whoever reads it has to answer. */
static void keep_tool(struct anthropic_events *a, struct str data)
{
    if (a->block.server)
        return;
    if (data.len + 1 > a->tools.max - a->tools.len)
        a->tools_truncated = true;
    if (a->tools_truncated)
        return;
    if (a->tools.len > 0)
        strbuf_addc(&a->tools, ',');
    strbuf_add(&a->tools, data);
}

static void on_block_stop(struct anthropic_events *a)
{
    struct anthropic_block *b = &a->block;
    struct arena arena;
    struct event e;
    struct str raw = STR_NONE;
    b->open = false;
    if (!b->tool)
        return;
    arena_init(&arena, ARENA_MAX);
    bool whole = tool_input(&arena, strbuf_str(&b->input), &raw); /* max_tokens may have cut it */
    event_begin(&e);
    write_tool(&e.w, b, whole, raw);
    struct str data = strbuf_str(&e.data);
    struct strbuf kept;
    strbuf_init(&kept, data.len + 1);
    strbuf_add(&kept, data);
    strbuf_addc(&kept, '}');
    keep_tool(a, strbuf_str(&kept));
    strbuf_done(&kept);
    event_end(&e, a, EVENT_TOOL_REQUEST);
    arena_done(&arena);
    b->tool = false;
}

/* ---- messages ---- */

static void on_message_start(struct anthropic_events *a, const struct json *root)
{
    const struct json *message = json_get(root, "message");
    struct event e;
    take_usage(a, json_get(message, "usage"));
    event_begin(&e);
    json_kv_str(&e.w, "type", STR("message_start"));
    json_kv_str_opt(&e.w, "id", text_of(message, "id"));
    json_kv_str_opt(&e.w, "model", text_of(message, "model"));
    event_end(&e, a, EVENT_NOTIFICATION);
}

static void on_message_delta(struct anthropic_events *a, const struct json *root)
{
    const struct json *delta = json_get(root, "delta"), *reason = json_get(delta, "stop_reason"),
                      *usage = json_get(root, "usage");
    if (reason && (reason->type == JSON_STRING || reason->type == JSON_NULL)) {
        strbuf_reset(&a->stop_reason);
        strbuf_add(&a->stop_reason, reason->raw);
    }
    take_usage(a, usage);
    if (!usage)
        return;
    struct event e;
    event_begin(&e);
    json_kv_str(&e.w, "type", STR("usage"));
    write_usage(a, &e.w);
    event_end(&e, a, EVENT_NOTIFICATION);
}

static void on_error(struct anthropic_events *a, const struct json *root)
{
    const struct json *error = json_get(root, "error");
    struct str type = text_of(error, "type");
    fail(a, type.len > 0 && type.len <= NAME_MAX_BYTES ? type : STR("api_error"), text_of(error, "message"));
}

/* Blocks come one after the other; a delta of another one than is open can't be placed. */
static bool is_of_block(const struct anthropic_events *a, const struct json *root)
{
    const struct json *index = json_get(root, "index");
    return a->block.open && index && index->type == JSON_INT && index->integer == a->block.index;
}

static void on_event(struct anthropic_events *a, struct str type, const struct json *root)
{
    const struct json *index = json_get(root, "index");
    if (str_eqz(type, "ping"))
        return;
    if (str_eqz(type, "message_start"))
        on_message_start(a, root);
    else if (str_eqz(type, "content_block_start") && !a->block.open && index && index->type == JSON_INT)
        on_block_start(a, root, index->integer);
    else if (str_eqz(type, "content_block_delta") && is_of_block(a, root))
        on_block_delta(a, root);
    else if (str_eqz(type, "content_block_stop") && is_of_block(a, root))
        on_block_stop(a);
    else if (str_eqz(type, "message_delta"))
        on_message_delta(a, root);
    else if (str_eqz(type, "message_stop"))
        a->state = ANTHROPIC_DONE;
    else if (str_eqz(type, "error"))
        on_error(a, root);
    else
        note_raw(a, type, "event", root->raw);
}

void anthropic_events_take(struct anthropic_events *a, const struct sse_frame *frame)
{
    struct arena arena;
    struct json *root = NULL;
    if (a->state != ANTHROPIC_OPEN)
        return;
    arena_init(&arena, ARENA_MAX);
    bool ok = json_parse(&arena, frame->data, LIMIT_JSON_DEPTH - 4, 4, &root, NULL) == ERR_OK;
    struct str type = ok ? text_of(root, "type") : STR_NONE;
    if (type.len == 0)
        fail(a, STR("invalid_stream"), STR("the stream has a frame that is no JSON object with a type"));
    else
        on_event(a, type, root);
    arena_done(&arena);
}

/* ---- the result ---- */

static void write_result(const struct anthropic_events *a, bool text, bool tools, struct strbuf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    if (text)
        json_kv_str(&w, "text", strbuf_str(&a->text));
    else
        json_kv_bool(&w, "textTruncated", true);
    json_kv_raw(&w, "stopReason", a->stop_reason.len > 0 ? strbuf_str(&a->stop_reason) : STR("null"));
    json_key(&w, "usage");
    json_object_begin(&w);
    write_usage(a, &w);
    json_object_end(&w);
    if (tools) {
        json_key(&w, "toolUses");
        json_array_begin(&w);
        if (a->tools.len > 0)
            json_raw(&w, strbuf_str(&a->tools));
        json_array_end(&w);
    } else {
        json_kv_bool(&w, "toolUsesTruncated", true);
    }
    json_object_end(&w);
}

void anthropic_events_result(const struct anthropic_events *a, struct strbuf *out)
{
    static const struct {
        bool text, tools;
    } tries[] = {{true, true}, {true, false}, {false, true}, {false, false}};
    struct strbuf all;
    strbuf_init(&all, LIMIT_RESULT);
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) { /* escapes make it longer, and text and tools count together */
        strbuf_reset(&all);
        write_result(a, tries[i].text && !a->text_truncated, tries[i].tools && !a->tools_truncated, &all);
        if (!strbuf_failed(&all))
            break;
    }
    strbuf_add(out, strbuf_str(&all));
    strbuf_done(&all);
}
