/* The executor `pool`: warm workers that take one run after another. A pool is of one workspace and one definition (with its bundle's digest), and nothing goes from one to another; it comes to be with its first run, and
 * goes when its agent was not used for long. What a worker is: pool_worker.h; how many there are: pool_rules.h. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"
#include "runner/pool_parts.h"

enum { LINE_ROOM = EXEC_INPUT_MAX - 1, FOLDER_ROOM = 65536, ARENA_MAX = 4 << 20 };

/* ---- jobs ---- */

void pool_job_forget(struct job *job)
{
    if (job->line.ptr)
        crypto_wipe(job->line.ptr, job->line.cap);
    strbuf_done(&job->line);
    strbuf_done(&job->names);
}

void pool_job_unlink(struct job *job)
{
    struct pool *p = job->pool;
    struct job **at = &p->waiting, *before = NULL;
    while (*at != job) {
        before = *at;
        at = &(*at)->wait_next;
    }
    *at = job->wait_next;
    if (p->last_waiting == job)
        p->last_waiting = before;
    p->counts.waiting--;
    p->self->waiting--;
}

/* The last word on it. */
void pool_job_over(struct job *job, const struct job_exit *how)
{
    if (job->state == WAITING)
        pool_job_unlink(job);
    job->state = OVER;
    loop_timer_stop(&job->patience);
    pool_job_forget(job);
    if (job->prev)
        job->prev->next = job->next;
    else
        job->self->jobs = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        job->self->last_job = job->prev;
    job->events->gone(job->ctx, how);
    loop_defer_free(job->self->x->loop, free, job);
}

void pool_job_begun(struct job *job)
{
    struct strbuf handle;
    if (job->state != GIVEN)
        return;
    job->state = RUNNING;
    strbuf_init(&handle, 16384);
    strbuf_addf(&handle, "{%s,\"runs\":\"%lld\",\"workDir\":", job->worker->process, (long long)job->worker->runs);
    json_quote(&handle, str_of(job->private));
    strbuf_addc(&handle, '}');
    job->events->started(job->ctx, strbuf_str(&handle));
    strbuf_done(&handle);
}

void pool_job_fail(struct job *job, const char *class, const char *message)
{
    pool_job_over(job, &(struct job_exit){.class = class, .message = message});
}

/* ---- the executor ---- */

static enum err pool_open(const struct executor_context *x, struct executor_self **ret_self, struct strbuf *ret_why)
{
    struct executor_self *self = calloc(1, sizeof *self);
    if (!self)
        return ERR_NO_MEMORY;
    self->x = x;
    self->bound = x->config->pool_workers > 0 ? x->config->pool_workers : x->config->slots;
    enum err err = pool_base_open(x, &self->base, ret_why);
    if (!err && !pool_tree_supported()) {
        strbuf_addz(ret_why, "executors: pool needs a kernel that tells a process' children (CONFIG_PROC_CHILDREN)");
        pool_base_close(self->base);
        err = ERR_CONFIG;
    }
    if (err)
        free(self);
    else
        *ret_self = self;
    return err;
}

static void pool_drain(struct executor_self *self)
{
    self->draining = true;
    for (struct pool *p = self->pools, *next; p; p = next) {
        next = p->next;
        pool_settle(p);
    }
}

/* No job is left, and the loop has stopped: it runs on until no worker is. */
static void pool_close(struct executor_self *self)
{
    if (!self)
        return;
    self->draining = true;
    for (struct pool *p = self->pools; p; p = p->next) {
        for (struct pool_worker *w = p->workers; w; w = w->next)
            pool_worker_end(w, 0, "its runner leaves");
        pool_recount(p);
    }
    while (self->pools) /* each goes with its last worker */
        uv_run(loop_uv(self->x->loop), UV_RUN_ONCE);
    pool_base_close(self->base);
    free(self);
}

static bool pool_supports(const struct executor_self *self, const char *capability)
{
    return pool_base_supports(self->base, capability);
}

static const char *const *copy_words(struct arena *a, const char *const *words)
{
    size_t n = 0;
    while (words[n])
        n++;
    const char **copy = arena_zalloc(a, (n + 1) * sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        if (!(copy[i] = arena_strdup(a, str_of(words[i]))))
            return NULL;
    return copy;
}

/* What of a spec is the definition's alone. False: out of memory. */
static bool keep_spec(struct pool *p, const struct job_spec *spec)
{
    struct arena *a = &p->arena;
    bool own_folder = !spec->workdir || !spec->private || strcmp(spec->workdir, spec->private) == 0;
    p->spec = (struct job_spec){
        .agent = arena_str(a, spec->agent),
        .workspace = arena_str(a, spec->workspace),
        .command = copy_words(a, spec->command),
        .workdir = own_folder ? NULL : arena_strdup(a, str_of(spec->workdir)),
        .code = spec->code ? arena_strdup(a, str_of(spec->code)) : NULL,
        .code_digest = arena_str(a, spec->code_digest),
        .storage_socket = spec->storage_socket ? arena_strdup(a, str_of(spec->storage_socket)) : NULL,
        .limits = spec->limits,
        .network = spec->network,
        .allow_hosts = copy_words(a, spec->allow_hosts),
        .grace_ms = spec->grace_ms,
        .timeout_ms = spec->timeout_ms,
    };
    return p->spec.agent.ptr && p->spec.workspace.ptr && p->spec.command && p->spec.allow_hosts &&
           (own_folder || p->spec.workdir) && (!spec->code || p->spec.code) &&
           (!spec->storage_socket || p->spec.storage_socket);
}

static struct pool *pool_of(struct executor_self *self, const struct job_spec *spec, const char **ret_why)
{
    char key[SHA256_HEX_LEN + 1];
    struct pool *p = self->pools;
    pool_key(spec->workspace, spec->definition, key);
    while (p && strcmp(p->key, key) != 0)
        p = p->next;
    if (p)
        return p;
    p = calloc(1, sizeof *p);
    *ret_why = "out of memory";
    if (!p)
        return NULL;
    p->self = self;
    memcpy(p->key, key, sizeof key);
    arena_init(&p->arena, ARENA_MAX);
    loop_timer_init(&p->idle, self->x->loop, pool_on_idle, p);
    bool read = pool_settings_read(spec->definition, &p->settings);
    bool kept = read && keep_spec(p, spec);
    if (kept && spec->code && !(p->bundle = bundles_hold(self->x->bundles, spec->code))) {
        *ret_why = "its bundle's code is not there any more";
        kept = false;
    }
    if (!kept) {
        if (!read)
            *ret_why = "its definition says nothing of a pool";
        pool_free(p);
        return NULL;
    }
    p->next = self->pools;
    if (p->next)
        p->next->prev = p;
    self->pools = p;
    return p;
}

static void on_impatient(void *ctx)
{
    struct job *job = ctx;
    struct pool *p = job->pool;
    pool_job_fail(job, "start_failed", "no worker of its pool was free for as long as the run may take");
    pool_settle(p);
}

/* Nobody could take it at once. */
static void on_wanted(void *ctx)
{
    struct job *job = ctx;
    if (job->state == WAITING)
        pool_settle(job->pool);
}

static struct job *job_new(struct pool *p, const struct job_spec *spec, const struct job_events *events, void *ctx)
{
    struct executor_self *self = p->self;
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    *job = (struct job){.self = self, .pool = p, .events = events, .ctx = ctx, .attempt = spec->attempt};
    snprintf(job->run_id, sizeof job->run_id, "%.*s", STR_ARG(spec->run_id));
    snprintf(job->private, sizeof job->private, "%s", spec->private);
    loop_timer_init(&job->patience, self->x->loop, on_impatient, job);
    strbuf_init(&job->line, LINE_ROOM);
    strbuf_init(&job->names, LIMIT_ENV_BYTES);
    pool_line_begin(spec->input_line, spec->env, spec->private, &job->line, &job->names);
    return job;
}

static void link_job(struct job *job)
{
    struct executor_self *self = job->self;
    struct pool *p = job->pool;
    job->prev = self->last_job;
    if (job->prev)
        job->prev->next = job;
    else
        self->jobs = job;
    self->last_job = job;
    if (p->last_waiting)
        p->last_waiting->wait_next = job;
    else
        p->waiting = job;
    p->last_waiting = job;
    p->counts.waiting++;
    self->waiting++;
    p->used_ms = clock_mono_ms();
    p->wanted = true;
}

static struct job *pool_start(struct executor_self *self, const struct job_spec *spec, const struct job_events *events,
                              void *ctx, const char **ret_why)
{
    for (struct job *job = self->jobs; job; job = job->next)
        if (job->attempt == spec->attempt && str_eqz(spec->run_id, job->run_id))
            return job;
    struct pool *p = pool_of(self, spec, ret_why);
    struct job *job = p ? job_new(p, spec, events, ctx) : NULL;
    if (!p)
        return NULL;
    if (!job || strbuf_failed(&job->line) || job->line.len > LINE_ROOM - FOLDER_ROOM) {
        *ret_why = job ? "its input and environment are more than a worker can be given" : "out of memory";
        if (job)
            pool_job_forget(job);
        free(job);
        if (!p->workers && !p->waiting)
            pool_remove(p);
        return NULL;
    }
    link_job(job);
    pool_serve(p);
    if (job->state == WAITING) {
        loop_timer_set(&job->patience, spec->timeout_ms + POOL_START_MS);
        loop_defer(self->x->loop, on_wanted, job);
    }
    return job;
}

static void on_left(void *ctx)
{
    struct job *job = ctx;
    struct pool *p = job->pool;
    pool_job_over(job, &(struct job_exit){.message = "it was ended before a worker was free"});
    pool_settle(p);
}

static void pool_stop(struct job *job, int64_t grace_ms)
{
    if (job->state == WAITING) {
        pool_job_unlink(job);
        job->state = LEAVING;
        loop_timer_stop(&job->patience);
        loop_defer(job->self->x->loop, on_left, job);
    } else if (job->worker) {
        pool_worker_end(job->worker, grace_ms, "its run was ended");
        pool_recount(job->pool);
    }
}

static void pool_read_output(struct job *job, bool on)
{
    job->paused = !on;
    if (job->worker)
        pool_worker_read_output(job->worker, on);
}

static void on_measure(void *ctx)
{
    struct job *job = ctx;
    struct job_stats stats = {-1, -1, -1, -1};
    if (!job->worker || job->state != RUNNING)
        return;
    pool_worker_stats(job->worker, &stats);
    job->events->stats(job->ctx, &stats);
}

static void pool_measure(struct job *job)
{
    loop_defer(job->self->x->loop, on_measure, job);
}

/* A worker outlives its runs, so its being there is not enough: the attempt's folder must be, too. */
static void pool_status(struct executor_self *self, struct str handle, job_status_fn fn, void *ctx)
{
    struct arena a;
    struct json *root = NULL;
    (void)self;
    enum job_status status = JOB_TERMINATED;
    arena_init(&a, 65536);
    const struct json *name = json_parse(&a, handle, 4, 2, &root, NULL) == ERR_OK ? json_get(root, "workDir") : NULL;
    if (name && name->type == JSON_STRING && name->string.len > 0 && access(name->string.ptr, F_OK) == 0)
        status = exec_job_status(handle);
    arena_done(&a);
    fn(ctx, &(struct job_snapshot){.status = status});
}

const struct executor executor_pool = {
    .name = "pool",
    .local = true,
    .open = pool_open,
    .close = pool_close,
    .drain = pool_drain,
    .supports = pool_supports,
    .start = pool_start,
    .stop = pool_stop,
    .read_output = pool_read_output,
    .measure = pool_measure,
    .status = pool_status,
};
