/* promote: delayed runs go to their lanes at their time, first due first, and the earliest is announced. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static const struct script_promote_reply *promote(struct harness *h, int64_t max)
{
    const struct script_promote_reply *reply;
    harness_assert_err(
        sync_promote(h, &(struct script_promote_args){.max = max, .rid = S(RID), .retention_ms = RETAIN}, &reply),
        ERR_OK);
    return reply;
}

static void test_a_run_that_is_due_waits_in_its_own_lane(void **state)
{
    struct harness *h = *state;
    const char *run = rig_submit(h, &(struct rig_run){.delay_ms = 60000, .priority = "low", .queue = "q"});
    audit_due(h, run);
    const struct script_promote_reply *reply = promote(h, 10);
    assert_true(reply->promoted == 1 && reply->next_ms == -1);
    rig_assert_status(h, run, "queued");
    assert_int_equal(harness_xlen(h, harness_key(h, "lane:q:-:default:low")), 1);
    assert_int_equal(harness_int(h, "HGET %s q", harness_key(h, "queued")), 1);
    assert_int_equal(harness_int(h, "LLEN %s", harness_key(h, "bell:q")), 1);
    assert_false(harness_exists(h, harness_key(h, "delayed")));
    audit_check(h);
    audit_refuses(
        h, sync_promote(h, &(struct script_promote_args){.max = 10, .rid = S(RID), .retention_ms = RETAIN}, NULL),
        ERR_OK); /* by two nodes at once */
}

static void test_the_first_due_goes_first(void **state)
{
    struct harness *h = *state;
    const char *runs[4];
    for (int i = 0; i < 4; i++) {
        runs[i] = rig_submit(h, &(struct rig_run){.delay_ms = 60000});
        harness_do(h, "ZADD %s %d %s", harness_key(h, "delayed"), 100 - i, runs[i]);
        harness_do(h, "HSET %s due %d", harness_key(h, "run:%s", runs[i]), 100 - i);
    }
    assert_int_equal(promote(h, 1)->next_ms, 0); /* more are due */
    assert_int_equal(promote(h, 10)->promoted, 3);
    rig_register(h, "r1");
    const struct script_claim_reply *reply = rig_claim(h, "r1", 1, 10);
    assert_int_equal(reply->runs_len, 4);
    for (size_t i = 0; i < 4; i++)
        assert_true(str_eqz(reply->runs[i].run, runs[3 - i]));
    audit_check(h);
}

static void test_only_a_new_earliest_one_is_announced(void **state)
{
    struct harness *h = *state;
    redisContext *ear = audit_listen(h, "due");
    const char *first = rig_submit(h, &(struct rig_run){.delay_ms = 50000});
    rig_submit(h, &(struct rig_run){.delay_ms = 60000});
    const char *earlier = rig_submit(h, &(struct rig_run){.delay_ms = 40000});
    assert_string_equal(audit_heard(h, ear), harness_printf(h, "due %s\ndue %s\n", rig_field(h, first, "due"),
                                                            rig_field(h, earlier, "due")));
    int64_t left = strtoll(rig_field(h, earlier, "due"), NULL, 10) - harness_now_ms(h), next = promote(h, 10)->next_ms;
    assert_in_range(next, left - 2000, left + 1); /* what is left of its time */
    audit_check(h);
}

static void test_a_stopped_run_is_not_promoted(void **state)
{
    struct harness *h = *state;
    const char *run = rig_submit(h, &(struct rig_run){.delay_ms = 60000});
    audit_due(h, run);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    assert_int_equal(promote(h, 10)->promoted, 0);
    rig_assert_status(h, run, "stopped");
    harness_do(h, "ZADD %s 1 %s 1 %s", harness_key(h, "delayed"), run, NOBODY); /* entries that a fault left */
    promote(h, 10);
    rig_assert_status(h, run, "stopped");
    assert_string_equal(rig_kinds(h, run), "runtime_terminal ");
    audit_check(h);
}

static void test_a_retry_comes_back_with_its_priority(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row =
        audit_running(h, "r1", &(struct rig_run){.max_attempts = 2, .priority = "high"});
    harness_assert_err(rig_finish(h, "r1", row, "error", 60000, NULL), ERR_OK);
    audit_due(h, audit_id(h, row));
    assert_int_equal(promote(h, 10)->promoted, 1);
    audit_check(h);
}

static void test_it_works_while_redis_is_full(void **state)
{
    struct harness *h = *state;
    const char *run = rig_submit(h, &(struct rig_run){.delay_ms = 60000});
    audit_due(h, run);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err err =
        sync_promote(h, &(struct script_promote_args){.max = 1, .rid = S(RID), .retention_ms = RETAIN}, NULL);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(err, ERR_OK);
    rig_assert_status(h, run, "queued");
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_run_that_is_due_waits_in_its_own_lane), TEST(test_the_first_due_goes_first),
        TEST(test_only_a_new_earliest_one_is_announced),    TEST(test_a_stopped_run_is_not_promoted),
        TEST(test_a_retry_comes_back_with_its_priority),    TEST(test_it_works_while_redis_is_full),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
