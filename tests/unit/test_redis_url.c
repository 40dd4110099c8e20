#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/redis.h"
#include "common/redis_url.h"

static void assert_text(const char *got, const char *wanted)
{
    if (wanted)
        assert_string_equal(got, wanted);
    else
        assert_null(got);
}

static void test_urls_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host, *user, *password, *path;
        int port, db;
    } rows[] = {
        {"redis://localhost", "localhost", NULL, NULL, NULL, 6379, 0},
        {"redis://localhost/", "localhost", NULL, NULL, NULL, 6379, 0},
        {"redis://10.0.0.1:6380/15", "10.0.0.1", NULL, NULL, NULL, 6380, 15},
        {"redis://redis.example.com:1", "redis.example.com", NULL, NULL, NULL, 1, 0},
        {"redis://redis.example.com:65535/0", "redis.example.com", NULL, NULL, NULL, 65535, 0},
        {"redis://:secret@host", "host", NULL, "secret", NULL, 6379, 0},
        {"redis://me:secret@host:7/2", "host", "me", "secret", NULL, 7, 2},
        {"redis://me:a%3ab%40c%2Fd%25@host/3", "host", "me", "a:b@c/d%", NULL, 6379, 3},
        {"redis://m%65:x:y@host", "host", "me", "x:y", NULL, 6379, 0},
        {"redis://me:p/w@host", "host", "me", "p/w", NULL, 6379, 0}, /* the last @ ends the credentials */
        {"redis://me:p@w@host", "host", "me", "p@w", NULL, 6379, 0},
        {"redis://[::1]", "::1", NULL, NULL, NULL, 6379, 0},
        {"redis://[2001:db8::7]:6380/4", "2001:db8::7", NULL, NULL, NULL, 6380, 4},
        {"redis://:x@[::1]:6380", "::1", NULL, "x", NULL, 6380, 0},
        {"unix:///run/redis/redis.sock", NULL, NULL, NULL, "/run/redis/redis.sock", 6379, 0},
        {"unix:///r.sock?db=9", NULL, NULL, NULL, "/r.sock", 6379, 9},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct redis_url u;
        const char *why = NULL;
        if (redis_url_parse(rows[i].url, &u, &why))
            fail_msg("%s: %s", rows[i].url, why);
        assert_text(u.host, rows[i].host);
        assert_text(u.user, rows[i].user);
        assert_text(u.password, rows[i].password);
        assert_text(u.path, rows[i].path);
        assert_int_equal(u.db, rows[i].db);
        assert_int_equal(u.port, rows[i].port);
        redis_url_done(&u);
        assert_int_equal(redis_url_check(rows[i].url, &why), ERR_OK);
    }
}

static void test_what_is_no_such_url_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *url, *part;
    } rows[] = {
        {"", "must begin with"},
        {"localhost:6379", "must begin with"},
        {"http://localhost", "must begin with"},
        {"rediss://localhost", "must begin with"},
        {"REDIS://localhost", "must begin with"},
        {"redis:/localhost", "must begin with"},
        {"redis://", "no host"},
        {"redis:///0", "no host"},
        {"redis://:6379", "no host"},
        {"redis://:x@", "no host"},
        {"redis://h:0", "port"},
        {"redis://h:65536", "port"},
        {"redis://h:99999999999999999999", "port"},
        {"redis://h:", "port"},
        {"redis://h:x", "port"},
        {"redis://h: 5", "port"},
        {"redis://h:+5", "port"},
        {"redis://h:-5", "port"},
        {"redis://h:5x", "port"},
        {"redis://h:5:6", "port"},
        {"redis://h/x", "database"},
        {"redis://h/-1", "database"},
        {"redis://h/1?x=2", "database"},
        {"redis://h/+1", "database"},
        {"redis://h/1000001", "database"},
        {"redis://me@h", "credentials"},
        {"redis://me:%4@h", "percent"},
        {"redis://me:%zz@h", "percent"},
        {"redis://me:x%@h", "percent"},
        {"redis://me:%00x@h", "percent"}, /* would cut the password */
        {"redis://[::1", "brackets"},
        {"redis://[::1]x", "brackets"},
        {"unix://", "absolute"},
        {"unix:///", "absolute"},
        {"unix://run/redis.sock", "absolute"},
        {"unix:///r.sock?", "?db="},
        {"unix:///r.sock?DB=1", "?db="},
        {"unix:///r.sock?db=", "?db="},
        {"unix:///r.sock?db=x", "?db="},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct redis_url u = {.port = 77};
        const char *why = NULL;
        if (redis_url_parse(rows[i].url, &u, &why) != ERR_CONFIG)
            fail_msg("taken: %s", rows[i].url);
        if (!strstr(why, rows[i].part))
            fail_msg("%s: %s", rows[i].url, why);
        assert_int_equal(u.port, 77); /* untouched */
    }
}

static void test_long_urls_are_refused(void **state)
{
    (void)state;
    struct redis_url u;
    const char *why = NULL;
    char url[1200];
    /* 107 bytes of a socket's path are what the system takes. */
    int len = snprintf(url, sizeof url, "unix:///%0*d", 106, 0);
    assert_int_equal(len, 7 + 107);
    assert_int_equal(redis_url_parse(url, &u, &why), ERR_OK);
    redis_url_done(&u);
    snprintf(url, sizeof url, "unix:///%0*d", 107, 0);
    assert_int_equal(redis_url_parse(url, &u, &why), ERR_CONFIG);
    assert_non_null(strstr(why, "too long"));
    snprintf(url, sizeof url, "redis://%0*d", 1016, 0);
    assert_int_equal(redis_url_parse(url, &u, &why), ERR_OK);
    redis_url_done(&u);
    snprintf(url, sizeof url, "redis://%0*d", 1017, 0);
    assert_int_equal(redis_url_parse(url, &u, &why), ERR_CONFIG);
    assert_non_null(strstr(why, "too long"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_are_taken_apart),
        cmocka_unit_test(test_what_is_no_such_url_is_refused_with_a_reason),
        cmocka_unit_test(test_long_urls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
