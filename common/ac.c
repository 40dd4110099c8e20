#include "common/ac.h"

#include <sodium.h>
#include <stdlib.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum err ac_new(size_t node_max, bool fold, struct ac **ret_ac)
{
    if (node_max >= UINT32_MAX / sizeof(struct ac_node))
        return ERR_NO_MEMORY;
    struct ac *a = calloc(1, sizeof *a);
    if (!a)
        return ERR_NO_MEMORY;
    a->cap = (uint32_t)node_max + 1;
    a->nodes = malloc(a->cap * sizeof *a->nodes);
    if (!a->nodes) {
        free(a);
        return ERR_NO_MEMORY;
    }
    a->nodes[0] = (struct ac_node){.word = -1};
    a->count = 1;
    a->fold = fold;
    for (unsigned b = 0; b < 256; b++)
        a->folded[b] = (unsigned char)(fold && b >= 'A' && b <= 'Z' ? b + 32 : b);
    *ret_ac = a;
    return ERR_OK;
}

void ac_free(struct ac *a)
{
    if (!a)
        return;
    sodium_memzero(a->nodes, a->count * sizeof *a->nodes);
    free(a->nodes);
    free(a);
}

static uint32_t child_of(const struct ac *a, uint32_t node, unsigned char byte)
{
    if (node == AC_ROOT)
        return a->root[byte];
    for (uint32_t c = a->nodes[node].child; c; c = a->nodes[c].sibling)
        if (a->nodes[c].byte == byte)
            return c;
    return 0;
}

static void mark_pair(struct ac *a, unsigned first, unsigned second)
{
    unsigned pair = ac_pair(first, second);
    a->pairs[pair >> 3] |= (unsigned char)(1U << (pair & 7));
}

/* Every spelling of the word's first two bytes; where it has but one, anything may follow. */
static void mark_pairs(struct ac *a, struct str word)
{
    unsigned first = (unsigned char)word.ptr[0], second = word.len > 1 ? (unsigned char)word.ptr[1] : 0;
    for (unsigned x = 0; x < (a->fold ? 256 : 1); x++) {
        if (a->fold && a->folded[x] != first)
            continue;
        for (unsigned y = 0; y < (a->fold || word.len == 1 ? 256 : 1); y++)
            if (word.len == 1 || !a->fold || a->folded[y] == second)
                mark_pair(a, a->fold ? x : first, a->fold || word.len == 1 ? y : second);
    }
}

/* The same for the halves of its first bytes. What it does not have may be anything. */
static void mark_halves(struct ac *a, struct str word)
{
    unsigned char group = (unsigned char)(1U << ((unsigned char)word.ptr[0] & 7));
    for (size_t k = 0; k < AC_FIRST; k++) {
        for (unsigned x = 0; x < 256; x++) {
            if (k < word.len && a->folded[x] != (unsigned char)word.ptr[k])
                continue;
            a->low[k][x & 15] |= group;
            a->high[k][x >> 4] |= group;
        }
    }
}

#ifdef __x86_64__
/* The groups that have such halves of their k-th byte, for each of 32 bytes. */
__attribute__((target("avx2"))) static inline __m256i groups_of(const struct ac *a, size_t k, const char *p)
{
    const __m256i half = _mm256_set1_epi8(15), bytes = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)a->low[k]));
    __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)a->high[k]));
    return _mm256_and_si256(_mm256_shuffle_epi8(low, _mm256_and_si256(bytes, half)),
                            _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half)));
}

__attribute__((target("avx2"))) bool ac_skip_wide(const struct ac *a, struct str text, size_t *at)
{
    const __m256i none = _mm256_setzero_si256();
    size_t i = *at;
    for (; i + AC_WIDE + AC_FIRST - 1 <= text.len; i += AC_WIDE) {
        const char *p = text.ptr + i;
        __m256i groups =
            _mm256_and_si256(_mm256_and_si256(groups_of(a, 0, p), groups_of(a, 1, p + 1)), groups_of(a, 2, p + 2));
        unsigned found = ~(unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(groups, none));
        for (; found; found &= found - 1) {
            size_t place = (size_t)__builtin_ctz(found);
            unsigned pair = ac_pair((unsigned char)p[place], (unsigned char)p[place + 1]);
            if (a->pairs[pair >> 3] & (1U << (pair & 7))) {
                *at = i + place;
                return true;
            }
        }
    }
    *at = i;
    return false;
}

static bool can_wide(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}
#else
bool ac_skip_wide(const struct ac *a, struct str text, size_t *at)
{
    (void)a, (void)text, (void)at;
    return false;
}

static bool can_wide(void)
{
    return false;
}
#endif

void ac_add(struct ac *a, struct str word, int32_t value, unsigned char marks)
{
    uint32_t at = AC_ROOT;
    PRE(word.len > 0 && value >= 0 && value <= INT16_MAX);
    for (size_t i = 0; i < word.len; i++) {
        unsigned char b = (unsigned char)word.ptr[i];
        uint32_t next = child_of(a, at, b);
        if (!next) {
            PRE(a->count < a->cap);
            next = a->count++;
            a->nodes[next] =
                (struct ac_node){.word = -1, .depth = (uint32_t)i + 1, .byte = b, .sibling = a->nodes[at].child};
            a->nodes[at].child = next;
            if (at == AC_ROOT)
                a->root[b] = next;
        }
        a->nodes[next].marks |= marks;
        at = next;
    }
    if (a->nodes[at].word < 0)
        a->nodes[at].word = (int16_t)value;
    mark_pairs(a, word);
    mark_halves(a, word);
}

/* Links of the children of one node. Parents come before children, so the links that are followed here are set. */
static void link_children(struct ac *a, uint32_t parent)
{
    for (uint32_t c = a->nodes[parent].child; c; c = a->nodes[c].sibling) {
        struct ac_node *n = &a->nodes[c];
        uint32_t f = a->nodes[parent].fail, to = 0;
        if (parent != AC_ROOT) {
            while (!(to = child_of(a, f, n->byte)) && f != AC_ROOT)
                f = a->nodes[f].fail;
        }
        n->fail = to;
        n->dict = a->nodes[to].word >= 0 ? to : a->nodes[to].dict;
    }
}

/* Breadth first without a queue: level by level, because a node's links name only shallower nodes. Sorting by depth is a counting sort over the nodes. */
enum err ac_finish(struct ac *a)
{
    uint32_t deepest = 0;
    PRE(a->count > 0); /* the root */
    for (uint32_t i = 0; i < a->count; i++)
        if (a->nodes[i].depth > deepest)
            deepest = a->nodes[i].depth;
    uint32_t *begin = calloc((size_t)deepest + 2, sizeof *begin), *order = calloc(a->count, sizeof *order);
    if (!begin || !order) {
        free(begin);
        free(order);
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < a->count; i++)
        begin[a->nodes[i].depth + 1]++;
    for (uint32_t d = 0; d <= deepest; d++)
        begin[d + 1] += begin[d];
    for (uint32_t i = 0; i < a->count; i++)
        order[begin[a->nodes[i].depth]++] = i;
    for (uint32_t i = 0; i < a->count; i++)
        link_children(a, order[i]);
    free(begin);
    free(order);
    a->wide = can_wide();
    struct ac_node *fitted = realloc(a->nodes, a->count * sizeof *fitted); /* words share their beginnings */
    if (fitted) {
        a->nodes = fitted;
        a->cap = a->count;
    }
    return ERR_OK;
}
