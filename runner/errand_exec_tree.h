/* The process tree under a subreaper: finding it, freezing it, signalling it. Part of errand-exec; uses system calls and static memory only. Blocks for no longer than reading /proc takes. */
#ifndef ERRAND_RUNNER_ERRAND_EXEC_TREE_H
#define ERRAND_RUNNER_ERRAND_EXEC_TREE_H

#include <sys/types.h>

#include "common/base.h"

/* What /proc/PID/stat says. */
struct proc_stat {
    char state;
    pid_t parent;
    unsigned long long start_time; /* clock ticks since boot (field 22) */
};

/* False when there is no such process (any more). */
bool proc_stat_read(pid_t pid, struct proc_stat *ret_stat);

/* SIGTERM, then SIGCONT, once to each descendant of this process. A second call spares those which had it from the first one. */
void tree_terminate(void);
/* tree_terminate passes over this one: a wrapper around the tree, that is to live until it has ended. */
void tree_spare(pid_t pid);
/* SIGKILL to each descendant. They are frozen with SIGSTOP first, until none is left running (or a second passed): what is stopped can't fork, and keeps
 * its place in the process table, so a fork bomb runs into its limit instead of away. Call again until waitpid(-1) says ECHILD. */
void tree_kill(void);

#endif
