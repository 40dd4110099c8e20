/* A growing byte buffer with a hard cap and a sticky failure: append freely, check strbuf_failed() once at the end.
 * Owns its memory. Never blocks. A failed buffer keeps what it had and ignores what follows. */
#ifndef ERRAND_COMMON_STRBUF_H
#define ERRAND_COMMON_STRBUF_H

#include "common/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct strbuf {
    char *ptr; /* NUL-terminated when not NULL */
    size_t len;
    size_t cap; /* allocated bytes */
    size_t max; /* the longest len allowed */
    bool failed;
};

/* An empty buffer which never holds more than max_len bytes. Allocates nothing yet. */
void strbuf_init(struct strbuf *b, size_t max_len);
/* Frees; the buffer may be initialised again. Takes a zeroed one. */
void strbuf_done(struct strbuf *b);
/* Empties and forgets the failure, keeping the memory. */
void strbuf_reset(struct strbuf *b);
void strbuf_add(struct strbuf *b, struct str s);
void strbuf_addz(struct strbuf *b, const char *z);
void strbuf_addc(struct strbuf *b, char c);
void strbuf_addi(struct strbuf *b, int64_t n);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The slow half of strbuf_grow: there is not enough memory yet. */
char *strbuf_enlarge(struct strbuf *b, size_t n);
/* Room for n bytes at the end, to be filled by the caller and then counted with b->len += n; NULL when it failed. */
static inline char *strbuf_grow(struct strbuf *b, size_t n)
{
    if (b->failed || !b->ptr || n >= b->cap - b->len)
        return strbuf_enlarge(b, n);
    b->ptr[b->len + n] = 0;
    return b->ptr + b->len;
}
/* Drops n bytes from the front. */
void strbuf_consume(struct strbuf *b, size_t n);
static inline bool strbuf_failed(const struct strbuf *b)
{
    return b->failed;
}
static inline struct str strbuf_str(const struct strbuf *b)
{
    return (struct str){b->ptr ? b->ptr : "", b->len};
}
/* Hands the memory (NUL-terminated, malloc'd, caller frees) to the caller and empties the buffer; NULL when nothing was added. */
char *strbuf_take(struct strbuf *b);

#ifdef __cplusplus
}
#endif
#endif
