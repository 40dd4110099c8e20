/* What every file of Errand may use: slices, must-check, invariants. Header only, no dependency, never blocks. */
#ifndef ERRAND_COMMON_BASE_H
#define ERRAND_COMMON_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MUST_CHECK                      __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args)          __attribute__((format(printf, fmt, args)))
#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* A borrowed slice of bytes: not NUL-terminated unless its owner says so, and never freed through this. ptr may be NULL when len is 0. */
struct str {
    const char *ptr;
    size_t len;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE     ((struct str){NULL, 0})
#define STR_ARG(s)   (int)(s).len, (s).ptr /* for "%.*s" */

/* Borrows a NUL-terminated string; NULL gives an empty slice. */
static inline struct str str_of(const char *z)
{
    return z ? (struct str){z, strlen(z)} : STR_NONE;
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || (a.ptr && b.ptr && memcmp(a.ptr, b.ptr, a.len) == 0));
}

static inline bool str_eqz(struct str a, const char *z)
{
    return str_eq(a, str_of(z));
}

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* The next word of a comma list, without the white space around it; empty words are passed over. False at the list's end. */
static inline bool str_next_word(struct str *list, struct str *ret_word)
{
    while (list->len > 0 && list->ptr) {
        const char *comma = (const char *)memchr(list->ptr, ',', list->len);
        struct str word = {list->ptr, comma ? (size_t)(comma - list->ptr) : list->len};
        list->ptr += word.len + (comma ? 1 : 0);
        list->len -= word.len + (comma ? 1 : 0);
        for (; word.len > 0 && (word.ptr[0] == ' ' || word.ptr[0] == '\t'); word.ptr++)
            word.len--;
        while (word.len > 0 && (word.ptr[word.len - 1] == ' ' || word.ptr[word.len - 1] == '\t'))
            word.len--;
        *ret_word = word;
        if (word.len > 0)
            return true;
    }
    return false;
}

/* The value of a hexadecimal digit; -1 for anything else. */
static inline int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#define DECIMAL_MAX 20 /* digits and sign of an int64_t */
/* Writes n in decimal, without a NUL; returns its length. Much of what is written is numbers, and printf takes twenty times as long. */
static inline size_t decimal(char out[DECIMAL_MAX], int64_t n)
{
    char digits[DECIMAL_MAX];
    size_t len = 0, at = 0;
    uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do
        digits[len++] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (n < 0)
        out[at++] = '-';
    while (len > 0)
        out[at++] = digits[--len];
    return at;
}

/* Says on standard error which invariant broke, and aborts; stays in release builds. Never used for input that somebody outside chose. */
void invariant_broken(const char *what, const char *file, int line) __attribute__((noreturn));

#define PRE(cond)  ((cond) ? (void)0 : invariant_broken("precondition: " #cond, __FILE__, __LINE__))
#define POST(cond) ((cond) ? (void)0 : invariant_broken("postcondition: " #cond, __FILE__, __LINE__))

#ifdef __cplusplus
}
#endif
#endif
