/* A runner's process by a name that outlives it: what is left of it elsewhere (containers, machines) carries the name, and whoever finds that can tell whether its runner lives. */
#ifndef ERRAND_RUNNER_RUNNER_PROCESS_H
#define ERRAND_RUNNER_RUNNER_PROCESS_H

#include "common/base.h"

enum { RUNNER_PROCESS_MAX = 96 };

/* This process: <pid>.<start time>.<boot id>. */
void runner_process_name(char ret_name[RUNNER_PROCESS_MAX]);
/* Whether that process is there, on this machine, since then. What is no such name is not. */
bool runner_process_alive(struct str name);

#endif
