/* The SSE reader: whatever comes, and however it is cut, the frames are the same, and nothing is read beyond the end. The first byte says where the cuts are. */
#include <stdlib.h>

#include "common/sse.h"
#include "common/strbuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_frame(void *ctx, const struct sse_frame *frame)
{
    struct strbuf *seen = ctx;
    strbuf_addf(seen, "%zu %zu %zu ", frame->event.len, frame->id.len, frame->data.len);
    strbuf_add(seen, frame->event);
    strbuf_add(seen, frame->id);
    strbuf_add(seen, frame->data);
    return true;
}

/* Feeds pieces of step bytes, each copied to a block of just its size, so that a read past its end is seen. */
static void feed(struct strbuf *seen, const uint8_t *data, size_t size, size_t step)
{
    struct sse s;
    strbuf_init(seen, 64U << 20);
    sse_init(&s, SSE_FRAME_MAX, on_frame, seen);
    for (size_t at = 0; at < size; at += step) {
        size_t len = step < size - at ? step : size - at;
        char *piece = malloc(len);
        PRE(piece != NULL);
        memcpy(piece, data + at, len);
        if (!sse_feed(&s, (struct str){piece, len}))
            at = size;
        free(piece);
    }
    sse_done(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct strbuf whole, cut;
    feed(&whole, data + 1, size - 1, size - 1);
    feed(&cut, data + 1, size - 1, (size_t)data[0] % 17 + 1);
    POST(str_eq(strbuf_str(&whole), strbuf_str(&cut)));
    strbuf_done(&whole);
    strbuf_done(&cut);
    return 0;
}
