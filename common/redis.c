#include "common/redis.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/redis_url.h"
#include "common/resp.h"
#include "common/resp_write.h"

/* hiredis is used for connecting (redisContext) only, not its async layer: the queue of requests is ours, so that each is answered exactly once whatever
 * is freed from inside which callback, and subscriptions survive a quick unsubscribe and subscribe of one channel, which hiredis 0.14 mixes up.
 *
 *            backoff timer          connected         handshake answered
 *   WAITING ──────────────▶ RESOLVING ──▶ CONNECTING ──▶ GREETING ──▶ UP
 *      ▲                        │            │             │          │
 *      └────────────────────────┴────────────┴─────────────┴──────────┘  lost, refused or timed out
 */
enum redis_state { WAITING, RESOLVING, CONNECTING, GREETING, UP };

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 2000,
    CONNECT_TIMEOUT_MS = 2000,
    DEFAULT_TIMEOUT_MS = 5000,
    DEFAULT_PENDING = 100000,
    TIMEOUT_SCAN_MS = 250,
    OUT_KEPT = 65536, /* of the memory for what is sent */
    READS_A_TURN = 8, /* other connections of the loop get their turn */
    SUB_BUCKETS_MIN = 64,
};

struct request {
    struct request *next;
    redis_reply_fn fn; /* NULL: nobody wants to know */
    void *ctx;
    struct redis *r;
    int64_t deadline_ms; /* monotonic; 0: none */
    int64_t sent_us;
    enum err failed; /* of a request that was refused and is only waiting to be told */
};

struct redis_sub {
    struct redis_sub *next; /* in its bucket */
    struct redis *r;
    redis_sub_fn fn;
    void *ctx;
    bool dead; /* unsubscribed; freed after the turn */
    size_t len;
    char channel[];
};

struct redis {
    struct loop *loop;
    enum redis_kind kind;
    enum redis_state state;
    struct redis_url url;
    char *user, *password, *name;
    int64_t timeout_ms;
    size_t max_pending;
    redis_state_fn on_state;
    void *ctx;
    void *note;
    void *kept;
    void (*release)(void *ctx); /* NULL: nothing is held */
    void *release_ctx;

    redisContext *hc;  /* NULL in WAITING and RESOLVING */
    struct strbuf out; /* commands, of which out_sent bytes are sent */
    size_t out_sent;
    struct resp *resp; /* what comes over it */
    uv_poll_t *poll;   /* its own allocation: libuv closes it later */
    int poll_events;
    bool blocked; /* the socket took no more: wait until it is writable */
    uv_getaddrinfo_t *resolving;
    struct loop_flush flush;
    struct loop_timer connect_timer; /* backoff, and the bound on connecting */
    struct loop_timer timeout_timer;
    int attempts; /* since the last time it was up */
    uint64_t generation;
    char run_id[41];
    bool was_up, freed, refusal_logged, refused_due;

    struct request_list {
        struct request *first, **tail;
    } sent, refused; /* not answered yet; refused: to be told so in the loop's deferred calls */
    size_t pending, refused_count;
    struct redis_sub **subs;
    size_t sub_buckets, sub_count;
    int telling; /* depth of sub_tell: the table keeps its shape */
};

static void start_connecting(void *ctx);
static void lose(struct redis *r, const char *why);

/* ---- requests ---- */

static void request_done(struct request *q, enum err err, const redisReply *reply)
{
    struct redis *r = q->r;
    r->pending--;
    if (err)
        metric_add(METRIC_REDIS_ERRORS, 1);
    else
        metric_observe_us(METRIC_REDIS_SECONDS, clock_mono_us() - q->sent_us);
    if (q->fn)
        q->fn(q->ctx, err, reply);
    free(q);
}

static void list_init(struct request_list *l)
{
    l->first = NULL;
    l->tail = &l->first;
}

static void list_push(struct request_list *l, struct request *q)
{
    *l->tail = q;
    l->tail = &q->next;
}

static struct request *list_pop(struct request_list *l)
{
    struct request *q = l->first;
    if (!q)
        return NULL;
    l->first = q->next;
    if (!l->first)
        l->tail = &l->first;
    return q;
}

static void refused_tell(struct redis *r, enum err err, size_t at_most)
{
    struct request *q;
    while (at_most-- > 0 && (q = list_pop(&r->refused))) {
        r->refused_count--;
        request_done(q, err ? err : q->failed, NULL);
    }
}

/* Those that were refused before this turn of it; what their callbacks ask for is for the next. */
static void on_refused(void *ctx)
{
    struct redis *r = ctx;
    r->refused_due = false;
    refused_tell(r, ERR_OK, r->refused_count);
}

static void refuse(struct redis *r, struct request *q, enum err err)
{
    q->failed = err;
    list_push(&r->refused, q);
    r->refused_count++;
    if (!r->refused_due)
        loop_defer(r->loop, on_refused, r);
    r->refused_due = true;
}

/* What an error reply means to callers. */
static enum err error_of(const redisReply *reply)
{
    struct str s = redis_str(reply);
    if (str_starts(s, STR("NOSCRIPT")) || str_starts(s, STR("ERR Function not found")))
        return ERR_OK;
    if (str_starts(s, STR("OOM")))
        return ERR_MEMORY_PRESSURE;
    static const char *const away[] = {"LOADING",  "READONLY", "MASTERDOWN", "CLUSTERDOWN",
                                       "TRYAGAIN", "MISCONF",  "BUSY",       "NOREPLICAS"};
    for (size_t i = 0; i < ARRAY_LEN(away); i++)
        if (str_starts(s, str_of(away[i])))
            return ERR_REDIS_UNAVAILABLE;
    return ERR_INTERNAL;
}

static bool any_late(const struct redis *r)
{
    int64_t now = clock_mono_ms();
    for (const struct request *q = r->sent.first; q; q = q->next)
        if (q->deadline_ms && q->deadline_ms <= now)
            return true;
    return false;
}

static void on_readable(struct redis *r);

static void on_timeout_scan(void *ctx)
{
    struct redis *r = ctx;
    const redisContext *hc = r->hc;
    if (any_late(r))
        on_readable(r); /* where it was us who stood still, the answers are here already */
    if (r->hc != hc)
        return;
    if (any_late(r))
        lose(r, "no answer in time");
    else if (r->sent.first)
        loop_timer_set(&r->timeout_timer, TIMEOUT_SCAN_MS);
    else
        resp_rest(r->resp); /* nothing is asked: an idle connection holds no buffer */
}

static void append(struct redis *r, size_t argc, const struct str *argv)
{
    resp_write_command(&r->out, argc, argv);
    PRE(!strbuf_failed(&r->out)); /* memory is out */
}

static struct request *request_new(struct redis *r, int64_t timeout_ms, redis_reply_fn fn, void *ctx)
{
    struct request *q = malloc(sizeof *q);
    PRE(q);
    *q = (struct request){.fn = fn, .ctx = ctx, .r = r, .sent_us = clock_mono_us()};
    q->deadline_ms = timeout_ms > 0 ? q->sent_us / 1000 + timeout_ms : 0;
    r->pending++;
    return q;
}

static void request_send(struct redis *r, struct request *q, size_t argc, const struct str *argv)
{
    append(r, argc, argv);
    list_push(&r->sent, q);
    metric_add(METRIC_REDIS_COMMANDS, 1);
    if (q->deadline_ms && !loop_timer_is_set(&r->timeout_timer))
        loop_timer_set(&r->timeout_timer, TIMEOUT_SCAN_MS);
}

void redis_command_timeout(struct redis *r, int64_t timeout_ms, size_t argc, const struct str *argv, redis_reply_fn fn,
                           void *ctx)
{
    PRE(!r->freed && argc > 0 && r->kind != REDIS_SUBSCRIBE);
    redis_release(r);
    struct request *q = request_new(r, timeout_ms, fn, ctx);
    if (r->state != UP)
        refuse(r, q, ERR_REDIS_UNAVAILABLE);
    else if (r->pending > r->max_pending)
        refuse(r, q, ERR_OVERLOADED);
    else
        request_send(r, q, argc, argv);
}

void redis_hold(struct redis *r, void (*release)(void *ctx), void *ctx)
{
    PRE(!r->freed && !r->release);
    r->release = release;
    r->release_ctx = ctx;
}

void redis_release(struct redis *r)
{
    void (*release)(void *ctx) = r->release;
    r->release = NULL;
    if (release)
        release(r->release_ctx);
}

void redis_command(struct redis *r, size_t argc, const struct str *argv, redis_reply_fn fn, void *ctx)
{
    redis_command_timeout(r, r->timeout_ms, argc, argv, fn, ctx);
}

/* ---- subscriptions: a table of our own, by channel ---- */

static uint64_t hash_of(struct str s)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.ptr[i]) * UINT64_C(1099511628211);
    return h;
}

static struct redis_sub **bucket_of(struct redis *r, struct str channel)
{
    return &r->subs[hash_of(channel) & (r->sub_buckets - 1)];
}

static bool subs_grow(struct redis *r)
{
    if (r->sub_count < r->sub_buckets || r->telling > 0)
        return true;
    size_t old = r->sub_buckets, n = old ? 2 * old : SUB_BUCKETS_MIN;
    struct redis_sub **table = calloc(n, sizeof *table), **old_table = r->subs;
    if (!table)
        return false;
    r->subs = table;
    r->sub_buckets = n;
    for (size_t i = 0; i < old; i++) {
        for (struct redis_sub *s = old_table[i], *next; s; s = next) {
            next = s->next;
            struct redis_sub **b = bucket_of(r, (struct str){s->channel, s->len});
            s->next = *b;
            *b = s;
        }
    }
    free(old_table);
    return true;
}

/* Tells whoever is on the channel. A callback may subscribe and unsubscribe, also itself: the dead stay in memory until the turn is over. */
static void sub_tell(struct redis *r, struct str channel, bool confirmed, struct str message)
{
    if (!r->sub_buckets)
        return;
    r->telling++;
    for (struct redis_sub *s = *bucket_of(r, channel), *next; s && !r->freed; s = next) {
        next = s->next;
        if (!s->dead && s->len == channel.len && memcmp(s->channel, channel.ptr, channel.len) == 0)
            s->fn(s->ctx, confirmed, message);
    }
    r->telling--;
}

static void on_push(struct redis *r, const redisReply *reply)
{
    struct str type = redis_str(redis_at(reply, 0)), channel = redis_str(redis_at(reply, 1));
    if (str_eqz(type, "message"))
        sub_tell(r, channel, false, redis_str(redis_at(reply, 2)));
    else if (str_eqz(type, "subscribe"))
        sub_tell(r, channel, true, STR_NONE);
}

struct redis_sub *redis_subscribe(struct redis *r, struct str channel, redis_sub_fn fn, void *ctx)
{
    PRE(!r->freed && r->kind == REDIS_SUBSCRIBE);
    struct redis_sub *s = subs_grow(r) ? calloc(1, sizeof *s + channel.len + 1) : NULL;
    if (!s)
        return NULL;
    s->r = r;
    s->fn = fn;
    s->ctx = ctx;
    s->len = channel.len;
    if (channel.len > 0)
        memcpy(s->channel, channel.ptr, channel.len);
    struct redis_sub **b = bucket_of(r, channel);
    s->next = *b;
    *b = s;
    r->sub_count++;
    if (r->state == UP)
        append(r, 2, (const struct str[]){STR("SUBSCRIBE"), channel});
    return s;
}

void redis_unsubscribe(struct redis_sub *s)
{
    if (!s)
        return;
    struct redis *r = s->r;
    PRE(!s->dead);
    struct str channel = {s->channel, s->len};
    struct redis_sub **link = bucket_of(r, channel);
    bool others = false;
    for (struct redis_sub *o = *link; o; o = o->next)
        others = others || (o != s && o->len == s->len && memcmp(o->channel, s->channel, s->len) == 0);
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    r->sub_count--;
    s->dead = true;
    if (!others && r->state == UP)
        append(r, 2, (const struct str[]){STR("UNSUBSCRIBE"), channel});
    loop_defer_free(r->loop, free, s);
}

static void subscribe_all(struct redis *r)
{
    for (size_t i = 0; i < r->sub_buckets; i++)
        for (struct redis_sub *s = r->subs[i]; s; s = s->next)
            append(r, 2, (const struct str[]){STR("SUBSCRIBE"), {s->channel, s->len}});
}

/* ---- the socket ---- */

static void on_poll(uv_poll_t *h, int status, int events);

static void poll_set(struct redis *r)
{
    int events = UV_READABLE | (r->blocked || r->state == CONNECTING ? UV_WRITABLE : 0);
    if (!r->poll || events == r->poll_events)
        return;
    r->poll_events = events;
    uv_poll_start(r->poll, events, on_poll);
}

static void on_poll_closed(uv_handle_t *h)
{
    free(h);
}

static void free_context(void *hc)
{
    redisFree(hc);
}

static void free_resp(void *resp)
{
    resp_free(resp);
}

/* Leaves the present connection: what was asked on it is answered, then everything begins again after the backoff. */
static void lose(struct redis *r, const char *why)
{
    bool was_up = r->state == UP;
    if (was_up || r->attempts == 0) {
        char port[8];
        snprintf(port, sizeof port, "%d", r->url.port);
        LOG_WARN(was_up ? "redis connection lost" : "redis can't be reached; trying on", LOG_Z("connection", r->name),
                 LOG_Z("address", r->url.path ? r->url.path : r->url.host), LOG_Z("port", r->url.path ? "" : port),
                 LOG_Z("why", why));
    }
    r->state = WAITING;
    redis_release(r); /* to be refused */
    r->blocked = false;
    if (r->poll) {
        uv_poll_stop(r->poll);
        uv_close((uv_handle_t *)r->poll, on_poll_closed);
        r->poll = NULL;
        r->poll_events = 0;
    }
    if (r->hc) {
        /* The context may be in use further up the stack (its reader called us), so it goes after the turn; its socket goes now. */
        shutdown(r->hc->fd, SHUT_RDWR);
        loop_defer_free(r->loop, free_context, r->hc);
        loop_defer_free(r->loop, free_resp, r->resp);
        r->hc = NULL;
        r->resp = NULL;
    }
    if (r->resolving) {
        r->resolving->data = NULL; /* its callback frees it */
        uv_cancel((uv_req_t *)r->resolving);
        r->resolving = NULL;
    }
    strbuf_done(&r->out);
    r->out_sent = 0;
    loop_timer_stop(&r->timeout_timer);
    int64_t backoff = BACKOFF_MIN_MS;
    for (int i = 0; i < r->attempts && backoff < BACKOFF_MAX_MS; i++)
        backoff *= 2;
    backoff = backoff < BACKOFF_MAX_MS ? backoff : BACKOFF_MAX_MS;
    r->attempts++;
    loop_timer_stop(&r->connect_timer);
    loop_timer_init(&r->connect_timer, r->loop, start_connecting, r);
    if (!r->freed)
        loop_timer_set(&r->connect_timer, backoff / 2 + (int64_t)crypto_uniform((uint64_t)backoff / 2 + 1));
    /* Callbacks may ask again (refused: not up), or free us (which then answers the rest). */
    int64_t now = clock_mono_ms();
    for (struct request *q; (q = list_pop(&r->sent));) {
        bool late = q->deadline_ms && q->deadline_ms <= now;
        request_done(q, r->freed ? ERR_CANCELED : late ? ERR_TIMEOUT : ERR_REDIS_UNAVAILABLE, NULL);
    }
    if (was_up && r->on_state && !r->freed)
        r->on_state(r->ctx, r, false);
}

/* n bytes were taken. What was needed for a burst is not kept. */
static void sent(struct redis *r, size_t n)
{
    r->out_sent += n;
    if (r->out_sent == r->out.len) {
        if (r->out.cap > OUT_KEPT && r->out.len < r->out.cap / 4)
            strbuf_done(&r->out);
        strbuf_reset(&r->out);
        r->out_sent = 0;
    } else if (r->out_sent >= OUT_KEPT && r->out_sent > r->out.len / 2) {
        strbuf_consume(&r->out, r->out_sent);
        r->out_sent = 0;
    }
}

static void on_flush(void *ctx)
{
    struct redis *r = ctx;
    redis_release(r);
    size_t left = r->out.len - r->out_sent;
    if (r->state < GREETING || r->blocked || left == 0)
        return;
    ssize_t n = send(r->hc->fd, r->out.ptr + r->out_sent, left, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        /* Reading finds what is left, and the end. Not lose() here: what its callbacks send over connections that were flushed already would lie there until something else wakes the loop. */
        shutdown(r->hc->fd, SHUT_RDWR);
        r->blocked = true;
        return;
    }
    if (n > 0)
        sent(r, (size_t)n);
    if (n < (ssize_t)left) { /* the kernel's buffer is full */
        r->blocked = true;
        poll_set(r);
    }
}

void redis_flush(struct redis *r)
{
    on_flush(r);
}

static void on_reply(struct redis *r, const redisReply *reply)
{
    if (r->kind == REDIS_SUBSCRIBE && r->state == UP) {
        on_push(r, reply);
        return;
    }
    struct request *q = list_pop(&r->sent);
    if (!q) {
        lose(r, "an answer that nobody asked for");
        return;
    }
    enum err err = reply->type == REDIS_REPLY_ERROR ? error_of(reply) : ERR_OK;
    bool told = !err || err == ERR_INTERNAL || err == ERR_MEMORY_PRESSURE;
    request_done(q, err, told ? reply : NULL);
}

/* Hands on every whole reply that was read; false when the connection ended meanwhile. */
static bool take_replies(struct redis *r, const redisContext *hc)
{
    const redisReply *reply = NULL;
    const char *why = NULL;
    while (r->hc == hc) { /* a callback may end it */
        enum resp_found found = resp_next(r->resp, &reply, &why);
        if (found == RESP_MORE)
            return true;
        if (found == RESP_BROKEN) {
            lose(r, why);
            return false;
        }
        on_reply(r, reply);
    }
    return false;
}

static void on_readable(struct redis *r)
{
    const redisContext *hc = r->hc;
    for (int i = 0; i < READS_A_TURN; i++) {
        size_t room;
        char *to = resp_room(r->resp, &room);
        if (!to) {
            lose(r, "out of memory");
            return;
        }
        ssize_t n = read(hc->fd, to, room);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            lose(r, n == 0 ? "closed by Redis" : strerror(errno));
            return;
        }
        resp_filled(r->resp, (size_t)n);
        if (!take_replies(r, hc) || (size_t)n < room)
            return;
    }
}

static void on_connected(struct redis *r);

static void lose_by_socket(struct redis *r, const char *otherwise)
{
    int error = 0;
    socklen_t len = sizeof error;
    bool known = getsockopt(r->hc->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error != 0;
    lose(r, known ? strerror(error) : otherwise);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct redis *r = h->data;
    if (status < 0) { /* libuv says EBADF for whatever the socket has */
        lose_by_socket(r, uv_strerror(status));
        return;
    }
    if (r->state == CONNECTING) {
        if (events & UV_WRITABLE)
            on_connected(r);
        return;
    }
    if (events & UV_WRITABLE)
        r->blocked = false; /* the flush before the loop sleeps goes on */
    if (events & UV_READABLE)
        on_readable(r);
    if (r->state >= GREETING)
        poll_set(r);
}

/* ---- connecting ---- */

static void on_greeting_part(void *ctx, enum err err, const redisReply *reply)
{
    struct redis *r = ctx;
    if (r->state != GREETING || (!err && reply->type != REDIS_REPLY_ERROR))
        return;
    if (!r->refusal_logged)
        LOG_WARN("redis refused the connection", LOG_Z("connection", r->name),
                 LOG_S("answer", reply ? redis_str(reply) : str_of(err_code(err))));
    r->refusal_logged = true; /* once, however often it is tried */
    lose(r, "refused");
}

static void come_up(struct redis *r)
{
    r->state = UP;
    r->generation++;
    loop_timer_stop(&r->connect_timer);
    if (r->was_up)
        metric_add(METRIC_REDIS_RECONNECTS, 1);
    if (r->was_up || r->attempts > 0)
        LOG_INFO("redis connection made", LOG_Z("connection", r->name), LOG_I("attempts", r->attempts));
    r->was_up = true;
    r->refusal_logged = false;
    r->attempts = 0;
    if (r->kind == REDIS_SUBSCRIBE)
        subscribe_all(r);
    if (r->on_state)
        r->on_state(r->ctx, r, true);
}

static void on_info(void *ctx, enum err err, const redisReply *reply)
{
    struct redis *r = ctx;
    if (r->state != GREETING)
        return;
    struct str info = redis_str(reply);
    const char *at = err || info.len == 0 ? NULL : memmem(info.ptr, info.len, "run_id:", 7);
    if (!at || (size_t)(info.ptr + info.len - at) < 47) {
        lose(r, "it gave no run id");
        return;
    }
    memcpy(r->run_id, at + 7, 40);
    come_up(r);
}

static void greet(struct redis *r, redis_reply_fn fn, size_t argc, const struct str *argv)
{
    request_send(r, request_new(r, CONNECT_TIMEOUT_MS, fn, r), argc, argv);
}

/* A user and a password belong together: those of the URL, else those of the options. */
static void authenticate(struct redis *r)
{
    const char *user = r->url.password ? r->url.user : r->user;
    const char *password = r->url.password ? r->url.password : r->password;
    if (!password || !*password)
        return;
    if (user && *user)
        greet(r, on_greeting_part, 3, (const struct str[]){STR("AUTH"), str_of(user), str_of(password)});
    else
        greet(r, on_greeting_part, 2, (const struct str[]){STR("AUTH"), str_of(password)});
}

static void on_connected(struct redis *r)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    if (getpeername(r->hc->fd, (struct sockaddr *)&peer, &len) != 0) {
        lose_by_socket(r, "not connected");
        return;
    }
    r->hc->flags |= REDIS_CONNECTED;
    r->state = GREETING;
    poll_set(r);
    if (!r->url.path) {
        int on = 1, idle = 10, interval = 5, count = 3;
        setsockopt(r->hc->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(r->hc->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        setsockopt(r->hc->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
        setsockopt(r->hc->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
        setsockopt(r->hc->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    }
    authenticate(r);
    char db[16];
    snprintf(db, sizeof db, "%d", r->url.db);
    if (r->url.db)
        greet(r, on_greeting_part, 2, (const struct str[]){STR("SELECT"), str_of(db)});
    greet(r, NULL, 3, (const struct str[]){STR("CLIENT"), STR("SETNAME"), str_of(r->name)});
    greet(r, on_greeting_part, 1, (const struct str[]){STR("PING")}); /* a Redis that still loads says so here */
    greet(r, on_info, 2, (const struct str[]){STR("INFO"), STR("server")});
}

static void watch_socket(struct redis *r)
{
    if (!r->hc || r->hc->err) {
        lose(r, r->hc ? r->hc->errstr : "out of memory");
        return;
    }
    r->poll = calloc(1, sizeof *r->poll);
    r->resp = resp_new();
    PRE(r->poll && r->resp);
    r->poll->data = r;
    int status = uv_poll_init(loop_uv(r->loop), r->poll, r->hc->fd);
    if (status < 0) {
        free(r->poll);
        r->poll = NULL;
        lose(r, uv_strerror(status));
        return;
    }
    r->state = CONNECTING;
    poll_set(r);
}

/* A name may have several addresses of which not all listen (localhost: ::1 and 127.0.0.1): each attempt takes the next. */
static const struct addrinfo *address_of(const struct addrinfo *list, int attempt)
{
    int count = 0;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        count++;
    for (int skip = count > 0 ? attempt % count : 0; skip > 0; skip--)
        list = list->ai_next;
    return list;
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *info)
{
    struct redis *r = req->data;
    char address[NI_MAXHOST] = "";
    if (r && status == 0) {
        const struct addrinfo *a = address_of(info, r->attempts);
        status =
            getnameinfo(a->ai_addr, a->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST) ? UV_EAI_FAIL : 0;
    }
    uv_freeaddrinfo(info);
    free(req);
    if (!r)
        return;
    r->resolving = NULL;
    if (status != 0) {
        lose(r, uv_strerror(status));
        return;
    }
    r->hc = redisConnectNonBlock(address, r->url.port);
    watch_socket(r);
}

static void on_connect_timeout(void *ctx)
{
    lose(ctx, "connecting took too long");
}

static void start_connecting(void *ctx)
{
    struct redis *r = ctx;
    loop_timer_init(&r->connect_timer, r->loop, on_connect_timeout, r);
    loop_timer_set(&r->connect_timer, CONNECT_TIMEOUT_MS);
    if (r->url.path) {
        r->hc = redisConnectUnixNonBlock(r->url.path);
        watch_socket(r);
        return;
    }
    r->state = RESOLVING;
    r->resolving = calloc(1, sizeof *r->resolving);
    PRE(r->resolving);
    r->resolving->data = r;
    char port[8];
    snprintf(port, sizeof port, "%d", r->url.port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int status = uv_getaddrinfo(loop_uv(r->loop), r->resolving, on_resolved, r->url.host, port, &hints);
    if (status < 0) {
        free(r->resolving);
        r->resolving = NULL;
        lose(r, uv_strerror(status));
    }
}

struct redis *redis_new(const struct redis_options *o)
{
    struct redis *r = calloc(1, sizeof *r);
    const char *why;
    if (!r || redis_url_parse(o->url, &r->url, &why)) {
        free(r);
        return NULL;
    }
    r->loop = o->loop;
    r->kind = o->kind;
    r->user = o->user ? strdup(o->user) : NULL;
    r->password = o->password ? strdup(o->password) : NULL;
    r->name = strdup(o->name);
    PRE(r->name);
    r->timeout_ms = o->timeout_ms ? o->timeout_ms : DEFAULT_TIMEOUT_MS;
    r->max_pending = o->max_pending ? o->max_pending : DEFAULT_PENDING;
    r->on_state = o->on_state;
    r->ctx = o->ctx;
    list_init(&r->sent);
    list_init(&r->refused);
    strbuf_init(&r->out, SIZE_MAX / 4); /* bounded by max_pending, and by what each command is bounded by */
    loop_timer_init(&r->connect_timer, r->loop, start_connecting, r);
    loop_timer_init(&r->timeout_timer, r->loop, on_timeout_scan, r);
    loop_flush_add(r->loop, &r->flush, on_flush, r);
    loop_timer_set(&r->connect_timer, 0);
    return r;
}

static void redis_destroy(void *p)
{
    struct redis *r = p;
    for (size_t i = 0; i < r->sub_buckets; i++) {
        for (struct redis_sub *s = r->subs[i], *next; s; s = next) {
            next = s->next;
            free(s);
        }
    }
    free(r->subs);
    free(r->kept);
    free(r->user);
    free(r->password);
    free(r->name);
    redis_url_done(&r->url);
    free(r);
}

static void on_ended(void *ctx)
{
    struct redis *r = ctx;
    loop_defer_free(r->loop, redis_destroy, r);
}

void redis_free(struct redis *r)
{
    if (!r)
        return;
    PRE(!r->freed);
    redis_release(r); /* it is answered as what was sent is */
    r->freed = true;
    r->attempts = 1; /* no warning: this end is wanted */
    if (r->state == UP)
        r->state = GREETING;
    lose(r, "closed");
    loop_timer_stop(&r->connect_timer);
    loop_flush_remove(&r->flush);
    refused_tell(r, ERR_CANCELED, SIZE_MAX);
    loop_defer(r->loop, on_ended, r); /* behind an on_refused that may be due */
}

bool redis_is_up(const struct redis *r)
{
    return r->state == UP;
}

const char *redis_run_id(const struct redis *r)
{
    return r->run_id;
}

uint64_t redis_generation(const struct redis *r)
{
    return r->generation;
}

void redis_set_note(struct redis *r, void *note)
{
    r->note = note;
}

void *redis_note(const struct redis *r)
{
    return r->note;
}

void *redis_kept(struct redis *r, size_t size)
{
    if (!r->kept)
        r->kept = calloc(1, size);
    return r->kept;
}

size_t redis_pending(const struct redis *r)
{
    return r->pending + (r->release ? 1 : 0);
}
