/* The connection, against a real Redis that is killed, paused and filled, and against a fake one that answers nonsense. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/redis.h"
#include "fake_redis.h"
#include "harness.h"

/* Counts what was called back: each request has its own, so that "exactly once" is checked for each. */
struct asked {
    int calls;
    enum err err;
    int64_t value;
    char text[128];
    int order; /* which one of all */
};

static int order_now;

static void on_answer(void *ctx, enum err err, const redisReply *reply)
{
    struct asked *a = ctx;
    struct str s = redis_str(reply);
    a->calls++;
    a->err = err;
    a->value = redis_int(reply, -99);
    snprintf(a->text, sizeof a->text, "%.*s", STR_ARG(s));
    a->order = ++order_now;
}

/* Words separated by one space. */
static void ask_timeout(struct redis *r, int64_t timeout_ms, const char *words, redis_reply_fn fn, void *ctx)
{
    struct str argv[16];
    size_t n = 0;
    for (const char *p = words; *p; p += strspn(p, " ")) {
        argv[n] = (struct str){p, strcspn(p, " ")};
        p += argv[n++].len;
    }
    if (timeout_ms < 0)
        redis_command(r, n, argv, fn, ctx);
    else
        redis_command_timeout(r, timeout_ms, n, argv, fn, ctx);
}

static void ask(struct redis *r, const char *words, struct asked *a)
{
    *a = (struct asked){0};
    ask_timeout(r, -1, words, on_answer, a);
}

static void assert_answered(const struct asked *a, size_t n, enum err err)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(a[i].calls, 1);
        harness_assert_err(a[i].err, err);
    }
}

/* ---- commands ---- */

static void test_arguments_are_bytes(void **state)
{
    struct harness *h = *state;
    static const char bytes[] = "a\0b\r\n%s%n$5\r\n\xff";
    struct str value = {bytes, sizeof bytes - 1};
    struct asked set = {0}, get = {0}, empty = {0};
    redis_command(h->redis, 3, (const struct str[]){STR("SET"), STR("key with spaces"), value}, on_answer, &set);
    redis_command(h->redis, 2, (const struct str[]){STR("STRLEN"), STR("key with spaces")}, on_answer, &get);
    redis_command(h->redis, 3, (const struct str[]){STR("SET"), STR("empty"), STR_NONE}, on_answer, &empty);
    assert_int_equal(set.calls, 0); /* never from inside */
    assert_int_equal(redis_pending(h->redis), 3);
    harness_settle(h, h->redis);
    assert_string_equal(set.text, "OK");
    assert_int_equal(get.value, sizeof bytes - 1);
    assert_answered(&empty, 1, ERR_OK);
    const redisReply *r = harness_do(h, "GET %s", "key with spaces");
    assert_int_equal(r->len, value.len);
    assert_memory_equal(r->str, bytes, value.len);
}

static void test_answers_come_in_order(void **state)
{
    struct harness *h = *state;
    enum { N = 1000 };
    struct asked a[N];
    order_now = 0;
    for (int i = 0; i < N; i++)
        ask(h->redis, "INCR n", &a[i]);
    redis_command(h->redis, 2, (const struct str[]){STR("INCR"), STR("n")}, NULL, NULL); /* nobody wants to know */
    harness_settle(h, h->redis);
    for (int i = 0; i < N; i++) {
        assert_int_equal(a[i].value, i + 1);
        assert_int_equal(a[i].order, i + 1);
    }
    assert_answered(a, N, ERR_OK);
    assert_string_equal(harness_get(h, "n"), "1001");
}

/* Values that the socket does not take at once, beginning with NULs wherever the rest begins. */
static void test_what_the_socket_does_not_take_at_once(void **state)
{
    struct harness *h = *state;
    size_t len = (size_t)16 << 20;
    char *zeros = calloc(1, len);
    struct asked set = {0}, size = {0}, after = {0};
    redis_command(h->redis, 3, (const struct str[]){STR("SET"), STR("big"), {zeros, len}}, on_answer, &set);
    ask(h->redis, "STRLEN big", &size);
    free(zeros); /* copied before it returned */
    harness_settle(h, h->redis);
    ask(h->redis, "PING", &after);
    harness_settle(h, h->redis);
    assert_string_equal(set.text, "OK");
    assert_int_equal(size.value, len);
    assert_string_equal(after.text, "PONG");
}

/* Writes of this process so far; -1 where the system does not count them. */
static long writes_so_far(void)
{
    FILE *f = fopen("/proc/self/io", "re");
    char line[128];
    long n = -1;
    while (f && fgets(line, sizeof line, f))
        sscanf(line, "syscw: %ld", &n);
    if (f)
        fclose(f);
    return n;
}

static void test_commands_of_a_turn_leave_in_one_write(void **state)
{
    struct harness *h = *state;
    enum { N = 200 };
    struct asked a[N];
    long before = writes_so_far();
    if (before < 0) {
        puts("the kernel does not count writes");
        skip();
    }
    for (int i = 0; i < N; i++)
        ask(h->redis, "PING", &a[i]);
    harness_settle(h, h->redis);
    long writes = writes_so_far() - before;
    assert_answered(a, N, ERR_OK);
    assert_true(writes <= 2);
}

struct inspecting {
    int calls;
    enum err err;
    bool has_reply;
    char text[200];
};

static void on_inspect(void *ctx, enum err err, const redisReply *reply)
{
    struct inspecting *c = ctx;
    struct str s = redis_str(reply);
    c->calls++;
    c->err = err;
    c->has_reply = reply != NULL;
    snprintf(c->text, sizeof c->text, "%.*s", STR_ARG(s));
}

static void test_error_replies(void **state)
{
    struct harness *h = *state;
    struct inspecting wrong = {0}, noscript = {0}, full = {0};
    ask_timeout(h->redis, -1, "LPUSH list x", NULL, NULL);
    ask_timeout(h->redis, -1, "GET list", on_inspect, &wrong);
    ask_timeout(h->redis, -1, "EVALSHA 0000000000000000000000000000000000000000 0", on_inspect, &noscript);
    harness_settle(h, h->redis);
    harness_assert_err(wrong.err, ERR_INTERNAL);
    assert_true(strncmp(wrong.text, "WRONGTYPE", 9) == 0);
    harness_assert_err(noscript.err, ERR_OK);
    assert_true(strncmp(noscript.text, "NOSCRIPT", 8) == 0);
    harness_do(h, "CONFIG SET maxmemory 1");
    ask_timeout(h->redis, -1, "SET k v", on_inspect, &full);
    harness_settle(h, h->redis);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(full.err, ERR_MEMORY_PRESSURE);
    assert_true(strncmp(full.text, "OOM", 3) == 0);
    harness_assert_err(wrong.calls + noscript.calls + full.calls == 3 ? ERR_OK : ERR_INTERNAL, ERR_OK);
    assert_true(redis_is_up(h->redis)); /* none of it ends the connection */
}

static void test_too_many_pending(void **state)
{
    struct harness *h = *state;
    struct redis_options o = {.loop = h->loop, .kind = REDIS_COMMANDS, .url = h->url, .name = "few", .max_pending = 10};
    struct redis *r = redis_new(&o);
    struct asked a[15];
    harness_wait_up(h, r, true);
    for (int i = 0; i < 15; i++)
        ask(r, "PING", &a[i]);
    harness_settle(h, r);
    assert_answered(a, 10, ERR_OK);
    assert_answered(a + 10, 5, ERR_OVERLOADED);
    redis_free(r);
}

/* ---- losing the connection ---- */

static int ups, downs;
static void on_state(void *ctx, struct redis *r, bool up)
{
    (void)ctx;
    assert_true(redis_is_up(r) == up);
    if (up)
        ups++;
    else
        downs++;
}

static struct redis *watched(struct harness *h, const char *url, int64_t timeout_ms)
{
    struct redis_options o = {.loop = h->loop,
                              .kind = REDIS_COMMANDS,
                              .url = url,
                              .name = "watched",
                              .timeout_ms = timeout_ms,
                              .on_state = on_state};
    ups = downs = 0;
    return redis_new(&o);
}

static void test_exactly_one_answer_when_redis_is_killed(void **state)
{
    struct harness *h = *state;
    enum { N = 500 };
    struct asked a[N], later;
    struct redis *r = watched(h, h->url, 0);
    harness_wait_up(h, r, true);
    char run_id[41];
    strcpy(run_id, redis_run_id(r));
    assert_int_equal(strlen(run_id), 40);
    assert_int_equal(redis_generation(r), 1);
    harness_redis_pause(h); /* so that none of them is answered */
    for (int i = 0; i < N; i++)
        ask(r, "INCR n", &a[i]);
    harness_turn(h); /* sent */
    harness_redis_kill(h);
    harness_wait_up(h, r, false);
    assert_int_equal(redis_pending(r), 0);
    assert_answered(a, N, ERR_REDIS_UNAVAILABLE);
    ask(r, "PING", &later);
    assert_int_equal(later.calls, 0);
    harness_settle(h, r);
    assert_answered(&later, 1, ERR_REDIS_UNAVAILABLE);
    assert_string_equal(redis_run_id(r), run_id); /* of the last connection */
    harness_redis_launch(h);
    int64_t back = clock_mono_ms();
    harness_wait_up(h, r, true);
    assert_true(clock_mono_ms() - back < 5000);
    assert_string_not_equal(redis_run_id(r), run_id);
    assert_int_equal(redis_generation(r), 2);
    assert_int_equal(ups, 2);
    assert_int_equal(downs, 1);
    ask(r, "PING", &later);
    harness_settle(h, r);
    assert_answered(&later, 1, ERR_OK);
    assert_answered(a, N, ERR_REDIS_UNAVAILABLE); /* still once */
    redis_free(r);
}

static void test_exactly_one_answer_when_the_client_is_killed(void **state)
{
    struct harness *h = *state;
    enum { N = 50 };
    struct asked a[N], after;
    struct redis *r = watched(h, h->url, 0);
    harness_wait_up(h, r, true);
    harness_do(h, "CLIENT PAUSE 100000 WRITE");
    for (int i = 0; i < N; i++)
        ask(r, "INCR n", &a[i]);
    harness_turn(h);
    harness_do(h, "CLIENT KILL TYPE normal");
    harness_do(h, "CLIENT UNPAUSE");
    harness_wait_up(h, r, false);
    assert_answered(a, N, ERR_REDIS_UNAVAILABLE);
    harness_wait_up(h, r, true);
    assert_int_equal(redis_generation(r), 2);
    ask(r, "PING", &after);
    harness_settle(h, r);
    assert_answered(&after, 1, ERR_OK);
    assert_answered(a, N, ERR_REDIS_UNAVAILABLE);
    redis_free(r);
}

static void test_a_late_answer_cuts_the_connection(void **state)
{
    struct harness *h = *state;
    struct asked late, unbounded = {0};
    struct redis *r = watched(h, h->url, 300);
    harness_wait_up(h, r, true);
    harness_redis_pause(h);
    ask(r, "PING", &late);
    ask_timeout(r, 0, "PING", on_answer, &unbounded);
    harness_wait_up(h, r, false);
    assert_answered(&late, 1, ERR_TIMEOUT);
    assert_answered(&unbounded, 1, ERR_REDIS_UNAVAILABLE);
    harness_redis_continue(h);
    harness_wait_up(h, r, true);
    ask(r, "PING", &late);
    harness_settle(h, r);
    assert_answered(&late, 1, ERR_OK);
    redis_free(r);
}

static int64_t skipped_us;
static int64_t skipping_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 + skipped_us;
}

static bool has_bytes_to_read(void *ctx)
{
    struct harness *h = ctx;
    return strstr(harness_do(h, "CLIENT LIST")->str, "name=watched") &&
           strstr(strstr(harness_do(h, "CLIENT LIST")->str, "name=watched"), "cmd=strlen");
}

/* A process that was stopped for a while finds deadlines passed, and the answers there. */
static void test_an_answer_that_came_while_we_stood_still_counts(void **state)
{
    struct harness *h = *state;
    struct asked a;
    struct redis *r = watched(h, h->url, 1000);
    harness_wait_up(h, r, true);
    ask(r, "STRLEN nothing", &a);
    uv_run(loop_uv(h->loop), UV_RUN_NOWAIT); /* sent; perhaps even answered */
    while (a.calls == 0 && !has_bytes_to_read(h)) {
    }
    clock_set_source(NULL, skipping_clock);
    skipped_us = 5000000;
    harness_settle(h, r);
    clock_set_source(NULL, NULL);
    assert_answered(&a, 1, ERR_OK);
    assert_int_equal(downs, 0);
    redis_free(r);
}

static void test_blocking_calls_have_their_own_time(void **state)
{
    struct harness *h = *state;
    struct redis_options o = {
        .loop = h->loop, .kind = REDIS_BLOCKING, .url = h->url, .name = "blocking", .timeout_ms = 200};
    struct redis *r = redis_new(&o);
    struct asked none = {0}, some = {0};
    harness_wait_up(h, r, true);
    ask_timeout(r, 0, "BLPOP bell 0.6", on_answer, &none); /* longer than the connection's 200 ms */
    ask_timeout(r, 5000, "BLPOP bell 3", on_answer, &some);
    harness_wait_count(h, &none.calls, 1, "the first BLPOP ends");
    harness_assert_err(none.err, ERR_OK);
    harness_do(h, "LPUSH bell 1");
    harness_settle(h, r);
    assert_answered(&some, 1, ERR_OK);
    redis_free(r);
}

/* ---- connecting again ---- */

static bool connected_more(void *ctx)
{
    int *wanted = ((void **)ctx)[1];
    return ((struct fake_redis *)((void **)ctx)[0])->connections >= *wanted;
}

/* As long as an absence of several seconds: the pause between two attempts grows to 2 s and no further, so that 5 s are enough whenever Redis comes back. */
static void test_backoff_grows_to_two_seconds(void **state)
{
    struct harness *h = *state;
    struct fake_redis f;
    fake_redis_start(&f, h);
    f.drop_at_once = true;
    struct redis *r = watched(h, f.url, 0);
    int wanted = 1;
    void *ctx[] = {&f, &wanted};
    int64_t last = 0, longest = 0;
    for (; wanted <= 9; wanted++) {
        harness_wait(h, connected_more, ctx, "another attempt");
        int64_t gap = last ? f.connected_ms - last : 0;
        last = f.connected_ms;
        longest = gap > longest ? gap : longest;
        assert_true(gap <= 2300);
        if (wanted == 2)
            assert_true(gap < 1000); /* the first comes soon */
    }
    assert_true(longest >= 1000);
    f.drop_at_once = false;
    int64_t back = clock_mono_ms();
    harness_wait_up(h, r, true);
    assert_true(clock_mono_ms() - back < 5000);
    assert_string_equal(redis_run_id(r), FAKE_RUN_ID);
    redis_free(r);
    fake_redis_stop(&f);
}

static void test_a_server_that_says_nothing_is_given_up(void **state)
{
    struct harness *h = *state;
    struct fake_redis f;
    fake_redis_start(&f, h);
    f.greeting = NULL;
    struct redis *r = watched(h, f.url, 0);
    int wanted = 2;
    void *ctx[] = {&f, &wanted};
    harness_wait(h, connected_more, ctx, "a second attempt");
    f.greeting = FAKE_GREETING;
    harness_wait_up(h, r, true);
    assert_int_equal(ups, 1);
    redis_free(r);
    fake_redis_stop(&f);
}

static void test_bad_greetings_are_retried(void **state)
{
    struct harness *h = *state;
    static const char *const greetings[] = {
        "-LOADING a\r\n-LOADING b\r\n-LOADING Redis is loading the dataset in memory\r\n",
        "+OK\r\n+PONG\r\n-LOADING Redis is loading\r\n",
        "+OK\r\n+PONG\r\n:7\r\n",
        "+OK\r\n+PONG\r\n*0\r\n",
        "+OK\r\n+PONG\r\n$-1\r\n",
        "+OK\r\n+PONG\r\n$7\r\nrun_id:\r\n",
        "+OK\r\n+PONG\r\n$12\r\nrun_id:abcde\r\n",
        "+OK\r\n-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "$99999999999999999999\r\n",
        "\r\n\r\n\r\n",
        "+OK\r\n+PONG\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(greetings); i++) {
        struct fake_redis f;
        fake_redis_start(&f, h);
        f.greeting = greetings[i];
        struct redis *r = watched(h, f.url, 0);
        int wanted = 2;
        void *ctx[] = {&f, &wanted};
        harness_wait(h, connected_more, ctx, greetings[i]);
        assert_int_equal(ups, 0);
        f.greeting = FAKE_GREETING;
        harness_wait_up(h, r, true);
        redis_free(r);
        fake_redis_stop(&f);
    }
}

static void test_bad_answers_end_the_connection(void **state)
{
    struct harness *h = *state;
    static const struct {
        const char *bytes;
        bool drop;
        enum err first, second; /* of the two requests under way */
    } cases[] = {
        {"+OK\r\nnonsense\r\n", false, ERR_OK, ERR_REDIS_UNAVAILABLE},
        {"garbage\r\n", false, ERR_REDIS_UNAVAILABLE, ERR_REDIS_UNAVAILABLE},
        {"$10\r\nhal", true, ERR_REDIS_UNAVAILABLE, ERR_REDIS_UNAVAILABLE},
        {"$10\r\nhal", false, ERR_TIMEOUT, ERR_TIMEOUT},
        {"+OK\r\n*2\r\n:1\r\n", true, ERR_OK, ERR_REDIS_UNAVAILABLE},
        {"+OK\r\n+OK\r\n+one too many\r\n", false, ERR_OK, ERR_OK},
        {"*-7\r\n", true, ERR_REDIS_UNAVAILABLE, ERR_REDIS_UNAVAILABLE},
        {"", true, ERR_REDIS_UNAVAILABLE, ERR_REDIS_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_redis f;
        struct asked a[2];
        fake_redis_start(&f, h);
        struct redis *r = watched(h, f.url, 300);
        harness_wait_up(h, r, true);
        f.answer = cases[i].bytes;
        f.drop_after = cases[i].drop;
        ask(r, "PING", &a[0]);
        ask(r, "PING", &a[1]);
        harness_wait_count(h, &downs, 1, cases[i].bytes);
        harness_wait_count(h, &ups, 2, cases[i].bytes);
        assert_answered(&a[0], 1, cases[i].first);
        assert_answered(&a[1], 1, cases[i].second);
        redis_free(r);
        fake_redis_stop(&f);
    }
}

static bool has_received(void *ctx)
{
    return ((struct fake_redis *)ctx)->received > 0;
}

static void test_an_answer_in_single_bytes(void **state)
{
    struct harness *h = *state;
    static const char answer[] = "*3\r\n:12\r\n$5\r\na\r\nbc\r\n$-1\r\n";
    struct fake_redis f;
    struct inspecting c = {0};
    fake_redis_start(&f, h);
    struct redis *r = watched(h, f.url, 0);
    harness_wait_up(h, r, true);
    ask_timeout(r, -1, "PING", on_inspect, &c);
    harness_wait(h, has_received, &f, "the command");
    for (size_t i = 0; i < sizeof answer - 1; i++) {
        assert_int_equal(c.calls, 0);
        fake_redis_send(&f, answer + i, 1);
        harness_turn(h);
    }
    harness_settle(h, r);
    assert_int_equal(c.calls, 1);
    assert_true(c.has_reply);
    redis_free(r);
    fake_redis_stop(&f);
}

/* ---- ending from inside ---- */

struct ending {
    struct redis *r;
    struct asked *others;
    size_t n;
    enum err others_got;
    int calls;
};

static void end_here(struct ending *e)
{
    if (++e->calls != 1)
        return;
    redis_free(e->r);
    assert_answered(e->others, e->n, e->others_got); /* before redis_free returned */
}

static void on_answer_end(void *ctx, enum err err, const redisReply *reply)
{
    (void)err;
    (void)reply;
    end_here(ctx);
}

static void on_state_end(void *ctx, struct redis *r, bool up)
{
    struct ending *e = ctx;
    (void)up;
    e->r = r;
    end_here(e);
}

static void test_ending_it_from_the_callback_of_an_answer(void **state)
{
    struct harness *h = *state;
    struct asked a[20];
    struct ending e = {.r = watched(h, h->url, 0), .others = a, .n = 20, .others_got = ERR_CANCELED};
    harness_wait_up(h, e.r, true);
    ask_timeout(e.r, -1, "PING", on_answer_end, &e);
    for (size_t i = 0; i < 20; i++)
        ask(e.r, "PING", &a[i]);
    harness_wait_count(h, &e.calls, 1, "the answer");
    harness_turn(h);
    assert_answered(a, 20, ERR_CANCELED);
    assert_int_equal(downs, 0);
}

static void test_ending_it_from_the_callback_of_a_lost_request(void **state)
{
    struct harness *h = *state;
    struct asked a[20];
    struct ending e = {.r = watched(h, h->url, 0), .others = a, .n = 20, .others_got = ERR_CANCELED};
    harness_wait_up(h, e.r, true);
    harness_redis_pause(h);
    ask_timeout(e.r, -1, "PING", on_answer_end, &e);
    for (size_t i = 0; i < 20; i++)
        ask(e.r, "PING", &a[i]);
    harness_turn(h);
    harness_redis_kill(h);
    harness_wait_count(h, &e.calls, 1, "the loss");
    harness_turn(h);
    assert_answered(a, 20, ERR_CANCELED);
    assert_int_equal(downs, 0);
}

static void test_ending_it_from_the_callback_of_a_refused_request(void **state)
{
    struct harness *h = *state;
    struct asked a[20];
    struct ending e = {
        .r = watched(h, "unix:///nowhere/redis.sock", 0), .others = a, .n = 20, .others_got = ERR_CANCELED};
    ask_timeout(e.r, -1, "PING", on_answer_end, &e);
    for (size_t i = 0; i < 20; i++)
        ask(e.r, "PING", &a[i]);
    harness_wait_count(h, &e.calls, 1, "the refusal");
    harness_turn(h);
    assert_answered(a, 20, ERR_CANCELED);
}

static void test_ending_it_when_it_came_up_and_when_it_was_lost(void **state)
{
    struct harness *h = *state;
    struct ending e = {0};
    struct redis_options o = {
        .loop = h->loop, .kind = REDIS_COMMANDS, .url = h->url, .name = "ending", .on_state = on_state_end, .ctx = &e};
    assert_non_null(redis_new(&o));
    harness_wait_count(h, &e.calls, 1, "it came up");
    harness_turn(h);
    assert_int_equal(e.calls, 1);

    struct ending lost = {.calls = -1}; /* not at the first change, coming up */
    o.ctx = &lost;
    assert_non_null(redis_new(&o));
    harness_wait_count(h, &lost.calls, 0, "it came up");
    harness_redis_kill(h);
    harness_wait_count(h, &lost.calls, 1, "it was lost");
    harness_turn(h);
}

static void test_ending_it_answers_everything_at_once(void **state)
{
    struct harness *h = *state;
    struct asked sent[10], refused[10];
    struct redis *up = watched(h, h->url, 0), *down = watched(h, "unix:///nowhere/redis.sock", 0);
    harness_wait_up(h, up, true);
    for (int i = 0; i < 10; i++) {
        ask(up, "PING", &sent[i]);
        ask(down, "PING", &refused[i]);
    }
    redis_free(up);
    redis_free(down);
    assert_answered(sent, 10, ERR_CANCELED);
    assert_answered(refused, 10, ERR_CANCELED);
    harness_turn(h);
    harness_turn(h);
    assert_answered(sent, 10, ERR_CANCELED);
    assert_answered(refused, 10, ERR_CANCELED);
    redis_free(NULL);
    redis_free(watched(h, h->url, 0));                         /* before it did anything */
    struct redis *half = watched(h, "redis://localhost:1", 0); /* while a name is looked up, or is refused */
    harness_turn(h);
    redis_free(half);
}

struct insisting {
    struct redis *r;
    int calls;
};

static void on_insist(void *ctx, enum err err, const redisReply *reply)
{
    struct insisting *c = ctx;
    (void)reply;
    if (err != ERR_REDIS_UNAVAILABLE)
        return;
    c->calls++;
    ask_timeout(c->r, -1, "PING", on_insist, c);
}

/* Whoever asks again at once, each time, does not stop the loop. */
static void test_asking_again_from_inside_a_refusal(void **state)
{
    struct harness *h = *state;
    struct insisting c = {.r = watched(h, "unix:///nowhere/redis.sock", 0)};
    ask_timeout(c.r, -1, "PING", on_insist, &c);
    for (int i = 0; i < 5; i++)
        harness_turn(h);
    assert_in_range(c.calls, 1, 5);
    redis_free(c.r);
}

/* ---- subscriptions ---- */

struct heard {
    struct redis *r;
    struct redis_sub *sub;
    const char *channel;
    int confirmed, messages;
    char last[64];
    struct heard *again; /* what to do on a message: 'again' is subscribed anew, unsubscribing ends this one */
    bool end_on_message;
    int grow; /* on a message: subscribes this many channels */
    struct redis_sub *grown[400];
};

static void on_heard(void *ctx, bool confirmed, struct str message)
{
    struct heard *s = ctx;
    if (confirmed) {
        s->confirmed++;
        return;
    }
    s->messages++;
    snprintf(s->last, sizeof s->last, "%.*s", STR_ARG(message));
    for (int i = 0; i < s->grow; i++) {
        char name[32];
        snprintf(name, sizeof name, "grown-%d", i);
        s->grown[i] = redis_subscribe(s->r, str_of(name), on_heard, s);
    }
    s->grow = 0;
    if (s->end_on_message) {
        redis_unsubscribe(s->sub);
        s->sub = NULL;
    }
}

static void listen_on(struct harness *h, struct redis *r, const char *channel, struct heard *s)
{
    *s = (struct heard){.r = r, .channel = channel};
    s->sub = redis_subscribe(r, str_of(channel), on_heard, s);
    assert_non_null(s->sub);
    assert_int_equal(s->confirmed, 0); /* never from inside */
    harness_wait_count(h, &s->confirmed, 1, "confirmed");
}

static void test_subscriptions_are_confirmed_and_come_back(void **state)
{
    struct harness *h = *state;
    struct redis *r = harness_connect(h, REDIS_SUBSCRIBE);
    struct heard a, b;
    listen_on(h, r, "a", &a);
    listen_on(h, r, "b", &b);
    assert_int_equal(harness_int(h, "PUBLISH a %b", "x\0y", (size_t)3), 1);
    harness_wait_count(h, &a.messages, 1, "a message");
    assert_string_equal(a.last, "x");
    assert_int_equal(b.messages, 0);
    harness_do(h, "CLIENT KILL TYPE pubsub");
    harness_wait_count(h, &a.confirmed, 2, "a is subscribed again");
    harness_wait_count(h, &b.confirmed, 2, "b is subscribed again");
    redis_unsubscribe(a.sub);
    harness_redis_kill(h);
    harness_redis_launch(h);
    harness_wait_count(h, &b.confirmed, 3, "b is subscribed at the new server");
    assert_int_equal(a.confirmed, 2);
    assert_int_equal(harness_int(h, "PUBLISH a %s", "nobody"), 0);
    assert_int_equal(harness_int(h, "PUBLISH b %s", "hello"), 1);
    harness_wait_count(h, &b.messages, 1, "a message");
    assert_string_equal(b.last, "hello");
    assert_int_equal(a.messages, 1);
    redis_unsubscribe(b.sub);
    redis_unsubscribe(NULL);
    redis_free(r);
}

static void test_a_subscription_made_while_redis_is_away(void **state)
{
    struct harness *h = *state;
    struct redis *r = harness_connect(h, REDIS_SUBSCRIBE);
    struct heard a = {.r = r};
    harness_redis_kill(h);
    harness_wait_up(h, r, false);
    a.sub = redis_subscribe(r, STR("a"), on_heard, &a);
    harness_redis_launch(h);
    harness_wait_count(h, &a.confirmed, 1, "confirmed");
    redis_unsubscribe(a.sub);
    redis_free(r);
}

static void test_unsubscribing_from_inside_and_at_once_again(void **state)
{
    struct harness *h = *state;
    struct redis *r = harness_connect(h, REDIS_SUBSCRIBE);
    struct heard a, same, anew = {.r = r};
    listen_on(h, r, "a", &a);
    listen_on(h, r, "a", &same); /* two on one channel */
    a.end_on_message = true;
    harness_int(h, "PUBLISH a %s", "1");
    harness_wait_count(h, &same.messages, 1, "the message");
    assert_int_equal(a.messages, 1);
    harness_int(h, "PUBLISH a %s", "2"); /* the other one still listens */
    harness_wait_count(h, &same.messages, 2, "the second message");
    assert_int_equal(a.messages, 1);
    redis_unsubscribe(same.sub);
    anew.sub = redis_subscribe(r, STR("a"), on_heard, &anew);
    harness_wait_count(h, &anew.confirmed, 1, "confirmed");
    harness_int(h, "PUBLISH a %s", "3");
    harness_wait_count(h, &anew.messages, 1, "the third message");
    assert_int_equal(same.messages, 2);
    redis_unsubscribe(anew.sub);
    redis_free(r);
}

static void test_subscribing_many_from_inside(void **state)
{
    struct harness *h = *state;
    struct redis *r = harness_connect(h, REDIS_SUBSCRIBE);
    struct heard *s = calloc(3, sizeof *s);
    for (int i = 0; i < 3; i++)
        listen_on(h, r, "a", &s[i]);
    s[1].grow = 400; /* the table would grow under the loop over its three listeners */
    harness_int(h, "PUBLISH a %s", "go");
    for (int i = 0; i < 3; i++)
        harness_wait_count(h, &s[i].messages, 1, "each hears it");
    harness_wait_count(h, &s[1].confirmed, 401, "all are confirmed");
    harness_int(h, "PUBLISH grown-399 %s", "last");
    harness_wait_count(h, &s[1].messages, 2, "the last one hears");
    for (int i = 0; i < 3; i++)
        assert_int_equal(s[i].messages, i == 1 ? 2 : 1);
    for (int i = 0; i < 400; i += 2)
        redis_unsubscribe(s[1].grown[i]);
    redis_free(r); /* ends the others */
    free(s);
}

static void on_heard_end(void *ctx, bool confirmed, struct str message)
{
    (void)confirmed;
    (void)message;
    end_here(ctx);
}

static void test_ending_it_from_inside_a_subscription(void **state)
{
    struct harness *h = *state;
    struct ending e = {.r = harness_connect(h, REDIS_SUBSCRIBE)};
    assert_non_null(redis_subscribe(e.r, STR("a"), on_heard_end, &e));
    assert_non_null(redis_subscribe(e.r, STR("a"), on_heard_end, &e));
    harness_wait_count(h, &e.calls, 1, "confirmed");
    harness_turn(h);
    assert_int_equal(e.calls, 1);
}

/* ---- addresses and credentials ---- */

static void test_tcp_with_name_password_database_and_client_name(void **state)
{
    (void)state;
    struct harness *h = harness_start(&(struct harness_options){.tcp = true, .password = "p w"});
    char url[128];
    struct asked a;
    snprintf(url, sizeof url, "redis://default:p%%20w@localhost:%d/3",
             h->port); /* localhost: perhaps ::1 first, where nobody listens */
    struct redis *r = watched(h, url, 0);
    harness_wait_up(h, r, true);
    ask(r, "SET where here", &a);
    harness_settle(h, r);
    assert_answered(&a, 1, ERR_OK);
    assert_int_equal(harness_int(h, "EXISTS where"), 0);
    harness_do(h, "SELECT 3");
    assert_string_equal(harness_get(h, "where"), "here");
    assert_non_null(strstr(harness_do(h, "CLIENT LIST")->str, "name=watched"));
    redis_free(r);
    harness_stop(h);
}

static bool was_refused(void *ctx)
{
    return strstr(harness_do(ctx, "INFO errorstats")->str, "errorstat_WRONGPASS:count=2") != NULL;
}

static void test_a_wrong_password_is_tried_again_until_it_is_right(void **state)
{
    (void)state;
    struct harness *h = harness_start(&(struct harness_options){.password = "right"});
    struct redis_options o = {
        .loop = h->loop, .kind = REDIS_COMMANDS, .url = h->url, .password = "later", .name = "wrong"};
    struct redis *r = redis_new(&o);
    harness_wait(h, was_refused, h, "refused twice");
    assert_false(redis_is_up(r));
    harness_do(h, "CONFIG SET requirepass later");
    harness_wait_up(h, r, true);
    redis_free(r);
    harness_stop(h);
}

static struct redis *as(struct harness *h, const char *url, const char *user, const char *password)
{
    struct redis_options o = {
        .loop = h->loop, .kind = REDIS_COMMANDS, .url = url, .user = user, .password = password, .name = "named"};
    struct redis *r = redis_new(&o);
    assert_non_null(r);
    return r;
}

static const char *name_of(struct harness *h, struct redis *r)
{
    struct asked a;
    harness_wait_up(h, r, true);
    ask(r, "ACL WHOAMI", &a);
    harness_settle(h, r);
    redis_free(r);
    return harness_printf(h, "%s", a.text);
}

static void test_users_of_redis(void **state)
{
    (void)state;
    struct harness *h = harness_start(&(struct harness_options){.tcp = true, .password = "of-default"});
    harness_do(h, "ACL SETUSER one on >of-one ~* &* +@all");
    char of_url[128], only_password[128];
    snprintf(of_url, sizeof of_url, "redis://one:of-one@127.0.0.1:%d", h->port);
    snprintf(only_password, sizeof only_password, "redis://:of-default@127.0.0.1:%d", h->port);
    assert_string_equal(name_of(h, as(h, h->url, "one", "of-one")), "one"); /* on a socket, whose URL can't say it */
    assert_string_equal(name_of(h, as(h, h->url, NULL, "of-default")), "default");
    assert_string_equal(name_of(h, as(h, h->url, "", "of-default")), "default");
    assert_string_equal(name_of(h, as(h, of_url, "two", "of-two")), "one"); /* the URL's user goes with its password */
    assert_string_equal(name_of(h, as(h, only_password, "one", "of-one")), "default");
    harness_stop(h);
}

static void test_another_users_password_lets_nobody_in(void **state)
{
    (void)state;
    struct harness *h = harness_start(&(struct harness_options){.password = "of-default"});
    harness_do(h, "ACL SETUSER one on >of-one ~* &* +@all");
    struct redis *r = as(h, h->url, "one", "of-default");
    harness_wait(h, was_refused, h, "refused twice");
    assert_false(redis_is_up(r));
    redis_free(r);
    harness_stop(h);
}

static void test_what_is_acknowledged_survives_a_kill_with_aof(void **state)
{
    (void)state;
    struct harness *h = harness_start(&(struct harness_options){.aof = true});
    struct asked a;
    ask(h->redis, "SET kept yes", &a);
    harness_settle(h, h->redis);
    harness_redis_kill(h);
    harness_redis_launch(h);
    assert_string_equal(harness_get(h, "kept"), "yes");
    harness_stop(h);
}

static void test_urls(void **state)
{
    (void)state;
    char long_path[130] = "unix:///"; /* longer than a socket's address */
    memset(long_path + 8, 'a', sizeof long_path - 9);
    long_path[sizeof long_path - 1] = 0;
    static const char *const good[] = {
        "redis://example.com",          "redis://127.0.0.1:6380/2",          "redis://[::1]:6379",
        "redis://:secret@example.com/", "redis://user:p%40ss@example.com:1", "redis://user:a/b@example.com",
        "unix:///run/redis.sock",       "unix:///run/redis.sock?db=3"};
    const char *const bad[] = {"",
                               "http://example.com",
                               "redis://",
                               "redis://example.com:0",
                               "redis://example.com:70000",
                               "redis://example.com:6379x",
                               "redis://example.com/x",
                               "redis://[::1",
                               "redis://[::1]x",
                               "redis://user@example.com",
                               "redis://user:%zz@example.com",
                               "redis://user:%00@example.com",
                               "unix://relative",
                               "unix://",
                               "unix:///",
                               "unix:///a?db=-1",
                               "unix:///a?x=1",
                               long_path};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        const char *why = NULL;
        harness_assert_err(redis_url_check(good[i], &why), ERR_OK);
        assert_null(why);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *why = NULL;
        if (redis_url_check(bad[i], &why) != ERR_CONFIG)
            fail_msg("taken: %s", bad[i]);
        assert_non_null(why);
    }
    assert_null(redis_new(&(struct redis_options){.url = "nonsense", .name = "x"}));
}

static void test_reading_replies_of_any_shape(void **state)
{
    struct harness *h = *state;
    static const struct {
        const char *text;
        int64_t value;
    } numbers[] = {{"12", 12},
                   {"-7", -7},
                   {"9223372036854775807", INT64_MAX},
                   {"-9223372036854775808", INT64_MIN},
                   {"9223372036854775808", 5},
                   {"99999999999999999999", 5},
                   {"", 5},
                   {" 1", 5},
                   {"+1", 5},
                   {"1x", 5},
                   {"-", 5},
                   {"1.5", 5},
                   {"000000000000000000000000001", 5}};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        assert_int_equal(redis_int(harness_do(h, "ECHO %s", numbers[i].text), 5), numbers[i].value);
    assert_int_equal(redis_int(NULL, 5), 5);
    assert_int_equal(redis_str(NULL).len, 0);
    assert_null(redis_at(NULL, 0));
    assert_null(redis_field(NULL, "x"));
    harness_do(h, "HSET hash a 1 b %b", "x\0y", (size_t)3);
    const redisReply *flat = harness_do(h, "HGETALL hash");
    assert_int_equal(redis_int(redis_field(flat, "a"), -1), 1);
    assert_int_equal(redis_str(redis_field(flat, "b")).len, 3);
    assert_null(redis_field(flat, "1")); /* a value is no field */
    assert_null(redis_field(flat, "c"));
    assert_null(redis_at(flat, 4));
    assert_int_equal(redis_str(flat).len, 0);
    assert_int_equal(redis_int(flat, 5), 5);
    assert_null(redis_at(redis_at(flat, 0), 0));
}

#define T(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_arguments_are_bytes),
        T(test_answers_come_in_order),
        T(test_what_the_socket_does_not_take_at_once),
        T(test_commands_of_a_turn_leave_in_one_write),
        T(test_error_replies),
        T(test_too_many_pending),
        T(test_exactly_one_answer_when_redis_is_killed),
        T(test_exactly_one_answer_when_the_client_is_killed),
        T(test_a_late_answer_cuts_the_connection),
        T(test_an_answer_that_came_while_we_stood_still_counts),
        T(test_blocking_calls_have_their_own_time),
        T(test_backoff_grows_to_two_seconds),
        T(test_a_server_that_says_nothing_is_given_up),
        T(test_bad_greetings_are_retried),
        T(test_bad_answers_end_the_connection),
        T(test_an_answer_in_single_bytes),
        T(test_ending_it_from_the_callback_of_an_answer),
        T(test_ending_it_from_the_callback_of_a_lost_request),
        T(test_ending_it_from_the_callback_of_a_refused_request),
        T(test_ending_it_when_it_came_up_and_when_it_was_lost),
        T(test_ending_it_answers_everything_at_once),
        T(test_asking_again_from_inside_a_refusal),
        T(test_subscriptions_are_confirmed_and_come_back),
        T(test_a_subscription_made_while_redis_is_away),
        T(test_unsubscribing_from_inside_and_at_once_again),
        T(test_subscribing_many_from_inside),
        T(test_ending_it_from_inside_a_subscription),
        T(test_tcp_with_name_password_database_and_client_name),
        T(test_a_wrong_password_is_tried_again_until_it_is_right),
        T(test_users_of_redis),
        T(test_another_users_password_lets_nobody_in),
        T(test_what_is_acknowledged_survives_a_kill_with_aof),
        T(test_urls),
        T(test_reading_replies_of_any_shape),
    };
    return cmocka_run_group_tests(tests, harness_group_start_plain, harness_group_stop);
}
