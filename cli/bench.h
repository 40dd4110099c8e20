/* errand bench: what its measurements share. One at a time, one thread; the set-up and clean-up requests wait for their answers, the load does not. */
#ifndef ERRAND_CLI_BENCH_H
#define ERRAND_CLI_BENCH_H

#include "cli/bench_histogram.h"
#include "cli/bench_load.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "common/arena.h"
#include "common/clock.h"
#include "common/json.h"

enum {
    BENCH_REPEAT_MAX = 100,
    BENCH_EXTRAS_MAX = 16,
    BENCH_WORKSPACES_MAX = 16,
    BENCH_CONNECTIONS_MAX = 100000,
};
#define BENCH_LABEL     "errand-bench"
#define BENCH_QUEUE     "errand-bench" /* nobody serves it: what is submitted there waits until it is removed */
#define BENCH_SILENT_MS 30000          /* a node that answers nothing for so long is given up */
#define BENCH_CALL_MS   40000          /* longer than any ?wait= that is asked for here */

/* What was asked for; -1 or NULL where nothing was said, and the measurement decides. */
struct bench_options {
    int64_t connections, requests, duration_ms, batch, readers, events, bytes, warmup, repeat, rate;
    const char *agent, *executor, *queue, *workspaces, *run, *tokens;
    bool keep, sample, yes;
};

struct bench {
    struct cli *cli;
    const struct command *command;
    struct bench_options asked;
    struct load *load;
    char key[512];
    char id[16];                   /* the value of the label */
    char agent[160];               /* the one that is used */
    char folder[200];              /* where its runs leave what they are to tell; "" for none */
    char began[CLOCK_ISO_LEN + 1]; /* ISO time: nothing of ours is older */
    bool made_agent, made_runs;
    struct str workspaces[BENCH_WORKSPACES_MAX]; /* of asked.workspaces; one empty one: the key's own */
    size_t workspace_count;
    double highest_share; /* of a core, that this program used in one of the measurements */
    struct table table;   /* what is told at the end, without --json */
};

struct bench_result {
    const char *name, *unit;
    double values[BENCH_REPEAT_MAX];
    size_t repetitions;
    struct histogram latency;
    int64_t requests, failed, operations;
    int64_t bytes;                     /* that were read, where that is measured */
    int64_t node_cpu_us, node_wall_us; /* of the node, as it says; 0, 0: it did not */
    int64_t wall_us, cpu_us;           /* of what was measured, and of this program meanwhile */
    struct bench_extra {
        const char *key;
        double value;
    } extras[BENCH_EXTRAS_MAX];
    size_t extra_count;
    char first_failure[400], last_failure[400]; /* "" for none */
    char what[80];                              /* for the table: what was measured */
    char note[100];                             /* and what else limits it, or may */
};

/* What a measurement is: returns an exit status; EXIT_OK also where requests failed, which the result says. */
struct bench_kind {
    const char *name, *summary;
    int (*run)(struct bench *b, struct bench_result *r);
};

int bench_submit(struct bench *b, struct bench_result *r);
int bench_noop(struct bench *b, struct bench_result *r);
int bench_ingress(struct bench *b, struct bench_result *r);
int bench_replay(struct bench *b, struct bench_result *r);
int bench_fanout(struct bench *b, struct bench_result *r);
int bench_latency(struct bench *b, struct bench_result *r);
/* Appends the JSON of a run with more members ("", or ",…"), and a whole request that submits one (batch 0) or a batch, to this queue. */
void bench_submission(const struct bench *b, struct strbuf *out, const char *queue, const char *more);
void bench_submit_request(const struct bench *b, struct strbuf *out, size_t workspace, const char *queue,
                          int64_t batch);

/* ---- bench_calls.c: single requests ---- */

/* Appends a whole request. workspace: of b->workspaces. body: empty for none; token: instead of the key, or NULL. */
void bench_request(const struct bench *b, struct strbuf *out, size_t workspace, const char *method, const char *path,
                   struct str body, const char *token);
/* Sends one and parses the answer into the arena (NULL: not wanted). Returns true for 2xx; false after a complaint, *ret_status is the exit status then. */
bool bench_call(struct bench *b, size_t workspace, const char *method, const char *path, struct str body,
                struct arena *arena, const struct json **ret_answer, int *ret_status);
/* The same without a word: its status, 0 when none came; what is wrong with it in words where it is not 2xx. */
int bench_try(struct bench *b, size_t workspace, const char *method, const char *path, struct str body,
              struct arena *arena, const struct json **ret_answer, char *ret_why, size_t cap);
/* Says what an answer that was not wanted says: its code and detail. */
void bench_problem(char *out, size_t cap, int status, struct str body);

/* ---- bench_deployment.c ---- */

/* The scopes of the key, against what is needed; names those that it lacks. */
MUST_CHECK bool bench_allowed(struct bench *b, int *ret_status);
/* Registers the agent of this definition in each workspace, unless --agent names one. */
MUST_CHECK bool bench_agent(struct bench *b, struct str definition, int *ret_status);
/* Submits a run of the agent of this measurement. env: more members of the submission, beginning with a comma, or "". */
MUST_CHECK bool bench_start_run(struct bench *b, const char *more, char ret_id[40], int *ret_status);
/* Waits until the run has this status ("running") or has ended; false after a complaint: it ended otherwise, or nobody takes it. */
MUST_CHECK bool bench_wait_run(struct bench *b, const char *id, const char *wanted, int64_t timeout_ms,
                               int *ret_status);
/* Whether a runner with this executor serves the queue where runs go, as far as the key may ask; complains where none does. */
MUST_CHECK bool bench_served(struct bench *b, const char *executor, int *ret_status);
/* The same, and one run of the agent to its end. */
MUST_CHECK bool bench_probe(struct bench *b, const char *executor, int *ret_status);
/* The executor that is to be measured: --executor, or noop where a runner is known to have it, else process. */
const char *bench_executor(struct bench *b);
/* The queue that runners serve. */
const char *bench_queue(const struct bench *b);
/* Stops and removes all runs with the label, the agent, and then the folder with what is in it. Says what is left where it can't. */
void bench_clean(struct bench *b);

/* ---- bench_loop.c: a number of connections, one request in flight on each ---- */

struct bench_loop {
    struct bench *b;
    struct bench_result *r;
    /* Before each repetition, and before the warm-up. Returns an exit status. NULL: nothing. */
    int (*before)(void *ctx);
    /* The next request of c, borrowed until its answer; false: it has none (any more). */
    bool (*next)(void *ctx, struct load_conn *c, struct str *ret_request);
    /* What an answer counts for: operations done, or -1 for a failure. NULL: one for 2xx. */
    int64_t (*worth)(void *ctx, struct load_conn *c, int status, struct str body);
    /* After each repetition and the warm-up, which it judges anew: its figure, its time (also written to *took_us) and the latencies are its own then. Returns an exit status. NULL: nothing. */
    int (*after)(void *ctx, int64_t *took_us);
    void *ctx;
    int64_t limit; /* requests of a repetition; 0: as many as duration_us takes */
    int64_t duration_us;

    bool counts, on;
    int64_t opening, sent, answered, operations, failed, failed_in_row, until_us;
};

/* Opens the connections and repeats what was asked for. Returns an exit status. */
int bench_loop_run(struct bench_loop *loop, size_t connections, int64_t warmup);

/* ---- bench_mark.c ---- */

struct bench_mark {
    int64_t begin_us, cpu_us, bytes;
    double node_cpu_s;
};
/* CPU time of this program so far. */
int64_t bench_cpu_us(void);
/* Before something is measured: takes the times last. */
void bench_begin(struct bench *b, struct bench_mark *ret_mark);
/* Behind it: adds to the result. took_us: 0 for the time since begin. */
void bench_end(struct bench *b, struct bench_result *r, const struct bench_mark *mark, int64_t took_us);

/* ---- bench_report.c ---- */

void bench_table_begin(struct bench *b);
void bench_table_print(struct bench *b);
/* What the table says was measured. */
void bench_what(struct bench_result *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

double bench_median(const struct bench_result *r);
/* One JSON line, or a row of the table. */
void bench_report(struct bench *b, const struct bench_result *r);
void bench_extra(struct bench_result *r, const char *key, double value);
/* Keeps the words of the first failure and the last. */
void bench_failed(struct bench_result *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The exit status for an end of load_run that is none of LOAD_STOPPED, after saying so. */
int bench_ended(struct bench *b, enum load_end end);

#endif
