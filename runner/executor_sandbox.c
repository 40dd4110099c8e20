/* The executor `sandbox`: a command under bubblewrap under errand-exec (sandbox.h). */
#include <stdio.h>
#include <stdlib.h>

#include "runner/sandbox.h"

struct executor_self {
    const struct executor_context *x;
    struct sandbox *sandbox;
    struct job *jobs;
};

struct job {
    struct executor_self *self;
    struct job *next, **link;
    char run_id[64];
    int64_t attempt;
    struct exec_job *exec;
    struct sandbox_plan *plan;
    const struct job_events *events;
    void *ctx;
    bool started, gone;
};

static enum err self_open(const struct executor_context *x, struct executor_self **ret_self, struct strbuf *ret_why)
{
    struct executor_self *self = calloc(1, sizeof *self);
    if (!self)
        return ERR_NO_MEMORY;
    self->x = x;
    enum err err = sandbox_open(x, &self->sandbox, ret_why);
    if (err)
        free(self);
    else
        *ret_self = self;
    return err;
}

static void self_close(struct executor_self *self)
{
    if (!self)
        return;
    sandbox_close(self->sandbox);
    free(self);
}

static bool self_supports(const struct executor_self *self, const char *capability)
{
    return sandbox_supports(self->sandbox, capability);
}

static void link_job(struct job *job)
{
    job->next = job->self->jobs;
    job->link = &job->self->jobs;
    if (job->next)
        job->next->link = &job->next;
    job->self->jobs = job;
}

static void unlink_job(struct job *job)
{
    *job->link = job->next;
    if (job->next)
        job->next->link = job->link;
}

/* What was started for the attempt already. (What an earlier runner started died with it: errand-exec saw to that.) */
static struct job *find_job(const struct executor_self *self, const struct job_spec *spec)
{
    struct job *job = self->jobs;
    while (job && (job->attempt != spec->attempt || !str_eqz(spec->run_id, job->run_id)))
        job = job->next;
    return job;
}

static void on_started(void *ctx, struct str handle)
{
    struct job *job = ctx;
    job->started = true;
    job->events->started(job->ctx, handle);
}

static void on_output(void *ctx, enum job_stream stream, struct str bytes)
{
    struct job *job = ctx;
    job->events->output(job->ctx, stream, bytes);
}

/* What the proxy refused, among what the agent says on standard error: its author looks there. */
static void on_note(void *ctx, struct str line)
{
    struct job *job = ctx;
    char text[640];
    int n = snprintf(text, sizeof text, "errand: %.*s\n", (int)(line.len > 600 ? 600 : line.len), line.ptr);
    if (job->started && !job->gone)
        job->events->output(job->ctx, JOB_STDERR, (struct str){text, (size_t)n});
}

static void on_gone(void *ctx, const struct job_exit *how)
{
    struct job *job = ctx;
    struct job_exit exit = *how;
    /* One that went on and ended well did without what the kernel had killed. */
    if (exit.started && !exit.class && (exit.signaled || exit.code != 0) && sandbox_plan_oom(job->plan)) {
        exit.class = "oom_killed";
        exit.message = "it used more memory than its limit allows";
    }
    job->gone = true;
    sandbox_plan_free(job->plan);
    job->plan = NULL;
    unlink_job(job);
    job->events->gone(job->ctx, &exit);
    loop_defer_free(job->self->x->loop, free, job);
}

static const struct job_events exec_events = {.started = on_started, .output = on_output, .gone = on_gone};

static struct job *job_start(struct executor_self *self, const struct job_spec *spec, const struct job_events *events,
                             void *ctx, const char **ret_why)
{
    struct job *job = find_job(self, spec);
    if (job)
        return job;
    job = calloc(1, sizeof *job);
    if (!job) {
        *ret_why = "out of memory";
        return NULL;
    }
    *job = (struct job){.self = self, .attempt = spec->attempt, .events = events, .ctx = ctx};
    snprintf(job->run_id, sizeof job->run_id, "%.*s", STR_ARG(spec->run_id));
    struct exec_plan plan = {
        .input_line = spec->input_line, .stdin_open = spec->stdin_open, .grace_ms = spec->grace_ms};
    job->plan = sandbox_plan_new(self->sandbox, spec, on_note, job, ret_why);
    if (job->plan) {
        sandbox_plan_apply(job->plan, &plan);
        job->exec = exec_job_start(self->x->loop, &plan, &exec_events, job, ret_why);
        sandbox_plan_begun(job->plan);
    }
    if (job->exec) {
        link_job(job);
        return job;
    }
    sandbox_plan_free(job->plan);
    free(job);
    return NULL;
}

static void job_stop(struct job *job, int64_t grace_ms)
{
    exec_job_stop(job->exec, grace_ms);
}

static void job_read_output(struct job *job, bool on)
{
    exec_job_read_output(job->exec, on);
}

static bool job_input(struct job *job, struct str line, bool last)
{
    return exec_job_input(job->exec, line, last);
}

static void job_measure(struct job *job)
{
    struct job_stats stats;
    exec_job_measure(job->exec, sandbox_plan_group(job->plan), &stats);
    job->events->stats(job->ctx, &stats);
}

static void self_status(struct executor_self *self, struct str handle, job_status_fn fn, void *ctx)
{
    (void)self;
    fn(ctx, &(struct job_snapshot){.status = exec_job_status(handle)});
}

const struct executor executor_sandbox = {
    .name = "sandbox",
    .local = true,
    .open = self_open,
    .close = self_close,
    .supports = self_supports,
    .start = job_start,
    .stop = job_stop,
    .read_output = job_read_output,
    .input = job_input,
    .measure = job_measure,
    .status = self_status,
};
