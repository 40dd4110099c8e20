#include "runner/net_proxy.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "runner/proxy_request.h"

enum {
    HEAD_MS = 15000,
    CONNECT_MS = 20000,
    IDLE_MS = 600000,
    ANSWER_MS = 5000,
    BACKLOG = 64,
    ADDRESSES_MAX = 4,
    NOTES_MAX = 100 /* of one proxy: an agent that only tries can't fill a log tail for ever */
};

enum state { HEAD, RESOLVING, CONNECTING, RELAYING, ANSWERING, CLOSED };

/* One direction. What was read is written before more is read. */
struct relay {
    struct conn *conn;
    uv_stream_t *from, *to;
    uv_write_t write;
    uv_shutdown_t shutdown;
    int64_t left; /* bytes that may still come; -1: as many as there are */
    bool ended;
    char buf[PROXY_BUFFER];
};

struct conn {
    struct net_proxy *proxy;
    struct conn *next, **link;
    enum state state;
    uv_tcp_t client, server;
    bool server_open; /* that handle is libuv's */
    int pending;      /* handles and the lookup: what still has a callback to come */
    uv_getaddrinfo_t lookup;
    bool looking, waits; /* waits: for its turn to be looked up */
    uv_connect_t connect;
    uv_write_t answer_write;
    struct sockaddr_storage addresses[ADDRESSES_MAX];
    size_t address_count, address_at;
    struct loop_timer timer;
    struct proxy_request request;
    char host[PROXY_HOST_MAX + 1];
    struct strbuf head, forward;
    char answer[512];
    struct relay up, down;
};

struct net_proxy {
    struct loop *loop;
    uv_poll_t wait; /* for the listening socket */
    int wait_fd;
    uv_tcp_t listener;
    bool listens, held_back, over;
    int pending;
    char **allow;
    bool allow_private;
    net_proxy_note_fn note;
    void *ctx;
    int notes;
    struct conn *conns;
    int count, lookups;
};

/* ---- ends ---- */

static void free_proxy(void *ptr)
{
    struct net_proxy *p = ptr;
    for (size_t i = 0; p->allow && p->allow[i]; i++)
        free(p->allow[i]);
    free(p->allow);
    free(p);
}

static void free_proxy_if_over(struct net_proxy *p)
{
    if (p->over && p->pending == 0 && p->count == 0)
        loop_defer_free(p->loop, free_proxy, p);
}

static void accept_one(struct net_proxy *p);

static void free_conn(void *ptr)
{
    struct conn *c = ptr;
    strbuf_done(&c->head);
    strbuf_done(&c->forward);
    free(c);
}

static void one_less(struct conn *c)
{
    struct net_proxy *p = c->proxy;
    if (--c->pending > 0)
        return;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    loop_defer_free(p->loop, free_conn, c);
    p->count--;
    if (p->over)
        free_proxy_if_over(p);
    else if (p->held_back)
        accept_one(p);
}

static void on_closed(uv_handle_t *h)
{
    one_less(h->data);
}

static void close_conn(struct conn *c)
{
    if (c->state == CLOSED)
        return;
    c->state = CLOSED;
    loop_timer_stop(&c->timer);
    if (c->looking)
        uv_cancel((uv_req_t *)&c->lookup);
    if (c->server_open && !uv_is_closing((uv_handle_t *)&c->server))
        uv_close((uv_handle_t *)&c->server, on_closed);
    uv_close((uv_handle_t *)&c->client, on_closed);
}

static void on_answered(uv_write_t *w, int status)
{
    (void)status;
    close_conn(w->data);
}

static void put_note(struct conn *c, const char *why)
{
    struct net_proxy *p = c->proxy;
    char line[512];
    if (p->over || !p->note || p->notes >= NOTES_MAX)
        return;
    p->notes++;
    int n = c->host[0] ? snprintf(line, sizeof line, "network: refused %s:%u: %s", c->host, c->request.port, why)
                       : snprintf(line, sizeof line, "network: refused a request: %s", why);
    p->note(p->ctx, (struct str){line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1});
}

/* An answer of the proxy itself, and the end. */
static void answer(struct conn *c, int status, const char *why)
{
    put_note(c, why);
    if (c->state == CLOSED)
        return;
    const char *text = status == 403   ? "Forbidden"
                       : status == 502 ? "Bad Gateway"
                       : status == 504 ? "Gateway Timeout"
                                       : "Bad Request";
    int n = snprintf(c->answer, sizeof c->answer,
                     "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n"
                     "errand: %s\n",
                     status, text, strlen(why) + 9, why);
    c->state = ANSWERING;
    uv_read_stop((uv_stream_t *)&c->client);
    loop_timer_set(&c->timer, ANSWER_MS);
    uv_buf_t buf = uv_buf_init(c->answer, (unsigned)n);
    if (uv_write(&c->answer_write, (uv_stream_t *)&c->client, &buf, 1, on_answered) != 0)
        close_conn(c);
}

static void on_time(void *ctx)
{
    struct conn *c = ctx;
    if (c->state == HEAD)
        answer(c, 400, "the request's head did not come in time");
    else if (c->state == RESOLVING || c->state == CONNECTING)
        answer(c, 504, "the host did not answer in time");
    else
        close_conn(c);
}

/* ---- relaying ---- */

static void on_relay_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    struct conn *c = h->data;
    struct relay *r = (uv_tcp_t *)h == &c->client ? &c->up : &c->down;
    (void)size;
    size_t room = r->left >= 0 && r->left < PROXY_BUFFER ? (size_t)r->left : PROXY_BUFFER;
    *buf = uv_buf_init(r->buf, (unsigned)room);
}

static void on_relay_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

static void on_relay_shut(uv_shutdown_t *req, int status)
{
    struct relay *r = req->data;
    (void)status;
    if (r->conn->up.ended && r->conn->down.ended)
        close_conn(r->conn);
}

static void end_relay(struct relay *r)
{
    struct conn *c = r->conn;
    uv_read_stop(r->from);
    r->ended = true;
    /* A plain request's end says nothing to its server, which knows the length; some take a half-closed connection for a client that left. */
    bool tunnel = c->request.connect || r == &c->down;
    r->shutdown.data = r;
    if (tunnel && uv_shutdown(&r->shutdown, r->to, on_relay_shut) != 0)
        close_conn(c);
    else if (!tunnel && c->down.ended)
        close_conn(c);
}

static void on_relay_written(uv_write_t *w, int status)
{
    struct relay *r = w->data;
    if (r->conn->state != RELAYING)
        return;
    if (status < 0)
        close_conn(r->conn);
    else if (r->left == 0)
        end_relay(r);
    else if (uv_read_start(r->from, on_relay_alloc, on_relay_read) != 0)
        close_conn(r->conn);
}

static void relay_write(struct relay *r, uv_buf_t buf)
{
    r->write.data = r;
    if (uv_write(&r->write, r->to, &buf, 1, on_relay_written) != 0)
        close_conn(r->conn);
}

static void on_relay_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = s->data;
    struct relay *r = (uv_tcp_t *)s == &c->client ? &c->up : &c->down;
    if (c->state != RELAYING || n == 0)
        return;
    if (n < 0) {
        if (n == UV_EOF)
            end_relay(r);
        else
            close_conn(c);
        /* the server of a plain request has said all: its connection was to be closed behind the answer */
        if (c->state == RELAYING && r == &c->down && !c->request.connect)
            c->up.ended = true;
        return;
    }
    uv_read_stop(s);
    if (r->left > 0)
        r->left -= n;
    loop_timer_set(&c->timer, IDLE_MS);
    relay_write(r, uv_buf_init(buf->base, (unsigned)n));
}

/* Connected: what was read of the request already goes on, and everything after it. */
static void begin_relay(struct conn *c)
{
    struct str rest = strbuf_str(&c->head);
    c->state = RELAYING;
    loop_timer_set(&c->timer, IDLE_MS);
    c->up = (struct relay){.conn = c, .from = (uv_stream_t *)&c->client, .to = (uv_stream_t *)&c->server, .left = -1};
    c->down = (struct relay){.conn = c, .from = (uv_stream_t *)&c->server, .to = (uv_stream_t *)&c->client, .left = -1};
    if (c->request.connect) {
        static const char ok[] = "HTTP/1.1 200 Connection established\r\n\r\n";
        relay_write(&c->down, uv_buf_init((char *)(uintptr_t)ok, sizeof ok - 1));
    } else {
        if (rest.len > (size_t)c->request.body_len)
            rest.len = (size_t)c->request.body_len; /* what is behind it is dropped: one request a connection */
        c->up.left = c->request.body_len - (int64_t)rest.len;
        if (uv_read_start(c->down.from, on_relay_alloc, on_relay_read) != 0) {
            close_conn(c);
            return;
        }
    }
    if (c->state != RELAYING)
        return;
    strbuf_add(&c->forward, rest);
    if (strbuf_failed(&c->forward))
        close_conn(c);
    else if (c->forward.len > 0)
        relay_write(&c->up, uv_buf_init(c->forward.ptr, (unsigned)c->forward.len));
    else if (uv_read_start(c->up.from, on_relay_alloc, on_relay_read) != 0)
        close_conn(c);
}

/* ---- connecting ---- */

static void connect_next(struct conn *c);

/* The handle of an address that did not answer has gone: the next address. */
static void on_server_dropped(uv_handle_t *h)
{
    struct conn *c = h->data;
    c->server_open = false;
    if (c->state == CONNECTING)
        connect_next(c);
    one_less(c);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct conn *c = req->data;
    if (c->state != CONNECTING)
        return;
    if (status == 0)
        begin_relay(c);
    else
        uv_close((uv_handle_t *)&c->server, on_server_dropped);
}

static void connect_next(struct conn *c)
{
    if (c->address_at == c->address_count) {
        answer(c, 502, "the host can't be reached");
        return;
    }
    const struct sockaddr *to = (const struct sockaddr *)&c->addresses[c->address_at++];
    if (uv_tcp_init(loop_uv(c->proxy->loop), &c->server) != 0) {
        answer(c, 502, "the host can't be reached");
        return;
    }
    c->server.data = c;
    c->server_open = true;
    c->pending++;
    c->connect.data = c;
    if (uv_tcp_connect(&c->connect, &c->server, to, on_connected) != 0)
        uv_close((uv_handle_t *)&c->server, on_server_dropped);
}

static void look_up_next(struct net_proxy *p);

/* Keeps the addresses that may be connected to; what is connected to is exactly what was looked at. */
static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct conn *c = req->data;
    c->looking = false;
    c->proxy->lookups--;
    look_up_next(c->proxy);
    for (const struct addrinfo *a = status == 0 ? found : NULL; a && c->address_count < ADDRESSES_MAX; a = a->ai_next)
        if ((c->proxy->allow_private || address_is_public(a->ai_addr, a->ai_addrlen)) &&
            (a->ai_family == AF_INET || a->ai_family == AF_INET6))
            memcpy(&c->addresses[c->address_count++], a->ai_addr, a->ai_addrlen);
    uv_freeaddrinfo(found);
    if (c->state != RESOLVING) {
        one_less(c);
        return;
    }
    if (status != 0) {
        answer(c, 502, "the host's name can't be resolved");
    } else if (c->address_count == 0) {
        answer(c, 403, "the host is at a private address");
    } else {
        c->state = CONNECTING;
        connect_next(c);
    }
    one_less(c);
}

static void look_up(struct conn *c)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char port[8];
    snprintf(port, sizeof port, "%u", c->request.port);
    c->lookup.data = c;
    c->waits = false;
    if (uv_getaddrinfo(loop_uv(c->proxy->loop), &c->lookup, on_resolved, c->host, port, &hints) != 0) {
        answer(c, 502, "the host's name can't be resolved");
        return;
    }
    c->looking = true;
    c->pending++;
    c->proxy->lookups++;
}

/* Who waits longest: the newest connection stands first. */
static void look_up_next(struct net_proxy *p)
{
    struct conn *oldest;
    do {
        oldest = NULL;
        for (struct conn *c = p->over || p->lookups >= PROXY_LOOKUPS ? NULL : p->conns; c; c = c->next)
            if (c->state == RESOLVING && c->waits)
                oldest = c;
        if (oldest)
            look_up(oldest);
    } while (oldest);
}

static void resolve(struct conn *c)
{
    c->state = RESOLVING;
    c->waits = true;
    loop_timer_set(&c->timer, CONNECT_MS);
    look_up_next(c->proxy);
}

/* ---- the request ---- */

static void on_head_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    struct conn *c = h->data;
    (void)size;
    size_t room = PROXY_HEAD_MAX - c->head.len; /* never 0: a head of this length was judged */
    char *at = strbuf_grow(&c->head, room);
    *buf = uv_buf_init(at, at ? (unsigned)room : 0);
}

static void on_head_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = s->data;
    const char *why = "";
    int status = 400;
    (void)buf;
    if (n < 0)
        close_conn(c);
    if (n <= 0 || c->state != HEAD)
        return;
    c->head.len += (size_t)n;
    enum proxy_verdict v = proxy_request_parse(strbuf_str(&c->head), &c->request, &c->forward, &status, &why);
    if (v == PROXY_MORE)
        return;
    uv_read_stop(s);
    if (v == PROXY_REFUSED) {
        answer(c, status, why);
        return;
    }
    snprintf(c->host, sizeof c->host, "%.*s", STR_ARG(c->request.host));
    strbuf_consume(&c->head, c->request.head_len);
    if (!proxy_allows((const char *const *)c->proxy->allow, str_of(c->host), c->request.port))
        answer(c, 403, "the host is not on the agent's allowlist");
    else
        resolve(c);
}

static void accept_one(struct net_proxy *p)
{
    p->held_back = p->count >= PROXY_CONNECTIONS;
    struct conn *c = p->held_back ? NULL : calloc(1, sizeof *c);
    if (!c) /* it stays with the kernel until one has ended */
        return;
    c->proxy = p;
    strbuf_init(&c->head, PROXY_HEAD_MAX);
    strbuf_init(&c->forward, PROXY_HEAD_MAX * 3);
    loop_timer_init(&c->timer, p->loop, on_time, c);
    c->answer_write.data = c;
    uv_tcp_init(loop_uv(p->loop), &c->client);
    c->client.data = c;
    c->pending = 1;
    c->next = p->conns;
    c->link = &p->conns;
    if (p->conns)
        p->conns->link = &c->next;
    p->conns = c;
    p->count++;
    loop_timer_set(&c->timer, HEAD_MS);
    if (uv_accept((uv_stream_t *)&p->listener, (uv_stream_t *)&c->client) != 0 ||
        uv_read_start((uv_stream_t *)&c->client, on_head_alloc, on_head_read) != 0)
        close_conn(c);
}

static void on_connection(uv_stream_t *s, int status)
{
    struct net_proxy *p = s->data;
    if (status == 0 && !p->over)
        accept_one(p);
}

/* ---- the proxy ---- */

static void on_proxy_closed(uv_handle_t *h)
{
    struct net_proxy *p = h->data;
    p->pending--;
    free_proxy_if_over(p);
}

static void on_wait_closed(uv_handle_t *h)
{
    struct net_proxy *p = h->data;
    close(p->wait_fd);
    on_proxy_closed(h);
}

static int receive_fd(int from)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte;
    int fd = -1;
    struct iovec iov = {&byte, 1};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    if (recvmsg(from, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1)
        return -1;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

/* It is sent before anything of the agent's runs, by our own program; the socket to send on is closed then. */
static void on_listener(uv_poll_t *w, int status, int events)
{
    struct net_proxy *p = w->data;
    (void)status;
    (void)events;
    int fd = receive_fd(p->wait_fd);
    uv_close((uv_handle_t *)w, on_wait_closed);
    if (fd < 0)
        return;
    if (uv_tcp_init(loop_uv(p->loop), &p->listener) != 0) {
        close(fd);
        return;
    }
    p->listener.data = p;
    p->pending++;
    if (uv_tcp_open(&p->listener, fd) != 0) {
        close(fd);
        uv_close((uv_handle_t *)&p->listener, on_proxy_closed);
        return;
    }
    p->listens = uv_listen((uv_stream_t *)&p->listener, BACKLOG, on_connection) == 0;
    if (!p->listens)
        uv_close((uv_handle_t *)&p->listener, on_proxy_closed);
}

static char **copy_words(const char *const *words)
{
    size_t n = 0;
    while (words[n])
        n++;
    char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++) {
        copy[i] = strdup(words[i]);
        if (!copy[i]) {
            while (i > 0)
                free(copy[--i]);
            free(copy);
            return NULL;
        }
    }
    return copy;
}

struct net_proxy *net_proxy_new(struct loop *l, int fd, const char *const *allow, bool allow_private,
                                net_proxy_note_fn note, void *ctx)
{
    struct net_proxy *p = calloc(1, sizeof *p);
    char **words = copy_words(allow);
    if (!p || !words || uv_poll_init(loop_uv(l), &p->wait, fd) != 0) {
        close(fd);
        for (size_t i = 0; words && words[i]; i++)
            free(words[i]);
        free(words);
        free(p);
        return NULL;
    }
    p->loop = l;
    p->wait_fd = fd;
    p->allow = words;
    p->allow_private = allow_private;
    p->note = note;
    p->ctx = ctx;
    p->pending = 1;
    p->wait.data = p;
    uv_poll_start(&p->wait, UV_READABLE, on_listener);
    return p;
}

void net_proxy_free(struct net_proxy *p)
{
    if (!p)
        return;
    p->over = true;
    if (!uv_is_closing((uv_handle_t *)&p->wait))
        uv_close((uv_handle_t *)&p->wait, on_wait_closed);
    if (p->listens)
        uv_close((uv_handle_t *)&p->listener, on_proxy_closed);
    for (struct conn *c = p->conns, *next; c; c = next) {
        next = c->next;
        close_conn(c);
    }
    free_proxy_if_over(p);
}

bool net_proxy_listens(const struct net_proxy *p)
{
    return p->listens;
}
