#include "cli/bench_load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench_load_parts.h"
#include "cli/interrupt.h"

enum { AT_A_TIME = 64, READY_MAX = 512, SPARE_FILES = 64 };

int64_t load_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

size_t load_count(const struct load *l)
{
    return l->count;
}

struct load_conn *load_conn_at(struct load *l, size_t index)
{
    PRE(index < l->count);
    return &l->conns[index];
}

int64_t load_bytes(const struct load *l)
{
    return l->bytes;
}

const char *load_host(const struct load *l)
{
    return l->host;
}

size_t load_urls(const struct load *l)
{
    return l->address_count;
}

void load_stop(struct load *l)
{
    l->stop = true;
}

void load_drain(struct load *l)
{
    l->ignored = 1;
}

void load_set(struct load *l, const struct load_fns *fns, void *ctx)
{
    l->fns = fns;
    l->ctx = ctx;
}

void load_pace(struct load *l, bool until_answer)
{
    l->pace_until_answer = until_answer;
}

/* ---- connections ---- */

static void watch(struct load_conn *c, uint32_t events, int op)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    int failed = epoll_ctl(c->load->epoll, op, c->fd, &e);
    PRE(failed == 0);
}

static void opened(struct load_conn *c)
{
    if (c->opening)
        c->load->opening--;
    c->opening = false;
}

void load_close(struct load_conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    opened(c);
    c->fd = -1;
    c->state = LOAD_CLOSED;
    c->wants_out = c->closes = false;
    c->out = STR_NONE;
    strbuf_done(&c->in);
    strbuf_init(&c->in, LOAD_BODY_MAX);
}

/* Closed from outside: the owner hears of it. */
static void lose(struct load_conn *c, const char *why)
{
    c->lost_in = c->state;
    load_close(c);
    c->load->fns->gone(c->load->ctx, c, why);
}

static void connected(struct load_conn *c)
{
    struct load *l = c->load;
    c->state = LOAD_READY;
    l->progress = true;
    if (!l->pace_until_answer)
        opened(c);
    l->fns->ready(l->ctx, c);
}

static void connect_now(struct load_conn *c)
{
    struct load *l = c->load;
    const struct load_address *a = &l->addresses[c->index % l->address_count];
    c->fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0) {
        lose(c, strerror(errno));
        return;
    }
    int on = 1;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->state = LOAD_CONNECTING;
    if (connect(c->fd, (const struct sockaddr *)&a->address, a->len) != 0 && errno != EINPROGRESS) {
        lose(c, strerror(errno));
        return;
    }
    watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
    c->wants_out = true;
}

/* Those that are wanted open stand in a ring, in the order in which they were asked for. */
static void open_more(struct load *l)
{
    while (l->opening < AT_A_TIME && l->wanted_count > 0) {
        struct load_conn *c = &l->conns[l->wanted[l->wanted_first]];
        l->wanted_first = (l->wanted_first + 1) % l->count;
        l->wanted_count--;
        if (c->state != LOAD_CLOSED)
            continue;
        c->opening = true;
        l->opening++;
        connect_now(c);
    }
}

void load_open(struct load_conn *c)
{
    struct load *l = c->load;
    PRE(c->state == LOAD_CLOSED && l->wanted_count < l->count);
    l->wanted[(l->wanted_first + l->wanted_count++) % l->count] = (uint32_t)c->index;
}

/* Writes what the socket takes. */
static void write_out(struct load_conn *c)
{
    ssize_t n = send(c->fd, c->out.ptr, c->out.len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        c->out = STR_NONE; /* the read that follows says what became of the connection */
    } else if (n > 0) {
        c->out.ptr += n;
        c->out.len -= (size_t)n;
    }
    bool more = c->out.len > 0;
    if (more != c->wants_out)
        watch(c, more ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
    c->wants_out = more;
}

void load_send(struct load_conn *c, struct str request)
{
    PRE(c->state == LOAD_READY);
    c->state = LOAD_ASKED;
    c->out = request;
    c->asked_us = load_now_us();
    write_out(c);
}

static void on_room(struct load_conn *c)
{
    if (c->state == LOAD_CONNECTING) {
        int error = 0;
        socklen_t len = sizeof error;
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error) {
            lose(c, strerror(error ? error : errno));
            return;
        }
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
        c->wants_out = false;
        connected(c);
    } else if (c->out.len > 0) {
        write_out(c);
    }
}

/* ---- answers ---- */

static void answer_done(struct load_conn *c, int status, struct str body)
{
    struct load *l = c->load;
    bool closes = c->closes;
    c->state = LOAD_READY;
    l->fns->answer(l->ctx, c, status, body);
    if (closes && c->state == LOAD_READY)
        lose(c, "the node ended the connection");
    else if (c->state == LOAD_READY)
        l->fns->ready(l->ctx, c);
}

/* Takes what it can of the bytes. Returns how many; less than all of an answer stays for later. */
static size_t take_bytes(struct load_conn *c, struct str bytes)
{
    struct load *l = c->load;
    if (c->state == LOAD_STREAM) {
        enum load_stream_end end = load_stream_feed(c, bytes);
        if (end == LOAD_STREAM_STOPPED)
            load_close(c);
        else if (end != LOAD_STREAM_ON)
            lose(c, end == LOAD_STREAM_DONE ? NULL : "the answer's framing is broken");
        return bytes.len;
    }
    struct load_head head;
    if (c->state != LOAD_ASKED || !load_head_parse(bytes, &head))
        return 0;
    if (head.status < 100 || head.length > LOAD_BODY_MAX) {
        lose(c, "what answers is no Errand node");
        return bytes.len;
    }
    opened(c);
    c->closes = head.closes;
    if (head.stream && (!l->fns->stream || head.status != 200)) {
        lose(c, "an answer without a length came where none was asked for");
        return bytes.len;
    }
    if (head.stream) {
        c->state = LOAD_STREAM;
        c->chunked = head.chunked;
        c->chunk_part = 0;
        c->chunk_left = 0;
        return head.len;
    }
    size_t whole = head.len + (size_t)head.length;
    if (bytes.len < whole)
        return 0;
    answer_done(c, head.status, (struct str){bytes.ptr + head.len, (size_t)head.length});
    return whole;
}

static void on_bytes(struct load_conn *c, struct str fresh)
{
    int fd = c->fd;
    struct strbuf kept = c->in; /* an answer may be asked for anew within: the pieces of this one are ours until then */
    struct str rest = fresh;
    strbuf_init(&c->in, LOAD_BODY_MAX);
    if (kept.len > 0) {
        strbuf_add(&kept, fresh);
        rest = strbuf_str(&kept);
    }
    if (strbuf_failed(&kept)) {
        lose(c, "the answer is too long");
        rest = STR_NONE;
    }
    while (rest.len > 0 && c->fd == fd && c->state >= LOAD_ASKED) {
        size_t took = take_bytes(c, rest);
        rest.ptr += took;
        rest.len -= took;
        if (took == 0)
            break;
    }
    if (rest.len > 0 && c->fd == fd && c->state >= LOAD_READY)
        strbuf_add(&c->in, rest);
    strbuf_done(&kept);
}

static void on_readable(struct load_conn *c)
{
    struct load *l = c->load;
    ssize_t n = read(c->fd, l->buffer, LOAD_READ);
    if (n > 0) {
        l->bytes += n;
        l->progress = true;
        on_bytes(c, (struct str){l->buffer, (size_t)n});
    } else if (n == 0) {
        lose(c, c->state == LOAD_STREAM && !c->chunked ? NULL : "the node ended the connection");
    } else if (errno != EAGAIN && errno != EINTR) {
        lose(c, strerror(errno));
    }
}

/* ---- running ---- */

void load_alarm(struct load *l, int64_t at_us, void (*fn)(void *ctx))
{
    struct itimerspec at = {.it_value = {.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000}};
    l->alarm = fn;
    (void)timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void on_alarm(struct load *l)
{
    uint64_t times;
    if (read(l->timer, &times, sizeof times) == (ssize_t)sizeof times && l->alarm)
        l->alarm(l->ctx);
}

static void on_event(struct load *l, const struct epoll_event *e)
{
    struct load_conn *c = e->data.ptr;
    if (e->data.ptr == &l->timer) {
        on_alarm(l);
        return;
    }
    if (e->data.ptr == NULL || c->fd < 0) /* an interrupt is looked for after the turn */
        return;
    int fd = c->fd;
    if (e->events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        on_room(c);
    if (e->events & (EPOLLIN | EPOLLERR | EPOLLHUP) && c->fd == fd && c->state > LOAD_CONNECTING)
        on_readable(c);
}

enum load_end load_run(struct load *l, int64_t until_us, int64_t silent_ms)
{
    struct epoll_event ready[READY_MAX];
    int64_t last_us = load_now_us();
    l->stop = false;
    for (;;) {
        open_more(l);
        if (l->stop)
            return LOAD_STOPPED;
        int64_t now_us = load_now_us();
        if (l->progress)
            last_us = now_us;
        l->progress = false;
        if (now_us >= until_us)
            return LOAD_TIME;
        if (silent_ms > 0 && now_us - last_us >= silent_ms * 1000)
            return LOAD_SILENT;
        int64_t left_ms = (until_us - now_us + 999) / 1000;
        int n = epoll_wait(l->epoll, ready, READY_MAX, left_ms > 200 ? 200 : (int)left_ms);
        bool signal = false;
        for (int i = 0; i < n; i++) {
            signal = signal || ready[i].data.ptr == NULL;
            on_event(l, &ready[i]);
        }
        if (signal)
            (void)interrupted();
        if (interrupt_count() > l->ignored)
            return LOAD_INTERRUPTED;
    }
}

static void conns_done(struct load *l)
{
    for (size_t i = 0; i < l->count; i++) {
        load_close(&l->conns[i]);
        strbuf_done(&l->conns[i].own);
    }
    free(l->conns);
    free(l->wanted);
    l->conns = NULL;
    l->wanted = NULL;
    l->count = l->wanted_first = l->wanted_count = 0;
}

enum err load_connections(struct load *l, size_t count, size_t *ret_files)
{
    struct rlimit files;
    conns_done(l);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < count + SPARE_FILES) {
        struct rlimit more = {.rlim_cur = count + SPARE_FILES,
                              .rlim_max = files.rlim_max > count + SPARE_FILES ? files.rlim_max : count + SPARE_FILES};
        if (setrlimit(RLIMIT_NOFILE, &more) != 0) {
            *ret_files = (size_t)files.rlim_max;
            return ERR_LIMIT_EXCEEDED;
        }
    }
    l->conns = calloc(count, sizeof *l->conns);
    l->wanted = calloc(count, sizeof *l->wanted);
    if (!l->conns || !l->wanted)
        return ERR_NO_MEMORY;
    l->count = count;
    for (size_t i = 0; i < count; i++) {
        l->conns[i] = (struct load_conn){.load = l, .index = i, .fd = -1};
        strbuf_init(&l->conns[i].in, LOAD_BODY_MAX);
        strbuf_init(&l->conns[i].own, LOAD_BODY_MAX);
    }
    return ERR_OK;
}

void load_free(struct load *l)
{
    if (!l)
        return;
    conns_done(l);
    if (l->timer >= 0)
        close(l->timer);
    if (l->epoll >= 0)
        close(l->epoll);
    free(l->buffer);
    free(l);
}
