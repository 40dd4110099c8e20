/* How a measurement is told. */
#include <stdarg.h>
#include <stdlib.h>

#include "cli/bench.h"
#include "cli/output.h"

void bench_failed(struct bench_result *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->last_failure, sizeof r->last_failure, fmt, args);
    va_end(args);
    if (!r->first_failure[0])
        memcpy(r->first_failure, r->last_failure, sizeof r->first_failure);
}

void bench_extra(struct bench_result *r, const char *key, double value)
{
    PRE(r->extra_count < BENCH_EXTRAS_MAX);
    r->extras[r->extra_count++] = (struct bench_extra){key, value};
}

#define NODE_WALL_US 200000 /* its CPU time is told in hundredths of a second */
#define SHARE_HIGH   0.8    /* of a core: from here on it counts as used up */

int bench_ended(struct bench *b, enum load_end end)
{
    (void)b;
    if (end == LOAD_INTERRUPTED)
        return EXIT_DETACHED;
    cli_say(end == LOAD_SILENT ? "nothing came for %d s: given up" : "not done in the time that it may take: given up",
            BENCH_SILENT_MS / 1000);
    return EXIT_UNREACHABLE;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sorted(const struct bench_result *r, double out[BENCH_REPEAT_MAX])
{
    memcpy(out, r->values, r->repetitions * sizeof *out);
    qsort(out, r->repetitions, sizeof *out, compare);
}

double bench_median(const struct bench_result *r)
{
    double all[BENCH_REPEAT_MAX];
    size_t n = r->repetitions;
    if (n == 0)
        return 0;
    sorted(r, all);
    return n % 2 ? all[n / 2] : (all[n / 2 - 1] + all[n / 2]) / 2;
}

/* Whole numbers as such: rates have no use for more, and times in ms keep three digits. */
static void number(struct json_writer *w, const char *key, double value)
{
    char text[40];
    double high = value < 0 ? -value : value;
    snprintf(text, sizeof text, high >= 1000 ? "%.0f" : "%.3f", value);
    json_kv_raw(w, key, str_of(text));
}

static double client_share(const struct bench_result *r)
{
    return r->wall_us > 0 ? (double)r->cpu_us / (double)r->wall_us : 0;
}

static void report_json(const struct bench_result *r)
{
    double all[BENCH_REPEAT_MAX] = {0};
    char seconds[40];
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 65536);
    json_writer_init(&w, &out);
    sorted(r, all);
    json_object_begin(&w);
    json_kv_str(&w, "name", str_of(r->name));
    json_kv_str(&w, "unit", str_of(r->unit));
    number(&w, "value", bench_median(r));
    number(&w, "lowest", all[0]);
    number(&w, "highest", all[r->repetitions ? r->repetitions - 1 : 0]);
    json_kv_int(&w, "repetitions", (int64_t)r->repetitions);
    if (r->latency.total > 0) {
        json_kv_int(&w, "p50Us", histogram_at(&r->latency, 0.5));
        json_kv_int(&w, "p99Us", histogram_at(&r->latency, 0.99));
    }
    json_kv_int(&w, "requests", r->requests);
    json_kv_int(&w, "failed", r->failed);
    json_kv_int(&w, "operations", r->operations);
    snprintf(seconds, sizeof seconds, "%.6f", (double)r->wall_us / 1e6);
    json_kv_raw(&w, "seconds", str_of(seconds));
    number(&w, "clientCpuUs", r->operations > 0 ? (double)r->cpu_us / (double)r->operations : 0);
    number(&w, "clientShare", client_share(r));
    for (size_t i = 0; i < r->extra_count; i++)
        number(&w, r->extras[i].key, r->extras[i].value);
    if (r->node_wall_us > 0)
        number(&w, "apiCores", (double)r->node_cpu_us / (double)r->node_wall_us);
    json_kv_str_opt(&w, "firstFailure", str_of(r->first_failure));
    json_object_end(&w);
    printf("%.*s\n", STR_ARG(strbuf_str(&out)));
    strbuf_done(&out);
}

/* 0.31, 12.4, 12345 */
static void add_figure(struct table *t, double value)
{
    table_addf(t, value >= 1000 ? "%.0f" : value >= 10 ? "%.1f" : "%.3f", value);
}

/* What is known of what limits it: whose CPU was used up. */
static void add_limit(struct table *t, const struct bench_result *r)
{
    double node = r->node_wall_us > NODE_WALL_US ? (double)r->node_cpu_us / (double)r->node_wall_us : -1;
    if (r->failed > 0)
        table_addf(t, "%lld FAILED", (long long)r->failed);
    else if (client_share(r) > SHARE_HIGH)
        table_add(t, STR("this client: the deployment may do more"));
    else if (node > SHARE_HIGH)
        table_addf(t, "the API node (%.1f cores busy)", node);
    else if (node >= 0)
        table_addf(t, "%s (API node: %.0f %% of a core)", r->note, 100 * node);
    else
        table_add(t, str_of(r->note));
}

static void add_row(struct table *t, const struct bench_result *r)
{
    double all[BENCH_REPEAT_MAX] = {0}, median = bench_median(r);
    sorted(r, all);
    table_add(t, str_of(r->what[0] ? r->what : r->name));
    add_figure(t, median);
    table_add(t, str_of(r->unit));
    table_addf(t, "%.0f %%", median > 0 ? 100 * (all[r->repetitions - 1] - all[0]) / median : 0);
    if (r->latency.total > 0) {
        table_addf(t, "%.2f ms", (double)histogram_at(&r->latency, 0.5) / 1000);
        table_addf(t, "%.2f ms", (double)histogram_at(&r->latency, 0.99) / 1000);
    } else {
        table_add(t, STR("-"));
        table_add(t, STR("-"));
    }
    add_limit(t, r);
}

void bench_table_begin(struct bench *b)
{
    static const char *const head[] = {"MEASURED", "MEDIAN", "UNIT", "SPREAD", "P50", "P99", "LIMITED BY"};
    table_init(&b->table, ARRAY_LEN(head));
    for (size_t i = 0; i < ARRAY_LEN(head); i++)
        table_add(&b->table, str_of(head[i]));
}

void bench_table_print(struct bench *b)
{
    status_clear(b->cli);
    if (b->cli->json || b->table.count <= b->table.columns) {
        strbuf_done(&b->table.cells);
        return;
    }
    table_print(&b->table, b->cli, SIZE_MAX);
    printf("This client used at most %.0f %% of a core.\n", 100 * b->highest_share);
}

void bench_what(struct bench_result *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->what, sizeof r->what, fmt, args);
    va_end(args);
}

void bench_report(struct bench *b, const struct bench_result *r)
{
    status_clear(b->cli);
    if (r->repetitions > 0 && b->cli->json)
        report_json(r);
    else if (r->repetitions > 0)
        add_row(&b->table, r);
    fflush(stdout);
    if (client_share(r) > b->highest_share)
        b->highest_share = client_share(r);
    if (client_share(r) > SHARE_HIGH)
        cli_say("%s: this client used %.0f %% of a core: it may have been the limit, not the deployment", r->name,
                100 * client_share(r));
    if (r->failed > 0)
        cli_say("%s: %lld failed; the first: %s", r->name, (long long)r->failed, r->first_failure);
}
