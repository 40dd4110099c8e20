/* Protocol `goose`: what goose prints with --output-format stream-json. Lines: `message` (role, content: text, toolRequest, toolResponse, thinking, …; a provider that streams gives a message in many lines of one id,
 * each with what is new), `notification`, `model_change`, `error`, `complete`. Its result is the text of its last reply. */
#include <stdlib.h>

#include "common/limits.h"
#include "runner/adapter_tool.h"

enum { ID_MAX = 128 };

struct goose {
    struct tool_skills skills;
    struct strbuf reply; /* the text of the last reply so far */
    char id[ID_MAX];     /* its message's */
    bool over;           /* something else came behind it: the next text begins another */
    bool failed;         /* the last line but `complete` was an error */
};

static struct goose *state_of(struct adapter *a)
{
    if (!a->state) {
        struct goose *g = calloc(1, sizeof *g);
        PRE(g);
        strbuf_init(&g->reply, LIMIT_RESULT);
        a->state = g;
    }
    return a->state;
}

static void add_reply(struct goose *g, struct str id, struct str text)
{
    char cut[ID_MAX] = "";
    memcpy(cut, id.ptr ? id.ptr : "", id.len < ID_MAX ? id.len : ID_MAX - 1);
    if (g->over || memcmp(cut, g->id, ID_MAX) != 0)
        strbuf_reset(&g->reply);
    memcpy(g->id, cut, ID_MAX);
    g->over = false;
    strbuf_add(&g->reply, text);
}

/* {"type":"toolRequest","id","toolCall":{"status":"success","value":{"name","arguments"}} or {"status":"error","error"}} */
static void tool_request(struct adapter *a, struct arena *arena, const struct json *block)
{
    static const char *const of_block[] = {"type", "id", "toolCall", NULL}, *const of_value[] = {"name", "arguments",
                                                                                                 NULL};
    static const char *const of_call[] = {"status", "value", "error", NULL};
    const struct json *call = tool_open(arena, json_get(block, "toolCall"));
    const struct json *value = tool_open(arena, json_get(call, "value")), *error = json_get(call, "error");
    const struct json *input = json_get(value, "arguments");
    struct str name = tool_string(value, "name");
    struct tool_event e;
    tool_begin(&e);
    tool_id(&e, block, "id");
    json_kv_str(&e.w, "name", name);
    json_kv_raw(&e.w, "input", input ? input->raw : STR("null"));
    if (error)
        json_kv_raw(&e.w, "error", error->raw);
    tool_rest(&e, "value", value, of_value);
    tool_rest(&e, "call", call, of_call);
    tool_rest(&e, "rest", block, of_block);
    tool_end(a, &e, EVENT_TOOL_REQUEST);
    struct str base = name;
    for (size_t i = 0; i + 1 < name.len; i++)
        if (name.ptr[i] == '_' && name.ptr[i + 1] == '_') /* extension__tool */
            base = (struct str){name.ptr + i + 2, name.len - i - 2};
    if (str_eqz(base, "loadSkill") || str_eqz(base, "load_skill"))
        tool_skill_asked(&state_of(a)->skills, tool_string(block, "id"), tool_string(tool_open(arena, input), "name"));
}

/* {"type":"toolResponse","id","toolResult":{"status":"success","value":{"content":[…],"isError"}} or {"status":"error","error"}}; older ones have the content as the value. */
static void tool_response(struct adapter *a, struct arena *arena, const struct json *block)
{
    static const char *const of_block[] = {"type", "id", "toolResult", NULL}, *const of_value[] = {"content", "isError",
                                                                                                   NULL};
    static const char *const of_result[] = {"status", "value", "error", NULL};
    const struct json *result = tool_open(arena, json_get(block, "toolResult"));
    const struct json *raw = json_get(result, "value"), *error = json_get(result, "error");
    const struct json *value = raw && raw->type == JSON_OBJECT ? tool_open(arena, raw) : NULL;
    const struct json *output = json_get(value, "content");
    bool is_error = tool_true(value, "isError") || error || tool_is(result, "status", "error");
    struct tool_event e;
    tool_begin(&e);
    tool_id(&e, block, "id");
    if (output)
        json_kv_raw(&e.w, "output", output->raw);
    else
        json_kv_raw(&e.w, "output", raw ? raw->raw : error ? error->raw : STR("null"));
    if (error && raw)
        json_kv_raw(&e.w, "error", error->raw);
    if (is_error)
        json_kv_bool(&e.w, "isError", true);
    if (output)
        tool_rest(&e, "value", value, of_value);
    tool_rest(&e, "result", result, of_result);
    tool_rest(&e, "rest", block, of_block);
    tool_end(a, &e, EVENT_TOOL_RESPONSE);
    tool_skill_answered(a, &state_of(a)->skills, tool_string(block, "id"), is_error);
}

/* A call that says what is called, or why nothing can be. */
static bool is_request(struct arena *arena, const struct json *block)
{
    const struct json *call = tool_open(arena, json_get(block, "toolCall")),
                      *value = tool_open(arena, json_get(call, "value"));
    bool named = tool_is(block, "type", "toolRequest") || tool_is(block, "type", "frontendToolRequest");
    return named && (tool_string(value, "name").len > 0 || (!json_get(call, "value") && json_get(call, "error")));
}

static bool is_response(struct arena *arena, const struct json *block)
{
    const struct json *result = tool_open(arena, json_get(block, "toolResult"));
    return tool_is(block, "type", "toolResponse") && (json_get(result, "value") || json_get(result, "error"));
}

static void other_block(struct adapter *a, const struct json *message, const struct json *block)
{
    struct tool_event e;
    tool_begin(&e);
    if (tool_is(block, "type", "toolConfirmationRequest") || tool_is(block, "type", "actionRequired"))
        json_kv_str(&e.w, "type", STR("input_request"));
    json_kv_str(&e.w, "protocol", STR("goose"));
    json_kv_str_opt(&e.w, "role", tool_string(message, "role"));
    json_kv_str_opt(&e.w, "messageId", tool_string(message, "id"));
    json_kv_raw(&e.w, "block", block->raw);
    tool_end(a, &e, EVENT_NOTIFICATION);
}

static void one_block(struct adapter *a, struct arena *arena, const struct json *message, const struct json *raw)
{
    struct goose *g = state_of(a);
    const struct json *block = raw->type == JSON_OBJECT ? tool_open(arena, raw) : NULL;
    struct str text = tool_string(block, "text"), id = tool_string(message, "id");
    if (tool_is(block, "type", "text") && text.len > 0 && tool_is(message, "role", "assistant")) {
        add_reply(g, id, text);
        tool_text(a, text, "messageId", id);
        tool_text_rest(a, block); /* annotations */
    } else if (block && is_request(arena, block)) {
        g->over = true;
        tool_request(a, arena, block);
    } else if (block && is_response(arena, block)) {
        g->over = true;
        tool_response(a, arena, block);
    } else {
        other_block(a, message, block ? block : raw);
    }
}

/* What of a message is no content and no transport (its id stands with its events; created is when it was begun). */
static void rest_of_message(struct adapter *a, const struct json *root, const struct json *message)
{
    static const char *const of_root[] = {"type", "message", NULL}, *const of_message[] = {"id",       "role",
                                                                                           "created",  "content",
                                                                                           "metadata", NULL};
    const struct json *metadata = json_get(message, "metadata"), *role = json_get(message, "role");
    bool usual = (role && role->type != JSON_STRING)
                     ? false
                     : !metadata || str_eqz(metadata->raw, "{\"userVisible\":true,\"agentVisible\":true}") ||
                           str_eqz(metadata->raw, "{\"agentVisible\":true,\"userVisible\":true}");
    size_t known = 0;
    for (const struct json *m = message->child; m; m = m->next)
        for (size_t i = 0; of_message[i]; i++)
            known += str_eqz(m->key, of_message[i]);
    if (usual && known == message->count && root->count == 2)
        return;
    struct tool_event e;
    tool_begin(&e);
    json_kv_str(&e.w, "protocol", STR("goose"));
    static const char *const content[] = {"content", NULL};
    tool_rest(&e, "message", message, content);
    tool_rest(&e, "line", root, of_root);
    tool_end(a, &e, EVENT_NOTIFICATION);
}

static void message_line(struct adapter *a, struct arena *arena, const struct json *root)
{
    const struct json *message = tool_open(arena, json_get(root, "message"));
    const struct json *list = json_get(message, "content");
    const struct json *content = list && list->type == JSON_ARRAY ? tool_open(arena, list) : NULL;
    if (!content || !content->child) {
        tool_note(a, NULL, "line", root->raw);
        return;
    }
    state_of(a)->failed = false;
    if (!tool_is(message, "role", "assistant"))
        state_of(a)->over = true;
    for (const struct json *block = content->child; block; block = block->next) {
        struct arena inner;
        arena_init(&inner, ADAPTER_ARENA_MAX);
        one_block(a, &inner, message, block);
        arena_done(&inner);
    }
    rest_of_message(a, root, message);
}

static void error_line(struct adapter *a, const struct json *root)
{
    static const char *const known[] = {"type", "error", NULL};
    const struct json *error = json_get(root, "error");
    struct tool_event e;
    tool_begin(&e);
    json_kv_str(&e.w, "protocol", STR("goose"));
    json_kv_raw(&e.w, "message", error ? error->raw : STR("\"\""));
    tool_rest(&e, "line", root, known);
    tool_end(a, &e, EVENT_STREAM_ERROR);
    state_of(a)->failed = true;
    adapter_claim_message(a, !error ? STR("") : error->type == JSON_STRING ? error->string : error->raw);
}

static void complete_line(struct adapter *a, const struct json *root)
{
    static const char *const known[] = {"type", NULL};
    struct tool_event e;
    tool_begin(&e);
    json_kv_str(&e.w, "type", STR("usage"));
    json_kv_str(&e.w, "protocol", STR("goose"));
    tool_rest(&e, "usage", root, known);
    tool_end(a, &e, EVENT_NOTIFICATION);
    a->claim.made = true;
}

static void goose_line(struct adapter *a, struct arena *arena, const struct json *root)
{
    if (tool_is(root, "type", "message"))
        message_line(a, arena, root);
    else if (tool_is(root, "type", "error"))
        error_line(a, root);
    else if (tool_is(root, "type", "complete"))
        complete_line(a, root);
    else
        tool_note(a, NULL, "line", root->raw);
}

/* An error that nothing came behind is what it ended with, whatever its exit status says. */
static void goose_end(struct adapter *a)
{
    struct goose *g = a->state;
    if (!g)
        return;
    if (g->failed) {
        a->claim.made = a->claim.error = true;
        return;
    }
    strbuf_reset(&a->claim.message);
    if (strbuf_failed(&g->reply))
        a->claim.result.failed = true; /* longer than a result may be */
    else if (g->reply.len > 0)
        json_quote(&a->claim.result, strbuf_str(&g->reply));
}

static void goose_done(struct adapter *a)
{
    struct goose *g = a->state;
    if (!g)
        return;
    tool_skills_done(&g->skills);
    strbuf_done(&g->reply);
    free(g);
}

const struct adapter_protocol adapter_goose = {"goose", NULL, goose_line, goose_end, goose_done};
