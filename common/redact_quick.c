/* A quick look at text of which nearly all is harmless: no word of the automatons stands anywhere in it. Where three bytes are none that a word begins with, 32 places are passed over at once (AVX2) or one by one; only
 * elsewhere the tries are walked. It says no too often rather than once too seldom: who is told no looks properly. */
#include <stdlib.h>
#include <strings.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "common/redact_parts.h"

enum { TRIPLE_BITS = 15, KEYS = 64, KEY_BYTES = 23, FIRST = 3, WIDE = 32, READ = WIDE + FIRST - 1 };

struct redact_quick {
    uint64_t triples[(1U << TRIPLE_BITS) / 64]; /* the first three bytes of each word */
    /* Words are in eight groups by their first byte, a bit each: which groups have such a low (high) half of the first, second, third byte. */
    unsigned char low[FIRST][16], high[FIRST][16];
    struct {
        unsigned char len;
        char text[KEY_BYTES];
    } keys[KEYS];     /* harmless ones that were seen; len 0: none */
    bool firsts[256]; /* the first byte of each word */
    bool wide;        /* this CPU can */
    bool quotes;      /* there are words with a quote */
    bool off;         /* there are words of one or two bytes */
};

static unsigned place_of(uint32_t bytes)
{
    return ((bytes & 0xffffff) * UINT32_C(0x9e3779b1)) >> (32 - TRIPLE_BITS);
}

static void mark_bytes(struct redact_quick *q, unsigned a, unsigned b, unsigned c)
{
    unsigned at = place_of(a | b << 8 | c << 16), bytes[FIRST] = {a, b, c};
    q->triples[at / 64] |= UINT64_C(1) << (at % 64);
    q->firsts[a] = true;
    for (size_t k = 0; k < FIRST; k++) {
        q->low[k][bytes[k] & 15] |= (unsigned char)(1U << (a & 7));
        q->high[k][bytes[k] >> 4] |= (unsigned char)(1U << (a & 7));
    }
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
        q->off = q->off || (n->word >= 0 && n->depth < FIRST);
        q->quotes = q->quotes || n->byte == '"';
        if (n->depth == FIRST)
            mark(q, a->fold, first, second, n->byte);
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
        q->quotes = q->quotes || b == '"';
        mark_below(q, a, node, 0, b);
    }
}

/* ---- places where a word may begin ---- */

static bool perhaps(const struct redact_quick *q, const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    unsigned place = place_of(b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16);
    return (q->triples[place / 64] >> (place % 64)) & 1;
}

#ifdef __x86_64__
/* The groups that have such halves of their k-th byte, for each of 32 bytes. */
__attribute__((target("avx2"))) static inline __m256i groups_of(const struct redact_quick *q, size_t k, const char *p)
{
    const __m256i half = _mm256_set1_epi8(15), bytes = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)q->low[k]));
    __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)q->high[k]));
    return _mm256_and_si256(_mm256_shuffle_epi8(low, _mm256_and_si256(bytes, half)),
                            _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half)));
}

/* Bits of the 32 places from p on. Two bytes behind them are read. */
__attribute__((target("avx2"))) static inline unsigned found_at(const struct redact_quick *q, const char *p)
{
    __m256i groups =
        _mm256_and_si256(_mm256_and_si256(groups_of(q, 0, p), groups_of(q, 1, p + 1)), groups_of(q, 2, p + 2));
    return ~(unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(groups, _mm256_setzero_si256()));
}

/* Bits of those of the last `left` bytes (at least three) that begin three that a word may begin with. */
__attribute__((target("avx2"))) static unsigned found_last(const struct redact_quick *q, struct str text, size_t left)
{
    unsigned places = (1U << (left - FIRST + 1)) - 1;
    if (text.len >= READ)
        return (found_at(q, text.ptr + text.len - READ) >> (READ - left)) & places;
    char small[READ + 1] = {0};
    memcpy(small, text.ptr + text.len - left, left);
    return found_at(q, small) & places;
}

/* The next place at or behind `at` with three bytes that a word may begin with; text.len where there is none. */
__attribute__((target("avx2"))) static size_t next_wide(const struct redact_quick *q, struct str text, size_t at)
{
    for (; at + FIRST <= text.len; at += WIDE) {
        size_t left = text.len - at;
        unsigned found = left >= READ ? found_at(q, text.ptr + at) : found_last(q, text, left);
        for (; found; found &= found - 1) {
            size_t place = at + (size_t)__builtin_ctz(found);
            if (perhaps(q, text.ptr + place))
                return place;
        }
    }
    return text.len;
}

static bool can_wide(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}
#else
static size_t next_wide(const struct redact_quick *q, struct str text, size_t at)
{
    (void)q, (void)at;
    return text.len;
}

static bool can_wide(void)
{
    return false;
}
#endif

static size_t next_place(const struct redact_quick *q, struct str text, size_t at)
{
    if (q->wide)
        return next_wide(q, text, at);
    while (at + FIRST <= text.len && !perhaps(q, text.ptr + at))
        at++;
    return at + FIRST <= text.len ? at : text.len;
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
    r->quick->wide = can_wide();
    return r->quick;
}

/* ---- looking ---- */

enum walk { NONE, BEGUN, WHOLE };

/* What begins there: no word, one that the text ends within (ret_node: how far it came), a whole one. */
static enum walk walk(const struct ac *a, struct str text, size_t at, uint32_t *ret_node)
{
    uint32_t node = a->root[a->folded[(unsigned char)text.ptr[at]]];
    while (node != AC_ROOT) {
        if (a->nodes[node].word >= 0)
            return WHOLE;
        if (++at == text.len) {
            *ret_node = node;
            return BEGUN;
        }
        unsigned char byte = a->folded[(unsigned char)text.ptr[at]];
        for (node = a->nodes[node].child; node && a->nodes[node].byte != byte; node = a->nodes[node].sibling)
            ;
    }
    return NONE;
}

static bool clean(const struct redactor *r, const struct redact_quick *q, struct str text)
{
    uint32_t node;
    for (size_t at = 0; (at = next_place(q, text, at)) < text.len; at++)
        if (walk(r->secrets, text, at, &node) == WHOLE || walk(shapes_anchors(r->shapes), text, at, &node) == WHOLE)
            return false;
    return true;
}

bool redact_quick(struct redactor *r, struct str text)
{
    const struct redact_quick *q = quick_of(r);
    return q && !q->off && clean(r, q, text);
}

bool redact_quick_apart(struct redactor *r)
{
    const struct redact_quick *q = quick_of(r);
    return q && !q->off && !q->quotes;
}

/* The same as next_place, also for words of which less than three bytes are left. */
static size_t next_begin(const struct redact_quick *q, struct str text, size_t at)
{
    size_t last = text.len < FIRST ? 0 : text.len - FIRST + 1;
    if (at < last) {
        size_t found = next_place(q, text, at);
        if (found < text.len)
            return found;
        at = last;
    }
    while (at < text.len && !q->firsts[(unsigned char)text.ptr[at]])
        at++;
    return at;
}

/* One of both automatons at one place; the first that the text ends within is the one that counts. */
static bool look_at(const struct ac *a, struct str text, size_t at, uint32_t *node)
{
    uint32_t found;
    enum walk w = walk(a, text, at, &found);
    if (w == BEGUN && *node == AC_ROOT)
        *node = found;
    return w != WHOLE;
}

bool redact_quick_look(struct redactor *r, struct str text, size_t secrets_from, size_t shapes_from,
                       uint32_t *ret_secret, uint32_t *ret_shape)
{
    const struct redact_quick *q = quick_of(r);
    const struct ac *anchors = shapes_anchors(r->shapes);
    uint32_t secret = AC_ROOT, shape = AC_ROOT;
    size_t at = secrets_from < shapes_from ? secrets_from : shapes_from;
    if (!q || q->off)
        return false;
    for (; (at = next_begin(q, text, at)) < text.len; at++)
        if ((at >= secrets_from && !look_at(r->secrets, text, at, &secret)) ||
            (at >= shapes_from && !look_at(anchors, text, at, &shape)))
            return false;
    *ret_secret = secret;
    *ret_shape = shape;
    return true;
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
