/* The load generator of `./dev bench`: one thread, epoll, keep-alive connections to 127.0.0.1.
 *
 *   bench-load http PORT CONNECTIONS REQUESTS FILE [HEADER]   sends FILE (a whole raw request; {N} in it becomes a running number) REQUESTS times over CONNECTIONS, one in flight each
 *   bench-load sse  PORT READERS FILE EVENTS                  opens READERS streams with the raw request FILE, reads each to its end
 *
 * Prints one JSON line: {"ok":n,"failed":n,"seconds":s,"p50Us":n,"p99Us":n,"bytes":n,"frames":n,"first2xx":n}. Exit 1 when anything failed. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 65536, HEAD_MAX = 16384, DEADLINE_S = 300 };

struct conn {
    int fd;
    char *out;
    size_t out_len, out_sent;
    char head[HEAD_MAX]; /* of an answer, until it is complete */
    size_t head_len;
    long body_left; /* of an answer; -1: its head is not complete yet */
    int status;
    int64_t sent_us;
    char tail[16]; /* last bytes of a stream: a frame's end may be cut by a read */
    size_t frames;
    bool done;
};

static struct {
    int port, epoll;
    char *request;
    size_t request_len;
    long to_send, sent, ok, failed, bytes, frames;
    int32_t *latency_us;
} load;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(2);
}

static void read_request(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        die(path);
    load.request = calloc(1, 17 << 20);
    if (!load.request)
        die("calloc");
    load.request_len = fread(load.request, 1, 17 << 20, f);
    fclose(f);
}

static void conn_open(struct conn *c)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)load.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0)
        die("connect");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &e) != 0)
        die("epoll_ctl");
    c->body_left = -1;
}

/* Sends the next request: blocking writes are fine, the server reads. {N} is replaced by digits of the same width. */
static void conn_send(struct conn *c)
{
    char *mark = memmem(load.request, load.request_len, "{N", 2);
    if (mark) {
        char number[32];
        char *end = memchr(mark, '}', 24);
        int width = end ? (int)(end - mark) + 1 : 12;
        snprintf(number, sizeof number, "%0*ld", width, load.sent);
        char saved[32];
        memcpy(saved, mark, (size_t)width);
        memcpy(mark, number, (size_t)width);
        if (!c->out)
            c->out = malloc(load.request_len);
        memcpy(c->out, load.request, load.request_len);
        memcpy(mark, saved, (size_t)width);
    }
    const char *p = c->out ? c->out : load.request;
    c->sent_us = now_us();
    load.sent++;
    for (size_t at = 0; at < load.request_len;) {
        ssize_t n = write(c->fd, p + at, load.request_len - at);
        if (n < 0)
            die("write");
        at += (size_t)n;
    }
}

static void answer_complete(struct conn *c)
{
    if (c->status >= 200 && c->status < 300) {
        load.latency_us[load.ok] = (int32_t)(now_us() - c->sent_us);
        load.ok++;
    } else {
        load.failed++;
        if (load.failed == 1)
            fprintf(stderr, "first failure: %.*s\n", (int)c->head_len, c->head);
    }
    c->head_len = 0;
    c->body_left = -1;
    if (load.sent < load.to_send)
        conn_send(c);
}

static void on_http_bytes(struct conn *c, const char *p, size_t n)
{
    while (n > 0) {
        if (c->body_left >= 0) {
            size_t take = (size_t)c->body_left < n ? (size_t)c->body_left : n;
            c->body_left -= (long)take;
            p += take;
            n -= take;
        } else {
            if (c->head_len + 1 >= HEAD_MAX)
                die("answer's head too long");
            c->head[c->head_len++] = *p++;
            n--;
            if (c->head_len >= 4 && memcmp(c->head + c->head_len - 4, "\r\n\r\n", 4) == 0) {
                c->head[c->head_len] = 0;
                c->status = atoi(c->head + 9);
                const char *l = strcasestr(c->head, "content-length:");
                c->body_left = l ? atol(l + 15) : 0;
            }
        }
        if (c->body_left == 0)
            answer_complete(c);
    }
}

/* Counts "\nid: " line starts: one an event frame. */
static void on_sse_bytes(struct conn *c, const char *p, size_t n)
{
    static char buf[READ_SIZE + 16];
    size_t keep = strlen(c->tail);
    memcpy(buf, c->tail, keep);
    memcpy(buf + keep, p, n);
    size_t len = keep + n, from = 0;
    for (char *at; (at = memmem(buf + from, len - from, "\nid: ", 5)); from = (size_t)(at - buf) + 5)
        c->frames++;
    if (memmem(buf, len, "event: done", 11))
        c->done = true;
    size_t tail = len - from < 10 ? len - from : 10;
    memcpy(c->tail, buf + len - tail, tail);
    c->tail[tail] = 0;
}

static int compare_i32(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void print_result(int64_t took_us)
{
    qsort(load.latency_us, (size_t)load.ok, sizeof *load.latency_us, compare_i32);
    int32_t p50 = load.ok ? load.latency_us[load.ok / 2] : 0, p99 = load.ok ? load.latency_us[load.ok * 99 / 100] : 0;
    printf("{\"ok\":%ld,\"failed\":%ld,\"seconds\":%.6f,\"p50Us\":%d,\"p99Us\":%d,\"bytes\":%ld,\"frames\":%ld}\n",
           load.ok, load.failed, (double)took_us / 1e6, p50, p99, load.bytes, load.frames);
}

static bool conn_read(struct conn *c, bool sse)
{
    static char buf[READ_SIZE];
    ssize_t n = read(c->fd, buf, sizeof buf);
    if (n > 0) {
        load.bytes += n;
        if (sse)
            on_sse_bytes(c, buf, (size_t)n);
        else
            on_http_bytes(c, buf, (size_t)n);
        return true;
    }
    close(c->fd);
    c->fd = -1;
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: bench-load http PORT CONNECTIONS REQUESTS FILE | sse PORT READERS FILE EVENTS\n");
        return 2;
    }
    bool sse = strcmp(argv[1], "sse") == 0;
    load.port = atoi(argv[2]);
    long conns = atol(argv[3]);
    read_request(argv[sse ? 4 : 5]);
    load.to_send = sse ? conns : atol(argv[4]);
    long events = sse ? atol(argv[5]) : 0;
    if (conns < 1 || load.to_send < conns)
        return fprintf(stderr, "more connections than requests\n"), 2;
    struct rlimit files = {.rlim_cur = (rlim_t)conns + 64, .rlim_max = (rlim_t)conns + 64};
    struct rlimit old;
    if (getrlimit(RLIMIT_NOFILE, &old) == 0 && old.rlim_cur < files.rlim_cur) {
        files.rlim_max = old.rlim_max > files.rlim_cur ? old.rlim_max : files.rlim_cur;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    load.latency_us = calloc((size_t)load.to_send, sizeof *load.latency_us);
    struct conn *all = calloc((size_t)conns, sizeof *all);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!all || !load.latency_us || load.epoll < 0)
        die("set-up");
    for (long i = 0; i < conns; i++)
        conn_open(&all[i]);
    int64_t begin = now_us();
    for (long i = 0; i < conns; i++)
        conn_send(&all[i]);
    long open = conns;
    while (sse ? open > 0 : load.ok + load.failed < load.to_send) {
        struct epoll_event ready[256];
        int n = epoll_wait(load.epoll, ready, 256, 1000);
        if (now_us() - begin > (int64_t)DEADLINE_S * 1000000)
            break;
        for (int i = 0; i < n; i++) {
            struct conn *c = ready[i].data.ptr;
            if (!conn_read(c, sse)) {
                open--;
                if (!sse)
                    die("the server closed a connection");
                load.frames += (long)c->frames;
                if (c->done && (events == 0 || c->frames >= (size_t)events))
                    load.ok++;
                else
                    load.failed++;
            }
        }
    }
    print_result(now_us() - begin);
    return load.failed || load.ok < load.to_send ? 1 : 0;
}
