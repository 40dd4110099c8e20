/* From a structure to the runs (agents, runners) that it names. The kinds that have to do with gates and settings are in audit_gates.c. */
#include <stdlib.h>

#include "cli/audit_parts.h"

#define BELLS_MAX "64"

/* ---- what follows a run ---- */

static void expect_of_run(struct audit *a, const char *path, const char *const *parts)
{
    static const char *const known[] = {"events", "logs", "stdin", "input", "env", "children", "dependents", NULL};
    const char *id = parts[1], *what = parts[2], *run = audit_key(a, "run:%s", id);
    audit_expect_that(a, path, word_in(what, known), "is a key of no kind");
    if (strcmp(what, "dependents") == 0) {
        /* Those of an ended run are told by depq, also when the run was removed meanwhile. */
        const char *status = reply_text(ASK(a, "HGET", run, "status"));
        if (!*status || audit_class_of(status) == CLASS_ENDED)
            EXPECT(a, path, "has dependents that nobody will tell", want_one, NULL, "HEXISTS", audit_key(a, "depq"),
                   id);
        return;
    }
    if (strcmp(what, "children") == 0) {
        /* They outlive their run while the stop of its tree goes on. */
        EXPECT(a, path, "", want_add, NULL, "EXISTS", run);
        EXPECT(a, path, "", want_add, NULL, "HEXISTS", audit_key(a, "stopq"), id);
        audit_expect(a, &(struct expect){.path = path, .what = "is left without its run", .want = want_sum_some}, 0,
                     NULL);
        return;
    }
    EXPECT(a, path, "is left without its run", want_one, NULL, "EXISTS", run);
}

static const char *judge_child(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    (void)a;
    if (strcmp(run->f[F_PARENT], w->parts[1]) != 0)
        return "is not its child";
    return number_of(m->value) != number_of(run->f[F_CREATED_US]) ? "was created at another time" : NULL;
}

static bool has_word(const char *list, const char *word)
{
    for (; *list; list += strcspn(list, " "), list += *list == ' ') {
        if (strcspn(list, " ") == strlen(word) && strncmp(list, word, strlen(word)) == 0)
            return true;
    }
    return false;
}

static const char *judge_dependent(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    (void)a, (void)m;
    bool waits = run->class == CLASS_SCHEDULED && *run->f[F_DEPS_LEFT] && has_word(run->f[F_DEPS], w->parts[1]);
    return waits ? NULL : "does not wait for it";
}

static void walk_of_run(struct audit *a, const char *path, const char *const *parts)
{
    if (strcmp(parts[2], "children") == 0)
        audit_walk(
            a, &(struct walk){.path = path, .type = "zset", .fields = F_SHORT, .judge = judge_child, .parts = parts});
    if (strcmp(parts[2], "dependents") == 0)
        audit_walk(a, &(struct walk){
                          .path = path, .type = "set", .fields = F_COUNT, .judge = judge_dependent, .parts = parts});
}

/* ---- lanes ---- */

static void expect_lane(struct audit *a, const char *path, const char *const *parts)
{
    static const char *const prios[] = {"high", "normal", "low", "again", NULL};
    const char *queue = parts[1], *req = parts[2], *ws = parts[3], *prio = parts[4];
    bool again = strcmp(prio, "again") == 0;
    audit_expect_that(a, path, word_in(prio, prios), "is a lane of no priority");
    EXPECT(a, path, "is an empty lane", want_above_zero, NULL, "XLEN", audit_key(a, "%s", path));
    EXPECT(a, path, "is a lane of a workspace that nobody serves", want_member, NULL, "ZSCORE",
           audit_key(a, "lanes:%s:%s", queue, req), audit_text(a, "%s%s", again ? "!" : "", ws));
    if (!again)
        EXPECT(a, path, "is a lane that nobody serves", want_member, NULL, "ZSCORE",
               audit_key(a, "prios:%s:%s:%s", queue, req, ws), prio);
    if (strcmp(req, "-") != 0)
        EXPECT(a, path, "is a lane of a requirement that nobody knows", want_one, NULL, "HEXISTS", audit_key(a, "reqs"),
               req);
}

static const char *judge_lane(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    (void)a;
    if (run->class != CLASS_QUEUED || strcmp(run->f[F_LANE_ID], m->value) != 0)
        return "does not wait there";
    bool own = strcmp(run->f[F_QUEUE], w->parts[1]) == 0 && strcmp(run->f[F_REQ], w->parts[2]) == 0 &&
               strcmp(run->f[F_WS], w->parts[3]) == 0 && strcmp(run->f[F_LANE], w->parts[4]) == 0;
    return own ? NULL : "waits in another lane";
}

static void walk_lane(struct audit *a, const char *path, const char *const *parts)
{
    audit_walk(a,
               &(struct walk){.path = path, .type = "stream", .fields = F_COUNT, .judge = judge_lane, .parts = parts});
}

static void expect_prios(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "15");
    for (size_t i = 0; i < all->elements; i++) {
        const char *prio = reply_item(all, i);
        EXPECT(a, path, audit_text(a, "serves the lane %s, which is not there", prio), want_one, NULL, "EXISTS",
               audit_key(a, "lane:%s:%s:%s:%s", parts[1], parts[2], parts[3], prio));
    }
    EXPECT(a, path, "is of a workspace that nobody serves", want_member, NULL, "ZSCORE",
           audit_key(a, "lanes:%s:%s", parts[1], parts[2]), parts[3]);
}

static void expect_lanes(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "-1", "WITHSCORES");
    for (size_t i = 0; i + 1 < all->elements; i += 2) {
        const char *ws = reply_item(all, i);
        bool again = *ws == '!';
        const char *what = audit_text(a, "serves %s, where nothing waits", ws);
        audit_expect_that(a, path, !again || number_of(reply_item(all, i + 1)) == -1,
                          "has an again lane that is not in front");
        EXPECT(a, path, what, want_one, NULL, "EXISTS",
               again ? audit_key(a, "lane:%s:%s:%s:again", parts[1], parts[2], ws + 1)
                     : audit_key(a, "prios:%s:%s:%s", parts[1], parts[2], ws));
    }
}

static void expect_vt(struct audit *a, const char *path, const char *const *parts)
{
    EXPECT(a, path, "has virtual time, and nobody waits", want_one, NULL, "EXISTS",
           audit_key(a, "lanes:%s:%s", parts[1], parts[2]));
}

/* The number of a requirement's runs is compared with the counters. */
static void expect_reqs(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "HKEYS", audit_key(a, "%s", path));
    const char *reqn = audit_key(a, "reqn");
    bool versioned = false;
    for (size_t i = 0; i < all->elements; i++) {
        const char *req = reply_item(all, i);
        versioned |= strcmp(req, "#") == 0;
        if (strcmp(req, "#") != 0)
            EXPECT(a, path, audit_text(a, "knows %s, which no run that waits has", req), want_above_zero, NULL, "HGET",
                   reqn, req);
    }
    (void)parts;
    audit_expect_that(a, path, versioned && all->elements > 1, "has no version, or nothing else");
}

static void expect_reqn(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "HGETALL", audit_key(a, "%s", path));
    for (size_t i = 0; i + 1 < all->elements; i += 2) {
        const char *req = reply_item(all, i);
        EXPECT(a, path, audit_text(a, "counts runs of %s, which nobody knows", req), want_one, NULL, "HEXISTS",
               audit_key(a, "reqs"), req);
        audit_expect_that(a, path, number_of(reply_item(all, i + 1)) > 0, audit_text(a, "counts no runs of %s", req));
    }
    (void)parts;
}

static void expect_told(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "HKEYS", audit_key(a, "%s", path));
    (void)parts;
    for (size_t i = 0; i < all->elements; i++)
        EXPECT(a, path, audit_text(a, "remembers the lane %s, which is gone", reply_item(all, i)), want_one, NULL,
               "EXISTS", audit_key(a, "lane:%s", reply_item(all, i)));
}

static void expect_bell(struct audit *a, const char *path, const char *const *parts)
{
    (void)parts;
    EXPECT(a, path, "has too many bells", want_at_most, BELLS_MAX, "LLEN", audit_key(a, "%s", path));
}

/* What runs they count is compared elsewhere; here only that nothing is left of those that came to nothing. */
static void expect_counts(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "HGETALL", audit_key(a, "%s", path));
    (void)parts;
    for (size_t i = 0; i + 1 < all->elements; i += 2) {
        if (strcmp(reply_item(all, i), "retention") == 0)
            continue; /* a workspace's, beside its counters */
        audit_expect_that(a, path, number_of(reply_item(all, i + 1)) > 0,
                          audit_text(a, "counts nothing, or less, of %s", reply_item(all, i)));
    }
}

/* ---- time ---- */

static const char *judge_delayed(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    (void)a, (void)w;
    if (run->class != CLASS_SCHEDULED || !*run->f[F_DUE])
        return "is not scheduled";
    return number_of(run->f[F_DUE]) != number_of(m->value) ? "is due at another time" : NULL;
}

/* One that was claimed and not started yet may have been put off a little. */
static const char *judge_expiry(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    (void)a, (void)w;
    if (!*run->f[F_START_BY] || *run->f[F_STARTED] || run->class == CLASS_ENDED)
        return "need not start any more";
    bool waits = (run->class == CLASS_QUEUED || run->class == CLASS_SCHEDULED) && number_of(run->f[F_ATTEMPT]) == 0;
    return waits && number_of(m->value) != number_of(run->f[F_START_BY]) ? "is to start by another time" : NULL;
}

/* The run itself, or `e:` and it: its events; or `r:` and it: its result. */
static const char *judge_retain(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    (void)a, (void)w;
    if (run->class != CLASS_ENDED)
        return "has not ended";
    return m->id != m->name && m->name[0] == 'e' && *run->f[F_DROPPED_TO] ? "has lost its events already" : NULL;
}

static bool known_to_have_ended(const struct audit *a, const struct walk *w, const struct member *m)
{
    (void)w;
    return m->id == m->name && audit_run_marked(a, m->id, CLASS_ENDED, NULL, NULL, NULL);
}

static void walk_delayed(struct audit *a, const char *path, const char *const *parts)
{
    audit_walk(a,
               &(struct walk){.path = path, .type = "zset", .fields = F_COUNT, .judge = judge_delayed, .parts = parts});
}

static void walk_expiry(struct audit *a, const char *path, const char *const *parts)
{
    audit_walk(a,
               &(struct walk){.path = path, .type = "zset", .fields = F_COUNT, .judge = judge_expiry, .parts = parts});
}

static void walk_retain(struct audit *a, const char *path, const char *const *parts)
{
    audit_walk(a, &(struct walk){.path = path,
                                 .type = "zset",
                                 .fields = F_SHORT,
                                 .judge = judge_retain,
                                 .known = known_to_have_ended,
                                 .parts = parts});
}

/* Dependents of it are still to be told; the run itself may be gone. */
static const char *judge_depq(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    (void)a, (void)w;
    if (run->class == CLASS_NONE)
        return NULL;
    return run->class != CLASS_ENDED || strcmp(run->f[F_STATUS], m->value) != 0 ? "has not ended so" : NULL;
}

static void walk_depq(struct audit *a, const char *path, const char *const *parts)
{
    audit_walk(a, &(struct walk){.path = path,
                                 .type = "hash",
                                 .fields = F_SHORT,
                                 .gone_is_fine = true,
                                 .judge = judge_depq,
                                 .parts = parts});
}

/* ---- indexes ---- */

/* idx:WS and idx:WS:agent:A, kept:WS and kept:WS:agent:A, dead:WS */
static const char *judge_index(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    (void)a;
    bool own = strcmp(run->f[F_WS], w->parts[1]) == 0 && (!*w->parts[2] || strcmp(run->f[F_AGENT], w->parts[3]) == 0);
    if (!own)
        return "belongs elsewhere";
    if (w->parts[0][0] == 'k') {
        bool kept = run->class == CLASS_ENDED && *run->f[F_KEPT];
        return kept && number_of(m->value) / 1000 == number_of(run->f[F_COMPLETED])
                   ? NULL
                   : "is not kept by number since then";
    }
    if (w->parts[0][0] == 'd' && !*run->f[F_DEAD_LETTER])
        return "is no dead letter";
    return number_of(m->value) == number_of(run->f[F_CREATED_US]) ? NULL : "was created at another time";
}

/* Of idx alone: the others depend on more. */
static bool known_to_be_indexed(const struct audit *a, const struct walk *w, const struct member *m)
{
    return w->parts[0][0] == 'i' &&
           audit_run_marked(a, m->id, CLASS_NONE, w->parts[1], *w->parts[2] ? w->parts[3] : NULL, m->value);
}

static void walk_index(struct audit *a, const char *path, const char *const *parts)
{
    audit_walk(a, &(struct walk){.path = path,
                                 .type = "zset",
                                 .fields = F_SHORT,
                                 .judge = judge_index,
                                 .known = known_to_be_indexed,
                                 .parts = parts});
}

static void expect_index(struct audit *a, const char *path, const char *const *parts)
{
    audit_expect_that(a, path, !*parts[2] || (strcmp(parts[2], "agent") == 0 && *parts[3]), "is a key of no kind");
}

/* ---- agents, runners ---- */

static void expect_def(struct audit *a, const char *path, const char *const *parts)
{
    (void)parts;
    EXPECT(a, path, "is used by nobody", want_above_zero, NULL, "HGET", audit_key(a, "%s", path), "refs");
}

static void expect_agent(struct audit *a, const char *path, const char *const *parts)
{
    const char *key = audit_key(a, "%s", path);
    const redisReply *all = ASK(a, "HGETALL", key);
    EXPECT(a, path, "is an agent that no list has", want_member, NULL, "ZSCORE", audit_key(a, "agents:%s", parts[1]),
           parts[2]);
    for (size_t i = 0; i + 1 < all->elements; i += 2) {
        const char *field = reply_item(all, i), *value = reply_item(all, i + 1);
        if (strcmp(field, "latest") == 0)
            EXPECT(a, path, "has no newest version", want_member, NULL, "HGET", key, audit_text(a, "v%s", value));
        if (field[0] == 'v' && field[1] >= '0' && field[1] <= '9')
            EXPECT(a, path, audit_text(a, "has a version %s without a definition", field), want_one, NULL, "EXISTS",
                   audit_key(a, "def:%s", value));
    }
}

static void expect_agents(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "-1"); /* bounded by LIMIT_AGENTS */
    for (size_t i = 0; i < all->elements; i++)
        EXPECT(a, path, audit_text(a, "names the agent %s, which is gone", reply_item(all, i)), want_one, NULL,
               "EXISTS", audit_key(a, "agent:%s:%s", parts[1], reply_item(all, i)));
}

static void expect_runner(struct audit *a, const char *path, const char *const *parts)
{
    EXPECT(a, path, "is a runner without a lease", want_member, NULL, "ZSCORE", audit_key(a, "leases"), parts[1]);
}

static void expect_leases(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "-1");
    (void)parts;
    for (size_t i = 0; i < all->elements; i++)
        EXPECT(a, path, audit_text(a, "has a lease of %s, which is no runner", reply_item(all, i)), want_one, NULL,
               "EXISTS", audit_key(a, "runner:%s", reply_item(all, i)));
}

static void expect_held(struct audit *a, const char *path, const char *const *parts)
{
    EXPECT(a, path, "holds runs and is no runner", want_one, NULL, "EXISTS", audit_key(a, "runner:%s", parts[1]));
}

static const char *judge_held(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    (void)a;
    if (run->class != CLASS_ACTIVE || strcmp(run->f[F_INC], w->parts[1]) != 0)
        return "it does not execute";
    return number_of(m->value) != number_of(run->f[F_EPOCH]) ? "it executes under another epoch" : NULL;
}

static void walk_held(struct audit *a, const char *path, const char *const *parts)
{
    audit_walk(a, &(struct walk){.path = path, .type = "zset", .fields = F_COUNT, .judge = judge_held, .parts = parts});
}

/* Its chain is verified elsewhere (errand audit verify). */
static void expect_auditlog(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *last = ASK(a, "XREVRANGE", audit_key(a, "%s", path), "+", "-", "COUNT", "1");
    if (last->elements > 0)
        EXPECT(a, path, "has entries that nobody will trim", want_member, NULL, "ZSCORE", audit_key(a, "auditdue"),
               parts[1]);
}

static void expect_auditseal(struct audit *a, const char *path, const char *const *parts)
{
    EXPECT(a, path, "seals a log that is not there", want_one, NULL, "EXISTS", audit_key(a, "auditlog:%s", parts[1]));
}

const struct kind audit_kinds[] = {
    {"run", NULL, 3, expect_of_run, walk_of_run},
    {"lane", "stream", 5, expect_lane, walk_lane},
    {"prios", "zset", 4, expect_prios, NULL},
    {"lanes", "zset", 3, expect_lanes, NULL},
    {"vt", "string", 3, expect_vt, NULL},
    {"reqs", "hash", 1, expect_reqs, NULL},
    {"reqn", "hash", 1, expect_reqn, NULL},
    {"told", "hash", 1, expect_told, NULL},
    {"bell", "list", 2, expect_bell, NULL},
    {"queued", "hash", 1, expect_counts, NULL},
    {"scheduled", "hash", 1, expect_counts, NULL},
    {"active", "hash", 1, expect_counts, NULL},
    {"use", "hash", 2, expect_counts, NULL},
    {"delayed", "zset", 1, NULL, walk_delayed},
    {"expiry", "zset", 1, NULL, walk_expiry},
    {"retain", "zset", 1, NULL, walk_retain},
    {"depq", "hash", 1, NULL, walk_depq},
    {"stopq", "hash", 1, NULL, NULL},
    {"reap", "hash", 1, NULL, NULL},
    {"storageusers", "zset", 1, NULL, NULL},
    {"idx", "zset", 4, expect_index, walk_index},
    {"kept", "zset", 4, expect_index, walk_index},
    {"dead", "zset", 4, expect_index, walk_index},
    {"def", "hash", 2, expect_def, NULL},
    {"agent", "hash", 3, expect_agent, NULL},
    {"agents", "zset", 2, expect_agents, NULL},
    {"runner", "hash", 2, expect_runner, NULL},
    {"leases", "zset", 1, expect_leases, NULL},
    {"held", "zset", 2, expect_held, walk_held},
    {"auditlog", "stream", 2, expect_auditlog, NULL},
    {"auditseal", "stream", 2, expect_auditseal, NULL},
    {"auditopen", "set", 1, NULL, NULL},
    {"auditdue", "zset", 1, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};

/* ---- batches of keys ---- */

/* The type that a key must have; NULL for no such key. */
static const char *type_of(const struct kind *kind, const char *const *parts)
{
    static const struct {
        const char *part, *type;
    } of_run[] = {{"events", "stream"}, {"logs", "string"},   {"stdin", "stream"},  {"input", "string"},
                  {"env", "string"},    {"children", "zset"}, {"dependents", "set"}};
    if (kind->type)
        return kind->type;
    if (strcmp(kind->name, "bundle") == 0)
        return audit_bundle_type(parts);
    for (size_t i = 0; i < ARRAY_LEN(of_run); i++) {
        if (strcmp(parts[2], of_run[i].part) == 0)
            return of_run[i].type;
    }
    return NULL;
}

struct looked {
    const struct kind *kind; /* NULL: nothing to do */
    const char *parts[5];
};

static const struct kind *kind_of(const char *name)
{
    const struct kind *const tables[] = {audit_kinds, audit_gate_kinds, audit_hook_kinds, audit_bundle_kinds};
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (const struct kind *kind = tables[t]; kind->name; kind++) {
            if (strcmp(kind->name, name) == 0)
                return kind;
        }
    }
    return NULL;
}

/* Finds the kind of a key, and whether it has that kind's type. */
static void classify(struct audit *a, const char *path, const char *type, struct looked *l)
{
    size_t len = strcspn(path, ":");
    const struct kind *kind = kind_of(audit_text(a, "%.*s", (int)len, path));
    l->kind = NULL;
    if (strncmp(path, "data:", 5) == 0 || strncmp(path, "upload", 6) == 0 || strncmp(path, "stored:", 7) == 0)
        return; /* what agents keep is their own affair */
    if (strcmp(type, "none") == 0 || (kind && strcmp(kind->name, "run") == 0 && !strchr(path + len + 1, ':')))
        return; /* gone; or a run, of pass 1 */
    for (size_t i = 0; i < ARRAY_LEN(l->parts); i++)
        l->parts[i] = "";
    if (kind)
        audit_split(a, path, kind->parts, l->parts);
    const char *wanted = kind ? type_of(kind, l->parts) : NULL;
    bool whole = kind && (kind->parts < 2 || *l->parts[1]) && (kind->parts == 1) == (path[len] == '\0');
    if (!wanted || !whole)
        audit_found(a, path, "is a key of no kind");
    else if (strcmp(type, wanted) != 0)
        audit_found(a, path, "is of a wrong type");
    else
        l->kind = kind;
}

static void doubt_key(struct audit *a, const char *path, const struct looked *l)
{
    const char *key = audit_key(a, "%s", path);
    PRE(l->kind && l->kind->expect);
    const redisReply *type = ASK(a, "TYPE", key);
    a->expects_len = 0;
    if (strcmp(reply_text(type), "none") == 0)
        return;
    l->kind->expect(a, path, l->parts);
    (void)audit_judge_atomically(a, (const char *const[]){"TYPE", key}, 2, type);
    audit_release(a);
}

void audit_keys(struct audit *a, const char *const *paths, size_t n)
{
    struct looked looked[AUDIT_BATCH];
    size_t ends[AUDIT_BATCH] = {0};
    bool failed[AUDIT_BATCH];
    for (size_t i = 0; i < n; i++)
        SEND(a, "TYPE", audit_key(a, "%s", paths[i]));
    for (size_t i = 0; i < n; i++)
        classify(a, paths[i], reply_text(audit_reply(a)), &looked[i]);
    a->expects_len = 0;
    for (size_t i = 0; i < n; i++) {
        if (looked[i].kind && looked[i].kind->expect)
            looked[i].kind->expect(a, paths[i], looked[i].parts);
        ends[i] = a->expects_len;
    }
    audit_judge(a, ends, n, failed);
    audit_release(a);
    for (size_t i = 0; i < n; i++) {
        if (failed[i])
            doubt_key(a, paths[i], &looked[i]);
        if (looked[i].kind && looked[i].kind->walk)
            looked[i].kind->walk(a, paths[i], looked[i].parts);
    }
    a->counts.keys += (int64_t)n;
}
