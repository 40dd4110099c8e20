/* errand bench replay and fanout: many readers of one run. Each has to get every event once, in order; a connection that breaks is resumed as any reader's would be. */
#include <stdlib.h>

#include "cli/bench.h"
#include "cli/bench_frames.h"
#include "cli/interrupt.h"

enum {
    RESUMES_MAX = 50,     /* of a reader, before it is a failure */
    READ_MS_MAX = 600000, /* a repetition may not take longer */
    SAMPLED = 32,         /* one event in so many tells its delay */
    EVENTS_DEFAULT = 1000,
    BYTES_DEFAULT = 100,
    EVENTS_MAX = 999990, /* a run may have a million, and has some of its own */
};

struct reader {
    struct frames frames;
    int resumes;
    bool begun, over;
};

struct readers {
    struct bench *b;
    struct bench_result *r;
    struct reader *all;
    size_t count, begun, over;
    struct strbuf request; /* from the beginning */
    char run[40];
    bool live, counts;
    int64_t resumed, delivered, last_us; /* when the last one was over */
};

/* ---- the run ---- */

/* Prints its events when a line comes; with a rate, so many a second in portions of 10 ms. */
static void definition(struct strbuf *out, int64_t events, int64_t bytes, int64_t rate)
{
    int64_t portion = rate > 0 ? (rate + 99) / 100 : events;
    strbuf_addz(out, "{\"executor\":\"process\",\"protocol\":\"events\",\"stdin\":\"open\",\"graceMs\":100,\"command\":"
                     "[\"/bin/sh\",\"-c\","
                     "\"read job; read go; exec awk 'BEGIN {");
    strbuf_addf(out, "for (i = 0; i < %lld; i++) t = t \\\"x\\\"; ", (long long)bytes);
    strbuf_addf(out, "for (i = 1; i <= %lld; i++) { ", (long long)events);
    strbuf_addz(out, "print "
                     "\\\"{\\\\\\\"kind\\\\\\\":\\\\\\\"assistant_text\\\\\\\",\\\\\\\"data\\\\\\\":{"
                     "\\\\\\\"text\\\\\\\":\\\\\\\"\\\" t \\\"\\\\\\\"}}\\\"; ");
    if (rate > 0)
        strbuf_addf(out, "if (i %% %lld == 0) system(\\\"sleep 0.01\\\"); ", (long long)portion);
    strbuf_addz(out, "} }'\"]}");
}

static bool make_agent(struct bench *b, int64_t events, int *ret_status)
{
    struct strbuf text;
    strbuf_init(&text, 4096);
    definition(&text, events, b->asked.bytes >= 0 ? b->asked.bytes : BYTES_DEFAULT, b->asked.rate);
    bool ok = bench_served(b, "process", ret_status) && bench_agent(b, strbuf_str(&text), ret_status);
    strbuf_done(&text);
    return ok;
}

static bool begin_run(struct readers *s, int *ret_status)
{
    return bench_start_run(s->b, "", s->run, ret_status) && bench_wait_run(s->b, s->run, "running", 30000, ret_status);
}

static bool go(struct readers *s, int *ret_status)
{
    char path[80];
    snprintf(path, sizeof path, "/v1/runs/%s/input", s->run);
    return bench_call(s->b, 0, "POST", path, STR("{\"data\":\"go\"}"), NULL, NULL, ret_status);
}

/* ---- reading ---- */

static void read_from(const struct readers *s, struct strbuf *out, int64_t after)
{
    char path[120];
    if (after > 0)
        snprintf(path, sizeof path, "/v1/runs/%s/stream?after=%lld", s->run, (long long)after);
    else
        snprintf(path, sizeof path, "/v1/runs/%s/stream", s->run);
    strbuf_reset(out);
    bench_request(s->b, out, 0, "GET", path, STR_NONE, NULL);
}

static void on_ready(void *ctx, struct load_conn *c)
{
    struct readers *s = ctx;
    struct reader *reader = &s->all[c->index];
    if (reader->over)
        return;
    frames_resume(&reader->frames);
    if (reader->frames.last_seq == 0) {
        load_send(c, strbuf_str(&s->request));
        return;
    }
    read_from(s, &c->own, reader->frames.last_seq);
    load_send(c, strbuf_str(&c->own));
}

static void reader_over(struct readers *s, struct reader *reader)
{
    if (reader->over)
        return;
    reader->over = true;
    s->last_us = load_now_us();
    if (++s->over == s->count)
        load_stop(s->b->load);
}

static void reader_failed(struct readers *s, struct reader *reader, const char *why)
{
    bench_failed(s->r, "%s", why);
    s->r->failed++;
    reader_over(s, reader);
}

static bool on_stream(void *ctx, struct load_conn *c, struct str bytes)
{
    struct readers *s = ctx;
    struct reader *reader = &s->all[c->index];
    struct frames *f = &reader->frames;
    bool samples = s->live && s->b->asked.rate > 0;
    f->delay_ms = -1;
    s->delivered += frames_feed(f, bytes, samples ? SAMPLED : 0, samples ? clock_wall_ms() : 0);
    if (f->delay_ms >= 0 && s->counts)
        histogram_add(&s->r->latency, f->delay_ms * 1000);
    if (!reader->begun && f->last_seq > 0) {
        reader->begun = true;
        if (++s->begun == s->count && s->live)
            load_stop(s->b->load);
    }
    if (!f->done)
        return true;
    reader_over(s, reader);
    return false;
}

static void on_answer(void *ctx, struct load_conn *c, int status, struct str body)
{
    struct readers *s = ctx;
    char problem[300];
    bench_problem(problem, sizeof problem, status, body);
    reader_failed(s, &s->all[c->index], problem);
}

static void on_gone(void *ctx, struct load_conn *c, const char *why)
{
    struct readers *s = ctx;
    struct reader *reader = &s->all[c->index];
    if (reader->over)
        return;
    if (++reader->resumes > RESUMES_MAX) {
        reader_failed(s, reader, why ? why : "a stream ended without its end");
        return;
    }
    s->resumed++;
    load_open(c);
}

static const struct load_fns reader_fns = {
    .ready = on_ready, .stream = on_stream, .answer = on_answer, .gone = on_gone};

/* All readers anew, before the beginning of the run. */
static int open_readers(struct readers *s)
{
    struct load *l = s->b->load;
    size_t files = 0;
    if (load_connections(l, s->count, &files) != ERR_OK) {
        cli_say("%zu readers want more open files than this process may have (%zu)", s->count, files);
        return EXIT_USAGE;
    }
    memset(s->all, 0, s->count * sizeof *s->all);
    s->begun = s->over = 0;
    s->delivered = 0;
    strbuf_reset(&s->request);
    read_from(s, &s->request, 0);
    load_set(l, &reader_fns, s);
    load_pace(l, true);
    for (size_t i = 0; i < s->count; i++) {
        s->all[i].frames.seq = -1;
        load_open(load_conn_at(l, i));
    }
    return EXIT_OK;
}

static int read_all(struct readers *s)
{
    enum load_end end = s->over == s->count
                            ? LOAD_STOPPED
                            : load_run(s->b->load, load_now_us() + INT64_C(1000) * READ_MS_MAX, BENCH_SILENT_MS);
    return end == LOAD_STOPPED ? EXIT_OK : bench_ended(s->b, end);
}

/* Every reader has every event, once. */
static void judge(struct readers *s, int64_t expected)
{
    int64_t most = expected;
    for (size_t i = 0; i < s->count; i++)
        most = s->all[i].frames.events > most ? s->all[i].frames.events : most;
    for (size_t i = 0; i < s->count; i++) {
        const struct frames *f = &s->all[i].frames;
        if (f->missing == 0 && f->repeated == 0 && f->events == most)
            continue;
        s->r->failed++;
        bench_failed(s->r, "reader %zu got %lld of %lld events, %lld missing, %lld twice", i, (long long)f->events,
                     (long long)most, (long long)f->missing, (long long)f->repeated);
    }
}

static void count_repetition(struct readers *s, const struct bench_mark *mark, int64_t expected)
{
    struct bench_result *r = s->r;
    int64_t took_us = s->last_us > mark->begin_us ? s->last_us - mark->begin_us : 1;
    judge(s, expected);
    r->values[r->repetitions++] = took_us > 0 ? (double)s->delivered * 1e6 / (double)took_us : 0;
    r->requests += (int64_t)s->count;
    r->operations += s->delivered;
    bench_end(s->b, r, mark, took_us);
}

/* ---- the two ---- */

static int replay_once(struct readers *s, bool counts)
{
    struct bench_mark mark;
    bench_begin(s->b, &mark);
    s->counts = counts;
    int status = open_readers(s);
    if (status == EXIT_OK)
        status = read_all(s);
    if (status == EXIT_OK && counts)
        count_repetition(s, &mark, 0);
    return status;
}

static int replay(struct readers *s, int64_t events)
{
    int status = EXIT_OK;
    if (s->b->asked.run)
        snprintf(s->run, sizeof s->run, "%s", s->b->asked.run);
    else if (!make_agent(s->b, events, &status) || !begin_run(s, &status) || !go(s, &status) ||
             !bench_wait_run(s->b, s->run, "success", READ_MS_MAX, &status))
        return status;
    status = replay_once(s, false);
    for (int64_t i = 0; i < s->b->asked.repeat && status == EXIT_OK; i++)
        status = replay_once(s, true);
    return status;
}

static int fanout_once(struct readers *s, int64_t events)
{
    int status = EXIT_OK;
    if (!begin_run(s, &status))
        return status;
    s->counts = true;
    status = open_readers(s);
    if (status == EXIT_OK)
        status = read_all(s); /* until each is there */
    if (status != EXIT_OK)
        return status;
    struct bench_mark mark;
    bench_begin(s->b, &mark);
    s->delivered = 0;
    if (s->over < s->count && !go(s, &status))
        return status;
    status = read_all(s);
    if (status == EXIT_OK)
        count_repetition(s, &mark, events + 2); /* its beginning and its end are events too */
    return status;
}

static int fanout(struct readers *s, int64_t events)
{
    int status = EXIT_OK;
    if (!make_agent(s->b, events, &status))
        return status;
    for (int64_t i = 0; i < s->b->asked.repeat && status == EXIT_OK; i++)
        status = fanout_once(s, events);
    return status;
}

static int readers_of(struct bench *b, struct bench_result *r, bool live)
{
    struct readers s = {.b = b, .r = r, .live = live};
    int64_t events = b->asked.events > 0 ? b->asked.events : EVENTS_DEFAULT;
    s.count = (size_t)(b->asked.readers > 0 ? b->asked.readers : live ? 100 : 1);
    if (events > EVENTS_MAX)
        return cli_usage_error(b->command, "a run has at most %d events of its own", EVENTS_MAX);
    s.all = calloc(s.count, sizeof *s.all);
    if (!s.all)
        return EXIT_UNREACHABLE;
    strbuf_init(&s.request, 65536);
    r->unit = "events/s";
    snprintf(r->note, sizeof r->note, live ? "Redis, or how fast the agent prints" : "Redis, or the way here");
    bench_what(r, "events to %zu reader%s of %s run", s.count, s.count > 1 ? "s" : "", live ? "a live" : "an ended");
    int status = live ? fanout(&s, events) : replay(&s, events);
    bench_extra(r, "readers", (double)s.count);
    bench_extra(r, "events", (double)s.all[0].frames.events);
    bench_extra(r, "bytesPerSecond", r->wall_us > 0 ? (double)r->bytes * 1e6 / (double)r->wall_us : 0);
    bench_extra(r, "bytesPerEvent", r->operations > 0 ? (double)r->bytes / (double)r->operations : 0);
    bench_extra(r, "resumed", (double)s.resumed);
    size_t files;
    (void)!load_connections(b->load, 0, &files); /* closes them */
    strbuf_done(&s.request);
    free(s.all);
    return status;
}

int bench_replay(struct bench *b, struct bench_result *r)
{
    return readers_of(b, r, false);
}

int bench_fanout(struct bench *b, struct bench_result *r)
{
    return readers_of(b, r, true);
}
