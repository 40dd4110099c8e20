#include "runner/sandbox.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runner/errand_exec_inside.h"
#include "runner/sandbox_parts.h"

enum { PLAN_ARENA_MAX = 8 << 20, ENV_MAX_BYTES = 8 << 20, CGROUP_WORDS = 16 };

int sandbox_memory_file(const char *name, struct str bytes)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t at = 0;
    while (fd >= 0 && at < bytes.len) {
        ssize_t n = write(fd, bytes.ptr + at, bytes.len - at);
        if (n <= 0) {
            close(fd);
            return -1;
        }
        at += (size_t)n;
    }
    if (fd >= 0)
        (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    return fd;
}

/* The same memory file, opened anew: a descriptor that is only duplicated shares its position, and the second reader finds the end. */
static int open_again(int fd)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* The number that it has inside. fd is the plan's from now on. */
static int give(struct sandbox_plan *p, int fd)
{
    if (fd < 0) {
        p->failed = true;
        return -1;
    }
    p->fds[p->fd_count] = fd;
    return 4 + (int)p->fd_count++;
}

/* ---- the environment ---- */

static const char *const proxy_names[] = {"http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY="};

static bool is_proxy_word(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(proxy_names); i++)
        if (strncmp(word, proxy_names[i], strlen(proxy_names[i])) == 0)
            return true;
    return false;
}

static int environment(const char *const *env, bool filtered)
{
    struct strbuf text;
    strbuf_init(&text, ENV_MAX_BYTES);
    for (size_t i = 0; env[i]; i++)
        if (!filtered || !is_proxy_word(env[i]))
            strbuf_add(&text, (struct str){env[i], strlen(env[i]) + 1});
    for (size_t i = 0; filtered && i < ARRAY_LEN(proxy_names); i++) {
        strbuf_addf(&text, "%shttp://127.0.0.1:%d", proxy_names[i], INSIDE_PORT);
        strbuf_addc(&text, 0);
    }
    int fd = strbuf_failed(&text) ? -1 : sandbox_memory_file("errand-env", strbuf_str(&text));
    if (text.ptr)
        explicit_bzero(text.ptr, text.len);
    strbuf_done(&text);
    return fd;
}

/* ---- the plan ---- */

/* Opens for the new process what it is to have. */
static void add_files(struct sandbox_plan *p, const struct job_spec *spec, struct sandbox_numbers *ret)
{
    const struct sandbox *s = p->sandbox;
    ret->helper = give(p, open_again(s->helper));
    ret->filter = give(p, open_again(s->filter));
    ret->env = give(p, environment(spec->env, spec->network == NETWORK_FILTERED));
    ret->listen = ret->code = -1;
    if (s->root && spec->code)
        ret->code = give(p, open(spec->code, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (size_t i = 0; i < SANDBOX_FILES; i++)
        ret->files[i] = s->files[i] >= 0 ? give(p, open_again(s->files[i])) : -1;
}

static bool add_proxy(struct sandbox_plan *p, const struct job_spec *spec, sandbox_note_fn note, void *ctx,
                      int *ret_number)
{
    int ends[2];
    const struct executor_context *x = p->sandbox->x;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return false;
    *ret_number = give(p, ends[1]);
    p->proxy = net_proxy_new(x->loop, ends[0], spec->allow_hosts, x->config->sandbox_allow_private, note, ctx);
    return p->proxy != NULL;
}

/* What its definition does not limit, the runner's options do, where there is something to limit it with. */
static bool add_cgroup(struct sandbox_plan *p, const struct job_spec *spec, const char **ret_why)
{
    const struct executor_context *x = p->sandbox->x;
    struct job_limits limits = spec->limits;
    const char *why = NULL;
    size_t n = 0;
    if (limits.pids == 0 && cgroups_has(x->cgroups, CGROUP_PIDS))
        limits.pids = x->config->sandbox_pids;
    if (limits.memory_bytes == 0 && cgroups_has(x->cgroups, CGROUP_MEMORY))
        limits.memory_bytes = x->config->sandbox_memory_mb << 20;
    p->cgroup = cgroup_make(x->cgroups, spec->run_id, spec->attempt, &limits, &why);
    if (!p->cgroup && why) {
        *ret_why = why;
        return false;
    }
    p->options[n++] = "--inside";
    p->options[n++] = "1";
    cgroup_options(p->cgroup, p->options, &n, CGROUP_WORDS);
    p->options[n] = NULL;
    return true;
}

struct sandbox_plan *sandbox_plan_new(struct sandbox *s, const struct job_spec *spec, sandbox_note_fn note, void *ctx,
                                      const char **ret_why)
{
    struct sandbox_plan *p = calloc(1, sizeof *p);
    *ret_why = "out of memory";
    if (!p)
        return NULL;
    p->sandbox = s;
    arena_init(&p->arena, PLAN_ARENA_MAX);
    struct sandbox_numbers numbers;
    add_files(p, spec, &numbers);
    p->private = arena_strdup(&p->arena, str_of(spec->private));
    bool ok = !p->failed && p->private && add_cgroup(p, spec, ret_why);
    ok = ok && (spec->network != NETWORK_FILTERED || add_proxy(p, spec, note, ctx, &numbers.listen));
    if (ok) {
        sandbox_words(p, spec, &numbers);
        if (!p->failed)
            return p;
        *ret_why = "its command is too long";
    }
    sandbox_plan_begun(p);
    sandbox_plan_free(p);
    return NULL;
}

void sandbox_plan_apply(const struct sandbox_plan *p, struct exec_plan *plan)
{
    static const char *const nothing[] = {"PATH=/usr/bin:/bin", NULL}; /* bubblewrap's own: it runs outside */
    plan->exec_path = p->sandbox->x->exec_path;
    plan->command = p->words;
    plan->options = p->options;
    plan->env = nothing;
    plan->workdir = plan->private = p->private;
    plan->fds = p->fds;
    plan->fd_count = p->fd_count;
}

void sandbox_plan_begun(struct sandbox_plan *p)
{
    while (p->fd_count > 0)
        close(p->fds[--p->fd_count]);
    arena_done(&p->arena); /* all of it was copied into the new process */
    arena_init(&p->arena, PLAN_ARENA_MAX);
    p->private = NULL;
    p->word_count = 0;
}

void sandbox_plan_free(struct sandbox_plan *p)
{
    if (!p)
        return;
    net_proxy_free(p->proxy);
    cgroup_free(p->cgroup);
    arena_done(&p->arena);
    free(p);
}

bool sandbox_plan_oom(const struct sandbox_plan *p)
{
    return cgroup_oom(p->cgroup);
}

struct cgroup *sandbox_plan_group(const struct sandbox_plan *p)
{
    return p->cgroup;
}

bool sandbox_supports(const struct sandbox *s, const char *capability)
{
    /* sandbox_open had a command run in all of these, and looked from within. */
    static const char *const tried[] = {"timeout", "process_isolation", "network_isolation", "network_filtering",
                                        "filesystem_isolation"};
    for (size_t i = 0; i < ARRAY_LEN(tried); i++)
        if (strcmp(capability, tried[i]) == 0)
            return true;
    if (strcmp(capability, "memory_limit") == 0)
        return cgroups_has(s->x->cgroups, CGROUP_MEMORY);
    return strcmp(capability, "cpu_limit") == 0 && cgroups_has(s->x->cgroups, CGROUP_CPU);
}
