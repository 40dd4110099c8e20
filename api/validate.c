#include <stdio.h>

#include "api/hook_body.h"
#include "common/id.h"
#include "common/keys.h"

enum { EXPANDED_LEVELS = 6 };

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

static bool take_session(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || v->string.len == 0 || v->string.len > 256)
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string of 1 to 256 bytes", name);
    *(struct str *)out = v->string;
    return true;
}

/* A run's own concurrency: "KEY", or {"key", "limit", "onLimit"}. */
struct concurrency {
    struct rate key; /* of which only key and limit are used */
    struct str on_limit;
};

static bool take_on_limit(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const words[] = {"queue", "reject", "replace"};
    *(struct str *)out = v->type == JSON_STRING ? v->string : STR_NONE;
    return one_of(c, *(struct str *)out, name, words, ARRAY_LEN(words));
}

static const struct field concurrency_fields[] = {
    {"key", take_key, offsetof(struct concurrency, key.key), 0, 0},
    {"limit", NULL, offsetof(struct concurrency, key.limit), 1, LIMIT_CONCURRENCY},
    {"onLimit", take_on_limit, offsetof(struct concurrency, on_limit), 0, 0},
};

static bool add_gate(struct check *c, struct submission *s, const char *text)
{
    if (!text)
        return refuse(c, ERR_NO_MEMORY, "out of memory");
    s->gates[s->gates_len++] = str_of(text);
    return true;
}

static bool take_concurrency(struct check *c, const struct json *v, const char *name, void *out)
{
    struct submission *s = (struct submission *)((char *)out - offsetof(struct submission, on_limit));
    struct concurrency k = {.key = {.key = STR(""), .limit = 1}, .on_limit = STR("queue")};
    struct check inside = {c->arena, arena_printf(c->arena, "%s%s.", c->at, name), c->fault};
    if (v->type == JSON_STRING) {
        if (!take_key(c, v, name, &k.key.key))
            return false;
    } else if (v->type != JSON_OBJECT || !inside.at) {
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string, or {\"key\", \"limit\", \"onLimit\"}", name);
    } else if (!take_object(&inside, v, concurrency_fields, ARRAY_LEN(concurrency_fields), &k)) {
        return false;
    } else if (k.key.key.len == 0) {
        return refuse(&inside, ERR_MISSING_FIELD, "key is required");
    }
    s->on_limit = k.on_limit;
    return add_gate(
        c, s, arena_printf(c->arena, "k:%.*s=%lld", STR_ARG(gate_escape(c->arena, k.key.key)), (long long)k.key.limit));
}

static bool take_run_rate(struct check *c, const struct json *v, const char *name, void *out)
{
    struct submission *s = (struct submission *)((char *)out - offsetof(struct submission, gates));
    struct rate r;
    return take_keyed_rate(c, v, name, &r) &&
           add_gate(c, s,
                    arena_printf(c->arena, "rk:%.*s=%.*s", STR_ARG(gate_escape(c->arena, r.key)),
                                 STR_ARG(rate_text(c->arena, &r))));
}

/* Ids as they are sent; whether "#N" may stand there is looked at behind. */
static bool take_depends(struct check *c, const struct json *v, const char *name, void *out)
{
    struct submission *s = (struct submission *)((char *)out - offsetof(struct submission, depends));
    if (v->type != JSON_ARRAY || v->count > LIMIT_DEPENDS)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an array of at most %d run ids", name, LIMIT_DEPENDS);
    s->depends = arena_zalloc(c->arena, (v->count + 1) * sizeof *s->depends);
    if (!s->depends)
        return refuse(c, ERR_NO_MEMORY, "out of memory");
    for (const struct json *m = v->child; m; m = m->next) {
        if (m->type != JSON_STRING || m->string.len == 0 || m->string.len > 64)
            return refuse(c, ERR_INVALID_FIELD, "%s: each must be a run's id", name);
        for (size_t i = 0; i < s->depends_len; i++)
            if (str_eq(s->depends[i], m->string))
                return refuse(c, ERR_INVALID_FIELD, "%s: %.*s stands twice", name, STR_ARG(m->string));
        s->depends[s->depends_len++] = m->string;
    }
    return true;
}

static bool take_on_dep_fail(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const words[] = {"fail", "run"};
    *(struct str *)out = v->type == JSON_STRING ? v->string : STR_NONE;
    return one_of(c, *(struct str *)out, name, words, ARRAY_LEN(words));
}

static bool take_requires(struct check *c, const struct json *v, const char *name, void *out)
{
    struct submission *s = (struct submission *)((char *)out - offsetof(struct submission, requires));
    struct words tags;
    if (!take_tags(c, v, name, &tags))
        return false;
    s->requires = arena_zalloc(c->arena, (v->count + 1) * sizeof *s->requires);
    if (!s->requires)
        return refuse(c, ERR_NO_MEMORY, "out of memory");
    struct str *tag = s->requires;
    for (const struct json *m = v->child; m; m = m->next)
        *tag++ = m->string;
    s->requires_len = v->count;
    return true;
}

static const struct field own_hook_fields[] = {
    {"url", take_hook_url, offsetof(struct submission, hook_url), 0, 0},
    {"secret", take_hook_secret, offsetof(struct submission, hook_secret), 0, 0},
};

/* A stored webhook's id, or {"url", "secret"}. */
static bool take_webhook(struct check *c, const struct json *v, const char *name, void *out)
{
    struct submission *s = (struct submission *)((char *)out - offsetof(struct submission, hook));
    struct check inside = {c->arena, arena_printf(c->arena, "%s%s.", c->at, name), c->fault};
    if (v->type == JSON_STRING && keys_name_valid(v->string)) {
        s->hook = v->string;
        return true;
    }
    if (v->type != JSON_OBJECT || !inside.at)
        return refuse(c, ERR_INVALID_FIELD, "%s must be a webhook's id, or {\"url\", \"secret\"}", name);
    if (!take_object(&inside, v, own_hook_fields, ARRAY_LEN(own_hook_fields), s))
        return false;
    if (s->hook_url.len == 0 || s->hook_secret.len == 0)
        return refuse(&inside, ERR_MISSING_FIELD, "%s is required", s->hook_url.len == 0 ? "url" : "secret");
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
    {"parentRunId", take_run_id, AT(parent), 0, 0},
    {"sessionId", take_session, AT(session), 0, 0},
    {"startWithinMs", NULL, AT(start_within_ms), 1, LIMIT_DELAY_MS},
    {"stallMs", NULL, AT(stall_ms), 1, LIMIT_RUN_TIMEOUT_MS},
    {"concurrencyKey", take_concurrency, AT(on_limit), 0, 0},
    {"rateLimit", take_run_rate, AT(gates), 0, 0},
    {"dependsOn", take_depends, AT(depends), 0, 0},
    {"onDependencyFailure", take_on_dep_fail, AT(on_dep_fail), 0, 0},
    {"requires", take_requires, AT(requires), 0, 0},
    {"webhook", take_webhook, AT(hook), 0, 0},
    {"agentId", take_agent, AT(agent), 0, 0}, /* the last three: aliases */
    {"inputDict", take_input, AT(input), 0, 0},
    {"envVars", take_env, AT(env), 0, 0},
#undef AT
};
enum { ALIASES = 3 };
static const char *const alias_pairs[ALIASES][2] = {{"agent", "agentId"}, {"input", "inputDict"}, {"env", "envVars"}};

/* "#N": the run at index N of the same batch. */
static bool is_ref(struct str s)
{
    bool ok = s.len >= 2 && s.len <= 5 && s.ptr[0] == '#';
    for (size_t i = 1; ok && i < s.len; i++)
        ok = s.ptr[i] >= '0' && s.ptr[i] <= '9';
    return ok;
}

/* What fields say together. */
static bool check_together(struct check *c, const struct submission *s, unsigned forms)
{
    struct id id;
    if (s->delay_ms > 0 && s->scheduled_ms > 0)
        return refuse(c, ERR_INVALID_FIELD, "delayMs and scheduledAt exclude each other; send one of them");
    for (size_t i = 0; i < s->depends_len; i++)
        if (!id_parse(s->depends[i], &id) && !((forms & SUBMISSION_REFS) && is_ref(s->depends[i])))
            return refuse(c, ERR_INVALID_FIELD, "dependsOn[%zu] must be a run's id%s", i,
                          forms & SUBMISSION_REFS ? ", or \"#N\" for the run at index N of this batch" : "");
    if (str_eqz(s->on_limit, "reject") && (s->delay_ms > 0 || s->scheduled_ms > 0 || s->depends_len > 0))
        return refuse(c, ERR_INVALID_FIELD,
                      "concurrencyKey.onLimit \"reject\" is decided at submission, so it goes with neither delayMs, "
                      "scheduledAt nor dependsOn; use \"queue\" or \"replace\"");
    return true;
}

bool validate_submission(struct arena *a, const struct json *root, const char *at, unsigned forms,
                         struct submission *ret_sub, struct fault *ret_fault)
{
    struct check c = {a, at, ret_fault};
    struct submission s = {
        .input = STR("null"), .priority = STR("normal"), .on_limit = STR("queue"), .on_dep_fail = STR("fail")};
    bool aliases = forms & SUBMISSION_ALIASES;
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
    if (!check_together(&c, &s, forms))
        return false;
    *ret_sub = s;
    return true;
}
