#include "cli/bench_histogram.h"

/* Below 128 each value has its own bucket; then the 7 leading bits name it. */
static size_t bucket_of(uint64_t value)
{
    if (value < 2 * HISTOGRAM_EACH)
        return (size_t)value;
    unsigned shift = 63U - 6U - (unsigned)__builtin_clzll(value);
    size_t bucket = ((size_t)shift << 6) + (size_t)(value >> shift);
    size_t last = (size_t)HISTOGRAM_DOUBLINGS * HISTOGRAM_EACH - 1;
    return bucket < last ? bucket : last;
}

/* The highest value of a bucket. */
static int64_t value_of(size_t bucket)
{
    if (bucket < 2 * HISTOGRAM_EACH)
        return (int64_t)bucket;
    unsigned shift = (unsigned)(bucket >> 6) - 1;
    uint64_t lead = (bucket & 63U) + 64U;
    return (int64_t)(((lead + 1) << shift) - 1);
}

void histogram_add(struct histogram *h, int64_t us)
{
    h->counts[bucket_of(us > 0 ? (uint64_t)us : 0)]++;
    h->total++;
}

int64_t histogram_at(const struct histogram *h, double share)
{
    if (h->total == 0)
        return 0;
    double exact = share * (double)h->total;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0)
        rank++;
    uint64_t seen = 0;
    for (size_t i = 0; i < ARRAY_LEN(h->counts); i++) {
        seen += h->counts[i];
        if (seen >= rank)
            return value_of(i);
    }
    return value_of(ARRAY_LEN(h->counts) - 1);
}
