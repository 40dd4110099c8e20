/* Lines for an attempt's standard input (`stdin: open`): read from the run's list in Redis, handed to the executor in order, each once an attempt. A message on the runner's channel says that there are more; every few
 * seconds it looks by itself. Contract: executors.md, "Agent process protocol". */
#ifndef ERRAND_RUNNER_INPUT_H
#define ERRAND_RUNNER_INPUT_H

#include "common/loop.h"

struct attempt;

struct input {
    int64_t given; /* the number of the last line that the executor took */
    int64_t asked; /* which line it had been given last when it asked */
    bool open;     /* it runs, and takes lines */
    bool reading, again, asking, unsaid;
    struct loop_timer timer;
};

/* Before anything else; a claim made it. */
void input_init(struct attempt *a);
/* The attempt runs and its stdin is open. */
void input_begin(struct attempt *a);
/* There may be more lines, or Redis is back. */
void input_kick(struct attempt *a);
/* Its agent asked for a line: the run is to show it. */
void input_asked(struct attempt *a);
void input_end(struct attempt *a);
/* No answer is to come. */
bool input_quiet(const struct attempt *a);

#endif
