/* JSON Schema 2020-12, the subset that docs/agents.md names: compiled once, then asked of any number of values. What it does not know is refused when the schema is compiled, never passed over. Bounded in size,
 * in depth, in work; patterns (PCRE2) have a match limit, so none of them can take for ever. Pure: no I/O. A compiled schema is of one thread. */
#ifndef ERRAND_COMMON_SCHEMA_H
#define ERRAND_COMMON_SCHEMA_H

#include "common/err.h"
#include "common/limits.h"
#include "common/strbuf.h"

enum { SCHEMA_POINTER_MAX = 1024, SCHEMA_TEXT_MAX = 320 };

/* One thing that is wrong: with a value, or with a schema. */
struct schema_fault {
    char pointer[SCHEMA_POINTER_MAX +
                 1];     /* JSON pointer; where it would be longer: of the nearest place above it that is not */
    const char *keyword; /* static; "" where it is none's */
    char message[SCHEMA_TEXT_MAX]; /* a sentence without its subject; holds names, no values of what is checked */
};

struct schema_faults {
    struct schema_fault list[LIMIT_SCHEMA_FAULTS];
    size_t n;
};

/* What was spent on checking so far; zeroed: nothing. Values that one request brings share it. */
struct schema_work {
    int64_t steps, pattern_us;
};

struct schema;

/* text: a JSON object, of the simple form ({key: "string"|"integer"|"float"|"boolean"|"list"|"json"}: see schema_is_simple) too. The caller owns *ret_schema. ERR_INVALID_FIELD: *ret_fault says what of it can't be
 * taken; ERR_NO_MEMORY. */
MUST_CHECK enum err schema_compile(struct str text, struct schema **ret_schema, struct schema_fault *ret_fault);
/* Another owner; the last one's schema_unref frees it. NULL is taken. */
struct schema *schema_ref(struct schema *s);
void schema_unref(struct schema *s);
/* Bytes that it holds. */
size_t schema_bytes(const struct schema *s);
/* Whether the JSON text meets it. What it has no room or no time to look at does not. *ret_faults: the first ones that were found; left alone where it meets it. */
bool schema_check(const struct schema *s, struct str value, struct schema_faults *ret_faults);
/* The same with what is left of an amount of work that others share. */
bool schema_check_within(const struct schema *s, struct str value, struct schema_work *work,
                         struct schema_faults *ret_faults);
/* The message of an error output_invalid: the first fault, and how many more there are. Returns buf. */
enum { OUTPUT_INVALID_MAX = 900 };
const char *schema_output_message(const struct schema_faults *faults, char buf[OUTPUT_INVALID_MAX]);
/* Adds [{"pointer","keyword","message"}, …]. */
void schema_faults_write(const struct schema_faults *faults, struct strbuf *out);

#endif
