#include "audit.h"

#include <stdlib.h>

#include "common/event.h"
#include "common/limits.h"
#include "common/strbuf.h"
#include "lua/scripts_sync.h"

/* ---- keys, one by one ---- */

typedef void (*key_fn)(struct harness *h, const char *path, void *ctx);

/* Calls fn for each key under the shard's prefix that begins with `start`, with what follows `start`. */
static void each_key(struct harness *h, const char *start, key_fn fn, void *ctx)
{
    const char *names = harness_keys(h, harness_key(h, "%s*", start));
    size_t skip = h->prefix.len + strlen(start);
    for (const char *at = names; *at;) {
        size_t len = strcspn(at, "\n");
        fn(h, harness_printf(h, "%.*s", (int)(len - skip), at + skip), ctx);
        at += len + (at[len] == '\n');
    }
}

static void expect(bool holds, const char *what, const char *key)
{
    if (!holds)
        fail_msg("audit: %s: %s", key, what);
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(*words, word) == 0)
            return true;
    return false;
}

static bool scored(struct harness *h, const char *key, const char *member, const char *score)
{
    double is;
    return harness_zscore(h, key, member, &is) && is == strtod(score, NULL);
}

/* ---- from a run to its structures ---- */

struct totals {
    int delayed, runs, with_agent, with_parent, queued, scheduled, active, ended;
};

static void check_queued(struct harness *h, const char *run)
{
    const char *queue = rig_field(h, run, "queue"), *lane = rig_field(h, run, "lane"),
               *id = rig_field(h, run, "laneId");
    const char *ws = rig_field(h, run, "ws"), *req = rig_field(h, run, "req");
    bool own = strcmp(lane, rig_field(h, run, "priority")) == 0;
    expect(own || strcmp(lane, "again") == 0, "waits in a lane that is not its own", run);
    const redisReply *entry =
        harness_do(h, "XRANGE %s %s %s", harness_key(h, "lane:%s:%s:%s:%s", queue, req, ws, lane), id, id);
    expect(entry->elements == 1 && strcmp(harness_entry(h, entry, 0, "r"), run) == 0, "is not in its lane", run);
}

/* Attempts that are kept: all are closed but the last one of a run that executes. */
static void check_attempts(struct harness *h, const char *run, bool active)
{
    static const char *const open[] = {"provisioning", "running", NULL};
    static const char *const closed[] = {"success", "error", "stopped", "lost", "handed_back", NULL};
    int last = atoi(rig_field(h, run, "attempt"));
    int64_t before = 0;
    for (int n = last > LIMIT_ATTEMPTS ? last - LIMIT_ATTEMPTS + 1 : 1; n <= last; n++) {
        const char *status = rig_field(h, run, harness_printf(h, "a%d:status", n)),
                   *by = rig_field(h, run, harness_printf(h, "a%d:by", n));
        bool executes = active && n == last;
        expect(is_one_of(status, executes ? open : closed), "has an attempt of a wrong status", run);
        expect((*by != '\0') != executes, "has an attempt that is closed by nobody, or too early", run);
        int64_t epoch = strtoll(rig_field(h, run, harness_printf(h, "a%d:epoch", n)), NULL, 10);
        expect(epoch > before, "has epochs that do not rise", run);
        before = epoch;
    }
}

/* The stream: seq rises, time does not fall, each entry is of an attempt's epoch, and runtime_terminal is there once, last, when the run has ended. */
static void check_events(struct harness *h, const char *run, bool ended)
{
    const redisReply *entries = harness_xrange(h, harness_key(h, "run:%s:events", run));
    int64_t seq = -1, t = 0;
    for (size_t i = 0; i < entries->elements; i++) {
        int64_t first = strtoll(harness_entry(h, entries, i, "first"), NULL, 10),
                last = strtoll(harness_entry(h, entries, i, "last"), NULL, 10),
                at = strtoll(harness_entry(h, entries, i, "t"), NULL, 10),
                epoch = strtoll(harness_entry(h, entries, i, NULL), NULL, 10);
        expect(first > seq && last >= first && at >= t, "has events out of order", run);
        bool terminal = strstr(harness_entry(h, entries, i, "b"), "\"kind\":\"runtime_terminal\"") != NULL;
        expect(terminal == (ended && i + 1 == entries->elements), "has a terminal event that is not its end", run);
        expect(terminal == (epoch == SEQ_CLOSED), "has a wrong id for its kind of event", run);
        bool known = terminal;
        for (int n = atoi(rig_field(h, run, "attempt")); n > 0 && !known; n--)
            known = strtoll(rig_field(h, run, harness_printf(h, "a%d:epoch", n)), NULL, 10) == epoch;
        expect(known, "has an event of no attempt", run);
        seq = last;
        t = at;
    }
    expect(!ended || strtoll(rig_field(h, run, "lastSeq"), NULL, 10) == seq, "has another last seq than its stream",
           run);
    expect(!ended || strtoll(rig_field(h, run, "lastT"), NULL, 10) == t, "has another last time than its stream", run);
}

static void check_indexes(struct harness *h, const char *run, struct totals *sum)
{
    const char *ws = rig_field(h, run, "ws"), *agent = rig_field(h, run, "agent"),
               *parent = rig_field(h, run, "parent"), *created = rig_field(h, run, "createdUs");
    expect(scored(h, harness_key(h, "idx:%s", ws), run, created), "is not in its workspace's index", run);
    expect(!*agent || scored(h, harness_key(h, "idx:%s:agent:%s", ws, agent), run, created),
           "is not in its agent's index", run);
    sum->with_agent += *agent != '\0';
    if (*parent && harness_exists(h, harness_key(h, "run:%s", parent))) {
        expect(scored(h, harness_key(h, "run:%s:children", parent), run, created), "is not among the children", run);
        sum->with_parent++;
    }
    bool begun = atoi(rig_field(h, run, "attempt")) > 0 || *rig_field(h, run, "completed");
    expect(!begun || harness_exists(h, harness_key(h, "run:%s:events", run)), "has no event stream", run);
    expect(harness_exists(h, harness_key(h, "def:%s", rig_field(h, run, "def"))), "has no definition", run);
}

static void check_run(struct harness *h, const char *run, void *ctx)
{
    static const char *const actives[] = {"provisioning", "running", "stopping", NULL};
    static const char *const ends[] = {"success", "error", "stopped", NULL};
    struct totals *sum = ctx;
    if (strchr(run, ':')) {
        const char *of = harness_printf(h, "%.*s", (int)strcspn(run, ":"), run);
        expect(harness_exists(h, harness_key(h, "run:%s", of)), "is left without its run", run);
        return;
    }
    const char *status = rig_field(h, run, "status"), *due = rig_field(h, run, "due"), *inc = rig_field(h, run, "inc");
    bool queued = strcmp(status, "queued") == 0, scheduled = strcmp(status, "scheduled") == 0,
         active = is_one_of(status, actives), ended = is_one_of(status, ends);
    expect(queued + scheduled + active + ended == 1, "has a status that is none", run);
    bool parked = *rig_field(h, run, "waitGate") != '\0', depends = *rig_field(h, run, "depsLeft") != '\0';
    expect((*rig_field(h, run, "lane") != '\0') == (queued && !parked) &&
               (*rig_field(h, run, "laneId") != '\0') == (queued && !parked),
           "has a lane and does not wait, or the other way round", run);
    expect((*due != '\0') == (scheduled && !depends), "has a due time and is not scheduled, or the other way round",
           run);
    expect((*rig_field(h, run, "completed") != '\0') == ended, "has an end time and has not ended, or other way", run);
    expect(strcmp(status, "stopping") != 0 || *rig_field(h, run, "stopAt"), "stops without having been told", run);
    if (queued && !parked)
        check_queued(h, run);
    expect(!scheduled || depends || scored(h, harness_key(h, "delayed"), run, due),
           "is not in delayed with its due time", run);
    expect(!active || scored(h, harness_key(h, "held:%s", inc), run, rig_field(h, run, "epoch")),
           "is not held with its epoch", run);
    expect(!ended || harness_zscore(h, harness_key(h, "retain"), run, NULL), "has no retention", run);
    check_indexes(h, run, sum);
    check_attempts(h, run, active);
    check_events(h, run, ended);
    sum->runs++;
    sum->queued += queued;
    sum->scheduled += scheduled;
    sum->delayed += scheduled && !depends;
    sum->active += active;
    sum->ended += ended;
}

/* ---- from the structures to runs: each run was found where it must be, so equal numbers mean that nothing else is there ---- */

static void add_zcard(struct harness *h, const char *path, void *ctx)
{
    *(int *)ctx += (int)harness_int(h, "ZCARD %s", harness_key(h, "held:%s", path));
}

static void add_children(struct harness *h, const char *path, void *ctx)
{
    const char *at = strchr(path, ':');
    if (at && strcmp(at, ":children") == 0)
        *(int *)ctx += (int)harness_int(h, "ZCARD %s", harness_key(h, "run:%s", path));
}

static void add_index(struct harness *h, const char *path, void *ctx)
{
    int *by_kind = ctx;
    by_kind[strstr(path, ":agent:") != NULL] += (int)harness_int(h, "ZCARD %s", harness_key(h, "idx:%s", path));
}

static void check_bell(struct harness *h, const char *queue, void *ctx)
{
    (void)ctx;
    expect(harness_int(h, "LLEN %s", harness_key(h, "bell:%s", queue)) <= 64, "has too many bells", queue);
}

static void check_waiting(struct harness *h, const struct totals *sum)
{
    int counted = 0, later = 0;
    each_key(h, "bell:", check_bell, NULL);
    const redisReply *values = harness_do(h, "HVALS %s", harness_key(h, "queued"));
    for (size_t i = 0; i < values->elements; i++)
        counted += atoi(values->element[i]->str);
    values = harness_do(h, "HVALS %s", harness_key(h, "scheduled"));
    for (size_t i = 0; i < values->elements; i++)
        later += atoi(values->element[i]->str);
    expect(later == sum->scheduled, "counts other runs than those that wait for their time", "scheduled");
    expect(counted == sum->queued, "counts other runs than those that wait", "queued");
}

/* ---- definitions, runners ---- */

struct users {
    const char *digest;
    int n;
};

static void count_run(struct harness *h, const char *run, void *ctx)
{
    struct users *u = ctx;
    u->n += !strchr(run, ':') && strcmp(rig_field(h, run, "def"), u->digest) == 0;
}

static void count_versions(struct harness *h, const char *path, void *ctx)
{
    struct users *u = ctx;
    const redisReply *r = harness_do(h, "HGETALL %s", harness_key(h, "agent:%s", path));
    for (size_t i = 0; i + 1 < r->elements; i += 2)
        u->n += r->element[i]->str[0] == 'v' && strcmp(r->element[i + 1]->str, u->digest) == 0;
}

static void check_def(struct harness *h, const char *digest, void *ctx)
{
    (void)ctx;
    struct users u = {digest, 0};
    each_key(h, "run:", count_run, &u);
    each_key(h, "agent:", count_versions, &u);
    expect(u.n > 0 && harness_int(h, "HGET %s refs", harness_key(h, "def:%s", digest)) == u.n,
           "is counted wrongly, or used by nobody", digest);
}

static void check_agent(struct harness *h, const char *path, void *ctx)
{
    size_t ws_len = strcspn(path, ":");
    expect(harness_zscore(h, harness_key(h, "agents:%.*s", (int)ws_len, path), path + ws_len + 1, NULL),
           "is an agent that no list has", path);
    ++*(int *)ctx;
}

static void add_agents(struct harness *h, const char *ws, void *ctx)
{
    *(int *)ctx += (int)harness_int(h, "ZCARD %s", harness_key(h, "agents:%s", ws));
}

static void check_runner(struct harness *h, const char *inc, void *ctx)
{
    expect(harness_zscore(h, harness_key(h, "leases"), inc, NULL), "is a runner without a lease", inc);
    ++*(int *)ctx;
}

static void check_holder(struct harness *h, const char *inc, void *ctx)
{
    (void)ctx;
    expect(harness_exists(h, harness_key(h, "runner:%s", inc)), "holds runs and is no runner", inc);
}

static void check_name(struct harness *h, const char *path, void *ctx)
{
    static const char *const known[] = {"run",   "def",       "agent",  "agents",     "lane",      "lanes",  "vt",
                                        "prios", "reqs",      "reqn",   "queued",     "scheduled", "active", "use",
                                        "ws",    "queue",     "queues", "workspaces", "limits",    "gate",   "wait",
                                        "rate",  "throttled", "expiry", "depq",       "dead",      "kept",   "tput",
                                        "told",  "hold",      "bell",   "delayed",    "held",      "runner", "leases",
                                        "reap",  "stopq",     "idx",    "retain",     "idem",      NULL};
    (void)ctx;
    expect(is_one_of(harness_printf(h, "%.*s", (int)strcspn(path, ":"), path), known), "is a key of no kind", path);
}

void audit_check(struct harness *h)
{
    struct totals sum = {0};
    int held = 0, children = 0, indexed[2] = {0, 0}, runners = 0, agents = 0, listed = 0;
    each_key(h, "run:", check_run, &sum);
    check_waiting(h, &sum);
    each_key(h, "held:", add_zcard, &held);
    each_key(h, "held:", check_holder, NULL);
    each_key(h, "run:", add_children, &children);
    each_key(h, "idx:", add_index, indexed);
    each_key(h, "runner:", check_runner, &runners);
    each_key(h, "agent:", check_agent, &agents);
    each_key(h, "agents:", add_agents, &listed);
    each_key(h, "def:", check_def, NULL);
    each_key(h, "", check_name, NULL);
    expect(held == sum.active, "hold other runs than those that execute", "held:*");
    expect(children == sum.with_parent, "name runs that are gone", "run:*:children");
    expect(indexed[0] == sum.runs && indexed[1] == sum.with_agent, "name runs that are gone", "idx:*");
    expect(harness_int(h, "ZCARD %s", harness_key(h, "delayed")) == sum.delayed, "names others", "delayed");
    expect(harness_int(h, "ZCARD %s", harness_key(h, "retain")) == sum.ended, "names others", "retain");
    expect(harness_int(h, "ZCARD %s", harness_key(h, "leases")) == runners, "has a lease of nobody", "leases");
    expect(agents == listed, "names agents that are gone", "agents:*");
}

static void check_leftover(struct harness *h, const char *path, void *ctx)
{
    static const char *const may_stay[] = {"bell", "runner", "leases", "reap", "idem", "tput", NULL};
    (void)ctx;
    expect(is_one_of(harness_printf(h, "%.*s", (int)strcspn(path, ":"), path), may_stay), "is left", path);
}

void audit_nothing_left(struct harness *h)
{
    each_key(h, "", check_leftover, NULL);
    audit_check(h);
}

/* ---- attempts and batches ---- */

const struct script_claim_runs *audit_claimed(struct harness *h, const char *inc, const struct rig_run *o)
{
    const char *run = rig_submit(h, o);
    rig_register(h, inc);
    const char *claimed = harness_hget(h, harness_key(h, "runner:%s", inc), "claimNo");
    const struct script_claim_reply *reply = rig_claim(h, inc, atoi(claimed) + 1, 1);
    assert_int_equal(reply->runs_len, 1);
    assert_true(str_eqz(reply->runs[0].run, run));
    return &reply->runs[0];
}

const struct script_claim_runs *audit_running(struct harness *h, const char *inc, const struct rig_run *o)
{
    const struct script_claim_runs *row = audit_claimed(h, inc, o);
    harness_assert_err(rig_started(h, inc, row), ERR_OK);
    return row;
}

const char *audit_id(struct harness *h, const struct script_claim_runs *row)
{
    return harness_printf(h, "%.*s", STR_ARG(row->run));
}

enum err audit_hand_back(struct harness *h, const char *inc, const struct script_claim_runs *row)
{
    struct script_hand_back_args args = {.inc = S(inc),
                                         .run = row->run,
                                         .epoch = row->epoch,
                                         .attempt = row->attempt,
                                         .rid = S(RID),
                                         .retention_ms = RETAIN};
    return sync_hand_back(h, &args, NULL);
}

enum err audit_handle(struct harness *h, const struct script_claim_runs *row, const char *handle, const char *stats)
{
    struct script_handle_args args = {.run = row->run, .epoch = row->epoch, .handle = S(handle), .stats = S(stats)};
    return sync_handle(h, &args, NULL);
}

static struct str event_line(struct harness *h, int64_t seq, int64_t t_ms, enum event_kind kind, const char *data)
{
    struct strbuf line;
    strbuf_init(&line, 4096);
    event_write(&line, seq, t_ms, kind, S(data));
    struct str copy = harness_copy_str(h, strbuf_str(&line));
    strbuf_done(&line);
    return copy;
}

struct script_append_args audit_batch_args(struct harness *h, const struct script_claim_runs *row, int64_t first,
                                           int64_t last, int64_t t_ms, const char *claim)
{
    struct script_append_args args = {.run = row->run,
                                      .attempt = row->attempt,
                                      .token_sha = S(TOKEN),
                                      .first = first ? first : last,
                                      .last = last,
                                      .first_t = t_ms,
                                      .last_t = t_ms,
                                      .events_max = LIMIT_RUN_EVENTS,
                                      .bytes_max = LIMIT_RUN_EVENT_BYTES};
    if (first) {
        const char *lines = "";
        for (int64_t seq = first; seq <= last; seq++)
            lines = harness_printf(h, "%s%s%s", lines, *lines ? "\n" : "",
                                   event_line(h, seq, t_ms, EVENT_ASSISTANT_TEXT, "{\"text\":\"x\"}").ptr);
        struct script_append_entries entry = {.first = first,
                                              .last = last,
                                              .t = t_ms,
                                              .n = last - first + 1,
                                              .bytes = (int64_t)strlen(lines),
                                              .b = S(lines)};
        args.entries = harness_copy(h, &entry, sizeof entry);
        args.entries_len = 1;
    }
    if (claim) {
        bool error = strcmp(claim, "error") == 0;
        args.last = args.claim_seq = first ? last + 1 : last;
        args.claim_t = t_ms;
        args.claim_line = event_line(h, args.claim_seq, t_ms, EVENT_RUNTIME_TERMINAL,
                                     harness_printf(h, "{\"status\":\"%s\"}", claim));
        args.claim_status = S(claim);
        args.claim_result = error ? S("") : S("[7]");
        args.claim_error = error ? S("{\"class\":\"agent_error\",\"message\":\"no\"}") : S("");
    }
    return args;
}

enum err audit_batch(struct harness *h, const struct script_claim_runs *row, int64_t first, int64_t last, int64_t t_ms,
                     const char *claim, const struct script_append_reply **ret_reply)
{
    struct script_append_args args = audit_batch_args(h, row, first, last, t_ms, claim);
    return sync_append(h, &args, ret_reply);
}

const char *audit_event(struct harness *h, const char *run, int i, const char *field)
{
    const redisReply *entries = harness_xrange(h, harness_key(h, "run:%s:events", run));
    size_t at = i < 0 ? entries->elements - (size_t)-i : (size_t)i;
    assert_true(at < entries->elements);
    const char *value = harness_entry(h, entries, at, field);
    assert_non_null(value);
    return value;
}

void audit_due(struct harness *h, const char *run)
{
    harness_do(h, "ZADD %s XX 1 %s", harness_key(h, "delayed"), run);
    harness_do(h, "HSET %s due 1", harness_key(h, "run:%s", run));
}

/* ---- messages: a connection of its own, as a subscriber can do nothing else ---- */

redisContext *audit_listen(struct harness *h, const char *pattern)
{
    redisContext *ear = redisConnectUnix(h->socket);
    assert_true(ear && !ear->err);
    redisSetTimeout(ear, (struct timeval){.tv_sec = 10});
    redisReply *r = redisCommand(ear, "PSUBSCRIBE %s", harness_key(h, "%s", pattern));
    assert_true(r && r->type == REDIS_REPLY_ARRAY);
    freeReplyObject(r);
    return ear;
}

const char *audit_heard(struct harness *h, redisContext *ear)
{
    const char *all = "";
    redisAppendCommand(ear, "PUNSUBSCRIBE"); /* is answered behind all that was published before */
    for (bool last = false; !last;) {
        void *p = NULL;
        assert_int_equal(redisGetReply(ear, &p), REDIS_OK);
        const redisReply *r = p;
        last = strcmp(r->element[0]->str, "punsubscribe") == 0;
        if (!last)
            all = harness_printf(h, "%s%s %s\n", all, r->element[2]->str + h->prefix.len, r->element[3]->str);
        freeReplyObject(p);
    }
    redisFree(ear);
    return all;
}
