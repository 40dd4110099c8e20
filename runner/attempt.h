/* One attempt of a run on this runner: from the claim's row to the answered `finish`. */
#ifndef ERRAND_RUNNER_ATTEMPT_H
#define ERRAND_RUNNER_ATTEMPT_H

#include "common/json.h"
#include "common/schema.h"
#include "runner/adapter.h"
#include "runner/bundles.h"
#include "runner/input.h"
#include "runner/log_tail.h"
#include "runner/outbox.h"
#include "runner/redaction.h"
#include "runner/secrets.h"
#include "runner/workdir.h"

/*   STARTING ──▶ RUNNING ──▶ ENDING ──▶ FINISHING ──▶ OVER
 *      │            │           └─────────────────────▲
 *      └──▶ ENDING  └──▶ (stop and timeout only tell the executor)
 *
 *   STARTING   what it needs is prepared, one thing after the other (struct preparation); then the executor was asked to start it (remote: after `started` was answered)
 *   RUNNING    it runs
 *   ENDING     nothing of it is left, and its slot is free; its last events are on their way
 *   FINISHING  `finish` or `hand_back` is to be answered, however often it takes
 *   OVER       it is forgotten when the last answer has come
 * One that is lost (fenced, or its incarnation dead) goes from ENDING to OVER without a word to Redis.
 */
#define ATTEMPT_STATES(X)  X(STARTING) X(RUNNING) X(ENDING) X(FINISHING) X(OVER)
#define ATTEMPT_ENUM(name) ATTEMPT_##name,
enum attempt_state { ATTEMPT_STATES(ATTEMPT_ENUM) ATTEMPT_STATE_COUNT };
#undef ATTEMPT_ENUM
bool attempt_edge(enum attempt_state from, enum attempt_state to);

/* Why its tree is being ended by us; the first one counts, but LOST beats all. */
enum attempt_end {
    END_NONE,
    END_STOP,
    END_TIMEOUT,
    END_STALL,
    END_EVENT_LIMIT,
    END_STORAGE_FULL,
    END_CLAIMED,
    END_DRAIN,
    END_START_FAILED,
    END_LEFT, /* to a successor */
    END_LOST
};

enum { RUNNER_TOKEN_MAX = 80 };

struct attempt {
    struct attempt *prev, *next;
    struct worker_shard *shard;
    enum attempt_state state;
    enum attempt_end end;
    struct id run_id;
    int64_t epoch, number, timeout_ms, grace_ms, stall_ms, slots;
    bool remote;
    char *agent;
    struct arena arena; /* what the definition and the spec borrow from, until it has started */
    struct job_spec spec;
    struct secrets secrets;
    const struct executor *executor;
    struct job *job;
    struct job_exit how;
    char how_message[LIMIT_ERROR_MESSAGE + 1];
    char start_why[320];
    char workdir[WORKDIR_MAX];
    bool runtime_deps;            /* its definition allows that what its bundle requires is installed */
    struct bundle_entry *bundle;  /* the unpacked bundle that it uses, until nothing of it is left */
    struct strbuf deps_lines;     /* what installing said, redacted, until events may be written */
    char token[RUNNER_TOKEN_MAX]; /* a secret of its own: wiped at the end */
    char token_sha[65];
    struct loop_timer pause;    /* in its output */
    struct redaction redaction; /* all that the agent shows passes here */
    struct outbox outbox;
    struct adapter adapter;
    struct lines err_lines, out_lines; /* stderr; and stdout of a remote one, which is only log */
    struct log_tail log;
    bool log_dirty, log_sending, stall_asked;
    struct input input;
    bool storage_made;         /* it has, or may have, a Redis user */
    char storage_password[44]; /* of that; wiped at the end */
    char storage_ws[LIMIT_NAME + 1];
    bool adoptable, adopted;
    int64_t fed_out, fed_err; /* bytes of its output so far */
    char *adopted_env;        /* what it was started with, where it was adopted; wiped at the end */
    size_t adopted_env_len;
    struct redact_secret *adopted_secrets; /* of those, in the arena */
    size_t adopted_secret_count;
    size_t prepared; /* how many of the preparations are made */
    bool asked;      /* the answer of the next one is to come */
    bool waits;      /* for the end of what was begun for the same attempt, before Redis lost that */
    struct loop_timer timeout, stall, stats, claimed, log_flush, again;
    int64_t event_ms; /* monotonic: when its last event came (stallMs) */
    char newest[48];  /* remote: the stream's newest entry, as the stall timer last saw it */
    bool finish_sent;
    bool checks_output, strict_output, output_checked;
    struct schema *output_schema; /* NULL with checks_output: it could not be compiled */
    struct strbuf warnings;       /* of its result: raw JSON, or empty */
    char *output_fault;           /* malloc'd: why its result is output_invalid */
    int64_t claimed_us;
};

/* Something that an attempt may want before it starts. ask: fn is called once, never from inside. ERR_OK: it has it. ERR_REDIS_UNAVAILABLE: ask again. ERR_FENCED: the attempt is not ours any more.
 * Anything else: a->start_why says why it can't be had. It may be called when the attempt has ended (ATTEMPT_ENDING and later): nothing may be kept for it then. */
typedef void (*prepared_fn)(struct attempt *a, enum err err);
struct preparation {
    bool (*wanted)(const struct attempt *a);
    void (*ask)(struct attempt *a, prepared_fn fn);
};

/* Takes a claim's row; starts it. NULL only when memory is out (the heartbeat gives the run back then). */
struct script_claim_runs;
struct attempt *attempt_new(struct worker_shard *s, const struct script_claim_runs *row);
#define LOG_RUN(a) LOG_Z("runId", (a)->run_id.s), LOG_I("attempt", (a)->number)
struct executor_self *attempt_executor_self(const struct attempt *a);
/* Adds a line to its log tail. */
void attempt_log(struct attempt *a, const char *stream, struct str text);
/* What it was given and may not show: its runner token, its secrets. Before the job starts, each time that there is more of it; where it fails nothing may be started. */
MUST_CHECK enum err attempt_redact(struct attempt *a);
struct script_adoptable_runs;
struct script_adopt_reply;
/* What an earlier process left running, and Redis has given to this runner. False: it can't be taken over; the heartbeat gives it back. */
bool attempt_adopt(struct worker_shard *s, const struct script_adoptable_runs *row, const struct script_adopt_reply *r);
/* Whether a successor could adopt it. Otherwise it drains as all do. */
bool attempt_can_leave(const struct attempt *a);
/* This process ends: it is read no more, and what was read is stored; then it is let go. */
void attempt_leave(struct attempt *a);
/* Of one that was left, when the loop has stopped: its memory. */
void attempt_forget(struct attempt *a);
/* A stop was asked for. */
void attempt_stop(struct attempt *a);
/* A remote runtime's end was claimed: it gets its grace time to leave. */
void attempt_claimed(struct attempt *a);
/* It is not ours any more: kill it, say nothing. */
void attempt_lose(struct attempt *a);
/* The runner drains, and its time is over: end it and hand the run back; one that was left is let go at once. */
void attempt_hand_back(struct attempt *a);
/* The shard is fresh; reconnected: on a new connection. */
void attempt_on_fresh(struct attempt *a, bool reconnected);

#endif
