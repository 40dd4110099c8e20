#include "common/chores.h"

#include "common/crypto.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/metrics.h"
#include "lua/scripts.h"

enum { TICK_MS = 1000, REAP_MS = 500, REAP_BATCH = 64, PROMOTE_BATCH = 100, SWEEP_BATCH = 100, WATCH_BATCH = 50 };

static void on_reaped(void *ctx, enum err err, const struct script_reap_reply *reply);
static void on_swept(void *ctx, enum err err, const struct script_sweep_reply *reply);

static void reap(struct chores *c)
{
    if (c->reaping || !redis_is_up(c->commands))
        return;
    c->reaping = true;
    struct script_reap_args args = {.lease_ms = c->config->lease_ms,
                                    .max = REAP_BATCH,
                                    .max_losses = CHORES_LOSSES_MAX,
                                    .rid = str_of(redis_run_id(c->commands)),
                                    .retention_ms = c->config->retention_ms};
    script_call_reap(c->commands, c->prefix, &args, on_reaped, c);
}

static void on_reaped(void *ctx, enum err err, const struct script_reap_reply *reply)
{
    struct chores *c = ctx;
    c->reaping = false;
    if (err)
        return;
    if (reply->taken > 0)
        LOG_WARN("took runs back from lost runners", LOG_I("runs", reply->taken));
    metric_add(METRIC_REAPED, reply->taken);
    if (reply->more)
        reap(c);
    else if (reply->next_ms > 0 && reply->next_ms < REAP_MS)
        loop_timer_set(&c->reap, reply->next_ms + 1); /* a runner that looks dead */
}

/* Runs that nobody can serve are told. */
static void watch(struct chores *c)
{
    if (!redis_is_up(c->commands))
        return;
    struct script_watch_args args = {.max = WATCH_BATCH, .rid = str_of(redis_run_id(c->commands))};
    script_call_watch(c->commands, c->prefix, &args, NULL, NULL);
}

static void sweep(struct chores *c)
{
    if (c->sweeping || !redis_is_up(c->commands))
        return;
    c->sweeping = true;
    struct script_sweep_args args = {.max = SWEEP_BATCH};
    script_call_sweep(c->commands, c->prefix, &args, on_swept, c);
}

static void on_swept(void *ctx, enum err err, const struct script_sweep_reply *reply)
{
    struct chores *c = ctx;
    c->sweeping = false;
    if (err)
        return;
    metric_add(METRIC_SWEPT, reply->swept);
    if (reply->more)
        sweep(c);
}

static void on_reap_timer(void *ctx)
{
    struct chores *c = ctx;
    loop_timer_set(&c->reap, REAP_MS);
    reap(c);
    sweep(c);
    watch(c);
}

static void on_promoted(void *ctx, enum err err, const struct script_promote_reply *reply)
{
    struct chores *c = ctx;
    c->promoting = false;
    if (err == ERR_CANCELED) /* this node ends: its timers are stopped */
        return;
    int64_t next_ms = err || reply->next_ms < 0 || reply->next_ms > TICK_MS ? TICK_MS : reply->next_ms;
    loop_timer_set(&c->promote, c->promote_again && !err ? 0 : next_ms);
    c->promote_again = false;
}

static void on_promote_timer(void *ctx)
{
    struct chores *c = ctx;
    if (c->promoting || !redis_is_up(c->commands)) {
        loop_timer_set(&c->promote, TICK_MS);
        return;
    }
    c->promoting = true;
    struct script_promote_args args = {
        .max = PROMOTE_BATCH, .rid = str_of(redis_run_id(c->commands)), .retention_ms = c->config->retention_ms};
    script_call_promote(c->commands, c->prefix, &args, on_promoted, c);
}

/* A new earliest due time: look, and set the timer anew. */
static void on_due(void *ctx, bool confirmed, struct str message)
{
    struct chores *c = ctx;
    (void)message;
    if (confirmed)
        return;
    c->promote_again = c->promoting; /* the answer that is under way may not know of it */
    loop_timer_set(&c->promote, 0);
    ticker_poke(&c->ticker);
}

void chores_start(struct chores *c, struct loop *l, const struct config *config, struct redis *commands,
                  struct redis *subscriptions, struct str prefix, unsigned shard)
{
    *c = (struct chores){.config = config, .commands = commands, .prefix = prefix};
    loop_timer_init(&c->promote, l, on_promote_timer, c);
    loop_timer_init(&c->reap, l, on_reap_timer, c);
    if (subscriptions) {
        struct key due = keys_due(prefix);
        c->due = redis_subscribe(subscriptions, key_str(&due), on_due, c);
    }
    ticker_start(&c->ticker, l, commands, prefix, shard);
    loop_timer_set(&c->promote, 0);
    loop_timer_set(&c->reap, REAP_MS / 2 + (int64_t)crypto_uniform(REAP_MS / 2)); /* spread over the nodes */
}

void chores_on_up(struct chores *c)
{
    if (c->commands)
        reap(c);
}

void chores_stop(struct chores *c)
{
    loop_timer_stop(&c->promote);
    loop_timer_stop(&c->reap);
    ticker_stop(&c->ticker);
}
