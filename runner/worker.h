/* A runner node: slots, the shards it serves, and the attempts it executes. One thread, one loop. */
#ifndef ERRAND_RUNNER_WORKER_H
#define ERRAND_RUNNER_WORKER_H

#include "common/chores.h"
#include "common/config.h"
#include "common/id.h"
#include "common/keys.h"
#include "common/redis.h"
#include "runner/workdir.h"

struct attempt;
struct http_server;
struct vault;

enum { WORKER_QUEUES_MAX = 64, WORKER_TAGS_MAX = 64 };

/* One shard as this runner sees it. Each has an incarnation of its own: a new one when the old was declared dead. */
struct worker_shard {
    struct worker *worker;
    unsigned number;
    struct key prefix;
    struct redis *commands, *subscriptions, *blocking;
    struct redis_sub *ctl;
    bool
        ctl_heard; /* the subscription is confirmed; without it Redis takes this runner for dead soon, so it beats faster */
    struct id incarnation;
    bool registered;
    bool transactions;   /* the Redis user may have them */
    bool adopt_sent;     /* Redis may have given us a run that is not on our list yet */
    bool adopting;       /* what a predecessor left is not taken over yet: nothing is claimed before that */
    bool fresh;          /* a heartbeat was answered on this connection, and not too long ago: attempts may write */
    bool beating;        /* a heartbeat is in flight */
    bool beat_again;     /* and another is wanted behind it */
    int64_t beat_ms;     /* monotonic: when the last answered heartbeat was sent */
    int64_t sent_ms;     /* when the one in flight was sent */
    uint64_t generation; /* the connection on which a heartbeat was last answered */
    int64_t claim_no;    /* the newest claim's number */
    int64_t answered;    /* the highest that was answered or given up */
    bool claiming, more, listening;
    bool saving; /* what slots are free are kept for a large run of this shard */
    bool
        rung; /* a bell rang that no claim was sent for yet: it may be of a run that the claim in flight came too early for */
    struct loop_timer beat, ask;
    bool evicting; /* Redis may evict keys, and that is not allowed */
    struct chores chores;
    struct storage *storage; /* NULL where attempts get no Redis users */
};

struct worker {
    const struct config *config;
    struct loop *loop;
    struct vault *vault; /* NULL where no master key is configured */
    struct bundles *bundles;
    struct schema_cache *schemas;
    struct executor_context executor_context;
    struct executor_self *executors[EXECUTORS_MAX]; /* by executor_index; of those that are open */
    bool executor_open[EXECUTORS_MAX];
    struct workdirs workdirs; /* where an executor is local */
    struct worker_shard *shards;
    unsigned shard_count;
    struct str queues[WORKER_QUEUES_MAX];
    size_t queue_count;
    int64_t slots, used, reserved; /* reserved: by claims in flight */
    struct attempt *attempts;      /* all of them, also those that have ended and wait for Redis */
    int64_t attempt_count;
    bool draining;
    bool leaves, leaving; /* it leaves its runs to a successor; it does so just now */
    struct loop_timer drain_limit, give_up, sweep;
    void (*stopped)(struct worker *w);
    bool stop_called;
};

/* Opens the executors of the configuration and closes them again; no Redis is needed. Errors as of worker_start; the process is to end then, as the loop may not be empty. */
MUST_CHECK enum err worker_check(struct worker *w, const struct config *config, const char *exec_path,
                                 struct strbuf *ret_message);
/* ERR_CONFIG or ERR_NO_MEMORY, with a sentence. */
MUST_CHECK enum err worker_start(struct worker *w, const struct config *config, const char *exec_path,
                                 struct strbuf *ret_message);
/* Stops claiming; runs may end for drain_ms, the rest is handed back; then `stopped` is called. A second call hands back at once. What Redis has
 * not answered some seconds later is given up: its runs are taken back when the lease is over. */
void worker_drain(struct worker *w);
/* Leaves its runs to a successor, those that can be left, and drains the others. False: this runner's runs are not left (option adopt), or it drains already. */
bool worker_leave(struct worker *w);
/* After the loop has stopped. */
void worker_done(struct worker *w);
/* Registered and fresh on every shard, not draining; *ret_why (static) otherwise. */
bool worker_ready(const struct worker *w, const char **ret_why);

static inline struct str worker_prefix(const struct worker_shard *s)
{
    return key_str(&s->prefix);
}

/* For attempts: whether writing is allowed now. A runner that was stopped past its lease asks with a heartbeat first. */
bool worker_may_write(struct worker_shard *s);
/* Whether ERRAND_EXECUTORS names it. */
bool worker_may_execute(const struct worker *w, const struct executor *e);
/* For attempts: nothing of one is left; its slots are free. */
void worker_slots_freed(struct worker *w, int64_t slots);
/* For attempts: this one is over, and is taken off the list. */
void worker_attempt_over(struct attempt *a);
struct script_claim_runs;

#endif
