/* One attempt as a container of the engine: from its image to its removal. The executor's own half of the file is executor_container.c. */
#ifndef ERRAND_RUNNER_CONTAINER_JOB_H
#define ERRAND_RUNNER_CONTAINER_JOB_H

#include "common/http_client.h"
#include "runner/container_oom.h"
#include "runner/container_stream.h"
#include "runner/runner_process.h"

/*   IMAGE ──▶ CREATE ──▶ INSPECT ──▶ ATTACH ──▶ START ──▶ LOOK ──▶ RUNNING ──▶ LAST ──▶ REMOVE ──▶ GONE
 *    ▲ │                    │                              ▲
 *    │ ▼                    └── (it runs, or ran, already) ┘
 *   PULL
 *   From each phase where it may be there: ──▶ REMOVE; from IMAGE and PULL: ──▶ GONE.
 *
 *   IMAGE    the image's id is asked for      PULL   it is fetched
 *   CREATE   made, under a name that the engine takes once
 *   INSPECT  whether it is ours, and has the limits that were asked for
 *   ATTACH   its stdin, stdout and stderr, before there is any
 *   LOOK     its process' id, where the memory limit is watched here
 *   RUNNING  until the engine says that it ended, and its output does
 *   LAST     how it ended
 *   REMOVE   until the engine knows it no more, however often that is asked
 */
#define CONTAINER_PHASES(X)                                                                                            \
    X(IMAGE) X(PULL) X(CREATE) X(INSPECT) X(ATTACH) X(START) X(LOOK) X(RUNNING) X(LAST) X(REMOVE) X(GONE)
#define CONTAINER_ENUM(name) CONTAINER_##name,
enum container_phase { CONTAINER_PHASES(CONTAINER_ENUM) CONTAINER_PHASE_COUNT };
#undef CONTAINER_ENUM
bool container_edge(enum container_phase from, enum container_phase to);

struct executor_self {
    const struct executor_context *x;
    struct http_client *client;
    char socket[108], version[16], runner[RUNNER_PROCESS_MAX];
    struct container_info info;
    struct job *jobs;
    struct container_sweep *sweep; /* NULL: none waits for its time */
    bool isolates; /* a container with all of it could be made and started, or nothing was there to try it with */
};

/* A request to the engine. fn is called once, never from inside. */
struct container_ask {
    const char *method;
    char path[700]; /* behind the version */
    struct str body;
    int64_t timeout_ms;  /* 0: 30 s */
    size_t max_response; /* 0: CONTAINER_ANSWER_MAX */
};
void container_ask(struct executor_self *self, const struct container_ask *ask, http_answer_fn fn, void *ctx);

/* The runner's node and prefix as an owner's. */
struct container_owner container_owner_of(const struct executor_self *self, struct str run_id, int64_t attempt);

/* As the executor's of these names. */
struct job *container_job_start(struct executor_self *self, const struct job_spec *spec,
                                const struct job_events *events, void *ctx, const char **ret_why);
struct job *container_job_adopt(struct executor_self *self, struct str handle, const struct job_spec *spec,
                                const struct job_events *events, void *ctx, const char **ret_why);
void container_job_stop(struct job *job, int64_t grace_ms);
void container_job_read_output(struct job *job, bool on);
bool container_job_input(struct job *job, struct str line, bool last);
void container_job_measure(struct job *job);
void container_job_leave(struct job *job);
/* Whether a container is of a job of this runner. */
bool container_job_owned(const struct executor_self *self, struct str id);

#endif
