#include "runner/pool_worker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/clock.h"
#include "common/id.h"
#include "common/log.h"
#include "runner/bundle_deps.h"

enum { RETIRE_GRACE_MS = 2000 };
#define WORKER_PATH "/usr/local/bin:/usr/bin:/bin"

static const unsigned char edges[POOL_WORKER_STATE_COUNT] = {
#define TO(name) (1 << POOL_WORKER_##name)
    [POOL_WORKER_PREPARING] = TO(IDLE) | TO(ENDING) | TO(GONE),
    [POOL_WORKER_IDLE] = TO(BUSY) | TO(ENDING) | TO(GONE),
    [POOL_WORKER_BUSY] = TO(PREPARING) | TO(ENDING) | TO(GONE),
    [POOL_WORKER_ENDING] = TO(GONE),
    [POOL_WORKER_GONE] = 0,
#undef TO
};

bool pool_worker_edge(enum pool_worker_state from, enum pool_worker_state to)
{
    return (edges[from] >> to) & 1;
}

static void move(struct pool_worker *w, enum pool_worker_state to)
{
    PRE(pool_worker_edge(w->state, to));
    w->state = to;
}

void pool_worker_end(struct pool_worker *w, int64_t grace_ms, const char *why)
{
    if (w->state == POOL_WORKER_GONE)
        return;
    if (w->state != POOL_WORKER_ENDING) {
        LOG_DEBUG("a worker ends", LOG_Z("worker", w->id), LOG_Z("why", why), LOG_I("runs", w->runs));
        w->end_why = why;
        loop_timer_stop(&w->start);
        move(w, POOL_WORKER_ENDING);
    }
    exec_job_read_output(w->exec, true); /* it can't end while it blocks on a full pipe */
    exec_job_stop(w->exec, grace_ms);
}

/* Nobody waits for it: it gets a moment to leave. */
static void retire(struct pool_worker *w, const char *why)
{
    pool_worker_end(w, w->grace_ms < RETIRE_GRACE_MS ? w->grace_ms : RETIRE_GRACE_MS, why);
}

void pool_worker_read_output(struct pool_worker *w, bool on)
{
    if (on || w->state == POOL_WORKER_BUSY)
        exec_job_read_output(w->exec, on);
}

void pool_worker_forget(struct pool_worker *w)
{
    w->job = NULL;
}

void pool_worker_stats(struct pool_worker *w, struct job_stats *ret_stats)
{
    pool_shell_stats(w->shell, w->exec, ret_stats);
    if (!w->looked)
        ret_stats->cpu_percent = -1; /* a part of it was before this run */
    w->looked = true;
}

void pool_worker_run_folder(const struct pool_worker *w, const char *private, char ret_path[WORKDIR_MAX + 32])
{
    if (w->settings->sandbox)
        snprintf(ret_path, WORKDIR_MAX + 32, "%s/run-%lld", w->folder, (long long)w->runs + 1);
    else
        snprintf(ret_path, WORKDIR_MAX + 32, "%s", private);
}

/* What a sandboxed run had in the worker's folder, where that is not within the sandbox alone. */
static void remove_run_folder(struct pool_worker *w)
{
    char path[WORKDIR_MAX + 32];
    snprintf(path, sizeof path, "%s/run-%lld", w->folder, (long long)w->runs);
    if (w->settings->sandbox && faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        workdir_remove_used(w->loop, path);
}

bool pool_worker_give(struct pool_worker *w, struct job *job, struct str line)
{
    PRE(w->state == POOL_WORKER_IDLE && !w->job);
    if (exec_job_has_output(w->exec) || !exec_job_input(w->exec, line, false))
        return false;
    pool_scan_reset(&w->scan);
    w->failed = w->ended_by_run = w->looked = false;
    w->job = job;
    w->runs++;
    move(w, POOL_WORKER_BUSY);
    return true;
}

/* ---- before its first run ---- */

static void keep_said(struct pool_worker *w, struct str bytes)
{
    size_t cap = sizeof w->said - 1;
    if (bytes.len > cap) {
        bytes.ptr += bytes.len - cap;
        bytes.len = cap;
    }
    size_t drop = w->said_len + bytes.len > cap ? w->said_len + bytes.len - cap : 0;
    memmove(w->said, w->said + drop, w->said_len - drop);
    memcpy(w->said + w->said_len - drop, bytes.ptr, bytes.len);
    w->said_len += bytes.len - drop;
    w->said[w->said_len] = 0;
}

static void on_ready(struct pool_worker *w)
{
    exec_job_drain_errors(w->exec); /* written before, read behind it */
    if (w->state != POOL_WORKER_PREPARING)
        return;
    loop_timer_stop(&w->start);
    if (!w->was_ready)
        pool_tree_read(exec_job_tree(w->exec), &w->before);
    w->used_ms = clock_mono_ms();
    w->was_ready = true;
    move(w, POOL_WORKER_IDLE);
    w->fns->ready(w);
}

/* What libraries print while it begins is nobody's, and passed over; between two runs there must be nothing. */
static void on_early(struct pool_worker *w, enum job_stream stream, struct str bytes)
{
    enum pool_line line = POOL_LINE_PARTIAL;
    bool stray = stream == JOB_STDERR;
    w->noise += bytes.len;
    if (stream == JOB_STDERR)
        keep_said(w, bytes);
    while (stream == JOB_STDOUT && bytes.len > 0 && line != POOL_LINE_READY) {
        size_t n = pool_scan_feed(&w->scan, bytes, &line);
        bytes.ptr += n;
        bytes.len -= n;
        stray = stray || (line != POOL_LINE_PARTIAL && line != POOL_LINE_READY);
    }
    if (stray && w->was_ready)
        retire(w, "it wrote behind the end of its last run");
    else if (w->noise > POOL_NOISE_MAX)
        retire(w, "it wrote too much before it was ready");
    else if (line == POOL_LINE_READY && stream == JOB_STDOUT && bytes.len > 0)
        retire(w, "it wrote behind worker_ready");
    else if (line == POOL_LINE_READY)
        on_ready(w);
}

static void on_start_late(void *ctx)
{
    struct pool_worker *w = ctx;
    pool_worker_end(w, 0, "it was not ready in time");
}

/* ---- a run ---- */

/* Whether the worker may take another one. */
static const char *verdict_of(struct pool_worker *w, bool children_left)
{
    struct pool_verdict v = {.runs = w->runs,
                             .failed = w->failed,
                             .overlong = w->scan.was_overlong,
                             .children_left = children_left,
                             .limit_hit = pool_shell_oom(w->shell)};
    return pool_replace_why(w->settings, &v);
}

/* Its runtime_terminal was read. */
static void on_run_over(struct pool_worker *w)
{
    struct pool_tree now;
    exec_job_drain_errors(w->exec); /* written before the end, read behind it */
    if (w->state != POOL_WORKER_BUSY)
        return; /* it is being ended: the run is over when it is gone */
    pool_tree_read(exec_job_tree(w->exec), &now);
    bool children_left = pool_tree_has_more(&now, &w->before);
    const char *why = verdict_of(w, children_left);
    if (children_left) { /* a run is over when nothing of it is left */
        pool_worker_end(w, w->grace_ms, why);
        return;
    }
    w->used_ms = clock_mono_ms();
    w->noise = 0;
    remove_run_folder(w);
    if (why) {
        retire(w, why);
    } else {
        move(w, POOL_WORKER_PREPARING);
        pool_scan_reset(&w->scan);
        loop_timer_set(&w->start, w->start_ms);
        exec_job_read_output(w->exec, true);
    }
    w->fns->over(w);
}

/* Standard output of a run: nothing behind its end belongs to it. */
static void on_stdout(struct pool_worker *w, struct str bytes)
{
    enum pool_line line = POOL_LINE_PARTIAL;
    size_t n = 0;
    while (n < bytes.len && !pool_line_ends(line))
        n += pool_scan_feed(&w->scan, (struct str){bytes.ptr + n, bytes.len - n}, &line);
    w->ended_by_run = pool_line_ends(line);
    w->failed = line == POOL_LINE_FAILURE;
    w->fns->output(w, JOB_STDOUT, (struct str){bytes.ptr, n});
    if (w->ended_by_run && w->state == POOL_WORKER_BUSY)
        on_run_over(w);
    if (n < bytes.len && w->state == POOL_WORKER_PREPARING)
        on_early(w, JOB_STDOUT, (struct str){bytes.ptr + n, bytes.len - n});
}

static void on_output(void *ctx, enum job_stream stream, struct str bytes)
{
    struct pool_worker *w = ctx;
    bool has_run = w->job && !w->ended_by_run;
    if (w->state == POOL_WORKER_PREPARING)
        on_early(w, stream, bytes);
    else if (w->state == POOL_WORKER_IDLE)
        retire(w, "it wrote while no run was on it");
    else if (has_run && stream == JOB_STDOUT)
        on_stdout(w, bytes);
    else if (w->job && stream == JOB_STDERR)
        w->fns->output(w, stream, bytes);
    /* else it is being ended, and what it still says is nobody's */
}

/* ---- its process ---- */

static void on_started(void *ctx, struct str handle)
{
    struct pool_worker *w = ctx;
    if (handle.len > 2 && handle.len - 2 < sizeof w->process)
        snprintf(w->process, sizeof w->process, "%.*s", (int)handle.len - 2, handle.ptr + 1);
}

/* How the run that was on it ended; without one: why the worker did not come to be. */
static void judge_end(struct pool_worker *w, const struct job_exit *how)
{
    w->how = *how;
    if (!w->was_ready) {
        w->how.started = false;
        w->how.class = "start_failed";
        if (how->message)
            snprintf(w->message, sizeof w->message, "the worker could not be started: %s", how->message);
        else
            snprintf(w->message, sizeof w->message, "the worker ended before it was ready (%s %d)%s%s%s%s",
                     how->signaled ? "signal" : "exit status", how->code, w->end_why ? ": " : "",
                     w->end_why ? w->end_why : "", w->said_len > 0 ? "; it said: " : "", w->said);
        w->how.message = w->message;
    } else if (w->ended_by_run) {
        w->how = (struct job_exit){.started = true};
    } else if ((how->signaled || how->code != 0) && pool_shell_oom(w->shell)) {
        w->how.class = "oom_killed";
        w->how.message = "it used more memory than its limit allows";
    } else if (how->started && !how->signaled && how->code == 0 && !w->end_why) {
        w->how.class = "agent_error";
        w->how.message = "its worker exited with status 0 before the run's runtime_terminal";
    }
}

static void worker_free(void *p)
{
    struct pool_worker *w = p;
    pool_shell_free(w->shell);
    pool_scan_done(&w->scan);
    free(w);
}

static void on_gone(void *ctx, const struct job_exit *how)
{
    struct pool_worker *w = ctx;
    if (w->job && !w->ended_by_run) {
        enum pool_line line = pool_scan_end(&w->scan);
        w->ended_by_run = pool_line_ends(line);
    }
    judge_end(w, how);
    loop_timer_stop(&w->start);
    move(w, POOL_WORKER_GONE);
    pool_shell_free(w->shell); /* now: the base may be closed before this turn ends */
    w->shell = NULL;
    workdir_remove(w->loop, w->folder);
    w->fns->gone(w, &w->how);
    loop_defer_free(w->loop, worker_free, w);
}

static const struct job_events exec_events = {.started = on_started, .output = on_output, .gone = on_gone};

/* Its proxy's word on a connection that it may not make. */
static void on_note(void *ctx, struct str line)
{
    struct pool_worker *w = ctx;
    char text[640];
    int n = snprintf(text, sizeof text, "errand: %.*s\n", (int)(line.len > 600 ? 600 : line.len), line.ptr);
    if (w->job && w->state == POOL_WORKER_BUSY)
        w->fns->output(w, JOB_STDERR, (struct str){text, (size_t)n});
}

/* ---- starting ---- */

/* Where it begins: in the definition's folder, its code's, or its own. */
static const char *cwd_of(const struct pool_worker *w, const struct job_spec *spec)
{
    return spec->workdir ? spec->workdir : spec->code ? spec->code : w->folder;
}

/* Its whole environment: constants, and where its definition's code is. Nothing of any run. */
static const char *const *env_of(struct arena *a, const struct pool_worker *w, const struct job_spec *spec)
{
    const char **env = arena_zalloc(a, 9 * sizeof *env);
    const char *code = spec->code, *path = WORKER_PATH;
    const char *venv = code ? arena_printf(a, "%s/" DEPS_VENV, code) : NULL,
               *node = code ? arena_printf(a, "%s/node_modules", code) : NULL;
    size_t n = 4;
    if (!env || (code && (!venv || !node)))
        return NULL;
    if (node && w->settings->deps && access(node, F_OK) == 0) { /* as bundles.c has it for attempts */
        path = arena_printf(a, "%s/.bin:%s", node, path);
        env[n++] = arena_printf(a, "NODE_PATH=%s", node);
    }
    if (venv && w->settings->deps && access(venv, F_OK) == 0) {
        path = arena_printf(a, "%s/bin:%s", venv, path);
        env[n++] = arena_printf(a, "VIRTUAL_ENV=%s", venv);
    }
    if (code)
        env[n++] = arena_printf(a, "ERRAND_CODE_DIR=%s", code);
    env[0] = arena_printf(a, "HOME=%s", w->folder);
    env[1] = arena_printf(a, "TMPDIR=%s", w->folder);
    env[2] = "LANG=C.UTF-8";
    env[3] = arena_printf(a, "PATH=%s", path);
    for (size_t i = 0; i < n; i++)
        if (!env[i])
            return NULL;
    return env;
}

static bool launch(struct pool_worker *w, const struct executor_context *x, struct pool_base *base,
                   const struct job_spec *spec, struct arena *arena, const char **ret_why)
{
    const char *const *env = env_of(arena, w, spec);
    struct job_spec own = *spec;
    if (!env)
        return false;
    own.run_id = str_of(w->id);
    own.attempt = 1;
    own.env = env;
    own.private = w->folder;
    own.workdir = cwd_of(w, spec);
    w->shell = pool_shell_new(base, w->settings->sandbox, &own, on_note, w, ret_why);
    if (!w->shell)
        return false;
    struct exec_plan plan = {
        .exec_path = x->exec_path,
        .command = own.command,
        .env = env,
        .workdir = own.workdir,
        .private = w->folder,
        .stdin_open = true,
        .grace_ms = spec->grace_ms,
    };
    pool_shell_apply(w->shell, &plan);
    w->exec = exec_job_start(x->loop, &plan, &exec_events, w, ret_why);
    pool_shell_begun(w->shell);
    return w->exec;
}

struct pool_worker *pool_worker_start(const struct executor_context *x, struct pool_base *base,
                                      const struct pool_settings *settings, const struct job_spec *spec,
                                      const struct pool_worker_fns *fns, void *pool, const char **ret_why)
{
    struct pool_worker *w = calloc(1, sizeof *w);
    struct arena arena;
    struct id id = id_new();
    bool launched = false;
    *ret_why = "out of memory";
    if (!w)
        return NULL;
    w->fns = fns;
    w->pool = pool;
    w->loop = x->loop;
    w->settings = settings;
    w->grace_ms = spec->grace_ms;
    w->start_ms = spec->timeout_ms > 0 && spec->timeout_ms < POOL_START_MS ? spec->timeout_ms : POOL_START_MS;
    w->used_ms = clock_mono_ms();
    snprintf(w->id, sizeof w->id, "%s", id.s);
    pool_scan_init(&w->scan);
    loop_timer_init(&w->start, x->loop, on_start_late, w);
    if (!workdir_make(x->workdirs, str_of(w->id), 1, w->folder)) {
        *ret_why = "a folder for the worker can't be made in work-dir";
    } else {
        arena_init(&arena, 65536);
        launched = launch(w, x, base, spec, &arena, ret_why);
        arena_done(&arena);
    }
    if (launched) {
        loop_timer_set(&w->start, w->start_ms);
        LOG_DEBUG("a worker starts", LOG_Z("worker", w->id), LOG_S("agent", spec->agent));
        return w;
    }
    workdir_remove(x->loop, w->folder);
    worker_free(w);
    return NULL;
}
