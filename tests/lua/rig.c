#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "common/event.h"
#include "common/id.h"
#include "common/strbuf.h"
#include "lua/scripts_sync.h"

static const char *or_else(const char *s, const char *otherwise)
{
    return s ? s : otherwise;
}

struct harness_call *rig_begin_submit(struct harness *h, const struct rig_run *o)
{
    static const struct rig_run none;
    o = o ? o : &none;
    struct id id = id_new_run(0);
    const char *base = or_else(o->backoff_base, "10");
    const struct str def[] = {S("json"),           S("{\"name\":\"t\"}"),
                              S("queue"),          S("default"),
                              S("timeoutMs"),      S("1000"),
                              S("graceMs"),        S("100"),
                              S("maxAttempts"),    S("1"),
                              S("atMostOnce"),     S(o->at_most_once ? "1" : "0"),
                              S("backoffType"),    S(or_else(o->backoff_type, "fixed")),
                              S("backoffBaseMs"),  S(base),
                              S("backoffCapMs"),   S(harness_printf(h, "%s00", base)),
                              S("source"),         S(or_else(o->source, "stdout")),
                              S("executor"),       S("process"),
                              S("concurrency"),    S(or_else(o->concurrency, "")),
                              S("rate"),           S(or_else(o->rate, "")),
                              S("slots"),          S(or_else(o->slots, "")),
                              S("retryOn"),        S(or_else(o->retry_on, "")),
                              S("noRetryOn"),      S(or_else(o->no_retry_on, "")),
                              S("retainCount"),    S(or_else(o->retain_count, "")),
                              S("retainEventsMs"), S(or_else(o->retain_events, ""))};
    const char *digest = harness_printf(h, "digest-%d-%s", o->at_most_once, or_else(o->source, "stdout"));
    for (size_t i = 12; i < ARRAY_LEN(def); i += 2)
        if (i != 18 && i != 20 && def[i + 1].len > 0 && !str_eqz(def[i + 1], "fixed") && !str_eqz(def[i + 1], "10") &&
            !str_eqz(def[i + 1], "1000"))
            digest = harness_printf(h, "%s-%zu%.*s", digest, i, STR_ARG(def[i + 1]));
    const struct str gates[] = {S(o->key_gate ? o->key_gate : o->rate_gate), S(o->rate_gate)}, tag = S(o->requires);
    struct str depends[4];
    size_t depends_len = 0;
    while (depends_len < 4 && o->depends[depends_len]) {
        depends[depends_len] = S(o->depends[depends_len]);
        depends_len++;
    }
    const struct str fields[] = {S("input"), S("{\"a\":1}"), S("createdBy"),
                                 S("root"),  S("labels"),    S("{\"team\":\"x\"}")};
    struct script_submit_args args = {.run = S(id.s),
                                      .ws = S(or_else(o->ws, "default")),
                                      .idem_key = S(or_else(o->idem_key, "")),
                                      .idem_digest = S(or_else(o->idem_digest, "d1")),
                                      .agent = S(or_else(o->agent, "t")),
                                      .def_digest = o->agent ? S("") : S(digest),
                                      .def_fields = o->agent ? NULL : def,
                                      .def_fields_len = o->agent ? 0 : ARRAY_LEN(def),
                                      .queue = S(or_else(o->queue, "")),
                                      .priority = S(or_else(o->priority, "normal")),
                                      .delay_ms = o->delay_ms,
                                      .max_attempts = o->max_attempts,
                                      .parent = S(or_else(o->parent, "")),
                                      .on_limit = S(or_else(o->on_limit, "queue")),
                                      .on_dep_fail = S(or_else(o->on_dep_fail, "fail")),
                                      .start_within_ms = o->start_within_ms,
                                      .gates = gates,
                                      .gates_len = (size_t)(o->key_gate != NULL) + (size_t)(o->rate_gate != NULL),
                                      .depends = depends,
                                      .depends_len = depends_len,
                                      .requires = &tag,
                                      .requires_len = o->requires != NULL,
                                      .retention_ms = RETAIN,
                                      .fields = fields,
                                      .fields_len = ARRAY_LEN(fields),
                                      .queue_max = o->queue_max ? o->queue_max : 1000000,
                                      .rid = S(RID),
                                      .redrive = S(or_else(o->redrive, ""))};
    struct harness_call *call = harness_call_new(h, "submit");
    script_call_submit(h->redis, h->prefix, &args, sync_on_submit, call);
    assert_false(call->done); /* never from inside the call */
    return call;
}

const void *rig_answer(struct harness_call *call)
{
    return call->done ? call->reply : harness_call_wait(call);
}

const char *rig_submitted(struct harness *h, struct harness_call *call, enum err *ret_err)
{
    const struct script_submit_reply *reply = rig_answer(call);
    *ret_err = call->err;
    return *ret_err ? NULL : harness_printf(h, "%.*s", STR_ARG(reply->run));
}

const char *rig_try_submit(struct harness *h, const struct rig_run *o, enum err *ret_err)
{
    return rig_submitted(h, rig_begin_submit(h, o), ret_err);
}

const char *rig_submit(struct harness *h, const struct rig_run *o)
{
    enum err err;
    const char *run = rig_try_submit(h, o, &err);
    harness_assert_err(err, ERR_OK);
    return run;
}

void rig_register(struct harness *h, const char *inc)
{
    const struct str fields[] = {S("name"),   S(inc),       S("slots"),     S("8"),
                                 S("queues"), S("default"), S("executors"), S("process")};
    struct script_register_args args = {
        .inc = S(inc), .fields = fields, .fields_len = ARRAY_LEN(fields), .lease_ms = LEASE};
    harness_assert_err(sync_register(h, &args, NULL), ERR_OK);
}

enum err rig_try_claim(struct harness *h, const char *inc, int64_t number, int64_t max,
                       const struct script_claim_reply **ret_reply)
{
    const struct str queues[] = {S("default")};
    struct script_claim_args args = {
        .inc = S(inc), .claim_no = number, .max = max, .rid = S(RID), .queues = queues, .queues_len = 1};
    return sync_claim(h, &args, ret_reply);
}

const struct script_claim_reply *rig_claim(struct harness *h, const char *inc, int64_t number, int64_t max)
{
    const struct script_claim_reply *reply;
    harness_assert_err(rig_try_claim(h, inc, number, max, &reply), ERR_OK);
    return reply;
}

struct harness_call *rig_begin_started(struct harness *h, const char *inc, const struct script_claim_runs *row)
{
    struct strbuf line;
    strbuf_init(&line, 4096);
    event_write(&line, row->first_seq, row->last_t_ms + 1, EVENT_RUNTIME_STARTED, STR("{\"attempt\":1}"));
    struct script_started_args args = {
        .inc = S(inc),
        .run = row->run,
        .epoch = row->epoch,
        .attempt = row->attempt,
        .seq = row->first_seq,
        .head = S(harness_printf(h, "%lld,%lld,%lld,1,%lld,%lld", (long long)row->first_seq, (long long)row->first_seq,
                                 (long long)row->last_t_ms + 1, (long long)row->event_count + 1,
                                 (long long)row->event_bytes + (long long)line.len)),
        .event = strbuf_str(&line),
        .token_sha = S("sha"),
        .handle = S("{\"pid\":\"1\"}")};
    struct harness_call *call = harness_call_new(h, "started");
    script_call_started(h->redis, h->prefix, &args, sync_on_started, call);
    assert_false(call->done); /* never from inside the call */
    strbuf_done(&line);
    return call;
}

enum err rig_started(struct harness *h, const char *inc, const struct script_claim_runs *row)
{
    struct harness_call *call = rig_begin_started(h, inc, row);
    rig_answer(call);
    return call->err;
}

bool rig_append(struct harness *h, const struct script_claim_runs *row, int64_t seq)
{
    const redisReply *r = harness_try(
        h, "XADD %s NOMKSTREAM %s h %s,%s,5,1,%s,9 b %s", harness_key(h, "run:%.*s:events", STR_ARG(row->run)),
        harness_printf(h, "%lld-%lld", (long long)row->epoch, (long long)seq),
        harness_printf(h, "%lld", (long long)seq), harness_printf(h, "%lld", (long long)seq),
        harness_printf(h, "%lld", (long long)seq),
        harness_printf(h, "{\"seq\":%lld,\"tMs\":5,\"kind\":\"notification\",\"data\":{}}", (long long)seq));
    return r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS;
}

struct harness_call *rig_begin_finish(struct harness *h, const char *inc, const struct script_claim_runs *row,
                                      const char *outcome, int64_t retry_ms)
{
    bool error = strcmp(outcome, "error") == 0;
    struct script_finish_args args = {
        .inc = S(inc),
        .run = row->run,
        .epoch = row->epoch,
        .attempt = row->attempt,
        .outcome = S(outcome),
        .error_json = error ? S("{\"class\":\"exit_nonzero\",\"message\":\"exit status 1\"}") : S(""),
        .result = error ? S("") : S("42"),
        .exit_code = error ? S("1") : S("0"),
        .retry = error ? S(harness_printf(h, "%lld", (long long)retry_ms)) : S(""),
        .rid = S(RID),
        .retention_ms = RETAIN};
    struct harness_call *call = harness_call_new(h, "finish");
    script_call_finish(h->redis, h->prefix, &args, sync_on_finish, call);
    assert_false(call->done); /* never from inside the call */
    return call;
}

enum err rig_finish(struct harness *h, const char *inc, const struct script_claim_runs *row, const char *outcome,
                    int64_t retry_ms, const struct script_finish_reply **ret_reply)
{
    struct harness_call *call = rig_begin_finish(h, inc, row, outcome, retry_ms);
    const void *reply = rig_answer(call);
    if (ret_reply)
        *ret_reply = reply;
    return call->err;
}

const struct script_claim_runs *rig_execute(struct harness *h, const char *inc, int64_t number)
{
    const struct script_claim_reply *reply = rig_claim(h, inc, number, 1);
    assert_int_equal(reply->runs_len, 1);
    harness_assert_err(rig_started(h, inc, &reply->runs[0]), ERR_OK);
    return &reply->runs[0];
}

enum err rig_heartbeat(struct harness *h, const char *inc, int64_t answered,
                       const struct script_claim_runs *const *held, size_t n,
                       const struct script_heartbeat_reply **ret_reply)
{
    struct script_heartbeat_held rows[16];
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct script_heartbeat_held){held[i]->run, held[i]->epoch};
    struct script_heartbeat_args args = {.inc = S(inc),
                                         .lease_ms = LEASE,
                                         .answered = answered,
                                         .busy = (int64_t)n,
                                         .rid = S(RID),
                                         .retention_ms = RETAIN,
                                         .max_losses = LOSSES,
                                         .held = rows,
                                         .held_len = n};
    return sync_heartbeat(h, &args, ret_reply);
}

enum err rig_stop(struct harness *h, const char *run)
{
    struct script_stop_args args = {
        .ws = S("default"), .run = S(run), .max = 100, .rid = S(RID), .retention_ms = RETAIN};
    return sync_stop(h, &args, NULL);
}

void rig_expire(struct harness *h, const char *inc)
{
    harness_do(h, "ZADD %s 1 %s", harness_key(h, "leases"), inc);
    harness_do(h, "HSET %s tick %s until 0", harness_key(h, "reap"),
               harness_printf(h, "%lld", (long long)harness_now_ms(h)));
}

const struct script_reap_reply *rig_reap(struct harness *h, int64_t max)
{
    struct script_reap_args args = {
        .lease_ms = LEASE, .max = max, .max_losses = LOSSES, .rid = S(RID), .retention_ms = RETAIN};
    const struct script_reap_reply *reply;
    harness_assert_err(sync_reap(h, &args, &reply), ERR_OK);
    return reply;
}

/* ---- looking ---- */

/* What an attempt's fields say that hold more than one thing (lua/include/run.lua, at af()), as if each were a field; NULL for another name. */
static const char *of_attempt(struct harness *h, const char *run, const char *field)
{
    static const struct {
        const char *name, *of;
        int at;
    } parts[] = {{"epoch", "", 0},     {"first", "", 1},      {"claimed", "", 2},
                 {"claimNo", "", 3},   {"status", ":end", 0}, {"by", ":end", 1},
                 {"ended", ":end", 2}, {"exit", ":end", 3},   {"runner", "", 4}};
    const char *colon = strchr(field, ':'), *key = harness_key(h, "run:%s", run);
    for (size_t i = 0; i < ARRAY_LEN(parts) && colon; i++) {
        if (strcmp(colon + 1, parts[i].name) != 0)
            continue;
        const char *n = harness_printf(h, "%.*s", (int)(colon - field), field);
        const char *value = harness_hget(h, key, harness_printf(h, "%s%s", n, parts[i].of));
        bool claimed = harness_hget(h, key, n) != NULL;
        if (!value && parts[i].at == 0 && claimed)
            return harness_hget(h, key, harness_printf(h, "%s:tok", n)) ? "running" : "provisioning";
        for (int at = parts[i].at; value && at > 0; at--)
            value = strchr(value, ' ') ? strchr(value, ' ') + 1 : NULL;
        return value ? harness_printf(h, "%.*s", (int)strcspn(value, " "), value) : "";
    }
    return NULL;
}

/* The same for the field `made`, where the record has no field of that name. */
static const char *of_made(struct harness *h, const char *run, const char *field)
{
    static const char *const parts[] = {"createdUs", "size", "agentVersion", "rid"};
    const char *key = harness_key(h, "run:%s", run), *made = harness_hget(h, key, "made");
    for (size_t i = 0; i < ARRAY_LEN(parts) && made; i++) {
        if (strcmp(field, parts[i]) == 0)
            return harness_hget(h, key, field) ? NULL : harness_printf(h, "%.*s", (int)strcspn(made, " "), made);
        made = strchr(made, ' ') ? strchr(made, ' ') + 1 : NULL;
    }
    return NULL;
}

/* The same of what an ended run's field `tail` holds (lua/include/stream.lua). */
static const char *of_tail(struct harness *h, const char *run, const char *field)
{
    static const char *const parts[] = {"", "lastSeq", "lastT", "", "eventCount", "eventBytes"};
    const char *value = harness_hget(h, harness_key(h, "run:%s", run), "tail");
    for (size_t i = 0; i < ARRAY_LEN(parts) && value; i++) {
        if (strcmp(field, parts[i]) == 0)
            return harness_printf(h, "%.*s", (int)strcspn(value, ","), value);
        value = strchr(value, ',') ? strchr(value, ',') + 1 : NULL;
    }
    return NULL;
}

const char *rig_field(struct harness *h, const char *run, const char *field)
{
    const char *part = of_attempt(h, run, field);
    if (!part)
        part = of_tail(h, run, field);
    if (part)
        return part;
    part = of_made(h, run, field);
    if (part)
        return part;
    static const char *const absent[][2] = {
        /* lua/include/run.lua: DEFAULTS */
        {"attempt", "0"},       {"failures", "0"},    {"losses", "0"},         {"epoch", "0"},      {"req", "-"},
        {"priority", "normal"}, {"source", "stdout"}, {"executor", "process"}, {"queue", "default"}};
    const char *value = harness_hget(h, harness_key(h, "run:%s", run), field);
    for (size_t i = 0; i < ARRAY_LEN(absent) && !value; i++)
        value = strcmp(absent[i][0], field) == 0 ? absent[i][1] : NULL;
    return value ? value : "";
}

void rig_assert_status(struct harness *h, const char *run, const char *status)
{
    assert_string_equal(rig_field(h, run, "status"), status);
}

const char *rig_kinds(struct harness *h, const char *run)
{
    const redisReply *entries = harness_xrange(h, harness_key(h, "run:%s:events", run));
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    for (size_t i = 0; i < entries->elements; i++) {
        struct event_head head;
        assert_int_equal(event_peek(S(harness_entry(h, entries, i, "b")), &head), ERR_OK);
        strbuf_addf(&out, "%s ", event_kind_name(head.kind));
    }
    const char *text = harness_printf(h, "%.*s", (int)out.len, out.len ? out.ptr : "");
    strbuf_done(&out);
    return text;
}

static int by_name(const void *a, const void *b)
{
    const redisReply *const *x = a, *const *y = b;
    return strcmp((*x)->str, (*y)->str);
}

/* A hash has no order of its own. */
static void dump_hash(struct strbuf *out, const redisReply *r)
{
    struct {
        const redisReply *name, *value;
    } pairs[512];
    size_t n = r->elements / 2 < 512 ? r->elements / 2 : 512;
    for (size_t i = 0; i < n; i++) {
        pairs[i].name = r->element[2 * i];
        pairs[i].value = r->element[2 * i + 1];
    }
    qsort(pairs, n, sizeof pairs[0], by_name);
    for (size_t i = 0; i < n; i++)
        strbuf_addf(out, "%s %.*s ", pairs[i].name->str, (int)pairs[i].value->len, pairs[i].value->str);
}

static void dump_reply(struct strbuf *out, const redisReply *r)
{
    if (r->type == REDIS_REPLY_INTEGER)
        strbuf_addf(out, "%lld ", r->integer);
    else if (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS)
        strbuf_addf(out, "%.*s ", (int)r->len, r->str);
    for (size_t i = 0; i < r->elements; i++)
        dump_reply(out, r->element[i]);
}

const char *rig_dump(struct harness *h)
{
    struct strbuf out;
    strbuf_init(&out, 16 << 20);
    const char *names = harness_keys(h, "*");
    for (const char *at = names; *at;) {
        size_t len = strcspn(at, "\n");
        const char *key = harness_printf(h, "%.*s", (int)len, at), *type = harness_do(h, "TYPE %s", key)->str;
        strbuf_addf(&out, "%s %s ", key, type);
        const char *command = strcmp(type, "hash") == 0     ? "HGETALL %s"
                              : strcmp(type, "zset") == 0   ? "ZRANGE %s 0 -1 WITHSCORES"
                              : strcmp(type, "stream") == 0 ? "XRANGE %s - +"
                              : strcmp(type, "list") == 0   ? "LRANGE %s 0 -1"
                              : strcmp(type, "set") == 0    ? "SMEMBERS %s"
                                                            : "GET %s";
        if (strcmp(type, "hash") == 0)
            dump_hash(&out, harness_do(h, command, key));
        else
            dump_reply(&out, harness_do(h, command, key));
        if (strcmp(type, "stream") == 0)
            dump_reply(&out, harness_do(h, "XINFO STREAM %s", key)); /* the last id, too */
        strbuf_addc(&out, '\n');
        at += len + (at[len] == '\n');
    }
    const char *text = harness_printf(h, "%.*s", (int)out.len, out.len ? out.ptr : "");
    strbuf_done(&out);
    return text;
}
