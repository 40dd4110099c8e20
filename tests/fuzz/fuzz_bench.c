/* What the load client reads of a node: a head, then a stream in chunks, and the events in it. However the bytes are cut, it counts the same, and reads nothing beyond them. The first byte says where the cuts are. */
#include <stdlib.h>

#include "cli/bench_frames.h"
#include "cli/bench_load_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_stream(void *ctx, struct load_conn *c, struct str bytes)
{
    (void)c;
    (void)frames_feed(ctx, bytes, 3, 1000);
    return true;
}

static const struct load_fns fns = {.stream = on_stream};

/* Pieces of step bytes, each in a block of just its size, so that a read past its end is seen. */
static enum load_stream_end feed(struct frames *f, bool chunked, struct str bytes, size_t step)
{
    struct load l = {.fns = &fns, .ctx = f};
    struct load_conn c = {.load = &l, .state = LOAD_STREAM, .chunked = chunked};
    enum load_stream_end end = LOAD_STREAM_ON;
    *f = (struct frames){.seq = -1, .delay_ms = -1};
    for (size_t at = 0; at < bytes.len && end == LOAD_STREAM_ON; at += step) {
        size_t len = step < bytes.len - at ? step : bytes.len - at;
        char *piece = malloc(len);
        PRE(piece != NULL);
        memcpy(piece, bytes.ptr + at, len);
        end = load_stream_feed(&c, (struct str){piece, len});
        free(piece);
    }
    return end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct load_head head;
    struct frames whole, cut;
    if (size < 2)
        return 0;
    char *copy = malloc(size - 1);
    PRE(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    struct str bytes = {copy, size - 1};
    if (load_head_parse(bytes, &head) && head.status > 0) {
        POST(head.len <= bytes.len && head.length >= 0);
        bytes.ptr += head.len;
        bytes.len -= head.len;
        if (head.stream && bytes.len > 0) {
            enum load_stream_end one = feed(&whole, head.chunked, bytes, bytes.len);
            enum load_stream_end other = feed(&cut, head.chunked, bytes, (size_t)data[0] % 17 + 1);
            POST(one == other && whole.events == cut.events && whole.missing == cut.missing);
            POST(whole.repeated == cut.repeated && whole.last_seq == cut.last_seq && whole.done == cut.done);
        }
    }
    free(copy);
    return 0;
}
