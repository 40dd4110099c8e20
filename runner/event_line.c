#include "runner/event_line.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "common/json.h"
#include "common/limits.h"

enum { LEVELS_MAX = 24, EVENT_OVERHEAD = 128, DIGITS_MAX = 18, KIND_VALUE_MAX = 80 };

struct scan {
    const char *p, *end;
    struct redactor *r;
    struct event_line *l;
    const char *data;       /* where it begins in the line */
    const char *first_text; /* its first member's value, where that is `text` and a string */
    size_t most;            /* that scratch can get */
    bool spaced;            /* there is white space between tokens of data */
    bool foreign;           /* there are bytes that are no ASCII */
    int level;
    int members; /* of data, so far */
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

/* The high bit of each byte that is a quote, a backslash or a control character; bits above the first one that is set may be wrong. */
static uint64_t special(uint64_t w)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
    return (((w - ones * 0x20) & ~w) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & tops;
}

#ifdef __SSE2__
/* 16 bytes at a time, as long as none of them is special. */
static const char *pass_blocks(const char *p, const char *end, bool *foreign)
{
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
    int tops = 0;
    for (; end - p >= 16; p += 16) {
        __m128i w = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i found = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(w, quote), _mm_cmpeq_epi8(w, slash)),
                                     _mm_cmpeq_epi8(_mm_min_epu8(w, control), w));
        int special = _mm_movemask_epi8(found);
        if (special) {
            tops |= _mm_movemask_epi8(w) & ((special & -special) - 1);
            p += __builtin_ctz((unsigned)special);
            break;
        }
        tops |= _mm_movemask_epi8(w);
    }
    *foreign = *foreign || tops;
    return p;
}
#else
static const char *pass_blocks(const char *p, const char *end, bool *foreign)
{
    (void)end, (void)foreign;
    return p;
}
#endif

/* The next byte that is special; the end. */
static const char *pass_plain(const char *p, const char *end, bool *foreign)
{
    const uint64_t tops = UINT64_C(0x8080808080808080);
    uint64_t all = 0, found = 0;
    p = pass_blocks(p, end, foreign);
    for (; end - p >= 8 && !found; p += 8) {
        uint64_t w;
        memcpy(&w, p, sizeof w);
        if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
            w = __builtin_bswap64(w);
        found = special(w);
        all |= found ? w & ((found & -found) - 1) : w;
    }
    if (found)
        p += (__builtin_ctzll(found) >> 3) - 8;
    while (!found && p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\')
        all |= (unsigned char)*p++;
    *foreign = *foreign || (all & tops);
    return p;
}

/* A string at its opening quote; its bytes between the quotes. Escapes by number are left to others. */
static bool take_string(struct scan *s, struct str *ret_raw, bool *ret_escaped)
{
    const char *from = ++s->p;
    bool escaped = false;
    for (;;) {
        s->p = pass_plain(s->p, s->end, &s->foreign);
        if (s->p >= s->end)
            return false;
        if (*s->p == '"')
            break;
        if (*s->p != '\\' || s->end - s->p < 2 || !s->p[1] || !strchr("\"\\/bfnrt", s->p[1]))
            return false;
        escaped = true;
        s->p += 2;
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
    if (s->level != 1)
        return true;
    bool first = s->members++ == 0;
    if (!str_eqz(key, "text"))
        return true;
    if (!text.ptr)
        return false; /* the first one counts, and is none */
    if (!s->l->text.ptr) {
        s->l->text = text;
        s->l->raw = raw;
        s->first_text = first ? raw.ptr : NULL;
    }
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
    s->l->raw = STR_NONE;
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

static bool at_end(struct scan *s)
{
    return peek(s) == 0 && s->p == s->end;
}

static void learn(struct scan *s, const char *begin)
{
    struct event_line_head *h = s->l->head;
    size_t head = (size_t)(s->data - begin), text = s->first_text ? (size_t)(s->first_text - begin) : 0;
    if (head > sizeof h->bytes)
        return;
    h->len = head;
    h->text_len = text <= sizeof h->bytes ? text : 0;
    h->spaced = text != head + sizeof "{\"text\":\"" - 1;
    h->kind = s->l->kind;
    memcpy(h->bytes, begin, h->text_len ? h->text_len : head);
}

/* `kind` and `data`, in either order, and nothing else. */
static bool line_members(struct scan *s, const char *begin)
{
    struct event_line *l = s->l;
    size_t left = (size_t)(s->end - begin);
    if (left == 0 || *begin != '{')
        return false;
    bool kind_first = false;
    s->p = begin + 1;
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
    if (kind_first)
        learn(s, begin);
    return at_end(s);
}

static bool starts_like(const struct event_line_head *h, size_t len, struct str line)
{
    return len > 0 && line.len > len && memcmp(line.ptr, h->bytes, len) == 0;
}

static bool take_line(struct scan *s, struct str line)
{
    struct event_line *l = s->l;
    const struct event_line_head *h = l->head;
    if (!starts_like(h, h->len, line))
        return line_members(s, line.ptr);
    s->p += h->len;
    l->kind = h->kind;
    if (!take_data(s, &l->data) || peek(s) != '}')
        return false;
    if (s->first_text)
        learn(s, line.ptr);
    s->p++;
    return at_end(s);
}

/* Behind a head that is known: a data that is nothing but its text, and has no escapes. */
static bool only_text(struct str line, struct redactor *r, struct event_line *l)
{
    static const struct str head = {"{\"text\":\"", 9};
    const struct event_line_head *h = l->head;
    const char *from = line.ptr + h->text_len, *end = line.ptr + line.len;
    bool foreign = false;
    if (!starts_like(h, h->text_len, line))
        return false;
    const char *quote = pass_plain(from, end, &foreign);
    if (end - quote != 3 || memcmp(quote, "\"}}", 3) != 0 || quote == from || (foreign && !utf8_valid(line)))
        return false;
    l->kind = h->kind;
    l->raw = (struct str){from, (size_t)(quote - from)};
    l->data = (struct str){line.ptr + h->len, line.len - 1 - h->len};
    if (h->spaced) {
        strbuf_add(l->scratch, head);
        strbuf_add(l->scratch, (struct str){from, l->raw.len + 2});
        l->data = strbuf_str(l->scratch);
        l->raw.ptr = l->data.ptr + head.len;
    }
    l->text = l->raw;
    l->text_left =
        l->leave_text && l->kind == EVENT_ASSISTANT_TEXT && l->raw.len <= REDACT_QUICK_MAX && redact_quick_apart(r);
    return !strbuf_failed(l->scratch) && l->data.len + EVENT_OVERHEAD <= LIMIT_EVENT &&
           (l->text_left || redact_quick(r, l->data));
}

bool event_line_read(struct str line, struct redactor *r, struct event_line *l)
{
    strbuf_reset(l->scratch);
    if (only_text(line, r, l))
        return true;
    struct scan s = {.p = line.ptr, .end = line.ptr + line.len, .r = r, .l = l, .most = 2 * line.len};
    l->kind = EVENT_KIND_COUNT;
    l->data = l->text = l->raw = STR_NONE;
    l->text_left = false;
    strbuf_reset(l->scratch);
    return take_line(&s, line) && l->data.len + EVENT_OVERHEAD <= LIMIT_EVENT && (!s.foreign || utf8_valid(line)) &&
           redact_quick(r, l->data);
}
