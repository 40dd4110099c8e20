/* Gates: concurrency by key, agent and workspace, rates; who waits, who is let in, what is left. Through submit, claim, finish, stop, promote and agent_put. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

#define KEY_ONE                                                                                                        \
    &(struct rig_run)                                                                                                  \
    {                                                                                                                  \
        .key_gate = "k:x=1"                                                                                            \
    }

static const struct script_promote_reply *promote(struct harness *h)
{
    const struct script_promote_reply *reply;
    harness_assert_err(
        sync_promote(h, &(struct script_promote_args){.max = 100, .rid = S(RID), .retention_ms = RETAIN}, &reply),
        ERR_OK);
    return reply;
}

static int holders(struct harness *h, const char *gate)
{
    return (int)harness_int(h, "ZCARD %s", harness_key(h, "gate:default:%s", gate));
}

static int line_len(struct harness *h, const char *gate)
{
    return (int)harness_int(h, "ZCARD %s", harness_key(h, "wait:default:%s", gate));
}

/* Claims all there is; the rows. */
static const struct script_claim_reply *claim_all(struct harness *h)
{
    static int64_t number;
    return rig_claim(h, "r1", ++number + 1000, 64);
}

/* Starts and ends a claimed run with success. */
static void run_through(struct harness *h, const struct script_claim_runs *row)
{
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
}

static void test_one_at_a_time_in_their_order(void **state)
{
    struct harness *h = *state;
    const char *runs[5];
    rig_register(h, "r1");
    for (int i = 0; i < 5; i++)
        runs[i] = rig_submit(h, KEY_ONE);
    assert_string_equal(rig_field(h, runs[3], "waitGate"), "k:x");
    rig_assert_status(h, runs[3], "queued");
    assert_int_equal(line_len(h, "k:x"), 4);
    audit_check(h);
    for (int i = 0; i < 5; i++) {
        const struct script_claim_reply *reply = claim_all(h);
        assert_int_equal(reply->runs_len, 1); /* never two */
        assert_true(str_eqz(reply->runs[0].run, runs[i]));
        assert_int_equal(holders(h, "k:x"), 1);
        run_through(h, &reply->runs[0]);
        audit_check(h);
    }
    assert_string_equal(harness_keys(h, harness_key(h, "gate*")), "");
    assert_string_equal(harness_keys(h, harness_key(h, "wait*")), "");
}

static void test_keys_and_workspaces_do_not_meet(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_submit(h, KEY_ONE);
    rig_submit(h, &(struct rig_run){.key_gate = "k:y=1"});
    rig_submit(h, &(struct rig_run){.key_gate = "k:x=1", .ws = "other"});
    assert_int_equal(claim_all(h)->runs_len, 3);
    audit_check(h);
}

static void test_priorities_stand_in_the_line(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_submit(h, KEY_ONE);
    const char *low = rig_submit(h, &(struct rig_run){.key_gate = "k:x=1", .priority = "low"}),
               *normal = rig_submit(h, &(struct rig_run){.key_gate = "k:x=1"}),
               *high = rig_submit(h, &(struct rig_run){.key_gate = "k:x=1", .priority = "high"});
    const char *wanted[] = {NULL, high, normal, low};
    for (int i = 0; i < 4; i++) {
        const struct script_claim_reply *reply = claim_all(h);
        assert_int_equal(reply->runs_len, 1);
        if (wanted[i])
            assert_true(str_eqz(reply->runs[0].run, wanted[i]));
        run_through(h, &reply->runs[0]);
    }
    audit_check(h);
}

static void test_a_stop_hands_the_place_on(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *first = rig_submit(h, KEY_ONE), *parked = rig_submit(h, KEY_ONE), *third = rig_submit(h, KEY_ONE);
    harness_assert_err(rig_stop(h, parked), ERR_OK); /* it stands in the line */
    rig_assert_status(h, parked, "stopped");
    audit_check(h);
    harness_assert_err(rig_stop(h, first), ERR_OK); /* it stands in its lane, with the place */
    audit_check(h);
    const struct script_claim_reply *reply = claim_all(h);
    assert_true(reply->runs_len == 1 && str_eqz(reply->runs[0].run, third));
    run_through(h, &reply->runs[0]);
    audit_check(h);
}

static void test_a_retry_that_waits_lets_others_go(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *first = rig_submit(h, &(struct rig_run){.key_gate = "k:x=1", .max_attempts = 3}),
               *second = rig_submit(h, KEY_ONE);
    const struct script_claim_reply *reply = claim_all(h);
    harness_assert_err(rig_started(h, "r1", &reply->runs[0]), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", &reply->runs[0], "error", 60000, NULL), ERR_OK);
    rig_assert_status(h, first, "scheduled");
    audit_check(h);
    audit_due(h, first);
    promote(h);
    assert_string_equal(rig_field(h, first, "waitGate"), "k:x"); /* the second has the place by now */
    reply = claim_all(h);
    assert_true(reply->runs_len == 1 && str_eqz(reply->runs[0].run, second));
    run_through(h, &reply->runs[0]);
    audit_check(h);
    reply = claim_all(h);
    assert_true(reply->runs_len == 1 && str_eqz(reply->runs[0].run, first));
    harness_assert_err(rig_started(h, "r1", &reply->runs[0]), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", &reply->runs[0], "error", 0, NULL),
                       ERR_OK); /* at once: it keeps its place */
    assert_int_equal(holders(h, "k:x"), 1);
    audit_check(h);
}

static void test_who_is_taken_back_keeps_its_place(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *first = rig_submit(h, KEY_ONE);
    rig_submit(h, KEY_ONE);
    claim_all(h);
    rig_expire(h, "r1");
    rig_reap(h, 10);
    audit_check(h);
    rig_register(h, "r2");
    const struct script_claim_reply *reply = rig_claim(h, "r2", 1, 10);
    assert_true(reply->runs_len == 1 && str_eqz(reply->runs[0].run, first));
    audit_check(h);
}

static void test_reject_and_replace(void **state)
{
    struct harness *h = *state;
    enum err err;
    rig_register(h, "r1");
    const char *first = rig_submit(h, KEY_ONE);
    const char *before = rig_dump(h);
    assert_null(rig_try_submit(h, &(struct rig_run){.key_gate = "k:x=1", .on_limit = "reject"}, &err));
    harness_assert_err(err, ERR_CONCURRENCY_LIMIT);
    assert_string_equal(rig_dump(h), before); /* nothing of it is there */
    const struct script_claim_reply *reply = claim_all(h);
    harness_assert_err(rig_started(h, "r1", &reply->runs[0]), ERR_OK);
    const char *parked = rig_submit(h, KEY_ONE),
               *newest = rig_submit(h, &(struct rig_run){.key_gate = "k:x=1", .on_limit = "replace"});
    rig_assert_status(h, first, "stopping"); /* told to stop; its place is not free yet */
    rig_assert_status(h, parked, "stopped");
    rig_assert_status(h, newest, "queued");
    assert_int_equal(claim_all(h)->runs_len, 0);
    audit_check(h);
    harness_assert_err(rig_finish(h, "r1", &reply->runs[0], "stopped", 0, NULL), ERR_OK);
    reply = claim_all(h);
    assert_true(reply->runs_len == 1 && str_eqz(reply->runs[0].run, newest));
    audit_check(h);
}

static void put_agent(struct harness *h, const char *digest, const char *concurrency, const char *rate)
{
    const struct str def[] = {
        S("json"),        S("{}"),     S("queue"),         S("default"), S("timeoutMs"),    S("1000"),
        S("graceMs"),     S("100"),    S("maxAttempts"),   S("1"),       S("atMostOnce"),   S("0"),
        S("backoffType"), S("fixed"),  S("backoffBaseMs"), S("10"),      S("backoffCapMs"), S("10"),
        S("source"),      S("stdout"), S("executor"),      S("process"), S("concurrency"),  S(concurrency),
        S("rate"),        S(rate)};
    struct script_agent_put_args args = {.ws = S("default"),
                                         .name = S("a"),
                                         .digest = S(digest),
                                         .def_fields = def,
                                         .def_fields_len = ARRAY_LEN(def),
                                         .max_agents = 10,
                                         .max_versions = 10};
    harness_assert_err(sync_agent_put(h, &args, NULL), ERR_OK);
}

static void test_an_agents_limit_is_what_it_says_now(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    put_agent(h, "d-two", "2", "");
    for (int i = 0; i < 9; i++)
        rig_submit(h, &(struct rig_run){.agent = "a"});
    assert_int_equal(claim_all(h)->runs_len, 2);
    put_agent(h, "d-five", "5", ""); /* raised: three more at once */
    audit_check(h);
    const struct script_claim_reply *reply = claim_all(h);
    assert_int_equal(reply->runs_len, 3);
    put_agent(h, "d-one", "1", ""); /* lowered: nobody enters until four have gone */
    for (size_t i = 0; i < 3; i++)
        run_through(h, &reply->runs[i]);
    assert_int_equal(claim_all(h)->runs_len, 0);
    audit_check(h);
    put_agent(h, "d-three", "3", "");
    assert_int_equal(claim_all(h)->runs_len, 1);
    audit_check(h);
}

static void test_a_run_holds_several_gates(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    put_agent(h, "d-two", "2", "");
    harness_do(h, "HSET %s w 3", harness_key(h, "limits:default"));
    for (int i = 0; i < 3; i++)
        rig_submit(h, &(struct rig_run){.agent = "a", .key_gate = "k:x=1"});
    for (int i = 0; i < 3; i++)
        rig_submit(h, &(struct rig_run){.agent = "a", .key_gate = "k:y=1"});
    for (int i = 0; i < 4; i++)
        rig_submit(h, NULL);
    audit_check(h);
    for (int i = 0; i < 20;
         i++) { /* at most three of the workspace, two of the agent, one of each key; and all get through */
        const struct script_claim_reply *reply = claim_all(h);
        assert_true(holders(h, "w") <= 3 && holders(h, "a:a") <= 2 && holders(h, "k:x") <= 1 && holders(h, "k:y") <= 1);
        for (size_t n = 0; n < reply->runs_len; n++)
            run_through(h, &reply->runs[n]);
        audit_check(h);
    }
    assert_false(harness_exists(h, harness_key(h, "queued")));
    assert_string_equal(harness_keys(h, harness_key(h, "gate*")), "");
}

static void test_a_rate_lets_one_through_at_a_time(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    for (int i = 0; i < 4; i++)
        rig_submit(h, &(struct rig_run){.rate_gate = "rk:x=1/3600000/1"});
    const struct script_claim_reply *reply = claim_all(h);
    assert_int_equal(reply->runs_len, 1);
    run_through(h, &reply->runs[0]);
    assert_int_equal(line_len(h, "rk:x"), 3);
    int64_t next_ms = promote(h)->next_ms;
    assert_in_range(next_ms, 3500000, 3600000); /* nothing to do until then */
    assert_int_equal(claim_all(h)->runs_len, 0);
    audit_check(h);
    for (int i = 0; i < 3; i++) { /* an hour goes by */
        harness_do(h, "DEL %s", harness_key(h, "rate:default:rk:x"));
        harness_do(h, "ZADD %s 1 default:rk:x", harness_key(h, "throttled"));
        promote(h);
        reply = claim_all(h);
        assert_int_equal(reply->runs_len, 1);
        audit_check(h);
    }
    promote(h);
    assert_false(harness_exists(h, harness_key(h, "throttled")));
}

static void test_a_rate_saves_up_no_burst_while_nobody_claims(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    for (int i = 0; i < 50; i++)
        rig_submit(h, &(struct rig_run){.rate_gate = "rk:x=10/1000/3"});
    for (int i = 0; i < 30; i++) { /* hours go by, without a runner */
        harness_do(h, "DEL %s", harness_key(h, "rate:default:rk:x"));
        harness_do(h, "ZADD %s 1 default:rk:x", harness_key(h, "throttled"));
        promote(h);
        audit_check(h);
    }
    assert_in_range(claim_all(h)->runs_len, 1, 3);
    audit_check(h);
}

static void test_a_thousand_wait_and_nothing_polls(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    for (int i = 0; i < 1000; i++)
        rig_submit(h, KEY_ONE);
    assert_int_equal(promote(h)->next_ms, -1);
    const struct script_claim_reply *reply = claim_all(h);
    assert_true(reply->runs_len == 1 && reply->more == 0);
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_at_a_time_in_their_order),
        TEST(test_keys_and_workspaces_do_not_meet),
        TEST(test_priorities_stand_in_the_line),
        TEST(test_a_stop_hands_the_place_on),
        TEST(test_a_retry_that_waits_lets_others_go),
        TEST(test_who_is_taken_back_keeps_its_place),
        TEST(test_reject_and_replace),
        TEST(test_an_agents_limit_is_what_it_says_now),
        TEST(test_a_run_holds_several_gates),
        TEST(test_a_rate_lets_one_through_at_a_time),
        TEST(test_a_rate_saves_up_no_burst_while_nobody_claims),
        TEST(test_a_thousand_wait_and_nothing_polls),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
