/* The SSE reader: every frame comes out the same however its bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/sse.h"

struct seen {
    char text[4096];
    int frames, stop_after;
};

static bool on_frame(void *ctx, const struct sse_frame *frame)
{
    struct seen *s = ctx;
    size_t used = strlen(s->text);
    snprintf(s->text + used, sizeof(s->text) - used, "[%.*s|%.*s|%.*s]", STR_ARG(frame->event), STR_ARG(frame->id),
             STR_ARG(frame->data));
    return ++s->frames != s->stop_after;
}

static const struct {
    const char *bytes, *frames;
} cases[] = {
    {"data: x\n\n", "[message||x]"},
    {"event: run\ndata: {\"a\":1}\n\n", "[run||{\"a\":1}]"},
    {"id: 7\nevent: notification\ndata: {}\n\n", "[notification|7|{}]"},
    {"retry: 1000\n\nevent: run\ndata: 1\n\n", "[run||1]"},
    {": heartbeat\n: heartbeat\ndata: a\n\n", "[message||a]"},
    {"data: a\ndata: b\ndata:\n\n", "[message||a\nb\n]"},
    {"data:a\n\ndata:  b\n\n", "[message||a][message|| b]"},
    {"data: a\r\n\r\ndata: b\r\rdata: c\n\n", "[message||a][message||b][message||c]"},
    {"\xef\xbb\xbf"
     "data: a\n\n",
     "[message||a]"},
    {"data\n\n", "[message||]"},
    {"event: x\n\ndata: a\n\n", "[message||a]"},
    {"id: 1\ndata: a\n\ndata: b\n\n", "[message|1|a][message||b]"},
    {"unknown: x\nDATA: y\ndata: a\n\n", "[message||a]"},
    {"data: never ended\n", ""},
    {"data: a:b: c\n\n", "[message||a:b: c]"},
    {"\n\n\ndata: a\n\n", "[message||a]"},
};

static void feeds_in_pieces(const char *bytes, size_t cut, size_t step, const char *wanted)
{
    struct seen seen = {0};
    struct sse s;
    size_t len = strlen(bytes);
    sse_init(&s, SSE_FRAME_MAX, on_frame, &seen);
    if (cut < len) {
        assert_true(sse_feed(&s, (struct str){bytes, cut}));
        bytes += cut;
        len -= cut;
    }
    for (size_t i = 0; i < len; i += step)
        assert_true(sse_feed(&s, (struct str){bytes + i, step < len - i ? step : len - i}));
    assert_string_equal(seen.text, wanted);
    sse_done(&s);
}

static void frames_at_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t cut = 0; cut <= strlen(cases[i].bytes); cut++)
            feeds_in_pieces(cases[i].bytes, cut, 4096, cases[i].frames);
        feeds_in_pieces(cases[i].bytes, 0, 1, cases[i].frames);
    }
}

static void retry_is_kept(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct sse s;
    sse_init(&s, SSE_FRAME_MAX, on_frame, &seen);
    assert_int_equal(s.retry_ms, -1);
    assert_true(sse_feed(&s, STR("retry: 1500\nretry: x\nretry: 12x\nretry: \n\n")));
    assert_int_equal(s.retry_ms, 1500);
    sse_done(&s);
}

static void stops_when_told(void **state)
{
    (void)state;
    struct seen seen = {.stop_after = 2};
    struct sse s;
    sse_init(&s, SSE_FRAME_MAX, on_frame, &seen);
    assert_false(sse_feed(&s, STR("data: a\n\ndata: b\n\ndata: c\n\n")));
    assert_string_equal(seen.text, "[message||a][message||b]");
    sse_done(&s);
}

static void reset_forgets_a_cut_frame(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct sse s;
    sse_init(&s, SSE_FRAME_MAX, on_frame, &seen);
    assert_true(sse_feed(&s, STR("id: 5\nevent: notification\ndata: {\"half")));
    sse_reset(&s);
    assert_true(sse_feed(&s, STR("data: whole\n\n")));
    assert_string_equal(seen.text, "[message||whole]");
    sse_done(&s);
}

static void a_frame_has_a_bound(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct sse s;
    sse_init(&s, SSE_FRAME_MAX, on_frame, &seen);
    char *block = malloc(1U << 20);
    assert_non_null(block);
    memset(block, 'x', 1U << 20);
    assert_true(sse_feed(&s, STR("data: ")));
    bool taken = true;
    int blocks = 0;
    while (taken && blocks < 100) {
        taken = sse_feed(&s, (struct str){block, 1U << 20});
        blocks++;
    }
    assert_false(taken);
    assert_in_range(blocks, 16, 17);
    free(block);
    sse_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_at_every_cut), cmocka_unit_test(retry_is_kept),
        cmocka_unit_test(stops_when_told),     cmocka_unit_test(reset_forgets_a_cut_frame),
        cmocka_unit_test(a_frame_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
