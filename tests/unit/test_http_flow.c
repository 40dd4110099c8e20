/* Answers that are handed on as they come (common/http_client.h): in pieces, paused, idle, closed from anywhere; and requests over a Unix socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/strbuf.h"

enum { FLOOD = 8 << 20 };

/* A server on the same loop, with one connection at a time: it reads what comes, and sends what the test says. */
static struct loop *loop;
static struct http_client *client;
static struct {
    union {
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } listener, peer;
    bool peer_open, unix_socket;
    char path[64];
    int port;
    const char *first; /* sent when the request's head is there */
    struct strbuf seen;
    size_t unsent;
} server;

static struct {
    int heads, ends, status;
    enum err err;
    char type[64], field[64], error[128];
    struct strbuf body;
    size_t bytes;
    struct http_flow *flow;
    const char *then; /* what the server sends when a piece has come */
    bool close_in_head, close_in_body, pause_in_body, cut;
    size_t stop_at; /* the loop stops when so many bytes have come */
} got;

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    static char bytes[65536];
    (void)h;
    (void)size;
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static uv_stream_t *peer(void)
{
    return (uv_stream_t *)&server.peer;
}

static void close_peer(void)
{
    if (server.peer_open)
        uv_close((uv_handle_t *)&server.peer, NULL);
    server.peer_open = false;
}

static void on_written(uv_write_t *w, int status)
{
    (void)status;
    server.unsent -= (size_t)(uintptr_t)w->data;
    free(w);
}

static void say(const char *bytes, size_t len)
{
    uv_write_t *w = calloc(1, sizeof *w);
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    w->data = (void *)len;
    server.unsent += len;
    assert_int_equal(uv_write(w, peer(), &out, 1, on_written), 0);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    (void)s;
    if (n < 0) {
        close_peer();
        return;
    }
    strbuf_add(&server.seen, (struct str){buf->base, (size_t)n});
    if (server.first && strstr(server.seen.ptr, "\r\n\r\n")) {
        say(server.first, strlen(server.first));
        server.first = NULL;
    }
}

static void on_connection(uv_stream_t *s, int status)
{
    assert_int_equal(status, 0);
    assert_false(server.peer_open);
    if (server.unix_socket)
        uv_pipe_init(loop_uv(loop), &server.peer.pipe, 0);
    else
        uv_tcp_init(loop_uv(loop), &server.peer.tcp);
    server.peer_open = true;
    assert_int_equal(uv_accept(s, peer()), 0);
    uv_read_start(peer(), on_alloc, on_read);
}

static void serve(bool unix_socket)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, bound;
    int len = sizeof bound;
    server.unix_socket = unix_socket;
    if (unix_socket) {
        snprintf(server.path, sizeof server.path, "/tmp/errand-flow-%d.sock", getpid());
        uv_pipe_init(loop_uv(loop), &server.listener.pipe, 0);
        assert_int_equal(uv_pipe_bind(&server.listener.pipe, server.path), 0);
    } else {
        uv_tcp_init(loop_uv(loop), &server.listener.tcp);
        assert_int_equal(uv_tcp_bind(&server.listener.tcp, (struct sockaddr *)&any, 0), 0);
    }
    assert_int_equal(uv_listen((uv_stream_t *)&server.listener, 8, on_connection), 0);
    if (!unix_socket) {
        uv_tcp_getsockname(&server.listener.tcp, (struct sockaddr *)&bound, &len);
        server.port = ntohs(bound.sin_port);
    }
}

static int start(void **state)
{
    (void)state;
    memset(&got, 0, sizeof got);
    memset(&server, 0, sizeof server);
    loop = loop_new();
    client = http_client_new(loop, true);
    strbuf_init(&server.seen, 1 << 20);
    strbuf_init(&got.body, 1 << 16);
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
    strbuf_done(&got.body);
    return 0;
}

static void on_head(void *ctx, const struct http_flow_head *head)
{
    (void)ctx;
    got.heads++;
    got.status = head->status;
    snprintf(got.type, sizeof got.type, "%.*s", STR_ARG(head->content_type));
    snprintf(got.field, sizeof got.field, "%.*s", STR_ARG(http_flow_field(head, "x-field")));
    assert_int_equal(http_flow_field(head, "x-none").len, 0);
    if (got.close_in_head) {
        http_flow_close(got.flow);
        loop_stop(loop);
    }
}

static void on_body(void *ctx, struct str bytes)
{
    (void)ctx;
    assert_int_equal(got.heads, 1);
    if (got.bytes < 1024)
        strbuf_add(&got.body, bytes);
    got.bytes += bytes.len;
    if (got.close_in_body) {
        http_flow_close(got.flow);
        loop_stop(loop);
    }
    if (got.pause_in_body)
        http_flow_pause(got.flow, true);
    if (got.then)
        say(got.then, strlen(got.then));
    got.then = NULL;
    if (got.stop_at > 0 && got.bytes >= got.stop_at)
        loop_stop(loop);
}

static void on_end(void *ctx, enum err err, const char *error)
{
    (void)ctx;
    got.ends++;
    got.err = err;
    assert_int_equal(err == ERR_OK, error == NULL);
    snprintf(got.error, sizeof got.error, "%s", error ? error : "");
    loop_stop(loop);
}

static const struct http_flow_fns fns = {on_head, on_body, on_end};

static void open_flow(const char *host, struct http_call call)
{
    char url[256];
    snprintf(url, sizeof url, "http://%s:%d/run?x=1", host, server.port);
    call.method = call.method ? call.method : "POST";
    call.url = url;
    call.max_response = call.max_response ? call.max_response : SIZE_MAX;
    got.flow = http_client_flow(client, &call, &fns, NULL);
    assert_int_equal(got.heads + got.ends, 0);
}

static void run_flow(struct http_call call)
{
    open_flow("127.0.0.1", call);
    loop_run(loop);
}

static void on_time(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

static void run_for(int64_t ms)
{
    struct loop_timer t = {0};
    loop_timer_init(&t, loop, on_time, NULL);
    loop_timer_set(&t, ms);
    loop_run(loop);
    loop_timer_stop(&t);
}

#define CHUNKED "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Field: 7\r\nTransfer-Encoding: chunked\r\n\r\n"

static void test_pieces_come_as_they_are_sent(void **state)
{
    (void)state;
    serve(false);
    server.first = "HTTP/1.1 103 Early\r\nX-Field: 5\r\n\r\n" CHUNKED "5\r\nhello\r\n";
    got.then = "6\r\n world\r\n0\r\n\r\n"; /* sent only when the first piece was handed on */
    run_flow((struct http_call){.timeout_ms = 10000, .body = STR("{}")});
    assert_int_equal(got.ends, 1);
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.heads, 1);
    assert_int_equal(got.status, 200);
    assert_string_equal(got.type, "text/event-stream");
    assert_string_equal(got.field, "7");
    assert_string_equal(got.body.ptr, "hello world");
    assert_non_null(strstr(server.seen.ptr, "POST /run?x=1 HTTP/1.1\r\n"));
    assert_int_equal(http_client_open(client), 0);
}

static void test_a_cut_is_an_error(void **state)
{
    (void)state;
    serve(false);
    server.first = CHUNKED "5\r\nhello\r\n";
    got.stop_at = 5;
    run_flow((struct http_call){.timeout_ms = 10000});
    close_peer();
    loop_run(loop);
    assert_int_equal(got.ends, 1);
    assert_int_equal(got.err, ERR_IO);
    assert_string_equal(got.body.ptr, "hello");
}

static void test_silence_ends_by_the_idle_time(void **state)
{
    (void)state;
    serve(false);
    server.first = CHUNKED "5\r\nhello\r\n";
    int64_t began = clock_mono_ms();
    run_flow((struct http_call){.idle_ms = 80}); /* no bound on the whole */
    assert_int_equal(got.err, ERR_TIMEOUT);
    assert_string_equal(got.error, "Nothing came for too long");
    assert_string_equal(got.body.ptr, "hello");
    assert_in_range(clock_mono_ms() - began, 70, 5000);
}

static void test_a_server_that_never_answers_is_idle(void **state)
{
    (void)state;
    serve(false);
    run_flow((struct http_call){.idle_ms = 60});
    assert_int_equal(got.err, ERR_TIMEOUT);
    assert_int_equal(got.heads, 0);
}

static void test_a_paused_flow_takes_no_more_than_buffers(void **state)
{
    (void)state;
    char *flood = malloc(FLOOD);
    memset(flood, 'x', FLOOD);
    serve(false);
    server.first = "HTTP/1.1 200 OK\r\nContent-Length: 8388613\r\n\r\nhello";
    got.stop_at = 5;
    run_flow((struct http_call){.idle_ms = 150});
    got.stop_at = 0;
    http_flow_pause(got.flow, true);
    say(flood, FLOOD);
    run_for(400); /* longer than it may be idle */
    assert_int_equal(got.ends, 0);
    assert_int_equal(got.bytes, 5);
    assert_true(server.unsent > 0); /* the sender waits */
    http_flow_pause(got.flow, false);
    loop_run(loop);
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.bytes, FLOOD + 5);
    free(flood);
}

/* Paused from inside each piece, and resumed from outside: none is lost or doubled. */
static void test_pausing_at_each_piece_loses_none(void **state)
{
    (void)state;
    char *flood = malloc(FLOOD / 8);
    memset(flood, 'x', FLOOD / 8);
    serve(false);
    server.first = "HTTP/1.1 200 OK\r\nContent-Length: 1048578\r\n\r\nab";
    got.stop_at = 2;
    got.pause_in_body = true;
    run_flow((struct http_call){.timeout_ms = 20000});
    say(flood, FLOOD / 8);
    int rounds = 0;
    for (; got.ends == 0 && rounds < 100000; rounds++) {
        http_flow_pause(got.flow, false);
        loop_run(loop);
    }
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.bytes, FLOOD / 8 + 2);
    assert_true(rounds > 10);
    free(flood);
}

static void test_a_body_over_its_bound_is_refused(void **state)
{
    (void)state;
    serve(false);
    server.first = CHUNKED "5\r\nhello\r\n";
    got.then = "6\r\n world\r\n0\r\n\r\n";
    run_flow((struct http_call){.timeout_ms = 10000, .max_response = 10});
    assert_int_equal(got.err, ERR_BODY_TOO_LARGE);
    assert_string_equal(got.body.ptr, "hello");
}

static void test_closing_brings_no_end(void **state)
{
    (void)state;
    serve(false);
    for (int i = 0; i < 3; i++) {
        memset(&got, 0, offsetof(typeof(got), body));
        got.close_in_head = i == 0;
        got.close_in_body = i == 1;
        server.first = CHUNKED "5\r\nhello\r\n";
        strbuf_reset(&server.seen);
        open_flow("127.0.0.1", (struct http_call){.timeout_ms = 10000, .idle_ms = 10000});
        if (i == 2)
            http_flow_close(got.flow); /* before anything */
        else
            loop_run(loop);
        run_for(30);
        assert_int_equal(got.ends, 0);
        assert_int_equal(http_client_open(client), 0);
        assert_false(server.peer_open); /* the server saw it */
    }
}

static void test_freeing_ends_an_open_flow(void **state)
{
    (void)state;
    serve(false);
    server.first = CHUNKED "5\r\nhello\r\n";
    got.stop_at = 5;
    run_flow((struct http_call){.idle_ms = 1000});
    http_client_free(client);
    client = NULL;
    assert_int_equal(got.ends, 1);
    assert_int_equal(got.err, ERR_CANCELED);
}

static void test_a_unix_socket_is_no_private_address(void **state)
{
    (void)state;
    http_client_free(client);
    client = http_client_new(loop, false);
    serve(true);
    server.first = "HTTP/1.1 204 OK\r\n\r\n";
    run_flow((struct http_call){.method = "DELETE", .timeout_ms = 10000, .unix_socket = server.path});
    unlink(server.path);
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.status, 204);
    assert_non_null(strstr(server.seen.ptr, "DELETE /run?x=1 HTTP/1.1\r\n"));
}

static void test_without_a_socket_private_addresses_are_refused(void **state)
{
    (void)state;
    http_client_free(client);
    client = http_client_new(loop, false);
    serve(false);
    run_flow((struct http_call){.timeout_ms = 10000});
    assert_int_equal(got.err, ERR_FORBIDDEN);
    assert_int_equal(got.heads, 0);
}

static void test_a_head_request_waits_for_no_body(void **state)
{
    (void)state;
    serve(false);
    server.first = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    run_flow((struct http_call){.method = "HEAD", .timeout_ms = 10000});
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.bytes, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pieces_come_as_they_are_sent),
        TEST(test_a_cut_is_an_error),
        TEST(test_silence_ends_by_the_idle_time),
        TEST(test_a_server_that_never_answers_is_idle),
        TEST(test_a_paused_flow_takes_no_more_than_buffers),
        TEST(test_pausing_at_each_piece_loses_none),
        TEST(test_a_body_over_its_bound_is_refused),
        TEST(test_closing_brings_no_end),
        TEST(test_freeing_ends_an_open_flow),
        TEST(test_a_unix_socket_is_no_private_address),
        TEST(test_without_a_socket_private_addresses_are_refused),
        TEST(test_a_head_request_waits_for_no_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
