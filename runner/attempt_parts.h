/* What attempt.c and attempt_finish.c have in common; nobody else's. */
#ifndef ERRAND_RUNNER_ATTEMPT_PARTS_H
#define ERRAND_RUNNER_ATTEMPT_PARTS_H

#include "runner/attempt.h"

enum { FINISH_AGAIN_MS = 500 };

/* PRE: the edge is in the table. */
void attempt_move(struct attempt *a, enum attempt_state to);
/* What every attempt has, before anything else of it. a: zeroed, but for its numbers. */
void attempt_init(struct attempt *a, struct worker_shard *s);
/* STARTING or adopted: it runs, and its deadlines begin. */
void attempt_run(struct attempt *a);
/* END_LEFT: it goes when what it said is stored, or at once. */
void attempt_let_go(struct attempt *a, bool at_once);
void attempt_free(void *p);
void attempt_timers_stop(struct attempt *a);
void attempt_on_adopted(void *ctx, struct str env, const char *private);
extern const struct outbox_fns attempt_outbox_fns;
extern const struct job_events attempt_job_events;
/* FINISHING: says the end to Redis, when all before it is stored; called again whenever something of that changes. */
void attempt_finish(struct attempt *a);
void attempt_log_send(struct attempt *a);
void attempt_on_log_flush(void *ctx);
/* FINISHING, or a lost one: it is forgotten. */
void attempt_go_over(struct attempt *a);
/* Its memory goes when no answer is still to come. */
void attempt_over_if_quiet(struct attempt *a);

#endif
