/* submit: what an accepted run consists of, and that a refused one leaves nothing. */
#include "audit.h"
#include "common/limits.h"
#include "lua/scripts_sync.h"

static void test_an_accepted_run(void **state)
{
    struct harness *h = *state;
    const char *run = rig_submit(h, NULL);
    rig_assert_status(h, run, "queued");
    assert_string_equal(rig_field(h, run, "input"), "{\"a\":1}");
    assert_string_equal(rig_field(h, run, "attempt"), "0");
    assert_string_equal(rig_field(h, run, "rid"), RID);
    assert_false(harness_exists(h, harness_key(h, "run:%s:events", run))); /* until it is claimed */
    assert_int_equal(harness_xlen(h, harness_key(h, "lane:default:-:default:normal")), 1);
    assert_int_equal(harness_int(h, "LLEN %s", harness_key(h, "bell:default")), 1);
    assert_int_equal(harness_int(h, "HGET %s default", harness_key(h, "queued")), 1);
    audit_check(h);
}

static void test_a_delayed_run(void **state)
{
    struct harness *h = *state;
    struct rig_run o = {.delay_ms = 5000};
    int64_t before = harness_now_ms(h);
    const char *run = rig_submit(h, &o);
    rig_assert_status(h, run, "scheduled");
    double due;
    assert_true(harness_zscore(h, harness_key(h, "delayed"), run, &due));
    assert_in_range((int64_t)due, before + 5000, harness_now_ms(h) + 5000);
    audit_check(h);
}

static void test_definitions_are_shared_and_counted(void **state)
{
    struct harness *h = *state;
    const char *one = rig_submit(h, NULL);
    rig_submit(h, NULL);
    assert_int_equal(harness_int(h, "HGET %s refs", harness_key(h, "def:%s", rig_field(h, one, "def"))), 2);
}

static void test_the_same_key_and_body_is_the_first_run(void **state)
{
    struct harness *h = *state;
    struct rig_run o = {.idem_key = "k"};
    const char *first = rig_submit(h, &o);
    const char *before = rig_dump(h);
    for (int i = 0; i < 3; i++)
        assert_string_equal(rig_submit(h, &o), first);
    assert_string_equal(rig_dump(h), before);
    assert_true(harness_int(h, "PTTL %s", harness_key(h, "idem:default:k")) > 86000000);
}

static void assert_refused(struct harness *h, const struct rig_run *o, enum err wanted)
{
    const char *before = rig_dump(h);
    enum err err;
    assert_null(rig_try_submit(h, o, &err));
    harness_assert_err(err, wanted);
    assert_string_equal(rig_dump(h), before); /* nothing half-done stays */
}

static void test_every_refusal_leaves_nothing(void **state)
{
    struct harness *h = *state;
    struct rig_run first = {.idem_key = "k"};
    rig_submit(h, &first);
    assert_refused(h, &(struct rig_run){.idem_key = "k", .idem_digest = "d2"}, ERR_IDEMPOTENCY_MISMATCH);
    assert_refused(h, &(struct rig_run){.agent = "nobody"}, ERR_AGENT_NOT_FOUND);
    assert_refused(h, &(struct rig_run){.parent = "00000000-0000-4000-8000-000000000000"}, ERR_RUN_NOT_FOUND);
    assert_refused(h, &(struct rig_run){.queue_max = 1}, ERR_QUEUE_FULL);
    const char *parent = rig_submit(h, &(struct rig_run){.delay_ms = 100000});
    assert_refused(h, &(struct rig_run){.queue_max = 2}, ERR_QUEUE_FULL); /* one waits for its time */
    assert_refused(h, &(struct rig_run){.queue_max = 2, .delay_ms = 5}, ERR_QUEUE_FULL);
    assert_refused(h, &(struct rig_run){.parent = parent, .ws = "other"},
                   ERR_RUN_NOT_FOUND); /* another's run is no parent */
    harness_assert_err(rig_stop(h, parent), ERR_OK);
    assert_refused(h, &(struct rig_run){.parent = parent}, ERR_PARENT_STOPPED);
    audit_check(h);
}

static void test_a_full_redis_refuses(void **state)
{
    struct harness *h = *state;
    const char *before = rig_dump(h);
    enum err err;
    harness_do(h, "CONFIG SET maxmemory 1");
    const char *run = rig_try_submit(h, NULL, &err);
    harness_do(h, "CONFIG SET maxmemory 0");
    assert_null(run);
    harness_assert_err(err, ERR_MEMORY_PRESSURE);
    assert_string_equal(rig_dump(h), before);
}

static void test_promote_takes_what_is_due(void **state)
{
    struct harness *h = *state;
    const char *now = rig_submit(h, &(struct rig_run){.delay_ms = 1}),
               *later = rig_submit(h, &(struct rig_run){.delay_ms = 60000});
    struct script_promote_args args = {.max = 10, .rid = S(RID), .retention_ms = RETAIN};
    const struct script_promote_reply *reply;
    do
        harness_assert_err(sync_promote(h, &args, &reply), ERR_OK);
    while (strcmp(rig_field(h, now, "status"), "queued") != 0);
    rig_assert_status(h, later, "scheduled");
    assert_in_range(reply->next_ms, 50000, 60000);
    harness_assert_err(sync_promote(h, &args, &reply), ERR_OK);
    assert_int_equal(reply->promoted, 0);
    audit_check(h);
}

static void test_promote_is_bounded(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 5; i++)
        harness_do(h, "ZADD %s 1 %s", harness_key(h, "delayed"), rig_submit(h, &(struct rig_run){.delay_ms = 60000}));
    struct script_promote_args args = {.max = 2, .rid = S(RID), .retention_ms = RETAIN};
    const struct script_promote_reply *reply;
    int64_t sum = 0;
    for (int i = 0; i < 3; i++) {
        harness_assert_err(sync_promote(h, &args, &reply), ERR_OK);
        assert_true(reply->promoted <= 2);
        assert_int_equal(reply->next_ms, i < 2 ? 0 : -1);
        sum += reply->promoted;
    }
    assert_int_equal(sum, 5);
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_accepted_run),
        TEST(test_a_delayed_run),
        TEST(test_definitions_are_shared_and_counted),
        TEST(test_the_same_key_and_body_is_the_first_run),
        TEST(test_every_refusal_leaves_nothing),
        TEST(test_a_full_redis_refuses),
        TEST(test_promote_takes_what_is_due),
        TEST(test_promote_is_bounded),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
