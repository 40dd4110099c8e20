#include "common/pool.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define POOL_IS_HEAP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_IS_HEAP 1
#endif
#endif

#ifdef POOL_IS_HEAP

void *pool_get(struct pool *p)
{
    return calloc(1, p->size);
}

void pool_put(struct pool *p, void *object)
{
    (void)p;
    free(object);
}

#else

enum { SLAB = 65536, ALIGN = 16 };

struct unused {
    struct unused *next;
};

static bool slab_add(struct pool *p)
{
    size_t each = (p->size + ALIGN - 1) / ALIGN * ALIGN, count = SLAB / each;
    char *slab = malloc(count * each);
    if (!slab)
        return false;
    for (size_t i = count; i-- > 0;) {
        struct unused *u = (struct unused *)(void *)(slab + i * each);
        u->next = p->unused;
        p->unused = u;
    }
    return true;
}

void *pool_get(struct pool *p)
{
    if (!p->unused && !slab_add(p))
        return NULL;
    struct unused *u = p->unused;
    p->unused = u->next;
    memset(u, 0, p->size);
    return u;
}

void pool_put(struct pool *p, void *object)
{
    struct unused *u = object;
    if (!u)
        return;
    u->next = p->unused;
    p->unused = u;
}

#endif
