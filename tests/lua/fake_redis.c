#include "fake_redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

static void on_closed(uv_handle_t *h)
{
    free(h);
}

void fake_redis_drop(struct fake_redis *f)
{
    if (f->client)
        uv_close((uv_handle_t *)f->client, on_closed);
    f->client = NULL;
}

void fake_redis_send(struct fake_redis *f, const char *bytes, size_t len)
{
    assert_non_null(f->client);
    while (len > 0) {
        uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
        int n = uv_try_write((uv_stream_t *)f->client, &buf, 1);
        assert_true(n > 0); /* what tests send is short */
        bytes += n;
        len -= (size_t)n;
    }
}

static void say(struct fake_redis *f, const char *text)
{
    if (text)
        fake_redis_send(f, text, strlen(text));
    if (f->drop_after)
        fake_redis_drop(f);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    (void)h;
    *buf = uv_buf_init(malloc(size), (unsigned)size);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct fake_redis *f = s->data;
    if (n < 0 && f->client == (uv_pipe_t *)s)
        fake_redis_drop(f);
    else if (n > 0 && f->client == (uv_pipe_t *)s) {
        bool greeting = !f->greeted && memmem(buf->base, (size_t)n, "INFO", 4);
        if (greeting) {
            f->greeted = true;
            say(f, f->greeting);
        } else if (f->greeted) {
            f->received += (size_t)n;
            say(f, f->answer);
        }
    }
    free(buf->base);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct fake_redis *f = server->data;
    assert_int_equal(status, 0);
    fake_redis_drop(f);
    f->client = calloc(1, sizeof *f->client);
    assert_non_null(f->client);
    uv_pipe_init(loop_uv(f->loop), f->client, 0);
    f->client->data = f;
    assert_int_equal(uv_accept(server, (uv_stream_t *)f->client), 0);
    f->connections++;
    f->connected_ms = clock_mono_ms();
    f->greeted = false;
    if (f->drop_at_once)
        fake_redis_drop(f);
    else
        uv_read_start((uv_stream_t *)f->client, on_alloc, on_read);
}

void fake_redis_start(struct fake_redis *f, struct harness *h)
{
    *f = (struct fake_redis){.loop = h->loop, .greeting = FAKE_GREETING};
    snprintf(f->path, sizeof f->path, "%s/fake.sock", h->dir);
    snprintf(f->url, sizeof f->url, "unix://%s", f->path);
    uv_pipe_init(loop_uv(h->loop), &f->server, 0);
    f->server.data = f;
    assert_int_equal(uv_pipe_bind(&f->server, f->path), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->server, 16, on_connection), 0);
}

static void on_server_closed(uv_handle_t *h)
{
    ((struct fake_redis *)h->data)->loop = NULL;
}

void fake_redis_stop(struct fake_redis *f)
{
    struct loop *l = f->loop;
    fake_redis_drop(f);
    uv_close((uv_handle_t *)&f->server, on_server_closed);
    while (f->loop)
        uv_run(loop_uv(l), UV_RUN_NOWAIT);
    unlink(f->path);
}
