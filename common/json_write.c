#include <math.h>
#include <stdio.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "common/clock.h"
#include "common/json.h"

void json_writer_init(struct json_writer *w, struct strbuf *out)
{
    *w = (struct json_writer){.out = out};
}

/* Before each value: the comma that it needs. */
static void value_begins(struct json_writer *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    uint64_t bit = UINT64_C(1) << w->depth;
    if (w->has_item & bit)
        strbuf_addc(w->out, ',');
    w->has_item |= bit;
}

static void open_level(struct json_writer *w, char c)
{
    PRE(w->depth < 63);
    value_begins(w);
    strbuf_addc(w->out, c);
    w->depth++;
    w->has_item &= ~(UINT64_C(1) << w->depth);
}

static void close_level(struct json_writer *w, char c)
{
    PRE(w->depth > 0 && !w->after_key);
    w->depth--;
    strbuf_addc(w->out, c);
}

void json_object_begin(struct json_writer *w)
{
    open_level(w, '{');
}

void json_object_end(struct json_writer *w)
{
    close_level(w, '}');
}

void json_array_begin(struct json_writer *w)
{
    open_level(w, '[');
}

void json_array_end(struct json_writer *w)
{
    close_level(w, ']');
}

void json_key_str(struct json_writer *w, struct str key)
{
    value_begins(w);
    json_quote(w->out, key);
    strbuf_addc(w->out, ':');
    w->after_key = true;
}

void json_key(struct json_writer *w, const char *key)
{
    json_key_str(w, str_of(key));
}

void json_str(struct json_writer *w, struct str s)
{
    value_begins(w);
    json_quote(w->out, s);
}

void json_int(struct json_writer *w, int64_t n)
{
    value_begins(w);
    strbuf_addi(w->out, n);
}

void json_double(struct json_writer *w, double d)
{
    value_begins(w);
    if (isfinite(d))
        strbuf_addf(w->out, "%.17g", d);
    else
        strbuf_add(w->out, STR("null"));
}

void json_bool(struct json_writer *w, bool b)
{
    value_begins(w);
    strbuf_addz(w->out, b ? "true" : "false");
}

void json_null(struct json_writer *w)
{
    value_begins(w);
    strbuf_add(w->out, STR("null"));
}

void json_raw(struct json_writer *w, struct str raw)
{
    value_begins(w);
    strbuf_add(w->out, raw.len > 0 ? raw : STR("null"));
}

void json_kv_str(struct json_writer *w, const char *key, struct str s)
{
    json_key(w, key);
    json_str(w, s);
}

void json_kv_str_opt(struct json_writer *w, const char *key, struct str s)
{
    if (s.len > 0)
        json_kv_str(w, key, s);
}

void json_kv_int(struct json_writer *w, const char *key, int64_t n)
{
    json_key(w, key);
    json_int(w, n);
}

void json_kv_bool(struct json_writer *w, const char *key, bool b)
{
    json_key(w, key);
    json_bool(w, b);
}

void json_kv_raw(struct json_writer *w, const char *key, struct str raw)
{
    json_key(w, key);
    json_raw(w, raw);
}

void json_kv_time(struct json_writer *w, const char *key, int64_t ms)
{
    if (ms <= 0)
        return;
    char iso[CLOCK_ISO_LEN + 1];
    clock_iso(ms, iso);
    json_kv_str(w, key, str_of(iso));
}

/* The length (1 … 4) of the valid UTF-8 sequence at p, or 0. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xed && p[1] > 0x9f;
    bool too_high = p[0] == 0xf4 && p[1] > 0x8f;
    return overlong || surrogate || too_high ? 0 : n;
}

/* From byte `begin` up to byte `end`. An empty slice may have no pointer, and none may be computed from it. */
static void add_part(struct strbuf *out, struct str s, size_t begin, size_t end)
{
    if (end > begin)
        strbuf_add(out, (struct str){s.ptr + begin, end - begin});
}

void utf8_sanitize(struct strbuf *out, struct str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t clean = 0; /* begin of what was not copied yet */
    for (size_t i = 0; i < s.len;) {
        size_t n = utf8_sequence(p + i, s.len - i);
        if (n > 0) {
            i += n;
            continue;
        }
        add_part(out, s, clean, i);
        strbuf_add(out, STR("\xef\xbf\xbd"));
        clean = ++i;
    }
    add_part(out, s, clean, s.len);
}

size_t utf8_complete_len(struct str s)
{
    for (size_t back = 1; back <= 3 && back <= s.len; back++) {
        unsigned char c = (unsigned char)s.ptr[s.len - back];
        if (c < 0x80)
            return s.len;
        if (c >= 0xc0) {
            size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
            return want > back && c <= 0xf4 ? s.len - back : s.len;
        }
    }
    return s.len;
}

/* Where a byte comes that a string of JSON can't have as it is, or that must be looked at because it is no ASCII. */
static size_t plain_run(struct str s, size_t at)
{
#ifdef __SSE2__
    for (; at + 16 <= s.len; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(s.ptr + at));
        __m128i odd =
            _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
        odd = _mm_or_si128(odd, _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20))); /* signed: also what is above 0x7f */
        int found = _mm_movemask_epi8(odd);
        if (found)
            return at + (size_t)__builtin_ctz((unsigned)found);
    }
#endif
    while (at < s.len && (unsigned char)s.ptr[at] >= 0x20 && (unsigned char)s.ptr[at] < 0x80 && s.ptr[at] != '"' &&
           s.ptr[at] != '\\')
        at++;
    return at;
}

void json_quote(struct strbuf *out, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)s.ptr;
    strbuf_grow(out, s.len + 2); /* at once what is needed at least */
    strbuf_addc(out, '"');
    size_t clean = 0;
    for (size_t i = 0; i < s.len;) {
        i = plain_run(s, i);
        if (i == s.len)
            break;
        unsigned char c = p[i];
        size_t n = c >= 0x80 ? utf8_sequence(p + i, s.len - i) : 1;
        if (n > 0 && c >= 0x80) {
            i += n;
            continue;
        }
        add_part(out, s, clean, i);
        const char short_form = c == '"'    ? '"'
                                : c == '\\' ? '\\'
                                : c == '\n' ? 'n'
                                : c == '\r' ? 'r'
                                : c == '\t' ? 't'
                                            : 0;
        if (n == 0)
            strbuf_add(out, STR("\xef\xbf\xbd"));
        else if (short_form)
            strbuf_add(out, (struct str){(char[]){'\\', short_form}, 2});
        else
            strbuf_add(out, (struct str){(char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6});
        clean = ++i;
    }
    add_part(out, s, clean, s.len);
    strbuf_addc(out, '"');
}
