#include "runner/job_stats.h"

bool job_stats_write(const struct job_stats *stats, struct strbuf *out)
{
    const char *comma = "";
    strbuf_addc(out, '{');
    if (stats->cpu_percent >= 0) {
        strbuf_addf(out, "\"cpuPercent\":%.1f", stats->cpu_percent);
        comma = ",";
    }
    if (stats->memory_bytes >= 0) {
        strbuf_addf(out, "%s\"memoryMb\":%.1f", comma, (double)stats->memory_bytes / 1048576);
        comma = ",";
    }
    const struct {
        const char *name;
        int64_t n;
    } network[] = {{"networkRxBytes", stats->network_rx_bytes}, {"networkTxBytes", stats->network_tx_bytes}};
    for (size_t i = 0; i < ARRAY_LEN(network); i++) {
        if (network[i].n < 0)
            continue;
        strbuf_addf(out, "%s\"%s\":%lld", comma, network[i].name, (long long)network[i].n);
        comma = ",";
    }
    strbuf_addc(out, '}');
    return comma[0] != 0 && !strbuf_failed(out);
}

void job_stats_event(struct attempt *a, struct str stats)
{
    struct strbuf data;
    strbuf_init(&data, 1024);
    strbuf_addf(&data, "{\"type\":\"resource_stats\",%.*s", (int)stats.len - 1, stats.ptr + 1);
    if (!strbuf_failed(&data))
        outbox_add_aside(&a->outbox, EVENT_NOTIFICATION, strbuf_str(&data));
    strbuf_done(&data);
}
