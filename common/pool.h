/* Memory for objects of one size that live as long as a connection does. Kept apart from the heap, because what a burst of requests allocates and frees around long-lived objects
 * leaves holes that nothing can give back: an idle stream then costs several times its own size. One pool a thread and type:
 *     static _Thread_local struct pool pool = POOL_OF(struct thing);
 * What was put back is used again and never returned to the system: a pool is as large as its type's peak was. Under AddressSanitizer every object is the heap's own. */
#ifndef ERRAND_COMMON_POOL_H
#define ERRAND_COMMON_POOL_H

#include "common/base.h"

struct pool {
    size_t size; /* of an object */
    void *unused;
};
#define POOL_OF(type)                                                                                                  \
    {                                                                                                                  \
        .size = sizeof(type)                                                                                           \
    }

/* Zeroed; NULL when memory is out. */
void *pool_get(struct pool *p);
/* An object of this thread's pool; NULL is fine. */
void pool_put(struct pool *p, void *object);

#endif
