#include "api/live.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/crypto.h"
#include "common/event.h"
#include "common/log.h"
#include "common/metrics.h"

enum { BUCKETS = 4096, READ_COUNT = 16, NET_MS = 3000 };

struct live_run {
    struct live_run *next; /* in its bucket */
    struct live *live;
    struct shard *shard;
    struct redis_sub *sub;
    struct live_reader *readers;
    struct loop_timer net; /* a lost message costs no more than this */
    bool confirmed;        /* subscribed: only then is there a first read */
    bool reading;          /* one read in flight */
    bool again;            /* something happened since it was sent */
    bool check_exists;
    bool dead;
    uint64_t reads;            /* sent so far */
    int walking;               /* readers may detach while they are walked; memory goes afterwards */
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

static void frame_add(struct strbuf *out, const struct event_head *h, struct str line)
{
    strbuf_add(out, STR("id: "));
    strbuf_addi(out, h->seq);
    strbuf_add(out, STR("\nevent: "));
    strbuf_addz(out, event_kind_name(h->kind));
    strbuf_add(out, STR("\ndata: "));
    strbuf_add(out, line);
    strbuf_add(out, STR("\n\n"));
}

static struct http_buf *encode(const struct live_entry *e, int64_t after)
{
    struct strbuf out;
    strbuf_init(&out, 4 * e->lines.len + 4096);
    struct str rest = e->lines;
    while (rest.len > 0) {
        const char *newline = memchr(rest.ptr, '\n', rest.len);
        struct str line = {rest.ptr, newline ? (size_t)(newline - rest.ptr) : rest.len};
        size_t skip = line.len + (newline ? 1 : 0);
        rest.ptr += skip;
        rest.len -= skip;
        struct event_head h;
        if (line.len > 0 && event_peek(line, &h) == ERR_OK && h.seq > after)
            frame_add(&out, &h, line);
    }
    struct http_buf *b = out.len > 0 && !strbuf_failed(&out) ? http_buf_new(out.len) : NULL;
    if (b)
        memcpy(b->data, out.ptr, out.len);
    strbuf_done(&out);
    return b;
}

struct http_buf *live_entry_frames(struct live_entry *e, int64_t after)
{
    if (after >= e->first) /* the reader's position lies inside: it has a part of it already */
        return after < e->last ? encode(e, after) : NULL;
    if (!e->frames)
        e->frames = encode(e, -1);
    return e->frames ? http_buf_ref(e->frames) : NULL;
}

static bool parse_id(struct str s, int64_t *ret_ms, int64_t *ret_seq)
{
    char text[48];
    if (s.len == 0 || s.len >= sizeof text)
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = 0;
    char *dash, *end;
    *ret_ms = strtoll(text, &dash, 10);
    if (*dash != '-')
        return false;
    *ret_seq = strtoll(dash + 1, &end, 10);
    return *end == 0;
}

static bool parse_entry(const redisReply *reply, struct live_entry *e)
{
    const redisReply *fields = redis_at(reply, 1);
    *e = (struct live_entry){0};
    e->first = redis_int(redis_field(fields, "first"), -1);
    e->last = redis_int(redis_field(fields, "last"), -1);
    e->lines = redis_str(redis_field(fields, "b"));
    return parse_id(redis_str(redis_at(reply, 0)), &e->id_ms, &e->id_seq) && e->first >= 0 && e->last >= e->first;
}

/* ---- runs ---- */

static struct live_run **bucket_of(struct live *l, struct str id)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < id.len; i++)
        h = (h ^ (unsigned char)id.ptr[i]) * 16777619u;
    return &l->buckets[h % BUCKETS];
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

static bool wants(struct live_reader *r)
{
    return !r->caught_up && r->fns->ready(r);
}

/* e: stands in the stream right behind `last`, so it is for those who have that one, or something later. */
static void deliver(struct live_run *run, const struct live_entry *last, struct live_entry *e)
{
    run->walking++;
    for (EACH_READER(run, r, following)) {
        bool in_reach = !before(r->pos_ms, r->pos_seq, last->id_ms, last->id_seq);
        if (!in_reach || !before(r->pos_ms, r->pos_seq, e->id_ms, e->id_seq) || !r->fns->ready(r))
            continue;
        r->fns->deliver(r, e);
        if (r->run) {
            r->pos_ms = e->id_ms;
            r->pos_seq = e->id_seq;
        }
    }
    run->walking--;
}

/* The terminal entry was read: those who have it are done. */
static void end_readers(struct live_run *run, const struct live_entry *e)
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

static void on_read(void *ctx, enum err err, const redisReply *reply)
{
    struct live_run *run = ctx;
    run->reading = false;
    if (run->dead) {
        run_free_if_quiet(run);
        return;
    }
    if (err || reply->type != REDIS_REPLY_ARRAY) /* after the reconnect, or with the next look, it is read again */
        return;
    struct live_entry last = {.id_ms = run->read_ms, .id_seq = run->read_seq};
    run->walking++;
    for (size_t i = 0; i < reply->elements; i++) {
        struct live_entry e;
        if (!parse_entry(reply->element[i], &e)) {
            LOG_ERROR("stream entry has a wrong shape", LOG_Z("runId", run->id));
            continue;
        }
        deliver(run, &last, &e);
        http_buf_unref(e.frames);
        last = e;
    }
    if (last.id_ms == SEQ_CLOSED && reply->elements > 0)
        end_readers(run, &last);
    if (reply->elements < READ_COUNT)
        for (EACH_READER(run, r, following))
            if (!before(r->pos_ms, r->pos_seq, last.id_ms, last.id_seq))
                r->caught_up = true;
    run->walking--;
    kick(run);
    run_close_if_unread(run);
}

static void send_read(struct live_run *run, int64_t ms, int64_t seq)
{
    char start[64];
    struct key key = keys_events(shard_prefix(run->shard), str_of(run->id));
    snprintf(start, sizeof start, "(%lld-%lld", (long long)ms, (long long)seq);
    run->reading = true;
    run->read_ms = ms;
    run->read_seq = seq;
    metric_add(METRIC_STREAM_READS, 1);
    redis_command(run->shard->commands, 6,
                  (const struct str[]){STR("XRANGE"), key_str(&key), str_of(start), STR("+"), STR("COUNT"), STR("16")},
                  on_read, run);
}

/* Reads on, where somebody wants it: by turns from the lowest position, so that one read serves many, and for who has waited for the most reads, so that nobody waits for those who are slow. */
static void kick(struct live_run *run)
{
    _Static_assert(READ_COUNT == 16, "the command above says so too");
    if (run->reading || run->dead || !run->confirmed || !redis_is_up(run->shard->commands))
        return;
    for (struct live_reader *r = run->again ? run->readers : NULL; r; r = r->next)
        r->caught_up = false;
    run->again = false;
    bool by_position = run->reads % 2 == 0;
    struct live_reader *best = NULL;
    for (struct live_reader *r = run->readers; r; r = r->next)
        if (wants(r) && (!best || (by_position ? before(r->pos_ms, r->pos_seq, best->pos_ms, best->pos_seq)
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

static struct live_run *run_open(struct live *l, struct shard *s, struct str id)
{
    struct live_run **bucket = bucket_of(l, id);
    for (struct live_run *run = *bucket; run; run = run->next)
        if (str_eqz(id, run->id))
            return run;
    struct live_run *run = calloc(1, sizeof *run);
    if (!run)
        return NULL;
    run->live = l;
    run->shard = s;
    memcpy(run->id, id.ptr, id.len);
    struct key channel = keys_wake(shard_prefix(s), id);
    run->sub = redis_subscribe(s->subscriptions, key_str(&channel), on_message, run);
    if (!run->sub) {
        free(run);
        return NULL;
    }
    loop_timer_init(&run->net, l->node->loop, on_net, run);
    loop_timer_set(&run->net,
                   NET_MS + (int64_t)crypto_uniform(NET_MS)); /* spread, so that they don't all look at once */
    run->next = *bucket;
    *bucket = run;
    return run;
}

/* ---- for readers ---- */

enum err live_attach(struct live *l, struct shard *s, struct str run_id, struct str start,
                     const struct live_reader_fns *fns, struct live_reader *r)
{
    *r = (struct live_reader){.fns = fns};
    if (run_id.len != ID_LEN || !parse_id(start, &r->pos_ms, &r->pos_seq))
        return ERR_INTERNAL;
    struct live_run *run = run_open(l, s, run_id);
    if (!run)
        return ERR_NO_MEMORY;
    r->run = run;
    r->next = run->readers;
    if (r->next)
        r->next->prev = r;
    run->readers = r;
    kick(run);
    return ERR_OK;
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
