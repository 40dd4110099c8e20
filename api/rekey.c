/* POST /v1/secrets/rekey: everything that is sealed under a retired master key is sealed with the current one. Goes through all shards, kind by kind, by SCAN, so that nothing has to keep a list; each
 * value is put in its own place only if it is still the one that was read. What was done is not done again, so whoever was interrupted goes on with the cursor, or begins anew. */
#include <stdio.h>
#include <stdlib.h>

#include "api/audit.h"
#include "api/handlers.h"
#include "api/hook_seal.h"
#include "api/validate_fields.h"
#include "common/secret.h"
#include "common/vault.h"

enum {
    SCAN_COUNT = 200,   /* keys that Redis looks at in a step */
    STEPS_MAX = 50,     /* of a call */
    EXAMINED_MAX = 500, /* values, after which a call ends with its step */
    FAILURES_MAX = 100, /* that an answer names */
    CURSOR_MAX = 24,
};

/* ---- what is sealed ---- */

/* A kind of sealed things: hashes whose keys match, and what the values of their fields are bound to. */
struct sealed_kind {
    const char *pattern; /* within a shard; a glob */
    /* The context that the field of the hash at path is sealed with, into out; false: nothing sealed is in that field. */
    bool (*context)(struct str path, struct str field, struct strbuf *out);
};

/* secret:WORKSPACE:NAME, field vVERSION */
static bool secret_field(struct str path, struct str field, struct strbuf *out)
{
    char buf[SECRET_CONTEXT_MAX];
    struct str name, ws = {path.ptr + 7, 0};
    int64_t version = 0;
    const char *colon = path.len > 7 ? memchr(ws.ptr, ':', path.len - 7) : NULL;
    if (!colon || field.len < 2 || field.len > 12 || field.ptr[0] != 'v')
        return false;
    ws.len = (size_t)(colon - ws.ptr);
    name = (struct str){colon + 1, path.len - 7 - ws.len - 1};
    for (size_t i = 1; i < field.len; i++) {
        if (field.ptr[i] < '0' || field.ptr[i] > '9')
            return false;
        version = version * 10 + (field.ptr[i] - '0');
    }
    if (ws.len > LIMIT_NAME || !posix_name_valid(name, LIMIT_NAME))
        return false;
    strbuf_add(out, secret_context(ws, name, version, buf));
    return true;
}

/* hook:WORKSPACE:ID, fields secret and secretOld. A run's own webhook secret lives as long as the run: the retired key is kept for that time. */
static bool hook_field(struct str path, struct str field, struct strbuf *out)
{
    struct str ws = {path.ptr + 5, 0};
    const char *colon = path.len > 5 ? memchr(ws.ptr, ':', path.len - 5) : NULL;
    if (!colon || (!str_eqz(field, "secret") && !str_eqz(field, "secretOld")))
        return false;
    ws.len = (size_t)(colon - ws.ptr);
    struct str hook = {colon + 1, path.len - 5 - ws.len - 1};
    if (!keys_name_valid(ws) || !keys_name_valid(hook))
        return false;
    hook_context(ws, hook, out);
    return true;
}

static const struct sealed_kind kinds[] = {
    {"secret:*", secret_field},
    {"hook:*", hook_field},
};

/* ---- one call ---- */

struct rekey {
    struct call *call;
    unsigned shard;
    size_t kind;
    char cursor[CURSOR_MAX]; /* of SCAN: where the next step begins */
    struct str *paths;       /* of this step, in the request's arena */
    size_t path_count, path_at;
    int steps, pending; /* pending: answers to come about the present hash */
    enum err err;       /* the first fault of Redis */
    int64_t examined, resealed, failed;
    struct strbuf failures; /* JSON, without the brackets */
};

static void step(struct rekey *r);
static void next_path(struct rekey *r);

static struct shard *shard_of(struct rekey *r)
{
    return &r->call->node->shards[r->shard];
}

static void rekey_fail(struct rekey *r, enum err err, const char *detail)
{
    strbuf_done(&r->failures);
    call_problem(r->call, err, detail);
}

static void answer(struct rekey *r, bool over)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    strbuf_addf(&out, "{\"examined\":%lld,\"resealed\":%lld,\"failed\":%lld,\"failures\":[", (long long)r->examined,
                (long long)r->resealed, (long long)r->failed);
    strbuf_add(&out, strbuf_str(&r->failures));
    if (over)
        strbuf_addz(&out, "],\"cursor\":null}");
    else
        strbuf_addf(&out, "],\"cursor\":\"%u.%zu.%s\"}", r->shard, r->kind, r->cursor);
    strbuf_done(&r->failures);
    call_json(r->call, 200, &out);
}

/* ---- values ---- */

static void note_failure(struct rekey *r, struct str path, struct str field, enum err err)
{
    struct json_writer w;
    if (++r->failed > FAILURES_MAX)
        return;
    if (r->failed > 1)
        strbuf_addc(&r->failures, ',');
    json_writer_init(&w, &r->failures);
    json_object_begin(&w);
    json_kv_str(&w, "key", path);
    json_kv_str(&w, "field", field);
    json_kv_str(&w, "code", str_of(err_code(err)));
    json_object_end(&w);
}

static void path_over(struct rekey *r)
{
    if (r->pending > 0)
        return;
    if (r->err)
        rekey_fail(r, r->err, NULL);
    else
        next_path(r);
}

static void on_resealed(void *ctx, enum err err, const struct script_reseal_reply *reply)
{
    struct rekey *r = ctx;
    r->pending--;
    r->err = r->err ? r->err : err;
    if (!err)
        r->resealed += reply->done;
    path_over(r);
}

/* Opens a value with the key that it names, and sends it back under the current one. */
static void reseal(struct rekey *r, struct str path, struct str field, struct str context, struct str value)
{
    const struct vault *v = r->call->node->vault;
    struct strbuf plain, sealed;
    strbuf_init(&plain, value.len);
    strbuf_init(&sealed, VAULT_SEALED_LEN(value.len));
    enum err err = vault_open(v, context, value, &plain);
    if (!err)
        err = vault_seal(v, context, strbuf_str(&plain), &sealed);
    if (err) {
        note_failure(r, path, field, err);
    } else {
        struct script_reseal_args args = {.path = path, .field = field, .was = value, .sealed = strbuf_str(&sealed)};
        r->pending++;
        script_call_reseal(shard_of(r)->commands, shard_prefix(shard_of(r)), &args, on_resealed, r);
    }
    vault_wipe(&plain);
    strbuf_done(&sealed);
}

static void on_hash(void *ctx, enum err err, const redisReply *reply)
{
    struct rekey *r = ctx;
    struct str path = r->paths[r->path_at++], current = vault_key_id(r->call->node->vault);
    size_t n = err || reply->type != REDIS_REPLY_ARRAY ? 0 : reply->elements;
    r->err = err;
    for (size_t i = 0; i + 1 < n; i += 2) {
        struct str field = redis_str(redis_at(reply, i)), value = redis_str(redis_at(reply, i + 1));
        struct strbuf context;
        strbuf_init(&context, 1024);
        if (kinds[r->kind].context(path, field, &context) && !context.failed) {
            r->examined++;
            if (!str_eq(vault_key_id_of(value), current))
                reseal(r, path, field, strbuf_str(&context), value);
        }
        strbuf_done(&context);
    }
    path_over(r);
}

/* ---- keys ---- */

static void next_path(struct rekey *r)
{
    if (r->path_at == r->path_count) {
        step(r);
        return;
    }
    struct str prefix = shard_prefix(shard_of(r)), path = r->paths[r->path_at];
    const char *key = arena_printf(&r->call->req->arena, "%.*s%.*s", STR_ARG(prefix), STR_ARG(path));
    if (!key) {
        rekey_fail(r, ERR_NO_MEMORY, NULL);
        return;
    }
    redis_command(shard_of(r)->commands, 2, (const struct str[]){STR("HGETALL"), str_of(key)}, on_hash, r);
}

/* What SCAN found is kept; where it ends, the next kind or shard follows. */
static void on_scan(void *ctx, enum err err, const redisReply *reply)
{
    struct rekey *r = ctx;
    struct arena *a = &r->call->req->arena;
    struct str next = redis_str(redis_at(reply, 0)), prefix = shard_prefix(shard_of(r));
    const redisReply *keys = redis_at(reply, 1);
    if (err || !keys || next.len == 0 || next.len >= CURSOR_MAX) {
        rekey_fail(r, err ? err : ERR_INTERNAL, NULL);
        return;
    }
    r->path_at = r->path_count = 0;
    r->paths = arena_alloc(a, (keys->elements + 1) * sizeof *r->paths);
    for (size_t i = 0; r->paths && i < keys->elements; i++) {
        struct str key = redis_str(redis_at(keys, i));
        if (!str_starts(key, prefix))
            continue;
        r->paths[r->path_count] = arena_str(a, (struct str){key.ptr + prefix.len, key.len - prefix.len});
        if (r->paths[r->path_count++].ptr == NULL)
            r->paths = NULL;
    }
    if (!r->paths) {
        rekey_fail(r, ERR_NO_MEMORY, NULL);
        return;
    }
    memcpy(r->cursor, next.ptr, next.len);
    r->cursor[next.len] = 0;
    next_path(r);
}

/* Names are taken as they are: nothing of a prefix is a pattern. */
static void add_escaped(struct strbuf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] && strchr("*?[]^-\\", text.ptr[i]))
            strbuf_addc(out, '\\');
        strbuf_addc(out, text.ptr[i]);
    }
}

/* A SCAN's cursor is "0" at its end, and before its first step, which is told from that by steps taken of the kind. */
static bool move_on(struct rekey *r)
{
    if (r->steps > 0 && strcmp(r->cursor, "0") == 0 && ++r->kind == ARRAY_LEN(kinds)) {
        r->kind = 0;
        r->shard++;
    }
    return r->shard < r->call->node->shard_count;
}

static void step(struct rekey *r)
{
    if (!move_on(r)) {
        answer(r, true);
        return;
    }
    if (r->steps == STEPS_MAX || r->examined >= EXAMINED_MAX) {
        answer(r, false);
        return;
    }
    struct strbuf pattern;
    char count[16];
    strbuf_init(&pattern, 1024);
    add_escaped(&pattern, shard_prefix(shard_of(r)));
    strbuf_addz(&pattern, kinds[r->kind].pattern);
    snprintf(count, sizeof count, "%d", SCAN_COUNT);
    const struct str argv[] = {STR("SCAN"),          str_of(r->cursor), STR("MATCH"),
                               strbuf_str(&pattern), STR("COUNT"),      str_of(count)};
    r->steps++;
    redis_command(shard_of(r)->commands, ARRAY_LEN(argv), argv, on_scan, r);
    strbuf_done(&pattern);
}

/* ---- the request ---- */

/* "SHARD.KIND.SCAN", as answer() wrote it. */
static bool read_cursor(struct rekey *r, struct str text)
{
    char copy[64], *end;
    if (text.len >= sizeof copy || memchr(text.ptr, 0, text.len))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    if (strspn(copy, "0123456789.") != text.len || !copy[0] || copy[0] == '.')
        return false;
    unsigned long shard = strtoul(copy, &end, 10), kind;
    if (*end != '.' || end[1] == '.' || !end[1])
        return false;
    kind = strtoul(end + 1, &end, 10);
    if (*end != '.' || strlen(end + 1) == 0 || strlen(end + 1) > 20 || strchr(end + 1, '.'))
        return false;
    if (shard >= r->call->node->shard_count || kind >= ARRAY_LEN(kinds))
        return false;
    r->shard = (unsigned)shard;
    r->kind = kind;
    snprintf(r->cursor, sizeof r->cursor, "%s", end + 1);
    return true;
}

static bool take_cursor(struct check *c, const struct json *v, const char *name, void *out)
{
    struct rekey *r = out;
    if (v->type == JSON_NULL || (v->type == JSON_STRING && read_cursor(r, v->string)))
        return true;
    return refuse(c, ERR_INVALID_FIELD, "%s must be the cursor of an earlier answer, or null", name);
}

static bool take_body(struct call *c, struct rekey *r)
{
    static const struct field fields[] = {{"cursor", take_cursor, 0, 0, 0}};
    const struct json *root;
    struct fault fault = {ERR_OK, NULL};
    struct check check = {&c->req->arena, "", &fault};
    if (c->req->body.len == 0)
        return true;
    bool ok = validate_body(&c->req->arena, c->req->body, &root, &fault);
    if (ok && root->type != JSON_OBJECT)
        ok = refuse(&check, ERR_INVALID_FIELD, "the body must be empty, or {\"cursor\": string}");
    ok = ok && take_object(&check, root, fields, ARRAY_LEN(fields), r);
    if (!ok)
        call_problem(c, fault.err, fault.detail);
    return ok;
}

static void begin(struct call *c)
{
    step(c->user);
}

void handle_secret_rekey(struct call *c)
{
    struct rekey *r = arena_zalloc(&c->req->arena, sizeof *r);
    if (!r || !c->node->vault) {
        call_problem(c, r ? ERR_NO_MASTER_KEY : ERR_NO_MEMORY, NULL);
        return;
    }
    r->call = c;
    snprintf(r->cursor, sizeof r->cursor, "0");
    strbuf_init(&r->failures, (size_t)FAILURES_MAX * 2048);
    c->user = r;
    if (take_body(c, r))
        audit_then(c, STR("rekey"), begin);
    else
        strbuf_done(&r->failures);
}
