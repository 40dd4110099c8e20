#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/data_source.h"
#include "common/secret.h"

static void test_names_are_those_of_posix(void **state)
{
    (void)state;
    static const char *const good[] = {"A", "_", "a1_B", "___", "ERRAND_X"}, *const bad[] = {"",    "1",        "a-b",
                                                                                             "a b", "a.b",      "a=b",
                                                                                             "a@b", "\xc3\xbc", "a\n"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(posix_name_valid(str_of(good[i]), 8));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(posix_name_valid(str_of(bad[i]), 8));
    assert_false(posix_name_valid(STR("a\0b"), 8));
    assert_false(posix_name_valid(STR("aaaaaaaaa"), 8));
}

static void test_a_reference_is_a_name_and_perhaps_a_version(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
        int64_t version;
    } good[] = {{"K", "K", 0}, {"K@1", "K", 1}, {"_a9@999999999", "_a9", 999999999}};
    static const char *const bad[] = {"",     "@",     "@1",           "K@", "K@0", "K@01", "K@-1",
                                      "K@1 ", "K@1@1", "K@1000000000", "1K", "K K", "K@x"};
    struct str name = STR("untouched");
    int64_t version = -7;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(secret_ref_parse(str_of(bad[i]), &name, &version));
        assert_true(str_eqz(name, "untouched") && version == -7);
    }
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(secret_ref_parse(str_of(good[i].text), &name, &version));
        assert_true(str_eqz(name, good[i].name) && version == good[i].version);
    }
}

static void test_a_context_names_one_value_alone(void **state)
{
    (void)state;
    char a[SECRET_CONTEXT_MAX], b[SECRET_CONTEXT_MAX], longest[LIMIT_NAME];
    assert_true(str_eqz(secret_context(STR("acme"), STR("KEY"), 3, a), "secret acme/KEY 3"));
    memset(longest, 'x', sizeof longest);
    struct str whole = {longest, sizeof longest};
    assert_int_equal(secret_context(whole, whole, 999999999, a).len, 7 + LIMIT_NAME + 1 + LIMIT_NAME + 10);
    /* Neither a workspace's name nor a secret's has the characters between them. */
    assert_false(str_eq(secret_context(STR("a"), STR("B"), 12, a), secret_context(STR("a"), STR("B"), 1, b)));
}

static void test_a_field_becomes_a_variable(void **state)
{
    (void)state;
    char buf[DATA_SOURCE_VARIABLE_MAX], longest[LIMIT_DATA_SOURCE];
    assert_true(str_eqz(data_source_variable(STR("postgres"), STR("main-db"), STR("pass word"), buf),
                        "DS_POSTGRES_MAIN_DB__PASS_WORD"));
    assert_true(str_eqz(data_source_variable(STR("1x"), STR("\xc3\xbc"), STR("a=b"), buf), "DS_1X_____A_B"));
    memset(longest, '~', sizeof longest);
    struct str whole = {longest, sizeof longest};
    struct str variable = data_source_variable(whole, whole, whole, buf);
    assert_int_equal(variable.len, 3 + 3 * LIMIT_DATA_SOURCE + 3);
    assert_true(posix_name_valid(variable, 256));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_those_of_posix),
        cmocka_unit_test(test_a_reference_is_a_name_and_perhaps_a_version),
        cmocka_unit_test(test_a_context_names_one_value_alone),
        cmocka_unit_test(test_a_field_becomes_a_variable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
