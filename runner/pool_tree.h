/* Which processes live below one, as /proc says: whether a worker's run left any behind. Reads /proc, some tens of microseconds for each process. */
#ifndef ERRAND_RUNNER_POOL_TREE_H
#define ERRAND_RUNNER_POOL_TREE_H

#include "common/base.h"

enum { POOL_TREE_MAX = 256 };

struct pool_tree {
    int32_t pids[POOL_TREE_MAX];
    size_t n;
    bool unknown; /* there are more, or they can't be seen: nothing may be concluded from it but the worst */
};

/* Whether this kernel tells a process' children (CONFIG_PROC_CHILDREN). */
bool pool_tree_supported(void);
/* All descendants of root; those that have ended, and wait for their parent to ask, are left out. */
void pool_tree_read(int64_t root, struct pool_tree *ret_tree);
/* Whether there is one that `before` does not have. */
bool pool_tree_has_more(const struct pool_tree *now, const struct pool_tree *before);

#endif
