/* claim: order, bounds, priorities, and what a lost answer does. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static void test_the_oldest_first(void **state)
{
    struct harness *h = *state;
    const char *runs[3];
    rig_register(h, "r1");
    for (int i = 0; i < 3; i++)
        runs[i] = rig_submit(h, NULL);
    const struct script_claim_reply *reply = rig_claim(h, "r1", 1, 2);
    assert_int_equal(reply->runs_len, 2);
    assert_int_equal(reply->more, 1);
    for (size_t i = 0; i < 2; i++) {
        const struct script_claim_runs *row = &reply->runs[i];
        assert_true(str_eqz(row->run, runs[i]) && row->attempt == 1 && row->first_seq == 1 && row->event_count == 0);
        assert_true(row->epoch >= harness_now_ms(h) - 1000 && str_eqz(row->input, "{\"a\":1}") &&
                    str_eqz(row->def, "{\"name\":\"t\"}"));
        rig_assert_status(h, runs[i], "provisioning");
    }
    reply = rig_claim(h, "r1", 2, 8);
    assert_true(reply->runs_len == 1 && reply->more == 0);
    assert_int_equal(rig_claim(h, "r1", 3, 8)->runs_len, 0);
    audit_check(h);
}

static void test_no_run_is_given_twice(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 40; i++)
        rig_submit(h, NULL);
    rig_register(h, "r1");
    rig_register(h, "r2");
    size_t sum = 0;
    for (int i = 1; i <= 10; i++)
        sum += rig_claim(h, "r1", i, 3)->runs_len + rig_claim(h, "r2", i, 3)->runs_len;
    assert_int_equal(sum, 40);
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "held:r1")) +
                         harness_int(h, "ZCARD %s", harness_key(h, "held:r2")),
                     40);
    audit_check(h);
}

static void test_high_goes_first_and_low_always_moves(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *low = rig_submit(h, &(struct rig_run){.priority = "low"});
    for (int i = 0; i < 60; i++)
        rig_submit(h, &(struct rig_run){.priority = i % 2 ? "high" : "normal"});
    int at = 0, high_before_normal = 0;
    bool seen_normal = false;
    for (int i = 1; i <= 61 && !at; i++) {
        const struct script_claim_reply *reply = rig_claim(h, "r1", i, 1);
        const char *priority = rig_field(h, harness_printf(h, "%.*s", STR_ARG(reply->runs[0].run)), "priority");
        if (str_eqz(reply->runs[0].run, low))
            at = i;
        seen_normal = seen_normal || strcmp(priority, "normal") == 0;
        high_before_normal += !seen_normal && strcmp(priority, "high") == 0;
    }
    assert_true(high_before_normal >= 3);
    assert_in_range(at, 2, 22); /* never starved */
    audit_check(h);
}

static void test_what_was_taken_back_goes_first(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *first = rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    for (int i = 0; i < 5; i++)
        rig_submit(h, &(struct rig_run){.priority = "high"});
    struct script_hand_back_args args = {
        .inc = S("r1"), .run = S(first), .epoch = row->epoch, .attempt = 1, .rid = S(RID), .retention_ms = RETAIN};
    harness_assert_err(sync_hand_back(h, &args, NULL), ERR_OK);
    harness_assert_err(sync_hand_back(h, &args, NULL), ERR_OK); /* told again: its answer was lost */
    audit_check(h);
    const struct script_claim_reply *reply = rig_claim(h, "r1", 2, 1);
    assert_true(str_eqz(reply->runs[0].run, first) && reply->runs[0].attempt == 2 && reply->runs[0].first_seq == 2 &&
                strcmp(rig_field(h, first, "failures"), "0") == 0);
    assert_string_equal(rig_field(h, first, "a1:status"), "handed_back");
    harness_assert_err(sync_hand_back(h, &args, NULL), ERR_OK); /* and again, later: it changes nothing */
    rig_assert_status(h, first, "provisioning");
}

static void test_a_lost_answer_strands_nothing(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    assert_int_equal(rig_claim(h, "r1", 1, 1)->runs_len, 1); /* of which the runner never heard */
    const struct script_heartbeat_reply *beat;
    harness_assert_err(rig_heartbeat(h, "r1", 0, NULL, 0, &beat), ERR_OK);
    rig_assert_status(h, run, "provisioning"); /* its answer may still be under way */
    harness_assert_err(rig_heartbeat(h, "r1", 1, NULL, 0, &beat), ERR_OK);
    rig_assert_status(h, run, "queued");
    assert_string_equal(rig_kinds(h, run), "");
    audit_check(h);
    harness_assert_err(rig_try_claim(h, "r1", 1, 1, NULL),
                       ERR_STALE_CLAIM); /* that claim, arriving late, takes nothing */
    const struct script_claim_reply *reply = rig_claim(h, "r1", 2, 1);
    assert_true(reply->runs_len == 1 && reply->runs[0].attempt == 2);
}

static void test_a_runner_that_is_not_registered(void **state)
{
    struct harness *h = *state;
    rig_submit(h, NULL);
    const char *before = rig_dump(h);
    harness_assert_err(rig_try_claim(h, "nobody", 1, 1, NULL), ERR_INCARNATION_DEAD);
    assert_string_equal(rig_dump(h), before);
}

static void test_epochs_rise_whatever_the_clock_does(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    harness_do(h, "HSET %s epoch 9000000000000 more 1",
               harness_key(h, "run:%s", run)); /* far ahead: Redis' clock went back */
    assert_int_equal(rig_claim(h, "r1", 1, 1)->runs[0].epoch, 9000000000001);
}

static void test_a_gap_after_redis_restarted(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    const char *made = rig_field(h, run, "createdUs");
    harness_do(h, "HSET %s made %b", harness_key(h, "run:%s", run), harness_printf(h, "%s 23 0 another", made),
               strlen(made) + strlen(" 23 0 another"));
    assert_in_range(rig_claim(h, "r1", 1, 1)->runs[0].first_seq, 1000001, 1000001 + 60000000); /* and the time since */
}

static void test_only_the_newest_attempts_are_kept(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    for (int i = 1; i <= 103; i++) {
        const struct script_claim_runs *row = &rig_claim(h, "r1", i, 1)->runs[0];
        struct script_hand_back_args args = {.inc = S("r1"),
                                             .run = S(run),
                                             .epoch = row->epoch,
                                             .attempt = row->attempt,
                                             .rid = S(RID),
                                             .retention_ms = RETAIN};
        harness_assert_err(sync_hand_back(h, &args, NULL), ERR_OK);
    }
    assert_string_equal(rig_field(h, run, "a2:status"), "");
    assert_string_equal(rig_field(h, run, "a4:status"), "handed_back");
    assert_string_equal(rig_field(h, run, "a103:status"), "handed_back");
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_oldest_first),
        TEST(test_no_run_is_given_twice),
        TEST(test_high_goes_first_and_low_always_moves),
        TEST(test_what_was_taken_back_goes_first),
        TEST(test_a_lost_answer_strands_nothing),
        TEST(test_a_runner_that_is_not_registered),
        TEST(test_epochs_rise_whatever_the_clock_does),
        TEST(test_a_gap_after_redis_restarted),
        TEST(test_only_the_newest_attempts_are_kept),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
