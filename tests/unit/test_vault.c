#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/crypto.h"
#include "common/vault.h"

#define HEX_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddee01"
#define HEX_B "00112233445566778899aabbccddeeff00112233445566778899aabbccddee02"

static char message[512];

static int start(void **state)
{
    (void)state;
    return crypto_start() ? -1 : 0;
}

static enum err make(const char *current, const char *old, struct vault **ret_vault)
{
    struct config c = {.master_key = current, .master_key_old = old};
    struct strbuf msg;
    strbuf_init(&msg, sizeof message - 1);
    enum err err = vault_new(&c, ret_vault, &msg);
    snprintf(message, sizeof message, "%s", msg.ptr ? msg.ptr : "");
    strbuf_done(&msg);
    return err;
}

static struct vault *vault_of(const char *current, const char *old)
{
    struct vault *v = NULL;
    assert_int_equal(make(current, old, &v), ERR_OK);
    assert_non_null(v);
    return v;
}

static struct strbuf seal(const struct vault *v, struct str context, struct str plain)
{
    struct strbuf b;
    strbuf_init(&b, 200000);
    assert_int_equal(vault_seal(v, context, plain, &b), ERR_OK);
    return b;
}

/* Opens, and sees to it that a failure gives nothing. */
static enum err try_open(const struct vault *v, struct str context, struct str sealed, struct str want)
{
    struct strbuf out;
    strbuf_init(&out, 200000);
    enum err err = vault_open(v, context, sealed, &out);
    if (err)
        assert_int_equal(out.len, 0);
    else
        assert_true(str_eq(strbuf_str(&out), want));
    vault_wipe(&out);
    assert_null(out.ptr);
    return err;
}

static void test_what_was_sealed_opens(void **state)
{
    (void)state;
    struct vault *v = vault_of(HEX_A, "");
    static const size_t lens[] = {0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 1000, 65536};
    char *plain = malloc(65536);
    assert_non_null(plain);
    memset(plain, 'p', 65536);
    plain[500] = 0;
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct str text = {plain, lens[i]};
        struct strbuf sealed = seal(v, STR("secret acme/KEY 3"), text);
        assert_int_equal(sealed.len, VAULT_SEALED_LEN(lens[i]));
        for (size_t k = 0; k < sealed.len; k++)
            assert_true(sealed.ptr[k] > ' ' && sealed.ptr[k] < 127);
        assert_int_equal(try_open(v, STR("secret acme/KEY 3"), strbuf_str(&sealed), text), ERR_OK);
        strbuf_done(&sealed);
    }
    free(plain);
    vault_free(v);
}

static void test_sealing_twice_gives_two_texts_and_neither_shows_anything(void **state)
{
    (void)state;
    struct vault *v = vault_of(HEX_A, "");
    struct strbuf a = seal(v, STR("c"), STR("correct horse")), b = seal(v, STR("c"), STR("correct horse"));
    assert_false(str_eq(strbuf_str(&a), strbuf_str(&b)));
    assert_null(strstr(a.ptr, "correct"));
    assert_true(str_eq(vault_key_id_of(strbuf_str(&a)), vault_key_id(v)));
    strbuf_done(&a);
    strbuf_done(&b);
    vault_free(v);
}

static void test_a_change_of_any_byte_is_seen(void **state)
{
    (void)state;
    struct vault *v = vault_of(HEX_A, "");
    struct strbuf sealed = seal(v, STR("c"), STR("correct horse battery"));
    for (size_t i = 0; i < sealed.len; i++) {
        char was = sealed.ptr[i];
        for (const char *to = "A_-9z.=+/ \n"; *to; to++) {
            if (*to == was)
                continue;
            sealed.ptr[i] = *to;
            assert_int_not_equal(try_open(v, STR("c"), strbuf_str(&sealed), STR("")), ERR_OK);
        }
        sealed.ptr[i] = 0;
        assert_int_not_equal(try_open(v, STR("c"), strbuf_str(&sealed), STR("")), ERR_OK);
        for (int bit = 0; bit < 8; bit++) {
            sealed.ptr[i] = (char)(was ^ (1 << bit));
            assert_int_not_equal(try_open(v, STR("c"), strbuf_str(&sealed), STR("")), ERR_OK);
        }
        sealed.ptr[i] = was;
    }
    assert_int_equal(try_open(v, STR("c"), strbuf_str(&sealed), STR("correct horse battery")), ERR_OK);
    for (size_t len = 0; len < sealed.len; len++)
        assert_int_equal(try_open(v, STR("c"), (struct str){sealed.ptr, len}, STR("")), ERR_SEAL_BROKEN);
    strbuf_addz(&sealed, "A");
    assert_int_equal(try_open(v, STR("c"), strbuf_str(&sealed), STR("")), ERR_SEAL_BROKEN);
    strbuf_done(&sealed);
    vault_free(v);
}

static void test_another_context_does_not_open(void **state)
{
    (void)state;
    struct vault *v = vault_of(HEX_A, "");
    struct strbuf sealed = seal(v, STR("secret acme/KEY 3"), STR("correct horse"));
    static const char *const others[] = {"",
                                         "secret acme/KEY 2",
                                         "secret acme/KEY 33",
                                         "secret acme/KEY ",
                                         "secret other/KEY 3",
                                         "secret acme/KEY 3 ",
                                         "webhook acme/KEY 3"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_int_equal(try_open(v, str_of(others[i]), strbuf_str(&sealed), STR("")), ERR_SEAL_BROKEN);
    strbuf_done(&sealed);
    vault_free(v);
}

static void test_old_keys_open_and_the_new_one_seals(void **state)
{
    (void)state;
    struct vault *a = vault_of(HEX_A, ""), *b = vault_of(HEX_B, ""), *rotated = vault_of(HEX_B, HEX_A);
    struct strbuf sealed = seal(a, STR("c"), STR("text"));
    assert_int_equal(try_open(b, STR("c"), strbuf_str(&sealed), STR("")), ERR_NO_MASTER_KEY);
    assert_int_equal(try_open(NULL, STR("c"), strbuf_str(&sealed), STR("")), ERR_NO_MASTER_KEY);
    assert_int_equal(try_open(rotated, STR("c"), strbuf_str(&sealed), STR("text")), ERR_OK);
    struct strbuf again = seal(rotated, STR("c"), STR("text"));
    assert_true(str_eq(vault_key_id_of(strbuf_str(&again)), vault_key_id(b)));
    assert_int_equal(try_open(a, STR("c"), strbuf_str(&again), STR("")), ERR_NO_MASTER_KEY);
    assert_int_equal(try_open(b, STR("c"), strbuf_str(&again), STR("text")), ERR_OK);
    /* Who rewrites the key's id gets no further: it is authenticated, and the key is another. */
    memcpy(sealed.ptr + 3, vault_key_id(b).ptr, VAULT_KEY_ID_LEN);
    assert_int_equal(try_open(b, STR("c"), strbuf_str(&sealed), STR("")), ERR_SEAL_BROKEN);
    assert_int_equal(try_open(rotated, STR("c"), strbuf_str(&sealed), STR("")), ERR_SEAL_BROKEN);
    strbuf_done(&sealed);
    strbuf_done(&again);
    vault_free(a);
    vault_free(b);
    vault_free(rotated);
}

static void test_keys_are_taken_in_every_common_form(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "ABEiM0RVZneImaq7zN3u_wARIjNEVWZ3iJmqu8zd7gE", "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7gE",
        "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7gE=", "errand_master_ABEiM0RVZneImaq7zN3u_wARIjNEVWZ3iJmqu8zd7gE",
        "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEE01"};
    struct vault *v = vault_of(HEX_A, "");
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct vault *other = vault_of(forms[i], HEX_A); /* the current one among the old ones does no harm */
        assert_true(str_eq(vault_key_id(v), vault_key_id(other)));
        vault_free(other);
    }
    char made[VAULT_KEY_TEXT], again[VAULT_KEY_TEXT];
    vault_keygen(made);
    vault_keygen(again);
    assert_string_not_equal(made, again);
    struct vault *other = vault_of(made, again);
    assert_int_equal(vault_key_id(other).len, VAULT_KEY_ID_LEN);
    assert_false(str_eq(vault_key_id(v), vault_key_id(other)));
    vault_free(other);
    vault_free(v);
}

static void test_bad_keys_are_refused_without_showing_them(void **state)
{
    (void)state;
    static const char *const bad[] = {"short~key",
                                      "correct horse battery staple",
                                      "ABEiM0RVZneImaq7zN3u_wARIjNEVWZ3iJmqu8zd7g",
                                      "ABEiM0RVZneImaq7zN3u_wARIjNEVWZ3iJmqu8zd7gEA",
                                      "0011223344556677889900112233445566778899001122334455667788990g11",
                                      HEX_A "00",
                                      HEX_A "," HEX_B,
                                      "0000000000000000000000000000000000000000000000000000000000000000"};
    struct vault *v = NULL;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(make(bad[i], "", &v), ERR_CONFIG);
        assert_non_null(strstr(message, "master-key "));
        assert_null(strstr(message, bad[i]));
        if (strcmp(bad[i], HEX_A "," HEX_B) == 0)
            continue;
        assert_int_equal(make(HEX_A, bad[i], &v), ERR_CONFIG);
        assert_non_null(strstr(message, "master-key-old "));
    }
    assert_int_equal(make("", HEX_A, &v), ERR_CONFIG);
    assert_null(v);
    assert_int_equal(make("", "", &v), ERR_OK);
    assert_null(v);
    char many[20 * VAULT_KEY_TEXT] = "";
    for (int i = 0; i < 16; i++) {
        char one[VAULT_KEY_TEXT];
        vault_keygen(one);
        size_t at = strlen(many);
        snprintf(many + at, sizeof many - at, "%s, ", one);
    }
    assert_int_equal(make(HEX_A, many, &v), ERR_CONFIG);
    assert_non_null(strstr(message, "15"));
}

static void test_without_a_vault_nothing_is_sealed(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 100);
    assert_int_equal(vault_seal(NULL, STR("c"), STR("text"), &out), ERR_NO_MASTER_KEY);
    assert_int_equal(out.len, 0);
    assert_int_equal(vault_key_id(NULL).len, 0);
    struct vault *v = vault_of(HEX_A, "");
    char plain[100] = {'x'};
    assert_int_equal(vault_seal(v, STR("c"), (struct str){plain, sizeof plain}, &out), ERR_NO_MEMORY);
    assert_int_equal(out.len, 0);
    strbuf_done(&out);
    strbuf_init(&out, 99);
    struct strbuf sealed = seal(v, STR("c"), (struct str){plain, sizeof plain});
    assert_int_equal(vault_open(v, STR("c"), strbuf_str(&sealed), &out), ERR_NO_MEMORY);
    assert_int_equal(out.len, 0);
    strbuf_done(&sealed);
    strbuf_done(&out);
    vault_free(v);
    vault_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_sealed_opens),
        cmocka_unit_test(test_sealing_twice_gives_two_texts_and_neither_shows_anything),
        cmocka_unit_test(test_a_change_of_any_byte_is_seen),
        cmocka_unit_test(test_another_context_does_not_open),
        cmocka_unit_test(test_old_keys_open_and_the_new_one_seals),
        cmocka_unit_test(test_keys_are_taken_in_every_common_form),
        cmocka_unit_test(test_bad_keys_are_refused_without_showing_them),
        cmocka_unit_test(test_without_a_vault_nothing_is_sealed),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
