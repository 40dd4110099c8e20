#include "runner/lines.h"

#include "common/json.h"

void lines_init(struct lines *l, size_t max)
{
    *l = (struct lines){.max = max};
    strbuf_init(&l->pending, max + LINE_PIECE_BYTES);
}

void lines_done(struct lines *l)
{
    strbuf_done(&l->pending);
}

static struct str without_cr(struct str line)
{
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

/* Hands out pending in pieces, cut between characters. A piece goes when a byte behind it is there: only then is it known whether its end is a character's
 * and whether a CR is the line's end. So up to a piece is kept, unless all is to go. */
static void hand_out_pieces(struct lines *l, bool all, line_fn fn, void *ctx)
{
    size_t at = 0;
    while (l->pending.len - at > LINE_PIECE_BYTES || (all && at < l->pending.len)) {
        struct str piece = {l->pending.ptr + at, l->pending.len - at};
        if (piece.len > LINE_PIECE_BYTES) {
            piece.len = LINE_PIECE_BYTES;
            piece.len = utf8_complete_len(piece);
        }
        fn(ctx, piece, true);
        at += piece.len;
    }
    strbuf_consume(&l->pending, at);
}

static void end_line(struct lines *l, line_fn fn, void *ctx)
{
    if (l->overlong) {
        l->pending.len = without_cr(strbuf_str(&l->pending)).len;
        hand_out_pieces(l, true, fn, ctx);
    } else {
        fn(ctx, without_cr(strbuf_str(&l->pending)), false);
    }
    strbuf_reset(&l->pending);
    l->overlong = false;
}

void lines_feed(struct lines *l, struct str bytes, line_fn fn, void *ctx)
{
    while (bytes.len > 0) {
        const char *newline = memchr(bytes.ptr, '\n', bytes.len);
        size_t n = newline ? (size_t)(newline - bytes.ptr) : bytes.len;
        if (newline && l->pending.len == 0 && !l->overlong && n <= l->max) { /* whole: no copy */
            fn(ctx, without_cr((struct str){bytes.ptr, n}), false);
        } else {
            for (size_t at = 0; at < n;) {
                size_t part = n - at < LINE_PIECE_BYTES ? n - at : LINE_PIECE_BYTES;
                strbuf_add(&l->pending, (struct str){bytes.ptr + at, part});
                at += part;
                l->overlong = l->overlong || l->pending.len > l->max;
                if (l->overlong)
                    hand_out_pieces(l, false, fn, ctx);
            }
            if (newline)
                end_line(l, fn, ctx);
        }
        size_t used = n + (newline ? 1 : 0);
        bytes.ptr += used;
        bytes.len -= used;
    }
    if (l->pending.len == 0)
        strbuf_done(&l->pending); /* an agent that is silent holds no memory */
}

void lines_end(struct lines *l, line_fn fn, void *ctx)
{
    if (l->pending.len > 0)
        end_line(l, fn, ctx);
    strbuf_done(&l->pending);
}
