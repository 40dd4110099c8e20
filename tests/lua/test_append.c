/* append, handle and manifest: the ingress' checks in the contract's order, all or nothing, and what a retry is. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

enum { MAX_EVENTS = 1000, MAX_BYTES = 100000 };

struct post {
    const char *run, *token;
    int64_t attempt, seq, t;
    size_t n;
    const char *text;  /* of the events */
    int64_t claim_seq; /* 0: none */
    const char *claim_status;
};

static enum err post(struct harness *h, const struct post *p, const struct script_append_reply **ret_reply)
{
    struct script_append_entries rows[8];
    for (size_t i = 0; i < p->n; i++) {
        int64_t seq = p->seq + (int64_t)i;
        const char *line =
            harness_printf(h, "{\"seq\":%lld,\"tMs\":%lld,\"kind\":\"notification\",\"data\":{\"x\":\"%s\"}}",
                           (long long)seq, (long long)p->t, p->text ? p->text : "");
        rows[i] = (struct script_append_entries){seq, seq, p->t, 1, (int64_t)strlen(line), S(line)};
    }
    int64_t last = p->claim_seq ? p->claim_seq : p->seq + (int64_t)p->n - 1;
    struct script_append_args args = {
        .run = S(p->run),
        .attempt = p->attempt ? p->attempt : 1,
        .token_sha = S(p->token ? p->token : "sha"),
        .first = p->n ? p->seq : p->claim_seq,
        .last = last,
        .first_t = p->t,
        .last_t = p->t,
        .entries = rows,
        .entries_len = p->n,
        .claim_line =
            p->claim_seq
                ? S(harness_printf(
                      h, "{\"seq\":%lld,\"tMs\":%lld,\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"%s\"}}",
                      (long long)p->claim_seq, (long long)p->t, p->claim_status ? p->claim_status : "success"))
                : S(""),
        .claim_seq = p->claim_seq,
        .claim_t = p->t,
        .claim_status = p->claim_seq ? S(p->claim_status ? p->claim_status : "success") : S(""),
        .claim_result = p->claim_seq ? S("7") : S(""),
        .claim_error = S(""),
        .events_max = MAX_EVENTS,
        .bytes_max = MAX_BYTES};
    return sync_append(h, &args, ret_reply);
}

/* A remote attempt that has started; its first event is seq 1 at t 1. */
static const char *remote(struct harness *h, const struct script_claim_runs **ret_row)
{
    rig_register(h, "r1");
    const char *run = rig_submit(h, &(struct rig_run){.source = "remote", .max_attempts = 2});
    *ret_row = rig_execute(h, "r1", 1);
    return run;
}

static void assert_refused(struct harness *h, const struct post *p, enum err wanted)
{
    const char *before = rig_dump(h);
    const struct script_append_reply *reply;
    harness_assert_err(post(h, p, &reply), wanted);
    assert_string_equal(rig_dump(h), before);
    if (wanted != ERR_RUN_NOT_FOUND)
        assert_true(reply && reply->accepted == 0 && reply->next_seq > 0);
}

static void test_events_are_stored(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row;
    const char *run = remote(h, &row);
    const struct script_append_reply *reply;
    harness_assert_err(post(h, &(struct post){.run = run, .seq = 2, .t = 5, .n = 3}, &reply), ERR_OK);
    assert_true(reply->accepted == 3 && reply->next_seq == 5 && reply->last_t_ms == 5 && !reply->duplicate &&
                !reply->stop);
    assert_string_equal(rig_kinds(h, run), "runtime_started notification notification notification ");
    const redisReply *entries = harness_xrange(h, harness_key(h, "run:%s:events", run));
    assert_string_equal(harness_entry(h, entries, 3, NULL), harness_printf(h, "%lld-4", (long long)row->epoch));
    assert_string_equal(harness_entry(h, entries, 3, "c"), "4");
    audit_check(h);
}

static void test_a_retry_is_a_duplicate(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row;
    const char *run = remote(h, &row);
    struct post p = {.run = run, .seq = 2, .t = 5, .n = 3, .claim_seq = 9};
    const struct script_append_reply *reply;
    harness_assert_err(post(h, &p, &reply), ERR_OK);
    assert_true(reply->accepted == 4 && reply->next_seq == 10);
    const char *before = rig_dump(h);
    harness_assert_err(post(h, &p, &reply), ERR_OK);
    assert_true(reply->duplicate && reply->accepted == 0 && reply->next_seq == 10);
    harness_assert_err(post(h, &(struct post){.run = run, .seq = 3, .t = 5, .n = 1}, &reply),
                       ERR_OK); /* a part of it, too */
    assert_true(reply->duplicate);
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    assert_string_equal(rig_field(h, run, "result"), "7");
    before = rig_dump(h);
    harness_assert_err(post(h, &p, &reply), ERR_OK); /* also after the end */
    assert_true(reply->duplicate);
    assert_string_equal(rig_dump(h), before);
    audit_check(h);
}

static void test_every_refusal_in_its_order(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row;
    const char *run = remote(h, &row);
    int64_t now = harness_now_ms(h);
    harness_assert_err(post(h, &(struct post){.run = run, .seq = 5, .t = 10, .n = 1}, NULL), ERR_OK);
    assert_refused(h, &(struct post){.run = "00000000-0000-4000-8000-000000000000", .seq = 6, .t = 10, .n = 1},
                   ERR_RUN_NOT_FOUND);
    assert_refused(h, &(struct post){.run = run, .token = "other", .seq = 6, .t = 10, .n = 1}, ERR_RUN_NOT_FOUND);
    assert_refused(h, &(struct post){.run = run, .attempt = 2, .seq = 6, .t = 10, .n = 1},
                   ERR_RUN_NOT_FOUND); /* an attempt that never was has no token */
    assert_refused(h, &(struct post){.run = run, .seq = 5, .t = 10, .n = 1, .text = "other"}, ERR_SEQ_CONFLICT);
    assert_refused(h, &(struct post){.run = run, .seq = 4, .t = 1, .n = 1}, ERR_SEQ_CONFLICT); /* before t */
    assert_refused(h, &(struct post){.run = run, .seq = 5, .t = 10, .n = 2},
                   ERR_SEQ_CONFLICT); /* half of it is stored */
    assert_refused(h, &(struct post){.run = run, .seq = 6 + 4294967296, .t = 10, .n = 1}, ERR_SEQ_CONFLICT);
    assert_refused(h, &(struct post){.run = run, .seq = 6, .t = 9, .n = 1}, ERR_T_MS_NOT_MONOTONIC);
    assert_refused(h, &(struct post){.run = run, .seq = 6, .t = now + 86400000 + 60000, .n = 1},
                   ERR_T_MS_NOT_MONOTONIC);
    harness_assert_err(post(h, &(struct post){.run = run, .t = 10, .claim_seq = 8}, NULL), ERR_OK);
    assert_refused(h, &(struct post){.run = run, .seq = 9, .t = 10, .n = 1}, ERR_RUN_TERMINAL);
    assert_refused(h, &(struct post){.run = run, .seq = 1, .t = 1, .n = 1}, ERR_RUN_TERMINAL); /* before seq */
    assert_refused(h, &(struct post){.run = run, .t = 10, .claim_seq = 8, .claim_status = "error"}, ERR_RUN_TERMINAL);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    assert_refused(h, &(struct post){.run = run, .seq = 9, .t = 10, .n = 1}, ERR_RUN_TERMINAL);
}

static void test_another_source(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    rig_execute(h, "r1", 1);
    assert_refused(h, &(struct post){.run = run, .seq = 1, .t = 1, .n = 1}, ERR_WRONG_SOURCE);
}

static void test_an_attempt_that_is_over(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row;
    const char *run = remote(h, &row);
    harness_assert_err(rig_finish(h, "r1", row, "error", 60000, NULL), ERR_OK);
    rig_assert_status(h, run, "scheduled");
    assert_refused(h, &(struct post){.run = run, .seq = 9, .t = 10, .n = 1},
                   ERR_FENCED); /* closed while the run goes on */
    harness_do(h, "ZADD %s 1 %s", harness_key(h, "delayed"), run);
    harness_assert_err(
        sync_promote(h, &(struct script_promote_args){.max = 1, .rid = S(RID), .retention_ms = RETAIN}, NULL), ERR_OK);
    rig_execute(h, "r1", 2);
    assert_refused(h, &(struct post){.run = run, .seq = 9, .t = 10, .n = 1}, ERR_FENCED); /* no longer the last one */
}

static void test_a_reaper_honours_a_claim(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row;
    const char *run = remote(h, &row);
    harness_assert_err(post(h, &(struct post){.run = run, .t = 10, .claim_seq = 2}, NULL), ERR_OK);
    rig_expire(h, "r1");
    rig_reap(h, 10);
    rig_assert_status(h, run, "success");
    assert_string_equal(rig_field(h, run, "result"), "7");
    audit_check(h);
}

static void test_a_stop_is_told_and_wins(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row;
    const char *run = remote(h, &row);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    const struct script_append_reply *reply;
    harness_assert_err(post(h, &(struct post){.run = run, .t = 10, .claim_seq = 2}, &reply), ERR_OK);
    assert_int_equal(reply->stop, 1);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    rig_assert_status(h, run, "stopped");
}

static void test_a_full_redis_takes_no_events(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row;
    const char *run = remote(h, &row), *before = rig_dump(h);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err err = post(h, &(struct post){.run = run, .seq = 2, .t = 5, .n = 1}, NULL);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(err, ERR_MEMORY_PRESSURE);
    assert_string_equal(rig_dump(h), before);
}

static void test_the_manifest(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row;
    const char *run = remote(h, &row);
    struct script_manifest_args args = {.run = S(run), .attempt = 1, .token_sha = S("sha")};
    const struct script_manifest_reply *reply;
    harness_assert_err(sync_manifest(h, &args, &reply), ERR_OK);
    assert_true(reply->next_seq == 2 && str_eqz(reply->def, "{\"name\":\"t\"}") && reply->stop == 0);
    args.token_sha = S("other");
    harness_assert_err(sync_manifest(h, &args, NULL), ERR_RUN_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_events_are_stored),
        TEST(test_a_retry_is_a_duplicate),
        TEST(test_every_refusal_in_its_order),
        TEST(test_another_source),
        TEST(test_an_attempt_that_is_over),
        TEST(test_a_reaper_honours_a_claim),
        TEST(test_a_stop_is_told_and_wins),
        TEST(test_a_full_redis_takes_no_events),
        TEST(test_the_manifest),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
