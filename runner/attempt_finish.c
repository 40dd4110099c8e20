/* The end of an attempt: its log tail, `finish` or `hand_back`, and when its memory goes. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "lua/scripts.h"
#include "runner/attempt_parts.h"
#include "runner/outcome.h"
#include "runner/result_check.h"

enum { LOG_FLUSH_MS = 1000 };

/* ---- the log tail ---- */

void attempt_log(struct attempt *a, const char *stream, struct str text)
{
    log_tail_add(&a->log, clock_wall_ms(), stream, text);
    a->log_dirty = true;
    if (!loop_timer_is_set(&a->log_flush))
        loop_timer_set(&a->log_flush, LOG_FLUSH_MS);
}

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
        attempt_finish(a);
    else
        attempt_over_if_quiet(a);
}

void attempt_log_send(struct attempt *a)
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

void attempt_on_log_flush(void *ctx)
{
    attempt_log_send(ctx);
}

static void redacted_outcome(struct attempt *a, struct outcome *o)
{
    outcome_of(a, o);
    if (o->message[0] && !a->redaction.redactor && attempt_redact(a) != ERR_OK)
        o->message[0] = 0; /* of a silent one: made only now */
    redaction_message(&a->redaction, str_of(o->message), o->message, sizeof o->message);
}

/* ---- ends ---- */

void attempt_free(void *p)
{
    struct attempt *a = p;
    outbox_done(&a->outbox);
    adapter_done(&a->adapter);
    result_check_done(a);
    redaction_done(&a->redaction);
    sodium_memzero(a->token, sizeof a->token);
    sodium_memzero(a->storage_password, sizeof a->storage_password);
    lines_done(&a->err_lines);
    lines_done(&a->out_lines);
    log_tail_done(&a->log);
    arena_done(&a->arena);
    secrets_done(&a->secrets);
    strbuf_done(&a->deps_lines);
    if (a->adopted_env)
        sodium_memzero(a->adopted_env, a->adopted_env_len);
    free(a->adopted_env);
    free(a->agent);
    free(a);
}

void attempt_timers_stop(struct attempt *a)
{
    struct loop_timer *const timers[] = {&a->pause,       &a->timeout, &a->stall,     &a->stats,
                                         &a->input.timer, &a->claimed, &a->log_flush, &a->again};
    for (size_t i = 0; i < ARRAY_LEN(timers); i++)
        loop_timer_stop(timers[i]);
}

void attempt_go_over(struct attempt *a)
{
    attempt_move(a, ATTEMPT_OVER);
    attempt_timers_stop(a);
    outbox_abandon(&a->outbox);
    worker_attempt_over(a);
    attempt_over_if_quiet(a);
}

/* The memory goes when no answer is still to come. */
void attempt_over_if_quiet(struct attempt *a)
{
    if (a->state == ATTEMPT_OVER && outbox_quiet(&a->outbox) && !a->log_sending && !a->finish_sent && !a->stall_asked &&
        !a->asked && input_quiet(a))
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
        attempt_over_if_quiet(a);
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
    if (err)
        LOG_INFO("attempt ended", LOG_RUN(a), LOG_Z("status", "fenced"));
    else if (!o.error_class[0])
        LOG_DEBUG("attempt ended", LOG_RUN(a), LOG_S("status", reply->status));
    else
        LOG_INFO("attempt ended", LOG_RUN(a), LOG_S("status", reply->status), LOG_Z("errorClass", o.error_class),
                 LOG_Z("error", o.message));
    attempt_go_over(a);
}

static void on_handed_back(void *ctx, enum err err, const struct script_hand_back_reply *reply)
{
    struct attempt *a = ctx;
    (void)reply;
    a->finish_sent = false;
    if (a->state == ATTEMPT_OVER) {
        attempt_over_if_quiet(a);
    } else if (err && err != ERR_FENCED) {
        finish_again(a, err);
    } else {
        metric_add(METRIC_ATTEMPTS_HANDED_BACK, 1);
        LOG_INFO("run handed back", LOG_RUN(a));
        attempt_go_over(a);
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
    result_check(a);
    redacted_outcome(a, &o);
    outcome_retry(a, retry);
    strbuf_init(&error, 16384);
    strbuf_init(&result, 2 * (size_t)LIMIT_RESULT);
    outcome_error(&o, &error);
    bool whole = outcome_result(a, &result);
    if (a->how.started && !a->how.signaled && !a->how.class)
        snprintf(exit_code, sizeof exit_code, "%d", a->how.code);
    int64_t now = clock_wall_ms();
    bool known = !a->remote && !a->outbox.over; /* all that it counted is stored: attempt_finish() waited for that */
    struct script_finish_args args = {
        .inc = str_of(a->shard->incarnation.s),
        .run = str_of(a->run_id.s),
        .epoch = a->epoch,
        .attempt = a->number,
        .outcome = str_of(o.status),
        .error_json = strbuf_str(&error),
        .result = strbuf_str(&result),
        .truncated = !whole,
        .warnings = strbuf_str(&a->warnings),
        .exit_code = str_of(exit_code),
        .seq = a->remote ? 0 : a->outbox.next_seq,
        .t_ms = now > a->outbox.last_t_ms ? now : a->outbox.last_t_ms,
        .count = known ? a->outbox.count : 0,
        .bytes = known ? a->outbox.bytes : 0,
        .retry = str_of(retry),
        .rid = str_of(redis_run_id(a->shard->commands)),
        .retention_ms = a->shard->worker->config->retention_ms,
    };
    script_call_finish(a->shard->commands, worker_prefix(a->shard), &args, on_finished, a);
    strbuf_done(&error);
    strbuf_done(&result);
}

void attempt_finish(struct attempt *a)
{
    if (a->finish_sent || !worker_may_write(a->shard))
        return; /* worker_may_write's heartbeat brings us back */
    if (!a->outbox.over && !outbox_empty(&a->outbox)) {
        outbox_kick(&a->outbox); /* sent again after a reconnect, perhaps: the end comes behind all events */
        return;
    }
    attempt_log_send(a);
    if (a->log_sending)
        return; /* its answer brings us back: when the run ends its log is whole */
    a->finish_sent = true;
    if (a->end == END_DRAIN)
        call_hand_back(a);
    else
        call_finish(a);
}
