/* A compiled schema, as schema_compile.c makes it and schema_check.c walks it. Everything is in the schema's arena but the patterns' code. */
#ifndef ERRAND_COMMON_SCHEMA_NODE_H
#define ERRAND_COMMON_SCHEMA_NODE_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/arena.h"
#include "common/json.h"
#include "common/schema.h"

enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_COUNT = 7
};
extern const char *const schema_type_names[TYPE_COUNT];

struct pattern {
    struct pattern *next; /* of the schema's */
    pcre2_code *code;
    struct str text;
};

struct node;

struct node_list {
    struct node **items;
    size_t n;
};

struct node_named {
    struct str name;
    struct node *node;
    struct pattern *pattern; /* of patternProperties */
};

/* By name, sorted; patternProperties: as sent. */
struct node_map {
    struct node_named *items;
    size_t n;
};

/* Sorted, each once. */
struct names {
    struct str *items;
    size_t n;
};

struct names_named {
    struct str name;
    struct names names;
};

struct bound {
    bool set;
    double number;
};

struct node {
    const struct json *at; /* where it stands */
    struct node *next;     /* of the schema's */
    bool never;            /* the schema `false` */
    unsigned char mark;    /* while chains are looked for */
    int chain;             /* over how many schemas it hands a value on */
    unsigned types;        /* 0: any */
    const struct json *enumeration, *constant;
    struct bound minimum, maximum, above, below, multiple;
    int64_t min_length, max_length, min_items, max_items, min_properties, max_properties, min_contains,
        max_contains; /* -1: none */
    bool unique;
    struct pattern *pattern;
    struct names required;
    struct names_named *dependent_required;
    size_t dependent_required_n;
    struct node_map properties, patterns, dependents, defs;
    struct node *additional, *names, *items, *contains, *not_, *if_, *then_, *else_, *ref;
    struct node_list prefix, all_of, any_of, one_of;
    struct str ref_text; /* "" for none */
};

struct schema {
    struct arena arena;
    int refs;
    struct node *root, *nodes;
    struct pattern *patterns;
    size_t pattern_count, pattern_bytes;
};

/* A step on the way to a place in a JSON text; on the stack. */
struct place {
    const struct place *up; /* NULL: the whole */
    struct str key;
    size_t index; /* where key.ptr is NULL */
};
/* Writes its JSON pointer, or that of the nearest place above it that fits. */
void schema_pointer(const struct place *at, char ret_pointer[SCHEMA_POINTER_MAX + 1]);
/* A name as it is shown in a sentence: in quotes, cut to a bearable length. */
#define SHOWN_MAX 160
const char *schema_shown(struct str name, char buf[SHOWN_MAX]);
/* Says what of a schema can't be taken; false. */
bool schema_refuse(struct schema_fault *fault, const struct place *at, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Finds what each $ref speaks of; sees that none leads back to itself. False, and *fault, where it does not. */
bool schema_resolve(struct schema *s, struct schema_fault *fault);
bool schema_check_chains(struct schema *s, struct schema_fault *fault);
/* For names in order. */
int schema_name_order(struct str a, struct str b);

#endif
