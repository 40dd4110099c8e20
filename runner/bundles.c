#include "runner/bundles.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "runner/attempt.h"
#include "runner/bundle_cache.h"
#include "runner/bundle_deps.h"
#include "runner/bundle_fetch.h"
#include "runner/spec.h"
#include "runner/tree.h"

enum { DEPS_LINES = 65536, DEPS_LINE = 4096, WHY = 320 };

struct bundles {
    const struct executor_context *x;
    struct bundle_cache *cache;
    bool installs, stopping;
    struct bundle_making *makings;
    void (*stopped)(void *ctx);
    void *ctx;
};

/* An attempt that waits. The entry is pinned for it. */
struct bundle_wait {
    struct bundle_wait *next;
    struct attempt *attempt;
    prepared_fn fn;
    struct bundle_entry *entry;
};

/* One entry that is being made: fetched and unpacked in a folder of its own, placed, given its dependencies, sealed, complete. */
struct bundle_making {
    struct bundle_making *next;
    struct bundles *bundles;
    struct bundle_entry *entry;
    struct bundle_wait *waits, **tail; /* the first one that still waits is the one that caused it */
    bool with_deps;
    struct deps *deps;
    struct lines lines;
    uv_work_t job;
    enum err err; /* of the job */
    int64_t bytes;
    char work[BUNDLE_CACHE_PATH], home[BUNDLE_CACHE_PATH];
};

/* ---- what an attempt is told ---- */

static struct str path_of(const struct attempt *a)
{
    const char *const *env = a->spec.env;
    while (*env && strncmp(*env, "PATH=", 5) != 0)
        env++;
    return *env ? str_of(*env + 5) : STR("");
}

/* Variables by which a program finds what was installed for it. */
static bool tell_deps(struct attempt *a, const char *code)
{
    struct arena *arena = &a->arena;
    const char *venv = arena_printf(arena, "%s/" DEPS_VENV, code), *node = arena_printf(arena, "%s/node_modules", code);
    bool has_venv = venv && access(venv, F_OK) == 0, has_node = node && access(node, F_OK) == 0;
    bool ok = venv && node;
    if (ok && has_node) {
        struct str path = path_of(a);
        char *word = arena_printf(arena, "%s/.bin:%.*s", node, STR_ARG(path));
        ok = word && spec_set_env(a, "PATH", str_of(word)) && spec_set_env(a, "NODE_PATH", str_of(node));
    }
    if (ok && has_venv) {
        struct str path = path_of(a);
        char *word = arena_printf(arena, "%s/bin:%.*s", venv, STR_ARG(path));
        ok = word && spec_set_env(a, "PATH", str_of(word)) && spec_set_env(a, "VIRTUAL_ENV", str_of(venv));
    }
    return ok;
}

/* A relative one lies in the bundle; it was refused with ".." in it, and links that lead out there are none. */
static enum err tell_workdir(struct attempt *a)
{
    struct stat st;
    const char *own = a->spec.workdir;
    if (own == a->spec.private) {
        a->spec.workdir = a->spec.code;
    } else if (own[0] != '/') {
        a->spec.workdir = arena_printf(&a->arena, "%s/%s", a->spec.code, own);
        if (!a->spec.workdir)
            return ERR_NO_MEMORY;
        if (stat(a->spec.workdir, &st) != 0 || !S_ISDIR(st.st_mode)) {
            snprintf(a->start_why, sizeof a->start_why, "workdir: the bundle has no folder \"%.200s\"", own);
            return ERR_INVALID_FIELD;
        }
    }
    return ERR_OK;
}

static enum err tell(struct attempt *a, const struct bundle_entry *e)
{
    if (a->runtime_deps && !a->shard->worker->bundles->installs) { /* its requirement keeps it away from here */
        snprintf(a->start_why, sizeof a->start_why, "this runner does not install requirements (runtime-deps)");
        return ERR_FORBIDDEN;
    }
    a->spec.code = arena_printf(&a->arena, "%s", e->code);
    snprintf(a->start_why, sizeof a->start_why, "its environment is too large");
    if (!a->spec.code || !spec_set_env(a, "ERRAND_CODE_DIR", str_of(e->code)) ||
        !spec_set_env(a, "ERRAND_WORK_DIR", str_of(a->workdir)) || (a->runtime_deps && !tell_deps(a, e->code)))
        return ERR_NO_MEMORY;
    enum err err = tell_workdir(a);
    if (!err)
        a->start_why[0] = 0;
    return err;
}

/* Frees the wait. Its pin becomes the attempt's, or goes. */
static void answer(struct bundle_wait *w, enum err err, const char *why)
{
    struct attempt *a = w->attempt;
    bool waits = a->state == ATTEMPT_STARTING; /* else it ended meanwhile, and nothing is kept for it */
    prepared_fn fn = w->fn;
    if (waits && !err)
        err = tell(a, w->entry);
    else if (waits && err != ERR_REDIS_UNAVAILABLE)
        snprintf(a->start_why, sizeof a->start_why, "%s", why);
    if (waits && !err)
        a->bundle = w->entry;
    else
        bundle_entry_release(w->entry);
    free(w);
    fn(a, err);
}

static void answer_later(void *ctx)
{
    answer(ctx, ERR_OK, "");
}

/* ---- making one ---- */

static void making_over(struct bundle_making *m, enum err err, const char *why)
{
    struct bundles *b = m->bundles;
    struct bundle_making **at = &b->makings;
    char copy[WHY];
    snprintf(copy, sizeof copy, "%s", why);
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    m->entry->making = NULL;
    bundle_cache_remove(b->cache, m->work);
    if (m->home[0])
        bundle_cache_remove(b->cache, m->home);
    if (err)
        bundle_entry_fail(m->entry);
    if (err && err != ERR_REDIS_UNAVAILABLE)
        LOG_WARN("a bundle can't be used", LOG_Z("bundle", strrchr(m->entry->folder, '/') + 1), LOG_Z("error", copy));
    struct bundle_wait *waits = m->waits;
    bundle_entry_release(m->entry); /* the making's own pin */
    lines_done(&m->lines);
    loop_defer_free(b->x->loop, free, m);
    while (waits) {
        struct bundle_wait *w = waits;
        waits = w->next;
        answer(w, err, copy);
    }
    if (b->stopping && !b->makings)
        loop_defer(b->x->loop, b->stopped, b->ctx);
}

static void seal_work(uv_work_t *job)
{
    struct bundle_making *m = job->data;
    m->err = tree_seal(m->entry->code, m->with_deps ? DEPS_VENV : NULL, &m->bytes);
}

static void on_sealed(uv_work_t *job, int status)
{
    struct bundle_making *m = job->data;
    enum err err = status != 0 ? ERR_IO : m->err;
    if (!err)
        err = bundle_entry_complete(m->entry, m->bytes);
    making_over(m, err,
                err == ERR_FORBIDDEN        ? "what was installed for the bundle has a link that leads outside of it"
                : err == ERR_LIMIT_EXCEEDED ? "what was installed for the bundle lies too deep"
                                            : "the bundle's folder could not be made read-only");
}

static void seal(struct bundle_making *m)
{
    m->job.data = m;
    if (uv_queue_work(loop_uv(m->bundles->x->loop), &m->job, seal_work, on_sealed) != 0)
        making_over(m, ERR_IO, "the bundle's folder could not be made read-only");
}

/* ---- its dependencies ---- */

static void on_deps_line(void *ctx, struct str line, bool piece)
{
    struct bundle_making *m = ctx;
    struct bundle_wait *w = m->waits;
    char text[DEPS_LINE];
    (void)piece;
    while (w && w->attempt->state != ATTEMPT_STARTING)
        w = w->next;
    if (!w || line.len == 0)
        return;
    struct attempt *a = w->attempt;
    redaction_message(&a->redaction, line, text, sizeof text);
    struct str shown = str_of(text);
    attempt_log(a, "deps", shown);
    if (!a->deps_lines.max)
        strbuf_init(&a->deps_lines, DEPS_LINES);
    if (a->deps_lines.len + shown.len + 1 > DEPS_LINES)
        return; /* the log tail has the end of it */
    strbuf_add(&a->deps_lines, shown);
    strbuf_addc(&a->deps_lines, '\n');
}

static void on_deps_output(void *ctx, struct str bytes)
{
    struct bundle_making *m = ctx;
    lines_feed(&m->lines, bytes, on_deps_line, m);
}

static void on_deps_done(void *ctx, enum err err, const char *why)
{
    struct bundle_making *m = ctx;
    m->deps = NULL;
    lines_end(&m->lines, on_deps_line, m);
    if (err)
        making_over(m, err == ERR_CANCELED ? ERR_REDIS_UNAVAILABLE : err, why);
    else
        seal(m);
}

static void install(struct bundle_making *m)
{
    const struct executor_context *x = m->bundles->x;
    const struct deps_plan plan = {.config = x->config,
                                   .loop = x->loop,
                                   .exec_path = x->exec_path,
                                   .code = m->entry->code,
                                   .home = m->home,
                                   .output = on_deps_output,
                                   .done = on_deps_done,
                                   .ctx = m};
    if (!bundle_cache_work(m->bundles->cache, m->home)) {
        m->home[0] = 0;
        making_over(m, ERR_IO, "no folder can be made in the bundle cache");
        return;
    }
    m->deps = deps_start(&plan);
    if (!m->deps)
        making_over(m, ERR_NO_MEMORY, "out of memory");
}

static void on_fetched(void *ctx, enum err err, const char *why)
{
    struct bundle_making *m = ctx;
    if (!err && m->bundles->stopping)
        err = ERR_REDIS_UNAVAILABLE; /* nobody waits any more */
    if (err) {
        making_over(m, err, why);
        return;
    }
    if (bundle_entry_place(m->entry, m->work) != ERR_OK)
        making_over(m, ERR_IO, "the unpacked bundle can't be put into the bundle cache");
    else if (m->with_deps)
        install(m);
    else
        seal(m);
}

static void begin_making(void *ctx)
{
    struct bundle_making *m = ctx;
    struct attempt *a = m->waits->attempt;
    const struct str hex = {a->spec.code_digest.ptr + 7, a->spec.code_digest.len - 7};
    enum err err = bundle_cache_work(m->bundles->cache, m->work) ? ERR_OK : ERR_IO;
    if (err)
        m->work[0] = 0;
    if (!err && a->state != ATTEMPT_STARTING)
        err = ERR_REDIS_UNAVAILABLE; /* what it is named by may be gone; who else waits asks again */
    if (!err)
        err = bundle_fetch(m->bundles->x->loop, a->shard->commands, worker_prefix(a->shard), a->spec.workspace, hex,
                           m->work, on_fetched, m);
    if (err)
        making_over(m, err, err == ERR_IO ? "no folder can be made in the bundle cache" : "out of memory");
}

static struct bundle_making *making_new(struct bundles *b, struct bundle_entry *e, bool with_deps)
{
    struct bundle_making *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->bundles = b;
    m->entry = e;
    m->with_deps = with_deps;
    m->tail = &m->waits;
    lines_init(&m->lines, LINE_PIECE_BYTES);
    m->next = b->makings;
    b->makings = m;
    e->making = m;
    e->pins++;
    loop_defer(b->x->loop, begin_making, m);
    return m;
}

/* ---- the preparation ---- */

bool bundle_wanted(const struct attempt *a)
{
    return a->executor->local && a->spec.code_digest.len > 0;
}

void bundle_ask(struct attempt *a, prepared_fn fn)
{
    struct bundles *b = a->shard->worker->bundles;
    struct bundle_wait *w = malloc(sizeof *w);
    const struct str hex = {a->spec.code_digest.ptr + 7, a->spec.code_digest.len - 7};
    PRE(b && w && a->spec.code_digest.len == 71 && a->spec.workspace.len <= LIMIT_NAME); /* as the API checked them */
    struct bundle_entry *e = bundle_cache_take(b->cache, a->spec.workspace, hex, a->runtime_deps && b->installs);
    PRE(e);
    *w = (struct bundle_wait){.attempt = a, .fn = fn, .entry = e};
    if (e->complete) {
        loop_defer(b->x->loop, answer_later, w);
        return;
    }
    if (!e->making)
        e->making = making_new(b, e, a->runtime_deps && b->installs);
    PRE(e->making);
    *e->making->tail = w;
    e->making->tail = &w->next;
}

static void store_event(void *ctx, enum event_kind kind, struct str data)
{
    struct attempt *a = ctx;
    outbox_add_aside(&a->outbox, kind, data);
}

void bundle_tell(struct attempt *a)
{
    struct str rest = strbuf_str(&a->deps_lines);
    while (rest.len > 0) {
        const char *newline = memchr(rest.ptr, '\n', rest.len);
        struct str line = {rest.ptr, (size_t)(newline - rest.ptr)};
        adapter_notify_line("deps", line, false, store_event, a);
        rest.ptr += line.len + 1;
        rest.len -= line.len + 1;
    }
    strbuf_done(&a->deps_lines);
}

void bundle_release(struct attempt *a)
{
    if (a->bundle)
        bundle_entry_release(a->bundle);
    a->bundle = NULL;
}

/* ---- the runner's ---- */

enum err bundles_open(const struct executor_context *x, void (*stopped)(void *ctx), void *ctx,
                      struct bundles **ret_bundles, struct strbuf *ret_why)
{
    struct bundles *b = calloc(1, sizeof *b);
    if (!b)
        return ERR_NO_MEMORY;
    *b = (struct bundles){.x = x, .stopped = stopped, .ctx = ctx};
    enum err err = bundle_cache_open(x->config, x->loop, &b->cache, ret_why);
    if (err) {
        free(b);
        return err;
    }
    if (x->config->runtime_deps) {
        const char *missing = deps_probe();
        b->installs = !missing;
        if (missing)
            LOG_WARN("runtime-deps is on, but this machine can't install requirements", LOG_Z("error", missing));
    }
    *ret_bundles = b;
    return ERR_OK;
}

bool bundles_stop(struct bundles *b)
{
    if (!b)
        return false;
    if (!b->stopping) {
        b->stopping = true;
        for (struct bundle_making *m = b->makings; m; m = m->next)
            if (m->deps)
                deps_stop(m->deps);
    }
    return b->makings != NULL;
}

void bundles_close(struct bundles *b)
{
    if (!b)
        return;
    bundle_cache_close(b->cache);
    free(b);
}

bool bundles_support(const struct bundles *b, const char *capability)
{
    return b && b->installs && (strcmp(capability, "deps_install") == 0 || strcmp(capability, "deps_uninstall") == 0);
}

struct bundle_entry *bundles_hold(struct bundles *b, const char *code)
{
    return b ? bundle_cache_hold(b->cache, code) : NULL;
}

void bundles_let_go(struct bundle_entry *e)
{
    if (e)
        bundle_entry_release(e);
}
