#include "api/record.h"

#include <stdio.h>

#include "common/limits.h"
#include "common/redis.h"

struct str record_field(const redisReply *flat, const char *name)
{
    return redis_str(redis_field(flat, name));
}

bool record_ended(const redisReply *flat)
{
    struct str s = record_field(flat, "status");
    return str_eqz(s, "success") || str_eqz(s, "error") || str_eqz(s, "stopped");
}

static int64_t number(const redisReply *flat, const char *name)
{
    return redis_int(redis_field(flat, name), 0);
}

static struct str attempt_field(const redisReply *flat, int64_t n, const char *name)
{
    char field[64];
    snprintf(field, sizeof field, "a%lld:%s", (long long)n, name);
    return record_field(flat, field);
}

static int64_t attempt_number(const redisReply *flat, int64_t n, const char *name, int64_t otherwise)
{
    char field[64];
    snprintf(field, sizeof field, "a%lld:%s", (long long)n, name);
    return redis_int(redis_field(flat, field), otherwise);
}

static void raw_opt(struct json_writer *w, const char *key, struct str raw)
{
    if (raw.len > 0)
        json_kv_raw(w, key, raw);
}

static void write_attempt(struct json_writer *w, const redisReply *flat, int64_t n)
{
    json_object_begin(w);
    json_kv_int(w, "n", n);
    json_kv_str(w, "runner", attempt_field(flat, n, "runner"));
    json_kv_str(w, "executor", attempt_field(flat, n, "executor"));
    json_kv_str(w, "status", attempt_field(flat, n, "status"));
    raw_opt(w, "handle", attempt_field(flat, n, "handle"));
    int64_t started = attempt_number(flat, n, "started", 0);
    json_kv_time(w, "startedAt", started ? started : attempt_number(flat, n, "claimed", 0));
    json_kv_time(w, "endedAt", attempt_number(flat, n, "ended", 0));
    if (attempt_field(flat, n, "exit").len > 0)
        json_kv_int(w, "exitCode", attempt_number(flat, n, "exit", 0));
    raw_opt(w, "error", attempt_field(flat, n, "error"));
    raw_opt(w, "resourceStats", attempt_field(flat, n, "stats"));
    json_object_end(w);
}

static void write_attempts(struct json_writer *w, const redisReply *flat)
{
    json_key(w, "attempts");
    json_array_begin(w);
    int64_t last = number(flat, "attempt");
    for (int64_t n = last > LIMIT_ATTEMPTS ? last - LIMIT_ATTEMPTS + 1 : 1; n <= last; n++)
        if (attempt_field(flat, n, "epoch").len > 0)
            write_attempt(w, flat, n);
    json_array_end(w);
}

void record_write(struct json_writer *w, const struct record *r, enum record_form form)
{
    const redisReply *f = r->flat;
    json_object_begin(w);
    json_kv_str(w, "runId", r->run_id);
    json_kv_str(w, "workspaceId", record_field(f, "ws"));
    json_kv_str(w, "agent", record_field(f, "agent"));
    json_kv_int(w, "agentVersion", number(f, "agentVersion"));
    json_kv_str(w, "status", record_field(f, "status"));
    json_kv_str(w, "queue", record_field(f, "queue"));
    json_kv_str(w, "priority", record_field(f, "priority"));
    json_kv_time(w, "createdAt", number(f, "created"));
    json_kv_time(w, "scheduledAt", number(f, "scheduled"));
    json_kv_time(w, "startedAt", number(f, "started"));
    json_kv_time(w, "completedAt", number(f, "completed"));
    if (form == RECORD_WHOLE)
        json_kv_raw(w, "input", record_field(f, "input"));
    if (form != RECORD_SUMMARY)
        raw_opt(w, "result", record_field(f, "result"));
    if (number(f, "resultTruncated"))
        json_kv_bool(w, "resultTruncated", true);
    raw_opt(w, "error", record_field(f, "error"));
    json_kv_int(w, "attempt", number(f, "attempt"));
    json_kv_int(w, "failures", number(f, "failures"));
    json_kv_int(w, "maxAttempts", number(f, "maxAttempts"));
    if (form != RECORD_SUMMARY)
        write_attempts(w, f);
    json_kv_int(w, "lastSeq", r->last_seq);
    json_kv_int(w, "eventCount", r->event_count);
    json_kv_int(w, "eventBytes", r->event_bytes);
    json_kv_str(w, "createdBy", record_field(f, "createdBy"));
    json_kv_str_opt(w, "sessionId", record_field(f, "sessionId"));
    json_kv_str_opt(w, "parentRunId", record_field(f, "parent"));
    json_kv_str_opt(w, "rerunOf", record_field(f, "rerunOf"));
    json_kv_raw(w, "labels", record_field(f, "labels").len ? record_field(f, "labels") : STR("{}"));
    if (form != RECORD_SUMMARY)
        json_kv_raw(w, "schemaWarnings", STR("[]"));
    json_kv_str_opt(w, "traceparent", record_field(f, "traceparent"));
    json_kv_time(w, "stopRequestedAt", number(f, "stopAt"));
    if (number(f, "droppedTo") > 0)
        json_kv_int(w, "droppedTo", number(f, "droppedTo"));
    json_object_end(w);
}
