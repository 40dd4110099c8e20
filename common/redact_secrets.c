#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/metrics.h"
#include "common/redact_parts.h"

enum {
    VALUE_MAX = 1 << 20,
    SPELLINGS_MAX = 256 << 20,
    EXOTIC_MAX = 256, /* only shorter values are looked for with every byte escaped */
    LINE_MIN = 12,    /* a line of a value that is looked for by itself */
    NAME_MAX_LEN = 128,
};

/* ---- spellings: every form in which a value is looked for ---- */

struct spelling {
    size_t from, len;
    int32_t value;
};

struct spellings {
    struct strbuf text;
    struct spelling *list;
    size_t n, cap;
    bool failed;
    size_t secret;
    bool whole; /* of a short value */
};

static void keep(struct spellings *p, size_t from)
{
    size_t len = p->text.len - from;
    if (strbuf_failed(&p->text) || p->failed) {
        p->failed = true;
        return;
    }
    if (len == 0)
        return;
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 64;
        struct spelling *list = realloc(p->list, cap * sizeof *list);
        if (!list) {
            p->failed = true;
            return;
        }
        p->list = list;
        p->cap = cap;
    }
    p->list[p->n++] = (struct spelling){from, len, secret_word(p->secret, p->whole)};
}

static void add(struct spellings *p, struct str word)
{
    size_t from = p->text.len;
    strbuf_add(&p->text, word);
    keep(p, from);
}

static const char hex_digits[2][17] = {"0123456789abcdef", "0123456789ABCDEF"};

static void add_hex_byte(struct strbuf *out, unsigned char b, bool upper)
{
    strbuf_addc(out, hex_digits[upper][b >> 4]);
    strbuf_addc(out, hex_digits[upper][b & 15]);
}

static void add_hex(struct spellings *p, struct str value)
{
    for (int upper = 0; upper < 2; upper++) {
        size_t from = p->text.len;
        for (size_t i = 0; i < value.len; i++)
            add_hex_byte(&p->text, (unsigned char)value.ptr[i], upper);
        keep(p, from);
    }
}

/* ---- base64 ---- */

static const char base64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

enum base64_end { INSIDE, LAST, PADDED };

/* The characters of base64 that these bytes decide alone when `before` bytes stand before them; where they are the end also the last one, and its padding. */
static void base64_at(struct strbuf *out, struct str v, unsigned before, const char *digits, enum base64_end end)
{
    size_t bits = 8 * (before + v.len), first = (8 * (size_t)before + 5) / 6, past = bits / 6;
    for (size_t c = first; c < past + (end != INSIDE && bits % 6 ? 1 : 0); c++) {
        unsigned six = 0;
        for (size_t bit = 6 * c; bit < 6 * c + 6; bit++) {
            size_t byte = bit / 8 - before;
            unsigned one = bit < bits ? ((unsigned char)v.ptr[byte] >> (7 - bit % 8)) & 1U : 0;
            six = six << 1 | one;
        }
        strbuf_addc(out, digits[six]);
    }
    for (size_t c = (bits + 5) / 6; end == PADDED && c % 4 != 0; c++)
        strbuf_addc(out, '=');
}

/* As JSON and as a URL spell the two characters of base64 that need it. */
static void add_base64_spelled(struct spellings *p, size_t from, size_t len)
{
    static const char *const spelled[3][2] = {{"+", "\\/"}, {"%2B", "%2F"}, {"%2b", "%2f"}};
    if (strbuf_failed(&p->text) || (!memchr(p->text.ptr + from, '+', len) && !memchr(p->text.ptr + from, '/', len)))
        return;
    for (int how = 0; how < 3; how++) {
        size_t begin = p->text.len;
        for (size_t i = 0; i < len && !strbuf_failed(&p->text); i++) {
            char c = p->text.ptr[from + i];
            if (c == '+' || c == '/')
                strbuf_addz(&p->text, spelled[how][c == '/']);
            else
                strbuf_addc(&p->text, c);
        }
        keep(p, begin);
    }
}

/* As `base64` prints it: in lines of 76 or 64 characters. */
static void add_base64_lines(struct spellings *p, size_t from, size_t len)
{
    for (size_t width = 64; width <= 76 && len > width; width += 12)
        for (size_t at = 0; at < len && !p->failed && !strbuf_failed(&p->text); at += width) {
            size_t n = len - at < width ? len - at : width, begin = p->text.len;
            if (n < 2 * LINE_MIN || !strbuf_grow(&p->text, n))
                continue;
            memcpy(p->text.ptr + begin, p->text.ptr + from + at, n);
            p->text.len += n;
            keep(p, begin);
        }
}

static void add_base64(struct spellings *p, struct str v)
{
    for (unsigned before = 0; before < (p->whole ? 1 : 3); before++)
        for (int url = 0; url < 2; url++)
            for (int end = p->whole ? LAST : INSIDE; end <= PADDED; end++) {
                size_t from = p->text.len;
                base64_at(&p->text, v, before, url ? base64_url : base64_std, (enum base64_end)end);
                size_t len = p->text.len - from;
                keep(p, from);
                if (!url)
                    add_base64_spelled(p, from, len);
                if (!url && before == 0 && end == LAST)
                    add_base64_lines(p, from, len);
            }
}

/* ---- percent-encoding ---- */

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* kept: what stays beside letters and digits; reserved: only what has a meaning in a URL is encoded. */
static void percent(struct spellings *p, struct str v, const char *kept, bool reserved, bool plus, bool upper)
{
    size_t from = p->text.len;
    for (size_t i = 0; i < v.len; i++) {
        char c = v.ptr[i];
        bool keeps = kept && (is_alnum(c) || (c && strchr(kept, c)));
        if (reserved)
            keeps = !c || !strchr(":/?#[]@!$&'()*+,;=% ", c);
        if (plus && c == ' ') {
            strbuf_addc(&p->text, '+');
        } else if (keeps) {
            strbuf_addc(&p->text, c);
        } else {
            strbuf_addc(&p->text, '%');
            add_hex_byte(&p->text, (unsigned char)c, upper);
        }
    }
    keep(p, from);
}

static void add_percent(struct spellings *p, struct str v)
{
    static const char *const sets[] = {"-._~",  "-_.!~*'()", "-_.!~*'();/?:@&=+$,#",
                                       "-._~/", "*-._",      "_.-~!$&'()*+,;=:@"};
    bool plain = true;
    for (size_t i = 0; i < v.len; i++)
        plain = plain && is_alnum(v.ptr[i]);
    for (int upper = 0; upper < 2; upper++) {
        for (size_t set = 0; set < ARRAY_LEN(sets) && !plain; set++) {
            percent(p, v, sets[set], false, false, upper);
            if (memchr(v.ptr, ' ', v.len))
                percent(p, v, sets[set], false, true, upper);
        }
        if (!plain)
            percent(p, v, NULL, true, false, upper);
        if (v.len <= EXOTIC_MAX)
            percent(p, v, NULL, false, false, upper);
    }
}

/* ---- JSON ---- */

enum {
    JSON_SLASH = 1,
    JSON_HTML = 2,
    JSON_ASCII = 4,
    JSON_UPPER = 8,
    JSON_ALL = 16,
    JSON_FEW = 32 /* \b and \f as \u */,
    JSON_FORMS = 64
};

static void add_u(struct strbuf *out, uint32_t unit, bool upper)
{
    strbuf_add(out, STR("\\u"));
    add_hex_byte(out, (unsigned char)(unit >> 8), upper);
    add_hex_byte(out, (unsigned char)unit, upper);
}

/* A character of UTF-8 (bytes that are none count as one each); returns its length. */
static size_t rune_of(struct str s, uint32_t *ret_rune)
{
    unsigned char b = (unsigned char)s.ptr[0];
    size_t len = b < 0x80 ? 1 : b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : b >= 0xc2 ? 2 : 1;
    if (len > s.len)
        len = 1;
    *ret_rune = len == 1 ? b : b & (0xffU >> (len + 1));
    for (size_t i = 1; i < len; i++)
        *ret_rune = *ret_rune << 6 | ((unsigned char)s.ptr[i] & 0x3fU);
    return len;
}

static void json_rune(struct strbuf *out, struct str bytes, uint32_t rune, int form)
{
    static const char shorts[] = "\b\f\n\r\t\"\\", names[] = "bfnrt\"\\";
    bool upper = form & JSON_UPPER;
    const char *found = rune > 0 && rune < 0x80 ? strchr(shorts, (int)rune) : NULL;
    if ((form & JSON_FEW) && (rune == '\b' || rune == '\f'))
        found = NULL;
    if (!(form & JSON_ALL) && found) {
        strbuf_addc(out, '\\');
        strbuf_addc(out, names[found - shorts]);
    } else if (!(form & JSON_ALL) && rune == '/' && (form & JSON_SLASH)) {
        strbuf_add(out, STR("\\/"));
    } else if (rune >= 0x10000 && (form & (JSON_ALL | JSON_ASCII))) {
        add_u(out, 0xd800 + ((rune - 0x10000) >> 10), upper);
        add_u(out, 0xdc00 + ((rune - 0x10000) & 0x3ff), upper);
    } else if ((form & JSON_ALL) || rune < 0x20 || (rune >= 0x7f && (form & JSON_ASCII)) ||
               ((form & JSON_HTML) && rune < 0x80 && strchr("<>&'=", (int)rune))) {
        add_u(out, rune, upper);
    } else {
        strbuf_add(out, bytes);
    }
}

static void json_form(struct strbuf *out, struct str v, int form)
{
    while (v.len > 0) {
        uint32_t rune;
        size_t len = rune_of(v, &rune);
        json_rune(out, (struct str){v.ptr, len}, rune, form);
        v.ptr += len;
        v.len -= len;
    }
}

static void add_json(struct spellings *p, struct str v)
{
    struct strbuf once;
    strbuf_init(&once, SPELLINGS_MAX);
    bool plain = true; /* nothing of it is ever escaped but on purpose */
    for (size_t i = 0; i < v.len; i++)
        plain = plain && (is_alnum(v.ptr[i]) || (v.ptr[i] && strchr("-_.:,;!?+*@#$%()[]{}|~^ ", v.ptr[i])));
    bool rare = memchr(v.ptr, '\b', v.len) || memchr(v.ptr, '\f', v.len);
    for (int form = 0; form < (rare ? JSON_FORMS : JSON_FEW); form++) {
        if (form & JSON_ALL ? v.len > EXOTIC_MAX || (form & ~(JSON_ALL | JSON_UPPER)) : plain)
            continue;
        strbuf_reset(&once);
        json_form(&once, v, form);
        p->failed = p->failed || strbuf_failed(&once);
        add(p, strbuf_str(&once));
        if (form & ~(JSON_SLASH | JSON_ASCII | JSON_FEW))
            continue;
        size_t from = p->text.len; /* JSON in a string of JSON */
        json_form(&p->text, strbuf_str(&once), form);
        keep(p, from);
    }
    if (once.ptr)
        sodium_memzero(once.ptr, once.cap);
    strbuf_done(&once);
}

/* ---- a secret ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What is printed of a value that came from a file is mostly without its last newline. */
static struct str trimmed(struct str v)
{
    for (; v.len > 0 && is_blank(v.ptr[0]); v.ptr++)
        v.len--;
    while (v.len > 0 && is_blank(v.ptr[v.len - 1]))
        v.len--;
    return v;
}

static void add_encoded(struct spellings *p, struct str v)
{
    add(p, v);
    add_base64(p, v);
    add_hex(p, v);
    add_percent(p, v);
    add_json(p, v);
}

/* With the other line ends. */
static void add_line_ends(struct spellings *p, struct str v, bool crlf)
{
    struct strbuf other;
    strbuf_init(&other, SPELLINGS_MAX);
    for (size_t i = 0; i < v.len; i++) {
        bool cr = v.ptr[i] == '\r' && i + 1 < v.len && v.ptr[i + 1] == '\n';
        if (crlf && v.ptr[i] == '\n' && (i == 0 || v.ptr[i - 1] != '\r'))
            strbuf_addc(&other, '\r');
        if (crlf || !cr)
            strbuf_addc(&other, v.ptr[i]);
    }
    p->failed = p->failed || strbuf_failed(&other);
    if (!str_eq(strbuf_str(&other), v)) {
        add(p, strbuf_str(&other));
        add_json(p, strbuf_str(&other));
    }
    if (other.ptr)
        sodium_memzero(other.ptr, other.cap);
    strbuf_done(&other);
}

static void add_lines(struct spellings *p, struct str v)
{
    add_line_ends(p, v, true);
    add_line_ends(p, v, false);
    while (v.len > 0) {
        const char *newline = memchr(v.ptr, '\n', v.len);
        struct str line = {v.ptr, newline ? (size_t)(newline - v.ptr) : v.len};
        v.ptr += line.len + (newline ? 1 : 0);
        v.len -= line.len + (newline ? 1 : 0);
        line = trimmed(line);
        if (line.len < LINE_MIN || memmem(line.ptr, line.len, "-----", 5))
            continue; /* the frame of a key is no secret */
        add(p, line);
        add_json(p, line);
        add_percent(p, line);
    }
}

static void add_secret(struct spellings *p, struct str value)
{
    struct str v = trimmed(value);
    if (v.len == 0)
        return;
    p->whole = v.len < REDACT_SHORT;
    add_encoded(p, v);
    struct strbuf valid; /* as our own events show bytes that are no UTF-8 */
    strbuf_init(&valid, 4 * (size_t)VALUE_MAX);
    utf8_sanitize(&valid, v);
    p->failed = p->failed || strbuf_failed(&valid);
    if (!str_eq(strbuf_str(&valid), v)) {
        add(p, strbuf_str(&valid));
        add_json(p, strbuf_str(&valid));
    }
    if (valid.ptr)
        sodium_memzero(valid.ptr, valid.cap);
    strbuf_done(&valid);
    if (memchr(v.ptr, '\n', v.len))
        add_lines(p, v);
}

static enum err build(struct redactor *r, const struct spellings *p)
{
    enum err err = ac_new(p->text.len, false, &r->secrets);
    if (err)
        return err;
    for (int whole = 0; whole < 2; whole++) /* of two equal words the first counts: the one that is matched anywhere */
        for (size_t i = 0; i < p->n; i++)
            if ((p->list[i].value & 1) == whole)
                ac_add(r->secrets, (struct str){p->text.ptr + p->list[i].from, p->list[i].len}, p->list[i].value, 0);
    return ac_finish(r->secrets);
}

/* ---- markers ---- */

#define KIND_NAME(id, name) name,
static const char *const kind_names[KIND_COUNT] = {REDACT_KINDS(KIND_NAME)};
#undef KIND_NAME

/* What stands for everything when the usual markers could be part of a secret's spelling. */
static const char *const plain_markers[] = {"[*]",
                                            "\xe2\x96\x88",
                                            "\xe2\x80\xa6",
                                            "\xe2\x97\x8f",
                                            "\xc2\xa4",
                                            "\xef\xbf\xbd",
                                            "*",
                                            "#",
                                            "_",
                                            "?",
                                            "~",
                                            "-",
                                            "x",
                                            "0"};

/* Whether a spelling could be in a text only because the marker is: within it, around it, or over one of its ends. So what comes out never holds a secret that what came in did not, and need not be looked at again. */
static bool touches(const struct redactor *r, const struct spellings *p, struct str marker)
{
    uint32_t state = AC_ROOT;
    for (size_t i = 0; i < marker.len; i++) {
        state = ac_step(r->secrets, state, (unsigned char)marker.ptr[i]);
        if (ac_words(r->secrets, state))
            return true;
    }
    if (state != AC_ROOT)
        return true;
    for (size_t i = 0; i < p->n; i++) {
        struct str word = {p->text.ptr + p->list[i].from, p->list[i].len};
        if (!memchr(word.ptr, marker.ptr[0], word.len))
            continue;
        if (memmem(word.ptr, word.len, marker.ptr, marker.len))
            return true;
        for (size_t k = 1; k < marker.len && k <= word.len; k++)
            if (memcmp(word.ptr + word.len - k, marker.ptr, k) == 0)
                return true;
    }
    return false;
}

static void add_name(struct strbuf *out, struct str name)
{
    for (size_t i = 0; i < name.len && i < NAME_MAX_LEN; i++)
        strbuf_addc(out, is_alnum(name.ptr[i]) || (name.ptr[i] && strchr("_.-", name.ptr[i])) ? name.ptr[i] : '_');
}

/* Fills marker_text and the slices into it; style: NULL for the usual markers. */
static bool write_markers(struct redactor *r, const struct redact_secret *secrets, size_t n, const char *style)
{
    size_t from[KIND_COUNT + 1];
    strbuf_reset(&r->marker_text);
    for (size_t i = 0; i < n; i++) {
        r->secret_markers[i].len = r->marker_text.len; /* where it begins, until the text moves no more */
        strbuf_addz(&r->marker_text, style ? style : "[SECRET:");
        if (!style) {
            add_name(&r->marker_text, secrets[i].name);
            strbuf_addc(&r->marker_text, ']');
        }
    }
    for (int k = 0; k < KIND_COUNT; k++) {
        from[k] = r->marker_text.len;
        if (style)
            strbuf_addz(&r->marker_text, style);
        else
            strbuf_addf(&r->marker_text, "[REDACTED:%s]", kind_names[k]);
    }
    from[KIND_COUNT] = r->marker_text.len;
    if (strbuf_failed(&r->marker_text))
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t begin = r->secret_markers[i].len, end = i + 1 < n ? r->secret_markers[i + 1].len : from[0];
        r->secret_markers[i] = (struct str){r->marker_text.ptr + begin, end - begin};
    }
    for (int k = 0; k < KIND_COUNT; k++)
        r->kind_markers[k] = (struct str){r->marker_text.ptr + from[k], from[k + 1] - from[k]};
    return true;
}

static bool markers_touch(const struct redactor *r, const struct spellings *p)
{
    for (size_t i = 0; i < r->secret_count; i++)
        if (touches(r, p, r->secret_markers[i]))
            return true;
    for (int k = 0; k < KIND_COUNT; k++)
        if (touches(r, p, r->kind_markers[k]))
            return true;
    return false;
}

static enum err choose_markers(struct redactor *r, const struct redact_secret *secrets, size_t n,
                               const struct spellings *p)
{
    if (!write_markers(r, secrets, n, NULL))
        return ERR_NO_MEMORY;
    for (size_t i = 0; markers_touch(r, p); i++) {
        r->mute = i == ARRAY_LEN(plain_markers);
        if (r->mute)
            return ERR_OK;
        if (!write_markers(r, secrets, n, plain_markers[i]))
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

/* ---- the redactor ---- */

enum { MATCH_STEPS = 100000, MATCH_HEAP_KIB = 64 };

static enum err set_up(struct redactor *r, const struct redact_secret *secrets, size_t n, struct spellings *p)
{
    r->shapes = shapes_get();
    if (!r->shapes)
        return ERR_INTERNAL;
    r->match.data = pcre2_match_data_create(4, NULL);
    r->match.limits = pcre2_match_context_create(NULL);
    r->secret_markers = calloc(n + 1, sizeof *r->secret_markers);
    if (!r->match.data || !r->match.limits || !r->secret_markers)
        return ERR_NO_MEMORY;
    pcre2_set_match_limit(r->match.limits, MATCH_STEPS);
    pcre2_set_heap_limit(r->match.limits, MATCH_HEAP_KIB);
    r->secret_count = n;
    for (size_t i = 0; i < n; i++) {
        if (secrets[i].value.len > VALUE_MAX)
            return ERR_NO_MEMORY;
        p->secret = i;
        add_secret(p, secrets[i].value);
    }
    if (p->failed)
        return ERR_NO_MEMORY;
    enum err err = build(r, p);
    if (!err)
        err = choose_markers(r, secrets, n, p);
    return err ? err : redact_stream_new(r, &r->own);
}

enum err redactor_new(const struct redact_secret *secrets, size_t n, struct redactor **ret_redactor)
{
    struct redactor *r = calloc(1, sizeof *r);
    struct spellings p = {0};
    if (!r)
        return ERR_NO_MEMORY;
    strbuf_init(&r->marker_text, (n + KIND_COUNT) * (NAME_MAX_LEN + 32));
    strbuf_init(&p.text, SPELLINGS_MAX);
    enum err err = set_up(r, secrets, n, &p);
    if (p.text.ptr)
        sodium_memzero(p.text.ptr, p.text.cap);
    strbuf_done(&p.text);
    free(p.list);
    r->token_only = n == 1 && str_starts(secrets[0].value, STR("ert_"));
    if (err)
        redactor_free(r);
    else
        *ret_redactor = r;
    return err;
}

void redactor_free(struct redactor *r)
{
    if (!r)
        return;
    redact_stream_free(r->own);
    redact_quick_free(r->quick);
    ac_free(r->secrets);
    pcre2_match_data_free(r->match.data);
    pcre2_match_context_free(r->match.limits);
    free(r->secret_markers);
    strbuf_done(&r->marker_text);
    free(r);
}

size_t redactor_bytes(const struct redactor *r)
{
    return sizeof *r + (r->secrets ? sizeof *r->secrets + r->secrets->cap * sizeof *r->secrets->nodes : 0);
}

int64_t redactor_undecided(const struct redactor *r)
{
    return r->undecided;
}

void redactor_limit(struct redactor *r, uint32_t steps)
{
    pcre2_set_match_limit(r->match.limits, steps);
}

void redactor_count_undecided(struct redactor *r)
{
    r->undecided++;
    metric_add(METRIC_REDACTION_UNDECIDED, 1);
}

/* What may stand beside a short value: white space, quotes, the punctuation of lists. Neither is in a marker. */
bool redact_edge(char c, bool left)
{
    return is_blank(c) || c == '"' || c == '\'' || c == '`' || c == ',' || c == ';' ||
           (left ? c == '=' || c == '(' || c == ':' : c == ')' || c == '.' || c == '&');
}
