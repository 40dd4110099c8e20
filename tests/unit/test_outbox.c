/* An attempt's outbox against a Redis of the test's own: what leaves when, what goes together, and that nothing is lost, doubled or out of order when answers are. */
#include "runner/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"

enum { ENTRIES_MAX = 256, COMMANDS_MAX = 4096, EPOCH = 5 };

/* ---- a Redis with one stream ---- */

struct entry {
    long long epoch, seq, first, n;
    struct strbuf lines;
    char mark[48]; /* "" for none */
};

struct fake {
    struct loop *loop;
    uv_pipe_t server, *client;
    redisReader *reader;
    struct entry entries[ENTRIES_MAX];
    size_t count;
    char commands[COMMANDS_MAX]; /* first letters of what came: M X P E (EXEC) R (XRANGE) S (a script) */
    size_t command_count;
    struct strbuf out;
    bool full, gone, no_transactions;
    bool hold;  /* answers wait in out */
    bool drops; /* what is answered is lost with the connection */
    bool multi, aborted;
    redisReply *queued[64];
    size_t queued_count;
};

struct fixture {
    struct fake redis;
    struct config config;
    struct worker worker;
    struct worker_shard shard;
    struct outbox outbox;
    struct id run;
    char folder[64], path[96], url[128];
    int fenced, drained, stops, fulls, storage_full, too_much;
    int64_t stored_out;
    bool paused;
};

static void on_sent(uv_write_t *w, int status)
{
    (void)status;
    free(w->data);
    free(w);
}

static void on_client_closed(uv_handle_t *h)
{
    free(h);
}

static void drop(struct fake *f)
{
    if (f->client)
        uv_close((uv_handle_t *)f->client, on_client_closed);
    f->client = NULL;
    f->multi = f->aborted = false;
    while (f->queued_count > 0)
        freeReplyObject(f->queued[--f->queued_count]);
}

static void answer_now(struct fake *f)
{
    if (f->out.len == 0 || !f->client)
        return;
    uv_write_t *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->data = malloc(f->out.len);
    assert_non_null(w->data);
    memcpy(w->data, f->out.ptr, f->out.len);
    uv_buf_t b = uv_buf_init(w->data, (unsigned)f->out.len);
    assert_int_equal(uv_write(w, (uv_stream_t *)f->client, &b, 1, on_sent), 0);
    strbuf_reset(&f->out);
}

static struct str arg(const redisReply *c, size_t i)
{
    return redis_str(redis_at(c, i));
}

static struct str field(const redisReply *c, const char *name)
{
    for (size_t i = 4; i + 1 < c->elements; i += 2)
        if (str_eqz(arg(c, i), name))
            return arg(c, i + 1);
    return STR("");
}

static void bulk(struct fake *f, struct str s)
{
    strbuf_addf(&f->out, "$%zu\r\n", s.len);
    strbuf_add(&f->out, s);
    strbuf_addz(&f->out, "\r\n");
}

static void xadd(struct fake *f, const redisReply *c)
{
    long long epoch = 0, seq = 0;
    assert_true(str_eqz(arg(c, 2), "NOMKSTREAM"));
    assert_int_equal(sscanf(arg(c, 3).ptr, "%lld-%lld", &epoch, &seq), 2); /* NOLINT(cert-err34-c) */
    const struct entry *last = f->count ? &f->entries[f->count - 1] : NULL;
    if (f->gone) {
        strbuf_addz(&f->out, "$-1\r\n");
        return;
    }
    if (last && (epoch < last->epoch || (epoch == last->epoch && seq <= last->seq))) {
        strbuf_addz(&f->out, "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n");
        return;
    }
    struct entry *e = &f->entries[f->count++];
    assert_true(f->count < ENTRIES_MAX);
    long long first, n;                                                              /* lua/include/stream.lua, `h` */
    assert_int_equal(sscanf(field(c, "h").ptr, "%lld,%*d,%*d,%lld", &first, &n), 2); /* NOLINT(cert-err34-c) */
    *e = (struct entry){.epoch = epoch, .seq = seq, .first = first, .n = n};
    strbuf_init(&e->lines, 1 << 20);
    strbuf_add(&e->lines, field(c, "b"));
    snprintf(e->mark, sizeof e->mark, "%.*s", STR_ARG(field(c, "o")));
    bulk(f, arg(c, 3));
}

static void xrange(struct fake *f, const redisReply *c)
{
    long long epoch = 0, seq = 0;
    assert_int_equal(sscanf(arg(c, 2).ptr, "%lld-%lld", &epoch, &seq), 2); /* NOLINT(cert-err34-c) */
    for (size_t i = 0; i < f->count; i++)
        if (f->entries[i].epoch == epoch && f->entries[i].seq == seq) {
            strbuf_addz(&f->out, "*1\r\n*2\r\n");
            bulk(f, arg(c, 2));
            strbuf_addz(&f->out, "*2\r\n");
            bulk(f, STR("b"));
            bulk(f, strbuf_str(&f->entries[i].lines));
            return;
        }
    strbuf_addz(&f->out, "*0\r\n");
}

static void execute(struct fake *f, const redisReply *c)
{
    struct str name = arg(c, 0);
    if (str_eqz(name, "XADD"))
        xadd(f, c);
    else if (str_eqz(name, "PUBLISH"))
        strbuf_addz(&f->out, ":0\r\n");
    else if (str_eqz(name, "XRANGE"))
        xrange(f, c);
    else if (str_eqz(name, "INFO"))
        bulk(f, STR("run_id:0123456789012345678901234567890123456789\r\n"));
    else if (str_eqz(name, "PING") || str_eqz(name, "CLIENT"))
        strbuf_addz(&f->out, "+OK\r\n");
    else
        strbuf_addz(&f->out, "*2\r\n$2\r\nok\r\n:0\r\n"); /* `started` */
}

static void exec(struct fake *f)
{
    if (f->aborted)
        strbuf_addz(&f->out, "-EXECABORT Transaction discarded because of previous errors.\r\n");
    else
        strbuf_addf(&f->out, "*%zu\r\n", f->queued_count);
    for (size_t i = 0; i < f->queued_count; i++) {
        if (!f->aborted)
            execute(f, f->queued[i]);
        freeReplyObject(f->queued[i]);
    }
    f->queued_count = 0;
    f->multi = f->aborted = false;
}

/* Takes the command. */
static void on_command(struct fake *f, redisReply *c)
{
    struct str name = arg(c, 0);
    bool add = str_eqz(name, "XADD"), end = str_eqz(name, "EXEC"), keep = false;
    if (!str_eqz(name, "INFO") && !str_eqz(name, "PING") && !str_eqz(name, "CLIENT"))
        f->commands[f->command_count++] = str_eqz(name, "XRANGE") ? 'R'
                                          : str_starts(name, STR("EVALSHA")) || str_starts(name, STR("FCALL"))
                                              ? 'S'
                                              : name.ptr[0];
    if (str_eqz(name, "MULTI")) {
        f->multi = true;
        strbuf_addz(&f->out, "+OK\r\n");
    } else if (add && f->full) {
        f->aborted = f->multi;
        strbuf_addz(&f->out, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    } else if (end) {
        exec(f);
    } else if (f->multi) {
        f->queued[f->queued_count++] = c;
        keep = true;
        strbuf_addz(&f->out, "+QUEUED\r\n");
    } else {
        execute(f, c);
    }
    if (!keep)
        freeReplyObject(c);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *b)
{
    static char bytes[65536];
    (void)h;
    (void)size;
    *b = uv_buf_init(bytes, sizeof bytes);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct fake *f = s->data;
    if ((uv_pipe_t *)s != f->client)
        return;
    if (n < 0) {
        drop(f);
        return;
    }
    redisReaderFeed(f->reader, b->base, (size_t)n);
    for (void *c; redisReaderGetReply(f->reader, &c) == REDIS_OK && c;)
        on_command(f, c);
    if (f->drops && f->command_count > 0 &&
        f->commands[f->command_count - 1] == 'E') { /* executed, but nobody hears of it */
        f->drops = false;
        strbuf_reset(&f->out);
        drop(f);
    } else if (!f->hold) {
        answer_now(f);
    }
}

static void on_connection(uv_stream_t *s, int status)
{
    struct fake *f = s->data;
    uv_pipe_t *c = calloc(1, sizeof *c);
    assert_int_equal(status, 0);
    assert_non_null(c);
    drop(f);
    strbuf_reset(&f->out);
    redisReaderFree(f->reader);
    f->reader = redisReaderCreate();
    uv_pipe_init(loop_uv(f->loop), c, 0);
    c->data = f;
    assert_int_equal(uv_accept(s, (uv_stream_t *)c), 0);
    f->client = c;
    uv_read_start((uv_stream_t *)c, on_alloc, on_read);
}

/* ---- the outbox's owner ---- */

static void on_fenced(void *ctx)
{
    ((struct fixture *)ctx)->fenced++;
}

static void on_full(void *ctx, bool full)
{
    struct fixture *x = ctx;
    x->fulls += full;
    x->paused = full;
}

static void on_drained(void *ctx)
{
    ((struct fixture *)ctx)->drained++;
}

static void on_stop(void *ctx)
{
    ((struct fixture *)ctx)->stops++;
}

static void on_too_much(void *ctx)
{
    ((struct fixture *)ctx)->too_much++;
}

static void on_storage_full(void *ctx)
{
    ((struct fixture *)ctx)->storage_full++;
}

static void on_stored(void *ctx, int64_t out, int64_t err)
{
    (void)err;
    ((struct fixture *)ctx)->stored_out = out;
}

static const struct outbox_fns fns = {on_fenced, on_full, on_drained, on_stop, on_too_much, on_storage_full, on_stored};

/* ---- around them ---- */

static void on_limit(void *ctx)
{
    (void)ctx;
    fail_msg("it did not come");
}

/* Turns of the loop until it is so. */
#define UNTIL(x, condition)                                                                                            \
    do {                                                                                                               \
        struct loop_timer limit_;                                                                                      \
        loop_timer_init(&limit_, (x)->worker.loop, on_limit, NULL);                                                    \
        loop_timer_set(&limit_, 5000);                                                                                 \
        while (!(condition))                                                                                           \
            uv_run(loop_uv((x)->worker.loop), UV_RUN_ONCE);                                                            \
        loop_timer_stop(&limit_);                                                                                      \
    } while (0)

/* As worker_shard.c does. */
static void on_state(void *ctx, struct redis *r, bool up)
{
    struct fixture *x = ctx;
    (void)r;
    x->shard.fresh = up;
    if (up && x->outbox.fns)
        outbox_reconnected(&x->outbox);
}

static int set_up(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    assert_non_null(x);
    struct fake *f = &x->redis;
    x->config = (struct config){.output_buffer = 1 << 20,
                                .full_ms = 60000,
                                .run_events_max = 1000000,
                                .run_bytes_max = 1 << 30,
                                .lease_ms = 60000};
    x->worker = (struct worker){.config = &x->config, .loop = f->loop = loop_new()};
    snprintf(x->folder, sizeof x->folder, "/tmp/errand-outbox-XXXXXX");
    assert_non_null(mkdtemp(x->folder));
    snprintf(x->path, sizeof x->path, "%s/redis", x->folder);
    snprintf(x->url, sizeof x->url, "unix://%s", x->path);
    strbuf_init(&f->out, 64 << 20);
    f->server.data = f;
    uv_pipe_init(loop_uv(f->loop), &f->server, 0);
    assert_int_equal(uv_pipe_bind(&f->server, x->path), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->server, 4, on_connection), 0);
    struct redis_options o = {
        .loop = f->loop, .kind = REDIS_COMMANDS, .url = x->url, .name = "test", .on_state = on_state, .ctx = x};
    x->shard = (struct worker_shard){
        .worker = &x->worker, .prefix = keys_shard(STR("errand"), 0), .transactions = true, .beat_ms = clock_mono_ms()};
    x->shard.commands = redis_new(&o);
    assert_non_null(x->shard.commands);
    x->run = id_new();
    UNTIL(x, x->shard.fresh);
    outbox_init(&x->outbox, &x->shard, &x->run, EPOCH, 1, 0, 0, 0, &fns, x);
    *state = x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    struct fake *f = &x->redis;
    outbox_abandon(&x->outbox);
    redis_free(x->shard.commands);
    drop(f);
    uv_close((uv_handle_t *)&f->server, NULL);
    loop_free(x->worker.loop);
    outbox_done(&x->outbox);
    for (size_t i = 0; i < f->count; i++)
        strbuf_done(&f->entries[i].lines);
    redisReaderFree(f->reader);
    strbuf_done(&f->out);
    unlink(x->path);
    rmdir(x->folder);
    free(x);
    return 0;
}

static void add(struct fixture *x, int n, size_t size)
{
    char data[4096];
    for (int i = 0; i < n; i++) {
        int len = snprintf(data, sizeof data, "{\"text\":\"%0*d\"}", (int)size, i);
        outbox_add(&x->outbox, EVENT_NOTIFICATION, (struct str){data, (size_t)len});
    }
}

/* Every event is stored once, in order. */
static void check_stored(const struct fixture *x, long long events)
{
    long long next = 1;
    for (size_t i = 0; i < x->redis.count; i++) {
        const struct entry *e = &x->redis.entries[i];
        assert_int_equal(e->first, next);
        assert_int_equal(e->seq, e->first + e->n - 1);
        long long lines = 1;
        for (size_t k = 0; k < e->lines.len; k++)
            lines += e->lines.ptr[k] == '\n';
        assert_int_equal(lines, e->n);
        next += e->n;
    }
    assert_int_equal(next - 1, events);
}

static const char *commands(struct fixture *x)
{
    x->redis.commands[x->redis.command_count] = 0;
    return x->redis.commands;
}

/* ---- what leaves when ---- */

static void test_the_first_leaves_at_once(void **state)
{
    struct fixture *x = *state;
    int64_t before = clock_mono_ms();
    add(x, 1, 10);
    UNTIL(x, outbox_empty(&x->outbox));
    assert_true(clock_mono_ms() - before < 9 || getenv("ASAN_OPTIONS")); /* before the time in which events gather */
    assert_string_equal(commands(x), "XP");
    check_stored(x, 1);
    assert_int_equal(x->drained, 1);
}

static void test_what_comes_meanwhile_gathers(void **state)
{
    struct fixture *x = *state;
    x->redis.hold = true;
    add(x, 1, 10);
    UNTIL(x, x->redis.count == 1);
    add(x, 100, 10);
    x->redis.hold = false;
    answer_now(&x->redis);
    UNTIL(x, outbox_empty(&x->outbox));
    assert_string_equal(commands(x), "XPXP");
    check_stored(x, 101);
}

static void test_started_holds_nothing_up(void **state)
{
    struct fixture *x = *state;
    const char *sha = "0123456789012345678901234567890123456789012345678901234567890123";
    x->redis.hold = true;
    outbox_started(&x->outbox, 1, STR("{}"), str_of(sha), STR(""));
    UNTIL(x, x->redis.command_count == 1);
    add(x, 1, 10);
    x->redis.hold = false;
    answer_now(&x->redis);
    int64_t before = clock_mono_ms();
    UNTIL(x, x->redis.count == 1);
    assert_true(clock_mono_ms() - before < 9 || getenv("ASAN_OPTIONS"));
    assert_string_equal(commands(x), "SXP");
}

/* ---- what goes together ---- */

static void test_batches_that_wait_are_one_transaction(void **state)
{
    struct fixture *x = *state;
    add(x, 256 * 5 + 3, 10);
    UNTIL(x, outbox_empty(&x->outbox));
    check_stored(x, 256 * 5 + 3);
    assert_int_equal(x->redis.count, 6);
    assert_non_null(strstr(commands(x), "MXX"));
    assert_null(strstr(commands(x), "PXP")); /* one wake for all of them */
    assert_null(strchr(commands(x), 'R'));   /* each answer was taken for what it is */
}

static void test_a_group_is_bounded(void **state)
{
    struct fixture *x = *state;
    x->config.output_buffer = 4 << 20;
    add(x, 600, 4000);
    UNTIL(x, outbox_empty(&x->outbox));
    check_stored(x, 600);
    assert_null(strstr(commands(x), "XXXXXXXXX")); /* of 64 KiB each, in 512 */
    assert_non_null(strstr(commands(x), "MXXXXXXX"));
}

static void test_without_transactions_they_go_one_by_one(void **state)
{
    struct fixture *x = *state;
    x->shard.transactions = false;
    add(x, 1000, 10);
    UNTIL(x, outbox_empty(&x->outbox));
    check_stored(x, 1000);
    assert_string_equal(commands(x), "XPXPXPXP");
}

/* ---- answers that are none ---- */

static void test_a_full_redis_breaks_no_order(void **state)
{
    struct fixture *x = *state;
    x->redis.full = true;
    add(x, 1000, 10);
    UNTIL(x, x->redis.command_count >= 6);
    UNTIL(x, x->outbox.full_since_ms > 0);
    assert_int_equal(x->redis.count, 0);
    x->redis.full = false;
    UNTIL(x, outbox_empty(&x->outbox));
    check_stored(x, 1000);
    assert_int_equal(x->storage_full, 0);
}

static void test_redis_stays_full(void **state)
{
    struct fixture *x = *state;
    x->config.full_ms = 300;
    x->redis.full = true;
    add(x, 1000, 10);
    UNTIL(x, x->storage_full);
    assert_true(x->outbox.over);
    assert_int_equal(x->redis.count, 0);
}

static void test_a_lost_answer_doubles_nothing(void **state)
{
    struct fixture *x = *state;
    x->redis.drops = true;
    add(x, 1000, 10);
    UNTIL(x, x->redis.count == 4);
    add(x, 500, 10);
    UNTIL(x, outbox_empty(&x->outbox) && x->shard.fresh);
    check_stored(x, 1500);
    assert_non_null(strchr(commands(x), 'R')); /* it was asked what is there */
    assert_int_equal(x->fenced, 0);
}

static void test_a_newer_attempt_fences(void **state)
{
    struct fixture *x = *state;
    struct entry *other = &x->redis.entries[x->redis.count++];
    *other = (struct entry){.epoch = EPOCH + 1, .seq = 9, .first = 9, .n = 1};
    add(x, 1000, 10);
    UNTIL(x, x->fenced);
    assert_int_equal(x->redis.count, 1);
    add(x, 1, 10);
    assert_true(x->outbox.over && x->fenced == 1);
}

static void test_a_run_that_is_gone_fences(void **state)
{
    struct fixture *x = *state;
    x->redis.gone = true;
    add(x, 1000, 10);
    UNTIL(x, x->fenced);
    assert_int_equal(x->fenced, 1);
}

static void test_it_asks_for_a_pause(void **state)
{
    struct fixture *x = *state;
    x->redis.hold = true;
    add(x, 400, 4000);
    assert_true(x->paused);
    x->redis.hold = false;
    UNTIL(x, outbox_empty(&x->outbox) || (answer_now(&x->redis), false));
    assert_true(!x->paused && x->fulls == 1);
    check_stored(x, 400);
}

/* ---- marks ---- */

static void test_a_mark_speaks_of_what_came_before_it(void **state)
{
    struct fixture *x = *state;
    x->redis.hold = true;
    add(x, 1, 10); /* leaves; what follows waits behind it */
    UNTIL(x, x->redis.count == 1);
    add(x, 1, 10);
    outbox_mark(&x->outbox, 100, 7);
    x->redis.hold = false;
    answer_now(&x->redis);
    UNTIL(x, outbox_empty(&x->outbox));
    assert_string_equal(x->redis.entries[0].mark, "");
    assert_string_equal(x->redis.entries[1].mark, "100 7");
    assert_int_equal(x->stored_out, 100);
}

/* A successor would begin behind an event that is not stored with it, or print again one that is. */
static void test_an_event_behind_a_mark_takes_it_away(void **state)
{
    struct fixture *x = *state;
    x->redis.hold = true;
    add(x, 1, 10);
    UNTIL(x, x->redis.count == 1);
    add(x, 1, 10);
    outbox_mark(&x->outbox, 100, 7);
    add(x, 1, 10); /* of the same batch */
    x->redis.hold = false;
    answer_now(&x->redis);
    UNTIL(x, outbox_empty(&x->outbox));
    check_stored(x, 3);
    assert_int_equal(x->redis.count, 2);
    assert_string_equal(x->redis.entries[1].mark, "");
    assert_int_equal(x->stored_out, 0);
    /* nor does it hold for what comes aside */
    outbox_add_aside(&x->outbox, EVENT_NOTIFICATION, STR("{}"));
    UNTIL(x, outbox_empty(&x->outbox));
    assert_string_equal(x->redis.entries[2].mark, "");
}

static void test_what_comes_aside_keeps_the_mark(void **state)
{
    struct fixture *x = *state;
    x->redis.hold = true;
    add(x, 1, 10);
    UNTIL(x, x->redis.count == 1);
    add(x, 1, 10);
    outbox_mark(&x->outbox, 100, 7);
    outbox_add_aside(&x->outbox, EVENT_NOTIFICATION, STR("{}"));
    x->redis.hold = false;
    answer_now(&x->redis);
    UNTIL(x, outbox_empty(&x->outbox));
    assert_string_equal(x->redis.entries[1].mark, "100 7");
}

/* A batch that is under way is not changed any more, also when others are before it in the same transaction. */
static void test_a_mark_changes_nothing_under_way(void **state)
{
    struct fixture *x = *state;
    x->redis.hold = true;
    add(x, 256 * 3, 10);
    UNTIL(x, x->redis.command_count >= 6); /* M X X X P E */
    outbox_mark(&x->outbox, 100, 7);
    x->redis.hold = false;
    answer_now(&x->redis);
    UNTIL(x, outbox_empty(&x->outbox));
    check_stored(x, 256 * 3);
    for (size_t i = 0; i < x->redis.count; i++)
        assert_string_equal(x->redis.entries[i].mark, "");
    assert_int_equal(x->stored_out, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)
    const struct CMUnitTest tests[] = {TEST(the_first_leaves_at_once),
                                       TEST(what_comes_meanwhile_gathers),
                                       TEST(started_holds_nothing_up),
                                       TEST(batches_that_wait_are_one_transaction),
                                       TEST(a_group_is_bounded),
                                       TEST(without_transactions_they_go_one_by_one),
                                       TEST(a_full_redis_breaks_no_order),
                                       TEST(redis_stays_full),
                                       TEST(a_lost_answer_doubles_nothing),
                                       TEST(a_newer_attempt_fences),
                                       TEST(a_run_that_is_gone_fences),
                                       TEST(it_asks_for_a_pause),
                                       TEST(a_mark_speaks_of_what_came_before_it),
                                       TEST(an_event_behind_a_mark_takes_it_away),
                                       TEST(what_comes_aside_keeps_the_mark),
                                       TEST(a_mark_changes_nothing_under_way)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
