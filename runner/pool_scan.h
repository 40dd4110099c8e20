/* What a pool's worker writes on standard output, line by line: where a run ends in it. Pure: it copies what is no whole line yet, and hands nothing out. Protocol: docs/agents.md, "Warm workers".
 * A run's end is found by the rules by which the adapter takes a runtime_terminal (adapter.c); a test holds the two together. */
#ifndef ERRAND_RUNNER_POOL_SCAN_H
#define ERRAND_RUNNER_POOL_SCAN_H

#include "common/strbuf.h"

enum pool_line {
    POOL_LINE_PARTIAL, /* its end is not there yet */
    POOL_LINE_OTHER,
    POOL_LINE_READY,   /* {"kind":"notification","data":{"type":"worker_ready"}} */
    POOL_LINE_SUCCESS, /* a runtime_terminal: success, or stopped by itself */
    POOL_LINE_FAILURE  /* a runtime_terminal: an error, or one that is too long to be read */
};

struct pool_scan {
    struct strbuf line; /* its beginning, where it came in pieces */
    bool overlong;      /* this line is longer than any result may be, and not kept */
    bool claims;        /* it began as a runtime_terminal */
    bool was_overlong;  /* some line was, since pool_scan_reset */
};

void pool_scan_init(struct pool_scan *s);
void pool_scan_done(struct pool_scan *s);
/* Before a run: forgets what was. */
void pool_scan_reset(struct pool_scan *s);
/* Reads at most one line. Returns how many bytes it took, its newline included. */
size_t pool_scan_feed(struct pool_scan *s, struct str bytes, enum pool_line *ret_line);
/* The end of the output: what has no newline behind it is a line too. */
enum pool_line pool_scan_end(struct pool_scan *s);
static inline bool pool_line_ends(enum pool_line line)
{
    return line == POOL_LINE_SUCCESS || line == POOL_LINE_FAILURE;
}

#endif
