/* What a process tree uses, from /proc. For trees without a control group that says it more exactly. Blocks for as long as reading some files of /proc takes; looks at so many processes and no more. */
#ifndef ERRAND_RUNNER_PROC_TREE_H
#define ERRAND_RUNNER_PROC_TREE_H

#include <sys/types.h>

#include "common/base.h"

enum { PROC_TREE_MAX = 512 };

struct proc_usage {
    int64_t cpu_us;       /* of what lives, and of what it has waited for */
    int64_t memory_bytes; /* resident; what processes share is counted for each */
};

/* Of all descendants of a process, itself left out. False when they can't be found, or are more than PROC_TREE_MAX: then nothing is known. */
bool proc_tree_usage(pid_t above, struct proc_usage *ret);

#endif
