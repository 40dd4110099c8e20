/* heartbeat: the lease, what to kill, what to stop, and claims whose answers were lost. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static struct script_heartbeat_args args_of(const char *inc)
{
    return (struct script_heartbeat_args){.inc = S(inc), .lease_ms = LEASE, .rid = S(RID), .retention_ms = RETAIN};
}

static const char *runner_field(struct harness *h, const char *inc, const char *field)
{
    return harness_hget(h, harness_key(h, "runner:%s", inc), field);
}

static void test_it_renews_the_lease_and_says_how_the_runner_is(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    harness_do(h, "ZADD %s 1 r1", harness_key(h, "leases"));
    struct script_heartbeat_args args = args_of("r1");
    args.answered = 4;
    args.busy = 3;
    args.draining = 1;
    const struct script_heartbeat_reply *reply;
    harness_assert_err(sync_heartbeat(h, &args, &reply), ERR_OK);
    double deadline;
    assert_true(harness_zscore(h, harness_key(h, "leases"), "r1", &deadline));
    assert_int_equal((int64_t)deadline, reply->now_ms + LEASE);
    assert_string_equal(runner_field(h, "r1", "answered"), "4");
    assert_string_equal(runner_field(h, "r1", "busy"), "3");
    assert_string_equal(runner_field(h, "r1", "state"), "draining");
    assert_string_equal(runner_field(h, "r1", "seen"), harness_printf(h, "%lld", (long long)reply->now_ms));
    assert_true(reply->kill_len == 0 && reply->stops_len == 0 && reply->claimed_len == 0);
    args.draining = 0;
    args.answered = 2; /* an older one that comes late */
    harness_assert_err(sync_heartbeat(h, &args, NULL), ERR_OK);
    assert_string_equal(runner_field(h, "r1", "state"), "live");
    assert_string_equal(runner_field(h, "r1", "answered"), "4"); /* never falls */
    audit_check(h);
}

static void test_a_dead_or_unknown_runner_is_told_and_nothing_renewed(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    audit_refuses(h, rig_heartbeat(h, "nobody", 1, &row, 1, NULL), ERR_INCARNATION_DEAD);
    harness_do(h, "HSET %s state dead", harness_key(h, "runner:r1"));
    audit_refuses(h, rig_heartbeat(h, "r1", 1, &row, 1, NULL), ERR_INCARNATION_DEAD);
    audit_refuses(h, rig_heartbeat(h, "r1", 1, NULL, 0, NULL), ERR_INCARNATION_DEAD);
    const struct str fields[] = {S("name"), S("r1")};
    struct script_register_args again = {.inc = S("r1"), .fields = fields, .fields_len = 2, .lease_ms = LEASE};
    audit_refuses(h, sync_register(h, &again, NULL), ERR_INCARNATION_DEAD);
    audit_refuses(h, rig_try_claim(h, "r1", 9, 1, NULL), ERR_INCARNATION_DEAD);
}

static void test_what_it_holds_without_a_right_is_to_be_killed(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *mine = audit_running(h, "r1", NULL), *others = audit_running(h, "r2", NULL),
                                   *ended = audit_running(h, "r1", NULL), *old = audit_running(h, "r1", NULL);
    harness_assert_err(rig_finish(h, "r1", ended, "success", 0, NULL), ERR_OK);
    harness_assert_err(audit_hand_back(h, "r1", old), ERR_OK);
    const struct script_claim_runs *two = rig_execute(h, "r1", 4);
    assert_true(str_eq(two->run, old->run));
    struct script_claim_runs gone = *mine;
    gone.run = S(NOBODY);
    const struct script_claim_runs *held[] = {mine, others, ended, old, &gone, two};
    const struct script_heartbeat_reply *reply;
    harness_assert_err(rig_heartbeat(h, "r1", 4, held, ARRAY_LEN(held), &reply), ERR_OK);
    assert_int_equal(reply->kill_len, 4);
    for (size_t i = 0; i < 4; i++)
        assert_true(str_eq(reply->kill[i].run, held[i + 1]->run) &&
                    reply->kill[i].epoch == held[i + 1]->epoch); /* each that is not its own */
    rig_assert_status(h, audit_id(h, mine), "running");
    rig_assert_status(h, audit_id(h, two), "running");
    rig_assert_status(h, audit_id(h, others), "running");
    audit_check(h);
}

static void test_stops_and_claimed_ends_are_told_until_they_are_done(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *plain = audit_running(h, "r1", NULL), *stopped = audit_running(h, "r1", NULL),
                                   *claimed = audit_running(h, "r1", &(struct rig_run){.source = "remote"});
    harness_assert_err(rig_stop(h, audit_id(h, stopped)), ERR_OK);
    harness_assert_err(audit_batch(h, claimed, 0, 2, harness_now_ms(h), "success", NULL), ERR_OK);
    const struct script_claim_runs *held[] = {plain, stopped, claimed};
    for (int i = 0; i < 2; i++) {
        const struct script_heartbeat_reply *reply;
        harness_assert_err(rig_heartbeat(h, "r1", 3, held, 3, &reply), ERR_OK);
        assert_true(reply->kill_len == 0 && reply->stops_len == 1 && reply->claimed_len == 1);
        assert_true(str_eq(reply->stops[0], stopped->run) && str_eq(reply->claimed[0], claimed->run));
    }
    audit_check(h);
}

static void test_a_claim_whose_answer_may_come_is_left_alone(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    const struct script_heartbeat_reply *reply;
    harness_assert_err(rig_heartbeat(h, "r1", 0, NULL, 0, &reply), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "provisioning");
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    assert_true(rig_append(h, row, 2)); /* its epoch is open */
}

static void test_a_claim_whose_answer_was_lost_goes_to_the_front(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    const char *run = audit_id(h, row);
    harness_assert_err(rig_heartbeat(h, "r1", 1, NULL, 0, NULL), ERR_OK);
    rig_assert_status(h, run, "queued");
    assert_string_equal(rig_field(h, run, "lane"), "again");
    assert_string_equal(rig_field(h, run, "a1:status"), "handed_back");
    assert_string_equal(rig_field(h, run, "a1:by"), "heartbeat");
    assert_string_equal(rig_field(h, run, "failures"), "0");
    assert_string_equal(rig_field(h, run, "losses"), "0");
    assert_false(rig_append(h, row, 1)); /* closed */
    audit_refuses(h, rig_started(h, "r1", row), ERR_FENCED);
    audit_refuses(h, rig_finish(h, "r1", row, "success", 0, NULL), ERR_FENCED);
    audit_refuses(h, audit_hand_back(h, "r1", row), ERR_FENCED);
    audit_refuses(h, rig_try_claim(h, "r1", 1, 1, NULL), ERR_STALE_CLAIM);
    audit_check(h);
}

/* The runner knew of it once: it was cut off for too long and killed it, or Redis lost its end. */
static void test_an_executed_run_that_it_does_not_name_was_lost(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    const char *run = audit_id(h, row);
    harness_assert_err(rig_heartbeat(h, "r1", 1, NULL, 0, NULL), ERR_OK);
    rig_assert_status(h, run, "queued");
    assert_string_equal(rig_field(h, run, "losses"), "1");
    assert_string_equal(rig_field(h, run, "a1:status"), "lost");
    assert_string_equal(rig_kinds(h, run), "runtime_started stream_error ");
    harness_do(h, "HSET %s losses %s", harness_key(h, "run:%s", run), harness_printf(h, "%d", LOSSES));
    const struct script_claim_runs *again = &rig_claim(h, "r1", 2, 1)->runs[0];
    harness_assert_err(rig_started(h, "r1", again), ERR_OK);
    harness_assert_err(rig_heartbeat(h, "r1", 2, NULL, 0, NULL), ERR_OK);
    rig_assert_status(h, run, "error");
    row = audit_claimed(h, "r1", &(struct rig_run){.at_most_once = true}); /* its start may not have been told */
    harness_assert_err(rig_heartbeat(h, "r1", 3, NULL, 0, NULL), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "error");
    assert_non_null(strstr(rig_field(h, audit_id(h, row), "error"), "runner_lost"));
    audit_check(h);
}

static void test_a_lost_claim_of_a_run_that_was_stopped_ends_it(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    harness_assert_err(rig_stop(h, audit_id(h, row)), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "stopping");
    harness_assert_err(rig_heartbeat(h, "r1", 1, NULL, 0, NULL), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "stopped");
    assert_string_equal(rig_kinds(h, audit_id(h, row)), "runtime_terminal ");
    audit_check(h);
}

static void test_an_older_attempt_on_the_same_runner_hides_no_lost_claim(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *one = audit_running(h, "r1", NULL);
    harness_assert_err(audit_hand_back(h, "r1", one), ERR_OK);
    assert_int_equal(rig_claim(h, "r1", 2, 1)->runs_len, 1); /* the same run; the answer is lost */
    const struct script_heartbeat_reply *reply;
    harness_assert_err(rig_heartbeat(h, "r1", 2, &one, 1, &reply), ERR_OK); /* it still knows the first attempt */
    assert_true(reply->kill_len == 1 && str_eq(reply->kill[0].run, one->run));
    rig_assert_status(h, audit_id(h, one), "queued");
    assert_string_equal(rig_field(h, audit_id(h, one), "a2:status"), "handed_back");
    audit_check(h);
}

static void test_a_run_that_is_gone_is_forgotten(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    harness_do(h, "ZADD %s 5 %s", harness_key(h, "held:r1"), NOBODY);
    harness_assert_err(rig_heartbeat(h, "r1", 1, NULL, 0, NULL), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "held:r1")));
    audit_check(h);
}

static void test_it_works_while_redis_is_full(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *lost = audit_claimed(h, "r1", NULL);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err beat = rig_heartbeat(h, "r1", 1, NULL, 0, NULL);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(beat, ERR_OK);
    rig_assert_status(h, audit_id(h, lost), "queued");
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_renews_the_lease_and_says_how_the_runner_is),
        TEST(test_a_dead_or_unknown_runner_is_told_and_nothing_renewed),
        TEST(test_what_it_holds_without_a_right_is_to_be_killed),
        TEST(test_stops_and_claimed_ends_are_told_until_they_are_done),
        TEST(test_a_claim_whose_answer_may_come_is_left_alone),
        TEST(test_a_claim_whose_answer_was_lost_goes_to_the_front),
        TEST(test_an_executed_run_that_it_does_not_name_was_lost),
        TEST(test_a_lost_claim_of_a_run_that_was_stopped_ends_it),
        TEST(test_an_older_attempt_on_the_same_runner_hides_no_lost_claim),
        TEST(test_a_run_that_is_gone_is_forgotten),
        TEST(test_it_works_while_redis_is_full),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
