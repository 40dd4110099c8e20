#include "runner/http_request.h"

#include "common/json.h"
#include "common/limits.h"

enum { ARENA_MAX = 8 << 20, DEFINITION_LEVELS = 4 };

static bool among(struct str key, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqz(key, names[i]))
            return true;
    return false;
}

static bool names_a_secret(const struct json *env, struct str key)
{
    bool secret = false;
    for (const struct json *v = env ? env->child : NULL; v; v = v->next) {
        const struct json *name = json_get(v, "key");
        secret = secret || (name && str_eq(name->string, key) && json_get(v, "secret"));
    }
    return secret;
}

static bool is_sent(const struct job_spec *spec, const struct json *env, struct str key)
{
    static const char *const ours[] = {"PATH", "HOME", "TMPDIR", HTTP_TOKEN_VARIABLE};
    static const char *const theirs[] = {"ERRAND_API_BASE", "ERRAND_RUNNER_TOKEN"};
    if (str_starts(key, STR("ERRAND_")))
        return spec->remote_events && among(key, theirs, ARRAY_LEN(theirs));
    return !among(key, ours, ARRAY_LEN(ours)) && !str_starts(key, STR("DS_")) && !names_a_secret(env, key);
}

bool http_request_body(const struct job_spec *spec, struct strbuf *out)
{
    struct arena arena;
    struct json *def = NULL;
    struct json_writer w;
    struct str line = spec->input_line;
    if (line.len < 2 || line.ptr[line.len - 1] != '}')
        return false;
    arena_init(&arena, ARENA_MAX);
    bool ok = json_parse(&arena, spec->definition, LIMIT_JSON_DEPTH, DEFINITION_LEVELS, &def, NULL) == ERR_OK;
    strbuf_add(out, (struct str){line.ptr, line.len - 1});
    strbuf_addz(out, ",\"env\":");
    json_writer_init(&w, out);
    json_object_begin(&w);
    for (const char *const *e = spec->env; ok && *e; e++) {
        const char *equals = strchr(*e, '=');
        struct str key = {*e, equals ? (size_t)(equals - *e) : 0};
        if (!equals || !is_sent(spec, json_get(def, "env"), key))
            continue;
        json_key_str(&w, key);
        json_str(&w, str_of(equals + 1));
    }
    json_object_end(&w);
    strbuf_addc(out, '}');
    arena_done(&arena);
    return ok && !strbuf_failed(out);
}
