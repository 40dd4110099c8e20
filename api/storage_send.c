/* A list of parts on its way to a client: one part at a time, the next when this one is nearly out. */
#include <stdio.h>
#include <stdlib.h>

#include "api/storage_call.h"
#include "common/clock.h"
#include "common/crypto.h"

enum { LOW_WATER = 262144, LOOK_MS = 5000, SENDINGS = 64 };

struct sending {
    struct node *node;
    struct http_req *req; /* NULL: the client has gone */
    struct shard *shard;
    char workspace[LIMIT_NAME + 1], name[LIMIT_STORAGE_NAME + 1], digest[SHA256_HEX_LEN + 1];
    const char *kind; /* static */
    size_t name_len;
    int64_t ms, next, parts;
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

static void on_part(void *ctx, enum err err, const struct script_storage_piece_reply *reply)
{
    struct sending *d = ctx;
    struct str data = err ? STR("") : reply->data;
    d->asked = false;
    if (!d->req) {
        sending_free(d);
        return;
    }
    bool good = data.len > 0 && !d->node->draining;
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
    d->asked = true;
    struct script_storage_piece_args args = {.ws = str_of(d->workspace),
                                             .kind = str_of(d->kind),
                                             .name = {d->name, d->name_len},
                                             .ms = d->ms,
                                             .digest = str_of(d->digest),
                                             .n = d->next,
                                             .max = LIMIT_STORAGE_PART};
    script_call_storage_piece(d->shard->commands, shard_prefix(d->shard), &args, on_part, d);
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

void storage_send(struct storage_call *s, const char *content, const struct script_storage_get_reply *about)
{
    struct call *c = s->call;
    struct node *node = c->node;
    struct http_req *req = c->req;
    int64_t parts = about->parts;
    struct sending *d = node->sendings < SENDINGS ? calloc(1, sizeof *d) : NULL;
    if (!d || parts < 1) {
        free(d);
        call_problem(c, parts < 1 ? ERR_STORAGE_NOT_FOUND : ERR_OVERLOADED,
                     "this node sends as much as it may; try again");
        return;
    }
    *d = (struct sending){.node = node,
                          .req = req,
                          .shard = s->shard,
                          .kind = s->kind,
                          .name_len = s->name.len,
                          .ms = about->ms,
                          .parts = parts};
    memcpy(d->name, s->name.ptr, s->name.len); /* its length was checked */
    snprintf(d->workspace, sizeof d->workspace, "%.*s", STR_ARG(s->workspace));
    snprintf(d->digest, sizeof d->digest, "%.*s", STR_ARG(about->digest));
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
