/* JSON, token by token: what is not redacted is copied as it came. Strings are looked at decoded, and what is replaced is replaced within them; at the end all that comes out is looked at once more as it
 * stands, because a secret may also lie across tokens. */
#include <stdlib.h>
#include <strings.h>

#include "common/json.h"
#include "common/limits.h"
#include "common/redact_parts.h"

enum { LEVELS_MAX = LIMIT_JSON_DEPTH + 8, REWRITES_MAX = 32 };
#define NO_KIND KIND_COUNT

struct walk {
    struct redactor *r;
    struct str json;
    size_t at, copied; /* what is before `copied` went out */
    struct strbuf *out;
    int level;
    int keys_changed;
    bool broken; /* it is no JSON after all, or memory is out */
    /* the string being looked at */
    size_t text_at; /* its first byte in json */
    size_t raw_len;
    struct strbuf decoded;
    uint32_t *map; /* place of each decoded byte in json; NULL: the same order of bytes */
    size_t map_cap, pieces, markers;
    struct str only;      /* its last marker */
    size_t behind_marker; /* where in it the text behind its last marker begins */
    bool muted;           /* it is only counted */
    bool split;           /* a marker came last */
};

static void copy_to(struct walk *w, size_t to)
{
    strbuf_add(w->out, (struct str){w->json.ptr + w->copied, to - w->copied});
    w->copied = to;
}

static void replace(struct walk *w, size_t from, size_t to, struct str marker)
{
    copy_to(w, from);
    json_quote(w->out, marker);
    w->copied = to;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static char peek(struct walk *w)
{
    while (w->at < w->json.len && blank(w->json.ptr[w->at]))
        w->at++;
    return w->at < w->json.len ? w->json.ptr[w->at] : 0;
}

/* ---- strings ---- */

/* Moves over a string; its bytes between the quotes. */
static struct str take_string(struct walk *w)
{
    size_t from = ++w->at;
    while (w->at < w->json.len && w->json.ptr[w->at] != '"')
        w->at += w->json.ptr[w->at] == '\\' ? 2 : 1;
    if (w->at >= w->json.len) {
        w->broken = true;
        w->at = w->json.len;
        return STR("");
    }
    return (struct str){w->json.ptr + from, w->at++ - from};
}

static uint32_t hex4(const char *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 4 | (uint32_t)(hex_value(p[i]) & 15);
    return v;
}

static size_t write_utf8(char *out, uint32_t rune)
{
    size_t len = rune < 0x80 ? 1 : rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    static const unsigned char heads[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len; i-- > 1; rune >>= 6)
        out[i] = (char)(0x80 | (rune & 0x3f));
    out[0] = (char)(heads[len] | rune);
    return len;
}

/* One escape at s: its length, and what it stands for. */
static size_t read_escape(struct str s, char out[4], size_t *ret_len)
{
    static const char names[] = "bfnrt", bytes[] = "\b\f\n\r\t";
    *ret_len = 1;
    if (s.len < 2)
        return s.len;
    if (s.ptr[1] != 'u' || s.len < 6) {
        const char *found = strchr(names, s.ptr[1]);
        out[0] = found && *found ? bytes[found - names] : s.ptr[1];
        return 2;
    }
    uint32_t rune = hex4(s.ptr + 2);
    size_t used = 6;
    if (rune >= 0xd800 && rune < 0xdc00 && s.len >= 12 && s.ptr[6] == '\\' && s.ptr[7] == 'u') {
        rune = 0x10000 + ((rune - 0xd800) << 10) + ((hex4(s.ptr + 8) - 0xdc00) & 0x3ff);
        used = 12;
    }
    *ret_len = write_utf8(out, rune);
    return used;
}

/* The string as it is meant; with escapes, also where each byte of it came from. */
static struct str decode(struct walk *w, struct str raw)
{
    w->text_at = (size_t)(raw.ptr - w->json.ptr);
    w->raw_len = raw.len;
    bool escaped = memchr(raw.ptr, '\\', raw.len) != NULL;
    if (!escaped) {
        w->map_cap = 0;
        return raw;
    }
    uint32_t *map = realloc(w->map, (raw.len + 5) * sizeof *map);
    if (!map) {
        w->broken = true;
        return STR("");
    }
    w->map = map;
    w->map_cap = raw.len;
    strbuf_reset(&w->decoded);
    for (size_t i = 0; i < raw.len;) {
        char bytes[4] = {raw.ptr[i]};
        size_t len = 1,
               used = raw.ptr[i] == '\\' ? read_escape((struct str){raw.ptr + i, raw.len - i}, bytes, &len) : 1;
        for (size_t k = 0; k < len; k++)
            map[w->decoded.len + k] = (uint32_t)i;
        strbuf_add(&w->decoded, (struct str){bytes, len});
        i += used;
    }
    w->broken = w->broken || strbuf_failed(&w->decoded);
    map[w->decoded.len] = (uint32_t)raw.len;
    return strbuf_str(&w->decoded);
}

/* Where a decoded byte begins in the text; one in the midst of an escape counts as its beginning, or (ends) as what is behind it. */
static size_t place(const struct walk *w, size_t at, bool begins)
{
    if (w->map_cap == 0)
        return w->text_at + at;
    if (begins && at > 0)
        while (at < w->decoded.len && w->map[at] == w->map[at - 1])
            at++;
    return w->text_at + w->map[at];
}

static void on_text(void *ctx, size_t at, struct str text)
{
    struct walk *w = ctx;
    w->pieces++;
    if (w->behind_marker == SIZE_MAX)
        w->behind_marker = at;
    if (w->muted)
        return;
    for (; w->split && text.len > 0 && ((unsigned char)text.ptr[0] & 0xc0) == 0x80; text.ptr++, text.len--)
        at++; /* the rest of a character whose beginning the marker took */
    w->split = w->split && text.len == 0;
    w->copied = place(w, at, true);
    size_t to = place(w, at + text.len, false);
    if (to > w->copied)
        copy_to(w, to);
}

static void on_marker(void *ctx, size_t at, struct str marker)
{
    struct walk *w = ctx;
    (void)at;
    w->markers++;
    w->only = marker;
    w->behind_marker = SIZE_MAX;
    if (w->muted)
        return;
    w->out->len = utf8_complete_len(strbuf_str(w->out)); /* a value that is no UTF-8 may begin within a character */
    w->split = true;
    strbuf_add(w->out, marker);
}

/* Runs the text through; muted: only to see what becomes of it. */
static void run(struct walk *w, struct str text, bool muted)
{
    struct redact_sink sink = {on_text, on_marker, w};
    if (!muted && redact_clean(w->r, text)) {
        w->markers = w->behind_marker = 0;
        copy_to(w, w->text_at + w->raw_len);
        return;
    }
    w->pieces = w->markers = w->behind_marker = 0;
    w->muted = muted;
    w->split = false;
    redact_run(w->r->own, text, true, &sink);
}

/* Behind a key that promises a secret. */
static bool hidden_whole(struct walk *w, struct str text, enum redact_kind kind)
{
    if (text.len < REDACT_SHORT)
        return false;
    if (kind == KIND_COOKIE)
        return memchr(text.ptr, '=', text.len) != NULL;
    return shapes_value_stays(w->r->shapes, &w->r->match, text) != WORD_YES;
}

static void string_value(struct walk *w, struct str raw, enum redact_kind kind)
{
    struct str text = decode(w, raw);
    size_t end = w->text_at + raw.len;
    if (kind != NO_KIND && hidden_whole(w, text, kind)) {
        run(w, text, true);
        struct str marker = w->markers == 1 && w->pieces == 0 ? w->only : w->r->kind_markers[kind];
        replace(w, w->text_at - 1, end + 1, marker);
        return;
    }
    copy_to(w, w->text_at);
    run(w, text, false);
    w->copied = end;
}

static struct str behind_last(struct str text, struct str what)
{
    for (size_t at = text.len; what.len > 0 && at-- > 0;)
        if (str_starts((struct str){text.ptr + at, text.len - at}, what))
            return (struct str){text.ptr + at + what.len, text.len - at - what.len};
    return text;
}

/* A marker's own words promise nothing: neither one that came out just now, nor one that came in. */
static struct str behind_markers(const struct walk *w, struct str text)
{
    size_t at = w->behind_marker < text.len ? w->behind_marker : text.len;
    text.ptr += at;
    text.len -= at;
    struct str usual = STR("[REDACTED:undecided]"), own = w->r->kind_markers[KIND_UNDECIDED];
    if (!str_eq(own, usual))
        return behind_last(text, own);
    if (memmem(text.ptr, text.len, "[SECRET:", 8) || memmem(text.ptr, text.len, "[REDACTED:", 10))
        text = behind_last(text, STR("]"));
    return text;
}

/* Two keys of an object that held secrets stay two: the second is numbered. */
static enum redact_kind key_of(struct walk *w, struct str raw, bool *ret_names, bool *ret_value)
{
    enum redact_kind kind = NO_KIND;
    struct str text = decode(w, raw);
    size_t end = w->text_at + raw.len;
    *ret_names = str_eqz(text, "name") || str_eqz(text, "key");
    *ret_value = str_eqz(text, "value");
    copy_to(w, w->text_at);
    run(w, text, false);
    if (w->markers > 0 && ++w->keys_changed > 1)
        strbuf_addf(w->out, "#%d", w->keys_changed);
    w->copied = end;
    text = behind_markers(w, text);
    if ((text.len == 6 && strncasecmp(text.ptr, "cookie", 6) == 0) ||
        (text.len == 10 && strncasecmp(text.ptr, "set-cookie", 10) == 0))
        kind = KIND_COOKIE;
    else if (text.len > 80 || !redact_name(text, &kind))
        kind = NO_KIND;
    return kind;
}

/* ---- numbers, true, false, null ---- */

/* Whether a word of the secrets is in the text; alone: also a short one that is all of it. */
static bool holds_secret(const struct redactor *r, struct str text, bool alone, size_t *ret_from, size_t *ret_to,
                         size_t *ret_secret)
{
    const struct ac *a = r->secrets;
    uint32_t state = AC_ROOT;
    for (size_t i = 0; i < text.len; i++) {
        if (state == AC_ROOT && (i = ac_skip(a, text, i)) >= text.len)
            return false;
        state = ac_step(a, state, (unsigned char)text.ptr[i]);
        for (uint32_t n = ac_words(a, state); n; n = ac_more(a, n)) {
            int32_t word = a->nodes[n].word;
            if ((word & 1) && !(alone && a->nodes[n].depth == text.len))
                continue;
            *ret_from = i + 1 - a->nodes[n].depth;
            *ret_to = i + 1;
            *ret_secret = (size_t)(word >> 1);
            return true;
        }
    }
    return false;
}

static void literal(struct walk *w, enum redact_kind kind)
{
    size_t begin = w->at, from, to, secret;
    while (w->at < w->json.len && !blank(w->json.ptr[w->at]) && !strchr(",]}:", w->json.ptr[w->at]))
        w->at++;
    struct str text = {w->json.ptr + begin, w->at - begin};
    bool number = text.len > 0 && (text.ptr[0] == '-' || (text.ptr[0] >= '0' && text.ptr[0] <= '9'));
    if (text.len == 0)
        w->broken = true;
    else if (holds_secret(w->r, text, true, &from, &to, &secret))
        replace(w, begin, w->at, w->r->secret_markers[secret]);
    else if (kind != NO_KIND && kind != KIND_COOKIE && number && text.len >= REDACT_SHORT)
        replace(w, begin, w->at, w->r->kind_markers[kind]);
}

/* ---- values ---- */

static void value(struct walk *w, enum redact_kind kind, struct str *ret_string);

/* An environment's {"name": "API_KEY", "value": …} promises as much as {"API_KEY": …}. */
static void member(struct walk *w, enum redact_kind *named)
{
    bool names, is_value;
    if (peek(w) != '"') {
        w->broken = true;
        return;
    }
    enum redact_kind kind = key_of(w, take_string(w), &names, &is_value);
    if (peek(w) != ':') {
        w->broken = true;
        return;
    }
    w->at++;
    if (is_value && kind == NO_KIND)
        kind = *named;
    struct str string = STR_NONE;
    value(w, kind, &string);
    if (names && string.ptr && string.len <= 80 && !redact_name(string, named))
        *named = NO_KIND;
}

static void container(struct walk *w, char close, enum redact_kind kind)
{
    enum redact_kind named = NO_KIND;
    w->at++;
    if (++w->level > LEVELS_MAX)
        w->broken = true;
    if (!w->broken && peek(w) == close) {
        w->at++;
        w->level--;
        return;
    }
    while (!w->broken) {
        if (close == '}')
            member(w, &named);
        else
            value(w, kind, NULL);
        char c = peek(w);
        w->at++;
        if (c == close)
            break;
        w->broken = w->broken || c != ',';
    }
    w->level--;
}

/* kind: what its key promises, or NO_KIND; ret_string: its raw text when it is a string (may be NULL). */
static void value(struct walk *w, enum redact_kind kind, struct str *ret_string)
{
    char c = peek(w);
    if (c == '{') {
        container(w, '}', NO_KIND);
    } else if (c == '[') {
        container(w, ']', kind);
    } else if (c == '"') {
        struct str raw = take_string(w);
        if (!w->broken)
            string_value(w, raw, kind);
        if (ret_string)
            *ret_string = raw;
    } else {
        literal(w, kind);
    }
}

/* ---- what lies across tokens ---- */

struct found {
    size_t from, to;   /* the secret */
    size_t begin, end; /* the smallest value around it; 0, 0 for none */
    bool key;
};

/* The smallest value of the text that holds [from, to): the first one, by its end, that does. */
static void smallest(struct str json, struct found *f)
{
    size_t stack[LEVELS_MAX + 2], depth = 0;
    for (size_t i = 0; i < json.len; i++) {
        size_t begin = i;
        char c = json.ptr[i];
        if (c == '"') {
            for (i++; i < json.len && json.ptr[i] != '"'; i++)
                i += json.ptr[i] == '\\';
        } else if (c == '{' || c == '[') {
            if (depth > LEVELS_MAX)
                return;
            stack[depth++] = i;
            continue;
        } else if ((c == '}' || c == ']') && depth > 0) {
            begin = stack[--depth];
        } else {
            continue;
        }
        if (begin <= f->from && i + 1 >= f->to) {
            f->begin = begin;
            f->end = i + 1 < json.len ? i + 1 : json.len;
            return;
        }
    }
}

/* Replaces the value around a secret. Where that is all of it an object remains an object. */
static void rewrite(const struct redactor *r, struct strbuf *text, const struct found *f, size_t secret)
{
    struct strbuf next;
    strbuf_init(&next, text->max);
    struct str s = strbuf_str(text), marker = r->secret_markers[secret];
    bool all = f->end == 0 || (f->begin == 0 && s.ptr[0] != '"');
    bool object = all && s.len > 0 && s.ptr[0] == '{';
    strbuf_add(&next, (struct str){s.ptr, all ? 0 : f->begin});
    if (object)
        strbuf_add(&next, STR("{\"redacted\":"));
    json_quote(&next, marker);
    if (object)
        strbuf_addc(&next, '}');
    if (!all)
        strbuf_add(&next, (struct str){s.ptr + f->end, s.len - f->end});
    strbuf_done(text);
    *text = next;
}

/* What remains when nothing may be shown. */
static void withhold(struct redactor *r, struct str json, struct strbuf *out)
{
    size_t i = 0;
    while (i < json.len && blank(json.ptr[i]))
        i++;
    bool object = i < json.len && json.ptr[i] == '{';
    if (r->mute) {
        strbuf_add(out, object ? STR("{}") : STR("null"));
        return;
    }
    if (object)
        strbuf_add(out, STR("{\"redacted\":"));
    json_quote(out, r->kind_markers[KIND_UNDECIDED]);
    if (object)
        strbuf_addc(out, '}');
}

/* Looks at what would come out as it stands. False: secrets remain, whatever is replaced. */
static bool look_again(const struct redactor *r, struct strbuf *text)
{
    for (int n = 0; n < REWRITES_MAX && !strbuf_failed(text); n++) {
        struct found f = {0};
        size_t secret;
        if (!holds_secret(r, strbuf_str(text), false, &f.from, &f.to, &secret))
            return true;
        smallest(strbuf_str(text), &f);
        rewrite(r, text, &f, secret);
    }
    return false;
}

/* All strings as they are meant, and what is between them. */
static void unescape(struct str json, struct strbuf *out)
{
    for (const char *slash; json.len > 0 && (slash = memchr(json.ptr, '\\', json.len));) {
        struct str before = {json.ptr, (size_t)(slash - json.ptr)};
        char bytes[4];
        size_t len;
        strbuf_add(out, before);
        json.ptr += before.len;
        json.len -= before.len;
        size_t used = read_escape(json, bytes, &len);
        strbuf_add(out, (struct str){bytes, len});
        json.ptr += used;
        json.len -= used;
    }
    strbuf_add(out, json);
}

/* What is looked at there is a part of the text as it stands, or of the text without its escapes: literals and what lies across tokens of the one; strings, of the other. A key promises a secret only by a word that is
 * an anchor, too. */
bool redact_json_clean(const struct redactor *r, struct str json)
{
    struct strbuf plain;
    if (r->mute || !redact_clean(r, json))
        return false;
    if (json.len == 0 || !memchr(json.ptr, '\\', json.len))
        return true;
    strbuf_init(&plain, json.len);
    strbuf_grow(&plain, json.len);
    unescape(json, &plain);
    bool clean = !strbuf_failed(&plain) && redact_clean(r, strbuf_str(&plain));
    strbuf_done(&plain);
    return clean;
}

void redact_json(struct redactor *r, struct str json, struct strbuf *out)
{
    struct strbuf text;
    strbuf_init(&text, 4 * json.len + 4096);
    struct walk w = {.r = r, .json = json, .out = &text};
    strbuf_init(&w.decoded, json.len + 16);
    if (!r->mute) {
        value(&w, NO_KIND, NULL);
        w.broken = w.broken || peek(&w) != 0 || w.at < json.len;
        copy_to(&w, w.broken ? w.copied : json.len);
    }
    if (r->mute) {
        withhold(r, json, out);
    } else if (w.broken || strbuf_failed(&text) || !look_again(r, &text) || strbuf_failed(&text)) {
        redactor_count_undecided(r);
        withhold(r, json, out);
    } else {
        strbuf_add(out, strbuf_str(&text));
    }
    strbuf_done(&w.decoded);
    strbuf_done(&text);
    free(w.map);
}
