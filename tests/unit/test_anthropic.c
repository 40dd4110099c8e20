/* The Messages API without a network: what a job becomes, and what a stream becomes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/limits.h"
#include "runner/anthropic_events.h"
#include "runner/anthropic_request.h"

/* ---- requests ---- */

static const struct {
    const char *model, *system, *input, *settings, *body; /* settings: of anthropic/m; body NULL: why has the word */
    const char *word;
} jobs[] = {
    {"m", "", "\"hi\"", NULL,
     "{\"model\":\"m\",\"stream\":true,\"max_tokens\":4096,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
     NULL},
    {"anthropic/m", "s\"x", "{\"prompt\":\"\\u00fc\"}", "{\"top_p\":0.5,\"max_tokens\":9}",
     "{\"model\":\"m\",\"stream\":true,\"top_p\":0.5,\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":"
     "\"\\u00fc\"}],\"system\":\"s\\\"x\"}",
     NULL},
    {"m", "", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}]}", "{}",
     "{\"model\":\"m\",\"stream\":true,\"max_tokens\":4096,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
     "\"text\",\"text\":\"a\"}]}]}",
     NULL},
    {"anthropic/", "", "\"hi\"", NULL, NULL, "model"},
    {"m", "", "\"hi\"", "{\"stream\":false}", NULL, "stream is no setting"},
    {"m", "", "\"hi\"", "{\"model\":\"other\"}", NULL, "model is no setting"},
    {"m", "", "\"hi\"", "{\"max_tokens\":0}", NULL, "max_tokens must be an integer from 1"},
    {"m", "", "\"hi\"", "{\"max_tokens\":1.5}", NULL, "max_tokens must be an integer"},
    {"m", "", "\"hi\"", "{\"temperature\":\"1\"}", NULL, "temperature must be a number from 0 to 1"},
    {"m", "", "\"hi\"", "{\"metadata\":[]}", NULL, "metadata must be an object"},
    {"m", "", "\"hi\"", "{\"top_k\":1,\"top_k\":2}", NULL, "stands twice"},
    {"m", "", "7", NULL, NULL, "as input"},
    {"m", "", "{\"messages\":[]}", NULL, NULL, "input.messages"},
    {"m", "", "{\"messages\":[7]}", NULL, NULL, "input.messages"},
    {"m", "", "{\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}", NULL, NULL, "input.messages"},
    {"m", "", "{\"messages\":[{\"role\":\"system\",\"content\":\"x\"}]}", NULL, NULL, "input.messages"},
    {"m", "", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}]}", NULL, NULL, "input.messages"},
};

static void test_jobs_become_requests_or_say_why_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        struct strbuf out, why;
        char definition[512];
        snprintf(definition, sizeof definition, "{\"llmSettings\":{\"perModel\":{\"anthropic/m\":%s}}}",
                 jobs[i].settings ? jobs[i].settings : "{}");
        const struct anthropic_job job = {str_of(jobs[i].model), str_of(jobs[i].system), str_of(jobs[i].input),
                                          jobs[i].settings ? str_of(definition) : STR("{}")};
        strbuf_init(&out, 1 << 20);
        strbuf_init(&why, 600);
        bool ok = anthropic_request(&job, &out, &why);
        if (ok != (jobs[i].body != NULL) || (ok && strcmp(out.ptr, jobs[i].body) != 0) ||
            (!ok && !strstr(why.ptr, jobs[i].word)))
            fail_msg("job %zu: %s / %s", i, ok ? out.ptr : "refused", why.ptr ? why.ptr : "");
        strbuf_done(&out);
        strbuf_done(&why);
    }
}

/* ---- streams ---- */

static struct anthropic_events a;
static struct strbuf seen;

static void on_event(void *ctx, enum event_kind kind, struct str data)
{
    (void)ctx;
    strbuf_addf(&seen, "%s %.*s\n", event_kind_name(kind), STR_ARG(data));
}

static int start(void **state)
{
    (void)state;
    strbuf_init(&seen, 8 << 20);
    anthropic_events_init(&a, on_event, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    strbuf_done(&seen);
    anthropic_events_done(&a);
    return 0;
}

static void take(const char *data)
{
    anthropic_events_take(&a, &(struct sse_frame){.event = STR("x"), .data = str_of(data)});
}

static void expect(const char *what, enum anthropic_state then)
{
    assert_string_equal(seen.len ? seen.ptr : "", what);
    assert_int_equal(a.state, then);
    strbuf_reset(&seen);
}

#define TEXT_BLOCK "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}"
#define TEXT_DELTA "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}"
#define STOP_BLOCK "{\"type\":\"content_block_stop\",\"index\":0}"

static void test_a_message_from_start_to_stop(void **state)
{
    (void)state;
    struct strbuf result;
    take("{\"type\":\"message_start\",\"message\":{\"id\":\"m1\",\"model\":\"m\",\"usage\":{\"input_tokens\":7,"
         "\"output_tokens\":1}}}");
    expect("notification {\"type\":\"message_start\",\"id\":\"m1\",\"model\":\"m\"}\n", ANTHROPIC_OPEN);
    take("{\"type\":\"ping\"}");
    take(TEXT_BLOCK);
    expect("", ANTHROPIC_OPEN);
    assert_false(a.began);
    take(TEXT_DELTA);
    assert_true(a.began);
    take(STOP_BLOCK);
    expect("assistant_text {\"text\":\"hi\"}\n", ANTHROPIC_OPEN);
    take("{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}");
    expect("notification {\"type\":\"usage\",\"input_tokens\":7,\"output_tokens\":9}\n", ANTHROPIC_OPEN);
    take("{\"type\":\"message_stop\"}");
    take(TEXT_DELTA); /* behind the end: not looked at */
    expect("", ANTHROPIC_DONE);
    strbuf_init(&result, LIMIT_RESULT);
    anthropic_events_result(&a, &result);
    assert_string_equal(result.ptr, "{\"text\":\"hi\",\"stopReason\":\"end_turn\",\"usage\":{\"input_tokens\":7,"
                                    "\"output_tokens\":9},\"toolUses\":[]}");
    strbuf_done(&result);
}

static void test_what_does_not_fit_is_shown_as_it_came(void **state)
{
    (void)state;
    take(TEXT_DELTA); /* of a block that is not open */
    expect("notification {\"type\":\"content_block_delta\",\"event\":" TEXT_DELTA "}\n", ANTHROPIC_OPEN);
    take(TEXT_BLOCK);
    take(TEXT_BLOCK); /* in an open one */
    expect("notification {\"type\":\"content_block_start\",\"event\":" TEXT_BLOCK "}\n", ANTHROPIC_OPEN);
    take("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"citations_delta\",\"citation\":{ \"a\" : "
         "1 "
         "}}}");
    expect(
        "notification {\"type\":\"citations_delta\",\"delta\":{\"type\":\"citations_delta\",\"citation\":{\"a\":1}}}\n",
        ANTHROPIC_OPEN);
    take("{\"type\":\"later\"}");
    expect("notification {\"type\":\"later\",\"event\":{\"type\":\"later\"}}\n", ANTHROPIC_OPEN);
}

static void test_errors_end_it(void **state)
{
    (void)state;
    take("{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}");
    expect("", ANTHROPIC_FAILED);
    assert_string_equal(a.error_type.ptr, "overloaded_error");
    assert_string_equal(a.error.ptr, "Overloaded");
    assert_true(anthropic_error_passes(strbuf_str(&a.error_type)));
    assert_false(anthropic_error_passes(STR("invalid_request_error")));
    anthropic_events_reset(&a);
    assert_int_equal(a.error.len, 0);
    static const char *const broken[] = {"", "x", "[]", "{}", "{\"type\":7}", "\"type\""};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        anthropic_events_reset(&a);
        take(broken[i]);
        expect("", ANTHROPIC_FAILED);
        assert_false(anthropic_error_passes(strbuf_str(&a.error_type)));
    }
}

/* Escapes make a text longer than a result may be: what is left out says so, and the rest is kept. */
static void test_a_result_keeps_its_bound(void **state)
{
    (void)state;
    struct strbuf delta, result;
    strbuf_init(&delta, 1 << 20);
    strbuf_addz(&delta, "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"");
    for (int i = 0; i < 40000; i++)
        strbuf_addz(&delta, "\\u0001");
    strbuf_addz(&delta, "\"}}");
    take(TEXT_BLOCK);
    for (int i = 0; i < 6; i++)
        take(delta.ptr);
    take(STOP_BLOCK);
    take("{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":"
         "\"n\",\"input\":{\"a\":1}}}");
    take("{\"type\":\"content_block_stop\",\"index\":1}");
    assert_false(a.text_truncated);
    strbuf_init(&result, LIMIT_RESULT);
    anthropic_events_result(&a, &result);
    assert_false(strbuf_failed(&result));
    assert_string_equal(result.ptr,
                        "{\"textTruncated\":true,\"stopReason\":null,\"usage\":{},\"toolUses\":[{\"id\":\"t\","
                        "\"name\":\"n\",\"input\":{\"a\":1}}]}");
    strbuf_done(&delta);
    strbuf_done(&result);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_become_requests_or_say_why_not),
        TEST(test_a_message_from_start_to_stop),
        TEST(test_what_does_not_fit_is_shown_as_it_came),
        TEST(test_errors_end_it),
        TEST(test_a_result_keeps_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
