#include "api/http_conn_parts.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/pool.h"

enum {
    PIPELINED_MAX = 65536,  /* unread input beyond the request at hand */
    OUTPUT_PAUSE = 262144,  /* no next request while so much of earlier answers is not taken */
    WRITE_PIECES = 64,      /* of one writev */
    STREAM_IGNORED = 65536, /* input thrown away while a stream goes on; past it the client is cut */
    LINGER_BYTES = 8388608, /* thrown away after an error's answer, so that the client reads it before a reset */
    LINGER_MS = 2000,
    ARENA_EXTRA = 8388608, /* of a request's arena beyond four times its body: trees of parsed JSON */
};

/* ---- states ---- */

static const unsigned char edges[HTTP_CONN_STATE_COUNT] = {
#define TO(name) (1 << HTTP_CONN_##name)
    [HTTP_CONN_HEAD] = TO(DECIDING) | TO(FLUSHING) | TO(CLOSED),
    [HTTP_CONN_DECIDING] = TO(BODY) | TO(HANDLING) | TO(FLUSHING) | TO(CLOSED),
    [HTTP_CONN_BODY] = TO(HANDLING) | TO(FLUSHING) | TO(CLOSED),
    [HTTP_CONN_HANDLING] = TO(HEAD) | TO(STREAM) | TO(FLUSHING) | TO(CLOSED),
    [HTTP_CONN_STREAM] = TO(FLUSHING) | TO(CLOSED),
    [HTTP_CONN_FLUSHING] = TO(HEAD) | TO(LINGERING) | TO(CLOSED),
    [HTTP_CONN_LINGERING] = TO(CLOSED),
    [HTTP_CONN_CLOSED] = 0,
#undef TO
};

bool http_conn_edge(enum http_conn_state from, enum http_conn_state to)
{
    return (edges[from] >> to) & 1;
}

/* What is not parsed yet. */
static struct str unread(const struct http_conn *c)
{
    struct str in = strbuf_str(&c->in);
    return (struct str){in.ptr + c->in_at, in.len - c->in_at};
}

static void consume(struct http_conn *c, size_t n)
{
    c->in_at += n;
    if (c->in_at == c->in.len) {
        strbuf_reset(&c->in);
        c->in_at = 0;
    }
}

void conn_forget_input(struct http_conn *c)
{
    strbuf_done(&c->in);
    c->in_at = 0;
}

void conn_watch(struct http_conn *c)
{
    if (c->state == HTTP_CONN_CLOSED)
        return;
    /* While a request is handled, or answers pile up, nothing is read: what the client sends meanwhile waits in the kernel. */
    bool busy = c->state == HTTP_CONN_DECIDING || c->state == HTTP_CONN_HANDLING ||
                (c->state == HTTP_CONN_HEAD && c->queued > OUTPUT_PAUSE);
    bool read = c->state != HTTP_CONN_FLUSHING && !(busy && unread(c).len > 0) && !c->half_closed;
    c->ops->watch(c->transport, read, c->write_blocked);
}

void conn_move(struct http_conn *c, enum http_conn_state to)
{
    PRE(http_conn_edge(c->state, to));
    c->state = to;
}

enum http_conn_state http_conn_state(const struct http_conn *c)
{
    return c->state;
}

size_t http_conn_held(const struct http_conn *c)
{
    return c->in.cap + c->body.cap + c->queued;
}

/* ---- requests ---- */

static _Thread_local struct pool conn_pool = POOL_OF(struct http_conn), req_pool = POOL_OF(struct http_req);

static void req_free(void *p)
{
    struct http_req *req = p;
    arena_done(&req->arena);
    strbuf_done(&req->reply_headers);
    strbuf_done(&req->body_memory);
    pool_put(&req_pool, req);
}

void conn_drop_req(struct http_conn *c, struct http_req *req)
{
    if (c && c->req == req)
        c->req = NULL;
    req->conn = NULL;
    loop_defer_free(req->loop, req_free, req);
}

static uint64_t next_request_id(void)
{
    static _Thread_local uint64_t id; /* random start, so that ids of several nodes rarely meet */
    if (id == 0)
        id = (uint64_t)clock_wall_ms() << 20 ^ (uint64_t)(uintptr_t)&id;
    return ++id;
}

static struct http_req *req_new(struct http_conn *c)
{
    struct http_req *req = pool_get(&req_pool);
    if (!req)
        return NULL;
    arena_init(&req->arena, 4 * (size_t)LIMIT_HEADERS);
    req->arena.first = ARENA_REQUEST;
    strbuf_init(&req->reply_headers, LIMIT_HEADERS);
    req->conn = c;
    req->loop = c->loop;
    req->id = next_request_id();
    req->peer = (struct str){c->peer, strlen(c->peer)};
    return req;
}

/* ---- closing ---- */

static _Thread_local struct pool out_pool = POOL_OF(struct out);

static void out_pop(struct http_conn *c)
{
    struct out *o = c->out;
    c->out = o->next;
    if (!c->out)
        c->out_tail = &c->out;
    http_buf_unref(o->buf);
    pool_put(&out_pool, o);
    c->out_offset = 0;
}

static void conn_free(void *p)
{
    struct http_conn *c = p;
    while (c->out)
        out_pop(c);
    conn_forget_input(c);
    strbuf_done(&c->body);
    pool_put(&conn_pool, c);
}

void conn_close(struct http_conn *c, bool reset)
{
    if (c->state == HTTP_CONN_CLOSED)
        return;
    enum http_conn_state was = c->state;
    conn_move(c, HTTP_CONN_CLOSED);
    loop_timer_stop(&c->timer);
    struct http_req *req = c->req;
    c->req = NULL;
    if (req) {
        req->conn = NULL;
        req->peer = arena_str(&req->arena, req->peer); /* it lay in the connection, which the request outlives */
        if (req->on_gone)
            req->on_gone(req);
        if (was == HTTP_CONN_STREAM || was == HTTP_CONN_HEAD || was == HTTP_CONN_BODY || was == HTTP_CONN_FLUSHING)
            loop_defer_free(c->loop, req_free,
                            req); /* nobody else knows it; one that is DECIDING or HANDLING goes when that is over */
    }
    c->ops->close(c->transport, reset);
    loop_defer_free(c->loop, conn_free, c);
}

void http_conn_kill(struct http_conn *c)
{
    conn_close(c, true);
}

static void on_timer(void *ctx);

/* The deadline that the present state has. */
void conn_arm(struct http_conn *c)
{
    switch (c->state) {
    case HTTP_CONN_HEAD:
        loop_timer_set(&c->timer, unread(c).len > 0 ? LIMIT_HEADER_TIME_MS : LIMIT_IDLE_TIME_MS);
        break;
    case HTTP_CONN_BODY:
        loop_timer_set(&c->timer, LIMIT_BODY_TIME_MS);
        break;
    case HTTP_CONN_LINGERING:
        loop_timer_set(&c->timer, LINGER_MS);
        break;
    case HTTP_CONN_STREAM:
    case HTTP_CONN_FLUSHING:
    case HTTP_CONN_DECIDING:
    case HTTP_CONN_HANDLING:
        if (c->queued > 0)
            loop_timer_set(&c->timer, LIMIT_WRITE_TIME_MS);
        else
            loop_timer_stop(&c->timer);
        break;
    case HTTP_CONN_CLOSED:
    case HTTP_CONN_STATE_COUNT:
        break;
    }
}

/* A stream ended well, and the client took all of it: the connection is as good as new. */
static void stream_over(struct http_conn *c)
{
    c->stays = false;
    c->ops->bound_kernel(c->transport, false); /* few may be wide */
    conn_move(c, HTTP_CONN_HEAD);
    conn_arm(c);
}

/* What is queued goes out, then the connection ends; the client may still be sending, so it is listened to for a moment (else a reset could overtake the answer). */
static void finish_writing(struct http_conn *c)
{
    if (c->queued > 0)
        return;
    if (c->stays && !c->close_after && !c->draining && c->ignored == 0) {
        stream_over(c);
        return;
    }
    if (!c->linger_after) {
        conn_close(c, false);
        return;
    }
    conn_move(c, HTTP_CONN_LINGERING);
    conn_forget_input(c);
    c->ops->shutdown_write(c->transport);
    conn_arm(c);
    conn_watch(c);
}

/* ---- output ---- */

void conn_enqueue(struct http_conn *c, struct http_buf *b, bool framed)
{
    struct out *o = pool_get(&out_pool);
    PRE(o);
    *o = (struct out){.buf = b, .framed = framed};
    *c->out_tail = o;
    c->out_tail = &o->next;
    if (c->queued == 0)
        c->progress_ms = clock_mono_ms();
    c->queued += framed ? b->wire_len : b->len;
    /* Of a stream the flush of this very turn takes nearly always all: only what is left then gets a deadline. */
    if (c->state != HTTP_CONN_STREAM && !loop_timer_is_set(&c->timer))
        conn_arm(c);
    c->ops->need_flush(c->transport);
}

void conn_drop_behind(struct http_conn *c)
{
    while (c->out->next) {
        struct out *o = c->out->next;
        c->out->next = o->next;
        c->queued -= o->framed ? o->buf->wire_len : o->buf->len;
        http_buf_unref(o->buf);
        pool_put(&out_pool, o);
    }
    c->out_tail = &c->out->next;
}

static void taken(struct http_conn *c, size_t n)
{
    c->queued -= n;
    if (c->queued > 0) /* else nothing waits for it */
        c->progress_ms = clock_mono_ms();
    n += c->out_offset;
    while (c->out) {
        size_t len = c->out->framed ? c->out->buf->wire_len : c->out->buf->len;
        if (n < len)
            break;
        n -= len;
        out_pop(c);
    }
    c->out_offset = n;
}

void http_conn_flush(struct http_conn *c)
{
    size_t before = c->queued;
    while (c->state != HTTP_CONN_CLOSED && c->out && !c->write_blocked) {
        struct iovec iov[WRITE_PIECES];
        int n = 0;
        size_t offset = c->out_offset, total = 0;
        for (struct out *o = c->out; o && n < WRITE_PIECES; o = o->next, offset = 0) {
            char *p = o->framed ? o->buf->wire : o->buf->data;
            size_t len = o->framed ? o->buf->wire_len : o->buf->len;
            iov[n++] = (struct iovec){p + offset, len - offset};
            total += len - offset;
        }
        ssize_t wrote = c->ops->writev(c->transport, iov, n, c->is_short && c->state == HTTP_CONN_STREAM);
        if (wrote < 0) {
            conn_close(c, true);
            return;
        }
        taken(c, (size_t)wrote);
        c->write_blocked = (size_t)wrote < total;
        if (c->write_blocked && wrote > 0 && c->state == HTTP_CONN_STREAM && ++c->filled == HTTP_WIDE_AFTER)
            c->ops->bound_kernel(c->transport, true);
    }
    if (c->state == HTTP_CONN_CLOSED)
        return;
    if (c->queued > 0 ? !loop_timer_is_set(&c->timer) : before > 0 && loop_timer_is_set(&c->timer))
        conn_arm(c);
    if (c->state == HTTP_CONN_FLUSHING)
        finish_writing(c);
    else if (c->state == HTTP_CONN_STREAM && c->stream->on_drain && before > c->low_water && c->queued <= c->low_water)
        c->stream->on_drain(c->req);
    else if (c->state == HTTP_CONN_HEAD && before > OUTPUT_PAUSE && c->queued <= OUTPUT_PAUSE)
        conn_process(c);
    if (c->state != HTTP_CONN_CLOSED)
        conn_watch(c);
}

void http_conn_on_writable(struct http_conn *c)
{
    c->write_blocked = false;
    http_conn_flush(c);
}

static void on_timer(void *ctx)
{
    struct http_conn *c = ctx;
    int64_t stuck_ms = clock_mono_ms() - c->progress_ms;
    switch (c->state) {
    case HTTP_CONN_STREAM:
    case HTTP_CONN_FLUSHING:
    case HTTP_CONN_DECIDING:
    case HTTP_CONN_HANDLING:
        if (c->queued > 0 && stuck_ms < LIMIT_WRITE_TIME_MS) { /* it took something meanwhile */
            loop_timer_set(&c->timer, LIMIT_WRITE_TIME_MS - stuck_ms);
        } else if (c->queued > 0) {
            metric_add(METRIC_HTTP_REFUSED, 1);
            conn_close(c, true);
        }
        return;
    case HTTP_CONN_HEAD:
    case HTTP_CONN_BODY:
        if (c->state == HTTP_CONN_HEAD && unread(c).len == 0) { /* idle: closed without a word */
            conn_close(c, false);
            return;
        }
        metric_add(METRIC_HTTP_REFUSED, 1);
        if (!c->req)
            c->req = req_new(c);
        if (!c->req) {
            conn_close(c, true);
            return;
        }
        c->close_after = c->linger_after = true;
        c->app->on_error(c->app->ctx, c->req, ERR_REQUEST_TIMEOUT, NULL);
        return;
    case HTTP_CONN_LINGERING:
        conn_close(c, false);
        return;
    case HTTP_CONN_CLOSED:
    case HTTP_CONN_STATE_COUNT:
        return;
    }
}

/* ---- input ---- */

/* Answers an error found here; the connection ends behind it, because what follows can't be trusted. */
static void refuse(struct http_conn *c, enum err err, const char *detail)
{
    metric_add(METRIC_HTTP_REFUSED, 1);
    c->close_after = c->linger_after = true;
    c->req->keep_alive = false;
    c->app->on_error(c->app->ctx, c->req, err, detail);
}

static void dispatch(struct http_conn *c)
{
    struct http_req *req = c->req;
    conn_move(c, HTTP_CONN_HANDLING);
    loop_timer_stop(&c->timer);
    conn_arm(c);
    req->body_memory = c->body; /* the request outlives the connection */
    strbuf_init(&c->body, 0);
    req->body = strbuf_str(&req->body_memory);
    req->received_us = clock_mono_us();
    if (c->draining)
        req->keep_alive = false;
    c->app->on_request(c->app->ctx, req);
}

static void send_continue(struct http_conn *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct http_buf *b = http_buf_new(sizeof text - 1);
    PRE(b);
    memcpy(b->data, text, sizeof text - 1);
    conn_enqueue(c, b, false);
}

/* What was decided of a head: on to its body, to its handler, or to the answer of an error. */
static void decided(struct http_conn *c, enum err err, size_t max_body, const char *why)
{
    struct http_req *req = c->req;
    bool has_body = c->head.chunked || c->head.content_length > 0;
    if (!err && c->head.content_length > (int64_t)max_body)
        err = ERR_BODY_TOO_LARGE;
    if (err && c->framed && !has_body && req->path.ptr && err != ERR_NO_MEMORY) {
        conn_move(c, HTTP_CONN_HANDLING); /* well-formed HTTP: the connection stays good */
        req->received_us = clock_mono_us();
        c->app->on_error(c->app->ctx, req, err, why);
        return;
    }
    if (err) {
        refuse(c, err, why);
        return;
    }
    req->arena.max = req->arena.used + 4 * max_body + ARENA_EXTRA;
    c->max_body = max_body;
    c->chunked = (struct http_chunked){0};
    strbuf_init(&c->body, max_body);
    if (!has_body) {
        dispatch(c);
        return;
    }
    if (c->head.expect_continue && unread(c).len == 0)
        send_continue(c);
    conn_move(c, HTTP_CONN_BODY);
    loop_timer_stop(&c->timer);
    conn_arm(c);
}

/* A head is whole (len bytes behind `skip` of the input): route it, and see what follows. */
static void on_head(struct http_conn *c, size_t skip, size_t len)
{
    const char *why = NULL;
    size_t max_body = 0;
    struct http_req *req = c->req = req_new(c);
    if (!req) {
        conn_close(c, true);
        return;
    }
    c->head = (struct http_head){0}; /* not the last request's, when this one is refused early */
    enum err err = http_head_parse(req, (struct str){unread(c).ptr + skip, len}, &c->head, &why);
    consume(c, skip + len); /* the request has a copy */
    c->http_1_0 = c->head.http_1_0;
    c->framed = !err || err == ERR_METHOD_NOT_ALLOWED || err == ERR_EXPECTATION_FAILED;
    conn_move(c, HTTP_CONN_DECIDING);
    if (!err)
        err = c->app->on_head(c->app->ctx, req, &max_body, &why);
    if (!err && req->deciding) {
        loop_timer_stop(&c->timer);
        conn_arm(c);
        return;
    }
    decided(c, err, max_body, why);
}

void http_head_decided(struct http_req *req, enum err err, size_t max_body, const char *detail)
{
    struct http_conn *c = req->conn;
    PRE(req->deciding);
    req->deciding = false;
    if (!c) { /* the client has gone meanwhile */
        conn_drop_req(NULL, req);
        return;
    }
    c->processing = true; /* what follows it is taken up below, not from inside its handler */
    decided(c, err, max_body, detail);
    c->processing = false;
    conn_process(c);
}

/* Takes what is there of the body; true when it is whole. */
static bool take_body(struct http_conn *c)
{
    if (!c->head.chunked) {
        struct str in = unread(c);
        size_t left = (size_t)c->head.content_length - c->body.len, n = in.len < left ? in.len : left;
        strbuf_add(&c->body, (struct str){in.ptr, n});
        consume(c, n);
        if (strbuf_failed(&c->body))
            refuse(c, ERR_NO_MEMORY, NULL);
        return c->state == HTTP_CONN_BODY && n == left;
    }
    struct str rest = unread(c);
    int status;
    const char *why = NULL;
    enum err err = http_chunked_feed(&c->chunked, &rest, &c->body, c->max_body, &status, &why);
    consume(c, unread(c).len - rest.len);
    if (err)
        refuse(c, err, why);
    return !err && status == HTTP_CHUNKED_DONE;
}

static void take_head(struct http_conn *c)
{
    size_t skip = 0, len;
    const char *why = NULL;
    enum err err = http_head_length(unread(c), &skip, &len, &why);
    if (err) {
        c->req = req_new(c);
        if (c->req)
            refuse(c, err, why);
        else
            conn_close(c, true);
        return;
    }
    if (len == 0) {
        if (!loop_timer_is_set(&c->timer))
            conn_arm(c);
        return;
    }
    on_head(c, skip, len);
}

/* Goes on with what was read, as far as it reaches. One request is handled at a time. */
void conn_process(struct http_conn *c)
{
    if (c->processing)
        return;
    c->processing = true;
    for (bool more = true; more;) {
        size_t had = unread(c).len;
        enum http_conn_state state = c->state;
        if (state == HTTP_CONN_HEAD && unread(c).len > 0 && c->queued <= OUTPUT_PAUSE)
            take_head(c);
        else if (state == HTTP_CONN_BODY && unread(c).len > 0 && take_body(c))
            dispatch(c);
        more = c->state != HTTP_CONN_CLOSED && (c->state != state || unread(c).len != had) && unread(c).len > 0;
    }
    c->processing = false;
    if (c->state == HTTP_CONN_CLOSED)
        return;
    if (c->in.len == 0 && c->in.cap > 0)
        conn_forget_input(c);
    conn_watch(c);
}

void http_conn_on_bytes(struct http_conn *c, struct str bytes)
{
    switch (c->state) {
    case HTTP_CONN_STREAM:
    case HTTP_CONN_LINGERING:
        c->ignored += bytes.len;
        if (c->ignored > (c->state == HTTP_CONN_STREAM ? STREAM_IGNORED : LINGER_BYTES))
            conn_close(c, true);
        return;
    case HTTP_CONN_HEAD:
        if (unread(c).len == 0 && bytes.len > 0) /* the head's time begins with its first byte */
            loop_timer_set(&c->timer, LIMIT_HEADER_TIME_MS);
        break;
    case HTTP_CONN_BODY:
    case HTTP_CONN_DECIDING:
    case HTTP_CONN_HANDLING:
        break;
    case HTTP_CONN_FLUSHING:
    case HTTP_CONN_CLOSED:
    case HTTP_CONN_STATE_COUNT:
        return;
    }
    if (c->in_at > 0) {
        strbuf_consume(&c->in, c->in_at);
        c->in_at = 0;
    }
    strbuf_add(&c->in, bytes);
    if (strbuf_failed(&c->in)) {
        conn_close(c, true);
        return;
    }
    conn_process(c);
}

/* Between two requests: none follows, but the answers that are queued still go out. */
static void finish_answers(struct http_conn *c)
{
    c->linger_after = unread(c).len > 0;
    conn_move(c, HTTP_CONN_FLUSHING);
    conn_forget_input(c);
    conn_arm(c);
    conn_watch(c);
}

void http_conn_on_eof(struct http_conn *c, bool failed)
{
    bool waits = (c->state == HTTP_CONN_HANDLING || c->state == HTTP_CONN_DECIDING) && c->req && !c->req->on_gone;
    if (!failed &&
        (waits || c->state == HTTP_CONN_FLUSHING)) { /* it only ended its own side, and still listens for its answer */
        c->half_closed = c->close_after = true;
        conn_watch(c);
        return;
    }
    if (!failed && c->state == HTTP_CONN_HEAD && c->queued > 0) {
        c->half_closed = true;
        finish_answers(c);
        return;
    }
    conn_close(c, failed);
}

void http_conn_drain(struct http_conn *c)
{
    c->draining = true;
    if (c->state == HTTP_CONN_HEAD && unread(c).len == 0 && c->queued == 0)
        conn_close(c, false);
    else if (c->state == HTTP_CONN_HEAD && unread(c).len == 0)
        finish_answers(c);
    else if (c->state == HTTP_CONN_HEAD || c->state == HTTP_CONN_DECIDING || c->state == HTTP_CONN_HANDLING)
        c->close_after = true;
}

struct http_conn *http_conn_new(struct loop *l, const struct http_app *app, const struct http_transport *ops,
                                void *transport, const char *peer)
{
    struct http_conn *c = pool_get(&conn_pool);
    if (!c)
        return NULL;
    c->loop = l;
    c->app = app;
    c->ops = ops;
    c->transport = transport;
    c->out_tail = &c->out;
    strncpy(c->peer, peer, sizeof c->peer - 1);
    strbuf_init(&c->in, LIMIT_HEADERS + PIPELINED_MAX * 2);
    loop_timer_init(&c->timer, l, on_timer, c);
    loop_timer_set(&c->timer, LIMIT_HEADER_TIME_MS);
    return c;
}
