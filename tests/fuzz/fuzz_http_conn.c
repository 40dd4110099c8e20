/* The connection's state machine: whatever a client sends, and wherever it is cut, the answers are the same, nothing leaks, and what is held stays bounded. Byte 0 and 1 say where the cuts are, byte 2 how the client ends
 * and how much room its socket has. */
#include <stdlib.h>

#include "tests/unit/conn_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer_all(struct rig *r)
{
    while (r->later_count > 0)
        rig_answer(r);
}

/* What a connection may hold: its input, one body, and answers up to the pause and one beyond it. */
enum { HELD_MAX = 1 << 20 };

static void talk(const uint8_t *data, size_t size, size_t step, struct strbuf *out)
{
    struct rig r;
    rig_start(&r);
    for (size_t at = 0; at < size; at += step) {
        rig_bytes(&r, (struct str){(const char *)data + at, step < size - at ? step : size - at});
        POST(!r.conn || http_conn_held(r.conn) < HELD_MAX);
        answer_all(&r);
    }
    rig_output(&r, out);
    rig_done(&r);
}

/* A client whose socket takes little, and who ends in one way or the other while requests are under way. */
static void talk_slowly(const uint8_t *data, size_t size, size_t step, uint8_t how)
{
    struct rig r;
    rig_start(&r);
    r.room = how & 63u;
    for (size_t at = 0; at < size; at += step) {
        rig_bytes(&r, (struct str){(const char *)data + at, step < size - at ? step : size - at});
        if (r.conn && (at / step) % 7 == 6) {
            r.room += how;
            http_conn_on_writable(r.conn);
        }
        POST(!r.conn || http_conn_held(r.conn) < HELD_MAX);
    }
    if (r.stream && how & 1) {
        http_stream_end(r.stream);
        r.stream = NULL;
    }
    if (r.conn && how & 64)
        http_conn_on_eof(r.conn, how & 128);
    else if (r.conn)
        http_conn_drain(r.conn);
    answer_all(&r);
    rig_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    struct strbuf whole, cut;
    talk(data + 3, size - 3, size, &whole);
    talk(data + 3, size - 3, data[0] % 31u + 1, &cut);
    POST(str_eq(strbuf_str(&whole), strbuf_str(&cut)));
    strbuf_done(&whole);
    strbuf_done(&cut);
    talk_slowly(data + 3, size - 3, data[1] % 31u + 1, data[2]);
    return 0;
}
