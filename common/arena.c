#include "common/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISON 1
#endif
#endif
#ifdef ARENA_POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 16, CHUNK_MIN = 2048, CHUNK_MAX = 262144, KEPT_MAX = 32 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* bytes of data */
    size_t used;
    size_t unused; /* keeps data aligned to 16 */
    char data[];
};

#ifdef ARENA_POISON /* what died must not live on in a chunk */
static struct arena_chunk *chunk_get(size_t size)
{
    return malloc(sizeof(struct arena_chunk) + size);
}

static void chunk_put(struct arena_chunk *c)
{
    ASAN_UNPOISON_MEMORY_REGION(c->data, c->size);
    free(c);
}
#else
/* A few chunks of requests, which come one after the other, are kept by each thread for the next ones. */
static _Thread_local struct kept_chunks {
    struct arena_chunk *first;
    size_t n;
} kept;

static struct arena_chunk *chunk_get(size_t size)
{
    struct arena_chunk *c = size == ARENA_REQUEST ? kept.first : NULL;
    if (c) {
        kept.first = c->next;
        kept.n--;
        return c;
    }
    return malloc(sizeof *c + size);
}

static void chunk_put(struct arena_chunk *c)
{
    if (c->size == ARENA_REQUEST && kept.n < KEPT_MAX) {
        c->next = kept.first;
        kept.first = c;
        kept.n++;
    } else {
        free(c);
    }
}
#endif

void arena_init(struct arena *a, size_t max_bytes)
{
    *a = (struct arena){.max = max_bytes};
}

void arena_done(struct arena *a)
{
    for (struct arena_chunk *c = a->head, *next; c; c = next) {
        next = c->next;
        chunk_put(c);
    }
    a->head = NULL;
    a->used = 0;
}

static struct arena_chunk *chunk_add(struct arena *a, size_t need)
{
    /* Each chunk doubles what there is, so that a large request costs few allocations and a small one little memory. */
    size_t size = a->head ? a->head->size * 2 : a->first > 0 ? a->first : CHUNK_MIN;
    if (size > CHUNK_MAX)
        size = CHUNK_MAX;
    if (size < need)
        size = need;
    struct arena_chunk *c = chunk_get(size);
    if (!c)
        return NULL;
    *c = (struct arena_chunk){.next = a->head, .size = size};
    ASAN_POISON_MEMORY_REGION(c->data, size);
    a->head = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > a->max || a->used > a->max - size)
        return NULL;
    size_t need = (size + ALIGN) / ALIGN * ALIGN; /* at least one byte more, so that ASan sees an overrun */
    struct arena_chunk *c = a->head;
    if (!c || c->size - c->used < need)
        c = chunk_add(a, need);
    if (!c)
        return NULL;
    void *p = c->data + c->used;
    c->used += need;
    a->used += size;
    ASAN_UNPOISON_MEMORY_REGION(p, size);
    return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
    void *p = arena_alloc(a, size);
    if (p)
        memset(p, 0, size);
    return p;
}

char *arena_strdup(struct arena *a, struct str s)
{
    char *p = s.len < SIZE_MAX ? arena_alloc(a, s.len + 1) : NULL;
    if (!p)
        return NULL;
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    p[s.len] = 0;
    return p;
}

struct str arena_str(struct arena *a, struct str s)
{
    char *p = arena_strdup(a, s);
    return p ? (struct str){p, s.len} : STR_NONE;
}

struct str arena_join(struct arena *a, const struct str *parts, size_t n)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len >= SIZE_MAX - len)
            return STR_NONE;
        len += parts[i].len;
    }
    char *p = arena_alloc(a, len + 1), *at = p;
    if (!p)
        return STR_NONE;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    *at = 0;
    return (struct str){p, len};
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    char text[256]; /* enough for most */
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    char *p = len >= 0 ? arena_alloc(a, (size_t)len + 1) : NULL;
    if (p && (size_t)len < sizeof text)
        memcpy(p, text, (size_t)len + 1);
    else if (p)
        vsnprintf(p, (size_t)len + 1, fmt, again);
    va_end(again);
    return p;
}
