/* Compiled schemas by a key that the owner chooses (an agent, a digest), the least used ones forgotten. Of one thread; owns what it holds. */
#ifndef ERRAND_COMMON_SCHEMA_CACHE_H
#define ERRAND_COMMON_SCHEMA_CACHE_H

#include "common/schema.h"

enum { SCHEMA_CACHE_ENTRIES = 256, SCHEMA_CACHE_BYTES = 16 << 20 };

struct schema_cache;

/* NULL when memory is out. */
struct schema_cache *schema_cache_new(void);
void schema_cache_free(struct schema_cache *c);
/* What is kept under the key, borrowed until the cache's next change, and the digest that it was put with; NULL. c may be NULL. */
struct schema *schema_cache_find(struct schema_cache *c, struct str key, struct str *ret_digest);
/* Compiles the text and keeps it under the key, in the place of what was there. *ret_schema is borrowed until the cache's next change. Errors: schema_compile's. */
MUST_CHECK enum err schema_cache_put(struct schema_cache *c, struct str key, struct str digest, struct str text,
                                     struct schema **ret_schema, struct schema_fault *ret_fault);

#endif
