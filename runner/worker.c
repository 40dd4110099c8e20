#include "runner/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/schema_cache.h"
#include "common/vault.h"
#include "common/version.h"
#include "lua/scripts.h"
#include "runner/attempt.h"
#include "runner/bundles.h"
#include "runner/workdir.h"
#include "runner/worker_shard.h"

enum { GIVE_UP_MS = 8000 };     /* after the hand-back: the grace of a tree, and a Redis that comes back at once */
enum { SWEEP_LATER_MS = 2000 }; /* behind the lease in which what was left waits for its successor */

bool worker_may_execute(const struct worker *w, const struct executor *e)
{
    return w->executor_open[executor_index(e)];
}

/* ---- slots ---- */

static void gauge_slots(struct worker *w, int64_t delta)
{
    w->used += delta;
    metric_add(METRIC_SLOTS_BUSY, delta);
}

void worker_attempt_begin(struct worker_shard *s, const struct script_claim_runs *row)
{
    struct attempt *a = attempt_new(s, row);
    if (!a)
        return; /* the next heartbeat does not name it, and Redis gives it back */
    worker_attempt_add(a);
    metric_add(METRIC_CLAIMS, 1);
}

void worker_attempt_add(struct attempt *a)
{
    struct worker *w = a->shard->worker;
    a->next = w->attempts;
    if (a->next)
        a->next->prev = a;
    w->attempts = a;
    w->attempt_count++;
    gauge_slots(w, a->slots);
}

void worker_slots_freed(struct worker *w, int64_t slots)
{
    gauge_slots(w, -slots);
    for (unsigned i = 0; i < w->shard_count; i++)
        shard_may_claim_more(&w->shards[i]);
}

void worker_attempt_over(struct attempt *a)
{
    struct worker *w = a->shard->worker;
    if (a->prev)
        a->prev->next = a->next;
    else
        w->attempts = a->next;
    if (a->next)
        a->next->prev = a->prev;
    a->prev = a->next = NULL;
    w->attempt_count--;
    for (unsigned i = 0; i < w->shard_count; i++)
        shard_may_claim_more(&w->shards[i]);
    worker_stop_if_done(w);
}

/* ---- the end ---- */

static void on_deregistered(void *ctx, enum err err, const struct script_deregister_reply *reply)
{
    struct worker *w = ctx;
    (void)err;
    (void)reply;
    w->reserved--;
    worker_stop_if_done(w);
}

static void leave_all(struct worker *w)
{
    int64_t n = 0;
    w->leaving = true; /* each of them asks whether it was the last */
    for (struct attempt *a = w->attempts, *next; a; a = next) {
        next = a->next;
        if (!attempt_can_leave(a))
            continue;
        attempt_leave(a);
        n++;
    }
    w->leaving = false;
    if (n > 0)
        LOG_INFO("leaving runs to a successor", LOG_I("runs", n), LOG_I("of", w->attempt_count));
}

/* They wait for a successor only for a lease: so as long as others drain here they go on as they are. */
static void leave_if_alone(struct worker *w)
{
    for (const struct attempt *a = w->attempts; a && w->leaves; a = a->next)
        if (a->end != END_LEFT && !attempt_can_leave(a))
            return;
    if (w->leaves)
        leave_all(w);
}

static bool has_left(const struct worker_shard *s)
{
    const struct attempt *a = s->worker->attempts;
    while (a && (a->shard != s || a->end != END_LEFT))
        a = a->next;
    return a != NULL;
}

/* Drained: says goodbye on each shard that can be reached, then stops. */
void worker_stop_if_done(struct worker *w)
{
    if (!w->draining || w->stop_called || w->leaving)
        return;
    leave_if_alone(w);
    for (const struct attempt *a = w->attempts; a; a = a->next)
        if (a->end != END_LEFT || a->job)
            return;
    for (unsigned i = 0; i < w->shard_count; i++) {
        struct worker_shard *s = &w->shards[i];
        if (!s->registered || !redis_is_up(s->commands))
            continue;
        s->registered = false;
        if (has_left(s))
            continue; /* its name and its lease are what a successor finds its runs by */
        struct script_deregister_args args = {.inc = str_of(s->incarnation.s)};
        w->reserved++;
        script_call_deregister(s->commands, worker_prefix(s), &args, on_deregistered, w);
    }
    if (bundles_stop(w->bundles))
        return; /* the end of what it does comes back here */
    bool claiming = false;
    for (unsigned i = 0; i < w->shard_count; i++)
        claiming = claiming || w->shards[i].claiming;
    if (w->reserved > 0 || claiming)
        return;
    w->stop_called = true;
    loop_timer_stop(&w->drain_limit);
    loop_timer_stop(&w->give_up);
    w->stopped(w);
}

static void give_up(void *ctx)
{
    struct worker *w = ctx;
    LOG_ERROR("Redis did not take the end of these runs: giving them up; other runners take them back",
              LOG_I("runs", w->attempt_count));
    for (struct attempt *a = w->attempts, *next; a; a = next) {
        next = a->next;
        attempt_lose(a);
    }
}

static void hand_back_all(void *ctx)
{
    struct worker *w = ctx;
    LOG_INFO("drain time is over: handing runs back", LOG_I("runs", w->attempt_count));
    if (w->leaves)
        leave_all(w);
    if (!loop_timer_is_set(&w->give_up))
        loop_timer_set(&w->give_up, GIVE_UP_MS);
    for (struct attempt *a = w->attempts, *next; a; a = next) {
        next = a->next;
        attempt_hand_back(a);
    }
}

bool worker_leave(struct worker *w)
{
    if (!w->config->adopt || w->draining)
        return false;
    w->leaves = true;
    worker_drain(w);
    return true;
}

void worker_drain(struct worker *w)
{
    if (w->draining) {
        hand_back_all(w);
        return;
    }
    w->draining = true;
    LOG_INFO("draining", LOG_I("runs", w->attempt_count));
    loop_timer_set(&w->drain_limit, w->config->drain_ms);
    executors_drain(w->executors, w->executor_open);
    for (unsigned i = 0; i < w->shard_count; i++)
        shard_beat(&w->shards[i]);
    worker_stop_if_done(w);
}

bool worker_ready(const struct worker *w, const char **ret_why)
{
    *ret_why = w->draining ? "this runner is shutting down" : NULL;
    for (unsigned i = 0; i < w->shard_count && !*ret_why; i++)
        if (!w->shards[i].registered || !w->shards[i].fresh)
            *ret_why = "Redis can't be reached, or does not know this runner yet";
    return !*ret_why;
}

/* ---- start ---- */

static enum err read_queues(struct worker *w, struct strbuf *msg)
{
    struct str list = str_of(w->config->queues), word;
    while (str_next_word(&list, &word)) {
        if (w->queue_count >= WORKER_QUEUES_MAX || !keys_name_valid(word)) {
            strbuf_addf(msg, "queues: \"%.*s\": a comma list of at most %d names (letters, digits, '.', '_', '-')",
                        (int)(word.len > 64 ? 64 : word.len), word.ptr, WORKER_QUEUES_MAX);
            return ERR_CONFIG;
        }
        w->queues[w->queue_count++] = word;
    }
    if (w->queue_count == 0)
        strbuf_addz(msg, "queues: at least one is needed");
    return w->queue_count ? ERR_OK : ERR_CONFIG;
}

static bool tag_valid(struct str tag)
{
    for (size_t i = 0; i < tag.len; i++) {
        char c = tag.ptr[i];
        bool letter = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !strchr("._-=:", c))
            return false;
    }
    return tag.len > 0 && tag.len <= LIMIT_TAG;
}

static enum err check_tags(const struct config *config, struct strbuf *msg)
{
    struct str list = str_of(config->tags), word;
    size_t count = 0;
    while (str_next_word(&list, &word)) {
        if (++count <= WORKER_TAGS_MAX && tag_valid(word))
            continue;
        strbuf_addf(msg,
                    "tags: \"%.*s\": a comma list of at most %d words of at most %d letters, digits, '.', '_', '-', "
                    "'=', ':'",
                    (int)(word.len > 64 ? 64 : word.len), word.ptr, WORKER_TAGS_MAX, LIMIT_TAG);
        return ERR_CONFIG;
    }
    return ERR_OK;
}

static void on_bundles_stopped(void *ctx)
{
    worker_stop_if_done(ctx);
}

static bool any_local(const struct worker *w)
{
    bool any = false;
    for (size_t i = 0; executor_at(i); i++)
        any = any || (w->executor_open[i] && executor_at(i)->local);
    return any;
}

/* What an earlier runner of this node left running or lying. What was adopted by then is held by this runner (its groups and folders are locked), or named here for executors that have neither. */
static void sweep(void *ctx)
{
    struct worker *w = ctx;
    size_t n = 0;
    struct job_owner *keep = calloc((size_t)w->attempt_count + 1, sizeof *keep);
    if (!keep)
        return;
    for (const struct attempt *a = w->attempts; a; a = a->next)
        keep[n++] = (struct job_owner){str_of(a->run_id.s), a->number};
    executors_sweep(&w->executor_context, w->executors, w->executor_open, keep, n);
    if (w->workdirs.path[0])
        workdirs_sweep(&w->workdirs, w->config, w->loop, keep, n);
    free(keep);
}

enum err worker_check(struct worker *w, const struct config *config, const char *exec_path, struct strbuf *ret_message)
{
    *w = (struct worker){.config = config, .loop = loop_new()};
    if (!w->loop)
        return ERR_NO_MEMORY;
    w->executor_context =
        (struct executor_context){.config = config, .loop = w->loop, .exec_path = exec_path, .workdirs = &w->workdirs};
    enum err err = executors_open(&w->executor_context, w->executors, w->executor_open, ret_message);
    executors_close(&w->executor_context, w->executors, w->executor_open);
    if (!err)
        loop_free(w->loop);
    return err;
}

enum err worker_start(struct worker *w, const struct config *config, const char *exec_path, struct strbuf *ret_message)
{
    *w = (struct worker){.config = config, .shard_count = (unsigned)config->shards, .slots = config->slots};
    w->loop = loop_new();
    if (!w->loop)
        return ERR_NO_MEMORY;
    w->executor_context =
        (struct executor_context){.config = config, .loop = w->loop, .exec_path = exec_path, .workdirs = &w->workdirs};
    enum err err = read_queues(w, ret_message);
    if (!err)
        err = check_tags(config, ret_message);
    if (!err)
        err = executors_open(&w->executor_context, w->executors, w->executor_open, ret_message);
    if (!err && any_local(w))
        err = workdirs_open(config, &w->workdirs, ret_message);
    if (!err && any_local(w))
        err = bundles_open(&w->executor_context, on_bundles_stopped, w, &w->bundles, ret_message);
    w->executor_context.bundles = w->bundles;
    if (!err)
        err = vault_new(config, &w->vault, ret_message);
    if (err)
        return err;
    w->schemas = schema_cache_new();
    if (!w->schemas)
        return ERR_NO_MEMORY;
    loop_timer_init(&w->sweep, w->loop, sweep, w);
    if (config->adopt)
        loop_timer_set(&w->sweep, config->lease_ms + SWEEP_LATER_MS);
    else
        sweep(w);
    w->shards = calloc(w->shard_count, sizeof *w->shards);
    if (!w->shards)
        return ERR_NO_MEMORY;
    loop_timer_init(&w->drain_limit, w->loop, hand_back_all, w);
    loop_timer_init(&w->give_up, w->loop, give_up, w);
    metric_add(METRIC_SLOTS, w->slots);
    for (unsigned i = 0; i < w->shard_count && !err; i++)
        err = shard_start(w, i, ret_message);
    return err;
}

void worker_done(struct worker *w)
{
    loop_timer_stop(&w->drain_limit);
    loop_timer_stop(&w->give_up);
    loop_timer_stop(&w->sweep);
    for (unsigned i = 0; i < w->shard_count; i++)
        shard_done(&w->shards[i]);
    for (struct attempt *a = w->attempts, *next; a; a = next) { /* those that were left */
        next = a->next;
        attempt_forget(a);
    }
    executors_close(&w->executor_context, w->executors, w->executor_open);
    loop_free(w->loop);
    bundles_close(w->bundles);
    workdirs_close(&w->workdirs);
    free(w->shards);
    vault_free(w->vault);
    schema_cache_free(w->schemas);
}
