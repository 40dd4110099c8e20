/* What a webhook may be: its URL, its body, and what it is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/hook_body.h"
#include "api/hook_body_out.h"
#include "common/json.h"

static void test_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool ok, with_private;
    } table[] = {
        {"https://example.com", true, true},
        {"https://example.com/a?b=c&d=%20", true, true},
        {"https://example.com:8443/", true, true},
        {"HTTPS://EXAMPLE.COM/", true, true},
        {"https://8.8.8.8/", true, true},
        {"https://[2606:4700::1111]/", true, true},
        {"https://localhost/", true, true}, /* what it leads to is looked at when it is called */
        {"http://example.com/", false, true},
        {"http://127.0.0.1:8080/", false, true},
        {"https://127.0.0.1/", false, true},
        {"https://127.1/", false, true},
        {"https://0x7f000001/", false, true},
        {"https://017700000001/", false, true},
        {"https://2130706433/", false, true},
        {"https://10.0.0.1/", false, true},
        {"https://169.254.169.254/", false, true},
        {"https://[::1]/", false, true},
        {"https://[::ffff:10.1.2.3]/", false, true},
        {"https://[fe80::1%25eth0]/", false, true},
        {"https://[fd00:ec2::254]/", false, true},
        {"https://user@example.com/", false, false},
        {"https://user:pw@example.com/", false, false},
        {"https://:pw@example.com/", false, false},
        {"https://@example.com/", false, false},
        {"https://example.com/@a?b=@c", true, true},
        {"https://example.com\\@127.0.0.1/", false, false},
        {"https://example.com/#", false, false},
        {"https://example.com/#frag", false, false},
        {"https://exa mple.com/", false, false},
        {"https://example.com/\n", false, false},
        {"https://ex\xc3\xa4mple.com/", false, false},
        {"https:///path", false, false},
        {"https://", false, false},
        {"ftp://example.com/", false, false},
        {"file:///etc/passwd", false, false},
        {"javascript:alert(1)", false, false},
        {"//example.com/", false, false},
        {"example.com", false, false},
        {"/hook", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const char *why = NULL;
        for (int allow = 0; allow < 2; allow++) {
            bool ok = hook_url_valid(str_of(table[i].url), allow, &why);
            if (ok != (allow ? table[i].with_private : table[i].ok))
                fail_msg("%s: %s (allow %d)", table[i].url, ok ? "taken" : why, allow);
            if (!ok)
                assert_null(strstr(why, "pw")); /* no part of it is told */
        }
    }
    char longest[LIMIT_WEBHOOK_URL + 2] = "https://example.com/";
    const char *why;
    memset(longest + 20, 'a', sizeof longest - 21);
    assert_false(hook_url_valid(str_of(longest), false, &why));
    longest[LIMIT_WEBHOOK_URL] = 0;
    assert_true(hook_url_valid(str_of(longest), false, &why));
}

#define HOOK(more) "{\"url\":\"https://example.com/\",\"events\":[\"run.error\"]" more "}"

static void test_bodies(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum err err;
        const char *begins;
    } table[] = {
        {HOOK(""), ERR_OK, ""},
        {HOOK(",\"agents\":[],\"enabled\":false,\"description\":\"\""), ERR_OK, ""},
        {HOOK(",\"secret\":\"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""), ERR_OK, ""},
        {"[]", ERR_INVALID_FIELD, "a webhook must be an object"},
        {"{}", ERR_MISSING_FIELD, "url is required"},
        {"{\"url\":\"https://example.com/\"}", ERR_MISSING_FIELD, "events is required"},
        {"{\"url\":\"http://example.com/\",\"events\":[\"run.error\"]}", ERR_INVALID_FIELD, "url must begin"},
        {HOOK(",\"url\":\"https://example.com/\""), ERR_INVALID_FIELD, "a field stands twice"},
        {HOOK(",\"secret\":\"whsec_AAAA\""), ERR_INVALID_FIELD, "secret must"},
        {HOOK(",\"agents\":[\"a\",\"a\"]"), ERR_INVALID_FIELD, "agents must"},
        {HOOK(",\"agents\":\"a\""), ERR_INVALID_FIELD, "agents must"},
        {HOOK(",\"retries\":5"), ERR_UNKNOWN_FIELD, "retries is not a field"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct arena a;
        const struct json *root;
        struct fault fault = {0};
        struct hook_body body;
        arena_init(&a, 1 << 20);
        assert_true(validate_body(&a, str_of(table[i].body), &root, &fault));
        bool ok = hook_body_read(&a, root, true, false, &body, &fault);
        assert_int_equal(ok ? ERR_OK : fault.err, table[i].err);
        if (!ok && !str_starts(str_of(fault.detail), str_of(table[i].begins)))
            fail_msg("%s: says \"%s\"", table[i].body, fault.detail);
        if (ok)
            assert_true(str_eqz(body.events, "run.error"));
        /* A secret is of a new one only. */
        if (ok && body.secret.len > 0)
            assert_false(hook_body_read(&a, root, false, false, &body, &fault));
        arena_done(&a);
    }
}

static void test_every_kind_but_the_end_is_an_event(void **state)
{
    (void)state;
    struct arena a;
    const struct json *root;
    struct fault fault;
    struct hook_body body;
    arena_init(&a, 1 << 20);
    const struct str all =
        STR("{\"url\":\"https://example.com/\",\"events\":[\"run.success\",\"run.error\",\"run.stopped\","
            "\"event.runtime_started\",\"event.assistant_text\",\"event.tool_request\","
            "\"event.tool_response\",\"event.skill_loaded\",\"event.file_uploaded\","
            "\"event.notification\",\"event.stream_error\"]}");
    assert_true(validate_body(&a, all, &root, &fault) && hook_body_read(&a, root, true, false, &body, &fault));
    assert_true(str_starts(body.events, STR("run.success run.error run.stopped event.runtime_started ")));
    arena_done(&a);
}

static void test_an_events_line_is_found(void **state)
{
    (void)state;
    const struct str lines = STR("{\"seq\":3,\"tMs\":1,\"kind\":\"notification\",\"data\":{\"seq\":9}}\n"
                                 "{\"seq\":9,\"tMs\":1,\"kind\":\"notification\",\"data\":{}}");
    assert_true(str_eqz(hook_event_line(lines, 9), "{\"seq\":9,\"tMs\":1,\"kind\":\"notification\",\"data\":{}}"));
    assert_true(str_starts(hook_event_line(lines, 3), STR("{\"seq\":3,")));
    assert_int_equal(hook_event_line(lines, 4).len, 0);
    assert_int_equal(hook_event_line(STR_NONE, 4).len, 0);
}

static void test_a_ping_and_a_run_that_is_gone(void **state)
{
    (void)state;
    redisReply none = {.type = REDIS_REPLY_ARRAY};
    struct script_hook_take_deliveries d = {
        .ws = STR("w"), .hook = STR("wh_1"), .id = STR("x"), .type = STR("ping"), .created = 1000, .record = &none};
    struct strbuf out;
    strbuf_init(&out, 4096);
    hook_body_write(&out, &d);
    assert_string_equal(out.ptr,
                        "{\"type\":\"ping\",\"timestamp\":\"1970-01-01T00:00:01.000Z\",\"data\":{\"webhookId\":"
                        "\"wh_1\"}}");
    strbuf_reset(&out);
    d.type = STR("run.error");
    d.run = STR("r");
    d.agent = STR("a");
    hook_body_write(&out, &d);
    assert_non_null(strstr(out.ptr,
                           "\"data\":{\"runId\":\"r\",\"workspaceId\":\"w\",\"agent\":\"a\",\"status\":\"error\","
                           "\"removed\":true}}"));
    assert_true(json_valid(strbuf_str(&out), 10));
    strbuf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_every_kind_but_the_end_is_an_event),
        cmocka_unit_test(test_an_events_line_is_found),
        cmocka_unit_test(test_a_ping_and_a_run_that_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
