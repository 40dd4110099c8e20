#include "api/sse.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/auth.h"
#include "api/handlers.h"
#include "api/keys.h"
#include "api/live.h"
#include "api/record.h"
#include "common/clock.h"
#include "common/event.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/pool.h"

enum {
    HEARTBEAT_MS = 5000,
    STALL_MS = 1000,
    LOW_WATER = 65536,
    PAGE_DEFAULT = 100,
    PAGE_MAX = 1000,
    PAGE_BYTES = 8388608,
    SHORT_BYTES = 131072, /* of events: with their frames no more than the kernel takes at once */
    KEPT_DONE = 4096      /* a `done` of so many bytes is kept while its run is replayed */
};

/* One reader. It outlives its call's arena: what it needs is in here. */
struct sse {
    struct live_reader reader;
    struct key_hold hold; /* it ends with the key that opened it */
    struct http_req *req; /* NULL once the client is gone */
    struct node *node;
    struct shard *shard;
    struct id run_id;
    char workspace[LIMIT_NAME + 1];
    int64_t after; /* last seq it has */
    int64_t sent_ms;
    struct loop_timer heartbeat;
    struct http_buf *done; /* of a run that had ended when the reader came; NULL: it is asked for */
    struct sse *next_asked;
    bool asked; /* for its final record, or for its position: the answer frees it when the client is gone meanwhile */
};

static struct http_buf *buf_of(const struct strbuf *text)
{
    struct http_buf *b = strbuf_failed(text) ? NULL : http_buf_new(text->len);
    if (b)
        memcpy(b->data, text->ptr, text->len);
    return b;
}

static _Thread_local struct pool sse_pool = POOL_OF(struct sse);

static void sse_release(void *p)
{
    pool_put(&sse_pool, p);
}

static void sse_free(struct sse *s)
{
    live_detach(&s->reader);
    keys_release(&s->hold);
    loop_timer_stop(&s->heartbeat);
    http_buf_unref(s->done);
    s->done = NULL;
    metric_add(METRIC_READERS, -1);
    loop_defer_free(s->node->loop, sse_release, s);
}

static void sse_cut(struct sse *s)
{
    http_stream_cut(s->req);
    s->req = NULL;
    sse_free(s);
}

/* Its key was revoked, or has expired. */
static void on_key_cut(struct key_hold *h)
{
    struct sse *s = CONTAINER_OF(h, struct sse, hold);
    if (!s->asked) {
        sse_cut(s);
    } else if (s->req) { /* the answer that is under way frees it */
        http_stream_cut(s->req);
        s->req = NULL;
    }
}

/* It gets no more then: what is queued is at most the bound and one entry. */
static bool is_full(const struct sse *s)
{
    return http_stream_queued(s->req) > (size_t)s->node->config->reader_buffer;
}

static void send_buf(struct sse *s, struct http_buf *b)
{
    http_stream_send(s->req, b);
    s->sent_ms = loop_now_ms(s->node->loop);
}

static void send_text(struct sse *s, struct strbuf *text)
{
    struct http_buf *b = buf_of(text);
    if (b)
        send_buf(s, b);
    http_buf_unref(b);
}

static void on_heartbeat(void *ctx)
{
    struct sse *s = ctx;
    if (is_full(s)) {
        int64_t stuck = clock_mono_ms() - http_stream_progress_ms(s->req);
        if (stuck < STALL_MS) {
            loop_timer_set(&s->heartbeat, STALL_MS - stuck);
            return;
        }
        metric_add(METRIC_READERS_CUT, 1);
        http_stream_cut_whole(s->req);
        s->req = NULL;
        sse_free(s);
        return;
    }
    int64_t idle = loop_now_ms(s->node->loop) - s->sent_ms;
    if (idle >= HEARTBEAT_MS) {
        http_stream_rests(s->req);
        struct strbuf text;
        strbuf_init(&text, 64);
        strbuf_addz(&text, ": heartbeat\n");
        if (http_stream_queued(s->req) == 0) /* one that is stuck gets no more */
            send_text(s, &text);
        strbuf_done(&text);
        idle = 0;
    }
    loop_timer_set(&s->heartbeat, HEARTBEAT_MS - idle);
}

/* ---- as a live reader ---- */

/* Each is paced by its own socket, nobody waits for it; one whose buffer is full while its socket takes nothing is cut. */
static size_t on_room(struct live_reader *r)
{
    const struct sse *s = CONTAINER_OF(r, struct sse, reader);
    size_t queued = http_stream_queued(s->req), bound = (size_t)s->node->config->reader_buffer;
    return queued > bound ? 0 : bound - queued + 1;
}

static void on_deliver(struct live_reader *r, struct live_span *span)
{
    struct sse *s = CONTAINER_OF(r, struct sse, reader);
    if (span->last <= s->after) /* of a position that lies behind it */
        return;
    struct http_buf *b = live_span_frames(span, s->after);
    if (!b) { /* memory is out: an event is never skipped, the reader comes back for it */
        sse_cut(s);
        return;
    }
    send_buf(s, b);
    http_buf_unref(b);
    metric_add(METRIC_FRAMES, 1);
    s->after = span->last;
    if (is_full(s))
        loop_timer_set(&s->heartbeat, STALL_MS);
}

/* ---- the end ---- */

/* The frame `done` with a run's final record. NULL where it has not ended, or memory is out. */
static struct http_buf *done_frame(const struct id *run_id, const struct script_show_reply *reply)
{
    struct strbuf text;
    struct json_writer w;
    if (!record_ended(reply->record))
        return NULL;
    strbuf_init(&text, 8 << 20);
    strbuf_addz(&text, "event: done\ndata: ");
    json_writer_init(&w, &text);
    struct record r = {str_of(run_id->s), reply->record, reply->last_seq, reply->event_count, reply->event_bytes};
    record_write(&w, &r, RECORD_NO_INPUT);
    strbuf_addz(&text, "\n\n");
    struct http_buf *b = buf_of(&text);
    strbuf_done(&text);
    return b;
}

/* Without its `done` the reader comes back, here or elsewhere: also where Redis lost the end that it was shown. */
static void finish(struct sse *s, struct http_buf *done)
{
    s->asked = false;
    if (s->req && done) {
        send_buf(s, done);
        http_stream_end(s->req);
        s->req = NULL;
    }
    if (s->req)
        sse_cut(s);
    else
        sse_free(s);
}

/* Readers of one run that reached its end together: its record is asked for once. */
struct done_ask {
    struct node *node;
    struct id run_id;
    struct sse *readers;
};

static void on_done_record(void *ctx, enum err err, const struct script_show_reply *reply)
{
    struct done_ask *ask = ctx;
    if (ask->node->done_ask == ask)
        ask->node->done_ask = NULL;
    struct http_buf *done = err ? NULL : done_frame(&ask->run_id, reply);
    for (struct sse *s = ask->readers, *next; s; s = next) {
        next = s->next_asked;
        finish(s, done);
    }
    http_buf_unref(done);
    free(ask);
}

static void ask_done(struct sse *s)
{
    struct done_ask *ask = s->node->done_ask;
    bool joins = ask && strcmp(ask->run_id.s, s->run_id.s) == 0;
    if (!joins)
        ask = calloc(1, sizeof *ask);
    s->asked = true;
    loop_timer_stop(&s->heartbeat);
    if (!ask) {
        finish(s, NULL);
        return;
    }
    s->next_asked = ask->readers;
    ask->readers = s;
    if (joins)
        return;
    ask->node = s->node;
    ask->run_id = s->run_id;
    s->node->done_ask = ask;
    struct script_show_args args = {.ws = str_of(s->workspace), .run = str_of(s->run_id.s), .after = -1};
    script_call_show(s->shard->commands, shard_prefix(s->shard), &args, on_done_record, ask);
}

static void on_ended(struct live_reader *r)
{
    struct sse *s = CONTAINER_OF(r, struct sse, reader);
    if (s->done)
        finish(s, s->done);
    else
        ask_done(s);
}

static void on_lost(struct live_reader *r)
{
    sse_cut(CONTAINER_OF(r, struct sse, reader));
}

/* The run's record tells where a reader that has `after` goes on. */
static void on_position(void *ctx, enum err err, const struct script_show_reply *reply);

static void on_moved(struct live_reader *r)
{
    struct sse *s = CONTAINER_OF(r, struct sse, reader);
    s->asked = true;
    http_buf_unref(s->done); /* its run may not have ended any more */
    s->done = NULL;
    loop_timer_stop(&s->heartbeat);
    struct script_show_args args = {.ws = str_of(s->workspace), .run = str_of(s->run_id.s), .after = s->after};
    script_call_show(s->shard->commands, shard_prefix(s->shard), &args, on_position, s);
}

static const struct live_reader_fns sse_fns = {on_room, on_deliver, on_ended, on_lost, on_moved};

static void on_position(void *ctx, enum err err, const struct script_show_reply *reply)
{
    struct sse *s = ctx;
    s->asked = false;
    if (!s->req) {
        sse_free(s);
        return;
    }
    if (err || s->node->draining ||
        live_attach(s->node->live, s->shard, str_of(s->run_id.s), reply->start, LIVE_NOT_ENDED, &sse_fns, &s->reader) !=
            ERR_OK)
        sse_cut(s); /* it comes back, here or elsewhere */
    else
        loop_timer_set(&s->heartbeat, HEARTBEAT_MS);
}

/* ---- as a stream ---- */

static void on_drain(struct http_req *req)
{
    struct sse *s = req->user;
    live_resume(&s->reader);
}

static const struct http_stream_fns stream_fns = {on_drain};

static void on_gone(struct http_req *req)
{
    struct sse *s = req->user;
    s->req = NULL;
    if (s->asked) /* its answer ends it */
        return;
    sse_free(s);
}

/* ---- opening ---- */

struct opening {
    struct call *call;
    struct shard *shard;
    struct id run_id;
    int64_t after;
    bool from_header;
};

static void first_frames(struct sse *s, const struct opening *o, const struct script_show_reply *reply)
{
    struct strbuf text;
    struct json_writer w;
    strbuf_init(&text, 1 << 20);
    strbuf_addz(&text, "retry: 1000\n\nevent: run\ndata: ");
    json_writer_init(&w, &text);
    struct record r = {str_of(o->run_id.s), reply->record, reply->last_seq, reply->event_count, reply->event_bytes};
    record_write(&w, &r, RECORD_SUMMARY);
    strbuf_addz(&text, "\n\n");
    int64_t dropped_to = redis_int(redis_field(reply->record, "droppedTo"), 0);
    if (dropped_to > o->after && dropped_to > 0) {
        strbuf_addf(&text, "event: gap\ndata: {\"from\":%lld,\"to\":%lld}\n\n", (long long)o->after + 1,
                    (long long)dropped_to);
        s->after = dropped_to;
    }
    send_text(s, &text);
    strbuf_done(&text);
}

static void start(struct opening *o, const struct script_show_reply *reply)
{
    struct call *c = o->call;
    struct http_req *req = c->req;
    struct node *n = c->node;
    struct sse *s = pool_get(&sse_pool);
    if (!s) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    s->req = req;
    s->node = n;
    s->shard = o->shard;
    s->run_id = o->run_id;
    s->after = o->after;
    memcpy(s->workspace, c->workspace.ptr, c->workspace.len);
    s->hold.cut = on_key_cut;
    if (c->credential.len > 0 && !auth_hold(c, &s->hold)) {
        pool_put(&sse_pool, s);
        call_problem(c, ERR_UNAUTHORIZED, "the key has ended");
        return;
    }
    struct opening saved = *o; /* its memory goes with the request's head */
    http_reply_header(req, "X-Accel-Buffering", STR("no"));
    if (!http_stream_begin(req, 200, "text/event-stream", &stream_fns, LOW_WATER)) {
        keys_release(&s->hold);
        pool_put(&sse_pool, s);
        return;
    }
    req->user = s;
    req->on_gone = on_gone;
    metric_add(METRIC_READERS, 1);
    loop_timer_init(&s->heartbeat, n->loop, on_heartbeat, s);
    loop_timer_set(&s->heartbeat, HEARTBEAT_MS);
    first_frames(s, &saved, reply);
    s->done = done_frame(&s->run_id, reply);
    bool ended = record_ended(reply->record);
    if (ended && reply->event_bytes <= SHORT_BYTES)
        http_stream_is_short(req);
    if (ended && s->after >= reply->last_seq) { /* nothing more will come; its events may even be dropped */
        finish(s, s->done);
        return;
    }
    if (s->done && s->done->len > KEPT_DONE) {
        http_buf_unref(s->done);
        s->done = NULL;
    }
    if (live_attach(n->live, s->shard, str_of(s->run_id.s), reply->start, ended ? reply->event_bytes : LIVE_NOT_ENDED,
                    &sse_fns, &s->reader) != ERR_OK)
        sse_cut(s);
}

static void on_open(void *ctx, enum err err, const struct script_show_reply *reply)
{
    struct opening *o = ctx;
    if (!err && o->call->node->draining)
        err = ERR_DRAINING;
    if (err)
        call_problem(o->call, err, NULL);
    else if (o->from_header && record_ended(reply->record) && o->after >= reply->last_seq)
        http_reply(o->call->req, 204, NULL, STR_NONE);
    else
        start(o, reply);
}

void sse_open(struct call *c, struct str run_id, int64_t after, bool from_header)
{
    struct opening *o = arena_zalloc(&c->req->arena, sizeof *o);
    struct shard *shard = node_shard_of_run(c->node, run_id);
    if (!o || !shard || !id_parse(run_id, &o->run_id)) {
        call_problem(c, shard ? ERR_NO_MEMORY : ERR_RUN_NOT_FOUND, NULL);
        return;
    }
    o->call = c;
    o->shard = shard;
    o->after = after;
    o->from_header = from_header;
    struct script_show_args args = {.ws = c->workspace, .run = str_of(o->run_id.s), .after = after};
    script_call_show(shard->commands, shard_prefix(shard), &args, on_open, o);
    if (after < 0)
        live_expect(c->node->live, shard, run_id);
}

/* A position as the contract has it: -1 or a non-negative integer; one above all seqs is as good as the highest. */
static bool parse_position(struct str s, int64_t *ret_after)
{
    if (str_eqz(s, "-1")) {
        *ret_after = -1;
        return true;
    }
    int64_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (s.ptr[i] - '0');
        n = n < SEQ_CLOSED ? n : SEQ_CLOSED;
    }
    *ret_after = n;
    return s.len > 0;
}

void handle_stream(struct call *c)
{
    struct str header = http_header(c->req, "last-event-id"), text = header;
    int64_t after = -1;
    bool given = header.ptr || http_query(c->req, "after", 0, &text);
    if (given && !parse_position(text, &after)) {
        call_problem(c, ERR_INVALID_PARAMETER,
                     header.ptr ? "Last-Event-ID must be the last seq you have, a non-negative integer"
                                : "after must be the last seq you have, a non-negative integer");
        return;
    }
    sse_open(c, call_param(c, 0), after, header.ptr != NULL);
}

/* ---- pages of events ---- */

struct page {
    struct call *call;
    struct shard *shard;
    struct id run_id;
    int64_t after, limit;
    bool terminal;
};

static void write_page(struct page *p, const redisReply *reply)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4 * PAGE_BYTES);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_key(&w, "events");
    json_array_begin(&w);
    int64_t count = 0, last = p->after;
    bool full = false, saw_end = false;
    for (size_t i = 0; i < reply->elements && !full; i++) {
        struct str rest = redis_str(redis_field(redis_at(redis_at(reply, i), 1), "b"));
        while (rest.len > 0 && !full) {
            const char *newline = memchr(rest.ptr, '\n', rest.len);
            struct str line = {rest.ptr, newline ? (size_t)(newline - rest.ptr) : rest.len};
            rest.len -= line.len + (newline ? 1 : 0);
            rest.ptr += line.len + 1;
            struct event_head h;
            if (event_peek(line, &h) != ERR_OK || h.seq <= p->after)
                continue;
            full = count >= p->limit || (count > 0 && out.len + line.len > PAGE_BYTES);
            if (full)
                break;
            json_raw(&w, line);
            count++;
            last = h.seq;
            saw_end = h.kind == EVENT_RUNTIME_TERMINAL;
        }
    }
    json_array_end(&w);
    bool more = full || (reply->elements > 0 && !saw_end && count > 0);
    json_key(&w, "next");
    if (more)
        json_int(&w, last);
    else
        json_null(&w);
    json_kv_bool(&w, "terminal", saw_end || (p->terminal && !more));
    json_object_end(&w);
    call_json(p->call, 200, &out);
}

static void on_page(void *ctx, enum err err, const redisReply *reply)
{
    struct page *p = ctx;
    if (err || reply->type != REDIS_REPLY_ARRAY)
        call_problem(p->call, err ? err : ERR_INTERNAL, NULL);
    else
        write_page(p, reply);
}

static void on_page_start(void *ctx, enum err err, const struct script_show_reply *reply)
{
    struct page *p = ctx;
    if (err) {
        call_problem(p->call, err, NULL);
        return;
    }
    p->terminal = record_ended(reply->record);
    /* An entry is at most 64 KiB, or one event: so many hold a page, whatever their size, without reading the whole run. */
    const char *start = call_text(p->call, "(%.*s", STR_ARG(reply->start)),
               *count = call_text(p->call, "%d", p->limit < 64 ? (int)p->limit + 1 : 65);
    struct key key = keys_events(shard_prefix(p->shard), str_of(p->run_id.s));
    redis_command(
        p->shard->commands, 6,
        (const struct str[]){STR("XRANGE"), key_str(&key), str_of(start), STR("+"), STR("COUNT"), str_of(count)},
        on_page, p);
}

void handle_events(struct call *c)
{
    struct page *p = arena_zalloc(&c->req->arena, sizeof *p);
    struct shard *shard = node_shard_of_run(c->node, call_param(c, 0));
    struct str text;
    if (!p || !shard || !id_parse(call_param(c, 0), &p->run_id)) {
        call_problem(c, p ? ERR_RUN_NOT_FOUND : ERR_NO_MEMORY, NULL);
        return;
    }
    p->call = c;
    p->shard = shard;
    p->after = -1;
    if (http_query(c->req, "after", 0, &text) && !parse_position(text, &p->after)) {
        call_problem(c, ERR_INVALID_PARAMETER, "after must be the last seq you have, a non-negative integer");
        return;
    }
    if (!call_query_int(c, "limit", 1, PAGE_MAX, PAGE_DEFAULT, &p->limit))
        return;
    struct script_show_args args = {.ws = c->workspace, .run = str_of(p->run_id.s), .after = p->after};
    script_call_show(shard->commands, shard_prefix(shard), &args, on_page_start, p);
}
