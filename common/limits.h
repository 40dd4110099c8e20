/* Every bound on what somebody outside decides, in one table; `errand limits` lists it. Columns: name, value, unit, what it bounds. */
#ifndef ERRAND_COMMON_LIMITS_H
#define ERRAND_COMMON_LIMITS_H

#include "common/base.h"

#define LIMIT_TABLE(X)                                                                                                 \
    X(LIMIT_INPUT, 1048576, "bytes", "a run's input")                                                                  \
    X(LIMIT_INPUT_LINE, 262144, "bytes", "one line for a run's standard input")                                        \
    X(LIMIT_INPUT_LINES, 10000, "lines", "lines for a run's standard input")                                           \
    X(LIMIT_INPUT_BYTES, 4194304, "bytes", "the lines for a run's standard input, together")                           \
    X(LIMIT_RESULT, 1048576, "bytes", "a run's result")                                                                \
    X(LIMIT_ERROR_MESSAGE, 1000, "bytes", "the message of a run's error (the rest is cut)")                            \
    X(LIMIT_EVENT, 262144, "bytes", "one event, as stored")                                                            \
    X(LIMIT_BATCH_EVENTS, 256, "events", "a batch of events")                                                          \
    X(LIMIT_BATCH_BODY, 4194304, "bytes", "the body of a batch of events")                                             \
    X(LIMIT_BODY, 1310720, "bytes", "the body of any other request (an input and its envelope)")                       \
    X(LIMIT_BATCH_RUNS_BODY, 4194304, "bytes", "the body of a batch of runs")                                          \
    X(LIMIT_BATCH_RUNS, 1000, "runs", "a batch of runs")                                                               \
    X(LIMIT_ENTRY, 65536, "bytes", "the events of one stream entry (or one event)")                                    \
    X(LIMIT_ENV_COUNT, 64, "variables", "a run's or an agent's environment")                                           \
    X(LIMIT_ENV_BYTES, 32768, "bytes", "a run's or an agent's environment")                                            \
    X(LIMIT_RUN_EVENTS, 1000000, "events", "a run's events")                                                           \
    X(LIMIT_RUN_EVENT_BYTES, 67108864, "bytes", "a run's events")                                                      \
    X(LIMIT_HEADERS, 16384, "bytes", "the request line and header fields")                                             \
    X(LIMIT_HEADER_COUNT, 100, "fields", "header fields")                                                              \
    X(LIMIT_TARGET, 8192, "bytes", "the request target")                                                               \
    X(LIMIT_JSON_DEPTH, 128, "levels", "nesting of JSON")                                                              \
    X(LIMIT_LABELS, 64, "labels", "labels of a run")                                                                   \
    X(LIMIT_LABEL_BYTES, 256, "bytes", "a label's key, and its value")                                                 \
    X(LIMIT_NAME, 128, "bytes", "a name: agent, queue, workspace")                                                     \
    X(LIMIT_IDEMPOTENCY_KEY, 255, "bytes", "an Idempotency-Key")                                                       \
    X(LIMIT_DEFINITION, 65536, "bytes", "an agent definition, as stored")                                              \
    X(LIMIT_SCHEMA_FAULTS, 16, "faults", "what is told of a value that does not meet a schema")                        \
    X(LIMIT_SCHEMA_STEPS, 4000000, "steps", "the work of checking a value, or all of a request's")                     \
    X(LIMIT_SCHEMA_PATTERN, 1024, "bytes", "a pattern of a schema")                                                    \
    X(LIMIT_SCHEMA_PATTERNS, 256, "patterns", "patterns of a schema")                                                  \
    X(LIMIT_SCHEMA_CHAIN, 256, "schemas", "schemas that one value is handed on through ($ref, allOf, …)")              \
    X(LIMIT_COMMAND, 256, "words", "an agent's command")                                                               \
    X(LIMIT_AGENT_VERSIONS, 100, "versions", "kept versions of an agent")                                              \
    X(LIMIT_AGENTS, 1000, "agents", "agents of a workspace")                                                           \
    X(LIMIT_BUNDLE, 67108864, "bytes", "a bundle's archive")                                                           \
    X(LIMIT_BUNDLE_CHUNK, 524288, "bytes", "a chunk of a bundle")                                                      \
    X(LIMIT_BUNDLE_UNPACKED, 536870912, "bytes", "the files of a bundle")                                              \
    X(LIMIT_BUNDLE_FILES, 20000, "entries", "files, folders and links of a bundle")                                    \
    X(LIMIT_BUNDLE_PATH, 1024, "bytes", "a path in a bundle")                                                          \
    X(LIMIT_BUNDLES, 1000, "bundles", "bundles of a workspace, those that expire included")                            \
    X(LIMIT_SECRET, 16384, "bytes", "a secret's value")                                                                \
    X(LIMIT_STORAGE_NAME, 128, "bytes", "the name of what is stored")                                                  \
    X(LIMIT_UPLOAD_ID, 64, "bytes", "the id of an upload")                                                             \
    X(LIMIT_STORAGE_PART, 1048576, "bytes", "what is stored with one request (a part of an upload)")                   \
    X(LIMIT_STORAGE_PARTS, 256, "parts", "an upload")                                                                  \
    X(LIMIT_UPLOADS, 16, "uploads", "uploads of parts that a workspace has under way")                                 \
    X(LIMIT_STORAGE_OBJECTS, 10000, "things", "what a workspace stores over HTTP, of each kind")                       \
    X(LIMIT_SECRETS, 1000, "secrets", "secrets of a workspace")                                                        \
    X(LIMIT_SECRET_VERSIONS, 10, "versions", "kept versions of a secret")                                              \
    X(LIMIT_ATTEMPT_SECRETS, 32768, "bytes", "the secrets that one attempt is started with")                           \
    X(LIMIT_DATA_SOURCE, 64, "bytes", "a data source's engine, its name, and a field's name")                          \
    X(LIMIT_SCHEDULES, 1000, "schedules", "schedules of a workspace")                                                  \
    X(LIMIT_WEBHOOKS, 20, "webhooks", "webhooks of a workspace")                                                       \
    X(LIMIT_WEBHOOK_URL, 2048, "bytes", "a webhook's URL")                                                             \
    X(LIMIT_WEBHOOK_AGENTS, 32, "agents", "agents that a webhook names")                                               \
    X(LIMIT_WEBHOOK_RESULT, 65536, "bytes", "a result in a webhook's body (a longer one is left out)")                 \
    X(LIMIT_WEBHOOK_OVERLAP_MS, 604800000, "ms", "how long a webhook's old secret signs too")                          \
    X(LIMIT_DELIVERIES, 1000, "deliveries", "kept deliveries of a webhook that are over")                              \
    X(LIMIT_DELIVERIES_PENDING, 10000, "deliveries",                                                                   \
      "kept deliveries of a webhook in all (then the oldest is dropped)")                                              \
    X(LIMIT_CRON, 256, "bytes", "a cron expression")                                                                   \
    X(LIMIT_EVERY_MIN_MS, 1000, "ms", "the shortest everyMs")                                                          \
    X(LIMIT_EVERY_MS, 31536000000, "ms", "everyMs")                                                                    \
    X(LIMIT_JITTER_MS, 86400000, "ms", "jitterMs")                                                                     \
    X(LIMIT_CATCH_UP, 1000, "ticks", "missed ticks that catchUp all runs")                                             \
    X(LIMIT_KEYS, 10000, "keys", "API keys of a workspace, those that ended in the last 30 days included")             \
    X(LIMIT_SESSIONS, 100, "sessions", "browsers' sessions of an API key (the oldest end)")                            \
    X(LIMIT_KEY_WORDS, 64, "", "scopes, agents, queues or cidrs of an API key")                                        \
    X(LIMIT_KEY_LIFE_MS, 315360000000, "ms", "how far an API key's expiresAt may be ahead")                            \
    X(LIMIT_KEY_OVERLAP_MS, 2592000000, "ms", "how long a rotated key's former secret may stay valid")                 \
    X(LIMIT_WORKSPACES, 10000, "workspaces", "workspaces with settings, in one shard")                                 \
    X(LIMIT_QUEUES, 1000, "queues", "queues with settings, and those of a list")                                       \
    X(LIMIT_PAGE, 200, "records", "a page of a list")                                                                  \
    X(LIMIT_PAGE_EXAMINED, 1000, "records", "records examined for one page")                                           \
    X(LIMIT_TREE, 1000, "runs", "the runs of a tree in one answer")                                                    \
    X(LIMIT_BULK, 1000, "records", "records examined by one call of a bulk action")                                    \
    X(LIMIT_ATTEMPTS, 100, "attempts", "maxAttempts, and attempts kept in a record")                                   \
    X(LIMIT_RUN_TIMEOUT_MS, 604800000, "ms", "timeoutMs")                                                              \
    X(LIMIT_DELAY_MS, 31536000000, "ms", "delayMs, and how far scheduledAt may be ahead")                              \
    X(LIMIT_GRACE_MS, 300000, "ms", "graceMs")                                                                         \
    X(LIMIT_WAIT_S, 300, "s", "?wait=")                                                                                \
    X(LIMIT_LOG_LINES, 1000, "lines", "the log tail")                                                                  \
    X(LIMIT_LOG_BYTES, 65536, "bytes", "the log tail of an attempt")                                                   \
    X(LIMIT_SEQ_JUMP, 4294967296, "", "how far a batch may end above the stored seq")                                  \
    X(LIMIT_CLOCK_AHEAD_MS, 86400000, "ms", "how far tMs may be ahead of Redis' clock")                                \
    X(LIMIT_CONNECTIONS, 20000, "connections", "open client connections of one thread of a node")                      \
    X(LIMIT_HEADER_TIME_MS, 10000, "ms", "time for a request's head to arrive")                                        \
    X(LIMIT_BODY_TIME_MS, 60000, "ms", "time for a request's body to arrive")                                          \
    X(LIMIT_IDLE_TIME_MS, 75000, "ms", "an idle keep-alive connection")                                                \
    X(LIMIT_WRITE_TIME_MS, 30000, "ms", "a client that takes nothing of its answer")                                   \
    X(LIMIT_SLOTS, 1024, "runs", "runs that one runner executes at a time")                                            \
    X(LIMIT_KEY, 256, "bytes", "the key of a concurrencyKey or a rateLimit")                                           \
    X(LIMIT_CONCURRENCY, 1000000, "runs", "a concurrency limit")                                                       \
    X(LIMIT_RATE, 1000000, "runs", "a rate limit, and its burst")                                                      \
    X(LIMIT_RATE_PER_MS, 2678400000, "ms", "the time that a rate limit speaks of")                                     \
    X(LIMIT_DEPENDS, 100, "runs", "dependsOn")                                                                         \
    X(LIMIT_TAGS, 32, "tags", "requires")                                                                              \
    X(LIMIT_TAG, 128, "bytes", "a tag")                                                                                \
    X(LIMIT_REQUIREMENTS, 256, "", "different requirements of waiting runs")                                           \
    X(LIMIT_RETENTION_MS, 315360000000, "ms", "a retention")                                                           \
    X(LIMIT_RETENTION_COUNT, 1000000, "runs", "retentionCount")                                                        \
    X(LIMIT_RETRY_CLASSES, 16, "classes", "retryOn and noRetryOn")                                                     \
    X(LIMIT_AUDIT_ENTRIES, 250000, "entries", "the audit log of a workspace (the oldest go first)")                    \
    X(LIMIT_AUDIT_OBJECT, 256, "bytes", "an object in the audit log (the rest is cut)")                                \
    X(LIMIT_AUDIT_DETAIL, 1024, "bytes", "the detail of an entry of the audit log")                                    \
    X(LIMIT_TOKEN, 16384, "bytes", "a token that is exchanged for a key")                                              \
    X(LIMIT_TOKEN_BODY, 24576, "bytes", "the body of a token exchange")                                                \
    X(LIMIT_TOKEN_AGE_MS, 86400000, "ms", "how long a token that is exchanged may be made for")                        \
    X(LIMIT_CLAIM, 1024, "bytes", "a claim that a trust policy looks at")                                              \
    X(LIMIT_TRUST_POLICIES, 100, "policies", "trust policies of a workspace")                                          \
    X(LIMIT_TRUST_POLICY, 8192, "bytes", "a trust policy")                                                             \
    X(LIMIT_TRUST_TEXT, 512, "bytes", "an issuer, an audience, a pattern of a trust policy")                           \
    X(LIMIT_TRUST_CLAIMS, 16, "claims", "claims that a trust policy names")                                            \
    X(LIMIT_TRUST_PATTERNS, 32, "patterns", "patterns of one claim")                                                   \
    X(LIMIT_TRUST_TTL_MS, 3600000, "ms", "how long a key made from a token is valid")                                  \
    X(LIMIT_JWKS, 262144, "bytes", "an issuer's key set, and its description")                                         \
    X(LIMIT_JWKS_KEYS, 100, "keys", "an issuer's key set")                                                             \
    X(LIMIT_ISSUERS, 64, "issuers", "issuers whose keys one thread of a node holds")                                   \
    X(LIMIT_JWKS_WAITERS, 256, "requests", "requests that wait for the keys of one issuer")                            \
    X(LIMIT_STOP_TREE, 64, "runs", "runs of a tree stopped in one step (the rest follow at once)")

#define LIMIT_ENUM(name, value, unit, what) name = value,
enum limit { LIMIT_TABLE(LIMIT_ENUM) };
#undef LIMIT_ENUM

/* The highest seq an event may have; ids above it close an epoch (the fence). */
#define SEQ_MAX    INT64_C(9007199254739968) /* 2^53 - 1024 */
#define SEQ_CLOSED INT64_C(9007199254740991)
/* Left out behind what is stored after a restart of Redis (lua/include/stream.lua has the same). */
#define SEQ_RESTART_GAP INT64_C(1000000)

#endif
