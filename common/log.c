#include "common/log.h"

#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"

enum { LINE_MAX_BYTES = 8192, VALUE_MAX_BYTES = 2048 };

static enum log_level min_level = LOG_LEVEL_INFO;
static enum log_format format = LOG_FORMAT_JSON;
static const char *component_name = "";
static char node_name[65];

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_setup(enum log_level level, enum log_format log_format, const char *component, struct str node)
{
    min_level = level;
    format = log_format;
    component_name = component;
    snprintf(node_name, sizeof node_name, "%.*s", STR_ARG(node));
}

bool log_level_parse(struct str s, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (str_eqz(s, level_names[i])) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_on(enum log_level level)
{
    return level >= min_level;
}

/* Long values are cut between characters, so that the line stays whole. */
static struct str cut(struct str s)
{
    if (s.len > VALUE_MAX_BYTES) {
        s.len = VALUE_MAX_BYTES;
        s.len = utf8_complete_len(s);
    }
    return s;
}

/* logfmt: bare where it can be, else quoted as JSON does. */
static void add_logfmt(struct strbuf *out, const char *key, struct str value)
{
    if (out->len > 0)
        strbuf_addc(out, ' ');
    strbuf_addz(out, key);
    strbuf_addc(out, '=');
    bool bare = value.len > 0;
    for (size_t i = 0; i < value.len && bare; i++)
        bare = value.ptr[i] > ' ' && value.ptr[i] < 0x7f && value.ptr[i] != '"' && value.ptr[i] != '=' &&
               value.ptr[i] != '\\';
    if (bare)
        strbuf_add(out, value);
    else
        json_quote(out, value);
}

static void add_field(struct json_writer *w, struct strbuf *out, const struct log_field *f)
{
    size_t before = out->len;
    char digits[24];
    int len = f->is_int ? snprintf(digits, sizeof digits, "%lld", (long long)f->i) : 0;
    if (format == LOG_FORMAT_LOGFMT)
        add_logfmt(out, f->key, f->is_int ? (struct str){digits, (size_t)len} : cut(f->s));
    else if (f->is_int)
        json_kv_int(w, f->key, f->i);
    else
        json_kv_str(w, f->key, cut(f->s));
    if (out->len > LINE_MAX_BYTES - 64 && !out->failed) { /* no room for it and the end: the field is left out whole */
        out->len = before;
        out->ptr[before] = 0;
    }
}

static void add_str(struct json_writer *w, struct strbuf *out, const char *key, struct str value)
{
    add_field(w, out, &LOG_S(key, value));
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields, size_t n)
{
    struct strbuf out;
    strbuf_init(&out, 4 * LINE_MAX_BYTES);
    struct json_writer w;
    json_writer_init(&w, &out);
    if (format == LOG_FORMAT_JSON)
        json_object_begin(&w);
    char now[CLOCK_ISO_LEN + 1];
    clock_iso(clock_wall_ms(), now);
    add_str(&w, &out, "time", str_of(now));
    add_str(&w, &out, "level", str_of(level_names[level]));
    add_str(&w, &out, "component", str_of(component_name));
    if (node_name[0])
        add_str(&w, &out, "node", str_of(node_name));
    add_str(&w, &out, "msg", str_of(msg));
    for (size_t i = 0; i < n; i++)
        add_field(&w, &out, &fields[i]);
    if (format == LOG_FORMAT_JSON)
        json_object_end(&w);
    strbuf_addc(&out, '\n');
    /* One write: lines of several processes on one pipe don't mix. What does not go out is lost: a log never blocks or ends its program. */
    if (!strbuf_failed(&out) && write(STDERR_FILENO, out.ptr, out.len) < 0) {
        /* nowhere left to say it */
    }
    strbuf_done(&out);
}
