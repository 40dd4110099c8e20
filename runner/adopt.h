/* Taking over what an earlier process of this runner's name left running (option `adopt`): which runs those are is asked of Redis once, after the registration and before the first claim. */
#ifndef ERRAND_RUNNER_ADOPT_H
#define ERRAND_RUNNER_ADOPT_H

#include <sys/types.h>

struct worker_shard;

enum { ADOPT_PROC_MAX = 192 };

/* `PID START NAMESPACE BOOT` of a process that lives, in this process' namespace of process ids; "" of one that does not. Names it for as long as the machine is up. */
void adopt_proc(pid_t pid, char text[ADOPT_PROC_MAX]);
/* Takes over what there is; then shard_adopted. */
void adopt_begin(struct worker_shard *s);

#endif
