/* A connection without a socket: bytes in, bytes out, an app with a route for each way to answer. For the tests and the fuzz target of http_conn. */
#ifndef ERRAND_TESTS_UNIT_CONN_RIG_H
#define ERRAND_TESTS_UNIT_CONN_RIG_H

#include <stdio.h>
#include <stdlib.h>

#include "api/http_conn.h"

enum { RIG_MAX_BODY = 1024, RIG_LATER = 64, RIG_BIG = 300000 };

struct rig {
    struct loop *loop;
    struct http_app app;
    struct http_req *asked; /* the last one that waits for http_head_decided */
    struct http_conn *conn;
    struct strbuf out; /* what the client got, without X-Request-Id */
    size_t room;       /* bytes that the transport still takes */
    bool closed, reset, shut, wants_flush, bound, wide, more, reads, writes;
    struct http_req *later[RIG_LATER]; /* requests not answered yet */
    size_t later_count;
    struct http_req *stream;
    int requests, errors, gone, drains;
};

static inline ssize_t rig_writev(void *t, const struct iovec *iov, int n, bool more)
{
    struct rig *r = t;
    r->more = more;
    size_t took = 0;
    for (int i = 0; i < n && r->room > 0; i++) {
        size_t len = iov[i].iov_len < r->room ? iov[i].iov_len : r->room;
        strbuf_add(&r->out, (struct str){iov[i].iov_base, len});
        r->room -= len;
        took += len;
    }
    return (ssize_t)took;
}

static inline void rig_watch(void *t, bool read, bool write)
{
    struct rig *r = t;
    r->reads = read;
    r->writes = write;
}

static inline void rig_need_flush(void *t)
{
    ((struct rig *)t)->wants_flush = true;
}

static inline void rig_bound(void *t, bool wide)
{
    ((struct rig *)t)->bound = true;
    ((struct rig *)t)->wide = wide;
}

static inline void rig_shutdown(void *t)
{
    ((struct rig *)t)->shut = true;
}

static inline void rig_close(void *t, bool reset)
{
    struct rig *r = t;
    POST(!r->closed);
    r->closed = true;
    r->reset = reset;
    r->conn = NULL;
}

static const struct http_transport rig_transport = {rig_writev, rig_watch,    rig_need_flush,
                                                    rig_bound,  rig_shutdown, rig_close};

static inline enum err rig_on_head(void *ctx, struct http_req *req, size_t *ret_max_body, const char **ret_detail)
{
    struct rig *r = ctx;
    *ret_detail = "the rig's own";
    *ret_max_body = req->method == HTTP_POST_ || req->method == HTTP_PUT_ ? RIG_MAX_BODY : 0;
    if (req->method == HTTP_OTHER_)
        return ERR_METHOD_NOT_ALLOWED;
    if (str_eqz(req->path, "/ask")) {
        req->deciding = true;
        r->asked = req;
        return ERR_OK;
    }
    static const char *const paths[] = {"/echo", "/later", "/poll", "/big", "/stream"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (str_eqz(req->path, paths[i]))
            return ERR_OK;
    return ERR_NOT_FOUND;
}

static inline void rig_echo(struct http_req *req)
{
    struct strbuf body;
    strbuf_init(&body, 1 << 16);
    strbuf_add(&body, req->method_word);
    strbuf_addc(&body, ' ');
    strbuf_add(&body, req->query);
    strbuf_addc(&body, ' ');
    strbuf_add(&body, req->body);
    http_reply(req, 200, "text/plain", strbuf_str(&body));
    strbuf_done(&body);
}

/* An answer longer than what a connection holds before it takes no further request. */
static inline void rig_big(struct http_req *req)
{
    struct strbuf body;
    strbuf_init(&body, RIG_BIG);
    char *p = strbuf_grow(&body, RIG_BIG);
    POST(p != NULL);
    memset(p, 'b', RIG_BIG);
    body.len += RIG_BIG;
    http_reply(req, 200, "text/plain", strbuf_str(&body));
    strbuf_done(&body);
}

static inline void rig_on_gone(struct http_req *req)
{
    struct rig *r = req->user;
    r->gone++;
    if (r->stream == req)
        r->stream = NULL;
}

static inline void rig_on_drain(struct http_req *req)
{
    ((struct rig *)req->user)->drains++;
}

static const struct http_stream_fns rig_stream_fns = {rig_on_drain};

static inline void rig_send(struct rig *r, const char *text)
{
    struct http_buf *b = http_buf_new(strlen(text));
    POST(b != NULL);
    memcpy(b->data, text, strlen(text));
    http_stream_send(r->stream, b);
    http_buf_unref(b);
}

static inline void rig_on_request(void *ctx, struct http_req *req)
{
    struct rig *r = ctx;
    r->requests++;
    req->user = r;
    bool poll = str_eqz(req->path, "/poll");
    if ((poll || str_eqz(req->path, "/later")) && r->later_count < RIG_LATER) {
        req->on_gone = poll ? rig_on_gone : NULL;
        r->later[r->later_count++] = req;
    } else if (str_eqz(req->path, "/big")) {
        rig_big(req);
    } else if (str_eqz(req->path, "/stream")) {
        if (!http_stream_begin(req, 200, "text/event-stream", &rig_stream_fns, 100))
            return;
        req->on_gone = rig_on_gone;
        r->stream = req;
        rig_send(r, "hello\n\n");
    } else {
        rig_echo(req);
    }
}

static inline void rig_on_error(void *ctx, struct http_req *req, enum err err, const char *detail)
{
    struct rig *r = ctx;
    (void)detail;
    r->errors++;
    http_reply(req, err_status(err), "application/problem+json", str_of(err_code(err)));
}

static inline void rig_start(struct rig *r)
{
    *r = (struct rig){.loop = loop_new(), .room = SIZE_MAX};
    POST(r->loop != NULL);
    r->app = (struct http_app){r, rig_on_head, rig_on_request, rig_on_error};
    strbuf_init(&r->out, 64U << 20);
    r->conn = http_conn_new(r->loop, &r->app, &rig_transport, r, "peer");
    POST(r->conn != NULL);
}

/* What the loop would do before it sleeps. */
static inline void rig_flush(struct rig *r)
{
    while (r->wants_flush && r->conn) {
        r->wants_flush = false;
        http_conn_flush(r->conn);
    }
}

/* Bytes of the client, in a block of just their size, also when the connection asked not to be given any. */
static inline void rig_bytes(struct rig *r, struct str bytes)
{
    char *copy = malloc(bytes.len ? bytes.len : 1);
    POST(copy != NULL);
    memcpy(copy, bytes.ptr, bytes.len);
    if (r->conn)
        http_conn_on_bytes(r->conn, (struct str){copy, bytes.len});
    free(copy);
    rig_flush(r);
}

/* Answers the oldest request that waits. */
static inline void rig_answer(struct rig *r)
{
    POST(r->later_count > 0);
    struct http_req *req = r->later[0];
    memmove(r->later, r->later + 1, --r->later_count * sizeof *r->later);
    rig_echo(req);
    rig_flush(r);
}

/* Decides the head that waits. */
static inline void rig_decide(struct rig *r, enum err err)
{
    struct http_req *req = r->asked;
    POST(req);
    r->asked = NULL;
    http_head_decided(req, err, RIG_MAX_BODY, "decided");
    rig_flush(r);
}

static inline void rig_turn(struct rig *r)
{
    uv_run(loop_uv(r->loop), UV_RUN_NOWAIT);
    rig_flush(r);
}

static inline void rig_done(struct rig *r)
{
    if (r->conn)
        http_conn_kill(r->conn);
    if (r->asked)
        rig_decide(r, ERR_OK);
    while (r->later_count > 0)
        rig_answer(r);
    loop_run(r->loop); /* deferred frees */
    loop_free(r->loop);
    strbuf_done(&r->out);
}

/* The output without what differs from one time to the next: request ids, and 100s (a client whose body is there already gets none). */
static inline void rig_output(const struct rig *r, struct strbuf *out)
{
    static const struct {
        struct str begin;
        size_t len;
    } skipped[] = {{STR("X-Request-Id: "), 14 + 16 + 2}, {STR("HTTP/1.1 100 Continue\r\n\r\n"), 25}};
    struct str all = strbuf_str(&r->out);
    strbuf_init(out, 64U << 20);
    for (size_t at = 0; at < all.len;) {
        size_t skip = 0;
        for (size_t i = 0; i < ARRAY_LEN(skipped); i++)
            if (str_starts((struct str){all.ptr + at, all.len - at}, skipped[i].begin))
                skip = skipped[i].len;
        size_t n = skip ? 0 : 1;
        while (!skip && at + n < all.len && all.ptr[at + n] != 'X' && all.ptr[at + n] != 'H')
            n++;
        strbuf_add(out, (struct str){all.ptr + at, n});
        at += skip ? skip : n;
    }
}

#endif
