/* The load engine's beginning: addresses of the URLs, and a single request that is waited for. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench_load_parts.h"
#include "cli/interrupt.h"

static bool is_loopback(const struct load_address *a)
{
    if (a->family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)&a->address)->sin_addr.s_addr) >> 24 == 127;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)&a->address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

/* http://HOST[:PORT] or http://[V6][:PORT] */
static enum err resolve(struct load *l, struct str url, struct strbuf *message)
{
    char host[256];
    const char *port = "80";
    if (!str_starts(url, STR("http://"))) {
        strbuf_addf(message, "bench speaks plain HTTP: name the nodes themselves, http://HOST:PORT, and not '%.*s'",
                    STR_ARG(url));
        return ERR_CONFIG;
    }
    url.ptr += 7;
    url.len -= 7;
    if (url.len >= sizeof host || memchr(url.ptr, '/', url.len)) {
        strbuf_addf(message, "bench wants http://HOST:PORT without a path, and not '%.*s'", STR_ARG(url));
        return ERR_CONFIG;
    }
    if (l->address_count == 0)
        snprintf(l->host, sizeof l->host, "%.*s", STR_ARG(url));
    memcpy(host, url.ptr, url.len);
    host[url.len] = '\0';
    char *name = host, *colon = strrchr(host, ':'), *bracket = strchr(host, ']');
    if (colon && (!bracket || colon > bracket)) {
        *colon = '\0';
        port = colon + 1;
    }
    if (*name == '[' && bracket) {
        name++;
        *bracket = '\0';
    }
    struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    int error = getaddrinfo(name, port, &hints, &found);
    if (error || !found) {
        strbuf_addf(message, "%s can't be found: %s", name, gai_strerror(error));
        return ERR_CONFIG;
    }
    struct load_address *a = &l->addresses[l->address_count++];
    a->family = found->ai_family;
    a->len = found->ai_addrlen;
    memcpy(&a->address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return ERR_OK;
}

enum err load_new(const char *urls, struct load **ret_load, bool *ret_loopback, struct strbuf *ret_message)
{
    struct load *l = calloc(1, sizeof *l);
    struct str list = str_of(urls), url;
    if (!l)
        return ERR_NO_MEMORY;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    l->buffer = malloc(LOAD_READ);
    struct epoll_event timer = {.events = EPOLLIN, .data.ptr = &l->timer}, signal = {.events = EPOLLIN};
    enum err err = ERR_OK;
    if (l->epoll < 0 || l->timer < 0 || !l->buffer || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &timer) != 0 ||
        (interrupt_fd() >= 0 && epoll_ctl(l->epoll, EPOLL_CTL_ADD, interrupt_fd(), &signal) != 0))
        err = ERR_NO_MEMORY;
    bool loopback = true;
    while (!err && l->address_count < LOAD_URLS_MAX && str_next_word(&list, &url)) {
        err = resolve(l, url, ret_message);
        loopback = loopback && !err && is_loopback(&l->addresses[l->address_count - 1]);
    }
    if (err) {
        load_free(l);
        return err;
    }
    *ret_load = l;
    *ret_loopback = loopback;
    return ERR_OK;
}

/* ---- one request ---- */

/* Waits until fd is ready. False at the deadline, or at a second interrupt. */
static bool wait_for(int fd, short events, int64_t deadline_us)
{
    for (;;) {
        int64_t left_us = deadline_us - load_now_us();
        struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = interrupt_fd(), .events = POLLIN}};
        (void)interrupted(); /* reads what came, so that it is counted once */
        if (left_us <= 0 || interrupt_count() > 1)
            return false;
        int n = poll(p, 2, left_us > 1000000 ? 1000 : (int)(left_us / 1000) + 1);
        if (n < 0 && errno != EINTR)
            return false;
        if (p[0].revents)
            return true;
    }
}

static const char *send_all(int fd, struct str request, int64_t deadline_us)
{
    while (request.len > 0) {
        ssize_t n = send(fd, request.ptr, request.len, MSG_NOSIGNAL);
        if (n > 0) {
            request.ptr += n;
            request.len -= (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            return strerror(errno);
        } else if (!wait_for(fd, POLLOUT, deadline_us)) {
            return "it takes no request";
        }
    }
    return NULL;
}

/* Reads one whole answer with a length. Returns its status, or 0. */
static int read_answer(struct load *l, int fd, int64_t deadline_us, struct strbuf *body, const char **ret_why)
{
    struct strbuf in;
    struct load_head head;
    int status = 0;
    strbuf_init(&in, LOAD_BODY_MAX + 65536);
    *ret_why = "no answer came in time";
    while (wait_for(fd, POLLIN, deadline_us)) {
        ssize_t n = read(fd, l->buffer, LOAD_READ);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        *ret_why = n < 0 ? strerror(errno) : "the connection was closed without an answer";
        if (n <= 0)
            break;
        strbuf_add(&in, (struct str){l->buffer, (size_t)n});
        *ret_why = "what answers is no Errand node";
        if (strbuf_failed(&in) || (load_head_parse(strbuf_str(&in), &head) && (head.status < 100 || head.stream)))
            break;
        *ret_why = "no answer came in time";
        if (load_head_parse(strbuf_str(&in), &head) && in.len >= head.len + (size_t)head.length) {
            strbuf_add(body, (struct str){in.ptr + head.len, (size_t)head.length});
            status = head.status;
            break;
        }
    }
    strbuf_done(&in);
    return status;
}

int load_call(struct load *l, struct str request, int64_t timeout_ms, struct strbuf *body, const char **ret_why)
{
    int64_t deadline_us = load_now_us() + timeout_ms * 1000;
    int status = 0;
    for (size_t i = 0; i < l->address_count && status == 0; i++) {
        const struct load_address *a = &l->addresses[i];
        int fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
        socklen_t len = sizeof error;
        if (fd < 0) {
            *ret_why = strerror(errno);
            return 0;
        }
        bool begun = connect(fd, (const struct sockaddr *)&a->address, a->len) == 0 || errno == EINPROGRESS;
        error = begun ? 0 : errno;
        if (begun && !wait_for(fd, POLLOUT, deadline_us))
            *ret_why = "no connection came in time";
        else if (error || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error)
            *ret_why = strerror(error ? error : errno);
        else if ((*ret_why = send_all(fd, request, deadline_us)) == NULL)
            status = read_answer(l, fd, deadline_us, body, ret_why);
        close(fd);
    }
    return status;
}
