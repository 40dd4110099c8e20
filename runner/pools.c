/* Pools and their workers: who gets a run, and how many there are (pool_rules.h). */
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "runner/pool_parts.h"

/* ---- workers ---- */

static int64_t *count_of(struct pool *p, enum pool_worker_state state)
{
    switch (state) {
    case POOL_WORKER_PREPARING:
        return &p->counts.starting;
    case POOL_WORKER_IDLE:
        return &p->counts.idle;
    case POOL_WORKER_BUSY:
        return &p->counts.busy;
    case POOL_WORKER_ENDING:
    case POOL_WORKER_GONE:
    case POOL_WORKER_STATE_COUNT:
        break;
    }
    return &p->counts.ending;
}

/* Counted anew: the workers of a pool are few. */
void pool_recount(struct pool *p)
{
    struct executor_self *self = p->self;
    self->ending -= p->counts.ending;
    p->counts = (struct pool_counts){.waiting = p->counts.waiting};
    for (const struct pool_worker *w = p->workers; w; w = w->next)
        ++*count_of(p, w->state);
    self->ending += p->counts.ending;
}

static void end_worker(struct pool_worker *w, int64_t grace_ms, const char *why)
{
    pool_worker_end(w, grace_ms < w->grace_ms ? grace_ms : w->grace_ms, why);
    pool_recount(w->pool);
}

/* The one that was used last, so that the others' time may come; or the one that was used first. */
static struct pool_worker *idle_worker(const struct pool *p, bool newest)
{
    struct pool_worker *found = NULL;
    for (struct pool_worker *w = p->workers; w; w = w->next)
        if (w->state == POOL_WORKER_IDLE && (!found || (w->used_ms > found->used_ms) == newest))
            found = w;
    return found;
}

static void on_begun(void *ctx)
{
    pool_job_begun(ctx);
}

static void give(struct pool_worker *w, struct job *job);

/* Idle workers to those that wait. */
void pool_serve(struct pool *p)
{
    struct pool_worker *w;
    while (p->waiting && (w = idle_worker(p, true)))
        give(w, p->waiting);
}

static void give(struct pool_worker *w, struct job *job)
{
    struct pool *p = w->pool;
    char folder[WORKDIR_MAX + 32];
    size_t begun = job->line.len;
    pool_worker_run_folder(w, job->private, folder);
    pool_line_end(strbuf_str(&job->names), folder, &job->line);
    if (strbuf_failed(&job->line) || !pool_worker_give(w, job, strbuf_str(&job->line))) {
        job->line.len = begun; /* another one gets it */
        end_worker(w, 0, "it does not take its run");
        return;
    }
    pool_job_unlink(job);
    loop_timer_stop(&job->patience);
    pool_job_forget(job);
    pool_recount(p);
    job->worker = w;
    job->state = GIVEN;
    p->used_ms = clock_mono_ms();
    if (job->paused)
        pool_worker_read_output(w, false);
    loop_defer(p->self->x->loop, on_begun, job);
}

static const struct pool_worker_fns worker_fns;

static bool start_one(struct pool *p, const char **ret_why)
{
    struct executor_self *self = p->self;
    struct pool_worker *w = pool_worker_start(self->x, self->base, &p->settings, &p->spec, &worker_fns, p, ret_why);
    if (!w)
        return false;
    w->next = p->workers;
    if (w->next)
        w->next->prev = w;
    p->workers = w;
    self->total++;
    pool_recount(p);
    return true;
}

/* Makes room for n workers at the cost of the idle one that was used longest ago, whosever it is. */
static void evict(struct executor_self *self, const struct pool *for_pool, int64_t n)
{
    for (; n > 0; n--) {
        struct pool_worker *oldest = NULL;
        for (const struct pool *p = self->pools; p; p = p->next) {
            struct pool_worker *w = p == for_pool ? NULL : idle_worker(p, false);
            if (w && (!oldest || w->used_ms < oldest->used_ms))
                oldest = w;
        }
        if (!oldest)
            return;
        end_worker(oldest, 0, "another pool needs its place");
    }
}

/* Starts what it needs and may have. Where that fails, the jobs that wait are told. */
static void fill(struct pool *p)
{
    struct executor_self *self = p->self;
    const char *why = NULL;
    pool_serve(p);
    int64_t wanted = pool_to_start(&p->settings, &p->counts, false);
    evict(self, p, pool_to_evict(self->total, self->bound, self->ending, wanted));
    wanted = pool_to_start(&p->settings, &p->counts, p->wanted && !p->failing && !self->draining);
    for (; wanted > 0 && self->total < self->bound && !why; wanted--)
        if (!start_one(p, &why))
            LOG_WARN("a worker could not be started", LOG_S("agent", p->spec.agent), LOG_Z("error", why));
    p->failing = p->failing || why;
    while (why && p->waiting && p->counts.starting == 0)
        pool_job_fail(p->waiting, "start_failed", why);
}

/* ---- the end of pools ---- */

void pool_free(void *ctx)
{
    struct pool *p = ctx;
    arena_done(&p->arena);
    free(p);
}

void pool_remove(struct pool *p)
{
    p->removed = true;
    if (p->bundle)
        bundles_let_go(p->bundle);
    loop_timer_stop(&p->idle);
    if (p->prev)
        p->prev->next = p->next;
    else
        p->self->pools = p->next;
    if (p->next)
        p->next->prev = p->prev;
    loop_defer_free(p->self->x->loop, pool_free, p);
}

/* Ends idle workers whose time has come, and says when to look again. */
void pool_on_idle(void *ctx)
{
    struct pool *p = ctx;
    int64_t now = clock_mono_ms(), keep_ms = p->settings.idle_ms * POOL_KEEP_TIMES;
    if (p->counts.busy > 0)
        p->used_ms = now;
    if (p->self->draining || now - p->used_ms >= keep_ms)
        p->wanted = false;
    int64_t n = p->wanted ? pool_to_end(&p->settings, &p->counts) : p->counts.idle, next = p->used_ms + keep_ms;
    for (struct pool_worker *w; n > 0 && (w = idle_worker(p, false)); n--) {
        if (p->wanted && now - w->used_ms < p->settings.idle_ms) {
            next = w->used_ms + p->settings.idle_ms;
            break;
        }
        end_worker(w, INT64_MAX, p->wanted ? "nobody needed it for idleMs" : "its pool goes");
    }
    if (p->counts.idle > 0)
        loop_timer_set(&p->idle, next - now);
}

/* Behind everything that happened to it: starts, ends, forgets what has to be. */
void pool_settle(struct pool *p)
{
    if (p->removed)
        return;
    pool_recount(p); /* a worker may have begun to end by itself */
    fill(p);
    if (p->counts.idle > 0)
        pool_on_idle(p);
    if (!p->workers && !p->waiting)
        pool_remove(p);
}

/* A place is free, or can be had from a worker that is idle now: who waits longest has it first. A job that ends meanwhile still says which was behind it: its memory goes after the turn. */
static void settle_waiting(struct executor_self *self)
{
    const struct pool *tried = NULL;
    for (struct job *job = self->jobs; job && self->waiting > 0; job = job->next) {
        if (job->state != WAITING || job->pool == tried)
            continue;
        tried = job->pool;
        if (pool_to_start(&tried->settings, &tried->counts, false) > 0)
            pool_settle(job->pool);
    }
}

/* ---- what workers say ---- */

static void on_ready(struct pool_worker *w)
{
    struct pool *p = w->pool;
    p->failing = false;
    pool_recount(p);
    pool_settle(p);
    settle_waiting(p->self);
}

static void on_output(struct pool_worker *w, enum job_stream stream, struct str bytes)
{
    struct job *job = w->job;
    pool_job_begun(job);
    job->events->output(job->ctx, stream, bytes);
}

/* The worker has nothing to do with it any more. */
static struct job *take_job(struct pool_worker *w)
{
    struct job *job = w->job;
    if (!job)
        return NULL;
    pool_job_begun(job);
    pool_worker_forget(w);
    job->worker = NULL;
    return job;
}

static void on_over(struct pool_worker *w)
{
    struct pool *p = w->pool;
    struct job *job = take_job(w);
    p->used_ms = clock_mono_ms();
    pool_recount(p);
    pool_job_over(job, &(struct job_exit){.started = true});
    pool_settle(p);
}

static void unlink_worker(struct pool_worker *w)
{
    struct pool *p = w->pool;
    if (w->prev)
        w->prev->next = w->next;
    else
        p->workers = w->next;
    if (w->next)
        w->next->prev = w->prev;
    p->self->total--;
    pool_recount(p);
}

static void on_gone(struct pool_worker *w, const struct job_exit *how)
{
    struct pool *p = w->pool;
    struct executor_self *self = p->self;
    struct job *job = take_job(w);
    unlink_worker(w);
    if (!w->was_ready && !self->draining) {
        p->failing = true;
        LOG_WARN("a worker did not become ready", LOG_S("agent", p->spec.agent), LOG_Z("worker", w->id));
    }
    if (job)
        pool_job_over(job, how);
    else if (!w->was_ready && p->waiting)
        pool_job_fail(p->waiting, how->class, how->message);
    settle_waiting(
        self); /* first: a worker that only keeps its pool warm must not take the place of one that is waited for */
    pool_settle(p);
}

static const struct pool_worker_fns worker_fns = {
    .ready = on_ready, .output = on_output, .over = on_over, .gone = on_gone};
