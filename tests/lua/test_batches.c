/* append and manifest, further: what a batch becomes, byte for byte, batches that are cut another way when they come
 * again, ends of ranges, the bounds of a run. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static const struct rig_run REMOTE = {.source = "remote"};

static const struct script_claim_runs *remote(struct harness *h)
{
    return audit_running(h, "r1", &REMOTE);
}

static void test_a_batch_is_stored_as_it_came(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    const char *run = audit_id(h, row);
    int64_t t = harness_now_ms(h), before = strtoll(audit_event(h, run, 0, "z"), NULL, 10);
    redisContext *ear = audit_listen(h, "*");
    const struct script_append_reply *reply;
    harness_assert_err(audit_batch(h, row, 5, 7, t, NULL, &reply), ERR_OK);
    assert_string_equal(audit_heard(h, ear), harness_printf(h, "run:%s:wake \n", run));
    assert_true(reply->accepted == 3 && reply->duplicate == 0 && reply->next_seq == 8 && reply->last_t_ms == t &&
                reply->stop == 0);
    struct script_append_args sent = audit_batch_args(h, row, 5, 7, t, NULL);
    assert_string_equal(audit_event(h, run, -1, NULL), harness_printf(h, "%lld-7", (long long)row->epoch));
    assert_string_equal(audit_event(h, run, -1, "first"), "5");
    assert_string_equal(audit_event(h, run, -1, "last"), "7");
    assert_string_equal(audit_event(h, run, -1, "t"), harness_printf(h, "%lld", (long long)t));
    assert_string_equal(audit_event(h, run, -1, "n"), "3");
    assert_string_equal(audit_event(h, run, -1, "c"), "4");
    assert_string_equal(audit_event(h, run, -1, "z"),
                        harness_printf(h, "%lld", (long long)(before + sent.entries[0].bytes)));
    assert_string_equal(audit_event(h, run, -1, "b"), sent.entries[0].b.ptr);
    audit_check(h);
}

static void test_several_entries_of_one_batch(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    int64_t t = harness_now_ms(h);
    struct script_append_args args = audit_batch_args(h, row, 2, 3, t, NULL),
                              rest = audit_batch_args(h, row, 4, 9, t + 5, NULL);
    const struct script_append_entries both[] = {args.entries[0], rest.entries[0]};
    args.entries = both;
    args.entries_len = 2;
    args.last = 9;
    args.last_t = t + 5;
    const struct script_append_reply *reply;
    harness_assert_err(sync_append(h, &args, &reply), ERR_OK);
    assert_true(reply->accepted == 8 && reply->next_seq == 10 && reply->last_t_ms == t + 5);
    assert_int_equal(harness_xlen(h, harness_key(h, "run:%s:events", audit_id(h, row))), 3);
    assert_string_equal(audit_event(h, audit_id(h, row), -1, "c"), "9");
    audit_refuses(h, sync_append(h, &args, &reply), ERR_OK);
    assert_true(reply->duplicate == 1 && reply->accepted == 0);
    audit_check(h);
}

static void test_a_batch_that_comes_again_is_known_however_it_is_cut(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    int64_t t = harness_now_ms(h);
    const struct script_append_reply *reply;
    harness_assert_err(audit_batch(h, row, 2, 4, t, NULL, NULL), ERR_OK);
    harness_assert_err(audit_batch(h, row, 5, 9, t, NULL, NULL), ERR_OK);
    static const int64_t cuts[][2] = {{2, 4}, {5, 9}, {2, 9}, {3, 3}, {4, 6}, {9, 9}};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        audit_refuses(h, audit_batch(h, row, cuts[i][0], cuts[i][1], t, NULL, &reply), ERR_OK);
        assert_true(reply->duplicate == 1 && reply->accepted == 0 && reply->next_seq == 10);
    }
    audit_refuses(h, audit_batch(h, row, 9, 10, t, NULL, &reply), ERR_SEQ_CONFLICT);    /* one of it is new */
    audit_refuses(h, audit_batch(h, row, 5, 9, t + 1, NULL, &reply), ERR_SEQ_CONFLICT); /* same seq, other bytes */
    assert_int_equal(reply->next_seq, 10); /* a refusal says where to go on */
    harness_assert_err(audit_batch(h, row, 10, 10, t, NULL, NULL), ERR_OK);
    audit_check(h);
}

/* Nothing bounds how far apart the events of a repeated batch lie by now. */
static void test_a_duplicate_over_many_entries(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    int64_t t = harness_now_ms(h);
    enum { ENTRIES = 1500 };
    const struct script_append_reply *reply;
    for (int64_t seq = 2; seq < 2 + ENTRIES; seq++)
        harness_assert_err(audit_batch(h, row, seq, seq, t, NULL, NULL), ERR_OK);
    struct script_append_args args = audit_batch_args(h, row, 2, 2, t, NULL),
                              far = audit_batch_args(h, row, 1 + ENTRIES, 1 + ENTRIES, t, NULL);
    const struct script_append_entries both[] = {args.entries[0], far.entries[0]};
    args.entries = both;
    args.entries_len = 2;
    args.last = 1 + ENTRIES;
    audit_refuses(h, sync_append(h, &args, &reply), ERR_OK);
    assert_true(reply->duplicate == 1 && reply->next_seq == 2 + ENTRIES);
}

static void test_refusals_leave_nothing(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    int64_t t = harness_now_ms(h), ahead = INT64_C(86400000);
    harness_assert_err(audit_batch(h, row, 2, 4, t, NULL, NULL), ERR_OK);
    struct script_append_args args = audit_batch_args(h, row, 5, 6, t, NULL);
    args.run = S(NOBODY);
    audit_refuses(h, sync_append(h, &args, NULL), ERR_RUN_NOT_FOUND);
    args = audit_batch_args(h, row, 5, 6, t, NULL);
    args.token_sha = S("another");
    audit_refuses(h, sync_append(h, &args, NULL), ERR_RUN_NOT_FOUND);
    args.token_sha = S("");
    audit_refuses(h, sync_append(h, &args, NULL), ERR_RUN_NOT_FOUND);
    args.token_sha = S(TOKEN);
    args.attempt = 2; /* nobody was given a token of it */
    audit_refuses(h, sync_append(h, &args, NULL), ERR_RUN_NOT_FOUND);
    audit_refuses(h, audit_batch(h, row, 4, 5, t, NULL, NULL), ERR_SEQ_CONFLICT);
    audit_refuses(h, audit_batch(h, row, 1, 1, t, NULL, NULL), ERR_SEQ_CONFLICT);
    args = audit_batch_args(h, row, 5, 5, t, NULL);
    args.last = 4 + INT64_C(4294967296) + 1;
    audit_refuses(h, sync_append(h, &args, NULL), ERR_SEQ_CONFLICT);
    audit_refuses(h, audit_batch(h, row, 5, 5, t - 1, NULL, NULL), ERR_T_MS_CONFLICT);
    audit_refuses(h, audit_batch(h, row, 5, 5, t + ahead + 600000, NULL, NULL), ERR_T_MS_CONFLICT);
    audit_refuses(h, audit_batch(h, row, 4, 4, t - 1, NULL, NULL), ERR_SEQ_CONFLICT); /* seq comes before time */
    audit_check(h);
}

static void test_the_ends_of_the_ranges_are_taken(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    int64_t t = harness_now_ms(h), last = 1 + INT64_C(4294967296);
    struct script_append_args args = audit_batch_args(h, row, last, last, t + 86400000 - 60000, NULL);
    const struct script_append_reply *reply;
    harness_assert_err(sync_append(h, &args, &reply), ERR_OK);
    assert_int_equal(reply->next_seq, last + 1);
    assert_string_equal(audit_event(h, audit_id(h, row), -1, "last"), "4294967297"); /* beyond 32 bits, no exponent */
    audit_check(h);
}

static void test_only_a_remote_attempt_is_written_to(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    audit_refuses(h, audit_batch(h, row, 2, 2, harness_now_ms(h), NULL, NULL), ERR_WRONG_SOURCE);
}

static void test_before_its_start_no_token_is_valid(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_claimed(h, "r1", &REMOTE);
    audit_refuses(h, audit_batch(h, row, 1, 1, harness_now_ms(h), NULL, NULL), ERR_RUN_NOT_FOUND);
}

static void test_an_attempt_that_was_taken_back_is_fenced(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    int64_t t = harness_now_ms(h);
    harness_assert_err(audit_batch(h, row, 2, 4, t, NULL, NULL), ERR_OK);
    rig_expire(h, "r1");
    assert_int_equal(rig_reap(h, 10)->taken, 1);
    audit_refuses(h, audit_batch(h, row, 6, 6, t + 60000, NULL, NULL), ERR_FENCED);
    audit_refuses(h, audit_batch(h, row, 2, 4, t, NULL, NULL), ERR_FENCED); /* not even what it wrote before */
    audit_refuses(h, audit_batch(h, row, 0, 6, t + 60000, "success", NULL), ERR_FENCED);
    rig_register(h, "r2");
    const struct script_claim_runs *two = rig_execute(h, "r2", 1);
    audit_refuses(h, audit_batch(h, row, two->first_seq + 1, two->first_seq + 1, t + 60000, NULL, NULL), ERR_FENCED);
    harness_assert_err(audit_batch(h, two, two->first_seq + 1, two->first_seq + 1, t + 60000, NULL, NULL), ERR_OK);
    assert_string_equal(rig_kinds(h, audit_id(h, two)),
                        "runtime_started assistant_text stream_error runtime_started assistant_text ");
    audit_check(h);
}

static void test_a_claimed_end_is_kept_and_not_an_event(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    const char *run = audit_id(h, row);
    int64_t t = harness_now_ms(h);
    redisContext *ear = audit_listen(h, "ctl:*");
    const struct script_append_reply *reply;
    harness_assert_err(audit_batch(h, row, 2, 3, t, "success", &reply), ERR_OK);
    assert_string_equal(audit_heard(h, ear), harness_printf(h, "ctl:r1 claimed %s\n", run));
    assert_true(reply->accepted == 3 && reply->next_seq == 5 && reply->last_t_ms == t);
    assert_int_equal(harness_xlen(h, harness_key(h, "run:%s:events", run)), 2);
    rig_assert_status(h, run, "running");
    assert_string_equal(rig_field(h, run, "claimStatus"), "success");
    assert_string_equal(rig_field(h, run, "claimSeq"), "4");
    assert_string_equal(rig_field(h, run, "claimResult"), "[7]");
    audit_refuses(h, audit_batch(h, row, 2, 3, t, "success", &reply), ERR_OK); /* told again */
    assert_true(reply->duplicate == 1 && reply->next_seq == 5);
    audit_refuses(h, audit_batch(h, row, 0, 4, t, "success", &reply), ERR_OK); /* the claim alone, too */
    assert_int_equal(reply->duplicate, 1);
    audit_refuses(h, audit_batch(h, row, 5, 5, t, NULL, &reply), ERR_RUN_TERMINAL);    /* nothing comes behind it */
    audit_refuses(h, audit_batch(h, row, 0, 5, t, "error", &reply), ERR_RUN_TERMINAL); /* nor another end */
    audit_refuses(h, audit_batch(h, row, 0, 4, t, "error", &reply), ERR_RUN_TERMINAL);
    assert_int_equal(reply->next_seq, 5);
    audit_check(h);
}

static void test_after_the_end_only_what_was_stored_is_known(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    int64_t t = harness_now_ms(h);
    const struct script_append_reply *reply;
    harness_assert_err(audit_batch(h, row, 2, 3, t, "success", NULL), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    rig_assert_status(h, audit_id(h, row), "success");
    audit_refuses(h, audit_batch(h, row, 2, 3, t, "success", &reply), ERR_OK);
    assert_true(reply->duplicate == 1 && reply->next_seq == 5);
    audit_refuses(h, audit_batch(h, row, 2, 3, t, NULL, &reply), ERR_OK);
    audit_refuses(h, audit_batch(h, row, 5, 5, t, NULL, &reply), ERR_RUN_TERMINAL);
    audit_refuses(h, audit_batch(h, row, 2, 2, t + 1, NULL, &reply), ERR_RUN_TERMINAL); /* not its bytes */
    audit_check(h);
}

static void test_a_stop_is_told_with_each_answer(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    const struct script_append_reply *reply;
    harness_assert_err(rig_stop(h, audit_id(h, row)), ERR_OK);
    harness_assert_err(audit_batch(h, row, 2, 2, harness_now_ms(h), NULL, &reply), ERR_OK);
    assert_int_equal(reply->stop, 1);
    harness_assert_err(audit_batch(h, row, 1, 1, harness_now_ms(h), NULL, &reply), ERR_SEQ_CONFLICT);
    assert_int_equal(reply->stop, 1);
    audit_check(h);
}

/* Over a bound: nothing of the batch is stored, and the attempt ends with that as its reason. */
static void over_a_bound(struct harness *h, int64_t events_max, int64_t bytes_max)
{
    const struct script_claim_runs *row = remote(h);
    const char *run = audit_id(h, row);
    struct script_append_args args = audit_batch_args(h, row, 2, 4, harness_now_ms(h), NULL);
    args.events_max = events_max;
    args.bytes_max = bytes_max;
    redisContext *ear = audit_listen(h, "ctl:*");
    harness_assert_err(sync_append(h, &args, NULL), ERR_RUN_TERMINAL);
    assert_string_equal(audit_heard(h, ear), harness_printf(h, "ctl:r1 claimed %s\n", run));
    assert_int_equal(harness_xlen(h, harness_key(h, "run:%s:events", run)), 1);
    audit_refuses(h, sync_append(h, &args, NULL), ERR_RUN_TERMINAL);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    rig_assert_status(h, run, "error");
    assert_non_null(strstr(rig_field(h, run, "error"), "\"class\":\"event_limit\""));
    audit_check(h);
}

static void test_more_events_than_a_run_may_have(void **state)
{
    over_a_bound(*state, 3, 1000000);
}

static void test_more_bytes_than_a_run_may_have(void **state)
{
    over_a_bound(*state, 1000, 100);
}

static void test_a_full_redis_refuses_a_batch_whole(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    int64_t t = harness_now_ms(h);
    const char *before = rig_dump(h);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err err = audit_batch(h, row, 2, 4, t, "success", NULL);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(err, ERR_MEMORY_PRESSURE);
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(audit_batch(h, row, 2, 4, t, "success", NULL), ERR_OK); /* the same, later */
    audit_check(h);
}

static enum err manifest(struct harness *h, const struct script_claim_runs *row, const char *token,
                         const struct script_manifest_reply **ret_reply)
{
    struct script_manifest_args args = {.run = row->run, .attempt = row->attempt, .token_sha = S(token)};
    return sync_manifest(h, &args, ret_reply);
}

static void test_the_manifest_says_where_to_go_on(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = remote(h);
    const struct script_manifest_reply *reply;
    int64_t t = harness_now_ms(h);
    harness_assert_err(manifest(h, row, TOKEN, &reply), ERR_OK);
    assert_true(reply->next_seq == 2 && reply->stop == 0 && str_eqz(reply->def, "{\"name\":\"t\"}"));
    assert_string_equal(redis_field(reply->record, "input")->str, "{\"a\":1}");
    harness_assert_err(audit_batch(h, row, 2, 4, t, "success", NULL), ERR_OK);
    harness_assert_err(rig_stop(h, audit_id(h, row)), ERR_OK);
    harness_assert_err(manifest(h, row, TOKEN, &reply), ERR_OK);
    assert_true(reply->next_seq == 6 && reply->last_t_ms == t && reply->stop == 1);
    harness_assert_err(manifest(h, row, "another", NULL), ERR_RUN_NOT_FOUND);
    struct script_claim_runs nobody = *row;
    nobody.run = S(NOBODY);
    harness_assert_err(manifest(h, &nobody, TOKEN, NULL), ERR_RUN_NOT_FOUND);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    harness_assert_err(manifest(h, row, TOKEN, NULL), ERR_FENCED);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_batch_is_stored_as_it_came),
        TEST(test_several_entries_of_one_batch),
        TEST(test_a_batch_that_comes_again_is_known_however_it_is_cut),
        TEST(test_a_duplicate_over_many_entries),
        TEST(test_refusals_leave_nothing),
        TEST(test_the_ends_of_the_ranges_are_taken),
        TEST(test_only_a_remote_attempt_is_written_to),
        TEST(test_before_its_start_no_token_is_valid),
        TEST(test_an_attempt_that_was_taken_back_is_fenced),
        TEST(test_a_claimed_end_is_kept_and_not_an_event),
        TEST(test_after_the_end_only_what_was_stored_is_known),
        TEST(test_a_stop_is_told_with_each_answer),
        TEST(test_more_events_than_a_run_may_have),
        TEST(test_more_bytes_than_a_run_may_have),
        TEST(test_a_full_redis_refuses_a_batch_whole),
        TEST(test_the_manifest_says_where_to_go_on),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
