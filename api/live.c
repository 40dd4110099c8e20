#include "api/live.h"

#include <stdlib.h>

#include "api/frames.h"
#include "common/event.h"
#include "common/log.h"
#include "common/metrics.h"

enum {
    BUCKETS = 4096,
    NET_MS = 3000,
    READ_FIRST = 16,      /* entries of a run's first read */
    READ_MIN = 2,         /* afterwards so many as READ_BYTES hold, going by the last read */
    READ_MAX = 128,       /* entries may be larger than those before */
    READ_BYTES = 262144,  /* more would keep others waiting in Redis, and leave the processor's caches */
    SPAN_BYTES = 65536,   /* small entries go to the readers together */
    ENTRY_OVERHEAD = 128, /* of an entry's answer, beside its lines */
};

struct live_run {
    struct live_run *next; /* in its bucket */
    struct live *live;
    struct shard *shard;
    struct redis_sub *sub;       /* NULL while all readers know that it has ended */
    struct live_reader *readers; /* those that have not caught up come first */
    struct loop_timer net;       /* a lost message costs no more than this */
    bool confirmed;              /* subscribed, or none is needed: only then is there a first read */
    bool reading;                /* one read in flight */
    bool again;                  /* something happened since it was sent */
    bool check_exists;
    bool dead;
    uint64_t reads; /* sent so far */
    int walking;    /* readers may detach while they are walked; memory goes afterwards */
    int count;      /* entries the next read asks for; `asked`: that the one in flight asked for */
    int asked;
    int64_t read_ms, read_seq; /* where the read in flight begins */
    char id[ID_LEN + 1];
};

struct live {
    struct node *node;
    struct live_run *buckets[BUCKETS];
    bool cut;
};

static void kick(struct live_run *run);

/* ---- entries ---- */

struct http_buf *live_span_frames(struct live_span *s, int64_t after)
{
    const struct frames_source from = {s->lines, s->count, s->events};
    if (after >= s->first) /* the reader's position lies inside: it has a part of them already */
        return after < s->last ? frames_new(&from, after) : NULL;
    if (!s->frames)
        s->frames = frames_new(&from, -1);
    return s->frames ? http_buf_ref(s->frames) : NULL;
}

struct entry {
    int64_t id_ms, id_seq, first, last;
    size_t events;
    struct str lines;
};

/* A number's digits; -1 for anything else. Moves *s behind it. */
static int64_t take_number(struct str *s)
{
    enum { DIGITS = 18 };
    int64_t n = 0;
    size_t i = 0;
    while (i < s->len && i < DIGITS && s->ptr[i] >= '0' && s->ptr[i] <= '9')
        n = n * 10 + (s->ptr[i++] - '0');
    s->ptr += i;
    s->len -= i;
    return i > 0 ? n : -1;
}

static bool parse_id(struct str s, int64_t *ret_ms, int64_t *ret_seq)
{
    int64_t ms = take_number(&s), seq;
    if (ms < 0 || s.len == 0 || s.ptr[0] != '-')
        return false;
    s.ptr++;
    s.len--;
    seq = take_number(&s);
    if (seq < 0 || s.len > 0)
        return false;
    *ret_ms = ms;
    *ret_seq = seq;
    return true;
}

/* FIRST,LAST,T,N,… (lua/include/stream.lua) */
static void parse_head(struct str s, struct entry *e)
{
    enum { FIRST, LAST, T, EVENTS, COUNT };
    int64_t numbers[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        numbers[i] = take_number(&s);
        if (numbers[i] < 0 || s.len == 0 || s.ptr[0] != ',')
            return;
        s.ptr++;
        s.len--;
    }
    e->first = numbers[FIRST];
    e->last = numbers[LAST];
    e->events = (size_t)numbers[EVENTS];
}

static bool parse_entry(const redisReply *reply, struct entry *e)
{
    const redisReply *fields = redis_at(reply, 1);
    *e = (struct entry){.first = -1, .last = -1};
    for (size_t i = 0; fields && i + 1 < fields->elements; i += 2) {
        struct str name = redis_str(fields->element[i]);
        const redisReply *value = fields->element[i + 1];
        if (str_eq(name, STR("h")))
            parse_head(redis_str(value), e);
        else if (str_eq(name, STR("b")))
            e->lines = redis_str(value);
    }
    return parse_id(redis_str(redis_at(reply, 0)), &e->id_ms, &e->id_seq) && e->first >= 0 && e->last >= e->first;
}

/* An answer to XRANGE. */
struct chunk {
    struct entry entries[READ_MAX];
    size_t count; /* of those that have the right shape */
    size_t bytes; /* of all */
};

static void parse_chunk(const struct live_run *run, const redisReply *reply, struct chunk *c)
{
    c->count = c->bytes = 0;
    for (size_t i = 0; i < reply->elements && c->count < READ_MAX; i++) {
        struct entry *e = &c->entries[c->count];
        if (parse_entry(reply->element[i], e))
            c->count++;
        else
            LOG_ERROR("stream entry has a wrong shape", LOG_Z("runId", run->id));
        c->bytes += e->lines.len + ENTRY_OVERHEAD;
    }
}

/* ---- runs ---- */

static uint32_t hash_of(struct str id)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < id.len; i++)
        h = (h ^ (unsigned char)id.ptr[i]) * 16777619u;
    return h;
}

static struct live_run **bucket_of(struct live *l, struct str id)
{
    return &l->buckets[hash_of(id) % BUCKETS];
}

/* What is still to be answered may touch it until then. */
static void run_free_if_quiet(struct live_run *run)
{
    if (run->dead && !run->reading && !run->check_exists)
        loop_defer_free(run->live->node->loop, free, run);
}

/* Ends the subscription of a run that nobody reads any more. */
static void run_close_if_unread(struct live_run *run)
{
    if (run->readers || run->walking > 0 || run->dead)
        return;
    run->dead = true;
    struct live_run **link = bucket_of(run->live, str_of(run->id));
    while (*link != run)
        link = &(*link)->next;
    *link = run->next;
    redis_unsubscribe(run->sub);
    loop_timer_stop(&run->net);
    run_free_if_quiet(run);
}

static void reader_link(struct live_run *run, struct live_reader *r)
{
    r->run = run;
    r->prev = NULL;
    r->next = run->readers;
    if (r->next)
        r->next->prev = r;
    run->readers = r;
}

static void reader_unlink(struct live_reader *r)
{
    struct live_run *run = r->run;
    if (r->prev)
        r->prev->next = r->next;
    else
        run->readers = r->next;
    if (r->next)
        r->next->prev = r->prev;
    r->run = NULL;
}

/* Walks the readers: each may detach itself, but no other. */
#define EACH_READER(run, r, following)                                                                                 \
    struct live_reader *r = (run)->readers, *following = r ? r->next : NULL;                                           \
    r;                                                                                                                 \
    r = following, following = r ? r->next : NULL

static void lose_all(struct live_run *run)
{
    run->walking++;
    while (run->readers) {
        struct live_reader *r = run->readers;
        reader_unlink(r);
        r->fns->lost(r);
    }
    run->walking--;
    run_close_if_unread(run);
}

/* ---- reading ---- */

static bool before(int64_t a_ms, int64_t a_seq, int64_t b_ms, int64_t b_seq)
{
    return a_ms < b_ms || (a_ms == b_ms && a_seq < b_seq);
}

/* Bytes that it takes now, of a read. */
static size_t wanted(struct live_reader *r)
{
    return r->caught_up ? 0 : r->fns->room(r);
}

/* The span stands in the stream right behind the id, so it is for those who have that one, or something later. */
static void deliver(struct live_run *run, int64_t behind_ms, int64_t behind_seq, struct live_span *s)
{
    run->walking++;
    for (EACH_READER(run, r, following)) {
        bool in_reach = !before(r->pos_ms, r->pos_seq, behind_ms, behind_seq);
        if (!in_reach || !before(r->pos_ms, r->pos_seq, s->id_ms, s->id_seq) || r->fns->room(r) == 0)
            continue;
        r->fns->deliver(r, s);
        if (r->run) {
            r->pos_ms = s->id_ms;
            r->pos_seq = s->id_seq;
        }
    }
    run->walking--;
    http_buf_unref(s->frames);
}

/* The terminal entry was read: those who have it are done. */
static void end_readers(struct live_run *run, const struct entry *e)
{
    run->walking++;
    for (EACH_READER(run, r, following)) {
        if (r->pos_ms == e->id_ms && r->pos_seq == e->id_seq) {
            reader_unlink(r);
            r->fns->ended(r);
        }
    }
    run->walking--;
}

static void send_read(struct live_run *run, int64_t ms, int64_t seq);

/* How many entries the next read should have, going by this one. */
static int next_count(const struct live_run *run, const struct chunk *c)
{
    size_t count = c->bytes > 0 ? READ_BYTES * c->count / c->bytes : READ_FIRST;
    size_t most = 4 * (size_t)run->asked;
    count = count < most ? count : most;
    return count < READ_MIN ? READ_MIN : count > READ_MAX ? READ_MAX : (int)count;
}

/* Redis works on the next read while this one is encoded and written: for readers that will want it, where nobody else's turn is due. */
static void read_ahead(struct live_run *run, const struct entry *base, const struct chunk *c)
{
    const struct entry *last = c->count > 0 ? &c->entries[c->count - 1] : base;
    bool any = false;
    if (c->count < (size_t)run->asked || last->id_ms == SEQ_CLOSED || !redis_is_up(run->shard->commands))
        return;
    for (struct live_reader *r = run->readers; r && !r->caught_up; r = r->next) {
        size_t room = wanted(r);
        if (room > 0 && before(r->pos_ms, r->pos_seq, base->id_ms, base->id_seq))
            return;
        any = any || (room > c->bytes && before(r->pos_ms, r->pos_seq, last->id_ms, last->id_seq));
    }
    if (!any)
        return;
    send_read(run, last->id_ms, last->id_seq);
    redis_flush(run->shard->commands);
}

static void span_begin(struct live_span *s, struct str *lines)
{
    *s = (struct live_span){.lines = lines};
}

/* Hands on the entries of an answer, those that are small together. Gives the last one. */
static struct entry deliver_all(struct live_run *run, const struct entry *base, const struct chunk *c)
{
    struct str lines[READ_MAX];
    struct live_span span;
    const struct entry *behind = base, *last = base;
    span_begin(&span, lines);
    for (size_t i = 0; i < c->count; i++) {
        const struct entry *e = &c->entries[i];
        if (span.count > 0 && span.bytes + e->lines.len > SPAN_BYTES) {
            deliver(run, behind->id_ms, behind->id_seq, &span);
            span_begin(&span, lines);
            behind = last;
        }
        if (span.count == 0)
            span.first = e->first;
        lines[span.count++] = e->lines;
        span.bytes += e->lines.len;
        span.events += e->events;
        span.last = e->last;
        span.id_ms = e->id_ms;
        span.id_seq = e->id_seq;
        last = e;
    }
    if (span.count > 0)
        deliver(run, behind->id_ms, behind->id_seq, &span);
    return *last;
}

/* The stream ends at `last` for now. Who is not there yet stays, or comes, before the others. */
static void mark_caught_up(struct live_run *run, const struct entry *last)
{
    bool passed = false;
    for (EACH_READER(run, r, following)) {
        r->caught_up = r->caught_up || !before(r->pos_ms, r->pos_seq, last->id_ms, last->id_seq);
        if (!r->caught_up && passed) {
            reader_unlink(r);
            reader_link(run, r);
        }
        passed = passed || r->caught_up;
    }
}

static void on_read(void *ctx, enum err err, const redisReply *reply)
{
    struct live_run *run = ctx;
    run->reading = false;
    if (run->dead) {
        run_free_if_quiet(run);
        return;
    }
    if (err || reply->type != REDIS_REPLY_ARRAY) { /* after the reconnect, or with the next look, it is read again */
        run_close_if_unread(run);
        return;
    }
    const struct entry base = {.id_ms = run->read_ms, .id_seq = run->read_seq};
    bool all = reply->elements < (size_t)run->asked;
    struct chunk chunk;
    parse_chunk(run, reply, &chunk);
    run->count = next_count(run, &chunk);
    run->walking++;
    read_ahead(run, &base, &chunk);
    struct entry last = deliver_all(run, &base, &chunk);
    if (last.id_ms == SEQ_CLOSED && chunk.count > 0)
        end_readers(run, &last);
    if (all)
        mark_caught_up(run, &last);
    run->walking--;
    kick(run);
    run_close_if_unread(run);
}

static void send_read(struct live_run *run, int64_t ms, int64_t seq)
{
    char start[64] = "(", count[24] = "";
    struct key key = keys_events(shard_prefix(run->shard), str_of(run->id));
    size_t len = 1 + decimal(start + 1, ms);
    start[len++] = '-';
    (void)decimal(start + len, seq);
    (void)decimal(count, run->count);
    run->reading = true;
    run->read_ms = ms;
    run->read_seq = seq;
    run->asked = run->count;
    metric_add(METRIC_STREAM_READS, 1);
    redis_command(
        run->shard->commands, 6,
        (const struct str[]){STR("XRANGE"), key_str(&key), str_of(start), STR("+"), STR("COUNT"), str_of(count)},
        on_read, run);
}

/* Reads on, where somebody wants it: by turns from the lowest position, so that one read serves many, and for who has waited for the most reads, so that nobody waits for those who are slow. */
static void kick(struct live_run *run)
{
    if (run->reading || run->dead || !run->confirmed || !redis_is_up(run->shard->commands))
        return;
    for (struct live_reader *r = run->again ? run->readers : NULL; r; r = r->next)
        r->caught_up = false;
    run->again = false;
    bool by_position = run->reads % 2 == 0;
    struct live_reader *best = NULL;
    for (struct live_reader *r = run->readers; r && !r->caught_up; r = r->next)
        if (wanted(r) > 0 && (!best || (by_position ? before(r->pos_ms, r->pos_seq, best->pos_ms, best->pos_seq)
                                                    : r->served < best->served)))
            best = r;
    if (best) {
        best->served = ++run->reads;
        send_read(run, best->pos_ms, best->pos_seq);
    }
}

static void look(struct live_run *run)
{
    run->again = true;
    kick(run);
}

static void on_message(void *ctx, bool confirmed, struct str message)
{
    struct live_run *run = ctx;
    if (confirmed)
        run->confirmed = true;
    if (str_eqz(message, "gone"))
        lose_all(run);
    else
        look(run);
}

static void on_exists(void *ctx, enum err err, const redisReply *reply)
{
    struct live_run *run = ctx;
    run->check_exists = false;
    if (run->dead)
        run_free_if_quiet(run);
    else if (!err && redis_int(reply, 1) == 0)
        lose_all(run);
}

/* The net under lost messages: reads on, and sees whether the run is still there. */
static void on_net(void *ctx)
{
    struct live_run *run = ctx;
    loop_timer_set(&run->net, NET_MS);
    look(run);
    if (run->dead || run->check_exists || !redis_is_up(run->shard->commands))
        return;
    run->check_exists = true;                                             /* keeps the memory until it is answered */
    struct key key = keys_run(shard_prefix(run->shard), str_of(run->id)); /* its stream begins with its first claim */
    redis_command(run->shard->commands, 2, (const struct str[]){STR("EXISTS"), key_str(&key)}, on_exists, run);
}

static struct live_run *run_find(struct live *l, struct str id)
{
    for (struct live_run *run = *bucket_of(l, id); run; run = run->next)
        if (str_eqz(id, run->id))
            return run;
    return NULL;
}

static struct live_run *run_new(struct live *l, struct shard *s, struct str id)
{
    struct live_run **bucket = bucket_of(l, id);
    struct live_run *run = calloc(1, sizeof *run);
    if (!run)
        return NULL;
    run->live = l;
    run->shard = s;
    run->count = READ_FIRST;
    memcpy(run->id, id.ptr, id.len);
    loop_timer_init(&run->net, l->node->loop, on_net, run);
    loop_timer_set(&run->net, NET_MS + hash_of(id) % NET_MS); /* spread, so that they don't all look at once */
    run->next = *bucket;
    *bucket = run;
    return run;
}

/* What is confirmed later is looked at then, so a read that is under way may have missed something without harm. */
static bool run_subscribe(struct live_run *run)
{
    struct key channel = keys_wake(shard_prefix(run->shard), str_of(run->id));
    if (!run->sub)
        run->sub = redis_subscribe(run->shard->subscriptions, key_str(&channel), on_message, run);
    return run->sub;
}

/* ---- for readers ---- */

enum err live_attach(struct live *l, struct shard *s, struct str run_id, struct str start, int64_t ended_bytes,
                     const struct live_reader_fns *fns, struct live_reader *r)
{
    *r = (struct live_reader){.fns = fns};
    if (run_id.len != ID_LEN || !parse_id(start, &r->pos_ms, &r->pos_seq))
        return ERR_INTERNAL;
    struct live_run *run = run_find(l, run_id);
    if (!run)
        run = run_new(l, s, run_id);
    if (!run)
        return ERR_NO_MEMORY;
    if (ended_bytes < 0 && !run_subscribe(run)) {
        run_close_if_unread(run);
        return ERR_NO_MEMORY;
    }
    if (ended_bytes >= 0)
        run->confirmed = true;
    if (ended_bytes >= 0 && ended_bytes <= READ_BYTES)
        run->count = READ_MAX; /* all of them, however small */
    reader_link(run, r);
    kick(run);
    return ERR_OK;
}

void live_expect(struct live *l, struct shard *s, struct str run_id)
{
    struct live_run *run =
        run_id.len == ID_LEN && redis_is_up(s->commands) && !run_find(l, run_id) ? run_new(l, s, run_id) : NULL;
    if (run)
        send_read(run, 0, 0);
}

void live_detach(struct live_reader *r)
{
    struct live_run *run = r->run;
    if (!run)
        return;
    reader_unlink(r);
    run_close_if_unread(run);
}

void live_resume(struct live_reader *r)
{
    if (r->run)
        kick(r->run);
}

/* A Redis that restarted may have lost its last writes, and what is written again may stand before the stream ids that readers have reached: they find their positions anew, by seq. */
static void find_positions(struct live_run *run)
{
    run->walking++;
    for (EACH_READER(run, r, following)) {
        if (r->fns->moved) {
            reader_unlink(r);
            r->fns->moved(r);
        }
    }
    run->walking--;
}

void live_on_reconnect(struct live *l, struct shard *s, bool restarted)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct live_run *run = l->buckets[i], *next; run; run = next) {
            next = run->next;
            if (run->shard != s)
                continue;
            if (restarted)
                find_positions(run);
            look(run);
            run_close_if_unread(run);
        }
    }
}

void live_cut_all(struct live *l)
{
    l->cut = true;
    for (size_t i = 0; i < BUCKETS; i++)
        while (l->buckets[i])
            lose_all(l->buckets[i]);
}

struct live *live_new(struct node *n)
{
    struct live *l = calloc(1, sizeof *l);
    if (l)
        l->node = n;
    return l;
}

void live_free(struct live *l)
{
    if (!l)
        return;
    live_cut_all(l);
    loop_defer_free(l->node->loop, free, l);
}
