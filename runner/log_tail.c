#include "runner/log_tail.h"

#include "common/json.h"
#include "common/limits.h"

enum { TEXT_MAX = 4096, LINE_MAX = 16 * TEXT_MAX };

void log_tail_init(struct log_tail *t)
{
    strbuf_init(&t->lines, 2 * LIMIT_LOG_BYTES);
}

void log_tail_done(struct log_tail *t)
{
    strbuf_done(&t->lines);
}

void log_tail_add(struct log_tail *t, int64_t t_ms, const char *stream, struct str text)
{
    if (text.len > TEXT_MAX) {
        text.len = TEXT_MAX;
        text.len = utf8_complete_len(text);
    }
    struct strbuf line;
    struct json_writer w;
    strbuf_init(&line, LINE_MAX);
    json_writer_init(&w, &line);
    json_object_begin(&w);
    json_kv_int(&w, "tMs", t_ms);
    json_kv_str(&w, "stream", str_of(stream));
    json_kv_str(&w, "text", text);
    json_object_end(&w);
    while (t->lines.len > 0 && t->lines.len + 1 + line.len > LIMIT_LOG_BYTES) {
        const char *newline = memchr(t->lines.ptr, '\n', t->lines.len);
        strbuf_consume(&t->lines, newline ? (size_t)(newline - t->lines.ptr) + 1 : t->lines.len);
    }
    if (t->lines.len > 0)
        strbuf_addc(&t->lines, '\n');
    strbuf_add(&t->lines, strbuf_str(&line));
    strbuf_done(&line);
}

void log_tail_write(const struct log_tail *t, struct strbuf *out)
{
    strbuf_addc(out, '[');
    size_t from = out->len;
    strbuf_add(out, strbuf_str(&t->lines));
    for (size_t i = from; i < out->len; i++) /* within a line a newline is escaped */
        if (out->ptr[i] == '\n')
            out->ptr[i] = ',';
    strbuf_addc(out, ']');
}
