/* What the executor http posts: the job, and of the environment what a remote may know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/json.h"
#include "runner/http_request.h"

static const char *const env[] = {"PATH=/bin",
                                  "HOME=/h",
                                  "TMPDIR=/t",
                                  "DEPTH=3",
                                  "QUOTED=a\"b=c",
                                  "KEY=secret-value",
                                  "HTTP_TOKEN=token-value",
                                  "DS_PG_DB__PASSWORD=ds-value",
                                  "OF_RUN=x",
                                  "ERRAND_RUN_ID=r",
                                  "ERRAND_API_BASE=http://127.0.0.1:1",
                                  "ERRAND_RUNNER_TOKEN=t0",
                                  "ERRAND_STORAGE_URL=redis://u:p@x",
                                  NULL};
#define DEFINITION "{\"env\":[{\"key\":\"DEPTH\",\"value\":\"3\"},{\"key\":\"KEY\",\"secret\":\"K\"}]}"

static void expect(bool remote_events, const char *line, const char *definition, const char *body)
{
    struct strbuf out;
    const struct job_spec spec = {
        .env = env, .input_line = str_of(line), .definition = str_of(definition), .remote_events = remote_events};
    strbuf_init(&out, 1 << 16);
    bool ok = http_request_body(&spec, &out);
    assert_int_equal(ok, body != NULL);
    if (body)
        assert_string_equal(out.ptr, body);
    if (body)
        assert_true(json_valid(strbuf_str(&out), 16));
    strbuf_done(&out);
}

static void test_secrets_and_what_is_ours_stay_here(void **state)
{
    (void)state;
    expect(false, "{\"runId\":\"r\",\"input\":{\"a\":1}}", DEFINITION,
           "{\"runId\":\"r\",\"input\":{\"a\":1},\"env\":{\"DEPTH\":\"3\",\"QUOTED\":\"a\\\"b=c\",\"OF_RUN\":\"x\"}}");
    expect(true, "{\"runId\":\"r\"}", DEFINITION,
           "{\"runId\":\"r\",\"env\":{\"DEPTH\":\"3\",\"QUOTED\":\"a\\\"b=c\",\"OF_RUN\":\"x\",\"ERRAND_API_BASE\":"
           "\"http://127.0.0.1:1\",\"ERRAND_RUNNER_TOKEN\":\"t0\"}}");
}

static void test_a_definition_that_can_t_be_read_sends_nothing(void **state)
{
    (void)state;
    expect(false, "{\"runId\":\"r\"}", "{", NULL); /* which of them are secrets is not known */
    expect(false, "", DEFINITION, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secrets_and_what_is_ours_stay_here),
        cmocka_unit_test(test_a_definition_that_can_t_be_read_sends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
