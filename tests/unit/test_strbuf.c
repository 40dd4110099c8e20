#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/strbuf.h"

static void test_appending_keeps_a_terminated_string(void **state)
{
    (void)state;
    struct strbuf b;
    strbuf_init(&b, 1000);
    assert_null(b.ptr);
    assert_string_equal(strbuf_str(&b).ptr, ""); /* also before the first byte */
    strbuf_addz(&b, "one ");
    strbuf_add(&b, (struct str){"two-rest", 3});
    strbuf_addc(&b, ' ');
    strbuf_addi(&b, INT64_MIN);
    strbuf_addf(&b, " %s:%d", "three", 3);
    strbuf_addz(&b, NULL);
    strbuf_add(&b, STR_NONE);
    assert_string_equal(b.ptr, "one two -9223372036854775808 three:3");
    assert_int_equal(b.len, strlen(b.ptr));
    assert_false(strbuf_failed(&b));
    strbuf_done(&b);
}

static void test_it_holds_exactly_its_cap_and_no_byte_more(void **state)
{
    (void)state;
    for (size_t max = 0; max < 300; max++) {
        struct strbuf b;
        strbuf_init(&b, max);
        for (size_t i = 0; i < max; i++)
            strbuf_addc(&b, 'x');
        assert_false(strbuf_failed(&b));
        assert_int_equal(b.len, max);
        assert_true(b.cap <= max + 1);
        strbuf_addc(&b, 'y');
        assert_true(strbuf_failed(&b));
        assert_int_equal(b.len, max);
        strbuf_done(&b);
    }
}

static void test_a_failed_buffer_keeps_what_it_had_and_ignores_what_follows(void **state)
{
    (void)state;
    struct strbuf b;
    strbuf_init(&b, 8);
    strbuf_addz(&b, "12345");
    strbuf_addf(&b, "%s", "6789"); /* one too long: none of it goes in */
    assert_true(strbuf_failed(&b));
    assert_string_equal(b.ptr, "12345");
    strbuf_addc(&b, '6');
    strbuf_addi(&b, 7);
    assert_null(strbuf_grow(&b, 0));
    assert_string_equal(b.ptr, "12345");
    strbuf_reset(&b);
    assert_false(strbuf_failed(&b));
    assert_string_equal(b.ptr, "");
    strbuf_addz(&b, "12345678");
    assert_false(strbuf_failed(&b));
    strbuf_done(&b);
}

static void test_a_length_near_the_end_of_size_t_is_refused_without_overflow(void **state)
{
    (void)state;
    struct strbuf b;
    strbuf_init(&b, 100);
    strbuf_addz(&b, "abc");
    assert_null(strbuf_grow(&b, SIZE_MAX));
    assert_true(strbuf_failed(&b));
    strbuf_reset(&b);
    assert_null(strbuf_grow(&b, SIZE_MAX - 2));
    assert_true(strbuf_failed(&b));
    strbuf_done(&b);
}

static void test_room_is_counted_by_its_filler(void **state)
{
    (void)state;
    struct strbuf b;
    strbuf_init(&b, 1000);
    strbuf_addz(&b, "a");
    char *room = strbuf_grow(&b, 200);
    assert_non_null(room);
    assert_int_equal(b.len, 1);
    memset(room, 'z', 200);
    b.len += 200;
    assert_int_equal(b.ptr[b.len], 0);
    assert_memory_equal(b.ptr, "azzz", 4);
    strbuf_done(&b);
}

static void test_consuming_drops_the_front(void **state)
{
    (void)state;
    struct strbuf b;
    strbuf_init(&b, 100);
    strbuf_consume(&b, 0); /* of an empty one */
    strbuf_addz(&b, "abcdef");
    strbuf_consume(&b, 2);
    assert_string_equal(b.ptr, "cdef");
    strbuf_consume(&b, 0);
    strbuf_consume(&b, 4);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.ptr, "");
    strbuf_addz(&b, "g");
    assert_string_equal(b.ptr, "g");
    strbuf_done(&b);
}

static void test_taken_memory_is_the_callers_and_the_buffer_starts_anew(void **state)
{
    (void)state;
    struct strbuf b;
    strbuf_init(&b, 100);
    assert_null(strbuf_take(&b));
    strbuf_addz(&b, "mine");
    char *mine = strbuf_take(&b);
    assert_null(b.ptr);
    assert_int_equal(b.max, 100);
    strbuf_addz(&b, "other");
    assert_string_equal(mine, "mine");
    free(mine);
    strbuf_done(&b);
    strbuf_addz(&b, "again"); /* done leaves an initialised one */
    assert_string_equal(b.ptr, "again");
    strbuf_done(&b);
    struct strbuf zeroed = {0};
    strbuf_done(&zeroed);
}

static void test_a_long_formatted_text_is_whole(void **state)
{
    (void)state;
    struct strbuf b;
    strbuf_init(&b, 100000);
    strbuf_addf(&b, "%070000d|", 7);
    assert_int_equal(b.len, 70001);
    assert_memory_equal(b.ptr + 69998, "07|", 4);
    strbuf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appending_keeps_a_terminated_string),
        cmocka_unit_test(test_it_holds_exactly_its_cap_and_no_byte_more),
        cmocka_unit_test(test_a_failed_buffer_keeps_what_it_had_and_ignores_what_follows),
        cmocka_unit_test(test_a_length_near_the_end_of_size_t_is_refused_without_overflow),
        cmocka_unit_test(test_room_is_counted_by_its_filler),
        cmocka_unit_test(test_consuming_drops_the_front),
        cmocka_unit_test(test_taken_memory_is_the_callers_and_the_buffer_starts_anew),
        cmocka_unit_test(test_a_long_formatted_text_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
