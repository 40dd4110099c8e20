#include "runner/pool_rules.h"

#include "common/json.h"
#include "common/limits.h"

enum { ARENA_MAX = 4 << 20, FOLDER_ROOM = 4096 };

void pool_key(struct str workspace, struct str definition, char ret_key[SHA256_HEX_LEN + 1])
{
    const struct str parts[] = {workspace, definition};
    crypto_sha256_hex_parts(parts, ARRAY_LEN(parts), ret_key);
}

static bool number_in(const struct json *o, const char *key, int64_t min, int64_t *ret_n)
{
    const struct json *v = json_get(o, key);
    if (!v || v->type != JSON_INT || v->integer < min)
        return false;
    *ret_n = v->integer;
    return true;
}

bool pool_settings_read(struct str definition, struct pool_settings *ret_settings)
{
    struct arena a;
    struct json *root = NULL;
    struct pool_settings s = {0};
    arena_init(&a, ARENA_MAX);
    const struct json *pool =
        json_parse(&a, definition, LIMIT_JSON_DEPTH, 2, &root, NULL) == ERR_OK ? json_get(root, "pool") : NULL;
    const struct json *base = json_get(pool, "base");
    bool ok = base && base->type == JSON_STRING && number_in(pool, "min", 0, &s.min) &&
              number_in(pool, "max", 1, &s.max) && number_in(pool, "idleMs", 1, &s.idle_ms) &&
              number_in(pool, "maxRuns", 1, &s.max_runs);
    const struct json *deps = json_get(root, "allowRuntimeDeps");
    s.sandbox = ok && !str_eqz(base->string, "process");
    s.deps = deps && deps->type == JSON_BOOL && deps->boolean;
    arena_done(&a);
    if (ok)
        *ret_settings = s;
    return ok;
}

static int64_t workers(const struct pool_counts *c)
{
    return c->starting + c->idle + c->busy + c->ending;
}

int64_t pool_to_start(const struct pool_settings *s, const struct pool_counts *c, bool keep_min)
{
    int64_t now = workers(c), coming = c->starting + c->idle;
    int64_t wanted = c->waiting > coming ? c->waiting - coming : 0;
    int64_t staying = now - c->ending + wanted;
    if (keep_min && staying < s->min)
        wanted += s->min - staying;
    return now + wanted <= s->max ? wanted : s->max > now ? s->max - now : 0;
}

int64_t pool_to_end(const struct pool_settings *s, const struct pool_counts *c)
{
    int64_t beyond = c->starting + c->idle + c->busy - s->min;
    return beyond <= 0 ? 0 : beyond < c->idle ? beyond : c->idle;
}

int64_t pool_to_evict(int64_t total, int64_t bound, int64_t ending, int64_t wanted)
{
    int64_t missing = total + wanted - bound - ending;
    return missing <= 0 ? 0 : missing < wanted ? missing : wanted;
}

const char *pool_replace_why(const struct pool_settings *s, const struct pool_verdict *v)
{
    return v->children_left         ? "processes of the run were left"
           : v->overlong            ? "it wrote a line that is too long"
           : v->limit_hit           ? "its memory limit was reached"
           : v->failed              ? "the run failed"
           : v->runs >= s->max_runs ? "it has had its runs"
                                    : NULL;
}

/* Room for all of it at once: a buffer that grows leaves copies of secrets behind. */
static void reserve(struct strbuf *out, size_t input, const char *const *env)
{
    size_t need = input + 8 * FOLDER_ROOM;
    for (size_t i = 0; env[i]; i++)
        need += 6 * strlen(env[i]) + 8; /* \u00XX for each byte, at worst */
    strbuf_grow(out, need < out->max ? need : out->max);
}

static void add_member(struct strbuf *out, struct str key, struct str value)
{
    if (out->len > 0 && out->ptr[out->len - 1] != '{')
        strbuf_addc(out, ',');
    json_quote(out, key);
    strbuf_addc(out, ':');
    json_quote(out, value);
}

void pool_line_begin(struct str input_line, const char *const *env, const char *private, struct strbuf *out,
                     struct strbuf *ret_names)
{
    PRE(input_line.len > 2 && input_line.ptr[input_line.len - 1] == '}');
    reserve(out, input_line.len, env);
    strbuf_add(out, (struct str){input_line.ptr, input_line.len - 1});
    strbuf_addz(out, ",\"env\":{");
    for (size_t i = 0; env[i]; i++) {
        const char *equals = strchr(env[i], '=');
        struct str key = {env[i], equals ? (size_t)(equals - env[i]) : 0};
        if (!equals)
            continue;
        if (strcmp(equals + 1, private) == 0) {
            strbuf_add(ret_names, key);
            strbuf_addc(ret_names, '\0');
        } else {
            add_member(out, key, str_of(equals + 1));
        }
    }
}

void pool_line_end(struct str names, const char *folder, struct strbuf *out)
{
    for (size_t at = 0; at < names.len; at += strlen(names.ptr + at) + 1)
        add_member(out, str_of(names.ptr + at), str_of(folder));
    strbuf_addz(out, "},\"workDir\":");
    json_quote(out, str_of(folder));
    strbuf_addc(out, '}');
}
