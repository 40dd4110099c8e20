/* Ctrl-C as something to wait for instead of something that happens: SIGINT and SIGTERM are blocked and read from a descriptor, so a wait ends at once and nothing is torn. */
#ifndef ERRAND_CLI_INTERRUPT_H
#define ERRAND_CLI_INTERRUPT_H

#include "common/base.h"

/* From here on SIGINT and SIGTERM (and SIGHUP) no longer end the process; one that was ignored from the start (nohup) stays ignored. Calling it again is fine. */
void interrupt_begin(void);
/* The descriptor that becomes readable, or -1 before interrupt_begin. */
int interrupt_fd(void);
/* Whether one came since the beginning; stays true. */
bool interrupted(void);
/* How many came so far: a second one means "now". */
unsigned interrupt_count(void);
/* Waits up to ms; true at once when interrupted. */
bool interrupt_wait(int64_t ms);

#endif
