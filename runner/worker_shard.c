#include "runner/worker_shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/redis_url.h"
#include "common/version.h"
#include "runner/adopt.h"
#include "runner/attempt.h"
#include "runner/storage.h"

enum { ASK_MS = 1000, UNHEARD_BEAT_MS = 500 }; /* the last: well under reap's SUSPECT_MS */

static void claim(struct worker_shard *s);
static void listen_for_bell(struct worker_shard *s);
static void do_register(struct worker_shard *s);

static struct str rid_of(const struct worker_shard *s)
{
    return str_of(redis_run_id(s->commands));
}

/* ---- lease ---- */

static struct attempt *find_attempt(struct worker_shard *s, struct str run_id)
{
    for (struct attempt *a = s->worker->attempts; a; a = a->next)
        if (a->shard == s && a->state != ATTEMPT_OVER && str_eqz(run_id, a->run_id.s))
            return a;
    return NULL;
}

static void lose_all(struct worker_shard *s)
{
    for (struct attempt *a = s->worker->attempts, *next; a; a = next) {
        next = a->next;
        if (a->shard == s)
            attempt_lose(a);
    }
}

/* Redis gave this incarnation up: whatever it executes is somebody else's by now. */
static void start_anew(struct worker_shard *s)
{
    LOG_WARN("this incarnation was declared dead: its runs are killed, and it starts anew",
             LOG_Z("incarnation", s->incarnation.s));
    s->registered = false;
    s->fresh = false;
    lose_all(s);
    s->incarnation = id_new();
    s->claim_no = s->answered = 0;
    s->saving = false;
    do_register(s);
}

static void tell_fresh(struct worker_shard *s, bool reconnected)
{
    for (struct attempt *a = s->worker->attempts, *next; a; a = next) {
        next = a->next;
        if (a->shard == s)
            attempt_on_fresh(a, reconnected);
    }
}

static void on_beat(void *ctx, enum err err, const struct script_heartbeat_reply *reply);

void shard_beat(struct worker_shard *s)
{
    if (!s->registered || !redis_is_up(s->commands))
        return;
    if (s->beating ||
        s->adopt_sent) { /* what Redis has given us by then is not on our list yet: it would be taken back */
        s->beat_again = true;
        return;
    }
    struct worker *w = s->worker;
    struct script_heartbeat_held *held = calloc((size_t)w->attempt_count + 1, sizeof *held);
    size_t n = 0;
    if (!held)
        return;
    for (struct attempt *a = w->attempts; a; a = a->next)
        if (a->shard == s && a->state != ATTEMPT_OVER && a->end != END_LOST)
            held[n++] = (struct script_heartbeat_held){str_of(a->run_id.s), a->epoch};
    s->beating = true;
    s->sent_ms = clock_mono_ms();
    struct script_heartbeat_args args = {.inc = str_of(s->incarnation.s),
                                         .lease_ms = w->config->lease_ms,
                                         .answered = s->answered,
                                         .draining = w->draining,
                                         .busy = w->used,
                                         .rid = rid_of(s),
                                         .retention_ms = w->config->retention_ms,
                                         .max_losses = CHORES_LOSSES_MAX,
                                         .held = held,
                                         .held_len = n};
    script_call_heartbeat(s->commands, worker_prefix(s), &args, on_beat, s);
    free(held);
}

static void obey(struct worker_shard *s, const struct script_heartbeat_reply *reply)
{
    struct attempt *a;
    for (size_t i = 0; i < reply->kill_len; i++)
        if ((a = find_attempt(s, reply->kill[i].run)) && a->epoch == reply->kill[i].epoch)
            attempt_lose(a);
    for (size_t i = 0; i < reply->stops_len; i++)
        if ((a = find_attempt(s, reply->stops[i])))
            attempt_stop(a);
    for (size_t i = 0; i < reply->claimed_len; i++)
        if ((a = find_attempt(s, reply->claimed[i])))
            attempt_claimed(a);
}

static void on_beat(void *ctx, enum err err, const struct script_heartbeat_reply *reply)
{
    struct worker_shard *s = ctx;
    s->beating = false;
    if (err == ERR_INCARNATION_DEAD) {
        start_anew(s);
        return;
    }
    if (!err) {
        bool was_fresh = s->fresh, reconnected = s->generation != redis_generation(s->commands);
        s->beat_ms = s->sent_ms;
        s->fresh = true;
        s->generation = redis_generation(s->commands);
        obey(s, reply);
        s->beat_again = s->beat_again || reply->more;
        if (reply->drain && !s->worker->draining)
            worker_drain(s->worker);
        if (!was_fresh || reconnected) {
            tell_fresh(s, reconnected);
            listen_for_bell(s);
            claim(s);
        }
    }
    shard_beat_if_due(s);
}

void shard_beat_if_due(struct worker_shard *s)
{
    if (!s->beat_again || s->beating)
        return;
    s->beat_again = false;
    shard_beat(s);
}

bool worker_may_write(struct worker_shard *s)
{
    if (!redis_is_up(s->commands))
        return false;
    if (s->fresh && clock_mono_ms() - s->beat_ms > s->worker->config->lease_ms) {
        s->fresh = false; /* stopped, or slow, for longer than the lease: ask first whether the runs are still ours */
        shard_beat(s);
    }
    return s->fresh;
}

static void on_beat_timer(void *ctx)
{
    struct worker_shard *s = ctx;
    int64_t period_ms = s->worker->config->heartbeat_ms;
    loop_timer_set(&s->beat, !s->ctl_heard && period_ms > UNHEARD_BEAT_MS ? UNHEARD_BEAT_MS : period_ms);
    if (s->registered && s->worker->attempts && clock_mono_ms() - s->beat_ms > s->worker->config->orphan_ms) {
        LOG_ERROR("cut off from Redis for too long: runs are killed", LOG_I("shard", s->number));
        lose_all(s);
        s->beat_ms = clock_mono_ms();
    }
    worker_may_write(s);
    shard_beat(s);
}

/* ---- registration ---- */

static void on_ctl(void *ctx, bool confirmed, struct str message)
{
    struct worker_shard *s = ctx;
    struct attempt *a;
    if (!confirmed && str_eqz(message, "drain")) { /* each shard may say so, and a second drain hands back */
        if (!s->worker->draining)
            worker_drain(s->worker);
        return;
    }
    const char *space = message.len ? memchr(message.ptr, ' ', message.len) : NULL;
    if (confirmed)
        s->ctl_heard = true;
    if (confirmed || !space)
        return;
    struct str order = {message.ptr, (size_t)(space - message.ptr)}, run = {space + 1, message.len - order.len - 1};
    if (!(a = find_attempt(s, run)))
        return;
    if (str_eqz(order, "stop"))
        attempt_stop(a);
    else if (str_eqz(order, "kill"))
        attempt_lose(a);
    else if (str_eqz(order, "claimed"))
        attempt_claimed(a);
    else if (str_eqz(order, "input"))
        input_kick(a);
}

static void on_registered(void *ctx, enum err err, const struct script_register_reply *reply)
{
    struct worker_shard *s = ctx;
    (void)reply;
    if (err) { /* the connection's return, or the next heartbeat timer, tries again */
        if (err == ERR_INCARNATION_DEAD)
            start_anew(s);
        return;
    }
    s->registered = true;
    if (s->adopting)
        adopt_begin(s);
    s->beat_ms = clock_mono_ms();
    LOG_INFO("registered", LOG_Z("incarnation", s->incarnation.s), LOG_I("shard", s->number));
    shard_beat(s);
}

/* What each executor that may be used enforces here: {"process": ["timeout"]} to be shown, "process:timeout,…" for the claim. */
static void add_capabilities(const struct worker *w, struct strbuf *shown, struct strbuf *words)
{
    bool first = true;
    strbuf_addc(shown, '{');
    for (size_t i = 0; executor_at(i); i++) {
        const struct executor *e = executor_at(i);
        bool any = false;
        if (!worker_may_execute(w, e))
            continue;
        strbuf_addf(shown, "%s\"%s\":[", first ? "" : ",", e->name);
        for (const char *const *c = executor_capabilities; *c; c++) {
            if (!e->supports(w->executors[i], *c) && !(e->local && bundles_support(w->bundles, *c)))
                continue;
            strbuf_addf(shown, "%s\"%s\"", any ? "," : "", *c);
            strbuf_addf(words, "%s%s:%s", words->len > 0 ? "," : "", e->name, *c);
            any = true;
        }
        strbuf_addc(shown, ']');
        first = false;
    }
    strbuf_addc(shown, '}');
}

static void do_register(struct worker_shard *s)
{
    struct worker *w = s->worker;
    if (!redis_is_up(s->commands) || s->evicting)
        return;
    char slots[24], host[65] = "", proc[ADOPT_PROC_MAX];
    adopt_proc(getpid(), proc);
    struct strbuf capabilities, enforces;
    gethostname(host, sizeof host - 1);
    snprintf(slots, sizeof slots, "%lld", (long long)w->slots);
    strbuf_init(&capabilities, 4096);
    strbuf_init(&enforces, 4096);
    add_capabilities(w, &capabilities, &enforces);
    const struct str fields[] = {STR("name"),         str_of(w->config->node),
                                 STR("host"),         str_of(host),
                                 STR("version"),      STR(ERRAND_VERSION),
                                 STR("slots"),        str_of(slots),
                                 STR("queues"),       str_of(w->config->queues),
                                 STR("executors"),    str_of(w->config->executors),
                                 STR("tags"),         str_of(w->config->tags),
                                 STR("capabilities"), strbuf_str(&capabilities),
                                 STR("enforces"),     strbuf_str(&enforces),
                                 STR("adopts"),       w->config->adopt ? STR("1") : STR("0"),
                                 STR("proc"),         str_of(proc)};
    struct script_register_args args = {.inc = str_of(s->incarnation.s),
                                        .fields = fields,
                                        .fields_len = ARRAY_LEN(fields),
                                        .lease_ms = w->config->lease_ms};
    redis_unsubscribe(s->ctl);
    s->ctl_heard = false;
    loop_timer_set(&s->beat, UNHEARD_BEAT_MS);
    struct key channel = keys_ctl(worker_prefix(s), str_of(s->incarnation.s));
    s->ctl = redis_subscribe(s->subscriptions, key_str(&channel), on_ctl, s);
    script_call_register(s->commands, worker_prefix(s), &args, on_registered, s);
    strbuf_done(&capabilities);
    strbuf_done(&enforces);
}

/* A Redis that may evict keys is not worked with. */
static void on_memory(void *ctx, enum err err, const redisReply *reply)
{
    struct worker_shard *s = ctx;
    struct str info = redis_str(reply);
    if (err || s->worker->config->allow_eviction)
        return;
    bool evicting = !memmem(info.ptr, info.len, "maxmemory_policy:noeviction", 27);
    if (evicting && !s->evicting)
        LOG_ERROR("redis may evict keys, which would lose runs; set maxmemory-policy noeviction, or allow-eviction",
                  LOG_I("shard", s->number));
    s->evicting = evicting;
    if (!evicting && !s->registered)
        do_register(s);
}

static void ask_memory(struct worker_shard *s)
{
    if (redis_is_up(s->commands))
        redis_command(s->commands, 2, (const struct str[]){STR("INFO"), STR("memory")}, on_memory, s);
}

/* ---- claiming ---- */

/* Attempts that have ended and wait for Redis hold no slot, but there are never more of them than slots. */
static int64_t free_slots(const struct worker *w)
{
    int64_t by_slots = w->slots - w->used, by_memory = 2 * w->slots - w->attempt_count;
    return (by_slots < by_memory ? by_slots : by_memory) - w->reserved;
}

/* One shard at a time saves up slots for a large run; else the small ones of the others would never leave it room. */
static bool another_saves(const struct worker_shard *s)
{
    for (unsigned i = 0; i < s->worker->shard_count; i++) {
        const struct worker_shard *o = &s->worker->shards[i];
        if (o != s && o->saving && o->registered && redis_is_up(o->commands) && !(s->saving && s->number < o->number))
            return true;
    }
    return false;
}

static bool may_claim(const struct worker_shard *s)
{
    return s->registered && s->fresh && !s->worker->draining && !s->evicting && redis_is_up(s->commands) &&
           !s->adopting && free_slots(s->worker) > 0 && !another_saves(s) && s->worker->config->executors[0];
}

struct claim_call {
    struct worker_shard *shard;
    int64_t reserved, number;
    struct id incarnation; /* whose claim it was */
};

/* A claim is over: its slots are free again, also for shards whose bell rang meanwhile. */
static void claim_where_rung(struct worker *w)
{
    for (unsigned i = 0; i < w->shard_count; i++)
        if (w->shards[i].more || w->shards[i].rung)
            claim(&w->shards[i]);
}

static void on_claimed(void *ctx, enum err err, const struct script_claim_reply *reply)
{
    struct claim_call *call = ctx;
    struct worker_shard *s = call->shard;
    s->claiming = false;
    s->worker->reserved -= call->reserved;
    bool same = strcmp(call->incarnation.s, s->incarnation.s) == 0;
    if (same && call->number > s->answered)
        s->answered = call->number; /* also when no answer came: the next heartbeat gives back what it took */
    free(call);
    if (!same) {
        claim(s);
        worker_stop_if_done(s->worker);
        return;
    }
    if (err) {
        s->more = s->saving = false;
        if (err == ERR_INCARNATION_DEAD)
            start_anew(s);
        worker_stop_if_done(s->worker);
        return;
    }
    s->more = reply->more != 0;
    s->saving = reply->saving != 0;
    for (size_t i = 0; i < reply->runs_len; i++)
        worker_attempt_begin(s, &reply->runs[i]);
    for (size_t i = 0; s->worker->draining && i < reply->runs_len; i++) { /* asked for before the signal */
        struct attempt *a = find_attempt(s, reply->runs[i].run);
        if (a)
            attempt_hand_back(a);
    }
    claim_where_rung(s->worker);
    for (unsigned i = 0; i < s->worker->shard_count; i++)
        listen_for_bell(&s->worker->shards[i]); /* they could not while all slots were reserved */
    worker_stop_if_done(s->worker);
}

static void claim(struct worker_shard *s)
{
    if (!may_claim(s) || s->claiming)
        return;
    struct worker *w = s->worker;
    struct claim_call *call = calloc(1, sizeof *call);
    if (!call)
        return;
    int64_t n =
        free_slots(w); /* all of them: a run may take many. How many runs come at once is the script's to bound */
    *call = (struct claim_call){s, n, ++s->claim_no, s->incarnation};
    s->claiming = true;
    s->more = s->rung = false;
    w->reserved += n;
    struct script_claim_args args = {.inc = str_of(s->incarnation.s),
                                     .claim_no = call->number,
                                     .max = n,
                                     .rid = rid_of(s),
                                     .queues = w->queues,
                                     .queues_len = w->queue_count};
    script_call_claim(s->commands, worker_prefix(s), &args, on_claimed, call);
}

static void on_bell(void *ctx, enum err err, const redisReply *reply)
{
    struct worker_shard *s = ctx;
    s->listening = false;
    if (err)
        return; /* its connection's return listens again */
    if (reply->type == REDIS_REPLY_ARRAY) {
        s->rung = true;
        claim(s);
    }
    listen_for_bell(s);
}

/* Blocks on the bells of all queues, one second at a time, while there is a free slot. */
static void listen_for_bell(struct worker_shard *s)
{
    if (s->listening || s->saving || !may_claim(s) || !redis_is_up(s->blocking))
        return;
    struct worker *w = s->worker;
    struct str argv[WORKER_QUEUES_MAX + 2];
    struct key *bells = calloc(w->queue_count, sizeof *bells);
    size_t n = 0;
    if (!bells)
        return;
    argv[n++] = STR("BLPOP");
    for (size_t i = 0; i < w->queue_count; i++) {
        bells[i] = keys_bell(worker_prefix(s), w->queues[i]);
        argv[n++] = key_str(&bells[i]);
    }
    argv[n++] = STR("1");
    s->listening = true;
    redis_command_timeout(s->blocking, 6000, n, argv, on_bell, s);
    free(bells);
}

static void on_ask_timer(void *ctx)
{
    struct worker_shard *s = ctx;
    loop_timer_set(&s->ask, ASK_MS);
    ask_memory(s);
    if (!s->registered)
        do_register(s);
    claim(s);
    listen_for_bell(s);
}

void shard_may_claim_more(struct worker_shard *s)
{
    claim(s);
    listen_for_bell(s);
}

/* ---- connections ---- */

/* An empty transaction: users of an older users.acl may have none. */
static void on_transaction(void *ctx, enum err err, const redisReply *reply)
{
    struct worker_shard *s = ctx;
    s->transactions = !err && reply->type == REDIS_REPLY_ARRAY;
}

static void try_transaction(struct worker_shard *s)
{
    redis_command(s->commands, 1, (const struct str[]){STR("MULTI")}, NULL, NULL);
    redis_command(s->commands, 1, (const struct str[]){STR("EXEC")}, on_transaction, s);
}

static void on_state(void *ctx, struct redis *r, bool up)
{
    struct worker_shard *s = ctx;
    if (r == s->blocking && up) {
        s->listening = false;
        listen_for_bell(s);
    }
    if (r == s->subscriptions && !up) {
        s->ctl_heard = false;
        loop_timer_set(&s->beat, 0);
    }
    if (r != s->commands)
        return;
    if (!up) {
        s->fresh = s->transactions = false;
        return;
    }
    try_transaction(s);
    script_load_all(r, scripts_all, scripts_all_len);
    chores_on_up(&s->chores);
    ask_memory(s);
    if (s->registered)
        shard_beat(s); /* before anything else of this runner */
}

enum err shard_start(struct worker *w, unsigned number, struct strbuf *ret_message)
{
    struct worker_shard *s = &w->shards[number];
    char url[1100], name[128];
    const char *why = "it is too long";
    if (!redis_url_of_shard(w->config->redis_url, number, url, sizeof url) || redis_url_check(url, &why)) {
        strbuf_addf(ret_message, "redis-url: %s", why);
        return ERR_CONFIG;
    }
    s->worker = w;
    s->number = number;
    s->adopting = w->config->adopt;
    s->prefix = keys_shard(str_of(w->config->prefix), number);
    s->incarnation = id_new();
    loop_timer_init(&s->beat, w->loop, on_beat_timer, s);
    loop_timer_init(&s->ask, w->loop, on_ask_timer, s);
    snprintf(name, sizeof name, "errand-runner:%.60s:%u", w->config->node, number);
    struct redis_options o = {.loop = w->loop,
                              .kind = REDIS_COMMANDS,
                              .url = url,
                              .user = w->config->redis_user,
                              .password = w->config->redis_password,
                              .name = name,
                              .on_state = on_state,
                              .ctx = s};
    s->commands = redis_new(&o);
    o.kind = REDIS_SUBSCRIBE;
    s->subscriptions = redis_new(&o);
    o.kind = REDIS_BLOCKING;
    s->blocking = redis_new(&o);
    if (!s->commands || !s->subscriptions || !s->blocking)
        return ERR_NO_MEMORY;
    chores_start(&s->chores, w->loop, w->config, s->commands, s->subscriptions, worker_prefix(s), number);
    loop_timer_set(&s->beat, w->config->heartbeat_ms);
    loop_timer_set(&s->ask, ASK_MS / 2 + (int64_t)crypto_uniform(ASK_MS / 2)); /* spread over the runners */
    return storage_start(s, &s->storage, ret_message);
}

void shard_done(struct worker_shard *s)
{
    loop_timer_stop(&s->beat);
    loop_timer_stop(&s->ask);
    chores_stop(&s->chores);
    storage_stop(s->storage);
    redis_free(s->blocking);
    redis_free(s->subscriptions);
    redis_free(s->commands);
}
