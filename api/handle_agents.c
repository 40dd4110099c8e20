#include "api/audit.h"
#include "api/handlers.h"
#include "api/validate_fields.h"

static void on_put(void *ctx, enum err err, const struct script_agent_put_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err,
                     err == ERR_LIMIT_EXCEEDED ? "this workspace has as many agents as it may; delete one first"
                     : err == ERR_BUNDLE_NOT_FOUND
                         ? "bundle names no complete bundle of this workspace; `errand agents push` "
                           "makes one"
                         : NULL);
        return;
    }
    struct strbuf out;
    strbuf_init(&out, 1024);
    strbuf_addf(&out, "{\"name\":\"%.*s\",\"version\":%lld}", STR_ARG(call_param(c, 0)), (long long)reply->version);
    if (reply->created)
        http_reply_header(c->req, "Location", str_of(call_text(c, "/v1/agents/%.*s", STR_ARG(call_param(c, 0)))));
    call_json(c, reply->created ? 201 : 200, &out);
}

static void put(struct call *c)
{
    const struct definition *def = c->user;
    struct script_agent_put_args args = {.ws = c->workspace,
                                         .name = def->name,
                                         .digest = str_of(def->digest),
                                         .def_fields = def->fields,
                                         .def_fields_len = def->field_count,
                                         .max_agents = LIMIT_AGENTS,
                                         .max_versions = LIMIT_AGENT_VERSIONS};
    script_call_agent_put(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_put, c);
}

void handle_agent_put(struct call *c)
{
    const struct json *root;
    struct fault fault;
    if (!call_name_valid(c, "an agent", ERR_AGENT_NOT_FOUND))
        return;
    struct definition *def = arena_zalloc(&c->req->arena, sizeof *def);
    if (!def) {
        call_problem(c, ERR_NO_MEMORY, NULL);
    } else if (!validate_body(&c->req->arena, c->req->body, &root, &fault) ||
               !validate_definition(&c->req->arena, root, call_param(c, 0), "", def, &fault)) {
        call_problem(c, fault.err, fault.detail);
    } else {
        definition_own(&c->req->arena, def, c->workspace);
        c->user = def;
        audit_then(c, call_param(c, 0), put);
    }
}

static void on_get(void *ctx, enum err err, const struct script_agent_get_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 1 << 20);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "name", call_param(c, 0));
    json_kv_int(&w, "version", reply->version);
    json_kv_str(&w, "digest", reply->digest);
    json_kv_time(&w, "createdAt", reply->created_ms);
    json_kv_time(&w, "updatedAt", reply->updated_ms);
    json_kv_raw(&w, "definition", reply->def);
    json_object_end(&w);
    call_json(c, 200, &out);
}

void handle_agent_get(struct call *c)
{
    int64_t version;
    if (!call_name_valid(c, "an agent", ERR_AGENT_NOT_FOUND) ||
        !call_query_int(c, "version", 1, INT32_MAX, 0, &version))
        return;
    struct script_agent_get_args args = {.ws = c->workspace, .name = call_param(c, 0), .version = version};
    script_call_agent_get(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_get, c);
}

static void on_versions(void *ctx, enum err err, const struct script_agent_versions_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    struct call_page page;
    call_page_begin(&page, "versions", 1 << 20);
    for (size_t i = 0; i < reply->versions_len; i++) {
        const struct script_agent_versions_versions *v = &reply->versions[i];
        const char *hex = v->bundle.len ? memrchr(v->bundle.ptr, ':', v->bundle.len) : NULL;
        json_object_begin(&page.w);
        json_kv_int(&page.w, "version", v->version);
        json_kv_str(&page.w, "digest", v->digest);
        json_kv_str(&page.w, "executor", v->executor);
        if (hex)
            json_kv_str(&page.w, "bundle",
                        str_of(call_text(c, "sha256%.*s", (int)(v->bundle.ptr + v->bundle.len - hex), hex)));
        json_kv_time(&page.w, "updatedAt", v->updated_ms);
        json_object_end(&page.w);
    }
    call_page_end(c, &page, STR_NONE);
}

void handle_agent_versions(struct call *c)
{
    struct script_agent_versions_args args = {.ws = c->workspace, .name = call_param(c, 0)};
    if (call_name_valid(c, "an agent", ERR_AGENT_NOT_FOUND))
        script_call_agent_versions(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_versions, c);
}

struct rollback {
    int64_t version;
};

static void on_rollback(void *ctx, enum err err, const struct script_agent_rollback_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err, "there is no such agent, or it has no such version (any more)");
        return;
    }
    struct strbuf out;
    strbuf_init(&out, 1024);
    strbuf_addf(&out, "{\"name\":\"%.*s\",\"version\":%lld,\"digest\":\"%.*s\"}", STR_ARG(call_param(c, 0)),
                (long long)reply->version, STR_ARG(reply->digest));
    call_json(c, 200, &out);
}

static void rollback(struct call *c)
{
    const struct rollback *r = c->user;
    struct script_agent_rollback_args args = {
        .ws = c->workspace, .name = call_param(c, 0), .version = r->version, .max_versions = LIMIT_AGENT_VERSIONS};
    script_call_agent_rollback(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_rollback, c);
}

static bool take_rollback(struct call *c, struct rollback *r, struct fault *ret_fault)
{
    static const struct field fields[] = {{"version", NULL, offsetof(struct rollback, version), 1, INT32_MAX}};
    struct check check = {&c->req->arena, "", ret_fault};
    const struct json *root;
    if (!validate_body(&c->req->arena, c->req->body, &root, ret_fault))
        return false;
    if (root->type != JSON_OBJECT)
        return refuse(&check, ERR_INVALID_FIELD, "the body must be {\"version\": number}");
    return take_object(&check, root, fields, ARRAY_LEN(fields), r) &&
           (r->version > 0 || refuse(&check, ERR_MISSING_FIELD, "version is required: the one to go back to"));
}

void handle_agent_rollback(struct call *c)
{
    struct fault fault = {ERR_OK, NULL};
    if (!call_name_valid(c, "an agent", ERR_AGENT_NOT_FOUND))
        return;
    struct rollback *r = arena_zalloc(&c->req->arena, sizeof *r);
    c->user = r;
    if (!r)
        call_problem(c, ERR_NO_MEMORY, NULL);
    else if (!take_rollback(c, r, &fault))
        call_problem(c, fault.err, fault.detail);
    else
        audit_then(c, call_param(c, 0), rollback);
}

static void on_delete(void *ctx, enum err err, const struct script_agent_delete_reply *reply)
{
    (void)reply;
    call_done(ctx, err);
}

static void delete (struct call *c)
{
    struct script_agent_delete_args args = {.ws = c->workspace, .name = call_param(c, 0)};
    script_call_agent_delete(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_delete, c);
}

void handle_agent_delete(struct call *c)
{
    if (call_name_valid(c, "an agent", ERR_AGENT_NOT_FOUND))
        audit_then(c, call_param(c, 0), delete);
}

static void on_list(void *ctx, enum err err, const struct script_agent_list_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    struct call_page page;
    call_page_begin(&page, "agents", 1 << 20);
    for (size_t i = 0; i < reply->agents_len; i++) {
        if (!call_agent_allowed(c, reply->agents[i].name)) /* not this key's */
            continue;
        json_object_begin(&page.w);
        json_kv_str(&page.w, "name", reply->agents[i].name);
        json_kv_int(&page.w, "version", reply->agents[i].version);
        json_kv_str(&page.w, "executor", reply->agents[i].executor);
        json_kv_time(&page.w, "updatedAt", reply->agents[i].updated_ms);
        json_object_end(&page.w);
    }
    call_page_end(c, &page, reply->next);
}

void handle_agent_list(struct call *c)
{
    struct script_agent_list_args args = {.ws = c->workspace, .after = STR("")};
    if (http_query(c->req, "after", 0, &args.after) && !keys_name_valid(args.after)) {
        call_problem(c, ERR_INVALID_PARAMETER, "after must be the cursor of an earlier page");
        return;
    }
    if (!call_query_int(c, "limit", 1, LIMIT_PAGE, LIMIT_PAGE, &args.limit))
        return;
    if (c->agents.len > 0) /* all of its few at once: a cursor would name somebody else's */
        args.limit = LIMIT_AGENTS;
    script_call_agent_list(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_list, c);
}
