#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "common/resp_write.h"

enum { WORDS_MAX = 300 };

/* What hiredis makes of the same words. */
static void assert_as_hiredis(const struct str *words, size_t n)
{
    const char *ptr[WORDS_MAX];
    size_t len[WORDS_MAX];
    for (size_t i = 0; i < n; i++) {
        ptr[i] = words[i].ptr ? words[i].ptr : "";
        len[i] = words[i].len;
    }
    char *want;
    int want_len = redisFormatCommandArgv(&want, (int)n, ptr, len);
    struct strbuf out;
    strbuf_init(&out, 1 << 22);
    strbuf_addz(&out, "before");
    resp_write_command(&out, n, words);
    assert_false(strbuf_failed(&out));
    assert_int_equal(out.len, 6 + want_len);
    assert_memory_equal(out.ptr + 6, want, (size_t)want_len);
    assert_int_equal(out.ptr[out.len], 0);
    redisFreeCommand(want);
    strbuf_done(&out);
}

static void test_commands_are_those_of_hiredis(void **state)
{
    (void)state;
    struct str words[WORDS_MAX];
    char text[70000];
    memset(text, '$', sizeof text);
    text[3] = 0;
    text[4] = '\r';
    static const size_t lens[] = {0, 1, 9, 10, 99, 100, 999, 65535, 70000};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++)
        words[i] = (struct str){text, lens[i]};
    assert_as_hiredis(words, ARRAY_LEN(lens));
    words[0] = STR_NONE;
    assert_as_hiredis(words, 1);
    for (size_t i = 0; i < WORDS_MAX; i++)
        words[i] = (struct str){text, i};
    for (size_t n = 1; n <= WORDS_MAX; n += 13)
        assert_as_hiredis(words, n);
}

static void test_a_command_without_room_is_left_out_whole(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 64);
    strbuf_addz(&out, "x");
    const struct str words[] = {STR("0123456789012345678901234567890123456789")};
    resp_write_command(&out, 1, words);
    assert_true(strbuf_failed(&out));
    assert_string_equal(out.ptr, "x");
    strbuf_done(&out);
}

static void test_decimals(void **state)
{
    (void)state;
    static const int64_t numbers[] = {0, 1, -1, 9, 10, -10, 1234567890, INT64_MAX, INT64_MIN, INT64_MIN + 1};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        char want[32], got[DECIMAL_MAX];
        int len = snprintf(want, sizeof want, "%lld", (long long)numbers[i]);
        assert_int_equal(decimal(got, numbers[i]), len);
        assert_memory_equal(got, want, (size_t)len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands_are_those_of_hiredis),
        cmocka_unit_test(test_a_command_without_room_is_left_out_whole),
        cmocka_unit_test(test_decimals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
