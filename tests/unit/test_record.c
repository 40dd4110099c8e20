/* The run record as JSON, from a run's hash as Redis replies it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/record.h"
#include "common/limits.h"

#define RUN "00aabbcc-0000-4000-8000-000000000001"

enum { FIELDS_MAX = 4096 };

/* A flat [field, value, …] reply. */
struct flat {
    redisReply reply;
    redisReply items[FIELDS_MAX];
    redisReply *pointers[FIELDS_MAX];
};

static struct flat flat;
static struct arena arena;
static char text[262144];

static int start(void **state)
{
    (void)state;
    memset(&flat, 0, sizeof flat);
    flat.reply = (redisReply){.type = REDIS_REPLY_ARRAY, .element = flat.pointers};
    arena_init(&arena, 1 << 24);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static void put(size_t i, const char *s)
{
    assert_true(i < FIELDS_MAX);
    struct str copy = arena_str(&arena, str_of(s));
    flat.items[i] = (redisReply){.type = REDIS_REPLY_STRING, .str = (char *)(uintptr_t)copy.ptr, .len = copy.len};
    flat.pointers[i] = &flat.items[i];
}

static void push(const char *s)
{
    put(flat.reply.elements++, s);
}

/* As HSET does: a field that is there already gets the new value. */
static void field(const char *name, const char *value)
{
    for (size_t i = 0; i < flat.reply.elements; i += 2) {
        if (strcmp(flat.items[i].str, name) == 0) {
            put(i + 1, value);
            return;
        }
    }
    push(name);
    push(value);
}

static void attempt_field(int n, const char *name, const char *value)
{
    char full[64];
    snprintf(full, sizeof full, "a%d:%s", n, name);
    field(full, value);
}

/* What every run has from its submission on. */
static void submitted(const char *status)
{
    field("ws", "default");
    field("agent", "fixer");
    field("agentVersion", "2");
    field("status", status);
    field("queue", "default");
    field("priority", "high");
    field("createdUs", "1767322984005678");
    field("input", "{\"a\": 1}");
    field("attempt", "0");
    field("failures", "0");
    field("maxAttempts", "3");
    field("createdBy", "root");
}

static const char *written(enum record_form form)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, sizeof text - 1);
    json_writer_init(&w, &out);
    record_write(&w, &(struct record){STR(RUN), &flat.reply, 7, 8, 900}, form);
    assert_false(strbuf_failed(&out));
    assert_true(json_valid(strbuf_str(&out), LIMIT_JSON_DEPTH));
    memcpy(text, out.ptr, out.len + 1);
    strbuf_done(&out);
    return text;
}

static const struct json *parsed(enum record_form form)
{
    struct json *root;
    assert_int_equal(json_parse(&arena, str_of(written(form)), LIMIT_JSON_DEPTH, LIMIT_JSON_DEPTH, &root, NULL),
                     ERR_OK);
    return root;
}

static void assert_raw(const struct json *o, const char *key, const char *raw)
{
    const struct json *v = json_get(o, key);
    if (!raw) {
        if (v)
            fail_msg("%s is there: %.*s", key, STR_ARG(v->raw));
        return;
    }
    if (!v || !str_eqz(v->raw, raw))
        fail_msg("%s is %.*s, not %s", key, v ? (int)v->raw.len : 6, v ? v->raw.ptr : "(none)", raw);
}

static void test_a_queued_run_has_exactly_these_fields(void **state)
{
    (void)state;
    submitted("queued");
    assert_string_equal(
        written(RECORD_WHOLE),
        "{\"runId\":\"" RUN "\",\"workspaceId\":\"default\",\"agent\":\"fixer\",\"agentVersion\":2,\"status\":"
        "\"queued\",\"queue\":\"default\",\"priority\":\"high\","
        "\"createdAt\":\"2026-01-02T03:03:04.005Z\",\"input\":{\"a\": "
        "1},\"attempt\":0,\"failures\":0,\"maxAttempts\":3,\"attempts\":[],\"lastSeq\":7,\"eventCount\":8,"
        "\"eventBytes\":900,\"createdBy\":\"root\",\"labels\":{},\"schemaWarnings\":[]}");
}

static void test_what_came_later_is_added(void **state)
{
    (void)state;
    submitted("error");
    field("scheduled", "1767322985000");
    field("started", "1767322986000");
    field("completed", "1767322987000");
    field("stopAt", "1767322986500");
    field("result", "[1,\"two\"]");
    field("resultTruncated", "1");
    field("error", "{\"class\":\"exit_nonzero\",\"message\":\"7\"}");
    field("labels", "{\"team\":\"core\"}");
    field("sessionId", "s\"1");
    field("parent", "p");
    field("rerunOf", "r");
    field("traceparent", "00-x");
    field("droppedTo", "12");
    const struct json *o = parsed(RECORD_WHOLE);
    static const char *const rows[][2] = {{"scheduledAt", "\"2026-01-02T03:03:05.000Z\""},
                                          {"startedAt", "\"2026-01-02T03:03:06.000Z\""},
                                          {"completedAt", "\"2026-01-02T03:03:07.000Z\""},
                                          {"stopRequestedAt", "\"2026-01-02T03:03:06.500Z\""},
                                          {"result", "[1,\"two\"]"},
                                          {"resultTruncated", "true"},
                                          {"error", "{\"class\":\"exit_nonzero\",\"message\":\"7\"}"},
                                          {"labels", "{\"team\":\"core\"}"},
                                          {"sessionId", "\"s\\\"1\""},
                                          {"parentRunId", "\"p\""},
                                          {"rerunOf", "\"r\""},
                                          {"traceparent", "\"00-x\""},
                                          {"droppedTo", "12"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_raw(o, rows[i][0], rows[i][1]);
}

static void test_shorter_forms_leave_out_what_may_be_large(void **state)
{
    (void)state;
    submitted("success");
    field("result", "1");
    field("attempt", "1");
    field("a1", "1 1 1767322984000 1");
    const struct json *whole = parsed(RECORD_WHOLE), *no_input = parsed(RECORD_NO_INPUT),
                      *summary = parsed(RECORD_SUMMARY);
    static const char *const of_whole[] = {"input"}, *const not_of_summary[] = {"result", "attempts", "schemaWarnings"},
                             *const of_all[] = {"runId",      "status",     "attempt", "lastSeq",
                                                "eventCount", "eventBytes", "labels",  "createdAt"};
    for (size_t i = 0; i < ARRAY_LEN(of_whole); i++)
        assert_true(json_get(whole, of_whole[i]) && !json_get(no_input, of_whole[i]) &&
                    !json_get(summary, of_whole[i]));
    for (size_t i = 0; i < ARRAY_LEN(not_of_summary); i++)
        assert_true(json_get(whole, not_of_summary[i]) && json_get(no_input, not_of_summary[i]) &&
                    !json_get(summary, not_of_summary[i]));
    for (size_t i = 0; i < ARRAY_LEN(of_all); i++)
        assert_true(json_get(whole, of_all[i]) && json_get(no_input, of_all[i]) && json_get(summary, of_all[i]));
}

static void test_attempts_tell_what_is_known_of_each(void **state)
{
    (void)state;
    submitted("running");
    field("attempt", "3");
    field("started", "1767322985000");
    field("a1", "4 1 1767322984000 1 inc-1");
    attempt_field(1, "tok", "00");
    attempt_field(1, "end", "error finish 1767322986000 0");
    attempt_field(1, "error", "{\"class\":\"timeout\"}");
    attempt_field(1, "stats", "{\"cpuMs\":1}");
    attempt_field(1, "handle", "{\"pid\":7}");
    /* Attempt 2 was handed back before it wrote anything: nothing is left of it. */
    field("a3", "9 4 1767322987000 2 inc-2");
    const struct json *attempts = json_get(parsed(RECORD_WHOLE), "attempts");
    assert_int_equal(attempts->count, 2);
    const struct json *first = attempts->child, *third = first->next;
    static const char *const of_first[][2] = {{"n", "1"},
                                              {"runner", "\"inc-1\""},
                                              {"executor", "\"process\""},
                                              {"status", "\"error\""},
                                              {"handle", "{\"pid\":7}"},
                                              {"startedAt", "\"2026-01-02T03:03:05.000Z\""},
                                              {"endedAt", "\"2026-01-02T03:03:06.000Z\""},
                                              {"exitCode", "0"},
                                              {"error", "{\"class\":\"timeout\"}"},
                                              {"resourceStats", "{\"cpuMs\":1}"}};
    for (size_t i = 0; i < ARRAY_LEN(of_first); i++)
        assert_raw(first, of_first[i][0], of_first[i][1]);
    assert_raw(third, "n", "3");
    assert_raw(third, "status", "\"provisioning\"");
    assert_raw(third, "startedAt", "\"2026-01-02T03:03:07.000Z\""); /* of the claim, until the agent runs */
    static const char *const not_yet[] = {"endedAt", "exitCode", "error", "resourceStats", "handle"};
    for (size_t i = 0; i < ARRAY_LEN(not_yet); i++)
        assert_raw(third, not_yet[i], NULL);
}

static void test_of_many_attempts_the_last_hundred_are_shown(void **state)
{
    (void)state;
    submitted("running");
    field("attempt", "130");
    for (int n = 1; n <= 130; n++) {
        char name[16];
        snprintf(name, sizeof name, "a%d", n);
        field(name, "1 1 1767322984000 1");
    }
    const struct json *attempts = json_get(parsed(RECORD_WHOLE), "attempts");
    assert_int_equal(attempts->count, LIMIT_ATTEMPTS);
    assert_raw(attempts->child, "n", "31");
}

static void test_a_hash_of_another_shape_is_still_valid_json(void **state)
{
    (void)state;
    const struct json *o = parsed(RECORD_WHOLE); /* nothing in it */
    assert_raw(o, "status", "\"\"");
    assert_raw(o, "input", "null");
    field("ws", "\xff\x01\"");
    field("createdUs", "soon");
    field("attempt", "99999999999999999999");
    push("odd");
    o = parsed(RECORD_WHOLE);
    assert_raw(o, "createdAt", NULL);
    assert_raw(o, "attempt", "0");
    flat.reply.type = REDIS_REPLY_NIL;
    assert_raw(parsed(RECORD_SUMMARY), "status", "\"\"");
}

static void test_the_three_ends_are_the_ends(void **state)
{
    (void)state;
    static const struct {
        const char *status;
        bool ended;
    } rows[] = {{"success", true},       {"error", true},    {"stopped", true},
                {"stopping", false},     {"queued", false},  {"scheduled", false},
                {"provisioning", false}, {"running", false}, {"", false}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        flat.reply.elements = 0;
        field("status", rows[i].status);
        assert_int_equal(record_ended(&flat.reply), rows[i].ended);
        assert_true(str_eqz(record_field(&flat.reply, "status"), rows[i].status));
    }
    assert_false(record_ended(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_queued_run_has_exactly_these_fields, start, end),
        cmocka_unit_test_setup_teardown(test_what_came_later_is_added, start, end),
        cmocka_unit_test_setup_teardown(test_shorter_forms_leave_out_what_may_be_large, start, end),
        cmocka_unit_test_setup_teardown(test_attempts_tell_what_is_known_of_each, start, end),
        cmocka_unit_test_setup_teardown(test_of_many_attempts_the_last_hundred_are_shown, start, end),
        cmocka_unit_test_setup_teardown(test_a_hash_of_another_shape_is_still_valid_json, start, end),
        cmocka_unit_test_setup_teardown(test_the_three_ends_are_the_ends, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
