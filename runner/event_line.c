#include "runner/event_line.h"

#include <string.h>

#include "common/json.h"
#include "common/limits.h"

enum { LEVELS_MAX = 24, EVENT_OVERHEAD = 128, DIGITS_MAX = 18, KIND_VALUE_MAX = 80 };

struct scan {
    const char *p, *end;
    struct redactor *r;
    struct event_line *l;
    const char *data; /* where it begins in the line */
    size_t most;      /* that scratch can get */
    bool spaced;      /* there is white space between tokens of data */
    bool foreign;     /* there are bytes that are no ASCII */
    int level;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static char peek(struct scan *s)
{
    if (s->p < s->end && is_space(*s->p)) {
        s->spaced = true;
        while (s->p < s->end && is_space(*s->p))
            s->p++;
    }
    return s->p < s->end ? *s->p : 0;
}

/* ---- strings ---- */

/* The high bit of each byte that is a quote, a backslash, a control character, or no ASCII; bits above the first one that is set may be wrong. */
static uint64_t special(uint64_t w)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
    return ((w - ones * 0x20) | (quote - ones) | (slash - ones) | w) & tops;
}

/* Moves on to the next byte that is special. */
static const char *run_of_plain(const char *p, const char *end)
{
    for (; end - p >= 8; p += 8) {
        uint64_t w;
        memcpy(&w, p, sizeof w);
        if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
            w = __builtin_bswap64(w);
        uint64_t found = special(w);
        if (found)
            return p + (__builtin_ctzll(found) >> 3);
    }
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* A string at its opening quote; its bytes between the quotes. Escapes by number are left to others. */
static bool take_string(struct scan *s, struct str *ret_raw, bool *ret_escaped)
{
    const char *from = ++s->p;
    bool escaped = false;
    for (;;) {
        s->p = run_of_plain(s->p, s->end);
        if (s->p >= s->end)
            return false;
        unsigned char c = (unsigned char)*s->p;
        if (c == '"')
            break;
        if (c >= 0x80) {
            s->foreign = true;
            s->p++;
        } else if (c == '\\' && s->end - s->p >= 2 && s->p[1] && strchr("\"\\/bfnrt", s->p[1])) {
            escaped = true;
            s->p += 2;
        } else {
            return false;
        }
    }
    *ret_raw = (struct str){from, (size_t)(s->p - from)};
    *ret_escaped = escaped;
    s->p++;
    return true;
}

/* Behind what scratch holds. Its first use makes room for all that can come of the line: what is there does not move. */
static char *room(struct scan *s, size_t n)
{
    struct strbuf *b = s->l->scratch;
    return b->len > 0 || strbuf_grow(b, s->most) ? strbuf_grow(b, n) : NULL;
}

/* As it is meant. */
static bool decode(struct scan *s, struct str raw, struct str *ret_text)
{
    static const char names[] = "bfnrt", bytes[] = "\b\f\n\r\t";
    struct strbuf *out = s->l->scratch;
    size_t from = out->len;
    char *to = room(s, raw.len);
    if (!to)
        return false;
    for (size_t i = 0; i < raw.len;) {
        if (raw.ptr[i] != '\\') {
            *to++ = raw.ptr[i++];
            continue;
        }
        const char *name = strchr(names, raw.ptr[i + 1]);
        *to++ = name ? bytes[name - names] : raw.ptr[i + 1];
        i += 2;
    }
    *to = 0;
    out->len = (size_t)(to - out->ptr);
    *ret_text = (struct str){out->ptr + from, out->len - from};
    return true;
}

static bool string_value(struct scan *s, struct str *ret_raw, struct str *ret_text)
{
    bool escaped;
    if (!take_string(s, ret_raw, &escaped))
        return false;
    *ret_text = *ret_raw;
    return !escaped || (decode(s, *ret_raw, ret_text) && redact_quick(s->r, *ret_text));
}

/* ---- values ---- */

static size_t digits(struct scan *s)
{
    const char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - from);
}

/* Those whose range is beyond doubt. */
static bool number(struct scan *s)
{
    s->p += *s->p == '-';
    bool zero = s->p < s->end && *s->p == '0';
    size_t n = digits(s);
    if (n == 0 || n > DIGITS_MAX || (zero && n > 1))
        return false;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        n = digits(s);
        if (n == 0 || n > DIGITS_MAX)
            return false;
    }
    return s->p < s->end && (*s->p == ',' || *s->p == '}' || *s->p == ']' || is_space(*s->p));
}

static bool word(struct scan *s, struct str w)
{
    if ((size_t)(s->end - s->p) <= w.len || memcmp(s->p, w.ptr, w.len) != 0)
        return false;
    s->p += w.len;
    return *s->p == ',' || *s->p == '}' || *s->p == ']' || is_space(*s->p);
}

static bool container(struct scan *s, char close);

static bool value(struct scan *s, struct str *ret_raw, struct str *ret_text)
{
    char c = peek(s);
    *ret_text = STR_NONE;
    switch (c) {
    case '"':
        return string_value(s, ret_raw, ret_text);
    case '{':
        return container(s, '}');
    case '[':
        return container(s, ']');
    case 't':
        return word(s, STR("true"));
    case 'f':
        return word(s, STR("false"));
    case 'n':
        return word(s, STR("null"));
    default:
        return number(s);
    }
}

/* {"name": "API_KEY", "value": …} promises as much as {"API_KEY": …}. */
static bool names_nothing(struct str key, struct str raw)
{
    bool names = str_eqz(key, "name") || str_eqz(key, "key");
    return !names || !raw.ptr || raw.len > KIND_VALUE_MAX || redact_quick_name(raw);
}

static bool member(struct scan *s)
{
    struct str key, raw = STR_NONE, text;
    bool escaped, foreign = s->foreign;
    s->foreign = false;
    if (peek(s) != '"' || !take_string(s, &key, &escaped) || escaped || s->foreign || !redact_quick_key(s->r, key) ||
        peek(s) != ':')
        return false;
    s->foreign = foreign;
    s->p++;
    if (!value(s, &raw, &text) || !names_nothing(key, text.ptr ? raw : STR_NONE))
        return false;
    if (s->level == 1 && text.ptr && !s->l->text.ptr && str_eqz(key, "text"))
        s->l->text = text;
    else if (s->level == 1 && !text.ptr && str_eqz(key, "text"))
        return false; /* the first one counts, and is none */
    return true;
}

/* level: 1 is data itself. */
static bool container(struct scan *s, char close)
{
    struct str raw, text;
    s->p++;
    if (++s->level > LEVELS_MAX)
        return false;
    if (peek(s) == close) {
        s->p++;
        s->level--;
        return true;
    }
    for (;;) {
        if (close == '}' ? !member(s) : !value(s, &raw, &text))
            return false;
        char c = peek(s);
        if (c != close && c != ',')
            return false;
        s->p++;
        if (c == close)
            break;
    }
    s->level--;
    return true;
}

/* ---- the line ---- */

/* Without white space between tokens, into scratch. */
static bool compact(struct scan *s, struct str *data)
{
    struct strbuf *scratch = s->l->scratch;
    size_t from = scratch->len;
    char *to = room(s, data->len);
    bool inside = false;
    if (!to)
        return false;
    for (size_t i = 0; i < data->len; i++) {
        char c = data->ptr[i];
        if (!inside && is_space(c))
            continue;
        *to++ = c;
        if (inside && c == '\\')
            *to++ = data->ptr[++i];
        else if (c == '"')
            inside = !inside;
    }
    *to = 0;
    scratch->len = (size_t)(to - scratch->ptr);
    *data = (struct str){scratch->ptr + from, scratch->len - from};
    return true;
}

static bool take_kind(struct scan *s, enum event_kind *ret_kind)
{
    struct str raw;
    bool escaped;
    if (*ret_kind != EVENT_KIND_COUNT || peek(s) != '"' || !take_string(s, &raw, &escaped) || escaped)
        return false;
    *ret_kind = event_kind_of(raw);
    return *ret_kind != EVENT_KIND_COUNT && *ret_kind != EVENT_RUNTIME_STARTED && *ret_kind != EVENT_RUNTIME_TERMINAL;
}

static bool take_data(struct scan *s, struct str *ret_data)
{
    if (ret_data->ptr || peek(s) != '{')
        return false;
    s->spaced = false;
    const char *from = s->data = s->p;
    if (!container(s, '}'))
        return false;
    *ret_data = (struct str){from, (size_t)(s->p - from)};
    return !s->spaced || compact(s, ret_data);
}

/* `kind` and `data`, in either order, and nothing else. */
static bool line_members(struct scan *s, const char *begin)
{
    struct event_line *l = s->l;
    struct event_line_head *h = l->head;
    size_t left = (size_t)(s->end - begin);
    if (h->len > 0 && left > h->len && memcmp(begin, h->bytes, h->len) == 0) {
        s->p += h->len;
        l->kind = h->kind;
        if (!take_data(s, &l->data) || peek(s) != '}')
            return false;
        s->p++;
        return peek(s) == 0 && s->p == s->end;
    }
    if (left == 0 || *begin != '{')
        return false;
    bool kind_first = false;
    s->p++;
    for (int i = 0; i < 2; i++) {
        struct str key;
        bool escaped;
        if (peek(s) != '"' || !take_string(s, &key, &escaped) || escaped || peek(s) != ':')
            return false;
        s->p++;
        bool ok = str_eqz(key, "kind") ? take_kind(s, &l->kind) : str_eqz(key, "data") && take_data(s, &l->data);
        if (!ok || peek(s) != (i == 0 ? ',' : '}'))
            return false;
        kind_first = kind_first || (i == 0 && l->kind != EVENT_KIND_COUNT);
        s->p++;
    }
    size_t head = (size_t)(s->data - begin);
    if (kind_first && head <= sizeof h->bytes) {
        memcpy(h->bytes, begin, head);
        h->len = head;
        h->kind = l->kind;
    }
    return peek(s) == 0 && s->p == s->end;
}

bool event_line_read(struct str line, struct redactor *r, struct event_line *l)
{
    struct scan s = {.p = line.ptr, .end = line.ptr + line.len, .r = r, .l = l, .most = 2 * line.len};
    l->kind = EVENT_KIND_COUNT;
    l->data = l->text = STR_NONE;
    strbuf_reset(l->scratch);
    return line_members(&s, line.ptr) && l->data.len + EVENT_OVERHEAD <= LIMIT_EVENT &&
           (!s.foreign || utf8_valid(line)) && redact_quick(r, l->data);
}
