/* Trust policies: kept with what is global, because they are looked up before anybody is known; each of one workspace. */
#include "api/audit.h"
#include "api/handlers.h"
#include "api/key_body.h"
#include "api/record.h"
#include "api/trust.h"
#include "api/validate.h"

static struct key global_prefix(struct call *c)
{
    return keys_global(str_of(c->node->config->prefix));
}

static void write_policy(struct json_writer *w, struct str name, const redisReply *info)
{
    struct str policy = record_field(info, "policy");
    json_object_begin(w);
    json_kv_str(w, "name", name);
    if (policy.len > 2) { /* the members of what was put, as they are */
        strbuf_addc(w->out, ',');
        strbuf_add(w->out, (struct str){policy.ptr + 1, policy.len - 2});
    }
    json_kv_time(w, "createdAt", redis_int(redis_field(info, "created"), 0));
    json_kv_time(w, "updatedAt", redis_int(redis_field(info, "updated"), 0));
    json_kv_str_opt(w, "createdBy", record_field(info, "createdBy"));
    json_object_end(w);
}

static void answer(struct call *c, int status, const redisReply *info)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 65536);
    json_writer_init(&w, &out);
    write_policy(&w, call_param(c, 0), info);
    call_json(c, status, &out);
}

/* ---- put ---- */

static void on_put(void *ctx, enum err err, const struct script_trust_put_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err,
                     err == ERR_LIMIT_EXCEEDED ? "this workspace has as many trust policies as it may; delete one first"
                     : err == ERR_TRUST_CONFLICT
                         ? "another policy of this workspace names this issuer with another jwksUri; they must agree"
                         : NULL);
        return;
    }
    if (reply->created)
        http_reply_header(c->req, "Location", str_of(call_text(c, "/v1/trust/%.*s", STR_ARG(call_param(c, 0)))));
    answer(c, reply->created ? 201 : 200, reply->info);
}

/* Whether the caller's own key may do all that its policy would grant, and for as long. */
static bool may_grant(struct call *c, const struct trust *t, struct fault *ret_fault)
{
    const struct key_settings s = {
        .scopes = t->scopes, .agents = t->agents, .queues = t->queues, .cidrs = t->cidrs, .expires_ms = c->until_ms};
    if (c->until_ms > 0) {
        *ret_fault = (struct fault){ERR_FORBIDDEN,
                                    "what you came with expires (a key with expiresAt, or a session), and a trust "
                                    "policy does not; make it with a key that does not expire"};
        return false;
    }
    return key_may_give(c, &s, ret_fault);
}

/* A policy that was found good, while it is being written down. */
struct put_call {
    const struct json *root;
    struct trust trust;
};

static void put(struct call *c)
{
    const struct put_call *p = c->user;
    struct key prefix = global_prefix(c);
    struct script_trust_put_args args = {.ws = c->workspace,
                                         .name = call_param(c, 0),
                                         .issuer = p->trust.issuer,
                                         .jwks_uri = p->trust.jwks_uri,
                                         .policy = p->root->raw,
                                         .by = c->created_by,
                                         .max = LIMIT_TRUST_POLICIES};
    script_call_trust_put(c->node->shards[0].commands, key_str(&prefix), &args, on_put, c);
}

void handle_trust_put(struct call *c)
{
    struct fault fault;
    struct put_call *p = arena_zalloc(&c->req->arena, sizeof *p);
    if (!p) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    if (!call_name_valid(c, "a trust policy", ERR_TRUST_NOT_FOUND))
        return;
    if (!validate_body(&c->req->arena, c->req->body, &p->root, &fault) ||
        !trust_read(&c->req->arena, p->root, c->node->config->allow_private_addresses, &p->trust, &fault) ||
        !may_grant(c, &p->trust, &fault)) {
        call_problem(c, fault.err, fault.detail);
        return;
    }
    c->user = p;
    audit_then(c, call_param(c, 0), put);
}

/* ---- get, delete, list ---- */

static void on_get(void *ctx, enum err err, const struct script_trust_get_reply *reply)
{
    if (err)
        call_problem(ctx, err, NULL);
    else
        answer(ctx, 200, reply->info);
}

void handle_trust_get(struct call *c)
{
    if (!call_name_valid(c, "a trust policy", ERR_TRUST_NOT_FOUND))
        return;
    struct key prefix = global_prefix(c);
    struct script_trust_get_args args = {.ws = c->workspace, .name = call_param(c, 0)};
    script_call_trust_get(c->node->shards[0].commands, key_str(&prefix), &args, on_get, c);
}

static void on_delete(void *ctx, enum err err, const struct script_trust_delete_reply *reply)
{
    (void)reply;
    call_done(ctx, err);
}

static void delete (struct call *c)
{
    struct key prefix = global_prefix(c);
    struct script_trust_delete_args args = {.ws = c->workspace, .name = call_param(c, 0)};
    script_call_trust_delete(c->node->shards[0].commands, key_str(&prefix), &args, on_delete, c);
}

void handle_trust_delete(struct call *c)
{
    if (call_name_valid(c, "a trust policy", ERR_TRUST_NOT_FOUND))
        audit_then(c, call_param(c, 0), delete);
}

static void on_list(void *ctx, enum err err, const struct script_trust_list_reply *reply)
{
    struct call *c = ctx;
    struct strbuf out;
    struct json_writer w;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    strbuf_init(&out, (size_t)LIMIT_TRUST_POLICIES * 2 * LIMIT_TRUST_POLICY);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_key(&w, "policies");
    json_array_begin(&w);
    for (size_t i = 0; i < reply->policies_len; i++)
        write_policy(&w, reply->policies[i].name, reply->policies[i].info);
    json_array_end(&w);
    json_object_end(&w);
    call_json(c, 200, &out);
}

void handle_trust_list(struct call *c)
{
    struct key prefix = global_prefix(c);
    struct script_trust_list_args args = {.ws = c->workspace, .max = LIMIT_TRUST_POLICIES};
    script_call_trust_list(c->node->shards[0].commands, key_str(&prefix), &args, on_list, c);
}
