/* A worker's output: a run ends for the pool exactly where it does for the adapter, however the bytes come. The first byte says how they are cut. */
#include <stdlib.h>

#include "runner/adapter.h"
#include "runner/pool_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore_event(void *ctx, enum event_kind kind, struct str data)
{
    (void)ctx;
    (void)kind;
    (void)data;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pool_scan s;
    struct adapter a;
    size_t step = size > 0 ? 1 + data[0] % 64 : 1, at = 1;
    enum pool_line line = POOL_LINE_PARTIAL;
    pool_scan_init(&s);
    adapter_init(&a, STR("events"), ignore_event, NULL);
    while (at < size && !pool_line_ends(line)) {
        struct str part = {(const char *)data + at, size - at < step ? size - at : step};
        size_t n = pool_scan_feed(&s, part, &line);
        PRE(n > 0 && n <= part.len);
        adapter_feed(&a, (struct str){part.ptr, n});
        PRE(a.claim.made == pool_line_ends(line));
        at += n;
    }
    if (!a.claim.made) {
        line = pool_scan_end(&s);
        adapter_end(&a);
    }
    PRE(a.claim.made == pool_line_ends(line) && a.claim.error == (line == POOL_LINE_FAILURE));
    adapter_done(&a);
    pool_scan_done(&s);
    return 0;
}
