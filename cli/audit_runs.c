/* From a run to the structures that it must be in. */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/audit_parts.h"

#define DOUBT_TRIES 3
#define DOUBTS_MAX  65536

static bool is_set(const struct run *run, enum run_field field)
{
    return *run->f[field] != '\0';
}

/* In a lane, at the place that it remembers, and the lane is served. */
static void expect_lane(struct audit *a, const struct run *run, const char *path)
{
    const char *queue = run->f[F_QUEUE], *req = run->f[F_REQ], *ws = run->f[F_WS], *prio = run->f[F_LANE],
               *entry = run->f[F_LANE_ID];
    bool again = strcmp(prio, "again") == 0;
    audit_expect_that(a, path, again || strcmp(prio, run->f[F_PRIORITY]) == 0, "waits in a lane that is not its own");
    const char *lane = audit_key(a, "lane:%s:%s:%s:%s", queue, req, ws, prio);
    EXPECT(a, path, "is not in its lane", want_entry, run->id, "XRANGE", lane, entry, entry);
    const char *lanes = audit_key(a, "lanes:%s:%s", queue, req);
    if (again) {
        EXPECT(a, path, "waits in an again lane that is not served", want_score, "-1", "ZSCORE", lanes,
               audit_text(a, "!%s", ws));
        return;
    }
    EXPECT(a, path, "waits in a lane that is not served", want_member, NULL, "ZSCORE",
           audit_key(a, "prios:%s:%s:%s", queue, req, ws), prio);
    EXPECT(a, path, "waits in a workspace that is not served", want_member, NULL, "ZSCORE", lanes, ws);
}

/* The score of a parked run: when it came, a minute earlier or later by its priority. */
static const char *line_score(struct audit *a, const struct run *run)
{
    int64_t ahead = strcmp(run->f[F_PRIORITY], "high") == 0  ? -60000000
                    : strcmp(run->f[F_PRIORITY], "low") == 0 ? 60000000
                                                             : 0;
    int64_t at = number_of(run->f[F_CREATED_US]) + ahead;
    return audit_text(a, "%" PRId64, at);
}

/* The gates that it passed hold it, the others do not; a rate gate only until it is claimed. (Of one that waits for another attempt it can't be told: after a delay it passed them anew, at once it did not.) */
static void expect_gates(struct audit *a, const struct run *run, const char *path)
{
    int64_t gated = number_of(run->f[F_GATED]), i = 0;
    bool parked = is_set(run, F_WAIT_GATE), first_time = strcmp(run->f[F_LANE], "again") != 0;
    struct gate g;
    const char *parked_at = "";
    for (; audit_gate_at(a, run->f[F_GATES], (size_t)i, &g); i++) {
        bool holds = i < gated && (!g.rate || (run->class == CLASS_QUEUED && first_time)) && run->class != CLASS_ENDED;
        const char *key = audit_key(a, "gate:%s:%s", run->f[F_WS], g.name);
        if (g.rate && holds && number_of(run->f[F_ATTEMPT]) > 0)
            continue;
        if (holds)
            EXPECT(a, path, "is not held by a gate that it passed", want_member, NULL, "ZSCORE", key, run->id);
        else
            EXPECT(a, path, "is held by a gate that it does not hold", want_no_member, NULL, "ZSCORE", key, run->id);
        if (i == gated)
            parked_at = g.name;
    }
    audit_expect_that(a, path, gated <= i, "holds more gates than it has");
    audit_expect_that(a, path, !(is_set(run, F_LANE) || run->class == CLASS_ACTIVE) || gated == i,
                      "went on without all of its gates");
    audit_expect_that(a, path,
                      run->class == CLASS_QUEUED || run->class == CLASS_ACTIVE || !is_set(run, F_GATED) || gated == 0,
                      "holds gates and neither waits for a runner nor executes");
    if (!parked)
        return;
    audit_expect_that(a, path, strcmp(parked_at, run->f[F_WAIT_GATE]) == 0, "waits at a gate that is not its next one");
    EXPECT(a, path, "is not in its gate's line", want_score, line_score(a, run), "ZSCORE",
           audit_key(a, "wait:%s:%s", run->f[F_WS], run->f[F_WAIT_GATE]), run->id);
}

/* As many of its dependencies still have it as it still counts. */
static void expect_dependencies(struct audit *a, const struct run *run, const char *path)
{
    for (const char *at = run->f[F_DEPS]; *at; at += strcspn(at, " "), at += *at == ' ')
        EXPECT(a, path, "", want_add, NULL, "SISMEMBER", audit_key(a, "run:%.*s:dependents", (int)strcspn(at, " "), at),
               run->id);
    audit_expect_that(a, path, number_of(run->f[F_DEPS_LEFT]) > 0, "waits for no dependency, and says so");
    audit_expect(a,
                 &(struct expect){.path = path,
                                  .what = "counts other dependencies than those that will tell it",
                                  .want = want_sum_is,
                                  .value = run->f[F_DEPS_LEFT]},
                 0, NULL);
}

static void expect_waiting(struct audit *a, const struct run *run, const char *path)
{
    bool in_lane = is_set(run, F_LANE), parked = is_set(run, F_WAIT_GATE), queued = run->class == CLASS_QUEUED;
    bool delayed = is_set(run, F_DUE), depends = is_set(run, F_DEPS_LEFT);
    audit_expect_that(a, path, queued ? in_lane != parked : !in_lane && !is_set(run, F_LANE_ID) && !parked,
                      "has a place in a lane or a gate's line and does not wait there");
    bool more = number_of(run->f[F_ATTEMPT]) > 0 || number_of(run->f[F_EPOCH]) > 0 || is_set(run, F_GATES) ||
                is_set(run, F_DEPS) || is_set(run, F_HOOK_URL);
    audit_expect_that(a, path, !queued || !more || is_set(run, F_MORE), "does not say that there is more to its claim");
    audit_expect_that(a, path, run->class == CLASS_SCHEDULED ? delayed != depends : !delayed && !depends,
                      "has a due time or dependencies and is not scheduled, or the other way round");
    if (in_lane)
        expect_lane(a, run, path);
    if (delayed)
        EXPECT(a, path, "is not in delayed with its due time", want_score, run->f[F_DUE], "ZSCORE",
               audit_key(a, "delayed"), run->id);
    if (depends)
        expect_dependencies(a, run, path);
    if (!is_set(run, F_START_BY))
        return;
    const char *expiry = audit_key(a, "expiry");
    if ((queued || run->class == CLASS_SCHEDULED) && !is_set(run, F_STARTED))
        EXPECT(a, path, "has a time to start by and is not in expiry", want_member, NULL, "ZSCORE", expiry, run->id);
    else if (run->class == CLASS_ENDED)
        EXPECT(a, path, "has ended and is still in expiry", want_no_member, NULL, "ZSCORE", expiry, run->id);
}

static void expect_status(struct audit *a, const struct run *run, const char *path)
{
    bool ended = run->class == CLASS_ENDED;
    audit_expect_that(a, path, is_set(run, F_COMPLETED) == ended,
                      "has an end time and has not ended, or the other way round");
    audit_expect_that(a, path, strcmp(run->f[F_STATUS], "stopping") != 0 || is_set(run, F_STOP_AT),
                      "stops without having been told");
    if (run->class == CLASS_ACTIVE) {
        EXPECT(a, path, "is not held with its epoch", want_score, run->f[F_EPOCH], "ZSCORE",
               audit_key(a, "held:%s", run->f[F_INC]), run->id);
        EXPECT(a, path, "is executed by no runner", want_one, NULL, "EXISTS", audit_key(a, "runner:%s", run->f[F_INC]));
        bool more = is_set(run, F_STOP_AT) || is_set(run, F_CLAIM_STATUS) || is_set(run, F_GATES) ||
                    is_set(run, F_DEPENDENTS) || is_set(run, F_HOOK_URL) || is_set(run, F_ASKED) ||
                    is_set(run, F_INPUT_LAST);
        audit_expect_that(a, path, !more || is_set(run, F_EXTRA), "does not say that there is more to its end");
    }
    if (ended)
        EXPECT(a, path, "has no retention", want_member, NULL, "ZSCORE", audit_key(a, "retain"), run->id);
    audit_expect_that(a, path, !is_set(run, F_DEAD_LETTER) || strcmp(run->f[F_STATUS], "error") == 0,
                      "is a dead letter and did not end in error");
    if (is_set(run, F_DEAD_LETTER))
        EXPECT(a, path, "is not among the dead letters", want_score, run->f[F_CREATED_US], "ZSCORE",
               audit_key(a, "dead:%s", run->f[F_WS]), run->id);
}

static void expect_indexes(struct audit *a, const struct run *run, const char *path)
{
    const char *created = run->f[F_CREATED_US], *parent = run->f[F_PARENT];
    EXPECT(a, path, "is not in its workspace's index", want_score, created, "ZSCORE",
           audit_key(a, "idx:%s", run->f[F_WS]), run->id);
    if (is_set(run, F_AGENT))
        EXPECT(a, path, "is not in its agent's index", want_score, created, "ZSCORE",
               audit_key(a, "idx:%s:agent:%s", run->f[F_WS], run->f[F_AGENT]), run->id);
    if (*parent) {
        EXPECT(a, path, "", want_add, NULL, "EXISTS", audit_key(a, "run:%s", parent));
        EXPECT(a, path, "", want_take_score, created, "ZSCORE", audit_key(a, "run:%s:children", parent), run->id);
        audit_expect(
            a, &(struct expect){.path = path, .what = "is not among its parent's children", .want = want_sum_none}, 0,
            NULL);
    }
    if (is_set(run, F_STARTED) || run->class == CLASS_ENDED) /* else it may be that nothing was said of it */
        EXPECT(a, path, "has no event stream", want_one, NULL, "EXISTS", audit_key(a, "run:%s:events", run->id));
    EXPECT(a, path, "has no definition", want_one, NULL, "EXISTS", audit_key(a, "def:%s", run->f[F_DEF]));
}

static void expect_run(struct audit *a, const struct run *run)
{
    const char *path = audit_text(a, "run:%s", run->id);
    audit_expect_that(a, path, run->class != CLASS_NONE, "has a status that is none");
    if (run->class == CLASS_NONE)
        return;
    expect_waiting(a, run, path);
    expect_gates(a, run, path);
    expect_status(a, run, path);
    expect_indexes(a, run, path);
    audit_events_expect(a, run);
}

static void doubt_run(struct audit *a, const char *id)
{
    const char *path = audit_text(a, "run:%s", id), *key = audit_key(a, "run:%s", id);
    for (int try = 0; try < DOUBT_TRIES && a->err == ERR_OK; try++) {
        const char *type = reply_text(ASK(a, "TYPE", key));
        if (strcmp(type, "hash") != 0) {
            if (strcmp(type, "none") != 0)
                audit_found(a, path, "is of a wrong type");
            return;
        }
        audit_run_send(a, id, F_COUNT);
        const redisReply *record = audit_reply(a);
        struct run run;
        audit_run_read(a, record, id, &run);
        a->expects_len = 0;
        expect_run(a, &run);
        const char *guard[2 + F_COUNT];
        int words = audit_run_words(a, id, F_COUNT, guard);
        if (audit_judge_atomically(a, guard, words, record))
            return;
    }
}

void audit_runs_doubted(struct audit *a)
{
    for (size_t i = 0; i < a->doubts_len; i++) {
        doubt_run(a, a->doubts[i]);
        free(a->doubts[i]);
        audit_release(a);
    }
    a->doubts_len = 0;
}

/* Until the counters are compared: a transaction would end their watch. */
static void put_off(struct audit *a, const char *id)
{
    if (!a->doubts)
        a->doubts = calloc(DOUBTS_MAX, sizeof(*a->doubts));
    char *copy = a->doubts ? strdup(id) : NULL;
    if (!copy) {
        audit_fail(a, ERR_NO_MEMORY);
        return;
    }
    a->doubts[a->doubts_len++] = copy;
    if (a->doubts_len == DOUBTS_MAX) {
        a->watching = false;
        audit_runs_doubted(a);
    }
}

/* Those of the batch that were not seen yet; a scan may name a key twice. */
static size_t keep_new(struct audit *a, const char *const *ids, size_t n, const char **ret_new)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t *seen = tally_at(&a->runs, ids[i], false);
        if (!seen)
            audit_fail(a, ERR_NO_MEMORY);
        else if (*seen == 0) {
            *seen = 1;
            ret_new[kept++] = ids[i];
        }
    }
    return kept;
}

void audit_runs(struct audit *a, const char *const *ids, size_t n)
{
    const char *new_ids[AUDIT_BATCH];
    struct run runs[AUDIT_BATCH];
    size_t ends[AUDIT_BATCH] = {0};
    bool failed[AUDIT_BATCH];
    n = keep_new(a, ids, n, new_ids);
    for (size_t i = 0; i < n; i++)
        audit_run_send(a, new_ids[i], F_COUNT);
    for (size_t i = 0; i < n; i++) {
        audit_run_read(a, audit_reply(a), new_ids[i], &runs[i]);
        audit_counters_run(a, &runs[i]);
        int64_t *mark = tally_at(&a->runs, new_ids[i], false);
        if (mark)
            *mark =
                (int64_t)audit_run_mark(runs[i].class, runs[i].f[F_WS], runs[i].f[F_AGENT], runs[i].f[F_CREATED_US]);
    }
    a->expects_len = 0;
    for (size_t i = 0; i < n; i++) {
        expect_run(a, &runs[i]);
        ends[i] = a->expects_len;
    }
    audit_judge(a, ends, n, failed);
    for (size_t i = 0; i < n; i++) {
        if (failed[i])
            put_off(a, new_ids[i]);
        else if (a->options.events)
            audit_events_read(a, &runs[i]);
    }
    a->counts.runs += (int64_t)n;
    audit_release(a);
}
