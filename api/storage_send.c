/* A list of parts on its way to a client: one part at a time, the next when this one is nearly out. */
#include <stdio.h>
#include <stdlib.h>

#include "api/storage_call.h"
#include "common/clock.h"

enum { LOW_WATER = 262144, LOOK_MS = 5000, SENDINGS = 64 };

struct sending {
    struct node *node;
    struct http_req *req; /* NULL: the client has gone */
    struct shard *shard;
    struct key key;
    int64_t next, parts;
    bool asked; /* the answer frees it when the client is gone meanwhile */
    struct loop_timer look;
};

static void sending_free(struct sending *d)
{
    d->node->sendings--;
    loop_timer_stop(&d->look);
    loop_defer_free(d->node->loop, free, d);
}

/* Nobody takes a part of it for the whole. */
static void cut(struct sending *d)
{
    http_stream_cut(d->req);
    d->req = NULL;
    sending_free(d);
}

static void ask(struct sending *d);

static void on_part(void *ctx, enum err err, const redisReply *reply)
{
    struct sending *d = ctx;
    struct str data = redis_str(reply);
    d->asked = false;
    if (!d->req) {
        sending_free(d);
        return;
    }
    bool good = !err && reply->type == REDIS_REPLY_STRING && data.len > 0 && !d->node->draining;
    struct http_buf *b = good ? http_buf_new(data.len) : NULL;
    if (!b) { /* replaced meanwhile, or this node ends */
        cut(d);
        return;
    }
    memcpy(b->data, data.ptr, data.len);
    http_stream_send(d->req, b);
    http_buf_unref(b);
    d->next++;
    if (d->next == d->parts) {
        http_stream_end(d->req);
        d->req = NULL;
        sending_free(d);
    } else if (http_stream_queued(d->req) <= LOW_WATER) {
        ask(d);
    }
}

static void ask(struct sending *d)
{
    char n[24];
    d->asked = true;
    snprintf(n, sizeof n, "%lld", (long long)d->next);
    redis_command(d->shard->commands, 3, (const struct str[]){STR("LINDEX"), key_str(&d->key), str_of(n)}, on_part, d);
}

static void on_drain(struct http_req *req)
{
    struct sending *d = req->user;
    if (!d->asked && d->next < d->parts)
        ask(d);
}
static const struct http_stream_fns stream_fns = {on_drain};

static void on_gone(struct http_req *req)
{
    struct sending *d = req->user;
    d->req = NULL;
    if (!d->asked)
        sending_free(d);
}

/* A client that takes nothing any more. */
static void on_look(void *ctx)
{
    struct sending *d = ctx;
    if (!d->asked && clock_mono_ms() - http_stream_progress_ms(d->req) > LIMIT_WRITE_TIME_MS)
        cut(d);
    else
        loop_timer_set(&d->look, LOOK_MS);
}

void storage_send(struct storage_call *s, const char *content, int64_t parts)
{
    struct call *c = s->call;
    struct node *node = c->node;
    struct http_req *req = c->req;
    struct sending *d = node->sendings < SENDINGS ? calloc(1, sizeof *d) : NULL;
    if (!d || parts < 1) {
        free(d);
        call_problem(c, parts < 1 ? ERR_STORAGE_NOT_FOUND : ERR_OVERLOADED,
                     "this node sends as much as it may; try again");
        return;
    }
    *d = (struct sending){.node = node, .req = req, .shard = s->shard, .parts = parts};
    d->key = keys_data(shard_prefix(s->shard), s->workspace, s->kind, s->name);
    loop_timer_init(&d->look, node->loop, on_look, d);
    node->sendings++;
    if (!http_stream_begin(req, 200, content, &stream_fns, LOW_WATER)) {
        sending_free(d);
        return;
    }
    req->user = d;
    req->on_gone = on_gone;
    loop_timer_set(&d->look, LOOK_MS);
    ask(d);
}
