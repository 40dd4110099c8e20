/* started: the step to `running`, with the attempt's first event; once, and by nobody but the attempt that holds the run. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static struct script_started_args args_of(struct harness *h, const struct script_claim_runs *row)
{
    const char *line =
        harness_printf(h,
                       "{\"seq\":%lld,\"tMs\":%lld,\"kind\":\"runtime_started\",\"data\":{\"attempt\":"
                       "%lld}}",
                       (long long)row->first_seq, (long long)row->last_t_ms + 7, (long long)row->attempt);
    return (struct script_started_args){
        .inc = S("r1"),
        .run = row->run,
        .epoch = row->epoch,
        .attempt = row->attempt,
        .seq = row->first_seq,
        .head = S(harness_printf(h, "%lld,%lld,%lld,1,%lld,%lld", (long long)row->first_seq, (long long)row->first_seq,
                                 (long long)row->last_t_ms + 7, (long long)row->event_count + 1,
                                 (long long)row->event_bytes + (long long)strlen(line))),
        .event = S(line),
        .token_sha = S(TOKEN),
        .handle = S("{\"pid\":\"7\"}")};
}

static void test_an_attempt_starts(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    const char *run = audit_id(h, row);
    struct script_started_args args = args_of(h, row);
    int64_t before = harness_now_ms(h);
    redisContext *ear = audit_listen(h, "*");
    const struct script_started_reply *reply;
    harness_assert_err(sync_started(h, &args, &reply), ERR_OK);
    assert_string_equal(audit_heard(h, ear), harness_printf(h, "run:%s:wake \n", run));
    assert_int_equal(reply->stop, 0);
    rig_assert_status(h, run, "running");
    assert_string_equal(rig_field(h, run, "a1:status"), "running");
    assert_string_equal(rig_field(h, run, "a1:tok"), TOKEN);
    assert_string_equal(rig_field(h, run, "a1:handle"), "{\"pid\":\"7\"}");
    assert_string_equal(rig_field(h, run, "a1:started"), ""); /* it is the run's own */
    assert_in_range(strtoll(rig_field(h, run, "started"), NULL, 10), before, harness_now_ms(h));
    assert_int_equal(harness_xlen(h, harness_key(h, "run:%s:events", run)), 1);
    assert_string_equal(audit_event(h, run, 0, NULL), harness_printf(h, "%lld-1", (long long)row->epoch));
    assert_string_equal(audit_event(h, run, 0, "first"), "1");
    assert_string_equal(audit_event(h, run, 0, "last"), "1");
    assert_string_equal(audit_event(h, run, 0, "t"), "7");
    assert_string_equal(audit_event(h, run, 0, "n"), "1");
    assert_string_equal(audit_event(h, run, 0, "c"), "1");
    assert_string_equal(audit_event(h, run, 0, "z"), harness_printf(h, "%zu", args.event.len));
    assert_string_equal(audit_event(h, run, 0, "b"), args.event.ptr);
    audit_check(h);
}

static void test_told_again_it_writes_nothing(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    struct script_started_args args = args_of(h, row);
    harness_assert_err(sync_started(h, &args, NULL), ERR_OK);
    redisContext *ear = audit_listen(h, "*");
    audit_refuses(h, sync_started(h, &args, NULL), ERR_OK);
    assert_string_equal(audit_heard(h, ear), "");
    assert_true(rig_append(h, row, 2));
    audit_refuses(h, sync_started(h, &args, NULL), ERR_OK); /* also behind later events */
    harness_assert_err(rig_stop(h, audit_id(h, row)), ERR_OK);
    const struct script_started_reply *reply;
    audit_refuses(h, sync_started(h, &args, &reply), ERR_OK);
    assert_int_equal(reply->stop, 1);
}

static void test_a_run_that_is_stopping_stays_so(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    const char *run = audit_id(h, row);
    struct script_started_args args = args_of(h, row);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    const struct script_started_reply *reply;
    harness_assert_err(sync_started(h, &args, &reply), ERR_OK);
    assert_int_equal(reply->stop, 1);
    rig_assert_status(h, run, "stopping");
    assert_string_equal(rig_field(h, run, "a1:status"), "running");
    assert_string_equal(rig_kinds(h, run), "runtime_started ");
    audit_check(h);
}

static void test_nobody_else_starts_it(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    rig_register(h, "r2");
    struct script_started_args args = args_of(h, row);
    args.inc = S("r2");
    audit_refuses(h, sync_started(h, &args, NULL), ERR_FENCED);
    args = args_of(h, row);
    args.epoch--;
    audit_refuses(h, sync_started(h, &args, NULL), ERR_FENCED);
    args.epoch += 2;
    audit_refuses(h, sync_started(h, &args, NULL), ERR_FENCED);
    args = args_of(h, row);
    args.attempt++;
    audit_refuses(h, sync_started(h, &args, NULL), ERR_FENCED);
    args = args_of(h, row);
    args.run = S(NOBODY);
    audit_refuses(h, sync_started(h, &args, NULL), ERR_FENCED);
    args = args_of(h, row);
    args.seq = 0; /* what is stored reaches further */
    audit_refuses(h, sync_started(h, &args, NULL), ERR_FENCED);
    args.run = S(rig_submit(h, NULL));
    audit_refuses(h, sync_started(h, &args, NULL), ERR_FENCED); /* it waits */
    audit_check(h);
}

static void test_what_was_taken_away_does_not_start(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    struct script_started_args args = args_of(h, row);
    harness_assert_err(audit_hand_back(h, "r1", row), ERR_OK);
    audit_refuses(h, sync_started(h, &args, NULL), ERR_FENCED);
    const struct script_claim_runs *two = rig_execute(h, "r1", 2); /* its next attempt, on the same runner */
    audit_refuses(h, sync_started(h, &args, NULL), ERR_FENCED);
    harness_assert_err(rig_finish(h, "r1", two, "success", 0, NULL), ERR_OK);
    struct script_started_args late = args_of(h, two);
    audit_refuses(h, sync_started(h, &late, NULL), ERR_FENCED);
    row = audit_claimed(h, "r1", NULL);
    args = args_of(h, row);
    rig_expire(h, "r1");
    assert_int_equal(rig_reap(h, 10)->taken, 1);
    audit_refuses(h, sync_started(h, &args, NULL), ERR_FENCED);
    audit_check(h);
}

static void test_a_later_attempt_keeps_the_time_of_the_first_start(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    const char *run = audit_id(h, row);
    harness_do(h, "HSET %s started 5", harness_key(h, "run:%s", run));
    harness_assert_err(audit_hand_back(h, "r1", row), ERR_OK);
    const struct script_claim_runs *two = rig_execute(h, "r1", 2);
    assert_true(two->attempt == 2 && two->first_seq == 2 && two->event_count == 1);
    assert_string_equal(rig_field(h, run, "started"), "5");
    assert_true(strtoll(rig_field(h, run, "a2:started"), NULL, 10) > 5);
    assert_string_equal(audit_event(h, run, 1, "c"), "2");
    audit_check(h);
}

static void test_without_a_handle_none_is_stored(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    struct script_started_args args = args_of(h, row);
    harness_assert_err(audit_handle(h, row, "{\"pid\":\"9\"}", ""), ERR_OK); /* a remote one's comes before its start */
    args.handle = S("");
    harness_assert_err(sync_started(h, &args, NULL), ERR_OK);
    assert_string_equal(rig_field(h, audit_id(h, row), "a1:handle"), "{\"pid\":\"9\"}");
}

static void test_it_starts_while_redis_is_full(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    struct script_started_args args = args_of(h, row);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err err = sync_started(h, &args, NULL);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(err, ERR_OK);
    rig_assert_status(h, audit_id(h, row), "running");
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_attempt_starts),
        TEST(test_told_again_it_writes_nothing),
        TEST(test_a_run_that_is_stopping_stays_so),
        TEST(test_nobody_else_starts_it),
        TEST(test_what_was_taken_away_does_not_start),
        TEST(test_a_later_attempt_keeps_the_time_of_the_first_start),
        TEST(test_without_a_handle_none_is_stored),
        TEST(test_it_starts_while_redis_is_full),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
