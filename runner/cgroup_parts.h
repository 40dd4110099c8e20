/* What the cgroup_*.c files have in common; nobody else's. */
#ifndef ERRAND_RUNNER_CGROUP_PARTS_H
#define ERRAND_RUNNER_CGROUP_PARTS_H

#include "runner/cgroup.h"

enum { CGROUP_HIERARCHIES = 5, CGROUP_PATH = 512, CGROUP_NAME = 96 };
/* Bits of struct cgroup_hierarchy.has: the public three, and what only counts processor time (cpuacct, or cpu.stat of version 2). */
enum { HAS_MEMORY = 1 << CGROUP_MEMORY, HAS_CPU = 1 << CGROUP_CPU, HAS_PIDS = 1 << CGROUP_PIDS, HAS_CPU_TIME = 8 };

struct cgroup_hierarchy {
    bool v2;
    unsigned has;           /* first what it is mounted with, then what was tried */
    char own[CGROUP_PATH];  /* the folder in which `node` is made */
    char node[CGROUP_PATH]; /* …/errand-NODE */
    char home[CGROUP_PATH]; /* …/errand-NODE/PID-RANDOM: this runner's */
    int lock;               /* home, open and locked; -1: this hierarchy is of no use */
};

struct cgroups {
    struct loop *loop;
    unsigned has; /* of all hierarchies together */
    struct cgroup_hierarchy at[CGROUP_HIERARCHIES];
    size_t count;
    struct cgroup *dying; /* freed, and not yet removed */
    char why[256];
};

struct cgroup {
    struct cgroups *owner;
    struct cgroup *next, *prev;    /* among the dying */
    char *dir[CGROUP_HIERARCHIES]; /* of each hierarchy where it is; NULL elsewhere */
    int lock[CGROUP_HIERARCHIES];  /* adopted: its dead runner's folder, so that nobody else takes it; else -1 */
    int64_t cpu_us, at_us;         /* at the last look; -1: none yet */
    struct loop_timer again;
    int tries;
};

/* The hierarchies of use that mountinfo and cgroup (the texts of /proc/self/…) tell of, in the order of their mounting; root: cgroup-root, empty for the process' own groups. How many. */
size_t cgroup_find(struct str mountinfo, struct str cgroup, const char *root,
                   struct cgroup_hierarchy ret[CGROUP_HIERARCHIES]);

/* In no hierarchy yet; NULL when memory is out. */
struct cgroup *cgroup_new(struct cgroups *c);
/* One small file of a group; false when it can't be written or read, and ret_text is empty then. */
bool cgroup_write(const char *dir, const char *file, const char *text);
bool cgroup_read(const char *dir, const char *file, char *ret_text, size_t cap);
/* The number behind a word at the beginning of a line ("oom_kill 3"), or of the whole text where word is NULL; -1: none. */
int64_t cgroup_number(const char *text, const char *word);
/* Sets in a hierarchy's group what it limits. */
bool cgroup_limit(const struct cgroup_hierarchy *h, const char *dir, const struct job_limits *limits);
/* SIGKILL to every process in it and below it. */
void cgroup_kill(const char *dir);
/* Removes it with the groups below it; true when it is gone. */
bool cgroup_remove(const char *dir);
/* RUN-ATTEMPT, with nothing in it that a file's name may not have. */
void cgroup_name(struct str run_id, int64_t attempt, char ret[CGROUP_NAME]);
/* Waits for the groups that are being removed, at most this long. */
void cgroups_wait_dying(struct cgroups *c, int64_t ms);

#endif
