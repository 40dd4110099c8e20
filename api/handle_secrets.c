/* Secrets: written, listed by name, deleted; no route gives a value. */
#include <stdlib.h>

#include "api/audit.h"
#include "api/handlers.h"
#include "api/validate_fields.h"
#include "common/secret.h"
#include "common/vault.h"

enum { PUT_TRIES = 5 };

static bool name_valid(struct call *c)
{
    if (posix_name_valid(call_param(c, 0), LIMIT_NAME))
        return true;
    if (c->route->method == HTTP_PUT_)
        call_problem(c, ERR_INVALID_FIELD,
                     call_text(c,
                               "a secret's name is letters, digits and '_', not beginning with a digit, at most %d, as "
                               "of an environment variable",
                               LIMIT_NAME));
    else
        call_problem(c, ERR_SECRET_NOT_FOUND, NULL);
    return false;
}

/* ---- PUT ---- */

struct put {
    struct call *call;
    struct str value; /* in the request's arena; overwritten when it is sealed for good */
    int tries;
};

/* What the request brought of the value is overwritten: the answer does not need it, and memory lives on. */
static void forget(struct put *p)
{
    struct call *c = p->call;
    if (p->value.len > 0)
        explicit_bzero((void *)(uintptr_t)p->value.ptr, p->value.len);
    if (c->req->body.len > 0)
        explicit_bzero((void *)(uintptr_t)c->req->body.ptr, c->req->body.len);
    p->value = STR_NONE;
}

static void put_version(struct put *p, int64_t version);

static void write_times(struct json_writer *w, struct str name, int64_t version, int64_t created_ms, int64_t updated_ms)
{
    json_kv_str(w, "name", name);
    json_kv_int(w, "version", version);
    json_kv_time(w, "createdAt", created_ms);
    json_kv_time(w, "updatedAt", updated_ms);
}

static void on_put(void *ctx, enum err err, const struct script_secret_put_reply *reply)
{
    struct put *p = ctx;
    struct call *c = p->call;
    if (err == ERR_SECRET_CHANGED && reply && p->tries < PUT_TRIES) {
        put_version(p, reply->version);
        return;
    }
    forget(p);
    if (err) {
        call_problem(c, err,
                     err == ERR_LIMIT_EXCEEDED   ? "this workspace has as many secrets as it may; delete one first"
                     : err == ERR_SECRET_CHANGED ? "others write it at the same time; send it again"
                                                 : NULL);
        return;
    }
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4096);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    write_times(&w, call_param(c, 0), reply->version, reply->created_ms, reply->updated_ms);
    json_object_end(&w);
    if (reply->created)
        http_reply_header(c->req, "Location", str_of(call_text(c, "/v1/secrets/%.*s", STR_ARG(call_param(c, 0)))));
    call_json(c, reply->created ? 201 : 200, &out);
}

/* Seals the value for that version, and stores it if that is still the next one. Version 0 only asks which one is. */
static void put_version(struct put *p, int64_t version)
{
    struct call *c = p->call;
    char buf[SECRET_CONTEXT_MAX];
    struct strbuf sealed;
    strbuf_init(&sealed, VAULT_SEALED_LEN(LIMIT_SECRET));
    enum err err = version > 0
                       ? vault_seal(c->node->vault, secret_context(c->workspace, call_param(c, 0), version, buf),
                                    p->value, &sealed)
                       : ERR_OK;
    p->tries++;
    if (err) {
        forget(p);
        call_problem(c, err, NULL);
    } else {
        struct script_secret_put_args args = {.ws = c->workspace,
                                              .name = call_param(c, 0),
                                              .version = version,
                                              .sealed = strbuf_str(&sealed),
                                              .max_secrets = LIMIT_SECRETS,
                                              .max_versions = LIMIT_SECRET_VERSIONS};
        script_call_secret_put(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_put, p);
    }
    strbuf_done(&sealed);
}

static void put_first(struct call *c)
{
    put_version(c->user, 0);
}

static bool take_value(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || v->string.len == 0 || v->string.len > LIMIT_SECRET ||
        memchr(v->string.ptr, 0, v->string.len))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string of 1 to %d bytes without NUL", name, LIMIT_SECRET);
    *(struct str *)out = v->string;
    return true;
}

/* False, and *ret_fault, where there is nothing to store. */
static bool take_body(struct put *p, struct fault *ret_fault)
{
    static const struct field fields[] = {{"value", take_value, offsetof(struct put, value), 0, 0}};
    struct arena *a = &p->call->req->arena;
    struct check check = {a, "", ret_fault};
    const struct json *root;
    if (!p->call->node->vault) {
        *ret_fault = (struct fault){ERR_NO_MASTER_KEY, "set ERRAND_MASTER_KEY; `errand keygen --master` makes one"};
        return false;
    }
    if (!validate_body(a, p->call->req->body, &root, ret_fault))
        return false;
    if (root->type != JSON_OBJECT)
        return refuse(&check, ERR_INVALID_FIELD, "the body must be {\"value\": string}");
    if (!take_object(&check, root, fields, ARRAY_LEN(fields), p))
        return false;
    return p->value.len > 0 || refuse(&check, ERR_MISSING_FIELD, "value is required");
}

void handle_secret_put(struct call *c)
{
    struct fault fault = {ERR_OK, NULL};
    struct put *p = arena_zalloc(&c->req->arena, sizeof *p);
    if (!name_valid(c))
        return;
    if (!p) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    p->call = c;
    if (take_body(p, &fault)) {
        c->user = p;
        audit_then(c, call_param(c, 0), put_first);
        return;
    }
    forget(p);
    call_problem(c, fault.err, fault.detail);
}

/* ---- GET, DELETE ---- */

static void on_show(void *ctx, enum err err, const struct script_secret_show_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    struct strbuf out;
    struct json_writer w;
    size_t n = reply->versions_len;
    strbuf_init(&out, 65536);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    write_times(&w, call_param(c, 0), reply->version, reply->created_ms, n ? reply->versions[n - 1].stored_ms : 0);
    json_key(&w, "versions");
    json_array_begin(&w);
    for (size_t i = n; i-- > 0;) {
        json_object_begin(&w);
        json_kv_int(&w, "version", reply->versions[i].version);
        json_kv_time(&w, "createdAt", reply->versions[i].stored_ms);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
    call_json(c, 200, &out);
}

void handle_secret_get(struct call *c)
{
    if (!name_valid(c))
        return;
    struct script_secret_show_args args = {.ws = c->workspace, .name = call_param(c, 0)};
    script_call_secret_show(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_show, c);
}

static void on_delete(void *ctx, enum err err, const struct script_secret_delete_reply *reply)
{
    (void)reply;
    call_done(ctx, err);
}

static void delete (struct call *c)
{
    struct script_secret_delete_args args = {.ws = c->workspace, .name = call_param(c, 0)};
    script_call_secret_delete(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_delete, c);
}

void handle_secret_delete(struct call *c)
{
    if (name_valid(c))
        audit_then(c, call_param(c, 0), delete);
}

static void on_list(void *ctx, enum err err, const struct script_secret_list_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    struct call_page page;
    call_page_begin(&page, "secrets", 1 << 20);
    for (size_t i = 0; i < reply->secrets_len; i++) {
        json_object_begin(&page.w);
        write_times(&page.w, reply->secrets[i].name, reply->secrets[i].version, reply->secrets[i].created_ms,
                    reply->secrets[i].updated_ms);
        json_object_end(&page.w);
    }
    call_page_end(c, &page, reply->next);
}

void handle_secret_list(struct call *c)
{
    struct script_secret_list_args args = {.ws = c->workspace, .after = STR("")};
    if (http_query(c->req, "after", 0, &args.after) && !posix_name_valid(args.after, LIMIT_NAME)) {
        call_problem(c, ERR_INVALID_PARAMETER, "after must be the cursor of an earlier page");
        return;
    }
    if (call_query_int(c, "limit", 1, LIMIT_PAGE, LIMIT_PAGE, &args.limit))
        script_call_secret_list(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_list, c);
}
