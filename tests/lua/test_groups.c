/* Several calls of one script as one: what they answer, count and leave is what they would alone, one after the other. */
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "lua/scripts_sync.h"

enum { MANY = 40, A_GROUP = 16 };

static int64_t calls_of(struct harness *h, const char *command)
{
    const char *stats = harness_printf(h, "%s", harness_do(h, "INFO commandstats")->str);
    const char *at = strstr(stats, harness_printf(h, "cmdstat_%s:calls=", command));
    return at ? strtoll(strchr(at, '=') + 1, NULL, 10) : 0;
}

/* Submits n runs at once; their ids, in order, NULL for those that were refused with `refusal`. How many were accepted. */
static int submit_many(struct harness *h, const struct rig_run *o, int n, enum err refusal, const char **ret_runs)
{
    struct harness_call *calls[MANY];
    int accepted = 0;
    assert_true(n <= MANY);
    for (int i = 0; i < n; i++)
        calls[i] = rig_begin_submit(h, o);
    for (int i = 0; i < n; i++) {
        enum err err;
        ret_runs[i] = rig_submitted(h, calls[i], &err);
        accepted += !err;
        if (err)
            harness_assert_err(err, refusal);
    }
    return accepted;
}

static void test_they_are_one_command_each_sixteen(void **state)
{
    struct harness *h = *state;
    const char *runs[MANY];
    rig_submit(h, NULL);
    int64_t before = calls_of(h, "fcall");
    assert_int_equal(submit_many(h, NULL, MANY, ERR_OK, runs), MANY);
    assert_int_equal(calls_of(h, "fcall") - before, (MANY + A_GROUP - 1) / A_GROUP);
    harness_assert_hget(h, harness_key(h, "use:default"), "waiting", "41");
    assert_int_equal(harness_int(h, "LLEN %s", harness_key(h, "bell:default")), MANY + 1);
    /* As they came, so they stand in the lists, and so they are executed. */
    const redisReply *all = harness_do(h, "ZRANGE %s 1 -1", harness_key(h, "idx:default"));
    for (size_t i = 0; i < MANY; i++)
        assert_string_equal(all->element[i]->str, runs[i]);
    rig_register(h, "r1");
    const struct script_claim_reply *claimed = rig_claim(h, "r1", 1, MANY + 1);
    assert_int_equal(claimed->runs_len, MANY + 1);
    for (size_t i = 0; i < MANY; i++)
        assert_true(str_eqz(claimed->runs[i + 1].run, runs[i]));
    audit_check(h);
}

static void test_each_sees_what_those_before_it_took(void **state)
{
    struct harness *h = *state;
    const char *runs[MANY];
    const struct rig_run five = {.queue_max = 5};
    assert_int_equal(submit_many(h, &five, 12, ERR_QUEUE_FULL, runs), 5);
    for (int i = 0; i < 12; i++)
        assert_true((runs[i] != NULL) == (i < 5));
    audit_check(h);
    harness_do(h, "FLUSHDB");
    const struct script_queue_put_args narrow = {
        .name = S("default"), .paused = -1, .draining = -1, .max_waiting = 3, .max_queues = 3};
    harness_assert_err(sync_queue_put(h, &narrow, NULL), ERR_OK);
    assert_int_equal(submit_many(h, NULL, 12, ERR_QUEUE_FULL, runs), 3);
    audit_check(h);
    harness_do(h, "FLUSHDB");
    rig_submit(h, NULL);
    int64_t each = strtoll(harness_hget(h, harness_key(h, "use:default"), "bytes"), NULL, 10);
    const struct str fields[] = {S("bytesMax"), S(harness_printf(h, "%lld", 4 * (long long)each + 1))};
    const struct script_ws_put_args bounded = {
        .ws = S("default"), .max_workspaces = 9, .fields = fields, .fields_len = ARRAY_LEN(fields)};
    harness_assert_err(sync_ws_put(h, &bounded, NULL), ERR_OK);
    assert_int_equal(submit_many(h, NULL, 12, ERR_QUOTA_EXCEEDED, runs), 3);
    audit_check(h);
}

static void test_those_that_wait_elsewhere_are_among_them(void **state)
{
    struct harness *h = *state;
    const char *parent = rig_submit(h, NULL), *before = rig_submit(h, NULL);
    const struct rig_run all[] = {{0},
                                  {.delay_ms = 60000},
                                  {0},
                                  {.key_gate = "k:x=1"},
                                  {.key_gate = "k:x=1"},
                                  {.parent = parent},
                                  {.depends = {before}},
                                  {.ws = "other"},
                                  {.queue = "quick", .priority = "high"},
                                  {.key_gate = "k:x=1", .on_limit = "replace"},
                                  {.requires = "gpu"},
                                  {.idem_key = "i"},
                                  {.idem_key = "i"},
                                  {.idem_key = "i", .idem_digest = "d2"},
                                  {.agent = "nobody"},
                                  {0}};
    struct harness_call *calls[ARRAY_LEN(all)];
    enum err err[ARRAY_LEN(all)];
    const char *runs[ARRAY_LEN(all)];
    int64_t called = calls_of(h, "fcall");
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        calls[i] = rig_begin_submit(h, &all[i]);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        runs[i] = rig_submitted(h, calls[i], &err[i]);
    assert_int_equal(calls_of(h, "fcall") - called, 1);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        harness_assert_err(err[i], i == 13 ? ERR_IDEMPOTENCY_MISMATCH : i == 14 ? ERR_AGENT_NOT_FOUND : ERR_OK);
    assert_string_equal(runs[12], runs[11]);
    rig_assert_status(h, runs[1], "scheduled");
    rig_assert_status(h, runs[3], "stopped"); /* replaced */
    rig_assert_status(h, runs[6], "scheduled");
    rig_assert_status(h, runs[15], "queued");
    audit_check(h);
}

/* One whose record can't be written fails, and only that one. */
static void test_one_that_fails_fails_alone(void **state)
{
    struct harness *h = *state;
    const char *runs[MANY];
    rig_register(h, "r1");
    submit_many(h, NULL, 6, ERR_OK, runs);
    const struct script_claim_reply *claimed = rig_claim(h, "r1", 1, 6);
    for (size_t i = 0; i < 6; i++)
        harness_assert_err(rig_started(h, "r1", &claimed->runs[i]), ERR_OK);
    const char *stream = harness_key(h, "run:%.*s:events", STR_ARG(claimed->runs[2].run));
    harness_do(h, "DEL %s", stream);
    harness_do(h, "SET %s x", stream);
    struct harness_call *calls[6];
    for (size_t i = 0; i < 6; i++)
        calls[i] = rig_begin_finish(h, "r1", &claimed->runs[i], "success", 0);
    for (size_t i = 0; i < 6; i++) {
        rig_answer(calls[i]);
        harness_assert_err(calls[i]->err, i == 2 ? ERR_INTERNAL : ERR_OK);
        rig_assert_status(h, audit_id(h, &claimed->runs[i]), i == 2 ? "running" : "success");
    }
}

static void test_attempts_that_end_together(void **state)
{
    struct harness *h = *state;
    const char *runs[MANY];
    struct harness_call *calls[MANY];
    const struct rig_run twice = {.max_attempts = 2}, kept = {.retain_count = "2"};
    rig_register(h, "r1");
    submit_many(h, NULL, 12, ERR_OK, runs);
    submit_many(h, &twice, 2, ERR_OK, runs);
    submit_many(h, &kept, 4, ERR_OK, runs);
    const struct script_claim_reply *claimed = rig_claim(h, "r1", 1, 18);
    assert_int_equal(claimed->runs_len, 18);
    int64_t before = calls_of(h, "fcall");
    for (size_t i = 0; i < 18; i++)
        calls[i] = rig_begin_started(h, "r1", &claimed->runs[i]);
    for (size_t i = 0; i < 18; i++) {
        rig_answer(calls[i]);
        harness_assert_err(calls[i]->err, ERR_OK);
    }
    assert_int_equal(calls_of(h, "fcall") - before, 2);
    audit_check(h);
    for (size_t i = 0; i < 18; i++) /* two fail, of which one is tried again; the last four are kept by a count */
        calls[i] = rig_begin_finish(h, "r1", &claimed->runs[i], i == 3 || i == 12 ? "error" : "success", 60000);
    for (size_t i = 0; i < 18; i++) {
        rig_answer(calls[i]);
        harness_assert_err(calls[i]->err, ERR_OK);
    }
    assert_int_equal(calls_of(h, "fcall") - before, 4);
    rig_assert_status(h, audit_id(h, &claimed->runs[3]), "error");
    rig_assert_status(h, audit_id(h, &claimed->runs[12]), "scheduled");
    assert_false(harness_exists(h, harness_key(h, "active")));
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "held:r1")), 0);
    const struct script_queue_stats_reply *stats;
    const struct str queue = S("default");
    const struct script_queue_stats_args args = {.names = &queue, .names_len = 1, .minutes = 2};
    harness_assert_err(sync_queue_stats(h, &args, &stats), ERR_OK);
    assert_int_equal(stats->stats[0].success, 16);
    assert_int_equal(stats->stats[0].error, 1);
    int64_t now = harness_now_ms(h), early = 0;
    const redisReply *ends = harness_do(h, "ZRANGE %s 0 -1 WITHSCORES", harness_key(h, "retain"));
    assert_int_equal(ends->elements, 2 * 17);
    for (size_t i = 1; i < ends->elements; i += 2)
        early += strtoll(ends->element[i]->str, NULL, 10) < now + RETAIN / 2;
    assert_int_equal(early, 2); /* what the count does not keep goes at once */
    audit_check(h);
}

/* What has much to do ends its group: no call keeps Redis from all others for long. Those behind it are sent again. */
static void test_a_group_that_has_done_much_ends(void **state)
{
    struct harness *h = *state;
    enum { HELD = 12, CHAIN = 20 };
    struct harness_call *calls[HELD];
    const char *last = NULL;
    for (int i = 0; i < CHAIN * 20; i++) { /* a line of runs that wait for each other */
        const struct rig_run next = {.depends = {last}};
        last = rig_submit(h, &next);
    }
    const char *parent = rig_submit(h, NULL);
    const struct rig_run child = {.parent = parent, .depends = {last}};
    int64_t before = calls_of(h, "fcall");
    for (int i = 0; i < HELD; i++)
        calls[i] = rig_begin_submit(h, &child);
    harness_settle(h, h->redis);
    for (int i = 0; i < HELD; i++)
        harness_assert_err(calls[i]->err, ERR_DEPENDENCY_CYCLE); /* too many to look through */
    assert_int_equal(calls_of(h, "fcall") - before, 1 + HELD - 2);
    assert_int_equal(submit_many(h, NULL, A_GROUP, ERR_OK, (const char *[A_GROUP]){0}), A_GROUP);
    assert_int_equal(calls_of(h, "fcall") - before, 1 + HELD - 2 + 1);
    audit_check(h);
}

/* What a group puts off, and what it reads once, is nothing to the calls that come alone after it. */
static void test_nothing_is_left_of_a_group(void **state)
{
    struct harness *h = *state;
    const char *runs[MANY];
    submit_many(h, NULL, 4, ERR_OK, runs);
    rig_submit(h, NULL);
    audit_check(h);
    harness_assert_err(rig_stop(h, runs[0]), ERR_OK);
    struct script_queue_put_args closed = {
        .name = S("default"), .paused = -1, .draining = 1, .max_waiting = -1, .max_queues = 3};
    harness_assert_err(sync_queue_put(h, &closed, NULL), ERR_OK);
    assert_int_equal(submit_many(h, NULL, 4, ERR_QUEUE_DRAINING, runs), 0);
    closed.draining = 0;
    harness_assert_err(sync_queue_put(h, &closed, NULL), ERR_OK);
    assert_int_equal(submit_many(h, NULL, 4, ERR_OK, runs), 4);
    harness_assert_hget(h, harness_key(h, "use:default"), "waiting", "8");
    audit_check(h);
}

/* What comes between them keeps its place, and ends the group. */
static void test_the_order_of_commands_is_kept(void **state)
{
    struct harness *h = *state;
    rig_submit(h, NULL);
    const char *use = harness_key(h, "use:default");
    const struct str get[] = {S("HGET"), S(use), S("waiting")};
    struct harness_call *calls[4];
    int64_t before = calls_of(h, "fcall"), asked = calls_of(h, "hget");
    calls[0] = rig_begin_submit(h, NULL);
    calls[1] = rig_begin_submit(h, NULL);
    redis_command(h->redis, ARRAY_LEN(get), get, NULL, NULL);
    calls[2] = rig_begin_submit(h, NULL);
    calls[3] = rig_begin_submit(h, NULL);
    assert_int_equal(redis_pending(h->redis), 3); /* what is held is one */
    for (size_t i = 0; i < 4; i++)
        rig_answer(calls[i]);
    assert_int_equal(calls_of(h, "fcall") - before, 2);
    assert_int_equal(calls_of(h, "hget") - asked, 1);
}

static void test_where_redis_does_not_know_them_each_goes_alone(void **state)
{
    struct harness *h = *state;
    const char *runs[MANY];
    harness_do(h, "FUNCTION FLUSH");
    assert_int_equal(submit_many(h, NULL, 10, ERR_OK, runs), 10);
    audit_check(h);
    harness_do(h, "CONFIG SET maxmemory 1");
    int accepted = submit_many(h, NULL, 10, ERR_MEMORY_PRESSURE, runs);
    harness_do(h, "CONFIG SET maxmemory 0");
    assert_int_equal(accepted, 0);
    audit_check(h);
}

/* Asked, and not yet sent when the connection ends: answered all the same. */
static void test_a_connection_that_ends_answers_them(void **state)
{
    struct harness *h = *state;
    struct harness_call *calls[3];
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        calls[i] = rig_begin_submit(h, NULL);
    redis_free(h->redis);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        assert_true(calls[i]->done);
        harness_assert_err(calls[i]->err, ERR_CANCELED);
    }
    h->redis = harness_connect(h, REDIS_COMMANDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_they_are_one_command_each_sixteen, harness_test_start),
        cmocka_unit_test_setup(test_each_sees_what_those_before_it_took, harness_test_start),
        cmocka_unit_test_setup(test_those_that_wait_elsewhere_are_among_them, harness_test_start),
        cmocka_unit_test_setup(test_one_that_fails_fails_alone, harness_test_start),
        cmocka_unit_test_setup(test_attempts_that_end_together, harness_test_start),
        cmocka_unit_test_setup(test_a_group_that_has_done_much_ends, harness_test_start),
        cmocka_unit_test_setup(test_nothing_is_left_of_a_group, harness_test_start),
        cmocka_unit_test_setup(test_the_order_of_commands_is_kept, harness_test_start),
        cmocka_unit_test_setup(test_where_redis_does_not_know_them_each_goes_alone, harness_test_start),
        cmocka_unit_test_setup(test_a_connection_that_ends_answers_them, harness_test_start),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
