#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "common/address.h"

static bool is_public(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return address_is_public((struct sockaddr *)&in, sizeof in);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return address_is_public((struct sockaddr *)&in6, sizeof in6);
}

/* The first and the last address of each range that is not to be called. */
static const char *const refused4[] = {
    "0.0.0.0",       "0.255.255.255",   "10.0.0.0",     "10.255.255.255",  "100.64.0.0",     "100.127.255.255",
    "127.0.0.0",     "127.0.0.1",       "127.1.2.3",    "127.255.255.255", "169.254.0.0",    "169.254.169.254",
    "169.254.170.2", "169.254.255.255", "172.16.0.0",   "172.31.255.255",  "192.0.0.0",      "192.0.0.192",
    "192.0.0.255",   "192.0.2.0",       "192.0.2.255",  "192.88.99.1",     "192.168.0.0",    "192.168.255.255",
    "198.18.0.0",    "198.19.255.255",  "198.51.100.0", "198.51.100.255",  "203.0.113.0",    "203.0.113.255",
    "224.0.0.0",     "239.255.255.255", "240.0.0.0",    "255.255.255.254", "255.255.255.255"};

/* Those right beside them, which anybody may call. */
static const char *const allowed4[] = {
    "1.0.0.0",     "9.255.255.255",   "11.0.0.0",    "100.63.255.255", "100.128.0.0",  "126.255.255.255",
    "128.0.0.0",   "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",   "191.255.255.255",
    "192.0.1.0",   "192.0.1.255",     "192.0.3.0",   "192.88.98.255",  "192.88.100.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255",  "198.20.0.0",  "198.51.99.255",  "198.51.101.0", "203.0.112.255",
    "203.0.114.0", "223.255.255.255", "8.8.8.8"};

static void test_ranges_of_ipv4_are_refused_to_their_edges(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused4); i++)
        if (is_public(refused4[i]))
            fail_msg("%s passes", refused4[i]);
    for (size_t i = 0; i < ARRAY_LEN(allowed4); i++)
        if (!is_public(allowed4[i]))
            fail_msg("%s is refused", allowed4[i]);
}

static void test_ipv6_is_refused_but_for_global_unicast(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "::",          "::1",           "::2",     "100::1",         "fe80::1",     "febf::1",    "fec0::1",
        "fc00::1",     "fd00:ec2::254", "fdff::1", "ff00::1",        "ff02::1",     "ffff::1",    "4000::1",
        "1fff::1",     "64:ff9b:1::1",  "2001::1", "2001:1ff::1",    "2001:db8::1", "2001:20::1", "3fff::1",
        "::127.0.0.1", "::8.8.8.8",     "5f00::1", "fe80::a9fe:a9fe"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (is_public(refused[i]))
            fail_msg("%s passes", refused[i]);
    static const char *const allowed[] = {"2000::1",         "2001:200::1", "2001:4860:4860::8888", "2606:4700::1111",
                                          "2001:db7:ffff::", "2001:db9::",  "2a00:1450::1",         "3ffe:ffff::1"};
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        if (!is_public(allowed[i]))
            fail_msg("%s is refused", allowed[i]);
}

/* An IPv4 address in the clothes of IPv6 is what it is. */
static void test_ipv4_inside_ipv6_is_looked_at(void **state)
{
    (void)state;
    char text[INET6_ADDRSTRLEN];
    for (int i = 0; i < 2; i++) {
        const char *const *list = i ? allowed4 : refused4;
        size_t n = i ? ARRAY_LEN(allowed4) : ARRAY_LEN(refused4);
        for (size_t k = 0; k < n; k++) {
            struct in_addr in;
            assert_int_equal(inet_pton(AF_INET, list[k], &in), 1);
            uint32_t ip = ntohl(in.s_addr);
            snprintf(text, sizeof text, "::ffff:%s", list[k]);
            assert_int_equal(is_public(text), i);
            snprintf(text, sizeof text, "64:ff9b::%s", list[k]);
            assert_int_equal(is_public(text), i);
            snprintf(text, sizeof text, "2002:%x:%x::1", ip >> 16, ip & 0xffff);
            assert_int_equal(is_public(text), i);
        }
    }
}

static void test_other_families_and_short_ones_are_refused(void **state)
{
    (void)state;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr.s6_addr = {0x26, 0x06}};
    assert_false(address_is_public((struct sockaddr *)&un, sizeof un));
    assert_true(address_is_public((struct sockaddr *)&in, sizeof in));
    assert_false(address_is_public((struct sockaddr *)&in, sizeof in - 1));
    assert_true(address_is_public((struct sockaddr *)&in6, sizeof in6));
    assert_false(address_is_public((struct sockaddr *)&in6, sizeof in6 - 1));
    assert_false(address_is_public((struct sockaddr *)&in, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_of_ipv4_are_refused_to_their_edges),
        cmocka_unit_test(test_ipv6_is_refused_but_for_global_unicast),
        cmocka_unit_test(test_ipv4_inside_ipv6_is_looked_at),
        cmocka_unit_test(test_other_families_and_short_ones_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
