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
    {"listRunners", 200, "application/json", "Object", "The runners", NULL},
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

static const char schemas[] =
    "{\"Object\":{\"type\":\"object\"},"
    "\"Problem\":{\"type\":\"object\",\"required\":[\"type\",\"title\",\"status\",\"code\"],\"properties\":{\"type\":{"
    "\"type\":\"string\"},\"title\":{\"type\":\"string\"},"
    "\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},\"code\":{\"type\":\"string\"},\"instance\":{"
    "\"type\":\"string\"}}},"
    "\"AgentDefinition\":{\"type\":\"object\",\"required\":[\"command\"],\"properties\":{\"name\":{\"type\":\"string\"}"
    ",\"executor\":{\"type\":\"string\",\"enum\":[\"process\"]},"
    "\"command\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1},\"protocol\":{\"type\":\"string\","
    "\"enum\":[\"events\",\"text\"]},"
    "\"eventSource\":{\"type\":\"string\",\"enum\":[\"stdout\",\"remote\"]},\"workdir\":{\"type\":\"string\"},\"env\":{"
    "\"type\":\"array\",\"items\":{\"type\":\"object\"}},"
    "\"dataSources\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"engine\",\"name\","
    "\"fields\"],\"properties\":{\"engine\":{\"type\":\"string\"},\"name\":{\"type\":\"string\"},\"fields\":{"
    "\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\"}}}}},"
    "\"stdin\":{\"type\":\"string\",\"enum\":[\"once\"]},\"provider\":{\"type\":\"string\"},\"timeoutMs\":{\"type\":"
    "\"integer\"},\"graceMs\":{\"type\":\"integer\"},"
    "\"maxAttempts\":{\"type\":\"integer\"},\"atMostOnce\":{\"type\":\"boolean\"},\"backoff\":{\"type\":\"object\"},"
    "\"queue\":{\"type\":\"string\"},"
    "\"startWithinMs\":{\"type\":\"integer\",\"minimum\":1},\"stallMs\":{\"type\":\"integer\",\"minimum\":1},"
    "\"concurrency\":{\"type\":\"integer\",\"minimum\":1},\"rateLimit\":{\"$ref\":\"#/components/schemas/RateLimit\"},"
    "\"retryOn\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"noRetryOn\":{\"type\":\"array\",\"items\":{"
    "\"type\":\"string\"}},\"requires\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"slots\":{\"type\":"
    "\"integer\",\"minimum\":1},"
    "\"retentionMs\":{\"type\":\"integer\",\"minimum\":1},\"retentionCount\":{\"type\":\"integer\",\"minimum\":1},"
    "\"eventsRetentionMs\":{\"type\":\"integer\",\"minimum\":1},\"resultRetentionMs\":{\"type\":\"integer\","
    "\"minimum\":1}}},"
    "\"VersionNumber\":{\"type\":\"object\",\"required\":[\"version\"],\"properties\":{\"version\":{\"type\":"
    "\"integer\",\"minimum\":1}}},"
    "\"BundleSpec\":{\"type\":\"object\",\"required\":[\"digest\",\"bytes\"],\"properties\":{\"digest\":{\"type\":"
    "\"string\",\"pattern\":\"^sha256:[0-9a-f]{64}$\"},\"bytes\":{\"type\":\"integer\",\"minimum\":1},\"files\":{"
    "\"type\":\"integer\"},\"unpackedBytes\":{\"type\":\"integer\"}}},"
    "\"BundleUpload\":{\"type\":\"object\",\"required\":[\"digest\",\"complete\"],\"properties\":{\"digest\":{"
    "\"type\":\"string\"},\"complete\":{\"type\":\"boolean\"},\"chunkBytes\":{\"type\":\"integer\"},\"chunks\":{"
    "\"type\":\"integer\"},\"missing\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}}},"
    "\"Bundle\":{\"type\":\"object\",\"required\":[\"digest\",\"complete\",\"bytes\",\"inUse\"],\"properties\":{"
    "\"digest\":{\"type\":\"string\"},\"complete\":{\"type\":\"boolean\"},\"bytes\":{\"type\":\"integer\"},"
    "\"inUse\":{\"type\":\"boolean\"},\"createdAt\":{\"type\":\"string\",\"format\":\"date-time\"}}},"
    "\"BundleList\":{\"type\":\"object\",\"properties\":{\"bundles\":{\"type\":\"array\",\"items\":{\"$ref\":"
    "\"#/components/schemas/Bundle\"}},\"cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"KeySpec\":{\"type\":\"object\",\"required\":[\"name\",\"scopes\"],\"properties\":{\"name\":{\"type\":\"string\"}"
    ","
    "\"scopes\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1},\"agents\":{\"type\":\"array\","
    "\"items\":{"
    "\"type\":\"string\"},\"minItems\":1},\"queues\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":"
    "1},"
    "\"cidrs\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1},\"rateLimit\":{\"$ref\":"
    "\"#/components/schemas/"
    "RateLimit\"},\"concurrency\":{\"type\":\"integer\",\"minimum\":1},\"expiresInMs\":{\"type\":"
    "\"integer\",\"minimum\":1},\"expiresAt\":{\"type\":\"string\",\"format\":\"date-time\"}}},"
    "\"Key\":{\"type\":\"object\",\"required\":[\"id\",\"name\",\"scopes\",\"status\"],\"properties\":{\"id\":{"
    "\"type\":\"string\"},"
    "\"name\":{\"type\":\"string\"},\"key\":{\"type\":\"string\"},\"scopes\":{\"type\":\"array\",\"items\":{\"type\":"
    "\"string\"}},\"status\":{\"type\":\"string\",\"enum\":[\"active\",\"expired\",\"revoked\"]}}},"
    "\"KeyList\":{\"type\":\"object\",\"properties\":{\"keys\":{\"type\":\"array\",\"items\":{\"$ref\":"
    "\"#/components/schemas/Key\"}},\"cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"RateLimit\":{\"type\":\"object\",\"required\":[\"limit\"],\"properties\":{\"key\":{\"type\":\"string\"},"
    "\"limit\":{\"type\":\"integer\",\"minimum\":1},\"perMs\":{\"type\":\"integer\",\"minimum\":1},\"burst\":{\"type\":"
    "\"integer\",\"minimum\":1}}},"
    "\"Submission\":{\"type\":\"object\",\"required\":[\"agent\"],\"properties\":{\"agent\":{\"oneOf\":[{\"type\":"
    "\"string\"},{\"$ref\":\"#/components/schemas/AgentDefinition\"}]},"
    "\"input\":{},\"env\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},\"queue\":{\"type\":"
    "\"string\"},\"priority\":{\"type\":\"string\",\"enum\":[\"high\",\"normal\",\"low\"]},"
    "\"delayMs\":{\"type\":\"integer\",\"minimum\":0},\"scheduledAt\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"timeoutMs\":{\"type\":\"integer\",\"minimum\":1},"
    "\"maxAttempts\":{\"type\":\"integer\",\"minimum\":1},\"labels\":{\"type\":\"object\",\"additionalProperties\":{"
    "\"type\":\"string\"}},\"parentRunId\":{\"type\":\"string\",\"format\":\"uuid\"},"
    "\"sessionId\":{\"type\":\"string\"},"
    "\"startWithinMs\":{\"type\":\"integer\",\"minimum\":1},\"stallMs\":{\"type\":\"integer\",\"minimum\":1},"
    "\"concurrencyKey\":{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"required\":[\"key\"],\"properties\":{"
    "\"key\":{\"type\":\"string\"},\"limit\":{\"type\":\"integer\",\"minimum\":1},\"onLimit\":{\"type\":\"string\","
    "\"enum\":[\"queue\",\"reject\",\"replace\"]}}}]},"
    "\"rateLimit\":{\"$ref\":\"#/components/schemas/"
    "RateLimit\"},\"dependsOn\":{\"type\":\"array\",\"maxItems\":100,\"items\":{\"type\":\"string\"}},"
    "\"onDependencyFailure\":{\"type\":\"string\",\"enum\":[\"fail\",\"run\"]},\"requires\":{\"type\":\"array\","
    "\"items\":{\"type\":\"string\"}},\"webhook\":{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"required\":["
    "\"url\",\"secret\"],\"properties\":{\"url\":{\"type\":\"string\",\"format\":\"uri\"},\"secret\":{\"type\":"
    "\"string\"}}}]}}},"
    "\"ScheduleSpec\":{\"type\":\"object\",\"required\":[\"run\"],\"properties\":{\"name\":{\"type\":\"string\"},"
    "\"cron\":{\"type\":\"string\"},\"everyMs\":{\"type\":\"integer\",\"minimum\":1000},\"timeZone\":{\"type\":"
    "\"string\"},\"jitterMs\":{\"type\":\"integer\",\"minimum\":0},\"startAt\":{\"type\":\"string\",\"format\":\"date-"
    "time\"},\"endAt\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"overlap\":{\"type\":\"string\",\"enum\":[\"skip\",\"queue\",\"replace\",\"allow\"]},\"catchUp\":{\"type\":"
    "\"string\",\"enum\":[\"skip\",\"last\",\"all\"]},\"paused\":{\"type\":\"boolean\"},\"run\":{\"$ref\":\"#/"
    "components/schemas/Submission\"}}},"
    "\"Schedule\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{\"name\":{\"type\":\"string\"},\"cron\":"
    "{\"type\":\"string\"},\"everyMs\":{\"type\":\"integer\"},\"timeZone\":{\"type\":\"string\"},\"nextAt\":{\"type\":"
    "\"string\"},\"lastAt\":{\"type\":\"string\"},\"lastRunId\":{\"type\":\"string\"},\"runs\":{\"type\":\"integer\"},"
    "\"skipped\":{\"type\":\"integer\"},\"paused\":{\"type\":\"boolean\"}}},"
    "\"Exchange\":{\"type\":\"object\",\"properties\":{\"token\":{\"type\":\"string\"},\"policy\":{\"type\":\"stri"
    "ng\"},\"workspace\":{\"type\":\"string\"},\"scope\":{\"type\":\"string\"},\"grant_type\":{\"type\":\"string\""
    "},\"subject_token\":{\"type\":\"string\"},\"subject_token_type\":{\"type\":\"string\"},\"requested_toke"
    "n_type\":{\"type\":\"string\"},\"audience\":{\"type\":\"string\"}}},"
    "\"Exchanged\":{\"type\":\"object\",\"required\":[\"access_token\",\"token_type\",\"expires_in\",\"issued_"
    "token_type\",\"scope\"],\"properties\":{\"access_token\":{\"type\":\"string\"},\"token_type\":{\"const\":"
    "\"Bearer\"},\"expires_in\":{\"type\":\"integer\"},\"issued_token_type\":{\"type\":\"string\"},\"scope\":{\""
    "type\":\"string\"},\"workspace\":{\"type\":\"string\"},\"policy\":{\"type\":\"string\"}}},"
    "\"TrustSpec\":{\"type\":\"object\",\"required\":[\"issuer\",\"audience\",\"claims\",\"scopes\"],\"propertie"
    "s\":{\"issuer\":{\"type\":\"string\"},\"audience\":{\"type\":\"string\"},\"jwksUri\":{\"type\":\"string\"},\"c"
    "laims\":{\"type\":\"object\",\"additionalProperties\":{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\""
    ",\"items\":{\"type\":\"string\"}}]}},\"scopes\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"agents"
    "\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"queues\":{\"type\":\"array\",\"items\":{\"type\":\"str"
    "ing\"}},\"ttlMs\":{\"type\":\"integer\",\"minimum\":60000,\"maximum\":3600000}}},"
    "\"Trust\":{\"type\":\"object\",\"required\":[\"name\",\"issuer\",\"audience\",\"claims\",\"scopes\"],\"proper"
    "ties\":{\"name\":{\"type\":\"string\"},\"issuer\":{\"type\":\"string\"},\"audience\":{\"type\":\"string\"},\"j"
    "wksUri\":{\"type\":\"string\"},\"claims\":{\"type\":\"object\",\"additionalProperties\":{\"oneOf\":[{\"typ"
    "e\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"string\"}}]}},\"scopes\":{\"type\":\"array\",\"items"
    "\":{\"type\":\"string\"}},\"agents\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"queues\":{\"type\":"
    "\"array\",\"items\":{\"type\":\"string\"}},\"ttlMs\":{\"type\":\"integer\",\"minimum\":60000,\"maximum\":360"
    "0000},\"createdAt\":{\"type\":\"string\"},\"updatedAt\":{\"type\":\"string\"},\"createdBy\":{\"type\":\"str"
    "ing\"}}},"
    "\"TrustList\":{\"type\":\"object\",\"required\":[\"policies\"],\"properties\":{\"policies\":{\"type\":\"arr"
    "ay\",\"items\":{\"$ref\":\"#/components/schemas/Trust\"}}}},"
    "\"ScheduleList\":{\"type\":\"object\",\"required\":[\"schedules\"],\"properties\":{\"schedules\":{\"type\":"
    "\"array\",\"items\":{\"$ref\":\"#/components/schemas/Schedule\"}}}},"
    "\"WebhookSpec\":{\"type\":\"object\",\"required\":[\"url\",\"events\"],\"properties\":{\"url\":{\"type\":"
    "\"string\","
    "\"format\":\"uri\"},\"events\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\"}},\"agents\":{"
    "\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"enabled\":{\"type\":\"boolean\"},\"description\":{\"type\":"
    "\"string\"},\"secret\":{\"type\":\"string\"}}},"
    "\"Webhook\":{\"type\":\"object\",\"required\":[\"id\",\"url\",\"events\",\"agents\",\"enabled\"],\"properties\":{"
    "\"id\":{\"type\":\"string\"},\"url\":{\"type\":\"string\"},\"events\":{\"type\":\"array\",\"items\":{\"type\":"
    "\"string\"}},\"agents\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"enabled\":{\"type\":\"boolean\"},"
    "\"disabledReason\":{\"type\":\"string\"},\"description\":{\"type\":\"string\"},\"secret\":{\"type\":\"string\"},"
    "\"createdAt\":{\"type\":\"string\"},\"updatedAt\":{\"type\":\"string\"},\"secretRotatedAt\":{\"type\":\"string\"},"
    "\"oldSecretUntil\":{\"type\":\"string\"},\"lastDeliveredAt\":{\"type\":\"string\"},\"failingSince\":{\"type\":"
    "\"string\"},\"failures\":{\"type\":\"integer\"},\"dropped\":{\"type\":\"integer\"}}},"
    "\"WebhookList\":{\"type\":\"object\",\"required\":[\"webhooks\"],\"properties\":{\"webhooks\":{\"type\":\"array\","
    "\"items\":{\"$ref\":\"#/components/schemas/Webhook\"}}}},"
    "\"DeliveryId\":{\"type\":\"object\",\"required\":[\"deliveryId\"],\"properties\":{\"deliveryId\":{\"type\":"
    "\"string\"}}},"
    "\"Delivery\":{\"type\":\"object\",\"required\":[\"id\",\"type\",\"status\",\"attempts\"],\"properties\":{\"id\":{"
    "\"type\":\"string\"},\"type\":{\"type\":\"string\"},\"runId\":{\"type\":\"string\"},\"status\":{\"type\":"
    "\"string\","
    "\"enum\":[\"pending\",\"delivered\",\"failed\",\"gaveup\"]},\"attempts\":{\"type\":\"integer\"},\"lastStatus\":{"
    "\"type\":\"integer\"},\"lastError\":{\"type\":\"string\"},\"lastAttemptAt\":{\"type\":\"string\"},"
    "\"nextAttemptAt\":{\"type\":\"string\"},\"createdAt\":{\"type\":\"string\"}}},"
    "\"DeliveryList\":{\"type\":\"object\",\"required\":[\"deliveries\",\"cursor\"],\"properties\":{\"deliveries\":{"
    "\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Delivery\"}},\"cursor\":{\"type\":[\"string\","
    "\"null\"]}}},"
    "\"Batch\":{\"type\":\"object\",\"required\":[\"runs\"],\"properties\":{\"runs\":{\"type\":\"array\",\"minItems\":"
    "1,\"maxItems\":1000,\"items\":{\"$ref\":\"#/components/schemas/Submission\"}}}},"
    "\"Bulk\":{\"type\":\"object\",\"required\":[\"action\",\"filter\"],\"properties\":{\"action\":{\"type\":"
    "\"string\",\"enum\":[\"stop\",\"rerun\",\"delete\",\"redrive\"]},"
    "\"filter\":{\"type\":\"object\",\"properties\":{\"agent\":{\"type\":\"string\"},\"status\":{\"oneOf\":[{\"type\":"
    "\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"string\"}}]},"
    "\"labels\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},\"createdBy\":{\"type\":"
    "\"string\"},\"since\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"until\":{\"type\":\"string\",\"format\":\"date-time\"},\"queue\":{\"type\":\"string\"},\"schedule\":{\"type\":"
    "\"string\"},\"deadLetter\":{\"const\":true}}},"
    "\"cursor\":{\"type\":[\"string\",\"null\"]},\"limit\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000}}},"
    "\"BulkResult\":{\"type\":\"object\",\"required\":[\"examined\",\"matched\",\"done\",\"skipped\",\"failed\","
    "\"cursor\"],\"properties\":{\"examined\":{\"type\":\"integer\"},"
    "\"matched\":{\"type\":\"integer\"},\"done\":{\"type\":\"integer\"},\"skipped\":{\"type\":\"integer\"},\"failed\":{"
    "\"type\":\"array\",\"items\":{\"type\":\"object\"}},"
    "\"cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"Tree\":{\"type\":\"object\",\"required\":[\"root\",\"runs\",\"truncated\"],\"properties\":{\"root\":{\"type\":"
    "\"string\",\"format\":\"uuid\"},"
    "\"runs\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/"
    "Run\"}},\"truncated\":{\"type\":\"boolean\"}}},"
    "\"Submitted\":{\"type\":\"object\",\"required\":[\"runId\",\"status\",\"streamUrl\"],\"properties\":{\"runId\":{"
    "\"type\":\"string\",\"format\":\"uuid\"},\"status\":{\"type\":\"string\"},"
    "\"streamUrl\":{\"type\":\"string\"},\"durable\":{\"type\":\"boolean\"}}},"
    "\"BatchResults\":{\"type\":\"object\",\"required\":[\"results\"],\"properties\":{\"results\":{\"type\":\"array\","
    "\"items\":{\"type\":\"object\"}}}},"
    "\"RunStatus\":{\"type\":\"object\",\"required\":[\"runId\",\"status\"],\"properties\":{\"runId\":{\"type\":"
    "\"string\"},\"status\":{\"type\":\"string\"}}},"
    "\"Stored\":{\"type\":\"object\",\"properties\":{\"kind\":{\"type\":\"string\"},\"name\":{\"type\":\"string\"},"
    "\"bytes\":{\"type\":\"integer\"},\"digest\":{\"type\":\"string\"},\"contentType\":{\"type\":\"string\"},\"parts\":"
    "{"
    "\"type\":\"integer\"}}},"
    "\"StoredList\":{\"type\":\"object\",\"required\":[\"items\",\"cursor\"],\"properties\":{\"items\":{\"type\":"
    "\"array\","
    "\"items\":{\"type\":\"object\"}},\"cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"InputLine\":{\"type\":\"object\",\"properties\":{\"data\":{},\"close\":{\"type\":\"boolean\"}}},"
    "\"InputTaken\":{\"type\":\"object\",\"required\":[\"runId\",\"n\",\"status\"],\"properties\":{\"runId\":{\"type\":"
    "\"string\"},\"n\":{\"type\":\"integer\"},\"status\":{\"type\":\"string\"}}},"
    "\"Run\":{\"type\":\"object\",\"required\":[\"runId\",\"status\"],\"properties\":{\"runId\":{\"type\":\"string\"},"
    "\"workspaceId\":{\"type\":\"string\"},\"agent\":{\"type\":\"string\"},"
    "\"agentVersion\":{\"type\":\"integer\"},\"status\":{\"type\":\"string\",\"enum\":[\"scheduled\",\"queued\","
    "\"provisioning\",\"running\",\"stopping\",\"success\",\"error\",\"stopped\"]},"
    "\"queue\":{\"type\":\"string\"},\"priority\":{\"type\":\"string\"},\"createdAt\":{\"type\":\"string\"},"
    "\"scheduledAt\":{\"type\":\"string\"},\"startedAt\":{\"type\":\"string\"},"
    "\"completedAt\":{\"type\":\"string\"},\"input\":{},\"result\":{},\"error\":{\"type\":\"object\"},\"attempt\":{"
    "\"type\":\"integer\"},\"failures\":{\"type\":\"integer\"},"
    "\"maxAttempts\":{\"type\":\"integer\"},\"attempts\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}},"
    "\"lastSeq\":{\"type\":\"integer\"},\"eventCount\":{\"type\":\"integer\"},"
    "\"eventBytes\":{\"type\":\"integer\"},\"waitingForInput\":{\"type\":\"boolean\"},\"createdBy\":{\"type\":"
    "\"string\"},\"sessionId\":{\"type\":\"string\"},"
    "\"parentRunId\":{\"type\":\"string\"},\"rerunOf\":{\"type\":\"string\"},\"deadLetter\":{\"type\":\"boolean\"},"
    "\"redrivenAs\":{\"type\":\"string\"},"
    "\"waitingFor\":{\"type\":\"object\"},\"dependsOn\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
    "\"requires\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"slots\":{\"type\":\"integer\"},"
    "\"concurrencyKey\":{\"type\":\"object\"},\"expiresAt\":{\"type\":\"string\"},\"scheduleName\":{\"type\":"
    "\"string\"},\"droppedTo\":{\"type\":\"integer\"},\"resultDropped\":{\"type\":\"boolean\"},"
    "\"depth\":{\"type\":\"integer\"},\"labels\":{\"type\":\"object\"},"
    "\"schemaWarnings\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}},\"traceparent\":{\"type\":\"string\"},"
    "\"webhook\":{\"type\":\"string\"},"
    "\"stopRequestedAt\":{\"type\":\"string\"}}},"
    "\"RunList\":{\"type\":\"object\",\"required\":[\"runs\",\"cursor\"],\"properties\":{\"runs\":{\"type\":\"array\","
    "\"items\":{\"$ref\":\"#/components/schemas/Run\"}},\"cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"AuditEntry\":{\"type\":\"object\",\"required\":[\"n\",\"at\",\"who\",\"from\",\"what\",\"request\"],"
    "\"properties\":{\"n\":{\"type\":\"integer\"},\"at\":{\"type\":\"string\"},\"who\":{\"type\":\"string\"},"
    "\"from\":{\"type\":\"string\"},\"what\":{\"type\":\"string\"},\"object\":{\"type\":\"string\"},\"request\":{"
    "\"type\":\"string\"},\"outcome\":{\"type\":\"string\"},\"detail\":{\"type\":\"object\"}}},"
    "\"AuditPage\":{\"type\":\"object\",\"required\":[\"entries\",\"begins\",\"cursor\"],\"properties\":{"
    "\"entries\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/AuditEntry\"}},"
    "\"begins\":{\"type\":\"integer\"},\"cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"Event\":{\"type\":\"object\",\"required\":[\"seq\",\"tMs\",\"kind\",\"data\"],\"properties\":{\"seq\":{\"type\":"
    "\"integer\"},\"tMs\":{\"type\":\"integer\"},\"kind\":{\"type\":\"string\"},"
    "\"data\":{\"type\":\"object\"}}},"
    "\"EventPage\":{\"type\":\"object\",\"required\":[\"events\",\"next\",\"terminal\"],\"properties\":{\"events\":{"
    "\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Event\"}},"
    "\"next\":{\"type\":[\"integer\",\"null\"]},\"terminal\":{\"type\":\"boolean\"}}},"
    "\"EventBatch\":{\"type\":\"object\",\"required\":[\"v\",\"runId\",\"events\"],\"properties\":{\"v\":{\"const\":1},"
    "\"runId\":{\"type\":\"string\"},\"events\":{\"type\":\"array\",\"minItems\":1,"
    "\"maxItems\":256,\"items\":{\"$ref\":\"#/components/schemas/Event\"}}}},"
    "\"Ingested\":{\"type\":\"object\",\"required\":[\"runId\",\"accepted\",\"nextSeq\",\"lastTMs\",\"stop\"],"
    "\"properties\":{\"runId\":{\"type\":\"string\"},\"accepted\":{\"type\":\"integer\"},"
    "\"nextSeq\":{\"type\":\"integer\"},\"lastTMs\":{\"type\":\"integer\"},\"stop\":{\"type\":\"boolean\"},"
    "\"duplicate\":{\"type\":\"boolean\"}}},"
    "\"AgentVersion\":{\"type\":\"object\",\"required\":[\"name\",\"version\"],\"properties\":{\"name\":{\"type\":"
    "\"string\"},\"version\":{\"type\":\"integer\"}}},"
    "\"WorkspaceSettings\":{\"type\":\"object\",\"properties\":{\"weight\":{\"type\":[\"integer\",\"null\"],"
    "\"minimum\":1},\"concurrency\":{\"type\":[\"integer\",\"null\"],\"minimum\":1},\"queueMax\":{\"type\":["
    "\"integer\",\"null\"],\"minimum\":1},\"bytesMax\":{\"type\":[\"integer\",\"null\"],\"minimum\":1},\"retentionMs\":"
    "{\"type\":[\"integer\",\"null\"],\"minimum\":1},\"retentionCount\":{\"type\":[\"integer\",\"null\"],\"minimum\":1}"
    ",\"eventsRetentionMs\":{\"type\":[\"integer\",\"null\"],\"minimum\":1},\"resultRetentionMs\":{\"type\":["
    "\"integer\",\"null\"],\"minimum\":1}}},"
    "\"Workspace\":{\"type\":\"object\",\"required\":[\"name\",\"weight\",\"usage\"],\"properties\":{\"name\":{"
    "\"type\":\"string\"},\"weight\":{\"type\":\"integer\",\"minimum\":1},\"concurrency\":{\"type\":\"integer\","
    "\"minimum\":1},\"queueMax\":{\"type\":\"integer\",\"minimum\":1},\"bytesMax\":{\"type\":\"integer\",\"minimum\":1}"
    ",\"retentionMs\":{\"type\":\"integer\",\"minimum\":1},\"retentionCount\":{\"type\":\"integer\",\"minimum\":1},"
    "\"eventsRetentionMs\":{\"type\":\"integer\",\"minimum\":1},\"resultRetentionMs\":{\"type\":\"integer\","
    "\"minimum\":1},\"createdAt\":{\"type\":\"string\"},\"usage\":{\"type\":\"object\",\"properties\":{\"waiting\":{"
    "\"type\":\"integer\"},\"bytes\":{\"type\":\"integer\"}}}}},"
    "\"WorkspaceList\":{\"type\":\"object\",\"required\":[\"workspaces\",\"cursor\"],\"properties\":{\"workspaces\":{"
    "\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/"
    "Workspace\"}},\"cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"QueueSettings\":{\"type\":\"object\",\"properties\":{\"paused\":{\"type\":\"boolean\"},\"draining\":{\"type\":"
    "\"boolean\"},\"maxWaiting\":{\"type\":[\"integer\",\"null\"],\"minimum\":1}}},"
    "\"Queue\":{\"type\":\"object\",\"required\":[\"name\",\"waiting\",\"scheduled\",\"running\",\"paused\","
    "\"draining\",\"slots\",\"busySlots\",\"desiredSlots\"],\"properties\":{\"name\":{\"type\":\"string\"},\"waiting\":"
    "{\"type\":\"integer\"},\"scheduled\":{\"type\":\"integer\"},\"running\":{\"type\":\"integer\"},\"paused\":{"
    "\"type\":\"boolean\"},\"draining\":{\"type\":\"boolean\"},\"maxWaiting\":{\"type\":\"integer\"},"
    "\"oldestWaitingMs\":{\"type\":\"integer\"},\"perMinute\":{\"type\":\"object\",\"properties\":{\"success\":{"
    "\"type\":\"number\"},\"error\":{\"type\":\"number\"},\"stopped\":{\"type\":\"number\"}}},\"averageRunMs\":{"
    "\"type\":\"integer\"},\"slots\":{\"type\":\"integer\"},\"busySlots\":{\"type\":\"integer\"},\"desiredSlots\":{"
    "\"type\":\"integer\"}}},"
    "\"QueueList\":{\"type\":\"object\",\"required\":[\"queues\",\"scheduled\"],\"properties\":{\"queues\":{\"type\":"
    "\"array\",\"items\":{\"$ref\":\"#/components/schemas/Queue\"}},\"scheduled\":{\"type\":\"integer\"}}},"
    "\"SecretValue\":{\"type\":\"object\",\"required\":[\"value\"],\"properties\":{\"value\":{\"type\":\"string\","
    "\"minLength\":1,\"maxLength\":65536,\"writeOnly\":true}}},"
    "\"Secret\":{\"type\":\"object\",\"required\":[\"name\",\"version\"],\"properties\":{\"name\":{\"type\":\"string\"}"
    ","
    "\"version\":{\"type\":\"integer\"},\"createdAt\":{\"type\":\"string\"},\"updatedAt\":{\"type\":\"string\"},"
    "\"versions\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}}},"
    "\"SecretList\":{\"type\":\"object\",\"required\":[\"secrets\",\"cursor\"],\"properties\":{\"secrets\":{\"type\":"
    "\"array\",\"items\":{\"$ref\":\"#/components/schemas/Secret\"}},\"cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"RekeyRequest\":{\"type\":\"object\",\"properties\":{\"cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"Rekeyed\":{\"type\":\"object\",\"required\":[\"examined\",\"resealed\",\"failed\",\"cursor\"],\"properties\":{"
    "\"examined\":{\"type\":\"integer\"},\"resealed\":{\"type\":\"integer\"},\"failed\":{\"type\":\"integer\"},"
    "\"failures\":{\"type\":"
    "\"array\",\"items\":{\"type\":\"object\"}},\"cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"Logs\":{\"type\":\"object\",\"required\":[\"lines\"],\"properties\":{\"lines\":{\"type\":\"array\",\"items\":{"
    "\"type\":\"object\"}}}}}";

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
    json_kv_raw(&w, "schemas", str_of(schemas));
    json_object_end(&w);
    json_object_end(&w);
}
