/* submit: what an accepted run consists of, and that a refused one leaves nothing. */
#include <stdlib.h>

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

/* Redis' count of calls of functions. */
static int64_t function_calls(struct harness *h)
{
    const char *at = strstr(((const redisReply *)harness_do(h, "INFO commandstats"))->str, "cmdstat_fcall:calls=");
    return at ? strtoll(at + strlen("cmdstat_fcall:calls="), NULL, 10) : 0;
}

static void put_agent(struct harness *h, const char *ws, const char *name, const char *executor)
{
    const struct str def[] = {S("json"),     S("{}"),     S("queue"),  S("default"),
                              S("executor"), S(executor), S("source"), S("stdout")};
    const struct script_agent_put_args args = {.ws = S(ws),
                                               .name = S(name),
                                               .digest = S(name),
                                               .def_fields = def,
                                               .def_fields_len = ARRAY_LEN(def),
                                               .max_agents = 10,
                                               .max_versions = 10};
    harness_assert_err(sync_agent_put(h, &args, NULL), ERR_OK);
}

/* Many that leave in one turn are one call, which counts them once: all is as if each had come alone, whatever stands between them. */
static void test_submits_of_one_call(void **state)
{
    struct harness *h = *state;
    put_agent(h, "default", "a", "process");
    put_agent(h, "default", "b", "process");
    put_agent(h, "team", "a", "process");
    put_agent(h, "default", "p", "pool");
    harness_do(h, "HSET %s maxWaiting 2", harness_key(h, "queue:q"));
    harness_do(h, "ZADD %s 0 q", harness_key(h, "queues"));
    static const struct {
        struct rig_run run;
        enum err wanted;
        const char *status;
    } sent[] = {
        {{.agent = "a"}, ERR_OK, "queued"},
        {{.agent = "a", .queue = "q"}, ERR_OK, "queued"},
        {{.agent = "b", .queue = "q", .priority = "high"}, ERR_OK, "queued"},
        {{.agent = "nobody"}, ERR_AGENT_NOT_FOUND, NULL},
        {{.agent = "a", .ws = "team"}, ERR_OK, "queued"},
        {{.agent = "a", .queue = "q"}, ERR_QUEUE_FULL, NULL},
        {{.agent = "a", .delay_ms = 60000}, ERR_OK, "scheduled"},
        {{.agent = "b", .key_gate = "k:x=1"}, ERR_OK, "queued"},
        {{.agent = "b", .key_gate = "k:x=1"}, ERR_OK, "queued"}, /* in the gate's line */
        {{.idem_key = "once"}, ERR_OK, "queued"},
        {{.idem_key = "once"}, ERR_OK, "queued"}, /* the same run */
        {{.agent = "p"}, ERR_OK, "queued"},
        {{.agent = "p"}, ERR_OK, "queued"},
        {{.agent = "p", .requires = "gpu"}, ERR_OK, "queued"},
        {{.agent = "b", .queue_max = 10}, ERR_QUEUE_FULL, NULL},
        {{.agent = "b", .queue_max = 11}, ERR_OK, "queued"},
    };
    enum { SENT = ARRAY_LEN(sent) };
    struct harness_call *calls[SENT];
    const char *runs[SENT];
    int64_t before = function_calls(h);
    for (size_t i = 0; i < SENT; i++)
        calls[i] = rig_begin_submit(h, &sent[i].run);
    for (size_t i = 0; i < SENT; i++) {
        enum err err;
        runs[i] = rig_submitted(h, calls[i], &err);
        harness_assert_err(err, sent[i].wanted);
        if (runs[i])
            rig_assert_status(h, runs[i], sent[i].status);
    }
    assert_int_equal(function_calls(h), before + 1);
    assert_string_equal(runs[9], runs[10]);
    assert_int_equal(harness_int(h, "HGET %s waiting", harness_key(h, "use:default")), 11);
    assert_int_equal(harness_int(h, "HGET %s waiting", harness_key(h, "use:team")), 1);
    assert_int_equal(harness_int(h, "HGET %s q", harness_key(h, "queued")), 2);
    assert_int_equal(harness_int(h, "HGET %s refs", harness_key(h, "def:a")),
                     2 + 4); /* an agent's newest version in two workspaces, four runs */
    assert_int_equal(harness_int(h, "LLEN %s", harness_key(h, "bell:q")), 2);
    assert_int_equal(harness_int(h, "HLEN %s", harness_key(h, "reqn")), 2);
    assert_string_equal(rig_field(h, runs[11], "reqText"), "@executor=pool");
    assert_string_equal(rig_field(h, runs[13], "reqText"), "@executor=pool gpu");
    assert_string_equal(rig_field(h, runs[12], "req"), rig_field(h, runs[11], "req"));
    audit_check(h);
    rig_submit(h, &sent[0].run); /* what they counted is forgotten */
    assert_int_equal(harness_int(h, "HGET %s waiting", harness_key(h, "use:default")), 12);
    audit_check(h);
}

/* A workspace's settings in between are those of the next call. */
static void test_a_call_remembers_nothing_of_the_one_before(void **state)
{
    struct harness *h = *state;
    put_agent(h, "default", "a", "process");
    rig_submit(h, &(struct rig_run){.agent = "a", .queue = "q"});
    harness_do(h, "HSET %s draining 1", harness_key(h, "queue:q"));
    harness_do(h, "ZADD %s 0 q", harness_key(h, "queues"));
    enum err err;
    assert_null(rig_try_submit(h, &(struct rig_run){.agent = "a", .queue = "q"}, &err));
    harness_assert_err(err, ERR_QUEUE_DRAINING);
    harness_assert_err(
        sync_agent_delete(h, &(struct script_agent_delete_args){.ws = S("default"), .name = S("a")}, NULL), ERR_OK);
    assert_null(rig_try_submit(h, &(struct rig_run){.agent = "a"}, &err));
    harness_assert_err(err, ERR_AGENT_NOT_FOUND);
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
        TEST(test_submits_of_one_call),
        TEST(test_a_call_remembers_nothing_of_the_one_before),
        TEST(test_a_full_redis_refuses),
        TEST(test_promote_takes_what_is_due),
        TEST(test_promote_is_bounded),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
