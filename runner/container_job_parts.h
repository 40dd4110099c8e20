/* What the two halves of a container's way share: container_job.c makes it, container_run.c follows it to its end. */
#ifndef ERRAND_RUNNER_CONTAINER_JOB_PARTS_H
#define ERRAND_RUNNER_CONTAINER_JOB_PARTS_H

#include "runner/container_job.h"

enum { CONTAINER_WHY_MAX = 700 };

struct job {
    struct job *next, **link; /* of its executor, until it is gone */
    struct executor_self *self;
    const struct job_events *events;
    void *ctx;
    enum container_phase phase;
    size_t asking; /* answers that are to come */
    char name[112], id[CONTAINER_ID_MAX], image_id[CONTAINER_ID_MAX];
    char image[IMAGE_MAX + 1], run_id[40];
    int64_t attempt;
    struct job_limits limits;
    bool no_network;
    struct strbuf body;  /* what POST create says behind the image; wiped once it is made */
    struct strbuf input; /* the job line, until it is attached */
    bool stdin_open, adopted, pulled, told, left;
    struct container_stream *stream;
    struct container_oom *oom;
    bool reading, waited, streamed, vanished, measuring;
    int64_t seen[2],
        skip[2];           /* bytes of stdout and stderr: that came in all; that are in the log but were had already */
    int64_t stop_grace_ms; /* below 0: not asked for */
    bool killing;          /* SIGKILL was sent */
    int tries;
    struct loop_timer again, kill, reopen;
    struct container_usage usage;
    int64_t usage_ms;
    struct job_exit how;
    char why[CONTAINER_WHY_MAX];
};

static inline bool container_is_stopping(const struct job *job)
{
    return job->stop_grace_ms >= 0;
}

/* Moves on; checks the table of edges. */
void container_go(struct job *job, enum container_phase to);
/* A request to the engine about the job; its answer begins with container_answered. */
void container_send(struct job *job, const char *method, http_answer_fn fn, struct str body, int64_t timeout_ms,
                    const char *fmt, ...) PRINTF_LIKE(6, 7);
/* An answer came: false when nobody waits for it any more. */
bool container_answered(struct job *job, enum container_phase phase);
/* Another try of what the phase asks for, later each time. */
void container_try_again(struct job *job);
void container_ask_image(struct job *job);
void container_ask_create(struct job *job);
void container_ask_inspect(struct job *job, http_answer_fn fn);
void container_on_inspected(void *ctx, enum err err, const struct http_answer *a);
/* It could not be started, for a reason that job->why says. */
void container_fail(struct job *job, bool may_be_there);
/* Removes it, then says that it is gone. */
void container_remove(struct job *job);
void container_ask_remove(struct job *job);
/* Says so, behind this call. */
void container_gone(struct job *job);
void container_unlink(struct job *job);
void container_free_if_quiet(struct job *job);

/* From ATTACH on: of a new one; and of one that runs, or ran, already. */
void container_attach(struct job *job);
void container_watch(struct job *job, const struct container_state *s);
void container_on_again(void *ctx);
void container_on_kill_due(void *ctx);
void container_on_reopen(void *ctx);

#endif
