/* JSON in (over simdjson, in json.cc) and out (a bounded writer). In: RFC 8259, UTF-8, no byte order mark, at most LIMIT_JSON_DEPTH levels, no number too
 * large for a double, no lone surrogates; the whole text is validated before anything of it is shown. Never blocks; one parser a thread, kept inside. */
#ifndef ERRAND_COMMON_JSON_H
#define ERRAND_COMMON_JSON_H

#include "common/arena.h"
#include "common/err.h"
#include "common/strbuf.h"

#ifdef __cplusplus
extern "C" {
#endif

enum json_type { JSON_NULL, JSON_BOOL, JSON_INT, JSON_DOUBLE, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A parsed value: a tree in the arena. Objects keep their members in the order sent, repeated keys included. */
struct json {
    enum json_type type;
    bool boolean;
    bool repeated_key; /* of an object: one of its own keys stands twice */
    int64_t integer; /* JSON_INT: any number whose value is an integer within ±2^53, however spelled (1.0, 1e2, -0) */
    double number;   /* JSON_INT and JSON_DOUBLE */
    struct str string; /* JSON_STRING: decoded, NUL-terminated in the arena; may hold NUL bytes */
    /* The value as sent, WITHOUT insignificant white space (key order, number spelling, escapes kept); in the arena. */
    struct str raw;
    struct str key;     /* decoded key when it is an object's member */
    struct json *child; /* first element or member */
    struct json *next;  /* sibling */
    size_t count;       /* elements or members */
};

/* Parses text into the arena. max_depth counts the outermost value as 1. max_expand: values nested deeper than this many levels get no tree of their own (child
 * stays NULL, raw is there): what is only passed through costs no nodes. ret_root untouched on failure.
 * Errors: ERR_INVALID_JSON (*ret_why, if not NULL: a static sentence), ERR_NO_MEMORY. */
MUST_CHECK enum err json_parse(struct arena *a, struct str text, int max_depth, int max_expand, struct json **ret_root,
                               const char **ret_why);
/* The first member of that name, or NULL (also when o is NULL or no object). */
const struct json *json_get(const struct json *o, const char *key);
/* How long the object or array at the beginning of a raw slice of such a tree (or of a part of one) is. */
size_t json_nested_len(struct str raw);
/* Whether the text is one valid JSON value under the rules above. */
bool json_valid(struct str text, int max_depth);

/* The writer appends to a strbuf; commas are placed by itself. Failure is the strbuf's. */
struct json_writer {
    struct strbuf *out;
    uint64_t has_item; /* one bit a level: 64 levels */
    int depth;
    bool after_key;
};

void json_writer_init(struct json_writer *w, struct strbuf *out);
void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_key_str(struct json_writer *w, struct str key);
/* Escapes; invalid UTF-8 becomes U+FFFD, so that the output is always valid JSON. */
void json_str(struct json_writer *w, struct str s);
void json_int(struct json_writer *w, int64_t n);
void json_double(struct json_writer *w, double d); /* NaN and infinities are written as null */
void json_bool(struct json_writer *w, bool b);
void json_null(struct json_writer *w);
/* A value that is JSON already (trusted to be valid). */
void json_raw(struct json_writer *w, struct str raw);
/* key and value in one call; the _opt form writes nothing for an empty string. */
void json_kv_str(struct json_writer *w, const char *key, struct str s);
void json_kv_str_opt(struct json_writer *w, const char *key, struct str s);
void json_kv_int(struct json_writer *w, const char *key, int64_t n);
void json_kv_bool(struct json_writer *w, const char *key, bool b);
void json_kv_raw(struct json_writer *w, const char *key, struct str raw);
/* A wall time as ISO 8601; nothing when ms is 0 or less. */
void json_kv_time(struct json_writer *w, const char *key, int64_t ms);
/* Appends s as a JSON string with quotes, escaped as json_str does. */
void json_quote(struct strbuf *out, struct str s);
/* Copies s with every invalid UTF-8 sequence replaced by U+FFFD. */
void utf8_sanitize(struct strbuf *out, struct str s);
/* How many leading bytes of s can be cut off without splitting a character that may still be completed (0 … 3 bytes stay behind). */
size_t utf8_complete_len(struct str s);
/* Whether all of it is valid UTF-8. */
bool utf8_valid(struct str s);

#ifdef __cplusplus
}
#endif
#endif
