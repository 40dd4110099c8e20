#include "api/record.h"

#include <stdlib.h>

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
    char field[64] = "a";
    size_t len = 1 + decimal(field + 1, n); /* by hand: a record has a dozen of these */
    field[len++] = ':';
    strncpy(field + len, name, sizeof field - len - 1);
    return record_field(flat, field);
}

/* What stands of an attempt in the record: lua/include/run.lua, at af(). */
static struct str attempt_claim(const redisReply *flat, int64_t n)
{
    char field[32] = "a";
    (void)decimal(field + 1, n);
    return record_field(flat, field);
}

/* What begins with the word at the place `at`, from 0; empty where there are fewer. */
static struct str rest_at(struct str words, int at)
{
    for (; at > 0; at--) {
        const char *space = words.len ? memchr(words.ptr, ' ', words.len) : NULL;
        if (!space)
            return STR_NONE;
        words.len -= (size_t)(space + 1 - words.ptr);
        words.ptr = space + 1;
    }
    return words;
}

/* The word at that place. */
static struct str word_at(struct str words, int at)
{
    struct str rest = rest_at(words, at);
    const char *space = rest.len ? memchr(rest.ptr, ' ', rest.len) : NULL;
    return (struct str){rest.ptr, space ? (size_t)(space - rest.ptr) : rest.len};
}

static int64_t number_at(struct str words, int at)
{
    struct str word = word_at(words, at);
    char text[24] = "";
    if (word.len > 0 && word.len < sizeof text)
        memcpy(text, word.ptr, word.len);
    return strtoll(text, NULL, 10);
}

static void raw_opt(struct json_writer *w, const char *key, struct str raw)
{
    if (raw.len > 0)
        json_kv_raw(w, key, raw);
}

/* The next of the words `NAME@VERSION`. */
static bool next_secret(struct str *list, struct str *ret_word, struct str *ret_name)
{
    const char *space = list->len ? memchr(list->ptr, ' ', list->len) : NULL;
    struct str word = {list->ptr, space ? (size_t)(space - list->ptr) : list->len};
    const char *at = word.len ? memchr(word.ptr, '@', word.len) : NULL;
    if (!at)
        return false;
    list->ptr += word.len + (space ? 1 : 0);
    list->len -= word.len + (space ? 1 : 0);
    *ret_word = word;
    *ret_name = (struct str){word.ptr, (size_t)(at - word.ptr)};
    return true;
}

/* `A@3 B@1` → {"A":3,"B":1}: which versions of which secrets it was started with. Where a name stands a second time, the key has its version. */
static void write_secrets(struct json_writer *w, struct str used)
{
    struct str rest = used, word, name, earlier, other;
    if (used.len == 0)
        return;
    json_key(w, "secrets");
    json_object_begin(w);
    while (next_secret(&rest, &word, &name)) {
        struct str before = {used.ptr, (size_t)(word.ptr - used.ptr)};
        bool seen = false;
        while (!seen && next_secret(&before, &earlier, &other))
            seen = str_eq(other, name);
        json_key_str(w, seen ? word : name);
        json_int(w, strtoll(name.ptr + name.len + 1, NULL, 10));
    }
    json_object_end(w);
}

static void write_attempt(struct json_writer *w, const redisReply *flat, int64_t n)
{
    json_object_begin(w);
    json_kv_int(w, "n", n);
    json_kv_str(w, "runner", rest_at(attempt_claim(flat, n), 4));
    struct str executor = record_field(flat, "executor"); /* its definition's, as that of all its attempts */
    json_kv_str(w, "executor", executor.len ? executor : STR("process"));
    struct str end = attempt_field(flat, n, "end"), later = attempt_field(flat, n, "started");
    bool started = attempt_field(flat, n, "tok").len > 0;
    json_kv_str(w, "status", end.len ? word_at(end, 0) : started ? STR("running") : STR("provisioning"));
    raw_opt(w, "handle", attempt_field(flat, n, "handle"));
    json_kv_time(w, "startedAt",
                 later.len ? number_at(later, 0)
                 : started ? number(flat, "started")
                           : number_at(attempt_claim(flat, n), 2));
    json_kv_time(w, "endedAt", number_at(end, 2));
    if (word_at(end, 3).len > 0)
        json_kv_int(w, "exitCode", number_at(end, 3));
    raw_opt(w, "error", attempt_field(flat, n, "error"));
    raw_opt(w, "resourceStats", attempt_field(flat, n, "stats"));
    write_secrets(w, attempt_field(flat, n, "secrets"));
    json_object_end(w);
}

static void write_attempts(struct json_writer *w, const redisReply *flat)
{
    json_key(w, "attempts");
    json_array_begin(w);
    int64_t last = number(flat, "attempt");
    for (int64_t n = last > LIMIT_ATTEMPTS ? last - LIMIT_ATTEMPTS + 1 : 1; n <= last; n++)
        if (attempt_claim(flat, n).len > 0)
            write_attempt(w, flat, n);
    json_array_end(w);
}

/* `a b` → ["a","b"]. A requirement's own words (`@slots=2`) stand elsewhere in the record. */
static void write_split(struct json_writer *w, const char *key, struct str text)
{
    bool any = false;
    while (text.len > 0) {
        const char *space = memchr(text.ptr, ' ', text.len);
        size_t len = space ? (size_t)(space - text.ptr) : text.len;
        if (len > 0 && *text.ptr != '@') {
            if (!any) {
                json_key(w, key);
                json_array_begin(w);
            }
            json_str(w, (struct str){text.ptr, len});
            any = true;
        }
        text.ptr += len + (space ? 1 : 0);
        text.len -= len + (space ? 1 : 0);
    }
    if (any)
        json_array_end(w);
}

/* The key in a gate's name (`k:user%20a`). Only we write %XX there. */
static void write_gate_key(struct json_writer *w, const char *name, struct str escaped)
{
    char key[LIMIT_KEY + 1];
    size_t n = 0;
    for (size_t i = 0; i < escaped.len && n < sizeof key; i++) {
        bool code = escaped.ptr[i] == '%' && i + 2 < escaped.len;
        key[n++] = code ? (char)(hex_value(escaped.ptr[i + 1]) * 16 + hex_value(escaped.ptr[i + 2])) : escaped.ptr[i];
        i += code ? 2 : 0;
    }
    json_kv_str(w, name, (struct str){key, n});
}

/* A gate's name as what it is a limit of, and its key. */
static void write_gate(struct json_writer *w, struct str gate)
{
    static const char *const kinds[][2] = {{"w", "workspace"}, {"a", "agent"},      {"k", "concurrencyKey"},
                                           {"s", "schedule"},  {"ra", "rateLimit"}, {"rk", "rateLimit"}};
    const char *colon = memchr(gate.ptr, ':', gate.len);
    struct str kind = {gate.ptr, colon ? (size_t)(colon - gate.ptr) : gate.len};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eqz(kind, kinds[i][0]))
            json_kv_str(w, "gate", str_of(kinds[i][1]));
    if (colon)
        write_gate_key(w, str_eqz(kind, "a") || str_eqz(kind, "ra") ? "agent" : "key",
                       (struct str){colon + 1, gate.len - kind.len - 1});
}

/* What a run that does not start waits for. */
static void write_waiting(struct json_writer *w, const redisReply *f)
{
    struct str gate = record_field(f, "waitGate"), runner = record_field(f, "waitingFor");
    if (record_field(f, "depsLeft").len > 0) {
        json_key(w, "waitingFor");
        json_object_begin(w);
        write_split(w, "dependencies", record_field(f, "deps"));
        json_object_end(w);
    } else if (gate.len > 0) {
        json_key(w, "waitingFor");
        json_object_begin(w);
        write_gate(w, gate);
        json_object_end(w);
    } else if (runner.len > 0) {
        json_kv_raw(w, "waitingFor", runner);
    }
}

/* What the submission asked for beyond the plain run, where it did. */
static void write_policies(struct json_writer *w, const redisReply *f)
{
    struct str gates = record_field(f, "gates");
    write_split(w, "dependsOn", record_field(f, "deps"));
    write_split(w, "requires", record_field(f, "reqText"));
    if (number(f, "slots") > 0)
        json_kv_int(w, "slots", number(f, "slots"));
    const char *space = str_starts(gates, STR("s:")) ? memchr(gates.ptr, ' ', gates.len) : NULL;
    if (space) /* a schedule's gate stands before the key's */
        gates = (struct str){space + 1, gates.len - (size_t)(space + 1 - gates.ptr)};
    if (str_starts(gates, STR("k:"))) {
        const char *equals = memchr(gates.ptr, '=', gates.len);
        json_key(w, "concurrencyKey");
        json_object_begin(w);
        write_gate_key(w, "key", (struct str){gates.ptr + 2, equals ? (size_t)(equals - gates.ptr) - 2 : 0});
        json_kv_int(w, "limit", equals ? strtoll(equals + 1, NULL, 10) : 1);
        json_object_end(w);
    }
    json_kv_time(w, "expiresAt", number(f, "startBy"));
    json_kv_str_opt(w, "scheduleName", record_field(f, "schedule"));
    if (number(f, "deadLetter"))
        json_kv_bool(w, "deadLetter", true);
    json_kv_str_opt(w, "redrivenAs", record_field(f, "redrivenAs"));
    if (number(f, "resultDropped"))
        json_kv_bool(w, "resultDropped", true);
}

static void write_members(struct json_writer *w, const struct record *r, enum record_form form)
{
    const redisReply *f = r->flat;
    json_kv_str(w, "runId", r->run_id);
    json_kv_str(w, "workspaceId", record_field(f, "ws"));
    json_kv_str(w, "agent", record_field(f, "agent"));
    json_kv_int(w, "agentVersion", number(f, "agentVersion"));
    json_kv_str(w, "status", record_field(f, "status"));
    json_kv_str(w, "queue", record_field(f, "queue"));
    json_kv_str(w, "priority", record_field(f, "priority").len ? record_field(f, "priority") : STR("normal"));
    json_kv_time(w, "createdAt", number(f, "createdUs") / 1000);
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
        json_kv_raw(w, "schemaWarnings",
                    record_field(f, "schemaWarnings").len ? record_field(f, "schemaWarnings") : STR("[]"));
    write_waiting(w, f);
    if (record_field(f, "asked").len > 0 && number(f, "inputLast") <= number(f, "asked"))
        json_kv_bool(w, "waitingForInput", true);
    write_policies(w, f);
    json_kv_str_opt(w, "traceparent", record_field(f, "traceparent"));
    json_kv_str_opt(w, "webhook", record_field(f, "hook"));
    json_kv_time(w, "stopRequestedAt", number(f, "stopAt"));
    if (number(f, "droppedTo") > 0)
        json_kv_int(w, "droppedTo", number(f, "droppedTo"));
}

void record_write(struct json_writer *w, const struct record *r, enum record_form form)
{
    json_object_begin(w);
    write_members(w, r, form);
    json_object_end(w);
}

void record_write_hook(struct json_writer *w, const struct record *r, struct str event)
{
    json_object_begin(w);
    write_members(w, r, RECORD_SUMMARY);
    raw_opt(w, "result", record_field(r->flat, "result"));
    if (number(r->flat, "resultOmitted"))
        json_kv_bool(w, "resultOmitted", true);
    raw_opt(w, "event", event);
    json_object_end(w);
}

void record_write_node(struct json_writer *w, const struct record *r, int64_t depth)
{
    json_object_begin(w);
    write_members(w, r, RECORD_SUMMARY);
    json_kv_int(w, "depth", depth);
    json_object_end(w);
}
