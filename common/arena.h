/* Memory of one request or one claim, freed at once. Chunks grow on demand up to a hard cap; freed and unused parts are poisoned under ASan.
 * Not thread-safe, never blocks. */
#ifndef ERRAND_COMMON_ARENA_H
#define ERRAND_COMMON_ARENA_H

#include "common/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct arena_chunk;
struct arena {
    struct arena_chunk *head;
    size_t used;  /* bytes handed out */
    size_t max;   /* the most it ever hands out */
    size_t first; /* of the first chunk; 0: a small one. Set behind arena_init */
};
/* Holds all of a small request; such chunks are used again. */
enum { ARENA_REQUEST = 8192 };

/* Allocates nothing yet. */
void arena_init(struct arena *a, size_t max_bytes);
/* Frees everything that came from it; it may be used again afterwards. Takes a zeroed one. */
void arena_done(struct arena *a);
/* Uninitialised, aligned to 16. NULL past the cap or when memory is out. size 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_zalloc(struct arena *a, size_t size);
/* A NUL-terminated copy. NULL past the cap. */
char *arena_strdup(struct arena *a, struct str s);
/* A copy as a slice (NUL-terminated too); {NULL,0} past the cap. */
struct str arena_str(struct arena *a, struct str s);
/* The parts one behind the other, NUL-terminated. An empty slice without memory when there is none. */
struct str arena_join(struct arena *a, const struct str *parts, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#ifdef __cplusplus
}
#endif
#endif
