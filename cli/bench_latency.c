/* errand bench latency: from a submit to its run's first event at a reader, on the connection that submits and streams. One run at a time; with --rate they begin at fixed times, whatever became of those before,
 * and are measured from when they should have begun. */
#include <stdlib.h>

#include "cli/bench.h"
#include "cli/bench_frames.h"

enum { SAMPLES_DEFAULT = 200, WARMUP_DEFAULT = 20, CONNECTIONS_DEFAULT = 64, FAILED_MAX = 50 };

struct sample {
    struct frames frames;
    int64_t begin_us;
    int seen; /* 0: nothing yet, 1: the first event, 2: the agent's first */
    bool under_way;
};

struct latencies {
    struct bench *b;
    struct bench_result *r;
    struct histogram part;  /* of this repetition */
    struct histogram agent; /* until the first event behind runtime_started */
    struct sample *all;
    size_t *idle; /* indexes of connections that stand open, a stack */
    size_t idle_count;
    struct strbuf request;
    int64_t limit, sent, over, failed;
    int64_t rate, first_us; /* when the first one was due */
    bool counts;
};

/* ---- sending ---- */

static int64_t due_us(const struct latencies *s, int64_t n)
{
    return s->rate > 0 ? s->first_us + n * 1000000 / s->rate : 0;
}

/* Sends what is due, as far as connections are there. */
static void send_due(void *ctx)
{
    struct latencies *s = ctx;
    struct load *l = s->b->load;
    while (s->sent < s->limit && s->idle_count > 0) {
        /* One at a time: the next begins when the last is over. */
        int64_t now_us = load_now_us(), due = due_us(s, s->sent);
        if (s->rate > 0 ? due > now_us : s->sent > s->over)
            break;
        struct load_conn *c = load_conn_at(l, s->idle[--s->idle_count]);
        s->all[c->index] = (struct sample){.frames.seq = -1, .under_way = true, .begin_us = s->rate > 0 ? due : now_us};
        s->sent++;
        load_send(c, strbuf_str(&s->request));
    }
    if (s->rate > 0 && s->sent < s->limit && s->idle_count > 0)
        load_alarm(l, due_us(s, s->sent), send_due);
}

static void on_ready(void *ctx, struct load_conn *c)
{
    struct latencies *s = ctx;
    s->idle[s->idle_count++] = c->index;
    if (s->first_us == 0 && s->idle_count == load_count(s->b->load)) {
        s->first_us = load_now_us();
        load_stop(s->b->load); /* all are open */
    } else if (s->first_us > 0) {
        send_due(s);
    }
}

static void sample_over(struct latencies *s, struct load_conn *c, const char *failure)
{
    struct sample *m = &s->all[c->index];
    if (!m->under_way)
        return;
    m->under_way = false;
    s->over++;
    if (failure) {
        bench_failed(s->r, "%s", failure);
        s->failed++;
    }
    if (s->over == s->limit || s->failed > FAILED_MAX)
        load_stop(s->b->load);
}

/* ---- what comes ---- */

static bool on_stream(void *ctx, struct load_conn *c, struct str bytes)
{
    struct latencies *s = ctx;
    struct sample *m = &s->all[c->index];
    (void)frames_feed(&m->frames, bytes, 0, 0);
    int64_t took_us = load_now_us() - m->begin_us;
    if (m->seen < 1 && m->frames.events >= 1) {
        m->seen = 1;
        histogram_add(&s->part, took_us);
        if (s->counts)
            histogram_add(&s->r->latency, took_us);
    }
    if (m->seen < 2 && m->frames.events >= 2) {
        m->seen = 2;
        if (s->counts)
            histogram_add(&s->agent, took_us);
    }
    if (m->frames.done) /* the node ends the connection behind it */
        sample_over(s, c,
                    m->frames.missing || m->frames.repeated ? "a reader missed an event, or got one twice" : NULL);
    return true;
}

static void on_answer(void *ctx, struct load_conn *c, int status, struct str body)
{
    char problem[300];
    bench_problem(problem, sizeof problem, status, body);
    sample_over(ctx, c, problem);
}

static void on_gone(void *ctx, struct load_conn *c, const char *why)
{
    struct latencies *s = ctx;
    for (size_t i = 0; i < s->idle_count; i++) {
        if (s->idle[i] == c->index)
            s->idle[i--] = s->idle[--s->idle_count];
    }
    if (s->all[c->index].under_way) {
        sample_over(s, c, why ? why : "a stream ended without its end");
    } else if (why && ++s->failed > FAILED_MAX) {
        bench_failed(s->r, "%s", why);
        load_stop(s->b->load);
    }
    if (s->failed <= FAILED_MAX)
        load_open(c);
}

static const struct load_fns latency_fns = {
    .ready = on_ready, .stream = on_stream, .answer = on_answer, .gone = on_gone};

static int end_of(struct latencies *s, enum load_end end)
{
    if (s->failed > FAILED_MAX) {
        cli_say("given up after %d failures; the first: %s", FAILED_MAX, s->r->first_failure);
        return EXIT_UNREACHABLE;
    }
    return end == LOAD_STOPPED ? EXIT_OK : bench_ended(s->b, end);
}

static int phase(struct latencies *s, int64_t limit)
{
    struct load *l = s->b->load;
    struct bench_mark mark;
    bench_begin(s->b, &mark);
    s->limit = limit;
    s->part = (struct histogram){.total = 0};
    s->sent = s->over = s->failed = 0;
    s->first_us = mark.begin_us;
    send_due(s);
    int status = end_of(s, load_run(l, INT64_MAX, BENCH_SILENT_MS));
    load_alarm(l, 0, NULL);
    if (s->counts && status == EXIT_OK) {
        bench_end(s->b, s->r, &mark, 0);
        s->r->requests += s->over;
        s->r->operations += s->over - s->failed;
        s->r->failed += s->failed;
        s->r->values[s->r->repetitions++] = (double)histogram_at(&s->part, 0.5) / 1000;
    }
    return status;
}

static int open_all(struct latencies *s, size_t count)
{
    struct load *l = s->b->load;
    size_t files = 0;
    if (load_connections(l, count, &files) != ERR_OK) {
        cli_say("%zu connections want more open files than this process may have (%zu)", count, files);
        return EXIT_USAGE;
    }
    load_set(l, &latency_fns, s);
    load_pace(l, false);
    for (size_t i = 0; i < count; i++)
        load_open(load_conn_at(l, i));
    return end_of(s, load_run(l, INT64_MAX, BENCH_SILENT_MS));
}

static bool make_agent(struct bench *b, int *ret_status)
{
    static const char
        process[] = "{\"executor\":\"process\",\"protocol\":\"text\",\"command\":[\"/bin/echo\",\"hi\"]}",
        noop[] = "{\"executor\":\"noop\"}",
        pool[] =
            "{\"executor\":\"pool\",\"pool\":{\"min\":1,\"max\":64},\"command\":[\"/bin/sh\",\"-c\","
            "\"while echo '{\\\"kind\\\":\\\"notification\\\",\\\"data\\\":{\\\"type\\\":\\\"worker_ready\\\"}}'; read "
            "-r job; do "
            "echo '{\\\"kind\\\":\\\"assistant_text\\\",\\\"data\\\":{\\\"text\\\":\\\"hi\\\"}}'; "
            "echo '{\\\"kind\\\":\\\"runtime_terminal\\\",\\\"data\\\":{\\\"status\\\":\\\"success\\\"}}'; done\"]}";
    const char *executor = b->asked.executor ? b->asked.executor : "process";
    if (strcmp(executor, "pool") != 0 && strcmp(executor, "noop") != 0 && strcmp(executor, "process") != 0) {
        *ret_status =
            cli_usage_error(b->command, "latency has agents of the executors process, pool and noop; --agent names "
                                        "one of another");
        return false;
    }
    return bench_agent(b,
                       str_of(*executor == 'n'     ? noop
                              : executor[1] == 'o' ? pool
                                                   : process),
                       ret_status) &&
           bench_probe(b, executor, ret_status);
}

static int measure(struct latencies *s, size_t connections)
{
    struct bench *b = s->b;
    int64_t samples = b->asked.requests > 0 ? b->asked.requests : SAMPLES_DEFAULT;
    int64_t warmup = b->asked.warmup >= 0 ? b->asked.warmup : WARMUP_DEFAULT;
    if (s->rate > 0 && b->asked.duration_ms > 0)
        samples = s->rate * b->asked.duration_ms / 1000 + 1;
    int status = open_all(s, connections);
    if (status == EXIT_OK && warmup > 0)
        status = phase(s, warmup);
    s->counts = true;
    for (int64_t i = 0; i < b->asked.repeat && status == EXIT_OK; i++)
        status = phase(s, samples);
    return status;
}

int bench_latency(struct bench *b, struct bench_result *r)
{
    struct latencies *s = calloc(1, sizeof *s);
    int64_t rate = b->asked.rate;
    size_t connections = (size_t)(b->asked.connections > 0 ? b->asked.connections : rate > 0 ? CONNECTIONS_DEFAULT : 1);
    int status = EXIT_OK;
    if (!s)
        return EXIT_UNREACHABLE;
    *s = (struct latencies){.b = b, .r = r, .rate = rate};
    s->all = calloc(connections, sizeof *s->all);
    s->idle = calloc(connections, sizeof *s->idle);
    strbuf_init(&s->request, LOAD_BODY_MAX);
    r->unit = "ms";
    snprintf(r->note, sizeof r->note, "the way over Redis and a runner, and the agent's start");
    if (rate > 0)
        bench_what(r, "submit to first event, %lld a second", (long long)rate);
    else
        bench_what(r, "submit to first event, one at a time");
    if (s->all && s->idle && make_agent(b, &status)) {
        struct strbuf body;
        strbuf_init(&body, LOAD_BODY_MAX);
        bench_submission(b, &body, bench_queue(b), "");
        bench_request(b, &s->request, 0, "POST", "/v1/runs/stream", strbuf_str(&body), NULL);
        strbuf_done(&body);
        status = measure(s, connections);
    }
    bench_extra(r, "connections", (double)connections);
    if (rate > 0)
        bench_extra(r, "rate", (double)rate);
    bench_extra(r, "agentP50Us", (double)histogram_at(&s->agent, 0.5));
    bench_extra(r, "agentP99Us", (double)histogram_at(&s->agent, 0.99));
    size_t files;
    (void)!load_connections(b->load, 0, &files); /* closes them */
    strbuf_done(&s->request);
    free(s->all);
    free(s->idle);
    free(s);
    return status;
}
