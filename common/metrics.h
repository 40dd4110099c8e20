/* Counters, gauges and histograms, exposed as Prometheus text. Each thread adds to its own block (no locks, relaxed atomics); the exposition sums them.
 * The metrics are one X-macro table here, so that names, types and help stand together and docs can be checked against it. */
#ifndef ERRAND_COMMON_METRICS_H
#define ERRAND_COMMON_METRICS_H

#include "common/strbuf.h"

/* X(enum, type, name, labels or "", help) — type: counter, gauge, histogram (seconds). Names end as promtool wants: _total, _seconds, _bytes. */
#define METRIC_TABLE(X)                                                                                                \
    X(METRIC_HTTP_REQUESTS_2XX, counter, "errand_http_requests_total", "code=\"2xx\"", "HTTP requests answered.")      \
    X(METRIC_HTTP_REQUESTS_3XX, counter, "errand_http_requests_total", "code=\"3xx\"", "HTTP requests answered.")      \
    X(METRIC_HTTP_REQUESTS_4XX, counter, "errand_http_requests_total", "code=\"4xx\"", "HTTP requests answered.")      \
    X(METRIC_HTTP_REQUESTS_5XX, counter, "errand_http_requests_total", "code=\"5xx\"", "HTTP requests answered.")      \
    X(METRIC_HTTP_SECONDS, histogram, "errand_http_request_duration_seconds", "",                                      \
      "Time from a request's last byte to its answer's first.")                                                        \
    X(METRIC_HTTP_CONNECTIONS, gauge, "errand_http_connections", "", "Open client connections.")                       \
    X(METRIC_HTTP_REFUSED, counter, "errand_http_refused_total", "",                                                   \
      "Connections refused or cut for breaking HTTP or a bound.")                                                      \
    X(METRIC_AUTH_FAILED, counter, "errand_auth_failures_total", "reason=\"unauthorized\"",                            \
      "Requests refused for their credentials.")                                                                       \
    X(METRIC_AUTH_FORBIDDEN, counter, "errand_auth_failures_total", "reason=\"forbidden\"",                            \
      "Requests refused for their credentials.")                                                                       \
    X(METRIC_AUTH_LIMITED, counter, "errand_auth_failures_total", "reason=\"rate_limited\"",                           \
      "Requests refused for their credentials.")                                                                       \
    X(METRIC_RUNS_SUBMITTED, counter, "errand_runs_submitted_total", "", "Runs accepted.")                             \
    X(METRIC_RUNS_REFUSED, counter, "errand_runs_refused_total", "", "Runs refused.")                                  \
    X(METRIC_EVENTS_INGESTED, counter, "errand_events_ingested_total", "", "Events accepted over HTTP.")               \
    X(METRIC_READERS, gauge, "errand_stream_readers", "", "Readers of event streams.")                                 \
    X(METRIC_READERS_CUT, counter, "errand_stream_readers_cut_total", "",                                              \
      "Readers cut because they could not keep up.")                                                                   \
    X(METRIC_FRAMES, counter, "errand_stream_frames_total", "", "Event frames sent to readers.")                       \
    X(METRIC_STREAM_READS, counter, "errand_stream_reads_total", "", "Reads of event streams from Redis.")             \
    X(METRIC_REDIS_COMMANDS, counter, "errand_redis_commands_total", "", "Commands sent to Redis.")                    \
    X(METRIC_REDIS_ERRORS, counter, "errand_redis_errors_total", "",                                                   \
      "Commands that Redis did not answer, or refused.")                                                               \
    X(METRIC_REDIS_RECONNECTS, counter, "errand_redis_reconnects_total", "", "Connections to Redis made again.")       \
    X(METRIC_REDIS_SECONDS, histogram, "errand_redis_command_duration_seconds", "",                                    \
      "Time from a command to its answer.")                                                                            \
    X(METRIC_SLOTS, gauge, "errand_runner_slots", "", "Runs this runner can execute at a time.")                       \
    X(METRIC_SLOTS_BUSY, gauge, "errand_runner_slots_busy", "", "Runs this runner executes.")                          \
    X(METRIC_CLAIMS, counter, "errand_runner_claims_total", "", "Attempts claimed.")                                   \
    X(METRIC_ATTEMPTS_OK, counter, "errand_runner_attempts_total", "outcome=\"success\"", "Attempts ended.")           \
    X(METRIC_ATTEMPTS_ERROR, counter, "errand_runner_attempts_total", "outcome=\"error\"", "Attempts ended.")          \
    X(METRIC_ATTEMPTS_STOPPED, counter, "errand_runner_attempts_total", "outcome=\"stopped\"", "Attempts ended.")      \
    X(METRIC_ATTEMPTS_FENCED, counter, "errand_runner_attempts_total", "outcome=\"fenced\"", "Attempts ended.")        \
    X(METRIC_ATTEMPTS_HANDED_BACK, counter, "errand_runner_attempts_total", "outcome=\"handed_back\"",                 \
      "Attempts ended.")                                                                                               \
    X(METRIC_EVENTS_APPENDED, counter, "errand_runner_events_total", "", "Events appended by this runner.")            \
    X(METRIC_APPENDS, counter, "errand_runner_appends_total", "", "Batches appended by this runner.")                  \
    X(METRIC_OUTPUT_PAUSES, counter, "errand_runner_output_pauses_total", "",                                          \
      "Times an agent's output was not read because Redis was slow.")                                                  \
    X(METRIC_START_SECONDS, histogram, "errand_runner_start_duration_seconds", "",                                     \
      "Time from a claim's answer to the agent's process.")                                                            \
    X(METRIC_REAPED, counter, "errand_runs_reaped_total", "", "Runs taken back from lost runners by this node.")       \
    X(METRIC_SWEPT, counter, "errand_runs_swept_total", "", "Runs removed after their retention by this node.")        \
    X(METRIC_REDACTION_UNDECIDED, counter, "errand_redaction_undecided_total", "",                                     \
      "Texts that were replaced whole because redaction could not decide.")                                            \
    X(METRIC_TICKS, counter, "errand_schedule_ticks_total", "", "Ticks of schedules that this node took.")             \
    X(METRIC_AUDIT_ENTRIES, counter, "errand_audit_entries_total", "", "Entries written to audit logs.")               \
    X(METRIC_AUDIT_FAILED, counter, "errand_audit_failed_total", "", "Entries of audit logs that were not written.")   \
    X(METRIC_AUDIT_SEALED, counter, "errand_audit_sealed_total", "", "Entries of audit logs sealed by this node.")     \
    X(METRIC_AUDIT_TRIMMED, counter, "errand_audit_trimmed_total", "", "Entries of audit logs removed by this node.")  \
    X(METRIC_AUDIT_DROPPED, counter, "errand_audit_dropped_total", "",                                                 \
      "Refused requests that no audit log has because there were too many.")                                           \
    X(METRIC_HOOKS_DELIVERED, counter, "errand_webhook_attempts_total", "outcome=\"delivered\"",                       \
      "Attempts to deliver to webhooks.")                                                                              \
    X(METRIC_HOOKS_FAILED, counter, "errand_webhook_attempts_total", "outcome=\"failed\"",                             \
      "Attempts to deliver to webhooks.")

#define METRIC_ENUM(id, type, name, labels, help) id,
enum metric { METRIC_TABLE(METRIC_ENUM) METRIC_COUNT };
#undef METRIC_ENUM

/* Counters and gauges. Any thread. */
void metric_add(enum metric m, int64_t delta);
/* Histograms. Any thread. */
void metric_observe_us(enum metric m, int64_t us);
/* The sum over all threads. */
int64_t metric_value(enum metric m);
/* Prometheus text format 0.0.4. Also process_resident_memory_bytes, process_cpu_seconds_total and errand_build_info{version,component}. */
void metrics_write(struct strbuf *out, const char *component);

#endif
