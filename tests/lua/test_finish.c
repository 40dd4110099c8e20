/* finish and hand_back: how attempts end. Each end once, a stop before everything, a claim before what the executor saw, retries within their bounds. */
#include <stdlib.h>

#include "audit.h"
#include "common/limits.h"
#include "lua/scripts_sync.h"

#define FAILURE "{\"class\":\"exit_nonzero\",\"message\":\"exit status 1\"}"

static struct script_finish_args args_of(const struct script_claim_runs *row, const char *outcome)
{
    bool error = strcmp(outcome, "error") == 0;
    return (struct script_finish_args){.inc = S("r1"),
                                       .retry = S("0"),
                                       .run = row->run,
                                       .epoch = row->epoch,
                                       .attempt = row->attempt,
                                       .outcome = S(outcome),
                                       .error_json = error ? S(FAILURE) : S(""),
                                       .result = error ? S("") : S("{\"n\":9007199254740993}"),
                                       .exit_code = error ? S("1") : S("0"),
                                       .rid = S(RID),
                                       .retention_ms = RETAIN};
}

/* The end of the run's last event, from "kind" on. */
static const char *last_event(struct harness *h, const char *run)
{
    return strstr(audit_event(h, run, -1, "b"), "\"kind\"");
}

static int64_t field_int(struct harness *h, const char *run, const char *field)
{
    return strtoll(rig_field(h, run, field), NULL, 10);
}

static void test_a_success(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    const char *run = audit_id(h, row);
    struct script_finish_args args = args_of(row, "success");
    int64_t before = harness_now_ms(h), bytes = strtoll(audit_event(h, run, 0, "z"), NULL, 10);
    redisContext *ear = audit_listen(h, "*");
    const struct script_finish_reply *reply;
    harness_assert_err(sync_finish(h, &args, &reply), ERR_OK);
    assert_string_equal(audit_heard(h, ear), harness_printf(h, "run:%s:wake \n", run));
    assert_true(str_eqz(reply->status, "success") && reply->closed == 1);
    rig_assert_status(h, run, "success");
    assert_string_equal(rig_field(h, run, "result"), "{\"n\":9007199254740993}"); /* as it was given */
    assert_string_equal(rig_field(h, run, "a1:status"), "success");
    assert_string_equal(rig_field(h, run, "a1:by"), "finish");
    assert_string_equal(rig_field(h, run, "a1:exit"), "0");
    assert_string_equal(rig_field(h, run, "a1:error"), "");
    assert_string_equal(rig_field(h, run, "error"), "");
    assert_string_equal(rig_field(h, run, "failures"), "0");
    assert_in_range(field_int(h, run, "completed"), before, harness_now_ms(h));
    double expiry;
    assert_true(harness_zscore(h, harness_key(h, "retain"), run, &expiry));
    assert_int_equal((int64_t)expiry, field_int(h, run, "completed") + RETAIN);
    assert_string_equal(last_event(h, run), "\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"success\",\"result\":"
                                            "{\"n\":9007199254740993},\"attempt\":1}}");
    assert_string_equal(audit_event(h, run, -1, NULL), "9007199254740991-2");
    bytes += (int64_t)strlen(audit_event(h, run, -1, "b"));
    assert_int_equal(field_int(h, run, "eventBytes"), bytes);
    assert_int_equal(strtoll(audit_event(h, run, -1, "z"), NULL, 10), bytes);
    assert_string_equal(rig_field(h, run, "eventCount"), "2");
    assert_string_equal(rig_field(h, run, "lastSeq"), "2");
    /* And for statistics: that one ended, and how long it took. */
    struct script_queue_stats_args asked = {.names = (const struct str[]){S("default")}, .names_len = 1, .minutes = 1};
    const struct script_queue_stats_reply *stats;
    harness_assert_err(sync_queue_stats(h, &asked, &stats), ERR_OK);
    assert_int_equal(stats->stats[0].success, 1);
    assert_int_equal(stats->stats[0].ms, field_int(h, run, "completed") - field_int(h, run, "started"));
    audit_check(h);
}

static void test_an_error_and_a_result_that_was_too_large(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    const char *run = audit_id(h, row);
    struct script_finish_args args = args_of(row, "error");
    args.truncated = 1;
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    rig_assert_status(h, run, "error");
    assert_string_equal(rig_field(h, run, "error"), FAILURE);
    assert_string_equal(rig_field(h, run, "a1:error"), FAILURE);
    assert_string_equal(rig_field(h, run, "a1:exit"), "1");
    assert_string_equal(rig_field(h, run, "resultTruncated"), "1");
    assert_string_equal(rig_field(h, run, "failures"), "1");
    assert_string_equal(last_event(h, run), "\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"error\","
                                            "\"resultTruncated\":true,\"error\":" FAILURE ",\"attempt\":1}}");
    audit_check(h);
}

static void test_an_attempt_that_never_started(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    struct script_finish_args args = args_of(row, "error");
    args.exit_code = S("");
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    assert_string_equal(rig_kinds(h, audit_id(h, row)), "runtime_terminal ");
    assert_string_equal(rig_field(h, audit_id(h, row), "lastSeq"), "1");
    assert_string_equal(rig_field(h, audit_id(h, row), "a1:exit"), "");
    audit_check(h);
}

static void test_the_closing_event_comes_behind_what_is_stored(void **state)
{
    struct harness *h = *state;
    static const int64_t given[] = {3, 900, 0}, wanted[] = {11, 900, 11};
    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        const struct script_claim_runs *row = audit_running(h, "r1", NULL);
        const char *run = audit_id(h, row);
        assert_true(rig_append(h, row, 10));
        struct script_finish_args args = args_of(row, "success");
        args.seq = given[i];
        args.t_ms = 2; /* a clock that is behind: time stays at what is stored */
        harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
        assert_int_equal(field_int(h, run, "lastSeq"), wanted[i]);
        assert_string_equal(rig_field(h, run, "lastT"), audit_event(h, run, 1, "t"));
        audit_check(h);
    }
}

/* The same for the event that closes an attempt which another one follows. */
static void test_a_retry_closes_behind_what_is_stored(void **state)
{
    struct harness *h = *state;
    static const int64_t given[] = {3, 900, 0};
    static const char *const wanted[] = {"11", "900", "11"};
    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        const struct script_claim_runs *row = audit_running(h, "r1", &(struct rig_run){.max_attempts = 2});
        const char *run = audit_id(h, row);
        assert_true(rig_append(h, row, 10));
        struct script_finish_args args = args_of(row, "error");
        args.seq = given[i];
        args.t_ms = 2;
        args.retry = S("60000");
        harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
        assert_string_equal(audit_event(h, run, -1, "last"), wanted[i]);
        assert_string_equal(audit_event(h, run, -1, "t"), audit_event(h, run, 1, "t"));
        audit_check(h);
    }
}

static void test_a_gap_in_seq_when_redis_restarted_meanwhile(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    struct script_finish_args args = args_of(row, "success");
    args.rid = S("another");
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    int64_t at = strtoll(rig_field(h, audit_id(h, row), "lastSeq"), NULL, 10);
    assert_in_range(at, 1000002, 1000002 + 60000000); /* and the time since */
    audit_check(h);
}

static void test_who_may_not_finish(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    rig_register(h, "r2");
    struct script_finish_args args = args_of(row, "success");
    args.inc = S("r2");
    audit_refuses(h, sync_finish(h, &args, NULL), ERR_FENCED);
    args = args_of(row, "success");
    args.epoch++;
    audit_refuses(h, sync_finish(h, &args, NULL), ERR_FENCED);
    args = args_of(row, "success");
    args.attempt = 2;
    audit_refuses(h, sync_finish(h, &args, NULL), ERR_FENCED);
    args = args_of(row, "success");
    args.run = S(NOBODY);
    audit_refuses(h, sync_finish(h, &args, NULL), ERR_FENCED);
    harness_do(h, "HSET %s state dead", harness_key(h, "runner:r1")); /* reap has begun with it */
    args = args_of(row, "success");
    audit_refuses(h, sync_finish(h, &args, NULL), ERR_FENCED);
    audit_refuses(h, audit_hand_back(h, "r1", row), ERR_FENCED);
    harness_do(h, "HSET %s state draining", harness_key(h, "runner:r1"));
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    audit_check(h);
}

static void test_a_retry_waits_its_time(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", &(struct rig_run){.max_attempts = 3});
    const char *run = audit_id(h, row);
    struct script_finish_args args = args_of(row, "error");
    args.retry = S("5000");
    redisContext *ear = audit_listen(h, "*");
    const struct script_finish_reply *reply;
    int64_t before = harness_now_ms(h);
    harness_assert_err(sync_finish(h, &args, &reply), ERR_OK);
    assert_true(str_eqz(reply->status, "scheduled") && reply->closed == 1);
    assert_in_range(field_int(h, run, "due"), before + 5000, harness_now_ms(h) + 5000);
    assert_string_equal(audit_heard(h, ear),
                        harness_printf(h, "due %s\nrun:%s:wake \n", rig_field(h, run, "due"), run));
    assert_string_equal(last_event(h, run),
                        "\"kind\":\"stream_error\",\"data\":{\"willRetry\":true,\"attempt\":1,\"error\":" FAILURE "}}");
    assert_string_equal(audit_event(h, run, -1, NULL),
                        harness_printf(h, "%lld-%lld", (long long)row->epoch, (long long)SEQ_CLOSED));
    assert_string_equal(rig_field(h, run, "error"), ""); /* the attempt's, not the run's */
    assert_string_equal(rig_field(h, run, "a1:error"), FAILURE);
    audit_check(h);
    audit_refuses(h, sync_finish(h, &args, &reply), ERR_OK); /* its answer was lost */
    assert_true(str_eqz(reply->status, "scheduled") && reply->closed == 0);
    args.outcome = S("success");
    audit_refuses(h, sync_finish(h, &args, &reply), ERR_OK);
    assert_false(rig_append(h, row, 3));
}

static void test_a_later_retry_wakes_nobody(void **state)
{
    struct harness *h = *state;
    rig_submit(h, &(struct rig_run){.delay_ms = 1000});
    const struct script_claim_runs *row = audit_running(h, "r1", &(struct rig_run){.max_attempts = 3});
    struct script_finish_args args = args_of(row, "error");
    args.retry = S("60000");
    redisContext *ear = audit_listen(h, "due");
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    assert_string_equal(audit_heard(h, ear), "");
    audit_check(h);
}

static void test_a_retry_without_delay_stands_in_its_own_lane(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", &(struct rig_run){.max_attempts = 2});
    struct script_finish_args args = args_of(row, "error");
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    audit_check(h);
    const struct script_claim_runs *two = rig_execute(h, "r1", 2);
    assert_true(str_eq(two->run, row->run) && two->attempt == 2 && two->first_seq == 3);
    args = args_of(two, "error");
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "error"); /* both are used up */
    assert_string_equal(rig_field(h, audit_id(h, row), "failures"), "2");
    audit_check(h);
}

static void test_what_is_never_tried_again(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", &(struct rig_run){.max_attempts = 5});
    struct script_finish_args args = args_of(row, "error");
    args.retry = S("no");
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "error");
    row = audit_running(h, "r1", &(struct rig_run){.max_attempts = 5, .at_most_once = true});
    args = args_of(row, "error");
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "error");
    audit_check(h);
}

static void test_a_stop_comes_before_every_outcome(void **state)
{
    struct harness *h = *state;
    static const char *const outcomes[] = {"success", "error", "stopped"};
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        const struct script_claim_runs *row =
            audit_running(h, "r1", &(struct rig_run){.max_attempts = 5, .source = "remote"});
        const char *run = audit_id(h, row);
        harness_assert_err(audit_batch(h, row, 2, 2, harness_now_ms(h), "success", NULL), ERR_OK);
        harness_assert_err(rig_stop(h, run), ERR_OK);
        struct script_finish_args args = args_of(row, outcomes[i]);
        const struct script_finish_reply *reply;
        harness_assert_err(sync_finish(h, &args, &reply), ERR_OK);
        assert_true(str_eqz(reply->status, "stopped"));
        assert_string_equal(last_event(h, run),
                            "\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"stopped\",\"attempt\":1}}");
        assert_string_equal(rig_field(h, run, "result"), "");
        assert_string_equal(rig_field(h, run, "error"), "");
        audit_check(h);
    }
}

/* ---- what a remote runtime claimed ---- */

static const struct script_claim_runs *claimed_end(struct harness *h, const char *claim, int64_t max_attempts)
{
    const struct script_claim_runs *row =
        audit_running(h, "r1", &(struct rig_run){.max_attempts = max_attempts, .source = "remote"});
    harness_assert_err(audit_batch(h, row, 2, 8, harness_now_ms(h), claim, NULL), ERR_OK);
    return row;
}

static void test_a_claim_decides_status_result_and_seq(void **state)
{
    struct harness *h = *state;
    static const char *const claims[] = {"success", "stopped", "error"};
    for (size_t i = 0; i < ARRAY_LEN(claims); i++) {
        const struct script_claim_runs *row = claimed_end(h, claims[i], 1);
        const char *run = audit_id(h, row);
        struct script_finish_args args = args_of(row, i == 2 ? "success" : "error");
        harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
        rig_assert_status(h, run, claims[i]);
        assert_string_equal(rig_field(h, run, "lastSeq"), "9");
        assert_string_equal(rig_field(h, run, "lastT"), rig_field(h, run, "claimT"));
        assert_string_equal(rig_field(h, run, "result"), i == 2 ? "" : "[7]");
        assert_int_equal(strstr(rig_field(h, run, "error"), "agent_error") != NULL, i == 2);
        audit_check(h);
    }
}

static void test_a_claimed_error_with_attempts_left_is_tried_again(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = claimed_end(h, "error", 2);
    const char *run = audit_id(h, row);
    struct script_finish_args args = args_of(row, "success");
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    rig_assert_status(h, run, "scheduled");
    assert_string_equal(last_event(h, run),
                        "\"kind\":\"stream_error\",\"data\":{\"willRetry\":true,\"attempt\":1,\"error\":{\"class\":"
                        "\"agent_error\",\"message\":\"no\"}}}");
    static const char *const gone[] = {"claimLine", "claimSeq", "claimT", "claimStatus", "claimResult", "claimError"};
    for (size_t i = 0; i < ARRAY_LEN(gone); i++)
        assert_string_equal(rig_field(h, run, gone[i]), "");
    audit_due(h, run); /* by the definition's backoff: a claim waits as any failure */
    harness_assert_err(
        sync_promote(h, &(struct script_promote_args){.max = 1, .rid = S(RID), .retention_ms = RETAIN}, NULL), ERR_OK);
    const struct script_claim_runs *two = rig_execute(h, "r1", 2);
    assert_int_equal(two->first_seq, 10);
    harness_assert_err(audit_batch(h, two, 11, 12, two->last_t_ms + 1, "success", NULL), ERR_OK);
    args = args_of(two, "error");
    harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
    rig_assert_status(h, run, "success");
    audit_check(h);
}

/* ---- hand_back ---- */

static void test_a_hand_back_is_neither_failure_nor_loss(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    const char *run = audit_id(h, row);
    assert_true(rig_append(h, row, 2));
    harness_assert_err(audit_hand_back(h, "r1", row), ERR_OK);
    rig_assert_status(h, run, "queued");
    assert_string_equal(rig_field(h, run, "failures"), "0");
    assert_string_equal(rig_field(h, run, "losses"), "0");
    assert_string_equal(rig_field(h, run, "a1:by"), "hand_back");
    assert_string_equal(rig_kinds(h, run), "runtime_started notification "); /* closed without an event */
    assert_false(rig_append(h, row, 3));
    audit_refuses(h, audit_hand_back(h, "r1", row), ERR_OK); /* its answer was lost */
    audit_refuses(h, rig_finish(h, "r1", row, "success", 0, NULL), ERR_FENCED);
    audit_check(h);
}

/* Executed at most once: what has begun is not given to another runner, what has not is. */
static void test_a_hand_back_of_what_may_run_once(void **state)
{
    struct harness *h = *state;
    const struct rig_run once = {.at_most_once = true};
    const struct script_claim_runs *row = audit_running(h, "r1", &once);
    harness_assert_err(audit_hand_back(h, "r1", row), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "error");
    assert_non_null(strstr(rig_field(h, audit_id(h, row), "error"), "runner_lost"));
    assert_string_equal(rig_kinds(h, audit_id(h, row)), "runtime_started runtime_terminal ");
    audit_refuses(h, audit_hand_back(h, "r1", row), ERR_OK); /* its answer was lost */
    row = audit_claimed(h, "r1", &once);
    harness_assert_err(audit_hand_back(h, "r1", row), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "queued");
    audit_check(h);
}

static void test_a_hand_back_that_is_refused(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    rig_register(h, "r2");
    struct script_claim_runs other = *row;
    other.epoch++;
    audit_refuses(h, audit_hand_back(h, "r1", &other), ERR_FENCED);
    other = *row;
    other.attempt++;
    audit_refuses(h, audit_hand_back(h, "r1", &other), ERR_FENCED);
    other = *row;
    other.run = S(NOBODY);
    audit_refuses(h, audit_hand_back(h, "r1", &other), ERR_FENCED);
    audit_refuses(h, audit_hand_back(h, "r2", row), ERR_FENCED);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    audit_refuses(h, audit_hand_back(h, "r1", row), ERR_FENCED);
}

static void test_a_hand_back_of_what_has_its_end_already(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    harness_assert_err(rig_stop(h, audit_id(h, row)), ERR_OK);
    harness_assert_err(audit_hand_back(h, "r1", row), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "stopped");
    row = claimed_end(h, "success", 1);
    harness_assert_err(audit_hand_back(h, "r1", row), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "success");
    audit_refuses(h, audit_hand_back(h, "r1", row), ERR_OK);
    audit_check(h);
}

static void test_both_work_while_redis_is_full(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *a = audit_running(h, "r1", NULL), *b = audit_running(h, "r1", NULL);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err ended = rig_finish(h, "r1", a, "success", 0, NULL), back = audit_hand_back(h, "r1", b);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(ended, ERR_OK);
    harness_assert_err(back, ERR_OK);
    audit_check(h);
}

/* What its runner counted is taken for what is stored, unless Redis restarted since: then it is looked at. */
static void test_what_the_runner_counted(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 3; i++) {
        const struct script_claim_runs *row = audit_running(h, "r1", NULL);
        const char *run = audit_id(h, row);
        bool restarted = i == 1;
        if (i == 2)
            harness_assert_err(rig_stop(h, run), ERR_OK);
        struct script_finish_args args = args_of(row, "success");
        args.seq = 8;
        args.t_ms = row->last_t_ms + 7;
        args.count = 5;
        args.bytes = 700;
        args.rid = restarted ? S("another") : S(RID);
        int64_t stored = strtoll(audit_event(h, run, 0, "z"), NULL, 10);
        harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
        int64_t own = (int64_t)strlen(audit_event(h, run, -1, "b"));
        assert_int_equal(field_int(h, run, "lastSeq"), 8);
        assert_int_equal(field_int(h, run, "eventCount"), restarted ? 2 : 6);
        assert_int_equal(field_int(h, run, "eventBytes"), (restarted ? stored : 700) + own);
        assert_int_equal(strtoll(audit_event(h, run, -1, "c"), NULL, 10), restarted ? 2 : 6);
        audit_check(h);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_success),
        TEST(test_what_the_runner_counted),
        TEST(test_an_error_and_a_result_that_was_too_large),
        TEST(test_an_attempt_that_never_started),
        TEST(test_the_closing_event_comes_behind_what_is_stored),
        TEST(test_a_retry_closes_behind_what_is_stored),
        TEST(test_a_gap_in_seq_when_redis_restarted_meanwhile),
        TEST(test_who_may_not_finish),
        TEST(test_a_retry_waits_its_time),
        TEST(test_a_later_retry_wakes_nobody),
        TEST(test_a_retry_without_delay_stands_in_its_own_lane),
        TEST(test_what_is_never_tried_again),
        TEST(test_a_stop_comes_before_every_outcome),
        TEST(test_a_claim_decides_status_result_and_seq),
        TEST(test_a_claimed_error_with_attempts_left_is_tried_again),
        TEST(test_a_hand_back_is_neither_failure_nor_loss),
        TEST(test_a_hand_back_of_what_may_run_once),
        TEST(test_a_hand_back_that_is_refused),
        TEST(test_a_hand_back_of_what_has_its_end_already),
        TEST(test_both_work_while_redis_is_full),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
