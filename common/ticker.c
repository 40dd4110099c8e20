#include "common/ticker.h"

#include <stdlib.h>

#include "common/arena.h"
#include "common/id.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/schedule.h"
#include "common/schema.h"
#include "lua/scripts.h"

enum { LOOK_MS = 1000, BATCH = 100, TRIES = 4, TICK_ARENA_MAX = 65536 };

static void look_again(struct ticker *t)
{
    int64_t ms = t->next_ms < 0 || t->next_ms > LOOK_MS ? LOOK_MS : t->next_ms;
    loop_timer_set(&t->timer, t->progress ? 0 : ms);
}

/* A tick that is asked for, perhaps once more: its words outlive the reply that they came in. */
struct tick {
    struct ticker *ticker;
    struct script_tick_args args;
    struct arena arena;
    struct id run;
    int tries;
};

static void tick_free(struct tick *k)
{
    arena_done(&k->arena);
    free(k);
}

static void send_tick(struct tick *k);

/* The agent has a schema: whether the schedule's input meets it, as it is now. */
static void check_input(struct tick *k, const struct script_tick_reply *reply)
{
    struct schema *s = NULL;
    struct schema_fault fault;
    struct schema_faults faults;
    bool ok = schema_compile(reply->schema, &s, &fault) == ERR_OK && schema_check(s, reply->input, &faults);
    schema_unref(s);
    k->args.schema_failed = !ok;
    k->args.schema_checked = arena_str(&k->arena, reply->def);
    send_tick(k);
}

static void on_tick(void *ctx, enum err err, const struct script_tick_reply *reply)
{
    struct tick *k = ctx;
    struct ticker *t = k->ticker;
    if (err == ERR_SCHEMA_UNCHECKED && reply && ++k->tries < TRIES) {
        check_input(k, reply);
        return;
    }
    tick_free(k);
    t->waiting--;
    if (err == ERR_CANCELED) /* this node ends: its timers are stopped */
        return;
    t->progress = t->progress || !err;
    if (!err && reply->moved)
        metric_add(METRIC_TICKS, 1);
    if (t->waiting == 0)
        look_again(t);
}

static void send_tick(struct tick *k)
{
    script_call_tick(k->ticker->commands, k->ticker->prefix, &k->args, on_tick, k);
}

/* One schedule whose tick has come. */
static void tick(struct ticker *t, const struct script_ticks_due *row, int64_t now_ms)
{
    struct schedule_spec spec = {.cron = row->cron,
                                 .zone = row->zone,
                                 .every_ms = row->every_ms,
                                 .anchor_ms = row->anchor_ms,
                                 .start_ms = row->start_ms,
                                 .end_ms = row->end_ms};
    struct schedule s;
    char why[CRON_WHY_MAX + 64];
    if (!schedule_init(
            &s, &spec,
            why)) { /* it was checked when it was stored, so other nodes can: tzdata is missing or old here */
        LOG_ERROR("this node can't run a schedule", LOG_S("workspace", row->ws), LOG_S("schedule", row->name),
                  LOG_Z("why", why));
        return;
    }
    struct schedule_step step = schedule_step(&s, catch_up_of(row->catch_up), row->tick_ms, row->until_ms, now_ms);
    schedule_done(&s);
    struct tick *k = calloc(1, sizeof *k);
    if (!k)
        return; /* it is due at the next look */
    arena_init(&k->arena, TICK_ARENA_MAX);
    k->ticker = t;
    k->run = id_new_run(t->shard);
    k->args = (struct script_tick_args){.ws = arena_str(&k->arena, row->ws),
                                        .name = arena_str(&k->arena, row->name),
                                        .version = arena_str(&k->arena, row->version),
                                        .seen_ms = row->tick_ms,
                                        .tick_ms = step.tick_ms,
                                        .next_ms = step.next_ms,
                                        .missed = step.missed,
                                        .until_ms = step.until_ms,
                                        .run = str_of(k->run.s),
                                        .rid = arena_str(&k->arena, str_of(redis_run_id(t->commands)))};
    t->waiting++;
    send_tick(k);
}

static void on_ticks(void *ctx, enum err err, const struct script_ticks_reply *reply)
{
    struct ticker *t = ctx;
    t->asking = false;
    if (err == ERR_CANCELED)
        return;
    t->progress = false;
    t->next_ms = err ? -1 : reply->next_ms;
    for (size_t i = 0; !err && i < reply->due_len; i++)
        tick(t, &reply->due[i], reply->now_ms);
    if (t->waiting == 0)
        look_again(t);
}

static void on_timer(void *ctx)
{
    struct ticker *t = ctx;
    if (t->asking || t->waiting > 0 || !redis_is_up(t->commands)) {
        loop_timer_set(&t->timer, LOOK_MS);
        return;
    }
    t->asking = true;
    struct script_ticks_args args = {.max = BATCH};
    script_call_ticks(t->commands, t->prefix, &args, on_ticks, t);
}

void ticker_start(struct ticker *t, struct loop *l, struct redis *commands, struct str prefix, unsigned shard)
{
    *t = (struct ticker){.commands = commands, .prefix = prefix, .shard = shard};
    loop_timer_init(&t->timer, l, on_timer, t);
    loop_timer_set(&t->timer, 0);
}

void ticker_poke(struct ticker *t)
{
    loop_timer_set(&t->timer, 0);
}

void ticker_stop(struct ticker *t)
{
    loop_timer_stop(&t->timer);
}
