#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/arena.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#endif

static void test_everything_is_aligned_apart_and_keeps_its_content(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 22);
    unsigned char *got[600];
    size_t total = 0;
    for (size_t i = 0; i < ARRAY_LEN(got); i++) {
        size_t size = i * 7 % 1500;
        got[i] = arena_alloc(&a, size);
        assert_non_null(got[i]);
        assert_int_equal((uintptr_t)got[i] % 16, 0);
        memset(got[i], (int)(i & 255), size);
        total += size;
    }
    assert_int_equal(a.used, total);
    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        for (size_t at = 0; at < i * 7 % 1500; at++)
            assert_int_equal(got[i][at], i & 255);
    arena_done(&a);
    assert_int_equal(a.used, 0);
}

static void test_the_cap_is_reached_exactly_and_refused_beyond(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 100);
    assert_non_null(arena_alloc(&a, 60));
    assert_null(arena_alloc(&a, 41));
    assert_non_null(arena_alloc(&a, 40)); /* a refusal takes nothing */
    assert_null(arena_alloc(&a, 1));
    assert_non_null(arena_alloc(&a, 0)); /* a pointer all the same */
    arena_done(&a);
    assert_non_null(arena_alloc(&a, 100)); /* usable again */
    arena_done(&a);
}

static void test_sizes_near_the_end_of_size_t_are_refused(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    assert_non_null(arena_alloc(&a, 1));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 15));
    assert_null(arena_strdup(&a, (struct str){"", SIZE_MAX}));
    arena_done(&a);
}

static void test_one_block_may_be_larger_than_any_chunk(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4 << 20);
    char *small = arena_strdup(&a, STR("before"));
    char *big = arena_zalloc(&a, 3 << 20);
    assert_non_null(big);
    assert_int_equal(big[0] | big[(3 << 20) - 1], 0);
    memset(big, 'x', 3 << 20);
    assert_string_equal(small, "before");
    arena_done(&a);
}

static void test_copies_are_terminated_and_independent(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 64);
    char source[] = "text and more";
    char *copy = arena_strdup(&a, (struct str){source, 4});
    struct str slice = arena_str(&a, (struct str){source, 8});
    memset(source, '?', sizeof source - 1);
    assert_string_equal(copy, "text");
    assert_int_equal(slice.len, 8);
    assert_string_equal(slice.ptr, "text and");
    assert_string_equal(arena_strdup(&a, STR_NONE), "");
    assert_string_equal(arena_printf(&a, "%s-%d", "n", 42), "n-42");
    struct str none = arena_str(&a, (struct str){"01234567890123456789012345678901234567890123456789", 50});
    assert_true(none.ptr == NULL && none.len == 0);
    assert_null(arena_printf(&a, "%0100d", 1));
    arena_done(&a);
}

static void test_what_was_not_handed_out_is_poisoned(void **state)
{
    (void)state;
#ifdef WITH_ASAN
    struct arena a;
    arena_init(&a, 4096);
    char *blocks[70];
    for (size_t size = 0; size < ARRAY_LEN(blocks); size++)
        blocks[size] = arena_alloc(&a, size);
    for (size_t size = 0; size < ARRAY_LEN(blocks); size++) {
        assert_null(__asan_region_is_poisoned(blocks[size], size));
        assert_true(__asan_address_is_poisoned(blocks[size] + size)); /* between each and the next */
    }
    arena_done(&a);
#else
    print_message("only with AddressSanitizer\n");
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_aligned_apart_and_keeps_its_content),
        cmocka_unit_test(test_the_cap_is_reached_exactly_and_refused_beyond),
        cmocka_unit_test(test_sizes_near_the_end_of_size_t_are_refused),
        cmocka_unit_test(test_one_block_may_be_larger_than_any_chunk),
        cmocka_unit_test(test_copies_are_terminated_and_independent),
        cmocka_unit_test(test_what_was_not_handed_out_is_poisoned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
