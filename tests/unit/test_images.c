#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runner/images.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_references(void **state)
{
    static const char *const good[] = {"alpine",
                                       "alpine:3.18",
                                       "docker.io/library/alpine",
                                       "localhost:5000/a/b:1",
                                       "example.com/a@" DIGEST,
                                       "example.com/a:1@" DIGEST,
                                       DIGEST};
    static const char *const bad[] = {"",
                                      "/a",
                                      "a/",
                                      "a//b",
                                      "../a",
                                      "a/../b",
                                      "a/./b",
                                      "-a",
                                      "a b",
                                      "a?b",
                                      "a#b",
                                      "a%2fb",
                                      "a&b=c",
                                      "a\nb",
                                      "a:",
                                      "a@",
                                      "a@sha256:",
                                      "a@md5:0123",
                                      "a@" DIGEST "0",
                                      "a*",
                                      "a/*",
                                      "\xc3\xa4",
                                      "a\\b",
                                      "a/b..c/..",
                                      "a@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(image_valid(str_of(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(image_valid(str_of(bad[i])));
    char longest[IMAGE_MAX + 2];
    memset(longest, 'a', sizeof longest);
    assert_true(image_valid((struct str){longest, IMAGE_MAX}));
    assert_false(image_valid((struct str){longest, IMAGE_MAX + 1}));
}

static void test_lists(void **state)
{
    static const struct {
        const char *list, *image;
        bool allowed;
    } all[] = {
        {"", "a", false},
        {"  , ", "a", false},
        {"a", "a", true},
        {"a", "ab", false},
        {"ab", "a", false},
        {"a:1", "a:2", false},
        {"a", "a:1", false},
        {"x, a:1 ,y", "a:1", true},
        {"example.com/t/*", "example.com/t/a:1", true},
        {"example.com/t/*", "example.com/t/a/b@" DIGEST, true},
        {"example.com/t/*", "example.com/t", false},
        {"example.com/t/*", "example.com/tt/a", false},
        {"example.com/t/*", "example.com.evil/t/a", false},
        {"example.com/t/*", "example.com/t/../x", false},
        {"*", "a", false}, /* everything would be no list */
        {"/*", "a", false},
        {"a*", "ab", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        assert_int_equal(images_allow(str_of(all[i].list), str_of(all[i].image)), all[i].allowed);
}

static void test_bad_patterns_are_named(void **state)
{
    struct str bad;
    (void)state;
    assert_true(images_list_valid(STR(""), &bad));
    assert_true(images_list_valid(STR("a, example.com/t/* ,b:1"), &bad));
    assert_false(images_list_valid(STR("a,*"), &bad));
    assert_true(str_eqz(bad, "*"));
    assert_false(images_list_valid(STR("a/../*"), &bad));
    assert_false(images_list_valid(STR("a*"), &bad));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_bad_patterns_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
