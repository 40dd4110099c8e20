/* agent_put, agent_get, agent_list and agent_delete, further: exact keys, definitions that are shared, workspaces apart, a full Redis. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static enum err put(struct harness *h, const char *ws, const char *name, const char *digest,
                    const struct script_agent_put_reply **ret_reply)
{
    const struct str def[] = {S("json"),          S(harness_printf(h, "{\"digest\":\"%s\"}", digest)),
                              S("queue"),         S("default"),
                              S("timeoutMs"),     S("1"),
                              S("graceMs"),       S("1"),
                              S("maxAttempts"),   S("4"),
                              S("atMostOnce"),    S("0"),
                              S("backoffType"),   S("fixed"),
                              S("backoffBaseMs"), S("1"),
                              S("backoffCapMs"),  S("1"),
                              S("source"),        S("stdout"),
                              S("executor"),      S("process"),
                              S("req"),           S("-")};
    struct script_agent_put_args args = {.ws = S(ws),
                                         .name = S(name),
                                         .digest = S(digest),
                                         .def_fields = def,
                                         .def_fields_len = ARRAY_LEN(def),
                                         .max_agents = 10,
                                         .max_versions = 10};
    return sync_agent_put(h, &args, ret_reply);
}

static enum err get(struct harness *h, const char *ws, const char *name, int64_t version,
                    const struct script_agent_get_reply **ret_reply)
{
    return sync_agent_get(h, &(struct script_agent_get_args){.ws = S(ws), .name = S(name), .version = version},
                          ret_reply);
}

static enum err forget(struct harness *h, const char *ws, const char *name)
{
    return sync_agent_delete(h, &(struct script_agent_delete_args){.ws = S(ws), .name = S(name)}, NULL);
}

static void test_an_agent_is_all_of_this(void **state)
{
    struct harness *h = *state;
    int64_t before = harness_now_ms(h);
    harness_assert_err(put(h, "default", "a", "d1", NULL), ERR_OK);
    harness_assert_err(put(h, "default", "a", "d2", NULL), ERR_OK);
    assert_string_equal(harness_keys(h, "*"), harness_printf(h, "%s\n%s\n%s\n%s\n", harness_key(h, "agent:default:a"),
                                                             harness_key(h, "agents:default"), harness_key(h, "def:d1"),
                                                             harness_key(h, "def:d2")));
    const char *key = harness_key(h, "agent:default:a");
    harness_assert_hget(h, key, "latest", "2");
    harness_assert_hget(h, key, "v1", "d1");
    harness_assert_hget(h, key, "v2", "d2");
    harness_assert_hget(h, key, "head", "2 d2 default process");
    assert_int_equal(harness_int(h, "HLEN %s", key), 7); /* and created, u1, u2 */
    assert_in_range(harness_int(h, "HGET %s created", key), before, harness_now_ms(h));
    audit_check(h);
}

static void test_one_that_an_older_version_stored(void **state)
{
    struct harness *h = *state;
    harness_assert_err(put(h, "default", "a", "d1", NULL), ERR_OK);
    harness_do(h, "HDEL %s head", harness_key(h, "agent:default:a"));
    const char *run = rig_submit(h, &(struct rig_run){.agent = "a"});
    assert_string_equal(rig_field(h, run, "def"), "d1");
    assert_string_equal(rig_field(h, run, "agentVersion"), "1");
    audit_check(h);
}

static void test_one_that_wants_something_is_not_plain(void **state)
{
    struct harness *h = *state;
    static const char *const words[][2] = {{"source", "remote"}, {"tags", "gpu"},        {"needs", "x"},
                                           {"slots", "2"},       {"startWithinMs", "5"}, {"concurrency", "1"},
                                           {"rate", "1/1000/1"}, {"inputSchema", "{}"}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        const char *name = harness_printf(h, "a%zu", i);
        const struct str def[] = {S("json"),     S(name),      S("queue"),     S("default"),
                                  S("executor"), S("process"), S(words[i][0]), S(words[i][1])};
        struct script_agent_put_args args = {.ws = S("default"),
                                             .name = S(name),
                                             .digest = S(name),
                                             .def_fields = def,
                                             .def_fields_len = ARRAY_LEN(def),
                                             .max_agents = 10,
                                             .max_versions = 10};
        harness_assert_err(sync_agent_put(h, &args, NULL), ERR_OK);
        harness_assert_hget(h, harness_key(h, "agent:default:%s", name), "head", harness_printf(h, "1 %s", name));
    }
}

static void test_every_version_can_be_had(void **state)
{
    struct harness *h = *state;
    for (int i = 1; i <= 3; i++)
        harness_assert_err(put(h, "default", "a", harness_printf(h, "d%d", i), NULL), ERR_OK);
    for (int64_t wanted = 0; wanted <= 3; wanted++) {
        const struct script_agent_get_reply *reply;
        int64_t version = wanted ? wanted : 3; /* 0: the newest */
        harness_assert_err(get(h, "default", "a", wanted, &reply), ERR_OK);
        assert_int_equal(reply->version, version);
        assert_true(str_eqz(reply->digest, harness_printf(h, "d%d", (int)version)));
        assert_true(str_eqz(reply->def, harness_printf(h, "{\"digest\":\"d%d\"}", (int)version)));
        assert_true(reply->created_ms > 0 && reply->updated_ms >= reply->created_ms);
    }
    audit_refuses(h, get(h, "default", "a", 4, NULL), ERR_AGENT_NOT_FOUND);
    audit_refuses(h, get(h, "default", "b", 0, NULL), ERR_AGENT_NOT_FOUND);
    audit_refuses(h, get(h, "other", "a", 0, NULL), ERR_AGENT_NOT_FOUND);
}

static void test_an_older_definition_again_is_a_new_version(void **state)
{
    struct harness *h = *state;
    const struct script_agent_put_reply *reply;
    harness_assert_err(put(h, "default", "a", "d1", NULL), ERR_OK);
    harness_assert_err(put(h, "default", "a", "d2", NULL), ERR_OK);
    harness_assert_err(put(h, "default", "a", "d1", &reply), ERR_OK);
    assert_true(reply->version == 3 && reply->created == 0);
    assert_int_equal(harness_int(h, "HGET %s refs", harness_key(h, "def:d1")), 2);
    audit_refuses(h, put(h, "default", "a", "d1", &reply), ERR_OK); /* its answer was lost */
    assert_int_equal(reply->version, 3);
    audit_check(h);
}

static void test_workspaces_share_definitions_and_nothing_else(void **state)
{
    struct harness *h = *state;
    harness_assert_err(put(h, "default", "a", "d1", NULL), ERR_OK);
    harness_assert_err(put(h, "other", "a", "d1", NULL), ERR_OK);
    const char *run = rig_submit(h, &(struct rig_run){.agent = "a", .ws = "other"});
    assert_int_equal(harness_int(h, "HGET %s refs", harness_key(h, "def:d1")), 3);
    harness_assert_err(forget(h, "default", "a"), ERR_OK);
    audit_refuses(h, forget(h, "default", "a"), ERR_AGENT_NOT_FOUND);
    harness_assert_err(get(h, "other", "a", 0, NULL), ERR_OK);
    audit_check(h);
    harness_assert_err(forget(h, "other", "a"), ERR_OK);
    audit_check(h); /* the run's definition is still there */
    harness_assert_err(sync_stop(h,
                                 &(struct script_stop_args){
                                     .ws = S("other"), .run = S(run), .max = 10, .rid = S(RID), .retention_ms = RETAIN},
                                 NULL),
                       ERR_OK);
    harness_assert_err(sync_delete(h, &(struct script_delete_args){.ws = S("other"), .run = S(run)}, NULL), ERR_OK);
    audit_nothing_left(h);
}

static void test_a_run_takes_its_defaults_from_the_newest_version(void **state)
{
    struct harness *h = *state;
    harness_assert_err(put(h, "default", "a", "d1", NULL), ERR_OK);
    const char *one = rig_submit(h, &(struct rig_run){.agent = "a"});
    harness_assert_err(put(h, "default", "a", "d2", NULL), ERR_OK);
    const char *two = rig_submit(h, &(struct rig_run){.agent = "a", .max_attempts = 9});
    assert_string_equal(rig_field(h, one, "def"), "d1");
    assert_string_equal(rig_field(h, two, "def"), "d2");
    assert_string_equal(rig_field(h, two, "maxAttempts"), "9");
    rig_register(h, "r1");
    const struct script_claim_reply *reply = rig_claim(h, "r1", 1, 2);
    assert_true(reply->runs_len == 2 && str_eqz(reply->runs[0].def, "{\"digest\":\"d1\"}") &&
                str_eqz(reply->runs[1].def, "{\"digest\":\"d2\"}"));
    audit_check(h);
}

static void test_a_forgotten_agent_begins_anew(void **state)
{
    struct harness *h = *state;
    const struct script_agent_put_reply *reply;
    harness_assert_err(put(h, "default", "a", "d1", NULL), ERR_OK);
    harness_assert_err(put(h, "default", "a", "d2", NULL), ERR_OK);
    harness_assert_err(forget(h, "default", "a"), ERR_OK);
    audit_nothing_left(h);
    enum err err;
    assert_null(rig_try_submit(h, &(struct rig_run){.agent = "a"}, &err));
    harness_assert_err(err, ERR_AGENT_NOT_FOUND);
    harness_assert_err(put(h, "default", "a", "d3", &reply), ERR_OK);
    assert_true(reply->version == 1 && reply->created == 1);
    audit_check(h);
}

static void test_pages_end_where_the_names_end(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 6; i++)
        harness_assert_err(put(h, "default", harness_printf(h, "n%d", i), "d1", NULL), ERR_OK);
    for (int64_t limit = 1; limit <= 7; limit++) {
        struct script_agent_list_args args = {.ws = S("default"), .limit = limit};
        int seen = 0;
        for (bool more = true; more;) {
            const struct script_agent_list_reply *page;
            harness_assert_err(sync_agent_list(h, &args, &page), ERR_OK);
            assert_true(page->agents_len <= (size_t)limit);
            for (size_t i = 0; i < page->agents_len; i++, seen++)
                assert_true(str_eqz(page->agents[i].name, harness_printf(h, "n%d", seen)) &&
                            str_eqz(page->agents[i].executor, "process") && page->agents[i].version == 1);
            args.after = page->next;
            more = page->next.len > 0;
        }
        assert_int_equal(seen, 6);
    }
}

static void test_a_full_redis_takes_no_agent_but_forgets_one(void **state)
{
    struct harness *h = *state;
    harness_assert_err(put(h, "default", "a", "d1", NULL), ERR_OK);
    const char *before = rig_dump(h);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err stored = put(h, "default", "b", "d2", NULL);
    const char *after = rig_dump(h);
    enum err gone = forget(h, "default", "a");
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(stored, ERR_MEMORY_PRESSURE);
    assert_string_equal(after, before);
    harness_assert_err(gone, ERR_OK);
    audit_nothing_left(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_agent_is_all_of_this),
        TEST(test_one_that_an_older_version_stored),
        TEST(test_one_that_wants_something_is_not_plain),
        TEST(test_every_version_can_be_had),
        TEST(test_an_older_definition_again_is_a_new_version),
        TEST(test_workspaces_share_definitions_and_nothing_else),
        TEST(test_a_run_takes_its_defaults_from_the_newest_version),
        TEST(test_a_forgotten_agent_begins_anew),
        TEST(test_pages_end_where_the_names_end),
        TEST(test_a_full_redis_takes_no_agent_but_forgets_one),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
