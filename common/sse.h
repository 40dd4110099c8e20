/* Server-Sent Events from bytes that come in any pieces: what the CLI follows, and what remote executors are answered. Pure. */
#ifndef ERRAND_COMMON_SSE_H
#define ERRAND_COMMON_SSE_H

#include "common/strbuf.h"

#define SSE_FRAME_MAX (16U << 20) /* the final frame carries a result */

struct sse_frame {
    struct str event; /* "message" when it names none */
    struct str data;
    struct str id; /* of this frame; empty when it has none */
};

/* Returns false to stop. The slices are valid during the call. */
typedef bool (*sse_fn)(void *ctx, const struct sse_frame *frame);

struct sse {
    struct strbuf line; /* the incomplete line */
    struct strbuf event, data, id;
    bool has_data, has_id;
    bool after_cr;    /* a LF that follows belongs to that line's end */
    bool begun;       /* past where a byte order mark may stand */
    int64_t retry_ms; /* of the last `retry:`; -1 before one */
    sse_fn fn;
    void *ctx;
};

/* max: bytes of a line, and of the data of a frame. */
void sse_init(struct sse *s, size_t max, sse_fn fn, void *ctx);
void sse_done(struct sse *s);
/* Forgets an incomplete frame, for a new connection. */
void sse_reset(struct sse *s);
/* False when fn stopped it or a frame is too long. */
MUST_CHECK bool sse_feed(struct sse *s, struct str bytes);

#endif
