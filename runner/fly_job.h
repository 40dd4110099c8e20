/* One attempt as a Fly Machine: from its creation until the API says that it is destroyed. The executor's own half is executor_fly.c. */
#ifndef ERRAND_RUNNER_FLY_JOB_H
#define ERRAND_RUNNER_FLY_JOB_H

#include "runner/fly_api.h"

/*   CREATE ──▶ LEASE ──▶ STARTING ──▶ RUNNING ──▶ DESTROY ──▶ GONE
 *    │  ▲        ▲ └──────────┴───────────────────▲  ▲
 *    ▼  │        │                                │  │
 *   FIND ────────┴────────────────────────────────┘  │     an adopted one begins with FIND
 *
 *   CREATE    made, under a name that the API takes once
 *   FIND      who knows what became of a create without an answer: it is looked for, also among destroyed ones, before another is made
 *   LEASE     nobody else changes it meanwhile
 *   STARTING  until it runs   RUNNING  until it does not
 *   DESTROY   until the API says that it is gone, however often that is asked
 */
#define FLY_PHASES(X)  X(CREATE) X(FIND) X(LEASE) X(STARTING) X(RUNNING) X(DESTROY) X(GONE)
#define FLY_ENUM(name) FLY_PHASE_##name,
enum fly_phase { FLY_PHASES(FLY_ENUM) FLY_PHASE_COUNT };
#undef FLY_ENUM
bool fly_edge(enum fly_phase from, enum fly_phase to);

struct executor_self {
    const struct executor_context *x;
    char url[256], runner[RUNNER_PROCESS_MAX];
    struct fly_api api;
    struct job *jobs;
    struct fly_sweep *sweep; /* NULL: none under way */
};

struct fly_owner fly_owner_of(const struct executor_self *self, struct str run_id, int64_t attempt);

/* As the executor's of these names. */
struct job *fly_job_start(struct executor_self *self, const struct job_spec *spec, const struct job_events *events,
                          void *ctx, const char **ret_why);
struct job *fly_job_adopt(struct executor_self *self, struct str handle, const struct job_spec *spec,
                          const struct job_events *events, void *ctx, const char **ret_why);
void fly_job_stop(struct job *job, int64_t grace_ms);
void fly_job_leave(struct job *job);
/* Whether a machine is of a job of this runner. */
bool fly_job_owned(const struct executor_self *self, const char *machine_id);

#endif
