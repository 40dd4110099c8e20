#include "audit.h"

#include "cli/audit.h"
#include "common/event.h"
#include "common/limits.h"
#include "common/strbuf.h"
#include "lua/scripts_sync.h"

/* ---- the audit: cli/audit.h, with every event ---- */

static void collect(void *ctx, const char *key, const char *what)
{
    struct strbuf *all = ctx;
    strbuf_addf(all, "%s: %s\n", key, what);
}

const char *audit_findings(struct harness *h)
{
    struct strbuf all;
    struct audit_counts counts;
    strbuf_init(&all, 1 << 20);
    harness_assert_err(audit_shard(h->sync, h->prefix, &(struct audit_options){.events = true}, collect, &all, &counts),
                       ERR_OK);
    assert_true(counts.counters_judged);
    const char *text = harness_copy_str(h, strbuf_str(&all)).ptr;
    strbuf_done(&all);
    return text;
}

void audit_check(struct harness *h)
{
    const char *found = audit_findings(h);
    if (*found)
        fail_msg("audit: %s", found);
}

void audit_nothing_left(struct harness *h)
{
    static const char *const may_stay[] = {"bell", "runner", "leases", "reap", "idem", "tput", "rate", NULL};
    const char *names = harness_keys(h, harness_key(h, "*"));
    for (const char *at = names; *at;) {
        size_t len = strcspn(at, "\n");
        const char *path = harness_printf(h, "%.*s", (int)(len - h->prefix.len), at + h->prefix.len);
        bool may = false;
        for (const char *const *kind = may_stay; *kind; kind++)
            may |= strcspn(path, ":") == strlen(*kind) && strncmp(path, *kind, strlen(*kind)) == 0;
        if (!may)
            fail_msg("audit: %s: is left", path);
        at += len + (at[len] == '\n');
    }
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
    redisContext *ear = harness_connect_sync(h);
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
