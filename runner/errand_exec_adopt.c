#include "runner/errand_exec_adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { READ_SIZE = 65536, FD_MIN = 64, SEND_WAIT_S = 2 };

/* ---- rings ---- */

static bool is_full(const struct adopt_ring *r)
{
    return (size_t)(r->end - r->base) + READ_SIZE > ADOPT_RING_MAX;
}

static bool room(struct adopt_ring *r)
{
    size_t used = (size_t)(r->end - r->base);
    if (used + READ_SIZE <= r->cap)
        return true;
    size_t cap = r->cap ? r->cap * 2 : 2 * READ_SIZE;
    if (cap > ADOPT_RING_MAX)
        return false;
    char *buf = realloc(r->buf, cap);
    if (!buf)
        return false;
    r->buf = buf;
    r->cap = cap;
    return true;
}

static void take_in(struct adopt_ring *r)
{
    while (r->from >= 0 && room(r)) {
        ssize_t n = read(r->from, r->buf + (r->end - r->base), READ_SIZE);
        if (n > 0) {
            r->end += n;
            if (n < READ_SIZE)
                return;
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            close(r->from);
            r->from = -1;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

static void give_out(struct adopt_ring *r)
{
    while (r->to >= 0 && r->sent < r->end) {
        ssize_t n = write(r->to, r->buf + (r->sent - r->base), (size_t)(r->end - r->sent));
        if (n > 0) {
            r->sent += n;
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR) {
            close(r->to); /* its reader is gone; who takes its place says where it goes on */
            r->to = -1;
        }
    }
    if (r->from < 0 && r->to >= 0) { /* all of it is out: the runner sees its end */
        close(r->to);
        r->to = -1;
    }
}

static void ack(struct adopt_ring *r, int64_t at)
{
    if (at <= r->base || at > r->sent)
        return;
    memmove(r->buf, r->buf + (at - r->base), (size_t)(r->end - at));
    r->base = at;
}

/* What the runner was given it may not acknowledge for long, or ever (a line of standard error without an end is not stored, and nothing behind it is). The agent does not wait for that: where the runner has all there is, the older half is
 * forgotten, and a successor that wanted to go on there is refused. */
static void forget_given(struct adopt_ring *r)
{
    if (r->to >= 0 && is_full(r) && r->sent == r->end)
        ack(r, r->base + (r->end - r->base) / 2);
}

void adopt_ack(struct adopt *a, int64_t out, int64_t err)
{
    ack(&a->rings[0], out);
    ack(&a->rings[1], err);
}

/* ---- start ---- */

static bool replace(struct adopt_ring *r, int fd)
{
    int ends[2];
    *r = (struct adopt_ring){.from = -1, .to = fcntl(fd, F_DUPFD_CLOEXEC, FD_MIN)};
    if (r->to < 0 || pipe2(ends, O_CLOEXEC) != 0)
        return false;
    r->from = fcntl(ends[0], F_DUPFD_CLOEXEC, FD_MIN);
    bool ok = r->from >= 0 && dup2(ends[1], fd) == fd && fcntl(r->from, F_SETFL, O_NONBLOCK) == 0 &&
              fcntl(r->to, F_SETFL, O_NONBLOCK) == 0;
    close(ends[0]);
    close(ends[1]);
    return ok;
}

bool adopt_init(struct adopt *a, const char *path, int64_t wait_ms)
{
    *a = (struct adopt){.path = path, .wait_ms = wait_ms, .listener = -1};
    for (size_t i = 0; i < ADOPT_GUESTS; i++)
        a->guests[i].fd = -1;
    return !path || (replace(&a->rings[0], 1) && replace(&a->rings[1], 2));
}

/* ---- a successor ---- */

static void forget_guest(struct adopt_guest *g)
{
    if (g->fd >= 0)
        close(g->fd);
    *g = (struct adopt_guest){.fd = -1};
}

static void forget_guests(struct adopt *a)
{
    for (size_t i = 0; i < ADOPT_GUESTS; i++)
        forget_guest(&a->guests[i]);
}

bool adopt_orphan(struct adopt *a, int64_t now_ms)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (!a->path || !a->fed || a->orphan || strlen(a->path) >= sizeof at.sun_path)
        return false;
    for (size_t i = 0; i < ADOPT_STREAMS; i++) {
        if (a->rings[i].to >= 0)
            close(a->rings[i].to);
        a->rings[i].to = -1;
    }
    memcpy(at.sun_path, a->path, strlen(a->path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int high = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, FD_MIN) : -1;
    if (fd >= 0)
        close(fd);
    (void)unlink(a->path);
    if (high < 0 || bind(high, (const struct sockaddr *)&at, sizeof at) != 0 || listen(high, ADOPT_GUESTS) != 0) {
        if (high >= 0)
            close(high);
        return false;
    }
    a->listener = high;
    a->orphan = true;
    a->deadline_ms = now_ms + a->wait_ms;
    return true;
}

static void let_in(struct adopt *a)
{
    for (;;) {
        int fd = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        struct ucred who;
        socklen_t len = sizeof who;
        struct adopt_guest *place = NULL;
        for (size_t i = 0; i < ADOPT_GUESTS && !place; i++)
            place = a->guests[i].fd < 0 ? &a->guests[i] : NULL;
        int high = fcntl(fd, F_DUPFD_CLOEXEC, FD_MIN);
        close(fd);
        if (high >= 0 && place && getsockopt(high, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.uid == geteuid())
            *place = (struct adopt_guest){.fd = high};
        else if (high >= 0)
            close(high);
    }
}

static void listen_to(struct adopt_guest *g)
{
    while (g->fd >= 0 && !g->said) {
        char c;
        ssize_t n = read(g->fd, &c, 1);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0 || g->len + 1 >= sizeof g->line) {
            forget_guest(g);
            return;
        }
        g->said = c == '\n';
        g->line[g->said ? g->len : g->len++] = g->said ? '\0' : c;
    }
}

void adopt_turn(struct adopt *a)
{
    if (!a->path)
        return;
    for (size_t i = 0; i < ADOPT_STREAMS; i++) {
        take_in(&a->rings[i]);
        give_out(&a->rings[i]);
        forget_given(&a->rings[i]);
        take_in(&a->rings[i]);
    }
    if (a->listener < 0)
        return;
    let_in(a);
    for (size_t i = 0; i < ADOPT_GUESTS; i++)
        listen_to(&a->guests[i]);
}

size_t adopt_polls(const struct adopt *a, struct pollfd *fds)
{
    size_t n = 0;
    if (!a->path)
        return 0;
    for (size_t i = 0; i < ADOPT_STREAMS; i++) {
        const struct adopt_ring *r = &a->rings[i];
        if (r->from >= 0 && !is_full(r))
            fds[n++] = (struct pollfd){.fd = r->from, .events = POLLIN};
        if (r->to >= 0 && r->sent < r->end)
            fds[n++] = (struct pollfd){.fd = r->to, .events = POLLOUT};
    }
    if (a->listener >= 0)
        fds[n++] = (struct pollfd){.fd = a->listener, .events = POLLIN};
    for (size_t i = 0; i < ADOPT_GUESTS; i++)
        if (a->guests[i].fd >= 0 && !a->guests[i].said)
            fds[n++] = (struct pollfd){.fd = a->guests[i].fd, .events = POLLIN};
    return n;
}

/* Where the guest that speaks of a stream wants to go on; -1: it can't. */
static int64_t wanted(const struct adopt_guest *g, const char *stream, const struct adopt_ring *r)
{
    size_t len = strlen(stream);
    char *end;
    if (strncmp(g->line, stream, len) == 0 && strcmp(g->line + len, "*") == 0)
        return r->base;
    if (strncmp(g->line, stream, len) != 0 || g->line[len] < '0' || g->line[len] > '9')
        return -1;
    long long at = strtoll(g->line + len, &end, 10);
    return *end == '\0' && at >= r->base && at <= r->end ? at : -1;
}

/* What the agent was started with: its successor has to know what is secret of it. */
static void send_environment(int fd)
{
    char head[32];
    size_t len = 0;
    struct timeval wait = {.tv_sec = SEND_WAIT_S};
    for (char **e = environ; *e; e++)
        len += strlen(*e) + 1;
    int flags = fcntl(fd, F_GETFL);
    (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    int n = snprintf(head, sizeof head, "env %zu\n", len);
    bool taken = send(fd, head, (size_t)n, MSG_NOSIGNAL) == n;
    for (char **e = environ; *e && taken; e++)
        taken = send(fd, *e, strlen(*e) + 1, MSG_NOSIGNAL) == (ssize_t)strlen(*e) + 1;
    if (!taken) /* what follows would be taken for the rest of it; another may try */
        (void)shutdown(fd, SHUT_RDWR);
    (void)fcntl(fd, F_SETFL, flags);
}

int adopt_successor(struct adopt *a)
{
    static const char *const streams[ADOPT_STREAMS] = {"out ", "err "};
    int control = -1, to[ADOPT_STREAMS] = {-1, -1};
    int64_t at[ADOPT_STREAMS] = {-1, -1};
    if (a->listener < 0)
        return -1;
    for (size_t i = 0; i < ADOPT_GUESTS; i++) {
        const struct adopt_guest *g = &a->guests[i];
        if (!g->said)
            return -1;
        if (strcmp(g->line, "control") == 0)
            control = g->fd;
        for (size_t s = 0; s < ADOPT_STREAMS; s++) {
            int64_t where = wanted(g, streams[s], &a->rings[s]);
            if (where >= 0) {
                at[s] = where;
                to[s] = g->fd;
            }
        }
    }
    if (control < 0 || to[0] < 0 || to[1] < 0) { /* not all three, or bytes that are not here: another may try */
        forget_guests(a);
        return -1;
    }
    for (size_t s = 0; s < ADOPT_STREAMS; s++) {
        a->rings[s].to = to[s];
        a->rings[s].sent = at[s];
        ack(&a->rings[s], at[s]);
    }
    for (size_t i = 0; i < ADOPT_GUESTS; i++)
        a->guests[i] = (struct adopt_guest){.fd = -1};
    close(a->listener);
    (void)unlink(a->path);
    a->listener = -1;
    a->orphan = false;
    send_environment(control);
    return control;
}

void adopt_last(struct adopt *a)
{
    for (size_t i = 0; a->path && i < ADOPT_STREAMS; i++) {
        struct adopt_ring *r = &a->rings[i];
        take_in(r);
        if (r->from >= 0 && !is_full(r)) {
            close(r->from);
            r->from = -1;
        }
        give_out(r);
    }
}

bool adopt_busy(const struct adopt *a)
{
    bool busy = a->listener >= 0;
    for (size_t i = 0; a->path && i < ADOPT_STREAMS; i++)
        busy = busy || a->rings[i].to >= 0;
    return busy;
}

void adopt_give_up(struct adopt *a)
{
    forget_guests(a);
    if (a->listener >= 0) {
        close(a->listener);
        (void)unlink(a->path);
    }
    a->listener = -1;
    a->path = NULL; /* nothing of it goes on */
}
