#include "runner/adapter.h"

#include "common/json.h"
#include "common/limits.h"
#include "runner/adapter_tool.h"

enum {
    EVENT_OVERHEAD = 128,
    CLAIM_LINE_MAX = LIMIT_RESULT + LIMIT_EVENT,
    CLAIM_HEAD = 256,
    MESSAGE_KEPT = LIMIT_ENTRY /* much more than is shown: a secret is found before it is cut */
};

/* False when it is longer than an event may be. */
static bool notify(const char *stream, struct str text, bool partial, adapter_event_fn fn, void *ctx)
{
    struct strbuf data;
    struct json_writer w;
    strbuf_init(&data, LIMIT_EVENT - EVENT_OVERHEAD);
    json_writer_init(&w, &data);
    json_object_begin(&w);
    json_kv_str(&w, "stream", str_of(stream));
    json_kv_str(&w, "text", text);
    if (partial)
        json_kv_bool(&w, "partial", true);
    json_object_end(&w);
    bool fits = !strbuf_failed(&data);
    if (fits)
        fn(ctx, EVENT_NOTIFICATION, strbuf_str(&data));
    strbuf_done(&data);
    return fits;
}

void adapter_notify_line(const char *stream, struct str line, bool partial, adapter_event_fn fn, void *ctx)
{
    if (line.len <= LINE_MAX_BYTES && notify(stream, line, partial, fn, ctx))
        return;
    while (line.len > 0) {
        struct str piece = line; /* so short that its escaped form fits for certain */
        if (piece.len > LINE_PIECE_BYTES) {
            piece.len = LINE_PIECE_BYTES;
            piece.len = utf8_complete_len(piece);
        }
        notify(stream, piece, true, fn, ctx);
        line.ptr += piece.len;
        line.len -= piece.len;
    }
}

/* One level of an object. NULL when it is none. */
static const struct json *members_of(struct arena *arena, const struct json *value)
{
    struct json *root = NULL;
    bool ok = value && value->type == JSON_OBJECT &&
              json_parse(arena, value->raw, LIMIT_JSON_DEPTH, 1, &root, NULL) == ERR_OK;
    return ok ? root : NULL;
}

void adapter_claim_message(struct adapter *a, struct str text)
{
    strbuf_reset(&a->claim.message);
    if (text.len > MESSAGE_KEPT) {
        text.len = MESSAGE_KEPT;
        text.len = utf8_complete_len(text);
    }
    strbuf_add(&a->claim.message, text);
}

/* What a runtime_terminal says of another attempt: noRetry, retryAfterMs. What is out of range is not said. */
static void claim_retry(const struct json *data, bool *no_retry, int64_t *retry_ms)
{
    const struct json *no = json_get(data, "noRetry"), *after = json_get(data, "retryAfterMs");
    *no_retry = no && no->type == JSON_BOOL && no->boolean;
    if (after && after->type == JSON_INT && after->integer >= 0 && after->integer <= (int64_t)LIMIT_DELAY_MS)
        *retry_ms = after->integer;
}

static void take_claim(struct adapter *a, struct arena *arena, const struct json *raw_data)
{
    const struct json *data = members_of(arena, raw_data);
    const struct json *status = json_get(data, "status"), *result = json_get(data, "result"),
                      *error = json_get(data, "error");
    const struct json *message = json_get(members_of(arena, error), "message");
    a->claim.made = true;
    a->claim.stopped = status && status->type == JSON_STRING && str_eqz(status->string, "stopped");
    a->claim.error = status && status->type == JSON_STRING && !a->claim.stopped && !str_eqz(status->string, "success");
    if (result)
        strbuf_add(&a->claim.result, result->raw);
    claim_retry(data, &a->claim.no_retry, &a->claim.retry_ms);
    if (message && message->type == JSON_STRING)
        adapter_claim_message(a, message->string);
    else if (error && error->type == JSON_STRING)
        adapter_claim_message(a, error->string);
}

static void plain_line(struct adapter *a, struct str line, bool piece)
{
    if (a->plain)
        a->plain(a->ctx, line, piece);
    else
        adapter_notify_line("stdout", line, piece, a->fn, a->ctx);
}

/* A line of a tool's own protocol. */
static void on_tool_line(void *ctx, struct str line, bool piece)
{
    struct adapter *a = ctx;
    struct arena arena;
    struct json *root = NULL;
    const char *last = a->protocol->last_line;
    if (piece) {
        struct str head = {line.ptr, line.len < CLAIM_HEAD ? line.len : CLAIM_HEAD};
        if (last && head.ptr[0] == '{' && memmem(head.ptr, head.len, last, strlen(last)))
            a->claim.made = a->claim.too_long = true;
        plain_line(a, line, true);
        return;
    }
    if (line.len == 0)
        return;
    arena_init(&arena, ADAPTER_ARENA_MAX);
    /* four levels less than an envelope's: its events are deeper than it by what they are wrapped in */
    bool is_json = line.ptr[0] == '{' && json_parse(&arena, line, LIMIT_JSON_DEPTH - 4, 1, &root, NULL) == ERR_OK;
    if (is_json)
        a->protocol->line(a, &arena, root);
    else
        plain_line(a, line, false);
    arena_done(&arena);
}

static void parse_line(struct adapter *a, struct str line)
{
    struct arena arena;
    struct json *root = NULL;
    arena_init(&arena, ADAPTER_ARENA_MAX);
    /* two levels less than an envelope's: the same data must pass there, too */
    bool is_json = line.ptr[0] == '{' && json_parse(&arena, line, LIMIT_JSON_DEPTH - 2, 1, &root, NULL) == ERR_OK;
    const struct json *kind = is_json ? json_get(root, "kind") : NULL, *data = is_json ? json_get(root, "data") : NULL;
    enum event_kind k = kind && kind->type == JSON_STRING ? event_kind_of(kind->string) : EVENT_KIND_COUNT;
    bool event = k != EVENT_KIND_COUNT && k != EVENT_RUNTIME_STARTED && data && data->type == JSON_OBJECT;
    if (event && k == EVENT_RUNTIME_TERMINAL && !a->claim.made) /* a result may be longer than an event */
        take_claim(a, &arena, data);
    else if (event && k != EVENT_RUNTIME_TERMINAL && data->raw.len + EVENT_OVERHEAD <= LIMIT_EVENT)
        a->fn(a->ctx, k, data->raw);
    else
        plain_line(a, line, false);
    arena_done(&arena);
}

static void on_line(void *ctx, struct str line, bool piece)
{
    struct adapter *a = ctx;
    if (piece) {
        struct str head = {line.ptr, line.len < CLAIM_HEAD ? line.len : CLAIM_HEAD};
        if (!a->claim.made && head.ptr[0] == '{' && memmem(head.ptr, head.len, "\"runtime_terminal\"", 18))
            a->claim.made = a->claim.too_long = true; /* what it says can't be known, but it is no silent success */
        plain_line(a, line, true);
    } else if (line.len > 0 && !(a->quick && a->quick(a->ctx, line))) {
        parse_line(a, line);
    }
}

/* ---- text ---- */

void adapter_restore_text(struct adapter *a, struct str text)
{
    if (!a->result_truncated)
        utf8_sanitize(&a->result_text, text);
    /* The limit is on what is stored: U+FFFD is longer than the byte that it stands for. */
    if (a->result_text.len > LIMIT_RESULT || strbuf_failed(&a->result_text)) {
        a->result_truncated = true;
        strbuf_done(&a->result_text);
    }
}

static void text_event(struct adapter *a, struct str text)
{
    struct strbuf data;
    struct json_writer w;
    adapter_restore_text(a, text);
    strbuf_init(&data, LIMIT_EVENT);
    json_writer_init(&w, &data);
    json_object_begin(&w);
    json_kv_str(&w, "text", text);
    json_object_end(&w);
    a->fn(a->ctx, EVENT_ASSISTANT_TEXT, strbuf_str(&data));
    strbuf_done(&data);
}

static void feed_text(struct adapter *a, struct str bytes)
{
    while (bytes.len > 0) {
        size_t n = bytes.len < LINE_PIECE_BYTES ? bytes.len : LINE_PIECE_BYTES;
        strbuf_add(&a->rest, (struct str){bytes.ptr, n});
        bytes.ptr += n;
        bytes.len -= n;
        struct str whole = strbuf_str(&a->rest);
        whole.len = utf8_complete_len(whole);
        if (whole.len > 0)
            text_event(a, whole);
        strbuf_consume(&a->rest, whole.len);
    }
}

/* ---- both ---- */

void adapter_init(struct adapter *a, struct str protocol, adapter_event_fn fn, void *ctx)
{
    *a = (struct adapter){.text = str_eqz(protocol, "text"),
                          .protocol = str_eqz(protocol, "goose")    ? &adapter_goose
                                      : str_eqz(protocol, "claude") ? &adapter_claude
                                                                    : NULL,
                          .fn = fn,
                          .ctx = ctx,
                          .claim.retry_ms = -1};
    lines_init(&a->lines, CLAIM_LINE_MAX);
    strbuf_init(&a->rest, 2 * LINE_PIECE_BYTES);
    strbuf_init(&a->result_text, 4 * (size_t)LIMIT_RESULT);
    strbuf_init(&a->claim.result, LIMIT_RESULT);
    strbuf_init(&a->claim.message, LIMIT_EVENT);
}

void adapter_done(struct adapter *a)
{
    if (a->protocol)
        a->protocol->done(a);
    a->state = NULL;
    lines_done(&a->lines);
    strbuf_done(&a->rest);
    strbuf_done(&a->result_text);
    strbuf_done(&a->claim.result);
    strbuf_done(&a->claim.message);
}

void adapter_feed(struct adapter *a, struct str bytes)
{
    if (a->text)
        feed_text(a, bytes);
    else
        lines_feed(&a->lines, bytes, a->protocol ? on_tool_line : on_line, a);
}

void adapter_end(struct adapter *a)
{
    if (a->text && a->rest.len > 0)
        text_event(a, strbuf_str(&a->rest));
    strbuf_reset(&a->rest);
    if (!a->text)
        lines_end(&a->lines, a->protocol ? on_tool_line : on_line, a);
    if (a->protocol && a->protocol->end)
        a->protocol->end(a);
}
