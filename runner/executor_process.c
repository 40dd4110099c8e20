/* The executor `process`: a command under errand-exec, contained by nothing but its limits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner/exec_job.h"
#include "runner/workdir.h"

struct executor_self {
    const struct executor_context *x;
};

struct job {
    struct executor_self *self;
    struct exec_job *exec;
    const struct job_events *events;
    void *ctx;
};

static enum err process_open(const struct executor_context *x, struct executor_self **ret_self, struct strbuf *ret_why)
{
    (void)ret_why;
    *ret_self = calloc(1, sizeof **ret_self);
    if (!*ret_self)
        return ERR_NO_MEMORY;
    (*ret_self)->x = x;
    return ERR_OK;
}

static void process_close(struct executor_self *self)
{
    free(self);
}

static bool process_supports(const struct executor_self *self, const char *capability)
{
    (void)self;
    return strcmp(capability, "timeout") == 0; /* it ends trees; it contains nothing */
}

static void on_started(void *ctx, struct str handle)
{
    struct job *job = ctx;
    job->events->started(job->ctx, handle);
}

static void on_output(void *ctx, enum job_stream stream, struct str bytes)
{
    struct job *job = ctx;
    job->events->output(job->ctx, stream, bytes);
}

static void on_gone(void *ctx, const struct job_exit *how)
{
    struct job *job = ctx;
    job->events->gone(job->ctx, how);
    loop_defer_free(job->self->x->loop, free, job);
}

static void on_adopted(void *ctx, struct str env, const char *private)
{
    struct job *job = ctx;
    job->events->adopted(job->ctx, env, private);
}

static const struct job_events exec_events = {
    .started = on_started, .output = on_output, .adopted = on_adopted, .gone = on_gone};

static struct job *process_start(struct executor_self *self, const struct job_spec *spec,
                                 const struct job_events *events, void *ctx, const char **ret_why)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        *ret_why = "out of memory";
        return NULL;
    }
    *job = (struct job){.self = self, .events = events, .ctx = ctx};
    char path[300];
    snprintf(path, sizeof path, "%.200s/errand-%.*s-%lld.sock", workdir_base(self->x->config), STR_ARG(spec->run_id),
             (long long)spec->attempt);
    const struct exec_plan plan = {
        .adopt_path = spec->adoptable ? path : NULL,
        .adopt_ms = self->x->config->lease_ms,
        .exec_path = self->x->exec_path,
        .command = spec->command,
        .env = spec->env,
        .workdir = spec->workdir,
        .private = spec->private,
        .input_line = spec->input_line,
        .stdin_open = spec->stdin_open,
        .grace_ms = spec->grace_ms,
    };
    job->exec = exec_job_start(self->x->loop, &plan, &exec_events, job, ret_why);
    if (job->exec)
        return job;
    free(job);
    return NULL;
}

static void process_stop(struct job *job, int64_t grace_ms)
{
    exec_job_stop(job->exec, grace_ms);
}

static void process_read_output(struct job *job, bool on)
{
    exec_job_read_output(job->exec, on);
}

static bool process_input(struct job *job, struct str line, bool last)
{
    return exec_job_input(job->exec, line, last);
}

static void process_stored(struct job *job, int64_t out, int64_t err)
{
    exec_job_stored(job->exec, out, err);
}

static void process_leave(struct job *job)
{
    exec_job_leave(job->exec);
    loop_defer_free(job->self->x->loop, free, job);
}

static struct job *process_adopt(struct executor_self *self, struct str handle, const struct job_spec *spec,
                                 const struct job_events *events, void *ctx, const char **ret_why)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        *ret_why = "out of memory";
        return NULL;
    }
    *job = (struct job){.self = self, .events = events, .ctx = ctx};
    job->exec = exec_job_adopt(self->x->loop, handle, spec->out_at, spec->err_at, &exec_events, job, ret_why);
    if (job->exec)
        return job;
    free(job);
    return NULL;
}

static void process_status(struct executor_self *self, struct str handle, job_status_fn fn, void *ctx)
{
    (void)self;
    fn(ctx, &(struct job_snapshot){.status = exec_job_status(handle)});
}

const struct executor executor_process = {
    .name = "process",
    .local = true,
    .open = process_open,
    .close = process_close,
    .supports = process_supports,
    .start = process_start,
    .stop = process_stop,
    .read_output = process_read_output,
    .input = process_input,
    .stored = process_stored,
    .leave = process_leave,
    .status = process_status,
    .adopt = process_adopt,
};
