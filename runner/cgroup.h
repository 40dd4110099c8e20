/* Control groups of the kernel: what limits an attempt's memory, processors and processes, measures it, and finds what is left of it. Version 2 (a delegated subtree), version 1 (each controller in a hierarchy of its own),
 * or both side by side, as the machine has them mounted; found out once at the start by really making a group and really entering it.
 *
 *   <the runner's own group, or cgroup-root>/errand-NODE/PID-RANDOM/RUN-ATTEMPT
 *
 * PID-RANDOM is a runner's folder; it holds a lock (flock) on it for as long as it lives, so that a folder whose lock can be had is a dead runner's, whatever process ids say (two runners may see different ones).
 * Everything belongs to the loop's thread. Nothing here blocks for long but opening, sweeping and closing. */
#ifndef ERRAND_RUNNER_CGROUP_H
#define ERRAND_RUNNER_CGROUP_H

#include "runner/executor.h"

struct cgroups;
struct cgroup;

enum cgroup_controller { CGROUP_MEMORY, CGROUP_CPU, CGROUP_PIDS };

/* Tries what this machine has; where it has nothing, or cgroup-root is `none`, the result can do nothing and says why (cgroups_why). May block for some hundred milliseconds. ERR_NO_MEMORY. */
MUST_CHECK enum err cgroups_open(const struct config *config, struct loop *loop, struct cgroups **ret);
/* When no group is left but those that are being removed: waits for those, up to a second. Takes NULL. */
void cgroups_close(struct cgroups *c);
/* Whether groups made here limit this: it was tried. */
bool cgroups_has(const struct cgroups *c, enum cgroup_controller what);
/* What can't be had, and why; empty where everything can. */
const char *cgroups_why(const struct cgroups *c);

/* A group for an attempt, with those limits that are given. NULL with *ret_why: a limit can't be set (never started without it). NULL with *ret_why NULL: nothing is to be limited, and a group would cost too much or can't be had;
 * every function below takes that NULL. Owned by the caller until cgroup_free. */
struct cgroup *cgroup_make(struct cgroups *c, struct str run_id, int64_t attempt, const struct job_limits *limits,
                           const char **ret_why);
/* The group that an earlier runner of this node made for an attempt that outlived it; NULL: there is none, or its runner lives. */
struct cgroup *cgroup_adopt(struct cgroups *c, struct str run_id, int64_t attempt);
/* Appends words for exec_plan.options ("--cgroup", DIR for each hierarchy): the child of errand-exec enters before it becomes the command. Borrowed from the group. n counts what is there already, cap bounds it; the NULL behind them is the caller's. */
void cgroup_options(const struct cgroup *g, const char **words, size_t *n, size_t cap);
/* Whether the kernel killed something of it because of the memory limit. */
bool cgroup_oom(const struct cgroup *g);
/* Processor time since the last call (or its making; unknown at the first call for an adopted one), and memory without what the kernel could drop at once. Sets what it knows, and leaves the rest of ret as it is. */
void cgroup_stats(struct cgroup *g, struct job_stats *ret);
/* Kills what is left in it and removes it; comes back later, by itself, where that takes time. Takes NULL. */
void cgroup_free(struct cgroup *g);

/* Lets go of it as it is, with what runs in it, for a successor to adopt. Takes NULL. */
void cgroup_leave(struct cgroup *g);

/* Kills and removes what dead runners of this node left, but for the attempts in keep. May block for a second. */
void cgroups_sweep(struct cgroups *c, const struct job_owner *keep, size_t n);

#endif
