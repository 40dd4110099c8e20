/* What is told of a schema or a value: where it is, and what is wrong. */
#include <stdarg.h>
#include <stdio.h>

#include "common/schema_node.h"

void schema_pointer(const struct place *at, char ret_pointer[SCHEMA_POINTER_MAX + 1])
{
    char buf[SCHEMA_POINTER_MAX + 1];
    size_t begin = sizeof buf, end = sizeof buf; /* from its end to its beginning: the way is up */
    for (; at; at = at->up) {
        char number[24];
        struct str key =
            at->key.ptr ? at->key : (struct str){number, (size_t)snprintf(number, sizeof number, "%zu", at->index)};
        size_t need = 1;
        for (size_t i = 0; i < key.len; i++)
            need += key.ptr[i] == '~' || key.ptr[i] == '/' ? 2 : 1;
        if (need > begin) { /* all below it goes */
            begin = end = sizeof buf;
            if (need > begin)
                continue;
        }
        for (size_t i = key.len; i-- > 0;) {
            bool escaped = key.ptr[i] == '~' || key.ptr[i] == '/';
            buf[--begin] = !escaped ? key.ptr[i] : key.ptr[i] == '~' ? '0' : '1';
            if (escaped)
                buf[--begin] = '~';
        }
        buf[--begin] = '/';
    }
    memcpy(ret_pointer, buf + begin, end - begin);
    ret_pointer[end - begin] = 0;
}

const char *schema_shown(struct str name, char buf[SHOWN_MAX])
{
    struct strbuf text;
    bool cut = name.len > 60;
    if (cut) {
        name.len = 60;
        name.len = utf8_complete_len(name);
    }
    strbuf_init(&text, 6 * 64);
    json_quote(&text, name);
    int len = text.len < SHOWN_MAX - 8 ? (int)text.len : SHOWN_MAX - 8;
    while (len > 0 && ((unsigned char)text.ptr[len] & 0xc0) == 0x80)
        len--;
    snprintf(buf, SHOWN_MAX, "%.*s%s", len, text.ptr ? text.ptr : "", cut ? "…" : "");
    strbuf_done(&text);
    return buf;
}

int schema_name_order(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;
    return order ? order : a.len < b.len ? -1 : a.len > b.len;
}

bool schema_refuse(struct schema_fault *fault, const struct place *at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(fault->message, sizeof fault->message, fmt, args);
    va_end(args);
    fault->message[utf8_complete_len(str_of(fault->message))] = 0;
    fault->keyword = "";
    schema_pointer(at, fault->pointer);
    return false;
}

void schema_faults_write(const struct schema_faults *faults, struct strbuf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_array_begin(&w);
    for (size_t i = 0; i < faults->n; i++) {
        json_object_begin(&w);
        json_kv_str(&w, "pointer", str_of(faults->list[i].pointer));
        json_kv_str(&w, "keyword", str_of(faults->list[i].keyword));
        json_kv_str(&w, "message", str_of(faults->list[i].message));
        json_object_end(&w);
    }
    json_array_end(&w);
}

const char *schema_output_message(const struct schema_faults *faults, char buf[OUTPUT_INVALID_MAX])
{
    const struct schema_fault *f = &faults->list[0];
    char more[40] = "";
    if (faults->n > 1)
        snprintf(more, sizeof more, " (and %zu more)", faults->n - 1);
    snprintf(buf, OUTPUT_INVALID_MAX, "the result%.*s: %s%s (the agent's outputSchema says so)", 400, f->pointer,
             f->message, more);
    buf[utf8_complete_len(str_of(buf))] = 0;
    return buf;
}
