/* Sockets for http_conn: a listening socket, and one uv_poll a connection. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/http_conn.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/pool.h"

enum {
    ACCEPTS_A_TURN = 64,
    BACKLOG = 4096,
    READ_SIZE = 65536,
    READS_A_TURN = 4,
    ACCEPT_PAUSE_MS = 100,
    STREAM_SNDBUF = 65536,
    WIDE_SNDBUF = 262144, /* a fifth less CPU for a replay: fewer turns around a full buffer */
    WIDE_MAX = 64         /* streams of a thread at a time: who is slow later leaves it full */
};

struct sock {
    uv_poll_t poll;
    struct http_server *server;
    struct http_conn *conn;
    int fd;
    int events;
    int kernel,
        bound; /* bytes that its send buffer has been bounded to, and is to be before more is written; 0: never */
    bool dirty, closed;
    bool wide; /* counted in server->wide */
    struct sock *next_dirty;
    struct sock *prev, *next;
};
static _Thread_local struct pool sock_pool = POOL_OF(struct sock);

struct http_server {
    struct loop *loop;
    struct http_app app;
    uv_poll_t *listener;
    int fd, port;
    struct loop_timer accept_pause;
    struct loop_flush flush;
    struct sock *socks;
    struct sock *dirty;
    size_t count, wide;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

static void on_sock(uv_poll_t *h, int status, int events);

/* ---- the transport ---- */

static ssize_t sock_writev(void *t, const struct iovec *iov, int n, bool more)
{
    struct sock *s = t;
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
    int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
    if (s->bound != s->kernel)
        setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &s->bound, sizeof s->bound);
    s->kernel = s->bound;
    ssize_t wrote = n == 1 ? send(s->fd, iov->iov_base, iov->iov_len, flags) : sendmsg(s->fd, &msg, flags);
    if (wrote < 0)
        return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -1;
    return wrote;
}

static void sock_watch(void *t, bool read, bool write)
{
    struct sock *s = t;
    int events = (read ? UV_READABLE : 0) | (write ? UV_WRITABLE : 0) | UV_DISCONNECT;
    if (s->closed || events == s->events)
        return;
    s->events = events;
    uv_poll_start(&s->poll, events, on_sock);
}

static void sock_need_flush(void *t)
{
    struct sock *s = t;
    if (s->dirty || s->closed)
        return;
    s->dirty = true;
    s->next_dirty = s->server->dirty;
    s->server->dirty = s;
}

static void sock_bound_kernel(void *t, bool wide)
{
    struct sock *s = t;
    if (s->closed || (wide && s->server->wide >= WIDE_MAX))
        return;
    s->bound = wide ? WIDE_SNDBUF : STREAM_SNDBUF;
    s->server->wide = s->server->wide + wide - s->wide;
    s->wide = wide;
}

static void sock_shutdown(void *t)
{
    shutdown(((struct sock *)t)->fd, SHUT_WR);
}

static void on_sock_closed(uv_handle_t *h)
{
    pool_put(&sock_pool, CONTAINER_OF((uv_poll_t *)h, struct sock, poll));
}

static void check_drained(void *ctx)
{
    struct http_server *server = ctx;
    if (server->drained && server->count == 0) {
        void (*drained)(void *) = server->drained;
        server->drained = NULL;
        drained(server->drained_ctx);
    }
}

static void sock_close(void *t, bool reset)
{
    struct sock *s = t;
    struct http_server *server = s->server;
    if (s->closed)
        return;
    s->closed = true;
    s->conn = NULL;
    for (struct sock **link = &server->dirty; *link; link = &(*link)->next_dirty) {
        if (*link == s) {
            *link = s->next_dirty;
            break;
        }
    }
    if (s->prev)
        s->prev->next = s->next;
    else
        server->socks = s->next;
    if (s->next)
        s->next->prev = s->prev;
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    uv_poll_stop(&s->poll);
    close(s->fd);
    uv_close((uv_handle_t *)&s->poll, on_sock_closed);
    server->count--;
    server->wide -= s->wide;
    metric_add(METRIC_HTTP_CONNECTIONS, -1);
    if (server->drained && server->count == 0)
        loop_defer(server->loop, check_drained, server);
}

static const struct http_transport sock_ops = {
    .writev = sock_writev,
    .watch = sock_watch,
    .need_flush = sock_need_flush,
    .bound_kernel = sock_bound_kernel,
    .shutdown_write = sock_shutdown,
    .close = sock_close,
};

static void read_sock(struct sock *s)
{
    static _Thread_local char buf[READ_SIZE]; /* shared by all connections of the thread: an idle one holds no buffer */
    for (int i = 0; i < READS_A_TURN && s->conn && (s->events & UV_READABLE); i++) {
        ssize_t n = recv(s->fd, buf, sizeof buf, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            http_conn_on_eof(s->conn, n < 0);
            return;
        }
        http_conn_on_bytes(s->conn, (struct str){buf, (size_t)n});
        if ((size_t)n < sizeof buf)
            return;
    }
}

static void on_sock(uv_poll_t *h, int status, int events)
{
    struct sock *s = CONTAINER_OF(h, struct sock, poll);
    if (status < 0 && s->conn) {
        http_conn_on_eof(s->conn, true);
        return;
    }
    if ((events & UV_WRITABLE) && s->conn)
        http_conn_on_writable(s->conn);
    if ((events & UV_READABLE) && s->conn)
        read_sock(s);
    else if ((events & UV_DISCONNECT) && s->conn) {
        http_conn_on_eof(s->conn, false);
        if (s->conn && !s->closed) { /* said once: level-triggered, it would be said for ever */
            s->events &= UV_WRITABLE;
            uv_poll_start(&s->poll, s->events, on_sock);
            if (!s->events)
                uv_poll_stop(&s->poll);
        }
    }
}

static void on_flush(void *ctx)
{
    struct http_server *server = ctx;
    while (server->dirty) {
        struct sock *s = server->dirty;
        server->dirty = s->next_dirty;
        s->dirty = false;
        if (s->conn)
            http_conn_flush(s->conn);
    }
}

/* ---- accepting ---- */

static void peer_name(const struct sockaddr_storage *a, char out[48])
{
    char host[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        port = ntohs(in->sin_port);
    } else if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)a;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        port = ntohs(in6->sin6_port);
    }
    snprintf(out, 48, "%.40s:%u", host, port);
}

static void refuse_overload(int fd)
{
    static const char body[] =
        "{\"type\":\"https://errand.example/problems/overloaded\",\"title\":\"This node has too many requests "
        "open\",\"status\":503,\"detail\":\"This node has too many requests open; try again, or another node\","
        "\"code\":\"overloaded\",\"instance\":\"urn:errand:node\"}\n";
    char answer[768];
    int len = snprintf(answer, sizeof answer,
                       "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
                       "Retry-After: 1\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                       sizeof body - 1, body);
    metric_add(METRIC_HTTP_REFUSED, 1);
    if (send(fd, answer, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        /* it is closed anyway */
    }
    close(fd);
}

static void add_connection(struct http_server *server, int fd, const struct sockaddr_storage *address)
{
    char peer[48];
    peer_name(address, peer);
    struct sock *s = server->count < LIMIT_CONNECTIONS ? pool_get(&sock_pool) : NULL;
    if (!s) {
        refuse_overload(fd);
        return;
    }
    s->server = server;
    s->fd = fd;
    if (uv_poll_init(loop_uv(server->loop), &s->poll, fd) != 0) {
        pool_put(&sock_pool, s);
        refuse_overload(fd);
        return;
    }
    s->conn = http_conn_new(server->loop, &server->app, &sock_ops, s, peer);
    if (!s->conn) {
        refuse_overload(fd);
        uv_close((uv_handle_t *)&s->poll, on_sock_closed);
        return;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    s->next = server->socks;
    if (s->next)
        s->next->prev = s;
    server->socks = s;
    server->count++;
    metric_add(METRIC_HTTP_CONNECTIONS, 1);
    sock_watch(s, true, false);
    read_sock(s); /* the request is often there already */
}

static void on_listener(uv_poll_t *h, int status, int events)
{
    struct http_server *server = h->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof address;
        int fd = accept4(server->fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            add_connection(server, fd, &address);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            LOG_WARN("can't accept", LOG_Z("why", strerror(errno)));
            uv_poll_stop(server->listener); /* trying on at once would only spin */
            loop_timer_set(&server->accept_pause, ACCEPT_PAUSE_MS);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void on_accept_again(void *ctx)
{
    struct http_server *server = ctx;
    if (server->listener)
        uv_poll_start(server->listener, UV_READABLE, on_listener);
}

/* "host:port" or "[v6]:port" → an address. */
static bool parse_address(const char *text, struct addrinfo **ret_info)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    if (!colon || len >= sizeof host || !colon[1] || strlen(colon + 1) > 5 ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || strtol(colon + 1, NULL, 10) > UINT16_MAX)
        return false;
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']')
        snprintf(host, sizeof host, "%.*s", (int)len - 2, text + 1);
    else
        snprintf(host, sizeof host, "%.*s", (int)len, text);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    return getaddrinfo(host[0] ? host : NULL, colon + 1, &hints, ret_info) == 0;
}

static int listen_on(const struct addrinfo *info, bool reuse_port)
{
    int on = 1, fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (reuse_port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static int port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } a = {.in6 = {0}};
    socklen_t len = sizeof a;
    if (getsockname(fd, &a.any, &len) != 0)
        return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.in6.sin6_port : a.in4.sin_port);
}

enum err http_server_new(struct loop *l, const char *address, bool reuse_port, const struct http_app *app,
                         struct http_server **ret_server, const char **ret_why)
{
    struct addrinfo *info = NULL;
    if (!parse_address(address, &info)) {
        *ret_why = "an address is HOST:PORT, for example 127.0.0.1:7070";
        return ERR_CONFIG;
    }
    int fd = listen_on(info, reuse_port);
    freeaddrinfo(info);
    if (fd < 0) {
        *ret_why = strerror(errno);
        return ERR_IO;
    }
    struct http_server *server = calloc(1, sizeof *server);
    uv_poll_t *listener = calloc(1, sizeof *listener);
    PRE(server && listener && uv_poll_init(loop_uv(l), listener, fd) == 0);
    server->loop = l;
    server->app = *app;
    server->fd = fd;
    server->port = port_of(fd);
    server->listener = listener;
    listener->data = server;
    uv_poll_start(listener, UV_READABLE, on_listener);
    loop_timer_init(&server->accept_pause, l, on_accept_again, server);
    loop_flush_add(l, &server->flush, on_flush, server);
    *ret_server = server;
    return ERR_OK;
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

size_t http_server_connections(const struct http_server *s)
{
    return s->count;
}

static void on_listener_closed(uv_handle_t *h)
{
    free(h);
}

static void stop_listening(struct http_server *s)
{
    if (!s->listener)
        return;
    loop_timer_stop(&s->accept_pause);
    uv_poll_stop(s->listener);
    uv_close((uv_handle_t *)s->listener, on_listener_closed);
    s->listener = NULL;
    close(s->fd);
}

void http_server_drain(struct http_server *s, void (*done)(void *ctx), void *ctx)
{
    stop_listening(s);
    s->drained = done;
    s->drained_ctx = ctx;
    for (struct sock *k = s->socks, *next; k; k = next) {
        next = k->next;
        http_conn_drain(k->conn);
    }
    loop_defer(s->loop, check_drained, s);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    stop_listening(s);
    s->drained = NULL;
    while (s->socks)
        http_conn_kill(s->socks->conn);
    loop_flush_remove(&s->flush);
    loop_defer_free(s->loop, free, s);
}
