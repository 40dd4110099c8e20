/* The executor `process`: a command under errand-exec, contained by nothing but its limits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner/cgroup.h"
#include "runner/exec_job.h"
#include "runner/workdir.h"

enum { OPEN_FILES = 65536, OPTION_WORDS = 24 };

struct executor_self {
    const struct executor_context *x;
    struct job *jobs;
};

struct job {
    struct executor_self *self;
    struct job *next, *prev;
    char run_id[64];
    int64_t attempt;
    struct exec_job *exec;
    struct cgroup *group; /* NULL: none, as nothing is limited */
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

/* It ends trees, and limits them where control groups can; it isolates nothing. */
static bool process_supports(const struct executor_self *self, const char *capability)
{
    return strcmp(capability, "timeout") == 0 ||
           (strcmp(capability, "memory_limit") == 0 && cgroups_has(self->x->cgroups, CGROUP_MEMORY)) ||
           (strcmp(capability, "cpu_limit") == 0 && cgroups_has(self->x->cgroups, CGROUP_CPU));
}

static void link_job(struct job *job)
{
    job->next = job->self->jobs;
    if (job->next)
        job->next->prev = job;
    job->self->jobs = job;
}

static void unlink_job(struct job *job)
{
    if (job->prev)
        job->prev->next = job->next;
    else
        job->self->jobs = job->next;
    if (job->next)
        job->next->prev = job->prev;
}

/* What was started for the attempt already. (What an earlier runner started died with it: errand-exec saw to that.) */
static struct job *find_job(const struct executor_self *self, const struct job_spec *spec)
{
    for (struct job *job = self->jobs; job; job = job->next)
        if (job->attempt == spec->attempt && str_eqz(spec->run_id, job->run_id))
            return job;
    return NULL;
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
    struct job_exit exit = *how;
    /* One that went on and ended well did without what the kernel had killed. */
    if (exit.started && !exit.class && (exit.signaled || exit.code != 0) && cgroup_oom(job->group)) {
        exit.class = "oom_killed";
        exit.message = "it used more memory than its limit allows";
    }
    cgroup_free(job->group);
    job->group = NULL;
    unlink_job(job);
    job->events->gone(job->ctx, &exit);
    loop_defer_free(job->self->x->loop, free, job);
}

static void on_adopted(void *ctx, struct str env, const char *private)
{
    struct job *job = ctx;
    job->events->adopted(job->ctx, env, private);
}

static const struct job_events exec_events = {
    .started = on_started, .output = on_output, .adopted = on_adopted, .gone = on_gone};

static bool start(struct job *job, const struct job_spec *spec, const char **ret_why)
{
    char nofile[16], fsize[24], path[300];
    const char *options[OPTION_WORDS + 1] = {"--rlimit-nofile", nofile};
    size_t n = 2;
    snprintf(nofile, sizeof nofile, "%d", OPEN_FILES);
    /* No file can be larger than all files together may be. That is less than diskMb asks for, as nothing here adds them up. */
    if (spec->limits.disk_bytes > 0) {
        snprintf(fsize, sizeof fsize, "%lld", (long long)spec->limits.disk_bytes);
        options[n++] = "--rlimit-fsize";
        options[n++] = fsize;
    }
    cgroup_options(job->group, options, &n, OPTION_WORDS);
    const struct config *config = job->self->x->config;
    snprintf(path, sizeof path, "%.200s/errand-%.*s-%lld.sock", workdir_base(config), STR_ARG(spec->run_id),
             (long long)spec->attempt);
    const struct exec_plan plan = {
        .adopt_path = spec->adoptable ? path : NULL,
        .adopt_ms = config->lease_ms,
        .exec_path = job->self->x->exec_path,
        .command = spec->command,
        .options = options,
        .env = spec->env,
        .workdir = spec->workdir,
        .private = spec->private,
        .input_line = spec->input_line,
        .stdin_open = spec->stdin_open,
        .grace_ms = spec->grace_ms,
    };
    job->exec = exec_job_start(job->self->x->loop, &plan, &exec_events, job, ret_why);
    return job->exec;
}

static struct job *process_start(struct executor_self *self, const struct job_spec *spec,
                                 const struct job_events *events, void *ctx, const char **ret_why)
{
    const char *why = NULL;
    struct job *job = find_job(self, spec);
    if (job)
        return job;
    job = calloc(1, sizeof *job);
    *ret_why = "out of memory";
    if (!job)
        return NULL;
    *job = (struct job){.self = self, .attempt = spec->attempt, .events = events, .ctx = ctx};
    snprintf(job->run_id, sizeof job->run_id, "%.*s", STR_ARG(spec->run_id));
    job->group = cgroup_make(self->x->cgroups, spec->run_id, spec->attempt, &spec->limits, &why);
    if (why)
        *ret_why = why;
    if (!why && start(job, spec, ret_why)) {
        link_job(job);
        return job;
    }
    cgroup_free(job->group);
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

static void process_measure(struct job *job)
{
    struct job_stats stats;
    exec_job_measure(job->exec, job->group, &stats);
    job->events->stats(job->ctx, &stats);
}

static void process_stored(struct job *job, int64_t out, int64_t err)
{
    exec_job_stored(job->exec, out, err);
}

static void process_leave(struct job *job)
{
    exec_job_leave(job->exec);
    cgroup_leave(job->group);
    unlink_job(job);
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
    *job = (struct job){.self = self, .attempt = spec->attempt, .events = events, .ctx = ctx};
    snprintf(job->run_id, sizeof job->run_id, "%.*s", STR_ARG(spec->run_id));
    job->group = cgroup_adopt(self->x->cgroups, spec->run_id, spec->attempt);
    job->exec = exec_job_adopt(self->x->loop, handle, spec->out_at, spec->err_at, &exec_events, job, ret_why);
    if (job->exec) {
        link_job(job);
        return job;
    }
    cgroup_leave(job->group);
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
    .measure = process_measure,
    .stored = process_stored,
    .leave = process_leave,
    .status = process_status,
    .adopt = process_adopt,
};
