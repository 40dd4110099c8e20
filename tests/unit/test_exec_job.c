/* A command under errand-exec, as a runner sees it that stood still meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "runner/exec_job.h"

struct seen {
    struct strbuf out;
    bool started, gone;
};

static void on_started(void *ctx, struct str handle)
{
    struct seen *s = ctx;
    assert_true(handle.len > 0);
    s->started = true;
}

static void on_output(void *ctx, enum job_stream stream, struct str data)
{
    struct seen *s = ctx;
    assert_int_equal(stream, JOB_STDOUT);
    strbuf_add(&s->out, data);
}

static void on_gone(void *ctx, const struct job_exit *how)
{
    struct seen *s = ctx;
    assert_true(how->started);
    assert_int_equal(how->code, 0);
    s->gone = true;
}

/* A turn of the loop, and a pause in which more happens than a turn sees. */
static void turn(struct loop *l, long pause_ms)
{
    uv_run(loop_uv(l), UV_RUN_NOWAIT);
    nanosleep(&(struct timespec){pause_ms / 1000, pause_ms % 1000 * 1000000}, NULL);
}

/* However long it stands still, and between which of its turns: the wait for pipes that others hold is over then, and what was written is still to be read. */
static void test_what_was_written_before_we_stood_still(void **state)
{
    (void)state;
    static const struct job_events events = {.started = on_started, .output = on_output, .gone = on_gone};
    for (int at = 1; at <= 4; at++) {
        struct loop *l = loop_new();
        struct seen seen = {0};
        const char *why = NULL;
        const char *const command[] = {"/bin/echo", "all of it", NULL}, *const env[] = {"PATH=/bin", NULL};
        struct exec_plan plan = {.exec_path = BINARY_DIR "/errand-exec",
                                 .command = command,
                                 .env = env,
                                 .workdir = "/tmp",
                                 .private = "/tmp/errand-none",
                                 .grace_ms = 1000};
        strbuf_init(&seen.out, 4096);
        struct exec_job *job = exec_job_start(l, &plan, &events, &seen, &why);
        assert_non_null(job);
        for (int i = 0; i < 2000 && !seen.gone; i++)
            turn(l, i == 0 ? 300 : i == at ? 2100 : 5);
        assert_true(seen.started && seen.gone);
        assert_true(str_eqz(strbuf_str(&seen.out), "all of it\n"));
        turn(l, 0);
        turn(l, 0);
        strbuf_done(&seen.out);
        loop_free(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_was_written_before_we_stood_still)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
