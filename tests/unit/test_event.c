#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/event.h"
#include "common/limits.h"

static void test_a_line_has_its_one_form(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 1000);
    event_write(&out, 7, 1767322984005, EVENT_ASSISTANT_TEXT, STR("{\"text\":\"hi\\n\"}"));
    assert_string_equal(out.ptr,
                        "{\"seq\":7,\"tMs\":1767322984005,\"kind\":\"assistant_text\",\"data\":{\"text\":\"hi\\n\"}}");
    strbuf_done(&out);
}

static void test_every_kind_is_written_and_read_back(void **state)
{
    (void)state;
    for (int kind = 0; kind < EVENT_KIND_COUNT; kind++) {
        const char *name = event_kind_name((enum event_kind)kind);
        assert_int_equal(event_kind_of(str_of(name)), kind);
        static const int64_t seqs[] = {0, 1, 4294967296, SEQ_MAX, SEQ_CLOSED};
        for (size_t i = 0; i < ARRAY_LEN(seqs); i++) {
            struct strbuf out;
            struct event_head head;
            strbuf_init(&out, 1000);
            event_write(&out, seqs[i], 253402300799999, (enum event_kind)kind, STR("{\"a\":[1,{\"b\":\"}\"}]}"));
            assert_int_equal(event_peek(strbuf_str(&out), &head), ERR_OK);
            assert_true(head.seq == seqs[i] && head.t_ms == 253402300799999 && (int)head.kind == kind);
            assert_true(str_eq(head.data, STR("{\"a\":[1,{\"b\":\"}\"}]}")));
            strbuf_done(&out);
        }
    }
}

static void test_other_words_are_no_kind(void **state)
{
    (void)state;
    const struct str rows[] = {STR_NONE,
                               STR("text"),
                               STR("assistant_tex"),
                               STR("assistant_text "),
                               STR("Assistant_text"),
                               STR("assistant_text\0")};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(event_kind_of(rows[i]), EVENT_KIND_COUNT);
}

static void test_a_line_of_another_form_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "{}",
        "null",
        "{\"seq\":1}",
        " {\"seq\":1,\"tMs\":1,\"kind\":\"notification\",\"data\":{}}",
        "{\"seq\":1,\"tMs\":1,\"kind\":\"notification\",\"data\":{}",
        "{\"seq\":1,\"tMs\":1,\"kind\":\"notification\",\"data\":{}}\n",
        "{\"seq\":1,\"tMs\":1,\"kind\":\"notification\",\"data\":[]}",
        "{\"seq\":1,\"tMs\":1,\"kind\":\"notification\",\"data\":null}",
        "{\"seq\":1,\"tMs\":1,\"kind\":\"other\",\"data\":{}}",
        "{\"seq\":1,\"tMs\":1,\"kind\":\"notification",
        "{\"seq\":,\"tMs\":1,\"kind\":\"notification\",\"data\":{}}",
        "{\"seq\":-1,\"tMs\":1,\"kind\":\"notification\",\"data\":{}}",
        "{\"seq\":1.5,\"tMs\":1,\"kind\":\"notification\",\"data\":{}}",
        "{\"seq\":1,\"tMs\":\"1\",\"kind\":\"notification\",\"data\":{}}",
        "{\"seq\":12345678901234567,\"tMs\":1,\"kind\":\"notification\",\"data\":{}}", /* 17 digits */
        "{\"tMs\":1,\"seq\":1,\"kind\":\"notification\",\"data\":{}}"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct event_head head = {.seq = 77};
        if (event_peek(str_of(rows[i]), &head) != ERR_INTERNAL)
            fail_msg("taken: %s", rows[i]);
        assert_int_equal(head.seq, 77);
    }
}

static void test_a_cut_line_is_refused_and_not_read_past(void **state)
{
    (void)state;
    static const char whole[] = "{\"seq\":1,\"tMs\":22,\"kind\":\"tool_request\",\"data\":{}}";
    for (size_t len = 0; len < sizeof whole; len++) {
        char *exact = malloc(len ? len : 1);
        struct event_head head;
        assert_non_null(exact);
        memcpy(exact, whole, len);
        assert_int_equal(event_peek((struct str){exact, len}, &head), len == sizeof whole - 1 ? ERR_OK : ERR_INTERNAL);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_has_its_one_form),
        cmocka_unit_test(test_every_kind_is_written_and_read_back),
        cmocka_unit_test(test_other_words_are_no_kind),
        cmocka_unit_test(test_a_line_of_another_form_is_refused),
        cmocka_unit_test(test_a_cut_line_is_refused_and_not_read_past),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
