/* The one error table. A code spans Lua (scripts reply with its wire name), C (enum err), HTTP (status, problem+json `code`) and the docs.
 * Columns: C name, wire code, HTTP status, retryable, sentence (the problem's `title`). lua/gen.py reads this table too. */
#ifndef ERRAND_COMMON_ERR_H
#define ERRAND_COMMON_ERR_H

#include "common/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ERR_TABLE(X)                                                                                                   \
    X(ERR_OK, "ok", 200, false, "Done")                                                                                \
    /* the request as HTTP */                                                                                          \
    X(ERR_BAD_REQUEST, "bad_request", 400, false, "The request is not valid HTTP")                                     \
    X(ERR_INVALID_JSON, "invalid_json", 400, false, "The body is not valid JSON")                                      \
    X(ERR_INVALID_FIELD, "invalid_field", 400, false, "A field has a wrong type or value")                             \
    X(ERR_MISSING_FIELD, "missing_field", 400, false, "A required field is missing")                                   \
    X(ERR_UNKNOWN_FIELD, "unknown_field", 400, false, "A field is not known here")                                     \
    X(ERR_INPUT_INVALID, "input_invalid", 400, false, "The input does not meet the agent's inputSchema")               \
    X(ERR_INVALID_PARAMETER, "invalid_parameter", 400, false, "A query parameter or header has a wrong value")         \
    X(ERR_UNAUTHORIZED, "unauthorized", 401, false, "No valid credentials")                                            \
    X(ERR_FORBIDDEN, "forbidden", 403, false, "The credentials do not allow this")                                     \
    X(ERR_NOT_FOUND, "not_found", 404, false, "Nothing is at this path")                                               \
    X(ERR_RUN_NOT_FOUND, "run_not_found", 404, false, "No such run")                                                   \
    X(ERR_AGENT_NOT_FOUND, "agent_not_found", 404, false, "No such agent")                                             \
    X(ERR_BUNDLE_NOT_FOUND, "bundle_not_found", 404, false, "No such bundle, or it is not complete")                   \
    X(ERR_BUNDLE_INCOMPLETE, "bundle_incomplete", 409, false, "Chunks of the bundle are missing, or were replaced")    \
    X(ERR_BUNDLE_MISMATCH, "bundle_mismatch", 422, false, "The bundle's bytes are not those of its digest")            \
    X(ERR_BUNDLE_IN_USE, "bundle_in_use", 409, false, "An agent, a run or a schedule uses the bundle")                 \
    X(ERR_KEY_NOT_FOUND, "key_not_found", 404, false, "No such key")                                                   \
    X(ERR_KEY_CHANGED, "key_changed", 409, false, "The key was changed meanwhile")                                     \
    X(ERR_METHOD_NOT_ALLOWED, "method_not_allowed", 405, false, "The path does not take this method")                  \
    X(ERR_REQUEST_TIMEOUT, "request_timeout", 408, true, "The request did not arrive in time")                         \
    X(ERR_LENGTH_REQUIRED, "length_required", 411, false, "The body needs a Content-Length")                           \
    X(ERR_BODY_TOO_LARGE, "body_too_large", 413, false, "The body is over the limit")                                  \
    X(ERR_EVENT_TOO_LARGE, "event_too_large", 413, false, "An event is over the limit")                                \
    X(ERR_URI_TOO_LONG, "uri_too_long", 414, false, "The request target is over the limit")                            \
    X(ERR_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415, false, "The Content-Type is not taken here")          \
    X(ERR_EXPECTATION_FAILED, "expectation_failed", 417, false, "The Expect header asks for something unknown")        \
    X(ERR_IDEMPOTENCY_MISMATCH, "idempotency_mismatch", 422, false, "The Idempotency-Key was used with another body")  \
    X(ERR_RUNTIME_NOT_IMPLEMENTED, "runtime_not_implemented", 422, false, "The provider has no runtime here")          \
    X(ERR_HEADERS_TOO_LARGE, "headers_too_large", 431, false, "The header fields are over the limit")                  \
    X(ERR_VERSION_NOT_SUPPORTED, "http_version_not_supported", 505, false, "Only HTTP/1.1 and HTTP/1.0 are spoken")    \
    X(ERR_NOT_SUPPORTED, "not_supported", 501, false, "The transfer coding is not known")                              \
    /* runs */                                                                                                         \
    X(ERR_RUN_ACTIVE, "run_active", 409, false, "The run has not ended")                                               \
    X(ERR_RUN_FAILED, "run_failed", 502, false, "The run ended without success")                                       \
    X(ERR_PARENT_STOPPED, "parent_stopped", 409, false, "The parent run was stopped")                                  \
    X(ERR_DEPENDENCY_NOT_FOUND, "dependency_not_found", 404, false, "A run that it depends on is not there")           \
    X(ERR_DEPENDENCY_CYCLE, "dependency_cycle", 422, false, "Runs would wait for each other")                          \
    X(ERR_DEPENDENCY_REFUSED, "dependency_refused", 422, false, "A run that it depends on was refused")                \
    X(ERR_CONCURRENCY_LIMIT, "concurrency_limit", 409, false, "As many runs of this concurrency key are there as may") \
    X(ERR_NOT_DEAD_LETTER, "not_dead_letter", 409, false, "The run is not a dead letter (any more)")                   \
    X(ERR_RUNNER_NOT_FOUND, "runner_not_found", 404, false, "No such runner")                                          \
    X(ERR_WEBHOOK_NOT_FOUND, "webhook_not_found", 404, false, "No such webhook")                                       \
    X(ERR_DELIVERY_NOT_FOUND, "delivery_not_found", 404, false, "No such delivery")                                    \
    X(ERR_WEBHOOK_DISABLED, "webhook_disabled", 409, false, "The webhook is disabled")                                 \
    X(ERR_SCHEDULE_NOT_FOUND, "schedule_not_found", 404, false, "No such schedule")                                    \
    X(ERR_SCHEDULE_EXISTS, "schedule_exists", 409, false, "A schedule of that name exists")                            \
    X(ERR_SCHEDULE_CHANGED, "schedule_changed", 409, false, "The schedule was changed meanwhile")                      \
    X(ERR_INVALID_TOKEN, "invalid_token", 401, false, "The token is not accepted")                                     \
    X(ERR_TOKEN_USED, "token_used", 401, false, "The token was exchanged before")                                      \
    X(ERR_TRUST_NOT_FOUND, "trust_not_found", 404, false, "No such trust policy")                                      \
    X(ERR_TRUST_CONFLICT, "trust_conflict", 409, false, "Trust policies of one issuer name different keys")            \
    X(ERR_ISSUER_UNAVAILABLE, "issuer_unavailable", 503, true, "The token issuer's keys can't be had")                 \
    X(ERR_SECRET_NOT_FOUND, "secret_not_found", 404, false, "No such secret")                                          \
    X(ERR_SECRET_CHANGED, "secret_changed", 409, false, "The secret was changed meanwhile")                            \
    X(ERR_QUEUE_DRAINING, "queue_draining", 503, true, "The queue takes no new runs")                                  \
    X(ERR_QUOTA_EXCEEDED, "quota_exceeded", 507, true, "The workspace stores as many bytes as it may")                 \
    X(ERR_RATE_LIMITED, "rate_limited", 429, true, "Too many requests")                                                \
    X(ERR_QUEUE_FULL, "queue_full", 503, true, "The queue is full")                                                    \
    X(ERR_REDIS_UNAVAILABLE, "redis_unavailable", 503, true, "Redis can't be reached, or may lose runs (see /readyz)") \
    X(ERR_MEMORY_PRESSURE, "memory_pressure", 503, true, "Redis is nearly full")                                       \
    X(ERR_AUDIT_FULL, "audit_full", 503, true, "The audit log takes no more until it is sealed and trimmed")           \
    X(ERR_OVERLOADED, "overloaded", 503, true, "This node has too many requests open")                                 \
    X(ERR_DRAINING, "draining", 503, true, "This node is shutting down")                                               \
    /* event batches: contract runner-events.md, in its order */                                                       \
    X(ERR_INVALID_ENVELOPE, "invalid_envelope", 400, false, "The batch envelope is not valid")                         \
    X(ERR_VERSION_MISMATCH, "version_mismatch", 400, false, "The batch has a version that is not spoken")              \
    X(ERR_MISSING_RUN_ID, "missing_run_id", 400, false, "The batch names no run, or another")                          \
    X(ERR_EMPTY_BATCH, "empty_batch", 400, false, "The batch has no events")                                           \
    X(ERR_BATCH_TOO_LARGE, "batch_too_large", 400, false, "The batch has too many events")                             \
    X(ERR_INVALID_EVENT, "invalid_event", 400, false, "An event is not valid")                                         \
    X(ERR_SEQ_NOT_MONOTONIC, "seq_not_monotonic", 400, false, "seq does not rise")                                     \
    X(ERR_T_MS_NOT_MONOTONIC, "t_ms_not_monotonic", 400, false, "tMs falls")                                           \
    X(ERR_FENCED, "fenced", 409, false, "This attempt may no longer write")                                            \
    X(ERR_WRONG_SOURCE, "wrong_source", 409, false, "The attempt's events have another source")                        \
    X(ERR_INPUT_CLOSED, "input_closed", 409, false, "This run takes no input")                                         \
    X(ERR_STORAGE_NOT_FOUND, "storage_not_found", 404, false, "Nothing is stored under that name")                     \
    X(ERR_STORAGE_TYPE, "storage_type", 409, false, "What is stored there is no file")                                 \
    X(ERR_STORAGE_PART, "storage_part", 409, false, "A part of the upload is missing")                                 \
    X(ERR_RUN_TERMINAL, "run_terminal", 409, false, "The run has ended")                                               \
    X(ERR_SEQ_CONFLICT, "seq_conflict", 409, false, "seq does not follow what is stored")                              \
    X(ERR_T_MS_CONFLICT, "t_ms_not_monotonic", 409, false, "tMs does not follow what is stored")                       \
    X(ERR_LIMIT_EXCEEDED, "limit_exceeded", 409, false, "A bound on how many may exist is reached")                    \
    X(ERR_NO_MASTER_KEY, "no_master_key", 501, false, "No master key is configured")                                   \
    X(ERR_SEAL_BROKEN, "seal_broken", 500, false, "What is stored under seal was changed, or belongs elsewhere")       \
    /* between runner and Redis; never on HTTP */                                                                      \
    X(ERR_SCHEMA_UNCHECKED, "schema_unchecked", 500, false, "The agent's schema was not looked at")                    \
    X(ERR_INCARNATION_DEAD, "incarnation_dead", 500, false, "This runner incarnation was declared dead")               \
    X(ERR_STALE_CLAIM, "stale_claim", 500, false, "A claim number that was already settled")                           \
    X(ERR_TIMEOUT, "timeout", 504, true, "No answer in time")                                                          \
    X(ERR_CANCELED, "canceled", 503, true, "Given up before it was done")                                              \
    X(ERR_NO_MEMORY, "no_memory", 503, true, "Out of memory")                                                          \
    X(ERR_IO, "io_error", 500, true, "An operating system call failed")                                                \
    X(ERR_CONFIG, "config", 500, false, "The configuration is not valid")                                              \
    X(ERR_INTERNAL, "internal", 500, false, "A fault of this node")

#define ERR_ENUM(name, wire, status, retryable, sentence) name,
enum err { ERR_TABLE(ERR_ENUM) ERR_COUNT };
#undef ERR_ENUM

/* The wire code, as scripts, problem+json and logs spell it. Static. */
const char *err_code(enum err err);
/* The HTTP status it answers with. */
int err_status(enum err err);
/* Whether the same request may succeed later: such answers carry Retry-After. */
bool err_retryable(enum err err);
/* One sentence for people. Static. */
const char *err_sentence(enum err err);
/* The code that a script replied with; ERR_INTERNAL for a word that is not in the table. `t_ms_not_monotonic` gives ERR_T_MS_CONFLICT
 * here, because only what is checked against the store comes from a script. */
enum err err_from_code(struct str code);

#ifdef __cplusplus
}
#endif
#endif
