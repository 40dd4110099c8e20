#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/schema_node.h"

enum { ARENA_MAX = 8 << 20, SCHEMA_DEPTH = 64 };

const char *const schema_type_names[TYPE_COUNT] = {"null", "boolean", "integer", "number", "string", "array", "object"};

struct compile {
    struct schema *s;
    struct schema_fault *fault;
    bool no_memory;
};

struct keyword {
    const char *name;
    bool (*take)(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                 const struct place *at);
    size_t offset; /* of what it sets in the node */
};

static struct node *compile_node(struct compile *c, const struct json *v, const struct place *at);

static void *get(struct compile *c, size_t size)
{
    void *p = arena_zalloc(&c->s->arena, size);
    c->no_memory = c->no_memory || !p;
    return p;
}

static void *target(struct node *n, const struct keyword *k)
{
    return (char *)n + k->offset;
}

/* ---- keywords by what they hold ---- */

static bool take_annotation(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                            const struct place *at)
{
    (void)c, (void)n, (void)k, (void)v, (void)at;
    return true;
}

static bool take_dialect(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                         const struct place *at)
{
    (void)n, (void)k;
    if (v->type == JSON_STRING && (str_eqz(v->string, "https://json-schema.org/draft/2020-12/schema") ||
                                   str_eqz(v->string, "https://json-schema.org/draft/2020-12/schema#")))
        return true;
    return schema_refuse(c->fault, at,
                         "must be \"https://json-schema.org/draft/2020-12/schema\": no other dialect is spoken");
}

static bool take_id(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                    const struct place *at)
{
    (void)n, (void)k;
    if (v->type == JSON_STRING && at->up == NULL)
        return true;
    return schema_refuse(c->fault, at,
                         "may stand at the root only, and is a string: schemas are referred to by \"#/…\" alone");
}

static bool take_node(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                      const struct place *at)
{
    struct node *made = compile_node(c, v, at);
    *(struct node **)target(n, k) = made;
    return made != NULL;
}

static bool take_list(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                      const struct place *at)
{
    struct node_list *list = target(n, k);
    if (v->type != JSON_ARRAY || v->count == 0)
        return schema_refuse(c->fault, at, "must be an array of one or more schemas");
    list->items = get(c, v->count * sizeof *list->items);
    for (const struct json *m = v->child; list->items && m; m = m->next, list->n++) {
        struct place here = {at, STR_NONE, list->n};
        if (!(list->items[list->n] = compile_node(c, m, &here)))
            return false;
    }
    return list->items != NULL;
}

static int by_name(const void *a, const void *b)
{
    return schema_name_order(((const struct node_named *)a)->name, ((const struct node_named *)b)->name);
}

static struct pattern *compile_pattern(struct compile *c, struct str text, const struct place *at)
{
    int error;
    PCRE2_SIZE where, size = 0, jit = 0;
    struct pattern *p = get(c, sizeof *p);
    if (text.len > LIMIT_SCHEMA_PATTERN || c->s->pattern_count >= LIMIT_SCHEMA_PATTERNS) {
        schema_refuse(c->fault, at, "a schema has at most %d patterns of %d bytes", LIMIT_SCHEMA_PATTERNS,
                      LIMIT_SCHEMA_PATTERN);
        return NULL;
    }
    if (!p)
        return NULL;
    p->text = text;
    p->code = pcre2_compile((PCRE2_SPTR)text.ptr, text.len,
                            PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C | PCRE2_ALT_BSUX |
                                PCRE2_MATCH_UNSET_BACKREF,
                            &error, &where, NULL);
    if (!p->code) {
        char why[160] = "it is malformed";
        (void)pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        schema_refuse(c->fault, at, "is no regular expression: %s, at byte %zu", why, (size_t)where);
        return NULL;
    }
    (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* without JIT it is only slower */
    (void)pcre2_pattern_info(p->code, PCRE2_INFO_SIZE, &size);
    p->next = c->s->patterns;
    c->s->patterns = p;
    c->s->pattern_count++;
    (void)pcre2_pattern_info(p->code, PCRE2_INFO_JITSIZE, &jit);
    c->s->pattern_bytes += size + jit;
    return p;
}

static bool take_map(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                     const struct place *at)
{
    struct node_map *map = target(n, k);
    bool patterns = map == &n->patterns;
    if (v->type != JSON_OBJECT || v->repeated_key)
        return schema_refuse(c->fault, at, "must be an object of schemas, each key once");
    map->items = get(c, (v->count + 1) * sizeof *map->items);
    for (const struct json *m = v->child; map->items && m; m = m->next, map->n++) {
        struct place here = {at, m->key, 0};
        struct node_named *item = &map->items[map->n];
        item->name = m->key;
        if (patterns && !(item->pattern = compile_pattern(c, m->key, &here)))
            return false;
        if (!(item->node = compile_node(c, m, &here)))
            return false;
    }
    if (map->items && !patterns)
        qsort(map->items, map->n, sizeof *map->items, by_name);
    return map->items != NULL;
}

static bool take_pattern(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                         const struct place *at)
{
    (void)k;
    if (v->type != JSON_STRING)
        return schema_refuse(c->fault, at, "must be a string, a regular expression");
    n->pattern = compile_pattern(c, v->string, at);
    return n->pattern != NULL;
}

static bool take_bool(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                      const struct place *at)
{
    if (v->type != JSON_BOOL)
        return schema_refuse(c->fault, at, "must be true or false");
    *(bool *)target(n, k) = v->boolean;
    return true;
}

static bool take_number(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                        const struct place *at)
{
    struct bound *b = target(n, k);
    if (v->type != JSON_INT && v->type != JSON_DOUBLE)
        return schema_refuse(c->fault, at, "must be a number");
    if (b == &n->multiple && !(v->number > 0))
        return schema_refuse(c->fault, at, "must be above 0");
    *b = (struct bound){true, v->number};
    return true;
}

static bool take_count(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                       const struct place *at)
{
    if (v->type != JSON_INT || v->integer < 0)
        return schema_refuse(c->fault, at, "must be an integer, 0 or more");
    *(int64_t *)target(n, k) = v->integer;
    return true;
}

static int by_text(const void *a, const void *b)
{
    return schema_name_order(*(const struct str *)a, *(const struct str *)b);
}

static bool take_name_list(struct compile *c, struct names *names, const struct json *v, const struct place *at)
{
    bool texts = v->type == JSON_ARRAY;
    for (const struct json *m = texts ? v->child : NULL; m; m = m->next)
        texts = texts && m->type == JSON_STRING;
    if (!texts)
        return schema_refuse(c->fault, at, "must be an array of names");
    names->items = get(c, (v->count + 1) * sizeof *names->items);
    for (const struct json *m = v->child; names->items && m; m = m->next)
        names->items[names->n++] = m->string;
    if (!names->items)
        return false;
    qsort(names->items, names->n, sizeof *names->items, by_text);
    for (size_t i = 1; i < names->n; i++)
        if (str_eq(names->items[i - 1], names->items[i]))
            return schema_refuse(c->fault, at, "must name each property once");
    return true;
}

static bool take_names(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                       const struct place *at)
{
    return take_name_list(c, target(n, k), v, at);
}

static bool take_dependent_required(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                                    const struct place *at)
{
    (void)k;
    if (v->type != JSON_OBJECT || v->repeated_key)
        return schema_refuse(c->fault, at, "must be an object of arrays of names, each key once");
    n->dependent_required = get(c, (v->count + 1) * sizeof *n->dependent_required);
    for (const struct json *m = v->child; n->dependent_required && m; m = m->next) {
        struct place here = {at, m->key, 0};
        struct names_named *item = &n->dependent_required[n->dependent_required_n++];
        item->name = m->key;
        if (!take_name_list(c, &item->names, m, &here))
            return false;
    }
    return n->dependent_required != NULL;
}

static bool add_type(struct compile *c, struct node *n, const struct json *v, const struct place *at)
{
    for (unsigned i = 0; v->type == JSON_STRING && i < TYPE_COUNT; i++)
        if (str_eqz(v->string, schema_type_names[i])) {
            if (n->types & (1U << i))
                return schema_refuse(c->fault, at, "names a type twice");
            n->types |= 1U << i;
            return true;
        }
    return schema_refuse(c->fault, at,
                         "must be null, boolean, integer, number, string, array or object, or an array of these");
}

static bool take_type(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                      const struct place *at)
{
    (void)k;
    if (v->type != JSON_ARRAY)
        return add_type(c, n, v, at);
    if (v->count == 0)
        return schema_refuse(c->fault, at, "must name at least one type");
    for (const struct json *m = v->child; m; m = m->next)
        if (!add_type(c, n, m, at))
            return false;
    return true;
}

static bool take_enum(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                      const struct place *at)
{
    (void)k;
    if (v->type != JSON_ARRAY || v->count == 0)
        return schema_refuse(c->fault, at, "must be an array of one or more values");
    n->enumeration = v;
    return true;
}

static bool take_const(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                       const struct place *at)
{
    (void)c, (void)k, (void)at;
    n->constant = v;
    return true;
}

static bool take_ref(struct compile *c, struct node *n, const struct keyword *k, const struct json *v,
                     const struct place *at)
{
    (void)k;
    if (v->type != JSON_STRING || v->string.len == 0 || v->string.ptr[0] != '#' ||
        (v->string.len > 1 && v->string.ptr[1] != '/'))
        return schema_refuse(c->fault, at, "must be \"#\" or \"#/…\": a place inside this schema");
    n->ref_text = v->string;
    return true;
}

static const struct keyword keywords[] = {
#define AT(member) offsetof(struct node, member)
    {"type", take_type, 0},
    {"enum", take_enum, 0},
    {"const", take_const, 0},
    {"minimum", take_number, AT(minimum)},
    {"maximum", take_number, AT(maximum)},
    {"exclusiveMinimum", take_number, AT(above)},
    {"exclusiveMaximum", take_number, AT(below)},
    {"multipleOf", take_number, AT(multiple)},
    {"minLength", take_count, AT(min_length)},
    {"maxLength", take_count, AT(max_length)},
    {"pattern", take_pattern, 0},
    {"minItems", take_count, AT(min_items)},
    {"maxItems", take_count, AT(max_items)},
    {"uniqueItems", take_bool, AT(unique)},
    {"items", take_node, AT(items)},
    {"prefixItems", take_list, AT(prefix)},
    {"contains", take_node, AT(contains)},
    {"minContains", take_count, AT(min_contains)},
    {"maxContains", take_count, AT(max_contains)},
    {"required", take_names, AT(required)},
    {"properties", take_map, AT(properties)},
    {"patternProperties", take_map, AT(patterns)},
    {"additionalProperties", take_node, AT(additional)},
    {"propertyNames", take_node, AT(names)},
    {"minProperties", take_count, AT(min_properties)},
    {"maxProperties", take_count, AT(max_properties)},
    {"dependentRequired", take_dependent_required, 0},
    {"dependentSchemas", take_map, AT(dependents)},
    {"allOf", take_list, AT(all_of)},
    {"anyOf", take_list, AT(any_of)},
    {"oneOf", take_list, AT(one_of)},
    {"not", take_node, AT(not_)},
    {"if", take_node, AT(if_)},
    {"then", take_node, AT(then_)},
    {"else", take_node, AT(else_)},
    {"$ref", take_ref, 0},
    {"$defs", take_map, AT(defs)},
    {"definitions", take_map, AT(defs)},
    {"$schema", take_dialect, 0},
    {"$id", take_id, 0},
    {"$comment", take_annotation, 0},
    {"title", take_annotation, 0},
    {"description", take_annotation, 0},
    {"default", take_annotation, 0},
    {"examples", take_annotation, 0},
    {"deprecated", take_annotation, 0},
    {"readOnly", take_annotation, 0},
    {"writeOnly", take_annotation, 0},
    {"format", take_annotation, 0},
    {"contentEncoding", take_annotation, 0},
    {"contentMediaType", take_annotation, 0},
    {"contentSchema", take_annotation, 0},
#undef AT
};

static const struct keyword *keyword_of(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
        if (str_eqz(name, keywords[i].name))
            return &keywords[i];
    return NULL;
}

/* ---- nodes ---- */

static struct node *new_node(struct compile *c, const struct json *v)
{
    struct node *n = get(c, sizeof *n);
    if (!n)
        return NULL;
    n->at = v;
    n->ref_text = STR("");
    n->min_length = n->max_length = n->min_items = n->max_items = -1;
    n->min_properties = n->max_properties = n->min_contains = n->max_contains = -1;
    n->next = c->s->nodes;
    c->s->nodes = n;
    return n;
}

/* at: NULL for the whole. NULL: refused, or memory is out. Its depth is that of the JSON text. */
static struct node *compile_node(struct compile *c, const struct json *v, const struct place *at)
{
    struct node *n = new_node(c, v);
    if (!n)
        return NULL;
    if (v->type == JSON_BOOL) {
        n->never = !v->boolean;
        return n;
    }
    if (v->type != JSON_OBJECT || v->repeated_key) {
        schema_refuse(c->fault, at, "a schema must be an object, each key once, or true or false");
        return NULL;
    }
    for (const struct json *m = v->child; m; m = m->next) {
        const struct keyword *k = keyword_of(m->key);
        struct place here = {at, m->key, 0};
        char shown[SHOWN_MAX];
        if (!k) {
            schema_refuse(c->fault, &here,
                          "%s is no keyword of the JSON Schema that is understood here (docs/agents.md lists it)",
                          schema_shown(m->key, shown));
            return NULL;
        }
        if (k->take == take_map && str_eqz(m->key, "definitions") && json_get(v, "$defs")) {
            schema_refuse(c->fault, &here, "definitions stands beside $defs, which it is the old name of");
            return NULL;
        }
        if (!k->take(c, n, k, m, &here))
            return NULL;
    }
    return n;
}

/* ---- the simple form ---- */

static const struct {
    const char *word, *schema;
} simple_types[] = {{"string", "{\"type\":\"string\"}"}, {"integer", "{\"type\":\"integer\"}"},
                    {"float", "{\"type\":\"number\"}"},  {"boolean", "{\"type\":\"boolean\"}"},
                    {"list", "{\"type\":\"array\"}"},    {"json", "true"}};

static const char *simple_type(const struct json *v)
{
    for (size_t i = 0; v->type == JSON_STRING && i < ARRAY_LEN(simple_types); i++)
        if (str_eqz(v->string, simple_types[i].word))
            return simple_types[i].schema;
    return NULL;
}

/* {key: word, …}, each word one of the six. {"type": "string"} is one too, by its looks: so what has nothing but keywords, and one of them more than an annotation, is a schema. */
static bool is_simple(const struct json *root)
{
    bool other = false, asserts = false;
    for (const struct json *m = root->child; m; m = m->next) {
        const struct keyword *k = keyword_of(m->key);
        if (!simple_type(m))
            return false;
        other = other || !k;
        asserts = asserts || (k && k->take != take_annotation);
    }
    return root->count > 0 && !root->repeated_key && (other || !asserts);
}

/* What the simple form says: all of these, and nothing else. */
static void write_simple(const struct json *root, struct strbuf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str(&w, "type", STR("object"));
    json_key(&w, "properties");
    json_object_begin(&w);
    for (const struct json *m = root->child; m; m = m->next) {
        json_key_str(&w, m->key);
        json_raw(&w, str_of(simple_type(m)));
    }
    json_object_end(&w);
    json_key(&w, "required");
    json_array_begin(&w);
    for (const struct json *m = root->child; m; m = m->next)
        json_str(&w, m->key);
    json_array_end(&w);
    json_kv_bool(&w, "additionalProperties", false);
    json_object_end(&w);
}

/* ---- the whole ---- */

/* The text's tree, the simple form written out. */
static enum err parse(struct compile *c, struct str text, struct json **ret_root)
{
    struct arena *a = &c->s->arena;
    struct strbuf plain;
    const char *why = "it is malformed";
    enum err err = json_parse(a, text, SCHEMA_DEPTH, SCHEMA_DEPTH, ret_root, &why);
    if (err == ERR_INVALID_JSON) {
        schema_refuse(c->fault, NULL, "is not JSON of at most %d levels: %s", SCHEMA_DEPTH, why);
        return ERR_INVALID_FIELD;
    }
    if (err || (*ret_root)->type != JSON_OBJECT || !is_simple(*ret_root))
        return err;
    strbuf_init(&plain, 8 * (size_t)LIMIT_DEFINITION);
    write_simple(*ret_root, &plain);
    err = strbuf_failed(&plain) ? ERR_NO_MEMORY
                                : json_parse(a, strbuf_str(&plain), SCHEMA_DEPTH, SCHEMA_DEPTH, ret_root, NULL);
    strbuf_done(&plain);
    return err;
}

static enum err compile(struct compile *c, struct str text)
{
    struct json *root;
    if (text.len > LIMIT_DEFINITION) {
        schema_refuse(c->fault, NULL, "is over %d bytes", LIMIT_DEFINITION);
        return ERR_INVALID_FIELD;
    }
    enum err err = parse(c, text, &root);
    if (err)
        return err;
    if (root->type != JSON_OBJECT) {
        schema_refuse(c->fault, NULL, "must be an object");
        return ERR_INVALID_FIELD;
    }
    c->s->root = compile_node(c, root, NULL);
    bool good = c->s->root && schema_resolve(c->s, c->fault) && schema_check_chains(c->s, c->fault);
    return good ? ERR_OK : c->no_memory ? ERR_NO_MEMORY : ERR_INVALID_FIELD;
}

enum err schema_compile(struct str text, struct schema **ret_schema, struct schema_fault *ret_fault)
{
    struct schema *s = calloc(1, sizeof *s);
    struct compile c = {.s = s, .fault = ret_fault};
    if (!s)
        return ERR_NO_MEMORY;
    *ret_fault = (struct schema_fault){.keyword = ""};
    s->refs = 1;
    arena_init(&s->arena, ARENA_MAX);
    enum err err = compile(&c, text);
    if (err)
        schema_unref(s);
    else
        *ret_schema = s;
    return err;
}

struct schema *schema_ref(struct schema *s)
{
    if (s)
        s->refs++;
    return s;
}

void schema_unref(struct schema *s)
{
    if (!s || --s->refs > 0)
        return;
    for (struct pattern *p = s->patterns; p; p = p->next)
        pcre2_code_free(p->code);
    arena_done(&s->arena);
    free(s);
}

size_t schema_bytes(const struct schema *s)
{
    return sizeof *s + s->arena.used + s->pattern_bytes;
}
