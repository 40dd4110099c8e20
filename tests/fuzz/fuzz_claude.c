/* The protocol `claude`. Byte 0: where the cuts are; odd: the rest is a text that is streamed in deltas (cut where it says) and then comes whole: it must be shown just once. */
#include "common/json.h"
#include "tool_lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void quoted_line(struct strbuf *out, const char *begin, struct str text, const char *end)
{
    strbuf_addz(out, begin);
    json_quote(out, text);
    strbuf_addz(out, end);
    strbuf_addc(out, '\n');
}

/* lost: the last delta does not come. */
static void check_streamed(struct str bytes, size_t step, bool lost)
{
    struct strbuf text, lines, shown;
    strbuf_init(&text, 1 << 22);
    strbuf_init(&lines, 1 << 24);
    strbuf_init(&shown, 1 << 24);
    utf8_sanitize(&text, bytes);
    strbuf_addz(&lines,
                "{\"type\":\"stream_event\",\"event\":{\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}}\n");
    for (struct str rest = strbuf_str(&text); rest.len > 0;) {
        struct str piece = {rest.ptr, step < rest.len ? step : rest.len};
        while (piece.len < rest.len && ((unsigned char)rest.ptr[piece.len] & 0xc0) == 0x80)
            piece.len++;
        rest.ptr += piece.len;
        rest.len -= piece.len;
        if (rest.len > 0 || !lost)
            quoted_line(&lines,
                        "{\"type\":\"stream_event\",\"event\":{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{"
                        "\"type\":\"text_delta\",\"text\":",
                        piece, "}}}");
    }
    quoted_line(&lines, "{\"type\":\"assistant\",\"message\":{\"id\":\"m\",\"content\":[{\"type\":\"text\",\"text\":",
                strbuf_str(&text), "}]}}");
    tool_lines_text("claude", strbuf_str(&lines), &shown);
    POST(strbuf_failed(&lines) || str_eq(strbuf_str(&shown), strbuf_str(&text)));
    strbuf_done(&text);
    strbuf_done(&lines);
    strbuf_done(&shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str rest = {(const char *)data + 1, size - 1};
    size_t step = data[0] / 2 % 29u + 1;
    if (data[0] & 1)
        check_streamed(rest, step, data[0] >= 128);
    else
        tool_lines_check("claude", rest, step);
    return 0;
}
