/* Raw limits of `./dev bench`: what Redis and the kernel allow where nothing of Errand is between. One thread, no library.
 *
 *   limit calls SOCKET FILE DEPTH [ANSWERS]     sends FILE (packed commands) with DEPTH of them under way (0: as many as fit), and waits for all answers, which it writes to ANSWERS
 *   limit xrange SOCKET KEYS COUNT SECONDS LOOPS reads the whole streams (comma list, in turns) again and again for so long, COUNT entries a call; so many connections do so at once, each asking when it has its answer
 *   limit relay SOCKET KEY COUNT PORT_FILE      passes the answers of such a loop on to one connection, as they are: what a node can't be faster than
 *   limit read PORTS READERS FILE               opens READERS connections to PORTS (comma list, in turns) of 127.0.0.1 with the request FILE, reads each to its end
 *   limit replays PORT READERS SECONDS FILE     keeps READERS requests under way to 127.0.0.1 for so long, those of FILE in turns, each answered in chunks and read to its end; a kept connection is used again
 *   limit frames PORT_FILE READERS FILE PACE_US serves READERS connections the records of FILE (u32 length, bytes; the first is the head): each record is one write to each of them
 *
 * SOCKET is a path; REDISCLI_AUTH="user password" logs in. Prints one JSON line; exit 1 where an answer was an error. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 256 << 10, LINE_MAX_LEN = 512, NESTED = 8 };
enum { LOOK_SCRIPT = 1, LOOK_ENTRY = 2 }; /* depths of a script's `ok`, and of an entry's id in an XRANGE */

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(2);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static char *read_file(const char *path, size_t *ret_len)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        die(path);
    size_t len = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(len + 1);
    if (!data || fread(data, 1, len, f) != len)
        die(path);
    fclose(f);
    *ret_len = len;
    return data;
}

/* ---- answers: counted as they come, whatever a read cuts ---- */

struct answers {
    long complete, errors;
    long left[NESTED]; /* values that are still to come, by depth */
    int depth;
    size_t skip;      /* bytes of a text, its line end included */
    int look;         /* depth at which an array's first text is kept in `word` */
    bool first, keep; /* the next value is an array's first; the text under way is kept */
    char line[LINE_MAX_LEN];
    size_t line_len;
    char word[64];
    size_t word_len;
    long entries; /* values of the top array */
};

static void value_over(struct answers *a)
{
    while (a->depth > 0 && --a->left[a->depth - 1] == 0)
        a->depth--;
    if (a->depth == 0)
        a->complete++;
}

static void on_line(struct answers *a)
{
    char kind = a->line[0];
    long n = kind == '*' || kind == '$' ? atol(a->line + 1) : 0;
    bool first = a->first;
    a->first = false;
    if (kind == '-') {
        if (a->errors++ == 0)
            fprintf(stderr, "first error: %.*s\n", (int)a->line_len, a->line);
    }
    if (kind == '*' && n > 0) {
        if (a->depth == NESTED) {
            fprintf(stderr, "an answer is nested too deep\n");
            exit(2);
        }
        if (a->depth == 0)
            a->entries = n;
        a->left[a->depth++] = n;
        a->first = true;
        return;
    }
    if (kind == '$' && n >= 0) {
        a->skip = (size_t)n + 2;
        a->keep = first && a->depth == a->look;
        a->word_len = a->keep ? 0 : a->word_len;
        return;
    }
    value_over(a);
}

/* A script's answer that does not begin with `ok` is an error as well. */
static void text_over(struct answers *a)
{
    if (a->keep && a->look == LOOK_SCRIPT && (a->word_len != 2 || memcmp(a->word, "ok", 2) != 0)) {
        if (a->errors++ == 0)
            fprintf(stderr, "first refusal: %.*s\n", (int)a->word_len, a->word);
    }
    a->keep = false;
    value_over(a);
}

static void answers_take(struct answers *a, const char *p, size_t n)
{
    while (n > 0) {
        if (a->skip > 0) {
            size_t take = a->skip < n ? a->skip : n;
            for (size_t i = 0; a->keep && i < take && a->skip - i > 2 && a->word_len < sizeof a->word - 1; i++)
                a->word[a->word_len++] = p[i];
            a->skip -= take;
            p += take;
            n -= take;
            if (a->skip == 0)
                text_over(a);
            continue;
        }
        const char *end = memchr(p, '\n', n);
        size_t take = end ? (size_t)(end - p) + 1 : n;
        size_t room = sizeof a->line - 1 - a->line_len, keep = take < room ? take : room;
        memcpy(a->line + a->line_len, p, keep);
        a->line_len += keep;
        p += take;
        n -= take;
        if (end) {
            a->line[a->line_len] = 0;
            on_line(a);
            a->line_len = 0;
        }
    }
}

/* ---- Redis ---- */

static void write_all(int fd, const char *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t done = write(fd, p + at, n - at);
        if (done < 0)
            die("write");
        at += (size_t)done;
    }
}

static int redis_open(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        die(path);
    const char *login = getenv("REDISCLI_AUTH");
    if (login && *login) {
        char auth[600], answer[64];
        int n = snprintf(auth, sizeof auth, "AUTH %s\r\n", login);
        write_all(fd, auth, (size_t)n);
        ssize_t got = read(fd, answer, sizeof answer - 1);
        if (got < 5 || memcmp(answer, "+OK\r\n", 5) != 0)
            die("AUTH");
    }
    return fd;
}

/* Where each packed command of a file begins, and behind the last one its end. */
static size_t *commands_of(const char *data, size_t len, long *ret_n)
{
    size_t cap = 1024;
    long n = 0;
    size_t *at = malloc((cap + 1) * sizeof *at);
    for (size_t i = 0; i < len;) {
        if ((size_t)n == cap)
            at = realloc(at, ((cap *= 2) + 1) * sizeof *at);
        if (!at)
            die("realloc");
        at[n++] = i;
        long words = atol(data + i + 1);
        i = (size_t)((const char *)memchr(data + i, '\n', len - i) - data) + 1;
        while (words-- > 0) {
            long size = atol(data + i + 1);
            i = (size_t)((const char *)memchr(data + i, '\n', len - i) - data) + 1 + (size_t)size + 2;
        }
    }
    at[n] = len;
    *ret_n = n;
    return at;
}

static int limit_calls(char **argv, int argc)
{
    size_t len;
    long n, depth = atol(argv[4]);
    char *data = read_file(argv[3], &len), *room = malloc(READ_SIZE);
    size_t *at = commands_of(data, len, &n), sent = 0;
    FILE *out = argc > 5 ? fopen(argv[5], "wb") : NULL;
    int fd = redis_open(argv[2]);
    struct answers a = {.look = LOOK_SCRIPT};
    int64_t began = now_us(), cpu = cpu_us();
    while (a.complete < n) {
        long upto = depth == 0 || a.complete + depth > n ? n : a.complete + depth;
        struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (sent < at[upto] ? POLLOUT : 0))};
        if (poll(&p, 1, 30000) <= 0)
            die("poll");
        if (p.revents & POLLOUT) {
            size_t rest = at[upto] - sent;
            ssize_t done = send(fd, data + sent, rest < READ_SIZE ? rest : READ_SIZE, MSG_DONTWAIT);
            if (done < 0 && errno != EAGAIN)
                die("send");
            sent += done > 0 ? (size_t)done : 0;
        }
        if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t got = read(fd, room, READ_SIZE);
            if (got <= 0)
                die("read");
            if (out)
                fwrite(room, 1, (size_t)got, out);
            answers_take(&a, room, (size_t)got);
        }
    }
    printf("{\"calls\":%ld,\"errors\":%ld,\"seconds\":%.6f,\"clientCpuUs\":%lld}\n", n, a.errors,
           (double)(now_us() - began) / 1e6, (long long)(cpu_us() - cpu));
    if (out)
        fclose(out);
    return a.errors > 0;
}

static void ask_xrange(int fd, const char *key, const char *from, const char *count)
{
    char request[1024];
    int n = snprintf(request, sizeof request,
                     "*6\r\n$6\r\nXRANGE\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n$1\r\n+\r\n$5\r\nCOUNT\r\n$%zu\r\n%s\r\n",
                     strlen(key), key, strlen(from), from, strlen(count), count);
    write_all(fd, request, (size_t)n);
}

struct loop {
    int fd;
    const char *key;
    char from[80];
    struct answers answer;
};

struct loops {
    char *keys[256];
    int n_keys, next;
    const char *count;
    long bytes, calls, entries, rounds, errors;
};

static void loop_ask(struct loops *all, struct loop *l, bool begins)
{
    if (begins) {
        l->key = all->keys[all->next++ % all->n_keys];
        snprintf(l->from, sizeof l->from, "-");
    }
    l->answer = (struct answers){.look = LOOK_ENTRY};
    ask_xrange(l->fd, l->key, l->from, all->count);
}

/* Takes what came. Returns whether a stream was read to its end. */
static bool loop_read(struct loops *all, struct loop *l)
{
    static char room[READ_SIZE];
    struct answers *a = &l->answer;
    ssize_t got = read(l->fd, room, sizeof room);
    if (got <= 0)
        die("read");
    all->bytes += got;
    answers_take(a, room, (size_t)got);
    all->errors += a->errors;
    if (a->complete == 0)
        return false;
    all->calls++;
    all->entries += a->entries;
    if (a->entries < atol(all->count)) {
        all->rounds++;
        return true;
    }
    a->word[a->word_len] = 0;
    snprintf(l->from, sizeof l->from, "(%s", a->word);
    loop_ask(all, l, false);
    return false;
}

static int limit_xrange(char **argv)
{
    struct loops all = {.count = argv[4]};
    struct loop loops[64] = {0};
    struct pollfd polls[64];
    char *left = NULL;
    for (char *word = strtok_r(argv[3], ",", &left); word && all.n_keys < 256; word = strtok_r(NULL, ",", &left))
        all.keys[all.n_keys++] = word;
    int n = atoi(argv[6]), open = n = n < 1 ? 1 : n > 64 ? 64 : n;
    for (int i = 0; i < n; i++) {
        loops[i].fd = redis_open(argv[2]);
        polls[i] = (struct pollfd){.fd = loops[i].fd, .events = POLLIN};
    }
    int64_t limit = (int64_t)(atof(argv[5]) * 1e6), began = now_us(), cpu = cpu_us();
    for (int i = 0; i < n; i++)
        loop_ask(&all, &loops[i], true);
    while (open > 0 && all.errors == 0) {
        if (n > 1 && poll(polls, (nfds_t)n, 30000) <= 0)
            die("poll");
        for (int i = 0; i < n; i++) {
            if ((n > 1 && !polls[i].revents) || !loop_read(&all, &loops[i]))
                continue;
            if (now_us() - began < limit) {
                loop_ask(&all, &loops[i], true);
            } else {
                polls[i].fd = -1;
                polls[i].revents = 0;
                open--;
            }
        }
    }
    printf("{\"calls\":%ld,\"rounds\":%ld,\"entries\":%ld,\"bytes\":%ld,\"seconds\":%.6f,\"clientCpuUs\":%lld}\n",
           all.calls, all.rounds, all.entries, all.bytes, (double)(now_us() - began) / 1e6,
           (long long)(cpu_us() - cpu));
    return all.errors > 0;
}

/* ---- frames: what a reader costs where a program does nothing but write ---- */

struct reader {
    int fd;
    size_t head_end; /* of "\r\n\r\n", as much as was seen */
    size_t at, part; /* record that it gets next, and bytes of it that were written */
};

struct records {
    char *data;
    size_t *at; /* begin of each, and the end */
    long n;
};

static struct records records_read(const char *path)
{
    size_t len;
    struct records r = {.data = read_file(path, &len)};
    size_t cap = len / 5 + 2;
    r.at = malloc(cap * sizeof *r.at);
    size_t to = 0;
    for (size_t i = 0; i + 4 <= len;) {
        uint32_t size;
        memcpy(&size, r.data + i, 4);
        r.at[r.n++] = to;
        memmove(r.data + to, r.data + i + 4, size);
        to += size;
        i += 4 + size;
    }
    r.at[r.n] = to;
    return r;
}

static int listen_at(const char *port_file)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        die("listen");
    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.tmp", port_file);
    FILE *f = fopen(temporary, "w");
    if (!f)
        die(temporary);
    fprintf(f, "%d\n", ntohs(a.sin_port));
    fclose(f);
    if (rename(temporary, port_file) != 0)
        die(port_file);
    return fd;
}

/* Takes each connection's request, whatever it asks. */
static void wait_for_requests(int listener, struct reader *all, long n)
{
    char room[4096];
    int on = 1;
    for (long i = 0; i < n; i++) {
        all[i].fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (all[i].fd < 0)
            die("accept");
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    for (long i = 0; i < n; i++) {
        if (read(all[i].fd, room, sizeof room) <= 0)
            die("a request");
    }
}

/* Writes what is due; returns whether the socket took it all. */
static bool reader_write(struct reader *r, const struct records *of, size_t due)
{
    while (r->at < due) {
        size_t begin = of->at[r->at] + r->part, rest = of->at[r->at + 1] - begin;
        ssize_t done = send(r->fd, of->data + begin, rest, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done < 0 && errno == EAGAIN)
            return false;
        if (done < 0)
            die("send");
        r->part += (size_t)done;
        if ((size_t)done == rest) {
            r->at++;
            r->part = 0;
        }
    }
    return true;
}

static int limit_frames(char **argv)
{
    long readers = atol(argv[3]);
    int64_t pace = atol(argv[5]);
    struct records of = records_read(argv[4]);
    struct reader *all = calloc((size_t)readers, sizeof *all);
    struct rlimit files = {.rlim_cur = (rlim_t)readers + 64, .rlim_max = (rlim_t)readers + 64};
    setrlimit(RLIMIT_NOFILE, &files);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    wait_for_requests(listen_at(argv[2]), all, readers);
    for (long i = 0; i < readers; i++)
        reader_write(&all[i], &of, 1);
    int64_t began = now_us(), cpu = cpu_us();
    for (size_t due = 2; due <= (size_t)of.n; due++) {
        int64_t at = began + (int64_t)(due - 2) * pace, now = now_us();
        if (at > now)
            usleep((useconds_t)(at - now));
        for (long i = 0; i < readers; i++) {
            if (!reader_write(&all[i], &of, due)) {
                struct epoll_event e = {.events = EPOLLOUT | EPOLLONESHOT, .data.ptr = &all[i]}, again;
                if (epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &e) != 0 &&
                    epoll_ctl(epoll, EPOLL_CTL_MOD, all[i].fd, &e) != 0)
                    die("epoll_ctl");
                while (!reader_write(&all[i], &of, due))
                    (void)epoll_wait(epoll, &again, 1, 100);
            }
        }
    }
    printf("{\"frames\":%ld,\"seconds\":%.6f,\"cpuUs\":%lld}\n", (of.n - 1) * readers, (double)(now_us() - began) / 1e6,
           (long long)(cpu_us() - cpu));
    return 0; /* the connections close with it */
}

/* ---- read: the reader of what frames and API nodes write ---- */

struct taken {
    int fd;
    bool closes;  /* the server said so */
    char tail[7]; /* of what came */
    long bytes;
    int64_t began, ended;
};

static void taken_open(struct taken *t, int port, const char *request, size_t len)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (t->fd < 0 || connect(t->fd, (struct sockaddr *)&a, sizeof a) != 0)
        die("connect");
    t->began = now_us();
    write_all(t->fd, request, len);
}

static int compare_long(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

static void print_taken(struct taken *all, long n, int64_t began, int64_t cpu)
{
    long *bytes = malloc((size_t)n * sizeof *bytes), sum = 0;
    int64_t last = began;
    for (long i = 0; i < n; i++) {
        bytes[i] = all[i].bytes;
        sum += bytes[i];
        last = all[i].ended > last ? all[i].ended : last;
    }
    qsort(bytes, (size_t)n, sizeof *bytes, compare_long);
    printf("{\"readers\":%ld,\"bytes\":%ld,\"least\":%ld,\"most\":%ld,\"seconds\":%.6f,\"clientCpuUs\":%lld}\n", n, sum,
           bytes[0], bytes[n - 1], (double)(last - began) / 1e6, (long long)(cpu_us() - cpu));
}

static int limit_read(char **argv)
{
    static char room[READ_SIZE];
    int ports[16], n_ports = 0;
    char *left = NULL;
    for (char *word = strtok_r(argv[2], ",", &left); word && n_ports < 16; word = strtok_r(NULL, ",", &left))
        ports[n_ports++] = atoi(word);
    long n = atol(argv[3]), open = n;
    size_t len;
    char *request = read_file(argv[4], &len);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct taken *all = calloc((size_t)n, sizeof *all);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (long i = 0; i < n; i++) {
        taken_open(&all[i], ports[i % n_ports], request, len);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &e) != 0)
            die("epoll_ctl");
    }
    int64_t began = all[0].began, cpu = cpu_us();
    while (open > 0) {
        struct epoll_event ready[256];
        int got = epoll_wait(epoll, ready, 256, 60000);
        if (got <= 0)
            die("nothing came for a minute");
        for (int i = 0; i < got; i++) {
            struct taken *t = ready[i].data.ptr;
            ssize_t bytes = read(t->fd, room, sizeof room);
            t->bytes += bytes > 0 ? bytes : 0;
            if (bytes > 0 || (bytes < 0 && errno == EAGAIN))
                continue;
            t->ended = now_us();
            close(t->fd);
            open--;
        }
    }
    print_taken(all, n, began, cpu);
    return 0;
}

/* ---- replays: readers that come again and again ---- */

struct replays {
    int port, epoll;
    char *next, *requests, *end; /* as a ring */
    long done, opened, bytes;
    int64_t until, waited; /* sum of the times of those that are done */
};

static char *next_request(struct replays *all, size_t *ret_len)
{
    char *request = all->next, *end = memmem(request, (size_t)(all->end - request), "\r\n\r\n", 4);
    if (!end)
        die("a request has no end");
    *ret_len = (size_t)(end - request) + 4;
    all->next = end + 4 == all->end ? all->requests : end + 4;
    return request;
}

static void replay_ask(struct replays *all, struct taken *t)
{
    size_t len;
    const char *request = next_request(all, &len);
    t->began = now_us();
    write_all(t->fd, request, len);
}

static void replay_open(struct replays *all, struct taken *t)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = t};
    size_t len;
    const char *request = next_request(all, &len);
    int64_t began = now_us(); /* connecting is a part of it */
    taken_open(t, all->port, request, len);
    t->began = began;
    if (epoll_ctl(all->epoll, EPOLL_CTL_ADD, t->fd, &e) != 0)
        die("epoll_ctl");
    all->opened++;
}

/* The end of a chunked answer, which no frame of an event stream looks like. */
static bool replay_ends(struct taken *t, const char *p, size_t n)
{
    static const char end[] = "\r\n0\r\n\r\n";
    enum { LEN = sizeof end - 1 };
    size_t keep = n < LEN ? LEN - n : 0, take = n < LEN ? n : LEN;
    memmove(t->tail, t->tail + LEN - keep, keep);
    memcpy(t->tail + keep, p + n - take, take);
    return memcmp(t->tail, end, LEN) == 0;
}

/* Reads what is there. Returns whether the reader goes on, with this answer or with the next. */
static bool replay_read(struct replays *all, struct taken *t)
{
    static char room[READ_SIZE];
    ssize_t got = read(t->fd, room, sizeof room);
    if (got > 0) {
        if (t->bytes == 0)
            t->closes = memmem(room, (size_t)got, "Connection: close", 17);
        t->bytes += got;
        if (!replay_ends(t, room, (size_t)got))
            return true;
        all->done++;
        all->bytes += t->bytes;
        all->waited += now_us() - t->began;
        t->bytes = 0;
        memset(t->tail, 0, sizeof t->tail);
        if (t->closes) /* its end comes */
            return true;
        if (now_us() < all->until) {
            replay_ask(all, t);
            return true;
        }
        close(t->fd);
        return false;
    }
    if (t->bytes > 0) {
        fprintf(stderr, "an answer was cut\n");
        exit(1);
    }
    close(t->fd);
    if (now_us() >= all->until)
        return false;
    replay_open(all, t);
    return true;
}

static int limit_replays(char **argv)
{
    struct replays all = {.port = atoi(argv[2]), .epoll = epoll_create1(EPOLL_CLOEXEC)};
    long n = atol(argv[3]), open = n;
    size_t len;
    all.next = all.requests = read_file(argv[5], &len);
    all.end = all.requests + len;
    struct taken *readers = calloc((size_t)n, sizeof *readers);
    int64_t began = now_us(), cpu = cpu_us();
    all.until = began + (int64_t)(atof(argv[4]) * 1e6);
    for (long i = 0; i < n; i++)
        replay_open(&all, &readers[i]);
    while (open > 0) {
        struct epoll_event ready[64];
        int got = epoll_wait(all.epoll, ready, 64, 10000);
        if (got <= 0)
            die("nothing came for ten seconds");
        for (int i = 0; i < got; i++)
            open -= !replay_read(&all, ready[i].data.ptr);
    }
    double seconds = (double)(now_us() - began) / 1e6;
    printf(
        "{\"replays\":%ld,\"connections\":%ld,\"bytes\":%ld,\"seconds\":%.6f,\"meanUs\":%.1f,\"clientCpuUs\":%lld}\n",
        all.done, all.opened, all.bytes, seconds, (double)all.waited / (double)all.done, (long long)(cpu_us() - cpu));
    return 0;
}

/* ---- relay: XRANGE to a connection ---- */

static int limit_relay(char **argv)
{
    static char room[READ_SIZE];
    char from[80] = "-";
    long count = atol(argv[4]), bytes = 0;
    int fd = redis_open(argv[2]);
    struct reader to = {0};
    wait_for_requests(listen_at(argv[5]), &to, 1);
    int64_t began = now_us(), cpu = cpu_us();
    for (bool over = false; !over;) {
        struct answers a = {.look = LOOK_ENTRY};
        ask_xrange(fd, argv[3], from, argv[4]);
        while (a.complete == 0) {
            ssize_t got = read(fd, room, READ_SIZE);
            if (got <= 0)
                die("read");
            bytes += got;
            write_all(to.fd, room, (size_t)got);
            answers_take(&a, room, (size_t)got);
        }
        a.word[a.word_len] = 0;
        snprintf(from, sizeof from, "(%s", a.word);
        over = a.errors > 0 || a.entries < count;
    }
    printf("{\"bytes\":%ld,\"seconds\":%.6f,\"cpuUs\":%lld}\n", bytes, (double)(now_us() - began) / 1e6,
           (long long)(cpu_us() - cpu));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 4 && strcmp(argv[1], "calls") == 0)
        return limit_calls(argv, argc);
    if (argc == 7 && strcmp(argv[1], "xrange") == 0)
        return limit_xrange(argv);
    if (argc == 6 && strcmp(argv[1], "frames") == 0)
        return limit_frames(argv);
    if (argc == 6 && strcmp(argv[1], "relay") == 0)
        return limit_relay(argv);
    if (argc == 6 && strcmp(argv[1], "replays") == 0)
        return limit_replays(argv);
    if (argc == 5 && strcmp(argv[1], "read") == 0)
        return limit_read(argv);
    fprintf(
        stderr,
        "usage: limit calls SOCKET FILE DEPTH [ANSWERS] | xrange SOCKET KEYS COUNT SECONDS LOOPS | relay SOCKET KEY "
        "COUNT PORT_FILE | read PORTS READERS FILE | replays PORT READERS SECONDS FILE | frames PORT_FILE READERS "
        "FILE PACE_US\n");
    return 2;
}
