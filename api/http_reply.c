/* How a request is answered: at once, or by a stream (http.h). */
#include <stdio.h>

#include "api/http_answer.h"
#include "api/http_conn_parts.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"

/* ---- answers ---- */

void http_reply_header(struct http_req *req, const char *name, struct str value)
{
    PRE(!memchr(value.ptr ? value.ptr : "", '\r', value.len) && !memchr(value.ptr ? value.ptr : "", '\n', value.len));
    struct strbuf *out = &req->reply_headers;
    strbuf_grow(out, strlen(name) + value.len + 4); /* at once, so that the parts need no more */
    strbuf_addz(out, name);
    strbuf_add(out, STR(": "));
    strbuf_add(out, value);
    strbuf_add(out, STR("\r\n"));
}

static void count_status(const struct http_req *req, int status)
{
    metric_add(status < 300   ? METRIC_HTTP_REQUESTS_2XX
               : status < 400 ? METRIC_HTTP_REQUESTS_3XX
               : status < 500 ? METRIC_HTTP_REQUESTS_4XX
                              : METRIC_HTTP_REQUESTS_5XX,
               1);
    if (req->received_us)
        metric_observe_us(METRIC_HTTP_SECONDS, clock_mono_us() - req->received_us);
}

static void log_request(const struct http_req *req, int status)
{
    if (!log_on(LOG_LEVEL_DEBUG))
        return;
    char id[17]; /* as X-Request-Id says it */
    snprintf(id, sizeof id, "%016llx", (unsigned long long)req->id);
    LOG_DEBUG("request", LOG_Z("requestId", id), LOG_S("peer", req->peer), LOG_S("method", req->method_word),
              LOG_S("path", req->path), LOG_I("status", status));
}

/* length: what Content-Length says, -1 for none. */
static void reply(struct http_req *req, int status, const char *content_type, struct str body, int64_t length)
{
    struct http_conn *c = req->conn;
    count_status(req, status);
    log_request(req, status);
    if (!c || c->state == HTTP_CONN_CLOSED) { /* the client has gone: nobody reads it */
        conn_drop_req(NULL, req);
        return;
    }
    bool keep = req->keep_alive && !c->close_after && !c->draining;
    struct http_answer answer = {.status = status, .content_type = content_type, .length = length, .keep_alive = keep};
    bool with_body = req->method != HTTP_HEAD_ && status != 204;
    struct http_buf *b = http_answer_buf(req, &answer, with_body ? body : STR_NONE);
    PRE(b);
    conn_enqueue(c, b, false);
    if (keep) {
        conn_move(c, HTTP_CONN_HEAD);
        loop_timer_stop(&c->timer);
        conn_drop_req(c, req);
        conn_arm(c);
        conn_process(c);
    } else {
        conn_move(c, HTTP_CONN_FLUSHING);
        conn_drop_req(c, req);
        conn_forget_input(c);
        conn_watch(c);
    }
}

void http_reply(struct http_req *req, int status, const char *content_type, struct str body)
{
    reply(req, status, content_type, body, (int64_t)body.len);
}

/* ---- streams ---- */

bool http_stream_begin(struct http_req *req, int status, const char *content_type, const struct http_stream_fns *fns,
                       size_t low_water)
{
    struct http_conn *c = req->conn;
    if (!c || c->state != HTTP_CONN_HANDLING || req->method == HTTP_HEAD_) {
        reply(req, status, content_type, STR_NONE, -1); /* as for GET, no length */
        return false;
    }
    count_status(req, status);
    log_request(req, status);
    c->ignored += c->in.len - c->in_at; /* what was sent behind the request already */
    c->close_after = c->close_after || !req->keep_alive || c->draining;
    struct http_answer answer = {.status = status,
                                 .content_type = content_type,
                                 .length = -1,
                                 .chunked = !c->http_1_0,
                                 .keep_alive = !c->close_after};
    struct http_buf *b = http_answer_buf(req, &answer, STR_NONE);
    PRE(b);
    conn_move(c, HTTP_CONN_STREAM);
    c->stream = fns;
    c->low_water = low_water;
    c->filled = 0;
    c->is_short = false;
    c->ops->bound_kernel(c->transport, false);
    conn_forget_input(c);
    strbuf_done(&c->body);
    strbuf_done(&req->reply_headers);
    strbuf_done(&req->body_memory);
    arena_done(&req->arena);
    req->path = req->query = req->target = req->body = req->method_word = STR_NONE;
    memset(req->params, 0, sizeof req->params);
    req->headers = NULL;
    req->header_count = 0;
    loop_timer_stop(&c->timer);
    conn_enqueue(c, b, false);
    conn_watch(c);
    return true;
}

void http_stream_send(struct http_req *req, struct http_buf *b)
{
    struct http_conn *c = req->conn;
    if (c && c->state == HTTP_CONN_STREAM)
        conn_enqueue(c, http_buf_ref(b), !c->http_1_0);
}

void http_stream_is_short(struct http_req *req)
{
    struct http_conn *c = req->conn;
    if (!c)
        return;
    c->is_short = true;
    c->ops->bound_kernel(c->transport, true);
}

void http_stream_rests(struct http_req *req)
{
    struct http_conn *c = req->conn;
    if (!c)
        return;
    if (c->filled >= HTTP_WIDE_AFTER)
        c->ops->bound_kernel(c->transport, false);
    c->filled = 0;
    c->is_short = false;
}

size_t http_stream_queued(const struct http_req *req)
{
    return req->conn ? req->conn->queued : 0;
}

int64_t http_stream_progress_ms(const struct http_req *req)
{
    return req->conn && req->conn->queued > 0 ? req->conn->progress_ms : clock_mono_ms();
}

void http_stream_end(struct http_req *req)
{
    struct http_conn *c = req->conn;
    if (!c || c->state != HTTP_CONN_STREAM)
        return;
    if (!c->http_1_0) {
        struct http_buf *b = http_buf_new(5);
        PRE(b);
        memcpy(b->data, "0\r\n\r\n", 5);
        conn_enqueue(c, b, false);
    }
    conn_move(c, HTTP_CONN_FLUSHING);
    c->stays = true;
    c->linger_after = false;
    req->on_gone = NULL;
    conn_drop_req(c, req);
    c->ops->need_flush(c->transport);
}

void http_stream_cut(struct http_req *req)
{
    struct http_conn *c = req->conn;
    if (!c)
        return;
    req->on_gone = NULL;
    conn_close(c, c->queued > 0);
}

void http_stream_cut_whole(struct http_req *req)
{
    struct http_conn *c = req->conn;
    if (!c || c->state != HTTP_CONN_STREAM ||
        c->out_offset == 0) { /* nothing is begun: what the kernel has ends whole */
        req->on_gone = NULL;
        if (c)
            conn_close(c, false);
        return;
    }
    conn_drop_behind(c);
    conn_move(c, HTTP_CONN_FLUSHING);
    c->linger_after = false;
    req->on_gone = NULL;
    conn_drop_req(c, req);
}
