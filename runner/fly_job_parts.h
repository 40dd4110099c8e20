/* What the two halves of a machine's way share: fly_job.c makes and follows it, fly_end.c asks for it and ends it. */
#ifndef ERRAND_RUNNER_FLY_JOB_PARTS_H
#define ERRAND_RUNNER_FLY_JOB_PARTS_H

#include "runner/fly_job.h"

enum { FLY_WHY_MAX = 700 };

struct job {
    struct job *next, **link; /* of its executor, until it is gone */
    struct executor_self *self;
    const struct job_events *events;
    void *ctx;
    enum fly_phase phase;
    size_t asking;
    struct fly_limits limits;
    char name[80], run_id[40], nonce[FLY_NONCE_MAX];
    int64_t attempt;
    struct strbuf body;         /* of its create; wiped at the end */
    struct fly_machine machine; /* as last seen; its id once it is known */
    bool adopted, env_told, told, left;
    bool unanswered; /* a create came to nothing that was certain */
    int64_t stop_grace_ms, begun_ms;
    int tries;
    struct loop_timer again, kill, lease;
    struct job_exit how;
    bool ended; /* how is known */
    char why[FLY_WHY_MAX];
};

static inline bool fly_is_stopping(const struct job *job)
{
    return job->stop_grace_ms >= 0;
}

/* Moves on; checks the table of edges. */
void fly_go(struct job *job, enum fly_phase to);
/* A request about the job; r.path is made of fmt. Its answer begins with fly_answered. */
void fly_send(struct job *job, struct fly_request r, http_answer_fn fn, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* An answer came: false when nobody waits for it any more. */
bool fly_answered(struct job *job, enum fly_phase phase);
/* Another try of what the phase asks for, later each time. */
void fly_try_again(struct job *job);
/* An answer that is the machine, as it is. *ret_missing: nothing can be known of it any more. */
bool fly_take_machine(struct job *job, enum err err, const struct http_answer *a, bool *ret_missing);
/* How it ended, as the machine says, once. */
void fly_note_exit(struct job *job);
/* It could not be started, for a reason that job->why says. */
void fly_fail(struct job *job);
/* Destroys it, then says that it is gone. */
void fly_destroy(struct job *job);
void fly_ask_delete(struct job *job);
/* It destroyed itself. */
void fly_over_by_itself(struct job *job);
void fly_on_released(void *ctx, enum err err, const struct http_answer *a);
/* Says so, behind this call. */
void fly_gone(struct job *job);
void fly_unlink(struct job *job);
void fly_free_if_quiet(struct job *job);

#endif
