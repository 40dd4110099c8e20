/* What the tests of scripts share: runs, runners and attempts by one call each, and a dump of everything in Redis for "nothing was written". */
#ifndef ERRAND_TESTS_LUA_RIG_H
#define ERRAND_TESTS_LUA_RIG_H

#include "harness.h"
#include "lua/scripts.h"

#define RID     "rid-1"
#define LEASE   10000
#define RETAIN  60000
#define LOSSES  3
#define ANY_SEQ 0

struct rig_run {
    const char *queue, *priority, *parent, *ws, *agent, *idem_key, *idem_digest, *source, *redrive;
    int64_t delay_ms, max_attempts, queue_max, start_within_ms;
    bool at_most_once;
    const char *requires;                     /* one tag */
    const char *key_gate, *rate_gate;         /* `k:x=1`, `rk:x=10/1000/1` */
    const char *on_limit, *on_dep_fail;       /* queue, fail */
    const char *depends[4];                   /* run ids */
    const char *concurrency, *rate, *slots;   /* of the definition, as text */
    const char *retry_on, *no_retry_on;       /* of the definition */
    const char *backoff_type, *backoff_base;  /* fixed, 10; the cap is 100 times that */
    const char *retain_count, *retain_events; /* of the definition */
};
/* Submits an inline definition (or a named agent) with what o says; NULL for the defaults. The id; on an error NULL and *ret_err. */
const char *rig_try_submit(struct harness *h, const struct rig_run *o, enum err *ret_err);
/* The same in two steps: what is begun before the first wait goes to Redis together. */
struct harness_call *rig_begin_submit(struct harness *h, const struct rig_run *o);
/* Waits for its answer, if it is not there yet; the reply, or NULL. */
const void *rig_answer(struct harness_call *call);
const char *rig_submitted(struct harness *h, struct harness_call *call, enum err *ret_err);
const char *rig_submit(struct harness *h, const struct rig_run *o);
/* Registers an incarnation of that name (its id is the name). */
void rig_register(struct harness *h, const char *inc);
/* One claim of at most max runs of the queue `default`; the reply. */
const struct script_claim_reply *rig_claim(struct harness *h, const char *inc, int64_t number, int64_t max);
enum err rig_try_claim(struct harness *h, const char *inc, int64_t number, int64_t max,
                       const struct script_claim_reply **ret_reply);
enum err rig_started(struct harness *h, const char *inc, const struct script_claim_runs *row);
/* A plain event entry as a runner writes it; false when Redis refused the id. */
bool rig_append(struct harness *h, const struct script_claim_runs *row, int64_t seq);
/* outcome: success, error, stopped. */
enum err rig_finish(struct harness *h, const char *inc, const struct script_claim_runs *row, const char *outcome,
                    int64_t retry_ms, const struct script_finish_reply **ret_reply);
/* Claims one run, starts it. */
/* The first steps of these two: wait with rig_answer. */
struct harness_call *rig_begin_started(struct harness *h, const char *inc, const struct script_claim_runs *row);
struct harness_call *rig_begin_finish(struct harness *h, const char *inc, const struct script_claim_runs *row,
                                      const char *outcome, int64_t retry_ms);
const struct script_claim_runs *rig_execute(struct harness *h, const char *inc, int64_t number);
enum err rig_heartbeat(struct harness *h, const char *inc, int64_t answered,
                       const struct script_claim_runs *const *held, size_t n,
                       const struct script_heartbeat_reply **ret_reply);
enum err rig_stop(struct harness *h, const char *run);
/* Ends the lease of a runner at once, and lets reap be trusted (its tick is fresh). */
void rig_expire(struct harness *h, const char *inc);
const struct script_reap_reply *rig_reap(struct harness *h, int64_t max);

const char *rig_field(struct harness *h, const char *run, const char *field);
void rig_assert_status(struct harness *h, const char *run, const char *status);
/* The kinds of a run's events, one space behind each. */
const char *rig_kinds(struct harness *h, const char *run);
/* Every key with its contents, as one text. */
const char *rig_dump(struct harness *h);

#endif
