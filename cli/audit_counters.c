/* The counters: what the scripts count one by one, counted here over all runs.
 *
 * a->counters holds, by name, what was counted: queued:Q, scheduled:Q, active:Q (runs), reqn:REQ (waiting runs), waiting:WS (runs), bytes:WS, def:DIGEST
 * and bundle:WS:HEX
 * (users). What Redis says is taken from that; what is left over is a finding. Every change of a run changes one of the watched keys, and so does every change of what bundles take. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/audit_parts.h"

static const char *const totals[] = {"queued", "scheduled", "active", "reqn"};

void audit_counters_begin(struct audit *a)
{
    a->watching = true;
    (void)ASK(a, "WATCH", audit_key(a, "queued"), audit_key(a, "scheduled"), audit_key(a, "active"),
              audit_key(a, "reqn"), audit_key(a, "retain"), audit_key(a, "bundledue"));
    audit_release(a);
}

static void add(struct audit *a, const char *name, int64_t n)
{
    int64_t *at = tally_at(&a->counters, name, true);
    if (at)
        *at += n;
    else
        audit_fail(a, ERR_NO_MEMORY);
}

void audit_counters_run(struct audit *a, const struct run *run)
{
    static const char *const classes[] = {[CLASS_NONE] = NULL,
                                          [CLASS_QUEUED] = "queued",
                                          [CLASS_SCHEDULED] = "scheduled",
                                          [CLASS_ACTIVE] = "active",
                                          [CLASS_ENDED] = NULL};
    const char *ws = run->f[F_WS], *req = run->f[F_REQ];
    if (classes[run->class])
        add(a, audit_text(a, "%s:%s", classes[run->class], run->f[F_QUEUE]), 1);
    if (run->class == CLASS_QUEUED || run->class == CLASS_SCHEDULED)
        add(a, audit_text(a, "waiting:%s", ws), 1);
    if ((run->class == CLASS_QUEUED || run->class == CLASS_SCHEDULED) && strcmp(req, "-") != 0)
        add(a, audit_text(a, "reqn:%s", req), 1);
    long long bytes = 0; /* of its events: lua/include/stream.lua, `h` */
    const char *last = strrchr(run->f[F_TAIL], ',');
    if (last && !*run->f[F_DROPPED_TO])
        bytes = number_of(last + 1);
    if (*run->f[F_SIZE] || bytes > 0)
        add(a, audit_text(a, "bytes:%s", ws), number_of(run->f[F_SIZE]) + bytes);
    if (*run->f[F_DEF])
        add(a, audit_text(a, "def:%s", run->f[F_DEF]), 1);
}

/* A key that is scanned twice counts once. */
static bool first_time(struct audit *a, const char *path)
{
    int64_t *seen = tally_at(&a->runs, path, false);
    if (!seen)
        audit_fail(a, ERR_NO_MEMORY);
    return seen && (*seen)++ == 0;
}

void audit_counters_agent(struct audit *a, const char *path)
{
    if (!first_time(a, path))
        return;
    const redisReply *r = ASK(a, "HGETALL", audit_key(a, "%s", path));
    for (size_t i = 0; i + 1 < r->elements; i += 2) {
        const char *field = reply_item(r, i);
        if (field[0] == 'v' && field[1] >= '0' && field[1] <= '9')
            add(a, audit_text(a, "def:%s", reply_item(r, i + 1)), 1);
    }
}

/* The template of its runs may have a definition of its own. */
void audit_counters_schedule(struct audit *a, const char *path)
{
    if (!first_time(a, path))
        return;
    const redisReply *r = ASK(a, "HMGET", audit_key(a, "%s", path), "def");
    if (*reply_item(r, 0))
        add(a, audit_text(a, "def:%s", reply_item(r, 0)), 1);
}

void audit_counters_use(struct audit *a, const char *path)
{
    const char *ws = strchr(path, ':') ? strchr(path, ':') + 1 : "";
    add(a, audit_text(a, "waiting:%s", ws), 0);
    add(a, audit_text(a, "bytes:%s", ws), 0);
}

/* Each is a user of the bundle that it names. */
void audit_counters_defs(struct audit *a, const char *const *paths, size_t n)
{
    for (size_t i = 0; i < n; i++)
        SEND(a, "HGET", audit_key(a, "%s", paths[i]), "bundle");
    for (size_t i = 0; i < n; i++) {
        const char *bundle = reply_text(audit_reply(a));
        add(a, paths[i], 0);
        if (*bundle && first_time(a, paths[i]))
            add(a, audit_text(a, "bundle:%s", bundle), 1);
    }
}

void audit_counters_bundle(struct audit *a, const char *path)
{
    const char *parts[4];
    audit_split(a, path, ARRAY_LEN(parts), parts);
    if (*parts[3] || !first_time(a, path))
        return; /* a chunk; its bundle counts */
    add(a, path, 0);
    const redisReply *r = ASK(a, "HMGET", audit_key(a, "%s", path), "bytes");
    add(a, audit_text(a, "bytes:%s", parts[1]), number_of(reply_item(r, 0)));
}

/* What Redis says is taken from what was counted. */
static void take_totals(struct audit *a, const redisReply *all)
{
    for (size_t i = 0; i < ARRAY_LEN(totals); i++) {
        const redisReply *hash = all->element[i];
        for (size_t j = 0; j + 1 < hash->elements; j += 2)
            add(a, audit_text(a, "%s:%s", totals[i], reply_item(hash, j)), -number_of(reply_item(hash, j + 1)));
    }
}

/* Rows whose name begins so, in turn: the next one from *at on; NULL at the end. */
static struct tally_row *next_row(struct audit *a, const char *start, size_t *at)
{
    for (; *at < a->counters.cap; ++*at) {
        struct tally_row *row = &a->counters.rows[*at];
        if (row->hash && strncmp(row->name, start, strlen(start)) == 0) {
            ++*at;
            return row;
        }
    }
    return NULL;
}

/* Fields of one hash a row: key prefix (`use:`) + the name behind `start`, and the field. A pipeline of AUDIT_BATCH at a time. */
static void take_fields(struct audit *a, const char *start, const char *key, const char *field)
{
    struct tally_row *rows[AUDIT_BATCH];
    size_t at = 0, n;
    do {
        for (n = 0; n < AUDIT_BATCH && (rows[n] = next_row(a, start, &at)); n++)
            SEND(a, "HGET", audit_key(a, "%s%s", key, rows[n]->name + strlen(start)), field);
        for (size_t i = 0; i < n; i++)
            rows[i]->n -= number_of(reply_text(audit_reply(a)));
        audit_release(a);
    } while (n == AUDIT_BATCH && a->err == ERR_OK);
}

static void tell_rest(struct audit *a, const char *start, const char *key, const char *unit, bool of_name)
{
    size_t at = 0;
    for (struct tally_row *row; (row = next_row(a, start, &at));) {
        if (row->n == 0)
            continue;
        const char *name = row->name + strlen(start);
        char path[512], what[512];
        snprintf(path, sizeof(path), of_name ? "%s" : "%s%s", key, name);
        snprintf(what, sizeof(what), "counts %lld %s too %s%s%s", (long long)(row->n < 0 ? -row->n : row->n), unit,
                 row->n < 0 ? "many" : "few", of_name ? " of " : "", of_name ? name : "");
        audit_found(a, path, what);
    }
}

void audit_counters_end(struct audit *a)
{
    bool watched = a->watching;
    SEND(a, "MULTI");
    for (size_t i = 0; i < ARRAY_LEN(totals); i++)
        SEND(a, "HGETALL", audit_key(a, "%s", totals[i]));
    SEND(a, "EXEC");
    for (size_t i = 0; i < ARRAY_LEN(totals) + 1; i++)
        (void)audit_reply(a);
    const redisReply *all = audit_reply(a); /* nil when one of them moved */
    a->watching = false;
    a->counts.counters_judged = watched && all->type == REDIS_REPLY_ARRAY && all->elements == ARRAY_LEN(totals);
    if (!a->counts.counters_judged) {
        audit_release(a);
        return;
    }
    take_totals(a, all);
    audit_release(a);
    take_fields(a, "waiting:", "use:", "waiting");
    take_fields(a, "bytes:", "use:", "bytes");
    take_fields(a, "def:", "def:", "refs");
    take_fields(a, "bundle:", "bundle:", "refs");
    tell_rest(a, "queued:", "queued", "runs", true);
    tell_rest(a, "scheduled:", "scheduled", "runs", true);
    tell_rest(a, "active:", "active", "runs", true);
    tell_rest(a, "reqn:", "reqn", "waiting runs", true);
    tell_rest(a, "waiting:", "use:", "waiting runs", false);
    tell_rest(a, "bytes:", "use:", "bytes", false);
    tell_rest(a, "def:", "def:", "users", false);
    tell_rest(a, "bundle:", "bundle:", "users", false);
}
