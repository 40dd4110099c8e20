#include "runner/attempt.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/metrics.h"
#include "lua/scripts.h"
#include "runner/attempt_parts.h"
#include "runner/job_stats.h"
#include "runner/output.h"
#include "runner/spec.h"
#include "runner/storage.h"
#include "runner/workdir.h"
#include "runner/worker_shard.h"

enum { FORMER_MS = 20, HAND_BACK_GRACE_MS = 2000, ARENA_MAX = 8 << 20 };

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

void attempt_move(struct attempt *a, enum attempt_state to)
{
    PRE(attempt_edge(a->state, to));
    a->state = to;
}

enum err attempt_redact(struct attempt *a)
{
    const struct redact_secret *values = a->adopted_secrets ? a->adopted_secrets : a->secrets.values;
    size_t n = a->adopted_secrets ? a->adopted_secret_count : values ? a->secrets.count : 0;
    struct redact_secret *all = calloc(n + 2, sizeof *all);
    if (!all)
        return ERR_NO_MEMORY;
    all[0] = (struct redact_secret){STR("ERRAND_RUNNER_TOKEN"), str_of(a->token)};
    if (n > 0)
        memcpy(all + 1, values, n * sizeof *all);
    n++;
    if (a->storage_password[0])
        all[n++] = (struct redact_secret){STR("ERRAND_STORAGE_PASSWORD"), str_of(a->storage_password)};
    enum err err = redaction_init(&a->redaction, all, n);
    free(all);
    return err;
}

struct executor_self *attempt_executor_self(const struct attempt *a)
{
    return a->shard->worker->executors[executor_index(a->executor)];
}

/* ---- what comes before its start ---- */

/* One after the other, those that the attempt wants. */
static const struct preparation preparations[] = {
    {secrets_wanted, secrets_ask}, {bundle_wanted, bundle_ask}, {storage_wanted, storage_ask}};

/* Whether something is still to be had before it can start. */
static bool is_preparing(const struct attempt *a)
{
    return a->state == ATTEMPT_STARTING && (a->prepared < ARRAY_LEN(preparations) || a->waits);
}

static void prepare(struct attempt *a);

static void on_again(void *ctx)
{
    struct attempt *a = ctx;
    if (a->state == ATTEMPT_FINISHING)
        attempt_finish(a);
    else if (is_preparing(a))
        prepare(a);
}

static void go_lost(struct attempt *a)
{
    metric_add(METRIC_ATTEMPTS_FENCED, 1);
    LOG_WARN("attempt lost", LOG_RUN(a));
    attempt_go_over(a);
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
    attempt_move(a, ATTEMPT_FINISHING);
    attempt_finish(a);
}

/* Nothing of it is left: its slot is free, and its folder goes, though Redis may have to be waited for. */
static void go_ending(struct attempt *a)
{
    attempt_move(a, ATTEMPT_ENDING);
    workdir_remove(a->shard->worker->loop, a->workdir);
    bundle_release(a);
    storage_release(a);
    worker_slots_freed(a->shard->worker, a->slots);
    end_if_drained(a);
}

static void on_gone(void *ctx, const struct job_exit *how)
{
    struct attempt *a = ctx;
    if (a->adopted && !how->started && a->end == END_NONE)
        a->end = END_LOST; /* nobody waited there: Redis hears of it by the next heartbeat */
    a->how = *how;
    snprintf(a->how_message, sizeof a->how_message, "%s", how->message ? how->message : "");
    a->job = NULL;
    loop_timer_stop(&a->pause);
    loop_timer_stop(&a->timeout);
    loop_timer_stop(&a->stall);
    loop_timer_stop(&a->stats);
    input_end(a);
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
    if (a->end == END_LEFT)
        return;
    a->event_ms = clock_mono_ms(); /* what it wrote while we did not read is still to come */
    if (a->job && (!full || a->end == END_NONE || a->end == END_CLAIMED))
        a->executor->read_output(a->job, !full);
}

static void start_job(struct attempt *a);

static void on_drained(void *ctx)
{
    struct attempt *a = ctx;
    if (a->state == ATTEMPT_OVER)
        attempt_over_if_quiet(a);
    else if (a->end == END_LEFT)
        attempt_let_go(a, false);
    else if (a->state == ATTEMPT_FINISHING)
        attempt_finish(a);
    else if (is_preparing(a))
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
        attempt_finish(a);
        return;
    }
    if (a->end == END_LEFT) {
        attempt_let_go(a, true);
        return;
    }
    end_for(a, END_STORAGE_FULL, a->grace_ms);
    end_if_drained(a);
}

/* Its successor would go on from there. */
static void on_stored(void *ctx, int64_t out, int64_t err)
{
    struct attempt *a = ctx;
    if (a->job && a->executor->stored)
        a->executor->stored(a->job, out, err);
}

const struct outbox_fns attempt_outbox_fns = {on_fenced,   on_full,         on_drained, on_stop_asked,
                                              on_too_much, on_storage_full, on_stored};

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
        attempt_over_if_quiet(a);
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
    outbox_started(&a->outbox, a->number, (struct str){data, (size_t)len}, str_of(a->token_sha), handle);
}

static void on_handle_stored(void *ctx, enum err err, const struct script_handle_reply *reply)
{
    (void)ctx;
    (void)err;
    (void)reply;
}

/* It runs: its deadlines begin. */
void attempt_run(struct attempt *a)
{
    attempt_move(a, ATTEMPT_RUNNING);
    loop_timer_set(&a->timeout, a->timeout_ms);
    watch_stall(a);
    if (a->executor->measure)
        loop_timer_set(&a->stats, a->shard->worker->config->stats_ms);
}

static void on_started(void *ctx, struct str handle)
{
    struct attempt *a = ctx;
    int64_t took_us = clock_mono_us() - a->claimed_us;
    metric_observe_us(METRIC_START_SECONDS, took_us);
    LOG_DEBUG("attempt started", LOG_RUN(a), LOG_I("us", took_us));
    attempt_run(a);
    if (a->spec.stdin_open && a->executor->input)
        input_begin(a);
    arena_done(&a->arena); /* the spec was used up */
    if (a->end == END_LOST)
        return;
    struct strbuf shown;
    strbuf_init(&shown, handle.len + 2048);
    executor_handle(a->executor, handle, &shown);
    handle = handle.len > 0 ? redaction_json(&a->redaction, strbuf_str(&shown)) : handle;
    if (a->remote) {
        struct script_handle_args args = {
            .run = str_of(a->run_id.s), .epoch = a->epoch, .handle = handle, .stats = STR("")};
        script_call_handle(a->shard->commands, worker_prefix(a->shard), &args, on_handle_stored, NULL);
    } else {
        put_started(a, handle);
        bundle_tell(a);
    }
    strbuf_done(&shown);
    worker_stop_if_done(a->shard->worker); /* it may be what a runner that leaves its runs was waiting for */
}

/* Statistics: to the record; and as an event, where this runner is the one that writes events. */
static void on_stats(void *ctx, const struct job_stats *stats)
{
    struct attempt *a = ctx;
    struct strbuf text;
    if (a->state != ATTEMPT_RUNNING || a->end == END_LOST)
        return;
    strbuf_init(&text, 512);
    if (job_stats_write(stats, &text)) {
        struct script_handle_args args = {
            .run = str_of(a->run_id.s), .epoch = a->epoch, .handle = STR(""), .stats = strbuf_str(&text)};
        if (worker_may_write(a->shard))
            script_call_handle(a->shard->commands, worker_prefix(a->shard), &args, on_handle_stored, NULL);
        if (!a->remote && a->end == END_NONE)
            job_stats_event(a, strbuf_str(&text));
    }
    strbuf_done(&text);
}

static void on_stats_due(void *ctx)
{
    struct attempt *a = ctx;
    if (!a->job || a->state != ATTEMPT_RUNNING)
        return;
    a->executor->measure(a->job);
    loop_timer_set(&a->stats, a->shard->worker->config->stats_ms);
}

const struct job_events attempt_job_events = {
    .started = on_started, .output = output_take, .adopted = attempt_on_adopted, .stats = on_stats, .gone = on_gone};

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
    /* what a tool's adapter knows of its text so far is nowhere but here */
    a->spec.adoptable =
        a->shard->worker->config->adopt && a->executor->leave && !a->spec.stdin_open && !a->adapter.protocol;
    a->adoptable = a->spec.adoptable;
    a->job = a->executor->start(attempt_executor_self(a), &a->spec, &attempt_job_events, a, &why);
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

/* A Redis that lost its last second gives a run out again under the same number. What was begun for it then is being killed, and still has its names: folder, group, container. */
static bool former_lives(const struct attempt *a)
{
    for (const struct attempt *o = a->shard->worker->attempts; o; o = o->next)
        if (o != a && o->job && o->number == a->number && strcmp(o->run_id.s, a->run_id.s) == 0)
            return true;
    return false;
}

/* Everything that it is told is known. */
static void start(struct attempt *a)
{
    a->waits = former_lives(a);
    if (a->waits)
        loop_timer_set(&a->again, FORMER_MS);
    else if (a->end != END_NONE)
        go_ending(a);
    else if (a->remote)
        put_started(a, STR("")); /* it writes its own events afterwards, so ours comes first */
    else
        start_job(a);
}

static void on_prepared(struct attempt *a, enum err err)
{
    a->asked = false;
    if (a->state == ATTEMPT_OVER) {
        attempt_over_if_quiet(a);
    } else if (a->state != ATTEMPT_STARTING) {
        return; /* it was ended meanwhile */
    } else if (err == ERR_REDIS_UNAVAILABLE) {
        loop_timer_set(&a->again, FINISH_AGAIN_MS);
    } else if (err == ERR_FENCED) {
        attempt_lose(a);
    } else if (err) {
        start_failed(a);
    } else {
        a->prepared++;
        prepare(a);
    }
}

/* Asks for the next thing that it wants; starts it when there is none. Until then it may be stopped, handed back or lost. */
static void prepare(struct attempt *a)
{
    while (a->prepared < ARRAY_LEN(preparations) && !preparations[a->prepared].wanted(a))
        a->prepared++;
    if (a->asked)
        return;
    if (a->prepared == ARRAY_LEN(preparations)) {
        start(a);
    } else if (worker_may_write(a->shard)) {
        a->asked = true;
        preparations[a->prepared].ask(a, on_prepared);
    } else {
        loop_timer_set(&a->again, FINISH_AGAIN_MS);
    }
}

static void begin(void *ctx)
{
    struct attempt *a = ctx;
    if (a->state != ATTEMPT_STARTING)
        return;
    if (a->end != END_NONE) { /* lost or stopped before it began */
        go_ending(a);
    } else if (a->start_why[0]) {
        start_failed(a);
    } else {
        prepare(a);
    }
}

void attempt_init(struct attempt *a, struct worker_shard *s)
{
    struct loop *l = s->worker->loop;
    a->shard = s;
    a->claimed_us = clock_mono_us();
    arena_init(&a->arena, ARENA_MAX);
    loop_timer_init(&a->pause, l, output_pause, a);
    loop_timer_init(&a->timeout, l, on_timeout, a);
    loop_timer_init(&a->stall, l, on_stall, a);
    loop_timer_init(&a->stats, l, on_stats_due, a);
    input_init(a);
    loop_timer_init(&a->claimed, l, on_claimed_over, a);
    loop_timer_init(&a->log_flush, l, attempt_on_log_flush, a);
    loop_timer_init(&a->again, l, on_again, a);
    log_tail_init(&a->log);
    lines_init(&a->err_lines, LINE_MAX_BYTES);
    lines_init(&a->out_lines, LINE_MAX_BYTES);
}

struct attempt *attempt_new(struct worker_shard *s, const struct script_claim_runs *row)
{
    struct attempt *a = calloc(1, sizeof *a);
    if (!a || !id_parse(row->run, &a->run_id)) {
        free(a);
        return NULL;
    }
    a->epoch = row->epoch;
    a->number = row->attempt;
    a->timeout_ms = row->timeout_ms;
    a->grace_ms = row->grace_ms;
    a->stall_ms = row->stall_ms;
    a->slots = row->slots;
    a->remote = str_eqz(row->source, "remote");
    attempt_init(a, s);
    outbox_init(&a->outbox, s, &a->run_id, row->epoch, row->first_seq, row->last_t_ms, row->event_count,
                row->event_bytes, &attempt_outbox_fns, a);
    struct str protocol = STR("events");
    const char *why = "the definition could not be read";
    if (spec_build(a, row, &protocol, &why) != ERR_OK)
        snprintf(a->start_why, sizeof a->start_why, "%s", why);
    adapter_init(&a->adapter, protocol, output_event, a);
    a->adapter.plain = output_plain;
    a->adapter.big = output_big;
    a->adapter.quick = output_quick;
    if (!a->executor->silent && attempt_redact(a) != ERR_OK)
        snprintf(a->start_why, sizeof a->start_why, "what it shows could not be redacted");
    loop_defer(s->worker->loop, begin, a);
    LOG_DEBUG("attempt claimed", LOG_RUN(a), LOG_S("agent", row->agent));
    return a;
}

/* ---- orders ---- */

/* One whose secrets are not known yet, and a remote one whose `started` is not answered yet, have no job whose end would lead on. */
static void leave_unstarted(struct attempt *a)
{
    if (a->state == ATTEMPT_STARTING && !a->job && (a->remote || is_preparing(a)))
        go_ending(a);
}

void attempt_stop(struct attempt *a)
{
    if (a->state == ATTEMPT_ENDING || a->state == ATTEMPT_FINISHING || a->state == ATTEMPT_OVER || a->end == END_LEFT)
        return; /* the script knows of the stop, too; of one that was left its successor hears */
    LOG_DEBUG("attempt is to stop", LOG_RUN(a));
    bool waits = a->state == ATTEMPT_STARTING && a->remote && !a->job && a->end == END_NONE && a->outbox.count > 0 &&
                 !outbox_quiet(&a->outbox);
    end_for(a, END_STOP, a->grace_ms);
    if (!waits)
        leave_unstarted(a);
}

void attempt_claimed(struct attempt *a)
{
    if (!a->remote || a->end != END_NONE || a->state > ATTEMPT_RUNNING || is_preparing(a))
        return; /* preparing: it can only be an earlier attempt's claim that is spoken of */
    a->end = END_CLAIMED;
    loop_timer_set(&a->claimed, a->grace_ms);
}

void attempt_lose(struct attempt *a)
{
    if (a->state == ATTEMPT_OVER || a->end == END_LOST || (a->end == END_LEFT && !a->job))
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
    if (a->end == END_LEFT)
        attempt_let_go(a, true);
    if (a->state >= ATTEMPT_ENDING || a->end == END_LEFT)
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
    attempt_log_send(a);
    input_kick(a);
    if (is_preparing(a) && a->end == END_NONE && !a->start_why[0])
        prepare(a);
    else if (a->state == ATTEMPT_FINISHING)
        attempt_finish(a);
    else
        end_if_drained(a);
}
