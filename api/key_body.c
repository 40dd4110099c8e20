#include "api/key_body.h"

#include <stdlib.h>

#include "api/record.h"
#include "common/cidr.h"
#include "common/clock.h"

enum { LIST_BYTES = 16384, RECORD_BYTES = 65536 };

/* ---- arrays of words ---- */

static bool take_list(struct check *c, const struct json *v, const char *name, bool (*fits)(struct str),
                      const char *what, struct str *out)
{
    struct strbuf text;
    bool ok = v->type == JSON_ARRAY && v->count >= 1 && v->count <= LIMIT_KEY_WORDS;
    strbuf_init(&text, LIST_BYTES);
    for (const struct json *m = ok ? v->child : NULL; m && ok; m = m->next) {
        ok = m->type == JSON_STRING && fits(m->string);
        if (ok)
            strbuf_addf(&text, "%s%.*s", m == v->child ? "" : ",", STR_ARG(m->string));
    }
    struct str copy = strbuf_failed(&text) ? STR_NONE : arena_str(c->arena, strbuf_str(&text));
    strbuf_done(&text);
    if (!ok || !copy.ptr)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an array of 1 to %d %s; leave it out for all", name,
                      LIMIT_KEY_WORDS, what);
    *out = copy;
    return true;
}

bool take_names(struct check *c, const struct json *v, const char *name, void *out)
{
    return take_list(c, v, name, keys_name_valid, "names", out);
}

static bool is_cidr(struct str s)
{
    struct cidr range;
    return cidr_parse(s, &range);
}

bool take_cidrs(struct check *c, const struct json *v, const char *name, void *out)
{
    return take_list(c, v, name, is_cidr, "addresses or networks like \"192.0.2.0/24\" (no bits set behind the prefix)",
                     out);
}

bool take_scopes(struct check *c, const struct json *v, const char *name, void *out)
{
    uint64_t scopes = 0;
    if (v->type != JSON_ARRAY || v->count == 0 || v->count > LIMIT_KEY_WORDS)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an array of scopes, or [\"*\"] for all of its workspace", name);
    for (const struct json *m = v->child; m; m = m->next) {
        bool all = m->type == JSON_STRING && str_eqz(m->string, "*");
        enum scope scope = m->type == JSON_STRING ? scope_of(m->string) : SCOPE_COUNT;
        if (!all && scope == SCOPE_COUNT)
            return refuse(c, ERR_INVALID_FIELD, "%s: \"%.*s\" is no scope; `errand keys scopes` lists them", name,
                          (int)(m->string.len > 64 ? 64 : m->string.len), m->string.ptr ? m->string.ptr : "");
        for (unsigned i = 0; i < SCOPE_COUNT; i++)
            if (all ? !scope_reaches_beyond((enum scope)i) : i == (unsigned)scope)
                scopes |= SCOPE_BIT(i);
    }
    *(uint64_t *)out = scopes;
    return true;
}

/* ---- what one key may give to another ---- */

/* Whether each word of the inner list is in the outer one; an empty outer list is everything, an empty inner one asks for everything. */
static bool list_within(struct str outer, struct str inner)
{
    struct str word, rest = inner;
    if (outer.len == 0)
        return true;
    while (str_next_word(&rest, &word)) {
        struct str all = outer, one;
        bool found = false;
        while (!found && str_next_word(&all, &one))
            found = str_eq(one, word);
        if (!found)
            return false;
    }
    return inner.len > 0;
}

static bool cidrs_within(struct str outer, struct str inner)
{
    struct str word, rest = inner;
    if (outer.len == 0)
        return true;
    while (str_next_word(&rest, &word)) {
        struct str all = outer, one;
        struct cidr in, out;
        bool found = false;
        while (!found && str_next_word(&all, &one))
            found = cidr_parse(one, &out) && cidr_parse(word, &in) && cidr_covers(&out, &in);
        if (!found)
            return false;
    }
    return inner.len > 0;
}

#define NARROW_SCOPES                                                                                                  \
    (SCOPE_BIT(SCOPE_RUNS_CREATE) | SCOPE_BIT(SCOPE_RUNS_READ) | SCOPE_BIT(SCOPE_RUNS_STOP) |                          \
     SCOPE_BIT(SCOPE_RUNS_DELETE) | SCOPE_BIT(SCOPE_AGENTS_READ))

bool key_may_give(struct call *c, const struct key_settings *s, struct fault *ret_fault)
{
    struct check check = {&c->req->arena, "", ret_fault};
    bool narrowed = s->agents.len > 0 || s->queues.len > 0;
    for (unsigned i = 0; i < SCOPE_COUNT; i++) {
        if ((s->scopes & SCOPE_BIT(i)) && !call_may(c, (enum scope)i))
            return refuse(&check, ERR_FORBIDDEN, "scopes: your key does not have %s, so it can't give it",
                          scope_word((enum scope)i));
        if (narrowed && (s->scopes & SCOPE_BIT(i) & ~NARROW_SCOPES))
            return refuse(&check, ERR_INVALID_FIELD,
                          "scopes: a key for some agents or queues only can have runs:create, runs:read, runs:stop, "
                          "runs:delete and agents:read, not %s",
                          scope_word((enum scope)i));
    }
    if (!list_within(c->agents, s->agents) || !list_within(c->queues, s->queues) || !cidrs_within(c->cidrs, s->cidrs))
        return refuse(&check, ERR_FORBIDDEN,
                      "agents, queues and cidrs: the new key may not reach further than yours; narrow it as much");
    if (c->until_ms > 0 && (s->expires_ms == 0 || s->expires_ms > c->until_ms))
        return refuse(&check, ERR_FORBIDDEN, "expiresAt: your key expires, so the new one must expire no later");
    return true;
}

/* ---- the body ---- */

/* Of requests; without a burst all of them may come at once. */
static bool take_request_rate(struct check *c, const struct json *v, const char *name, void *out)
{
    struct rate *rate = out;
    if (!take_rate(c, v, name, out))
        return false;
    if (!json_get(v, "burst"))
        rate->burst = rate->limit;
    return true;
}

struct raw_key {
    struct key_settings s;
    int64_t expires_in_ms, expires_at_ms;
};

static const struct field fields[] = {
#define AT(member) offsetof(struct raw_key, member)
    {"name", take_name, AT(s.name), 0, 0},
    {"scopes", take_scopes, AT(s.scopes), 0, 0},
    {"agents", take_names, AT(s.agents), 0, 0},
    {"queues", take_names, AT(s.queues), 0, 0},
    {"cidrs", take_cidrs, AT(s.cidrs), 0, 0},
    {"rateLimit", take_request_rate, AT(s.rate), 0, 0},
    {"concurrency", NULL, AT(s.concurrency), 1, LIMIT_CONCURRENCY},
    {"expiresInMs", NULL, AT(expires_in_ms), 1, LIMIT_KEY_LIFE_MS},
    {"expiresAt", take_time, AT(expires_at_ms), 0, 0},
#undef AT
};

bool key_body_read(struct call *c, struct key_settings *ret_settings)
{
    const struct json *root;
    struct fault fault;
    struct raw_key raw = {.s.name = STR_NONE};
    struct check check = {&c->req->arena, "", &fault};
    int64_t now_ms = node_now_ms(c->node);
    bool ok = validate_body(&c->req->arena, c->req->body, &root, &fault) &&
              (root->type == JSON_OBJECT || refuse(&check, ERR_INVALID_FIELD, "a key must be an object")) &&
              take_object(&check, root, fields, ARRAY_LEN(fields), &raw);
    if (ok && raw.s.name.len == 0)
        ok = refuse(&check, ERR_MISSING_FIELD, "name is required: what the key is for");
    if (ok && raw.s.scopes == 0)
        ok = refuse(&check, ERR_MISSING_FIELD,
                    "scopes is required: what the key may do, like [\"runs:create\", \"runs:read\"]");
    if (ok && raw.expires_in_ms > 0 && raw.expires_at_ms > 0)
        ok = refuse(&check, ERR_INVALID_FIELD, "expiresAt and expiresInMs say the same; give one of them");
    if (ok && raw.expires_at_ms > 0 && raw.expires_at_ms <= now_ms)
        ok = refuse(&check, ERR_INVALID_FIELD, "expiresAt must lie ahead");
    raw.s.expires_ms = raw.expires_in_ms > 0 ? now_ms + raw.expires_in_ms : raw.expires_at_ms;
    ok = ok && key_may_give(c, &raw.s, &fault);
    if (!ok)
        call_problem(c, fault.err, fault.detail);
    *ret_settings = raw.s;
    return ok;
}

/* ---- records ---- */

size_t key_fields(struct arena *a, const struct key_settings *s, struct str ret_fields[KEY_FIELDS])
{
    struct strbuf scopes;
    size_t n = 0;
    strbuf_init(&scopes, 4096);
    for (unsigned i = 0; i < SCOPE_COUNT; i++)
        if (s->scopes & SCOPE_BIT(i))
            strbuf_addf(&scopes, "%s%s", scopes.len ? "," : "", scope_word((enum scope)i));
    struct {
        const char *name;
        struct str value;
    } rows[] = {{"name", s->name},
                {"scopes", arena_str(a, strbuf_str(&scopes))},
                {"agents", s->agents},
                {"queues", s->queues},
                {"cidrs", s->cidrs},
                {"rate", rate_text(a, &s->rate)},
                {"conc", s->concurrency > 0 ? str_of(arena_printf(a, "%lld", (long long)s->concurrency)) : STR_NONE},
                {"details", s->details}};
    strbuf_done(&scopes);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].value.len == 0)
            continue;
        ret_fields[n++] = str_of(rows[i].name);
        ret_fields[n++] = rows[i].value;
    }
    return n;
}

struct making {
    struct arena arena;
    struct api_key key;
    key_made_fn fn;
    void *ctx;
};

static void on_made(void *ctx, enum err err, const struct script_key_put_reply *reply)
{
    struct making *m = ctx;
    m->fn(m->ctx, err, err ? NULL : &m->key, err ? NULL : reply->key);
    arena_done(&m->arena);
    crypto_wipe(m, sizeof *m);
    free(m);
}

void key_make(struct node *n, struct str workspace, struct str by, const struct key_settings *s, key_made_fn fn,
              void *ctx)
{
    struct making *m = calloc(1, sizeof *m);
    PRE(m);
    m->fn = fn;
    m->ctx = ctx;
    arena_init(&m->arena, RECORD_BYTES);
    api_key_make(STR_NONE, &m->key);
    struct str kv[KEY_FIELDS + 4];
    size_t count = key_fields(&m->arena, s, kv);
    kv[count++] = STR("hash");
    kv[count++] = str_of(m->key.hash);
    kv[count++] = STR("by");
    kv[count++] = by;
    struct key global = keys_global(str_of(n->config->prefix));
    struct script_key_put_args args = {.id = str_of(m->key.id),
                                       .ws = workspace,
                                       .expires_ms = s->expires_ms,
                                       .kept_ms = s->kept_ms,
                                       .max_keys = LIMIT_KEYS,
                                       .fields = kv,
                                       .fields_len = count};
    script_call_key_put(n->shards[0].commands, key_str(&global), &args, on_made, m);
}

static void write_words(struct json_writer *w, const char *key, struct str words, bool always)
{
    struct str word;
    if (words.len == 0 && !always)
        return;
    json_key(w, key);
    json_array_begin(w);
    while (str_next_word(&words, &word))
        json_str(w, word);
    json_array_end(w);
}

static void write_rate(struct json_writer *w, struct str text)
{
    static const char *const names[] = {"limit", "perMs", "burst"};
    json_key(w, "rateLimit");
    json_object_begin(w);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *end = NULL;
        json_kv_int(w, names[i], text.len > 0 ? strtoll(text.ptr, &end, 10) : 0); /* strings of replies end with NUL */
        size_t used = end ? (size_t)(end - text.ptr) + 1 : 0;
        text = used < text.len ? (struct str){text.ptr + used, text.len - used} : STR_NONE;
    }
    json_object_end(w);
}

void key_write(struct json_writer *w, const struct node *n, struct str id, const redisReply *record, struct str secret)
{
    int64_t expires = redis_int(redis_field(record, "expires"), 0), now = node_now_ms(n),
            until2 = redis_int(redis_field(record, "until2"), 0), conc = redis_int(redis_field(record, "conc"), 0);
    bool revoked = redis_field(record, "revoked") != NULL;
    json_object_begin(w);
    json_kv_str(w, "id", id);
    json_kv_str(w, "name", record_field(record, "name"));
    if (secret.len > 0)
        json_kv_str(w, "key", secret);
    json_kv_str(w, "workspace", record_field(record, "ws"));
    json_kv_str(w, "status", revoked ? STR("revoked") : expires > 0 && expires <= now ? STR("expired") : STR("active"));
    write_words(w, "scopes", record_field(record, "scopes"), true);
    write_words(w, "agents", record_field(record, "agents"), false);
    write_words(w, "queues", record_field(record, "queues"), false);
    write_words(w, "cidrs", record_field(record, "cidrs"), false);
    if (record_field(record, "rate").len > 0)
        write_rate(w, record_field(record, "rate"));
    if (conc > 0)
        json_kv_int(w, "concurrency", conc);
    json_kv_str(w, "createdBy", record_field(record, "by"));
    json_kv_time(w, "createdAt", redis_int(redis_field(record, "created"), 0));
    json_kv_time(w, "expiresAt", expires);
    json_kv_time(w, "rotatedAt", redis_int(redis_field(record, "rotated"), 0));
    json_kv_time(w, "previousUntil", until2 > now ? until2 : 0);
    json_kv_time(w, "revokedAt", redis_int(redis_field(record, "revoked"), 0));
    json_kv_time(w, "lastUsedAt", redis_int(redis_field(record, "used"), 0));
    if (record_field(record, "details").len > 0)
        json_kv_raw(w, "details", record_field(record, "details"));
    json_object_end(w);
}
