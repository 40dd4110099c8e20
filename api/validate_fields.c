#include "api/validate_fields.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/id.h"
#include "common/keys.h"

bool refuse(struct check *c, enum err err, const char *fmt, ...)
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
bool take_name(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || !keys_name_valid(v->string))
        return refuse(
            c, ERR_INVALID_FIELD,
            "%s must be a string of letters, digits, '.', '_' and '-' that begins with a letter or digit, at most %d",
            name, LIMIT_NAME);
    *(struct str *)out = v->string;
    return true;
}

bool take_text(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || v->string.len > 1024 || memchr(v->string.ptr, 0, v->string.len))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string of at most 1024 bytes without NUL", name);
    *(struct str *)out = v->string;
    return true;
}

bool take_raw(struct check *c, const struct json *v, const char *name, void *out)
{
    (void)c;
    (void)name;
    *(struct str *)out = v->raw;
    return true;
}

bool take_bool(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_BOOL)
        return refuse(c, ERR_INVALID_FIELD, "%s must be true or false", name);
    *(bool *)out = v->boolean;
    return true;
}

bool take_int(struct check *c, const struct json *v, const char *name, int64_t min, int64_t max, int64_t *out)
{
    if (v->type != JSON_INT || v->integer < min || v->integer > max)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an integer from %lld to %lld", name, (long long)min,
                      (long long)max);
    *out = v->integer;
    return true;
}

/* Walks an object's members through a table; what the table does not know is refused by name. */
bool take_object(struct check *c, const struct json *o, const struct field *fields, size_t n, void *out)
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
        bool ok = f->fn ? f->fn(c, m, f->name, at) : take_int(c, m, f->name, f->min, f->max, at);
        if (!ok)
            return false;
    }
    return true;
}

/* ---- labels ---- */

/* {"key": "value"}, stored with our own escapes, because the list filter compares stored text. */
bool take_labels(struct check *c, const struct json *v, const char *name, void *out)
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

bool one_of(struct check *c, struct str value, const char *name, const char *const *words, size_t n)
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

bool take_priority(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const words[] = {"high", "normal", "low"};
    *(struct str *)out = v->type == JSON_STRING ? v->string : STR_NONE;
    return one_of(c, *(struct str *)out, name, words, ARRAY_LEN(words));
}

bool take_time(struct check *c, const struct json *v, const char *name, void *out)
{
    int64_t ms;
    if (v->type != JSON_STRING || !clock_parse_iso(v->string, &ms))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a time like 2026-01-02T03:04:05.678Z", name);
    if (ms > clock_wall_ms() + (int64_t)LIMIT_DELAY_MS)
        return refuse(c, ERR_INVALID_FIELD, "%s must be within a year from now", name);
    *(int64_t *)out = ms > 0 ? ms : 1;
    return true;
}

bool take_run_id(struct check *c, const struct json *v, const char *name, void *out)
{
    struct id id;
    if (v->type != JSON_STRING || !id_parse(v->string, &id))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a run's id", name);
    *(struct str *)out = v->string;
    return true;
}

/* ---- rates, tags, classes ---- */

bool take_key(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || v->string.len == 0 || v->string.len > LIMIT_KEY)
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string of 1 to %d bytes", name, LIMIT_KEY);
    *(struct str *)out = v->string;
    return true;
}

static const struct field rate_fields[] = {
    {"limit", NULL, offsetof(struct rate, limit), 1, LIMIT_RATE},
    {"perMs", NULL, offsetof(struct rate, per_ms), 1, LIMIT_RATE_PER_MS},
    {"burst", NULL, offsetof(struct rate, burst), 1, LIMIT_RATE},
    {"key", take_key, offsetof(struct rate, key), 0, 0},
};

static bool take_any_rate(struct check *c, const struct json *v, const char *name, bool keyed, struct rate *out)
{
    struct rate r = {.key = STR(""), .per_ms = 1000, .burst = 1};
    struct check inside = {c->arena, arena_printf(c->arena, "%s%s.", c->at, name), c->fault};
    if (v->type != JSON_OBJECT)
        return refuse(c, ERR_INVALID_FIELD, "%s must be {%s\"limit\", \"perMs\", \"burst\"}", name,
                      keyed ? "\"key\", " : "");
    if (!inside.at || !take_object(&inside, v, rate_fields, ARRAY_LEN(rate_fields) - (keyed ? 0 : 1), &r))
        return false;
    if (r.limit == 0 || (keyed && r.key.len == 0))
        return refuse(&inside, ERR_MISSING_FIELD, "%s is required", r.limit == 0 ? "limit" : "key");
    *out = r;
    return true;
}

bool take_rate(struct check *c, const struct json *v, const char *name, void *out)
{
    return take_any_rate(c, v, name, false, out);
}

bool take_keyed_rate(struct check *c, const struct json *v, const char *name, void *out)
{
    return take_any_rate(c, v, name, true, out);
}

struct str rate_text(struct arena *a, const struct rate *r)
{
    if (r->limit == 0)
        return STR("");
    return str_of(arena_printf(a, "%lld/%lld/%lld", (long long)r->limit, (long long)r->per_ms, (long long)r->burst));
}

struct str gate_escape(struct arena *a, struct str key)
{
    struct strbuf out;
    strbuf_init(&out, 4 * LIMIT_KEY);
    for (size_t i = 0; i < key.len; i++) {
        char ch = key.ptr[i];
        bool plain = (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '.' ||
                     ch == '_' || ch == '-';
        if (plain)
            strbuf_addc(&out, ch);
        else
            strbuf_addf(&out, "%%%02X", (unsigned char)ch);
    }
    struct str text = arena_str(a, strbuf_str(&out));
    strbuf_done(&out);
    return text;
}

static bool word_valid(struct str s, const char *more)
{
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.ptr[i];
        bool letter = (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
        if (!letter && !(i > 0 && ch && strchr(more, ch)))
            return false;
    }
    return s.len > 0 && s.len <= LIMIT_TAG;
}

/* Each word fits `allowed`, or the array of them, and stands once. */
static bool take_words(struct check *c, const struct json *v, size_t max, bool (*fits)(struct str), struct words *out,
                       const char *refusal)
{
    struct strbuf text;
    strbuf_init(&text, (size_t)(LIMIT_TAGS + 1) * (LIMIT_TAG + 1));
    bool ok = v->type == JSON_ARRAY && v->count <= max;
    for (const struct json *m = ok ? v->child : NULL; m && ok; m = m->next) {
        ok = m->type == JSON_STRING && fits(m->string);
        for (const struct json *o = v->child; ok && o != m; o = o->next)
            ok = !str_eq(o->string, m->string);
        if (ok)
            strbuf_addf(&text, "%s%.*s", m == v->child ? "" : " ", STR_ARG(m->string));
    }
    struct str copy = arena_str(c->arena, strbuf_str(&text));
    strbuf_done(&text);
    if (!ok)
        return refuse(c, ERR_INVALID_FIELD, "%s", refusal);
    *out = (struct words){v->raw, copy, v->count};
    return true;
}

static bool is_tag(struct str s)
{
    return word_valid(s, "._-=:");
}

bool take_tags(struct check *c, const struct json *v, const char *name, void *out)
{
    const char *refusal = arena_printf(
        c->arena,
        "%s must be an array of at most %d tags, each once: letters, digits, '.', '_', '-', '=' and ':', at most %d",
        name, LIMIT_TAGS, LIMIT_TAG);
    return take_words(c, v, LIMIT_TAGS, is_tag, out, refusal ? refusal : name);
}

static bool is_capability(struct str s)
{
    static const char *const words[] = {"timeout",
                                        "process_isolation",
                                        "network_isolation",
                                        "network_filtering",
                                        "filesystem_isolation",
                                        "memory_limit",
                                        "cpu_limit",
                                        "reset",
                                        "deps_install",
                                        "deps_uninstall"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eqz(s, words[i]))
            return true;
    return false;
}

bool take_capabilities(struct check *c, const struct json *v, const char *name, void *out)
{
    const char *refusal = arena_printf(
        c->arena,
        "%s must be an array of capabilities, each once, of timeout, process_isolation, network_isolation, "
        "network_filtering, filesystem_isolation, memory_limit, cpu_limit, reset, deps_install and deps_uninstall",
        name);
    return take_words(c, v, LIMIT_TAGS, is_capability, out, refusal ? refusal : name);
}

/* A host's name, `*.` before it for those below it, `:port` behind it. */
static bool is_host(struct str s)
{
    bool wild = s.len > 2 && s.ptr[0] == '*' && s.ptr[1] == '.';
    const char *colon = s.len ? memrchr(s.ptr, ':', s.len) : NULL;
    size_t name_len = colon ? (size_t)(colon - s.ptr) : s.len, port = 0;
    for (size_t i = name_len + 1; colon && i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9' || (port = port * 10 + (size_t)(s.ptr[i] - '0')) > 65535)
            return false;
    }
    if (colon && port == 0)
        return false;
    struct str host = {s.ptr + (wild ? 2 : 0), name_len - (wild ? 2 : 0)};
    return host.len <= 253 && host.len > 0 && host.ptr[host.len - 1] != '.' && word_valid(host, ".-");
}

bool take_hosts(struct check *c, const struct json *v, const char *name, void *out)
{
    const char *refusal =
        arena_printf(c->arena,
                     "%s must be an array of at most %d host names, each once, like api.example.com, *.example.com or "
                     "api.example.com:8443",
                     name, LIMIT_TAGS);
    return take_words(c, v, LIMIT_TAGS, is_host, out, refusal ? refusal : name);
}

static const char *const error_classes[] = {"exit_nonzero", "signal",       "timeout",
                                            "oom_killed",   "start_failed", "output_invalid",
                                            "event_limit",  "storage_full", "agent_error"};

static bool is_error_class(struct str s)
{
    for (size_t i = 0; i < ARRAY_LEN(error_classes); i++)
        if (str_eqz(s, error_classes[i]))
            return true;
    return false;
}

bool take_error_classes(struct check *c, const struct json *v, const char *name, void *out)
{
    const char *refusal =
        arena_printf(c->arena,
                     "%s must be an array of classes, each once, of exit_nonzero, signal, timeout, oom_killed, "
                     "start_failed, output_invalid, event_limit, storage_full and agent_error",
                     name);
    return take_words(c, v, LIMIT_RETRY_CLASSES, is_error_class, out, refusal ? refusal : name);
}
