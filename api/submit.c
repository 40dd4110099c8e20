#include "api/submit.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/auth.h"
#include "api/hook_body.h"
#include "api/hook_seal.h"
#include "api/input_check.h"
#include "common/crypto.h"
#include "common/metrics.h"
#include "lua/scripts.h"

enum { WAIT_MS = 1000, GATES_MAX = 3 };

struct pending_submit {
    struct submit_order order;
    struct submission sub;
    char idem_digest[65];
    int tries;
    struct shard *shard;
    struct submitted result;
    char status[16];
};

bool submit_idempotency(struct call *c, const char *kind, struct str *ret_key, char ret_digest[65],
                        struct fault *ret_fault)
{
    struct str key = http_header(c->req, "idempotency-key");
    *ret_key = key.ptr ? key : STR("");
    if (key.ptr && (key.len == 0 || key.len > LIMIT_IDEMPOTENCY_KEY || memchr(key.ptr, ' ', key.len))) {
        *ret_fault =
            (struct fault){ERR_INVALID_PARAMETER, "Idempotency-Key must be 1 to 255 characters without a space"};
        return false;
    }
    const struct str parts[] = {str_of(kind), c->workspace, c->req->body};
    if (key.len > 0)
        crypto_sha256_hex_parts(parts, ARRAY_LEN(parts), ret_digest);
    else
        ret_digest[0] = 0;
    return true;
}

const char *submit_detail(enum err err)
{
    if (err == ERR_AGENT_NOT_FOUND)
        return "no agent of that name is in this workspace; PUT /v1/agents/{name} makes one";
    if (err == ERR_RUN_NOT_FOUND)
        return "parentRunId names no run of this workspace";
    if (err == ERR_PARENT_STOPPED)
        return "the run that parentRunId names was stopped, so it gets no more children";
    if (err == ERR_DEPENDENCY_NOT_FOUND)
        return "dependsOn names a run that is not in this workspace";
    if (err == ERR_DEPENDENCY_CYCLE)
        return "dependsOn leads to a run that this one is a child of: they would wait for each other (or more than 256 "
               "unfinished runs stand behind it, too many to look through)";
    if (err == ERR_CONCURRENCY_LIMIT)
        return "as many runs with this concurrencyKey are queued or executed as its limit allows; onLimit \"queue\" "
               "waits, \"replace\" stops the oldest";
    if (err == ERR_LIMIT_EXCEEDED)
        return "waiting runs have 256 different requirements (requires, slots, executor) already";
    if (err == ERR_FORBIDDEN)
        return "the key may not submit this: it is narrowed to other agents or queues, or does not have the scope "
               "agents:write (for an inline definition) or runs:stop (for onLimit \"replace\", which narrowed keys "
               "can't "
               "use)";
    if (err == ERR_WEBHOOK_NOT_FOUND)
        return "webhook names no webhook of this workspace";
    if (err == ERR_BUNDLE_NOT_FOUND)
        return "bundle names no complete bundle of this workspace; `errand agents push` makes one";
    if (err == ERR_NOT_DEAD_LETTER)
        return "it did not end in error, or it was redriven already (redrivenAs names the new run)";
    return NULL;
}

struct str submit_stream_url(struct call *c, struct str run_id)
{
    struct str token = auth_stream_token(c, run_id);
    const struct str parts[] = {str_of(c->node->config->public_url),
                                STR("/v1/runs/"),
                                run_id,
                                STR("/stream"),
                                token.len > 0 ? STR("?token=") : STR(""),
                                token};
    return arena_join(&c->req->arena, parts, ARRAY_LEN(parts));
}

void submit_refuse(struct call *c, enum err err, const struct submitted *s)
{
    if (err == ERR_INPUT_INVALID && s)
        input_refuse(c, s->faults);
    else
        call_problem(c, err, submit_detail(err));
}

void submit_write(struct json_writer *w, struct call *c, const struct submitted *s)
{
    json_object_begin(w);
    json_kv_str(w, "runId", str_of(s->run_id.s));
    json_kv_str(w, "status", s->status);
    json_kv_str(w, "streamUrl", submit_stream_url(c, str_of(s->run_id.s)));
    if (!s->durable)
        json_kv_bool(w, "durable", false);
    json_object_end(w);
}

static void done(struct pending_submit *p, enum err err)
{
    metric_add(err ? METRIC_RUNS_REFUSED : METRIC_RUNS_SUBMITTED, p->result.replayed ? 0 : 1);
    p->result.status = str_of(p->status);
    p->order.fn(p->order.ctx, err, err && err != ERR_INPUT_INVALID ? NULL : &p->result);
    free(p);
}

static void on_wait(void *ctx, enum err err, const redisReply *reply)
{
    struct pending_submit *p = ctx;
    p->result.durable = !err && redis_int(reply, 0) >= p->order.call->node->config->min_replicas;
    done(p, ERR_OK);
}

static void send_submit(struct pending_submit *p, struct str checked);

/* The definition has a schema that the input was not checked against: now it is. What a rerun borrowed is gone, but it never comes here. */
static void check_input(struct pending_submit *p, const struct script_submit_reply *reply)
{
    struct call *c = p->order.call;
    struct str digest = arena_str(&c->req->arena, reply->def);
    if (p->order.def_digest.len > 0 || ++p->tries >= SCHEMA_TRIES || !digest.ptr)
        done(p, p->tries >= SCHEMA_TRIES ? ERR_OVERLOADED : ERR_INTERNAL);
    else if (input_check(c, p->sub.agent, digest, reply->schema, p->sub.input, &p->result.faults))
        send_submit(p, digest);
    else
        done(p, ERR_INPUT_INVALID);
}

static void on_submit(void *ctx, enum err err, const struct script_submit_reply *reply)
{
    struct pending_submit *p = ctx;
    if (err == ERR_SCHEMA_UNCHECKED && reply) {
        check_input(p, reply);
        return;
    }
    if (!err && (!id_parse(reply->run, &p->result.run_id) || reply->status.len >= sizeof p->status))
        err = ERR_INTERNAL;
    if (err) {
        done(p, err);
        return;
    }
    memcpy(p->status, reply->status.ptr, reply->status.len);
    p->result.replayed = reply->replayed != 0;
    p->result.durable = true;
    int64_t replicas = p->order.call->node->config->min_replicas;
    if (replicas == 0 || !p->shard->durability) {
        done(p, ERR_OK);
        return;
    }
    /* WAIT speaks of the writes of its own connection, and would hold up the shared one: so it has one for itself, with a write of its own behind the submit's. */
    char count[24], ms[24];
    int count_len = snprintf(count, sizeof count, "%lld", (long long)replicas),
        ms_len = snprintf(ms, sizeof ms, "%d", WAIT_MS);
    struct key key = keys_run(shard_prefix(p->shard), str_of(p->result.run_id.s));
    redis_command(p->shard->durability, 4, (const struct str[]){STR("HSET"), key_str(&key), STR("durable"), STR("1")},
                  NULL, NULL);
    redis_command(p->shard->durability, 3,
                  (const struct str[]){STR("WAIT"), {count, (size_t)count_len}, {ms, (size_t)ms_len}}, on_wait, p);
}

static void add(struct submit_fields *f, const char *name, struct str value)
{
    if (value.len == 0)
        return;
    PRE(f->n + 2 <= SUBMIT_FIELDS);
    f->kv[f->n++] = str_of(name);
    f->kv[f->n++] = value;
}

void submit_fields(const struct call *c, const struct submission *s, struct submit_fields *ret_fields)
{
    ret_fields->n = 0;
    add(ret_fields, "input", s->input);
    add(ret_fields, "env", s->env);
    add(ret_fields, "labels", s->labels);
    add(ret_fields, "createdBy", c->created_by);
    add(ret_fields, "sessionId", s->session);
    add(ret_fields, "hook", s->hook_sealed.len ? STR(HOOK_RUNS) : s->hook);
    add(ret_fields, "hookUrl", s->hook_sealed.len ? s->hook_url : STR(""));
    add(ret_fields, "hookSecret", s->hook_sealed);
}

bool submit_webhook(struct call *c, const char *at, struct submission *sub, struct fault *ret_fault)
{
    const char *why;
    if (sub->hook_url.len == 0)
        return true;
    if (!call_may(c, SCOPE_WEBHOOKS_WRITE)) { /* else who may not read runs could have them sent */
        *ret_fault = (struct fault){
            ERR_FORBIDDEN, "webhook.url needs the scope webhooks:write; a stored webhook can be named without it"};
        return false;
    }
    if (!hook_url_valid(sub->hook_url, c->node->config->allow_private_addresses, &why)) {
        *ret_fault = (struct fault){ERR_INVALID_FIELD, call_text(c, "%swebhook.url %s", at, why)};
        return false;
    }
    enum err err = hook_seal(c->node->vault, &c->req->arena, c->workspace, STR(HOOK_RUNS), sub->hook_url,
                             sub->hook_secret, &sub->hook_sealed);
    if (err)
        *ret_fault =
            (struct fault){err, err == ERR_NO_MASTER_KEY ? "webhooks have secrets, which this node can't keep" : NULL};
    return err == ERR_OK;
}

static void refuse_input(void *ctx)
{
    done(ctx, ERR_INPUT_INVALID);
}

static void refuse_forbidden(void *ctx)
{
    done(ctx, ERR_FORBIDDEN);
}

static void refuse_pressure(void *ctx)
{
    done(ctx, ERR_MEMORY_PRESSURE);
}

static void refuse_evicting(void *ctx)
{
    done(ctx, ERR_REDIS_UNAVAILABLE);
}

/* The run's own gates and, behind that of its concurrencyKey, its API key's. */
static size_t add_key_gate(struct call *c, const struct submission *s, struct str gates[GATES_MAX])
{
    size_t n = 0;
    bool mine = c->concurrency > 0;
    for (size_t i = 0; i < s->gates_len; i++)
        gates[n++] = s->gates[i];
    if (mine)
        gates[n++] = str_of(call_text(c, "c:%.*s=%lld", STR_ARG(c->created_by), (long long)c->concurrency));
    return n;
}

/* checked: the digest of the definition whose schema the input meets. */
static void send_submit(struct pending_submit *p, struct str checked)
{
    const struct submit_order *order = &p->order;
    const struct submission *s = &p->sub;
    struct call *c = order->call;
    struct str gates[GATES_MAX];
    size_t gate_count = add_key_gate(c, s, gates);
    struct submit_fields fields;
    submit_fields(c, s, &fields);
    add(&fields, "rerunOf", order->rerun_of);
    struct str trace = http_header(c->req, "traceparent");
    if (trace.len <= 128)
        add(&fields, "traceparent", trace);
    struct definition def = s->def;
    definition_own(&c->req->arena, &def, c->workspace);
    struct id run = id_new_run(p->shard->number);
    struct script_submit_args args = {
        .run = str_of(run.s),
        .ws = c->workspace,
        .idem_key = order->idem_key,
        .idem_digest = str_of(order->idem_digest),
        .agent = s->agent,
        .def_digest = s->is_inline ? str_of(def.digest) : order->def_digest,
        .version = order->agent_version,
        .def_fields = s->is_inline ? def.fields : NULL,
        .def_fields_len = s->is_inline ? def.field_count : 0,
        .queue = s->queue,
        .priority = str_eq(s->priority, STR("normal")) ? STR("") : s->priority,
        .delay_ms = s->delay_ms,
        .scheduled_ms = s->scheduled_ms,
        .timeout_ms = s->timeout_ms,
        .max_attempts = s->max_attempts,
        .start_within_ms = s->start_within_ms,
        .stall_ms = s->stall_ms,
        .on_limit = str_eq(s->on_limit, STR("queue")) ? STR("") : s->on_limit,
        .on_dep_fail = str_eq(s->on_dep_fail, STR("fail")) ? STR("") : s->on_dep_fail,
        .gates = gates,
        .gates_len = gate_count,
        .agents_in = c->agents,
        .queues_in = c->queues,
        .depends = s->depends,
        .depends_len = s->depends_len,
        .requires = s->requires,
        .requires_len = s->requires_len,
        .retention_ms = s->depends_len || str_eq(s->on_limit, STR("replace")) ? c->node->config->retention_ms : 0,
        .parent = s->parent,
        .fields = fields.kv,
        .fields_len = fields.n,
        .queue_max = c->node->config->queue_max,
        .rid = str_of(redis_run_id(p->shard->commands)),
        .redrive = order->redrive,
        .schema_checked = checked,
    };
    script_call_submit(p->shard->commands, shard_prefix(p->shard), &args, on_submit, p);
}

void submit_run(const struct submit_order *order)
{
    struct call *c = order->call;
    struct pending_submit *p = calloc(1, sizeof *p);
    struct str checked = order->def_digest;
    PRE(p);
    p->order = *order;
    p->sub = *order->sub;
    p->order.sub = &p->sub;
    snprintf(p->idem_digest, sizeof p->idem_digest, "%s", order->idem_digest ? order->idem_digest : "");
    p->order.idem_digest = p->idem_digest;
    p->shard = node_shard_of_workspace(c->node, c->workspace);
    if (p->shard->memory_pressure || p->shard->evicting) {
        loop_defer(c->node->loop, p->shard->evicting ? refuse_evicting : refuse_pressure, p);
        return;
    }
    const struct submission *s = &p->sub;
    bool narrowed = c->agents.len > 0 || c->queues.len > 0;
    if ((str_eqz(s->on_limit, "replace") && (narrowed || !call_may(c, SCOPE_RUNS_STOP))) ||
        !call_agent_allowed(c, s->agent) || (s->is_inline && !call_may(c, SCOPE_AGENTS_WRITE)) ||
        (s->queue.len > 0 && !call_queue_allowed(c, s->queue)))
        loop_defer(c->node->loop, refuse_forbidden, p);
    else if (checked.len == 0 &&
             !input_check_first(c, s->is_inline ? &s->def : NULL, s->agent, s->input, &checked, &p->result.faults))
        loop_defer(c->node->loop, refuse_input, p);
    else
        send_submit(p, checked);
}
