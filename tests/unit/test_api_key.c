/* The form of API keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/api_key.h"

static void test_a_key_is_taken_apart_as_it_was_made(void **state)
{
    (void)state;
    struct api_key key, again;
    struct str id, secret;
    char hash[SHA256_HEX_LEN + 1];
    api_key_make(STR_NONE, &key);
    assert_int_equal(strlen(key.text), API_KEY_LEN);
    assert_true(api_key_parse(str_of(key.text), &id, &secret));
    assert_true(str_eqz(id, key.id));
    crypto_sha256_hex(secret, hash);
    assert_string_equal(hash, key.hash);
    api_key_make(id, &again);
    assert_string_equal(again.id, key.id);
    assert_string_not_equal(again.text, key.text);
    assert_string_not_equal(again.hash, key.hash);
}

/* Every change of one character, every cut, and anything behind it is found without a look-up. */
static void test_a_typo_is_found(void **state)
{
    (void)state;
    struct api_key key;
    struct str id, secret;
    api_key_make(STR_NONE, &key);
    for (size_t i = 0; i < API_KEY_LEN; i++) {
        char was = key.text[i];
        for (int c = 1; c < 256; c++) {
            key.text[i] = (char)c;
            assert_true(api_key_parse((struct str){key.text, API_KEY_LEN}, &id, &secret) == (c == (unsigned char)was));
        }
        key.text[i] = was;
    }
    for (size_t len = 0; len < API_KEY_LEN; len++)
        assert_false(api_key_parse((struct str){key.text, len}, &id, &secret));
    char longer[API_KEY_LEN + 2];
    snprintf(longer, sizeof longer, "%s0", key.text);
    assert_false(api_key_parse(str_of(longer), &id, &secret));
    assert_false(api_key_parse(STR_NONE, &id, &secret));
}

static void test_ids(void **state)
{
    (void)state;
    assert_true(api_key_id_valid(STR("0123456789abcdef")));
    static const char *const bad[] = {"",
                                      "root",
                                      "0123456789abcde",
                                      "0123456789abcdefg",
                                      "0123456789abcdeF",
                                      "0123456789abcde:",
                                      "0123456789abcd\xc3\xa4"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(api_key_id_valid(str_of(bad[i])));
}

/* All 62 characters come, about as often as each other: a bias would show in 100 keys. */
static void test_secrets_use_the_whole_alphabet(void **state)
{
    (void)state;
    int seen[256] = {0};
    for (int i = 0; i < 100; i++) {
        struct api_key key;
        struct str id, secret;
        api_key_make(STR_NONE, &key);
        assert_true(api_key_parse(str_of(key.text), &id, &secret));
        for (size_t j = 0; j < secret.len; j++)
            seen[(unsigned char)secret.ptr[j]]++;
    }
    int kinds = 0;
    for (int c = 0; c < 256; c++) {
        kinds += seen[c] > 0;
        assert_true(seen[c] < 140); /* 69 are expected */
    }
    assert_int_equal(kinds, 62);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_is_taken_apart_as_it_was_made),
        cmocka_unit_test(test_a_typo_is_found),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_secrets_use_the_whole_alphabet),
    };
    return crypto_start() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
