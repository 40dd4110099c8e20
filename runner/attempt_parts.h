/* What attempt.c and attempt_finish.c have in common; nobody else's. */
#ifndef ERRAND_RUNNER_ATTEMPT_PARTS_H
#define ERRAND_RUNNER_ATTEMPT_PARTS_H

#include "runner/attempt.h"

enum { FINISH_AGAIN_MS = 500 };

/* PRE: the edge is in the table. */
void attempt_move(struct attempt *a, enum attempt_state to);
/* FINISHING: says the end to Redis, when all before it is stored; called again whenever something of that changes. */
void attempt_finish(struct attempt *a);
void attempt_log_send(struct attempt *a);
void attempt_on_log_flush(void *ctx);
/* FINISHING, or a lost one: it is forgotten. */
void attempt_go_over(struct attempt *a);
/* Its memory goes when no answer is still to come. */
void attempt_over_if_quiet(struct attempt *a);

#endif
