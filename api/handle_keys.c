/* API keys, and who is asking. Records live in the global prefix; a workspace's keys are seen by that workspace only. */
#include "api/audit.h"
#include "api/handlers.h"
#include "api/key_body.h"
#include "api/keys.h"
#include "api/validate.h"

enum { OVERLAP_DEFAULT_MS = 86400000 };

static struct redis *keys_redis(struct call *c)
{
    return c->node->shards[0].commands;
}

static struct key global_prefix(struct call *c)
{
    return keys_global(str_of(c->node->config->prefix));
}

static void answer_key(struct call *c, int status, struct str id, const redisReply *record, struct str secret)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 65536);
    json_writer_init(&w, &out);
    key_write(&w, c->node, id, record, secret);
    call_json(c, status, &out);
}

/* Whether the path may name a key; answered otherwise as one that is not there. */
static bool id_valid(struct call *c)
{
    if (api_key_id_valid(call_param(c, 0)))
        return true;
    call_problem(c, ERR_KEY_NOT_FOUND, NULL);
    return false;
}

/* ---- create, change ---- */

static void on_made(void *ctx, enum err err, const struct api_key *key, const redisReply *record)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err,
                     err == ERR_LIMIT_EXCEEDED
                         ? "this workspace has as many keys as it may; revoke some (they count for 30 days)"
                         : NULL);
        return;
    }
    http_reply_header(c->req, "Location", str_of(call_text(c, "/v1/keys/%s", key->id)));
    answer_key(c, 201, str_of(key->id), record, str_of(key->text));
}

static void create(struct call *c)
{
    key_make(c->node, c->workspace, c->created_by, c->user, on_made, c);
}

void handle_key_create(struct call *c)
{
    struct key_settings *s = arena_zalloc(&c->req->arena, sizeof *s);
    c->user = s;
    if (!s)
        call_problem(c, ERR_NO_MEMORY, NULL);
    else if (key_body_read(c, s))
        audit_then(c, s->name, create);
}

static void on_put(void *ctx, enum err err, const struct script_key_put_reply *reply)
{
    struct call *c = ctx;
    keys_changed(c->node->keys, call_param(c, 0));
    if (err)
        call_problem(c, err, NULL);
    else
        answer_key(c, 200, call_param(c, 0), reply->key, STR_NONE);
}

/* Whether the caller's key reaches as far as the one it changes: else it could take over a stronger one by rotating it. */
static bool may_touch(struct call *c, const redisReply *record)
{
    struct key_settings s = {.scopes = scopes_of(redis_str(redis_field(record, "scopes"))),
                             .agents = redis_str(redis_field(record, "agents")),
                             .queues = redis_str(redis_field(record, "queues")),
                             .cidrs = redis_str(redis_field(record, "cidrs")),
                             .expires_ms = redis_int(redis_field(record, "expires"), 0)};
    struct fault fault;
    if (str_starts(redis_str(redis_field(record, "by")), STR("trust:")))
        return false; /* it was made to live for minutes */
    return key_may_give(c, &s, &fault) || fault.err != ERR_FORBIDDEN;
}

/* A change of a key: first what it is, then, where the caller may, the change. */
struct change {
    struct call *call;
    struct key_settings settings;
    int64_t overlap_ms;
    struct str seen; /* what it was judged by, as the scripts say it */
    struct api_key fresh;
    void (*next)(struct change *ch);
};

static void change_next(struct call *c)
{
    struct change *ch = c->user;
    ch->next(ch);
}

/* As key_rights of lua/include/key.lua says it. */
static struct str rights_seen(struct call *c, const redisReply *record)
{
    static const char *const fields[] = {"scopes", "agents", "queues", "cidrs", "expires"};
    struct strbuf text;
    strbuf_init(&text, 65536);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        strbuf_addf(&text, "%s%.*s", i ? "|" : "", STR_ARG(redis_str(redis_field(record, fields[i]))));
    struct str copy = strbuf_failed(&text) ? STR("?") : arena_str(&c->req->arena, strbuf_str(&text));
    strbuf_done(&text);
    return copy;
}

static void on_known(void *ctx, enum err err, const struct script_key_show_reply *reply)
{
    struct change *ch = ctx;
    if (!err && !may_touch(ch->call, reply->key))
        call_problem(ch->call, ERR_FORBIDDEN, "that key may do more than yours, so yours can't change it");
    else if (err)
        call_problem(ch->call, err, NULL);
    else {
        ch->seen = rights_seen(ch->call, reply->key);
        audit_then(ch->call, call_param(ch->call, 0), change_next);
    }
}

static struct change *change_new(struct call *c, void (*next)(struct change *ch))
{
    struct change *ch = id_valid(c) ? arena_zalloc(&c->req->arena, sizeof *ch) : NULL;
    if (ch) {
        c->user = ch;
        ch->call = c;
        ch->next = next;
    }
    return ch;
}

static void change_begin(struct change *ch)
{
    struct key global = global_prefix(ch->call);
    struct script_key_show_args args = {.id = call_param(ch->call, 0), .ws = ch->call->workspace};
    script_call_key_show(keys_redis(ch->call), key_str(&global), &args, on_known, ch);
}

static void put(struct change *ch)
{
    struct call *c = ch->call;
    struct str kv[KEY_FIELDS];
    struct key global = global_prefix(c);
    size_t n = key_fields(&c->req->arena, &ch->settings, kv);
    struct script_key_put_args args = {.id = call_param(c, 0),
                                       .ws = c->workspace,
                                       .replace = 1,
                                       .seen = ch->seen,
                                       .expires_ms = ch->settings.expires_ms,
                                       .max_keys = LIMIT_KEYS,
                                       .fields = kv,
                                       .fields_len = n};
    script_call_key_put(keys_redis(c), key_str(&global), &args, on_put, c);
}

void handle_key_put(struct call *c)
{
    struct change *ch = change_new(c, put);
    if (ch && key_body_read(c, &ch->settings))
        change_begin(ch);
}

/* ---- rotate, revoke ---- */

static void on_rotated(void *ctx, enum err err, const struct script_key_rotate_reply *reply)
{
    struct change *ch = ctx;
    struct call *c = ch->call;
    keys_changed(c->node->keys, call_param(c, 0));
    if (err)
        call_problem(c, err, NULL);
    else
        answer_key(c, 200, call_param(c, 0), reply->key, str_of(ch->fresh.text));
    crypto_wipe(&ch->fresh, sizeof ch->fresh);
}

static void rotate(struct change *ch)
{
    struct call *c = ch->call;
    struct key global = global_prefix(c);
    api_key_make(call_param(c, 0), &ch->fresh);
    struct script_key_rotate_args args = {.seen = ch->seen,
                                          .id = call_param(c, 0),
                                          .ws = c->workspace,
                                          .hash = str_of(ch->fresh.hash),
                                          .overlap_ms = ch->overlap_ms};
    script_call_key_rotate(keys_redis(c), key_str(&global), &args, on_rotated, ch);
}

void handle_key_rotate(struct call *c)
{
    static const struct field fields[] = {
        {"overlapMs", NULL, offsetof(struct change, overlap_ms), 0, LIMIT_KEY_OVERLAP_MS}};
    const struct json *root;
    struct fault fault;
    struct check check = {&c->req->arena, "", &fault};
    struct change *ch = change_new(c, rotate);
    if (!ch)
        return;
    ch->overlap_ms = OVERLAP_DEFAULT_MS;
    if (c->req->body.len > 0 &&
        (!validate_body(&c->req->arena, c->req->body, &root, &fault) ||
         (root->type != JSON_OBJECT && !refuse(&check, ERR_INVALID_FIELD, "the body must be an object, or empty")) ||
         !take_object(&check, root, fields, ARRAY_LEN(fields), ch)))
        call_problem(c, fault.err, fault.detail);
    else
        change_begin(ch);
}

static void on_revoked(void *ctx, enum err err, const struct script_key_revoke_reply *reply)
{
    struct call *c = ctx;
    (void)reply;
    keys_changed(c->node->keys, call_param(c, 0));
    call_done(c, err);
}

/* Taking a stronger key away gives nothing: any key with keys:admin may, in an emergency. */
static void revoke_key(struct call *c)
{
    struct key global = global_prefix(c);
    struct script_key_revoke_args args = {.id = call_param(c, 0), .ws = c->workspace};
    script_call_key_revoke(keys_redis(c), key_str(&global), &args, on_revoked, c);
}

void handle_key_delete(struct call *c)
{
    if (id_valid(c))
        audit_then(c, call_param(c, 0), revoke_key);
}

/* ---- show, list ---- */

static void on_show(void *ctx, enum err err, const struct script_key_show_reply *reply)
{
    struct call *c = ctx;
    if (err)
        call_problem(c, err, NULL);
    else
        answer_key(c, 200, call_param(c, 0), reply->key, STR_NONE);
}

void handle_key_get(struct call *c)
{
    struct key global = global_prefix(c);
    struct script_key_show_args args = {.id = call_param(c, 0), .ws = c->workspace};
    if (id_valid(c))
        script_call_key_show(keys_redis(c), key_str(&global), &args, on_show, c);
}

static void on_list(void *ctx, enum err err, const struct script_key_list_reply *reply)
{
    struct call *c = ctx;
    struct call_page page;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    call_page_begin(&page, "keys", 16 << 20);
    for (size_t i = 0; i < reply->keys_len; i++)
        key_write(&page.w, c->node, reply->keys[i].id, reply->keys[i].key, STR_NONE);
    call_page_end(c, &page, reply->next);
}

void handle_key_list(struct call *c)
{
    struct key global = global_prefix(c);
    struct script_key_list_args args = {.ws = c->workspace, .after = STR("")};
    if (http_query(c->req, "after", 0, &args.after) && !api_key_id_valid(args.after)) {
        call_problem(c, ERR_INVALID_PARAMETER, "after must be the cursor of an earlier page");
        return;
    }
    if (call_query_int(c, "limit", 1, LIMIT_PAGE, LIMIT_PAGE, &args.limit))
        script_call_key_list(keys_redis(c), key_str(&global), &args, on_list, c);
}

/* ---- GET /v1/whoami ---- */

static void write_list(struct json_writer *w, const char *name, struct str words)
{
    struct str word;
    if (words.len == 0)
        return;
    json_key(w, name);
    json_array_begin(w);
    while (str_next_word(&words, &word))
        json_str(w, word);
    json_array_end(w);
}

void handle_whoami(struct call *c)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 65536);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "key", c->created_by);
    json_kv_str(&w, "workspace", c->workspace);
    json_key(&w, "scopes");
    json_array_begin(&w);
    for (unsigned i = 0; i < SCOPE_COUNT; i++)
        if (call_may(c, (enum scope)i))
            json_str(&w, str_of(scope_word((enum scope)i)));
    json_array_end(&w);
    write_list(&w, "agents", c->agents);
    write_list(&w, "queues", c->queues);
    json_kv_time(&w, "expiresAt", c->until_ms);
    json_kv_bool(&w, "session", c->session);
    json_object_end(&w);
    call_json(c, 200, &out);
}
