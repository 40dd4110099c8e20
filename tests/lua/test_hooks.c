/* Webhooks: every end of a run is in the outbox with it, a lease lets one sender at a time, what came of an attempt decides what follows, and all of it is bounded. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

#define HOOK "wh_1"

static enum err try_put(struct harness *h, const char *id, const char *filter, const char *secret)
{
    const struct str fields[] = {S("url"), S("https://example.com/hook"), S("enabled"), *filter ? S("1") : S("0")};
    struct script_hook_put_args args = {.ws = S("default"),
                                        .id = S(id),
                                        .secret = S(secret),
                                        .filter = S(filter),
                                        .max_hooks = 3,
                                        .fields = fields,
                                        .fields_len = ARRAY_LEN(fields)};
    return sync_hook_put(h, &args, NULL);
}

static void put(struct harness *h, const char *id, const char *filter)
{
    harness_assert_err(try_put(h, id, filter, harness_printf(h, "sealed-%s", id)), ERR_OK);
}

static const struct script_hook_take_reply *take(struct harness *h, int64_t max, int64_t lease_ms)
{
    struct script_hook_take_args args = {.max = max, .lease_ms = lease_ms, .max_result = 100};
    const struct script_hook_take_reply *reply;
    harness_assert_err(sync_hook_take(h, &args, &reply), ERR_OK);
    return reply;
}

static bool done(struct harness *h, const struct script_hook_take_deliveries *d, const char *outcome, int64_t code,
                 int64_t delay_ms)
{
    struct script_hook_done_args args = {.ws = d->ws,
                                         .hook = d->hook,
                                         .id = d->id,
                                         .lease = d->lease,
                                         .outcome = S(outcome),
                                         .code = code,
                                         .why = S(code == 200 ? "" : "The receiver answered otherwise"),
                                         .delay_ms = delay_ms};
    const struct script_hook_done_reply *reply;
    harness_assert_err(sync_hook_done(h, &args, &reply), ERR_OK);
    return reply->done;
}

/* The deliveries of a webhook: "TYPE RUN" a line, oldest first. */
static const char *listed(struct harness *h, const char *hook)
{
    const redisReply *ids = harness_do(h, "ZRANGE %s 0 -1", harness_key(h, "hooklist:default:%s", hook));
    const char *out = "";
    for (size_t i = 0; i < ids->elements; i++) {
        const char *key = harness_key(h, "delivery:default:%s:%s", hook, ids->element[i]->str);
        out = harness_printf(h, "%s%s %s\n", out, harness_hget(h, key, "type"), harness_hget(h, key, "run"));
    }
    return out;
}

static const char *delivery_field(struct harness *h, const struct script_hook_take_deliveries *d, const char *field)
{
    const char *key = harness_key(h, "delivery:%.*s:%.*s:%.*s", STR_ARG(d->ws), STR_ARG(d->hook), STR_ARG(d->id));
    const char *value = harness_hget(h, key, field);
    return value ? value : "";
}

static const char *ping(struct harness *h, const char *id)
{
    struct script_hook_ping_args args = {.ws = S("default"), .id = S(id)};
    const struct script_hook_ping_reply *reply;
    harness_assert_err(sync_hook_ping(h, &args, &reply), ERR_OK);
    return harness_copy_str(h, reply->delivery).ptr;
}

static void promote(struct harness *h)
{
    struct script_promote_args args = {.max = 100, .rid = S(RID), .retention_ms = RETAIN};
    harness_assert_err(sync_promote(h, &args, NULL), ERR_OK);
}

/* ---- each way a run ends ---- */

static void expect(struct harness *h, const char *run, const char *type)
{
    const char *wanted = harness_printf(h, "%s %s\n", type, run);
    if (!strstr(listed(h, HOOK), wanted))
        fail_msg("%s is not in the outbox, but\n%s", wanted, listed(h, HOOK));
    const char *id = harness_printf(h, "%s-%s", run, rig_field(h, run, "lastSeq"));
    assert_true(harness_zscore(h, harness_key(h, "hookdue:default:" HOOK), id, NULL));
    audit_check(h);
}

static void test_ends_by_a_runner(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success run.error run.stopped|");
    static const char *const outcomes[] = {"success", "error"};
    for (size_t i = 0; i < 2; i++) {
        const struct script_claim_runs *row = audit_running(h, "r1", NULL);
        redisContext *ear = audit_listen(h, "hookw");
        harness_assert_err(rig_finish(h, "r1", row, outcomes[i], 0, NULL), ERR_OK);
        assert_string_equal(audit_heard(h, ear), "hookw \n");
        expect(h, audit_id(h, row), i ? "run.error" : "run.success");
    }
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    harness_assert_err(rig_stop(h, audit_id(h, row)), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    expect(h, audit_id(h, row), "run.stopped");
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "hooklist:default:" HOOK)), 3);
}

static void test_ends_of_what_waits(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success run.error run.stopped|");
    const char *queued = rig_submit(h, NULL), *delayed = rig_submit(h, &(struct rig_run){.delay_ms = 60000});
    const char *child = rig_submit(h, &(struct rig_run){.parent = queued});
    const char *dependent = rig_submit(h, &(struct rig_run){.depends = {queued}});
    harness_assert_err(rig_stop(h, queued), ERR_OK);
    expect(h, queued, "run.stopped");
    expect(h, child, "run.stopped"); /* by the tree */
    harness_assert_err(rig_stop(h, delayed), ERR_OK);
    expect(h, delayed, "run.stopped");
    promote(h);
    expect(h, dependent, "run.error"); /* its dependency was stopped */
    const char *late = rig_submit(h, &(struct rig_run){.depends = {queued}});
    expect(h, late, "run.error"); /* at its submission */
    const char *hurried = rig_submit(h, &(struct rig_run){.start_within_ms = 60000});
    harness_do(h, "ZADD %s 5 %s", harness_key(h, "expiry"), hurried);
    harness_do(h, "HSET %s startBy 5", harness_key(h, "run:%s", hurried));
    promote(h);
    expect(h, hurried, "run.error");
    const char *replaced = rig_submit(h, &(struct rig_run){.key_gate = "k:x=1"});
    (void)rig_submit(h, &(struct rig_run){.key_gate = "k:x=1", .on_limit = "replace"});
    expect(h, replaced, "run.stopped");
}

static void test_ends_of_what_was_lost(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success run.error run.stopped|");
    const struct script_claim_runs *row = audit_running(h, "r1", &(struct rig_run){.at_most_once = true});
    rig_expire(h, "r1");
    rig_reap(h, 10);
    expect(h, audit_id(h, row), "run.error");
    row = audit_running(h, "r2", &(struct rig_run){.at_most_once = true});
    harness_assert_err(rig_heartbeat(h, "r2", 1, NULL, 0, NULL), ERR_OK); /* names nothing of what it holds */
    expect(h, audit_id(h, row), "run.error");
    row = audit_running(h, "r3", NULL);
    harness_assert_err(rig_stop(h, audit_id(h, row)), ERR_OK);
    rig_expire(h, "r3");
    rig_reap(h, 10);
    expect(h, audit_id(h, row), "run.stopped");
}

static void test_a_retry_is_no_end(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success run.error run.stopped|");
    const struct script_claim_runs *row = audit_running(h, "r1", &(struct rig_run){.max_attempts = 2});
    harness_assert_err(rig_finish(h, "r1", row, "error", 0, NULL), ERR_OK);
    assert_string_equal(listed(h, HOOK), "");
    row = rig_execute(h, "r1", 2);
    harness_assert_err(rig_finish(h, "r1", row, "error", 0, NULL), ERR_OK);
    expect(h, audit_id(h, row), "run.error");
    harness_assert_err(rig_finish(h, "r1", row, "error", 0, NULL), ERR_OK); /* told again */
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "hooklist:default:" HOOK)), 1);
}

static void test_who_is_told(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.error|");
    put(h, "wh_2", "run.success run.stopped|a t");
    put(h, "wh_3", "run.success|other");
    harness_assert_err(try_put(h, "wh_4", "run.success|", "x"), ERR_LIMIT_EXCEEDED);
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    assert_string_equal(listed(h, HOOK), "");
    assert_string_equal(listed(h, "wh_2"), harness_printf(h, "run.success %s\n", audit_id(h, row)));
    assert_string_equal(listed(h, "wh_3"), "");
    harness_assert_err(try_put(h, "wh_2", "", ""), ERR_OK); /* off */
    row = audit_running(h, "r1", NULL);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "hooklist:default:wh_2")), 1);
    harness_assert_err(try_put(h, "wh_9", "run.success|", ""), ERR_WEBHOOK_NOT_FOUND);
    audit_check(h);
}

/* A workspace without webhooks pays one command at the end of a run. */
static void test_what_it_costs_nobody(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    harness_do(h, "CONFIG RESETSTAT");
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    assert_null(strstr(harness_do(h, "INFO commandstats")->str, "cmdstat_hgetall:"));
    assert_string_equal(harness_keys(h, "*hook*"), "");
    assert_string_equal(harness_keys(h, "*delivery*"), "");
    assert_string_equal(harness_keys(h, "*follow*"), "");
}

/* ---- a run's own webhook ---- */

static void test_a_runs_own_webhook(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.error|nobody");
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    harness_do(h, "HSET %s hook " HOOK, harness_key(h, "run:%s", audit_id(h, row)));
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    assert_string_equal(listed(h, HOOK), harness_printf(h, "run.success %s\n", audit_id(h, row)));
    row = audit_running(h, "r1", NULL);
    harness_do(h, "HSET %s hook runs hookUrl https://example.com/own hookSecret sealed-own",
               harness_key(h, "run:%s", audit_id(h, row)));
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    assert_string_equal(listed(h, "runs"), harness_printf(h, "run.success %s\n", audit_id(h, row)));
    const struct script_hook_take_reply *t = take(h, 10, 60000);
    assert_int_equal(t->deliveries_len, 2);
    for (size_t i = 0; i < 2; i++) {
        bool own = str_eqz(t->deliveries[i].hook, "runs");
        assert_true(str_eqz(t->deliveries[i].url, own ? "https://example.com/own" : "https://example.com/hook"));
        assert_true(str_eqz(t->deliveries[i].secret, own ? "sealed-own" : "sealed-" HOOK));
        assert_true(done(h, &t->deliveries[i], own ? "gone" : "delivered", own ? 410 : 200, 0));
    }
    audit_check(h);
}

/* ---- leases ---- */

static void test_a_lease_lets_one_at_a_time(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success|");
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    const struct script_hook_take_reply *t = take(h, 10, 60000);
    assert_int_equal(t->deliveries_len, 1);
    const struct script_hook_take_deliveries *d = &t->deliveries[0];
    assert_true(str_eqz(d->type, "run.success") && str_eqz(d->agent, "t") && str_eq(d->run, row->run));
    assert_true(str_eqz(redis_str(redis_field(d->record, "result")), "42"));
    assert_true(str_eqz(redis_str(redis_field(d->record, "input")), ""));
    assert_int_equal(d->last, 2);
    assert_in_range(t->next_ms, 50000, 60000);
    assert_int_equal(take(h, 10, 60000)->deliveries_len, 0);
    audit_check(h);
    assert_true(done(h, d, "delivered", 200, 0));
    assert_false(done(h, d, "delivered", 200, 0)); /* told again */
    assert_string_equal(delivery_field(h, d, "status"), "delivered");
    assert_string_equal(delivery_field(h, d, "attempts"), "1");
    assert_int_equal(take(h, 10, 60000)->deliveries_len, 0);
    audit_check(h);
}

/* Its node died: the lease ends, and what the dead one says later does not count. */
static void test_a_lease_that_ends(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success|");
    ping(h, HOOK);
    const struct script_hook_take_deliveries *dead = &take(h, 10, 1)->deliveries[0];
    const struct script_hook_take_reply *t;
    do {
        t = take(h, 10, 60000);
    } while (t->deliveries_len == 0);
    assert_true(str_eq(t->deliveries[0].id, dead->id));
    assert_false(str_eq(t->deliveries[0].lease, dead->lease));
    assert_false(done(h, dead, "delivered", 200, 0));
    assert_string_equal(delivery_field(h, dead, "status"), "pending");
    assert_true(done(h, &t->deliveries[0], "delivered", 200, 0));
    audit_check(h);
}

static void test_a_slow_receiver_keeps_nobody_waiting(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success|");
    put(h, "wh_2", "run.success|");
    for (int i = 0; i < 9; i++)
        ping(h, HOOK);
    ping(h, "wh_2");
    const struct script_hook_take_reply *t = take(h, 100, 60000);
    size_t slow = 0;
    for (size_t i = 0; i < t->deliveries_len; i++)
        slow += str_eqz(t->deliveries[i].hook, HOOK);
    assert_int_equal(slow, 4);
    assert_int_equal(t->deliveries_len, 5);
    assert_int_equal(take(h, 100, 60000)->deliveries_len, 0);
    assert_true(done(h, &t->deliveries[0], "retry", 500, 5000));
    assert_int_equal(take(h, 100, 60000)->deliveries_len, str_eqz(t->deliveries[0].hook, HOOK) ? 1 : 0);
    audit_check(h);
}

/* ---- what follows ---- */

static void test_failures_are_tried_again_and_counted(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success|");
    ping(h, HOOK);
    const struct script_hook_take_deliveries *d = &take(h, 1, 60000)->deliveries[0];
    int64_t before = harness_now_ms(h);
    assert_true(done(h, d, "retry", 503, 60000));
    int64_t next = strtoll(delivery_field(h, d, "next"), NULL, 10);
    assert_in_range(next, before + 60000, harness_now_ms(h) + 60000);
    assert_string_equal(delivery_field(h, d, "lastStatus"), "503");
    assert_string_equal(delivery_field(h, d, "status"), "pending");
    const char *key = harness_key(h, "hook:default:" HOOK);
    harness_assert_hget(h, key, "failures", "1");
    assert_non_null(harness_hget(h, key, "failingSince"));
    assert_int_equal(take(h, 1, 60000)->deliveries_len, 0);
    harness_do(h, "ZADD %s 5 %s", harness_key(h, "hookdue:default:" HOOK), harness_copy_str(h, d->id).ptr);
    harness_do(h, "ZADD %s 5 default:" HOOK, harness_key(h, "hookq"));
    d = &take(h, 1, 60000)->deliveries[0];
    assert_int_equal(d->tries, 1);
    assert_true(done(h, d, "gaveup", 500, 0));
    assert_string_equal(delivery_field(h, d, "status"), "gaveup");
    harness_assert_hget(h, key, "failures", "2");
    harness_assert_hget(h, key, "enabled", "1"); /* many failures disable nothing silently */
    struct script_hook_resend_args again = {.ws = S("default"), .id = S(HOOK), .delivery = d->id};
    harness_assert_err(sync_hook_resend(h, &again, NULL), ERR_OK);
    const struct script_hook_take_deliveries *e = &take(h, 1, 60000)->deliveries[0];
    assert_true(str_eq(e->id, d->id));
    assert_int_equal(e->tries, 0);                                 /* with all its attempts */
    harness_assert_err(sync_hook_resend(h, &again, NULL), ERR_OK); /* under way: stays so */
    assert_int_equal(take(h, 1, 60000)->deliveries_len, 0);
    assert_true(done(h, e, "delivered", 204, 0));
    assert_null(harness_hget(h, key, "failures"));
    assert_null(harness_hget(h, key, "failingSince"));
    again.delivery = S("nothing");
    harness_assert_err(sync_hook_resend(h, &again, NULL), ERR_DELIVERY_NOT_FOUND);
    again.id = S("wh_9");
    harness_assert_err(sync_hook_resend(h, &again, NULL), ERR_WEBHOOK_NOT_FOUND);
    audit_check(h);
}

static void test_gone_disables(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success event.notification|");
    for (int i = 0; i < 6; i++)
        ping(h, HOOK);
    const struct script_hook_take_reply *t = take(h, 1, 60000);
    assert_true(done(h, &t->deliveries[0], "gone", 410, 0));
    harness_assert_hget(h, harness_key(h, "hook:default:" HOOK), "enabled", "0");
    harness_assert_hget(h, harness_key(h, "hook:default:" HOOK), "disabledReason", "gone");
    harness_assert_hget(h, harness_key(h, "hooks:default"), HOOK, "");
    assert_null(harness_hget(h, harness_key(h, "hooks:default"), "*"));
    assert_string_equal(delivery_field(h, &t->deliveries[0], "status"), "failed");
    assert_int_equal(take(h, 10, 60000)->deliveries_len, 0); /* what waited fails */
    assert_int_equal(harness_int(h, "ZCOUNT %s -inf %s", harness_key(h, "hookdue:default:" HOOK),
                                 harness_printf(h, "%lld", (long long)harness_now_ms(h))),
                     0);
    struct script_hook_ping_args args = {.ws = S("default"), .id = S(HOOK)};
    harness_assert_err(sync_hook_ping(h, &args, NULL), ERR_WEBHOOK_DISABLED);
    struct script_hook_resend_args again = {.ws = S("default"), .id = S(HOOK), .delivery = t->deliveries[0].id};
    harness_assert_err(sync_hook_resend(h, &again, NULL), ERR_WEBHOOK_DISABLED);
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "hooklist:default:" HOOK)), 6);
    harness_assert_err(try_put(h, HOOK, "run.success|", ""), ERR_OK); /* on again */
    assert_null(harness_hget(h, harness_key(h, "hook:default:" HOOK), "disabledReason"));
    ping(h, HOOK);
    assert_int_equal(take(h, 10, 60000)->deliveries_len, 1);
    audit_check(h);
}

static void test_two_secrets_for_a_while(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success|");
    struct script_hook_rotate_args args = {
        .ws = S("default"), .id = S(HOOK), .secret = S("sealed-2"), .overlap_ms = 60000};
    const struct script_hook_rotate_reply *reply;
    harness_assert_err(sync_hook_rotate(h, &args, &reply), ERR_OK);
    assert_null(redis_field(reply->fields, "secret"));
    assert_null(redis_field(reply->fields, "secretOld"));
    ping(h, HOOK);
    const struct script_hook_take_deliveries *d = &take(h, 1, 60000)->deliveries[0];
    assert_true(str_eqz(d->secret, "sealed-2") && str_eqz(d->secret_old, "sealed-" HOOK));
    harness_do(h, "HSET %s oldUntil 5", harness_key(h, "hook:default:" HOOK));
    ping(h, HOOK);
    d = &take(h, 1, 60000)->deliveries[0];
    assert_true(str_eqz(d->secret, "sealed-2") && d->secret_old.len == 0);
    args.overlap_ms = 0;
    args.secret = S("sealed-3");
    harness_assert_err(sync_hook_rotate(h, &args, NULL), ERR_OK);
    ping(h, HOOK);
    d = &take(h, 1, 60000)->deliveries[0];
    assert_true(str_eqz(d->secret, "sealed-3") && d->secret_old.len == 0);
    args.id = S("wh_9");
    harness_assert_err(sync_hook_rotate(h, &args, NULL), ERR_WEBHOOK_NOT_FOUND);
}

/* ---- events ---- */

static const struct script_hook_follow_reply *follow(struct harness *h)
{
    struct script_hook_follow_args args = {.max = 10, .pause_ms = 60000};
    const struct script_hook_follow_reply *reply;
    harness_assert_err(sync_hook_follow(h, &args, &reply), ERR_OK);
    return reply;
}

static int64_t tell(struct harness *h, const struct script_claim_runs *row, const char *from, int64_t seq, bool ended)
{
    struct script_hook_events_events event = {S("notification"), S(harness_printf(h, "%lld", (long long)row->epoch)),
                                              seq};
    struct script_hook_events_args args = {.run = row->run,
                                           .from = S(from),
                                           .to =
                                               S(harness_printf(h, "%lld-%lld", (long long)row->epoch, (long long)seq)),
                                           .ended = ended,
                                           .more = !ended,
                                           .events = &event,
                                           .events_len = ended ? 0 : 1};
    const struct script_hook_events_reply *reply;
    harness_assert_err(sync_hook_events(h, &args, &reply), ERR_OK);
    return reply->told;
}

static void test_events_are_told_once(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    assert_int_equal(follow(h)->runs_len, 0); /* nobody wants any */
    put(h, HOOK, "event.notification|");
    put(h, "wh_2", "event.tool_request event.notification|other");
    row = audit_running(h, "r1", NULL);
    audit_check(h);
    const struct script_hook_follow_reply *f = follow(h);
    assert_int_equal(f->runs_len, 1);
    assert_true(str_eq(f->runs[0].run, row->run) && f->runs[0].ended == 0);
    assert_int_equal(f->runs[0].epoch, 0);
    assert_int_equal(follow(h)->runs_len, 0); /* its next turn comes */
    assert_true(rig_append(h, row, 5));
    assert_int_equal(tell(h, row, "0-0", 5, false), 1); /* wh_2 wants another agent's */
    assert_int_equal(tell(h, row, "0-0", 5, false), 0); /* another node was as far */
    const char *position = rig_field(h, audit_id(h, row), "follow");
    assert_int_equal(tell(h, row, "0-0", 3, false), 0); /* and this one is behind */
    assert_string_equal(rig_field(h, audit_id(h, row), "follow"), position);
    harness_do(h, "HSET %s follow 0-0", harness_key(h, "run:%s", audit_id(h, row))); /* as a Redis that forgot */
    assert_int_equal(tell(h, row, "0-0", 5, false), 0);
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "hooklist:default:" HOOK)), 1);
    f = follow(h);
    assert_int_equal(f->runs_len, 1); /* it said that there is more */
    assert_int_equal(f->runs[0].epoch, row->epoch);
    assert_int_equal(f->runs[0].seq, 5);
    const struct script_hook_take_deliveries *d = &take(h, 1, 60000)->deliveries[0];
    assert_true(str_eqz(d->type, "event.notification"));
    assert_int_equal(d->seq, 5);
    assert_true(str_eqz(d->event, "{\"seq\":5,\"tMs\":5,\"kind\":\"notification\",\"data\":{}}"));
    assert_true(str_eqz(redis_str(redis_field(d->record, "status")), "running"));
    audit_check(h);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    assert_int_equal(tell(h, row, harness_printf(h, "%lld-5", (long long)row->epoch), 9, true), 0);
    assert_false(harness_exists(h, harness_key(h, "follow")));
    assert_string_equal(rig_field(h, audit_id(h, row), "follow"), "");
    audit_check(h);
}

/* Another attempt goes on where the one before it was looked through to. */
static void test_events_of_another_attempt(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "event.notification|");
    const struct script_claim_runs *row = audit_running(h, "r1", &(struct rig_run){.max_attempts = 2});
    const char *run = audit_id(h, row);
    assert_string_equal(rig_field(h, run, "follow"), "0-0");
    harness_do(h, "HSET %s follow 5-5", harness_key(h, "run:%s", run));
    harness_assert_err(rig_finish(h, "r1", row, "error", 0, NULL), ERR_OK);
    row = rig_claim(h, "r1", 9, 1)->runs;
    assert_true(str_eqz(row->run, run) && row->attempt == 2);
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    assert_string_equal(rig_field(h, run, "follow"), "5-5");
    audit_check(h);
}

static void test_nobody_wants_events_any_more(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "event.notification|");
    (void)audit_running(h, "r1", NULL);
    harness_assert_err(try_put(h, HOOK, "run.error|", ""), ERR_OK);
    assert_int_equal(follow(h)->runs_len, 0);
    assert_false(harness_exists(h, harness_key(h, "follow")));
    audit_check(h);
}

/* ---- bounds ---- */

static void test_what_is_over_is_bounded(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success|");
    for (int i = 0; i < 1020; i++) {
        ping(h, HOOK);
        const struct script_hook_take_reply *t = take(h, 4, 60000);
        assert_int_equal(t->deliveries_len, 1);
        assert_true(done(h, &t->deliveries[0], i % 2 ? "delivered" : "gaveup", 200, 0));
    }
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "hooklist:default:" HOOK)), 1000);
    audit_check(h);
    /* In the end all of it goes by its time, in bounded steps. */
    const redisReply *ids = harness_do(h, "ZRANGE %s 0 -1", harness_key(h, "hookdue:default:" HOOK));
    for (size_t i = 0; i < ids->elements; i++)
        harness_do(h, "ZADD %s 5 %s", harness_key(h, "hookdue:default:" HOOK), ids->element[i]->str);
    harness_do(h, "ZADD %s 5 default:" HOOK, harness_key(h, "hookq"));
    int calls = 1;
    for (; take(h, 4, 60000)->next_ms == 0; calls++)
        assert_true(calls < 500);
    assert_true(calls > 10);
    assert_string_equal(harness_keys(h, "*delivery*"), "");
    assert_false(harness_exists(h, harness_key(h, "hookq")));
    audit_check(h);
}

static void test_what_waits_is_kept_longer_and_dropped_last(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success|");
    for (int i = 0; i < 1100; i++)
        ping(h, HOOK);
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "hooklist:default:" HOOK)), 1100);
    /* As if there were 10,000 already. */
    for (int i = 0; i < 8900; i++)
        harness_do(h, "ZADD %s 1%s %s", harness_key(h, "hooklist:default:" HOOK), harness_printf(h, "%d", i),
                   harness_printf(h, "x%d", i));
    ping(h, HOOK);
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "hooklist:default:" HOOK)), 10001 - 4);
}

static void test_a_webhook_goes_with_its_deliveries(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success event.notification|");
    for (int i = 0; i < 25; i++)
        ping(h, HOOK);
    assert_int_equal(take(h, 3, 60000)->deliveries_len, 3);
    struct script_hook_delete_args args = {.ws = S("default"), .id = S(HOOK), .max = 10};
    const struct script_hook_delete_reply *reply;
    for (int step = 0; step < 3; step++) {
        harness_assert_err(sync_hook_delete(h, &args, &reply), ERR_OK);
        assert_int_equal(reply->more, step < 2);
        audit_check(h);
    }
    harness_assert_err(sync_hook_delete(h, &args, &reply), ERR_WEBHOOK_NOT_FOUND);
    assert_string_equal(harness_keys(h, "*hook*"), "");
    assert_string_equal(harness_keys(h, "*delivery*"), "");
}

static void test_pages_of_deliveries(void **state)
{
    struct harness *h = *state;
    put(h, HOOK, "run.success|");
    const char *ids[5];
    for (int i = 0; i < 5; i++)
        ids[i] = ping(h, HOOK);
    struct script_hook_deliveries_args args = {.ws = S("default"), .id = S(HOOK), .before = S(""), .limit = 2};
    const struct script_hook_deliveries_reply *reply;
    for (int at = 4; at >= 0; at -= 2) {
        harness_assert_err(sync_hook_deliveries(h, &args, &reply), ERR_OK);
        assert_int_equal(reply->deliveries_len, at > 0 ? 2 : 1);
        assert_true(str_eqz(reply->deliveries[0].id, ids[at]));
        assert_true(str_eqz(redis_str(redis_field(reply->deliveries[0].fields, "status")), "pending"));
        assert_int_equal(reply->next.len > 0, at > 0);
        args.before = reply->next;
    }
    args.id = S("wh_9");
    harness_assert_err(sync_hook_deliveries(h, &args, &reply), ERR_WEBHOOK_NOT_FOUND);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, harness_test_start)
    const struct CMUnitTest tests[] = {
        TEST(test_ends_by_a_runner),
        TEST(test_ends_of_what_waits),
        TEST(test_ends_of_what_was_lost),
        TEST(test_a_retry_is_no_end),
        TEST(test_who_is_told),
        TEST(test_what_it_costs_nobody),
        TEST(test_a_runs_own_webhook),
        TEST(test_a_lease_lets_one_at_a_time),
        TEST(test_a_lease_that_ends),
        TEST(test_a_slow_receiver_keeps_nobody_waiting),
        TEST(test_failures_are_tried_again_and_counted),
        TEST(test_gone_disables),
        TEST(test_two_secrets_for_a_while),
        TEST(test_events_are_told_once),
        TEST(test_events_of_another_attempt),
        TEST(test_nobody_wants_events_any_more),
        TEST(test_what_is_over_is_bounded),
        TEST(test_what_waits_is_kept_longer_and_dropped_last),
        TEST(test_a_webhook_goes_with_its_deliveries),
        TEST(test_pages_of_deliveries),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
