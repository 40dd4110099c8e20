/* The audit of a shard: every run is in exactly the structures that its status says, and every entry, counter and key
 * of the shard is there because a run (an agent, a runner, a setting) says so. `errand doctor --audit` and the tests of
 * the scripts use it.
 *
 * It only reads: SCAN, pipelines of bounded size, and small transactions of reads; no script, and no command that looks
 * at more than a few hundred elements. Its memory is some 16 bytes a run. It blocks, for as long as reading takes.
 *
 * While it reads, runs move on. What looks wrong is therefore read again in one transaction, and only what is wrong in
 * that is found. The counters (of queues, workspaces, requirements, definitions) are compared with all runs at once:
 * they are judged only where none of them moved meanwhile (WATCH). */
#ifndef ERRAND_CLI_AUDIT_H
#define ERRAND_CLI_AUDIT_H

#include <hiredis/hiredis.h>

#include "common/err.h"

struct audit_options {
    bool events; /* read every event stream from its first entry to its last, not only its end */
};

struct audit_counts {
    int64_t runs, keys, findings;
    bool counters_judged;
};

/* key: without the shard's prefix; what: what is wrong with it. Both live until it returns. */
typedef void (*audit_found_fn)(void *ctx, const char *key, const char *what);

/* prefix: the shard's (`errand:{0}:`). ERR_REDIS_UNAVAILABLE when the connection broke or a command was refused (c->errstr says why),
 * ERR_NO_MEMORY; what was found until then was told. */
MUST_CHECK enum err audit_shard(redisContext *c, struct str prefix, const struct audit_options *o, audit_found_fn found,
                                void *ctx, struct audit_counts *ret_counts);

#endif
