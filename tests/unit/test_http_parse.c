/* Raw heads and chunked bodies, one row each: what is understood, and what is refused and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/http_parse.h"

#define H       "Host: x\r\n"
#define END     "\r\n"
#define GET     "GET / HTTP/1.1\r\n"
#define PUSH    "POST / HTTP/1.1\r\n" H
#define GOOD(h) GET H h END

struct head_case {
    const char *name;
    struct str bytes;
    enum err err;
    const char *path;   /* of good ones */
    bool keep;          /* stays open */
    int64_t length;     /* of the body; -1: chunked */
    bool wait_continue; /* wants 100 */
};
#define OK(n, b, p, k, l)                                                                                              \
    {                                                                                                                  \
        n, STR(b), ERR_OK, p, k, l, false                                                                              \
    }
#define BAD(n, b, e)                                                                                                   \
    {                                                                                                                  \
        n, STR(b), e, NULL, false, 0, false                                                                            \
    }
#define REQ(target)   "GET " target " HTTP/1.1\r\n" H END
#define FIELD(line)   GET H line "\r\n" END
#define HOST(line)    GET line END
#define LENGTH(value) PUSH "Content-Length:" value "\r\n" END

static const struct head_case cases[] = {
    /* good ones, so that a refusal of everything is seen */
    OK("plain", GOOD(""), "/", true, 0),
    OK("a leading empty line", "\r\n" GOOD(""), "/", true, 0),
    OK("HTTP/1.0 closes", "GET /a HTTP/1.0\r\n" END, "/a", false, 0),
    OK("HTTP/1.0 without Host", "GET / HTTP/1.0\r\nX: y\r\n" END, "/", false, 0),
    OK("HTTP/1.0 closes although it asks to stay", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n" END, "/", false, 0),
    OK("Connection: close", GOOD("Connection: close\r\n"), "/", false, 0),
    OK("close in a list", GOOD("Connection: te, Close\r\n"), "/", false, 0),
    OK("close in the second Connection line", GOOD("Connection: te\r\nConnection: close\r\n"), "/", false, 0),
    OK("Connection: keep-alive", GOOD("Connection: keep-alive\r\n"), "/", true, 0),
    OK("percent-encoding", REQ("/a%20b%2Fc"), "/a b/c", true, 0),
    OK("UTF-8 by percent-encoding", REQ("/%c3%bc"), "/\xc3\xbc", true, 0),
    OK("a query", REQ("/q?a=b&c=%64"), "/q", true, 0),
    OK("an empty query", REQ("/q?"), "/q", true, 0),
    OK("two question marks", REQ("/q?a?b"), "/q", true, 0),
    OK("absolute-form", REQ("http://x/abs"), "/abs", true, 0),
    OK("absolute-form without a path", REQ("http://x"), "/", true, 0),
    OK("absolute-form whose query holds a slash", REQ("http://x?a=/b"), "/", true, 0),
    OK("OPTIONS *", "OPTIONS * HTTP/1.1\r\n" H END, "/", true, 0),
    OK("Content-Length", LENGTH(" 12"), "/", true, 12),
    OK("Content-Length with white space", LENGTH("  0012 "), "/", true, 12),
    OK("Content-Length: 0", LENGTH("0"), "/", true, 0),
    OK("chunked", PUSH "Transfer-Encoding: chunked\r\n" END, "/", true, -1),
    OK("Chunked, spelled so", PUSH "transfer-encoding: CHUNKED\r\n" END, "/", true, -1),
    OK("an empty header value", FIELD("X-Empty:"), "/", true, 0),
    OK("bytes above 127 in a value", FIELD("X: \xc3\xbc\xff"), "/", true, 0),
    OK("a host with a port", HOST("Host: example.com:80\r\n"), "/", true, 0),
    OK("an IPv6 host", HOST("Host: [::1]:80\r\n"), "/", true, 0),
    {"Expect", STR(PUSH "Content-Length: 2\r\nExpect: 100-Continue\r\n" END), ERR_OK, "/", true, 2, true},
    {"Expect of HTTP/1.0", STR("POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n" END), ERR_OK, "/",
     false, 2, false},

    /* line ends */
    BAD("bare LF behind the request line", "GET / HTTP/1.1\n" H END, ERR_BAD_REQUEST),
    BAD("bare LF behind a header", GET "Host: x\n" END, ERR_BAD_REQUEST),
    BAD("bare LF at the end", GET H "\n", ERR_BAD_REQUEST),
    BAD("bare CR behind the request line", "GET / HTTP/1.1\r" H END, ERR_BAD_REQUEST),
    BAD("bare CR in a value", FIELD("X: a\rb"), ERR_BAD_REQUEST),
    BAD("CR CR LF", GET H "X: a\r\r\n" END, ERR_BAD_REQUEST),
    BAD("a leading bare CR", "\rGET / HTTP/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("a leading bare LF", "\nGET / HTTP/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("two leading empty lines", "\r\n\r\n" GOOD(""), ERR_BAD_REQUEST),
    BAD("a folded line", FIELD("X: a\r\n b"), ERR_BAD_REQUEST),
    BAD("a folded line by a tab", FIELD("X: a\r\n\tb"), ERR_BAD_REQUEST),
    BAD("the first header is folded", GET " Host: x\r\n" END, ERR_BAD_REQUEST),

    /* the request line */
    BAD("HTTP/0.9", "GET /\r\n" END, ERR_BAD_REQUEST),
    BAD("no target", "GET HTTP/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("two spaces", "GET  / HTTP/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("a space behind the version", "GET / HTTP/1.1 \r\n" H END, ERR_VERSION_NOT_SUPPORTED),
    BAD("a space before the method", " GET / HTTP/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("a tab for a space", "GET\t/ HTTP/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("HTTP/2.0", "GET / HTTP/2.0\r\n" H END, ERR_VERSION_NOT_SUPPORTED),
    BAD("HTTP/1.2", "GET / HTTP/1.2\r\n" H END, ERR_VERSION_NOT_SUPPORTED),
    BAD("HTTP/1.10", "GET / HTTP/1.10\r\n" H END, ERR_VERSION_NOT_SUPPORTED),
    BAD("HTTP/0.9 with a version", "GET / HTTP/0.9\r\n" H END, ERR_VERSION_NOT_SUPPORTED),
    BAD("HTTP/1.1 and more", "GET / HTTP/1.1x\r\n" H END, ERR_VERSION_NOT_SUPPORTED),
    BAD("http/1.1", "GET / http/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("another protocol", "GET / ICY/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("the preface of HTTP/2", "PRI * HTTP/2.0\r\n" END "SM" END END, ERR_VERSION_NOT_SUPPORTED),
    BAD("a method with a bracket", "G(T / HTTP/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("an unknown method", "BREW / HTTP/1.1\r\n" H END, ERR_METHOD_NOT_ALLOWED),
    BAD("a method in small letters", "get / HTTP/1.1\r\n" H END, ERR_METHOD_NOT_ALLOWED),
    BAD("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n" END, ERR_BAD_REQUEST),

    /* the target */
    BAD("a relative target", REQ("a"), ERR_BAD_REQUEST),
    BAD("* for GET", REQ("*"), ERR_BAD_REQUEST),
    BAD("authority-form", REQ("example.com:80"), ERR_BAD_REQUEST),
    BAD("CONNECT", "CONNECT example.com:80 HTTP/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("a space in the target", "GET /a b HTTP/1.1\r\n" H END, ERR_BAD_REQUEST),
    BAD("absolute-form without a host", REQ("http:///a"), ERR_BAD_REQUEST),
    BAD("absolute-form with a query alone", REQ("http://?a=/b"), ERR_BAD_REQUEST),
    BAD("another scheme", REQ("ftp://x/"), ERR_BAD_REQUEST),
    BAD("a fragment", REQ("/a#b"), ERR_BAD_REQUEST),
    BAD("raw UTF-8", REQ("/\xc3\xbc"), ERR_BAD_REQUEST),
    BAD("a broken escape", REQ("/%zz"), ERR_BAD_REQUEST),
    BAD("an escape cut short", REQ("/%2"), ERR_BAD_REQUEST),
    BAD("an encoded NUL", REQ("/a%00b"), ERR_BAD_REQUEST),
    BAD("an encoded newline", REQ("/a%0ab"), ERR_BAD_REQUEST),
    BAD("dots", REQ("/a/../b"), ERR_BAD_REQUEST),
    BAD("dots at the end", REQ("/a/.."), ERR_BAD_REQUEST),
    BAD("one dot", REQ("/./a"), ERR_BAD_REQUEST),
    BAD("encoded dots", REQ("/a/%2e%2E/b"), ERR_BAD_REQUEST),
    BAD("encoded slashes around dots", REQ("/a%2f..%2fb"), ERR_BAD_REQUEST),

    /* header fields */
    BAD("a space before the colon", FIELD("X : a"), ERR_BAD_REQUEST),
    BAD("a tab before the colon", FIELD("X\t: a"), ERR_BAD_REQUEST),
    BAD("a space in a name", FIELD("X Y: a"), ERR_BAD_REQUEST),
    BAD("no name", FIELD(": a"), ERR_BAD_REQUEST),
    BAD("no colon", FIELD("X"), ERR_BAD_REQUEST),
    BAD("a name in UTF-8", FIELD("\xc3\xbc: a"), ERR_BAD_REQUEST),
    BAD("NUL in a value", FIELD("X: a\0b"), ERR_BAD_REQUEST),
    BAD("NUL in a name", FIELD("X\0: a"), ERR_BAD_REQUEST),
    BAD("a control character", FIELD("X: a\x01"), ERR_BAD_REQUEST),
    BAD("DEL", FIELD("X: a\x7f"), ERR_BAD_REQUEST),
    BAD("another expectation", PUSH "Expect: 200-ok\r\n" END, ERR_EXPECTATION_FAILED),

    /* Host */
    BAD("no Host", HOST(""), ERR_BAD_REQUEST),
    BAD("an empty Host", HOST("Host:\r\n"), ERR_BAD_REQUEST),
    BAD("a Host of white space", HOST("Host: \t \r\n"), ERR_BAD_REQUEST),
    BAD("an empty Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost:\r\n" END, ERR_BAD_REQUEST),
    BAD("two Hosts", HOST("Host: a\r\nHost: b\r\n"), ERR_BAD_REQUEST),
    BAD("the same Host twice", HOST("Host: a\r\nhost: a\r\n"), ERR_BAD_REQUEST),
    BAD("a Host with a path", HOST("Host: a/b\r\n"), ERR_BAD_REQUEST),
    BAD("a Host with a space", HOST("Host: a b\r\n"), ERR_BAD_REQUEST),
    BAD("a Host with user info", HOST("Host: u@a\r\n"), ERR_BAD_REQUEST),
    BAD("two Hosts in one", HOST("Host: a, b\r\n"), ERR_BAD_REQUEST),

    /* framing */
    BAD("Content-Length twice", PUSH "Content-Length: 5\r\nContent-Length: 5\r\n" END, ERR_BAD_REQUEST),
    BAD("Content-Lengths that differ", PUSH "Content-Length: 5\r\nContent-Length: 6\r\n" END, ERR_BAD_REQUEST),
    BAD("a list of lengths", LENGTH(" 5, 5"), ERR_BAD_REQUEST),
    BAD("+5", LENGTH(" +5"), ERR_BAD_REQUEST),
    BAD("-5", LENGTH(" -5"), ERR_BAD_REQUEST),
    BAD("a tab behind the length, which parsers read differently", LENGTH(" 12\t"), ERR_BAD_REQUEST),
    BAD("0x5", LENGTH(" 0x5"), ERR_BAD_REQUEST),
    BAD("5.0", LENGTH(" 5.0"), ERR_BAD_REQUEST),
    BAD("5 6", LENGTH(" 5 6"), ERR_BAD_REQUEST),
    BAD("no number", LENGTH(" five"), ERR_BAD_REQUEST),
    BAD("an empty length", LENGTH(""), ERR_BAD_REQUEST),
    BAD("a length beyond 64 bits", LENGTH(" 99999999999999999999"), ERR_BODY_TOO_LARGE),
    BAD("a length that wraps to 5", LENGTH(" 18446744073709551621"), ERR_BODY_TOO_LARGE),
    BAD("both framings", PUSH "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END, ERR_BAD_REQUEST),
    BAD("both, the other way round", PUSH "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n" END, ERR_BAD_REQUEST),
    BAD("Transfer-Encoding twice", PUSH "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END,
        ERR_BAD_REQUEST),
    BAD("chunked twice", PUSH "Transfer-Encoding: chunked, chunked\r\n" END, ERR_NOT_SUPPORTED),
    BAD("gzip, chunked", PUSH "Transfer-Encoding: gzip, chunked\r\n" END, ERR_NOT_SUPPORTED),
    BAD("chunked, identity", PUSH "Transfer-Encoding: chunked, identity\r\n" END, ERR_NOT_SUPPORTED),
    BAD("identity", PUSH "Transfer-Encoding: identity\r\n" END, ERR_NOT_SUPPORTED),
    BAD("xchunked", PUSH "Transfer-Encoding: xchunked\r\n" END, ERR_NOT_SUPPORTED),
    BAD("chunked with a vertical tab",
        PUSH "Transfer-Encoding: \x0b"
             "chunked\r\n" END,
        ERR_BAD_REQUEST),
    BAD("an empty coding", PUSH "Transfer-Encoding:\r\n" END, ERR_NOT_SUPPORTED),
    BAD("chunked in HTTP/1.0", "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n" END, ERR_BAD_REQUEST),
};

/* Head and request, as http_conn does it. */
static enum err parse(struct str bytes, struct http_req *req, struct http_head *head)
{
    size_t skip = 0, len = 0;
    const char *why = NULL;
    *req = (struct http_req){0};
    *head = (struct http_head){0};
    arena_init(&req->arena, 1 << 20);
    enum err err = http_head_length(bytes, &skip, &len, &why);
    if (!err && len == 0)
        fail_msg("the head is not whole");
    if (!err)
        err = http_head_parse(req, (struct str){bytes.ptr + skip, len}, head, &why);
    if (err == ERR_BAD_REQUEST)
        assert_non_null(why);
    return err;
}

static void test_every_head_of_the_table(void **state)
{
    (void)state;
    assert_true(ARRAY_LEN(cases) >= 70);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct head_case *c = &cases[i];
        struct http_req req;
        struct http_head head;
        enum err err = parse(c->bytes, &req, &head);
        if (err != c->err)
            fail_msg("%s: %s instead of %s", c->name, err_code(err), err_code(c->err));
        if (!err) {
            int64_t length = head.chunked ? -1 : head.content_length;
            if (!str_eqz(req.path, c->path) || req.keep_alive != c->keep || length != c->length ||
                head.expect_continue != c->wait_continue)
                fail_msg("%s: path %.*s, keep %d, length %lld, expect %d", c->name, STR_ARG(req.path), req.keep_alive,
                         (long long)length, head.expect_continue);
        }
        arena_done(&req.arena);
    }
}

static void test_methods_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        struct str bytes;
        enum http_method method;
    } rows[] = {
        {STR("GET / HTTP/1.1\r\n" H END), HTTP_GET_},       {STR("HEAD / HTTP/1.1\r\n" H END), HTTP_HEAD_},
        {STR("POST / HTTP/1.1\r\n" H END), HTTP_POST_},     {STR("PUT / HTTP/1.1\r\n" H END), HTTP_PUT_},
        {STR("DELETE / HTTP/1.1\r\n" H END), HTTP_DELETE_}, {STR("OPTIONS / HTTP/1.1\r\n" H END), HTTP_OPTIONS_},
        {STR("PATCH / HTTP/1.1\r\n" H END), HTTP_OTHER_},   {STR("TRACE / HTTP/1.1\r\n" H END), HTTP_OTHER_},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_req req;
        struct http_head head;
        assert_int_equal(parse(rows[i].bytes, &req, &head), ERR_OK);
        assert_int_equal(req.method, rows[i].method);
        assert_true(str_starts(rows[i].bytes, req.method_word) && rows[i].bytes.ptr[req.method_word.len] == ' ');
        arena_done(&req.arena);
    }
}

/* The second parser would refuse these, too; so that the first one's check can't be lost unseen, each has its own words. */
static void test_broken_framing_is_named(void **state)
{
    (void)state;
    static const struct {
        struct str bytes;
        const char *why;
    } rows[] = {
        {STR(PUSH "Content-Length: 5\r\nContent-Length: 5\r\n" END), "more than one Content-Length"},
        {STR(PUSH "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END),
         "more than one Transfer-Encoding"},
        {STR(PUSH "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END), "Content-Length with Transfer-Encoding"},
        {STR(LENGTH(" +5")), "Content-Length is not a number of bytes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_req req = {0};
        struct http_head head;
        const char *why = NULL;
        arena_init(&req.arena, 1 << 20);
        assert_int_equal(http_head_parse(&req, rows[i].bytes, &head, &why), ERR_BAD_REQUEST);
        assert_string_equal(why, rows[i].why);
        arena_done(&req.arena);
    }
}

/* The head of a refused request still says whether its client wants the connection to end. */
static void test_close_is_heeded_in_a_refused_head(void **state)
{
    (void)state;
    static const struct str rows[] = {
        STR("BREW / HTTP/1.1\r\n" H "Connection: close\r\n" END),
        STR("GET / HTTP/1.1\r\n" H "Expect: tea\r\nConnection: close\r\n" END),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_req req;
        struct http_head head;
        assert_int_not_equal(parse(rows[i], &req, &head), ERR_OK);
        assert_false(req.keep_alive);
        arena_done(&req.arena);
    }
}

static void test_the_query_of_a_target(void **state)
{
    (void)state;
    static const struct {
        struct str bytes;
        const char *query;
    } rows[] = {
        {STR(REQ("/q")), ""},
        {STR(REQ("/q?")), ""},
        {STR(REQ("/q?a?b")), "a?b"},
        {STR(REQ("/q?a=/../b")), "a=/../b"},
        {STR(REQ("http://x/q?a")), "a"},
        {STR(REQ("http://x?a=/b")), "a=/b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_req req;
        struct http_head head;
        assert_int_equal(parse(rows[i].bytes, &req, &head), ERR_OK);
        assert_true(str_eqz(req.query, rows[i].query));
        arena_done(&req.arena);
    }
}

/* A head that is not whole is neither accepted nor refused early, except for what shows in the part that is there; and what is good stays good however it comes. */
static void test_every_beginning_of_a_good_head_waits_for_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].err)
            continue;
        for (size_t n = 0; n < cases[i].bytes.len; n++) {
            char *part = malloc(n + 1); /* of just that size, so that a read beyond it is seen */
            assert_non_null(part);
            memcpy(part, cases[i].bytes.ptr, n);
            char *exact = realloc(part, n ? n : 1);
            size_t skip = 0, len = 0;
            const char *why;
            assert_int_equal(http_head_length((struct str){exact, n}, &skip, &len, &why), ERR_OK);
            assert_int_equal(len, 0);
            free(exact);
        }
    }
}

static void test_what_follows_the_head_is_not_its_part(void **state)
{
    (void)state;
    struct str two = STR(GOOD("") GOOD("X: y\r\n"));
    size_t skip, len;
    const char *why;
    assert_int_equal(http_head_length(two, &skip, &len, &why), ERR_OK);
    assert_int_equal(len, strlen(GOOD("")));
    assert_int_equal(skip, 0);
}

/* ---- bounds ---- */

static enum err head_of(size_t target, size_t fields, size_t value)
{
    struct strbuf b;
    struct http_req req;
    struct http_head head;
    strbuf_init(&b, 4 << 20);
    strbuf_addz(&b, "GET /");
    for (size_t i = 1; i < target; i++)
        strbuf_addc(&b, 'a');
    strbuf_addz(&b, " HTTP/1.1\r\nHost: x\r\n");
    for (size_t i = 0; i < fields; i++) {
        strbuf_addz(&b, "X: ");
        for (size_t k = 0; k < value; k++)
            strbuf_addc(&b, 'v');
        strbuf_addz(&b, "\r\n");
    }
    strbuf_addz(&b, "\r\n");
    enum err err = parse(strbuf_str(&b), &req, &head);
    arena_done(&req.arena);
    strbuf_done(&b);
    return err;
}

static void test_bounds_of_a_head(void **state)
{
    (void)state;
    assert_int_equal(head_of(1, LIMIT_HEADER_COUNT - 1, 1), ERR_OK);
    assert_int_equal(head_of(1, LIMIT_HEADER_COUNT, 1), ERR_HEADERS_TOO_LARGE);
    assert_int_equal(head_of(LIMIT_TARGET, 1, 1), ERR_OK);
    assert_int_equal(head_of(LIMIT_TARGET + 1, 1, 1), ERR_URI_TOO_LONG);
    assert_int_equal(head_of(1 << 20, 1, 1), ERR_URI_TOO_LONG);
    assert_int_equal(head_of(1, 1, LIMIT_HEADERS - 64), ERR_OK);
    assert_int_equal(head_of(1, 1, LIMIT_HEADERS), ERR_HEADERS_TOO_LARGE);
    assert_int_equal(head_of(1, 1, 1 << 20), ERR_HEADERS_TOO_LARGE);
    assert_int_equal(head_of(1, 90, 1000), ERR_HEADERS_TOO_LARGE);
}

static void test_a_flood_without_a_line_end_is_refused_before_it_is_whole(void **state)
{
    (void)state;
    static char flood[LIMIT_HEADERS * 2];
    size_t skip, len;
    const char *why;
    memset(flood, 'a', sizeof flood);
    assert_int_equal(http_head_length((struct str){flood, sizeof flood}, &skip, &len, &why), ERR_URI_TOO_LONG);
    memcpy(flood, "GET / HTTP/1.1\r\n", 16);
    assert_int_equal(http_head_length((struct str){flood, sizeof flood}, &skip, &len, &why), ERR_HEADERS_TOO_LARGE);
}

/* ---- queries ---- */

static void test_queries_are_decoded(void **state)
{
    (void)state;
    struct http_req req;
    struct http_head head;
    struct str v;
    assert_int_equal(parse(STR(REQ("/q?a=1&b=x+y%26&a=2&&flag&e=")), &req, &head), ERR_OK);
    assert_true(http_query(&req, "a", 0, &v) && str_eqz(v, "1"));
    assert_true(http_query(&req, "a", 1, &v) && str_eqz(v, "2"));
    assert_false(http_query(&req, "a", 2, &v));
    assert_true(http_query(&req, "b", 0, &v) && str_eqz(v, "x y&"));
    assert_true(http_query(&req, "flag", 0, &v) && v.len == 0);
    assert_true(http_query(&req, "e", 0, &v) && v.len == 0);
    assert_false(http_query(&req, "c", 0, &v));
    arena_done(&req.arena);
    assert_int_equal(parse(STR(REQ("/q?a=%zz&%00=1")), &req, &head), ERR_OK);
    assert_false(http_query(&req, "a", 0, &v)); /* broken: no parameter of that name */
    assert_true(http_query_name(&req, 0, &v) && str_eqz(v, "%"));
    arena_done(&req.arena);
}

/* A target has room for thousands of parameters, and a handler asks for a dozen: what that costs must not grow with their product. */
static void test_a_query_of_thousands_costs_a_lookup_no_memory(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct http_req req;
    struct http_head head;
    struct strbuf text;
    struct str v;
    strbuf_init(&text, 1 << 20);
    strbuf_addz(&text, "GET /q?");
    for (int i = 0; i < COUNT; i++)
        strbuf_addz(&text, "%61=&");
    strbuf_addz(&text, " HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(parse(strbuf_str(&text), &req, &head), ERR_URI_TOO_LONG);
    arena_done(&req.arena);
    strbuf_reset(&text);
    strbuf_addz(&text, "GET /q?");
    for (int i = 0; i < COUNT; i++)
        strbuf_addz(&text, "a=&");
    strbuf_addz(&text, "%62=last HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(parse(strbuf_str(&text), &req, &head), ERR_OK);
    size_t used = req.arena.used;
    assert_true(http_query(&req, "b", 0, &v) && str_eqz(v, "last"));
    assert_true(http_query(&req, "a", COUNT - 1, &v) && v.len == 0);
    assert_false(http_query(&req, "a", COUNT, &v));
    assert_false(http_query(&req, "c", 0, &v));
    assert_true(req.arena.used - used < 100);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(http_query_name(&req, i, &v) && str_eqz(v, "a"));
    assert_true(http_query_name(&req, COUNT, &v) && str_eqz(v, "b"));
    assert_false(http_query_name(&req, COUNT + 1, &v));
    assert_true(http_query_name(&req, 7, &v) && str_eqz(v, "a")); /* in any order */
    assert_true(http_query_name(&req, COUNT, &v) && str_eqz(v, "b"));
    arena_done(&req.arena);
    strbuf_done(&text);
}

static void test_header_names_have_no_case(void **state)
{
    (void)state;
    struct http_req req;
    struct http_head head;
    assert_int_equal(parse(STR(GOOD("X-API-Key:  a b \t\r\nx-api-KEY: c\r\n")), &req, &head), ERR_OK);
    assert_true(str_eqz(http_header(&req, "x-api-key"), "a b"));
    assert_int_equal(http_header_count(&req, "x-api-key"), 2);
    assert_null(http_header(&req, "other").ptr);
    arena_done(&req.arena);
}

/* ---- chunked bodies ---- */

struct chunk_case {
    const char *name;
    struct str bytes;
    enum err err;
    const char *body;
    size_t rest; /* bytes behind the body */
};

static const struct chunk_case chunks[] = {
    {"nothing", STR("0\r\n\r\n"), ERR_OK, "", 0},
    {"one", STR("5\r\nhello\r\n0\r\n\r\n"), ERR_OK, "hello", 0},
    {"two", STR("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\nGET"), ERR_OK, "hello", 3},
    {"hexadecimal", STR("A\r\n0123456789\r\n0000\r\n\r\n"), ERR_OK, "0123456789", 0},
    {"extensions", STR("5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n"), ERR_OK, "hello", 0},
    {"a quoted extension", STR("5;a=\"b;c\\\"d\"\r\nhello\r\n0\r\n\r\n"), ERR_OK, "hello", 0},
    {"trailers", STR("0\r\nX: y\r\nZ: w\r\n\r\nrest"), ERR_OK, "", 4},
    {"CRLF is data", STR("4\r\na\r\nb\r\n0\r\n\r\n"), ERR_OK, "a\r\nb", 0},
    {"no size", STR("\r\nhello"), ERR_BAD_REQUEST, NULL, 0},
    {"no number", STR("z\r\nhello\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"0x5", STR("0x5\r\nhello\r\n0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"-5", STR("-5\r\nhello\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"+5", STR("+5\r\nhello\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"a space before the size", STR(" 5\r\nhello\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"a space behind the size", STR("5 \r\nhello\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"bare LF behind the size", STR("5\nhello\r\n0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"bare LF behind an extension", STR("5;a\nhello\r\n0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"a quoted line end", STR("5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"bare CR in an extension", STR("5;a\rb\r\nhello\r\n0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"bare CR in a trailer", STR("0\r\nX: a\rb\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"bare LF in a trailer", STR("0\r\nX: a\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"NUL in a trailer", STR("0\r\nX: \0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"bare CR behind the size", STR("5\rhello\r\n0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"data longer than its size", STR("4\r\nhello\r\n0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"bare LF behind data", STR("5\r\nhello\n0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"bare CR behind data", STR("5\r\nhello\rX0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"nothing behind data", STR("5\r\nhello0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"bare LF at the end", STR("0\r\n\n"), ERR_BAD_REQUEST, NULL, 0},
    {"NUL in an extension", STR("5;\0\r\nhello\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"nine digits", STR("000000005\r\nhello\r\n0\r\n\r\n"), ERR_BAD_REQUEST, NULL, 0},
    {"a size that wraps to 5", STR("10000000000000005\r\nhello\r\n"), ERR_BODY_TOO_LARGE, NULL, 0},
    {"a size over the bound", STR("401\r\n"), ERR_BODY_TOO_LARGE, NULL, 0},
    {"a sum over the bound", STR("1\r\nx\r\n400\r\n"), ERR_BODY_TOO_LARGE, NULL, 0},
    {"negative as 32 bits", STR("ffffffff\r\n"), ERR_BODY_TOO_LARGE, NULL, 0},
};
enum { MAX_BODY = 1024 };

static void feed(const struct chunk_case *c, size_t step)
{
    struct http_chunked state = {0};
    struct strbuf body;
    strbuf_init(&body, MAX_BODY);
    int status = HTTP_CHUNKED_MORE;
    const char *why = NULL;
    enum err err = ERR_OK;
    size_t at = 0, rest = 0;
    while (at < c->bytes.len && !err && status == HTTP_CHUNKED_MORE) {
        size_t n = step < c->bytes.len - at ? step : c->bytes.len - at;
        char *piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, c->bytes.ptr + at, n);
        struct str in = {piece, n};
        err = http_chunked_feed(&state, &in, &body, MAX_BODY, &status, &why);
        at += n;
        rest = in.len;
        free(piece);
    }
    if (err != c->err)
        fail_msg("%s in steps of %zu: %s instead of %s", c->name, step, err_code(err), err_code(c->err));
    if (!err) {
        assert_int_equal(status, HTTP_CHUNKED_DONE);
        assert_true(str_eqz(strbuf_str(&body), c->body));
        assert_int_equal(c->bytes.len - at + rest, c->rest);
    }
    strbuf_done(&body);
}

static void test_chunked_bodies_however_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++)
        for (size_t step = 1; step <= chunks[i].bytes.len; step++)
            feed(&chunks[i], step);
}

static void test_extensions_and_trailers_are_bounded(void **state)
{
    (void)state;
    static const char *const starts[] = {"5;", "0\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        struct strbuf text, body;
        strbuf_init(&text, 1 << 20);
        strbuf_init(&body, MAX_BODY);
        strbuf_addz(&text, starts[i]);
        for (int k = 0; k < 20000; k++)
            strbuf_addz(&text, i ? "X: y\r\n" : "a=b;");
        struct http_chunked chunked = {0};
        struct str in = strbuf_str(&text);
        int status;
        const char *why;
        assert_int_equal(http_chunked_feed(&chunked, &in, &body, MAX_BODY, &status, &why), ERR_BAD_REQUEST);
        strbuf_done(&text);
        strbuf_done(&body);
    }
}

/* One-byte chunks with long extensions cost more than they bring: the sum is bounded, not each. */
static void test_many_chunks_share_one_bound_for_extensions(void **state)
{
    (void)state;
    struct strbuf text, body;
    strbuf_init(&text, 1 << 20);
    strbuf_init(&body, MAX_BODY);
    for (int k = 0; k < 500; k++)
        strbuf_addz(&text, "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n");
    struct http_chunked chunked = {0};
    struct str in = strbuf_str(&text);
    int status;
    const char *why;
    assert_int_equal(http_chunked_feed(&chunked, &in, &body, MAX_BODY, &status, &why), ERR_BAD_REQUEST);
    strbuf_done(&text);
    strbuf_done(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_head_of_the_table),
        cmocka_unit_test(test_methods_are_told_apart),
        cmocka_unit_test(test_broken_framing_is_named),
        cmocka_unit_test(test_close_is_heeded_in_a_refused_head),
        cmocka_unit_test(test_the_query_of_a_target),
        cmocka_unit_test(test_every_beginning_of_a_good_head_waits_for_more),
        cmocka_unit_test(test_what_follows_the_head_is_not_its_part),
        cmocka_unit_test(test_bounds_of_a_head),
        cmocka_unit_test(test_a_flood_without_a_line_end_is_refused_before_it_is_whole),
        cmocka_unit_test(test_queries_are_decoded),
        cmocka_unit_test(test_a_query_of_thousands_costs_a_lookup_no_memory),
        cmocka_unit_test(test_header_names_have_no_case),
        cmocka_unit_test(test_chunked_bodies_however_they_are_cut),
        cmocka_unit_test(test_extensions_and_trailers_are_bounded),
        cmocka_unit_test(test_many_chunks_share_one_bound_for_extensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
