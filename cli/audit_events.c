/* A run's attempts and its event stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/audit_parts.h"
#include "common/limits.h"

#define CHUNK "64" /* entries read at a time */

/* Attempts that are kept: 3 fields each, oldest first (lua/include/run.lua says at af() what is in them). */
static int64_t first_kept(int64_t attempt)
{
    return attempt > LIMIT_ATTEMPTS ? attempt - LIMIT_ATTEMPTS + 1 : 1;
}

static int64_t attempts_send(struct audit *a, const struct run *run, bool as_expectation, want_fn want,
                             const char *what)
{
    static const char *const names[] = {":end", ":tok", ""};
    const char *argv[2 + 3 * LIMIT_ATTEMPTS] = {"HMGET", audit_key(a, "run:%s", run->id)};
    int64_t last = number_of(run->f[F_ATTEMPT]);
    int n = 2;
    for (int64_t i = first_kept(last); i <= last; i++) {
        for (size_t j = 0; j < ARRAY_LEN(names); j++)
            argv[n++] = audit_text(a, "a%lld%s", (long long)i, names[j]);
    }
    if (n > 2 && as_expectation)
        audit_expect(a,
                     &(struct expect){.path = audit_text(a, "run:%s", run->id), .what = what, .want = want, .run = run},
                     n, argv);
    else if (n > 2)
        audit_send(a, n, argv);
    return n > 2;
}

/* All are closed but the last one of a run that executes. */
/* `STATUS BY ENDED_MS EXIT`, the status one of those. */
static bool is_end(const char *text, const char *const *statuses)
{
    char status[16];
    size_t n = strcspn(text, " "), by = text[n] ? strcspn(text + n + 1, " ") : 0;
    if (n >= sizeof(status) || by == 0 || number_of(text + n + 1 + by) <= 0)
        return false;
    memcpy(status, text, n);
    status[n] = '\0';
    return word_in(status, statuses);
}

static bool want_attempts(struct audit *a, const struct expect *e, const redisReply *r)
{
    static const char *const closed[] = {"success", "error", "stopped", "lost", "handed_back", NULL};
    (void)a;
    size_t n = r->elements / 3;
    int64_t before = 0;
    for (size_t i = 0; i < n; i++) {
        const char *end = reply_item(r, 3 * i), *tok = reply_item(r, 3 * i + 1), *epoch = reply_item(r, 3 * i + 2);
        bool executes = e->run->class == CLASS_ACTIVE && i + 1 == n;
        if (executes ? *end != '\0' : !is_end(end, closed))
            return false;
        if (number_of(epoch) <= before || (*tok && !*e->run->f[F_STARTED]))
            return false;
        before = number_of(epoch);
    }
    /* One that waits may have got another epoch, to be told something. */
    int64_t epoch = number_of(e->run->f[F_EPOCH]);
    return n > 0 && (e->run->class == CLASS_ACTIVE ? before == epoch : before <= epoch);
}

/* An entry of the stream: [id, [field, value, …]] */
struct entry {
    int64_t epoch, first, last, t;
    bool terminal,
        told; /* told: said of a run that waits, by the watch (lua/watch.lua), under an epoch of no attempt */
};

/* The i-th number of a list with commas; 0 where it ends before. */
static int64_t part_of(const char *list, int i)
{
    while (list && i-- > 0)
        list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL;
    return list ? (int64_t)strtoll(list, NULL, 10) : 0;
}

static struct entry entry_of(const redisReply *r)
{
    struct entry e = {.epoch = number_of(reply_item(r, 0))};
    const redisReply *fields = r->elements == 2 ? r->element[1] : r;
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const char *name = reply_item(fields, i), *value = reply_item(fields, i + 1);
        if (strcmp(name, "h") == 0) {
            e.first = part_of(value, 0);
            e.last = part_of(value, 1);
            e.t = part_of(value, 2);
        } else if (strcmp(name, "b") == 0) {
            e.terminal = strstr(value, "\"kind\":\"runtime_terminal\"") != NULL;
            e.told = strstr(value, "\"kind\":\"notification\"") && strstr(value, "\"waitingFor\":");
        }
    }
    return e;
}

/* The stream's last entry: the terminal event with the record's last seq and time where the run has ended, and no such event where it has not. */
static bool want_tail(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a;
    const struct run *run = e->run;
    bool ended = run->class == CLASS_ENDED;
    if (r->type != REDIS_REPLY_ARRAY)
        return false;
    if (r->elements == 0)
        return !ended || *run->f[F_DROPPED_TO];
    struct entry last = entry_of(r->element[0]);
    if (last.terminal != ended || ended != (last.epoch == SEQ_CLOSED))
        return false;
    const char *tail = run->f[F_TAIL]; /* lua/include/stream.lua */
    return !ended || (last.last == part_of(tail, 1) && last.t == part_of(tail, 2));
}

void audit_events_expect(struct audit *a, const struct run *run)
{
    const char *events = audit_key(a, "run:%s:events", run->id);
    (void)attempts_send(a, run, true, want_attempts, "has attempts that are not as they should be");
    audit_expect(a,
                 &(struct expect){.path = audit_text(a, "run:%s", run->id),
                                  .what = "has a stream that does not end as the run does",
                                  .want = want_tail,
                                  .run = run},
                 6, (const char *const[]){"XREVRANGE", events, "+", "-", "COUNT", "1"});
}

/* What is wrong with an entry behind `before`; NULL for nothing. */
static const char *entry_fault(const struct run *run, const redisReply *attempts, const struct entry *before,
                               const struct entry *now)
{
    if (before->terminal)
        return "has a terminal event that is not its end";
    if (now->first <= before->last || now->last < now->first || now->t < before->t)
        return "has events out of order";
    if (now->terminal != (now->epoch == SEQ_CLOSED) || (now->terminal && run->class != CLASS_ENDED))
        return "has a wrong id for its kind of event";
    bool known = now->terminal || (now->told && now->first == now->last);
    for (size_t i = 2; i < attempts->elements && !known; i += 3)
        known = number_of(reply_item(attempts, i)) == now->epoch;
    /* Of attempts that are not kept any more nothing is known. */
    return known || number_of(run->f[F_ATTEMPT]) > LIMIT_ATTEMPTS ? NULL : "has an event of no attempt";
}

void audit_events_read(struct audit *a, const struct run *run)
{
    static const redisReply none = {.type = REDIS_REPLY_NIL};
    const redisReply *attempts = attempts_send(a, run, false, NULL, NULL) ? audit_reply(a) : &none;
    const char *path = audit_text(a, "run:%s", run->id), *key = audit_key(a, "run:%s:events", run->id), *fault = NULL;
    char cursor[64] = "-";
    struct entry before = {.last = -1};
    for (bool more = true; more && !fault && a->err == ERR_OK;) {
        redisReply *page = redisCommand(a->c, "XRANGE %s %s + COUNT " CHUNK, key, cursor);
        if (!page)
            audit_fail(a, ERR_REDIS_UNAVAILABLE);
        more = page && page->type == REDIS_REPLY_ARRAY && page->elements > 0;
        for (size_t i = 0; more && i < page->elements && !fault; i++) {
            struct entry now = entry_of(page->element[i]);
            fault = entry_fault(run, attempts, &before, &now);
            before = now;
            snprintf(cursor, sizeof(cursor), "(%s", reply_item(page->element[i], 0));
        }
        freeReplyObject(page);
    }
    /* It may have gone on since its record was read. */
    const redisReply *status = fault ? ASK(a, "HMGET", audit_key(a, "run:%s", run->id), "status", "attempt") : &none;
    if (fault && strcmp(reply_item(status, 0), run->f[F_STATUS]) == 0 &&
        strcmp(reply_item(status, 1), run->f[F_ATTEMPT]) == 0)
        audit_found(a, path, fault);
}
