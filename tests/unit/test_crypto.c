#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/crypto.h"
#include "common/id.h"

static int start(void **state)
{
    (void)state;
    return crypto_start() ? -1 : 0;
}

/* Vectors of FIPS 180-4. */
static void test_sha256_of_known_texts(void **state)
{
    (void)state;
    char hex[SHA256_HEX_LEN + 1];
    crypto_sha256_hex(STR_NONE, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    crypto_sha256_hex(STR("abc"), hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypto_sha256_hex(STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

/* Vectors of RFC 4231: a short key, and one longer than a block. */
static void test_hmac_of_known_texts(void **state)
{
    (void)state;
    char hex[SHA256_HEX_LEN + 1], key[131];
    crypto_hmac_hex(STR("Jefe"), STR("what do ya want for nothing?"), hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    crypto_hmac_hex((struct str){key, sizeof key}, STR("Test Using Larger Than Block-Size Key - Hash Key First"), hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    crypto_hmac_hex(STR_NONE, STR_NONE, hex);
    assert_string_equal(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_boundaries_between_parts_count(void **state)
{
    (void)state;
    char a[SHA256_HEX_LEN + 1], b[SHA256_HEX_LEN + 1];
    const struct str one[] = {STR("ab"), STR("c")}, two[] = {STR("a"), STR("bc")},
                     three[] = {STR("ab"), STR("c"), STR_NONE};
    crypto_sha256_hex_parts(one, 2, a);
    crypto_sha256_hex_parts(one, 2, b);
    assert_string_equal(a, b);
    crypto_sha256_hex_parts(two, 2, b);
    assert_string_not_equal(a, b);
    crypto_sha256_hex_parts(three, 3, b);
    assert_string_not_equal(a, b);
    /* Eight bytes of length, little-endian, before each part. */
    crypto_sha256_hex((struct str){"\2\0\0\0\0\0\0\0ab\1\0\0\0\0\0\0\0c", 19}, b);
    assert_string_equal(a, b);
    char whole[8 + 258] = {2, 1};
    memset(whole + 8, 'x', 258);
    crypto_sha256_hex_parts(&(struct str){whole + 8, 258}, 1, a);
    crypto_sha256_hex((struct str){whole, sizeof whole}, b);
    assert_string_equal(a, b);
}

static void test_tokens_are_43_characters_and_each_another(void **state)
{
    (void)state;
    char tokens[200][44];
    bool seen[128] = {false};
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        crypto_token(tokens[i]);
        assert_int_equal(strlen(tokens[i]), TOKEN_LEN);
        for (const char *c = tokens[i]; *c; c++) {
            assert_true((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '-' ||
                        *c == '_');
            seen[(unsigned char)*c] = true;
        }
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(tokens[i], tokens[j]);
    }
    size_t different = 0;
    for (size_t i = 0; i < ARRAY_LEN(seen); i++)
        different += seen[i];
    assert_int_equal(different, 64); /* 8600 characters: each letter came */
}

static void test_equal_compares_bytes_and_lengths(void **state)
{
    (void)state;
    assert_true(crypto_equal(STR("secret"), STR("secret")));
    assert_false(crypto_equal(STR("secret"), STR("secreT")));
    assert_false(crypto_equal(STR("secret"), (struct str){"secret", 5}));
    assert_false(crypto_equal((struct str){"secret", 5}, STR("secret")));
    assert_false(crypto_equal(STR("a\0b"), STR("a\0c"))); /* a NUL byte ends nothing */
    assert_true(crypto_equal(STR_NONE, STR("")));
    assert_false(crypto_equal(STR_NONE, STR("x")));
}

static void test_uniform_stays_below_its_bound_and_reaches_all_of_it(void **state)
{
    (void)state;
    assert_int_equal(crypto_uniform(0), 0);
    assert_int_equal(crypto_uniform(1), 0);
    int count[10] = {0};
    for (int i = 0; i < 10000; i++) {
        uint64_t n = crypto_uniform(10);
        assert_true(n < 10);
        count[n]++;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(count[i], 700, 1300); /* ten times the standard deviation */
    bool large = false;
    for (int i = 0; i < 100; i++)
        large |= crypto_uniform(UINT64_MAX) > UINT32_MAX;
    assert_true(large);
}

static void test_random_fills_exactly_what_it_was_given(void **state)
{
    (void)state;
    unsigned char buf[64] = {0};
    crypto_random(buf + 16, 32);
    int set = 0;
    for (int i = 0; i < 16; i++)
        assert_int_equal(buf[i] | buf[48 + i], 0);
    for (int i = 16; i < 48; i++)
        set += buf[i] != 0;
    assert_true(set > 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_of_known_texts),
        cmocka_unit_test(test_hmac_of_known_texts),
        cmocka_unit_test(test_boundaries_between_parts_count),
        cmocka_unit_test(test_tokens_are_43_characters_and_each_another),
        cmocka_unit_test(test_equal_compares_bytes_and_lengths),
        cmocka_unit_test(test_uniform_stays_below_its_bound_and_reaches_all_of_it),
        cmocka_unit_test(test_random_fills_exactly_what_it_was_given),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
