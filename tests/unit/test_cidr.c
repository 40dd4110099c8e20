/* Addresses and networks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/cidr.h"

static void test_what_is_in_what(void **state)
{
    (void)state;
    static const struct {
        const char *range, *ip;
        bool in;
    } rows[] = {
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.0/24", "192.0.2.255", true},
        {"192.0.2.0/24", "192.0.3.0", false},
        {"10.0.0.0/8", "10.255.255.255", true},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "192.0.2.1", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::ffff:192.0.2.0/120", "192.0.2.7", true},
        {"192.0.2.7/32", "::ffff:192.0.2.7", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cidr range;
        struct ip ip;
        assert_true(cidr_parse(str_of(rows[i].range), &range));
        assert_true(ip_parse(str_of(rows[i].ip), &ip));
        if (cidr_holds(&range, &ip) != rows[i].in)
            fail_msg("%s in %s", rows[i].ip, rows[i].range);
    }
}

static void test_what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "/",
                                      "/8",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "10.0.0.1/8",
                                      "10.0.0.0/08",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/8/8",
                                      "10.0.0",
                                      "10.0.0.0/1x",
                                      "256.0.0.1",
                                      "1.2.3.4:80",
                                      "[::1]",
                                      "fe80::1%eth0",
                                      "example.com",
                                      "::/129",
                                      "2001:db8::1/64",
                                      " 10.0.0.1",
                                      "10.0.0.1 ",
                                      "10.0.0.0/999999999999999999999",
                                      "1.2.3.4\n"};
    struct cidr range;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (cidr_parse(str_of(bad[i]), &range))
            fail_msg("%s", bad[i]);
    assert_false(cidr_parse((struct str){"10.0.0.1\0/8", 11}, &range));
}

static void test_covering(void **state)
{
    (void)state;
    struct cidr wide, narrow, other;
    assert_true(cidr_parse(STR("10.0.0.0/8"), &wide) && cidr_parse(STR("10.1.0.0/16"), &narrow) &&
                cidr_parse(STR("11.0.0.0/16"), &other));
    assert_true(cidr_covers(&wide, &narrow) && cidr_covers(&wide, &wide));
    assert_false(cidr_covers(&narrow, &wide) || cidr_covers(&wide, &other));
}

static void test_words_text_and_sources(void **state)
{
    (void)state;
    struct ip a, b, source;
    char text[64];
    assert_true(ip_parse(STR("192.0.2.9"), &a) && ip_parse(STR("2001:db8:1:2:3:4:5:6"), &b));
    assert_true(cidr_words_hold(STR("10.0.0.0/8, 192.0.2.0/24"), &a));
    assert_true(cidr_words_hold(STR("rubbish,192.0.2.9"), &a));
    assert_false(cidr_words_hold(STR("10.0.0.0/8,192.0.2.1"), &a));
    assert_false(cidr_words_hold(STR(""), &a));
    ip_text(&a, text, sizeof text);
    assert_string_equal(text, "192.0.2.9");
    source = ip_source(&a);
    assert_memory_equal(&source, &a, sizeof a);
    source = ip_source(&b);
    ip_text(&source, text, sizeof text);
    assert_string_equal(text, "2001:db8:1:2::");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_in_what),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_covering),
        cmocka_unit_test(test_words_text_and_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
