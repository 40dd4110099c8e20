/* The start of errand-exec itself. Part of exec_job.c. */
#ifndef ERRAND_RUNNER_EXEC_SPAWN_H
#define ERRAND_RUNNER_EXEC_SPAWN_H

#include <sys/types.h>

#include "runner/exec_job.h"

enum { EXEC_STDIO = 4 }; /* stdin, stdout, stderr, control */

/* Executes errand-exec for the plan with these descriptors as 0 to 3, and the plan's behind them; all stay the caller's. keeps: it is to wait for a successor at plan->adopt_path. The process id, which the caller waits for, or a negative errno: it does not run then. Blocks until the new program is loaded (well under a millisecond). */
pid_t exec_spawn(const struct exec_plan *plan, bool keeps, const int stdio[EXEC_STDIO]);

#endif
