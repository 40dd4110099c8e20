/* The filtering proxy's parser and allowlist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "runner/proxy_request.h"

struct row {
    const char *head;
    int status; /* 0: taken */
    const char *host;
    uint16_t port;
    const char *forward;
};

static void check(const struct row *row)
{
    struct proxy_request r = {0};
    struct strbuf forward;
    int status = 0;
    const char *why = NULL;
    strbuf_init(&forward, PROXY_HEAD_MAX * 3);
    struct str in = str_of(row->head);
    enum proxy_verdict v = proxy_request_parse(in, &r, &forward, &status, &why);
    if (row->status) {
        if (v != PROXY_REFUSED || status != row->status || !why)
            fail_msg("%s: %d %d", row->head, (int)v, status);
    } else {
        if (v != PROXY_OK || !str_eqz(r.host, row->host) || r.port != row->port)
            fail_msg("%s: %d %.*s %u", row->head, (int)v, STR_ARG(r.host), r.port);
        if (row->forward && !str_eqz(strbuf_str(&forward), row->forward))
            fail_msg("%s: %s", row->head, forward.ptr);
        if (!row->forward)
            assert_true(r.connect && forward.len == 0);
        /* each shorter beginning only waits for more */
        for (size_t n = 0; n < r.head_len; n++) {
            strbuf_reset(&forward);
            assert_int_equal(proxy_request_parse((struct str){in.ptr, n}, &r, &forward, &status, &why), PROXY_MORE);
        }
    }
    strbuf_done(&forward);
}

#define E "\r\n"

static void test_what_is_taken(void **state)
{
    static const struct row rows[] = {
        {"CONNECT api.example.com:443 HTTP/1.1" E E, 0, "api.example.com", 443, NULL},
        {"CONNECT API.example.com.:8443 HTTP/1.0" E "Host: other" E "Transfer-Encoding: x" E E, 0, "API.example.com",
         8443, NULL},
        {"CONNECT [2001:db8::1]:443 HTTP/1.1" E E, 0, "2001:db8::1", 443, NULL},
        {"GET http://a.example.com/x?y=1 HTTP/1.1" E "Host: evil" E "Accept: */*" E E, 0, "a.example.com", 80,
         "GET /x?y=1 HTTP/1.1" E "Host: a.example.com" E "Connection: close" E "Accept: */*" E E},
        {"GET HTTP://a.example.com:8080 HTTP/1.0" E E, 0, "a.example.com", 8080,
         "GET / HTTP/1.1" E "Host: a.example.com:8080" E "Connection: close" E E},
        {"GET http://a.example.com?q HTTP/1.1" E E, 0, "a.example.com", 80,
         "GET /?q HTTP/1.1" E "Host: a.example.com" E "Connection: close" E E},
        {"POST http://[::1]:81/ HTTP/1.1" E "CONTENT-length:  5 " E "Connection: keep-alive" E "proxy-x: 1" E
         "Upgrade: h2c" E E,
         0, "::1", 81, "POST / HTTP/1.1" E "Host: [::1]:81" E "Connection: close" E "Content-Length: 5" E E},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(&rows[i]);
}

static void test_what_is_refused(void **state)
{
    static const struct row rows[] = {
        {"GET / HTTP/1.1" E "Host: a.example.com" E E, 400, NULL, 0, NULL},
        {"GET https://a.example.com/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http:///x HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://user@a.example.com/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com:/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com:0/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com:65536/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com:80:81/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://a%2eexample.com/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://[::1/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://[::1]x/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/ HTTP/2" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/ HTTP/1.1 " E E, 400, NULL, 0, NULL},
        {"GET  http://a.example.com/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/\t HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"G\x01T http://a.example.com/ HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"connect a.example.com:443 HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"CONNECT a.example.com HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"CONNECT a.example.com:443/x HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"CONNECT http://a.example.com:443 HTTP/1.1" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/ HTTP/1.1\nA: b" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/ HTTP/1.1" E "A: b\nX: y" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/ HTTP/1.1" E "A: b\rX: y" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/ HTTP/1.1" E "A: b" E " folded" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/ HTTP/1.1" E "A b" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/ HTTP/1.1" E ": b" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/ HTTP/1.1" E "Content-Length : 1" E E, 400, NULL, 0, NULL},
        {"GET http://a.example.com/ HTTP/1.1" E "A: \x01" E E, 400, NULL, 0, NULL},
        {"POST http://a.example.com/ HTTP/1.1" E "Content-Length: 1" E "content-length: 1" E E, 400, NULL, 0, NULL},
        {"POST http://a.example.com/ HTTP/1.1" E "Content-Length: 1, 1" E E, 400, NULL, 0, NULL},
        {"POST http://a.example.com/ HTTP/1.1" E "Content-Length: -1" E E, 400, NULL, 0, NULL},
        {"POST http://a.example.com/ HTTP/1.1" E "Content-Length:" E E, 400, NULL, 0, NULL},
        {"POST http://a.example.com/ HTTP/1.1" E "Content-Length: 9999999999999999" E E, 400, NULL, 0, NULL},
        {"POST http://a.example.com/ HTTP/1.1" E "Transfer-Encoding: chunked" E E, 411, NULL, 0, NULL},
        {"POST http://a.example.com/ HTTP/1.1" E "Content-Length: 1" E "transfer-encoding: identity" E E, 411, NULL, 0,
         NULL},
        {E E, 400, NULL, 0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(&rows[i]);
}

static void test_a_head_has_a_bound(void **state)
{
    static char text[PROXY_HEAD_MAX + 64];
    struct proxy_request r;
    struct strbuf forward;
    int status = 0;
    const char *why = NULL;
    (void)state;
    strbuf_init(&forward, PROXY_HEAD_MAX * 3);
    memset(text, 'a', sizeof text);
    assert_int_equal(proxy_request_parse((struct str){text, PROXY_HEAD_MAX - 1}, &r, &forward, &status, &why),
                     PROXY_MORE);
    assert_int_equal(proxy_request_parse((struct str){text, PROXY_HEAD_MAX}, &r, &forward, &status, &why),
                     PROXY_REFUSED);
    assert_int_equal(status, 431);
    memcpy(text + PROXY_HEAD_MAX, E E, 4); /* an end past the bound is none */
    assert_int_equal(proxy_request_parse((struct str){text, sizeof text}, &r, &forward, &status, &why), PROXY_REFUSED);
    strbuf_done(&forward);
}

static void test_the_allowlist(void **state)
{
    static const char *const list[] = {"api.example.com",
                                       "*.example.org",
                                       "Mixed.Example.net:8443",
                                       "*.example.net:81",
                                       "192.0.2.7",
                                       "[2001:db8::1]:443",
                                       "*",
                                       "*.",
                                       "",
                                       "a b",
                                       "x.example.com:99999",
                                       NULL};
    static const struct {
        const char *host;
        uint16_t port;
        bool allowed;
    } rows[] = {
        {"api.example.com", 443, true},
        {"API.EXAMPLE.COM", 80, true},
        {"api.example.com", 8443, false},
        {"api.example.com.evil.test", 443, false},
        {"xapi.example.com", 443, false},
        {"example.com", 443, false},
        {"a.example.org", 443, true},
        {"a.b.example.org", 80, true},
        {"example.org", 443, false},
        {"xexample.org", 443, false},
        {".example.org", 443, false},
        {"mixed.example.net", 8443, true},
        {"mixed.example.net", 443, false},
        {"b.example.net", 81, true},
        {"b.example.net", 443, false},
        {"192.0.2.7", 443, true},
        {"192.0.2.8", 443, false},
        {"2001:db8::1", 443, true},
        {"2001:db8::1", 80, false},
        {"anything.test", 443, false},
        {"", 443, false},
        {"x.example.com", 443, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (proxy_allows(list, str_of(rows[i].host), rows[i].port) != rows[i].allowed)
            fail_msg("%s:%u", rows[i].host, rows[i].port);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_taken),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_a_head_has_a_bound),
        cmocka_unit_test(test_the_allowlist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
