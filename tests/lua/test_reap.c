/* reap: runs of lost runners go on, each taken back once, within bounds, and what a lost runner still says is refused everywhere. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static void test_a_run_that_is_taken_back(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    const char *run = audit_id(h, row);
    rig_expire(h, "r1");
    redisContext *ear = audit_listen(h, "run:*");
    const struct script_reap_reply *reply = rig_reap(h, 10);
    assert_string_equal(audit_heard(h, ear), harness_printf(h, "run:%s:wake \n", run));
    assert_true(reply->taken == 1 && reply->more == 0);
    rig_assert_status(h, run, "queued");
    assert_string_equal(rig_field(h, run, "lane"), "again");
    assert_string_equal(rig_field(h, run, "losses"), "1");
    assert_string_equal(rig_field(h, run, "failures"), "0");
    assert_string_equal(rig_field(h, run, "a1:by"), "reap");
    assert_non_null(strstr(audit_event(h, run, -1, "b"), "\"kind\":\"stream_error\",\"data\":{\"willRetry\":true,"
                                                         "\"attempt\":1,\"error\":{\"class\":\"runner_lost\""));
    assert_string_equal(audit_event(h, run, -1, NULL),
                        harness_printf(h, "%lld-9007199254740991", (long long)row->epoch));
    assert_false(harness_exists(h, harness_key(h, "runner:r1")));
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "leases")), 0);
    audit_check(h);
}

static void test_whatever_the_lost_one_says_changes_nothing(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", &(struct rig_run){.source = "remote"});
    rig_expire(h, "r1");
    rig_reap(h, 10);
    for (int next = 0; next < 2; next++) { /* while it waits, and while another attempt executes it */
        audit_refuses(h, rig_started(h, "r1", row), ERR_FENCED);
        audit_refuses(h, audit_handle(h, row, "{\"pid\":\"9\"}", "{\"cpu\":1}"), ERR_FENCED);
        audit_refuses(h, audit_batch(h, row, 50, 50, harness_now_ms(h) + 1000, NULL, NULL), ERR_FENCED);
        audit_refuses(h, rig_finish(h, "r1", row, "success", 0, NULL), ERR_FENCED);
        audit_refuses(h, audit_hand_back(h, "r1", row), ERR_FENCED);
        audit_refuses(h, rig_heartbeat(h, "r1", 1, &row, 1, NULL), ERR_INCARNATION_DEAD);
        audit_refuses(h, rig_try_claim(h, "r1", 2, 1, NULL), ERR_INCARNATION_DEAD);
        assert_false(rig_append(h, row, 60));
        if (next == 0) {
            rig_register(h, "r2");
            rig_execute(h, "r2", 1);
        }
    }
    assert_string_equal(rig_kinds(h, audit_id(h, row)), "runtime_started stream_error runtime_started ");
    audit_check(h);
}

static void test_dead_at_the_first_step_taken_back_at_a_later_one(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *rows[3];
    for (size_t i = 0; i < 3; i++)
        rows[i] = audit_running(h, "r1", NULL);
    rig_expire(h, "r1");
    const struct script_reap_reply *reply = rig_reap(h, 1);
    assert_true(reply->taken == 1 && reply->more == 1);
    audit_check(h);
    int refused = 0;
    for (size_t i = 0; i < 3; i++)
        refused += rig_finish(h, "r1", rows[i], "success", 0, NULL) == ERR_FENCED;
    assert_int_equal(refused, 3); /* also those that are not taken back yet */
    assert_int_equal(rig_reap(h, 1)->taken, 1);
    reply = rig_reap(h, 1);
    assert_true(reply->taken == 1 && reply->more == 0);
    audit_check(h);
}

static void test_many_runners_at_once_are_bounded(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 40; i++) {
        audit_claimed(h, harness_printf(h, "r%d", i), NULL);
        rig_expire(h, harness_printf(h, "r%d", i));
    }
    int64_t taken = 0;
    for (int step = 0; step < 3; step++) {
        const struct script_reap_reply *reply = rig_reap(h, 1000);
        assert_true(reply->taken <= 16);
        assert_int_equal(reply->more, step < 2);
        taken += reply->taken;
        audit_check(h);
    }
    assert_int_equal(taken, 40);
}

struct reapers {
    int answers;
    int64_t taken;
};

static void on_reaped(void *ctx, enum err err, const struct script_reap_reply *reply)
{
    struct reapers *r = ctx;
    harness_assert_err(err, ERR_OK);
    r->taken += reply->taken;
    r->answers++;
}

static void test_two_reapers_never_both_take_a_run(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 20; i++)
        audit_claimed(h, harness_printf(h, "r%d", i % 4), NULL);
    for (int i = 0; i < 4; i++)
        rig_expire(h, harness_printf(h, "r%d", i));
    struct redis *others[] = {h->redis, harness_connect(h, REDIS_COMMANDS), harness_connect(h, REDIS_COMMANDS)};
    struct reapers sum = {0};
    struct script_reap_args args = {
        .lease_ms = LEASE, .max = 3, .max_losses = LOSSES, .rid = S(RID), .retention_ms = RETAIN};
    for (int i = 0; i < 30; i++)
        script_call_reap(others[i % 3], h->prefix, &args, on_reaped, &sum);
    harness_wait_count(h, &sum.answers, 30, "every reaper is answered");
    redis_free(others[1]);
    redis_free(others[2]);
    assert_int_equal(sum.taken, 20);
    const char *names = harness_keys(h, harness_key(h, "run:*:events"));
    for (const char *at = names; *at; at += strcspn(at, "\n") + 1) {
        const char *run = harness_printf(h, "%.36s", at + strlen(harness_key(h, "run:")));
        assert_string_equal(rig_field(h, run, "losses"), "1");
        assert_string_equal(rig_kinds(h, run), "stream_error ");
    }
    audit_check(h);
}

static void test_what_ends_with_its_runner(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *once = audit_running(h, "r1", &(struct rig_run){.at_most_once = true}),
                                   *worn = audit_running(h, "r1", NULL),
                                   *told = audit_running(h, "r1", &(struct rig_run){.source = "remote"}),
                                   *stopped = audit_running(h, "r1", NULL);
    harness_do(h, "HSET %s losses %d", harness_key(h, "run:%s", audit_id(h, worn)), LOSSES);
    harness_assert_err(audit_batch(h, told, 2, 3, harness_now_ms(h), "success", NULL), ERR_OK);
    harness_assert_err(rig_stop(h, audit_id(h, stopped)), ERR_OK);
    rig_expire(h, "r1");
    assert_int_equal(rig_reap(h, 10)->taken, 4);
    rig_assert_status(h, audit_id(h, once), "error");
    assert_non_null(strstr(rig_field(h, audit_id(h, once), "error"), "runner_lost"));
    rig_assert_status(h, audit_id(h, worn), "error");
    rig_assert_status(h, audit_id(h, told), "success"); /* its end was claimed and accepted */
    assert_string_equal(rig_field(h, audit_id(h, told), "lastSeq"), "4");
    rig_assert_status(h, audit_id(h, stopped), "stopped");
    audit_check(h);
}

static void test_a_runner_that_held_nothing_is_forgotten(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_expire(h, "r1");
    const struct script_reap_reply *reply = rig_reap(h, 10);
    assert_true(reply->taken == 0 && reply->more == 0);
    assert_false(harness_exists(h, harness_key(h, "runner:r1")));
    audit_nothing_left(h);
}

static void test_a_run_that_is_gone_stops_no_reaper(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    harness_do(h, "ZADD %s 5 %s", harness_key(h, "held:r1"), NOBODY);
    rig_expire(h, "r1");
    rig_reap(h, 10);
    audit_nothing_left(h);
}

static void test_it_works_while_redis_is_full(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    rig_expire(h, "r1");
    harness_do(h, "CONFIG SET maxmemory 1");
    struct script_reap_args args = {
        .lease_ms = LEASE, .max = 3, .max_losses = LOSSES, .rid = S(RID), .retention_ms = RETAIN};
    const struct script_reap_reply *reply = NULL;
    enum err err = sync_reap(h, &args, &reply);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(err, ERR_OK);
    assert_int_equal(reply->taken, 1);
    rig_assert_status(h, audit_id(h, row), "queued");
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_run_that_is_taken_back),
        TEST(test_whatever_the_lost_one_says_changes_nothing),
        TEST(test_dead_at_the_first_step_taken_back_at_a_later_one),
        TEST(test_many_runners_at_once_are_bounded),
        TEST(test_two_reapers_never_both_take_a_run),
        TEST(test_what_ends_with_its_runner),
        TEST(test_a_runner_that_held_nothing_is_forgotten),
        TEST(test_a_run_that_is_gone_stops_no_reaper),
        TEST(test_it_works_while_redis_is_full),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
