/* Environments: of runs, and of definitions, where a variable may name a secret, and where data sources become variables. */
#include "api/validate_fields.h"

#include <stdlib.h>

#include "common/data_source.h"
#include "common/secret.h"

enum { NAME_MAX_BYTES = 256, SOURCE_LEVELS = 5 };

static bool check_name(struct check *c, const char *name, struct str key)
{
    if (posix_name_valid(key, NAME_MAX_BYTES) && !str_starts(key, STR("ERRAND_")))
        return true;
    return refuse(
        c, ERR_INVALID_FIELD,
        "%s: \"%.*s\" is no name for a variable (letters, digits, '_', not beginning with a digit or with ERRAND_)",
        name, (int)(key.len > 64 ? 64 : key.len), key.ptr);
}

static bool check_value(struct check *c, const char *name, struct str key, const struct json *value)
{
    if (value && value->type == JSON_STRING && !memchr(value->string.ptr, 0, value->string.len))
        return true;
    return refuse(c, ERR_INVALID_FIELD, "%s: the value of %.*s must be a string without NUL", name, STR_ARG(key));
}

static bool check_bytes(struct check *c, const char *name, size_t bytes)
{
    return bytes <= LIMIT_ENV_BYTES ||
           refuse(c, ERR_INVALID_FIELD, "%s must be at most %d bytes in all", name, LIMIT_ENV_BYTES);
}

/* A run's env: {"KEY": "value"}. Secrets are named by agents alone: whoever may only submit runs gives none to a program of their choice. */
bool take_env(struct check *c, const struct json *v, const char *name, void *out)
{
    size_t bytes = 0;
    if (v->type != JSON_OBJECT || v->count > LIMIT_ENV_COUNT || v->repeated_key)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an object of at most %d variables, each once", name,
                      LIMIT_ENV_COUNT);
    for (const struct json *m = v->child; m; m = m->next) {
        bytes += m->key.len + m->string.len;
        if (!check_name(c, name, m->key) || !check_value(c, name, m->key, m) || !check_bytes(c, name, bytes))
            return false;
    }
    *(struct str *)out = v->raw;
    return true;
}

/* ---- of a definition ---- */

/* Exactly one of "value" and "secret" in o; var: whose it is, for the message. Either is a text, which *ret_text borrows. */
static bool check_source(struct check *c, const char *name, struct str var, const struct json *o, struct str *ret_text)
{
    const struct json *value = json_get(o, "value"), *secret = json_get(o, "secret");
    struct str secret_name;
    int64_t version;
    if (value && secret)
        return refuse(c, ERR_INVALID_FIELD, "%s: %.*s has both a value and a secret; leave one of them out", name,
                      STR_ARG(var));
    if (value && !check_value(c, name, var, value))
        return false;
    if (secret && (secret->type != JSON_STRING || !secret_ref_parse(secret->string, &secret_name, &version)))
        return refuse(c, ERR_INVALID_FIELD,
                      "%s: the secret of %.*s must be a secret's name (letters, digits, '_'), or NAME@VERSION", name,
                      STR_ARG(var));
    const struct json *either = value ? value : secret;
    if (!either)
        return refuse(c, ERR_MISSING_FIELD, "%s: %.*s needs a value or a secret", name, STR_ARG(var));
    *ret_text = either->string;
    return true;
}

/* A member that none of the words names is refused. */
static bool check_members(struct check *c, const char *name, const char *of, const struct json *o,
                          const char *const *words, size_t n)
{
    for (const struct json *m = o->child; m; m = m->next) {
        bool known = false;
        for (size_t i = 0; i < n; i++)
            known = known || str_eqz(m->key, words[i]);
        if (!known)
            return refuse(c, ERR_UNKNOWN_FIELD, "%s: \"%.*s\" is no field of %s", name,
                          (int)(m->key.len > 64 ? 64 : m->key.len), m->key.ptr, of);
    }
    return true;
}

bool take_env_list(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const words[] = {"key", "value", "secret", "description"};
    size_t bytes = 0;
    if (v->type != JSON_ARRAY || v->count > LIMIT_ENV_COUNT)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an array of at most %d {\"key\", \"value\" or \"secret\"}",
                      name, LIMIT_ENV_COUNT);
    for (const struct json *m = v->child; m; m = m->next) {
        const struct json *key = json_get(m, "key"), *description = json_get(m, "description");
        struct str text;
        if (m->type != JSON_OBJECT || m->repeated_key || !key || key->type != JSON_STRING ||
            (!json_get(m, "value") && !json_get(m, "secret")) || (description && description->type != JSON_STRING))
            return refuse(c, ERR_INVALID_FIELD,
                          "%s: each must be {\"key\": string, \"value\" or \"secret\": string, \"description\"?: "
                          "string}",
                          name);
        if (!check_members(c, name, "a variable; it has key, value or secret, and description", m, words,
                           ARRAY_LEN(words)) ||
            !check_name(c, name, key->string) || !check_source(c, name, key->string, m, &text))
            return false;
        bytes += key->string.len + text.len;
        if (!check_bytes(c, name, bytes))
            return false;
        for (const struct json *o = v->child; o != m; o = o->next)
            if (str_eq(json_get(o, "key")->string, key->string))
                return refuse(c, ERR_INVALID_FIELD, "%s: %.*s stands twice", name, STR_ARG(key->string));
    }
    *(struct declared *)out = (struct declared){v->raw, v};
    return true;
}

/* ---- data sources ---- */

/* A word that becomes part of a variable's name: some text without control characters. */
static bool is_word(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 127)
            return false;
    return s.len > 0 && s.len <= LIMIT_DATA_SOURCE;
}

static bool word_of(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_STRING && is_word(v->string);
}

static bool check_fields(struct check *c, const char *name, const struct json *fields)
{
    static const char *const words[] = {"value", "secret", "description"};
    for (const struct json *f = fields->child; f; f = f->next) {
        const struct json *description = json_get(f, "description");
        struct str text;
        if (!is_word(f->key))
            return refuse(c, ERR_INVALID_FIELD, "%s: a field's name must be 1 to %d bytes without control characters",
                          name, LIMIT_DATA_SOURCE);
        if (f->type != JSON_OBJECT || f->repeated_key || (!json_get(f, "value") && !json_get(f, "secret")) ||
            (description && description->type != JSON_STRING))
            return refuse(c, ERR_INVALID_FIELD,
                          "%s: the field %.*s must be {\"value\" or \"secret\": string, \"description\"?: string}",
                          name, STR_ARG(f->key));
        if (!check_members(c, name, "a data source's field; it has value or secret, and description", f, words,
                           ARRAY_LEN(words)) ||
            !check_source(c, name, f->key, f, &text))
            return false;
    }
    return true;
}

bool take_data_sources(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const words[] = {"engine", "name", "fields"};
    struct json *list = NULL;
    if (v->type != JSON_ARRAY || v->count > LIMIT_ENV_COUNT)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an array of at most %d {\"engine\", \"name\", \"fields\"}",
                      name, LIMIT_ENV_COUNT);
    /* Deeper than bodies are taken apart, so once more. */
    enum err err = json_parse(c->arena, v->raw, LIMIT_JSON_DEPTH, SOURCE_LEVELS, &list, NULL);
    if (err)
        return refuse(c, err, "%s can't be read", name);
    for (const struct json *m = list->child; m; m = m->next) {
        const struct json *fields = json_get(m, "fields");
        if (m->type != JSON_OBJECT || m->repeated_key || !word_of(m, "engine") || !word_of(m, "name") || !fields ||
            fields->type != JSON_OBJECT || fields->repeated_key || fields->count == 0 ||
            fields->count > LIMIT_ENV_COUNT)
            return refuse(
                c, ERR_INVALID_FIELD,
                "%s: each must be {\"engine\": string, \"name\": string, \"fields\": object of 1 to %d fields, "
                "each once}; engine and name have 1 to %d bytes without control characters",
                name, LIMIT_ENV_COUNT, LIMIT_DATA_SOURCE);
        if (!check_members(c, name, "a data source; it has engine, name and fields", m, words, ARRAY_LEN(words)) ||
            !check_fields(c, name, fields))
            return false;
    }
    *(struct declared *)out = (struct declared){list->raw, list};
    return true;
}

/* One variable that a data source gives. */
struct given {
    struct str variable, engine, name, field;
};

static bool check_collision(struct check *c, const struct declared *env, const struct given *earlier, size_t n,
                            const struct given *g)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(earlier[i].variable, g->variable))
            return refuse(c, ERR_INVALID_FIELD,
                          "dataSources: %.*s of %.*s %.*s and %.*s of %.*s %.*s both become %.*s; rename one",
                          STR_ARG(earlier[i].field), STR_ARG(earlier[i].engine), STR_ARG(earlier[i].name),
                          STR_ARG(g->field), STR_ARG(g->engine), STR_ARG(g->name), STR_ARG(g->variable));
    for (const struct json *m = env->list ? env->list->child : NULL; m; m = m->next)
        if (str_eq(json_get(m, "key")->string, g->variable))
            return refuse(c, ERR_INVALID_FIELD,
                          "dataSources: %.*s of %.*s %.*s becomes %.*s, which env has too; rename one",
                          STR_ARG(g->field), STR_ARG(g->engine), STR_ARG(g->name), STR_ARG(g->variable));
    return true;
}

bool check_environment(struct check *c, const struct declared *env, const struct declared *sources)
{
    struct given *all = arena_alloc(c->arena, LIMIT_ENV_COUNT * sizeof *all);
    size_t n = 0, count = 0, bytes = 0;
    if (!all)
        return refuse(c, ERR_NO_MEMORY, "out of memory");
    for (const struct json *m = env->list ? env->list->child : NULL; m; m = m->next) {
        const struct json *text = json_get(m, "value") ? json_get(m, "value") : json_get(m, "secret");
        bytes += json_get(m, "key")->string.len + text->string.len;
        count++;
    }
    for (const struct json *m = sources->list ? sources->list->child : NULL; m; m = m->next) {
        for (const struct json *f = json_get(m, "fields")->child; f; f = f->next) {
            struct given g = {
                .engine = json_get(m, "engine")->string, .name = json_get(m, "name")->string, .field = f->key};
            char variable[DATA_SOURCE_VARIABLE_MAX];
            g.variable = arena_str(c->arena, data_source_variable(g.engine, g.name, g.field, variable));
            const struct json *text = json_get(f, "value") ? json_get(f, "value") : json_get(f, "secret");
            bytes += g.variable.len + text->string.len;
            if (++count > LIMIT_ENV_COUNT)
                return refuse(c, ERR_INVALID_FIELD, "env and dataSources must be at most %d variables together",
                              LIMIT_ENV_COUNT);
            if (bytes > LIMIT_ENV_BYTES)
                return refuse(c, ERR_INVALID_FIELD, "env and dataSources must be at most %d bytes together",
                              LIMIT_ENV_BYTES);
            if (!check_collision(c, env, all, n, &g))
                return false;
            all[n++] = g;
        }
    }
    return true;
}
