/* Agents with schemas: submit, schedule_put, tick, schedule_trigger and append do nothing before they are told that what they are given was checked against this very definition; finish and append keep what is
 * told of results. */
#include <stdlib.h>

#include "audit.h"
#include "common/id.h"
#include "lua/scripts_sync.h"

#define IN       "{\"type\":\"object\"}"
#define OUT      "{\"type\":\"integer\"}"
#define WARNINGS "[{\"pointer\":\"\",\"keyword\":\"type\",\"message\":\"must be integer\"}]"

/* Stores an agent; digest is its version's. */
static void put_agent(struct harness *h, const char *digest, bool in, bool out, bool strict)
{
    struct str def[32] = {S("json"),         S("{}"),     S("queue"),         S("default"),
                          S("timeoutMs"),    S("1000"),   S("graceMs"),       S("100"),
                          S("maxAttempts"),  S("1"),      S("atMostOnce"),    S("0"),
                          S("backoffType"),  S("fixed"),  S("backoffBaseMs"), S("1"),
                          S("backoffCapMs"), S("1"),      S("source"),        S(out ? "remote" : "stdout"),
                          S("executor"),     S("process")};
    size_t n = 22;
    if (in) {
        def[n++] = S("inputSchema");
        def[n++] = S(IN);
    }
    if (out) {
        def[n++] = S("outputSchema");
        def[n++] = S(OUT);
    }
    if (strict) {
        def[n++] = S("strictOutput");
        def[n++] = S("1");
    }
    struct script_agent_put_args args = {.ws = S("default"),
                                         .name = S("a"),
                                         .digest = S(digest),
                                         .def_fields = def,
                                         .def_fields_len = n,
                                         .max_agents = 10,
                                         .max_versions = 10};
    harness_assert_err(sync_agent_put(h, &args, NULL), ERR_OK);
}

static enum err submit(struct harness *h, const char *checked, const char *key,
                       const struct script_submit_reply **ret_reply)
{
    struct id id = id_new_run(0);
    const struct str fields[] = {S("input"), S("{\"a\":1}"), S("createdBy"), S("root")};
    struct script_submit_args args = {.run = S(id.s),
                                      .ws = S("default"),
                                      .idem_key = S(key),
                                      .idem_digest = S("d"),
                                      .agent = S("a"),
                                      .priority = S("normal"),
                                      .on_limit = S("queue"),
                                      .on_dep_fail = S("fail"),
                                      .queue_max = 1000,
                                      .retention_ms = RETAIN,
                                      .rid = S(RID),
                                      .schema_checked = S(checked),
                                      .fields = fields,
                                      .fields_len = ARRAY_LEN(fields)};
    return sync_submit(h, &args, ret_reply);
}

static void assert_unchecked(struct harness *h, const char *checked, const char *digest)
{
    const char *before = rig_dump(h);
    const struct script_submit_reply *reply;
    harness_assert_err(submit(h, checked, "k", &reply), ERR_SCHEMA_UNCHECKED);
    assert_true(reply && str_eqz(reply->def, digest) && str_eqz(reply->schema, IN));
    assert_string_equal(rig_dump(h), before);
}

static void test_a_submit_says_what_was_checked(void **state)
{
    struct harness *h = *state;
    const struct script_submit_reply *first, *again;
    put_agent(h, "one", true, false, false);
    assert_unchecked(h, "", "one");
    assert_unchecked(h, "other", "one");
    harness_assert_err(submit(h, "one", "k", &first), ERR_OK);
    assert_true(first->def.len == 0 && first->schema.len == 0);
    harness_assert_err(submit(h, "", "k", &again), ERR_OK); /* the first answer, whatever was checked */
    assert_true(again->replayed && str_eq(again->run, first->run));
    put_agent(h, "two", true, false, false);
    harness_assert_err(submit(h, "one", "", NULL), ERR_SCHEMA_UNCHECKED);
    harness_assert_err(submit(h, "two", "", NULL), ERR_OK);
    put_agent(h, "three", false, false, false);
    harness_assert_err(submit(h, "two", "", NULL), ERR_OK);
    harness_assert_err(submit(h, "", "", NULL), ERR_OK);
    audit_check(h);
}

/* ---- schedules ---- */

static enum err put_schedule(struct harness *h, const char *checked, const struct script_schedule_put_reply **ret_reply)
{
    const struct str fields[] = {S("createdBy"), S("root"), S("input"), S("{\"a\":1}")};
    const char *seen = harness_hget(h, harness_key(h, "schedule:default:s"), "version");
    struct script_schedule_put_args args = {.ws = S("default"),
                                            .name = S("s"),
                                            .seen = S(seen ? seen : ""),
                                            .cron = S("* * * * *"),
                                            .zone = S("UTC"),
                                            .overlap = S("allow"),
                                            .catch_up = S("skip"),
                                            .paused = -1,
                                            .created_ms = harness_now_ms(h),
                                            .first_ms = harness_now_ms(h) - 1000,
                                            .run_json = S("{}"),
                                            .agent = S("a"),
                                            .priority = S("normal"),
                                            .on_limit = S("queue"),
                                            .queue_max = 1000,
                                            .retention_ms = RETAIN,
                                            .schema_checked = S(checked),
                                            .max_schedules = 10,
                                            .fields = fields,
                                            .fields_len = ARRAY_LEN(fields)};
    return sync_schedule_put(h, &args, ret_reply);
}

static enum err tick(struct harness *h, const char *checked, bool failed, const struct script_tick_reply **ret_reply)
{
    const struct script_ticks_reply *due;
    struct id id = id_new_run(0);
    harness_assert_err(sync_ticks(h, &(struct script_ticks_args){.max = 10}, &due), ERR_OK);
    assert_int_equal(due->due_len, 1);
    struct script_tick_args args = {.ws = S("default"),
                                    .name = S("s"),
                                    .version = due->due[0].version,
                                    .seen_ms = due->due[0].tick_ms,
                                    .tick_ms = due->due[0].tick_ms,
                                    .next_ms = due->due[0].tick_ms + 1,
                                    .run = S(id.s),
                                    .rid = S(RID),
                                    .schema_checked = S(checked),
                                    .schema_failed = failed};
    return sync_tick(h, &args, ret_reply);
}

static const char *field(struct harness *h, const char *name)
{
    const char *value = harness_hget(h, harness_key(h, "schedule:default:s"), name);
    return value ? value : "";
}

static void test_a_schedule_says_what_was_checked(void **state)
{
    struct harness *h = *state;
    const struct script_schedule_put_reply *put;
    const struct script_tick_reply *ticked;
    const struct script_schedule_trigger_reply *triggered;
    put_agent(h, "one", true, false, false);
    const char *before = rig_dump(h);
    harness_assert_err(put_schedule(h, "", &put), ERR_SCHEMA_UNCHECKED);
    assert_true(put && str_eqz(put->def, "one") && str_eqz(put->schema, IN));
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(put_schedule(h, "one", NULL), ERR_OK);
    before = rig_dump(h);
    harness_assert_err(tick(h, "", false, &ticked), ERR_SCHEMA_UNCHECKED);
    assert_true(ticked && str_eqz(ticked->def, "one") && str_eqz(ticked->schema, IN) &&
                str_eqz(ticked->input, "{\"a\":1}"));
    struct id id = id_new_run(0);
    struct script_schedule_trigger_args trigger = {.ws = S("default"), .name = S("s"), .run = S(id.s), .rid = S(RID)};
    harness_assert_err(sync_schedule_trigger(h, &trigger, &triggered), ERR_SCHEMA_UNCHECKED);
    assert_true(triggered && str_eqz(triggered->def, "one") && str_eqz(triggered->input, "{\"a\":1}"));
    assert_string_equal(rig_dump(h), before);
    trigger.schema_checked = S("one");
    harness_assert_err(sync_schedule_trigger(h, &trigger, &triggered), ERR_OK);
    assert_int_equal(triggered->input.len, 0);
    harness_assert_err(tick(h, "one", false, &ticked), ERR_OK);
    assert_true(ticked->moved == 1 && ticked->code.len == 0);
    assert_string_equal(field(h, "runs"), "2");
    harness_assert_err(tick(h, "", true, &ticked), ERR_OK); /* what was looked at does not meet it */
    assert_true(ticked->moved == 1 && str_eqz(ticked->code, "input_invalid"));
    assert_string_equal(field(h, "runs"), "2");
    assert_string_equal(field(h, "skipped"), "1");
    assert_string_equal(field(h, "lastError"), "input_invalid");
    harness_assert_err(tick(h, "one", false, &ticked), ERR_OK);
    assert_string_equal(field(h, "lastError"), "");
    audit_check(h);
}

/* ---- results ---- */

static struct script_append_args claim(const char *run, const char *status, const char *checked)
{
    bool success = strcmp(status, "success") == 0;
    return (struct script_append_args){
        .run = S(run),
        .attempt = 1,
        .token_sha = S("sha"),
        .first = 9,
        .last = 9,
        .first_t = 5,
        .last_t = 5,
        .claim_line = S("{\"seq\":9,\"tMs\":5,\"kind\":\"runtime_terminal\",\"data\":{}}"),
        .claim_seq = 9,
        .claim_t = 5,
        .claim_status = S(status),
        .claim_result = success ? S("\"x\"") : S(""),
        .claim_error = success ? S("") : S("{\"class\":\"agent_error\",\"message\":\"no\"}"),
        .claim_warnings = *checked ? S(WARNINGS) : S(""),
        .schema_checked = S(checked),
        .events_max = 100,
        .bytes_max = 100000};
}

static const struct script_claim_runs *execute(struct harness *h)
{
    rig_register(h, "r1");
    harness_assert_err(submit(h, "", "", NULL), ERR_OK);
    return rig_execute(h, "r1", 1);
}

static void test_a_claimed_success_says_what_was_checked(void **state)
{
    struct harness *h = *state;
    const struct script_append_reply *reply;
    put_agent(h, "one", false, true, true);
    const struct script_claim_runs *row = execute(h);
    const char *run = harness_printf(h, "%.*s", STR_ARG(row->run)), *before = rig_dump(h);
    for (int i = 0; i < 2; i++) {
        struct script_append_args args = claim(run, "success", i ? "other" : "");
        harness_assert_err(sync_append(h, &args, &reply), ERR_SCHEMA_UNCHECKED);
        assert_true(reply && str_eqz(reply->def, "one") && str_eqz(reply->schema, OUT) && reply->strict == 1 &&
                    reply->next_seq == 2);
        assert_string_equal(rig_dump(h), before);
    }
    struct script_append_args args = claim(run, "success", "one");
    harness_assert_err(sync_append(h, &args, &reply), ERR_OK);
    args = claim(run, "success", ""); /* sent again */
    harness_assert_err(sync_append(h, &args, &reply), ERR_OK);
    assert_true(reply->duplicate);
    rig_expire(h, "r1");
    rig_reap(h, 10);
    rig_assert_status(h, run, "success");
    assert_string_equal(rig_field(h, run, "schemaWarnings"), WARNINGS);
    audit_check(h);
}

static void test_a_claimed_error_is_taken_as_it_is(void **state)
{
    struct harness *h = *state;
    put_agent(h, "one", false, true, false);
    const struct script_claim_runs *row = execute(h);
    const char *run = harness_printf(h, "%.*s", STR_ARG(row->run));
    struct script_append_args args = claim(run, "error", "");
    harness_assert_err(sync_append(h, &args, NULL), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    rig_assert_status(h, run, "error");
    assert_string_equal(rig_field(h, run, "schemaWarnings"), "");
}

static void test_warnings_of_a_success_are_kept(void **state)
{
    struct harness *h = *state;
    static const char *const outcomes[] = {"success", "error", "stopped"};
    rig_register(h, "r1");
    for (int i = 0; i < 3; i++) {
        const char *run = rig_submit(h, NULL);
        const struct script_claim_runs *row = rig_execute(h, "r1", i + 1);
        struct script_finish_args args = {.inc = S("r1"),
                                          .run = row->run,
                                          .epoch = row->epoch,
                                          .attempt = row->attempt,
                                          .outcome = S(outcomes[i]),
                                          .error_json =
                                              i == 1 ? S("{\"class\":\"agent_error\",\"message\":\"no\"}") : S(""),
                                          .result = i == 0 ? S("\"x\"") : S(""),
                                          .warnings = S(WARNINGS),
                                          .rid = S(RID),
                                          .retention_ms = RETAIN};
        harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
        const char *kept = rig_field(h, run, "schemaWarnings");
        assert_string_equal(kept, i == 0 ? WARNINGS : "");
    }
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_submit_says_what_was_checked),          TEST(test_a_schedule_says_what_was_checked),
        TEST(test_a_claimed_success_says_what_was_checked), TEST(test_a_claimed_error_is_taken_as_it_is),
        TEST(test_warnings_of_a_success_are_kept),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
