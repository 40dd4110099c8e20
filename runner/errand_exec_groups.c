#include "runner/errand_exec_groups.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

bool groups_open(const char *const *dirs, size_t n, struct groups *ret_groups)
{
    struct groups *g = ret_groups;
    *g = (struct groups){.born_into = -1};
    for (size_t i = 0; i < n; i++) {
        struct statfs fs;
        int dir = open(dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* Version 1 has both, and moves a thread that writes its own 0 to "tasks" without waiting for anybody. */
        int procs = dir < 0 ? -1 : openat(dir, "tasks", O_WRONLY | O_CLOEXEC);
        if (procs < 0 && dir >= 0)
            procs = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (procs < 0)
            return false;
        g->procs[g->count++] = procs;
        if (g->born_into < 0 && fstatfs(dir, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC) {
            g->born_into = dir;
            /* The first place is the one that a birth fills. */
            g->procs[g->count - 1] = g->procs[0];
            g->procs[0] = procs;
        } else {
            close(dir);
        }
    }
    return true;
}

/* Moving a process costs a grace period of the kernel's, several milliseconds to tens of them; being born into a group does not, and neither does moving a single thread (groups_open). */
pid_t groups_fork(const struct groups *g, size_t *ret_entered)
{
    *ret_entered = 0;
    if (g->born_into >= 0) {
        struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (unsigned)g->born_into};
        *ret_entered = 1;
        long pid = syscall(SYS_clone3, &args, sizeof args);
        if (pid >= 0)
            return (pid_t)pid;
        *ret_entered = 0; /* an older kernel, or a filter that does not know the call: it moves, then */
    }
    return fork();
}

bool groups_enter(const struct groups *g, size_t entered)
{
    for (size_t i = entered; i < g->count; i++)
        if (write(g->procs[i], "0", 1) != 1)
            return false;
    return true;
}

void groups_close(const struct groups *g)
{
    for (size_t i = 0; i < g->count; i++)
        close(g->procs[i]);
    if (g->born_into >= 0)
        close(g->born_into);
}
