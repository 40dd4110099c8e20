/* The keys of issuers: who is asked, how often, what is believed, and how long. The clock is the test's, and so are the servers: http_client_send is defined here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/issuer.h"
#include "common/limits.h"

/* A point of P-256 (RFC 7517, A.1). */
#define KEY(kid)                                                                                                       \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"" kid "\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\","     \
    "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}"
#define KEYS(kid) "{\"keys\":[" KEY(kid) "]}"

static int64_t now;
static struct loop *loop;
static struct issuers *issuers;

/* The requests that were made, oldest first. */
static struct sent {
    char url[700];
    bool https_only;
    http_answer_fn fn;
    void *ctx;
} sent[200];
static size_t sent_count, answered;

void http_client_send(struct http_client *c, const struct http_call *call, http_answer_fn fn, void *ctx)
{
    (void)c;
    assert_true(sent_count < ARRAY_LEN(sent));
    struct sent *s = &sent[sent_count++];
    assert_true(strcmp(call->method, "GET") == 0 && call->timeout_ms > 0 && call->timeout_ms <= 5000);
    assert_int_equal(call->max_response, LIMIT_JWKS);
    *s = (struct sent){.https_only = call->https_only, .fn = fn, .ctx = ctx};
    snprintf(s->url, sizeof s->url, "%s", call->url);
}

/* Answers the oldest open request, which must be for that URL. */
static void answer(const char *url, enum err err, int status, const char *body, int64_t max_age_s)
{
    assert_true(answered < sent_count);
    struct sent *s = &sent[answered++];
    assert_string_equal(s->url, url);
    struct http_answer a = {
        .status = err ? 0 : status, .body = str_of(body), .max_age_s = max_age_s, .retry_after_s = -1};
    s->fn(s->ctx, err, &a);
}

static int64_t clock_of_test(void)
{
    return now;
}

/* What callers were told. */
static struct told {
    int count;
    enum err err;
    bool has_a, has_b;
} told;

static const struct jwt of_a = {.alg = JWT_ES256, .kid = {"a", 1}}, of_b = {.alg = JWT_ES256, .kid = {"b", 1}};

static void on_keys(void *ctx, enum err err, const struct jwks *keys)
{
    (void)ctx;
    assert_true((keys != NULL) == (err == ERR_OK));
    told.count++;
    told.err = err;
    told.has_a = jwks_has(keys, &of_a);
    told.has_b = jwks_has(keys, &of_b);
}

static void turn(void)
{
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
}

#define ISSUER "https://issuer.example.com"
#define DESC   ISSUER "/.well-known/openid-configuration"
#define JWKS   ISSUER "/keys"
static const char description[] = "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"" JWKS "\",\"x\":[{}]}";

static void want(const char *issuer, const char *uri, const struct jwt *t)
{
    int before = told.count;
    issuer_keys(issuers, str_of(issuer), str_of(uri), t, on_keys, NULL);
    assert_int_equal(told.count, before); /* never from inside */
    turn();
}

static void fetch(const char *keys, int64_t max_age_s)
{
    answer(DESC, ERR_OK, 200, description, -1);
    answer(JWKS, ERR_OK, 200, keys, max_age_s);
}

static void assert_told(int count, enum err err)
{
    assert_int_equal(told.count, count);
    assert_string_equal(err_code(told.err), err_code(err));
}

static int setup(void **state)
{
    (void)state;
    now = 1000000;
    sent_count = answered = 0;
    told = (struct told){0};
    loop = loop_new();
    issuers = issuers_new(loop, NULL, true, clock_of_test);
    return issuers ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    issuers_free(issuers);
    loop_free(loop);
    return 0;
}

/* ---- ---- */

static void test_asked_once_for_all_that_wait(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        want(ISSUER, "", &of_a);
    assert_int_equal(sent_count, 1);
    assert_true(sent[0].https_only);
    answer(DESC, ERR_OK, 200, description, -1);
    want(ISSUER, "", &of_a); /* between the two requests */
    assert_int_equal(sent_count, 2);
    assert_told(0, ERR_OK);
    answer(JWKS, ERR_OK, 200, KEYS("a"), -1);
    assert_told(6, ERR_OK);
    assert_true(told.has_a && !told.has_b);
    want(ISSUER, "", &of_a);
    assert_told(7, ERR_OK);
    assert_int_equal(sent_count, 2);
}

static void test_keys_are_kept_as_long_as_their_answer_says(void **state)
{
    (void)state;
    static const struct {
        int64_t max_age_s, kept_ms;
    } rows[] = {{-1, 300000},      {0, 300000},          {10, 300000},         {3600, 3600000},
                {86400, 86400000}, {31536000, 86400000}, {INT64_MAX, 86400000}};
    want(ISSUER, "", &of_a);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fetch(KEYS("a"), rows[i].max_age_s);
        size_t before = sent_count;
        now += rows[i].kept_ms - 1;
        want(ISSUER, "", &of_a);
        if (sent_count != before)
            fail_msg("row %zu: asked too early", i);
        now += 1;
        want(ISSUER, "", &of_a);
        if (sent_count != before + 1)
            fail_msg("row %zu: not asked", i);
    }
}

static void test_an_unknown_key_lets_it_be_asked_once_a_minute(void **state)
{
    (void)state;
    want(ISSUER, "", &of_a);
    fetch(KEYS("a"), 3600);
    want(ISSUER, "", &of_b); /* too early: told what there is, which has no such key */
    assert_told(2, ERR_OK);
    assert_true(sent_count == 2 && !told.has_b);
    now += 59999;
    want(ISSUER, "", &of_b);
    assert_int_equal(sent_count, 2);
    now += 1;
    want(ISSUER, "", &of_b);
    assert_int_equal(sent_count, 3);
    fetch(KEYS("b"), 3600); /* rotated: the old key is none any more */
    assert_told(4, ERR_OK);
    assert_true(told.has_b && !told.has_a);
    want(ISSUER, "", &of_a);
    assert_told(5, ERR_OK);
    assert_true(sent_count == 4 && !told.has_a);
    for (int i = 0; i < 100; i++) /* whoever makes kids up */
        want(ISSUER, "", &of_a);
    assert_int_equal(sent_count, 4);
}

static void test_an_issuer_that_is_away(void **state)
{
    (void)state;
    want(ISSUER, "", &of_a);
    answer(DESC, ERR_TIMEOUT, 0, "", -1);
    assert_told(1, ERR_ISSUER_UNAVAILABLE);
    want(ISSUER, "", &of_a); /* not asked again at once */
    assert_told(2, ERR_ISSUER_UNAVAILABLE);
    assert_int_equal(sent_count, 1);
    now += 10000;
    want(ISSUER, "", &of_a);
    fetch(KEYS("a"), 600);
    assert_told(3, ERR_OK);
    /* away when its keys' time is over: they do for an hour more, then no longer */
    now += 600000;
    want(ISSUER, "", &of_a);
    answer(DESC, ERR_IO, 0, "", -1);
    assert_told(4, ERR_OK);
    now += 3599000;
    want(ISSUER, "", &of_a);
    answer(DESC, ERR_OK, 500, "", -1);
    assert_told(5, ERR_OK);
    assert_true(told.has_a);
    now += 1000;
    want(ISSUER, "", &of_a);
    assert_told(6, ERR_ISSUER_UNAVAILABLE);
    now += 10000;
    want(ISSUER, "", &of_a);
    answer(DESC, ERR_OK, 200, description, -1);
    answer(JWKS, ERR_OK, 404, KEYS("a"), -1);
    assert_told(7, ERR_ISSUER_UNAVAILABLE);
}

static void test_what_is_not_believed(void **state)
{
    (void)state;
    static const char *const descriptions[] = {
        "",
        "<html>",
        "[]",
        "{\"jwks_uri\":\"" JWKS "\"}",
        "{\"issuer\":\"" ISSUER "/\",\"jwks_uri\":\"" JWKS "\"}",
        "{\"issuer\":\"https://other.example.com\",\"jwks_uri\":\"" JWKS "\"}",
        "{\"issuer\":\"" ISSUER "\"}",
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"http://issuer.example.com/keys\"}",
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://issuer.example.com.evil.example/keys\"}",
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://issuer.example.com:8443/keys\"}",
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://issuer.example.com@evil.example/keys\"}",
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://127.0.0.1/keys\"}",
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"file:///etc/passwd\"}",
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"/keys\"}",
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":[\"" JWKS "\"]}",
        "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"" JWKS "\",\"issuer\":\"" ISSUER "\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(descriptions); i++) {
        want(ISSUER, "", &of_a);
        answer(DESC, ERR_OK, 200, descriptions[i], -1);
        if (told.err != ERR_ISSUER_UNAVAILABLE || sent_count != answered)
            fail_msg("believed: %s", descriptions[i]);
        now += 10000;
    }
    static const char *const sets[] = {"", "<html>", "{\"keys\":[]}", "[" KEY("a") "]",
                                       "{\"keys\":[{\"kty\":\"oct\"}]}"};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        want(ISSUER, "", &of_a);
        fetch(sets[i], -1);
        assert_string_equal(err_code(told.err), "issuer_unavailable");
        now += 10000;
    }
    /* a set that is none does not push out one that is good */
    want(ISSUER, "", &of_a);
    fetch(KEYS("a"), 600);
    now += 600000;
    want(ISSUER, "", &of_a);
    fetch("{\"keys\":[]}", 600);
    assert_true(told.err == ERR_OK && told.has_a);
}

static void test_where_the_keys_are(void **state)
{
    (void)state;
    want(ISSUER, "https://keys.example.com/set", &of_a); /* the policy says it: no description is asked for */
    answer("https://keys.example.com/set", ERR_OK, 200, KEYS("a"), -1);
    assert_told(1, ERR_OK);
    want(ISSUER, "", &of_a); /* shares nothing with those that name another place */
    answer(DESC, ERR_OK, 200, description, -1);
    answer(JWKS, ERR_OK, 200, KEYS("b"), -1);
    assert_true(told.has_b && !told.has_a);
    want("https://tenant.example.com/", "", &of_a); /* one slash, not two */
    answer("https://tenant.example.com/.well-known/openid-configuration", ERR_OK, 200,
           "{\"issuer\":\"https://tenant.example.com/\",\"jwks_uri\":\"https://tenant.example.com/k\"}", -1);
    answer("https://tenant.example.com/k", ERR_OK, 200, KEYS("a"), -1);
    assert_told(3, ERR_OK);
}

static void test_issuers_are_bounded(void **state)
{
    (void)state;
    char name[64];
    for (int i = 0; i < LIMIT_ISSUERS; i++) {
        snprintf(name, sizeof name, "https://i%d.example.com", i);
        want(name, "https://k.example.com/", &of_a);
    }
    want("https://more.example.com", "https://k.example.com/", &of_a); /* each of them is being asked */
    assert_told(1, ERR_OVERLOADED);
    for (int i = 0; i < LIMIT_ISSUERS; i++)
        answer("https://k.example.com/", ERR_OK, 200, KEYS("a"), 86400);
    assert_told(1 + LIMIT_ISSUERS, ERR_OK);
    now += 1;
    want("https://i1.example.com", "https://k.example.com/", &of_a);
    want("https://more.example.com", "https://k.example.com/",
         &of_a); /* pushes out i0, the first of those not wanted since */
    assert_int_equal(sent_count, LIMIT_ISSUERS + 1);
    answer("https://k.example.com/", ERR_OK, 200, KEYS("a"), 86400);
    want("https://i1.example.com", "https://k.example.com/", &of_a);
    assert_int_equal(sent_count, LIMIT_ISSUERS + 1);
    want("https://i0.example.com", "https://k.example.com/", &of_a);
    assert_int_equal(sent_count, LIMIT_ISSUERS + 2);
}

static void test_who_waits_is_bounded(void **state)
{
    (void)state;
    for (int i = 0; i < LIMIT_JWKS_WAITERS; i++)
        want(ISSUER, "", &of_a);
    assert_told(0, ERR_OK);
    want(ISSUER, "", &of_a);
    assert_told(1, ERR_OVERLOADED);
    fetch(KEYS("a"), -1);
    assert_told(1 + LIMIT_JWKS_WAITERS, ERR_OK);
}

static void test_the_end_while_some_wait(void **state)
{
    (void)state;
    want(ISSUER, "", &of_a);
    want("https://other.example.com", "https://k.example.com/", &of_a);
    answer(DESC, ERR_CANCELED, 0, "", -1); /* as http_client_free does */
    assert_told(1, ERR_CANCELED);
    answer("https://k.example.com/", ERR_OK, 200, KEYS("a"), -1);
    issuer_keys(issuers, STR("https://other.example.com"), STR("https://k.example.com/"), &of_a, on_keys, NULL);
    /* teardown: the one that is to be told in the next turn is told there, once */
    issuers_free(issuers);
    assert_told(3, ERR_CANCELED);
    turn();
    assert_told(3, ERR_CANCELED);
    issuers = issuers_new(loop, NULL, true, clock_of_test);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_asked_once_for_all_that_wait),
        TEST(test_keys_are_kept_as_long_as_their_answer_says),
        TEST(test_an_unknown_key_lets_it_be_asked_once_a_minute),
        TEST(test_an_issuer_that_is_away),
        TEST(test_what_is_not_believed),
        TEST(test_where_the_keys_are),
        TEST(test_issuers_are_bounded),
        TEST(test_who_waits_is_bounded),
        TEST(test_the_end_while_some_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
