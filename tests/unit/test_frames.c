#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/frames.h"
#include "common/event.h"
#include "common/limits.h"

static void check(const struct str *parts, size_t count, size_t events, int64_t after, const char *want)
{
    const struct frames_source from = {parts, count, events};
    struct http_buf *b = frames_new(&from, after);
    if (!want) {
        assert_null(b);
        return;
    }
    assert_non_null(b);
    assert_int_equal(b->len, strlen(want));
    assert_memory_equal(b->data, want, b->len);
    char head[32];
    int n = snprintf(head, sizeof head, "%x\r\n", b->len);
    assert_int_equal(b->wire_len, (size_t)n + b->len + 2);
    assert_memory_equal(b->wire, head, (size_t)n);
    assert_memory_equal(b->wire + n + b->len, "\r\n", 2);
    http_buf_unref(b);
}

#define LINE(seq, kind)  "{\"seq\":" seq ",\"tMs\":5,\"kind\":\"" kind "\",\"data\":{\"a\":\"}\"}}"
#define FRAME(seq, kind) "id: " seq "\nevent: " kind "\ndata: " LINE(seq, kind) "\n\n"

static void test_lines_become_frames(void **state)
{
    (void)state;
    const struct str two[] = {STR(LINE("7", "assistant_text") "\n" LINE("8", "tool_request")),
                              STR(LINE("90", "runtime_terminal") "\n")};
    /* however many it was told of */
    for (size_t events = 0; events < 5; events++)
        check(two, 2, events, -1,
              FRAME("7", "assistant_text") FRAME("8", "tool_request") FRAME("90", "runtime_terminal"));
    check(two, 2, SIZE_MAX, -1,
          FRAME("7", "assistant_text") FRAME("8", "tool_request") FRAME("90", "runtime_terminal"));
}

static void test_what_a_reader_has_is_left_out(void **state)
{
    (void)state;
    const struct str two[] = {STR(LINE("7", "assistant_text") "\n" LINE("8", "tool_request")),
                              STR(LINE("90", "runtime_terminal"))};
    for (size_t events = 0; events < 5; events++) {
        check(two, 2, events, 0,
              FRAME("7", "assistant_text") FRAME("8", "tool_request") FRAME("90", "runtime_terminal"));
        check(two, 2, events, 7, FRAME("8", "tool_request") FRAME("90", "runtime_terminal"));
        check(two, 2, events, 8, FRAME("90", "runtime_terminal"));
        check(two, 2, events, 89, FRAME("90", "runtime_terminal"));
        check(two, 2, events, 90, NULL);
        check(two, 2, events, SEQ_CLOSED, NULL);
    }
}

static void test_what_event_write_writes_is_framed(void **state)
{
    (void)state;
    for (int kind = 0; kind < EVENT_KIND_COUNT; kind++) {
        struct strbuf line, want;
        strbuf_init(&line, 1000);
        strbuf_init(&want, 1000);
        event_write(&line, SEQ_CLOSED, 253402300799999, (enum event_kind)kind, STR("{}"));
        const char *name = event_kind_name((enum event_kind)kind);
        strbuf_addf(&want, "id: %lld\nevent: %s\ndata: %s\n\n", (long long)SEQ_CLOSED, name, line.ptr);
        struct str part = strbuf_str(&line);
        check(&part, 1, 1, -1, want.ptr);
        check(&part, 1, 1, SEQ_CLOSED - 1, want.ptr);
        strbuf_done(&line);
        strbuf_done(&want);
    }
}

static void test_other_lines_are_passed_over(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "x",
        "{\"seq\":}",
        "{\"seq\":1,\"tMs\":2,\"kind\":\"\",\"data\":{}}",
        "{\"seq\":1,\"tMs\":2,\"kind\":\"a\",\"data\":[]}",
        "{\"seq\":-1,\"tMs\":2,\"kind\":\"a\",\"data\":{}}",
        "{\"seq\":11111111111111111,\"tMs\":2,\"kind\":\"a\",\"data\":{}}",
        "{\"seq\":1,\"tMs\":2,\"kind\":\"a\",\"data\":{}",
        "{\"seq\":1,\"tMs\":2,\"kind\":\"a\",\"data\":{",
        "{\"seq\":1,\"tMs\":2,\"kind\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"data\":{}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct strbuf text;
        strbuf_init(&text, 1000);
        strbuf_addf(&text, "%s\n" LINE("3", "notification") "\n%s", bad[i], bad[i]);
        /* a block of just its size, so that a read past its end is seen */
        char *exact = malloc(text.len);
        memcpy(exact, text.ptr, text.len);
        const struct str part = {exact, text.len};
        check(&part, 1, 1, -1, FRAME("3", "notification"));
        free(exact);
        strbuf_done(&text);
    }
    check(NULL, 0, 0, -1, NULL);
    const struct str none[] = {STR(""), STR("\n\n")};
    check(none, 2, 9, -1, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_become_frames),
        cmocka_unit_test(test_what_a_reader_has_is_left_out),
        cmocka_unit_test(test_what_event_write_writes_is_framed),
        cmocka_unit_test(test_other_lines_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
