/* Webhooks: what is asked is checked here, and secrets are sealed before they leave this node's memory; what tells them is hook_sender.c. */
#include <stdio.h>
#include <stdlib.h>

#include "api/audit.h"
#include "api/handlers.h"
#include "api/hook_body.h"
#include "api/hook_seal.h"
#include "api/record.h"
#include "common/crypto.h"
#include "common/vault.h"
#include "common/webhook.h"

enum { DELETE_STEP = 500, HOOK_ID_RANDOM = 22 };

static int64_t number(const redisReply *flat, const char *name)
{
    return redis_int(redis_field(flat, name), 0);
}

/* `a b` → ["a","b"] */
static void write_words(struct json_writer *w, const char *key, struct str text)
{
    json_key(w, key);
    json_array_begin(w);
    while (text.len > 0) {
        const char *space = memchr(text.ptr, ' ', text.len);
        size_t len = space ? (size_t)(space - text.ptr) : text.len;
        json_str(w, (struct str){text.ptr, len});
        text.ptr += len + (space ? 1 : 0);
        text.len -= len + (space ? 1 : 0);
    }
    json_array_end(w);
}

/* secret: of a new one, "" otherwise. */
static void write_hook(struct json_writer *w, struct str id, const redisReply *flat, struct str secret)
{
    json_object_begin(w);
    json_kv_str(w, "id", id);
    json_kv_str(w, "url", record_field(flat, "url"));
    write_words(w, "events", record_field(flat, "events"));
    write_words(w, "agents", record_field(flat, "agents"));
    json_kv_bool(w, "enabled", number(flat, "enabled") == 1);
    json_kv_str_opt(w, "disabledReason", record_field(flat, "disabledReason"));
    json_kv_str_opt(w, "description", record_field(flat, "description"));
    json_kv_str_opt(w, "secret", secret);
    json_kv_time(w, "createdAt", number(flat, "created"));
    json_kv_time(w, "updatedAt", number(flat, "updated"));
    json_kv_time(w, "secretRotatedAt", number(flat, "rotated"));
    json_kv_time(w, "oldSecretUntil", number(flat, "oldUntil"));
    json_kv_time(w, "lastDeliveredAt", number(flat, "lastDelivered"));
    json_kv_time(w, "failingSince", number(flat, "failingSince"));
    json_kv_int(w, "failures", number(flat, "failures"));
    json_kv_int(w, "dropped", number(flat, "dropped"));
    json_object_end(w);
}

static void answer(struct call *c, int status, struct str id, const redisReply *flat, struct str secret)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 1 << 16);
    json_writer_init(&w, &out);
    write_hook(&w, id, flat, secret);
    call_json(c, status, &out);
}

static bool id_valid(struct call *c)
{
    if (keys_name_valid(call_param(c, 0)))
        return true;
    call_problem(c, ERR_WEBHOOK_NOT_FOUND, NULL);
    return false;
}

/* ---- create and replace ---- */

struct put_call {
    struct call *call;
    struct hook_body body;
    struct str id, secret, sealed; /* secret and sealed: "" where they stay */
    int64_t overlap_ms;            /* of a rotation */
};

static void on_put(void *ctx, enum err err, const struct script_hook_put_reply *reply)
{
    struct put_call *p = ctx;
    struct call *c = p->call;
    if (err) {
        call_problem(c, err,
                     err == ERR_LIMIT_EXCEEDED ? "this workspace has as many webhooks as it may; delete one first"
                                               : NULL);
        return;
    }
    if (p->secret.len > 0)
        http_reply_header(c->req, "Location", str_of(call_text(c, "/v1/webhooks/%.*s", STR_ARG(p->id))));
    answer(c, p->secret.len > 0 ? 201 : 200, p->id, reply->fields, p->secret);
}

static void put(struct call *c)
{
    struct put_call *p = c->user;
    const struct hook_body *b = &p->body;
    struct str fields[10];
    size_t n = 0;
    const struct str pairs[][2] = {{STR("url"), b->url},
                                   {STR("events"), b->events},
                                   {STR("agents"), b->agents},
                                   {STR("description"), b->description},
                                   {STR("enabled"), b->enabled ? STR("1") : STR("0")}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (pairs[i][1].len == 0)
            continue;
        fields[n++] = pairs[i][0];
        fields[n++] = pairs[i][1];
    }
    const char *filter = arena_printf(&c->req->arena, "%.*s|%.*s", STR_ARG(b->events), STR_ARG(b->agents));
    if (!filter) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    struct script_hook_put_args args = {.ws = c->workspace,
                                        .id = p->id,
                                        .secret = p->sealed,
                                        .filter = b->enabled ? str_of(filter) : STR(""),
                                        .max_hooks = LIMIT_WEBHOOKS,
                                        .fields = fields,
                                        .fields_len = n};
    script_call_hook_put(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_put, p);
}

static struct put_call *put_call_new(struct call *c, bool create)
{
    const struct json *root;
    struct fault fault;
    struct put_call *p = arena_zalloc(&c->req->arena, sizeof *p);
    if (!p) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    p->call = c;
    p->secret = p->sealed = STR("");
    c->user = p;
    if (validate_body(&c->req->arena, c->req->body, &root, &fault) &&
        hook_body_read(&c->req->arena, root, create, c->node->config->allow_private_addresses, &p->body, &fault))
        return p;
    call_problem(c, fault.err, fault.detail);
    return NULL;
}

/* A secret, the caller's or a new one, into the arena, and sealed for this webhook. False: answered. */
static bool seal_secret(struct call *c, struct str id, struct str asked, struct str *ret_secret, struct str *ret_sealed)
{
    char fresh[WEBHOOK_SECRET_MAX];
    if (asked.len == 0)
        webhook_secret_new(fresh);
    *ret_secret = asked.len ? asked : arena_str(&c->req->arena, str_of(fresh));
    enum err err = ret_secret->ptr
                       ? hook_seal(c->node->vault, &c->req->arena, c->workspace, id, STR(""), *ret_secret, ret_sealed)
                       : ERR_NO_MEMORY;
    if (err)
        call_problem(c, err, err == ERR_NO_MASTER_KEY ? "webhooks have secrets, which this node can't keep" : NULL);
    return err == ERR_OK;
}

/* A webhook is told what runs:read shows. */
static bool may_be_told(struct call *c)
{
    if (call_may(c, SCOPE_RUNS_READ))
        return true;
    call_problem(c, ERR_FORBIDDEN, "a webhook is told of runs: the key needs runs:read, too");
    return false;
}

void handle_webhook_create(struct call *c)
{
    char token[44];
    struct put_call *p = put_call_new(c, true);
    if (!p || !may_be_told(c))
        return;
    crypto_token(token);
    p->id = str_of(call_text(c, "wh_%.*s", HOOK_ID_RANDOM, token));
    if (seal_secret(c, p->id, p->body.secret, &p->secret, &p->sealed))
        audit_then(c, p->id, put);
}

void handle_webhook_put(struct call *c)
{
    struct put_call *p = id_valid(c) ? put_call_new(c, false) : NULL;
    if (!p || !may_be_told(c))
        return;
    p->id = call_param(c, 0);
    audit_then(c, p->id, put);
}

/* ---- rotate ---- */

static void on_rotate(void *ctx, enum err err, const struct script_hook_rotate_reply *reply)
{
    struct put_call *p = ctx;
    if (err)
        call_problem(p->call, err, NULL);
    else
        answer(p->call, 200, p->id, reply->fields, p->secret);
}

static void rotate(struct call *c)
{
    struct put_call *p = c->user;
    struct script_hook_rotate_args args = {
        .ws = c->workspace, .id = p->id, .secret = p->sealed, .overlap_ms = p->overlap_ms};
    script_call_hook_rotate(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_rotate, p);
}

void handle_webhook_rotate(struct call *c)
{
    const struct json *root;
    struct fault fault;
    struct str asked = STR("");
    struct put_call *p = arena_zalloc(&c->req->arena, sizeof *p);
    if (!p || !id_valid(c)) {
        if (!p)
            call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    *p = (struct put_call){.call = c, .id = call_param(c, 0), .overlap_ms = 86400000};
    c->user = p;
    if (c->req->body.len > 0 && (!validate_body(&c->req->arena, c->req->body, &root, &fault) ||
                                 !hook_rotation_read(&c->req->arena, root, &asked, &p->overlap_ms, &fault)))
        call_problem(c, fault.err, fault.detail);
    else if (seal_secret(c, p->id, asked, &p->secret, &p->sealed))
        audit_then(c, p->id, rotate);
}

/* ---- one webhook, and all ---- */

static void on_get(void *ctx, enum err err, const struct script_hook_get_reply *reply)
{
    struct call *c = ctx;
    if (err)
        call_problem(c, err, NULL);
    else
        answer(c, 200, call_param(c, 0), reply->fields, STR(""));
}

void handle_webhook_get(struct call *c)
{
    if (!id_valid(c))
        return;
    struct script_hook_get_args args = {.ws = c->workspace, .id = call_param(c, 0)};
    script_call_hook_get(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_get, c);
}

static void delete_step(struct call *c);

static void on_delete(void *ctx, enum err err, const struct script_hook_delete_reply *reply)
{
    if (!err && reply->more)
        delete_step(ctx);
    else
        call_done(ctx, err);
}

static void delete_step(struct call *c)
{
    struct script_hook_delete_args args = {.ws = c->workspace, .id = call_param(c, 0), .max = DELETE_STEP};
    script_call_hook_delete(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_delete, c);
}

void handle_webhook_delete(struct call *c)
{
    if (id_valid(c))
        audit_then(c, call_param(c, 0), delete_step);
}

static void on_list(void *ctx, enum err err, const struct script_hook_list_reply *reply)
{
    struct call *c = ctx;
    struct strbuf out;
    struct json_writer w;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    strbuf_init(&out, 1 << 20);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_key(&w, "webhooks");
    json_array_begin(&w);
    for (size_t i = 0; i < reply->hooks_len; i++)
        write_hook(&w, reply->hooks[i].id, reply->hooks[i].fields, STR(""));
    json_array_end(&w);
    json_object_end(&w);
    call_json(c, 200, &out);
}

void handle_webhook_list(struct call *c)
{
    struct script_hook_list_args args = {.ws = c->workspace};
    script_call_hook_list(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_list, c);
}

/* ---- deliveries ---- */

static void write_delivery(struct json_writer *w, struct str id, const redisReply *flat)
{
    json_object_begin(w);
    json_kv_str(w, "id", id);
    json_kv_str(w, "type", record_field(flat, "type"));
    json_kv_str_opt(w, "runId", record_field(flat, "run"));
    json_kv_str(w, "status", record_field(flat, "status"));
    json_kv_int(w, "attempts", number(flat, "attempts"));
    if (number(flat, "lastStatus") > 0)
        json_kv_int(w, "lastStatus", number(flat, "lastStatus"));
    json_kv_str_opt(w, "lastError", record_field(flat, "lastError"));
    json_kv_time(w, "lastAttemptAt", number(flat, "lastAt"));
    json_kv_time(w, "nextAttemptAt", number(flat, "next"));
    json_kv_time(w, "createdAt", number(flat, "created"));
    json_object_end(w);
}

static void on_deliveries(void *ctx, enum err err, const struct script_hook_deliveries_reply *reply)
{
    struct call *c = ctx;
    struct call_page page;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    call_page_begin(&page, "deliveries", 1 << 20);
    for (size_t i = 0; i < reply->deliveries_len; i++)
        write_delivery(&page.w, reply->deliveries[i].id, reply->deliveries[i].fields);
    call_page_end(c, &page, reply->next);
}

static bool cursor_valid(struct str s)
{
    bool ok = s.len > 0 && s.len <= 16;
    for (size_t i = 0; ok && i < s.len; i++)
        ok = s.ptr[i] >= '0' && s.ptr[i] <= '9';
    return ok;
}

void handle_webhook_deliveries(struct call *c)
{
    if (!id_valid(c))
        return;
    struct script_hook_deliveries_args args = {.ws = c->workspace, .id = call_param(c, 0), .before = STR("")};
    if (http_query(c->req, "cursor", 0, &args.before) && !cursor_valid(args.before)) {
        call_problem(c, ERR_INVALID_PARAMETER, "cursor must be that of an earlier page");
        return;
    }
    if (call_query_int(c, "limit", 1, LIMIT_PAGE, 50, &args.limit))
        script_call_hook_deliveries(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_deliveries, c);
}

static void on_resend(void *ctx, enum err err, const struct script_hook_resend_reply *reply)
{
    struct call *c = ctx;
    (void)reply;
    if (err)
        call_problem(c, err, err == ERR_WEBHOOK_DISABLED ? "PUT /v1/webhooks/{id} enables it" : NULL);
    else
        http_reply(c->req, 202, "application/json",
                   str_of(call_text(c, "{\"deliveryId\":\"%.*s\"}", STR_ARG(call_param(c, 1)))));
}

static void resend(struct call *c)
{
    struct script_hook_resend_args args = {.ws = c->workspace, .id = call_param(c, 0), .delivery = call_param(c, 1)};
    script_call_hook_resend(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_resend, c);
}

void handle_webhook_resend(struct call *c)
{
    if (!id_valid(c) || !call_body_empty(c))
        return;
    if (!keys_name_valid(call_param(c, 1))) {
        call_problem(c, ERR_DELIVERY_NOT_FOUND, NULL);
        return;
    }
    audit_then(c, call_param(c, 0), resend);
}

static void on_test(void *ctx, enum err err, const struct script_hook_ping_reply *reply)
{
    struct call *c = ctx;
    if (err)
        call_problem(c, err, err == ERR_WEBHOOK_DISABLED ? "PUT /v1/webhooks/{id} enables it" : NULL);
    else
        http_reply(c->req, 202, "application/json",
                   str_of(call_text(c, "{\"deliveryId\":\"%.*s\"}", STR_ARG(reply->delivery))));
}

static void ping(struct call *c)
{
    struct script_hook_ping_args args = {.ws = c->workspace, .id = call_param(c, 0)};
    script_call_hook_ping(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_test, c);
}

void handle_webhook_test(struct call *c)
{
    if (id_valid(c) && call_body_empty(c))
        audit_then(c, call_param(c, 0), ping);
}
