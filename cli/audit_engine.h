/* What the parts of the audit share: pipelines, expectations about keys, walks over the members of a structure.
 *
 * An expectation is a command and what its reply must be. Those of many keys go out in one pipeline; where one fails,
 * the key is looked at again by itself, in a transaction, so that what moved meanwhile is not mistaken for a fault. */
#ifndef ERRAND_CLI_AUDIT_ENGINE_H
#define ERRAND_CLI_AUDIT_ENGINE_H

#include "cli/audit.h"
#include "cli/audit_tally.h"
#include "common/arena.h"

#define AUDIT_BATCH 128 /* keys, or members, of one pipeline: an event entry of each may be among the replies */

/* The fields of a run that are read, in the order of FIELD_NAMES; members of large structures need the first of them only. */
enum run_field {
    F_STATUS,
    F_WS,
    F_AGENT,
    F_CREATED_US,
    F_PARENT,
    F_COMPLETED,
    F_DEAD_LETTER,
    F_KEPT,
    F_DROPPED_TO,
    F_SHORT, /* that many are read for a member of an index */
    F_QUEUE = F_SHORT,
    F_PRIORITY,
    F_REQ,
    F_LANE,
    F_LANE_ID,
    F_GATES,
    F_GATED,
    F_WAIT_GATE,
    F_DUE,
    F_DEPS,
    F_DEPS_LEFT,
    F_DEPENDENTS,
    F_INC,
    F_EPOCH,
    F_ATTEMPT,
    F_STARTED,
    F_START_BY,
    F_STOP_AT,
    F_DEF,
    F_SIZE,
    F_TAIL,
    F_EXTRA,
    F_MORE,
    F_CLAIM_STATUS,
    F_HOOK_URL,
    F_ASKED,
    F_INPUT_LAST,
    F_COUNT
};

enum run_class { CLASS_NONE, CLASS_QUEUED, CLASS_SCHEDULED, CLASS_ACTIVE, CLASS_ENDED };

struct run {
    const char *id;
    const char *f[F_COUNT]; /* "" for one that is not there, or was not read */
    enum run_class class;
};

struct expect;
struct audit {
    redisContext *c;
    struct str prefix;
    struct audit_options options;
    audit_found_fn found;
    void *found_ctx;
    struct audit_counts counts;
    enum err err;         /* the first failure; nothing is sent after it */
    struct arena work;    /* until audit_release */
    struct arena names;   /* of the batch of keys that is being looked at, with their parts */
    redisReply **replies; /* the same */
    size_t replies_len, replies_cap, pending;
    struct expect *expects; /* of the keys that are being looked at */
    size_t expects_len, expects_cap;
    int64_t sum;           /* of want_add … want_sum_is */
    struct tally runs;     /* seen */
    struct tally counters; /* what the counters should say; see audit_counters.c */
    char **doubts;         /* runs to be looked at again */
    size_t doubts_len;
    bool watching;
};

/* ---- commands ---- */

/* Words of a command, NUL-terminated each. Appended to the pipeline; each is answered by one audit_reply, in order. */
#define SEND(a, ...)                                                                                                   \
    audit_send(a, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)),                            \
               (const char *const[]){__VA_ARGS__})
/* One command and its reply. */
#define ASK(a, ...) (SEND(a, __VA_ARGS__), audit_reply(a))

void audit_send(struct audit *a, int argc, const char *const *argv);
/* Never NULL: nil when the connection is gone (a->err says so). Lives until audit_release. */
const redisReply *audit_reply(struct audit *a);
/* Frees all replies and texts. */
void audit_release(struct audit *a);
/* Text in the work arena; "" when memory is out (a->err says so). */
const char *audit_text(struct audit *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same behind the shard's prefix: the whole name of a key. */
const char *audit_key(struct audit *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The parts of a path between its colons, the rest in the last; "" where there are fewer. They live as long as the batch of keys. */
void audit_split(struct audit *a, const char *path, size_t n, const char **ret_parts);
void audit_fail(struct audit *a, enum err err);
/* The string of a reply or of its element i; "" when it is none. */
const char *reply_text(const redisReply *r);
const char *reply_item(const redisReply *r, size_t i);
int64_t number_of(const char *text);
bool word_in(const char *word, const char *const *words);

/* ---- findings ---- */

void audit_found(struct audit *a, const char *path, const char *what);

/* ---- runs ---- */

/* What a status is; CLASS_NONE for no status. */
enum run_class audit_class_of(const char *status);
/* Appends the command that reads the first `fields` fields; audit_run_read takes its reply apart. */
void audit_run_send(struct audit *a, const char *id, size_t fields);
/* Its words, for a transaction; returns how many. */
int audit_run_words(struct audit *a, const char *id, size_t fields, const char **ret_argv);
void audit_run_read(struct audit *a, const redisReply *r, const char *id, struct run *ret_run);
/* What is kept of a run that was read: its class, and a digest of its workspace, agent and creation. An index that agrees with it needs no second look at
 * the run; that is most of what there is. agent: NULL for any. */
uint64_t audit_run_mark(enum run_class class, const char *ws, const char *agent, const char *created_us);
bool audit_run_marked(const struct audit *a, const char *id, enum run_class class, const char *ws, const char *agent,
                      const char *created_us);
/* Word i (from 0) of the run's gates: its name, limit (of a rate gate: how many may hold it), and whether it is a rate gate. */
struct gate {
    const char *name;
    int64_t limit;
    bool rate;
};
bool audit_gate_at(struct audit *a, const char *gates, size_t i, struct gate *ret_gate);
/* "k:x=3" or "ra:x=10/1000/5". */
struct gate audit_gate_parse(struct audit *a, const char *word);

/* ---- expectations ---- */

typedef bool (*want_fn)(struct audit *a, const struct expect *e, const redisReply *r);
struct expect {
    const char *path, *what; /* the finding when it fails */
    want_fn want;
    const char *value;
    const struct run *run;
    int argc; /* 0: no command; it is judged with a nil reply */
    const char **argv;
};

/* Adds one: `EXPECT(a, path, what, want, value, command words…)`. */
#define EXPECT(a, path, what, want, value, ...)                                                                        \
    audit_expect(a, &(struct expect){path, what, want, value, NULL, 0, NULL},                                          \
                 (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)),                             \
                 (const char *const[]){__VA_ARGS__})
void audit_expect(struct audit *a, const struct expect *e, int argc, const char *const *argv);
/* One that needs no command: a finding when it does not hold. */
void audit_expect_that(struct audit *a, const char *path, bool holds, const char *what);

bool want_score(struct audit *a, const struct expect *e, const redisReply *r);      /* the number `value` */
bool want_member(struct audit *a, const struct expect *e, const redisReply *r);     /* not nil */
bool want_no_member(struct audit *a, const struct expect *e, const redisReply *r);  /* nil */
bool want_text(struct audit *a, const struct expect *e, const redisReply *r);       /* `value` */
bool want_one(struct audit *a, const struct expect *e, const redisReply *r);        /* 1 */
bool want_above_zero(struct audit *a, const struct expect *e, const redisReply *r); /* a number above 0 */
bool want_at_most(struct audit *a, const struct expect *e, const redisReply *r);    /* a number up to `value` */
bool want_at_least(struct audit *a, const struct expect *e, const redisReply *r);
bool want_entry(struct audit *a, const struct expect *e, const redisReply *r); /* one entry, whose field r is `value` */
/* Several replies for one expectation: these hold always, and a want_sum_… (without a command) judges. */
bool want_add(struct audit *a, const struct expect *e, const redisReply *r);        /* the integer */
bool want_add_member(struct audit *a, const struct expect *e, const redisReply *r); /* 1 where not nil */
bool want_take_score(struct audit *a, const struct expect *e, const redisReply *r); /* -1 where it is `value` */
bool want_add_if_least(struct audit *a, const struct expect *e,
                       const redisReply *r);                                      /* 1 where it is at least `value` */
bool want_sum_is(struct audit *a, const struct expect *e, const redisReply *r);   /* `value` */
bool want_sum_some(struct audit *a, const struct expect *e, const redisReply *r); /* above 0 */
bool want_sum_none(struct audit *a, const struct expect *e, const redisReply *r); /* not above 0 */

/* Looks at the expectations that were added, in one pipeline. failed[i] of the i-th: expectations ends[i-1] … ends[i]-1 belong together. Empties them. */
void audit_judge(struct audit *a, const size_t *ends, size_t n, bool *ret_failed);
/* The same in one transaction, telling what fails. guard: a command whose reply must be `unchanged` (else nothing is told, and false returned). */
bool audit_judge_atomically(struct audit *a, const char *const *guard, int guard_len, const redisReply *unchanged);

/* ---- walks ---- */

struct member {
    const char *name, *value; /* member and score, field and value, or a lane entry's run and its id */
    const char *id;           /* of the run that it names */
};

struct walk {
    const char *path, *type; /* zset, set, hash or stream */
    size_t fields;           /* of each run that are read */
    bool gone_is_fine;       /* a member may name a run that is not there */
    /* NULL when all is well, else what is wrong with the run: "does not wait there". run->class is CLASS_NONE for one that is gone. */
    const char *(*judge)(struct audit *a, const struct walk *w, const struct member *m, const struct run *run);
    /* Whether what is kept of the run that the member names says already that all is well; NULL: every run is read. */
    bool (*known)(const struct audit *a, const struct walk *w, const struct member *m);
    const char *const *parts; /* of the path; for judge */
    int64_t *most;            /* for judge */
};
/* Every member of a structure names a run that says so. */
void audit_walk(struct audit *a, const struct walk *w);

#endif
