#include "api/validate.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/id.h"
#include "common/keys.h"
#include "common/limits.h"

enum { EXPANDED_LEVELS = 6 };

/* One validation under way. */
struct check {
    struct arena *arena;
    const char *at;
    struct fault *fault;
};

static bool refuse(struct check *c, enum err err, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool refuse(struct check *c, enum err err, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    char *detail = arena_printf(c->arena, "%s%s", c->at, text);
    *c->fault = (struct fault){detail ? err : ERR_NO_MEMORY, detail};
    return false;
}

bool validate_body(struct arena *a, struct str body, const struct json **ret_root, struct fault *ret_fault)
{
    struct json *root;
    const char *why = "it is malformed";
    enum err err = json_parse(a, body, LIMIT_JSON_DEPTH, EXPANDED_LEVELS, &root, &why);
    if (err) {
        char *detail = arena_printf(a, "the body is not valid JSON: %s", why);
        *ret_fault = (struct fault){err, detail};
        return false;
    }
    *ret_root = root;
    return true;
}

/* ---- fields ---- */

typedef bool (*field_fn)(struct check *c, const struct json *v, const char *name, void *out);

struct field {
    const char *name;
    field_fn fn;
    size_t offset; /* in the struct that is filled */
    int64_t min, max;
};

static bool take_name(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || !keys_name_valid(v->string))
        return refuse(
            c, ERR_INVALID_FIELD,
            "%s must be a string of letters, digits, '.', '_' and '-' that begins with a letter or digit, at most %d",
            name, LIMIT_NAME);
    *(struct str *)out = v->string;
    return true;
}

static bool take_text(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || v->string.len > 1024 || memchr(v->string.ptr, 0, v->string.len))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string of at most 1024 bytes without NUL", name);
    *(struct str *)out = v->string;
    return true;
}

static bool take_raw(struct check *c, const struct json *v, const char *name, void *out)
{
    (void)c;
    (void)name;
    *(struct str *)out = v->raw;
    return true;
}

static bool take_bool(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_BOOL)
        return refuse(c, ERR_INVALID_FIELD, "%s must be true or false", name);
    *(bool *)out = v->boolean;
    return true;
}

static bool in_range(struct check *c, const struct json *v, const char *name, int64_t min, int64_t max, int64_t *out)
{
    if (v->type != JSON_INT || v->integer < min || v->integer > max)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an integer from %lld to %lld", name, (long long)min,
                      (long long)max);
    *out = v->integer;
    return true;
}

/* Walks an object's members through a table; what the table does not know is refused by name. */
static bool take_object(struct check *c, const struct json *o, const struct field *fields, size_t n, void *out)
{
    if (o->repeated_key)
        return refuse(c, ERR_INVALID_FIELD, "a field stands twice in one object");
    for (const struct json *m = o->child; m; m = m->next) {
        const struct field *f = NULL;
        for (size_t i = 0; i < n && !f; i++)
            f = str_eqz(m->key, fields[i].name) ? &fields[i] : NULL;
        if (!f)
            return refuse(c, ERR_UNKNOWN_FIELD, "%.*s is not a field of this; remove it",
                          (int)(m->key.len > 100 ? 100 : m->key.len), m->key.ptr);
        void *at = (char *)out + f->offset;
        bool ok = f->fn ? f->fn(c, m, f->name, at) : in_range(c, m, f->name, f->min, f->max, at);
        if (!ok)
            return false;
    }
    return true;
}

/* ---- environment and labels ---- */

static bool env_name_valid(struct str s)
{
    if (s.len == 0 || s.len > 256 || (s.ptr[0] >= '0' && s.ptr[0] <= '9'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'))
            return false;
    }
    return true;
}

static bool check_variable(struct check *c, const char *name, struct str key, const struct json *value, size_t *bytes)
{
    if (!env_name_valid(key) || str_starts(key, STR("ERRAND_")))
        return refuse(
            c, ERR_INVALID_FIELD,
            "%s: \"%.*s\" is no name for a variable (letters, digits, '_', not beginning with a digit or with ERRAND_)",
            name, (int)(key.len > 64 ? 64 : key.len), key.ptr);
    if (!value || value->type != JSON_STRING || memchr(value->string.ptr, 0, value->string.len))
        return refuse(c, ERR_INVALID_FIELD, "%s: the value of %.*s must be a string without NUL", name, STR_ARG(key));
    *bytes += key.len + value->string.len;
    if (*bytes > LIMIT_ENV_BYTES)
        return refuse(c, ERR_INVALID_FIELD, "%s must be at most %d bytes in all", name, LIMIT_ENV_BYTES);
    return true;
}

/* A run's env: {"KEY": "value"}. */
static bool take_env(struct check *c, const struct json *v, const char *name, void *out)
{
    size_t bytes = 0;
    if (v->type != JSON_OBJECT || v->count > LIMIT_ENV_COUNT || v->repeated_key)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an object of at most %d variables, each once", name,
                      LIMIT_ENV_COUNT);
    for (const struct json *m = v->child; m; m = m->next)
        if (!check_variable(c, name, m->key, m, &bytes))
            return false;
    *(struct str *)out = v->raw;
    return true;
}

/* A definition's env: [{"key", "value", "description"?}]. */
static bool take_env_list(struct check *c, const struct json *v, const char *name, void *out)
{
    size_t bytes = 0;
    if (v->type != JSON_ARRAY || v->count > LIMIT_ENV_COUNT)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an array of at most %d {\"key\", \"value\"}", name,
                      LIMIT_ENV_COUNT);
    for (const struct json *m = v->child; m; m = m->next) {
        const struct json *key = json_get(m, "key"), *description = json_get(m, "description");
        size_t known = 2 + (description ? 1 : 0);
        if (m->type != JSON_OBJECT || m->repeated_key || !key || key->type != JSON_STRING || !json_get(m, "value") ||
            (description && description->type != JSON_STRING))
            return refuse(c, ERR_INVALID_FIELD,
                          "%s: each must be {\"key\": string, \"value\": string, \"description\"?: string}", name);
        if (m->count != known) {
            const struct json *odd = m->child;
            while (odd && (str_eqz(odd->key, "key") || str_eqz(odd->key, "value") || str_eqz(odd->key, "description")))
                odd = odd->next;
            struct str field = odd ? odd->key : STR("");
            return refuse(c, ERR_UNKNOWN_FIELD,
                          "%s: \"%.*s\" is no field of a variable; it has key, value and description", name,
                          (int)(field.len > 64 ? 64 : field.len), field.ptr);
        }
        if (!check_variable(c, name, key->string, json_get(m, "value"), &bytes))
            return false;
        for (const struct json *o = v->child; o != m; o = o->next)
            if (str_eq(json_get(o, "key")->string, key->string))
                return refuse(c, ERR_INVALID_FIELD, "%s: %.*s stands twice", name, STR_ARG(key->string));
    }
    *(struct str *)out = v->raw;
    return true;
}

/* {"key": "value"}, stored with our own escapes, because the list filter compares stored text. */
static bool take_labels(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_OBJECT || v->count > LIMIT_LABELS || v->repeated_key)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an object of at most %d labels, each once", name, LIMIT_LABELS);
    struct strbuf text;
    struct json_writer w;
    strbuf_init(&text, 1 << 20);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    for (const struct json *m = v->child; m; m = m->next) {
        if (m->type != JSON_STRING || m->key.len == 0 || m->key.len > LIMIT_LABEL_BYTES ||
            m->string.len > LIMIT_LABEL_BYTES || memchr(m->key.ptr, ':', m->key.len)) {
            strbuf_done(&text);
            return refuse(c, ERR_INVALID_FIELD,
                          "%s: each must be a string of at most %d bytes, its key 1 to %d bytes without ':'", name,
                          LIMIT_LABEL_BYTES, LIMIT_LABEL_BYTES);
        }
        json_key_str(&w, m->key);
        json_str(&w, m->string);
    }
    json_object_end(&w);
    *(struct str *)out = arena_str(c->arena, strbuf_str(&text));
    strbuf_done(&text);
    return true;
}

/* ---- agent definitions ---- */

struct raw_definition {
    struct str name, executor, protocol, event_source, workdir, stdin_mode, provider, queue, command, env, backoff_type;
    int64_t timeout_ms, grace_ms, max_attempts, base_ms, cap_ms;
    bool at_most_once;
};

static bool one_of(struct check *c, struct str value, const char *name, const char *const *words, size_t n)
{
    struct strbuf list;
    for (size_t i = 0; i < n; i++)
        if (str_eqz(value, words[i]))
            return true;
    strbuf_init(&list, 256);
    for (size_t i = 0; i < n; i++)
        strbuf_addf(&list, "%s\"%s\"", i ? " or " : "", words[i]);
    refuse(c, ERR_INVALID_FIELD, "%s must be %s", name, list.ptr);
    strbuf_done(&list);
    return false;
}

static bool take_command(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_ARRAY || v->count == 0 || v->count > LIMIT_COMMAND)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an array of 1 to %d words", name, LIMIT_COMMAND);
    for (const struct json *m = v->child; m; m = m->next)
        if (m->type != JSON_STRING || memchr(m->string.ptr, 0, m->string.len) || (m == v->child && m->string.len == 0))
            return refuse(c, ERR_INVALID_FIELD, "%s: each word must be a string without NUL, the first not empty",
                          name);
    *(struct str *)out = v->raw;
    return true;
}

static bool take_backoff(struct check *c, const struct json *v, const char *name, void *out)
{
    struct raw_definition *d = (struct raw_definition *)((char *)out - offsetof(struct raw_definition, backoff_type));
    static const struct field fields[] = {
        {"type", take_text, offsetof(struct raw_definition, backoff_type), 0, 0},
        {"baseMs", NULL, offsetof(struct raw_definition, base_ms), 0, 86400000},
        {"capMs", NULL, offsetof(struct raw_definition, cap_ms), 0, 604800000},
    };
    static const char *const types[] = {"exponential", "fixed"};
    if (v->type != JSON_OBJECT)
        return refuse(c, ERR_INVALID_FIELD, "%s must be {\"type\", \"baseMs\", \"capMs\"}", name);
    return take_object(c, v, fields, ARRAY_LEN(fields), d) &&
           one_of(c, d->backoff_type, "backoff.type", types, ARRAY_LEN(types));
}

static const struct field definition_fields[] = {
#define AT(member) offsetof(struct raw_definition, member)
    {"name", take_name, AT(name), 0, 0},
    {"executor", take_text, AT(executor), 0, 0},
    {"command", take_command, AT(command), 0, 0},
    {"protocol", take_text, AT(protocol), 0, 0},
    {"eventSource", take_text, AT(event_source), 0, 0},
    {"workdir", take_text, AT(workdir), 0, 0},
    {"env", take_env_list, AT(env), 0, 0},
    {"stdin", take_text, AT(stdin_mode), 0, 0},
    {"provider", take_text, AT(provider), 0, 0},
    {"timeoutMs", NULL, AT(timeout_ms), 1, LIMIT_RUN_TIMEOUT_MS},
    {"graceMs", NULL, AT(grace_ms), 0, LIMIT_GRACE_MS},
    {"maxAttempts", NULL, AT(max_attempts), 1, LIMIT_ATTEMPTS},
    {"atMostOnce", take_bool, AT(at_most_once), 0, 0},
    {"backoff", take_backoff, AT(backoff_type), 0, 0},
    {"queue", take_name, AT(queue), 0, 0},
#undef AT
};

static bool check_runtime(struct check *c, const struct raw_definition *d)
{
    static const char *const later[] = {"sandbox", "pool", "container", "fly", "http", "anthropic"};
    static const char *const providers[] = {"anthropic", "openai", "gemini", "mistral", "deepseek"};
    static const char *const protocols[] = {"events", "text"}, *const sources[] = {"stdout", "remote"};
    for (size_t i = 0; i < ARRAY_LEN(later); i++)
        if (str_eqz(d->executor, later[i]))
            return refuse(c, ERR_RUNTIME_NOT_IMPLEMENTED,
                          "executor \"%s\" has no runtime in this version; \"process\" has", later[i]);
    if (!str_eqz(d->executor, "process"))
        return refuse(c, ERR_INVALID_FIELD, "executor must be \"process\"");
    if (d->provider.len > 0) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(providers); i++)
            known = known || str_eqz(d->provider, providers[i]);
        if (!known)
            return refuse(c, ERR_RUNTIME_NOT_IMPLEMENTED, "provider \"%.*s\" has no runtime here",
                          (int)(d->provider.len > 64 ? 64 : d->provider.len), d->provider.ptr);
    }
    if (d->command.len == 0)
        return refuse(c, ERR_MISSING_FIELD,
                      "command is required: an array of words, for example [\"python3\", \"agent.py\"]");
    if (d->workdir.len > 0 && d->workdir.ptr[0] != '/')
        return refuse(c, ERR_INVALID_FIELD, "workdir must be an absolute path");
    if (str_eqz(d->stdin_mode, "open"))
        return refuse(
            c, ERR_INVALID_FIELD,
            "stdin \"open\" needs a way to send input to a run, which this version does not have; use \"once\"");
    if (!str_eqz(d->stdin_mode, "once"))
        return refuse(c, ERR_INVALID_FIELD, "stdin must be \"once\"");
    return one_of(c, d->protocol, "protocol", protocols, ARRAY_LEN(protocols)) &&
           one_of(c, d->event_source, "eventSource", sources, ARRAY_LEN(sources));
}

/* Fixed order, defaults filled in: equal definitions have equal digests. */
static struct str canonical(struct check *c, const struct raw_definition *d)
{
    struct strbuf text;
    struct json_writer w;
    strbuf_init(&text, 2 * LIMIT_DEFINITION);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_kv_str(&w, "name", d->name);
    json_kv_str(&w, "executor", d->executor);
    json_kv_raw(&w, "command", d->command);
    json_kv_str(&w, "protocol", d->protocol);
    json_kv_str(&w, "eventSource", d->event_source);
    json_kv_str_opt(&w, "workdir", d->workdir);
    json_kv_raw(&w, "env", d->env);
    json_kv_str(&w, "stdin", d->stdin_mode);
    json_kv_str_opt(&w, "provider", d->provider);
    json_kv_int(&w, "timeoutMs", d->timeout_ms);
    json_kv_int(&w, "graceMs", d->grace_ms);
    json_kv_int(&w, "maxAttempts", d->max_attempts);
    json_kv_bool(&w, "atMostOnce", d->at_most_once);
    json_key(&w, "backoff");
    json_object_begin(&w);
    json_kv_str(&w, "type", d->backoff_type);
    json_kv_int(&w, "baseMs", d->base_ms);
    json_kv_int(&w, "capMs", d->cap_ms);
    json_object_end(&w);
    json_kv_str(&w, "queue", d->queue);
    json_object_end(&w);
    struct str json = strbuf_failed(&text) ? STR_NONE : arena_str(c->arena, strbuf_str(&text));
    strbuf_done(&text);
    return json;
}

static void add_field(struct definition *def, const char *name, struct str value)
{
    PRE(def->field_count + 2 <= DEFINITION_FIELDS);
    def->fields[def->field_count++] = str_of(name);
    def->fields[def->field_count++] = value;
}

static void add_number(struct check *c, struct definition *def, const char *name, int64_t n)
{
    add_field(def, name, str_of(arena_printf(c->arena, "%lld", (long long)n)));
}

bool validate_definition(struct arena *a, const struct json *root, struct str name, const char *at,
                         struct definition *ret_def, struct fault *ret_fault)
{
    struct check c = {a, at, ret_fault};
    struct raw_definition d = {.executor = STR("process"),
                               .protocol = STR("events"),
                               .event_source = STR("stdout"),
                               .stdin_mode = STR("once"),
                               .queue = STR("default"),
                               .env = STR("[]"),
                               .backoff_type = STR("exponential"),
                               .timeout_ms = 3600000,
                               .grace_ms = 10000,
                               .max_attempts = 1,
                               .base_ms = 1000,
                               .cap_ms = 300000};
    if (root->type != JSON_OBJECT)
        return refuse(&c, ERR_INVALID_FIELD, "an agent definition must be an object");
    if (!take_object(&c, root, definition_fields, ARRAY_LEN(definition_fields), &d))
        return false;
    if (name.len > 0 && d.name.len > 0 && !str_eq(name, d.name))
        return refuse(&c, ERR_INVALID_FIELD, "name differs from the path's; leave it out, or make them equal");
    if (name.len > 0)
        d.name = name;
    if (!check_runtime(&c, &d))
        return false;
    struct definition def = {.name = d.name, .json = canonical(&c, &d)};
    if (def.json.len == 0 || def.json.len > LIMIT_DEFINITION)
        return refuse(&c, ERR_INVALID_FIELD, "the definition must be at most %d bytes", LIMIT_DEFINITION);
    crypto_sha256_hex(def.json, def.digest);
    add_field(&def, "json", def.json);
    add_field(&def, "queue", d.queue);
    add_number(&c, &def, "timeoutMs", d.timeout_ms);
    add_number(&c, &def, "graceMs", d.grace_ms);
    add_number(&c, &def, "maxAttempts", d.max_attempts);
    add_field(&def, "atMostOnce", d.at_most_once ? STR("1") : STR("0"));
    add_field(&def, "backoffType", d.backoff_type);
    add_number(&c, &def, "backoffBaseMs", d.base_ms);
    add_number(&c, &def, "backoffCapMs", d.cap_ms);
    add_field(&def, "source", d.event_source);
    add_field(&def, "executor", d.executor);
    add_field(&def, "req", STR("-"));
    *ret_def = def;
    return true;
}

/* ---- submissions ---- */

static bool take_agent(struct check *c, const struct json *v, const char *name, void *out)
{
    struct submission *s = (struct submission *)((char *)out - offsetof(struct submission, agent));
    if (v->type == JSON_STRING)
        return take_name(c, v, name, out);
    if (v->type != JSON_OBJECT)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an agent's name or a definition", name);
    s->is_inline = true;
    const char *at = arena_printf(c->arena, "%sagent.", c->at);
    if (!at || !validate_definition(c->arena, v, STR_NONE, at, &s->def, c->fault))
        return false;
    s->agent = s->def.name;
    return true;
}

static bool take_input(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->raw.len > LIMIT_INPUT)
        return refuse(c, ERR_BODY_TOO_LARGE, "%s must be at most %d bytes of JSON", name, LIMIT_INPUT);
    return take_raw(c, v, name, out);
}

static bool take_priority(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const words[] = {"high", "normal", "low"};
    *(struct str *)out = v->type == JSON_STRING ? v->string : STR_NONE;
    return one_of(c, *(struct str *)out, name, words, ARRAY_LEN(words));
}

static bool take_time(struct check *c, const struct json *v, const char *name, void *out)
{
    int64_t ms;
    if (v->type != JSON_STRING || !clock_parse_iso(v->string, &ms))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a time like 2026-01-02T03:04:05.678Z", name);
    if (ms > clock_wall_ms() + (int64_t)LIMIT_DELAY_MS)
        return refuse(c, ERR_INVALID_FIELD, "%s must be within a year from now", name);
    *(int64_t *)out = ms > 0 ? ms : 1;
    return true;
}

static bool take_parent(struct check *c, const struct json *v, const char *name, void *out)
{
    struct id id;
    if (v->type != JSON_STRING || !id_parse(v->string, &id))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a run's id", name);
    *(struct str *)out = v->string;
    return true;
}

static bool take_session(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || v->string.len == 0 || v->string.len > 256)
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string of 1 to 256 bytes", name);
    *(struct str *)out = v->string;
    return true;
}

static const struct field submission_fields[] = {
#define AT(member) offsetof(struct submission, member)
    {"agent", take_agent, AT(agent), 0, 0},
    {"input", take_input, AT(input), 0, 0},
    {"env", take_env, AT(env), 0, 0},
    {"queue", take_name, AT(queue), 0, 0},
    {"priority", take_priority, AT(priority), 0, 0},
    {"delayMs", NULL, AT(delay_ms), 0, LIMIT_DELAY_MS},
    {"scheduledAt", take_time, AT(scheduled_ms), 0, 0},
    {"timeoutMs", NULL, AT(timeout_ms), 1, LIMIT_RUN_TIMEOUT_MS},
    {"maxAttempts", NULL, AT(max_attempts), 1, LIMIT_ATTEMPTS},
    {"labels", take_labels, AT(labels), 0, 0},
    {"parentRunId", take_parent, AT(parent), 0, 0},
    {"sessionId", take_session, AT(session), 0, 0},
    {"agentId", take_agent, AT(agent), 0, 0}, /* the last three: aliases */
    {"inputDict", take_input, AT(input), 0, 0},
    {"envVars", take_env, AT(env), 0, 0},
#undef AT
};
enum { ALIASES = 3 };
static const char *const alias_pairs[ALIASES][2] = {{"agent", "agentId"}, {"input", "inputDict"}, {"env", "envVars"}};

bool validate_submission(struct arena *a, const struct json *root, const char *at, bool aliases,
                         struct submission *ret_sub, struct fault *ret_fault)
{
    struct check c = {a, at, ret_fault};
    struct submission s = {.input = STR("null"), .priority = STR("normal")};
    if (root->type != JSON_OBJECT)
        return refuse(&c, ERR_INVALID_FIELD, "a run must be an object");
    if (!take_object(&c, root, submission_fields, ARRAY_LEN(submission_fields) - (aliases ? 0 : ALIASES), &s))
        return false;
    if (!json_get(root, "agent") && !(aliases && json_get(root, "agentId")))
        return refuse(&c, ERR_MISSING_FIELD, "agent is required: an agent's name, or a definition");
    for (size_t i = 0; i < ARRAY_LEN(alias_pairs); i++)
        if (json_get(root, alias_pairs[i][0]) && json_get(root, alias_pairs[i][1]))
            return refuse(&c, ERR_INVALID_FIELD, "%s and %s are the same field; send one of them", alias_pairs[i][0],
                          alias_pairs[i][1]);
    if (s.delay_ms > 0 && s.scheduled_ms > 0)
        return refuse(&c, ERR_INVALID_FIELD, "delayMs and scheduledAt exclude each other; send one of them");
    *ret_sub = s;
    return true;
}
