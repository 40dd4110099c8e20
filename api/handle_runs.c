#include "api/handlers.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/audit.h"
#include "api/rerun.h"
#include "api/sse.h"
#include "api/submit.h"
#include "api/wait.h"

enum { STOP_TREE = LIMIT_STOP_TREE, WAIT_DEFAULT_S = 50 };

/* ---- submit, and what may follow it ---- */

enum after_submit { THEN_ANSWER, THEN_STREAM, THEN_WAIT, THEN_REST };

struct submit_call {
    struct call *call;
    enum after_submit then;
    int64_t wait_s;
};

static void add_location(struct call *c, const struct submitted *s, const char *suffix)
{
    const struct str parts[] = {STR("/v1/runs/"), {s->run_id.s, ID_LEN}, str_of(suffix)};
    http_reply_header(c->req, "Location", arena_join(&c->req->arena, parts, ARRAY_LEN(parts)));
    if (s->replayed)
        http_reply_header(c->req, "Idempotency-Replayed", STR("true"));
}

static void on_submitted(void *ctx, enum err err, const struct submitted *s)
{
    struct submit_call *sc = ctx;
    struct call *c = sc->call;
    struct strbuf out;
    struct json_writer w;
    if (err) {
        submit_refuse(c, err, s);
        return;
    }
    add_location(c, s, sc->then == THEN_STREAM ? "/stream" : "");
    switch (sc->then) {
    case THEN_ANSWER:
        strbuf_init(&out, 8192);
        json_writer_init(&w, &out);
        submit_write(&w, c, s);
        call_json(c, 202, &out);
        break;
    case THEN_STREAM:
        sse_open(c, str_of(s->run_id.s), -1, false);
        break;
    case THEN_WAIT:
        wait_for_end(c, str_of(s->run_id.s), sc->wait_s, WAIT_SUBMIT);
        break;
    case THEN_REST:
        wait_for_end(c, str_of(s->run_id.s), sc->wait_s, WAIT_REST);
        break;
    }
}

static void submit(struct call *c, const struct submission *sub, const char *kind, enum after_submit then,
                   int64_t wait_s)
{
    struct submit_call *sc = arena_zalloc(&c->req->arena, sizeof *sc);
    struct fault fault;
    char digest[65];
    struct submit_order order = {.call = c, .sub = sub, .idem_digest = digest, .fn = on_submitted, .ctx = sc};
    if (!sc) {
        call_problem(c, ERR_NO_MEMORY, NULL);
    } else if (!submit_idempotency(c, kind, &order.idem_key, digest, &fault)) {
        call_problem(c, fault.err, fault.detail);
    } else {
        *sc = (struct submit_call){c, then, wait_s};
        submit_run(&order);
    }
}

static void submit_body(struct call *c, const char *kind, enum after_submit then, int64_t wait_s)
{
    const struct json *root;
    struct fault fault;
    struct submission sub;
    unsigned forms = c->route->id == NULL ? SUBMISSION_ALIASES : 0;
    if (!validate_body(&c->req->arena, c->req->body, &root, &fault) ||
        !validate_submission(&c->req->arena, root, "", forms, &sub, &fault) || !submit_webhook(c, "", &sub, &fault))
        call_problem(c, fault.err, fault.detail);
    else
        submit(c, &sub, kind, then, wait_s);
}

void handle_submit(struct call *c)
{
    submit_body(c, "submit", THEN_ANSWER, 0);
}

void handle_submit_stream(struct call *c)
{
    submit_body(c, "submit", THEN_STREAM, 0);
}

void handle_submit_wait(struct call *c)
{
    int64_t wait_s;
    if (call_query_int(c, "wait", 0, LIMIT_WAIT_S, WAIT_DEFAULT_S, &wait_s))
        submit_body(c, "submit", THEN_WAIT, wait_s);
}

/* POST /rest/{agent}: the body is the input. */
void handle_rest(struct call *c)
{
    struct submission sub = {.agent = call_param(c, 0),
                             .input = STR("null"),
                             .priority = STR("normal"),
                             .on_limit = STR("queue"),
                             .on_dep_fail = STR("fail")};
    const struct json *root;
    struct fault fault;
    int64_t wait_s;
    if (!call_query_int(c, "wait", 0, LIMIT_WAIT_S, WAIT_DEFAULT_S, &wait_s))
        return;
    if (c->req->body.len > 0 && !validate_body(&c->req->arena, c->req->body, &root, &fault)) {
        call_problem(c, fault.err, fault.detail);
        return;
    }
    if (c->req->body.len > 0)
        sub.input = root->raw;
    submit(c, &sub, call_text(c, "rest %.*s", STR_ARG(sub.agent)), THEN_REST, wait_s);
}

/* ---- one run ---- */

/* The shard of the run in the path; NULL when there is none (answered then). */
static struct shard *shard_of_call(struct call *c)
{
    struct shard *s = node_shard_of_run(c->node, call_param(c, 0));
    if (!s)
        call_problem(c, ERR_RUN_NOT_FOUND, NULL);
    return s;
}

void handle_show(struct call *c)
{
    int64_t wait_s;
    if (call_query_int(c, "wait", 0, LIMIT_WAIT_S, 0, &wait_s))
        wait_for_end(c, call_param(c, 0), wait_s, WAIT_SHOW);
}

struct stop_call {
    struct call *call;
    struct shard *shard;
    int64_t wait_s;
};

static void on_stopped(void *ctx, enum err err, const struct script_stop_reply *reply)
{
    struct stop_call *s = ctx;
    if (err) {
        call_problem(s->call, err, NULL);
        return;
    }
    audit_done(s->call);
    if (s->wait_s > 0 && !reply->already)
        wait_for_end(s->call, call_param(s->call, 0), s->wait_s, WAIT_STOP);
    else {
        struct strbuf out;
        strbuf_init(&out, 1024);
        strbuf_addf(&out, "{\"runId\":\"%.*s\",\"status\":\"%.*s\"}", STR_ARG(call_param(s->call, 0)),
                    STR_ARG(reply->status));
        call_json(s->call, reply->already ? 200 : 202, &out);
    }
}

static void stop(struct call *c)
{
    struct stop_call *s = c->user;
    struct script_stop_args args = {.ws = c->workspace,
                                    .run = call_param(c, 0),
                                    .max = STOP_TREE,
                                    .rid = str_of(redis_run_id(s->shard->commands)),
                                    .retention_ms = c->node->config->retention_ms};
    script_call_stop(s->shard->commands, shard_prefix(s->shard), &args, on_stopped, s);
}

void handle_stop(struct call *c)
{
    struct stop_call *s = arena_zalloc(&c->req->arena, sizeof *s);
    if (!s) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    s->call = c;
    if (!call_query_int(c, "wait", 0, LIMIT_WAIT_S, 0, &s->wait_s) || !call_body_empty(c) ||
        !(s->shard = shard_of_call(c)))
        return;
    c->user = s;
    audit_then(c, call_param(c, 0), stop);
}

static void on_deleted(void *ctx, enum err err, const struct script_delete_reply *reply)
{
    struct call *c = ctx;
    (void)reply;
    if (err)
        call_problem(c, err, err == ERR_RUN_ACTIVE ? "stop the run first, and wait for its end" : NULL);
    else
        http_reply(c->req, 204, NULL, STR_NONE);
}

static void delete (struct call *c)
{
    struct shard *shard = c->user;
    struct script_delete_args args = {.ws = c->workspace, .run = call_param(c, 0)};
    script_call_delete(shard->commands, shard_prefix(shard), &args, on_deleted, c);
}

void handle_delete(struct call *c)
{
    c->user = shard_of_call(c);
    if (c->user)
        audit_then(c, call_param(c, 0), delete);
}

/* ---- rerun, redrive ---- */

static void again(struct call *c)
{
    rerun_run(c->user);
}

static void submit_again(struct call *c, const char *kind, bool redrive)
{
    struct submit_call *sc = arena_zalloc(&c->req->arena, sizeof *sc);
    struct rerun_order *order = arena_zalloc(&c->req->arena, sizeof *order);
    char digest[65];
    struct fault fault;
    if (!sc || !order) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    *sc = (struct submit_call){c, THEN_ANSWER, 0};
    *order =
        (struct rerun_order){.call = c, .run_id = call_param(c, 0), .redrive = redrive, .fn = on_submitted, .ctx = sc};
    if (!call_body_empty(c))
        return;
    if (!submit_idempotency(c, call_text(c, "%s %.*s", kind, STR_ARG(order->run_id)), &order->idem_key, digest,
                            &fault)) {
        call_problem(c, fault.err, fault.detail);
        return;
    }
    order->idem_digest = call_text(c, "%s", digest);
    c->user = order;
    if (redrive)
        audit_then(c, order->run_id, again);
    else
        again(c); /* a submit: the new run's record says whose it is */
}

void handle_rerun(struct call *c)
{
    submit_again(c, "rerun", false);
}

void handle_redrive(struct call *c)
{
    submit_again(c, "redrive", true);
}

/* ---- logs ---- */

struct logs_call {
    struct call *call;
    struct shard *shard;
    int64_t lines;
};

static void on_logs(void *ctx, enum err err, const redisReply *reply)
{
    struct logs_call *l = ctx;
    struct json *root = NULL;
    struct strbuf out;
    struct json_writer w;
    if (err) {
        call_problem(l->call, err, NULL);
        return;
    }
    struct str text = redis_str(reply);
    strbuf_init(&out, 1 << 20);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_key(&w, "lines");
    json_array_begin(&w);
    if (text.len > 0 && json_parse(&l->call->req->arena, text, 8, 2, &root, NULL) == ERR_OK) {
        size_t skip = root->count > (size_t)l->lines ? root->count - (size_t)l->lines : 0;
        for (const struct json *line = root->child; line; line = line->next)
            if (skip == 0 || skip-- == 0)
                json_raw(&w, line->raw);
    }
    json_array_end(&w);
    json_object_end(&w);
    call_json(l->call, 200, &out);
}

static void on_logs_run(void *ctx, enum err err, const struct script_show_reply *reply)
{
    struct logs_call *l = ctx;
    (void)reply;
    if (err) {
        call_problem(l->call, err, NULL);
        return;
    }
    struct key key = keys_logs(shard_prefix(l->shard), call_param(l->call, 0));
    redis_command(l->shard->commands, 2, (const struct str[]){STR("GET"), key_str(&key)}, on_logs, l);
}

void handle_logs(struct call *c)
{
    struct logs_call *l = arena_zalloc(&c->req->arena, sizeof *l);
    if (!l) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    l->call = c;
    if (!call_query_int(c, "lines", 1, LIMIT_LOG_LINES, 100, &l->lines) || !(l->shard = shard_of_call(c)))
        return;
    struct script_show_args args = {.ws = c->workspace, .run = call_param(c, 0), .after = -1};
    script_call_show(l->shard->commands, shard_prefix(l->shard), &args, on_logs_run, l);
}
