#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/http.h"

static void test_the_wire_form_is_the_payload_in_one_chunk(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 9, 15, 16, 255, 256, 4095, 4096, 65535, 65536, 1048575, 1048576, 16777216};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct http_buf *b = http_buf_new(sizes[i]);
        assert_non_null(b);
        assert_int_equal(b->refs, 1);
        assert_int_equal(b->len, sizes[i]);
        memset(b->data, 'x', b->len); /* the filler's part: framing stands around it already */
        char head[32];
        int n = snprintf(head, sizeof head, "%zx\r\n", sizes[i]);
        assert_int_equal(b->wire_len, (size_t)n + sizes[i] + 2);
        assert_memory_equal(b->wire, head, (size_t)n);
        assert_ptr_equal(b->wire + n, b->data);
        assert_memory_equal(b->wire + b->wire_len - 3, "x\r\n", 3);
        http_buf_unref(b);
    }
}

static void test_it_lives_as_long_as_its_last_reference(void **state)
{
    (void)state;
    struct http_buf *b = http_buf_new(4);
    memcpy(b->data, "data", 4);
    assert_ptr_equal(http_buf_ref(b), b);
    http_buf_ref(b);
    http_buf_unref(b);
    http_buf_unref(b);
    assert_int_equal(b->refs, 1);
    assert_memory_equal(b->data, "data", 4); /* ASan would see it freed */
    http_buf_unref(b);                       /* LSan would see it kept */
    http_buf_unref(NULL);
}

static void test_one_that_is_shortened_is_framed_anew(void **state)
{
    (void)state;
    struct http_buf *b = http_buf_new(65536);
    memset(b->data, 'x', 65536);
    const char *data = b->data;
    http_buf_shorten(b, 3);
    assert_ptr_equal(b->data, data);
    assert_int_equal(b->len, 3);
    assert_int_equal(b->wire_len, 8);
    assert_memory_equal(b->wire, "3\r\nxxx\r\n", 8);
    http_buf_unref(b);
}

static void test_a_payload_that_no_length_can_say_is_refused(void **state)
{
    (void)state;
    assert_null(http_buf_new(UINT32_MAX));
    assert_null(http_buf_new((size_t)UINT32_MAX - 64));
    assert_null(http_buf_new(SIZE_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_wire_form_is_the_payload_in_one_chunk),
        cmocka_unit_test(test_it_lives_as_long_as_its_last_reference),
        cmocka_unit_test(test_one_that_is_shortened_is_framed_anew),
        cmocka_unit_test(test_a_payload_that_no_length_can_say_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
