#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/resp.h"

static void feed(struct resp *r, struct str s)
{
    while (s.len > 0) {
        size_t room;
        char *to = resp_room(r, &room);
        assert_non_null(to);
        size_t n = room < s.len ? room : s.len;
        memcpy(to, s.ptr, n);
        resp_filled(r, n);
        s.ptr += n;
        s.len -= n;
    }
}

static const redisReply *next(struct resp *r)
{
    const redisReply *reply = NULL;
    const char *why = NULL;
    return resp_next(r, &reply, &why) == RESP_REPLY ? reply : NULL;
}

static void test_each_type_is_read(void **state)
{
    (void)state;
    struct resp *r = resp_new();
    feed(r, STR("+OK\r\n-ERR no\r\n:-12\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n$1\r\nx\r\n*1\r\n:7\r\n*0\r\n"));
    const redisReply *x = next(r);
    assert_true(x->type == REDIS_REPLY_STATUS && strcmp(x->str, "OK") == 0 && x->len == 2);
    x = next(r);
    assert_true(x->type == REDIS_REPLY_ERROR && strcmp(x->str, "ERR no") == 0);
    x = next(r);
    assert_true(x->type == REDIS_REPLY_INTEGER && x->integer == -12);
    x = next(r);
    assert_true(x->type == REDIS_REPLY_STRING && x->len == 3 && memcmp(x->str, "a\r\n", 4) == 0);
    x = next(r);
    assert_true(x->type == REDIS_REPLY_NIL && !x->str);
    x = next(r);
    assert_true(x->type == REDIS_REPLY_ARRAY && x->elements == 2 && strcmp(x->element[0]->str, "x") == 0);
    assert_true(x->element[1]->elements == 1 && x->element[1]->element[0]->integer == 7);
    x = next(r);
    assert_true(x->type == REDIS_REPLY_ARRAY && x->elements == 0);
    assert_null(next(r));
    resp_free(r);
}

/* A reply that comes byte by byte, among others, is moved with the buffer that grows under it. */
static void test_strings_follow_the_buffer(void **state)
{
    (void)state;
    enum { LEN = 700000 };
    struct resp *r = resp_new();
    char *large = malloc(LEN + 2);
    memset(large, 'y', LEN);
    memcpy(large + LEN, "\r\n", 2);
    feed(r, STR(":1\r\n*3\r\n$5\r\nfirst\r\n$700000\r\n"));
    assert_int_equal(next(r)->integer, 1);
    assert_null(next(r));
    for (size_t at = 0; at < LEN + 2; at += 999) {
        size_t n = LEN + 2 - at < 999 ? LEN + 2 - at : 999;
        feed(r, (struct str){large + at, n});
        assert_null(next(r));
    }
    feed(r, STR("$4\r\nlast\r\n+next\r\n"));
    const redisReply *x = next(r);
    assert_non_null(x);
    assert_string_equal(x->element[0]->str, "first");
    assert_true(x->element[1]->len == LEN && memcmp(x->element[1]->str, large, LEN) == 0 &&
                x->element[1]->str[LEN] == 0);
    assert_string_equal(x->element[2]->str, "last");
    assert_string_equal(next(r)->str, "next");
    assert_null(next(r));
    free(large);
    resp_free(r);
}

static void test_one_that_rests_goes_on(void **state)
{
    (void)state;
    struct resp *r = resp_new();
    feed(r, STR("+a\r\n+b"));
    assert_string_equal(next(r)->str, "a");
    resp_rest(r); /* holds a part of the next one */
    feed(r, STR("c\r\n"));
    assert_string_equal(next(r)->str, "bc");
    resp_rest(r);
    resp_rest(r);
    feed(r, STR("*1\r\n"));
    assert_null(next(r));
    resp_rest(r);
    feed(r, STR(":5\r\n"));
    assert_int_equal(next(r)->element[0]->integer, 5);
    resp_free(r);
}

static void test_what_is_no_resp_ends_it(void **state)
{
    (void)state;
    static const char *const bad[] = {"%1\r\n",           ":\r\n",
                                      ":1x\r\n",          ":9223372036854775808\r\n",
                                      "$-2\r\n",          "$x\r\n",
                                      "$1\r\nabc",        "$99999999999\r\n",
                                      "*-2\r\n",          "HTTP/1.1 400\r\n",
                                      "*99999999999\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct resp *r = resp_new();
        const redisReply *reply = NULL;
        const char *why = NULL;
        feed(r, str_of(bad[i]));
        assert_int_equal(resp_next(r, &reply, &why), RESP_BROKEN);
        assert_non_null(why);
        feed(r, STR("+OK\r\n")); /* nothing can be trusted behind it */
        assert_int_equal(resp_next(r, &reply, &why), RESP_BROKEN);
        resp_free(r);
    }
    resp_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_type_is_read),
        cmocka_unit_test(test_strings_follow_the_buffer),
        cmocka_unit_test(test_one_that_rests_goes_on),
        cmocka_unit_test(test_what_is_no_resp_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
