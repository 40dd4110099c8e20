/* Gates and their lines, schedules, settings, and keys that end by themselves. */
#include <ctype.h>
#include <stdlib.h>

#include "cli/audit_parts.h"

/* ---- gates: parts are WS and the gate's name ---- */

/* The run's own word for the gate, and how many of its gates come before it. False when it names no such gate. */
static bool find_gate(struct audit *a, const struct run *run, const char *name, struct gate *ret_gate, size_t *ret_at)
{
    for (size_t i = 0; audit_gate_at(a, run->f[F_GATES], i, ret_gate); i++) {
        if (strcmp(ret_gate->name, name) == 0) {
            *ret_at = i;
            return true;
        }
    }
    return false;
}

static const char *judge_holder(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    struct gate g;
    size_t at;
    (void)m;
    if (run->class == CLASS_ENDED)
        return "has ended";
    if (strcmp(run->f[F_WS], w->parts[1]) != 0 || !find_gate(a, run, w->parts[2], &g, &at))
        return "does not go through it";
    if ((int64_t)at >= number_of(run->f[F_GATED]))
        return "has not passed it";
    if (g.rate && (run->class != CLASS_QUEUED || strcmp(run->f[F_LANE], "again") == 0))
        return "was claimed";
    if (g.limit > *w->most)
        *w->most = g.limit;
    return NULL;
}

/* What is in force now, where the workspace or the agent says so; 0 where the runs' own number counts. */
static int64_t limit_in_force(struct audit *a, const char *ws, const char *name)
{
    if (*name != 'a' && *name != 'w' && strncmp(name, "ra:", 3) != 0)
        return 0;
    const char *now = reply_text(ASK(a, "HGET", audit_key(a, "limits:%s", ws), name));
    return *now ? audit_gate_parse(a, audit_text(a, "%s=%s", name, now)).limit : 0;
}

/* When the number in force was last set (ms): 0 where nothing sets one, INT64_MAX where that is not known any more. */
static int64_t limit_since(struct audit *a, const char *ws, const char *name)
{
    if (strcmp(name, "w") == 0) {
        const char *since = reply_text(ASK(a, "HGET", audit_key(a, "limits:%s", ws), "w@"));
        return *since ? number_of(since) : INT64_MAX;
    }
    if (*name != 'a' && strncmp(name, "ra:", 3) != 0)
        return 0;
    const char *agent = audit_key(a, "agent:%s:%s", ws, strchr(name, ':') + 1);
    const char *version = reply_text(ASK(a, "HGET", agent, "latest"));
    const char *set = reply_text(ASK(a, "HGET", agent, audit_text(a, "u%s", version)));
    return *set ? number_of(set) : INT64_MAX;
}

/* A limit that is lowered drives nobody out. So it is judged only if somebody was let in since; without a limit in force the highest of the holders' own
 * numbers counts (whoever came last found room by its own). */
static void walk_gate(struct audit *a, const char *path, const char *const *parts)
{
    int64_t most = 0;
    const struct walk w = {
        .path = path, .type = "zset", .fields = F_COUNT, .judge = judge_holder, .parts = parts, .most = &most};
    audit_walk(a, &w);
    int64_t now = limit_in_force(a, parts[1], parts[2]), since = limit_since(a, parts[1], parts[2]);
    const redisReply *newest = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "0", "REV", "WITHSCORES");
    const redisReply *holders = ASK(a, "ZCARD", audit_key(a, "%s", path));
    if (now > 0 && since > 0)
        most = now;
    else if (now > most)
        most = now;
    bool judged = most > 0 && number_of(reply_item(newest, 1)) > since;
    if (judged && holders->type == REDIS_REPLY_INTEGER && holders->integer > most)
        audit_found(a, path, audit_text(a, "is held by more runs than its limit of %lld", (long long)most));
    audit_release(a);
}

/* Who waits does so because there is no room: the gate is full, or promote looks at it at its next moment. */
static void expect_line(struct audit *a, const char *path, const char *const *parts)
{
    const char *ws = parts[1], *name = parts[2];
    const char *first = reply_item(ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "0"), 0);
    audit_run_send(a, first, F_COUNT);
    struct run run;
    struct gate g;
    size_t at;
    audit_run_read(a, audit_reply(a), first, &run);
    if (!find_gate(a, &run, name, &g, &at))
        return; /* told by the walk */
    int64_t now = limit_in_force(a, ws, name);
    const char *limit = audit_text(a, "%lld", (long long)(now > 0 ? now : g.limit)),
               *gate = audit_key(a, "gate:%s:%s", ws, name);
    EXPECT(a, path, "", want_add_if_least, limit, "ZCARD", gate);
    EXPECT(a, path, "", want_add_member, NULL, "ZSCORE", audit_key(a, "throttled"), audit_text(a, "%s:%s", ws, name));
    audit_expect(
        a, &(struct expect){.path = path, .what = "has waiting runs, and the gate has room", .want = want_sum_some}, 0,
        NULL);
}

static const char *judge_line(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    (void)a, (void)m;
    bool waits = run->class == CLASS_QUEUED && strcmp(run->f[F_WS], w->parts[1]) == 0 &&
                 strcmp(run->f[F_WAIT_GATE], w->parts[2]) == 0;
    return waits ? NULL : "does not wait there";
}

static void walk_line(struct audit *a, const char *path, const char *const *parts)
{
    audit_walk(a, &(struct walk){.path = path, .type = "zset", .fields = F_COUNT, .judge = judge_line, .parts = parts});
}

/* Whether it is `N`, or of a rate gate `N/PERMS/BURST`, all above 0. */
static bool is_limit(const char *text, bool rate)
{
    int numbers = 0;
    for (;; text++) {
        char *end;
        if (!isdigit((unsigned char)*text) || strtoll(text, &end, 10) <= 0)
            return false;
        numbers++;
        if (*end == '\0')
            return numbers == (rate ? 3 : 1);
        if (*end != '/')
            return false;
        text = end;
    }
}

static void expect_limits(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "HGETALL", audit_key(a, "%s", path)); /* one an agent, at most two */
    (void)parts;
    for (size_t i = 0; i + 1 < all->elements; i += 2) {
        const char *name = reply_item(all, i), *limit = reply_item(all, i + 1);
        if (strcmp(name, "w@") == 0)
            continue; /* since when w is what it is */
        bool rate = strncmp(name, "ra:", 3) == 0, known = rate || strncmp(name, "a:", 2) == 0 || strcmp(name, "w") == 0;
        audit_expect_that(a, path, known, audit_text(a, "limits %s, which is no such gate", name));
        audit_expect_that(a, path, is_limit(limit, rate),
                          audit_text(a, "limits %s by %s, which is no limit", name, limit));
    }
}

/* Entries without a line are taken out at their time. */
static void expect_throttled(struct audit *a, const char *path, const char *const *parts)
{
    static const char *const kinds[] = {"w", "a", "k", "c", "s", "ra", "rk", NULL};
    const redisReply *all = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "-1");
    (void)parts;
    for (size_t i = 0; i < all->elements; i++) {
        const char *names[3];
        audit_split(a, reply_item(all, i), 3, names);
        audit_expect_that(a, path, word_in(names[1], kinds),
                          audit_text(a, "names %s, which is no gate", reply_item(all, i)));
    }
}

/* ---- schedules ---- */

static void expect_schedule(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *r = ASK(a, "HMGET", audit_key(a, "%s", path), "next", "paused");
    const char *next = reply_item(r, 0), *paused = reply_item(r, 1), *ticks = audit_key(a, "ticks"),
               *member = audit_text(a, "%s:%s", parts[1], parts[2]);
    EXPECT(a, path, "is a schedule that no list has", want_member, NULL, "ZSCORE",
           audit_key(a, "schedules:%s", parts[1]), parts[2]);
    if (*next && strcmp(paused, "1") != 0)
        EXPECT(a, path, "is not in ticks with its next tick", want_score, next, "ZSCORE", ticks, member);
    else
        EXPECT(a, path, "is in ticks, and paused or at its end", want_no_member, NULL, "ZSCORE", ticks, member);
}

static void expect_named(struct audit *a, const char *path, const char *what, const char *key_start)
{
    const redisReply *all = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "-1");
    for (size_t i = 0; i < all->elements; i++)
        EXPECT(a, path, audit_text(a, "names the %s %s, which is gone", what, reply_item(all, i)), want_one, NULL,
               "EXISTS", audit_key(a, "%s%s", key_start, reply_item(all, i)));
}

static void expect_schedules(struct audit *a, const char *path, const char *const *parts)
{
    expect_named(a, path, "schedule", audit_text(a, "schedule:%s:", parts[1]));
}

static void expect_secret(struct audit *a, const char *path, const char *const *parts)
{
    const char *key = audit_key(a, "%s", path), *latest = reply_text(ASK(a, "HGET", key, "latest"));
    EXPECT(a, path, "is a secret that no list has", want_member, NULL, "ZSCORE", audit_key(a, "secrets:%s", parts[1]),
           parts[2]);
    EXPECT(a, path, "has no newest version", want_member, NULL, "HGET", key, audit_text(a, "v%s", latest));
}

static void expect_secrets(struct audit *a, const char *path, const char *const *parts)
{
    expect_named(a, path, "secret", audit_text(a, "secret:%s:", parts[1]));
}

static void expect_ticks(struct audit *a, const char *path, const char *const *parts)
{
    (void)parts;
    expect_named(a, path, "schedule", "schedule:");
}

/* ---- settings ---- */

static void expect_ws(struct audit *a, const char *path, const char *const *parts)
{
    static const char *const mirrored[] = {"queueMax",          "bytesMax",          "retentionMs",
                                           "eventsRetentionMs", "resultRetentionMs", "retentionCount"};
    enum { ONE_BY_ONE = 2 }; /* the rest stands there as one: lua/include/workspace.lua */
    const redisReply *all = ASK(a, "HMGET", audit_key(a, "%s", path), mirrored[0], mirrored[1], mirrored[2],
                                mirrored[3], mirrored[4], mirrored[5]);
    EXPECT(a, path, "is a workspace that no list has", want_member, NULL, "ZSCORE", audit_key(a, "workspaces"),
           parts[1]);
    bool kept = false;
    const char *rest = "";
    for (size_t i = ONE_BY_ONE; i < ARRAY_LEN(mirrored); i++) {
        const char *value = reply_item(all, i);
        kept |= *value != '\0';
        rest = audit_text(a, "%s%s%s", rest, i > ONE_BY_ONE ? " " : "", *value ? value : "-");
    }
    EXPECT(a, path, "has another retention than stands beside its counters", kept ? want_text : want_no_member, rest,
           "HGET", audit_key(a, "use:%s", parts[1]), "retention");
    for (size_t i = 0; i < ONE_BY_ONE; i++) {
        const char *value = reply_item(all, i);
        EXPECT(a, path, audit_text(a, "has another %s than stands beside its counters", mirrored[i]),
               *value ? want_text : want_no_member, value, "HGET", audit_key(a, "use:%s", parts[1]), mirrored[i]);
    }
}

static void expect_workspaces(struct audit *a, const char *path, const char *const *parts)
{
    (void)parts;
    expect_named(a, path, "workspace", "ws:");
}

static void expect_queues(struct audit *a, const char *path, const char *const *parts)
{
    (void)parts;
    expect_named(a, path, "queue", "queue:");
}

static void expect_queue(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "HGETALL", audit_key(a, "%s", path));
    EXPECT(a, path, "is a queue that no list has", want_member, NULL, "ZSCORE", audit_key(a, "queues"), parts[1]);
    for (size_t i = 0; i + 1 < all->elements; i += 2) {
        const char *name = reply_item(all, i), *value = reply_item(all, i + 1);
        bool flag = strcmp(name, "paused") == 0 || strcmp(name, "draining") == 0;
        bool known = flag ? strcmp(value, "1") == 0 : strcmp(name, "maxWaiting") == 0 && isdigit((unsigned char)*value);
        audit_expect_that(a, path, known, audit_text(a, "has a setting %s that is none", name));
    }
}

/* ---- what ends by itself ---- */

static void expect_ttl(struct audit *a, const char *path, const char *const *parts)
{
    (void)parts;
    EXPECT(a, path, "never expires", want_above_zero, NULL, "PTTL", audit_key(a, "%s", path));
}

const struct kind audit_gate_kinds[] = {
    {"gate", "zset", 3, NULL, walk_gate},
    {"wait", "zset", 3, expect_line, walk_line},
    {"limits", "hash", 2, expect_limits, NULL},
    {"throttled", "zset", 1, expect_throttled, NULL},
    {"schedule", "hash", 3, expect_schedule, NULL},
    {"schedules", "zset", 2, expect_schedules, NULL},
    {"secret", "hash", 3, expect_secret, NULL},
    {"secrets", "zset", 2, expect_secrets, NULL},
    {"secretv", "string", 2, NULL, NULL},
    {"ticks", "zset", 1, expect_ticks, NULL},
    {"ws", "hash", 2, expect_ws, NULL},
    {"workspaces", "zset", 1, expect_workspaces, NULL},
    {"queue", "hash", 2, expect_queue, NULL},
    {"queues", "zset", 1, expect_queues, NULL},
    {"rate", "string", 3, expect_ttl, NULL},
    {"hold", "string", 3, expect_ttl, NULL},
    {"tput", "hash", 3, expect_ttl, NULL},
    {"idem", "string", 3, expect_ttl, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
