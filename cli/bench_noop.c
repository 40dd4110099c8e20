/* errand bench noop: runs from submit to their end. Nothing is asked while they execute but one long poll for the last one: when a run was accepted and when it ended stands in its record, by Redis' one clock, and
 * is read afterwards. So looking costs the deployment nothing that is measured. */
#include "cli/bench.h"
#include "cli/ids.h"
#include "cli/interrupt.h"
#include "cli/output.h"

enum {
    RUNS_DEFAULT = 2000,
    BATCH_DEFAULT = 100,
    CONNECTIONS_DEFAULT = 2,
    RUNS_MS_MAX = 300000,
    PAGE = 200,
    AGAIN_MS = 50
};

struct noops {
    struct bench *b;
    struct bench_result *r;
    struct bench_loop loop;
    struct strbuf requests[BENCH_WORKSPACES_MAX];
    int64_t batch, runs; /* of a request; of a repetition */
    char first[40];      /* of this repetition the run that was accepted first */
    char last[40];       /* and last, and its workspace */
    size_t last_workspace;
    int64_t submitted[BENCH_WORKSPACES_MAX];
    int64_t first_ms, end_ms; /* of this repetition: the first submit, the last end */
};

static bool next_batch(void *ctx, struct load_conn *c, struct str *ret_request)
{
    struct noops *s = ctx;
    *ret_request = strbuf_str(&s->requests[c->index % s->b->workspace_count]);
    return true;
}

/* Keeps the id of the last run of the last answer. */
static int64_t batch_worth(void *ctx, struct load_conn *c, int status, struct str body)
{
    struct noops *s = ctx;
    static const char word[] = "\"runId\":\"";
    if (status != 200 || memmem(body.ptr, body.len, "\"error\":", 8))
        return -1;
    for (size_t at = body.len; at-- > 0;) {
        if (body.ptr[at] != '"' || body.len - at < sizeof word - 1 + 36 ||
            memcmp(body.ptr + at, word, sizeof word - 1) != 0)
            continue;
        memcpy(s->last, body.ptr + at + sizeof word - 1, 36);
        s->last[36] = '\0';
        if (!s->first[0])
            memcpy(s->first, s->last, sizeof s->first);
        s->last_workspace = c->index % s->b->workspace_count;
        s->submitted[s->last_workspace] += s->batch;
        return s->batch;
    }
    return -1;
}

/* ---- how they ended ---- */

/* One run of a page. False: it has not ended yet. */
static bool take_record(struct noops *s, const struct json *record)
{
    struct str status = json_text(record, "status");
    int64_t created_ms = json_time(record, "createdAt"), end_ms = json_time(record, "completedAt");
    if (end_ms == 0)
        return false;
    s->first_ms = s->first_ms == 0 || created_ms < s->first_ms ? created_ms : s->first_ms;
    s->end_ms = end_ms > s->end_ms ? end_ms : s->end_ms;
    histogram_add(&s->r->latency, (end_ms - created_ms) * 1000);
    if (!str_eqz(status, "success")) {
        s->r->failed++;
        bench_failed(s->r, "a run ended as %.*s (%.*s)", STR_ARG(status),
                     STR_ARG(json_text(json_get(record, "error"), "class")));
    }
    return true;
}

struct page {
    char cursor[200];
    int64_t seen; /* runs of all pages so far */
    bool waits;   /* one of it has not ended: again */
};

static bool read_page(struct noops *s, size_t workspace, int64_t count, struct page *page, int *ret_status)
{
    struct arena arena;
    struct strbuf path;
    const struct json *answer = NULL;
    arena_init(&arena, 16U << 20);
    strbuf_init(&path, 2000);
    strbuf_addf(&path, "/v1/runs?limit=%d&agent=%s&since=%s", PAGE, s->b->agent, s->b->began);
    if (!s->b->asked.keep)
        strbuf_addf(&path, "&label=" BENCH_LABEL ":%s", s->b->id);
    if (page->cursor[0]) {
        strbuf_addz(&path, "&cursor=");
        strbuf_addz(&path, page->cursor);
    }
    bool ok = bench_call(s->b, workspace, "GET", path.ptr, STR_NONE, &arena, &answer, ret_status);
    const struct json *runs = json_get(answer, "runs");
    int64_t n = 0;
    page->waits = false;
    for (const struct json *run = runs ? runs->child : NULL; run && page->seen + n < count; run = run->next, n++)
        page->waits = page->waits || json_time(run, "completedAt") == 0;
    if (ok && !page->waits) {
        const struct json *run = runs ? runs->child : NULL;
        for (int64_t i = 0; i < n; i++, run = run->next)
            (void)take_record(s, run);
        page->seen += n;
        snprintf(page->cursor, sizeof page->cursor, "%.*s", STR_ARG(json_text(answer, "cursor")));
    }
    strbuf_done(&path);
    arena_done(&arena);
    return ok;
}

/* The newest `count` runs of the workspace: those of this repetition. */
static bool read_records(struct noops *s, size_t workspace, int64_t count, int *ret_status)
{
    struct page page = {.seen = 0};
    int64_t until_us = load_now_us() + INT64_C(1000) * RUNS_MS_MAX;
    while (page.seen < count) {
        int64_t seen = page.seen;
        if (!read_page(s, workspace, count, &page, ret_status))
            return false;
        if (page.waits && interrupt_wait(AGAIN_MS)) {
            *ret_status = EXIT_DETACHED;
            return false;
        }
        if (page.waits ? load_now_us() > until_us : page.seen == seen && !page.cursor[0]) {
            cli_say(page.waits ? "runs have not ended after %lld s" : "runs are missing from the list: %lld",
                    page.waits ? (long long)RUNS_MS_MAX / 1000 : (long long)(count - page.seen));
            *ret_status = EXIT_UNREACHABLE;
            return false;
        }
    }
    return true;
}

/* With --sample: the first run, and the newest ones of each workspace; else all. Returns an exit status. */
static int read_ends(struct noops *s)
{
    char path[100];
    struct arena arena;
    const struct json *record = NULL;
    int status = EXIT_OK;
    bool ok = true;
    if (s->b->asked.sample && s->b->workspace_count == 1) {
        snprintf(path, sizeof path, "/v1/runs/%s", s->first);
        arena_init(&arena, 16U << 20);
        ok = bench_call(s->b, 0, "GET", path, STR_NONE, &arena, &record, &status);
        if (ok)
            (void)take_record(s, record);
        arena_done(&arena);
    }
    for (size_t i = 0; i < s->b->workspace_count && ok; i++)
        ok = read_records(s, i, s->b->asked.sample && s->submitted[i] > PAGE ? PAGE : s->submitted[i], &status);
    return ok ? EXIT_OK : status;
}

/* Long polls, each of up to a minute, one at a time. */
static bool wait_last(struct noops *s, int *ret_status)
{
    char path[100];
    int64_t until_us = load_now_us() + INT64_C(1000) * RUNS_MS_MAX;
    snprintf(path, sizeof path, "/v1/runs/%s?wait=20", s->last);
    while (!interrupted()) {
        struct arena arena;
        const struct json *record = NULL;
        arena_init(&arena, 16U << 20);
        bool ok = bench_call(s->b, s->last_workspace, "GET", path, STR_NONE, &arena, &record, ret_status);
        bool over = ok && json_time(record, "completedAt") > 0;
        arena_done(&arena);
        if (!ok || over)
            return ok;
        if (load_now_us() > until_us) {
            cli_say("the last run has not ended after %d s", RUNS_MS_MAX / 1000);
            *ret_status = EXIT_UNREACHABLE;
            return false;
        }
    }
    *ret_status = EXIT_DETACHED;
    return false;
}

/* ---- a repetition ---- */

/* In place of the loop's own figure, that of submits alone. */
static int end_repetition(void *ctx, int64_t *took_us)
{
    struct noops *s = ctx;
    struct bench_result *r = s->r;
    int status = EXIT_OK;
    int64_t runs = 0;
    s->first_ms = s->end_ms = 0;
    if (!wait_last(s, &status))
        return status;
    if (s->loop.counts)
        status = read_ends(s);
    s->first[0] = '\0';
    for (size_t i = 0; i < s->b->workspace_count; i++) {
        runs += s->submitted[i];
        s->submitted[i] = 0;
    }
    if (!s->loop.counts || status != EXIT_OK)
        return status;
    int64_t took_ms = s->end_ms - s->first_ms;
    r->values[r->repetitions - 1] = took_ms > 0 ? (double)runs * 1000 / (double)took_ms : 0;
    *took_us = took_ms > 0 ? took_ms * 1000 : 1000;
    return EXIT_OK;
}

static bool make_agent(struct bench *b, int *ret_status)
{
    const char *executor = bench_executor(b);
    bool noop = strcmp(executor, "noop") == 0;
    if (!noop && strcmp(executor, "process") != 0) {
        *ret_status = cli_usage_error(
            b->command, "noop has agents of the executors noop and process; --agent names one of another");
        return false;
    }
    return bench_agent(b,
                       noop ? STR("{\"executor\":\"noop\"}")
                            : STR("{\"executor\":\"process\",\"protocol\":\"text\",\"command\":[\"/bin/true\"]}"),
                       ret_status) &&
           bench_probe(b, executor, ret_status);
}

int bench_noop(struct bench *b, struct bench_result *r)
{
    struct noops s = {.b = b, .r = r, .batch = b->asked.batch > 0 ? b->asked.batch : BATCH_DEFAULT};
    int64_t connections = b->asked.connections > 0 ? b->asked.connections : CONNECTIONS_DEFAULT;
    int status = EXIT_OK;
    s.runs = b->asked.requests > 0 ? b->asked.requests : RUNS_DEFAULT;
    if (s.batch > s.runs)
        s.batch = s.runs;
    if (!make_agent(b, &status))
        return status;
    for (size_t i = 0; i < b->workspace_count; i++) {
        strbuf_init(&s.requests[i], LOAD_BODY_MAX);
        bench_submit_request(b, &s.requests[i], i, bench_queue(b), s.batch);
    }
    r->unit = "runs/s";
    bench_what(r, "runs, submitted to ended (%s)", b->asked.agent ? b->asked.agent : bench_executor(b));
    snprintf(r->note, sizeof r->note, "Redis, or the runners' slots");
    s.loop = (struct bench_loop){.b = b,
                                 .r = r,
                                 .next = next_batch,
                                 .worth = batch_worth,
                                 .after = end_repetition,
                                 .ctx = &s,
                                 .limit = (s.runs + s.batch - 1) / s.batch};
    status = bench_loop_run(&s.loop, (size_t)connections, b->asked.warmup >= 0 ? b->asked.warmup : 1);
    bench_extra(r, "connections", (double)connections);
    bench_extra(r, "batch", (double)s.batch);
    for (size_t i = 0; i < b->workspace_count; i++)
        strbuf_done(&s.requests[i]);
    return status;
}
