/* Queues: what waits and is executed, how long runs take, how many slots would do; and their settings, which each shard keeps. A queue is there when something names it. */
#include "api/audit.h"
#include "api/handlers.h"
#include "api/queue_rows.h"
#include "api/settings.h"
#include "common/json.h"

enum { SHARD_ROWS = 1000, CHUNK = 100, MINUTES = 5 };

/* ---- the rows: counts and runners of each shard first, then, of the queues found there, what their lanes and minutes say ---- */

struct listing;
struct shard_look {
    struct listing *listing;
    struct shard *shard;
    size_t next; /* the row that is asked for next */
};

struct listing {
    struct call *call;
    struct queue_rows rows;
    struct shard_look *looks; /* one a shard */
    struct str *names;        /* of the rows, once they are known */
    struct str only;          /* the one that was asked for, or "" */
    unsigned open;
    enum err err;
    int64_t delayed, now_ms;
};

static void write_row(struct json_writer *w, const struct queue_row *r, int64_t now_ms)
{
    int64_t ended = r->success + r->error + r->stopped;
    double minutes = MINUTES + (double)(now_ms % 60000) / 60000;
    json_object_begin(w);
    json_kv_str(w, "name", r->name);
    json_kv_int(w, "waiting", r->waiting);
    json_kv_int(w, "scheduled", r->scheduled);
    json_kv_int(w, "running", r->running);
    json_kv_bool(w, "paused", r->paused);
    json_kv_bool(w, "draining", r->draining);
    if (r->max_waiting > 0)
        json_kv_int(w, "maxWaiting", r->max_waiting);
    json_kv_int(w, "oldestWaitingMs", r->oldest_ms > 0 && r->oldest_ms < now_ms ? now_ms - r->oldest_ms : 0);
    json_key(w, "perMinute");
    json_object_begin(w);
    json_key(w, "success");
    json_double(w, queue_rate(r->success, minutes));
    json_key(w, "error");
    json_double(w, queue_rate(r->error, minutes));
    json_key(w, "stopped");
    json_double(w, queue_rate(r->stopped, minutes));
    json_object_end(w);
    if (ended > 0)
        json_kv_int(w, "averageRunMs", r->ended_ms / ended);
    json_kv_int(w, "slots", r->slots);
    json_kv_int(w, "busySlots", r->busy);
    json_kv_int(w, "desiredSlots", queue_desired_slots(r));
    json_object_end(w);
}

static void listing_answer(struct listing *l)
{
    struct strbuf out;
    struct json_writer w;
    if (l->err) {
        call_problem(l->call, l->err, NULL);
        return;
    }
    strbuf_init(&out, 4 << 20);
    json_writer_init(&w, &out);
    if (l->only.len > 0) {
        write_row(&w, &l->rows.rows[0], l->now_ms);
        call_json(l->call, 200, &out);
        return;
    }
    json_object_begin(&w);
    json_key(&w, "queues");
    json_array_begin(&w);
    for (size_t i = 0; i < l->rows.count; i++)
        write_row(&w, &l->rows.rows[i], l->now_ms);
    json_array_end(&w);
    json_kv_int(&w, "scheduled", l->delayed);
    json_object_end(&w);
    call_json(l->call, 200, &out);
}

static void ask_stats(struct shard_look *look);

static void on_stats(void *ctx, enum err err, const struct script_queue_stats_reply *reply)
{
    struct shard_look *look = ctx;
    struct listing *l = look->listing;
    for (size_t i = 0; !err && i < reply->stats_len; i++) {
        const struct script_queue_stats_stats *s = &reply->stats[i];
        struct queue_row *r = &l->rows.rows[look->next++];
        if (s->oldest_ms > 0 && (r->oldest_ms == 0 || s->oldest_ms < r->oldest_ms))
            r->oldest_ms = s->oldest_ms;
        r->success += s->success;
        r->error += s->error;
        r->stopped += s->stopped;
        r->ended_ms += s->ms;
    }
    if (!err && reply->stats_len == 0)
        err = ERR_INTERNAL;
    if (!err && reply->now_ms > l->now_ms)
        l->now_ms = reply->now_ms;
    if (!err && look->next < l->rows.count) {
        ask_stats(look);
        return;
    }
    l->err = err ? err : l->err;
    if (--l->open == 0)
        listing_answer(l);
}

static void ask_stats(struct shard_look *look)
{
    struct listing *l = look->listing;
    size_t left = l->rows.count - look->next;
    struct script_queue_stats_args args = {
        .names = l->names + look->next, .names_len = left < CHUNK ? left : CHUNK, .minutes = MINUTES};
    script_call_queue_stats(look->shard->commands, shard_prefix(look->shard), &args, on_stats, look);
}

/* Counts and runners are all here. */
static void listing_go_on(struct listing *l)
{
    struct node *n = l->call->node;
    if (!l->err && !queue_rows_take_slots(&l->rows))
        l->err = ERR_NO_MEMORY;
    l->names = l->err ? NULL : arena_alloc(&l->call->req->arena, (l->rows.count + 1) * sizeof *l->names);
    if (l->err || !l->names || l->rows.count == 0) {
        l->err = l->err || l->names ? l->err : ERR_NO_MEMORY;
        listing_answer(l);
        return;
    }
    for (size_t i = 0; i < l->rows.count; i++)
        l->names[i] = l->rows.rows[i].name;
    l->open = n->shard_count;
    for (unsigned i = 0; i < n->shard_count; i++)
        ask_stats(&l->looks[i]);
}

static void listing_part_done(struct listing *l, enum err err)
{
    l->err = err ? err : l->err;
    if (--l->open == 0)
        listing_go_on(l);
}

static void on_queues(void *ctx, enum err err, const struct script_queues_reply *reply)
{
    struct listing *l = ctx;
    for (size_t i = 0; !err && i < reply->queues_len; i++) {
        const struct script_queues_queues *q = &reply->queues[i];
        struct queue_row *r = queue_rows_get(&l->rows, q->name);
        if (!r) {
            err = l->rows.out_of_memory ? ERR_NO_MEMORY : err;
            continue; /* beyond the bound */
        }
        r->waiting += q->waiting;
        r->scheduled += q->scheduled;
        r->running += q->running;
        r->paused = r->paused || q->paused;
        r->draining = r->draining || q->draining;
        r->max_waiting = q->max_waiting > r->max_waiting ? q->max_waiting : r->max_waiting;
    }
    l->delayed += err ? 0 : reply->delayed;
    listing_part_done(l, err);
}

static void on_runners(void *ctx, enum err err, const struct script_runners_reply *reply)
{
    struct shard_look *look = ctx;
    struct listing *l = look->listing;
    for (size_t i = 0; !err && i < reply->runners_len; i++) {
        const struct script_runners_runners *r = &reply->runners[i];
        bool live = r->lease_ms > 0 && str_eqz(redis_str(redis_field(r->info, "state")), "live");
        if (!live || redis_field(r->info, "drain"))
            continue;
        int64_t busy = redis_int(redis_field(r->info, "busy"), 0); /* by its last heartbeat */
        if (!queue_rows_add_runner(&l->rows, look->shard->number, redis_str(redis_field(r->info, "name")),
                                   redis_str(redis_field(r->info, "queues")),
                                   redis_int(redis_field(r->info, "slots"), 0), busy > r->held ? busy : r->held))
            err = ERR_NO_MEMORY;
    }
    listing_part_done(l, err);
}

static void list_queues(struct call *c, struct str only)
{
    struct node *n = c->node;
    struct arena *a = &c->req->arena;
    struct listing *l = arena_zalloc(a, sizeof *l);
    struct shard_look *looks = arena_zalloc(a, n->shard_count * sizeof *looks);
    if (!l || !looks || !queue_rows_init(&l->rows, a, only.len > 0 ? 1 : LIMIT_QUEUES, only)) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    l->call = c;
    l->only = only;
    l->looks = looks;
    l->open = 2 * n->shard_count;
    struct script_queues_args queues = {.only = only.len > 0 ? only : STR(""), .limit = LIMIT_QUEUES};
    struct script_runners_args runners = {.limit = SHARD_ROWS};
    for (unsigned i = 0; i < n->shard_count; i++) {
        struct shard *s = &n->shards[i];
        looks[i] = (struct shard_look){.listing = l, .shard = s};
        script_call_queues(s->commands, shard_prefix(s), &queues, on_queues, l);
        script_call_runners(s->commands, shard_prefix(s), &runners, on_runners, &looks[i]);
    }
}

void handle_queues(struct call *c)
{
    list_queues(c, STR_NONE);
}

void handle_queue_get(struct call *c)
{
    if (call_name_valid(c, "a queue", ERR_INVALID_FIELD))
        list_queues(c, call_param(c, 0));
}

/* ---- settings ---- */

static const struct setting table[] = {
    {"paused", SETTING_BOOL, 0},
    {"draining", SETTING_BOOL, 0},
    {"maxWaiting", SETTING_NUMBER, 1000000000},
};
enum { PAUSED, DRAINING, MAX_WAITING, SETTINGS = ARRAY_LEN(table) };

struct change {
    struct call *call;
    unsigned open, written;
    enum err err;
    bool paused, draining;
    int64_t max_waiting;
    int64_t wanted[SETTINGS];
};

static void change_answer(struct change *g)
{
    struct call *c = g->call;
    if (g->err == ERR_LIMIT_EXCEEDED) {
        call_problem(c, g->err, "too many queues have settings; resume some, or take their maxWaiting away");
        return;
    }
    if (g->err) {
        call_problem(c, ERR_REDIS_UNAVAILABLE,
                     call_text(c, "written to %u of %u shards (%s); send it again, which is safe", g->written,
                               c->node->shard_count, err_code(g->err)));
        return;
    }
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4096);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "name", call_param(c, 0));
    json_kv_bool(&w, "paused", g->paused);
    json_kv_bool(&w, "draining", g->draining);
    if (g->max_waiting > 0)
        json_kv_int(&w, "maxWaiting", g->max_waiting);
    json_object_end(&w);
    call_json(c, 200, &out);
}

static void on_changed(void *ctx, enum err err, const struct script_queue_put_reply *reply)
{
    struct change *g = ctx;
    g->err = err ? err : g->err;
    if (!err) {
        g->written++;
        g->paused = g->paused || reply->paused;
        g->draining = g->draining || reply->draining;
        g->max_waiting = reply->max_waiting > g->max_waiting ? reply->max_waiting : g->max_waiting;
    }
    if (--g->open == 0)
        change_answer(g);
}

static void change_write(struct call *c)
{
    struct change *g = c->user;
    struct script_queue_put_args args = {.name = call_param(c, 0),
                                         .paused = g->wanted[PAUSED],
                                         .draining = g->wanted[DRAINING],
                                         .max_waiting = g->wanted[MAX_WAITING],
                                         .max_queues = LIMIT_QUEUES};
    for (unsigned i = 0; i < c->node->shard_count; i++)
        script_call_queue_put(c->node->shards[i].commands, shard_prefix(&c->node->shards[i]), &args, on_changed, g);
}

/* Writes what is not -1 to every shard. */
static void change(struct call *c, const int64_t values[SETTINGS])
{
    struct change *g = arena_zalloc(&c->req->arena, sizeof *g);
    if (!g) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    g->call = c;
    g->open = c->node->shard_count;
    memcpy(g->wanted, values, sizeof g->wanted);
    c->user = g;
    audit_then(c, call_param(c, 0), change_write);
}

void handle_queue_put(struct call *c)
{
    int64_t values[SETTINGS] = {-1, -1, -1};
    if (call_name_valid(c, "a queue", ERR_INVALID_FIELD) && settings_read(c, table, SETTINGS, values))
        change(c, values);
}

static void change_to(struct call *c, int64_t paused, int64_t draining)
{
    const int64_t values[SETTINGS] = {paused, draining, -1};
    if (call_name_valid(c, "a queue", ERR_INVALID_FIELD) && call_body_empty(c))
        change(c, values);
}

void handle_queue_pause(struct call *c)
{
    change_to(c, 1, -1);
}

void handle_queue_resume(struct call *c)
{
    change_to(c, 0, 0);
}

void handle_queue_drain(struct call *c)
{
    change_to(c, -1, 1);
}
