/* The connection's states over a transport that is none: keep-alive, pipelining, bodies, streams, bounds, timeouts; everything again cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"
#include "tests/unit/conn_rig.h"

#define H "Host: x\r\n"

static int64_t now_us;

static int64_t fake_us(void)
{
    return now_us;
}

static int start(void **state)
{
    static struct rig rig;
    now_us = 1000000;
    clock_set_source(fake_us, fake_us);
    rig_start(&rig);
    *state = &rig;
    return 0;
}

static int end(void **state)
{
    rig_done(*state);
    clock_set_source(NULL, NULL);
    return 0;
}

static void bytes(struct rig *r, const char *text)
{
    rig_bytes(r, str_of(text));
}

static void nothing(void *ctx)
{
    (void)ctx;
}

/* A timer that is due at once makes the loop look at the clock. */
static void pass_ms(struct rig *r, int64_t ms)
{
    struct loop_timer look;
    loop_timer_init(&look, r->loop, nothing, NULL);
    loop_timer_set(&look, 0); /* before the clock moves, so that it is the earliest */
    now_us += ms * 1000;
    while (loop_timer_is_set(&look))
        rig_turn(r);
}

static bool has(const struct rig *r, const char *part)
{
    return r->out.len > 0 && memmem(r->out.ptr, r->out.len, part, strlen(part));
}

static int count(const struct rig *r, const char *part)
{
    int n = 0;
    const char *at = r->out.ptr, *last = r->out.ptr + r->out.len;
    while (r->out.len > 0 && (at = memmem(at, (size_t)(last - at), part, strlen(part)))) {
        n++;
        at += strlen(part);
    }
    return n;
}

static void clear(struct rig *r)
{
    strbuf_reset(&r->out);
}

/* ---- requests and answers ---- */

static void test_keep_alive(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 3; i++) {
        clear(r);
        bytes(r, "POST /echo?q HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello");
        assert_true(has(r, "HTTP/1.1 200 OK\r\n") && has(r, "Content-Length: 12\r\n") &&
                    has(r, "\r\n\r\nPOST q hello"));
        assert_int_equal(http_conn_state(r->conn), HTTP_CONN_HEAD);
    }
    assert_int_equal(http_conn_held(r->conn), 0);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /later?1 HTTP/1.1\r\n" H "\r\nGET /echo?2 HTTP/1.1\r\n" H "\r\nGET /nothing HTTP/1.1\r\n" H
             "\r\nGET /echo?4 HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(r->requests, 1); /* the second waits for the first one's answer */
    assert_int_equal(r->out.len, 0);
    assert_false(r->reads);
    rig_answer(r);
    const char *one = strstr(r->out.ptr, "GET 1 "), *two = strstr(r->out.ptr, "GET 2 "),
               *three = strstr(r->out.ptr, "404"), *four = strstr(r->out.ptr, "GET 4 ");
    assert_true(one && two && three && four && one < two && two < three && three < four);
    assert_true(r->reads);
}

static void test_connection_close(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /echo HTTP/1.1\r\n" H "Connection: close\r\n\r\nGET /echo HTTP/1.1\r\n" H "\r\n");
    assert_true(has(r, "Connection: close\r\n") && r->requests == 1 && r->closed && !r->reset);
}

static void test_http_1_0(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /echo HTTP/1.0\r\n\r\n");
    assert_true(has(r, "HTTP/1.1 200") && has(r, "Connection: close\r\n") && r->closed);
}

static void test_head_has_the_headers_and_no_body(void **state)
{
    struct rig *r = *state;
    bytes(r, "HEAD /echo HTTP/1.1\r\n" H "\r\n");
    assert_true(has(r, "Content-Length: 6\r\n"));
    assert_memory_equal(r->out.ptr + r->out.len - 4, "\r\n\r\n", 4);
    clear(r);
    bytes(r, "HEAD /stream HTTP/1.1\r\n" H "\r\n");
    assert_true(has(r, "text/event-stream") && !has(r, "hello") && r->stream == NULL);
    assert_false(has(r, "Content-Length")); /* GET would have none either */
    assert_int_equal(http_conn_state(r->conn), HTTP_CONN_HEAD);
}

static void test_expect_gets_a_100_only_when_the_body_is_wanted(void **state)
{
    struct rig *r = *state;
    bytes(r, "POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_string_equal(r->out.ptr, "HTTP/1.1 100 Continue\r\n\r\n");
    bytes(r, "ok");
    assert_true(has(r, "POST  ok"));
    clear(r);
    bytes(r, "POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"); /* it did not wait */
    assert_true(!has(r, "100 Continue") && has(r, "POST  hi"));
    clear(r);
    bytes(r, "POST /nothing HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_true(!has(r, "100 Continue") && has(r, "404"));
}

static void test_a_body_over_the_bound_is_refused_before_it_comes(void **state)
{
    struct rig *r = *state;
    bytes(r, "POST /echo HTTP/1.1\r\n" H "Content-Length: 1025\r\n\r\n");
    assert_true(has(r, "413") && has(r, "body_too_large") && has(r, "Connection: close\r\n"));
    assert_int_equal(r->requests, 0);
    assert_true(r->shut && !r->closed); /* it listens for a moment, so that the answer is not overtaken by a reset */
    bytes(r, "what is still under way");
    rig_turn(r);
    http_conn_on_eof(r->conn, false);
    assert_true(r->closed && !r->reset);
}

static void test_a_chunked_body_over_the_bound(void **state)
{
    struct rig *r = *state;
    bytes(r, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n300\r\n");
    for (int i = 0; i < 0x300; i++)
        bytes(r, "x");
    assert_int_equal(r->out.len, 0);
    bytes(r, "\r\n101\r\n");
    assert_true(has(r, "413") && r->requests == 0);
}

static void test_a_body_that_is_not_taken(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
    assert_true(has(r, "413") && r->requests == 0 && r->shut);
}

static void test_garbage_is_answered_and_ends_it(void **state)
{
    struct rig *r = *state;
    bytes(r, "\x16\x03\x01\x02\r\n\r\n");
    assert_true(has(r, "HTTP/1.1 400") && has(r, "bad_request") && r->shut);
    bytes(r, "GET /echo HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(r->requests, 0); /* nothing behind it can be trusted */
}

static void test_lingering_has_its_time(void **state)
{
    struct rig *r = *state;
    bytes(r, "\x01\r\n\r\n");
    assert_true(r->shut && !r->closed);
    for (int i = 0; i < 19; i++) {
        pass_ms(r, 100);
        bytes(r, "x"); /* does not lengthen it */
    }
    assert_false(r->closed);
    pass_ms(r, 200);
    assert_true(r->closed && !r->reset);
}

static void test_input_that_lingers_is_bounded(void **state)
{
    struct rig *r = *state;
    static char flood[65536];
    memset(flood, 'x', sizeof flood);
    bytes(r, "\x01\r\n\r\n");
    for (int i = 0; i < 1000 && r->conn; i++)
        rig_bytes(r, (struct str){flood, sizeof flood});
    assert_true(r->closed && r->reset);
}

static void test_pipelined_input_is_bounded_while_a_request_is_handled(void **state)
{
    struct rig *r = *state;
    static char flood[65536];
    memset(flood, 'x', sizeof flood);
    bytes(r, "GET /later HTTP/1.1\r\n" H "\r\n");
    for (int i = 0; i < 100 && r->conn; i++)
        rig_bytes(r, (struct str){flood, sizeof flood});
    assert_true(r->closed); /* a socket would not even be read; what came nevertheless has a bound */
}

static void test_a_client_that_pipelines_and_does_not_read_is_left_unread(void **state)
{
    struct rig *r = *state;
    r->room = 0;
    bytes(r, "GET /big HTTP/1.1\r\n" H "\r\n");
    bytes(r, "GET /echo?next HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(r->requests, 1);
    assert_false(r->reads); /* so that its kernel holds the rest, instead of the connection until that is full */
    r->room = SIZE_MAX;
    http_conn_on_writable(r->conn);
    rig_flush(r);
    assert_true(r->requests == 2 && has(r, "GET next ") && r->reads);
}

static void test_close_is_heeded_with_an_error(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /nothing HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    assert_true(has(r, "404") && has(r, "Connection: close\r\n") && r->closed);
    rig_done(r);
    rig_start(r);
    bytes(r, "BREW /echo HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    assert_true(has(r, "405") && has(r, "Connection: close\r\n") && r->closed);
}

/* ---- ends ---- */

static void test_a_client_that_leaves_while_it_is_handled(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /later HTTP/1.1\r\n" H "\r\n");
    http_conn_on_eof(r->conn, true);
    assert_true(r->closed);
    rig_turn(r);
    rig_answer(r); /* the handler knows nothing of it, and may answer whenever it likes */
    assert_int_equal(r->out.len, 0);
}

static void test_a_long_poll_hears_once_that_its_client_left(void **state)
{
    struct rig *r = *state;
    for (int failed = 0; failed <= 1; failed++) {
        bytes(r, "GET /poll HTTP/1.1\r\n" H "\r\n");
        assert_int_equal(r->gone, 0);
        http_conn_on_eof(r->conn, failed);
        assert_true(r->closed && r->gone == 1);
        rig_turn(r);
        assert_null(r->later[0]->conn);
        assert_true(str_eqz(r->later[0]->peer, "peer")); /* for the log, when the connection is freed */
        rig_answer(r);
        assert_true(r->out.len == 0 && r->gone == 1);
        rig_done(r);
        rig_start(r);
    }
    bytes(r, "GET /poll HTTP/1.1\r\n" H "\r\n");
    rig_answer(r);
    http_conn_on_eof(r->conn, false);
    assert_true(has(r, "200 OK") && r->closed && r->gone == 0); /* answered: nobody is told */
}

static void test_a_client_that_shut_its_side_gets_the_rest_of_an_answer_under_way(void **state)
{
    struct rig *r = *state;
    r->room = 50;
    bytes(r, "GET /big HTTP/1.1\r\n" H "\r\n");
    http_conn_on_eof(r->conn, false);
    assert_false(r->closed);
    r->room = SIZE_MAX;
    http_conn_on_writable(r->conn);
    assert_true(r->closed && !r->reset);
    assert_int_equal(count(r, "bbbbb"), RIG_BIG / 5);
}

static void test_a_client_that_shut_its_side_still_gets_its_answer(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /later HTTP/1.1\r\n" H "\r\n");
    http_conn_on_eof(r->conn, false);
    assert_false(r->closed);
    rig_answer(r);
    assert_true(has(r, "200 OK") && r->closed);
}

static void test_an_end_in_the_middle_of_a_head_or_a_body(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /echo HT");
    http_conn_on_eof(r->conn, false);
    assert_true(r->closed && r->out.len == 0);
    rig_done(r);
    rig_start(r);
    bytes(r, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab");
    http_conn_on_eof(r->conn, false);
    assert_true(r->closed && r->requests == 0);
}

static void test_drain(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /later HTTP/1.1\r\n" H "\r\n");
    http_conn_drain(r->conn);
    assert_false(r->closed);
    rig_answer(r);
    assert_true(has(r, "Connection: close\r\n") && r->closed);
    rig_done(r);
    rig_start(r);
    http_conn_drain(r->conn); /* idle */
    assert_true(r->closed && r->out.len == 0);
}

static void test_drain_ends_a_connection_once_its_answer_is_out(void **state)
{
    struct rig *r = *state;
    r->room = 50;
    bytes(r, "GET /big HTTP/1.1\r\n" H "\r\n");
    http_conn_drain(r->conn);
    assert_false(r->closed);
    r->room = SIZE_MAX;
    http_conn_on_writable(r->conn);
    assert_true(r->closed && !r->reset); /* not only when its idle time has passed */
    assert_int_equal(count(r, "bbbbb"), RIG_BIG / 5);
}

static void test_drain_lets_a_request_come_in_that_had_begun(void **state)
{
    struct rig *r = *state;
    bytes(r, "POST /echo HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\no");
    http_conn_drain(r->conn);
    assert_false(r->closed);
    bytes(r, "k");
    assert_true(has(r, "POST  ok") && has(r, "Connection: close\r\n") && r->closed);
}

static void test_killed_while_handled(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /poll HTTP/1.1\r\n" H "\r\n");
    http_conn_kill(r->conn);
    assert_true(r->closed && r->reset && r->gone == 1);
    rig_turn(r);
    rig_answer(r);
    assert_int_equal(r->out.len, 0);
}

/* ---- streams ---- */

static void test_a_stream_is_chunked_and_ends_well(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    assert_true(r->bound && has(r, "Transfer-Encoding: chunked\r\n") && has(r, "\r\n\r\n7\r\nhello\n\n\r\n"));
    rig_send(r, "more\n\n");
    rig_flush(r);
    assert_true(has(r, "6\r\nmore\n\n\r\n"));
    http_stream_end(r->stream);
    rig_flush(r);
    assert_memory_equal(r->out.ptr + r->out.len - 5, "0\r\n\r\n", 5);
    assert_true(!r->closed && r->gone == 0);
}

/* A stream on the rig's connection, to its end. */
static void stream_over(struct rig *r, const char *request)
{
    bytes(r, request);
    assert_non_null(r->stream);
    http_stream_end(r->stream);
    rig_flush(r);
}

static void test_behind_a_stream_comes_the_next_request(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 3; i++) {
        clear(r);
        stream_over(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
        assert_true(has(r, "Connection: keep-alive\r\n") && has(r, "\r\n\r\n7\r\nhello\n\n\r\n0\r\n\r\n"));
        assert_true(r->reads && !r->closed && !r->wide);
    }
    clear(r);
    bytes(r, "POST /echo?a HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello");
    assert_true(has(r, "POST a hello") && !r->closed && r->requests == 4);
    pass_ms(r, LIMIT_IDLE_TIME_MS + 100);
    assert_true(r->closed && !r->reset && r->gone == 0);
}

static void test_the_next_request_waits_until_a_streams_end_is_taken(void **state)
{
    struct rig *r = *state;
    r->room = 10;
    stream_over(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    assert_true(r->out.len == 10 && !r->reads && r->writes);
    r->room = SIZE_MAX;
    http_conn_on_writable(r->conn);
    assert_true(r->reads && !r->writes && !r->closed);
    stream_over(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(count(r, "\r\n0\r\n\r\n"), 2);
    r->room = 0;
    stream_over(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    pass_ms(r, LIMIT_WRITE_TIME_MS + 100); /* as for every answer */
    assert_true(r->closed && r->reset);
}

static void test_a_connection_ends_behind_its_stream_where_it_has_to(void **state)
{
    struct rig *r = *state;
    stream_over(r, "GET /stream HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    assert_true(r->closed && !r->reset && has(r, "Connection: close\r\n"));
    rig_done(r);
    rig_start(r);
    stream_over(r, "GET /stream HTTP/1.0\r\n\r\n");
    assert_true(r->closed && !r->reset);
    rig_done(r);
    rig_start(r);
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    http_conn_drain(r->conn);
    http_stream_end(r->stream);
    rig_flush(r);
    assert_true(r->closed && !r->reset);
    rig_done(r);
    rig_start(r);
    stream_over(r, "GET /stream HTTP/1.1\r\n" H "\r\nGET /echo"); /* what was thrown away may have been a request */
    assert_true(r->closed && !r->reset && r->requests == 1);
    rig_done(r);
    rig_start(r);
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    bytes(r, "x");
    http_stream_end(r->stream);
    rig_flush(r);
    assert_true(r->closed && !r->reset);
    rig_done(r);
    rig_start(r);
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    r->room = 1;
    rig_send(r, "half of it is taken\n\n");
    rig_flush(r);
    http_stream_cut_whole(r->stream);
    r->room = SIZE_MAX;
    http_conn_on_writable(r->conn);
    assert_true(r->closed);
}

static void test_a_short_stream_travels_together(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    assert_false(r->more || r->wide);
    http_stream_is_short(r->stream);
    rig_send(r, "more\n\n");
    rig_flush(r);
    assert_true(r->more && r->wide);
    http_stream_end(r->stream);
    rig_flush(r);
    assert_false(r->more || r->wide);
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n"); /* the next one is not */
    rig_send(r, "more\n\n");
    rig_flush(r);
    assert_false(r->more || r->wide);
}

static void test_a_stream_that_takes_what_comes_gets_a_larger_buffer_for_as_long(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    rig_flush(r);
    r->room = 0;
    for (int i = 0; i < 40; i++)
        rig_send(r, "more\n\n");
    for (int i = 0; i < 10; i++) { /* stuck: nothing is taken */
        rig_flush(r);
        http_conn_on_writable(r->conn);
    }
    assert_true(r->bound && !r->wide);
    for (int i = 0; i < 4; i++) {
        assert_false(r->wide);
        r->room = 20;
        http_conn_on_writable(r->conn);
    }
    assert_true(r->wide);
    http_stream_rests(r->stream);
    assert_true(r->bound && !r->wide);
    http_stream_cut(r->stream);
}

static void test_a_stream_of_http_1_0_is_not_chunked(void **state)
{
    struct rig *r = *state;
    static const char *const requests[] = {
        "GET /stream HTTP/1.0\r\n\r\n",
        "GET /stream HTTP/1.0\r\nConnection: close\r\n\r\n", /* as proxies write it */
        "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        bytes(r, requests[i]);
        assert_false(has(r, "chunked"));
        assert_memory_equal(r->out.ptr + r->out.len - 11, "\r\n\r\nhello\n\n", 11);
        rig_done(r);
        rig_start(r);
    }
}

static void test_a_stream_that_is_cut_has_no_clean_end(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    http_stream_cut(r->stream);
    assert_true(r->closed && !r->reset && !has(r, "\r\n0\r\n") && r->gone == 0);
    rig_done(r);
    rig_start(r);
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    r->room = 0;
    rig_send(r, "never taken\n\n");
    rig_flush(r);
    http_stream_cut(r->stream);
    assert_true(r->closed && r->reset); /* the kernel need not keep what the client does not take */
}

static void test_a_reader_that_takes_nothing(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    size_t got = r->out.len;
    int drains = r->drains;
    r->room = 3;
    for (int i = 0; i < 100; i++)
        rig_send(r, "0123456789\n\n");
    rig_flush(r);
    assert_int_equal(r->out.len, got + 3);
    assert_true(r->writes && http_stream_queued(r->stream) > 1200 && r->drains == drains);
    r->room = SIZE_MAX; /* it reads again */
    http_conn_on_writable(r->conn);
    assert_int_equal(http_stream_queued(r->stream), 0);
    assert_int_equal(count(r, "c\r\n0123456789\n\n\r\n"), 100);
    assert_int_equal(r->drains, drains + 1);
    rig_send(r, "few\n\n"); /* never above the low water: nobody waits for its end */
    rig_flush(r);
    assert_int_equal(r->drains, drains + 1);
}

static void test_a_reader_that_stays_stuck_is_cut(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    r->room = 0;
    rig_send(r, "x\n\n");
    rig_flush(r);
    pass_ms(r, LIMIT_WRITE_TIME_MS - 1000);
    assert_false(r->closed);
    r->room = 2; /* a little counts as progress */
    http_conn_on_writable(r->conn);
    pass_ms(r, LIMIT_WRITE_TIME_MS - 1000);
    assert_false(r->closed);
    pass_ms(r, 1100);
    assert_true(r->closed && r->reset && r->gone == 1);
}

static void test_a_reader_that_leaves(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\n");
    http_conn_on_eof(r->conn, false);
    assert_true(r->closed && r->gone == 1);
}

static void test_bytes_that_a_reader_sends_are_ignored_up_to_a_bound(void **state)
{
    struct rig *r = *state;
    static char flood[65536];
    memset(flood, 'x', sizeof flood);
    bytes(r, "GET /stream HTTP/1.1\r\n" H "\r\nGET /echo HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(r->requests, 1);
    bytes(r, "abc");
    assert_false(r->closed);
    for (int i = 0; i < 100 && r->conn; i++)
        rig_bytes(r, (struct str){flood, sizeof flood});
    assert_true(r->closed && r->gone == 1);
}

/* ---- time ---- */

static void test_an_idle_connection_is_closed_without_a_word(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /echo HTTP/1.1\r\n" H "\r\n");
    clear(r);
    pass_ms(r, LIMIT_IDLE_TIME_MS - 1000);
    assert_false(r->closed);
    pass_ms(r, 1100);
    assert_true(r->closed && r->out.len == 0);
}

static void test_a_connection_that_says_nothing(void **state)
{
    struct rig *r = *state;
    pass_ms(r, LIMIT_HEADER_TIME_MS + 100);
    assert_true(r->closed && r->out.len == 0);
}

static void test_a_head_that_trickles_gets_408(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /echo HTTP/1.1\r\n");
    for (int i = 0; i < 9 && !r->out.len; i++) {
        pass_ms(r, 1000);
        bytes(r, "X: y\r\n"); /* each byte in time does not make the whole so */
    }
    assert_int_equal(r->out.len, 0);
    pass_ms(r, 1100);
    assert_true(has(r, "HTTP/1.1 408") && has(r, "request_timeout") && r->requests == 0);
}

static void test_a_body_that_trickles_gets_408(void **state)
{
    struct rig *r = *state;
    bytes(r, "POST /echo HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\n");
    for (int i = 0; i < 5; i++) {
        pass_ms(r, LIMIT_BODY_TIME_MS / 6);
        bytes(r, "x");
    }
    assert_int_equal(r->out.len, 0);
    pass_ms(r, LIMIT_BODY_TIME_MS / 3);
    assert_true(has(r, "408") && r->requests == 0);
}

static void test_a_request_may_take_its_time(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /later HTTP/1.1\r\n" H "\r\n");
    pass_ms(r, 600000);
    assert_false(r->closed);
    rig_answer(r);
    assert_true(has(r, "200 OK"));
}

/* ---- cuts ---- */

static const char *const talks[] = {
    "GET /echo?a HTTP/1.1\r\n" H "\r\nPOST /echo?b HTTP/1.1\r\n" H
    "Content-Length: 5\r\n\r\nhelloGET /none HTTP/1.1\r\n" H "\r\nPUT /echo HTTP/1.1\r\n" H
    "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: r\r\n\r\nHEAD /echo HTTP/1.1\r\n" H "\r\n",
    "\r\nGET /echo HTTP/1.1\r\n" H "\r\n\r\nGET /echo HTTP/1.1\r\n" H
    "Connection: close\r\n\r\nGET /echo HTTP/1.1\r\n" H "\r\n",
    "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n",
    "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "GET /echo HTTP/1.0\r\n\r\n",
    "GET /stream HTTP/1.1\r\n" H "\r\nand more",
    "BREW /echo HTTP/1.1\r\n" H "\r\nGET /echo HTTP/1.1\r\n" H "\r\n",
    "GET /echo HTTP/1.1\nHost: x\r\n\r\n",
    "POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nokGET /echo HTTP/1.1\r\n" H "\r\n",
    "GET /big HTTP/1.1\r\n" H "\r\nGET /echo HTTP/1.1\r\n" H "\r\n",
};

static void talk(const char *text, size_t cut_a, size_t cut_b, struct strbuf *out)
{
    struct rig r;
    rig_start(&r);
    size_t len = strlen(text);
    rig_bytes(&r, (struct str){text, cut_a});
    rig_bytes(&r, (struct str){text + cut_a, cut_b - cut_a});
    rig_bytes(&r, (struct str){text + cut_b, len - cut_b});
    rig_output(&r, out);
    rig_done(&r);
}

static void test_the_same_wherever_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(talks); i++) {
        struct strbuf whole;
        size_t len = strlen(talks[i]);
        talk(talks[i], 0, len, &whole);
        assert_true(whole.len > 0);
        for (size_t a = 0; a <= len; a++) {
            struct strbuf cut;
            talk(talks[i], a, a + (len - a) / 2, &cut);
            if (!str_eq(strbuf_str(&whole), strbuf_str(&cut)))
                fail_msg("talk %zu cut at %zu:\n%.*s\ninstead of\n%.*s", i, a, (int)cut.len, cut.ptr, (int)whole.len,
                         whole.ptr);
            strbuf_done(&cut);
        }
        strbuf_done(&whole);
    }
}

/* The app asks somebody before it says whether a request is wanted. */
static void test_a_head_that_is_decided_later(void **state)
{
    struct rig *r = *state;
    static const char head[] = "POST /ask HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    bytes(r, head);
    assert_int_equal(http_conn_state(r->conn), HTTP_CONN_DECIDING);
    bytes(r, "body");
    assert_int_equal(http_conn_state(r->conn), HTTP_CONN_DECIDING);
    assert_int_equal(r->out.len, 0);
    rig_decide(r, ERR_OK);
    assert_true(has(r, "POST  body"));
    bytes(r, head); /* refused: its body is not read, and nothing follows it */
    rig_decide(r, ERR_FORBIDDEN);
    assert_true(has(r, "HTTP/1.1 403"));
    assert_int_equal(http_conn_state(r->conn), HTTP_CONN_LINGERING);
}

static void test_a_head_that_is_decided_without_a_client(void **state)
{
    struct rig *r = *state;
    bytes(r, "GET /ask HTTP/1.1\r\nHost: a\r\n\r\n");
    http_conn_on_eof(r->conn, true);
    assert_true(r->closed);
    rig_decide(r, ERR_OK); /* frees it, and reaches nobody */
    assert_int_equal(r->requests, 0);
}

static void test_the_edges_are_those_of_the_picture(void **state)
{
    (void)state;
    static const char *const picture[HTTP_CONN_STATE_COUNT] = {
        [HTTP_CONN_HEAD] = "DECIDING FLUSHING CLOSED",
        [HTTP_CONN_DECIDING] = "BODY HANDLING FLUSHING CLOSED",
        [HTTP_CONN_BODY] = "HANDLING FLUSHING CLOSED",
        [HTTP_CONN_HANDLING] = "HEAD STREAM FLUSHING CLOSED",
        [HTTP_CONN_STREAM] = "FLUSHING CLOSED",
        [HTTP_CONN_FLUSHING] = "HEAD LINGERING CLOSED",
        [HTTP_CONN_LINGERING] = "CLOSED",
        [HTTP_CONN_CLOSED] = "",
    };
#define NAME(name) #name,
    static const char *const names[] = {HTTP_CONN_STATES(NAME)};
#undef NAME
    for (int from = 0; from < HTTP_CONN_STATE_COUNT; from++)
        for (int to = 0; to < HTTP_CONN_STATE_COUNT; to++)
            if (http_conn_edge((enum http_conn_state)from, (enum http_conn_state)to) !=
                (strstr(picture[from], names[to]) != NULL))
                fail_msg("%s to %s", names[from], names[to]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_keep_alive),
        TEST(test_a_head_that_is_decided_later),
        TEST(test_a_head_that_is_decided_without_a_client),
        TEST(test_pipelined_requests_are_answered_in_order),
        TEST(test_connection_close),
        TEST(test_http_1_0),
        TEST(test_head_has_the_headers_and_no_body),
        TEST(test_expect_gets_a_100_only_when_the_body_is_wanted),
        TEST(test_a_body_over_the_bound_is_refused_before_it_comes),
        TEST(test_a_chunked_body_over_the_bound),
        TEST(test_a_body_that_is_not_taken),
        TEST(test_garbage_is_answered_and_ends_it),
        TEST(test_lingering_has_its_time),
        TEST(test_input_that_lingers_is_bounded),
        TEST(test_pipelined_input_is_bounded_while_a_request_is_handled),
        TEST(test_a_client_that_pipelines_and_does_not_read_is_left_unread),
        TEST(test_close_is_heeded_with_an_error),
        TEST(test_a_client_that_leaves_while_it_is_handled),
        TEST(test_a_long_poll_hears_once_that_its_client_left),
        TEST(test_a_client_that_shut_its_side_gets_the_rest_of_an_answer_under_way),
        TEST(test_a_client_that_shut_its_side_still_gets_its_answer),
        TEST(test_an_end_in_the_middle_of_a_head_or_a_body),
        TEST(test_drain),
        TEST(test_drain_ends_a_connection_once_its_answer_is_out),
        TEST(test_drain_lets_a_request_come_in_that_had_begun),
        TEST(test_killed_while_handled),
        TEST(test_a_stream_is_chunked_and_ends_well),
        TEST(test_behind_a_stream_comes_the_next_request),
        TEST(test_the_next_request_waits_until_a_streams_end_is_taken),
        TEST(test_a_connection_ends_behind_its_stream_where_it_has_to),
        TEST(test_a_short_stream_travels_together),
        TEST(test_a_stream_that_takes_what_comes_gets_a_larger_buffer_for_as_long),
        TEST(test_a_stream_of_http_1_0_is_not_chunked),
        TEST(test_a_stream_that_is_cut_has_no_clean_end),
        TEST(test_a_reader_that_takes_nothing),
        TEST(test_a_reader_that_stays_stuck_is_cut),
        TEST(test_a_reader_that_leaves),
        TEST(test_bytes_that_a_reader_sends_are_ignored_up_to_a_bound),
        TEST(test_an_idle_connection_is_closed_without_a_word),
        TEST(test_a_connection_that_says_nothing),
        TEST(test_a_head_that_trickles_gets_408),
        TEST(test_a_body_that_trickles_gets_408),
        TEST(test_a_request_may_take_its_time),
        cmocka_unit_test(test_the_same_wherever_it_is_cut),
        cmocka_unit_test(test_the_edges_are_those_of_the_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
