/* What a pool's workers stand on: `process` or `sandbox`, as the definition's pool.base says; both only where ERRAND_EXECUTORS names them. Limits and figures are a worker's, not a run's. */
#ifndef ERRAND_RUNNER_POOL_BASE_H
#define ERRAND_RUNNER_POOL_BASE_H

#include "runner/exec_job.h"

struct pool_base;
struct pool_shell; /* around one worker */

/* ERR_CONFIG: neither base may be used, or can. May block for some seconds. x must outlive it. */
MUST_CHECK enum err pool_base_open(const struct executor_context *x, struct pool_base **ret_base,
                                   struct strbuf *ret_why);
/* When no shell is left. Takes NULL. */
void pool_base_close(struct pool_base *b);
/* As executor.supports. What contains is the sandbox's alone: a definition that asks for it has that base (api/validate_execution.c). */
bool pool_base_supports(const struct pool_base *b, const char *capability);

typedef void (*pool_note_fn)(void *ctx, struct str line);
/* spec: the worker's own (its id as run_id, its folder, its environment); copied. note: a line that its network's proxy says of it. NULL: *ret_why says why (static). */
struct pool_shell *pool_shell_new(struct pool_base *b, bool sandbox, const struct job_spec *spec, pool_note_fn note,
                                  void *ctx, const char **ret_why);
/* Fills a plan in which command, env, workdir, private and exec_path are as spec says them. What it points to is the shell's. */
void pool_shell_apply(struct pool_shell *s, struct exec_plan *plan);
/* The worker was started, or could not be. */
void pool_shell_begun(struct pool_shell *s);
bool pool_shell_oom(const struct pool_shell *s);
/* Of the worker, since the last look. */
void pool_shell_stats(struct pool_shell *s, struct exec_job *exec, struct job_stats *ret_stats);
/* Takes NULL. What is left of it is killed. */
void pool_shell_free(struct pool_shell *s);

#endif
