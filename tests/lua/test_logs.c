/* logs and handle: what an attempt tells beside its events, while it has the right to. */
#include "audit.h"
#include "lua/scripts_sync.h"

static enum err logs(struct harness *h, const struct script_claim_runs *row, const char *lines)
{
    return sync_logs(h, &(struct script_logs_args){.run = row->run, .epoch = row->epoch, .lines = S(lines)}, NULL);
}

static void test_a_tail_replaces_the_one_before(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    const char *key = harness_key(h, "run:%s:logs", audit_id(h, row));
    harness_assert_err(logs(h, row, "[{\"tMs\":1,\"stream\":\"stderr\",\"text\":\"a\"}]"), ERR_OK);
    assert_string_equal(harness_get(h, key), "[{\"tMs\":1,\"stream\":\"stderr\",\"text\":\"a\"}]");
    harness_assert_err(logs(h, row, "[]"), ERR_OK);
    assert_string_equal(harness_get(h, key), "[]");
    audit_check(h);
}

static void test_the_last_tail_may_come_behind_the_end(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    harness_assert_err(logs(h, row, "[2]"), ERR_OK);
    assert_string_equal(harness_get(h, harness_key(h, "run:%s:logs", audit_id(h, row))), "[2]");
    harness_assert_err(sync_delete(h, &(struct script_delete_args){.ws = S("default"), .run = row->run}, NULL), ERR_OK);
    audit_refuses(h, logs(h, row, "[3]"), ERR_FENCED); /* nothing comes back of what was removed */
    audit_nothing_left(h);
}

static void test_an_older_attempt_overwrites_no_tail(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *one = audit_running(h, "r1", NULL);
    harness_assert_err(audit_hand_back(h, "r1", one), ERR_OK);
    const struct script_claim_runs *two = rig_execute(h, "r1", 2);
    harness_assert_err(logs(h, two, "[\"two\"]"), ERR_OK);
    audit_refuses(h, logs(h, one, "[\"one\"]"), ERR_FENCED);
    struct script_claim_runs nobody = *two;
    nobody.run = S(NOBODY);
    audit_refuses(h, logs(h, &nobody, "[]"), ERR_FENCED);
    audit_check(h);
}

static void test_a_full_redis_takes_no_logs(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    const char *before = rig_dump(h);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err log = logs(h, row, "[1]"), handle = audit_handle(h, row, "{\"pid\":\"3\"}", "");
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(log, ERR_MEMORY_PRESSURE);
    harness_assert_err(handle, ERR_OK); /* by which an attempt is found and ended */
    assert_string_equal(rig_field(h, audit_id(h, row), "a1:handle"), "{\"pid\":\"3\"}");
    assert_string_not_equal(rig_dump(h), before);
    assert_false(harness_exists(h, harness_key(h, "run:%s:logs", audit_id(h, row))));
}

static void test_handle_and_statistics_are_the_attempts(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    const char *run = audit_id(h, row);
    harness_assert_err(audit_handle(h, row, "{\"pid\":\"9\"}", ""), ERR_OK);
    harness_assert_err(audit_handle(h, row, "", "{\"cpuMs\":5}"), ERR_OK);
    assert_string_equal(rig_field(h, run, "a1:handle"), "{\"pid\":\"9\"}");
    assert_string_equal(rig_field(h, run, "a1:stats"), "{\"cpuMs\":5}");
    audit_refuses(h, audit_handle(h, row, "", ""), ERR_OK);
    audit_check(h);
}

static void test_a_closed_attempt_has_no_handle_any_more(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *one = audit_running(h, "r1", &(struct rig_run){.max_attempts = 3}), *two, *three;
    struct script_claim_runs other = *one;
    other.epoch--;
    audit_refuses(h, audit_handle(h, &other, "{}", "{}"), ERR_FENCED);
    other = *one;
    other.run = S(NOBODY);
    audit_refuses(h, audit_handle(h, &other, "{}", "{}"), ERR_FENCED);
    harness_assert_err(audit_hand_back(h, "r1", one), ERR_OK);
    audit_refuses(h, audit_handle(h, one, "{}", "{}"), ERR_FENCED); /* handed back, and waiting */
    two = rig_execute(h, "r1", 2);
    audit_refuses(h, audit_handle(h, one, "{}", "{}"), ERR_FENCED); /* and executed by another */
    harness_assert_err(rig_finish(h, "r1", two, "error", 60000, NULL), ERR_OK);
    audit_refuses(h, audit_handle(h, two, "{}", "{}"), ERR_FENCED); /* waits for its retry */
    audit_due(h, audit_id(h, two));
    harness_assert_err(
        sync_promote(h, &(struct script_promote_args){.max = 1, .rid = S(RID), .retention_ms = RETAIN}, NULL), ERR_OK);
    three = rig_execute(h, "r1", 3);
    harness_assert_err(rig_finish(h, "r1", three, "success", 0, NULL), ERR_OK);
    audit_refuses(h, audit_handle(h, three, "{}", "{}"), ERR_FENCED); /* ended */
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_tail_replaces_the_one_before),         TEST(test_the_last_tail_may_come_behind_the_end),
        TEST(test_an_older_attempt_overwrites_no_tail),    TEST(test_a_full_redis_takes_no_logs),
        TEST(test_handle_and_statistics_are_the_attempts), TEST(test_a_closed_attempt_has_no_handle_any_more),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
