#include "common/ticker.h"

#include "common/id.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/schedule.h"
#include "lua/scripts.h"

enum { LOOK_MS = 1000, BATCH = 100 };

static void look_again(struct ticker *t)
{
    int64_t ms = t->next_ms < 0 || t->next_ms > LOOK_MS ? LOOK_MS : t->next_ms;
    loop_timer_set(&t->timer, t->progress ? 0 : ms);
}

static void on_tick(void *ctx, enum err err, const struct script_tick_reply *reply)
{
    struct ticker *t = ctx;
    t->waiting--;
    if (err == ERR_CANCELED) /* this node ends: its timers are stopped */
        return;
    t->progress = t->progress || !err;
    if (!err && reply->moved)
        metric_add(METRIC_TICKS, 1);
    if (t->waiting == 0)
        look_again(t);
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
    struct id run = id_new_run(t->shard);
    struct script_tick_args args = {.ws = row->ws,
                                    .name = row->name,
                                    .version = row->version,
                                    .seen_ms = row->tick_ms,
                                    .tick_ms = step.tick_ms,
                                    .next_ms = step.next_ms,
                                    .missed = step.missed,
                                    .until_ms = step.until_ms,
                                    .run = str_of(run.s),
                                    .rid = str_of(redis_run_id(t->commands))};
    t->waiting++;
    script_call_tick(t->commands, t->prefix, &args, on_tick, t);
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
