/* The executor `noop`: the attempt starts and succeeds at once, in the runner itself. It is for measuring what a run costs besides its work: everything before and behind the work is the ordinary path. */
#include <stdlib.h>
#include <string.h>

#include "runner/executor.h"

struct executor_self {
    const struct executor_context *x;
};

struct job {
    struct loop *loop;
    const struct job_events *events;
    void *ctx;
};

static enum err noop_open(const struct executor_context *x, struct executor_self **ret_self, struct strbuf *ret_why)
{
    struct executor_self *self = calloc(1, sizeof *self);
    (void)ret_why;
    if (!self)
        return ERR_NO_MEMORY;
    self->x = x;
    *ret_self = self;
    return ERR_OK;
}

static void noop_close(struct executor_self *self)
{
    free(self);
}

static bool noop_supports(const struct executor_self *self, const char *capability)
{
    (void)self;
    return strcmp(capability, "timeout") == 0; /* there is nothing that could outlast it, or do anything else */
}

static void run(void *ctx)
{
    struct job *job = ctx;
    job->events->started(job->ctx, STR(""));
    job->events->gone(job->ctx, &(struct job_exit){.started = true});
    loop_defer_free(job->loop, free, job);
}

static struct job *noop_start(struct executor_self *self, const struct job_spec *spec, const struct job_events *events,
                              void *ctx, const char **ret_why)
{
    struct job *job = malloc(sizeof *job);
    (void)spec;
    *ret_why = "out of memory";
    if (!job)
        return NULL;
    *job = (struct job){self->x->loop, events, ctx};
    loop_defer(job->loop, run, job);
    return job;
}

static void noop_stop(struct job *job, int64_t grace_ms)
{
    (void)job; /* its end is on its way */
    (void)grace_ms;
}

static void noop_read_output(struct job *job, bool on)
{
    (void)job;
    (void)on;
}

static void noop_status(struct executor_self *self, struct str handle, job_status_fn fn, void *ctx)
{
    (void)self;
    (void)handle;
    fn(ctx, &(struct job_snapshot){.status = JOB_TERMINATED});
}

const struct executor executor_noop = {
    .name = "noop",
    .silent = true,
    .open = noop_open,
    .close = noop_close,
    .supports = noop_supports,
    .start = noop_start,
    .stop = noop_stop,
    .read_output = noop_read_output,
    .status = noop_status,
};
