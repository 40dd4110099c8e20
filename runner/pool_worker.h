/* One warm worker of a pool: a command under errand-exec that takes one run after another. It knows nothing of pools and attempts. Protocol: docs/agents.md, "Warm workers". Callbacks come from the loop, never from inside a call, but for output(). */
#ifndef ERRAND_RUNNER_POOL_WORKER_H
#define ERRAND_RUNNER_POOL_WORKER_H

#include "runner/pool_base.h"
#include "runner/pool_rules.h"
#include "runner/pool_scan.h"
#include "runner/pool_tree.h"
#include "runner/workdir.h"

/*   PREPARING ──it says worker_ready──▶ IDLE ──a run──▶ BUSY ──its runtime_terminal──▶ PREPARING
 *       └───────────────────────────────┴───────────────┴──▶ ENDING ──nothing is left──▶ GONE
 * Between its runs it says each time when it is ready: what it writes before that is not the next run's for certain, and there must be nothing. ENDING has the run with it where that is to be over only when nothing of the worker is left. */
#define POOL_WORKER_STATES(X)  X(PREPARING) X(IDLE) X(BUSY) X(ENDING) X(GONE)
#define POOL_WORKER_ENUM(name) POOL_WORKER_##name,
enum pool_worker_state { POOL_WORKER_STATES(POOL_WORKER_ENUM) POOL_WORKER_STATE_COUNT };
#undef POOL_WORKER_ENUM
bool pool_worker_edge(enum pool_worker_state from, enum pool_worker_state to);

enum { POOL_START_MS = 30000, POOL_NOISE_MAX = 65536, POOL_SAID_MAX = 512 };

struct pool_worker;
struct pool_worker_fns {
    /* It waits for a run. */
    void (*ready)(struct pool_worker *w);
    /* Of the run that is on. */
    void (*output)(struct pool_worker *w, enum job_stream stream, struct str bytes);
    /* The run that was on has ended as it should: the worker prepares for the next one, or ends. */
    void (*over)(struct pool_worker *w);
    /* Nothing of it is left. The run that was on, if any, ended so. Its memory goes after the turn. */
    void (*gone)(struct pool_worker *w, const struct job_exit *how);
};

struct pool_worker {
    struct pool_worker *prev, *next; /* the pool's */
    void *pool;
    struct job *job; /* the run that is on; the pool's */
    const struct pool_worker_fns *fns;
    struct loop *loop;
    enum pool_worker_state state;
    const struct pool_settings *settings;
    struct exec_job *exec;
    struct pool_shell *shell;
    char id[40]; /* its own, where a run's would stand */
    char folder[WORKDIR_MAX];
    char process[200]; /* the members of its handle, without braces */
    struct pool_scan scan;
    struct pool_tree before; /* who lived below it before its first run */
    struct loop_timer start;
    int64_t runs, used_ms, grace_ms, start_ms;
    size_t noise;             /* bytes that it wrote before it was ready */
    char said[POOL_SAID_MAX]; /* the end of what it wrote to standard error then */
    size_t said_len;
    const char *end_why; /* static; NULL: it ended by itself */
    bool ended_by_run;   /* its runtime_terminal was read */
    bool was_ready, failed;
    bool looked; /* its figures were asked for in this run */
    struct job_exit how;
    char message[POOL_SAID_MAX + 200];
};

/* spec: the definition's command, workdir, code and limits, copied or used up; folder is made, and removed at its end. It has to be ready within start_ms. NULL: *ret_why says why (static); nothing comes then. */
struct pool_worker *pool_worker_start(const struct executor_context *x, struct pool_base *base,
                                      const struct pool_settings *settings, const struct job_spec *spec,
                                      const struct pool_worker_fns *fns, void *pool, const char **ret_why);
/* The folder that its next run is to be told: the attempt's own; in a sandbox, which can't see that, one in the worker's folder, which the worker has to make. */
void pool_worker_run_folder(const struct pool_worker *w, const char *private, char ret_path[WORKDIR_MAX + 32]);
/* The next run. PRE: it is idle. False: it takes nothing, or wrote something meanwhile; end it. */
bool pool_worker_give(struct pool_worker *w, struct job *job, struct str line);
/* SIGTERM to all of it, SIGKILL after the grace time; a shorter one replaces a longer one. A run that is on is over when it is gone. why: static, for the log. */
void pool_worker_end(struct pool_worker *w, int64_t grace_ms, const char *why);
void pool_worker_read_output(struct pool_worker *w, bool on);
/* From now on nobody has the run that was on. */
void pool_worker_forget(struct pool_worker *w);
void pool_worker_stats(struct pool_worker *w, struct job_stats *ret_stats);

#endif
