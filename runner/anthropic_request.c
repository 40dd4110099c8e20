#include "runner/anthropic_request.h"

#include "common/limits.h"

enum { ARENA_MAX = 16 << 20, SETTINGS_LEVELS = 5, NAME_SHOWN = 64 };

/* What may be set for a model, and of which type it is. What is not here is refused: a setting that is misspelled would else be one that is not heeded. */
static const struct setting {
    const char *name;
    enum json_type type; /* JSON_DOUBLE: any number */
    double min, max;     /* of numbers */
} settings[] = {
    {"max_tokens", JSON_INT, 1, 1e9},     {"metadata", JSON_OBJECT, 0, 0},    {"service_tier", JSON_STRING, 0, 0},
    {"stop_sequences", JSON_ARRAY, 0, 0}, {"temperature", JSON_DOUBLE, 0, 1}, {"thinking", JSON_OBJECT, 0, 0},
    {"tool_choice", JSON_OBJECT, 0, 0},   {"tools", JSON_ARRAY, 0, 0},        {"top_k", JSON_INT, 0, 1e9},
    {"top_p", JSON_DOUBLE, 0, 1},
};

struct str anthropic_model(struct str model)
{
    struct str provider = STR("anthropic/");
    return str_starts(model, provider) ? (struct str){model.ptr + provider.len, model.len - provider.len} : model;
}

static bool refuse(struct strbuf *why, const char *sentence)
{
    strbuf_addz(why, sentence);
    return false;
}

static const struct setting *setting_of(struct str key)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        if (str_eqz(key, settings[i].name))
            return &settings[i];
    return NULL;
}

static bool fits(const struct setting *s, const struct json *v)
{
    if (s->type != JSON_INT && s->type != JSON_DOUBLE)
        return v->type == s->type;
    double n = v->type == JSON_INT ? (double)v->integer : v->type == JSON_DOUBLE ? v->number : s->min - 1;
    return (v->type == JSON_INT || s->type == JSON_DOUBLE) && n >= s->min && n <= s->max;
}

static bool bad_setting(struct strbuf *why, struct str model, const struct json *v, const struct setting *s)
{
    static const char *const types[] = {[JSON_INT] = "an integer",
                                        [JSON_DOUBLE] = "a number",
                                        [JSON_STRING] = "a string",
                                        [JSON_ARRAY] = "an array",
                                        [JSON_OBJECT] = "an object"};
    strbuf_addf(why, "llmSettings.perModel[\"anthropic/%.*s\"]: %.*s ",
                (int)(model.len < NAME_SHOWN ? model.len : NAME_SHOWN), model.ptr,
                (int)(v->key.len < NAME_SHOWN ? v->key.len : NAME_SHOWN), v->key.ptr);
    if (!s) {
        strbuf_addz(why, "is no setting that is known here; known are");
        for (size_t i = 0; i < ARRAY_LEN(settings); i++)
            strbuf_addf(why, "%s %s", i > 0 ? "," : "", settings[i].name);
    } else {
        strbuf_addf(why, "must be %s", types[s->type]);
        if (s->type == JSON_INT || s->type == JSON_DOUBLE)
            strbuf_addf(why, " from %g to %g", s->min, s->max);
    }
    return false;
}

static bool write_settings(struct arena *a, const struct anthropic_job *job, struct str model, struct json_writer *w,
                           struct strbuf *why)
{
    struct json *def = NULL;
    char key[ANTHROPIC_MODEL_MAX + 16] = "anthropic/";
    memcpy(key + 10, model.ptr, model.len);
    if (json_parse(a, job->definition, LIMIT_JSON_DEPTH, SETTINGS_LEVELS, &def, NULL) != ERR_OK)
        return refuse(why, "the definition could not be read");
    const struct json *mine = json_get(json_get(json_get(def, "llmSettings"), "perModel"), key);
    if (mine && mine->repeated_key)
        return refuse(why, "llmSettings: a setting stands twice");
    for (const struct json *v = mine ? mine->child : NULL; v; v = v->next) {
        const struct setting *s = setting_of(v->key);
        if (!s || !fits(s, v))
            return bad_setting(why, model, v, s);
        json_kv_raw(w, s->name, v->raw);
    }
    if (!json_get(mine, "max_tokens"))
        json_kv_int(w, "max_tokens", ANTHROPIC_MAX_TOKENS);
    return true;
}

static bool message_ok(const struct json *m)
{
    const struct json *role = json_get(m, "role"), *content = json_get(m, "content");
    bool named = m->type == JSON_OBJECT && m->count == 2 && role && role->type == JSON_STRING && content &&
                 (str_eqz(role->string, "user") || str_eqz(role->string, "assistant"));
    if (!named || (content->type != JSON_STRING && content->type != JSON_ARRAY))
        return false;
    bool ok = content->type == JSON_STRING ? content->string.len > 0 : content->count > 0;
    for (const struct json *b = content->type == JSON_ARRAY ? content->child : NULL; b && ok; b = b->next)
        ok = b->type == JSON_OBJECT && json_get(b, "type");
    return ok;
}

static bool messages_ok(const struct json *list)
{
    bool ok = list->type == JSON_ARRAY && list->count > 0;
    for (const struct json *m = ok ? list->child : NULL; m && ok; m = m->next)
        ok = message_ok(m);
    return ok && str_eqz(json_get(list->child, "role")->string, "user");
}

static bool write_messages(struct arena *a, struct str input, struct json_writer *w, struct strbuf *why)
{
    struct json *root = NULL;
    if (json_parse(a, input, LIMIT_JSON_DEPTH, SETTINGS_LEVELS, &root, NULL) != ERR_OK)
        return refuse(why, "the input could not be read");
    const struct json *prompt = root->type == JSON_STRING ? root : json_get(root, "prompt");
    const struct json *messages = json_get(root, "messages");
    bool alone = root->type == JSON_STRING || (root->type == JSON_OBJECT && root->count == 1);
    if (alone && prompt && prompt->type == JSON_STRING && prompt->string.len > 0) {
        json_key(w, "messages");
        json_array_begin(w);
        json_object_begin(w);
        json_kv_str(w, "role", STR("user"));
        json_kv_raw(w, "content", prompt->raw);
        json_object_end(w);
        json_array_end(w);
        return true;
    }
    if (!alone || !messages)
        return refuse(why, "the executor anthropic takes as input a string that is not empty, {\"prompt\": \"…\"}, or "
                           "{\"messages\": […]}, and nothing beside them");
    if (!messages_ok(messages))
        return refuse(why, "input.messages must be an array, the first of role user, each {\"role\": "
                           "\"user\"|\"assistant\", \"content\": a string or an array of blocks with a type}");
    json_kv_raw(w, "messages", messages->raw);
    return true;
}

bool anthropic_request(const struct anthropic_job *job, struct strbuf *out, struct strbuf *ret_why)
{
    struct arena arena;
    struct json_writer w;
    struct str model = anthropic_model(job->model);
    if (model.len == 0 || model.len > ANTHROPIC_MODEL_MAX)
        return refuse(ret_why, "model must be the name of a model, at most 128 bytes");
    arena_init(&arena, ARENA_MAX);
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str(&w, "model", model);
    json_kv_bool(&w, "stream", true);
    bool ok = write_settings(&arena, job, model, &w, ret_why) && write_messages(&arena, job->input, &w, ret_why);
    json_kv_str_opt(&w, "system", job->system);
    json_object_end(&w);
    arena_done(&arena);
    if (ok && strbuf_failed(out))
        return refuse(ret_why, "out of memory");
    return ok;
}
