#include <inttypes.h>
#include <stdlib.h>

#include "cli/audit_engine.h"

/* ---- runs ---- */

static const char *const FIELD_NAMES[F_COUNT] = {
    [F_STATUS] = "status",
    [F_WS] = "ws",
    [F_AGENT] = "agent",
    [F_CREATED_US] = "made",
    [F_PARENT] = "parent",
    [F_COMPLETED] = "completed",
    [F_DEAD_LETTER] = "deadLetter",
    [F_KEPT] = "kept",
    [F_DROPPED_TO] = "droppedTo",
    [F_QUEUE] = "queue",
    [F_PRIORITY] = "priority",
    [F_REQ] = "req",
    [F_LANE] = "lane",
    [F_LANE_ID] = "laneId",
    [F_GATES] = "gates",
    [F_GATED] = "gated",
    [F_WAIT_GATE] = "waitGate",
    [F_DUE] = "due",
    [F_DEPS] = "deps",
    [F_DEPS_LEFT] = "depsLeft",
    [F_DEPENDENTS] = "dependents",
    [F_INC] = "inc",
    [F_EPOCH] = "epoch",
    [F_ATTEMPT] = "attempt",
    [F_STARTED] = "started",
    [F_START_BY] = "startBy",
    [F_STOP_AT] = "stopAt",
    [F_DEF] = "def",
    [F_SIZE] = "size",
    [F_TAIL] = "tail",
    [F_EXTRA] = "extra",
    [F_MORE] = "more",
    [F_CLAIM_STATUS] = "claimStatus",
    [F_HOOK_URL] = "hookUrl",
    [F_ASKED] = "asked",
    [F_INPUT_LAST] = "inputLast",
};

enum run_class audit_class_of(const char *status)
{
    static const char *const actives[] = {"provisioning", "running", "stopping", NULL};
    static const char *const ends[] = {"success", "error", "stopped", NULL};
    return strcmp(status, "queued") == 0      ? CLASS_QUEUED
           : strcmp(status, "scheduled") == 0 ? CLASS_SCHEDULED
           : word_in(status, actives)         ? CLASS_ACTIVE
           : word_in(status, ends)            ? CLASS_ENDED
                                              : CLASS_NONE;
}

int audit_run_words(struct audit *a, const char *id, size_t fields, const char **ret_argv)
{
    ret_argv[0] = "HMGET";
    ret_argv[1] = audit_key(a, "run:%s", id);
    memcpy(ret_argv + 2, FIELD_NAMES, fields * sizeof(*ret_argv));
    return (int)(2 + fields);
}

void audit_run_send(struct audit *a, const char *id, size_t fields)
{
    const char *argv[2 + F_COUNT];
    audit_send(a, audit_run_words(a, id, fields, argv), argv);
}

/* `made` is CREATED_US BYTES VERSION RID; `size` takes the place of its bytes at the run's end. */
static void take_made(struct audit *a, const char **f)
{
    const char *made = f[F_CREATED_US];
    size_t created = strcspn(made, " "), size = made[created] ? strcspn(made + created + 1, " ") : 0;
    f[F_CREATED_US] = audit_text(a, "%.*s", (int)created, made);
    if (!*f[F_SIZE] && size > 0)
        f[F_SIZE] = audit_text(a, "%.*s", (int)size, made + created + 1);
}

/* A queued run that waits at no gate: as its record leaves out what lane_id and lane_remove of lua/include/lane.lua know. */
static void complete_lane(struct audit *a, const char **f)
{
    size_t len = strlen(f[F_CREATED_US]);
    if (!*f[F_LANE])
        f[F_LANE] = f[F_PRIORITY];
    if (!*f[F_LANE_ID] && len > 3)
        f[F_LANE_ID] =
            audit_text(a, "%.*s-%" PRId64, (int)len - 3, f[F_CREATED_US], number_of(f[F_CREATED_US] + len - 3));
}

void audit_run_read(struct audit *a, const redisReply *r, const char *id, struct run *ret_run)
{
    ret_run->id = id;
    for (size_t i = 0; i < F_COUNT; i++)
        ret_run->f[i] = reply_item(r, i);
    ret_run->class = audit_class_of(ret_run->f[F_STATUS]);
    if (ret_run->class == CLASS_ACTIVE || ret_run->class == CLASS_ENDED)
        ret_run->f[F_LANE] = ret_run->f[F_LANE_ID] = ""; /* the place that it was taken from stays in its record */
    take_made(a, ret_run->f);
    /* As DEFAULTS of lua/include/run.lua. */
    if (!*ret_run->f[F_QUEUE])
        ret_run->f[F_QUEUE] = "default";
    if (!*ret_run->f[F_PRIORITY])
        ret_run->f[F_PRIORITY] = "normal";
    if (!*ret_run->f[F_REQ])
        ret_run->f[F_REQ] = "-";
    if (ret_run->class == CLASS_QUEUED && !*ret_run->f[F_WAIT_GATE])
        complete_lane(a, ret_run->f);
}

uint64_t audit_run_mark(enum run_class class, const char *ws, const char *agent, const char *created_us)
{
    /* 3 bits, 15, 15, 30; never 0. */
    return ((uint64_t) class + 1) | (tally_hash(ws) & 0x7fff) << 4 | (tally_hash(agent) & 0x7fff) << 19 |
           (tally_hash(created_us) & 0x3fffffff) << 34;
}

bool audit_run_marked(const struct audit *a, const char *id, enum run_class class, const char *ws, const char *agent,
                      const char *created_us)
{
    uint64_t is = (uint64_t)tally_get(&a->runs, id);
    uint64_t wanted = audit_run_mark(class, ws ? ws : "", agent ? agent : "", created_us ? created_us : "");
    uint64_t mask = (class != CLASS_NONE ? 0xfULL : 0) | (ws ? 0x7fffULL << 4 : 0) | (agent ? 0x7fffULL << 19 : 0) |
                    (created_us ? 0x3fffffffULL << 34 : 0);
    return is != 0 && (is & mask) == (wanted & mask);
}

struct gate audit_gate_parse(struct audit *a, const char *word)
{
    const char *equals = strrchr(word, '=');
    struct gate g = {.name = audit_text(a, "%.*s", equals ? (int)(equals - word) : (int)strlen(word), word)};
    if (!equals)
        return g;
    char *at;
    g.limit = strtoll(equals + 1, &at, 10);
    if (*at == '/') {
        double per_ms = strtod(at + 1, &at);
        double burst = *at == '/' ? strtod(at + 1, NULL) : 1;
        double interval_us = g.limit > 0 ? per_ms * 1000 / (double)g.limit : 1;
        double tolerance = (burst - 1) * interval_us;
        tolerance = tolerance > 50000 ? tolerance : 50000; /* as lua/include/gate.lua: how late promote may come */
        g.rate = true;
        g.limit = 1 + (interval_us > 0 ? (int64_t)(tolerance / interval_us) : 0);
    }
    return g;
}

bool audit_gate_at(struct audit *a, const char *gates, size_t i, struct gate *ret_gate)
{
    for (; *gates; gates += strcspn(gates, " "), gates += *gates == ' ') {
        if (i-- == 0) {
            *ret_gate = audit_gate_parse(a, audit_text(a, "%.*s", (int)strcspn(gates, " "), gates));
            return true;
        }
    }
    return false;
}

/* ---- walks ---- */

/* The next page: elements of *ret_page, `step` replies a member. Moves the cursor; false at the end. */
static bool next_page(struct audit *a, const struct walk *w, char cursor[64], const redisReply **ret_page,
                      size_t *ret_step)
{
    static const redisReply none = {.type = REDIS_REPLY_NIL};
    const char *key = audit_key(a, "%s", w->path), *count = audit_text(a, "%d", AUDIT_BATCH);
    *ret_page = &none;
    if (strcmp(w->type, "stream") == 0) {
        const redisReply *r = ASK(a, "XRANGE", key, cursor, "+", "COUNT", count);
        *ret_page = r;
        *ret_step = 1;
        if (r->type != REDIS_REPLY_ARRAY || r->elements == 0)
            return false;
        snprintf(cursor, 64, "(%s", reply_item(r->element[r->elements - 1], 0));
        return r->elements >= AUDIT_BATCH;
    }
    const char *scan = *w->type == 'z' ? "ZSCAN" : *w->type == 'h' ? "HSCAN" : "SSCAN";
    const redisReply *r = ASK(a, scan, key, cursor, "COUNT", count);
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2)
        return false;
    snprintf(cursor, 64, "%s", reply_item(r, 0));
    *ret_page = r->element[1];
    *ret_step = *w->type == 's' ? 1 : 2;
    return strcmp(cursor, "0") != 0;
}

static struct member member_at(const struct walk *w, const redisReply *page, size_t i, size_t step)
{
    struct member m;
    if (strcmp(w->type, "stream") == 0) {
        const redisReply *entry = page->element[i];
        m.value = reply_item(entry, 0);
        m.name = entry->elements == 2 ? reply_item(entry->element[1], 1) : "";
    } else {
        m.name = reply_text(page->element[i]);
        m.value = step == 2 ? reply_text(page->element[i + 1]) : "";
    }
    bool part = (m.name[0] == 'e' || m.name[0] == 'r') && m.name[1] == ':'; /* of retain: its events, its result */
    m.id = part ? m.name + 2 : m.name;
    return m;
}

static const char *verdict_on(struct audit *a, const struct walk *w, const struct member *m, const struct run *run)
{
    if (run->class == CLASS_NONE && !w->gone_is_fine)
        return "is no run";
    return w->judge(a, w, m, run);
}

/* Looks at member and run again, both at one moment. */
static void doubt_member(struct audit *a, const struct walk *w, const struct member *m)
{
    const char *key = audit_key(a, "%s", w->path);
    SEND(a, "MULTI");
    if (*w->type == 'z')
        SEND(a, "ZSCORE", key, m->name);
    else if (*w->type == 'h')
        SEND(a, "HGET", key, m->name);
    else if (strcmp(w->type, "set") == 0)
        SEND(a, "SISMEMBER", key, m->name);
    else
        SEND(a, "XRANGE", key, m->value, m->value);
    audit_run_send(a, m->id, w->fields);
    SEND(a, "EXEC");
    for (int i = 0; i < 3; i++)
        (void)audit_reply(a);
    const redisReply *both = audit_reply(a);
    if (both->type != REDIS_REPLY_ARRAY || both->elements != 2)
        return;
    const redisReply *there = both->element[0];
    struct member now = *m;
    if (*w->type == 'z' || *w->type == 'h')
        now.value = reply_text(there);
    bool gone = there->type == REDIS_REPLY_NIL || (there->type == REDIS_REPLY_INTEGER && there->integer == 0) ||
                (there->type == REDIS_REPLY_ARRAY && there->elements == 0);
    struct run run;
    audit_run_read(a, both->element[1], m->id, &run);
    const char *what = gone ? NULL : verdict_on(a, w, &now, &run);
    if (what)
        audit_found(a, w->path, audit_text(a, "has %s, which %s", m->name, what));
}

/* A batch of members, each naming a run that has to be read. */
static void judge_members(struct audit *a, const struct walk *w, const struct member *members, size_t n)
{
    struct run runs[AUDIT_BATCH];
    for (size_t i = 0; i < n; i++)
        audit_run_send(a, members[i].id, w->fields);
    for (size_t i = 0; i < n; i++)
        audit_run_read(a, audit_reply(a), members[i].id, &runs[i]);
    for (size_t i = 0; i < n; i++) {
        if (verdict_on(a, w, &members[i], &runs[i]))
            doubt_member(a, w, &members[i]);
    }
}

static void judge_page(struct audit *a, const struct walk *w, const redisReply *page, size_t step)
{
    struct member members[AUDIT_BATCH];
    size_t n = 0;
    for (size_t i = 0; i + step <= page->elements; i += step) {
        members[n] = member_at(w, page, i, step);
        if (w->known && w->known(a, w, &members[n]))
            continue;
        if (++n == AUDIT_BATCH) {
            judge_members(a, w, members, n);
            n = 0;
        }
    }
    judge_members(a, w, members, n);
}

void audit_walk(struct audit *a, const struct walk *w)
{
    char cursor[64] = "0";
    if (strcmp(w->type, "stream") == 0)
        snprintf(cursor, sizeof(cursor), "-");
    for (bool more = true; more && a->err == ERR_OK;) {
        const redisReply *page;
        size_t step = 1;
        more = next_page(a, w, cursor, &page, &step);
        judge_page(a, w, page, step);
        audit_release(a);
    }
}
