/* Protocol `claude`: what Claude Code prints with --output-format stream-json --verbose. Lines: `system` (init, api_retry, compact_boundary, hooks, …), `assistant` and `user` (a message of the Messages API, whole, or
 * one block of it), `stream_event` (with --include-partial-messages: an event of the API's stream, whose text comes again in the `assistant` line), `control_request` (it asks), `result` (its last word of a turn). */
#include <sodium.h>
#include <stdlib.h>

#include "common/limits.h"
#include "runner/adapter_tool.h"

enum { STREAMS_MAX = 16, BLOCKS_MAX = 64 };

/* Text that was shown by deltas and is to come once more, whole: its length and hash say whether it is the same. */
struct shown_block {
    struct shown_block *next;
    uint64_t message, index;
    size_t len;
    crypto_hash_sha256_state hash;
};

/* Which message is being streamed, by the tool call (of a sub-agent) that it belongs to. */
struct open_message {
    uint64_t parent, message;
};

struct claude {
    struct tool_skills skills;
    struct shown_block *first; /* oldest first */
    size_t blocks;
    struct open_message open[STREAMS_MAX];
    size_t next_open;
};

static struct claude *state_of(struct adapter *a)
{
    if (!a->state)
        a->state = calloc(1, sizeof(struct claude));
    PRE(a->state);
    return a->state;
}

static uint64_t mix(uint64_t h, struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.ptr[i]) * UINT64_C(1099511628211);
    return (h ^ 0x1ff) * UINT64_C(1099511628211);
}

static uint64_t parent_of(const struct json *root)
{
    return mix(UINT64_C(14695981039346656037), tool_string(root, "parent_tool_use_id"));
}

/* ---- text that comes twice ---- */

static struct open_message *open_of(struct claude *c, uint64_t parent)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (c->open[i].parent == parent)
            return &c->open[i];
    return NULL;
}

static void open_message(struct claude *c, uint64_t parent, struct str id)
{
    struct open_message *o = open_of(c, parent);
    if (!o)
        o = &c->open[c->next_open++ % STREAMS_MAX];
    *o = (struct open_message){parent, mix(parent, id)};
}

static void drop(struct claude *c, struct shown_block **at)
{
    struct shown_block *b = *at;
    if (!b)
        return;
    *at = b->next;
    free(b);
    c->blocks--;
}

/* Where the block is, or where it is to be put. */
static struct shown_block **place_of(struct claude *c, uint64_t message, uint64_t index)
{
    struct shown_block **at = &c->first;
    while (*at && ((*at)->message != message || (*at)->index != index))
        at = &(*at)->next;
    return at;
}

static void remember(struct claude *c, uint64_t message, uint64_t index, struct str text)
{
    struct shown_block **at = place_of(c, message, index);
    if (!*at) {
        if (c->blocks >= BLOCKS_MAX)
            drop(c, &c->first);
        at = place_of(c, message, index);
        *at = calloc(1, sizeof **at);
        PRE(*at);
        (*at)->message = message;
        (*at)->index = index;
        crypto_hash_sha256_init(&(*at)->hash);
        c->blocks++;
    }
    (*at)->len += text.len;
    crypto_hash_sha256_update(&(*at)->hash, (const unsigned char *)text.ptr, text.len);
}

static bool begins_with(struct str text, const struct shown_block *b)
{
    unsigned char own[crypto_hash_sha256_BYTES], its[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_state copy = b->hash;
    if (b->len > text.len)
        return false;
    crypto_hash_sha256_final(&copy, its);
    crypto_hash_sha256(own, (const unsigned char *)text.ptr, b->len);
    return memcmp(own, its, sizeof own) == 0;
}

/* What of a whole text was not shown by deltas yet. Where they say something else it is all of it: twice is better than never. */
static struct str not_shown(struct claude *c, uint64_t parent, struct str message_id, struct str text)
{
    uint64_t known = mix(parent, message_id), unknown = mix(parent, STR(""));
    for (struct shown_block **at = &c->first; *at; at = &(*at)->next)
        if (((*at)->message == known || (*at)->message == unknown) && begins_with(text, *at)) {
            text.ptr += (*at)->len;
            text.len -= (*at)->len;
            drop(c, at);
            break;
        }
    return text;
}

/* ---- blocks ---- */

static void parent_id(struct tool_event *e, const struct json *root)
{
    const struct json *parent = json_get(root, "parent_tool_use_id");
    if (parent && parent->type == JSON_STRING)
        json_kv_raw(&e->w, "parentId", parent->raw);
}

static void other_block(struct adapter *a, const struct json *root, const struct json *message,
                        const struct json *block)
{
    struct tool_event e;
    tool_begin(&e);
    json_kv_str(&e.w, "protocol", STR("claude"));
    json_kv_str_opt(&e.w, "role", tool_string(message, "role"));
    parent_id(&e, root);
    json_kv_raw(&e.w, "block", block->raw);
    tool_end(a, &e, EVENT_NOTIFICATION);
}

/* tool_use, server_tool_use, mcp_tool_use */
static void request_block(struct adapter *a, struct arena *arena, const struct json *root, const struct json *block)
{
    static const char *const known[] = {"type", "id", "name", "input", NULL};
    const struct json *input = json_get(block, "input");
    struct str name = tool_string(block, "name");
    struct tool_event e;
    tool_begin(&e);
    tool_id(&e, block, "id");
    json_kv_str(&e.w, "name", name);
    json_kv_raw(&e.w, "input", input ? input->raw : STR("null"));
    parent_id(&e, root);
    tool_rest(&e, "rest", block, known);
    tool_end(a, &e, EVENT_TOOL_REQUEST);
    if (str_eqz(name, "Skill")) {
        const struct json *words = tool_open(arena, input);
        struct str skill = tool_string(words, "skill");
        tool_skill_asked(&state_of(a)->skills, tool_string(block, "id"),
                         skill.len > 0 ? skill : tool_string(words, "command"));
    }
}

/* tool_result, and those of the server's own tools: web_search_tool_result, mcp_tool_result, … */
static void response_block(struct adapter *a, const struct json *root, const struct json *block)
{
    static const char *const known[] = {"type", "tool_use_id", "content", "is_error", NULL};
    const struct json *content = json_get(block, "content");
    const struct json *wrong = json_get(block, "is_error");
    bool is_error = tool_true(block, "is_error");
    struct tool_event e;
    tool_begin(&e);
    tool_id(&e, block, "tool_use_id");
    json_kv_raw(&e.w, "output", content ? content->raw : STR("null"));
    if (is_error || (wrong && wrong->type != JSON_BOOL && wrong->type != JSON_NULL))
        json_kv_raw(&e.w, "isError", wrong->raw);
    parent_id(&e, root);
    tool_rest(&e, "rest", block, known);
    tool_end(a, &e, EVENT_TOOL_RESPONSE);
    tool_skill_answered(a, &state_of(a)->skills, tool_string(block, "tool_use_id"), is_error);
}

static bool ends_with(struct str s, struct str end)
{
    return s.len >= end.len && memcmp(s.ptr + s.len - end.len, end.ptr, end.len) == 0;
}

static void one_block(struct adapter *a, struct arena *arena, const struct json *root, const struct json *message,
                      const struct json *raw)
{
    const struct json *block = raw->type == JSON_OBJECT ? tool_open(arena, raw) : NULL;
    struct str type = tool_string(block, "type"), text = tool_string(block, "text");
    bool assistant = tool_is(root, "type", "assistant");
    if (assistant && str_eqz(type, "text") && text.len > 0) {
        text = not_shown(state_of(a), parent_of(root), tool_string(message, "id"), text);
        tool_text(a, text, "parentId", tool_string(root, "parent_tool_use_id"));
        tool_text_rest(a, block); /* citations */
    } else if (assistant && ends_with(type, STR("tool_use")) && tool_string(block, "name").len > 0) {
        request_block(a, arena, root, block);
    } else if (ends_with(type, STR("tool_result")) && tool_string(block, "tool_use_id").len > 0) {
        response_block(a, root, block);
    } else {
        other_block(a, root, message, block ? block : raw);
    }
}

/* ---- lines ---- */

/* What of a line is none of its blocks; with what the model took. */
static void rest_of_line(struct adapter *a, const struct json *root, const struct json *message)
{
    static const char *const of_message[] = {"content", "usage", NULL}, *const of_root[] = {"message", NULL};
    const struct json *usage = json_get(message, "usage");
    struct tool_event e;
    tool_begin(&e);
    if (usage)
        json_kv_str(&e.w, "type", STR("usage"));
    json_kv_str(&e.w, "protocol", STR("claude"));
    if (usage)
        json_kv_raw(&e.w, "usage", usage->raw);
    tool_rest(&e, "message", message, of_message);
    tool_rest(&e, "line", root, of_root);
    tool_end(a, &e, EVENT_NOTIFICATION);
}

static void stream_error(struct adapter *a, const struct json *message, struct str otherwise)
{
    struct tool_event e;
    tool_begin(&e);
    json_kv_str(&e.w, "protocol", STR("claude"));
    if (message && message->type != JSON_NULL)
        json_kv_raw(&e.w, "message", message->raw);
    else
        json_kv_str(&e.w, "message", otherwise);
    tool_end(a, &e, EVENT_STREAM_ERROR);
}

static void message_line(struct adapter *a, struct arena *arena, const struct json *root)
{
    const struct json *message = tool_open(arena, json_get(root, "message")), *error = json_get(root, "error");
    const struct json *list = json_get(message, "content");
    const struct json *content = list && list->type == JSON_ARRAY ? tool_open(arena, list) : NULL;
    if (!content) { /* what was typed comes back as a string: --replay-user-messages */
        tool_note(a, NULL, "line", root->raw);
        return;
    }
    for (const struct json *block = content->child; block; block = block->next) {
        struct arena inner;
        arena_init(&inner, ADAPTER_ARENA_MAX);
        one_block(a, &inner, root, message, block);
        arena_done(&inner);
    }
    if (error && error->type != JSON_NULL)
        stream_error(a, error, STR(""));
    rest_of_line(a, root, message);
}

static void stream_line(struct adapter *a, struct arena *arena, const struct json *root)
{
    struct claude *c = state_of(a);
    const struct json *event = tool_open(arena, json_get(root, "event"));
    const struct json *delta = tool_open(arena, json_get(event, "delta")), *index = json_get(event, "index");
    uint64_t parent = parent_of(root);
    struct str text = tool_string(delta, "text");
    if (tool_is(event, "type", "content_block_delta") && tool_is(delta, "type", "text_delta") && text.len > 0) {
        const struct open_message *o = open_of(c, parent);
        remember(c, o ? o->message : mix(parent, STR("")),
                 index && index->type == JSON_INT ? (uint64_t)index->integer : 0, text);
        tool_text(a, text, "parentId", tool_string(root, "parent_tool_use_id"));
        return;
    }
    if (tool_is(event, "type", "message_start"))
        open_message(c, parent, tool_string(tool_open(arena, json_get(event, "message")), "id"));
    tool_note(a, NULL, "line", root->raw);
}

static void system_line(struct adapter *a, const struct json *root)
{
    const struct json *error = json_get(root, "error");
    bool wrong = tool_is(root, "subtype", "api_retry") || tool_is(root, "subtype", "api_error") ||
                 (error && error->type != JSON_NULL);
    if (wrong)
        stream_error(a, error, tool_string(root, "subtype"));
    tool_note(a, NULL, "line", root->raw);
}

/* The message of a turn that went wrong: its text, its list of errors, or what kind of end it was. */
static void result_message(struct adapter *a, struct arena *arena, const struct json *root)
{
    struct str text = tool_string(root, "result");
    const struct json *errors = tool_open(arena, json_get(root, "errors"));
    const struct json *first = errors ? errors->child : NULL;
    if (text.len == 0 && first)
        text = first->type == JSON_STRING ? first->string : first->raw;
    if (text.len == 0)
        text = tool_string(root, "subtype");
    adapter_claim_message(a, text);
    stream_error(a, NULL, text);
}

/* The last one counts: with stdin open each turn has its own. */
static void result_line(struct adapter *a, struct arena *arena, const struct json *root)
{
    const struct json *structured = json_get(root, "structured_output"), *result = json_get(root, "result"),
                      *usage = json_get(root, "usage");
    bool error = tool_true(root, "is_error") || (json_get(root, "subtype") && !tool_is(root, "subtype", "success"));
    bool has_structure = structured && structured->type != JSON_NULL;
    static const char *const plain[] = {"usage", "result", NULL},
                             *const with_structure[] = {"usage", "structured_output", NULL},
                             *const nothing_taken[] = {"usage", NULL};
    bool taken = !error || (result && result->type == JSON_STRING);
    strbuf_reset(&a->claim.result);
    strbuf_reset(&a->claim.message);
    a->claim.made = true;
    a->claim.too_long = false;
    a->claim.error = error;
    if (error)
        result_message(a, arena, root);
    if (has_structure)
        strbuf_add(&a->claim.result, structured->raw);
    else if (result && result->type != JSON_NULL && !error)
        strbuf_add(&a->claim.result, result->raw);
    struct tool_event e;
    tool_begin(&e);
    json_kv_str(&e.w, "type", STR("usage"));
    json_kv_str(&e.w, "protocol", STR("claude"));
    if (usage)
        json_kv_raw(&e.w, "usage", usage->raw);
    tool_rest(&e, "line", root, has_structure ? with_structure : taken ? plain : nothing_taken);
    tool_end(a, &e, EVENT_NOTIFICATION);
}

static void claude_line(struct adapter *a, struct arena *arena, const struct json *root)
{
    if (tool_is(root, "type", "assistant") || tool_is(root, "type", "user"))
        message_line(a, arena, root);
    else if (tool_is(root, "type", "stream_event"))
        stream_line(a, arena, root);
    else if (tool_is(root, "type", "system"))
        system_line(a, root);
    else if (tool_is(root, "type", "result"))
        result_line(a, arena, root);
    else
        tool_note(a, tool_is(root, "type", "control_request") ? "input_request" : NULL, "line", root->raw);
}

static void claude_done(struct adapter *a)
{
    struct claude *c = a->state;
    if (!c)
        return;
    while (c->first)
        drop(c, &c->first);
    tool_skills_done(&c->skills);
    free(c);
}

const struct adapter_protocol adapter_claude = {"claude", "\"type\":\"result\"", claude_line, NULL, claude_done};
