#include "runner/outbox.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "lua/scripts.h"

enum {
    FLUSH_MS = 10,
    KEEP_MS = 2000,
    RETRY_MS = 200,
    BATCH_EVENTS = LIMIT_BATCH_EVENTS,
    BATCH_BYTES = LIMIT_ENTRY,
    GROUP_BYTES = 8 * LIMIT_ENTRY, /* Redis does nothing else for about a quarter of a millisecond */
    GROUP_MAX = 32,
    PENDING_MAX = 50000
};

struct batch {
    struct batch *next;
    bool is_started;
    int64_t first, last, t, n;
    int64_t count, bytes; /* running totals, this batch included */
    int64_t answered_ms;  /* 0: not yet */
    int64_t out, err;     /* its mark: how much of the output is stored with it; -1: not known */
    int64_t attempt;      /* of runtime_started, as the next ones */
    char token_sha[65];
    size_t handle_len;
    size_t len;  /* of the lines */
    char data[]; /* lines, then the handle */
};

/* The open batch is written where it will lie, behind room for its head. */
enum { HEAD = offsetof(struct batch, data), KEPT_SPARE = 4096 };
_Static_assert(HEAD == sizeof(struct batch), "what is written behind the head is the batch's data");

static size_t open_len(const struct outbox *o)
{
    return o->open_n > 0 ? o->open_lines.len - HEAD : 0;
}

static void send_next(struct outbox *o);

/* ---- batches ---- */

static void forget_old(struct outbox *o)
{
    int64_t now = clock_mono_ms();
    size_t keep_max = 4 * (size_t)o->shard->worker->config->output_buffer;
    while (o->first && o->first != o->next_out && (now - o->first->answered_ms > KEEP_MS || o->kept > keep_max)) {
        struct batch *b = o->first;
        o->first = b->next;
        if (!o->first)
            o->tail = &o->first;
        o->kept -= b->len;
        free(b);
    }
}

static void push(struct outbox *o, struct batch *b)
{
    *o->tail = b;
    o->tail = &b->next;
    if (!o->next_out)
        o->next_out = b;
    o->held += b->len;
}

static void seal(struct outbox *o)
{
    if (o->open_n == 0)
        return;
    PRE(!strbuf_failed(&o->open_lines));
    size_t len = open_len(o), cap = o->open_lines.cap;
    struct batch *b = (struct batch *)(void *)strbuf_take(&o->open_lines);
    if (cap > HEAD + len + KEPT_SPARE) { /* most are small, and some are kept for long */
        struct batch *fitted = realloc(b, HEAD + len);
        b = fitted ? fitted : b;
    }
    *b = (struct batch){.first = o->open_first,
                        .last = o->open_last,
                        .t = o->open_t,
                        .n = o->open_n,
                        .count = o->count,
                        .bytes = o->bytes,
                        .out = o->open_out,
                        .err = o->open_err,
                        .len = len};
    push(o, b);
    o->many = len > BATCH_BYTES / 2;
    o->open_n = 0;
    o->open_out = o->open_err = -1;
}

static void check_full(struct outbox *o)
{
    size_t bound = (size_t)o->shard->worker->config->output_buffer, have = o->held + open_len(o);
    bool pause = o->paused ? have > bound / 2 : have >= bound;
    if (pause == o->paused || o->over)
        return;
    o->paused = pause;
    if (pause)
        metric_add(METRIC_OUTPUT_PAUSES, 1);
    o->fns->full(o->ctx, pause);
}

/* ---- answers ---- */

/* The first one that was not is stored. */
static void one_answered(struct outbox *o)
{
    struct batch *b = o->next_out;
    b->answered_ms = clock_mono_ms();
    o->held -= b->len;
    o->kept += b->len;
    o->next_out = b->next;
    o->full_since_ms = 0;
    if (b->out >= 0)
        o->fns->stored(o->ctx, b->out, b->err);
}

static void go_on(struct outbox *o)
{
    forget_old(o);
    check_full(o);
    send_next(o);
    if (!o->over && outbox_empty(o))
        o->fns->drained(o->ctx);
}

static void answered(struct outbox *o)
{
    one_answered(o);
    go_on(o);
}

static void fenced(struct outbox *o)
{
    if (o->over)
        return;
    outbox_abandon(o);
    o->fns->fenced(o->ctx);
}

/* No answer: after the reconnect it is sent again. Redis full: again in a moment. */
static void failed(struct outbox *o, enum err err)
{
    if (err != ERR_MEMORY_PRESSURE) {
        if (redis_is_up(o->shard->commands))
            loop_timer_set(&o->retry, RETRY_MS);
        return;
    }
    int64_t now = clock_mono_ms();
    if (o->full_since_ms == 0)
        o->full_since_ms = now;
    if (now - o->full_since_ms > o->shard->worker->config->full_ms) {
        outbox_abandon(o);
        o->fns->storage_full(o->ctx);
        return;
    }
    loop_timer_set(&o->retry, RETRY_MS);
}

static void on_verified(void *ctx, enum err err, const redisReply *reply)
{
    struct outbox *o = ctx;
    o->in_flight = false;
    if (o->over) {
        o->fns->drained(o->ctx);
        return;
    }
    if (err) {
        failed(o, err);
        return;
    }
    const struct batch *b = o->next_out;
    struct str stored = redis_str(redis_field(redis_at(redis_at(reply, 0), 1), "b"));
    if (str_eq(stored, (struct str){b->data, b->len}))
        answered(o); /* it was there already: an earlier sending whose answer was lost */
    else
        fenced(o);
}

static void entry_id(const struct outbox *o, const struct batch *b, char out[48])
{
    snprintf(out, 48, "%lld-%lld", (long long)o->epoch, (long long)b->last);
}

/* Refused: either this very batch is stored, or this attempt is fenced. */
static void verify(struct outbox *o)
{
    char id[48];
    struct key key = keys_events(worker_prefix(o->shard), str_of(o->run_id.s));
    entry_id(o, o->next_out, id);
    o->in_flight = true;
    o->last_out = o->next_out;
    redis_command(o->shard->commands, 4, (const struct str[]){STR("XRANGE"), key_str(&key), str_of(id), str_of(id)},
                  on_verified, o);
}

/* What XADD said of the first batch that is not answered. False: it is not known to be stored, and what follows from that is under way. */
static bool take_answer(struct outbox *o, enum err err, const redisReply *reply)
{
    if (!err && reply->type == REDIS_REPLY_NIL) /* NOMKSTREAM: the run is gone */
        fenced(o);
    else if (!err && reply->type != REDIS_REPLY_ERROR)
        return true;
    else if (reply && reply->type == REDIS_REPLY_ERROR && memmem(reply->str, reply->len, "equal or smaller", 16))
        verify(o);
    else
        failed(o, err ? err : ERR_INTERNAL);
    return false;
}

static void on_appended(void *ctx, enum err err, const redisReply *reply)
{
    struct outbox *o = ctx;
    o->in_flight = false;
    if (o->over)
        o->fns->drained(o->ctx);
    else if (take_answer(o, err, reply))
        answered(o);
}

/* Of a command of a transaction, before it is executed: what is refused now makes EXEC refuse all of it. */
static void on_queued(void *ctx, enum err err, const redisReply *reply)
{
    struct outbox *o = ctx;
    (void)reply;
    if (err && !o->group_err)
        o->group_err = err;
}

static void on_group(void *ctx, enum err err, const redisReply *reply)
{
    struct outbox *o = ctx;
    const struct batch *last = o->last_out;
    o->in_flight = false;
    if (o->over) {
        o->fns->drained(o->ctx);
        return;
    }
    if (err || reply->type != REDIS_REPLY_ARRAY) {
        failed(o, o->group_err ? o->group_err : err ? err : ERR_INTERNAL);
        return;
    }
    for (size_t i = 0; !o->over; i++) {
        const struct batch *b = o->next_out;
        const redisReply *one = redis_at(reply, i);
        if (!take_answer(o, one ? ERR_OK : ERR_INTERNAL, one))
            return;
        one_answered(o);
        if (b == last)
            break;
    }
    if (!o->over)
        go_on(o);
}

static void on_started(void *ctx, enum err err, const struct script_started_reply *reply)
{
    struct outbox *o = ctx;
    o->in_flight = false;
    if (o->over) {
        o->fns->drained(o->ctx);
    } else if (err == ERR_FENCED) {
        fenced(o);
    } else if (err) {
        failed(o, err);
    } else {
        bool stop = reply->stop != 0;
        answered(o);
        if (stop && !o->over)
            o->fns->stop_asked(o->ctx);
        if (!o->over)
            outbox_flush(o); /* what the agent said first waits no longer */
    }
}

/* ---- sending ---- */

enum { HEAD_MAX = 6 * 21 };

/* What a batch's entry says of it: its field `h` (lua/include/stream.lua). */
static struct str head_of(const struct batch *b, char into[HEAD_MAX])
{
    const int64_t numbers[] = {b->first, b->last, b->t, b->n, b->count, b->bytes};
    size_t len = 0;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (i > 0)
            into[len++] = ',';
        len += decimal(into + len, numbers[i]);
    }
    return (struct str){into, len};
}

static void send_add(struct outbox *o, const struct batch *b, redis_reply_fn fn)
{
    char id[48], head[HEAD_MAX];
    struct key key = keys_events(worker_prefix(o->shard), str_of(o->run_id.s));
    entry_id(o, b, id);
    char mark[48];
    snprintf(mark, sizeof mark, "%lld %lld", (long long)b->out, (long long)b->err);
    const struct str add[] = {STR("XADD"),      key_str(&key), STR("NOMKSTREAM"), str_of(id), STR("h"),
                              head_of(b, head), STR("b"),      {b->data, b->len}, STR("o"),   str_of(mark)};
    size_t words = ARRAY_LEN(add) - (b->out < 0 ? 2 : 0);
    redis_command(o->shard->commands, words, add, fn, o);
    metric_add(METRIC_APPENDS, 1);
    metric_add(METRIC_EVENTS_APPENDED, b->n);
}

static void send_wake(struct outbox *o)
{
    struct key wake = keys_wake(worker_prefix(o->shard), str_of(o->run_id.s));
    redis_command(o->shard->commands, 3, (const struct str[]){STR("PUBLISH"), key_str(&wake), STR("")}, NULL, NULL);
}

/* How many batches may go together: those that wait, up to a bound. One goes alone where Redis lets us have no transactions, or so much is under way that a part of one could be refused here. */
static size_t group_size(const struct outbox *o)
{
    size_t n = 0, bytes = 0;
    bool several = o->shard->transactions && redis_pending(o->shard->commands) < PENDING_MAX;
    for (const struct batch *b = o->next_out; b && !b->is_started && n < GROUP_MAX; b = b->next) {
        bytes += b->len;
        if (n > 0 && (!several || bytes > GROUP_BYTES))
            break;
        n++;
    }
    return n;
}

/* Several batches as one transaction: were they only sent one behind the other, Redis could refuse one (full) and take the next, and the one before would be refused for good. */
static void send_batches(struct outbox *o)
{
    struct redis *r = o->shard->commands;
    size_t n = group_size(o);
    struct batch *b = o->next_out;
    o->group_err = ERR_OK;
    if (n > 1)
        redis_command(r, 1, (const struct str[]){STR("MULTI")}, on_queued, o);
    for (size_t i = 0; i < n; i++, b = b->next) {
        send_add(o, b, n > 1 ? on_queued : on_appended);
        o->last_out = b;
    }
    send_wake(o);
    if (n > 1)
        redis_command(r, 1, (const struct str[]){STR("EXEC")}, on_group, o);
}

static void send_started(struct outbox *o, const struct batch *b)
{
    char head[HEAD_MAX];
    struct script_started_args args = {
        .inc = str_of(o->shard->incarnation.s),
        .run = str_of(o->run_id.s),
        .epoch = o->epoch,
        .attempt = b->attempt,
        .seq = b->first,
        .head = head_of(b, head),
        .event = {b->data, b->len},
        .token_sha = str_of(b->token_sha),
        .handle = {b->data + b->len, b->handle_len},
    };
    script_call_started(o->shard->commands, worker_prefix(o->shard), &args, on_started, o);
}

static void send_next(struct outbox *o)
{
    if (o->over || o->in_flight)
        return;
    if (!o->next_out && o->open_n > 0 && !loop_timer_is_set(&o->flush))
        seal(o);
    if (!o->next_out || !worker_may_write(o->shard))
        return;
    loop_timer_stop(&o->retry);
    o->in_flight = true;
    o->last_out = o->next_out;
    if (o->next_out->is_started)
        send_started(o, o->next_out);
    else
        send_batches(o);
}

static void on_flush(void *ctx)
{
    outbox_flush(ctx);
}

static void on_retry(void *ctx)
{
    send_next(ctx);
}

void outbox_flush(struct outbox *o)
{
    loop_timer_stop(&o->flush);
    if (o->over)
        return;
    seal(o);
    send_next(o);
}

void outbox_kick(struct outbox *o)
{
    send_next(o);
}

/* ---- events ---- */

static bool over_limit(struct outbox *o, size_t line_len)
{
    const struct config *c = o->shard->worker->config;
    if (o->count < c->run_events_max - 1 &&
        o->bytes + (int64_t)line_len < c->run_bytes_max) /* one is kept for the end */
        return false;
    if (!o->limit_said) {
        o->limit_said = true;
        o->fns->too_much(o->ctx);
    }
    return true;
}

static int64_t next_t(struct outbox *o)
{
    int64_t turn = loop_now_ms(o->shard->worker->loop), now = o->wall_ms;
    if (turn != o->wall_turn || now == 0) /* one look at the clock a turn: it serves all that was read in it */
        o->wall_ms = now = clock_wall_ms();
    o->wall_turn = turn;
    o->last_t_ms = now > o->last_t_ms ? now : o->last_t_ms;
    return o->last_t_ms;
}

/* Where many come there is room for a whole batch at once. */
static void open_batch(struct outbox *o)
{
    strbuf_reset(&o->open_lines);
    if (o->many)
        strbuf_grow(&o->open_lines, HEAD + BATCH_BYTES + EVENT_HEAD_ROOM);
    if (strbuf_grow(&o->open_lines, HEAD))
        o->open_lines.len = HEAD;
}

void outbox_add(struct outbox *o, enum event_kind kind, struct str data)
{
    if (o->over || over_limit(o, data.len + 80))
        return;
    if (o->open_n >= BATCH_EVENTS || (o->open_n > 0 && open_len(o) + data.len + 100 > BATCH_BYTES))
        seal(o);
    bool was_idle = o->open_n == 0;
    if (was_idle)
        open_batch(o);
    size_t before = o->open_lines.len + (was_idle ? 0 : 1);
    int64_t t = next_t(o);
    event_write_stamped(&o->open_lines, !was_idle, o->next_seq, t, kind, data, &o->stamp);
    if (was_idle)
        o->open_first = o->next_seq;
    o->open_last = o->next_seq++;
    o->open_out = o->open_err = o->mark_out = o->mark_err = -1; /* a mark before it does not speak of it */
    o->open_t = t;
    o->open_n++;
    o->count++;
    o->bytes += (int64_t)(o->open_lines.len - before);
    if (was_idle && !o->in_flight && !o->next_out)
        loop_timer_set(&o->flush,
                       0); /* nothing is under way: the first leaves in this turn, what comes meanwhile gathers */
    else if (!loop_timer_is_set(&o->flush))
        loop_timer_set(&o->flush, FLUSH_MS);
    if (o->held + open_len(o) >= (size_t)o->shard->worker->config->output_buffer)
        check_full(o);
}

void outbox_add_aside(struct outbox *o, enum event_kind kind, struct str data)
{
    int64_t out = o->mark_out, err = o->mark_err;
    outbox_add(o, kind, data);
    if (out >= 0)
        outbox_mark(o, out, err);
}

void outbox_mark(struct outbox *o, int64_t out, int64_t err)
{
    struct batch *b = o->next_out;
    o->mark_out = out;
    o->mark_err = err;
    if (o->open_n > 0) {
        o->open_out = out;
        o->open_err = err;
        return;
    }
    while (b && b->next)
        b = b->next;
    if (b && !b->is_started && !(b == o->last_out && o->in_flight)) { /* sealed, but nobody has seen it yet */
        b->out = out;
        b->err = err;
    }
}

void outbox_started(struct outbox *o, int64_t attempt, struct str data, struct str token_sha, struct str handle)
{
    struct strbuf line;
    PRE(o->open_n == 0 && !o->first); /* runtime_started is the attempt's first event */
    strbuf_init(&line, LIMIT_EVENT);
    int64_t seq = o->next_seq++, t = next_t(o);
    event_write(&line, seq, t, EVENT_RUNTIME_STARTED, data);
    struct batch *b = malloc(sizeof *b + line.len + handle.len);
    PRE(b && !strbuf_failed(&line) && token_sha.len == 64);
    o->count++;
    o->bytes += (int64_t)line.len;
    *b = (struct batch){.is_started = true,
                        .first = seq,
                        .last = seq,
                        .t = t,
                        .n = 1,
                        .count = o->count,
                        .bytes = o->bytes,
                        .out = -1,
                        .err = -1,
                        .handle_len = handle.len,
                        .len = line.len};
    memcpy(b->data, line.ptr, line.len);
    if (handle.len > 0)
        memcpy(b->data + line.len, handle.ptr, handle.len);
    b->attempt = attempt;
    memcpy(b->token_sha, token_sha.ptr, 64);
    strbuf_done(&line);
    o->mark_out = o->mark_err = 0; /* there was no output before it */
    push(o, b);
    send_next(o);
}

bool outbox_empty(const struct outbox *o)
{
    return !o->next_out && o->open_n == 0;
}

bool outbox_quiet(const struct outbox *o)
{
    return !o->in_flight;
}

void outbox_reconnected(struct outbox *o)
{
    if (o->over)
        return;
    for (struct batch *b = o->first; b && b != o->next_out;
         b = b->next) { /* answered lately: a Redis that crashed may have lost it */
        b->answered_ms = 0;
        o->held += b->len;
    }
    o->kept = 0;
    o->next_out = o->first;
    if (strcmp(o->redis, redis_run_id(o->shard->commands)) != 0) {
        /* What this Redis forgot may have held an end that somebody else wrote (a reaper, say) behind our events, and readers have seen it. Its seq was as far ahead as lua/include/stream.lua says
         * (seq_after), by the time since the claim: our next events come behind that. */
        snprintf(o->redis, sizeof o->redis, "%s", redis_run_id(o->shard->commands));
        o->next_seq += 2 * SEQ_RESTART_GAP + clock_mono_us() - o->since_us;
    }
    send_next(o);
}

void outbox_abandon(struct outbox *o)
{
    o->over = true;
    loop_timer_stop(&o->flush);
    loop_timer_stop(&o->retry);
}

void outbox_init(struct outbox *o, struct worker_shard *s, const struct id *run_id, int64_t epoch, int64_t first_seq,
                 int64_t last_t_ms, int64_t count, int64_t bytes, const struct outbox_fns *fns, void *ctx)
{
    *o = (struct outbox){.shard = s,
                         .run_id = *run_id,
                         .epoch = epoch,
                         .next_seq = first_seq,
                         .last_t_ms = last_t_ms,
                         .count = count,
                         .bytes = bytes,
                         .open_out = -1,
                         .open_err = -1,
                         .mark_out = -1,
                         .mark_err = -1,
                         .fns = fns,
                         .ctx = ctx};
    snprintf(o->redis, sizeof o->redis, "%s", redis_run_id(s->commands));
    o->since_us = clock_mono_us();
    o->tail = &o->first;
    strbuf_init(&o->open_lines, HEAD + 2 * (size_t)LIMIT_EVENT + BATCH_BYTES);
    loop_timer_init(&o->flush, s->worker->loop, on_flush, o);
    loop_timer_init(&o->retry, s->worker->loop, on_retry, o);
}

void outbox_done(struct outbox *o)
{
    outbox_abandon(o);
    while (o->first) {
        struct batch *b = o->first;
        o->first = b->next;
        free(b);
    }
    strbuf_done(&o->open_lines);
}
