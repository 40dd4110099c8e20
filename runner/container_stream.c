#include "runner/container_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

enum { HEAD_MAX = 16384, CHUNK = 65536, INPUT_MAX = 4 << 20 };

/*   CONNECTING ──▶ HEAD ──▶ OPEN ──▶ CLOSED
 *        └───────────┴─────────────────▲      */
enum stream_state { STREAM_CONNECTING, STREAM_HEAD, STREAM_OPEN, STREAM_CLOSED };

struct container_stream {
    uv_pipe_t pipe;
    uv_connect_t connect;
    uv_shutdown_t shutdown;
    struct loop *loop;
    const struct container_stream_fns *fns;
    void *ctx;
    enum stream_state state;
    bool input, last_asked, shut, reading;
    size_t writing; /* bytes on their way */
    struct frames frames;
    struct strbuf head, waiting; /* the answer's head; input that came before open */
    char chunk[CHUNK];
};

struct write {
    uv_write_t req;
    struct container_stream *stream;
    size_t len;
};

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    struct container_stream *s = h->data;
    (void)size;
    *buf = uv_buf_init(s->chunk, sizeof s->chunk);
}

static void on_closed(uv_handle_t *h)
{
    struct container_stream *s = h->data;
    strbuf_done(&s->head);
    if (s->waiting.ptr)
        explicit_bzero(s->waiting.ptr, s->waiting.len);
    strbuf_done(&s->waiting);
    free(s);
}

void container_stream_close(struct container_stream *s)
{
    if (!s || s->state == STREAM_CLOSED)
        return;
    s->state = STREAM_CLOSED;
    uv_close((uv_handle_t *)&s->pipe, on_closed);
}

/* The last call to its owner. */
static void ended(struct container_stream *s, const char *why)
{
    if (s->state == STREAM_CLOSED)
        return;
    container_stream_close(s);
    s->fns->end(s->ctx, why);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)req;
    (void)status; /* where it failed the reading end tells */
}

/* End of file goes out behind all that was written. */
static void shut_if_asked(struct container_stream *s)
{
    if (!s->last_asked || s->shut || s->state != STREAM_OPEN)
        return;
    s->shut = true;
    s->shutdown.data = s;
    uv_shutdown(&s->shutdown, (uv_stream_t *)&s->pipe, on_shutdown);
}

static void on_written(uv_write_t *req, int status)
{
    struct write *w = CONTAINER_OF(req, struct write, req);
    (void)status;
    if (status != UV_ECANCELED)
        w->stream->writing -= w->len;
    explicit_bzero(w + 1, w->len);
    free(w);
}

static bool send_bytes(struct container_stream *s, struct str bytes)
{
    struct write *w = malloc(sizeof *w + bytes.len);
    if (!w)
        return false;
    w->stream = s;
    w->len = bytes.len;
    memcpy(w + 1, bytes.ptr, bytes.len);
    uv_buf_t buf = uv_buf_init((char *)(w + 1), (unsigned)bytes.len);
    if (uv_write(&w->req, (uv_stream_t *)&s->pipe, &buf, 1, on_written) != 0) {
        free(w);
        return false;
    }
    s->writing += bytes.len;
    return true;
}

static void on_frame(void *ctx, enum job_stream stream, struct str bytes)
{
    struct container_stream *s = ctx;
    if (s->state == STREAM_OPEN)
        s->fns->bytes(s->ctx, stream, bytes);
}

static void take_body(struct container_stream *s, struct str bytes)
{
    if (!docker_frames_feed(&s->frames, bytes, on_frame, s))
        ended(s, "the engine sent no frames");
}

/* 101 for attach, 200 for both: then the bytes begin. */
static void take_head(struct container_stream *s, struct str bytes)
{
    strbuf_add(&s->head, bytes);
    struct str all = strbuf_str(&s->head);
    const char *end = memmem(all.ptr, all.len, "\r\n\r\n", 4);
    if (!end) {
        if (strbuf_failed(&s->head))
            ended(s, "the engine's answer has no end");
        return;
    }
    bool agreed = all.len > 12 && str_starts(all, STR("HTTP/1.")) &&
                  (memcmp(all.ptr + 8, " 101", 4) == 0 || memcmp(all.ptr + 8, " 200", 4) == 0);
    if (!agreed) {
        ended(s, "the engine refused the connection to the container");
        return;
    }
    s->state = STREAM_OPEN;
    if (s->waiting.len > 0 && !send_bytes(s, strbuf_str(&s->waiting))) {
        ended(s, "out of memory");
        return;
    }
    shut_if_asked(s);
    s->fns->open(s->ctx);
    size_t head_len = (size_t)(end - all.ptr) + 4;
    if (s->state == STREAM_OPEN && all.len > head_len)
        take_body(s, (struct str){all.ptr + head_len, all.len - head_len});
    strbuf_reset(&s->head);
    if (s->state == STREAM_OPEN && !s->reading)
        uv_read_stop((uv_stream_t *)&s->pipe);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct container_stream *s = stream->data;
    if (n == 0 || s->state == STREAM_CLOSED)
        return;
    struct str bytes = {buf->base, n > 0 ? (size_t)n : 0};
    if (n < 0)
        ended(s, s->state == STREAM_OPEN ? NULL : "the engine closed the connection to the container");
    else if (s->state == STREAM_HEAD)
        take_head(s, bytes);
    else
        take_body(s, bytes);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct container_stream *s = req->data;
    if (s->state == STREAM_CLOSED)
        return;
    if (status < 0 || !send_bytes(s, strbuf_str(&s->head))) {
        ended(s, "the engine's socket can't be connected to");
        return;
    }
    strbuf_reset(&s->head);
    s->state = STREAM_HEAD;
    uv_read_start((uv_stream_t *)&s->pipe, on_alloc, on_read);
}

static struct container_stream *stream_new(struct loop *l, const char *socket, const struct container_stream_fns *fns,
                                           void *ctx)
{
    struct container_stream *s = calloc(1, sizeof *s);
    if (!s || strlen(socket) >= sizeof((struct sockaddr_un *)0)->sun_path || uv_pipe_init(loop_uv(l), &s->pipe, 0)) {
        free(s);
        return NULL;
    }
    s->loop = l;
    s->fns = fns;
    s->ctx = ctx;
    s->reading = true;
    s->pipe.data = s;
    s->connect.data = s;
    strbuf_init(&s->head, HEAD_MAX + CHUNK);
    strbuf_init(&s->waiting, INPUT_MAX);
    return s;
}

struct container_stream *container_stream_attach(struct loop *l, const char *socket, const char *version,
                                                 const char *id, const struct container_stream_fns *fns, void *ctx)
{
    struct container_stream *s = stream_new(l, socket, fns, ctx);
    if (!s)
        return NULL;
    s->input = true;
    strbuf_addf(&s->head,
                "POST /v%s/containers/%s/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: engine\r\n"
                "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n",
                version, id);
    uv_pipe_connect(&s->connect, &s->pipe, socket, on_connected);
    return s;
}

/* HTTP/1.0: the body is as it is, and ends with the connection. */
struct container_stream *container_stream_log(struct loop *l, const char *socket, const char *version, const char *id,
                                              int64_t since_ns, bool follow, const struct container_stream_fns *fns,
                                              void *ctx)
{
    struct container_stream *s = stream_new(l, socket, fns, ctx);
    if (!s)
        return NULL;
    strbuf_addf(&s->head,
                "GET /v%s/containers/%s/logs?stdout=1&stderr=1&follow=%d&since=%lld.%09lld HTTP/1.0\r\n"
                "Host: engine\r\n\r\n",
                version, id, follow, (long long)(since_ns / 1000000000), (long long)(since_ns % 1000000000));
    uv_pipe_connect(&s->connect, &s->pipe, socket, on_connected);
    return s;
}

bool container_stream_write(struct container_stream *s, struct str bytes, bool last)
{
    if (!s->input || s->last_asked || s->state == STREAM_CLOSED || s->writing + s->waiting.len + bytes.len > INPUT_MAX)
        return false;
    if (s->state != STREAM_OPEN)
        strbuf_add(&s->waiting, bytes);
    else if (bytes.len > 0 && !send_bytes(s, bytes))
        return false;
    s->last_asked = last;
    shut_if_asked(s);
    return !strbuf_failed(&s->waiting);
}

void container_stream_read(struct container_stream *s, bool on)
{
    if (s->reading == on || s->state == STREAM_CLOSED)
        return;
    s->reading = on;
    if (s->state == STREAM_OPEN && on)
        uv_read_start((uv_stream_t *)&s->pipe, on_alloc, on_read);
    else if (s->state == STREAM_OPEN)
        uv_read_stop((uv_stream_t *)&s->pipe);
}
