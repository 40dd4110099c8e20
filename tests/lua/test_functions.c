/* Scripts as Redis' functions: their libraries are there, come back when they are lost, and where Redis does not take them the same text is a script; and no call sees what the one before it left in an include. */
#include <stdlib.h>
#include <string.h>

#include "lua/scripts_sync.h"
#include "rig.h"

#define OTHER_VERSION "errand_submit_0123456789abcdef"

static int64_t calls_of(struct harness *h, const char *command)
{
    const char *stats = harness_printf(h, "%s", harness_do(h, "INFO commandstats")->str);
    const char *at = strstr(stats, harness_printf(h, "cmdstat_%s:calls=", command));
    return at ? strtoll(strchr(at, '=') + 1, NULL, 10) : 0;
}

static size_t libraries(struct harness *h, const char *pattern)
{
    return harness_do(h, "FUNCTION LIST LIBRARYNAME %s", pattern)->elements;
}

/* As after the start of a node that knows nothing of this Redis yet. */
static int test_start(void **state)
{
    struct harness *h = *state;
    harness_test_start(state);
    harness_do(h, "FUNCTION FLUSH");
    harness_do(h, "SCRIPT FLUSH");
    harness_do(h, "CONFIG RESETSTAT");
    redis_free(h->redis);
    h->redis = harness_connect(h, REDIS_COMMANDS);
    return 0;
}

static void stub(struct harness *h, const char *name)
{
    const char *text =
        harness_printf(h, "#!lua name=%s\nredis.register_function('%s', function() return 1 end)", name, name);
    harness_do(h, "FUNCTION LOAD %s", text);
}

struct listing {
    struct harness *h;
    size_t wanted;
};

static bool all_there(void *ctx)
{
    const struct listing *l = ctx;
    return libraries(l->h, "errand_*") == l->wanted;
}

static void load_all(struct harness *h)
{
    struct listing l = {h, scripts_all_len};
    script_load_all(h->redis, scripts_all, scripts_all_len);
    harness_wait(h, all_there, &l, "every library is there");
    harness_settle(h, h->redis);
}

static void test_all_are_loaded_and_those_of_other_versions_removed(void **state)
{
    struct harness *h = *state;
    const char *const others[] = {"errand_submit", "errand_x_0123456789abcdeg", "errander_x_0123456789abcdef",
                                  "foreign"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        stub(h, others[i]);
    stub(h, OTHER_VERSION);
    struct listing l = {h, scripts_all_len + 2}; /* that are named alike, and are none of Errand's */
    script_load_all(h->redis, scripts_all, scripts_all_len);
    harness_wait(h, all_there, &l, "every library is there");
    harness_settle(h, h->redis);
    for (size_t i = 0; i < scripts_all_len; i++)
        assert_int_equal(libraries(h, scripts_all[i]->function), 1);
    assert_int_equal(libraries(h, OTHER_VERSION), 0);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_int_equal(libraries(h, others[i]), 1);
    rig_submit(h, NULL);
    assert_int_equal(calls_of(h, "evalsha"), 0);
    assert_int_equal(calls_of(h, "fcall"), 1);
}

static void test_a_connection_made_again_leaves_other_versions_alone(void **state)
{
    struct harness *h = *state;
    load_all(h);
    harness_do(h, "CLIENT KILL TYPE normal SKIPME yes");
    harness_wait_up(h, h->redis, false);
    harness_wait_up(h, h->redis, true);
    stub(h, OTHER_VERSION);
    script_load_all(h->redis, scripts_all, scripts_all_len);
    harness_settle(h, h->redis);
    assert_int_equal(libraries(h, OTHER_VERSION), 1);
}

static void test_what_is_lost_is_loaded_by_the_next_call(void **state)
{
    struct harness *h = *state;
    rig_submit(h, NULL);
    assert_int_equal(libraries(h, "errand_*"), 1);
    harness_do(h, "FLUSHALL"); /* keeps functions */
    rig_submit(h, NULL);
    assert_int_equal(calls_of(h, "fcall"), 3);
    harness_do(h, "FUNCTION FLUSH");
    rig_submit(h, NULL);
    assert_int_equal(libraries(h, "errand_submit_*"), 1);
    harness_redis_kill(h); /* without a file */
    harness_redis_launch(h);
    harness_wait_up(h, h->redis, false);
    harness_wait_up(h, h->redis, true);
    assert_int_equal(libraries(h, "errand_*"), 0);
    rig_submit(h, NULL);
    assert_int_equal(libraries(h, "errand_submit_*"), 1);
    assert_int_equal(calls_of(h, "evalsha"), 0);
}

/* Several calls that miss the same library at the same time. */
static void test_loaded_twice_at_once(void **state)
{
    struct harness *h = *state;
    struct harness_call *calls[4];
    const struct script_rate_args args = {0};
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        calls[i] = harness_call_new(h, "rate");
        script_call_rate(h->redis, h->prefix, &args, sync_on_rate, calls[i]);
    }
    harness_settle(h, h->redis);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        assert_true(calls[i]->done);
        harness_assert_err(calls[i]->err, ERR_OK);
    }
    assert_int_equal(calls_of(h, "evalsha"), 0);
}

static void test_a_full_redis_takes_no_library(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    harness_do(h, "FUNCTION FLUSH");
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err err;
    const struct script_claim_reply *claimed = rig_claim(h, "r1", 1, 1); /* may write while Redis is full */
    rig_try_submit(h, NULL, &err);                                       /* may not */
    enum err stopped = rig_stop(h, run);
    size_t loaded = libraries(h, "errand_*");
    harness_do(h, "CONFIG SET maxmemory 0");
    assert_int_equal(loaded, 0);
    assert_int_equal(claimed->runs_len, 1);
    harness_assert_err(err, ERR_MEMORY_PRESSURE);
    harness_assert_err(stopped, ERR_OK);
    assert_true(calls_of(h, "evalsha") >= 3);
    /* Not asked for at each call from now on. */
    int64_t before = calls_of(h, "fcall");
    rig_submit(h, NULL);
    assert_int_equal(calls_of(h, "fcall"), before);
    redis_free(h->redis);
    h->redis = harness_connect(h, REDIS_COMMANDS);
    rig_submit(h, NULL);
    assert_int_equal(libraries(h, "errand_submit_*"), 1);
}

static void test_a_full_redis_answers_what_needs_no_memory(void **state)
{
    struct harness *h = *state;
    const struct rig_run again = {.idem_key = "k"};
    const char *run = rig_submit(h, &again);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err err;
    const char *known = rig_try_submit(h, &again, &err);
    rig_try_submit(h, NULL, &(enum err){ERR_OK});
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(err, ERR_OK);
    assert_string_equal(known, run);
    int64_t before = calls_of(h, "evalsha");
    rig_submit(h, NULL);
    assert_int_equal(calls_of(h, "evalsha"), before); /* a function again at once */
}

static void test_a_user_who_may_not_call_functions(void **state)
{
    struct harness *h = *state;
    harness_do(h, "ACL SETUSER errand-api -fcall -fcall_ro -function|load -function|list");
    script_load_all(h->redis, scripts_all, scripts_all_len);
    rig_submit(h, NULL);
    rig_submit(h, NULL);
    harness_do(h, "ACL SETUSER errand-api +fcall -function|load");
    redis_free(h->redis);
    h->redis = harness_connect(h, REDIS_COMMANDS);
    rig_submit(h, NULL);
    rig_submit(h, NULL);
    harness_do(h, "ACL SETUSER errand-api +fcall_ro +function|load +function|list");
    assert_int_equal(libraries(h, "errand_*"), 0);
    assert_int_equal(calls_of(h, "evalsha"), 5); /* the first was for a script that was not loaded */
}

static void test_each_call_begins_anew(void **state)
{
    enum { MANY = 40 }; /* twice as many ends, together more than one call may do (WORK_MAX) */
    struct harness *h = *state;
    for (int i = 0; i < MANY; i++) {
        const char *run = rig_submit(h, NULL);
        const char *child = rig_submit(h, &(struct rig_run){.parent = run});
        harness_assert_err(rig_stop(h, run), ERR_OK);
        rig_assert_status(h, child, "stopped");
    }
    /* Another shard's keys are that shard's. */
    struct str prefix = h->prefix;
    h->prefix = S("errand:{1}:");
    const char *run = rig_submit(h, NULL);
    rig_assert_status(h, run, "queued");
    assert_true(harness_exists(h, harness_printf(h, "errand:{1}:run:%s", run)));
    h->prefix = prefix;
    assert_false(harness_exists(h, harness_key(h, "run:%s", run)));
    rig_assert_status(h, rig_submit(h, NULL), "queued");
}

#define TEST(name) cmocka_unit_test_setup(name, test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_are_loaded_and_those_of_other_versions_removed),
        TEST(test_a_connection_made_again_leaves_other_versions_alone),
        TEST(test_what_is_lost_is_loaded_by_the_next_call),
        TEST(test_loaded_twice_at_once),
        TEST(test_a_full_redis_takes_no_library),
        TEST(test_a_full_redis_answers_what_needs_no_memory),
        TEST(test_a_user_who_may_not_call_functions),
        TEST(test_each_call_begins_anew),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
