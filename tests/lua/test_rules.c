/* Rules that hold between policies: who may go before whom, what a limit that changed means at once, what one broken record may not do to others, and what is looked at in bounded steps. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static const struct script_promote_reply *promote(struct harness *h)
{
    const struct script_promote_reply *reply;
    harness_assert_err(
        sync_promote(h, &(struct script_promote_args){.max = 100, .rid = S(RID), .retention_ms = RETAIN}, &reply),
        ERR_OK);
    return reply;
}

static const struct script_claim_runs *next(struct harness *h)
{
    static int64_t number = 100;
    const struct script_claim_reply *reply = rig_claim(h, "r1", ++number, 1);
    return reply->runs_len ? &reply->runs[0] : NULL;
}

static void fail_with(struct harness *h, const struct script_claim_runs *row, int64_t retry_ms)
{
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, "error", retry_ms, NULL), ERR_OK);
}

static void succeed(struct harness *h, const struct script_claim_runs *row)
{
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
}

/* ---- retries ---- */

static void test_a_retry_at_once_goes_before_nobody(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    for (int i = 0; i < 3; i++)
        rig_submit(h, &(struct rig_run){.ws = "noisy", .max_attempts = 100});
    const char *quiet = rig_submit(h, &(struct rig_run){.ws = "quiet"});
    int before = 0;
    for (const struct script_claim_runs *row = next(h); row && !str_eqz(row->run, quiet); row = next(h)) {
        fail_with(h, row, 0); /* tries again at once, a hundred times */
        assert_in_range(++before, 1, 3);
    }
    audit_check(h);
}

static void test_a_retry_replaces_nobody(void **state)
{
    struct harness *h = *state;
    const struct rig_run replaces = {.key_gate = "k:x=1", .on_limit = "replace", .max_attempts = 3};
    rig_register(h, "r1");
    const char *old = rig_submit(h, &replaces);
    fail_with(h, next(h), 60000);
    const char *new = rig_submit(h, &replaces);
    const struct script_claim_runs *row = next(h);
    assert_true(str_eqz(row->run, new));
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    audit_due(h, old);
    promote(h);
    rig_assert_status(h, new, "running"); /* the newcomer stays */
    audit_check(h);
}

/* ---- limits ---- */

static void test_replace_under_a_large_limit(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *first = rig_submit(h, &(struct rig_run){.key_gate = "k:x=100"});
    for (int i = 1; i < 100; i++)
        rig_submit(h, &(struct rig_run){.key_gate = "k:x=100"});
    harness_do(h, "ZADD %s 1 %s", harness_key(h, "gate:default:k:x"), first);
    const char *new = rig_submit(h, &(struct rig_run){.key_gate = "k:x=100", .on_limit = "replace"});
    rig_assert_status(h, first, "stopped");
    assert_string_equal(rig_field(h, new, "waitGate"), "");
    audit_check(h);
}

static void test_replace_leaves_those_that_go_already(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *runs[3];
    for (int i = 0; i < 3; i++) {
        runs[i] = rig_submit(h, &(struct rig_run){.key_gate = "k:x=3"});
        harness_assert_err(rig_started(h, "r1", next(h)), ERR_OK);
        harness_do(h, "ZADD %s %d %s", harness_key(h, "gate:default:k:x"), i + 1, runs[i]); /* since when it holds it */
    }
    rig_submit(h, &(struct rig_run){.key_gate = "k:x=3", .on_limit = "replace"});
    rig_assert_status(h, runs[0], "stopping");
    rig_submit(h, &(struct rig_run){.key_gate = "k:x=3", .on_limit = "replace"});
    rig_assert_status(h, runs[1], "stopping");
    rig_assert_status(h, runs[2], "running");
    audit_check(h);
}

static void put_agent(struct harness *h, const char *digest, const char *rate)
{
    const struct str def[] = {
        S("json"),        S("{}"),     S("queue"),         S("default"), S("timeoutMs"),    S("1000"),
        S("graceMs"),     S("100"),    S("maxAttempts"),   S("1"),       S("atMostOnce"),   S("0"),
        S("backoffType"), S("fixed"),  S("backoffBaseMs"), S("10"),      S("backoffCapMs"), S("10"),
        S("source"),      S("stdout"), S("executor"),      S("process"), S("concurrency"),  S(""),
        S("rate"),        S(rate)};
    struct script_agent_put_args args = {.ws = S("default"),
                                         .name = S("a"),
                                         .digest = S(digest),
                                         .def_fields = def,
                                         .def_fields_len = ARRAY_LEN(def),
                                         .max_agents = 10,
                                         .max_versions = 10};
    harness_assert_err(sync_agent_put(h, &args, NULL), ERR_OK);
}

static void test_a_rate_that_is_raised_counts_at_once(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    put_agent(h, "slow", "1/3600000/1");
    for (int i = 0; i < 3; i++)
        rig_submit(h, &(struct rig_run){.agent = "a"});
    assert_non_null(next(h));
    assert_null(next(h));
    put_agent(h, "fast", "1000/1000/1");
    const struct script_claim_runs *row = NULL;
    for (int i = 0; i < 2000 && !row; i++) {
        promote(h);
        row = next(h);
    }
    assert_non_null(row);
    audit_check(h);
}

static void test_an_agent_that_goes_takes_its_limits_along(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    put_agent(h, "fast", "2/1000/1");
    for (int i = 0; i < 2; i++)
        rig_submit(h, &(struct rig_run){.agent = "a"});
    put_agent(h, "slow", "1/3600000/1");
    harness_do(h, "SET %s %s PX 100000000", harness_key(h, "rate:default:ra:a"),
               harness_printf(h, "%lld000", (long long)harness_now_ms(h) + 3600000));
    assert_non_null(next(h));
    promote(h);
    assert_true(promote(h)->next_ms > 1000); /* the second one waits by the slow rate */
    struct script_agent_delete_args args = {.ws = S("default"), .name = S("a")};
    harness_assert_err(sync_agent_delete(h, &args, NULL), ERR_OK);
    promote(h);
    assert_non_null(next(h)); /* and now by its own */
    audit_check(h);
}

static void test_a_clock_that_was_ahead_stops_no_rate(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    harness_do(h, "SET %s %s PX 100000000", harness_key(h, "rate:default:rk:x"),
               harness_printf(h, "%lld000", (long long)harness_now_ms(h) + 86400000));
    rig_submit(h, &(struct rig_run){.rate_gate = "rk:x=10/1000/1"});
    assert_non_null(next(h));
}

/* ---- dependencies ---- */

static void test_a_dependency_that_is_named_twice(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *a = rig_submit(h, NULL), *after = rig_submit(h, &(struct rig_run){.depends = {a, a}});
    succeed(h, next(h));
    promote(h);
    rig_assert_status(h, after, "queued");
    audit_check(h);
}

static void test_a_wide_graph_below_a_parent_is_no_cycle(void **state)
{
    struct harness *h = *state;
    const char *root = rig_submit(h, NULL), *layer[4] = {0};
    for (int depth = 0; depth < 8; depth++) { /* each of four depends on all four before it: 4^7 ways down */
        struct rig_run o = {.parent = root, .depends = {layer[0], layer[1], layer[2], layer[3]}};
        const char *now[4];
        for (int i = 0; i < 4; i++)
            now[i] = rig_submit(h, &o);
        memcpy(layer, now, sizeof layer);
    }
    audit_check(h);
}

static void test_each_dependency_counts_once(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *a = rig_submit(h, NULL), *b = rig_submit(h, NULL), *c = rig_submit(h, NULL),
               *after = rig_submit(h, &(struct rig_run){.depends = {a, b, c}});
    static const char *const left[] = {"2", "1", ""};
    for (int i = 0; i < 3; i++) {
        succeed(h, next(h));
        promote(h);
        assert_string_equal(rig_field(h, after, "depsLeft"), left[i]);
    }
    rig_assert_status(h, after, "queued");
}

/* ---- one that is broken ---- */

static void test_a_line_goes_on_behind_a_run_that_is_not_there(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_submit(h, &(struct rig_run){.key_gate = "k:x=1"});
    const char *gone = rig_submit(h, &(struct rig_run){.key_gate = "k:x=1"}),
               *third = rig_submit(h, &(struct rig_run){.key_gate = "k:x=1"});
    harness_do(h, "DEL %s", harness_key(h, "run:%s", gone)); /* somebody's hand */
    succeed(h, next(h));
    assert_string_equal(rig_field(h, third, "waitGate"), "");
    assert_true(str_eqz(next(h)->run, third));
}

/* ---- a Redis that was away for a moment ---- */

static double lease_left(struct harness *h, const char *inc)
{
    double at = 0;
    harness_zscore(h, harness_key(h, "leases"), inc, &at);
    return at - (double)harness_now_ms(h);
}

static void reap_as(struct harness *h, const char *rid)
{
    struct script_reap_args args = {
        .lease_ms = LEASE, .max = 64, .max_losses = LOSSES, .rid = S(rid), .retention_ms = RETAIN};
    harness_assert_err(sync_reap(h, &args, NULL), ERR_OK);
}

static void test_a_restart_makes_nobody_suspect(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    reap_as(h, RID);
    harness_do(h, "HSET %s until 0", harness_key(h, "reap"));
    reap_as(h, "rid-2"); /* restarted within a second: all subscriptions are gone, and nobody could renew */
    assert_true(lease_left(h, "r1") > 1600);
    reap_as(h, "rid-2");
    assert_true(lease_left(h, "r1") > 1600); /* one lease long */
    harness_do(h, "HSET %s until 0", harness_key(h, "reap"));
    reap_as(h, "rid-2");
    assert_true(lease_left(h, "r1") <= 1500);
}

static enum err beat_as(struct harness *h, const char *inc, const char *rid)
{
    struct script_heartbeat_args args = {
        .inc = S(inc), .lease_ms = LEASE, .rid = S(rid), .retention_ms = RETAIN, .max_losses = LOSSES};
    return sync_heartbeat(h, &args, NULL);
}

/* Not heard of for so long (ms) when Redis went: whether it lives on behind the restart. */
static void test_who_may_have_been_given_up_before_a_restart_is(void **state)
{
    struct harness *h = *state;
    static const int64_t silences[] = {0, 3500, 7900, 8100, 60000};
    for (size_t i = 0; i < ARRAY_LEN(silences); i++) {
        for (int reaped_first = 0; reaped_first < 2; reaped_first++) { /* who is back first: a node, or the runner */
            const char *inc = harness_printf(h, "r%zu-%d", i, reaped_first),
                       *next = harness_printf(h, "rid-%zu-%d", i, reaped_first);
            rig_register(h, inc);
            harness_assert_err(beat_as(h, inc, RID), ERR_OK);
            harness_do(h, "HSET %s rid %s", harness_key(h, "reap"), RID);
            harness_do(h, "HSET %s tick %s", harness_key(h, "reap"),
                       harness_printf(h, "%lld", (long long)harness_now_ms(h)));
            harness_do(h, "HSET %s seen %s", harness_key(h, "runner:%s", inc),
                       harness_printf(h, "%lld", (long long)(harness_now_ms(h) - silences[i])));
            if (reaped_first)
                reap_as(h, next);
            harness_assert_err(beat_as(h, inc, next), silences[i] > 8000 ? ERR_INCARNATION_DEAD : ERR_OK);
            harness_assert_err(beat_as(h, inc, next), silences[i] > 8000 ? ERR_INCARNATION_DEAD : ERR_OK);
            reap_as(h, next);
            audit_check(h);
        }
    }
}

/* ---- bounds ---- */

static void test_a_hold_lasts_until_there_is_room(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *large = rig_submit(h, &(struct rig_run){.slots = "4"});
    assert_int_equal(rig_claim(h, "r1", 1, 1)->runs_len, 0);
    const char *hold = harness_key(h, "hold:default:%s", rig_field(h, large, "req"));
    harness_do(h, "PEXPIRE %s 5000", hold);
    for (int i = 0; i < 3; i++)
        rig_submit(h, NULL);
    assert_int_equal(rig_claim(h, "r1", 2, 3)->runs_len, 0);
    assert_true(harness_int(h, "PTTL %s", hold) > 20000); /* it asked again: it still waits */
    const struct script_claim_reply *reply = rig_claim(h, "r1", 3, 4);
    assert_true(reply->runs_len == 1 && str_eqz(reply->runs[0].run, large));
    audit_check(h);
}

static void test_no_bell_is_left_of_a_queue_that_nobody_serves(void **state)
{
    struct harness *h = *state;
    rig_submit(h, &(struct rig_run){.queue = "other"});
    assert_in_range(harness_int(h, "PTTL %s", harness_key(h, "bell:other")), 1, 60000);
}

static void test_who_waits_among_many_queues_is_told(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 450; i++) {
        const char *run = rig_submit(h, &(struct rig_run){.queue = harness_printf(h, "q%d", i)});
        const char *lane =
            harness_key(h, "lane:q%d:-:default:normal", i); /* ten seconds go by: an older entry instead */
        harness_do(h, "DEL %s", lane);
        harness_do(h, "XADD %s 5-1 r %s", lane, run);
        harness_do(h, "HSET %s laneId 5-1", harness_key(h, "run:%s", run));
    }
    int64_t told = 0;
    for (int i = 0; i < 100 && told < 450; i++) {
        const struct script_watch_reply *reply;
        harness_do(h, "HSET %s watch 1", harness_key(h, "reap"));
        harness_assert_err(sync_watch(h, &(struct script_watch_args){.max = 50, .rid = S(RID)}, &reply), ERR_OK);
        told += reply->told;
    }
    assert_int_equal(told, 450);
}

static void test_requirements_are_bounded_wherever_runs_wait(void **state)
{
    struct harness *h = *state;
    enum err err = ERR_OK;
    int accepted = 0;
    for (; accepted < 400 && !err; accepted++)
        rig_try_submit(h, &(struct rig_run){.requires = harness_printf(h, "t%d", accepted), .delay_ms = 60000}, &err);
    harness_assert_err(err, ERR_LIMIT_EXCEEDED);
    assert_in_range(accepted, 256, 260);
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_retry_at_once_goes_before_nobody),
        TEST(test_a_retry_replaces_nobody),
        TEST(test_replace_under_a_large_limit),
        TEST(test_replace_leaves_those_that_go_already),
        TEST(test_a_rate_that_is_raised_counts_at_once),
        TEST(test_an_agent_that_goes_takes_its_limits_along),
        TEST(test_a_clock_that_was_ahead_stops_no_rate),
        TEST(test_a_dependency_that_is_named_twice),
        TEST(test_a_wide_graph_below_a_parent_is_no_cycle),
        TEST(test_each_dependency_counts_once),
        TEST(test_a_line_goes_on_behind_a_run_that_is_not_there),
        TEST(test_a_restart_makes_nobody_suspect),
        TEST(test_who_may_have_been_given_up_before_a_restart_is),
        TEST(test_a_hold_lasts_until_there_is_room),
        TEST(test_no_bell_is_left_of_a_queue_that_nobody_serves),
        TEST(test_who_waits_among_many_queues_is_told),
        TEST(test_requirements_are_bounded_wherever_runs_wait),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
