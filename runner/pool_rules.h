/* How many workers a pool has, and when one is replaced: pure bookkeeping, and the text of a job. Nothing here knows processes. */
#ifndef ERRAND_RUNNER_POOL_RULES_H
#define ERRAND_RUNNER_POOL_RULES_H

#include "common/crypto.h"
#include "common/strbuf.h"

/* Of a definition's `pool`. */
struct pool_settings {
    bool sandbox; /* base */
    bool deps;    /* allowRuntimeDeps: what its bundle requires is installed beside its code */
    int64_t min, max, idle_ms, max_runs;
};

/* Workers by what they do, and jobs that wait for one. */
struct pool_counts {
    int64_t starting, idle, busy, ending; /* starting: not ready, for the first run or the next one */
    int64_t waiting;
};

/* A pool that no run was for is kept for so many times idleMs. */
enum { POOL_KEEP_TIMES = 10 };

/* Whose workers they are: workers of two workspaces, or of two definitions (a bundle's digest stands in it), are never in one pool. */
void pool_key(struct str workspace, struct str definition, char ret_key[SHA256_HEX_LEN + 1]);
/* From the canonical definition; the API filled in what was not said. */
MUST_CHECK bool pool_settings_read(struct str definition, struct pool_settings *ret_settings);

/* How many workers to start now. keep_min: those that wait for nobody, too. Those that end still count: there are never more than max. */
int64_t pool_to_start(const struct pool_settings *s, const struct pool_counts *c, bool keep_min);
/* How many of the idle ones are more than the pool keeps warm. */
int64_t pool_to_end(const struct pool_settings *s, const struct pool_counts *c);
/* Of a runner's sum: how many idle workers of others must go, so that `wanted` can start; ending: that go already. */
int64_t pool_to_evict(int64_t total, int64_t bound, int64_t ending, int64_t wanted);

/* What is known of a worker when a run of it is over. */
struct pool_verdict {
    int64_t runs;       /* that it has had, this one included */
    bool failed;        /* the run's own word was an error */
    bool overlong;      /* a line was too long */
    bool children_left; /* processes that were not there before the run */
    bool limit_hit;     /* its memory limit was reached */
};
/* NULL: it may take another run. Else why not (static). */
const char *pool_replace_why(const struct pool_settings *s, const struct pool_verdict *v);

/* The line that a worker gets: the job's own, with "env" and "workDir". Begun before the worker is known: variables that are the attempt's private folder (HOME, TMPDIR) are left out, their names gathered in ret_names, each
 * with its NUL, and become the folder that the worker is given. Secrets are in it: the caller overwrites it. */
void pool_line_begin(struct str input_line, const char *const *env, const char *private, struct strbuf *out,
                     struct strbuf *ret_names);
void pool_line_end(struct str names, const char *folder, struct strbuf *out);

#endif
