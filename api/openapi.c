#include "api/openapi.h"

#include <stdio.h>

#include "api/handlers.h"
#include "common/json.h"
#include "common/version.h"

/* What a route's success looks like: by operationId. */
static const struct {
    const char *id;
    int status;
    const char *type; /* content type; NULL for no body */
    const char *schema;
    const char *what;
    const char *request; /* schema of the request's body; NULL for none */
} answers[] = {
    {"submitRun", 202, "application/json", "Submitted", "Accepted and kept", "Submission"},
    {"submitRuns", 200, "application/json", "BatchResults", "A result for each run, in order", "Batch"},
    {"bulkRuns", 200, "application/json", "BulkResult", "What was done, and where the next page begins", "Bulk"},
    {"submitAndStream", 200, "text/event-stream", NULL, "The run's events", "Submission"},
    {"submitAndWait", 200, "application/json", "Run", "The ended run's record", "Submission"},
    {"listRuns", 200, "application/json", "RunList", "A page of runs", NULL},
    {"getRun", 200, "application/json", "Run", "The record", NULL},
    {"deleteRun", 204, NULL, NULL, "Deleted", NULL},
    {"streamRun", 200, "text/event-stream", NULL, "The run's events, replayed, then live", NULL},
    {"listEvents", 200, "application/json", "EventPage", "A page of events", NULL},
    {"stopRun", 202, "application/json", "RunStatus", "The stop is kept, and under way", NULL},
    {"sendInput", 202, "application/json", "InputTaken", "Kept for the agent", "InputLine"},
    {"rerunRun", 202, "application/json", "Submitted", "Accepted and kept", NULL},
    {"redriveRun", 202, "application/json", "Submitted", "Accepted and kept", NULL},
    {"getTree", 200, "application/json", "Tree", "The run and its descendants, in pre-order", NULL},
    {"getLogs", 200, "application/json", "Logs", "The newest lines", NULL},
    {"postEvents", 202, "application/json", "Ingested", "Stored", "EventBatch"},
    {"getManifest", 200, "application/json", "Object", "The job", NULL},
    {"listArtifacts", 200, "application/json", "StoredList", "A page of what is stored", NULL},
    {"getArtifact", 200, "application/octet-stream", NULL, "Its bytes, with the content type it was stored with", NULL},
    {"putArtifact", 201, "application/json", "Stored", "Stored (200 where it replaces something; 202 for a part)",
     NULL},
    {"deleteArtifact", 204, NULL, NULL, "Deleted", NULL},
    {"listStorage", 200, "application/json", "StoredList", "A page of what is stored", NULL},
    {"getStorage", 200, "application/octet-stream", NULL, "Its bytes", NULL},
    {"putStorage", 201, "application/json", "Stored", "Stored (200 where it replaces something; 202 for a part)", NULL},
    {"deleteStorage", 204, NULL, NULL, "Deleted", NULL},
    {"putAgent", 200, "application/json", "AgentVersion", "Stored (201 when the agent is new)", "AgentDefinition"},
    {"getAgent", 200, "application/json", "Object", "The definition and its version", NULL},
    {"deleteAgent", 204, NULL, NULL, "Deleted", NULL},
    {"listAgents", 200, "application/json", "Object", "The agents by name", NULL},
    {"listAgentVersions", 200, "application/json", "Object", "The versions", NULL},
    {"rollbackAgent", 200, "application/json", "AgentVersion", "The newest version now", "VersionNumber"},
    {"beginBundle", 200, "application/json", "BundleUpload", "It is there, or which chunks are missing", "BundleSpec"},
    {"listBundles", 200, "application/json", "BundleList", "The bundles by digest", NULL},
    {"getBundle", 200, "application/json", "Bundle", "The bundle", NULL},
    {"deleteBundle", 204, NULL, NULL, "Deleted", NULL},
    {"completeBundle", 200, "application/json", "BundleUpload", "Its bytes are those of its digest", NULL},
    {"putBundleChunk", 204, NULL, NULL, "Stored", NULL},
    {"getBundleChunk", 200, "application/octet-stream", NULL, "The chunk's bytes", NULL},
    {"listRunners", 200, "application/json", "RunnerList", "The runners", NULL},
    {"drainRunner", 202, "application/json", "Object", "It was asked", NULL},
    {"listQueues", 200, "application/json", "QueueList", "The queues by name", NULL},
    {"getQueue", 200, "application/json", "Queue", "The queue", NULL},
    {"putQueue", 200, "application/json", "QueueSettings", "The settings now", "QueueSettings"},
    {"pauseQueue", 200, "application/json", "QueueSettings", "The settings now", NULL},
    {"resumeQueue", 200, "application/json", "QueueSettings", "The settings now", NULL},
    {"drainQueue", 200, "application/json", "QueueSettings", "The settings now", NULL},
    {"listWorkspaces", 200, "application/json", "WorkspaceList", "The workspaces by name", NULL},
    {"getWorkspace", 200, "application/json", "Workspace", "The settings and the usage", NULL},
    {"putWorkspace", 200, "application/json", "Workspace", "The settings now", "WorkspaceSettings"},
    {"deleteWorkspace", 204, NULL, NULL, "Forgotten", NULL},
    {"createSchedule", 201, "application/json", "Schedule", "Stored", "ScheduleSpec"},
    {"listSchedules", 200, "application/json", "ScheduleList", "The schedules by name", NULL},
    {"putSchedule", 200, "application/json", "Schedule", "Stored (201 when the schedule is new)", "ScheduleSpec"},
    {"getSchedule", 200, "application/json", "Schedule", "The schedule", NULL},
    {"deleteSchedule", 204, NULL, NULL, "Deleted", NULL},
    {"pauseSchedule", 200, "application/json", "Schedule", "The schedule now", NULL},
    {"resumeSchedule", 200, "application/json", "Schedule", "The schedule now", NULL},
    {"triggerSchedule", 202, "application/json", "Submitted", "Accepted and kept", NULL},
    {"createKey", 201, "application/json", "Key", "Made; its text is shown this once", "KeySpec"},
    {"listKeys", 200, "application/json", "KeyList", "The keys by id", NULL},
    {"getKey", 200, "application/json", "Key", "The record", NULL},
    {"putKey", 200, "application/json", "Key", "The record now", "KeySpec"},
    {"rotateKey", 200, "application/json", "Key", "The record, with the new text, shown this once", NULL},
    {"revokeKey", 204, NULL, NULL, "Revoked", NULL},
    {"whoami", 200, "application/json", "Object", "The key's id, workspace, scopes and narrowing", NULL},
    {"beginSession", 201, "application/json", "Object", "Begun: the cookie stands in Set-Cookie", NULL},
    {"endSession", 204, NULL, NULL, "Ended", NULL},
    {"listAudit", 200, "application/json", "AuditPage", "A page of entries; or all as NDJSON", NULL},
    {"exchangeToken", 200, "application/json", "Exchanged", "The key", "Exchange"},
    {"listTrust", 200, "application/json", "TrustList", "The policies by name", NULL},
    {"putTrust", 200, "application/json", "Trust", "Stored (201 when the policy is new)", "TrustSpec"},
    {"getTrust", 200, "application/json", "Trust", "The policy", NULL},
    {"deleteTrust", 204, NULL, NULL, "Deleted", NULL},
    {"listSecrets", 200, "application/json", "SecretList", "The secrets by name", NULL},
    {"rekeySecrets", 200, "application/json", "Rekeyed", "What was done, and where the next page begins",
     "RekeyRequest"},
    {"putSecret", 200, "application/json", "Secret", "Stored (201 when the secret is new)", "SecretValue"},
    {"getSecret", 200, "application/json", "Secret", "Its versions", NULL},
    {"deleteSecret", 204, NULL, NULL, "Deleted", NULL},
    {"createWebhook", 201, "application/json", "Webhook", "Stored; its secret is shown this once", "WebhookSpec"},
    {"listWebhooks", 200, "application/json", "WebhookList", "The webhooks", NULL},
    {"getWebhook", 200, "application/json", "Webhook", "The webhook", NULL},
    {"putWebhook", 200, "application/json", "Webhook", "The webhook now", "WebhookSpec"},
    {"deleteWebhook", 204, NULL, NULL, "Deleted", NULL},
    {"rotateWebhook", 200, "application/json", "Webhook", "The webhook with its new secret, shown this once", NULL},
    {"testWebhook", 202, "application/json", "DeliveryId", "The ping will be delivered", NULL},
    {"listDeliveries", 200, "application/json", "DeliveryList", "A page of deliveries", NULL},
    {"resendDelivery", 202, "application/json", "DeliveryId", "It will be delivered again", NULL},
    {"getHealth", 200, "application/json", "Object", "The process lives", NULL},
    {"getReadiness", 200, "application/json", "Object", "The node can serve", NULL},
    {"getMetrics", 200, "text/plain", NULL, "Prometheus text", NULL},
    {"getOpenapi", 200, "application/json", "Object", "This description", NULL},
};

static const char security[] =
    "{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"An API key\"},"
    "\"keyHeader\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"x-api-key\",\"description\":\"An API key\"},"
    "\"session\":{\"type\":\"apiKey\",\"in\":\"cookie\",\"name\":\"__Host-errand\",\"description\":\"A browser's "
    "session\"},"
    "\"runner\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"An attempt's runner token\"},"
    "\"stream\":{\"type\":\"apiKey\",\"in\":\"query\",\"name\":\"token\",\"description\":\"A run's stream token, from "
    "its streamUrl\"}}";

static const char *const verbs[] = {"get", "head", "post", "put", "delete", "options", ""};

static const char *tag_of(const char *pattern)
{
    if (strstr(pattern, "/runner/"))
        return "runtimes";
    if (strncmp(pattern, "/v1/runs", 8) == 0)
        return "runs";
    return strncmp(pattern, "/v1/agents", 10) == 0 ? "agents" : "operations";
}

static void write_parameter(struct json_writer *w, const char *where, struct str name, bool required)
{
    json_object_begin(w);
    json_kv_str(w, "name", name);
    json_kv_str(w, "in", str_of(where));
    if (required)
        json_kv_bool(w, "required", true);
    json_kv_raw(w, "schema", STR("{\"type\":\"string\"}"));
    json_object_end(w);
}

static void write_parameters(struct json_writer *w, const struct route *r)
{
    json_key(w, "parameters");
    json_array_begin(w);
    for (const char *p = strchr(r->pattern, '{'); p; p = strchr(p + 1, '{'))
        write_parameter(w, "path", (struct str){p + 1, strcspn(p + 1, "}")}, true);
    for (const char *p = r->parameters; *p;) {
        size_t len = strcspn(p, " ");
        if (strncmp(p, "token", len) != 0) /* that one is a security scheme */
            write_parameter(w, "query", (struct str){p, len}, false);
        p += len + (p[len] == ' ');
    }
    json_array_end(w);
}

static void write_content(struct json_writer *w, const char *type, const char *schema)
{
    json_key(w, "content");
    json_object_begin(w);
    json_key(w, type);
    json_object_begin(w);
    json_key(w, "schema");
    json_object_begin(w);
    if (schema) {
        char ref[96];
        snprintf(ref, sizeof ref, "#/components/schemas/%s", schema);
        json_kv_str(w, "$ref", str_of(ref));
    } else {
        json_kv_str(w, "type", STR("string"));
    }
    json_object_end(w);
    json_object_end(w);
    json_object_end(w);
}

static void write_security(struct json_writer *w, enum route_auth auth)
{
    static const char *const by_auth[] = {
        [AUTH_NONE] = "[]",
        [AUTH_KEY] = "[{\"key\":[]},{\"keyHeader\":[]},{\"session\":[]}]",
        [AUTH_STREAM] = "[{\"key\":[]},{\"keyHeader\":[]},{\"session\":[]},{\"stream\":[]}]",
        [AUTH_RUNNER] = "[{\"runner\":[]}]",
    };
    json_kv_raw(w, "security", str_of(by_auth[auth]));
}

static void write_operation(struct json_writer *w, const struct route *r)
{
    size_t i = 0;
    while (i < ARRAY_LEN(answers) && strcmp(answers[i].id, r->id) != 0)
        i++;
    PRE(i < ARRAY_LEN(answers)); /* each route has its row: the tests ask for the description */
    json_key(w, verbs[r->method]);
    json_object_begin(w);
    json_kv_str(w, "operationId", str_of(r->id));
    json_kv_str(w, "summary", str_of(r->summary));
    json_kv_str(w, "description", str_of(r->summary));
    json_key(w, "tags");
    json_array_begin(w);
    json_str(w, str_of(tag_of(r->pattern)));
    json_array_end(w);
    write_security(w, r->auth);
    if (r->scope != SCOPE_ANY)
        json_kv_str(w, "x-required-scope", str_of(scope_word(r->scope)));
    write_parameters(w, r);
    if (answers[i].request) {
        json_key(w, "requestBody");
        json_object_begin(w);
        json_kv_bool(w, "required", true);
        write_content(w, "application/json", answers[i].request);
        json_object_end(w);
    }
    json_key(w, "responses");
    json_object_begin(w);
    char status[16];
    snprintf(status, sizeof status, "%d", answers[i].status);
    json_key(w, status);
    json_object_begin(w);
    json_kv_str(w, "description", str_of(answers[i].what));
    if (answers[i].type)
        write_content(w, answers[i].type, answers[i].schema);
    json_object_end(w);
    json_kv_raw(w, "4XX", STR("{\"$ref\":\"#/components/responses/Problem\"}"));
    json_kv_raw(w, "5XX", STR("{\"$ref\":\"#/components/responses/Problem\"}"));
    json_object_end(w);
    json_object_end(w);
}

/* Rows of one path stand together in the description: at the first of them, all are written. */
static bool is_first_of_path(size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (routes[i].id && strcmp(routes[i].pattern, routes[at].pattern) == 0)
            return false;
    return true;
}

void openapi_write(struct strbuf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str(&w, "openapi", STR("3.1.0"));
    json_kv_raw(&w, "info",
                STR("{\"title\":\"Errand\",\"version\":\"" ERRAND_VERSION
                    "\",\"summary\":\"A distributed job queue and runner for agent runs\","
                    "\"description\":\"Submit runs of agents, watch them live or replay them from any position, and "
                    "stop them.\","
                    "\"contact\":{\"name\":\"Errand\",\"url\":\"https://errand.example\"},\"license\":{\"name\":\"See "
                    "the project's licence\",\"url\":\"https://errand.example/licence\"}}"));
    json_kv_raw(&w, "servers", STR("[{\"url\":\"/\",\"description\":\"This node\"}]"));
    json_kv_raw(&w, "tags",
                STR("[{\"name\":\"agents\",\"description\":\"What is "
                    "executed\"},{\"name\":\"operations\",\"description\":\"Nodes, queues, health\"},"
                    "{\"name\":\"runs\",\"description\":\"Durable invocations of "
                    "agents\"},{\"name\":\"runtimes\",\"description\":\"For runtimes that post their own events\"}]"));
    json_key(&w, "paths");
    json_object_begin(&w);
    for (size_t i = 0; i < routes_len; i++) {
        if (!routes[i].id || !is_first_of_path(i))
            continue;
        json_key(&w, routes[i].pattern);
        json_object_begin(&w);
        for (size_t k = i; k < routes_len; k++)
            if (routes[k].id && strcmp(routes[k].pattern, routes[i].pattern) == 0)
                write_operation(&w, &routes[k]);
        json_object_end(&w);
    }
    json_object_end(&w);
    json_key(&w, "components");
    json_object_begin(&w);
    json_kv_raw(&w, "securitySchemes", str_of(security));
    json_kv_raw(&w, "responses",
                STR("{\"Problem\":{\"description\":\"What went wrong (RFC "
                    "9457)\",\"content\":{\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/"
                    "Problem\"}}}}}"));
    json_kv_raw(&w, "schemas", str_of(openapi_schemas));
    json_object_end(&w);
    json_object_end(&w);
}
