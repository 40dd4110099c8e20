/* The control groups that the command is to be a member of. Part of errand-exec; uses system calls only. */
#ifndef ERRAND_RUNNER_ERRAND_EXEC_GROUPS_H
#define ERRAND_RUNNER_ERRAND_EXEC_GROUPS_H

#include <sys/types.h>

#include "common/base.h"

enum { GROUPS_MAX = 8 };

/* Opened while this process is still what it was started as. */
struct groups {
    int born_into;         /* one of version 2, which a process can be born into for nothing; -1: none */
    int procs[GROUPS_MAX]; /* their lists of processes: who writes 0 there becomes a member */
    size_t count;
};

/* At most GROUPS_MAX folders. False, with errno, when one is no group that can be entered. */
bool groups_open(const char *const *dirs, size_t n, struct groups *ret_groups);
/* fork; the child is born into the group of version 2 where there is one and the kernel can. *ret_entered: of how many, counted from the first, it is a member then. */
pid_t groups_fork(const struct groups *g, size_t *ret_entered);
/* In the child: becomes a member of the others. False, with errno, when one does not take it. */
bool groups_enter(const struct groups *g, size_t entered);
void groups_close(const struct groups *g);

#endif
