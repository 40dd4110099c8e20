/* Looks through the events of runs for what webhooks want: from a stored position, a step at a time. What was found and the position move in one script, so nothing is told twice whoever looks. */
#include <stdio.h>
#include <stdlib.h>

#include "api/hook_parts.h"
#include "common/event.h"
#include "lua/scripts.h"

enum { RUNS = 16, READ_COUNT = 16, FOUND_MAX = 16, PAUSE_MS = 1000 };

struct reading {
    struct hook_shard *at;
    char run[ID_LEN + 1], from[48], kinds[256];
    int64_t epoch, seq;
    bool ended; /* the run had ended before it was read */
    struct script_hook_events_events found[FOUND_MAX];
    char epochs[FOUND_MAX][24];
    size_t found_len;
    int64_t to_epoch, to_seq;
    bool more;
};

static void reading_end(struct reading *r)
{
    struct hook_shard *s = r->at;
    bool more = r->more;
    free(r);
    s->reading--;
    if (s->reading == 0 && more && !s->hooks->draining)
        loop_timer_set(&s->follow, 0);
}

static void on_events(void *ctx, enum err err, const struct script_hook_events_reply *reply)
{
    struct reading *r = ctx;
    (void)reply;
    r->more = r->more && !err;
    reading_end(r);
}

static bool is_wanted(const struct reading *r, enum event_kind kind)
{
    const char *name = event_kind_name(kind), *at = r->kinds;
    size_t len = strlen(name);
    while ((at = strstr(at, name))) {
        if ((at == r->kinds || at[-1] == ' ') && (at[len] == ' ' || at[len] == 0))
            return true;
        at += len;
    }
    return false;
}

/* One event behind the position. False: there is no room for what it is. */
static bool take_event(struct reading *r, int64_t epoch, const struct event_head *h)
{
    if (h->kind < EVENT_KIND_COUNT && is_wanted(r, h->kind)) {
        if (r->found_len == FOUND_MAX)
            return false;
        snprintf(r->epochs[r->found_len], sizeof r->epochs[0], "%lld", (long long)epoch);
        r->found[r->found_len] = (struct script_hook_events_events){
            .kind = str_of(event_kind_name(h->kind)), .epoch = str_of(r->epochs[r->found_len]), .seq = h->seq};
        r->found_len++;
    }
    r->to_epoch = epoch;
    r->to_seq = h->seq;
    return true;
}

static bool take_entry(struct reading *r, const redisReply *entry)
{
    struct str lines = redis_str(redis_field(redis_at(entry, 1), "b")), id = redis_str(redis_at(entry, 0));
    int64_t epoch = id.len ? strtoll(id.ptr, NULL, 10) : 0, skip_to = epoch == r->epoch ? r->seq : -1;
    while (lines.len > 0) {
        const char *newline = memchr(lines.ptr, '\n', lines.len);
        struct str line = {lines.ptr, newline ? (size_t)(newline - lines.ptr) : lines.len};
        size_t len = line.len + (newline ? 1 : 0);
        lines.ptr += len;
        lines.len -= len;
        struct event_head h;
        if (line.len > 0 && event_peek(line, &h) == ERR_OK && h.seq > skip_to && !take_event(r, epoch, &h))
            return false;
    }
    const char *dash = id.len ? memchr(id.ptr, '-', id.len) : NULL;
    r->to_epoch = epoch;
    r->to_seq =
        dash ? strtoll(dash + 1, NULL, 10) : r->to_seq; /* also where an entry closes an epoch at its very end */
    return true;
}

static void on_read(void *ctx, enum err err, const redisReply *reply)
{
    struct reading *r = ctx;
    char to[48];
    if (err || reply->type != REDIS_REPLY_ARRAY) {
        reading_end(r);
        return;
    }
    bool room = true;
    for (size_t i = 0; i < reply->elements && room; i++)
        room = take_entry(r, reply->element[i]);
    bool ended = room && (r->to_epoch == SEQ_CLOSED || (r->ended && reply->elements < READ_COUNT));
    r->more = !ended && (!room || reply->elements == READ_COUNT);
    snprintf(to, sizeof to, "%lld-%lld", (long long)r->to_epoch, (long long)r->to_seq);
    if (!ended && strcmp(to, r->from) == 0) { /* nothing new */
        reading_end(r);
        return;
    }
    struct script_hook_events_args args = {.run = str_of(r->run),
                                           .from = str_of(r->from),
                                           .to = str_of(to),
                                           .ended = ended,
                                           .more = r->more,
                                           .events = r->found,
                                           .events_len = r->found_len};
    script_call_hook_events(r->at->shard->commands, shard_prefix(r->at->shard), &args, on_events, r);
}

static void read_run(struct hook_shard *s, const struct script_hook_follow_runs *row)
{
    char start[64];
    struct reading *r = calloc(1, sizeof *r);
    if (!r || row->run.len >= sizeof r->run ||
        row->kinds.len >= sizeof r->kinds) { /* nothing that we wrote is so long */
        free(r);
        return;
    }
    r->at = s;
    memcpy(r->run, row->run.ptr, row->run.len);
    memcpy(r->kinds, row->kinds.ptr, row->kinds.len);
    r->epoch = r->to_epoch = row->epoch;
    r->seq = r->to_seq = row->seq;
    r->ended = row->ended;
    snprintf(r->from, sizeof r->from, "%lld-%lld", (long long)row->epoch, (long long)row->seq);
    snprintf(start, sizeof start, "(%s", r->from);
    s->reading++;
    struct key key = keys_events(shard_prefix(s->shard), row->run);
    _Static_assert(READ_COUNT == 16, "the command below says so too");
    redis_command(s->shard->commands, 6,
                  (const struct str[]){STR("XRANGE"), key_str(&key), str_of(start), STR("+"), STR("COUNT"), STR("16")},
                  on_read, r);
}

static void on_follow(void *ctx, enum err err, const struct script_hook_follow_reply *reply)
{
    struct hook_shard *s = ctx;
    s->following = false;
    if (err == ERR_CANCELED || s->hooks->draining)
        return;
    for (size_t i = 0; !err && i < reply->runs_len; i++)
        read_run(s, &reply->runs[i]);
    bool full = !err && reply->runs_len == RUNS;
    int64_t next_ms = err || reply->next_ms < 0 || reply->next_ms > HOOK_LOOK_MS ? HOOK_LOOK_MS : reply->next_ms;
    loop_timer_set(&s->follow, full ? 1 : next_ms > 50 ? next_ms : 50);
}

void hook_follow_due(void *ctx)
{
    struct hook_shard *s = ctx;
    if (s->following || s->reading > 0 || !redis_is_up(s->shard->commands)) {
        loop_timer_set(&s->follow, s->reading > 0 ? 5 : HOOK_LOOK_MS);
        return;
    }
    s->following = true;
    struct script_hook_follow_args args = {.max = RUNS, .pause_ms = PAUSE_MS};
    script_call_hook_follow(s->shard->commands, shard_prefix(s->shard), &args, on_follow, s);
}
