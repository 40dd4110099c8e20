/* Latencies in fixed memory: 64 buckets to each doubling, so what is read out of it is at most 1.6 % too high. Pure. */
#ifndef ERRAND_CLI_BENCH_HISTOGRAM_H
#define ERRAND_CLI_BENCH_HISTOGRAM_H

#include "common/base.h"

enum { HISTOGRAM_DOUBLINGS = 30, HISTOGRAM_EACH = 64 }; /* up to about 9 hours in µs; longer ones count as that */

struct histogram {
    uint64_t counts[HISTOGRAM_DOUBLINGS * HISTOGRAM_EACH];
    uint64_t total;
};

void histogram_add(struct histogram *h, int64_t us);
/* The value at or below which share (0 … 1) of them are; 0 of none. */
int64_t histogram_at(const struct histogram *h, double share);

#endif
