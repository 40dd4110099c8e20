#include "common/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/version.h"

/* Histogram bounds in microseconds. */
static const int64_t bounds_us[] = {100,   250,    500,    1000,   2500,    5000,    10000,   25000,
                                    50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};
enum { BUCKETS = ARRAY_LEN(bounds_us) };

struct block {
    struct block *next;
    _Atomic int64_t values[METRIC_COUNT]; /* counters, gauges; a histogram's sum in µs */
    _Atomic int64_t buckets[METRIC_COUNT][BUCKETS + 1];
};

enum metric_type { TYPE_counter, TYPE_gauge, TYPE_histogram };
struct metric_row {
    enum metric_type type;
    const char *name, *labels, *help;
};
#define METRIC_ROW(id, type, name, labels, help) [id] = {TYPE_##type, name, labels, help},
static const struct metric_row rows[METRIC_COUNT] = {METRIC_TABLE(METRIC_ROW)};
#undef METRIC_ROW
static const char *const type_names[] = {"counter", "gauge", "histogram"};

static pthread_mutex_t blocks_lock =
    PTHREAD_MUTEX_INITIALIZER; /* taken when a thread's block is added, never on a hot path */
static struct block *_Atomic blocks;
static _Thread_local struct block *own;

static struct block *own_block(void)
{
    if (!own) {
        own = calloc(1, sizeof *own); /* lives as long as the process: what a thread counted stays counted */
        PRE(own);
        pthread_mutex_lock(&blocks_lock);
        own->next = atomic_load(&blocks);
        atomic_store(&blocks, own);
        pthread_mutex_unlock(&blocks_lock);
    }
    return own;
}

/* Only the owner writes, so a relaxed load and store are enough (no locked instruction). */
static void bump(_Atomic int64_t *v, int64_t delta)
{
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + delta, memory_order_relaxed);
}

void metric_add(enum metric m, int64_t delta)
{
    bump(&own_block()->values[m], delta);
}

void metric_observe_us(enum metric m, int64_t us)
{
    struct block *b = own_block();
    size_t i = 0;
    while (i < BUCKETS && us > bounds_us[i])
        i++;
    bump(&b->buckets[m][i], 1);
    bump(&b->values[m], us);
}

int64_t metric_value(enum metric m)
{
    int64_t sum = 0;
    for (struct block *b = atomic_load(&blocks); b; b = b->next)
        sum += atomic_load_explicit(&b->values[m], memory_order_relaxed);
    return sum;
}

static int64_t bucket_value(enum metric m, size_t bucket)
{
    int64_t sum = 0;
    for (struct block *b = atomic_load(&blocks); b; b = b->next)
        sum += atomic_load_explicit(&b->buckets[m][bucket], memory_order_relaxed);
    return sum;
}

static void write_histogram(struct strbuf *out, enum metric m)
{
    int64_t count = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        count += bucket_value(m, i);
        strbuf_addf(out, "%s_bucket{le=\"%g\"} %lld\n", rows[m].name, (double)bounds_us[i] / 1e6, (long long)count);
    }
    count += bucket_value(m, BUCKETS);
    strbuf_addf(out, "%s_bucket{le=\"+Inf\"} %lld\n", rows[m].name, (long long)count);
    strbuf_addf(out, "%s_sum %.6f\n%s_count %lld\n", rows[m].name, (double)metric_value(m) / 1e6, rows[m].name,
                (long long)count);
}

static void write_head(struct strbuf *out, const char *name, const char *help, const char *type)
{
    strbuf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Of /proc/self/statm, in pages. */
static long resident_pages(void)
{
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%ld %ld", &size, &resident) != 2) /* NOLINT(cert-err34-c): the kernel's own format */
        resident = 0;
    fclose(f);
    return resident;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void write_process(struct strbuf *out, const char *component)
{
    write_head(out, "process_resident_memory_bytes", "Resident memory.", "gauge");
    strbuf_addf(out, "process_resident_memory_bytes %lld\n", (long long)resident_pages() * sysconf(_SC_PAGESIZE));
    write_head(out, "process_cpu_seconds_total", "Processor time used.", "counter");
    strbuf_addf(out, "process_cpu_seconds_total %.2f\n", cpu_seconds());
    write_head(out, "errand_build_info", "What runs here.", "gauge");
    strbuf_addf(out, "errand_build_info{version=\"%s\",component=\"%s\"} 1\n", ERRAND_VERSION, component);
}

void metrics_write(struct strbuf *out, const char *component)
{
    for (int m = 0; m < METRIC_COUNT; m++) {
        const struct metric_row *row = &rows[m];
        if (m == 0 || strcmp(rows[m - 1].name, row->name) != 0) /* rows of one name stand together in the table */
            write_head(out, row->name, row->help, type_names[row->type]);
        if (row->type == TYPE_histogram)
            write_histogram(out, (enum metric)m);
        else if (row->labels[0])
            strbuf_addf(out, "%s{%s} %lld\n", row->name, row->labels, (long long)metric_value((enum metric)m));
        else
            strbuf_addf(out, "%s %lld\n", row->name, (long long)metric_value((enum metric)m));
    }
    write_process(out, component);
}
