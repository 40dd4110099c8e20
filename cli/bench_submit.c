/* errand bench submit: how many runs a second are accepted. They go to a queue that nobody serves. */
#include <stdlib.h>

#include "cli/bench.h"

struct submits {
    struct strbuf requests[BENCH_WORKSPACES_MAX];
    size_t workspaces;
    int64_t batch; /* 0: single ones */
};

static bool next_submit(void *ctx, struct load_conn *c, struct str *ret_request)
{
    const struct submits *s = ctx;
    *ret_request = strbuf_str(&s->requests[c->index % s->workspaces]);
    return true;
}

/* A batch's items can be refused each for itself. */
static int64_t batch_worth(void *ctx, struct load_conn *c, int status, struct str body)
{
    const struct submits *s = ctx;
    (void)c;
    if (status != 200 || memmem(body.ptr, body.len, "\"error\":", 8))
        return -1;
    return s->batch;
}

void bench_submission(const struct bench *b, struct strbuf *out, const char *queue, const char *more)
{
    strbuf_addf(out, "{\"agent\":\"%s\",\"queue\":\"%s\",\"input\":{\"n\":\"", b->agent, queue);
    for (int64_t i = 0; i < b->asked.bytes; i++)
        strbuf_addc(out, 'x');
    strbuf_addz(out, "\"}");
    if (!b->asked.keep)
        strbuf_addf(out, ",\"labels\":{\"" BENCH_LABEL "\":\"%s\"}", b->id);
    strbuf_addz(out, more);
    strbuf_addc(out, '}');
}

void bench_submit_request(const struct bench *b, struct strbuf *out, size_t workspace, const char *queue, int64_t batch)
{
    struct strbuf body;
    strbuf_init(&body, LOAD_BODY_MAX);
    if (batch > 0)
        strbuf_addz(&body, "{\"runs\":[");
    for (int64_t i = 0; i < (batch > 0 ? batch : 1); i++) {
        if (i > 0)
            strbuf_addc(&body, ',');
        bench_submission(b, &body, queue, "");
    }
    if (batch > 0)
        strbuf_addz(&body, "]}");
    bench_request(b, out, workspace, "POST", batch > 0 ? "/v1/runs/batch" : "/v1/runs", strbuf_str(&body), NULL);
    strbuf_done(&body);
}

int bench_submit(struct bench *b, struct bench_result *r)
{
    struct submits s = {.workspaces = b->workspace_count, .batch = b->asked.batch > 0 ? b->asked.batch : 0};
    int64_t connections = b->asked.connections > 0 ? b->asked.connections : 1;
    int64_t requests = b->asked.requests;
    int status = EXIT_OK;
    if (requests <= 0 && b->asked.duration_ms <= 0)
        requests = s.batch > 0 ? 10000 / s.batch + 1 : 5000;
    if (!bench_agent(b, STR("{\"executor\":\"process\",\"command\":[\"/bin/true\"],\"protocol\":\"text\"}"), &status))
        return status;
    for (size_t i = 0; i < s.workspaces; i++) {
        strbuf_init(&s.requests[i], LOAD_BODY_MAX);
        bench_submit_request(b, &s.requests[i], i, b->asked.queue ? b->asked.queue : BENCH_QUEUE, s.batch);
    }
    r->unit = "runs/s";
    if (s.batch > 0)
        bench_what(r, "submits in batches of %lld, %lld in flight", (long long)s.batch, (long long)connections);
    else
        bench_what(r, "submits, %lld in flight", (long long)connections);
    snprintf(r->note, sizeof r->note,
             connections == 1 ? "one at a time: the way there and back" : "Redis, or the way there");
    bench_extra(r, "connections", (double)connections);
    bench_extra(r, "batch", (double)(s.batch > 0 ? s.batch : 1));
    b->made_runs = true;
    struct bench_loop loop = {.b = b,
                              .r = r,
                              .next = next_submit,
                              .worth = s.batch > 0 ? batch_worth : NULL,
                              .ctx = &s,
                              .limit = requests > 0 ? requests : 0,
                              .duration_us = b->asked.duration_ms * 1000};
    int64_t warmup = b->asked.warmup >= 0 ? b->asked.warmup : requests > 0 ? requests / 10 + connections : 200;
    status = bench_loop_run(&loop, (size_t)connections, warmup);
    for (size_t i = 0; i < s.workspaces; i++)
        strbuf_done(&s.requests[i]);
    return status;
}
