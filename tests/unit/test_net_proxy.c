/* What one agent may take of the runner through its proxy: names are looked up by threads that all agents share, so an agent whose names nobody answers for has few of them at a time. libuv's lookup is replaced here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runner/net_proxy.h"

enum { CLIENTS = 12 };

/* Lookups that were asked for and not answered, the oldest first. */
static struct {
    uv_getaddrinfo_t *req;
    uv_getaddrinfo_cb fn;
} lookups[CLIENTS];
static size_t under_way, asked;

int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *req, uv_getaddrinfo_cb fn, const char *node, const char *service,
                   const struct addrinfo *hints)
{
    (void)loop;
    (void)node;
    (void)service;
    (void)hints;
    assert_true(under_way < CLIENTS);
    lookups[under_way].req = req;
    lookups[under_way++].fn = fn;
    asked++;
    return 0;
}

static void answer(size_t i, int status)
{
    uv_getaddrinfo_t *req = lookups[i].req;
    uv_getaddrinfo_cb fn = lookups[i].fn;
    memmove(lookups + i, lookups + i + 1, (CLIENTS - 1 - i) * sizeof *lookups);
    under_way--;
    fn(req, status, NULL);
}

int uv_cancel(uv_req_t *req)
{
    (void)req;
    return UV_EBUSY; /* as of one that a thread is at */
}

void uv_freeaddrinfo(struct addrinfo *found)
{
    (void)found;
}

static void send_fd(int to, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = 'l';
    struct iovec iov = {&byte, 1};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    assert_int_equal(sendmsg(to, &m, 0), 1);
}

static void turn(struct loop *l, int times)
{
    for (int i = 0; i < times; i++)
        uv_run(loop_uv(l), UV_RUN_NOWAIT);
}

static void test_an_agent_has_few_lookups_at_a_time(void **state)
{
    (void)state;
    static const char *const allow[] = {"*.example.com", NULL};
    static const char head[] = "CONNECT a.example.com:443 HTTP/1.1\r\nHost: a.example.com:443\r\n\r\n";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int ends[2], clients[CLIENTS], listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct loop *l = loop_new();
    assert_true(l && listener >= 0 && bind(listener, (struct sockaddr *)&at, sizeof at) == 0 &&
                listen(listener, CLIENTS) == 0 && getsockname(listener, (struct sockaddr *)&at, &len) == 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    struct net_proxy *p = net_proxy_new(l, ends[0], allow, false, NULL, NULL);
    assert_non_null(p);
    send_fd(ends[1], listener);
    while (!net_proxy_listens(p))
        turn(l, 1);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(clients[i], (struct sockaddr *)&at, sizeof at), 0);
        assert_int_equal(send(clients[i], head, sizeof head - 1, 0), sizeof head - 1);
    }
    while (under_way == 0)
        turn(l, 1);
    turn(l, 100);
    assert_int_equal(under_way, PROXY_LOOKUPS);
    /* Each that is over makes room for one more, until all had theirs. */
    while (asked < CLIENTS) {
        answer(0, UV_EAI_NONAME);
        turn(l, 10);
        assert_true(under_way == PROXY_LOOKUPS);
    }
    answer(0, UV_EAI_NONAME);
    net_proxy_free(p); /* with one at which a thread still is */
    turn(l, 10);
    assert_int_equal(under_way, 1);
    answer(0, UV_ECANCELED);
    close(ends[1]);
    close(listener);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    loop_run(l);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_an_agent_has_few_lookups_at_a_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
