/* Many words looked for in one pass (Aho–Corasick), with a state that a caller keeps between pieces of a text. Small rather than fast for its own sake: nodes have lists of children, and pairs of bytes
 * that begin no word are passed over by a bitmap. Linear in the text whatever it is. Owns its memory; wiped when freed, because the words may be secrets. Never blocks; read-only once finished. */
#ifndef ERRAND_COMMON_AC_H
#define ERRAND_COMMON_AC_H

#include "common/err.h"

enum { AC_ROOT = 0, AC_PAIRS = 16384, AC_FIRST = 3, AC_WIDE = 32 };

struct ac_node {
    uint32_t fail;    /* the longest proper suffix that is a node */
    uint32_t child;   /* first child; 0 none */
    uint32_t sibling; /* next child of the same parent; 0 none */
    uint32_t dict;    /* the longest proper suffix that is a word; 0 none */
    uint32_t depth;   /* bytes from the root */
    int16_t word;     /* the value of the word that ends here; -1 none */
    unsigned char byte;
    unsigned char marks; /* or-ed over all words through this node */
};

struct ac {
    struct ac_node *nodes;
    uint32_t count, cap;
    bool fold; /* letters of words are lower case, those of texts any */
    unsigned char folded[256];
    uint32_t root[256];
    unsigned char pairs[AC_PAIRS / 8]; /* which a word may begin with, by ac_pair */
    /* Words are in eight groups by their first byte, a bit each. Which groups' words have such a low (high) half of the first, second, third byte: what 32 places can be asked for at once. */
    bool wide; /* this CPU can */
    unsigned char low[AC_FIRST][16], high[AC_FIRST][16];
};

/* node_max: an upper bound of the sum of all words' lengths. ERR_NO_MEMORY. */
MUST_CHECK enum err ac_new(size_t node_max, bool fold, struct ac **ret_ac);
/* Takes NULL. */
void ac_free(struct ac *a);
/* A word of at least one byte; of two equal words the first one counts (marks add up). value: 0 to INT16_MAX. */
void ac_add(struct ac *a, struct str word, int32_t value, unsigned char marks);
/* After the last word, before the first step. ERR_NO_MEMORY. */
MUST_CHECK enum err ac_finish(struct ac *a);

/* The place of a pair of bytes in the bitmap: some share one, which only makes a place looked at in vain. A quarter of a bit for each pair there is: every attempt has such an automaton. */
static inline unsigned ac_pair(unsigned first, unsigned second)
{
    return ((first << 6) ^ second) % AC_PAIRS;
}

/* The state after one more byte. */
static inline uint32_t ac_step(const struct ac *a, uint32_t state, unsigned char byte)
{
    unsigned char b = a->folded[byte];
    while (state != AC_ROOT) {
        for (uint32_t c = a->nodes[state].child; c; c = a->nodes[c].sibling)
            if (a->nodes[c].byte == b)
                return c;
        state = a->nodes[state].fail;
    }
    return a->root[b];
}

/* ac_skip in blocks, where a->wide is set: true when *at is such a place, false when it is where the last, incomplete block begins. */
bool ac_skip_wide(const struct ac *a, struct str text, size_t *at);

/* At the root: the next place at or behind `at` where a word may begin; text.len for none. */
static inline size_t ac_skip(const struct ac *a, struct str text, size_t at)
{
    const unsigned char *p = (const unsigned char *)text.ptr;
    if (a->wide && text.len >= at + AC_WIDE + AC_FIRST - 1 && ac_skip_wide(a, text, &at))
        return at;
    for (; at + 1 < text.len; at++) {
        unsigned pair = ac_pair(p[at], p[at + 1]);
        if (a->pairs[pair >> 3] & (1U << (pair & 7)))
            return at;
    }
    return at < text.len && a->root[a->folded[p[at]]] == AC_ROOT ? text.len : at;
}

/* The first node of the words that end in this state, longest first: ac_words(a, s), then ac_more(a, node) until 0. */
static inline uint32_t ac_words(const struct ac *a, uint32_t state)
{
    return a->nodes[state].word >= 0 ? state : a->nodes[state].dict;
}

static inline uint32_t ac_more(const struct ac *a, uint32_t node)
{
    return a->nodes[node].dict;
}

#endif
