/* A closed loop: each connection sends its next request when its last one was answered. */
#include "cli/bench.h"

enum { FAILED_IN_ROW_MAX = 200, DRAIN_MS = 5000 };

static bool wants_more(const struct bench_loop *p)
{
    if (!p->on)
        return false;
    return p->limit > 0 ? p->sent < p->limit : load_now_us() < p->until_us;
}

static void send_next(struct bench_loop *p, struct load_conn *c)
{
    struct str request;
    if (wants_more(p) && p->next(p->ctx, c, &request)) {
        p->sent++;
        load_send(c, request);
    } else if (p->on && p->sent == p->answered) {
        p->on = false;
        load_stop(p->b->load);
    }
}

static void on_ready(void *ctx, struct load_conn *c)
{
    struct bench_loop *p = ctx;
    if (p->on)
        send_next(p, c);
    else if (p->opening > 0 && --p->opening == 0)
        load_stop(p->b->load);
}

static void count_failure(struct bench_loop *p)
{
    p->failed++;
    if (++p->failed_in_row >= FAILED_IN_ROW_MAX) {
        p->on = false;
        load_stop(p->b->load);
    }
}

static void on_answer(void *ctx, struct load_conn *c, int status, struct str body)
{
    struct bench_loop *p = ctx;
    char problem[300];
    int64_t worth = p->worth ? p->worth(p->ctx, c, status, body) : status >= 200 && status < 300 ? 1 : -1;
    p->answered++;
    if (worth < 0) {
        bench_problem(problem, sizeof problem, status, body);
        bench_failed(p->r, "%s", problem);
        count_failure(p);
        return;
    }
    p->failed_in_row = 0;
    p->operations += worth;
    if (p->counts && !p->after)
        histogram_add(&p->r->latency, load_now_us() - c->asked_us);
}

/* One that was idle is opened again without a word: a node may end those. */
static void on_gone(void *ctx, struct load_conn *c, const char *why)
{
    struct bench_loop *p = ctx;
    if (c->lost_in != LOAD_READY) {
        bench_failed(p->r, "a connection broke: %s", why ? why : "an answer had no end");
        count_failure(p);
    }
    if (c->lost_in >= LOAD_ASKED)
        p->answered++; /* what was under way there is lost */
    if (p->failed_in_row < FAILED_IN_ROW_MAX)
        load_open(c);
}

static const struct load_fns loop_fns = {.ready = on_ready, .answer = on_answer, .gone = on_gone};

static int end_of(struct bench_loop *p, enum load_end end)
{
    if (p->failed_in_row >= FAILED_IN_ROW_MAX) {
        cli_say("given up after %d failures in a row: %s", FAILED_IN_ROW_MAX, p->r->last_failure);
        return EXIT_UNREACHABLE;
    }
    return end == LOAD_STOPPED ? EXIT_OK : bench_ended(p->b, end);
}

static int open_all(struct bench_loop *p, size_t count)
{
    struct load *l = p->b->load;
    size_t files = 0;
    if (load_connections(l, count, &files) != ERR_OK) {
        cli_say("%zu connections want more open files than this process may have (%zu)", count, files);
        return EXIT_USAGE;
    }
    load_set(l, &loop_fns, p);
    load_pace(l, false);
    p->opening = (int64_t)count;
    p->on = false;
    for (size_t i = 0; i < count; i++)
        load_open(load_conn_at(l, i));
    return end_of(p, load_run(l, INT64_MAX, BENCH_SILENT_MS));
}

/* limit requests, or as many as the time takes. */
static int phase(struct bench_loop *p, int64_t limit)
{
    struct load *l = p->b->load;
    int ready = p->before ? p->before(p->ctx) : EXIT_OK;
    if (ready != EXIT_OK)
        return ready;
    struct bench_mark mark;
    bench_begin(p->b, &mark);
    p->limit = limit;
    p->until_us = mark.begin_us + p->duration_us;
    p->sent = p->answered = p->operations = p->failed = 0;
    p->on = true;
    for (size_t i = 0; i < load_count(l) && p->on; i++) {
        if (load_conn_at(l, i)->state == LOAD_READY)
            send_next(p, load_conn_at(l, i));
    }
    enum load_end end = load_run(l, INT64_MAX, BENCH_SILENT_MS);
    if (end == LOAD_INTERRUPTED && p->sent > p->answered) { /* what is accepted yet is removed too */
        p->limit = p->sent;
        load_drain(l);
        (void)load_run(l, load_now_us() + INT64_C(1000) * DRAIN_MS, 0);
    }
    int status = end_of(p, end);
    int64_t took_us = load_now_us() - mark.begin_us;
    struct bench_result *r = p->r;
    if (p->counts && status == EXIT_OK) {
        r->values[r->repetitions++] = took_us > 0 ? (double)p->operations * 1e6 / (double)took_us : 0;
        r->requests += p->answered;
        r->failed += p->failed;
        r->operations += p->operations;
    }
    if (status == EXIT_OK && p->after)
        status = p->after(p->ctx, &took_us);
    if (p->counts && status == EXIT_OK)
        bench_end(p->b, r, &mark, took_us);
    return status;
}

int bench_loop_run(struct bench_loop *p, size_t connections, int64_t warmup)
{
    int64_t limit = p->limit;
    int status = open_all(p, connections);
    p->counts = false;
    if (status == EXIT_OK && warmup > 0)
        status = phase(p, warmup);
    p->counts = true;
    for (int64_t i = 0; i < p->b->asked.repeat && status == EXIT_OK; i++)
        status = phase(p, limit);
    return status;
}
