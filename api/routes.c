#include "api/routes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/audit.h"
#include "api/auth.h"
#include "api/filter.h"
#include "api/handlers.h"
#include "api/origin.h"
#include "api/problem.h"
#include "api/validate.h"

#define GET HTTP_GET_
#undef POST /* base.h's postcondition is not needed here */
#define POST            HTTP_POST_
#define PUT             HTTP_PUT_
#define DELETE          HTTP_DELETE_
#define LIST_PARAMETERS FILTER_PARAMETERS "limit cursor "

const struct route routes[] = {
    {POST, "/v1/runs", handle_submit, AUTH_KEY, SCOPE_RUNS_CREATE, LIMIT_BODY, "", "submitRun", "Submit a run"},
    {POST, "/v1/runs/batch", handle_batch, AUTH_KEY, SCOPE_RUNS_CREATE, LIMIT_BATCH_RUNS_BODY, "", "submitRuns",
     "Submit up to 1,000 runs"},
    {POST, "/v1/runs/bulk", handle_bulk, AUTH_KEY, SCOPE_RUNS_READ, LIMIT_BODY, "", "bulkRuns",
     "Stop, rerun, delete or redrive many runs, a page at a time"},
    {POST, "/v1/runs/stream", handle_submit_stream, AUTH_KEY, SCOPE_RUNS_CREATE, LIMIT_BODY, "", "submitAndStream",
     "Submit a run and stream its events"},
    {POST, "/v1/runs/wait", handle_submit_wait, AUTH_KEY, SCOPE_RUNS_CREATE, LIMIT_BODY, "wait ", "submitAndWait",
     "Submit a run and wait for its end"},
    {GET, "/v1/runs", handle_list, AUTH_KEY, SCOPE_RUNS_READ, 0, LIST_PARAMETERS, "listRuns",
     "List runs, newest first"},
    {GET, "/v1/runs/{id}", handle_show, AUTH_KEY, SCOPE_RUNS_READ, 0, "wait ", "getRun", "Get a run's record"},
    {DELETE, "/v1/runs/{id}", handle_delete, AUTH_KEY, SCOPE_RUNS_DELETE, 0, "", "deleteRun", "Delete an ended run"},
    {GET, "/v1/runs/{id}/stream", handle_stream, AUTH_STREAM, SCOPE_RUNS_READ, 0, "after token ", "streamRun",
     "Stream a run's events (Server-Sent Events)"},
    {GET, "/v1/runs/{id}/events", handle_events, AUTH_KEY, SCOPE_RUNS_READ, 0, "after limit ", "listEvents",
     "Get a page of a run's events"},
    {POST, "/v1/runs/{id}/stop", handle_stop, AUTH_KEY, SCOPE_RUNS_STOP, LIMIT_BODY, "wait ", "stopRun",
     "Stop a run and its children"},
    {POST, "/v1/runs/{id}/input", handle_input, AUTH_KEY, SCOPE_RUNS_CREATE, LIMIT_BODY, "", "sendInput",
     "Send a line to a run's standard input"},
    {POST, "/v1/runs/{id}/rerun", handle_rerun, AUTH_KEY, SCOPE_RUNS_CREATE, LIMIT_BODY, "", "rerunRun",
     "Submit a run again with the same input"},
    {POST, "/v1/runs/{id}/redrive", handle_redrive, AUTH_KEY, SCOPE_RUNS_CREATE, LIMIT_BODY, "", "redriveRun",
     "Submit a dead letter again"},
    {GET, "/v1/runs/{id}/tree", handle_tree, AUTH_KEY, SCOPE_RUNS_READ, 0, "limit ", "getTree",
     "Get a run and its descendants"},
    {GET, "/v1/runs/{id}/logs", handle_logs, AUTH_KEY, SCOPE_RUNS_READ, 0, "lines ", "getLogs",
     "Get the log tail of a run"},
    {POST, "/v1/runs/{id}/runner/events", handle_ingress, AUTH_RUNNER, SCOPE_ANY, LIMIT_BATCH_BODY, "", "postEvents",
     "Post a batch of events (remote runtimes)"},
    {GET, "/v1/runs/{id}/runner/manifest", handle_manifest, AUTH_RUNNER, SCOPE_ANY, 0, "", "getManifest",
     "Get what a remote runtime needs"},
    {GET, "/v1/artifacts", handle_storage_list, AUTH_KEY, SCOPE_STORAGE_READ, 0, "kind after limit ", "listArtifacts",
     "List what agents stored: artifacts, workflows or vectors"},
    {GET, "/v1/artifacts/{name}", handle_storage_get, AUTH_KEY, SCOPE_STORAGE_READ, 0, "kind ", "getArtifact",
     "Download what an agent stored"},
    {PUT, "/v1/artifacts/{name}", handle_storage_put, AUTH_KEY, SCOPE_STORAGE_WRITE, LIMIT_STORAGE_PART,
     "kind upload part parts ", "putArtifact", "Store something for agents"},
    {DELETE, "/v1/artifacts/{name}", handle_storage_delete, AUTH_KEY, SCOPE_STORAGE_WRITE, 0, "kind ", "deleteArtifact",
     "Delete what is stored"},
    {GET, "/v1/storage/{kind}", handle_storage_list, AUTH_RUNNER, SCOPE_ANY, 0, "after limit ", "listStorage",
     "List what is stored (agents)"},
    {GET, "/v1/storage/{kind}/{name}", handle_storage_get, AUTH_RUNNER, SCOPE_ANY, 0, "", "getStorage",
     "Read what is stored (agents)"},
    {PUT, "/v1/storage/{kind}/{name}", handle_storage_put, AUTH_RUNNER, SCOPE_ANY, LIMIT_STORAGE_PART,
     "upload part parts ", "putStorage", "Store something (agents)"},
    {DELETE, "/v1/storage/{kind}/{name}", handle_storage_delete, AUTH_RUNNER, SCOPE_ANY, 0, "", "deleteStorage",
     "Delete what is stored (agents)"},
    {PUT, "/v1/agents/{name}", handle_agent_put, AUTH_KEY, SCOPE_AGENTS_WRITE, LIMIT_BODY, "", "putAgent",
     "Create an agent or a new version of it"},
    {GET, "/v1/agents/{name}", handle_agent_get, AUTH_KEY, SCOPE_AGENTS_READ, 0, "version ", "getAgent",
     "Get an agent's definition"},
    {DELETE, "/v1/agents/{name}", handle_agent_delete, AUTH_KEY, SCOPE_AGENTS_WRITE, 0, "", "deleteAgent",
     "Delete an agent"},
    {GET, "/v1/agents", handle_agent_list, AUTH_KEY, SCOPE_AGENTS_READ, 0, "after limit ", "listAgents", "List agents"},
    {GET, "/v1/agents/{name}/versions", handle_agent_versions, AUTH_KEY, SCOPE_AGENTS_READ, 0, "", "listAgentVersions",
     "List the kept versions of an agent, newest first"},
    {POST, "/v1/agents/{name}/rollback", handle_agent_rollback, AUTH_KEY, SCOPE_AGENTS_WRITE, LIMIT_BODY, "",
     "rollbackAgent", "Store an earlier version of an agent as its newest"},
    {POST, "/v1/bundles", handle_bundle_begin, AUTH_KEY, SCOPE_AGENTS_WRITE, LIMIT_BODY, "", "beginBundle",
     "Begin the upload of a bundle, or go on with it"},
    {GET, "/v1/bundles", handle_bundle_list, AUTH_KEY, SCOPE_AGENTS_READ, 0, "after limit ", "listBundles",
     "List bundles"},
    {GET, "/v1/bundles/{digest}", handle_bundle_get, AUTH_KEY, SCOPE_AGENTS_READ, 0, "", "getBundle",
     "Get what is known of a bundle"},
    {DELETE, "/v1/bundles/{digest}", handle_bundle_delete, AUTH_KEY, SCOPE_AGENTS_WRITE, 0, "", "deleteBundle",
     "Delete a bundle that nothing uses"},
    {POST, "/v1/bundles/{digest}/complete", handle_bundle_complete, AUTH_KEY, SCOPE_AGENTS_WRITE, LIMIT_BODY, "",
     "completeBundle", "Verify a bundle whose chunks were all sent"},
    {PUT, "/v1/bundles/{digest}/chunks/{n}", handle_bundle_chunk_put, AUTH_KEY, SCOPE_AGENTS_WRITE, LIMIT_BUNDLE_CHUNK,
     "", "putBundleChunk", "Send a chunk of a bundle"},
    {GET, "/v1/bundles/{digest}/chunks/{n}", handle_bundle_chunk_get, AUTH_KEY, SCOPE_AGENTS_READ, 0, "",
     "getBundleChunk", "Get a chunk of a bundle"},
    {POST, "/v1/schedules", handle_schedule_create, AUTH_KEY, SCOPE_SCHEDULES_WRITE, LIMIT_BODY, "", "createSchedule",
     "Create a schedule"},
    {GET, "/v1/schedules", handle_schedule_list, AUTH_KEY, SCOPE_SCHEDULES_READ, 0, "after limit ", "listSchedules",
     "List schedules"},
    {PUT, "/v1/schedules/{name}", handle_schedule_put, AUTH_KEY, SCOPE_SCHEDULES_WRITE, LIMIT_BODY, "", "putSchedule",
     "Create or replace a schedule"},
    {GET, "/v1/schedules/{name}", handle_schedule_get, AUTH_KEY, SCOPE_SCHEDULES_READ, 0, "", "getSchedule",
     "Get a schedule"},
    {DELETE, "/v1/schedules/{name}", handle_schedule_delete, AUTH_KEY, SCOPE_SCHEDULES_WRITE, 0, "", "deleteSchedule",
     "Delete a schedule"},
    {POST, "/v1/schedules/{name}/pause", handle_schedule_pause, AUTH_KEY, SCOPE_SCHEDULES_WRITE, LIMIT_BODY, "",
     "pauseSchedule", "Pause a schedule"},
    {POST, "/v1/schedules/{name}/resume", handle_schedule_resume, AUTH_KEY, SCOPE_SCHEDULES_WRITE, LIMIT_BODY, "",
     "resumeSchedule", "Let a paused schedule go on"},
    {POST, "/v1/schedules/{name}/trigger", handle_schedule_trigger, AUTH_KEY, SCOPE_SCHEDULES_WRITE, LIMIT_BODY, "",
     "triggerSchedule", "Run a schedule now, beside its ticks"},
    {POST, "/v1/token", handle_token, AUTH_NONE, SCOPE_ANY, LIMIT_TOKEN_BODY, "", "exchangeToken",
     "Exchange an OIDC token for a short-lived key"},
    {GET, "/v1/trust", handle_trust_list, AUTH_KEY, SCOPE_TRUST_ADMIN, 0, "", "listTrust", "List trust policies"},
    {PUT, "/v1/trust/{name}", handle_trust_put, AUTH_KEY, SCOPE_TRUST_ADMIN, LIMIT_TRUST_POLICY, "", "putTrust",
     "Create or replace a trust policy"},
    {GET, "/v1/trust/{name}", handle_trust_get, AUTH_KEY, SCOPE_TRUST_ADMIN, 0, "", "getTrust", "Get a trust policy"},
    {DELETE, "/v1/trust/{name}", handle_trust_delete, AUTH_KEY, SCOPE_TRUST_ADMIN, 0, "", "deleteTrust",
     "Delete a trust policy"},
    {GET, "/v1/secrets", handle_secret_list, AUTH_KEY, SCOPE_SECRETS_READ, 0, "after limit ", "listSecrets",
     "List secrets, never their values"},
    {POST, "/v1/secrets/rekey", handle_secret_rekey, AUTH_KEY, SCOPE_WORKSPACES_ADMIN, LIMIT_BODY, "", "rekeySecrets",
     "Seal what is under an old master key with the new one, a page at a time"},
    {PUT, "/v1/secrets/{name}", handle_secret_put, AUTH_KEY, SCOPE_SECRETS_WRITE, LIMIT_BODY, "", "putSecret",
     "Create a secret or a new version of it"},
    {GET, "/v1/secrets/{name}", handle_secret_get, AUTH_KEY, SCOPE_SECRETS_READ, 0, "", "getSecret",
     "Get the versions of a secret, never their values"},
    {DELETE, "/v1/secrets/{name}", handle_secret_delete, AUTH_KEY, SCOPE_SECRETS_WRITE, 0, "", "deleteSecret",
     "Delete a secret with all its versions"},
    {POST, "/v1/webhooks", handle_webhook_create, AUTH_KEY, SCOPE_WEBHOOKS_WRITE, LIMIT_BODY, "", "createWebhook",
     "Create a webhook"},
    {GET, "/v1/webhooks", handle_webhook_list, AUTH_KEY, SCOPE_WEBHOOKS_READ, 0, "", "listWebhooks", "List webhooks"},
    {GET, "/v1/webhooks/{id}", handle_webhook_get, AUTH_KEY, SCOPE_WEBHOOKS_READ, 0, "", "getWebhook", "Get a webhook"},
    {PUT, "/v1/webhooks/{id}", handle_webhook_put, AUTH_KEY, SCOPE_WEBHOOKS_WRITE, LIMIT_BODY, "", "putWebhook",
     "Replace a webhook's settings"},
    {DELETE, "/v1/webhooks/{id}", handle_webhook_delete, AUTH_KEY, SCOPE_WEBHOOKS_WRITE, 0, "", "deleteWebhook",
     "Delete a webhook with its deliveries"},
    {POST, "/v1/webhooks/{id}/rotate", handle_webhook_rotate, AUTH_KEY, SCOPE_WEBHOOKS_WRITE, LIMIT_BODY, "",
     "rotateWebhook", "Give a webhook a new secret"},
    {POST, "/v1/webhooks/{id}/test", handle_webhook_test, AUTH_KEY, SCOPE_WEBHOOKS_WRITE, LIMIT_BODY, "", "testWebhook",
     "Deliver a ping to a webhook"},
    {GET, "/v1/webhooks/{id}/deliveries", handle_webhook_deliveries, AUTH_KEY, SCOPE_WEBHOOKS_READ, 0, "cursor limit ",
     "listDeliveries", "List a webhook's deliveries, newest first"},
    {POST, "/v1/webhooks/{id}/deliveries/{delivery}/resend", handle_webhook_resend, AUTH_KEY, SCOPE_WEBHOOKS_WRITE,
     LIMIT_BODY, "", "resendDelivery", "Deliver again"},
    {GET, "/v1/runners", handle_runners, AUTH_KEY, SCOPE_RUNNERS_READ, 0, "", "listRunners", "List runners"},
    {POST, "/v1/runners/{id}/drain", handle_runner_drain, AUTH_KEY, SCOPE_RUNNERS_WRITE, LIMIT_BODY, "", "drainRunner",
     "Let a runner finish its runs and end"},
    {GET, "/v1/queues", handle_queues, AUTH_KEY, SCOPE_QUEUES_READ, 0, "", "listQueues", "List queues"},
    {GET, "/v1/queues/{name}", handle_queue_get, AUTH_KEY, SCOPE_QUEUES_READ, 0, "", "getQueue",
     "Get a queue's figures and settings"},
    {PUT, "/v1/queues/{name}", handle_queue_put, AUTH_KEY, SCOPE_QUEUES_WRITE, LIMIT_BODY, "", "putQueue",
     "Change a queue's settings"},
    {POST, "/v1/queues/{name}/pause", handle_queue_pause, AUTH_KEY, SCOPE_QUEUES_WRITE, LIMIT_BODY, "", "pauseQueue",
     "Stop executing what waits in a queue"},
    {POST, "/v1/queues/{name}/resume", handle_queue_resume, AUTH_KEY, SCOPE_QUEUES_WRITE, LIMIT_BODY, "", "resumeQueue",
     "End a queue's pause and drain"},
    {POST, "/v1/queues/{name}/drain", handle_queue_drain, AUTH_KEY, SCOPE_QUEUES_WRITE, LIMIT_BODY, "", "drainQueue",
     "Refuse new runs in a queue"},
    {GET, "/v1/workspaces", handle_workspace_list, AUTH_KEY, SCOPE_WORKSPACES_ADMIN, 0, "after limit ",
     "listWorkspaces", "List workspaces that have settings"},
    {GET, "/v1/workspaces/{name}", handle_workspace_get, AUTH_KEY, SCOPE_WORKSPACES_ADMIN, 0, "", "getWorkspace",
     "Get a workspace's settings and usage"},
    {PUT, "/v1/workspaces/{name}", handle_workspace_put, AUTH_KEY, SCOPE_WORKSPACES_ADMIN, LIMIT_BODY, "",
     "putWorkspace", "Replace a workspace's settings"},
    {DELETE, "/v1/workspaces/{name}", handle_workspace_delete, AUTH_KEY, SCOPE_WORKSPACES_ADMIN, 0, "",
     "deleteWorkspace", "Forget a workspace's settings"},
    {POST, "/v1/keys", handle_key_create, AUTH_KEY, SCOPE_KEYS_ADMIN, LIMIT_BODY, "", "createKey", "Make an API key"},
    {GET, "/v1/keys", handle_key_list, AUTH_KEY, SCOPE_KEYS_ADMIN, 0, "after limit ", "listKeys", "List API keys"},
    {GET, "/v1/keys/{id}", handle_key_get, AUTH_KEY, SCOPE_KEYS_ADMIN, 0, "", "getKey", "Get an API key's record"},
    {PUT, "/v1/keys/{id}", handle_key_put, AUTH_KEY, SCOPE_KEYS_ADMIN, LIMIT_BODY, "", "putKey",
     "Replace what an API key may do"},
    {POST, "/v1/keys/{id}/rotate", handle_key_rotate, AUTH_KEY, SCOPE_KEYS_ADMIN, LIMIT_BODY, "", "rotateKey",
     "Give an API key a new secret"},
    {DELETE, "/v1/keys/{id}", handle_key_delete, AUTH_KEY, SCOPE_KEYS_ADMIN, 0, "", "revokeKey", "Revoke an API key"},
    {GET, "/v1/whoami", handle_whoami, AUTH_KEY, SCOPE_ANY, 0, "", "whoami", "Whose key this is, and what it may do"},
    {POST, "/v1/session", handle_session_create, AUTH_KEY, SCOPE_ANY, LIMIT_BODY, "", "beginSession",
     "Begin a browser's session"},
    {DELETE, "/v1/session", handle_session_delete, AUTH_KEY, SCOPE_ANY, 0, "", "endSession", "End a browser's session"},
    {GET, "/v1/audit", handle_audit, AUTH_KEY, SCOPE_AUDIT_READ, 0, "after limit since until who what format ",
     "listAudit", "Read the audit log, oldest first"},
    {GET, "/healthz", handle_healthz, AUTH_NONE, SCOPE_ANY, 0, "", "getHealth", "Whether the process lives"},
    {GET, "/readyz", handle_readyz, AUTH_NONE, SCOPE_ANY, 0, "", "getReadiness", "Whether the node can serve"},
    {GET, "/metrics", handle_metrics, AUTH_NONE, SCOPE_ANY, 0, "", "getMetrics", "Prometheus metrics"},
    {GET, "/openapi.json", handle_openapi, AUTH_NONE, SCOPE_ANY, 0, "", "getOpenapi", "This description"},
    /* The unversioned paths that answer the same. */
    {POST, "/agents/run-code/start", handle_submit, AUTH_KEY, SCOPE_RUNS_CREATE, LIMIT_BODY, "", NULL, NULL},
    {POST, "/agents/run-code/stream", handle_submit_stream, AUTH_KEY, SCOPE_RUNS_CREATE, LIMIT_BODY, "", NULL, NULL},
    {POST, "/rest/{agent}", handle_rest, AUTH_KEY, SCOPE_RUNS_CREATE, LIMIT_INPUT, "wait ", NULL, NULL},
    {GET, "/runs", handle_list, AUTH_KEY, SCOPE_RUNS_READ, 0, LIST_PARAMETERS, NULL, NULL},
    {GET, "/runs/{id}", handle_show, AUTH_KEY, SCOPE_RUNS_READ, 0, "wait ", NULL, NULL},
    {DELETE, "/runs/{id}", handle_delete, AUTH_KEY, SCOPE_RUNS_DELETE, 0, "", NULL, NULL},
    {GET, "/runs/{id}/stream", handle_stream, AUTH_STREAM, SCOPE_RUNS_READ, 0, "after token ", NULL, NULL},
    {POST, "/runs/{id}/stop", handle_stop, AUTH_KEY, SCOPE_RUNS_STOP, LIMIT_BODY, "wait ", NULL, NULL},
};
const size_t routes_len = ARRAY_LEN(routes);

#undef GET
#undef POST
#undef PUT
#undef DELETE

/* ---- finding a route ---- */

static struct str next_segment(struct str *path)
{
    struct str s = {path->ptr + 1, 0};
    while (s.len + 1 < path->len && s.ptr[s.len] != '/')
        s.len++;
    path->ptr += s.len + 1;
    path->len -= s.len + 1;
    return s;
}

static bool matches(const char *pattern, struct str path, struct str params[4])
{
    struct str p = str_of(pattern);
    size_t n = 0;
    while (p.len > 0 && path.len > 0) {
        struct str want = next_segment(&p), have = next_segment(&path);
        if (want.len > 0 && want.ptr[0] == '{') {
            if (have.len == 0 || n >= 4)
                return false;
            params[n++] = have;
        } else if (!str_eq(want, have)) {
            return false;
        }
    }
    return p.len == 0 && path.len == 0;
}

static const struct route *find_route(struct http_req *req, bool *ret_path_known)
{
    enum http_method method = req->method == HTTP_HEAD_ ? HTTP_GET_ : req->method;
    *ret_path_known = false;
    for (size_t i = 0; i < routes_len; i++) {
        struct str params[4] = {{NULL, 0}};
        if (!matches(routes[i].pattern, req->path, params))
            continue;
        *ret_path_known = true;
        if (routes[i].method == method) {
            memcpy(req->params, params, sizeof params);
            return &routes[i];
        }
    }
    return NULL;
}

static const char *const method_names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", ""};

static void add_allow(struct http_req *req)
{
    struct strbuf allow;
    strbuf_init(&allow, 256);
    strbuf_addz(&allow, "OPTIONS");
    for (size_t i = 0; i < routes_len; i++) {
        struct str params[4];
        if (matches(routes[i].pattern, req->path, params))
            strbuf_addf(&allow, ", %s%s", method_names[routes[i].method],
                        routes[i].method == HTTP_GET_ ? ", HEAD" : "");
    }
    http_reply_header(req, "Allow", strbuf_str(&allow));
    strbuf_done(&allow);
}

static void reply_options(struct http_req *req)
{
    add_allow(req);
    if (http_header(req, "access-control-request-method").ptr) {
        http_reply_header(req, "Access-Control-Allow-Methods", STR("GET, HEAD, POST, PUT, DELETE"));
        http_reply_header(
            req, "Access-Control-Allow-Headers",
            STR("Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Api-Key, X-Errand-Workspace"));
        http_reply_header(req, "Access-Control-Max-Age", STR("600"));
    }
    http_reply(req, 204, NULL, STR_NONE);
}

/* ---- the app of the connection layer ---- */

static enum err on_head(void *ctx, struct http_req *req, size_t *ret_max_body, const char **ret_detail)
{
    struct node *n = ctx;
    bool path_known;
    origin_add_cors(n, req);
    const struct route *route = find_route(req, &path_known);
    req->route = route;
    *ret_max_body = route ? route->max_body : 0;
    if (req->method == HTTP_OPTIONS_)
        return ERR_OK;
    if (!path_known) {
        *ret_detail = "no route has this path; /openapi.json lists them";
        return ERR_NOT_FOUND;
    }
    if (!route) {
        add_allow(req);
        *ret_detail = "the Allow header lists the methods of this path";
        return ERR_METHOD_NOT_ALLOWED;
    }
    struct call *c = arena_zalloc(&req->arena, sizeof *c);
    if (!c)
        return ERR_NO_MEMORY;
    c->req = req;
    c->node = n;
    c->route = route;
    bool known;
    c->client = origin_client(n, req, &known);
    c->client_unknown = !known;
    req->user = c;
    return auth_check(c, ret_detail); /* before the body: nobody unknown sends us megabytes */
}

static bool parameters_known(struct call *c)
{
    struct str name;
    for (size_t i = 0; http_query_name(c->req, i, &name); i++) {
        const char *word = call_text(c, "%.*s ", STR_ARG(name));
        const char *at = strstr(c->route->parameters, word);
        if (!at || (at != c->route->parameters && at[-1] != ' ') || name.len == 0 || memchr(name.ptr, ' ', name.len)) {
            call_problem(c, ERR_INVALID_PARAMETER,
                         call_text(c, "the query parameter \"%.*s\" is not known here",
                                   (int)(name.len > 64 ? 64 : name.len), name.ptr));
            return false;
        }
    }
    return true;
}

/* ---- between the head and the handler: a key's rate limit, and what it is narrowed to ---- */

/* Handlers whose first script is asked at once, and may carry the rate limit. */
static bool carries_guard(const struct call *c)
{
    static const route_fn fns[] = {handle_submit, handle_submit_stream, handle_submit_wait, handle_rest,
                                   handle_list,   handle_agent_get,     handle_agent_list};
    for (size_t i = 0; i < ARRAY_LEN(fns); i++)
        if (c->route->fn == fns[i])
            return true;
    return false;
}

static void on_guard(void *ctx, bool refused, int64_t remaining, int64_t reset_ms)
{
    struct call *c = ctx;
    int64_t reset_s = (reset_ms + 999) / 1000;
    http_reply_header(c->req, "RateLimit-Policy",
                      str_of(call_text(c, "\"key\";q=%lld;w=%lld", (long long)c->rate_burst,
                                       (long long)((c->rate_per_ms * c->rate_burst / c->rate + 999) / 1000))));
    http_reply_header(c->req, "RateLimit",
                      str_of(call_text(c, "\"key\";r=%lld;t=%lld", (long long)remaining, (long long)reset_s)));
    if (refused)
        c->req->retry_after_s = reset_s > 0 ? (int)reset_s : 1;
}

/* The next guarded script on the connection counts the request. */
static void arm_guard(struct call *c, struct redis *r)
{
    struct key key = keys_quota(shard_prefix(call_shard(c)), c->created_by);
    c->guard = (struct script_guard){.key = arena_str(&c->req->arena, key_str(&key)),
                                     .limit = c->rate,
                                     .per_ms = c->rate_per_ms,
                                     .burst = c->rate_burst,
                                     .told = on_guard,
                                     .ctx = c};
    c->counted = true;
    script_guard_next(r, &c->guard);
}

static void on_rate(void *ctx, enum err err, const struct script_rate_reply *reply)
{
    struct call *c = ctx;
    (void)reply;
    if (err)
        call_problem(c, err, NULL);
    else
        c->route->fn(c);
}

static void handle_within_rate(struct call *c)
{
    struct redis *r = call_shard(c)->commands;
    if (c->rate == 0 || c->counted) {
        c->route->fn(c);
        return;
    }
    arm_guard(c, r);
    if (carries_guard(c)) {
        c->route->fn(c);
        script_guard_next(r, NULL); /* a request that was refused without asking Redis */
        return;
    }
    struct script_rate_args args = {0};
    script_call_rate(r, shard_prefix(call_shard(c)), &args, on_rate, c);
}

static void on_run_about(void *ctx, enum err err, const struct script_run_about_reply *reply)
{
    struct call *c = ctx;
    if (!err && (!call_agent_allowed(c, reply->agent) || !call_queue_allowed(c, reply->queue)))
        err = ERR_RUN_NOT_FOUND; /* not yours and not there look the same */
    if (err)
        call_problem(c, err, NULL);
    else
        handle_within_rate(c);
}

/* A key that is narrowed to agents or queues sees the runs and agents of those only. Lists and submits look for themselves. */
static void handle_narrowed(struct call *c)
{
    bool run = strstr(c->route->pattern, "/runs/{id}") != NULL,
         agent = strstr(c->route->pattern, "/agents/{name}") != NULL;
    if (agent && !call_agent_allowed(c, call_param(c, 0))) {
        call_problem(c, ERR_AGENT_NOT_FOUND, NULL);
        return;
    }
    if (c->route->fn == handle_tree) {
        call_problem(c, ERR_FORBIDDEN,
                     "a key that is narrowed to agents or queues can't read trees, which hold runs of others");
        return;
    }
    if (!run) {
        handle_within_rate(c);
        return;
    }
    struct shard *s = node_shard_of_run(c->node, call_param(c, 0));
    struct script_run_about_args args = {.ws = c->workspace, .run = call_param(c, 0)};
    if (!s || s != call_shard(c)) {
        call_problem(c, ERR_RUN_NOT_FOUND, NULL);
        return;
    }
    if (c->rate > 0)
        arm_guard(c, s->commands);
    script_call_run_about(s->commands, shard_prefix(s), &args, on_run_about, c);
}

void routes_go_on(struct call *c)
{
    if (!parameters_known(c))
        return;
    if (c->agents.len > 0 || c->queues.len > 0)
        handle_narrowed(c);
    else
        handle_within_rate(c);
}

static void on_request(void *ctx, struct http_req *req)
{
    (void)ctx;
    struct call *c = req->user;
    if (req->method == HTTP_OPTIONS_)
        reply_options(req);
    else if (c->credential.len > 0 && req->body.len > 0)
        auth_check_again(c); /* the body took its time: the key may have ended meanwhile */
    else
        routes_go_on(c);
}

static void on_error(void *ctx, struct http_req *req, enum err err, const char *detail)
{
    (void)ctx;
    problem_reply(req, err, detail);
}

struct http_app routes_app(struct node *n)
{
    return (struct http_app){.ctx = n, .on_head = on_head, .on_request = on_request, .on_error = on_error};
}

/* ---- for handlers ---- */

const char *call_text(struct call *c, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const char *copy = arena_strdup(&c->req->arena, str_of(text));
    return copy ? copy : "";
}

void call_problem(struct call *c, enum err err, const char *detail)
{
    audit_outcome(c, err);
    problem_reply(c->req, err, detail);
}

static bool allowed(struct str list, struct str word)
{
    struct str one;
    if (list.len == 0)
        return true;
    while (str_next_word(&list, &one))
        if (str_eq(one, word))
            return true;
    return false;
}

bool call_agent_allowed(const struct call *c, struct str agent)
{
    return allowed(c->agents, agent);
}

bool call_queue_allowed(const struct call *c, struct str queue)
{
    return allowed(c->queues, queue);
}

struct str call_client(const struct call *c)
{
    char text[64];
    ip_text(&c->client, text, sizeof text);
    return arena_str(&c->req->arena, str_of(text));
}

struct shard *call_shard(struct call *c)
{
    return node_shard_of_workspace(c->node, c->workspace);
}

bool call_name_valid(struct call *c, const char *what, enum err otherwise)
{
    if (keys_name_valid(call_param(c, 0)))
        return true;
    call_problem(c, c->route->method == HTTP_PUT_ ? ERR_INVALID_FIELD : otherwise,
                 call_text(c,
                           "%s's name is letters, digits, '.', '_' and '-', beginning with a letter or digit, at most "
                           "%d",
                           what, LIMIT_NAME));
    return false;
}

void call_done(struct call *c, enum err err)
{
    if (err)
        call_problem(c, err, NULL);
    else
        http_reply(c->req, 204, NULL, STR_NONE);
}

void call_json(struct call *c, int status, struct strbuf *body_take)
{
    if (strbuf_failed(body_take))
        call_problem(c, ERR_NO_MEMORY, NULL);
    else
        http_reply(c->req, status, "application/json", strbuf_str(body_take));
    strbuf_done(body_take);
}

void call_page_begin(struct call_page *p, const char *member, size_t max)
{
    strbuf_init(&p->out, max);
    json_writer_init(&p->w, &p->out);
    json_object_begin(&p->w);
    json_key(&p->w, member);
    json_array_begin(&p->w);
}

void call_page_end(struct call *c, struct call_page *p, struct str next)
{
    json_array_end(&p->w);
    json_key(&p->w, "cursor");
    if (next.len > 0)
        json_str(&p->w, next);
    else
        json_null(&p->w);
    json_object_end(&p->w);
    call_json(c, 200, &p->out);
}

bool call_body_empty(struct call *c)
{
    const struct json *root;
    struct fault fault;
    if (c->req->body.len == 0)
        return true;
    if (!validate_body(&c->req->arena, c->req->body, &root, &fault))
        call_problem(c, fault.err, fault.detail);
    else if (root->type != JSON_OBJECT)
        call_problem(c, ERR_INVALID_FIELD, "the body must be empty, or an object without fields");
    else if (root->child)
        call_problem(c, ERR_UNKNOWN_FIELD,
                     call_text(c, "%.*s is not a field here; the body must be empty",
                               (int)(root->child->key.len > 64 ? 64 : root->child->key.len), root->child->key.ptr));
    else
        return true;
    return false;
}

bool call_query_int(struct call *c, const char *name, int64_t min, int64_t max, int64_t otherwise, int64_t *ret_n)
{
    struct str v;
    *ret_n = otherwise;
    if (!http_query(c->req, name, 0, &v))
        return true;
    bool ok = v.len > 0 && v.len <= 16;
    for (size_t i = 0; ok && i < v.len; i++)
        ok = (v.ptr[i] >= '0' && v.ptr[i] <= '9') || (i == 0 && v.ptr[i] == '-' && v.len > 1);
    int64_t n = ok ? strtoll(v.ptr, NULL, 10) : 0;
    if (!ok || n < min || n > max) {
        call_problem(c, ERR_INVALID_PARAMETER,
                     call_text(c, "%s must be an integer from %lld to %lld", name, (long long)min, (long long)max));
        return false;
    }
    *ret_n = n;
    return true;
}
