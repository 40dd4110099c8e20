#include "runner/exec_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <unistd.h>

enum { OPTIONS_END = 60, WORDS_MAX = 800 };

struct words {
    const char *at[WORDS_MAX];
    size_t n;
    char grace[24], fds[24], adopt_ms[24];
};

static void add(struct words *w, const char *const *list, size_t end)
{
    for (size_t i = 0; list && list[i] && w->n < end; i++)
        w->at[w->n++] = list[i];
}

static void make_words(struct words *w, const struct exec_plan *plan, bool keeps)
{
    *w = (struct words){0};
    snprintf(w->grace, sizeof w->grace, "%lld", (long long)plan->grace_ms);
    snprintf(w->fds, sizeof w->fds, "%zu", plan->fd_count);
    snprintf(w->adopt_ms, sizeof w->adopt_ms, "%lld", (long long)plan->adopt_ms);
    /* Cores: 1 and not 0, which keeps the kernel from handing a dump, with the agent's secrets, to the machine's crash handler (core_pattern "|…"), as 0 does not; for a file it is too small. */
    const char *const first[] = {plan->exec_path, "--grace-ms",    w->grace, "--workdir",  plan->workdir, "--private",
                                 plan->private,   "--rlimit-core", "1",      "--keep-fds", w->fds,        NULL};
    const char *const adopt[] = {"--adopt", plan->adopt_path, "--adopt-ms", w->adopt_ms, NULL};
    const char *const behind[] = {"--", NULL};
    add(w, first, OPTIONS_END);
    add(w, keeps ? adopt : NULL, OPTIONS_END);
    add(w, plan->options, OPTIONS_END);
    add(w, behind, WORDS_MAX - 1);
    add(w, plan->command, WORDS_MAX - 1);
}

/* Each descriptor to its place. One that stands among the places is copied out of the way first; ret_copies, set to -1 before, are the caller's to close. */
static int place(posix_spawn_file_actions_t *actions, const int *fds, int n, int *ret_copies)
{
    for (int i = 0; i < n; i++) {
        int from = fds[i];
        if (from < n) {
            from = ret_copies[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, n);
            if (from < 0)
                return errno;
        }
        int why = posix_spawn_file_actions_adddup2(actions, from, i);
        if (why)
            return why;
    }
    return 0;
}

/* posix_spawn shares our memory with the child until it executes: a fork would copy the tables of all that this process holds. */
pid_t exec_spawn(const struct exec_plan *plan, bool keeps, const int stdio[EXEC_STDIO])
{
    struct words words;
    int fds[EXEC_STDIO + EXEC_FDS_MAX], copies[EXEC_STDIO + EXEC_FDS_MAX];
    int n = EXEC_STDIO + (int)plan->fd_count;
    PRE(plan->fd_count <= EXEC_FDS_MAX);
    for (int i = 0; i < n; i++) {
        fds[i] = i < EXEC_STDIO ? stdio[i] : plan->fds[i - EXEC_STDIO];
        copies[i] = -1;
    }
    make_words(&words, plan, keeps);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    pid_t pid = -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setsigmask(&attr, &none);
    int why = place(&actions, fds, n, copies);
    if (!why)
        why = posix_spawn(&pid, plan->exec_path, &actions, &attr, (char *const *)(uintptr_t)words.at,
                          (char *const *)(uintptr_t)plan->env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    for (int i = 0; i < n; i++)
        if (copies[i] >= 0)
            close(copies[i]);
    return why ? -why : pid;
}
