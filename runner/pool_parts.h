/* The parts of the executor `pool`: pools and their workers (pools.c), runs and the executor itself (executor_pool.c). For those two files. */
#ifndef ERRAND_RUNNER_POOL_PARTS_H
#define ERRAND_RUNNER_POOL_PARTS_H

#include "common/arena.h"
#include "runner/bundles.h"
#include "runner/pool_worker.h"

struct pool {
    struct pool *prev, *next;
    struct executor_self *self;
    char key[SHA256_HEX_LEN + 1];
    struct arena arena;
    struct pool_settings settings;
    struct job_spec spec;        /* what its workers are started from; in the arena */
    struct bundle_entry *bundle; /* its code is kept for as long as the pool is there; NULL: it has none */
    struct pool_worker *workers;
    struct pool_counts counts;
    struct job *waiting, *last_waiting; /* jobs without a worker, the oldest first */
    struct loop_timer idle;
    int64_t used_ms;
    bool wanted; /* a run was for it not too long ago: it keeps `min` workers warm */
    bool removed;
    bool failing; /* its newest worker did not come to be: none is started that nobody waits for */
};

struct executor_self {
    const struct executor_context *x;
    struct pool_base *base;
    struct pool *pools;
    struct job *jobs, *last_job;  /* the oldest first */
    int64_t total, bound, ending; /* workers of all pools */
    int64_t waiting;              /* jobs without one */
    bool draining;
};

/*   WAITING ──a worker is free──▶ GIVEN ──started() was called──▶ RUNNING ──▶ OVER
 *      ├──stop──▶ LEAVING ───────────────────────────────────────────────────▲
 *      └──no worker came to be, or none was free───────────────────────────────┘ */
enum job_state { WAITING, LEAVING, GIVEN, RUNNING, OVER };

struct job {
    struct job *prev, *next; /* of the runner */
    struct job *wait_next;   /* of the pool, while it waits */
    struct executor_self *self;
    struct pool *pool;
    struct pool_worker *worker;
    const struct job_events *events;
    void *ctx;
    enum job_state state;
    char run_id[40];
    int64_t attempt;
    char private[WORKDIR_MAX];
    struct strbuf line, names; /* while it waits: what a worker gets, with secrets; variables that are its folder */
    struct loop_timer patience;
    bool paused;
};

/* ---- of runs ---- */

/* It is not among those that wait any more. */
void pool_job_unlink(struct job *job);
/* Overwrites what it would have given a worker. */
void pool_job_forget(struct job *job);
/* Tells that it began, unless that was told. */
void pool_job_begun(struct job *job);
/* The last word on it. */
void pool_job_over(struct job *job, const struct job_exit *how);
/* It did not come to a worker. message: static, or the worker's. */
void pool_job_fail(struct job *job, const char *class, const char *message);

/* ---- of pools ---- */

/* Idle workers to those that wait. */
void pool_serve(struct pool *p);
/* Behind everything that happened to it: starts what is needed, ends what is not, and forgets the pool when nothing of it is left. */
void pool_settle(struct pool *p);
/* Its workers changed their states. */
void pool_recount(struct pool *p);
/* PRE: it has no worker, and no run waits. */
void pool_remove(struct pool *p);
/* Its memory; PRE: nothing has it. */
void pool_free(void *pool);
/* The pool's timer. */
void pool_on_idle(void *ctx);

#endif
