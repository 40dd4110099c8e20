/* started, finish, heartbeat, reap and the fence between attempts: only the current attempt writes, and each end comes once. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static const char *name_of(struct harness *h, const struct script_claim_runs *row)
{
    return harness_printf(h, "%.*s", STR_ARG(row->run));
}

static void test_the_whole_way(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    rig_assert_status(h, run, "running");
    assert_true(rig_append(h, row, 2) && rig_append(h, row, 5));
    const struct script_finish_reply *end;
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, &end), ERR_OK);
    assert_true(str_eqz(end->status, "success") && end->closed == 1);
    assert_string_equal(rig_kinds(h, run), "runtime_started notification notification runtime_terminal ");
    assert_string_equal(rig_field(h, run, "result"), "42");
    assert_string_equal(rig_field(h, run, "lastSeq"), "6");
    assert_string_equal(rig_field(h, run, "eventCount"), "6"); /* the totals that the last entry told, and one */
    const redisReply *entries = harness_xrange(h, harness_key(h, "run:%s:events", run));
    assert_string_equal(harness_entry(h, entries, 3, NULL), "9007199254740991-6");
    assert_string_equal(strstr(harness_entry(h, entries, 3, "b"), "\"kind\""),
                        "\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"success\",\"result\":42,\"attempt\":1}}");
    audit_check(h);
}

static void test_each_step_may_be_told_again(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    const char *before = rig_dump(h);
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    assert_string_equal(rig_dump(h), before);
    const struct script_finish_reply *end;
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    before = rig_dump(h);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, &end), ERR_OK);
    assert_true(end->closed == 0 && str_eqz(end->status, "success"));
    harness_assert_err(rig_finish(h, "r1", row, "error", 0, NULL),
                       ERR_OK); /* another word of the same attempt changes nothing */
    assert_string_equal(rig_dump(h), before);
}

static void test_nothing_is_written_behind_the_end(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    assert_false(rig_append(h, row, 100));
    struct script_claim_runs later = *row;
    later.epoch += 1000000; /* whatever its epoch */
    assert_false(rig_append(h, &later, 101));
    struct script_logs_args logs = {.run = row->run, .epoch = row->epoch, .lines = S("[]")};
    (void)sync_logs(h, &logs, NULL);
    assert_string_equal(rig_kinds(h, run), "runtime_started runtime_terminal ");
    harness_assert_err(rig_started(h, "r1", row), ERR_FENCED);
}

static void test_a_retry(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, &(struct rig_run){.max_attempts = 3});
    const struct script_claim_runs *one = rig_execute(h, "r1", 1);
    assert_true(rig_append(h, one, 2));
    harness_assert_err(rig_finish(h, "r1", one, "error", 60000, NULL), ERR_OK);
    rig_assert_status(h, run, "scheduled");
    audit_check(h);
    assert_false(rig_append(h, one, 99)); /* its epoch is closed */
    harness_do(h, "ZADD %s 1 %s", harness_key(h, "delayed"), run);
    harness_assert_err(
        sync_promote(h, &(struct script_promote_args){.max = 1, .rid = S(RID), .retention_ms = RETAIN}, NULL), ERR_OK);
    const struct script_claim_runs *two = rig_execute(h, "r1", 2);
    assert_true(two->attempt == 2 && two->epoch > one->epoch && two->first_seq == 4);
    assert_false(rig_append(h, one, 100));
    harness_assert_err(rig_finish(h, "r1", one, "success", 0, NULL),
                       ERR_OK); /* the first one's repeated finish is known, and changes nothing */
    rig_assert_status(h, run, "running");
    harness_assert_err(rig_finish(h, "r1", two, "error", 0, NULL), ERR_OK);
    rig_assert_status(h, run, "queued");
    harness_assert_err(rig_finish(h, "r1", rig_execute(h, "r1", 3), "error", 0, NULL), ERR_OK);
    rig_assert_status(h, run, "error"); /* used up */
    assert_string_equal(
        rig_kinds(h, run),
        "runtime_started notification stream_error runtime_started stream_error runtime_started runtime_terminal ");
    assert_string_equal(rig_field(h, run, "failures"), "3");
    audit_check(h);
}

static void test_at_most_once_is_never_tried_again(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, &(struct rig_run){.max_attempts = 5, .at_most_once = true});
    harness_assert_err(rig_finish(h, "r1", rig_execute(h, "r1", 1), "error", 0, NULL), ERR_OK);
    rig_assert_status(h, run, "error");
}

static void test_heartbeat_tells_what_to_kill_and_to_stop(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    struct script_claim_runs gone = *row, old = *row;
    gone.run = S("00000000-0000-4000-8000-000000000000");
    old.epoch--; /* an attempt of before */
    const struct script_claim_runs *held[] = {row, &gone}, *stale[] = {&old};
    const struct script_heartbeat_reply *beat;
    harness_assert_err(rig_heartbeat(h, "r1", 1, held, 2, &beat), ERR_OK);
    assert_true(beat->kill_len == 1 && str_eq(beat->kill[0].run, gone.run) && beat->kill[0].epoch == gone.epoch &&
                beat->stops_len == 0);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    harness_assert_err(rig_heartbeat(h, "r1", 1, held, 1, &beat), ERR_OK);
    assert_true(beat->stops_len == 1 && str_eqz(beat->stops[0], run) && beat->kill_len == 0);
    harness_assert_err(rig_heartbeat(h, "r1", 0, stale, 1, &beat), ERR_OK);
    assert_true(beat->kill_len == 1);
    double lease;
    assert_true(harness_zscore(h, harness_key(h, "leases"), "r1", &lease) &&
                (int64_t)lease > harness_now_ms(h) + LEASE - 2000);
}

static void test_a_lost_runner(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_register(h, "r2");
    const char *run = rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    assert_true(rig_append(h, row, 2));
    assert_int_equal(rig_reap(h, 10)->taken, 0); /* its lease holds */
    rig_expire(h, "r1");
    assert_int_equal(rig_reap(h, 10)->taken, 1);
    rig_assert_status(h, run, "queued");
    assert_string_equal(rig_field(h, run, "failures"), "0");
    assert_string_equal(rig_field(h, run, "a1:status"), "lost");
    assert_int_equal(rig_reap(h, 10)->taken, 0);
    audit_check(h);
    /* whatever it still says is refused */
    const char *before = rig_dump(h);
    assert_false(rig_append(h, row, 3));
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_FENCED);
    harness_assert_err(rig_started(h, "r1", row), ERR_FENCED);
    harness_assert_err(rig_heartbeat(h, "r1", 1, NULL, 0, NULL), ERR_INCARNATION_DEAD);
    harness_assert_err(rig_try_claim(h, "r1", 2, 1, NULL), ERR_INCARNATION_DEAD);
    struct script_hand_back_args back = {
        .inc = S("r1"), .run = row->run, .epoch = row->epoch, .attempt = 1, .rid = S(RID), .retention_ms = RETAIN};
    harness_assert_err(sync_hand_back(h, &back, NULL), ERR_FENCED);
    assert_string_equal(rig_dump(h), before);
    /* another goes on with it */
    const struct script_claim_runs *two = rig_execute(h, "r2", 1);
    assert_true(str_eqz(two->run, run) && two->attempt == 2 && two->first_seq == 4);
    harness_assert_err(rig_finish(h, "r2", two, "success", 0, NULL), ERR_OK);
    assert_string_equal(rig_kinds(h, run),
                        "runtime_started notification stream_error runtime_started runtime_terminal ");
    audit_check(h);
}

static void test_losses_have_a_bound_of_their_own(void **state)
{
    struct harness *h = *state;
    const char *run = rig_submit(h, NULL);
    for (int i = 1; i <= LOSSES + 1; i++) {
        const char *inc = harness_printf(h, "r%d", i);
        rig_assert_status(h, run, "queued");
        rig_register(h, inc);
        rig_execute(h, inc, 1);
        rig_expire(h, inc);
        assert_int_equal(rig_reap(h, 10)->taken, 1);
    }
    rig_assert_status(h, run, "error");
    assert_non_null(strstr(rig_field(h, run, "error"), "runner_lost"));
    audit_check(h);
}

static void test_reap_is_bounded(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    for (int i = 0; i < 7; i++)
        rig_submit(h, NULL);
    assert_int_equal(rig_claim(h, "r1", 1, 7)->runs_len, 7);
    rig_expire(h, "r1");
    static const int64_t steps[] = {3, 3, 1};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        const struct script_reap_reply *reply = rig_reap(h, 3);
        assert_int_equal(reply->taken, steps[i]);
        assert_int_equal(reply->more, i < 2);
        if (i < 2) /* dead from the first step on */
            harness_assert_err(rig_heartbeat(h, "r1", 1, NULL, 0, NULL), ERR_INCARNATION_DEAD);
    }
    assert_false(harness_exists(h, harness_key(h, "runner:r1")));
    assert_false(harness_exists(h, harness_key(h, "held:r1")));
    audit_check(h);
}

static void test_nobody_is_reaped_right_after_an_outage(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    rig_execute(h, "r1", 1);
    harness_do(h, "ZADD %s 1 r1", harness_key(h, "leases"));
    static const int64_t ticks[] = {-60000, 60000}; /* long ago; ahead of now: the clock went back */
    for (size_t i = 0; i < ARRAY_LEN(ticks); i++) {
        harness_do(h, "HSET %s tick %s until 0", harness_key(h, "reap"),
                   harness_printf(h, "%lld", (long long)(harness_now_ms(h) + ticks[i])));
        assert_int_equal(rig_reap(h, 10)->taken, 0);
        assert_int_equal(rig_reap(h, 10)->taken, 0); /* for one lease */
    }
    rig_assert_status(h, run, "running");
    harness_assert_err(rig_heartbeat(h, "r1", 1, NULL, 0, NULL), ERR_OK); /* it comes back in time */
}

static void test_the_first_runner_of_a_deployment_is_taken_for_lost_like_any(void **state)
{
    struct harness *h = *state;
    rig_reap(h, 10); /* the first node looks, before any runner is there: no outage lies behind it */
    rig_register(h, "r1");
    rig_submit(h, NULL);
    rig_execute(h, "r1", 1);
    harness_do(h, "ZADD %s 1 r1", harness_key(h, "leases"));
    assert_int_equal(rig_reap(h, 10)->taken, 1);
    audit_check(h);
}

static void test_a_tick_that_was_lost_counts_as_an_outage_where_runners_are(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_submit(h, NULL);
    rig_execute(h, "r1", 1);
    harness_do(h, "ZADD %s 1 r1", harness_key(h, "leases"));
    harness_do(h, "DEL %s", harness_key(h, "reap"));
    assert_int_equal(rig_reap(h, 10)->taken, 0);
    assert_int_equal(rig_reap(h, 10)->taken, 0);
}

static void test_leases_far_ahead_are_capped_after_an_outage(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    harness_do(h, "ZADD %s 9000000000000 r1", harness_key(h, "leases"));
    rig_reap(h, 10);
    double lease;
    assert_true(harness_zscore(h, harness_key(h, "leases"), "r1", &lease));
    assert_true((int64_t)lease <= harness_now_ms(h) + LEASE);
}

static void test_a_lost_runner_of_a_run_that_was_stopping(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    rig_execute(h, "r1", 1);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    rig_assert_status(h, run, "stopping");
    rig_expire(h, "r1");
    rig_reap(h, 10);
    rig_assert_status(h, run, "stopped");
    audit_check(h);
}

static void test_what_keeps_promises_works_while_redis_is_full(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_register(h, "r2");
    const char *a = rig_submit(h, NULL), *b = rig_submit(h, NULL), *c = rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    const struct script_claim_runs *other = rig_execute(h, "r2", 1);
    rig_expire(h, "r2");
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err claimed = rig_try_claim(h, "r1", 2, 1, NULL), beat = rig_heartbeat(h, "r1", 1, &row, 1, NULL),
             ended = rig_finish(h, "r1", row, "success", 0, NULL), stopped = rig_stop(h, b);
    int64_t taken = rig_reap(h, 10)->taken;
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(claimed, ERR_OK);
    harness_assert_err(beat, ERR_OK);
    harness_assert_err(ended, ERR_OK);
    harness_assert_err(stopped, ERR_OK);
    assert_int_equal(taken, 1);
    rig_assert_status(h, a, "success");
    assert_string_equal(name_of(h, other), b);
    rig_assert_status(h, b, "stopped");
    rig_assert_status(h, c, "provisioning");
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_whole_way),
        TEST(test_each_step_may_be_told_again),
        TEST(test_nothing_is_written_behind_the_end),
        TEST(test_a_retry),
        TEST(test_at_most_once_is_never_tried_again),
        TEST(test_heartbeat_tells_what_to_kill_and_to_stop),
        TEST(test_a_lost_runner),
        TEST(test_losses_have_a_bound_of_their_own),
        TEST(test_reap_is_bounded),
        TEST(test_nobody_is_reaped_right_after_an_outage),
        TEST(test_the_first_runner_of_a_deployment_is_taken_for_lost_like_any),
        TEST(test_a_tick_that_was_lost_counts_as_an_outage_where_runners_are),
        TEST(test_leases_far_ahead_are_capped_after_an_outage),
        TEST(test_a_lost_runner_of_a_run_that_was_stopping),
        TEST(test_what_keeps_promises_works_while_redis_is_full),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
