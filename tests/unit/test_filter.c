/* The filter of a bulk action: what it takes, and that nothing empty passes for "all". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the ones above */

#include "api/filter.h"

struct rig {
    struct http_req req;
    struct call call;
    struct run_filter filter;
    struct fault fault;
};

static bool read_filter(struct rig *r, const char *text)
{
    const struct json *root;
    *r = (struct rig){.call = {.workspace = STR("default"), .created_by = STR("root")}};
    arena_init(&r->req.arena, 1 << 20);
    r->call.req = &r->req;
    assert_true(validate_body(&r->req.arena, str_of(text), &root, &r->fault));
    return filter_from_json(&r->call, root, &r->filter, &r->fault);
}

static void test_everything_that_a_filter_may_say(void **state)
{
    (void)state;
    struct rig r;
    assert_true(read_filter(
        &r, "{\"agent\":\"a\",\"status\":[\"queued\",\"running\"],\"labels\":{\"k\\\"\":\"v\",\"e\":\"\"},"
            "\"createdBy\":\"me\",\"since\":\"2026-01-02T03:04:05.678Z\",\"until\":\"2026-01-03T00:00:00Z\","
            "\"queue\":\"q\",\"schedule\":\"s\",\"deadLetter\":true}"));
    struct script_list_args args = filter_args(&r.call, &r.filter);
    assert_true(str_eqz(args.ws, "default") && str_eqz(args.agent, "a") && str_eqz(args.queue, "q"));
    assert_true(str_eqz(args.schedule, "s") && str_eqz(args.created_by, "root") && args.dead == 1);
    assert_true(args.statuses_len == 2 && str_eqz(args.statuses[1], "running"));
    assert_true(args.labels_len == 2 && str_eqz(args.labels[0], "\"k\\\"\":\"v\"") &&
                str_eqz(args.labels[1], "\"e\":\"\""));
    assert_true(args.since_ms == INT64_C(1767323045678) && args.until_ms > args.since_ms);
    arena_done(&r.req.arena);
}

static void test_no_filter_is_all(void **state)
{
    (void)state;
    struct rig r;
    assert_true(read_filter(&r, "{}"));
    struct script_list_args args = filter_args(&r.call, &r.filter);
    assert_true(args.agent.len == 0 && args.statuses_len == 0 && args.labels_len == 0 && args.dead == 0);
    arena_done(&r.req.arena);
}

static void test_one_status_may_stand_alone(void **state)
{
    (void)state;
    struct rig r;
    assert_true(read_filter(&r, "{\"status\":\"error\"}"));
    assert_true(r.filter.status_count == 1 && str_eqz(r.filter.statuses[0], "error"));
    arena_done(&r.req.arena);
}

static void test_what_is_refused_names_its_field(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err err;
        const char *part;
    } cases[] = {
        {"[]", ERR_INVALID_FIELD, "filter"},
        {"null", ERR_INVALID_FIELD, "filter"},
        {"{\"agent\":\"a\",\"agent\":\"b\"}", ERR_INVALID_FIELD, "once"},
        {"{\"label\":\"a:b\"}", ERR_UNKNOWN_FIELD, "label"},
        {"{\"agent\":\"\"}", ERR_INVALID_FIELD, "agent"},
        {"{\"agent\":null}", ERR_INVALID_FIELD, "agent"},
        {"{\"queue\":\"a b\"}", ERR_INVALID_FIELD, "queue"},
        {"{\"schedule\":1}", ERR_INVALID_FIELD, "schedule"},
        {"{\"createdBy\":\"\"}", ERR_INVALID_FIELD, "createdBy"},
        {"{\"status\":[]}", ERR_INVALID_FIELD, "status"},
        {"{\"status\":[\"queued\",\"ended\"]}", ERR_INVALID_FIELD, "status"},
        {"{\"status\":{}}", ERR_INVALID_FIELD, "status"},
        {"{\"labels\":{}}", ERR_INVALID_FIELD, "labels"},
        {"{\"labels\":[]}", ERR_INVALID_FIELD, "labels"},
        {"{\"labels\":{\"a\":\"1\",\"a\":\"2\"}}", ERR_INVALID_FIELD, "labels"},
        {"{\"labels\":{\"\":\"1\"}}", ERR_INVALID_FIELD, "labels"},
        {"{\"since\":\"2026\"}", ERR_INVALID_FIELD, "since"},
        {"{\"until\":\"1969-01-01T00:00:00Z\"}", ERR_INVALID_FIELD, "until"},
        {"{\"deadLetter\":false}", ERR_INVALID_FIELD, "deadLetter"},
        {"{\"deadLetter\":\"true\"}", ERR_INVALID_FIELD, "deadLetter"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig r;
        assert_false(read_filter(&r, cases[i].text));
        if (r.fault.err != cases[i].err || !strstr(r.fault.detail, cases[i].part))
            fail_msg("%s: %s, %s", cases[i].text, err_code(r.fault.err), r.fault.detail);
        arena_done(&r.req.arena);
    }
}

static void test_cursors(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      ":",
                                      "1",
                                      "1:",
                                      ":00000000-0000-4000-8000-000000000000",
                                      "x:00000000-0000-4000-8000-000000000000",
                                      "1:0",
                                      "123456789012345678:00000000-0000-4000-8000-000000000000"};
    assert_true(filter_cursor_valid(STR("1700000000000000:00000000-0000-4000-8000-000000000000")));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(filter_cursor_valid(str_of(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_that_a_filter_may_say),
        cmocka_unit_test(test_no_filter_is_all),
        cmocka_unit_test(test_one_status_may_stand_alone),
        cmocka_unit_test(test_what_is_refused_names_its_field),
        cmocka_unit_test(test_cursors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
