#include "runner/bundle_deps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runner/bundle_cache.h"
#include "runner/bundle_requirements.h"
#include "runner/exec_job.h"
#include "runner/tree.h"

enum {
    DEPS_MS = 600000, /* for all of it */
    GRACE_MS = 2000,
    PROBE_MS = 30000,
    LAST_LINE = 160,
    WORDS_MAX = 24,
    FILE_BYTES = 1073741824,
    DEPS_PATH = BUNDLE_CACHE_PATH + 64
};
#define PATH_WORD "PATH=/usr/local/bin:/usr/bin:/bin"

/* What is to be done, in this order; each only where the bundle asks for it. */
enum deps_step { STEP_CHECK, STEP_VENV, STEP_PIP, STEP_NPM, STEP_OVER };

struct deps {
    struct deps_plan plan;
    char code[BUNDLE_CACHE_PATH], home[BUNDLE_CACHE_PATH];
    enum deps_step step;
    bool python, node, stopped, timed_out;
    struct exec_job *job;
    struct loop_timer limit;
    char line[LAST_LINE + 1],
        last[LAST_LINE + 1]; /* of its output: the one that comes, the last one that was not empty */
    size_t line_len;
    char why[320];
};

/* ---- output ---- */

/* Only its beginning counts: it is for the error's sentence. */
static void note_line(struct deps *d, struct str bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.ptr[i];
        if (c == '\n') {
            d->line[d->line_len] = 0;
            if (d->line_len > 0)
                memcpy(d->last, d->line, d->line_len + 1);
            d->line_len = 0;
        } else if (d->line_len < LAST_LINE) {
            d->line[d->line_len++] = (unsigned char)c < ' ' || c == 0x7f ? ' ' : c;
        }
    }
}

static void on_output(void *ctx, enum job_stream stream, struct str bytes)
{
    struct deps *d = ctx;
    (void)stream;
    note_line(d, bytes);
    d->plan.output(d->plan.ctx, bytes);
}

/* ---- what there is ---- */

static bool has_file(const struct deps *d, const char *name)
{
    char path[DEPS_PATH];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", d->code, name);
    return lstat(path, &st) == 0;
}

/* A regular file of the bundle, at most max bytes of it and one. */
static bool read_file(const struct deps *d, const char *name, size_t max, struct strbuf *out)
{
    char path[DEPS_PATH];
    strbuf_init(out, max + 1);
    snprintf(path, sizeof path, "%s/%s", d->code, name);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = -1;
    if (fd < 0)
        return false;
    char *room = strbuf_grow(out, max + 1);
    while (room && (n = read(fd, room + out->len, max + 1 - out->len)) > 0)
        out->len += (size_t)n;
    close(fd);
    return n == 0 || out->len == max + 1;
}

static enum err check_python(struct deps *d)
{
    struct strbuf text;
    int line;
    if (!has_file(d, "requirements.txt"))
        return ERR_OK;
    const char *fault = has_file(d, DEPS_VENV) ? "the bundle has a " DEPS_VENV " of its own already" : NULL;
    if (!fault && !read_file(d, "requirements.txt", REQUIREMENTS_MAX, &text)) {
        snprintf(d->why, sizeof d->why, "requirements.txt can't be read; it must be a file");
        strbuf_done(&text);
        return ERR_INVALID_FIELD;
    }
    if (!fault) {
        fault = requirements_fault(strbuf_str(&text), &line);
        strbuf_done(&text);
        if (fault)
            snprintf(d->why, sizeof d->why, "requirements.txt is refused, line %d: %s", line, fault);
    } else {
        snprintf(d->why, sizeof d->why, "%s", fault);
    }
    d->python = !fault;
    return fault ? ERR_INVALID_FIELD : ERR_OK;
}

static enum err check_node(struct deps *d)
{
    struct strbuf text;
    bool valid = false;
    if (!has_file(d, "package.json"))
        return ERR_OK;
    bool locked = has_file(d, "package-lock.json") || has_file(d, "npm-shrinkwrap.json");
    bool wants = read_file(d, "package.json", PACKAGE_JSON_MAX, &text) && package_wants(strbuf_str(&text), &valid);
    strbuf_done(&text);
    if (!valid)
        snprintf(d->why, sizeof d->why, "package.json can't be read as a JSON object");
    else if (wants && !locked)
        snprintf(
            d->why, sizeof d->why,
            "package.json has dependencies and no package-lock.json, without which npm ci installs nothing; add the "
            "lock file to the bundle");
    else if (wants && has_file(d, ".npmrc"))
        snprintf(d->why, sizeof d->why,
                 "the bundle has an .npmrc, which could tell npm to run programs; leave it out (.errandignore)");
    else
        d->node = wants;
    return d->why[0] ? ERR_INVALID_FIELD : ERR_OK;
}

/* ---- steps ---- */

static void next_step(struct deps *d);

static void deps_over(struct deps *d, enum err err)
{
    loop_timer_stop(&d->limit);
    d->plan.done(d->plan.ctx, err, d->why);
    loop_defer_free(d->plan.loop, free, d);
}

static void on_started(void *ctx, struct str handle)
{
    (void)ctx;
    (void)handle;
}

static void on_gone(void *ctx, const struct job_exit *how)
{
    static const char *const names[] = {"", "python3 -m venv", "pip", "npm", ""};
    struct deps *d = ctx;
    d->job = NULL;
    note_line(d, STR("\n"));
    const char *name = names[d->step];
    if (d->stopped) {
        snprintf(d->why, sizeof d->why, "installing its requirements was ended: this runner is shutting down");
        deps_over(d, ERR_CANCELED);
    } else if (d->timed_out) {
        snprintf(d->why, sizeof d->why, "its requirements could not be installed: %s took longer than %d s", name,
                 DEPS_MS / 1000);
        deps_over(d, ERR_TIMEOUT);
    } else if (!how->started) {
        snprintf(d->why, sizeof d->why, "its requirements could not be installed: %s: %s", name,
                 how->message ? how->message : "it could not be started");
        deps_over(d, ERR_IO);
    } else if (how->signaled || how->code != 0) {
        snprintf(d->why, sizeof d->why, "its requirements could not be installed: %s %s %d: %s", name,
                 how->signaled ? "was killed by signal" : "ended with status", how->code, d->last);
        deps_over(d, ERR_IO);
    } else {
        next_step(d);
    }
}

static const struct job_events job_events = {.started = on_started, .output = on_output, .gone = on_gone};

struct words {
    const char *w[WORDS_MAX];
    size_t n;
};

static void add(struct words *words, const char *word)
{
    PRE(words->n < WORDS_MAX - 1);
    words->w[words->n++] = word;
}

/* Indexes and registries may carry passwords, so they are told by the environment, not by arguments. */
static void run(struct deps *d, const struct words *command, const char *workdir)
{
    char home[DEPS_PATH], temporary[DEPS_PATH], index[8192 + 32], registry[8192 + 32];
    const char *pip = d->plan.config->pip_index_url, *npm = d->plan.config->npm_registry, *why = "";
    struct words env = {.n = 0};
    snprintf(home, sizeof home, "HOME=%s", d->home);
    snprintf(temporary, sizeof temporary, "TMPDIR=%s", d->home);
    snprintf(index, sizeof index, "PIP_INDEX_URL=%s", pip);
    snprintf(registry, sizeof registry, "npm_config_registry=%s", npm);
    add(&env, PATH_WORD);
    add(&env, home);
    add(&env, temporary);
    add(&env, "LANG=C.UTF-8");
    add(&env, "PIP_CONFIG_FILE=/dev/null");
    add(&env, "PIP_DISABLE_PIP_VERSION_CHECK=1");
    add(&env, "PIP_ROOT_USER_ACTION=ignore");
    if (pip[0] && strcmp(pip, "none") != 0)
        add(&env, index);
    if (npm[0])
        add(&env, registry);
    static const char *const options[] = {"--rlimit-fsize", "1073741824", NULL};
    _Static_assert(FILE_BYTES == 1073741824, "as the option says");
    const struct exec_plan plan = {.exec_path = d->plan.exec_path,
                                   .command = command->w,
                                   .options = options,
                                   .env = env.w,
                                   .workdir = workdir,
                                   .private = d->home,
                                   .grace_ms = GRACE_MS};
    d->job = exec_job_start(d->plan.loop, &plan, &job_events, d, &why);
    if (d->job)
        return;
    snprintf(d->why, sizeof d->why, "its requirements could not be installed: %s", why);
    deps_over(d, ERR_IO);
}

static void run_venv(struct deps *d)
{
    char venv[DEPS_PATH];
    struct words c = {.n = 0};
    snprintf(venv, sizeof venv, "%s/" DEPS_VENV, d->code);
    add(&c, "python3");
    add(&c, "-I");
    add(&c, "-m");
    add(&c, "venv");
    add(&c, venv);
    run(d, &c, d->home);
}

static void run_pip(struct deps *d)
{
    char python[DEPS_PATH], file[DEPS_PATH], wheels[DEPS_PATH];
    struct words c = {.n = 0};
    snprintf(python, sizeof python, "%s/" DEPS_VENV "/bin/python", d->code);
    snprintf(file, sizeof file, "%s/requirements.txt", d->code);
    snprintf(wheels, sizeof wheels, "%s/wheels", d->code);
    add(&c, python);
    add(&c, "-I"); /* nothing of the folder it starts in */
    add(&c, "-m");
    add(&c, "pip");
    add(&c, "--require-virtualenv");
    add(&c, "--no-input");
    add(&c, "--no-cache-dir");
    add(&c, "install");
    add(&c, "--progress-bar");
    add(&c, "off");
    add(&c, "--only-binary");
    add(&c, ":all:");
    if (strcmp(d->plan.config->pip_index_url, "none") == 0)
        add(&c, "--no-index");
    if (has_file(d, "wheels")) {
        add(&c, "--find-links");
        add(&c, wheels);
    }
    add(&c, "--requirement");
    add(&c, file);
    run(d, &c, d->home);
}

static void run_npm(struct deps *d)
{
    char cache[DEPS_PATH];
    struct words c = {.n = 0};
    snprintf(cache, sizeof cache, "%s/npm", d->home);
    add(&c, "npm");
    add(&c, "ci");
    add(&c, "--ignore-scripts");
    add(&c, "--omit=dev");
    add(&c, "--no-audit");
    add(&c, "--no-fund");
    add(&c, "--no-update-notifier");
    add(&c, "--logs-max=0");
    add(&c, "--git=/bin/false"); /* a dependency by git would run it with what the bundle says */
    add(&c, "--cache");
    add(&c, cache);
    run(d, &c, d->code);
}

static void next_step(struct deps *d)
{
    d->step++;
    if (d->step == STEP_VENV && d->python)
        run_venv(d);
    else if (d->step == STEP_PIP && d->python)
        run_pip(d);
    else if (d->step == STEP_NPM && d->node)
        run_npm(d);
    else if (d->step == STEP_OVER)
        deps_over(d, ERR_OK);
    else
        next_step(d);
}

static void begin(void *ctx)
{
    struct deps *d = ctx;
    enum err err = d->stopped ? ERR_CANCELED : check_python(d);
    if (!err)
        err = check_node(d);
    if (err == ERR_CANCELED)
        snprintf(d->why, sizeof d->why, "this runner is shutting down");
    if (err)
        deps_over(d, err);
    else
        next_step(d);
}

static void on_limit(void *ctx)
{
    struct deps *d = ctx;
    d->timed_out = true;
    if (d->job)
        exec_job_stop(d->job, GRACE_MS);
}

struct deps *deps_start(const struct deps_plan *plan)
{
    struct deps *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->plan = *plan;
    snprintf(d->code, sizeof d->code, "%s", plan->code);
    snprintf(d->home, sizeof d->home, "%s", plan->home);
    loop_timer_init(&d->limit, plan->loop, on_limit, d);
    loop_timer_set(&d->limit, DEPS_MS);
    loop_defer(plan->loop, begin, d);
    return d;
}

void deps_stop(struct deps *d)
{
    d->stopped = true;
    if (d->job)
        exec_job_stop(d->job, 0);
}

/* ---- the tools ---- */

/* Whether a command, found in the default PATH, ends with status 0 in time. */
static bool try_command(const char *home, const char *const *command)
{
    char home_word[256];
    const char *argv[WORDS_MAX] = {"/usr/bin/env", "-i", PATH_WORD, home_word};
    size_t n = 4;
    snprintf(home_word, sizeof home_word, "HOME=%s", home);
    for (size_t i = 0; command[i] && n < WORDS_MAX - 1; i++)
        argv[n++] = command[i];
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status = -1;
    if (posix_spawn_file_actions_init(&files) != 0)
        return false;
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    int failed = posix_spawn(&pid, argv[0], &files, NULL, (char *const *)(uintptr_t)argv, (char *const[]){NULL});
    posix_spawn_file_actions_destroy(&files);
    if (failed)
        return false;
    for (int waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited += 10) {
        const struct timespec pause = {.tv_nsec = 10000000};
        if (waited >= PROBE_MS)
            kill(pid, SIGKILL);
        nanosleep(&pause, NULL);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

const char *deps_probe(void)
{
    char home[] = "/tmp/errand-probe-XXXXXX", venv[64];
    if (!mkdtemp(home))
        return "no temporary folder can be made";
    snprintf(venv, sizeof venv, "%s/venv", home);
    const char *missing = NULL;
    if (!try_command(home, (const char *const[]){"python3", "-I", "-m", "venv", venv, NULL}))
        missing = "python3 can't make a venv with pip (packages python3, python3-venv)";
    else if (!try_command(home, (const char *const[]){"npm", "--version", NULL}))
        missing = "npm does not run (packages nodejs, npm)";
    tree_remove(home);
    return missing;
}
