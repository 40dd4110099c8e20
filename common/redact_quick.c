/* A quick look at text of which nearly all is harmless: no word of the automatons begins anywhere in it. Every second place is looked up in a bitmap of three bytes at once; only where that says "perhaps" the
 * tries are walked. It says no too often rather than once too seldom: who is told no looks properly. */
#include <stdlib.h>
#include <strings.h>

#include "common/redact_parts.h"

enum { TRIPLE_BITS = 15, KEYS = 64, KEY_BYTES = 23 };

struct redact_quick {
    uint64_t
        triples[(1U << TRIPLE_BITS) / 64]; /* the first three bytes of each word, and the three behind its first one */
    struct {
        unsigned char len;
        char text[KEY_BYTES];
    } keys[KEYS]; /* harmless ones that were seen; len 0: none */
    bool off;     /* there are words of one or two bytes */
};

static unsigned place_of(uint32_t bytes)
{
    return ((bytes & 0xffffff) * UINT32_C(0x9e3779b1)) >> (32 - TRIPLE_BITS);
}

static void mark_bytes(struct redact_quick *q, unsigned a, unsigned b, unsigned c)
{
    unsigned at = place_of(a | b << 8 | c << 16);
    q->triples[at / 64] |= UINT64_C(1) << (at % 64);
}

static bool is_lower(unsigned c)
{
    return c >= 'a' && c <= 'z';
}

/* In every spelling. */
static void mark(struct redact_quick *q, bool fold, unsigned a, unsigned b, unsigned c)
{
    for (unsigned form = 0; form < (fold ? 8U : 1U); form++) {
        if (((form & 1) && !is_lower(a)) || ((form & 2) && !is_lower(b)) || ((form & 4) && !is_lower(c)))
            continue;
        mark_bytes(q, form & 1 ? a - 32 : a, form & 2 ? b - 32 : b, form & 4 ? c - 32 : c);
    }
}

/* The words below a node; bytes: the last ones on the way to it. */
static void mark_below(struct redact_quick *q, const struct ac *a, uint32_t node, unsigned first, unsigned second)
{
    for (uint32_t c = a->nodes[node].child; c; c = a->nodes[c].sibling) {
        const struct ac_node *n = &a->nodes[c];
        q->off = q->off || (n->word >= 0 && n->depth < 3);
        if (n->depth >= 3)
            mark(q, a->fold, first, second, n->byte);
        if (n->depth == 3 && n->word >= 0)
            for (unsigned any = 0; any < 256; any++)
                mark(q, a->fold, second, n->byte, any);
        if (n->depth < 4)
            mark_below(q, a, c, second, n->byte);
    }
}

/* The root's children have no list of their own. */
static void mark_all(struct redact_quick *q, const struct ac *a)
{
    for (unsigned b = 0; b < 256; b++) {
        uint32_t node = a->root[b];
        if (node == AC_ROOT)
            continue;
        q->off = q->off || a->nodes[node].word >= 0;
        mark_below(q, a, node, 0, b);
    }
}

static struct redact_quick *quick_of(struct redactor *r)
{
    if (r->quick)
        return r->quick;
    r->quick = calloc(1, sizeof *r->quick);
    if (!r->quick)
        return NULL;
    mark_all(r->quick, r->secrets);
    mark_all(r->quick, shapes_anchors(r->shapes));
    r->quick->off = r->quick->off || r->mute;
    return r->quick;
}

/* Whether a word begins there. */
static bool word_at(const struct ac *a, struct str text, size_t at)
{
    uint32_t node = a->root[a->folded[(unsigned char)text.ptr[at]]];
    while (node != AC_ROOT) {
        if (a->nodes[node].word >= 0)
            return true;
        if (++at == text.len)
            return false;
        unsigned char byte = a->folded[(unsigned char)text.ptr[at]];
        for (node = a->nodes[node].child; node && a->nodes[node].byte != byte; node = a->nodes[node].sibling)
            ;
    }
    return false;
}

static bool any_word_at(const struct redactor *r, struct str text, size_t at)
{
    return word_at(r->secrets, text, at) || word_at(shapes_anchors(r->shapes), text, at);
}

static bool perhaps(const struct redact_quick *q, uint32_t bytes)
{
    unsigned place = place_of(bytes);
    return (q->triples[place / 64] >> (place % 64)) & 1;
}

static bool clean(const struct redactor *r, const struct redact_quick *q, struct str text)
{
    size_t at = 0;
    for (; at + 4 <= text.len; at += 2) {
        uint32_t bytes;
        memcpy(&bytes, text.ptr + at, sizeof bytes);
        if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
            bytes = __builtin_bswap32(bytes);
        if (perhaps(q, bytes))
            if (any_word_at(r, text, at) || (at > 0 && any_word_at(r, text, at - 1)))
                return false;
    }
    for (at -= at > 0; at + 3 <= text.len; at++) {
        const unsigned char *p = (const unsigned char *)text.ptr + at;
        if (perhaps(q, p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16) && any_word_at(r, text, at))
            return false;
    }
    return true;
}

bool redact_quick(struct redactor *r, struct str text)
{
    const struct redact_quick *q = quick_of(r);
    return q && !q->off && clean(r, q, text);
}

static bool promises_nothing(struct redactor *r, struct str key)
{
    enum redact_kind kind;
    return !(key.len == 6 && strncasecmp(key.ptr, "cookie", 6) == 0) &&
           !(key.len == 10 && strncasecmp(key.ptr, "set-cookie", 10) == 0) && !memchr(key.ptr, '[', key.len) &&
           redact_quick(r, key) && !redact_name(key, &kind);
}

bool redact_quick_key(struct redactor *r, struct str key)
{
    struct redact_quick *q = quick_of(r);
    if (!q || q->off || key.len == 0 || key.len > KEY_BYTES)
        return false;
    size_t slot = ((unsigned char)key.ptr[0] * 31U + (unsigned char)key.ptr[key.len - 1] * 7U + key.len) % KEYS;
    if (q->keys[slot].len == key.len && memcmp(q->keys[slot].text, key.ptr, key.len) == 0)
        return true;
    if (!promises_nothing(r, key))
        return false;
    q->keys[slot].len = (unsigned char)key.len;
    memcpy(q->keys[slot].text, key.ptr, key.len);
    return true;
}

bool redact_quick_name(struct str name)
{
    enum redact_kind kind;
    return !redact_name(name, &kind);
}

void redact_quick_free(struct redact_quick *q)
{
    free(q);
}
