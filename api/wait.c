#include "api/wait.h"

#include <stdlib.h>

#include "api/auth.h"
#include "api/keys.h"
#include "api/live.h"
#include "api/problem.h"
#include "lua/scripts.h"

/* subscribe → look (`show`) → ended: answer; else wait for the terminal entry or the time → look again → answer. Subscribing first closes the gap between look and wait. */
struct waiter {
    struct node *node; /* the call goes with its request when that is answered */
    struct live_reader reader;
    struct call *call;
    struct shard *shard;
    struct id run_id;
    enum wait_form form;
    struct loop_timer timer;
    struct key_hold hold; /* an answer is for who may have it then */
    bool revoked;
    bool looking, look_again, expired, gone, answered;
};

static void look(struct waiter *w);

static void waiter_end(struct waiter *w)
{
    live_detach(&w->reader);
    keys_release(&w->hold);
    loop_timer_stop(&w->timer);
    loop_defer_free(w->node->loop, free, w);
}

static void reply_record(struct waiter *w, int status, const struct record *r, enum record_form form)
{
    struct strbuf out;
    struct json_writer writer;
    strbuf_init(&out, 8 << 20);
    json_writer_init(&writer, &out);
    if (w->form == WAIT_STOP) {
        json_object_begin(&writer);
        json_kv_str(&writer, "runId", r->run_id);
        json_kv_str(&writer, "status", record_field(r->flat, "status"));
        json_object_end(&writer);
    } else {
        record_write(&writer, r, form);
    }
    call_json(w->call, status, &out);
}

/* /rest/{agent}: 200 is the bare result. */
static void reply_rest(struct waiter *w, const struct record *r)
{
    struct str status = record_field(r->flat, "status"), result = record_field(r->flat, "result");
    http_reply_header(w->call->req, "X-Errand-Run-Id", r->run_id);
    if (str_eqz(status, "success")) {
        http_reply(w->call->req, 200, "application/json", result.len ? result : STR("null"));
        return;
    }
    struct str error = record_field(r->flat, "error");
    const char *members =
        call_text(w->call, "\"runId\":\"%.*s\",\"runStatus\":\"%.*s\"", STR_ARG(r->run_id), STR_ARG(status));
    struct json *parsed = NULL;
    const struct json *message = NULL;
    if (error.len && json_parse(&w->call->req->arena, error, LIMIT_JSON_DEPTH, 3, &parsed, NULL) == ERR_OK)
        message = json_get(parsed, "message");
    problem_reply_with(w->call->req, ERR_RUN_FAILED, 502,
                       message && message->type == JSON_STRING ? message->string.ptr : "the run was stopped", members);
}

static void answer(struct waiter *w, const struct record *r)
{
    bool ended = record_ended(r->flat);
    w->answered = true;
    switch (w->form) {
    case WAIT_SHOW:
        reply_record(w, 200, r, RECORD_WHOLE);
        break;
    case WAIT_STOP:
        reply_record(w, ended ? 200 : 202, r, RECORD_SUMMARY);
        break;
    case WAIT_SUBMIT:
        reply_record(w, ended ? 200 : 202, r, ended ? RECORD_WHOLE : RECORD_SUMMARY);
        break;
    case WAIT_REST:
        if (ended)
            reply_rest(w, r);
        else
            reply_record(w, 202, r, RECORD_SUMMARY);
        break;
    }
    waiter_end(w);
}

static void on_show(void *ctx, enum err err, const struct script_show_reply *reply)
{
    struct waiter *w = ctx;
    w->looking = false;
    if (w->gone) {
        w->answered = true;
        http_reply(w->call->req, 503, NULL, STR_NONE); /* nobody reads it: it only ends the request */
        waiter_end(w);
        return;
    }
    if (w->revoked && !err)
        err = ERR_UNAUTHORIZED;
    if (err && !(err == ERR_REDIS_UNAVAILABLE && !w->expired)) {
        w->answered = true;
        call_problem(w->call, err, NULL);
        waiter_end(w);
        return;
    }
    if (!err && (w->expired || record_ended(reply->record))) {
        struct record r = {str_of(w->run_id.s), reply->record, reply->last_seq, reply->event_count, reply->event_bytes};
        answer(w, &r);
    } else if (w->look_again) {
        look(w);
    }
}

static void look(struct waiter *w)
{
    if (w->looking) {
        w->look_again = true;
        return;
    }
    w->looking = true;
    w->look_again = false;
    struct script_show_args args = {.ws = w->call->workspace, .run = str_of(w->run_id.s), .after = -1, .whole = 1};
    script_call_show(w->shard->commands, shard_prefix(w->shard), &args, on_show, w);
}

static void on_time(void *ctx)
{
    struct waiter *w = ctx;
    w->expired = true;
    look(w);
}

/* The key ended: the next look answers that. */
static void on_key_cut(struct key_hold *h)
{
    struct waiter *w = CONTAINER_OF(h, struct waiter, hold);
    w->revoked = w->expired = true;
    look(w);
}

static size_t on_room(struct live_reader *r)
{
    (void)r;
    return SIZE_MAX;
}

static void on_deliver(struct live_reader *r, struct live_span *s)
{
    (void)r;
    (void)s;
}

static void on_ended(struct live_reader *r)
{
    look(CONTAINER_OF(r, struct waiter, reader));
}

/* Deleted meanwhile (the look says 404), or the node shuts down: it answers as it is. */
static void on_lost(struct live_reader *r)
{
    struct waiter *w = CONTAINER_OF(r, struct waiter, reader);
    w->expired = true;
    look(w);
}

static const struct live_reader_fns waiter_fns = {on_room, on_deliver, on_ended, on_lost, NULL};

static void on_gone(struct http_req *req)
{
    struct call *c = req->user;
    struct waiter *w = c->user;
    w->gone = true;
    loop_timer_stop(&w->timer);
    live_detach(&w->reader);
    if (!w->looking)
        look(w); /* ends it, from a callback of its own */
}

void wait_for_end(struct call *c, struct str run_id, int64_t wait_s, enum wait_form form)
{
    struct waiter *w = calloc(1, sizeof *w);
    struct shard *s = node_shard_of_run(c->node, run_id);
    if (!w || !s || !id_parse(run_id, &w->run_id)) {
        free(w);
        call_problem(c, s ? ERR_NO_MEMORY : ERR_RUN_NOT_FOUND, NULL);
        return;
    }
    w->call = c;
    w->node = c->node;
    w->shard = s;
    w->form = form;
    c->user = w;
    loop_timer_init(&w->timer, c->node->loop, on_time, w);
    w->expired = wait_s == 0 || c->node->draining;
    if (!w->expired &&
        live_attach(c->node->live, s, run_id, LIVE_START_AT_END, LIVE_NOT_ENDED, &waiter_fns, &w->reader) != ERR_OK)
        w->expired = true;
    w->hold.cut = on_key_cut;
    if (!w->expired && c->credential.len > 0 && !auth_hold(c, &w->hold))
        w->revoked = w->expired = true;
    if (!w->expired) {
        loop_timer_set(&w->timer, wait_s * 1000);
        c->req->on_gone = on_gone;
    }
    look(w);
}
