/* The time that a measurement takes: of the clock, of this program's CPU, and of the node's, as its /metrics says. */
#include <stdlib.h>
#include <time.h>

#include "cli/bench.h"

int64_t bench_cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Seconds of CPU that the node used so far; -1 when it does not say. Of several nodes one says nothing about the others. */
static double node_cpu_s(struct bench *b)
{
    static const char name[] = "\nprocess_cpu_seconds_total ";
    struct strbuf request, answer;
    const char *why = NULL;
    double seconds = -1;
    if (load_urls(b->load) > 1)
        return -1;
    strbuf_init(&request, 4096);
    strbuf_init(&answer, LOAD_BODY_MAX);
    bench_request(b, &request, 0, "GET", "/metrics", STR_NONE, "");
    if (load_call(b->load, strbuf_str(&request), BENCH_CALL_MS, &answer, &why) == 200) {
        const char *found = answer.len > 0 ? strstr(answer.ptr, name) : NULL;
        seconds = found ? strtod(found + sizeof name - 1, NULL) : -1;
    }
    strbuf_done(&request);
    strbuf_done(&answer);
    return seconds;
}

void bench_begin(struct bench *b, struct bench_mark *ret_mark)
{
    ret_mark->node_cpu_s = node_cpu_s(b);
    ret_mark->bytes = load_bytes(b->load);
    ret_mark->cpu_us = bench_cpu_us();
    ret_mark->begin_us = load_now_us();
}

void bench_end(struct bench *b, struct bench_result *r, const struct bench_mark *mark, int64_t took_us)
{
    int64_t now_us = load_now_us();
    r->cpu_us += bench_cpu_us() - mark->cpu_us;
    r->bytes += load_bytes(b->load) - mark->bytes;
    r->wall_us += took_us > 0 ? took_us : now_us - mark->begin_us;
    double node_s = mark->node_cpu_s >= 0 ? node_cpu_s(b) : -1;
    /* A node that was begun anew in between, or another one behind the same address. */
    if (node_s < mark->node_cpu_s || node_s < 0)
        return;
    r->node_cpu_us += (int64_t)((node_s - mark->node_cpu_s) * 1e6);
    r->node_wall_us += now_us - mark->begin_us;
}
