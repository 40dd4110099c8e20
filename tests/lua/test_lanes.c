/* Lanes, through submit, claim and stop: whose turn it is, that nobody starves, that nothing is left of a lane that is empty; and the messages of stop. */
#include <stdio.h>
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

/* Claims one run; its id, NULL when there is none. */
static const char *next(struct harness *h, int64_t number)
{
    const struct script_claim_reply *reply = rig_claim(h, "r1", number, 1);
    return reply->runs_len ? audit_id(h, &reply->runs[0]) : NULL;
}

/* Of the next n claims, the place of the first one of this priority; 0 for none. */
static int place_of(struct harness *h, const char *priority, int n)
{
    int place = 0;
    for (int i = 1; i <= n; i++) {
        const char *run = next(h, i);
        assert_non_null(run);
        if (!place && strcmp(rig_field(h, run, "priority"), priority) == 0)
            place = i;
    }
    return place;
}

static void submit_many(struct harness *h, int n, const struct rig_run *o)
{
    for (int i = 0; i < n; i++)
        rig_submit(h, o);
}

static void test_an_accepted_run_is_all_of_this(void **state)
{
    struct harness *h = *state;
    const struct rig_run o = {.idem_key = "k", .queue = "q", .priority = "high", .agent = NULL};
    const char *run = rig_submit(h, &o), *names = harness_keys(h, "*");
    static const char *const wanted[] = {"bell:q",      "def:digest-0-stdout", "idem:default:k",
                                         "idx:default", "idx:default:agent:t", "lane:q:-:default:high",
                                         "lanes:q:-",   "prios:q:-:default",   "queued"};
    const char *all = "";
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        all = harness_printf(h, "%s%s\n", all, harness_key(h, "%s", wanted[i]));
    all = harness_printf(h, "%s%s\n%s\n", all, harness_key(h, "run:%s", run), harness_key(h, "use:default"));
    assert_string_equal(names, all); /* these keys and no other */
    static const char *const fields[][2] = {
        {"ws", "default"},      {"agent", "t"},        {"def", "digest-0-stdout"},
        {"status", "queued"},   {"queue", "q"},        {"priority", "high"},
        {"rid", RID},           {"createdBy", "root"}, {"labels", "{\"team\":\"x\"}"},
        {"input", "{\"a\":1}"}, {"size", "23"}};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        assert_string_equal(rig_field(h, run, fields[i][0]), fields[i][1]);
    assert_int_equal(harness_int(h, "HLEN %s", harness_key(h, "run:%s", run)),
                     ARRAY_LEN(fields) - 1); /* rid and size are in `made` */
    assert_string_equal(harness_get(h, harness_key(h, "idem:default:k")), harness_printf(h, "d1 %s queued", run));
    audit_check(h);
}

static void test_low_is_served_however_much_high_waits(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    submit_many(h, 40, &(struct rig_run){.priority = "high"});
    rig_submit(h, &(struct rig_run){.priority = "low"});
    assert_in_range(place_of(h, "low", 30), 1, 21);
    audit_check(h);
}

static void test_low_is_served_while_high_goes_on_coming(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    submit_many(h, 3, &(struct rig_run){.priority = "high"});
    submit_many(h, 3, &(struct rig_run){.priority = "low"});
    int low = 0, since = 0;
    for (int i = 1; i <= 60 && low < 3; i++) {
        rig_submit(h, &(struct rig_run){.priority = "high"}); /* never fewer than before */
        bool is_low = strcmp(rig_field(h, next(h, i), "priority"), "low") == 0;
        since = is_low ? 0 : since + 1;
        low += is_low;
        assert_true(since <= 21);
    }
    assert_int_equal(low, 3);
    audit_check(h);
}

static void test_workspaces_take_turns(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    submit_many(h, 30, &(struct rig_run){.ws = "greedy"});
    submit_many(h, 5, &(struct rig_run){.ws = "small"});
    int small = 0;
    for (int i = 1; i <= 11; i++)
        small += strcmp(rig_field(h, next(h, i), "ws"), "small") == 0;
    assert_int_equal(small, 5);
    audit_check(h);
}

/* The same in one claim as in many: turns are worked out from what is read once. */
static void test_one_claim_takes_turns_as_many_do(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    submit_many(h, 30, &(struct rig_run){.ws = "greedy", .priority = "high"});
    submit_many(h, 2, &(struct rig_run){.ws = "greedy", .priority = "low"});
    submit_many(h, 5, &(struct rig_run){.ws = "small"});
    const char *gone = rig_submit(h, &(struct rig_run){.ws = "small"});
    harness_do(h, "DEL %s", harness_key(h, "run:%s", gone)); /* somebody removed it: it is passed over */
    harness_do(h, "ZREM %s %s", harness_key(h, "idx:default"), gone);
    const struct script_claim_reply *reply = rig_claim(h, "r1", 1, 11);
    assert_int_equal(reply->runs_len, 11);
    int small = 0, low = 0;
    for (size_t i = 0; i < reply->runs_len; i++)
        small += str_eqz(reply->runs[i].ws, "small");
    assert_int_equal(small, 5);
    reply = rig_claim(h, "r1", 2, 64);
    assert_int_equal(reply->runs_len, 26);
    for (size_t i = 0; i < 16; i++)
        low += strcmp(rig_field(h, audit_id(h, &reply->runs[i]), "priority"), "low") == 0;
    assert_int_equal(low, 1); /* among the first 22 of greedy's */
    assert_string_equal(harness_keys(h, harness_key(h, "lane*")), "");
    assert_string_equal(harness_keys(h, harness_key(h, "prios*")), "");
    assert_string_equal(harness_keys(h, harness_key(h, "vt*")), "");
}

static void test_idle_time_saves_up_no_credit(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    submit_many(h, 40, &(struct rig_run){.ws = "busy"});
    for (int i = 1; i <= 20; i++)
        next(h, i);
    submit_many(h, 20, &(struct rig_run){.ws = "late"}); /* it was away for twenty turns */
    int late = 0;
    for (int i = 21; i <= 30; i++)
        late += strcmp(rig_field(h, next(h, i), "ws"), "late") == 0;
    assert_in_range(late, 4, 6);
    audit_check(h);
}

static void test_nothing_is_left_of_empty_lanes(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    submit_many(h, 2, &(struct rig_run){.priority = "high"});
    const char *low = rig_submit(h, &(struct rig_run){.priority = "low"}),
               *other = rig_submit(h, &(struct rig_run){.queue = "other"});
    for (int i = 1; i <= 2; i++)
        next(h, i);
    audit_check(h);
    harness_assert_err(rig_stop(h, low), ERR_OK);
    harness_assert_err(rig_stop(h, other), ERR_OK);
    assert_string_equal(harness_keys(h, harness_key(h, "lane*")), "");
    assert_string_equal(harness_keys(h, harness_key(h, "vt:*")), "");
    assert_false(harness_exists(h, harness_key(h, "queued")));
    assert_null(next(h, 3));
    audit_check(h);
}

static void test_a_stop_takes_a_run_from_the_middle_of_its_lane(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *runs[3];
    for (int i = 0; i < 3; i++)
        runs[i] = rig_submit(h, NULL);
    harness_assert_err(rig_stop(h, runs[1]), ERR_OK);
    assert_int_equal(harness_xlen(h, harness_key(h, "lane:default:-:default:normal")), 2);
    assert_string_equal(next(h, 1), runs[0]);
    assert_string_equal(next(h, 2), runs[2]);
    assert_null(next(h, 3));
    audit_check(h);
}

/* Its entry is known by the run that stands there, not by its id alone: of two records with one time one may have none. */
static void test_a_stop_takes_no_others_place(void **state)
{
    struct harness *h = *state;
    const char *first = rig_submit(h, NULL), *second = rig_submit(h, NULL),
               *lane = harness_key(h, "lane:default:-:default:normal");
    const char *created = rig_field(h, first, "createdUs");
    const char *entry = harness_entry(h, harness_xrange(h, lane), 0, NULL);
    assert_string_equal(rig_field(h, second, "laneId"), "");
    assert_string_equal(
        entry, harness_printf(h, "%lld-%lld", strtoll(created, NULL, 10) / 1000, strtoll(created, NULL, 10) % 1000));
    harness_do(h, "HSET %s laneId %s", harness_key(h, "run:%s", second), entry);
    harness_assert_err(rig_stop(h, second), ERR_OK);
    assert_int_equal(harness_xlen(h, lane), 2);
    rig_register(h, "r1");
    const struct script_claim_reply *reply = rig_claim(h, "r1", 1, 64);
    assert_true(reply->runs_len == 1 && str_eqz(reply->runs[0].run, first));
}

/* Runs of one moment stand in the list as they came, whatever lanes they wait in; a clock that went back spoils no place. */
static void test_the_order_in_which_they_came(void **state)
{
    struct harness *h = *state;
    enum { RUNS = 12 };
    struct harness_call *calls[RUNS];
    const char *lane = harness_key(h, "lane:q0:-:default:normal"), *runs[RUNS], *queues[] = {"q0", "q1", "q2"};
    for (int i = 0; i < RUNS; i++)
        calls[i] = rig_begin_submit(h, &(struct rig_run){.queue = queues[i % 3]});
    const redisReply *all;
    for (int i = 0; i < RUNS; i++) {
        enum err err;
        runs[i] = rig_submitted(h, calls[i], &err);
        harness_assert_err(err, ERR_OK);
    }
    all = harness_do(h, "ZRANGE %s 0 -1", harness_key(h, "idx:default"));
    for (size_t i = 0; i < RUNS; i++)
        assert_string_equal(all->element[i]->str, runs[i]);
    audit_check(h);
    harness_do(h, "XADD %s 9000000000000-5 r %s", lane, runs[0]); /* its last one is of a later time */
    harness_do(h, "XDEL %s 9000000000000-5", lane);
    const char *after = rig_submit(h, &(struct rig_run){.queue = "q0"});
    assert_string_equal(rig_field(h, after, "laneId"), "9000000000000-6");
    audit_check(h);
    harness_assert_err(rig_stop(h, after), ERR_OK);
    assert_int_equal(harness_xlen(h, lane), RUNS / 3);
    audit_check(h);
}

static void test_bells_are_bounded(void **state)
{
    struct harness *h = *state;
    submit_many(h, 80, NULL);
    assert_int_equal(harness_int(h, "LLEN %s", harness_key(h, "bell:default")), 64);
    audit_check(h);
}

static enum err claim(struct harness *h, const struct str *queues, size_t queues_len, int64_t number, int64_t max,
                      const struct script_claim_reply **ret_reply)
{
    struct script_claim_args args = {
        .inc = S("r1"), .claim_no = number, .max = max, .rid = S(RID), .queues = queues, .queues_len = queues_len};
    return sync_claim(h, &args, ret_reply);
}

static void test_queues_take_turns(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    submit_many(h, 10, &(struct rig_run){.queue = "a"});
    submit_many(h, 10, &(struct rig_run){.queue = "b"});
    submit_many(h, 3, &(struct rig_run){.queue = "c"});
    const struct str queues[] = {S("a"), S("b")};
    int first_of[2] = {0, 0};
    for (int i = 1; i <= 4; i++) {
        const struct script_claim_reply *reply;
        harness_assert_err(claim(h, queues, 2, i, 2, &reply), ERR_OK);
        assert_true(reply->runs_len == 2 && reply->more == 1);
        const char *one = rig_field(h, audit_id(h, &reply->runs[0]), "queue"),
                   *two = rig_field(h, audit_id(h, &reply->runs[1]), "queue");
        assert_string_not_equal(one, two);
        first_of[one[0] - 'a']++;
    }
    assert_true(first_of[0] == 2 && first_of[1] == 2);
    assert_int_equal(harness_int(h, "HGET %s c", harness_key(h, "queued")), 3); /* not its queue */
    audit_check(h);
}

static void test_a_runner_takes_only_what_it_can_serve(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_submit(h, &(struct rig_run){.requires = "gpu"});
    rig_submit(h, &(struct rig_run){.queue = "other"});
    const struct str queues[] = {S("default")};
    const struct script_claim_reply *reply;
    harness_assert_err(claim(h, queues, 1, 1, 5, &reply), ERR_OK);
    assert_true(reply->runs_len == 0 && reply->more == 0);
    harness_assert_err(claim(h, queues, 1, 2, 0, &reply), ERR_OK);
    assert_int_equal(reply->runs_len, 0);
    audit_check(h);
}

static void test_one_claim_is_bounded(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    submit_many(h, 70, NULL);
    const struct script_claim_reply *reply = rig_claim(h, "r1", 1, 1000);
    assert_true(reply->runs_len == 64 && reply->more == 1);
    reply = rig_claim(h, "r1", 2, 1000);
    assert_true(reply->runs_len == 6 && reply->more == 0);
    audit_check(h);
}

static void test_a_stop_is_told_to_those_that_execute(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    const char *root = audit_id(h, row), *child = rig_submit(h, &(struct rig_run){.parent = root});
    rig_register(h, "r2");
    rig_execute(h, "r2", 1);
    redisContext *ear = audit_listen(h, "*");
    harness_assert_err(rig_stop(h, root), ERR_OK);
    assert_string_equal(
        audit_heard(h, ear),
        harness_printf(h, "ctl:r1 stop %s\nrun:%s:wake \nctl:r2 stop %s\nrun:%s:wake \n", root, root, child, child));
    audit_check(h);
    ear = audit_listen(h, "ctl:*");
    harness_assert_err(rig_stop(h, root), ERR_OK); /* asked again, told again: the first word may have been lost */
    assert_string_equal(audit_heard(h, ear), harness_printf(h, "ctl:r1 stop %s\nctl:r2 stop %s\n", root, child));
    enum err err;
    assert_null(rig_try_submit(h, &(struct rig_run){.parent = child}, &err)); /* the tree grows no more */
    harness_assert_err(err, ERR_PARENT_STOPPED);
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_accepted_run_is_all_of_this),
        TEST(test_low_is_served_however_much_high_waits),
        TEST(test_low_is_served_while_high_goes_on_coming),
        TEST(test_workspaces_take_turns),
        TEST(test_one_claim_takes_turns_as_many_do),
        TEST(test_idle_time_saves_up_no_credit),
        TEST(test_nothing_is_left_of_empty_lanes),
        TEST(test_a_stop_takes_a_run_from_the_middle_of_its_lane),
        TEST(test_a_stop_takes_no_others_place),
        TEST(test_the_order_in_which_they_came),
        TEST(test_bells_are_bounded),
        TEST(test_queues_take_turns),
        TEST(test_a_runner_takes_only_what_it_can_serve),
        TEST(test_one_claim_is_bounded),
        TEST(test_a_stop_is_told_to_those_that_execute),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
