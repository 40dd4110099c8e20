#include "runner/attempt.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/metrics.h"
#include "lua/scripts.h"
#include "runner/outcome.h"
#include "runner/output.h"
#include "runner/spec.h"
#include "runner/workdir.h"

enum { LOG_FLUSH_MS = 1000, FINISH_AGAIN_MS = 500, HAND_BACK_GRACE_MS = 2000, ARENA_MAX = 8 << 20 };

static const unsigned char edges[ATTEMPT_STATE_COUNT] = {
#define TO(name) (1 << ATTEMPT_##name)
    [ATTEMPT_STARTING] = TO(RUNNING) | TO(ENDING),
    [ATTEMPT_RUNNING] = TO(ENDING),
    [ATTEMPT_ENDING] = TO(FINISHING) | TO(OVER),
    [ATTEMPT_FINISHING] = TO(OVER),
    [ATTEMPT_OVER] = 0,
#undef TO
};

bool attempt_edge(enum attempt_state from, enum attempt_state to)
{
    return (edges[from] >> to) & 1;
}

static void move(struct attempt *a, enum attempt_state to)
{
    PRE(attempt_edge(a->state, to));
    a->state = to;
}

/* ---- the log tail ---- */

void attempt_log(struct attempt *a, const char *stream, struct str text)
{
    log_tail_add(&a->log, clock_wall_ms(), stream, text);
    a->log_dirty = true;
    if (!loop_timer_is_set(&a->log_flush))
        loop_timer_set(&a->log_flush, LOG_FLUSH_MS);
}

static void over_if_quiet(struct attempt *a);
static void finish(struct attempt *a);

static void on_log_stored(void *ctx, enum err err, const struct script_logs_reply *reply)
{
    struct attempt *a = ctx;
    (void)reply;
    a->log_sending = false;
    if (err == ERR_REDIS_UNAVAILABLE || err == ERR_TIMEOUT)
        a->log_dirty = true; /* sent again when Redis is back; where Redis refuses it (full), it is left out */
    if (a->state == ATTEMPT_FINISHING && !a->finish_sent && a->log_dirty)
        loop_timer_set(&a->again, FINISH_AGAIN_MS);
    else if (a->state == ATTEMPT_FINISHING && !a->finish_sent)
        finish(a);
    else
        over_if_quiet(a);
}

static void log_send(struct attempt *a)
{
    if (!a->log_dirty || a->log_sending || a->end == END_LOST || !worker_may_write(a->shard))
        return;
    struct strbuf text;
    strbuf_init(&text, 2 * LIMIT_LOG_BYTES);
    log_tail_write(&a->log, &text);
    struct script_logs_args args = {.run = str_of(a->run_id.s), .epoch = a->epoch, .lines = strbuf_str(&text)};
    a->log_dirty = false;
    a->log_sending = true;
    script_call_logs(a->shard->commands, worker_prefix(a->shard), &args, on_log_stored, a);
    strbuf_done(&text);
}

static void on_log_flush(void *ctx)
{
    log_send(ctx);
}

enum err attempt_redact(struct attempt *a, const struct redact_secret *list, size_t n)
{
    struct redact_secret *all = calloc(n + 1, sizeof *all);
    if (!all)
        return ERR_NO_MEMORY;
    all[0] = (struct redact_secret){STR("ERRAND_RUNNER_TOKEN"), str_of(a->token)};
    if (n > 0)
        memcpy(all + 1, list, n * sizeof *all);
    enum err err = redaction_init(&a->redaction, all, n + 1);
    free(all);
    return err;
}

static void redacted_outcome(struct attempt *a, struct outcome *o)
{
    outcome_of(a, o);
    redaction_message(&a->redaction, str_of(o->message), o->message, sizeof o->message);
}

/* ---- ends ---- */

static void attempt_free(void *p)
{
    struct attempt *a = p;
    outbox_done(&a->outbox);
    adapter_done(&a->adapter);
    redaction_done(&a->redaction);
    sodium_memzero(a->token, sizeof a->token);
    lines_done(&a->err_lines);
    lines_done(&a->out_lines);
    log_tail_done(&a->log);
    arena_done(&a->arena);
    secrets_done(&a->secrets);
    free(a->agent);
    free(a);
}

static void go_over(struct attempt *a)
{
    move(a, ATTEMPT_OVER);
    loop_timer_stop(&a->pause);
    loop_timer_stop(&a->timeout);
    loop_timer_stop(&a->stall);
    loop_timer_stop(&a->claimed);
    loop_timer_stop(&a->log_flush);
    loop_timer_stop(&a->again);
    outbox_abandon(&a->outbox);
    worker_attempt_over(a);
    over_if_quiet(a);
}

/* The memory goes when no answer is still to come. */
static void over_if_quiet(struct attempt *a)
{
    if (a->state == ATTEMPT_OVER && outbox_quiet(&a->outbox) && !a->log_sending && !a->finish_sent && !a->stall_asked &&
        !a->secrets.asked)
        loop_defer_free(a->shard->worker->loop, attempt_free, a);
}

static void finish_again(struct attempt *a, enum err err)
{
    if (err != ERR_REDIS_UNAVAILABLE && err != ERR_TIMEOUT)
        LOG_WARN("finish was refused; trying on", LOG_RUN(a), LOG_E(err));
    loop_timer_set(&a->again, FINISH_AGAIN_MS);
}

/* status: the run's, as the script left it; one that goes on to another attempt had an error in this one. */
static void count_outcome(struct str status)
{
    metric_add(str_eqz(status, "success")   ? METRIC_ATTEMPTS_OK
               : str_eqz(status, "stopped") ? METRIC_ATTEMPTS_STOPPED
                                            : METRIC_ATTEMPTS_ERROR,
               1);
}

static void on_finished(void *ctx, enum err err, const struct script_finish_reply *reply)
{
    struct attempt *a = ctx;
    a->finish_sent = false;
    if (a->state == ATTEMPT_OVER) {
        over_if_quiet(a);
        return;
    }
    if (err && err != ERR_FENCED) {
        finish_again(a, err);
        return;
    }
    if (err)
        metric_add(METRIC_ATTEMPTS_FENCED, 1);
    else
        count_outcome(reply->status);
    struct outcome o;
    redacted_outcome(a, &o);
    if (err || !o.error_class[0])
        LOG_INFO("attempt ended", LOG_RUN(a), LOG_S("status", err ? STR("fenced") : reply->status));
    else
        LOG_INFO("attempt ended", LOG_RUN(a), LOG_S("status", reply->status), LOG_Z("errorClass", o.error_class),
                 LOG_Z("error", o.message));
    go_over(a);
}

static void on_handed_back(void *ctx, enum err err, const struct script_hand_back_reply *reply)
{
    struct attempt *a = ctx;
    (void)reply;
    a->finish_sent = false;
    if (a->state == ATTEMPT_OVER) {
        over_if_quiet(a);
    } else if (err && err != ERR_FENCED) {
        finish_again(a, err);
    } else {
        metric_add(METRIC_ATTEMPTS_HANDED_BACK, 1);
        LOG_INFO("run handed back", LOG_RUN(a));
        go_over(a);
    }
}

static void call_hand_back(struct attempt *a)
{
    struct script_hand_back_args args = {.inc = str_of(a->shard->incarnation.s),
                                         .run = str_of(a->run_id.s),
                                         .epoch = a->epoch,
                                         .attempt = a->number,
                                         .rid = str_of(redis_run_id(a->shard->commands)),
                                         .retention_ms = a->shard->worker->config->retention_ms};
    script_call_hand_back(a->shard->commands, worker_prefix(a->shard), &args, on_handed_back, a);
}

static void call_finish(struct attempt *a)
{
    struct outcome o;
    struct strbuf error, result;
    char exit_code[16] = "", retry[OUTCOME_RETRY_MAX];
    redacted_outcome(a, &o);
    outcome_retry(a, retry);
    strbuf_init(&error, 16384);
    strbuf_init(&result, 2 * (size_t)LIMIT_RESULT);
    outcome_error(&o, &error);
    bool whole = outcome_result(a, &result);
    if (a->how.started && !a->how.signaled)
        snprintf(exit_code, sizeof exit_code, "%d", a->how.code);
    struct script_finish_args args = {
        .inc = str_of(a->shard->incarnation.s),
        .run = str_of(a->run_id.s),
        .epoch = a->epoch,
        .attempt = a->number,
        .outcome = str_of(o.status),
        .error_class = str_of(o.error_class),
        .error_json = strbuf_str(&error),
        .result = strbuf_str(&result),
        .truncated = !whole,
        .exit_code = str_of(exit_code),
        .seq = a->remote ? 0 : a->outbox.next_seq,
        .t_ms = clock_wall_ms(),
        .retry = str_of(retry),
        .rid = str_of(redis_run_id(a->shard->commands)),
        .retention_ms = a->shard->worker->config->retention_ms,
    };
    script_call_finish(a->shard->commands, worker_prefix(a->shard), &args, on_finished, a);
    strbuf_done(&error);
    strbuf_done(&result);
}

static void finish(struct attempt *a)
{
    if (a->finish_sent || !worker_may_write(a->shard))
        return; /* worker_may_write's heartbeat brings us back */
    if (!a->outbox.over && !outbox_empty(&a->outbox)) {
        outbox_kick(&a->outbox); /* sent again after a reconnect, perhaps: the end comes behind all events */
        return;
    }
    log_send(a);
    if (a->log_sending)
        return; /* its answer brings us back: when the run ends its log is whole */
    a->finish_sent = true;
    if (a->end == END_DRAIN)
        call_hand_back(a);
    else
        call_finish(a);
}

static void ask_secrets(struct attempt *a);

static void on_again(void *ctx)
{
    struct attempt *a = ctx;
    if (a->state == ATTEMPT_FINISHING)
        finish(a);
    else if (a->state == ATTEMPT_STARTING && a->secrets.waiting)
        ask_secrets(a);
}

static void go_lost(struct attempt *a)
{
    metric_add(METRIC_ATTEMPTS_FENCED, 1);
    LOG_WARN("attempt lost", LOG_RUN(a));
    go_over(a);
}

/* When its last events are stored, it is finished. */
static void end_if_drained(struct attempt *a)
{
    if (a->state != ATTEMPT_ENDING)
        return;
    if (a->end == END_LOST) {
        go_lost(a);
        return;
    }
    if (!a->outbox.over && !outbox_empty(&a->outbox)) {
        outbox_flush(&a->outbox);
        return;
    }
    if (!outbox_quiet(&a->outbox))
        return;
    move(a, ATTEMPT_FINISHING);
    finish(a);
}

/* Nothing of it is left: its slot is free, and its folder goes, though Redis may have to be waited for. */
static void go_ending(struct attempt *a)
{
    move(a, ATTEMPT_ENDING);
    workdir_remove(a->shard->worker->loop, a->workdir);
    worker_slots_freed(a->shard->worker, a->slots);
    end_if_drained(a);
}

static void on_gone(void *ctx, const struct job_exit *how)
{
    struct attempt *a = ctx;
    a->how = *how;
    snprintf(a->how_message, sizeof a->how_message, "%s", how->message ? how->message : "");
    a->job = NULL;
    loop_timer_stop(&a->pause);
    loop_timer_stop(&a->timeout);
    loop_timer_stop(&a->stall);
    loop_timer_stop(&a->claimed);
    if (a->end != END_LOST && a->end != END_EVENT_LIMIT && a->end != END_STORAGE_FULL)
        output_end(a);
    else
        redaction_claim(&a->redaction, &a->adapter.claim);
    go_ending(a);
}

/* Ends the tree for a reason; the first reason stays, but a loss beats all. */
static void end_for(struct attempt *a, enum attempt_end why, int64_t grace_ms)
{
    if (a->end == END_NONE || a->end == END_CLAIMED || why == END_LOST || (why == END_STOP && a->end == END_DRAIN))
        a->end = why;
    if (a->job) {
        a->executor->read_output(a->job, true); /* it can't end while it blocks on a full pipe */
        a->executor->stop(a->job, grace_ms);
    }
}

/* ---- the outbox's word ---- */

static void on_fenced(void *ctx)
{
    attempt_lose(ctx);
}

static void on_full(void *ctx, bool full)
{
    struct attempt *a = ctx;
    a->event_ms = clock_mono_ms(); /* what it wrote while we did not read is still to come */
    if (a->job && (!full || a->end == END_NONE || a->end == END_CLAIMED))
        a->executor->read_output(a->job, !full);
}

static void start_job(struct attempt *a);

static void on_drained(void *ctx)
{
    struct attempt *a = ctx;
    if (a->state == ATTEMPT_OVER)
        over_if_quiet(a);
    else if (a->state == ATTEMPT_FINISHING)
        finish(a);
    else if (a->state == ATTEMPT_STARTING && a->secrets.waiting)
        return; /* nothing of it was sent yet */
    else if (a->state == ATTEMPT_STARTING && a->remote && !a->job && a->end == END_NONE)
        start_job(a); /* `started` was answered: the runtime may begin */
    else if (a->state == ATTEMPT_STARTING && a->remote && !a->job)
        go_ending(a); /* stopped meanwhile */
    else
        end_if_drained(a);
}

static void on_stop_asked(void *ctx)
{
    attempt_stop(ctx);
}

static void on_too_much(void *ctx)
{
    struct attempt *a = ctx;
    end_for(a, END_EVENT_LIMIT, a->grace_ms);
}

static void on_storage_full(void *ctx)
{
    struct attempt *a = ctx;
    if (a->state == ATTEMPT_FINISHING) { /* the events were stored once; the end needs no room */
        finish(a);
        return;
    }
    end_for(a, END_STORAGE_FULL, a->grace_ms);
    end_if_drained(a);
}

static const struct outbox_fns outbox_fns = {on_fenced,     on_full,     on_drained,
                                             on_stop_asked, on_too_much, on_storage_full};

/* ---- stallMs ---- */

static void stalled(struct attempt *a)
{
    end_for(a, END_STALL, a->grace_ms);
}

/* A remote runtime's events go past this runner, so the stream is asked: another newest entry than last time is a sign of life. */
static void on_newest(void *ctx, enum err err, const redisReply *reply)
{
    struct attempt *a = ctx;
    a->stall_asked = false;
    if (a->state != ATTEMPT_RUNNING || err) {
        a->event_ms = clock_mono_ms();
        over_if_quiet(a);
        return;
    }
    struct str id = redis_str(redis_at(redis_at(reply, 0), 0));
    if (id.len < sizeof a->newest && !str_eqz(id, a->newest)) {
        snprintf(a->newest, sizeof a->newest, "%.*s", STR_ARG(id));
        a->event_ms = clock_mono_ms();
    } else if (clock_mono_ms() - a->event_ms >= a->stall_ms) {
        stalled(a);
    }
}

static void on_stall(void *ctx)
{
    struct attempt *a = ctx;
    int64_t left = a->event_ms + a->stall_ms - clock_mono_ms();
    if (a->state != ATTEMPT_RUNNING || a->end != END_NONE)
        return;
    if (a->remote) {
        struct key key = keys_events(worker_prefix(a->shard), str_of(a->run_id.s));
        const struct str argv[] = {STR("XREVRANGE"), key_str(&key), STR("+"), STR("-"), STR("COUNT"), STR("1")};
        if (a->stall_asked || !redis_is_up(a->shard->commands)) {
            a->event_ms = clock_mono_ms(); /* Redis is away: nobody can tell, and nobody could write */
        } else {
            a->stall_asked = true;
            redis_command(a->shard->commands, ARRAY_LEN(argv), argv, on_newest, a);
        }
        loop_timer_set(&a->stall, a->stall_ms / 4 + 1);
    } else if (a->outbox.paused) {
        a->event_ms = clock_mono_ms(); /* it is us who do not read */
        loop_timer_set(&a->stall, a->stall_ms);
    } else if (left > 0) {
        loop_timer_set(&a->stall, left);
    } else {
        stalled(a);
    }
}

static void watch_stall(struct attempt *a)
{
    a->event_ms = clock_mono_ms();
    if (a->stall_ms > 0)
        loop_timer_set(&a->stall, a->remote ? a->stall_ms / 4 + 1 : a->stall_ms);
}

/* ---- starting ---- */

static void put_started(struct attempt *a, struct str handle)
{
    char data[128];
    int len =
        snprintf(data, sizeof data, "{\"attempt\":%lld,\"executor\":\"%s\"}", (long long)a->number, a->executor->name);
    outbox_started(&a->outbox, (struct str){data, (size_t)len}, str_of(a->token_sha), handle);
}

static void on_handle_stored(void *ctx, enum err err, const struct script_handle_reply *reply)
{
    (void)ctx;
    (void)err;
    (void)reply;
}

static void on_started(void *ctx, struct str handle)
{
    struct attempt *a = ctx;
    metric_observe_us(METRIC_START_SECONDS, clock_mono_us() - a->claimed_us);
    move(a, ATTEMPT_RUNNING);
    loop_timer_set(&a->timeout, a->timeout_ms);
    watch_stall(a);
    arena_done(&a->arena); /* the spec was used up */
    if (a->end == END_LOST)
        return;
    handle = handle.len > 0 ? redaction_json(&a->redaction, handle) : handle;
    if (!a->remote) {
        put_started(a, handle);
        return;
    }
    struct script_handle_args args = {
        .run = str_of(a->run_id.s), .epoch = a->epoch, .handle = handle, .stats = STR("")};
    script_call_handle(a->shard->commands, worker_prefix(a->shard), &args, on_handle_stored, NULL);
}

static const struct job_events job_events = {on_started, output_take, on_gone};

/* start_why says why. */
static void start_failed(struct attempt *a)
{
    if (a->end == END_NONE)
        a->end = END_START_FAILED;
    go_ending(a);
}

static void start_job(struct attempt *a)
{
    const char *why = "out of memory";
    a->job = a->executor->start(a->shard->worker->loop, &a->spec, &job_events, a, &why);
    if (!a->job) {
        snprintf(a->start_why, sizeof a->start_why, "%s", why);
        start_failed(a);
    } else if (a->outbox.paused) {
        a->executor->read_output(a->job, false);
    }
}

static void on_timeout(void *ctx)
{
    struct attempt *a = ctx;
    end_for(a, END_TIMEOUT, a->grace_ms);
}

static void on_claimed_over(void *ctx)
{
    struct attempt *a = ctx;
    end_for(a, END_CLAIMED, a->grace_ms);
}

/* Everything that it is told is known. */
static void start(struct attempt *a)
{
    if (a->end != END_NONE)
        go_ending(a);
    else if (a->remote)
        put_started(a, STR("")); /* it writes its own events afterwards, so ours comes first */
    else
        start_job(a);
}

static void on_secrets(struct attempt *a, enum err err)
{
    if (a->state == ATTEMPT_OVER) {
        over_if_quiet(a);
    } else if (a->state != ATTEMPT_STARTING) {
        return; /* it was ended while they were asked for */
    } else if (err == ERR_REDIS_UNAVAILABLE) {
        loop_timer_set(&a->again, FINISH_AGAIN_MS);
    } else if (err == ERR_FENCED) {
        attempt_lose(a);
    } else {
        a->secrets.waiting = false;
        if (!err && attempt_redact(a, a->secrets.values, a->secrets.count) != ERR_OK) {
            snprintf(a->start_why, sizeof a->start_why, "what it shows could not be redacted");
            err = ERR_NO_MEMORY;
        }
        if (err)
            start_failed(a);
        else
            start(a);
    }
}

/* Until they are known, or the attempt is stopped, handed back or lost. */
static void ask_secrets(struct attempt *a)
{
    if (a->secrets.asked)
        return;
    if (worker_may_write(a->shard))
        secrets_ask(a, on_secrets);
    else
        loop_timer_set(&a->again, FINISH_AGAIN_MS);
}

static void begin(void *ctx)
{
    struct attempt *a = ctx;
    if (a->state != ATTEMPT_STARTING)
        return;
    if (a->end != END_NONE) { /* lost or stopped before it began */
        go_ending(a);
    } else if (!a->spec.command) {
        start_failed(a);
    } else if (a->secrets.waiting) {
        ask_secrets(a);
    } else {
        start(a);
    }
}

struct attempt *attempt_new(struct worker_shard *s, const struct script_claim_runs *row)
{
    struct attempt *a = calloc(1, sizeof *a);
    if (!a || !id_parse(row->run, &a->run_id)) {
        free(a);
        return NULL;
    }
    struct loop *l = s->worker->loop;
    a->shard = s;
    a->claimed_us = clock_mono_us();
    a->epoch = row->epoch;
    a->number = row->attempt;
    a->timeout_ms = row->timeout_ms;
    a->grace_ms = row->grace_ms;
    a->stall_ms = row->stall_ms;
    a->slots = row->slots;
    a->remote = str_eqz(row->source, "remote");
    arena_init(&a->arena, ARENA_MAX);
    loop_timer_init(&a->pause, l, output_pause, a);
    loop_timer_init(&a->timeout, l, on_timeout, a);
    loop_timer_init(&a->stall, l, on_stall, a);
    loop_timer_init(&a->claimed, l, on_claimed_over, a);
    loop_timer_init(&a->log_flush, l, on_log_flush, a);
    loop_timer_init(&a->again, l, on_again, a);
    log_tail_init(&a->log);
    lines_init(&a->err_lines, LINE_MAX_BYTES);
    lines_init(&a->out_lines, LINE_MAX_BYTES);
    outbox_init(&a->outbox, s, &a->run_id, row->epoch, row->first_seq, row->last_t_ms, row->event_count,
                row->event_bytes, &outbox_fns, a);
    struct str protocol = STR("events");
    const char *why = "the definition could not be read";
    if (spec_build(a, row, &protocol, &why) != ERR_OK) {
        a->spec.command = NULL;
        snprintf(a->start_why, sizeof a->start_why, "%s", why);
    }
    adapter_init(&a->adapter, protocol, output_event, a);
    a->adapter.plain = output_plain;
    if (attempt_redact(a, NULL, 0) != ERR_OK) {
        a->spec.command = NULL;
        snprintf(a->start_why, sizeof a->start_why, "what it shows could not be redacted");
    }
    loop_defer(l, begin, a);
    LOG_INFO("attempt claimed", LOG_RUN(a), LOG_S("agent", row->agent));
    return a;
}

/* ---- orders ---- */

/* One whose secrets are not known yet, and a remote one whose `started` is not answered yet, have no job whose end would lead on. */
static void leave_unstarted(struct attempt *a)
{
    if (a->state == ATTEMPT_STARTING && !a->job && (a->remote || a->secrets.waiting))
        go_ending(a);
}

void attempt_stop(struct attempt *a)
{
    if (a->state == ATTEMPT_ENDING || a->state == ATTEMPT_FINISHING || a->state == ATTEMPT_OVER)
        return; /* the script knows of the stop, too */
    bool waits = a->state == ATTEMPT_STARTING && a->remote && !a->job && a->end == END_NONE && a->outbox.count > 0 &&
                 !outbox_quiet(&a->outbox);
    end_for(a, END_STOP, a->grace_ms);
    if (!waits)
        leave_unstarted(a);
}

void attempt_claimed(struct attempt *a)
{
    if (!a->remote || a->end != END_NONE || a->state > ATTEMPT_RUNNING || a->secrets.waiting)
        return; /* waiting: it can only be an earlier attempt's claim that is spoken of */
    a->end = END_CLAIMED;
    loop_timer_set(&a->claimed, a->grace_ms);
}

void attempt_lose(struct attempt *a)
{
    if (a->state == ATTEMPT_OVER || a->end == END_LOST)
        return;
    outbox_abandon(&a->outbox);
    end_for(a, END_LOST, 0);
    leave_unstarted(a);
    if (a->state == ATTEMPT_FINISHING)
        go_lost(a);
    else
        end_if_drained(a);
}

void attempt_hand_back(struct attempt *a)
{
    if (a->state >= ATTEMPT_ENDING)
        return;
    end_for(a, END_DRAIN, a->grace_ms < HAND_BACK_GRACE_MS ? a->grace_ms : HAND_BACK_GRACE_MS);
    leave_unstarted(a);
}

void attempt_on_fresh(struct attempt *a, bool reconnected)
{
    if (a->state == ATTEMPT_OVER || a->end == END_LOST)
        return;
    if (reconnected)
        outbox_reconnected(&a->outbox);
    else
        outbox_kick(&a->outbox);
    log_send(a);
    if (a->state == ATTEMPT_STARTING && a->secrets.waiting && a->end == END_NONE)
        ask_secrets(a);
    else if (a->state == ATTEMPT_FINISHING)
        finish(a);
    else
        end_if_drained(a);
}
