/* The executor interface: how an attempt becomes a process (or, elsewhere, a container or a remote call). The rest of the runner knows executors only through this table.
 * Contract: executors.md. Callbacks come from the loop, never from inside a call. */
#ifndef ERRAND_RUNNER_EXECUTOR_H
#define ERRAND_RUNNER_EXECUTOR_H

#include "common/base.h"
#include "common/err.h"
#include "common/loop.h"

struct job; /* an executor's own; what start() returns */

enum job_stream { JOB_STDOUT, JOB_STDERR };
enum job_status { JOB_QUEUED, JOB_PROVISIONING, JOB_RUNNING, JOB_STOPPING, JOB_TERMINATED, JOB_FAILED };

struct job_spec {
    struct str run_id, workspace, agent, provider;
    int64_t attempt;
    const char *const *command; /* NULL-terminated */
    const char *const *env;     /* "KEY=value", NULL-terminated: the whole environment */
    const char *workdir;
    const char *private;   /* the attempt's own folder */
    struct str input_line; /* written to standard input, then end of file */
    int64_t grace_ms;      /* for what is left of the tree when the command itself has ended */
};

struct job_exit {
    bool started; /* the command ran */
    bool signaled;
    int code;            /* exit status, or the signal */
    const char *message; /* why it could not be started; NULL otherwise */
};

struct job_events {
    /* It runs. handle: a JSON object that names it outside, stored in the run's record. */
    void (*started)(void *ctx, struct str handle);
    /* Bytes of its output, borrowed. */
    void (*output)(void *ctx, enum job_stream stream, struct str bytes);
    /* Nothing of it is left and its output was read to the end. The last call; the job is freed after the turn. */
    void (*gone)(void *ctx, const struct job_exit *how);
};

struct executor {
    const char *name;
    /* Spec and what it points to are copied or used up before it returns. NULL: *ret_why says why (static); no callback comes then. */
    struct job *(*start)(struct loop *l, const struct job_spec *spec, const struct job_events *events, void *ctx,
                         const char **ret_why);
    /* SIGTERM to the whole tree, SIGKILL after grace_ms. Idempotent; a shorter grace replaces a longer one. */
    void (*stop)(struct job *job, int64_t grace_ms);
    /* Whether its output is read: false lets it block on its pipes. */
    void (*read_output)(struct job *job, bool on);
    /* From the stored handle alone. */
    enum job_status (*status)(struct str handle);
    /* Whether it enforces a capability on this machine. */
    bool (*supports)(const char *capability);
};

/* By name, or NULL. executor_at(i): the i-th, NULL past the end. */
const struct executor *executor_find(struct str name);
const struct executor *executor_at(size_t i);
extern const struct executor executor_process;
/* Where errand-exec is; set once at start, before any job. */
void executor_process_set_path(const char *path);

#endif
