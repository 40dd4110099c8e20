/* list, show and the scripts of agents, queues and runners. */
#include <stdio.h>
#include <stdlib.h>

#include "lua/scripts_sync.h"
#include "rig.h"

static const struct script_list_reply *list(struct harness *h, const struct script_list_args *given)
{
    struct script_list_args args = *given;
    if (!args.ws.ptr)
        args.ws = S("default");
    args.limit = args.limit ? args.limit : 100;
    args.examine = args.examine ? args.examine : 1000;
    const struct script_list_reply *reply;
    harness_assert_err(sync_list(h, &args, &reply), ERR_OK);
    return reply;
}

static void test_pages_newest_first(void **state)
{
    struct harness *h = *state;
    const char *runs[7];
    for (int i = 0; i < 7; i++)
        runs[i] = rig_submit(h, NULL);
    struct str cursor = S("");
    int seen = 0, pages = 0;
    do {
        const struct script_list_reply *page = list(h, &(struct script_list_args){.limit = 3, .cursor = cursor});
        assert_true(page->runs_len <= 3);
        for (size_t i = 0; i < page->runs_len; i++)
            assert_true(str_eqz(page->runs[i].run, runs[6 - seen++]));
        cursor = page->next;
        pages++;
    } while (cursor.len > 0 && pages < 10);
    assert_int_equal(seen, 7);
}

static void test_filters(void **state)
{
    struct harness *h = *state;
    const char *run = rig_submit(h, NULL);
    rig_submit(h, &(struct rig_run){.ws = "other"});
    const char *delayed = rig_submit(h, &(struct rig_run){.delay_ms = 60000});
    const struct str queued[] = {S("queued")}, both[] = {S("queued"), S("scheduled")}, good[] = {S("\"team\":\"x\"")},
                     bad[] = {S("\"team\":\"y\"")};
    const struct script_list_reply *page = list(h, &(struct script_list_args){.statuses = queued, .statuses_len = 1});
    assert_true(page->runs_len == 1 && str_eqz(page->runs[0].run, run));
    assert_int_equal(list(h, &(struct script_list_args){.statuses = both, .statuses_len = 2})->runs_len, 2);
    assert_int_equal(list(h, &(struct script_list_args){.ws = S("other")})->runs_len, 1);
    assert_int_equal(list(h, &(struct script_list_args){.agent = S("t")})->runs_len, 2);
    assert_int_equal(list(h, &(struct script_list_args){.agent = S("u")})->runs_len, 0);
    assert_int_equal(list(h, &(struct script_list_args){.labels = good, .labels_len = 1})->runs_len, 2);
    assert_int_equal(list(h, &(struct script_list_args){.labels = bad, .labels_len = 1})->runs_len, 0);
    assert_int_equal(list(h, &(struct script_list_args){.created_by = S("root")})->runs_len, 2);
    assert_int_equal(list(h, &(struct script_list_args){.created_by = S("else")})->runs_len, 0);
    int64_t now = harness_now_ms(h);
    assert_int_equal(list(h, &(struct script_list_args){.since_ms = now + 1000})->runs_len, 0);
    assert_int_equal(list(h, &(struct script_list_args){.until_ms = now + 1000})->runs_len, 2);
    assert_int_equal(list(h, &(struct script_list_args){.until_ms = now - 100000})->runs_len, 0);
    (void)delayed;
}

static void test_a_page_examines_a_bounded_number(void **state)
{
    struct harness *h = *state;
    const struct str none[] = {S("error")};
    for (int i = 0; i < 10; i++)
        rig_submit(h, NULL);
    struct str cursor = S("");
    int pages = 0;
    do { /* short pages, and still a way on */
        const struct script_list_reply *page =
            list(h, &(struct script_list_args){.statuses = none, .statuses_len = 1, .examine = 3, .cursor = cursor});
        assert_int_equal(page->runs_len, 0);
        cursor = page->next;
        pages++;
    } while (cursor.len > 0 && pages < 20);
    assert_in_range(pages, 3, 5);
}

static void test_show_says_where_to_read_on(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, &(struct rig_run){.max_attempts = 3});
    const struct script_claim_runs *one = rig_execute(h, "r1", 1);
    assert_true(rig_append(h, one, 2) && rig_append(h, one, 3));
    harness_assert_err(rig_finish(h, "r1", one, "error", 0, NULL), ERR_OK);
    const struct script_claim_runs *two = rig_execute(h, "r1", 2);
    assert_int_equal(two->first_seq, 5);
    struct script_show_args args = {.ws = S("default"), .run = S(run), .after = -1};
    for (args.after = -1; args.after <= 6; args.after++) {
        const struct script_show_reply *reply;
        harness_assert_err(sync_show(h, &args, &reply), ERR_OK);
        /* read from there, everything above `after` comes, and nothing of it is missing */
        const redisReply *entries = harness_do(h, "XRANGE %s %s +", harness_key(h, "run:%s:events", run),
                                               harness_printf(h, "(%.*s", STR_ARG(reply->start)));
        int64_t expected = args.after < 5 ? 5 - (args.after < 0 ? 0 : args.after) : 0, above = 0;
        for (size_t i = 0; i < entries->elements; i++)
            above += strtoll(harness_entry(h, entries, i, "last"), NULL, 10) > args.after;
        assert_int_equal(above, expected);
        assert_true(reply->last_seq == 5);
    }
    args.ws = S("other");
    harness_assert_err(sync_show(h, &args, NULL), ERR_RUN_NOT_FOUND);
}

static struct str shown(struct harness *h, const char *run, int64_t whole, const char *field)
{
    const struct script_show_reply *reply;
    struct script_show_args args = {.ws = S("default"), .run = S(run), .after = -1, .whole = whole};
    harness_assert_err(sync_show(h, &args, &reply), ERR_OK);
    return redis_str(redis_field(reply->record, field));
}

static void test_show_gives_what_stands_apart_where_it_is_asked_for(void **state)
{
    struct harness *h = *state;
    const char *run = rig_submit(h, &(struct rig_run){.max_attempts = 3});
    assert_true(str_eqz(shown(h, run, 1, "input"), "{\"a\":1}"));
    harness_do(h, "HDEL %s input", harness_key(h, "run:%s", run));
    harness_do(h, "SET %s long", harness_key(h, "run:%s:input", run));
    harness_do(h, "SET %s {}", harness_key(h, "run:%s:env", run));
    assert_true(str_eqz(shown(h, run, 1, "input"), "long") && str_eqz(shown(h, run, 1, "env"), "{}"));
    assert_true(shown(h, run, 0, "input").len == 0 && shown(h, run, 0, "env").len == 0);
    assert_true(str_eqz(shown(h, run, 0, "maxAttempts"), "3") && str_eqz(shown(h, run, 1, "maxAttempts"), "3"));
}

/* ---- agents ---- */

static enum err put(struct harness *h, const char *name, const char *digest, int64_t max_agents, int64_t max_versions,
                    const struct script_agent_put_reply **ret_reply)
{
    const struct str def[] = {S("json"),          S("{\"name\":\"t\"}"),
                              S("queue"),         S("default"),
                              S("timeoutMs"),     S("1"),
                              S("graceMs"),       S("1"),
                              S("maxAttempts"),   S("1"),
                              S("atMostOnce"),    S("0"),
                              S("backoffType"),   S("fixed"),
                              S("backoffBaseMs"), S("1"),
                              S("backoffCapMs"),  S("1"),
                              S("source"),        S("stdout"),
                              S("executor"),      S("process"),
                              S("req"),           S("-")};
    struct script_agent_put_args args = {.ws = S("default"),
                                         .name = S(name),
                                         .digest = S(digest),
                                         .def_fields = def,
                                         .def_fields_len = ARRAY_LEN(def),
                                         .max_agents = max_agents,
                                         .max_versions = max_versions};
    return sync_agent_put(h, &args, ret_reply);
}

static void test_agents_have_versions(void **state)
{
    struct harness *h = *state;
    const struct script_agent_put_reply *reply;
    harness_assert_err(put(h, "a", "d1", 10, 10, &reply), ERR_OK);
    assert_true(reply->version == 1 && reply->created == 1);
    const char *before = rig_dump(h);
    harness_assert_err(put(h, "a", "d1", 10, 10, &reply), ERR_OK); /* the same again is no new version */
    assert_true(reply->version == 1 && reply->created == 0);
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(put(h, "a", "d2", 10, 10, &reply), ERR_OK);
    assert_int_equal(reply->version, 2);
    const char *run = rig_submit(h, &(struct rig_run){.agent = "a"});
    assert_string_equal(rig_field(h, run, "def"), "d2");
    assert_string_equal(rig_field(h, run, "agentVersion"), "2");
    harness_assert_err(
        sync_agent_delete(h, &(struct script_agent_delete_args){.ws = S("default"), .name = S("a")}, NULL), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "def:d1")));
    assert_true(harness_exists(h, harness_key(h, "def:d2"))); /* a run keeps what it was submitted with */
    harness_assert_err(
        sync_agent_delete(h, &(struct script_agent_delete_args){.ws = S("default"), .name = S("a")}, NULL),
        ERR_AGENT_NOT_FOUND);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    harness_assert_err(sync_delete(h, &(struct script_delete_args){.ws = S("default"), .run = S(run)}, NULL), ERR_OK);
    assert_string_equal(harness_keys(h, harness_key(h, "def:*")), "");
}

static void test_agents_and_versions_are_bounded(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 5; i++)
        harness_assert_err(put(h, "a", harness_printf(h, "v%d", i), 2, 3, NULL), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "def:v0"))); /* the oldest went */
    assert_true(harness_exists(h, harness_key(h, "def:v4")));
    harness_assert_err(put(h, "b", "b1", 2, 3, NULL), ERR_OK);
    const char *before = rig_dump(h);
    harness_assert_err(put(h, "c", "c1", 2, 3, NULL), ERR_LIMIT_EXCEEDED);
    assert_string_equal(rig_dump(h), before);
}

static void test_agents_are_listed_by_name(void **state)
{
    struct harness *h = *state;
    static const char *const names[] = {"b", "d", "a", "c"};
    for (size_t i = 0; i < 4; i++)
        harness_assert_err(put(h, names[i], harness_printf(h, "d%zu", i), 10, 10, NULL), ERR_OK);
    const struct script_agent_list_reply *page;
    harness_assert_err(sync_agent_list(h, &(struct script_agent_list_args){.ws = S("default"), .limit = 3}, &page),
                       ERR_OK);
    assert_true(page->agents_len == 3 && str_eqz(page->agents[0].name, "a") && str_eqz(page->agents[2].name, "c") &&
                page->next.len > 0);
    harness_assert_err(
        sync_agent_list(h, &(struct script_agent_list_args){.ws = S("default"), .after = page->next, .limit = 3},
                        &page),
        ERR_OK);
    assert_true(page->agents_len == 1 && str_eqz(page->agents[0].name, "d") && page->next.len == 0);
    const struct script_agent_get_reply *agent;
    harness_assert_err(sync_agent_get(h, &(struct script_agent_get_args){.ws = S("default"), .name = S("a")}, &agent),
                       ERR_OK);
    assert_true(agent->version == 1 && str_eqz(agent->def, "{\"name\":\"t\"}"));
    harness_assert_err(
        sync_agent_get(h, &(struct script_agent_get_args){.ws = S("default"), .name = S("a"), .version = 9}, NULL),
        ERR_AGENT_NOT_FOUND);
    harness_assert_err(sync_agent_get(h, &(struct script_agent_get_args){.ws = S("other"), .name = S("a")}, NULL),
                       ERR_AGENT_NOT_FOUND);
}

/* ---- runners ---- */

static void test_a_runner_says_goodbye(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    struct script_deregister_args args = {.inc = S("r1")};
    const struct script_deregister_reply *reply;
    const char *before = rig_dump(h);
    harness_assert_err(sync_deregister(h, &args, &reply), ERR_OK);
    assert_int_equal(reply->held, 1);
    assert_string_equal(rig_dump(h), before); /* not while it holds one */
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    harness_assert_err(sync_deregister(h, &args, &reply), ERR_OK);
    assert_int_equal(reply->held, 0);
    assert_false(harness_exists(h, harness_key(h, "runner:r1")));
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "leases")), 0);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pages_newest_first),
        TEST(test_filters),
        TEST(test_a_page_examines_a_bounded_number),
        TEST(test_show_says_where_to_read_on),
        TEST(test_show_gives_what_stands_apart_where_it_is_asked_for),
        TEST(test_agents_have_versions),
        TEST(test_agents_and_versions_are_bounded),
        TEST(test_agents_are_listed_by_name),
        TEST(test_a_runner_says_goodbye),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
