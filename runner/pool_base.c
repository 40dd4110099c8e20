#include "runner/pool_base.h"

#include <stdio.h>
#include <stdlib.h>

#include "runner/cgroup.h"
#include "runner/sandbox.h"

enum { OPTION_WORDS = 24 };
#define OPEN_FILES "65536"

struct pool_base {
    const struct executor_context *x;
    bool process;            /* ERRAND_EXECUTORS names it */
    struct sandbox *sandbox; /* NULL: it does not */
};

struct pool_shell {
    struct pool_base *base;
    struct sandbox_plan *plan; /* over `sandbox`; else NULL, and what follows is of `process` */
    struct cgroup *group;      /* NULL: nothing is limited */
    char fsize[24];
    const char *options[OPTION_WORDS + 1];
};

static bool names(const struct executor_context *x, const char *executor)
{
    struct str list = str_of(x->config->executors), word;
    while (str_next_word(&list, &word))
        if (str_eqz(word, executor))
            return true;
    return false;
}

enum err pool_base_open(const struct executor_context *x, struct pool_base **ret_base, struct strbuf *ret_why)
{
    struct pool_base *b = calloc(1, sizeof *b);
    if (!b)
        return ERR_NO_MEMORY;
    *b = (struct pool_base){.x = x, .process = names(x, "process")};
    enum err err = ERR_OK;
    if (names(x, "sandbox")) {
        err = sandbox_open(x, &b->sandbox, ret_why);
    } else if (!b->process) {
        strbuf_addz(ret_why, "executors: pool needs process or sandbox beside it: its workers are started as those are "
                             "(executors=pool,sandbox)");
        err = ERR_CONFIG;
    }
    if (err)
        pool_base_close(b);
    else
        *ret_base = b;
    return err;
}

void pool_base_close(struct pool_base *b)
{
    if (!b)
        return;
    sandbox_close(b->sandbox);
    free(b);
}

bool pool_base_supports(const struct pool_base *b, const char *capability)
{
    static const char *const everywhere[] = {"timeout", "memory_limit", "cpu_limit"};
    bool any_base = false, limits = false;
    for (size_t i = 0; i < ARRAY_LEN(everywhere); i++)
        any_base = any_base || strcmp(capability, everywhere[i]) == 0;
    if (!any_base) /* a memory of its own is never wiped: no `reset` */
        return b->sandbox && strcmp(capability, "reset") != 0 && sandbox_supports(b->sandbox, capability);
    limits = strcmp(capability, "timeout") == 0 ||
             cgroups_has(b->x->cgroups, strcmp(capability, "memory_limit") == 0 ? CGROUP_MEMORY : CGROUP_CPU);
    return (!b->process || limits) && (!b->sandbox || sandbox_supports(b->sandbox, capability));
}

/* Over `process`: as executor_process.c starts a command. */
static bool limit_process(struct pool_shell *s, const struct job_spec *spec, const char **ret_why)
{
    const char *why = NULL;
    size_t n = 2;
    s->options[0] = "--rlimit-nofile";
    s->options[1] = OPEN_FILES;
    if (spec->limits.disk_bytes > 0) {
        snprintf(s->fsize, sizeof s->fsize, "%lld", (long long)spec->limits.disk_bytes);
        s->options[n++] = "--rlimit-fsize";
        s->options[n++] = s->fsize;
    }
    s->group = cgroup_make(s->base->x->cgroups, spec->run_id, spec->attempt, &spec->limits, &why);
    if (why) {
        *ret_why = why;
        return false;
    }
    cgroup_options(s->group, s->options, &n, OPTION_WORDS);
    return true;
}

struct pool_shell *pool_shell_new(struct pool_base *b, bool sandbox, const struct job_spec *spec, pool_note_fn note,
                                  void *ctx, const char **ret_why)
{
    if (sandbox ? !b->sandbox : !b->process) {
        *ret_why = sandbox ? "this runner has no pools over sandbox: ERRAND_EXECUTORS does not name it"
                           : "this runner has no pools over process: ERRAND_EXECUTORS does not name it";
        return NULL;
    }
    struct pool_shell *s = calloc(1, sizeof *s);
    *ret_why = "out of memory";
    if (!s)
        return NULL;
    s->base = b;
    if (sandbox && (s->plan = sandbox_plan_new(b->sandbox, spec, note, ctx, ret_why)))
        return s;
    if (!sandbox && limit_process(s, spec, ret_why))
        return s;
    pool_shell_free(s);
    return NULL;
}

void pool_shell_apply(struct pool_shell *s, struct exec_plan *plan)
{
    if (s->plan)
        sandbox_plan_apply(s->plan, plan);
    else
        plan->options = s->options;
}

void pool_shell_begun(struct pool_shell *s)
{
    if (s->plan)
        sandbox_plan_begun(s->plan);
}

bool pool_shell_oom(const struct pool_shell *s)
{
    return s->plan ? sandbox_plan_oom(s->plan) : cgroup_oom(s->group);
}

void pool_shell_stats(struct pool_shell *s, struct exec_job *exec, struct job_stats *ret_stats)
{
    exec_job_measure(exec, s->plan ? sandbox_plan_group(s->plan) : s->group, ret_stats);
}

void pool_shell_free(struct pool_shell *s)
{
    if (!s)
        return;
    sandbox_plan_free(s->plan);
    cgroup_free(s->group);
    free(s);
}
