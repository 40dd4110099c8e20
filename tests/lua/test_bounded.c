/* Work of a call is bounded where there is much to do at once, and what is left is done by the next calls: promote, reap, stop, heartbeat, claim, watch; how long the calls take then is `./dev bench longest`. */
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "lua/scripts_sync.h"

enum { MANY = 150, MOST = 100 };

static const struct script_promote_reply *promote(struct harness *h)
{
    const struct script_promote_reply *reply;
    harness_assert_err(
        sync_promote(h, &(struct script_promote_args){.max = 1000, .rid = S(RID), .retention_ms = RETAIN}, &reply),
        ERR_OK);
    return reply;
}

static int waiting(struct harness *h, const char *key)
{
    return (int)harness_int(h, "ZCARD %s", harness_key(h, "%s", key));
}

static void test_each_kind_that_is_due_has_its_part(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *first = rig_submit(h, NULL);
    const struct script_claim_runs *row = &rig_claim(h, "r1", 1, 1)->runs[0];
    for (int i = 0; i < MANY; i++) {
        rig_submit(h, &(struct rig_run){.depends = {first}});
        audit_due(h, rig_submit(h, &(struct rig_run){.delay_ms = 60000}));
        const char *late = rig_submit(h, &(struct rig_run){.start_within_ms = 60000, .queue = "late"});
        harness_do(h, "ZADD %s 1 %s", harness_key(h, "expiry"), late);
    }
    harness_assert_err(rig_finish(h, "r1", row, "stopped", 0, NULL), ERR_OK);
    const char *told = harness_key(h, "run:%s:dependents", first);
    int calls = 0, next_ms = 0;
    while (next_ms == 0) {
        int due = waiting(h, "delayed"), late = waiting(h, "expiry"), tell = (int)harness_int(h, "SCARD %s", told);
        const struct script_promote_reply *reply = promote(h);
        next_ms = (int)reply->next_ms;
        int done[] = {due - waiting(h, "delayed"), late - waiting(h, "expiry"),
                      tell - (int)harness_int(h, "SCARD %s", told)};
        assert_int_equal(done[0], reply->promoted);
        const int before[] = {due, late, tell};
        for (size_t i = 0; i < ARRAY_LEN(done); i++)
            assert_true(done[i] <= MOST && (before[i] == 0 || done[i] > 0));
        assert_true(++calls < MANY);
    }
    assert_true(calls > 1);
    assert_int_equal(harness_xlen(h, harness_key(h, "lane:default:-:default:normal")), MANY);
    assert_int_equal(waiting(h, "dead:default"), 2 * MANY);
    audit_check(h);
}

static void test_a_large_tree_and_a_dead_runner_share_a_call(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *parent = rig_submit(h, NULL);
    for (int i = 0; i < MANY; i++)
        rig_submit(h, NULL);
    for (int number = 1; number < 4; number++)
        rig_claim(h, "r1", number, 64);
    for (int i = 0; i < MANY; i++)
        rig_submit(h, &(struct rig_run){.parent = parent, .queue = "other"});
    const struct script_stop_args stop = {
        .ws = S("default"), .run = S(parent), .max = 1000, .rid = S(RID), .retention_ms = RETAIN};
    harness_assert_err(sync_stop(h, &stop, NULL), ERR_OK);
    int left = (int)harness_int(h, "HGET %s other", harness_key(h, "queued"));
    assert_true(left > 0 && left < MANY);
    rig_expire(h, "r1");
    int taken = 0, calls = 0;
    const struct script_reap_reply *reply;
    do {
        reply = rig_reap(h, 1000);
        taken += (int)reply->taken;
        int now = (int)harness_xlen(h, harness_key(h, "lane:other:-:default:normal"));
        assert_true(reply->taken <= MOST && (left == 0 || now < left));
        left = now;
        assert_true(++calls < MANY);
    } while (reply->more);
    assert_true(calls > 1);
    assert_int_equal(taken, MANY + 1);
    assert_int_equal(left, 0);
    audit_check(h);
}

static void test_a_runner_that_lost_much_is_asked_again(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    for (int i = 0; i < MANY; i++)
        rig_submit(h, NULL);
    for (int number = 1; number < 4; number++)
        rig_claim(h, "r1", number, 64);
    const struct script_heartbeat_reply *reply;
    int calls = 0, held = MANY;
    do {
        harness_assert_err(rig_heartbeat(h, "r1", 3, NULL, 0, &reply), ERR_OK);
        int now = (int)harness_int(h, "ZCARD %s", harness_key(h, "held:r1"));
        assert_true(now < held && held - now <= MOST && (now > 0) == (reply->more == 1));
        held = now;
        calls++;
    } while (reply->more);
    assert_true(calls > 1 && held == 0);
    assert_int_equal(harness_xlen(h, harness_key(h, "lane:default:-:default:again")), MANY);
    audit_check(h);
}

static void test_a_claim_carries_so_much_at_a_time(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *runs[3];
    char *large = malloc(600001);
    assert_non_null(large);
    memset(large, '1', 600000);
    large[600000] = 0;
    for (size_t i = 0; i < 3; i++) {
        runs[i] = rig_submit(h, NULL);
        harness_do(h, "HDEL %s input", harness_key(h, "run:%s", runs[i]));
        harness_do(h, "SET %s %s", harness_key(h, "run:%s:input", runs[i]), large);
    }
    free(large);
    const struct script_claim_reply *reply = rig_claim(h, "r1", 1, 8);
    assert_true(reply->runs_len == 2 && reply->more == 1);
    assert_int_equal(reply->runs[1].input.len, 600000);
    reply = rig_claim(h, "r1", 2, 6);
    assert_true(reply->runs_len == 1 && reply->more == 0 && str_eqz(reply->runs[0].run, runs[2]));
}

static void test_watch_goes_round_all_queues(void **state)
{
    struct harness *h = *state;
    const char *runs[4];
    for (int i = 0; i < 4; i++) { /* ten seconds ago */
        const char *queue = harness_printf(h, "q%d", i);
        runs[i] = rig_submit(h, &(struct rig_run){.queue = queue});
        const char *lane = harness_key(h, "lane:%s:-:default:normal", queue);
        harness_do(h, "DEL %s", lane);
        harness_do(h, "XADD %s 5-1 r %s", lane, runs[i]);
        harness_do(h, "HSET %s laneId 5-1", harness_key(h, "run:%s", runs[i]));
    }
    for (int i = 0; i < 4; i++) {
        const struct script_watch_reply *reply;
        harness_do(h, "HSET %s watch 1", harness_key(h, "reap"));
        harness_assert_err(sync_watch(h, &(struct script_watch_args){.max = 1, .rid = S(RID)}, &reply), ERR_OK);
        assert_int_equal(reply->told, 1);
    }
    for (int i = 0; i < 4; i++)
        assert_string_equal(rig_kinds(h, runs[i]), "notification ");
}

static void test_an_agents_raised_limit_lets_all_in(void **state)
{
    struct harness *h = *state;
    const struct str def[] = {S("json"),     S("{}"),      S("queue"),       S("default"), S("source"), S("stdout"),
                              S("executor"), S("process"), S("concurrency"), S("1"),       S("rate"),   S("")};
    struct str raised[ARRAY_LEN(def)];
    memcpy(raised, def, sizeof def);
    raised[9] = S("1000");
    struct script_agent_put_args args = {.ws = S("default"),
                                         .name = S("a"),
                                         .digest = S("d1"),
                                         .def_fields = def,
                                         .def_fields_len = ARRAY_LEN(def),
                                         .max_agents = 10,
                                         .max_versions = 10};
    harness_assert_err(sync_agent_put(h, &args, NULL), ERR_OK);
    for (int i = 0; i <= 2 * MANY; i++)
        rig_submit(h, &(struct rig_run){.agent = "a"});
    assert_int_equal(waiting(h, "wait:default:a:a"), 2 * MANY);
    args.digest = S("d2");
    args.def_fields = raised;
    harness_assert_err(sync_agent_put(h, &args, NULL), ERR_OK);
    int left = waiting(h, "wait:default:a:a");
    assert_true(left > 0 && left < 2 * MANY);
    for (int calls = 0; promote(h)->next_ms == 0; calls++) {
        int now = waiting(h, "wait:default:a:a");
        assert_true(left - now <= MOST && calls < MANY);
        left = now;
    }
    assert_int_equal(waiting(h, "wait:default:a:a"), 0);
    audit_check(h);
}

static void test_events_that_go_leave_the_fence(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    assert_true(rig_append(h, row, 10));
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    const char *run = audit_id(h, row), *events = harness_key(h, "run:%s:events", run);
    const char *last = audit_event(h, run, -1, NULL);
    harness_do(h, "ZADD %s 1 e:%s", harness_key(h, "retain"), run);
    harness_assert_err(sync_sweep(h, &(struct script_sweep_args){.max = 10}, NULL), ERR_OK);
    assert_int_equal(harness_xlen(h, events), 0);
    const redisReply *info = harness_do(h, "XINFO STREAM %s", events);
    assert_string_equal(redis_field(info, "last-generated-id")->str, last);
    assert_false(rig_append(h, row, 1000));
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_kind_that_is_due_has_its_part),
        TEST(test_a_large_tree_and_a_dead_runner_share_a_call),
        TEST(test_a_runner_that_lost_much_is_asked_again),
        TEST(test_a_claim_carries_so_much_at_a_time),
        TEST(test_watch_goes_round_all_queues),
        TEST(test_an_agents_raised_limit_lets_all_in),
        TEST(test_events_that_go_leave_the_fence),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
