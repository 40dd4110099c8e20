/* Schedules: what is asked is checked here, and its next tick worked out from Redis' time; what runs them is common/ticker.c. */
#include <stdlib.h>

#include "api/audit.h"
#include "api/handlers.h"
#include "api/input_check.h"
#include "api/record.h"
#include "api/schedule_body.h"
#include "api/submit.h"

enum { TRIES = 3 }; /* when somebody else changes the same schedule meanwhile */

static int64_t number(const redisReply *flat, const char *name)
{
    return redis_int(redis_field(flat, name), 0);
}

static void write_schedule(struct json_writer *w, struct str name, const redisReply *flat)
{
    bool cron = record_field(flat, "cron").len > 0;
    json_object_begin(w);
    json_kv_str(w, "name", name);
    json_kv_str_opt(w, "cron", record_field(flat, "cron"));
    if (cron)
        json_kv_str(w, "timeZone", record_field(flat, "timeZone"));
    else
        json_kv_int(w, "everyMs", number(flat, "everyMs"));
    json_kv_int(w, "jitterMs", number(flat, "jitterMs"));
    json_kv_time(w, "startAt", number(flat, "startMs"));
    json_kv_time(w, "endAt", number(flat, "endMs"));
    json_kv_str(w, "overlap", record_field(flat, "overlap"));
    json_kv_str(w, "catchUp", record_field(flat, "catchUp"));
    json_kv_bool(w, "paused", number(flat, "paused") == 1);
    if (record_field(flat, "run").len > 0)
        json_kv_raw(w, "run", record_field(flat, "run"));
    json_kv_time(w, "createdAt", number(flat, "created"));
    json_kv_time(w, "updatedAt", number(flat, "updated"));
    json_kv_time(w, "nextAt", number(flat, "next"));
    json_kv_time(w, "lastAt", number(flat, "last"));
    json_kv_str_opt(w, "lastRunId", record_field(flat, "lastRun"));
    json_kv_int(w, "runs", number(flat, "runs"));
    json_kv_int(w, "skipped", number(flat, "skipped"));
    json_kv_str_opt(w, "lastError", record_field(flat, "lastError"));
    json_object_end(w);
}

static void answer(struct call *c, int status, struct str name, const redisReply *flat)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4 << 20);
    json_writer_init(&w, &out);
    write_schedule(&w, name, flat);
    call_json(c, status, &out);
}

/* ---- put: what is there, its next tick, then the change; once more when another change came between ---- */

struct put_call {
    struct call *call;
    struct schedule_body body;
    bool create;
    int tries, schema_tries;
    struct str checked; /* as submit's */
};

static void put_begin(struct put_call *p);

static void on_put(void *ctx, enum err err, const struct script_schedule_put_reply *reply)
{
    struct put_call *p = ctx;
    struct call *c = p->call;
    struct str faults;
    if (err == ERR_SCHEMA_UNCHECKED && reply && ++p->schema_tries < SCHEMA_TRIES) {
        p->checked = arena_str(&c->req->arena, reply->def);
        if (input_check(c, p->body.run.agent, p->checked, reply->schema, p->body.run.input, &faults))
            put_begin(p);
        else
            input_refuse(c, faults);
    } else if (err == ERR_SCHEDULE_CHANGED && ++p->tries < TRIES) {
        put_begin(p);
    } else if (err) {
        call_problem(c, err == ERR_SCHEMA_UNCHECKED ? ERR_OVERLOADED : err, /* an agent that never stays the same */
                     err == ERR_LIMIT_EXCEEDED    ? "this workspace has as many schedules as it may; delete one first"
                     : err == ERR_SCHEDULE_EXISTS ? "PUT /v1/schedules/{name} replaces it"
                                                  : submit_detail(err));
    } else {
        if (reply->created)
            http_reply_header(c->req, "Location", str_of(call_text(c, "/v1/schedules/%.*s", STR_ARG(p->body.name))));
        answer(c, reply->created ? 201 : 200, p->body.name, reply->fields);
    }
}

static void put(struct put_call *p, struct str seen, int64_t created_ms, int64_t first_ms)
{
    struct call *c = p->call;
    const struct schedule_body *b = &p->body;
    struct definition def = b->run.def;
    struct submit_fields fields;
    definition_own(&c->req->arena, &def, c->workspace);
    submit_fields(c, &b->run, &fields);
    struct script_schedule_put_args args = {
        .ws = c->workspace,
        .name = b->name,
        .seen = seen,
        .create = p->create,
        .cron = b->spec.cron,
        .every_ms = b->spec.every_ms,
        .zone = b->spec.zone,
        .jitter_ms = b->jitter_ms,
        .start_ms = b->spec.start_ms,
        .end_ms = b->spec.end_ms,
        .overlap = b->overlap,
        .catch_up = b->catch_up,
        .paused = b->paused,
        .created_ms = created_ms,
        .first_ms = first_ms,
        .run_json = b->run_json,
        .agent = b->run.agent,
        .def_digest = b->run.is_inline ? str_of(def.digest) : STR(""),
        .queue = b->run.queue,
        .priority = b->run.priority,
        .timeout_ms = b->run.timeout_ms,
        .max_attempts = b->run.max_attempts,
        .start_within_ms = b->run.start_within_ms,
        .stall_ms = b->run.stall_ms,
        .on_limit = b->run.on_limit,
        .gates = b->run.gates,
        .gates_len = b->run.gates_len,
        .requires = b->run.requires,
        .requires_len = b->run.requires_len,
        .queue_max = c->node->config->queue_max,
        .retention_ms = c->node->config->retention_ms,
        .schema_checked = p->checked,
        .max_schedules = LIMIT_SCHEDULES,
        .def_fields = b->run.is_inline ? def.fields : NULL,
        .def_fields_len = b->run.is_inline ? def.field_count : 0,
        .fields = fields.kv,
        .fields_len = fields.n,
    };
    script_call_schedule_put(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_put, p);
}

/* Intervals are counted from startAt, else from when the schedule was first made. */
static bool next_tick(const struct schedule_spec *asked, int64_t created_ms, int64_t now_ms, int64_t *ret_next_ms)
{
    struct schedule_spec spec = *asked;
    struct schedule s;
    char why[CRON_WHY_MAX + 64];
    spec.anchor_ms = spec.start_ms > 0 ? spec.start_ms : created_ms;
    bool ok = schedule_init(&s, &spec, why);
    if (ok)
        *ret_next_ms = schedule_next(&s, now_ms);
    schedule_done(&s);
    return ok;
}

static void on_seen(void *ctx, enum err err, const struct script_schedule_get_reply *reply)
{
    struct put_call *p = ctx;
    struct call *c = p->call;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    int64_t created = reply->version.len > 0 ? number(reply->fields, "created") : reply->now_ms, first = 0;
    if (!next_tick(&p->body.spec, created, reply->now_ms, &first)) /* it could when it was checked */
        call_problem(c, ERR_INTERNAL, NULL);
    else if (first == 0)
        call_problem(c, ERR_INVALID_FIELD, "endAt is so early that the schedule would never run");
    else
        put(p, p->create ? STR("") : reply->version, created, first);
}

static void put_begin(struct put_call *p)
{
    struct call *c = p->call;
    struct script_schedule_get_args args = {.ws = c->workspace, .name = p->body.name};
    script_call_schedule_get(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_seen, p);
}

static void put_first(struct call *c)
{
    struct put_call *p = c->user;
    const struct submission *run = &p->body.run;
    struct str faults;
    if (input_check_first(c, run->is_inline ? &run->def : NULL, run->agent, run->input, &p->checked, &faults))
        put_begin(p);
    else
        input_refuse(c, faults);
}

static void put_body(struct call *c, struct str name, bool create)
{
    const struct json *root;
    struct fault fault;
    struct put_call *p = arena_zalloc(&c->req->arena, sizeof *p);
    if (!p) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    p->call = c;
    p->create = create;
    if (!validate_body(&c->req->arena, c->req->body, &root, &fault) ||
        !schedule_body_read(&c->req->arena, root, name, &p->body, &fault))
        call_problem(c, fault.err, fault.detail);
    else if (p->body.run.is_inline && !call_may(c, SCOPE_AGENTS_WRITE))
        call_problem(
            c, ERR_FORBIDDEN,
            "run.agent: an inline definition needs the scope agents:write, which the key does not have; name an agent");
    else if (!call_may(c, SCOPE_RUNS_CREATE) ||
             (str_eqz(p->body.run.on_limit, "replace") && !call_may(c, SCOPE_RUNS_STOP)))
        call_problem(c, ERR_FORBIDDEN,
                     "a schedule submits runs: the key needs runs:create, too (and runs:stop for onLimit \"replace\")");
    else {
        c->user = p;
        audit_then(c, p->body.name, put_first);
    }
}

void handle_schedule_create(struct call *c)
{
    put_body(c, STR(""), true);
}

void handle_schedule_put(struct call *c)
{
    if (call_name_valid(c, "a schedule", ERR_SCHEDULE_NOT_FOUND))
        put_body(c, call_param(c, 0), false);
}

/* ---- one schedule ---- */

static void on_get(void *ctx, enum err err, const struct script_schedule_get_reply *reply)
{
    struct call *c = ctx;
    if (err || reply->version.len == 0)
        call_problem(c, err ? err : ERR_SCHEDULE_NOT_FOUND, NULL);
    else
        answer(c, 200, call_param(c, 0), reply->fields);
}

void handle_schedule_get(struct call *c)
{
    if (!call_name_valid(c, "a schedule", ERR_SCHEDULE_NOT_FOUND))
        return;
    struct script_schedule_get_args args = {.ws = c->workspace, .name = call_param(c, 0)};
    script_call_schedule_get(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_get, c);
}

static void on_delete(void *ctx, enum err err, const struct script_schedule_delete_reply *reply)
{
    (void)reply;
    call_done(ctx, err);
}

static void delete (struct call *c)
{
    struct script_schedule_delete_args args = {.ws = c->workspace, .name = call_param(c, 0)};
    script_call_schedule_delete(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_delete, c);
}

void handle_schedule_delete(struct call *c)
{
    if (call_name_valid(c, "a schedule", ERR_SCHEDULE_NOT_FOUND))
        audit_then(c, call_param(c, 0), delete);
}

/* ---- pause and resume ---- */

struct set_call {
    struct call *call;
    int tries;
};

static void resume_begin(struct set_call *s);

static void on_set(void *ctx, enum err err, const struct script_schedule_set_reply *reply)
{
    struct set_call *s = ctx;
    if (err == ERR_SCHEDULE_CHANGED && ++s->tries < TRIES)
        resume_begin(s);
    else if (err)
        call_problem(s->call, err, NULL);
    else
        answer(s->call, 200, call_param(s->call, 0), reply->fields);
}

static void set(struct set_call *s, struct str seen, bool paused, int64_t next_ms)
{
    struct call *c = s->call;
    struct script_schedule_set_args args = {
        .ws = c->workspace, .name = call_param(c, 0), .seen = seen, .paused = paused, .next_ms = next_ms};
    script_call_schedule_set(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_set, s);
}

static void on_resume(void *ctx, enum err err, const struct script_schedule_get_reply *reply)
{
    struct set_call *s = ctx;
    if (err || reply->version.len == 0) {
        call_problem(s->call, err ? err : ERR_SCHEDULE_NOT_FOUND, NULL);
        return;
    }
    const redisReply *f = reply->fields;
    struct schedule_spec spec = {.cron = record_field(f, "cron"),
                                 .zone = record_field(f, "timeZone"),
                                 .every_ms = number(f, "everyMs"),
                                 .start_ms = number(f, "startMs"),
                                 .end_ms = number(f, "endMs")};
    int64_t next = 0;
    if (next_tick(&spec, number(f, "created"), reply->now_ms, &next))
        set(s, reply->version, false, next);
    else
        call_problem(s->call, ERR_INTERNAL, NULL);
}

static void resume_begin(struct set_call *s)
{
    struct call *c = s->call;
    struct script_schedule_get_args args = {.ws = c->workspace, .name = call_param(c, 0)};
    script_call_schedule_get(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_resume, s);
}

static struct set_call *set_call_new(struct call *c)
{
    if (!call_name_valid(c, "a schedule", ERR_SCHEDULE_NOT_FOUND) || !call_body_empty(c))
        return NULL;
    struct set_call *s = arena_zalloc(&c->req->arena, sizeof *s);
    c->user = s;
    if (s)
        s->call = c;
    else
        call_problem(c, ERR_NO_MEMORY, NULL);
    return s;
}

static void pause_first(struct call *c)
{
    set(c->user, STR(""), true, 0);
}

void handle_schedule_pause(struct call *c)
{
    if (set_call_new(c))
        audit_then(c, call_param(c, 0), pause_first);
}

static void resume_first(struct call *c)
{
    resume_begin(c->user);
}

void handle_schedule_resume(struct call *c)
{
    if (set_call_new(c))
        audit_then(c, call_param(c, 0), resume_first);
}

/* ---- trigger ---- */

struct trigger_call {
    struct str key;
    char digest[65];
    int tries;
};

static void trigger_checked(struct call *c, struct str checked);

static void on_trigger(void *ctx, enum err err, const struct script_schedule_trigger_reply *reply)
{
    struct call *c = ctx;
    struct trigger_call *t = c->user;
    if (err == ERR_SCHEMA_UNCHECKED && reply && ++t->tries < SCHEMA_TRIES) {
        struct str faults, digest = arena_str(&c->req->arena, reply->def);
        if (input_check(c, STR(""), digest, reply->schema, reply->input, &faults))
            trigger_checked(c, digest);
        else
            input_refuse(c, faults);
        return;
    }
    struct submitted s = {.durable = c->node->config->min_replicas == 0};
    struct strbuf out;
    struct json_writer w;
    if (!err && !id_parse(reply->run, &s.run_id))
        err = ERR_INTERNAL;
    if (err) {
        call_problem(c, err == ERR_SCHEMA_UNCHECKED ? ERR_OVERLOADED : err,
                     err == ERR_CONCURRENCY_LIMIT ? "an earlier run of this schedule is not over, and overlap is skip"
                                                  : submit_detail(err));
        return;
    }
    s.status = reply->status;
    s.replayed = reply->replayed != 0;
    http_reply_header(c->req, "Location", str_of(call_text(c, "/v1/runs/%s", s.run_id.s)));
    if (s.replayed)
        http_reply_header(c->req, "Idempotency-Replayed", STR("true"));
    strbuf_init(&out, 8192);
    json_writer_init(&w, &out);
    submit_write(&w, c, &s);
    call_json(c, 202, &out);
}

static void trigger_checked(struct call *c, struct str checked)
{
    const struct trigger_call *t = c->user;
    struct shard *shard = call_shard(c);
    struct id run = id_new_run(shard->number);
    struct script_schedule_trigger_args args = {.ws = c->workspace,
                                                .name = call_param(c, 0),
                                                .run = str_of(run.s),
                                                .idem_key = t->key,
                                                .idem_digest = str_of(t->digest),
                                                .created_by = c->created_by,
                                                .schema_checked = checked,
                                                .rid = str_of(redis_run_id(shard->commands))};
    script_call_schedule_trigger(shard->commands, shard_prefix(shard), &args, on_trigger, c);
}

static void trigger(struct call *c)
{
    trigger_checked(c, STR(""));
}

void handle_schedule_trigger(struct call *c)
{
    struct shard *shard = call_shard(c);
    struct trigger_call *t = arena_zalloc(&c->req->arena, sizeof *t);
    struct fault fault;
    if (!t) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    if (!call_name_valid(c, "a schedule", ERR_SCHEDULE_NOT_FOUND) || !call_body_empty(c))
        return;
    if (shard->memory_pressure || shard->evicting) {
        call_problem(c, shard->evicting ? ERR_REDIS_UNAVAILABLE : ERR_MEMORY_PRESSURE, NULL);
        return;
    }
    if (!submit_idempotency(c, call_text(c, "trigger %.*s", STR_ARG(call_param(c, 0))), &t->key, t->digest, &fault)) {
        call_problem(c, fault.err, fault.detail);
        return;
    }
    c->user = t;
    audit_then(c, call_param(c, 0), trigger);
}

/* ---- list ---- */

static void on_list(void *ctx, enum err err, const struct script_schedule_list_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    struct call_page page;
    call_page_begin(&page, "schedules", 1 << 20);
    for (size_t i = 0; i < reply->schedules_len; i++)
        write_schedule(&page.w, reply->schedules[i].name, reply->schedules[i].fields);
    call_page_end(c, &page, reply->next);
}

void handle_schedule_list(struct call *c)
{
    struct script_schedule_list_args args = {.ws = c->workspace, .after = STR("")};
    if (http_query(c->req, "after", 0, &args.after) && !keys_name_valid(args.after)) {
        call_problem(c, ERR_INVALID_PARAMETER, "after must be the cursor of an earlier page");
        return;
    }
    if (call_query_int(c, "limit", 1, LIMIT_PAGE, LIMIT_PAGE, &args.limit))
        script_call_schedule_list(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_list, c);
}
