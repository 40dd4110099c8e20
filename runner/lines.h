/* Bytes → lines, of agents' output: cut at newlines, bounded. A line longer than the bound comes in pieces. Pure. */
#ifndef ERRAND_RUNNER_LINES_H
#define ERRAND_RUNNER_LINES_H

#include "common/strbuf.h"

enum { LINE_MAX_BYTES = 262144, LINE_PIECE_BYTES = 32768 };

/* line: without its newline (and without a CR before it). piece: it is a part of a line that was too long. */
typedef void (*line_fn)(void *ctx, struct str line, bool piece);

struct lines {
    struct strbuf pending;
    size_t max;
    bool overlong; /* the present line is being handed out in pieces */
};

/* max: the longest line in bytes; at least LINE_PIECE_BYTES. */
void lines_init(struct lines *l, size_t max);
void lines_done(struct lines *l);
void lines_feed(struct lines *l, struct str bytes, line_fn fn, void *ctx);
/* The end: what has no newline behind it is a line too. */
void lines_end(struct lines *l, line_fn fn, void *ctx);

#endif
