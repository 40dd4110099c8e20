/* Tokens and key sets: strict base64url, what a token must say, which key may verify it, and that nothing else does. Signatures are real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/jwk.h"
#include "common/limits.h"

#define NOW_S INT64_C(1800000000)

static EVP_PKEY *rsa, *rsa_other, *rsa_small, *ec, *ec_other, *p384;

static struct arena arena;

static int start(void **state)
{
    (void)state;
    rsa = EVP_RSA_gen(2048);
    rsa_other = EVP_RSA_gen(2048);
    rsa_small = EVP_RSA_gen(1024);
    ec = EVP_EC_gen("P-256");
    ec_other = EVP_EC_gen("P-256");
    p384 = EVP_EC_gen("P-384");
    return rsa && rsa_other && rsa_small && ec && ec_other && p384 ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    EVP_PKEY *all[] = {rsa, rsa_other, rsa_small, ec, ec_other, p384};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        EVP_PKEY_free(all[i]);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 64U << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

/* ---- making tokens and key sets ---- */

static const char *base64url(const void *data, size_t len)
{
    size_t max = sodium_base64_encoded_len(len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    char *out = arena_alloc(&arena, max);
    return sodium_bin2base64(out, max, data, len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static const char *b64(const char *text)
{
    return base64url(text, strlen(text));
}

static const char *sign(EVP_PKEY *key, const char *text)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[1024], raw[64];
    size_t len = sizeof sig;
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, key, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &len, (const unsigned char *)text, strlen(text)), 1);
    EVP_MD_CTX_free(ctx);
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA)
        return base64url(sig, len);
    const unsigned char *at = sig;
    ECDSA_SIG *es = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(es), raw, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(es), raw + 32, 32), 32);
    ECDSA_SIG_free(es);
    return base64url(raw, sizeof raw);
}

static struct str token_of(EVP_PKEY *key, const char *header, const char *claims)
{
    char *text = arena_printf(&arena, "%s.%s", b64(header), b64(claims));
    return str_of(arena_printf(&arena, "%s.%s", text, sign(key, text)));
}

static const char claims[] = "{\"iss\":\"https://issuer.example.com\",\"sub\":\"repo:example/app\",\"aud\":\"errand\","
                             "\"exp\":1800000300,\"iat\":1800000000,\"jti\":\"1\"}";
static const char rs256[] = "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"r1\"}",
                  es256[] = "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"e1\"}";

static const char *number(EVP_PKEY *key, const char *name)
{
    BIGNUM *n = NULL;
    unsigned char bytes[1024];
    assert_int_equal(EVP_PKEY_get_bn_param(key, name, &n), 1);
    int len = BN_bn2bin(n, bytes);
    BN_free(n);
    return base64url(bytes, (size_t)len);
}

static const char *coordinate(EVP_PKEY *key, const char *name, int len)
{
    BIGNUM *n = NULL;
    unsigned char bytes[64];
    assert_int_equal(EVP_PKEY_get_bn_param(key, name, &n), 1);
    assert_int_equal(BN_bn2binpad(n, bytes, len), len);
    BN_free(n);
    return base64url(bytes, (size_t)len);
}

/* more: further members, each with a comma before it. */
static const char *rsa_jwk(EVP_PKEY *key, const char *kid, const char *more)
{
    return arena_printf(&arena, "{\"kty\":\"RSA\",\"kid\":\"%s\",\"n\":\"%s\",\"e\":\"%s\"%s}", kid,
                        number(key, OSSL_PKEY_PARAM_RSA_N), number(key, OSSL_PKEY_PARAM_RSA_E), more);
}

static const char *ec_jwk(EVP_PKEY *key, const char *kid, const char *more)
{
    bool big = key == p384;
    return arena_printf(&arena, "{\"kty\":\"EC\",\"crv\":\"%s\",\"kid\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"%s}",
                        big ? "P-384" : "P-256", kid, coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, big ? 48 : 32),
                        coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, big ? 48 : 32), more);
}

static struct jwks *set_of(const char *one, const char *two)
{
    struct jwks *k;
    const char *why;
    const char *text = arena_printf(&arena, "{\"keys\":[%s%s%s]}", one, two ? "," : "", two ? two : "");
    if (jwks_read(str_of(text), &k, &why))
        return NULL;
    return k;
}

/* Reads it and verifies with the set, which is freed. */
static bool accepted(struct jwks *k, struct str token)
{
    struct jwt t;
    const char *why = NULL;
    bool ok = jwt_read(&arena, token, &t, &why) == ERR_OK && jwt_check_times(&t, NOW_S * 1000, &why) == ERR_OK &&
              jwks_has(k, &t) && jwks_verify(k, &t);
    jwks_free(k);
    return ok;
}

static void assert_refused(struct str token, const char *wanted)
{
    struct jwt t;
    const char *why = "";
    assert_int_equal(jwt_read(&arena, token, &t, &why), ERR_INVALID_TOKEN);
    if (!strstr(why, wanted))
        fail_msg("\"%s\" does not speak of %s", why, wanted);
}

/* ---- base64url ---- */

static void test_base64url_has_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *text, *bytes; /* NULL: refused */
    } rows[] = {
        {"", ""},           {"Zg", "f"},        {"Zm8", "fo"},
        {"Zm9v", "foo"},    {"Zm9vYg", "foob"}, {"-_-_", "\xfb\xff\xbf"},
        {"Zg==", NULL},     {"Zg=", NULL},      {"Zh", NULL},
        {"Zm9", NULL},      {"Z", NULL},        {"Zm9vY", NULL},
        {"Zm 8", NULL},     {"Zm8\n", NULL},    {"+/+/", NULL},
        {"Zm9v\x80", NULL}, {".", NULL},        {"Zg.", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str bytes = {"untouched", 9};
        bool ok = jwt_base64url(&arena, str_of(rows[i].text), &bytes);
        if (ok != (rows[i].bytes != NULL) || (ok && !str_eqz(bytes, rows[i].bytes)))
            fail_msg("\"%s\" gives %d", rows[i].text, ok);
    }
}

static void test_base64url_agrees_with_libsodium(void **state)
{
    (void)state;
    for (size_t len = 0; len < 200; len++) {
        unsigned char bytes[200];
        struct str back;
        randombytes_buf(bytes, len);
        assert_true(jwt_base64url(&arena, str_of(base64url(bytes, len)), &back));
        assert_true(back.len == len && memcmp(back.ptr, bytes, len) == 0);
    }
}

/* ---- good ones ---- */

static void test_good_tokens(void **state)
{
    (void)state;
    assert_true(accepted(set_of(rsa_jwk(rsa, "r1", ""), NULL), token_of(rsa, rs256, claims)));
    assert_true(accepted(set_of(ec_jwk(ec, "e1", ""), NULL), token_of(ec, es256, claims)));
    /* among others, with all that a key says about itself */
    const char *full = ",\"use\":\"sig\",\"alg\":\"RS256\",\"key_ops\":[\"verify\"],\"x5c\":[\"MA\"]";
    assert_true(accepted(set_of(ec_jwk(ec, "e1", ""), rsa_jwk(rsa, "r1", full)), token_of(rsa, rs256, claims)));
    /* without a kid: the only key of the algorithm */
    struct str token = token_of(rsa, "{\"alg\":\"RS256\"}", claims);
    assert_true(accepted(set_of(ec_jwk(ec, "e1", ""), rsa_jwk(rsa, "r1", "")), token));
    assert_false(accepted(set_of(rsa_jwk(rsa, "r1", ""), rsa_jwk(rsa_other, "r2", "")), token));
    assert_false(accepted(set_of(rsa_jwk(rsa_other, "r2", ""), rsa_jwk(rsa, "r1", "")), token));
    /* ES256 a hundred times: r and s with leading zeros among them */
    for (int i = 0; i < 100; i++)
        assert_true(accepted(set_of(ec_jwk(ec, "e1", ""), NULL), token_of(ec, es256, claims)));
}

static void test_the_claims_are_read(void **state)
{
    (void)state;
    struct jwt t;
    const char *why;
    struct str token = token_of(rsa, rs256, claims);
    assert_int_equal(jwt_read(&arena, token, &t, &why), ERR_OK);
    assert_true(str_eqz(t.issuer, "https://issuer.example.com") && str_eqz(t.subject, "repo:example/app"));
    assert_true(t.expires_s == NOW_S + 300 && t.issued_s == NOW_S && t.not_before_s == 0);
    assert_true(jwt_is_for(&t, STR("errand")) && !jwt_is_for(&t, STR("errand2")) && !jwt_is_for(&t, STR("erran")));
    assert_true(str_eqz(jwt_claim(&t, "jti"), "1") && jwt_claim(&t, "exp").ptr == NULL);
    token = token_of(rsa, rs256,
                     "{\"iss\":\"i\",\"sub\":\"s\",\"aud\":[\"a\",\"errand\"],\"exp\":1800000300,\"iat\":1800000000}");
    assert_int_equal(jwt_read(&arena, token, &t, &why), ERR_OK);
    assert_true(jwt_is_for(&t, STR("a")) && jwt_is_for(&t, STR("errand")) && !jwt_is_for(&t, STR("b")));
}

/* ---- signatures ---- */

static void test_each_changed_character_is_noticed(void **state)
{
    (void)state;
    struct str good[] = {token_of(rsa, rs256, claims), token_of(ec, es256, claims)};
    for (size_t g = 0; g < ARRAY_LEN(good); g++) {
        struct jwks *k = set_of(rsa_jwk(rsa, "r1", ""), ec_jwk(ec, "e1", ""));
        for (size_t i = 0; i < good[g].len; i++) {
            static const char with[] = "Aa0_.=";
            for (size_t w = 0; w < sizeof with - 1; w++) {
                struct jwt t;
                const char *why;
                char *bad = arena_strdup(&arena, good[g]);
                if (bad[i] == with[w])
                    continue;
                bad[i] = with[w];
                if (jwt_read(&arena, str_of(bad), &t, &why) == ERR_OK && jwks_verify(k, &t))
                    fail_msg("taken with %c at %zu: %s", with[w], i, bad);
            }
        }
        jwks_free(k);
    }
}

static void test_only_the_key_that_signed(void **state)
{
    (void)state;
    assert_false(accepted(set_of(rsa_jwk(rsa_other, "r1", ""), NULL), token_of(rsa, rs256, claims)));
    assert_false(accepted(set_of(ec_jwk(ec_other, "e1", ""), NULL), token_of(ec, es256, claims)));
    assert_false(accepted(set_of(rsa_jwk(rsa, "r2", ""), NULL), token_of(rsa, rs256, claims)));
    /* two keys of one kid and algorithm: which is meant can't be told */
    assert_false(accepted(set_of(rsa_jwk(rsa, "r1", ""), rsa_jwk(rsa_other, "r1", "")), token_of(rsa, rs256, claims)));
    assert_false(accepted(set_of(rsa_jwk(rsa_other, "r1", ""), rsa_jwk(rsa, "r1", "")), token_of(rsa, rs256, claims)));
    /* the kid of a key of the other kind */
    assert_false(accepted(set_of(rsa_jwk(rsa, "e1", ""), ec_jwk(ec, "r1", "")), token_of(rsa, rs256, claims)));
    assert_true(accepted(set_of(rsa_jwk(rsa, "x", ""), ec_jwk(ec, "x", "")),
                         token_of(rsa, "{\"alg\":\"RS256\",\"kid\":\"x\"}", claims)));
}

static struct str hs256_with(const char *secret, size_t len, const char *header)
{
    unsigned char mac[32];
    unsigned n = sizeof mac;
    char *text = arena_printf(&arena, "%s.%s", b64(header), b64(claims));
    assert_non_null(HMAC(EVP_sha256(), secret, (int)len, (const unsigned char *)text, strlen(text), mac, &n));
    return str_of(arena_printf(&arena, "%s.%s", text, base64url(mac, n)));
}

static void test_no_algorithm_but_the_keys_own(void **state)
{
    (void)state;
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem;
    assert_int_equal(PEM_write_bio_PUBKEY(bio, rsa), 1);
    size_t pem_len = (size_t)BIO_get_mem_data(bio, &pem);
    static const char *const algs[] = {"HS256", "HS512", "none",  "None",   "NONE",  "",     "RS384",
                                       "RS512", "PS256", "ES384", "ES256K", "EdDSA", "rs256"};
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        const char *header = arena_printf(&arena, "{\"alg\":\"%s\",\"kid\":\"r1\"}", algs[i]);
        assert_refused(hs256_with(pem, pem_len, header), "alg");
        assert_refused(str_of(arena_printf(&arena, "%s.%s.%s", b64(header), b64(claims), b64("x"))), "alg");
    }
    /* the public key as the secret, under a name that is taken */
    assert_false(accepted(set_of(rsa_jwk(rsa, "r1", ""), NULL), hs256_with(pem, pem_len, rs256)));
    BIO_free(bio);
    assert_refused(str_of(arena_printf(&arena, "%s.%s.", b64("{\"alg\":\"none\"}"), b64(claims))), "three parts");
    assert_refused(token_of(rsa, "{\"kid\":\"r1\"}", claims), "alg");
    assert_refused(token_of(rsa, "{\"alg\":[\"RS256\"],\"kid\":\"r1\"}", claims), "alg");
    /* one kind's signature under the other's name */
    assert_false(accepted(set_of(rsa_jwk(rsa, "k", ""), ec_jwk(ec, "k", "")),
                          token_of(ec, "{\"alg\":\"RS256\",\"kid\":\"k\"}", claims)));
    assert_false(accepted(set_of(rsa_jwk(rsa, "k", ""), ec_jwk(ec, "k", "")),
                          token_of(rsa, "{\"alg\":\"ES256\",\"kid\":\"k\"}", claims)));
    assert_false(
        accepted(set_of(rsa_jwk(rsa, "k", ""), NULL), token_of(ec, "{\"alg\":\"ES256\",\"kid\":\"k\"}", claims)));
    assert_false(
        accepted(set_of(ec_jwk(ec, "k", ""), NULL), token_of(rsa, "{\"alg\":\"RS256\",\"kid\":\"k\"}", claims)));
}

static void test_keys_that_a_token_brings_along_are_not_looked_at(void **state)
{
    (void)state;
    const char *header = arena_printf(&arena,
                                      "{\"alg\":\"RS256\",\"kid\":\"r1\",\"jwk\":%s,\"jku\":\"https://example.com/"
                                      "\",\"x5u\":\"https://example.com/\"}",
                                      rsa_jwk(rsa_other, "r1", ""));
    assert_false(accepted(set_of(rsa_jwk(rsa, "r1", ""), NULL), token_of(rsa_other, header, claims)));
    assert_true(accepted(set_of(rsa_jwk(rsa, "r1", ""), NULL), token_of(rsa, header, claims)));
}

static void test_signatures_of_another_form(void **state)
{
    (void)state;
    char *text = arena_printf(&arena, "%s.%s", b64(es256), b64(claims));
    static const unsigned char zeros[96];
    static const size_t lengths[] = {1, 32, 63, 64, 65, 72, 96};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
        assert_false(accepted(set_of(ec_jwk(ec, "e1", ""), NULL),
                              str_of(arena_printf(&arena, "%s.%s", text, base64url(zeros, lengths[i])))));
    struct str good;
    unsigned char more[65] = {0};
    assert_true(jwt_base64url(&arena, str_of(sign(ec, text)), &good));
    memcpy(more, good.ptr, 64);
    assert_true(
        accepted(set_of(ec_jwk(ec, "e1", ""), NULL), str_of(arena_printf(&arena, "%s.%s", text, base64url(more, 64)))));
    assert_false(
        accepted(set_of(ec_jwk(ec, "e1", ""), NULL), str_of(arena_printf(&arena, "%s.%s", text, base64url(more, 65)))));
    /* DER, as OpenSSL has it, is none of JWS */
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[128];
    size_t len = sizeof sig;
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, ec, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &len, (const unsigned char *)text, strlen(text)), 1);
    EVP_MD_CTX_free(ctx);
    assert_false(
        accepted(set_of(ec_jwk(ec, "e1", ""), NULL), str_of(arena_printf(&arena, "%s.%s", text, base64url(sig, len)))));
    /* RSA with a zero before it */
    text = arena_printf(&arena, "%s.%s", b64(rs256), b64(claims));
    struct str raw;
    unsigned char longer[257] = {0};
    assert_true(jwt_base64url(&arena, str_of(sign(rsa, text)), &raw));
    memcpy(longer + 1, raw.ptr, 256);
    assert_false(accepted(set_of(rsa_jwk(rsa, "r1", ""), NULL),
                          str_of(arena_printf(&arena, "%s.%s", text, base64url(longer, 257)))));
}

/* ---- keys that are not taken ---- */

static void test_keys_that_are_passed_over(void **state)
{
    (void)state;
    assert_null(set_of(rsa_jwk(rsa_small, "r1", ""), NULL));
    assert_null(set_of(ec_jwk(p384, "e1", ""), NULL));
    static const char *const more[] = {",\"use\":\"enc\"",        ",\"alg\":\"RS512\"", ",\"alg\":\"HS256\"",
                                       ",\"alg\":\"ES256\"",      ",\"alg\":null",      ",\"key_ops\":[\"sign\"]",
                                       ",\"key_ops\":\"verify\"", ",\"kty\":\"RSA\"",   ",\"use\":1"};
    for (size_t i = 0; i < ARRAY_LEN(more); i++)
        if (set_of(rsa_jwk(rsa, "r1", more[i]), NULL))
            fail_msg("a key with %s", more[i]);
    assert_null(set_of(ec_jwk(ec, "e1", ",\"alg\":\"RS256\""), NULL));
    const char *n = number(rsa, OSSL_PKEY_PARAM_RSA_N), *x = coordinate(ec, OSSL_PKEY_PARAM_EC_PUB_X, 32),
               *y = coordinate(ec, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    static const char *const exponents[] = {"AQ",      "Aw", "AQAA", "AAEAAQ",
                                            "AQAAAAE", "",   "AQAB="}; /* 1, 3, 65536, with a zero, beyond 32 bits … */
    for (size_t i = 0; i < ARRAY_LEN(exponents); i++)
        if (set_of(arena_printf(&arena, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}", n, exponents[i]), NULL))
            fail_msg("an exponent of %s", exponents[i]);
    assert_null(set_of(arena_printf(&arena, "{\"kty\":\"RSA\",\"n\":\"AA%s\",\"e\":\"AQAB\"}", n), NULL));
    assert_null(set_of(arena_printf(&arena, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"}", x, x),
                       NULL)); /* not on the curve */
    assert_null(
        set_of(arena_printf(&arena, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%.42s\",\"y\":\"%s\"}", x, y), NULL));
    assert_null(
        set_of(arena_printf(&arena, "{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"%s\",\"y\":\"%s\"}", x, y), NULL));
    assert_null(set_of("{\"kty\":\"oct\",\"kid\":\"r1\",\"k\":\"AAAA\"}", NULL));
    /* each of them beside a good one changes nothing */
    assert_true(accepted(set_of(rsa_jwk(rsa_small, "r1", ""), rsa_jwk(rsa, "r1", "")), token_of(rsa, rs256, claims)));
}

static void test_key_sets_that_are_none(void **state)
{
    (void)state;
    struct jwks *k;
    const char *why;
    static const char *const sets[] = {"",
                                       "[]",
                                       "{}",
                                       "{\"keys\":{}}",
                                       "{\"keys\":[]}",
                                       "{\"keys\":[1,null,[]]}",
                                       "<html>",
                                       "{\"keys\":[],\"keys\":[]}"};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        if (jwks_read(str_of(sets[i]), &k, &why) == ERR_OK)
            fail_msg("taken: %s", sets[i]);
    struct strbuf many;
    strbuf_init(&many, 1 << 20);
    strbuf_addz(&many, "{\"keys\":[");
    for (int i = 0; i <= LIMIT_JWKS_KEYS; i++)
        strbuf_addf(&many, "%s%s", i ? "," : "", ec_jwk(ec, "x", ""));
    strbuf_addz(&many, "]}");
    assert_int_equal(jwks_read(strbuf_str(&many), &k, &why), ERR_INVALID_JSON);
    strbuf_reset(&many);
    strbuf_addf(&many, "{\"keys\":[%s]%*s}", ec_jwk(ec, "x", ""), LIMIT_JWKS, "");
    assert_int_equal(jwks_read(strbuf_str(&many), &k, &why), ERR_INVALID_JSON);
    strbuf_done(&many);
}

/* ---- what a token must be ---- */

static void test_form(void **state)
{
    (void)state;
    struct str good = token_of(rsa, rs256, claims);
    static const char *const forms[] = {"", ".", "..", "...", "a.b", "a.b.c.d", "a..c"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        assert_refused(str_of(forms[i]), i == 5 || i < 5 || i == 6 ? "three parts" : "");
    assert_refused(str_of(arena_printf(&arena, "%.*s.AA", STR_ARG(good))), "three parts");
    assert_refused(str_of(arena_printf(&arena, "%.*s=", STR_ARG(good))), "base64url");
    assert_refused(str_of(arena_printf(&arena, " %.*s", STR_ARG(good))), "header");
    assert_refused(str_of(arena_printf(&arena, "%.*s\n", STR_ARG(good))), "base64url");
    char *large = arena_alloc(&arena, LIMIT_TOKEN + 2);
    memset(large, 'A', LIMIT_TOKEN + 1);
    assert_refused((struct str){large, LIMIT_TOKEN + 1}, "limit");
    assert_refused((struct str){large, LIMIT_TOKEN}, "three parts");
}

static void test_header(void **state)
{
    (void)state;
    static const struct {
        const char *header, *why;
    } rows[] = {
        {"[]", "header"},
        {"\"RS256\"", "header"},
        {"{\"alg\":\"RS256\",\"alg\":\"RS256\"}", "header"},
        {"{\"alg\":\"none\",\"\\u0061lg\":\"RS256\"}", "header"}, /* the same key, spelled otherwise */
        {"{\"alg\":\"RS256\"", "header"},
        {"{\"alg\":\"RS256\",\"a\":[[[[[[[[[[]]]]]]]]]]}", "header"},
        {"{\"alg\":\"RS256\",\"crit\":[\"exp\"],\"exp\":1}", "crit"},
        {"{\"alg\":\"RS256\",\"crit\":[]}", "crit"},
        {"{\"alg\":\"RS256\",\"crit\":null}", "crit"},
        {"{\"alg\":\"RS256\",\"kid\":1}", "kid"},
        {"{\"alg\":\"RS256\",\"kid\":\"\"}", "kid"},
        {"{\"alg\":\"RS256\",\"kid\":\"a\\u0000b\"}", "kid"},
        {"{\"alg\":\"RS256\",\"typ\":\"logout+jwt\"}", "typ"},
        {"{\"alg\":\"RS256\",\"typ\":null}", "typ"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_refused(token_of(rsa, rows[i].header, claims), rows[i].why);
}

static void test_claims(void **state)
{
    (void)state;
#define REST ",\"exp\":1800000300,\"iat\":1800000000}"
#define WHO  "{\"iss\":\"i\",\"sub\":\"s\",\"aud\":\"a\""
    static const struct {
        const char *claims, *why;
    } rows[] = {
        {"[]", "claims"},
        {WHO ",\"sub\":\"t\"" REST, "claims"},
        {"{\"sub\":\"s\",\"aud\":\"a\"" REST, "iss"},
        {"{\"iss\":\"i\",\"aud\":\"a\"" REST, "iss and sub"},
        {"{\"iss\":[\"i\"],\"sub\":\"s\",\"aud\":\"a\"" REST, "iss"},
        {"{\"iss\":\"i\",\"sub\":\"\",\"aud\":\"a\"" REST, "sub"},
        {"{\"iss\":\"i\",\"sub\":\"s\\u0000\",\"aud\":\"a\"" REST, "sub"},
        {"{\"iss\":\"i\",\"sub\":\"s\"" REST, "aud"},
        {"{\"iss\":\"i\",\"sub\":\"s\",\"aud\":[]" REST, "aud"},
        {"{\"iss\":\"i\",\"sub\":\"s\",\"aud\":[\"a\",1]" REST, "aud"},
        {"{\"iss\":\"i\",\"sub\":\"s\",\"aud\":{\"a\":1}" REST, "aud"},
        {WHO "}", "exp"},
        {WHO ",\"exp\":1800000300}", "iat"},
        {WHO ",\"exp\":\"1800000300\",\"iat\":1800000000}", "exp"},
        {WHO ",\"exp\":1800000300.5,\"iat\":1800000000}", "exp"},
        {WHO ",\"exp\":1e300,\"iat\":1800000000}", "exp"},
        {WHO ",\"exp\":-1,\"iat\":1800000000}", "exp"},
        {WHO ",\"nbf\":\"x\"" REST, "nbf"},
        {WHO ",\"nbf\":null" REST, "nbf"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_refused(token_of(rsa, rs256, rows[i].claims), rows[i].why);
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        int64_t exp, iat, nbf;
        bool ok;
    } rows[] = {
        {300, 0, 0, true},    {-59, -400, 0, true}, {-60, -400, 0, false}, {300, 60, 0, true},
        {300, 61, 0, false},  {300, 0, 60, true},   {300, 0, 61, false},   {86400, 0, 0, true},
        {86401, 0, 0, false}, {10, 10, 0, false},   {10, 20, 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct jwt t = {.expires_s = NOW_S + rows[i].exp,
                        .issued_s = NOW_S + rows[i].iat,
                        .not_before_s = rows[i].nbf ? NOW_S + rows[i].nbf : 0};
        const char *why = NULL;
        if ((jwt_check_times(&t, NOW_S * 1000 + 999, &why) == ERR_OK) != rows[i].ok || (why == NULL) != rows[i].ok)
            fail_msg("row %zu", i);
    }
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_base64url_has_one_spelling),
        TEST(test_base64url_agrees_with_libsodium),
        TEST(test_good_tokens),
        TEST(test_the_claims_are_read),
        TEST(test_each_changed_character_is_noticed),
        TEST(test_only_the_key_that_signed),
        TEST(test_no_algorithm_but_the_keys_own),
        TEST(test_keys_that_a_token_brings_along_are_not_looked_at),
        TEST(test_signatures_of_another_form),
        TEST(test_keys_that_are_passed_over),
        TEST(test_key_sets_that_are_none),
        TEST(test_form),
        TEST(test_header),
        TEST(test_claims),
        TEST(test_times),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
