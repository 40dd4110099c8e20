#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"

enum { WAIT_MS = 10000, POLL_MS = 2 };

/* What lives until the next test: memory of our own, or a reply of hiredis'. */
struct harness_block {
    struct harness_block *next;
    void (*free_fn)(void *);
    void *p;
};

static void keep(struct harness *h, void (*free_fn)(void *), void *p)
{
    struct harness_block *b = malloc(sizeof *b);
    assert_non_null(b);
    *b = (struct harness_block){.next = h->blocks, .free_fn = free_fn, .p = p};
    h->blocks = b;
}

static void forget_all(struct harness *h)
{
    while (h->blocks) {
        struct harness_block *b = h->blocks;
        h->blocks = b->next;
        b->free_fn(b->p);
        free(b);
    }
}

/* ---- waiting ---- */

static void on_tick(void *ctx)
{
    loop_timer_set(ctx, POLL_MS); /* conditions may depend on what the loop does not see */
}

static bool wait_for(struct harness *h, harness_cond_fn done, void *ctx)
{
    struct loop_timer tick;
    loop_timer_init(&tick, h->loop, on_tick, &tick);
    loop_timer_set(&tick, POLL_MS);
    int64_t end = clock_mono_ms() + WAIT_MS;
    bool came = done(ctx);
    while (!came && clock_mono_ms() < end) {
        uv_run(loop_uv(h->loop), UV_RUN_ONCE);
        came = done(ctx);
    }
    loop_timer_stop(&tick);
    return came;
}

void harness_wait(struct harness *h, harness_cond_fn done, void *ctx, const char *what)
{
    if (!wait_for(h, done, ctx))
        fail_msg("waited in vain: %s", what);
}

static bool is_flag(void *ctx)
{
    return *(const bool *)ctx;
}

void harness_wait_flag(struct harness *h, const bool *flag, const char *what)
{
    union {
        const bool *in;
        void *out;
    } p = {.in = flag};
    harness_wait(h, is_flag, p.out, what);
}

struct count {
    const int *n;
    int least;
};

static bool is_count(void *ctx)
{
    const struct count *c = ctx;
    return *c->n >= c->least;
}

void harness_wait_count(struct harness *h, const int *n, int least, const char *what)
{
    struct count c = {n, least};
    if (!wait_for(h, is_count, &c))
        fail_msg("waited in vain: %s (%d of %d)", what, *n, least);
}

static bool is_quiet(void *ctx)
{
    return redis_pending(ctx) == 0;
}

void harness_settle(struct harness *h, struct redis *r)
{
    harness_wait(h, is_quiet, r, "every request is answered");
}

static bool is_up(void *ctx)
{
    return redis_is_up(ctx);
}

static bool is_down(void *ctx)
{
    return !redis_is_up(ctx);
}

void harness_wait_up(struct harness *h, struct redis *r, bool up)
{
    harness_wait(h, up ? is_up : is_down, r, up ? "the connection is up" : "the connection is down");
}

void harness_turn(struct harness *h)
{
    uv_run(loop_uv(h->loop), UV_RUN_NOWAIT);
}

/* ---- the server ---- */

static int free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

/* The ACL file, as docker/users.sh makes it. */
static void exec_users(struct harness *h)
{
    char path[96];
    snprintf(path, sizeof path, "%s/users.acl", h->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || dup2(fd, 1) < 0)
        _exit(126);
    setenv("ERRAND_REDIS_API_PASSWORD", h->api_password, 1);
    setenv("ERRAND_REDIS_OPERATOR_PASSWORD", h->operator_password, 1);
    unsetenv("ERRAND_PREFIX");
    execlp("sh", "sh", SOURCE_DIR "/docker/users.sh", (char *)NULL);
    _exit(127);
}

static void make_users(struct harness *h)
{
    int status;
    crypto_token(h->api_password);
    crypto_token(h->operator_password);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        exec_users(h);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void exec_server(struct harness *h)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves no server behind */
    char port[8], log[96], users[96];
    snprintf(users, sizeof users, "%s/users.acl", h->dir);
    snprintf(port, sizeof port, "%d", h->port);
    snprintf(log, sizeof log, "%s/redis.log", h->dir);
    const char *args[40] = {"redis-server",
                            "--port",
                            port,
                            "--bind",
                            "127.0.0.1",
                            "--unixsocket",
                            h->socket,
                            "--dir",
                            h->dir,
                            "--logfile",
                            log,
                            "--save",
                            "",
                            "--daemonize",
                            "no",
                            "--enable-debug-command",
                            "yes",
                            "--maxmemory-policy",
                            "noeviction",
                            "--appendfsync",
                            "always"};
    size_t n = 0;
    while (args[n])
        n++;
    args[n++] = "--appendonly";
    args[n++] = h->options->aof ? "yes" : "no";
    if (h->options->maxmemory) {
        args[n++] = "--maxmemory";
        args[n++] = h->options->maxmemory;
    }
    if (h->options->password) {
        args[n++] = "--requirepass";
        args[n++] = h->options->password;
    }
    if (h->options->users) {
        args[n++] = "--aclfile";
        args[n++] = users;
    }
    union {
        const char **in;
        char **out;
    } argv = {.in = args};
    execvp(args[0], argv.out);
    _exit(127);
}

void harness_redis_launch_only(struct harness *h)
{
    assert_int_equal(h->pid, 0);
    h->pid = fork();
    assert_true(h->pid >= 0);
    if (h->pid == 0)
        exec_server(h);
}

static void sync_close(struct harness *h)
{
    if (h->sync)
        redisFree(h->sync);
    h->sync = NULL;
}

redisContext *harness_connect_sync(struct harness *h)
{
    redisContext *c = redisConnectUnix(h->socket);
    assert_non_null(c);
    if (c->err)
        return c;
    redisSetTimeout(c, (struct timeval){.tv_sec = WAIT_MS / 1000});
    redisReply *r = NULL;
    if (h->options->users)
        r = redisCommand(c, "AUTH errand-operator %s", h->operator_password);
    else if (h->options->password)
        r = redisCommand(c, "AUTH %s", h->options->password);
    if (r)
        freeReplyObject(r);
    return c;
}

/* Whether it takes connections and has loaded; opens h->sync. */
static bool answers(void *ctx)
{
    struct harness *h = ctx;
    int status;
    if (h->pid && waitpid(h->pid, &status, WNOHANG) == h->pid) {
        h->pid = 0;
        fail_msg("redis-server ended with status %d; see %s/redis.log", status, h->dir);
    }
    sync_close(h);
    h->sync = harness_connect_sync(h);
    if (h->sync->err)
        return false;
    redisReply *r = redisCommand(h->sync, "PING");
    bool ready = r && r->type == REDIS_REPLY_STATUS;
    if (r)
        freeReplyObject(r);
    return ready;
}

void harness_redis_launch(struct harness *h)
{
    harness_redis_launch_only(h);
    harness_wait(h, answers, h, "redis-server answers");
}

static void end_server(struct harness *h, int signal_number)
{
    sync_close(h);
    if (h->pid <= 0)
        return;
    kill(h->pid, signal_number);
    int status;
    while (waitpid(h->pid, &status, 0) < 0 && errno == EINTR) {
    }
    h->pid = 0;
}

void harness_redis_kill(struct harness *h)
{
    end_server(h, SIGKILL);
}

void harness_redis_shutdown(struct harness *h)
{
    end_server(h, SIGTERM);
}

void harness_redis_pause(struct harness *h)
{
    int status;
    assert_int_equal(kill(h->pid, SIGSTOP), 0);
    assert_int_equal(waitpid(h->pid, &status, WUNTRACED), h->pid);
}

void harness_redis_continue(struct harness *h)
{
    assert_int_equal(kill(h->pid, SIGCONT), 0);
}

/* ---- start and end ---- */

static struct redis *connection(struct harness *h, enum redis_kind kind)
{
    struct redis_options o = {.loop = h->loop,
                              .kind = kind,
                              .url = h->url,
                              .user = h->options->users ? "errand-api" : NULL,
                              .password = h->options->users ? h->api_password : h->options->password,
                              .name = "test"};
    struct redis *r = redis_new(&o);
    assert_non_null(r);
    return r;
}

struct redis *harness_connect(struct harness *h, enum redis_kind kind)
{
    struct redis *r = connection(h, kind);
    harness_wait_up(h, r, true);
    return r;
}

struct harness *harness_start(const struct harness_options *o)
{
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(crypto_start(), ERR_OK);
    struct harness *h = calloc(1, sizeof *h);
    assert_non_null(h);
    h->options = calloc(1, sizeof *h->options);
    assert_non_null(h->options);
    if (o)
        *h->options = *o;
    h->prefix = STR("errand:{0}:");
    strcpy(h->dir, "/tmp/errand-test-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    snprintf(h->socket, sizeof h->socket, "%s/redis.sock", h->dir);
    snprintf(h->url, sizeof h->url, "unix://%s", h->socket);
    h->port = h->options->tcp ? free_port() : 0;
    h->loop = loop_new();
    assert_non_null(h->loop);
    if (h->options->users)
        make_users(h);
    harness_redis_launch(h);
    h->redis = harness_connect(h, REDIS_COMMANDS);
    return h;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void harness_stop(struct harness *h)
{
    if (!h)
        return;
    redis_free(h->redis);
    end_server(h, SIGKILL);
    loop_free(h->loop);
    nftw(h->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    forget_all(h);
    free(h->options);
    free(h);
}

int harness_group_start(void **state)
{
    *state = harness_start(&(struct harness_options){.users = true});
    return 0;
}

int harness_group_start_plain(void **state)
{
    *state = harness_start(NULL);
    return 0;
}

int harness_group_stop(void **state)
{
    harness_stop(*state);
    return 0;
}

int harness_test_start(void **state)
{
    struct harness *h = *state;
    if (h->pid == 0)
        harness_redis_launch(h);
    harness_wait_up(h, h->redis, true);
    harness_settle(h, h->redis); /* answers that an earlier test left would write to what is freed here */
    harness_do(h, "FLUSHALL");
    forget_all(h);
    return 0;
}

/* ---- looking into Redis ---- */

static void free_reply(void *p)
{
    freeReplyObject(p);
}

static const redisReply *command(struct harness *h, const char *fmt, va_list args)
{
    if (!h->sync)
        harness_wait(h, answers, h, "redis-server answers");
    redisReply *r = redisvCommand(h->sync, fmt, args);
    if (!r)
        fail_msg("%s: %s", fmt, h->sync->errstr);
    keep(h, free_reply, r);
    return r;
}

const redisReply *harness_try(struct harness *h, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const redisReply *r = command(h, fmt, args);
    va_end(args);
    return r;
}

static const redisReply *checked(const redisReply *r, const char *fmt)
{
    if (r->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", fmt, r->str);
    return r;
}

const redisReply *harness_do(struct harness *h, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const redisReply *r = command(h, fmt, args);
    va_end(args);
    return checked(r, fmt);
}

int64_t harness_int(struct harness *h, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const redisReply *r = command(h, fmt, args);
    va_end(args);
    return redis_int(checked(r, fmt), -1);
}

static char *vprint(struct harness *h, const char *before, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
static char *vprint(struct harness *h, const char *before, const char *fmt, va_list args)
{
    char *tail, *s;
    assert_true(vasprintf(&tail, fmt, args) >= 0);
    assert_true(asprintf(&s, "%s%s", before, tail) >= 0);
    free(tail);
    keep(h, free, s);
    return s;
}

const char *harness_key(struct harness *h, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *s = vprint(h, h->prefix.ptr, fmt, args);
    va_end(args);
    return s;
}

const char *harness_printf(struct harness *h, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *s = vprint(h, "", fmt, args);
    va_end(args);
    return s;
}

static const char *text(const redisReply *r)
{
    return r && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS) ? r->str : NULL;
}

const char *harness_hget(struct harness *h, const char *key, const char *field)
{
    return text(harness_do(h, "HGET %s %s", key, field));
}

const char *harness_get(struct harness *h, const char *key)
{
    return text(harness_do(h, "GET %s", key));
}

bool harness_exists(struct harness *h, const char *key)
{
    return harness_int(h, "EXISTS %s", key) == 1;
}

bool harness_zscore(struct harness *h, const char *key, const char *member, double *ret_score)
{
    const char *score = text(harness_do(h, "ZSCORE %s %s", key, member));
    if (score && ret_score)
        *ret_score = strtod(score, NULL);
    return score != NULL;
}

size_t harness_xlen(struct harness *h, const char *key)
{
    return (size_t)harness_int(h, "XLEN %s", key);
}

const redisReply *harness_xrange(struct harness *h, const char *key)
{
    return harness_do(h, "XRANGE %s - +", key);
}

const char *harness_entry(struct harness *h, const redisReply *entries, size_t i, const char *field)
{
    static const char *const in_head[] = {"first", "last", "t", "n", "c", "z"}; /* lua/include/stream.lua, `h` */
    const redisReply *entry = redis_at(entries, i);
    for (size_t at = 0; field && at < ARRAY_LEN(in_head); at++) {
        if (strcmp(field, in_head[at]) != 0)
            continue;
        const char *value = text(redis_field(redis_at(entry, 1), "h"));
        for (size_t n = at; n > 0; n--)
            value = strchr(value, ',') + 1;
        return harness_printf(h, "%.*s", (int)strcspn(value, ","), value);
    }
    return text(field ? redis_field(redis_at(entry, 1), field) : redis_at(entry, 0));
}

static int by_text(const void *a, const void *b)
{
    return strcmp((*(redisReply *const *)a)->str, (*(redisReply *const *)b)->str);
}

const char *harness_keys(struct harness *h, const char *pattern)
{
    const redisReply *keys = harness_do(h, "KEYS %s", pattern);
    const char *all = "";
    if (keys->elements > 1)
        qsort(keys->element, keys->elements, sizeof *keys->element, by_text);
    for (size_t i = 0; i < keys->elements; i++)
        all = harness_printf(h, "%s%s\n", all, keys->element[i]->str);
    return all;
}

int64_t harness_now_ms(struct harness *h)
{
    const redisReply *t = harness_do(h, "TIME");
    return redis_int(redis_at(t, 0), 0) * 1000 + redis_int(redis_at(t, 1), 0) / 1000;
}

/* ---- calls of scripts ---- */

void *harness_copy(struct harness *h, const void *p, size_t len)
{
    void *copy = calloc(1, len + 1);
    assert_non_null(copy);
    if (len > 0)
        memcpy(copy, p, len);
    keep(h, free, copy);
    return copy;
}

struct str harness_copy_str(struct harness *h, struct str s)
{
    return (struct str){harness_copy(h, s.ptr, s.len), s.len};
}

const redisReply *harness_copy_flat(struct harness *h, const redisReply *r)
{
    redisReply *copy = harness_copy(h, r, sizeof *r);
    copy->str = r->str ? harness_copy(h, r->str, r->len) : NULL;
    copy->element = NULL;
    if (r->type == REDIS_REPLY_ARRAY) {
        const redisReply **items = harness_copy(h, r->element, r->elements * sizeof *items);
        for (size_t i = 0; i < r->elements; i++)
            items[i] = harness_copy_flat(h, items[i]);
        union {
            const redisReply **in;
            redisReply **out;
        } u = {.in = items};
        copy->element = u.out;
    }
    return copy;
}

struct harness_call *harness_call_new(struct harness *h, const char *name)
{
    struct harness_call *c = harness_copy(h, &(struct harness_call){.harness = h, .name = name}, sizeof *c);
    return c;
}

void harness_call_done(struct harness_call *c, enum err err, const void *reply)
{
    assert_false(c->done); /* answered exactly once */
    c->done = true;
    c->err = err;
    c->reply = reply;
}

const void *harness_call_wait(struct harness_call *c)
{
    assert_false(c->done); /* never from inside the call */
    harness_wait_flag(c->harness, &c->done, c->name);
    return c->reply;
}
