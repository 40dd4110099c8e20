#include "common/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void strbuf_init(struct strbuf *b, size_t max_len)
{
    *b = (struct strbuf){.max = max_len};
}

void strbuf_done(struct strbuf *b)
{
    free(b->ptr);
    strbuf_init(b, b->max);
}

void strbuf_reset(struct strbuf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->ptr)
        b->ptr[0] = 0;
}

char *strbuf_enlarge(struct strbuf *b, size_t n)
{
    if (b->failed)
        return NULL;
    if (n > b->max || b->len > b->max - n) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->len + n + 1, cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap *= 2;
    if (cap > b->max + 1)
        cap = b->max + 1;
    char *ptr = realloc(b->ptr, cap);
    if (!ptr) {
        b->failed = true;
        return NULL;
    }
    b->ptr = ptr;
    b->cap = cap;
    b->ptr[b->len + n] = 0;
    return b->ptr + b->len;
}

void strbuf_add(struct strbuf *b, struct str s)
{
    if (s.len == 0)
        return;
    char *at = strbuf_grow(b, s.len);
    if (!at)
        return;
    memcpy(at, s.ptr, s.len);
    b->len += s.len;
}

void strbuf_addz(struct strbuf *b, const char *z)
{
    strbuf_add(b, str_of(z));
}

void strbuf_addc(struct strbuf *b, char c)
{
    strbuf_add(b, (struct str){&c, 1});
}

void strbuf_addi(struct strbuf *b, int64_t n)
{
    char digits[DECIMAL_MAX];
    strbuf_add(b, (struct str){digits, decimal(digits, n)});
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
    va_list args, again;
    size_t room = b->failed || !b->ptr ? 0 : b->cap - b->len;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(room ? b->ptr + b->len : NULL, room, fmt, args); /* mostly there is room */
    va_end(args);
    if (len >= 0 && (size_t)len < room) {
        b->len += (size_t)len;
    } else {
        if (room)
            b->ptr[b->len] = 0;
        char *at = len >= 0 ? strbuf_grow(b, (size_t)len) : NULL;
        if (at) {
            vsnprintf(at, (size_t)len + 1, fmt, again);
            b->len += (size_t)len;
        }
    }
    va_end(again);
}

void strbuf_consume(struct strbuf *b, size_t n)
{
    PRE(n <= b->len);
    if (n == 0)
        return;
    memmove(b->ptr, b->ptr + n, b->len - n);
    b->len -= n;
    b->ptr[b->len] = 0;
}

char *strbuf_take(struct strbuf *b)
{
    char *ptr = b->ptr;
    strbuf_init(b, b->max);
    return ptr;
}
