#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/strbuf.h"

/* A server on the same loop: it reads a request to its end, and answers what `answer` says; then it closes. NULL: it says nothing. */
struct server {
    uv_tcp_t listener;
    uv_tcp_t peer;
    bool peer_open;
    int connections;
    int port;
    const char *answer;
    size_t answer_len;
    struct strbuf seen;
    uv_write_t write;
};

static struct loop *loop;
static struct http_client *client;
static struct server server;

static struct {
    int count;
    enum err err;
    int status;
    char body[256], type[64], error[128];
    int64_t max_age_s, retry_after_s;
} got;

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    static char bytes[65536];
    (void)h;
    (void)size;
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void close_peer(void)
{
    if (server.peer_open)
        uv_close((uv_handle_t *)&server.peer, NULL);
    server.peer_open = false;
}

static void on_written(uv_write_t *w, int status)
{
    (void)w;
    (void)status;
    close_peer();
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    if (n < 0) {
        close_peer();
        return;
    }
    strbuf_add(&server.seen, (struct str){buf->base, (size_t)n});
    const char *end = strstr(server.seen.ptr, "\r\n\r\n"), *length = strcasestr(server.seen.ptr, "content-length:");
    if (!end || !server.answer || strlen(end + 4) < (length ? (size_t)atoi(length + 15) : 0))
        return;
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)server.answer, (unsigned)server.answer_len);
    uv_write(&server.write, s, &out, 1, on_written);
    uv_read_stop(s);
}

static void on_connection(uv_stream_t *s, int status)
{
    assert_int_equal(status, 0);
    assert_false(server.peer_open);
    server.connections++;
    uv_tcp_init(loop_uv(loop), &server.peer);
    server.peer_open = true;
    assert_int_equal(uv_accept(s, (uv_stream_t *)&server.peer), 0);
    uv_read_start((uv_stream_t *)&server.peer, on_alloc, on_read);
}

static void serve(const char *answer)
{
    server.answer = answer;
    server.answer_len = answer ? strlen(answer) : 0;
}

static int start(void **state)
{
    (void)state;
    memset(&got, 0, sizeof got);
    memset(&server, 0, sizeof server);
    loop = loop_new();
    client = http_client_new(loop, true);
    strbuf_init(&server.seen, 1 << 20);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, bound;
    int len = sizeof bound;
    uv_tcp_init(loop_uv(loop), &server.listener);
    assert_int_equal(uv_tcp_bind(&server.listener, (struct sockaddr *)&any, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&server.listener, 8, on_connection), 0);
    uv_tcp_getsockname(&server.listener, (struct sockaddr *)&bound, &len);
    server.port = ntohs(bound.sin_port);
    return 0;
}

static int end(void **state)
{
    (void)state;
    http_client_free(client);
    close_peer();
    uv_close((uv_handle_t *)&server.listener, NULL);
    loop_free(loop);
    strbuf_done(&server.seen);
    return 0;
}

static void on_answer(void *ctx, enum err err, const struct http_answer *a)
{
    got.count++;
    got.err = err;
    got.status = a->status;
    got.max_age_s = a->max_age_s;
    got.retry_after_s = a->retry_after_s;
    snprintf(got.body, sizeof got.body, "%.*s", STR_ARG(a->body));
    snprintf(got.type, sizeof got.type, "%.*s", STR_ARG(a->content_type));
    snprintf(got.error, sizeof got.error, "%s", a->error ? a->error : "");
    assert_int_equal(a->status == 0, a->error != NULL);
    if (ctx)
        loop_stop(ctx);
}

/* host: "127.0.0.1" or the like; the port is the server's. */
static void send_to(const char *host, const char *path, struct http_call call)
{
    char url[256];
    snprintf(url, sizeof url, "http://%s:%d%s", host, server.port, path);
    call.method = call.method ? call.method : "GET";
    call.url = url;
    call.timeout_ms = call.timeout_ms ? call.timeout_ms : 10000;
    call.max_response = call.max_response ? call.max_response : 200;
    http_client_send(client, &call, on_answer, loop);
    assert_int_equal(got.count, 0);
    loop_run(loop);
    assert_int_equal(got.count, 1);
    assert_int_equal(http_client_open(client), 0);
}

static void test_an_answer_comes_back_whole(void **state)
{
    (void)state;
    serve("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: public, max-age=600\r\nContent-Length: "
          "2\r\n\r\n{}");
    send_to("127.0.0.1", "/keys?x=1", (struct http_call){0});
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.status, 200);
    assert_string_equal(got.body, "{}");
    assert_string_equal(got.type, "application/json");
    assert_int_equal(got.max_age_s, 600);
    assert_int_equal(got.retry_after_s, -1);
    assert_non_null(strstr(server.seen.ptr, "GET /keys?x=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(server.seen.ptr, "User-Agent: errand/"));
}

static void test_a_post_carries_headers_and_body(void **state)
{
    (void)state;
    const struct str headers[] = {STR("Content-Type: application/json"), STR("webhook-id: msg_1")};
    serve("HTTP/1.1 503 No\r\nRetry-After: 17\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n");
    send_to("127.0.0.1", "/",
            (struct http_call){.method = "POST", .headers = headers, .header_count = 2, .body = STR("{\"a\":1}")});
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.status, 503);
    assert_int_equal(got.retry_after_s, 17);
    assert_int_equal(got.max_age_s, 0);
    assert_non_null(strstr(server.seen.ptr, "POST / HTTP/1.1\r\n"));
    assert_non_null(strstr(server.seen.ptr, "webhook-id: msg_1\r\n"));
    assert_non_null(strstr(server.seen.ptr, "Content-Length: 7\r\n"));
    assert_non_null(strstr(server.seen.ptr, "\r\n\r\n{\"a\":1}"));
    assert_null(strcasestr(server.seen.ptr, "expect:"));
}

static void test_redirects_are_answers(void **state)
{
    (void)state;
    serve("HTTP/1.1 307 Elsewhere\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
    send_to("127.0.0.1", "/", (struct http_call){.method = "POST"});
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.status, 307);
    assert_int_equal(server.connections, 1);
}

static void test_what_is_too_long_is_refused(void **state)
{
    (void)state;
    serve("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world");
    send_to("127.0.0.1", "/", (struct http_call){.max_response = 10});
    assert_int_equal(got.err, ERR_BODY_TOO_LARGE);
    got.count = 0;
    strbuf_reset(&server.seen);
    send_to("127.0.0.1", "/", (struct http_call){.max_response = 11});
    assert_int_equal(got.err, ERR_OK);
    assert_string_equal(got.body, "hello world");
    got.count = 0;
    strbuf_reset(&server.seen);
    struct strbuf head;
    strbuf_init(&head, 100000);
    strbuf_addz(&head, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 200; i++)
        strbuf_addf(&head, "X-Long-%d: %080d\r\n", i, i);
    strbuf_addz(&head, "Content-Length: 0\r\n\r\n");
    serve(head.ptr);
    send_to("127.0.0.1", "/", (struct http_call){0});
    assert_int_equal(got.err, ERR_BODY_TOO_LARGE);
    strbuf_done(&head);
}

static void test_silence_ends_by_the_timeout(void **state)
{
    (void)state;
    serve(NULL);
    int64_t began = clock_mono_ms();
    send_to("127.0.0.1", "/", (struct http_call){.timeout_ms = 60});
    assert_int_equal(got.err, ERR_TIMEOUT);
    assert_in_range(clock_mono_ms() - began, 50, 5000);
}

static void test_half_an_answer_is_none(void **state)
{
    (void)state;
    serve("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
    send_to("127.0.0.1", "/", (struct http_call){0});
    assert_int_equal(got.err, ERR_IO);
    assert_int_equal(got.status, 0);
}

static void test_private_addresses_are_refused_by_any_name(void **state)
{
    (void)state;
    http_client_free(client);
    client = http_client_new(loop, false);
    serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    static const char *const hosts[] = {"127.0.0.1", "localhost", "127.1", "2130706433",         "0x7f000001",
                                        "0",         "[::1]",     "[::]",  "[::ffff:127.0.0.1]", "0177.0.0.1"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        got.count = 0;
        send_to(hosts[i], "/", (struct http_call){0});
        if (got.err != ERR_FORBIDDEN)
            fail_msg("%s: %s (%s)", hosts[i], err_code(got.err), got.error);
    }
    assert_int_equal(server.connections, 0);
}

static void test_an_allowed_localhost_is_reached(void **state)
{
    (void)state;
    serve("HTTP/1.1 204 OK\r\n\r\n");
    send_to("localhost", "/", (struct http_call){0});
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.status, 204);
}

static void expect_refused_url(const char *url, bool https_only)
{
    got.count = 0;
    struct http_call call = {
        .method = "GET", .url = url, .timeout_ms = 2000, .max_response = 10, .https_only = https_only};
    http_client_send(client, &call, on_answer, loop);
    loop_run(loop);
    if (got.count != 1 || got.err != ERR_FORBIDDEN)
        fail_msg("%s: %s (%s)", url, err_code(got.err), got.error);
    assert_null(strstr(got.error, "pw"));
}

static void test_other_urls_are_refused(void **state)
{
    (void)state;
    char url[80];
    expect_refused_url("file:///etc/passwd", false);
    expect_refused_url("gopher://127.0.0.1/", false);
    expect_refused_url("ftp://127.0.0.1/", false);
    expect_refused_url("http://", false);
    snprintf(url, sizeof url, "http://user:pw@127.0.0.1:%d/", server.port);
    expect_refused_url(url, false);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", server.port);
    expect_refused_url(url, true);
    assert_int_equal(server.connections, 0);
}

static void test_a_header_with_a_line_end_is_not_sent(void **state)
{
    (void)state;
    const struct str headers[] = {STR("X-A: 1\r\nX-B: 2")};
    send_to("127.0.0.1", "/", (struct http_call){.headers = headers, .header_count = 1});
    assert_int_not_equal(got.err, ERR_OK);
    assert_int_equal(server.connections, 0);
}

static void test_the_environments_proxy_is_not_asked(void **state)
{
    (void)state;
    setenv("http_proxy", "http://127.0.0.1:9", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:9", 1);
    serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    send_to("127.0.0.1", "/", (struct http_call){0});
    assert_int_equal(got.err, ERR_OK);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
}

/* An answer that asks for the next one, from inside. */
static void on_first(void *ctx, enum err err, const struct http_answer *a)
{
    (void)a;
    assert_int_equal(err, ERR_OK);
    strbuf_reset(&server.seen);
    http_client_send(client, ctx, on_answer, loop);
}

static void test_a_callback_may_send_again(void **state)
{
    (void)state;
    char url[80];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", server.port);
    serve("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    struct http_call call = {.method = "GET", .url = url, .timeout_ms = 10000, .max_response = 10};
    http_client_send(client, &call, on_first, &call);
    loop_run(loop);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(server.connections, 2);
}

static void test_freeing_cancels_each_once(void **state)
{
    (void)state;
    char url[80];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", server.port);
    const struct str bad = STR("X: 1\n");
    struct http_call call = {.method = "GET", .url = url, .timeout_ms = 10000, .max_response = 10};
    for (int i = 0; i < 3; i++) {
        call.headers = i == 2 ? &bad : NULL;
        call.header_count = i == 2;
        http_client_send(client, &call, on_answer, NULL);
    }
    assert_int_equal(http_client_open(client), 3);
    http_client_free(client);
    client = NULL;
    assert_int_equal(got.count, 3);
    assert_int_equal(got.err, ERR_CANCELED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_answer_comes_back_whole),
        TEST(test_a_post_carries_headers_and_body),
        TEST(test_redirects_are_answers),
        TEST(test_what_is_too_long_is_refused),
        TEST(test_silence_ends_by_the_timeout),
        TEST(test_half_an_answer_is_none),
        TEST(test_private_addresses_are_refused_by_any_name),
        TEST(test_an_allowed_localhost_is_reached),
        TEST(test_other_urls_are_refused),
        TEST(test_a_header_with_a_line_end_is_not_sent),
        TEST(test_the_environments_proxy_is_not_asked),
        TEST(test_a_callback_may_send_again),
        TEST(test_freeing_cancels_each_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
