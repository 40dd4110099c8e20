#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/schema_node.h"

enum {
    VALUE_ARENA_MAX = 128 << 20,
    MATCH_LIMIT = 100000,
    MATCH_HEAP_KIB = 4096,
    PATTERN_US = 100000,
    FRAMES_MAX = 1000
};

/* One value under way. */
struct check {
    struct schema_faults *faults;
    int muted;      /* > 0: only whether it fits is asked, not why not */
    bool exhausted; /* no room or no time to look further: it does not fit */
    const char *why_exhausted;
    struct schema_work *work;
    int frames;
    pcre2_match_data *data;
    pcre2_match_context *limits;
};

/* ---- faults ---- */

static bool fault(struct check *c, const struct place *at, const char *keyword, const char *fmt, ...) PRINTF_LIKE(4, 5);
static bool fault(struct check *c, const struct place *at, const char *keyword, const char *fmt, ...)
{
    if (c->muted == 0 && !c->exhausted &&
        c->faults->n < LIMIT_SCHEMA_FAULTS) { /* exhausted: it was not looked at to the end */
        struct schema_fault *f = &c->faults->list[c->faults->n++];
        va_list args;
        va_start(args, fmt);
        vsnprintf(f->message, sizeof f->message, fmt, args);
        va_end(args);
        f->message[utf8_complete_len(str_of(f->message))] = 0;
        f->keyword = keyword;
        schema_pointer(at, f->pointer);
    }
    return false;
}

static bool exhaust(struct check *c, const char *why)
{
    if (!c->exhausted)
        c->why_exhausted = why;
    c->exhausted = true;
    return false;
}

/* Pays for work. False: there is no more to be had. */
static bool pay(struct check *c, size_t steps)
{
    if (c->exhausted)
        return false;
    c->work->steps += (int64_t)(steps < LIMIT_SCHEMA_STEPS ? steps : LIMIT_SCHEMA_STEPS);
    return c->work->steps <= LIMIT_SCHEMA_STEPS || exhaust(c, "takes more steps to check than a value may");
}

/* Whether to go on behind a fault: only where others may still be told. */
static bool enough(const struct check *c)
{
    return c->exhausted || c->muted > 0 || c->faults->n >= LIMIT_SCHEMA_FAULTS;
}

/* ---- values ---- */

static bool is_number(const struct json *v)
{
    return v->type == JSON_INT || v->type == JSON_DOUBLE;
}

/* 2020-12: 1.0 is an integer, and so is 1e300. */
static bool is_integer(const struct json *v)
{
    return v->type == JSON_INT || (v->type == JSON_DOUBLE && v->number == trunc(v->number));
}

static unsigned type_bit(const struct json *v)
{
    static const unsigned bits[] = {[JSON_NULL] = TYPE_NULL,     [JSON_BOOL] = TYPE_BOOLEAN,  [JSON_INT] = TYPE_NUMBER,
                                    [JSON_DOUBLE] = TYPE_NUMBER, [JSON_STRING] = TYPE_STRING, [JSON_ARRAY] = TYPE_ARRAY,
                                    [JSON_OBJECT] = TYPE_OBJECT};
    return bits[v->type] | (is_number(v) && is_integer(v) ? TYPE_INTEGER : 0);
}

static const struct json *member(struct check *c, const struct json *o, struct str name)
{
    for (const struct json *m = o->child; m; m = m->next)
        if (pay(c, 1) && str_eq(m->key, name))
            return m;
    return NULL;
}

/* As JSON Schema means it: numbers by their value, members in any order. */
static bool equal(struct check *c, const struct json *a, const struct json *b)
{
    if (!pay(c, 1 + a->string.len / 64))
        return false;
    if (is_number(a) || is_number(b))
        return is_number(a) && is_number(b) && a->number == b->number;
    if (a->type != b->type || a->count != b->count)
        return false;
    if (a->type == JSON_BOOL)
        return a->boolean == b->boolean;
    if (a->type == JSON_STRING)
        return str_eq(a->string, b->string);
    if (a->type == JSON_ARRAY) {
        const struct json *y = b->child;
        for (const struct json *x = a->child; x && y; x = x->next, y = y->next)
            if (!equal(c, x, y))
                return false;
        return true;
    }
    for (const struct json *x = a->type == JSON_OBJECT ? a->child : NULL; x; x = x->next) {
        const struct json *y = member(c, b, x->key);
        if (!y || !equal(c, x, y))
            return false;
    }
    return true;
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
    const unsigned char *bytes = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * UINT64_C(1099511628211);
    return h;
}

/* The same for what is equal. */
static uint64_t hash_value(struct check *c, const struct json *v)
{
    uint64_t h = hash_bytes(UINT64_C(14695981039346656037),
                            &(unsigned char){is_number(v) ? JSON_INT : (unsigned char)v->type}, 1);
    double number = v->number == 0 ? 0 : v->number; /* -0 */
    if (!pay(c, 1 + v->string.len / 64))
        return 0;
    if (is_number(v))
        return hash_bytes(h, &number, sizeof number);
    if (v->type == JSON_BOOL)
        return hash_bytes(h, &v->boolean, sizeof v->boolean);
    if (v->type == JSON_STRING)
        return hash_bytes(h, v->string.ptr, v->string.len);
    for (const struct json *m = v->type == JSON_ARRAY || v->type == JSON_OBJECT ? v->child : NULL; m; m = m->next) {
        uint64_t inner = hash_value(c, m);
        h = v->type == JSON_ARRAY ? hash_bytes(h, &inner, sizeof inner)
                                  : h + (hash_bytes(inner, m->key.ptr, m->key.len) | 1); /* in any order */
    }
    return h;
}

struct hashed {
    uint64_t hash;
    const struct json *v;
    size_t index;
};

static int by_hash(const void *a, const void *b)
{
    const struct hashed *x = a, *y = b;
    return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : x->index < y->index ? -1 : 1;
}

static size_t length(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
    return n;
}

/* The value is valid UTF-8: the parser saw to it. One that takes too long is told, and matches nothing. */
static bool matches(struct check *c, const struct pattern *p, struct str text)
{
    if (!pay(c, 8 + text.len / 16))
        return false;
    int64_t begin = clock_mono_us();
    int rc = pcre2_match(p->code, (PCRE2_SPTR)(text.ptr ? text.ptr : ""), text.len, 0, PCRE2_NO_UTF_CHECK, c->data,
                         c->limits);
    c->work->pattern_us += clock_mono_us() - begin;
    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH)
        return (c->work->pattern_us <= PATTERN_US || exhaust(c, "takes its patterns too long to look at")) && rc >= 0;
    return exhaust(c, "takes a pattern too long to look at");
}

/* ---- keywords ---- */

static bool eval(struct check *c, const struct node *n, const struct json *v, const struct place *at);

static bool fits(struct check *c, const struct node *n, const struct json *v, const struct place *at)
{
    c->muted++;
    bool ok = eval(c, n, v, at);
    c->muted--;
    return ok;
}

static bool check_type(struct check *c, const struct node *n, const struct json *v, const struct place *at)
{
    char wanted[80] = "";
    size_t len = 0;
    unsigned have = type_bit(v);
    if (n->types == 0 || (n->types & have))
        return true;
    for (unsigned i = 0; i < TYPE_COUNT; i++)
        if (n->types & (1U << i))
            len += (size_t)snprintf(wanted + len, sizeof wanted - len, "%s%s", len > 0 ? " or " : "",
                                    schema_type_names[i]);
    const char *is = schema_type_names[0];
    for (unsigned i = 0; i < TYPE_COUNT; i++)
        if (have & (1U << i)) {
            is = schema_type_names[i];
            if (have & TYPE_INTEGER)
                break;
        }
    return fault(c, at, "type", "must be %s, not %s", wanted, is);
}

static bool check_values(struct check *c, const struct node *n, const struct json *v, const struct place *at)
{
    bool ok = true, found = false;
    if (n->constant && !equal(c, n->constant, v)) {
        char shown[SHOWN_MAX];
        const struct json *k = n->constant;
        ok = fault(c, at, "const", "must be %s",
                   k->type == JSON_STRING ? schema_shown(k->string, shown)
                   : k->raw.len < 60      ? (snprintf(shown, sizeof shown, "%.*s", STR_ARG(k->raw)), shown)
                                          : "the one value that is allowed");
    }
    for (const struct json *m = n->enumeration ? n->enumeration->child : NULL; m && !found; m = m->next)
        found = equal(c, m, v);
    if (n->enumeration && !found) {
        struct str raw = n->enumeration->raw;
        ok = raw.len < 200
                 ? fault(c, at, "enum", "must be one of %.*s", STR_ARG(raw))
                 : fault(c, at, "enum", "must be one of the %zu values that are allowed", n->enumeration->count);
    }
    return ok;
}

static bool is_multiple(const struct json *v, double of)
{
    if (v->type == JSON_INT && of == trunc(of) && of <= 9007199254740992.0)
        return v->integer % (int64_t)of == 0;
    double rest = fabs(remainder(v->number, of)); /* 0.0075 is a multiple of 0.0001, though no double says so */
    double inexact = fabs(v->number) * 4e-16;
    return rest <= of * 1e-9 || (inexact < of / 4 && rest <= inexact);
}

static bool check_number(struct check *c, const struct node *n, const struct json *v, const struct place *at)
{
    bool ok = true;
    if (n->minimum.set && !(v->number >= n->minimum.number))
        ok = fault(c, at, "minimum", "must be at least %.17g", n->minimum.number);
    if (n->maximum.set && !(v->number <= n->maximum.number))
        ok = fault(c, at, "maximum", "must be at most %.17g", n->maximum.number);
    if (n->above.set && !(v->number > n->above.number))
        ok = fault(c, at, "exclusiveMinimum", "must be above %.17g", n->above.number);
    if (n->below.set && !(v->number < n->below.number))
        ok = fault(c, at, "exclusiveMaximum", "must be below %.17g", n->below.number);
    if (n->multiple.set && !is_multiple(v, n->multiple.number))
        ok = fault(c, at, "multipleOf", "must be a multiple of %.17g", n->multiple.number);
    return ok;
}

static bool check_string(struct check *c, const struct node *n, const struct json *v, const struct place *at)
{
    bool ok = true;
    char shown[SHOWN_MAX];
    int64_t len = n->min_length >= 0 || n->max_length >= 0 ? (int64_t)length(v->string) : 0;
    if (!pay(c, v->string.len / 64))
        return false;
    if (n->min_length >= 0 && len < n->min_length)
        ok = fault(c, at, "minLength", "must have at least %lld characters", (long long)n->min_length);
    if (n->max_length >= 0 && len > n->max_length)
        ok = fault(c, at, "maxLength", "must have at most %lld characters", (long long)n->max_length);
    if (n->pattern && !matches(c, n->pattern, v->string))
        ok = fault(c, at, "pattern", "must match the pattern %s", schema_shown(n->pattern->text, shown));
    return ok;
}

static bool check_unique(struct check *c, const struct json *v, const struct place *at)
{
    struct hashed *all = v->count > 1 ? calloc(v->count, sizeof *all) : NULL;
    size_t n = 0;
    bool ok = true;
    if (v->count > 1 && !all)
        return exhaust(c, "has more items than there is memory for");
    for (const struct json *m = all ? v->child : NULL; m && !c->exhausted; m = m->next, n++)
        all[n] = (struct hashed){hash_value(c, m), m, n};
    if (all && pay(c, 8 * n))
        qsort(all, n, sizeof *all, by_hash);
    for (size_t i = 0; ok && i < n && !c->exhausted; i++)
        for (size_t k = i + 1; ok && k < n && all[k].hash == all[i].hash && !c->exhausted; k++)
            if (equal(c, all[i].v, all[k].v))
                ok = fault(c, at, "uniqueItems", "has the same item twice, at %zu and %zu", all[i].index, all[k].index);
    free(all);
    return ok && !c->exhausted;
}

static bool check_contains(struct check *c, const struct node *n, const struct json *v, const struct place *at)
{
    int64_t found = 0, least = n->min_contains >= 0 ? n->min_contains : 1;
    size_t i = 0;
    for (const struct json *m = v->child; m && !c->exhausted; m = m->next) {
        struct place here = {at, STR_NONE, i++};
        found += fits(c, n->contains, m, &here);
    }
    if (found < least)
        return fault(c, at, n->min_contains >= 0 ? "minContains" : "contains",
                     "must have at least %lld items that meet the schema of contains", (long long)least);
    if (n->max_contains >= 0 && found > n->max_contains)
        return fault(c, at, "maxContains", "must have at most %lld items that meet the schema of contains",
                     (long long)n->max_contains);
    return true;
}

static bool check_array(struct check *c, const struct node *n, const struct json *v, const struct place *at)
{
    bool ok = true;
    size_t i = 0;
    if (n->min_items >= 0 && (int64_t)v->count < n->min_items)
        ok = fault(c, at, "minItems", "must have at least %lld items", (long long)n->min_items);
    if (n->max_items >= 0 && (int64_t)v->count > n->max_items)
        ok = fault(c, at, "maxItems", "must have at most %lld items", (long long)n->max_items);
    if (n->unique && !check_unique(c, v, at))
        ok = false;
    if (n->contains && !check_contains(c, n, v, at))
        ok = false;
    if (!n->items && n->prefix.n == 0)
        return ok;
    for (const struct json *m = v->child; m && (ok || !enough(c)); m = m->next, i++) {
        struct place here = {at, STR_NONE, i};
        const struct node *item = i < n->prefix.n ? n->prefix.items[i] : n->items;
        if (item && !eval(c, item, m, &here))
            ok = false;
    }
    return ok;
}

static size_t find_name(const struct names *names, struct str name)
{
    size_t low = 0, high = names->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = schema_name_order(names->items[middle], name);
        if (order == 0)
            return middle;
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    return names->n;
}

static const struct node *find_node(const struct node_map *map, struct str name)
{
    size_t low = 0, high = map->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = schema_name_order(map->items[middle].name, name);
        if (order == 0)
            return map->items[middle].node;
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    return NULL;
}

static bool check_names(struct check *c, const struct names *names, const char *keyword, struct str because,
                        const struct json *v, const struct place *at)
{
    bool ok = true, *seen = names->n > 0 ? calloc(names->n, sizeof *seen) : NULL;
    char shown[SHOWN_MAX], other[SHOWN_MAX];
    if (names->n > 0 && !seen)
        return exhaust(c, "asks for more names than there is memory for");
    for (const struct json *m = seen ? v->child : NULL; m && pay(c, 2); m = m->next) {
        size_t i = find_name(names, m->key);
        if (i < names->n)
            seen[i] = true;
    }
    for (size_t i = 0; i < names->n && (ok || !enough(c)); i++)
        if (!seen[i])
            ok = because.ptr
                     ? fault(c, at, keyword, "the property %s is missing, which goes with %s",
                             schema_shown(names->items[i], shown), schema_shown(because, other))
                     : fault(c, at, keyword, "the property %s is missing", schema_shown(names->items[i], shown));
    free(seen);
    return ok && !c->exhausted;
}

static bool check_member(struct check *c, const struct node *n, const struct json *m, const struct place *at)
{
    bool ok = true, known = false;
    char shown[SHOWN_MAX];
    struct place here = {at, m->key.ptr ? m->key : STR(""), 0};
    const struct node *own = find_node(&n->properties, m->key);
    if (own) {
        known = true;
        ok = eval(c, own, m, &here);
    }
    for (size_t i = 0; i < n->patterns.n && (ok || !enough(c)); i++)
        if (matches(c, n->patterns.items[i].pattern, m->key)) {
            known = true;
            if (!eval(c, n->patterns.items[i].node, m, &here))
                ok = false;
        }
    if (!known && n->additional && n->additional->never)
        ok = fault(c, &here, "additionalProperties", "the property %s is not known", schema_shown(m->key, shown));
    else if (!known && n->additional && !eval(c, n->additional, m, &here))
        ok = false;
    if (n->names) {
        struct json name = {.type = JSON_STRING, .string = m->key};
        if (!fits(c, n->names, &name, &here))
            ok = fault(c, &here, "propertyNames", "%s may not be a property's name", schema_shown(m->key, shown));
    }
    return ok;
}

static bool check_object(struct check *c, const struct node *n, const struct json *v, const struct place *at)
{
    bool ok = true;
    if (n->min_properties >= 0 && (int64_t)v->count < n->min_properties)
        ok = fault(c, at, "minProperties", "must have at least %lld properties", (long long)n->min_properties);
    if (n->max_properties >= 0 && (int64_t)v->count > n->max_properties)
        ok = fault(c, at, "maxProperties", "must have at most %lld properties", (long long)n->max_properties);
    if (n->required.n > 0 && !check_names(c, &n->required, "required", STR_NONE, v, at))
        ok = false;
    for (size_t i = 0; i < n->dependent_required_n && (ok || !enough(c)); i++) {
        const struct names_named *d = &n->dependent_required[i];
        if (member(c, v, d->name) && !check_names(c, &d->names, "dependentRequired", d->name, v, at))
            ok = false;
    }
    for (size_t i = 0; i < n->dependents.n && (ok || !enough(c)); i++)
        if (member(c, v, n->dependents.items[i].name) && !eval(c, n->dependents.items[i].node, v, at))
            ok = false;
    if (n->properties.n + n->patterns.n == 0 && !n->additional && !n->names)
        return ok;
    for (const struct json *m = v->child; m && (ok || !enough(c)); m = m->next)
        if (!pay(c, 1) || !check_member(c, n, m, at))
            ok = false;
    return ok;
}

static bool check_logic(struct check *c, const struct node *n, const struct json *v, const struct place *at)
{
    bool ok = !n->ref || eval(c, n->ref, v, at);
    size_t any = 0, one = 0;
    for (size_t i = 0; i < n->all_of.n && (ok || !enough(c)); i++)
        if (!eval(c, n->all_of.items[i], v, at))
            ok = false;
    for (size_t i = 0; i < n->any_of.n && any == 0 && !c->exhausted; i++)
        any += fits(c, n->any_of.items[i], v, at);
    if (n->any_of.n > 0 && any == 0)
        ok = fault(c, at, "anyOf", "must meet at least one of %zu schemas, and meets none", n->any_of.n);
    for (size_t i = 0; i < n->one_of.n && one < 2 && !c->exhausted; i++)
        one += fits(c, n->one_of.items[i], v, at);
    if (n->one_of.n > 0 && one != 1)
        ok = fault(c, at, "oneOf", "must meet exactly one of %zu schemas, and meets %s", n->one_of.n,
                   one == 0 ? "none" : "several");
    if (n->not_ && fits(c, n->not_, v, at))
        ok = fault(c, at, "not", "meets the schema that it must not meet");
    if (n->if_ && (n->then_ || n->else_)) {
        const struct node *then = fits(c, n->if_, v, at) ? n->then_ : n->else_;
        if (then && !eval(c, then, v, at))
            ok = false;
    }
    return ok;
}

static bool eval(struct check *c, const struct node *n, const struct json *v, const struct place *at)
{
    if (!pay(c, 1))
        return false;
    if (++c->frames > FRAMES_MAX)
        exhaust(c, "is nested deeper than its schema can be followed");
    bool ok = !c->exhausted;
    if (ok && v->type == JSON_OBJECT &&
        v->repeated_key) /* which of the two counts is for its reader to say: nothing was checked, then */
        ok = fault(c, at, "", "has the same key twice");
    if (n->never)
        ok = fault(c, at, "false", "nothing may stand here");
    bool typed = ok && check_type(c, n, v, at);
    ok = typed && check_values(c, n, v, at);
    if (typed && is_number(v) && !check_number(c, n, v, at))
        ok = false;
    if (typed && v->type == JSON_STRING && !check_string(c, n, v, at))
        ok = false;
    if (typed && v->type == JSON_ARRAY && (ok || !enough(c)) && !check_array(c, n, v, at))
        ok = false;
    if (typed && v->type == JSON_OBJECT && (ok || !enough(c)) && !check_object(c, n, v, at))
        ok = false;
    if (typed && (ok || !enough(c)) && !check_logic(c, n, v, at))
        ok = false;
    c->frames--;
    return ok && !c->exhausted;
}

/* ---- the whole ---- */

static bool check_parsed(const struct schema *s, struct check *c, const struct json *root)
{
    c->data = pcre2_match_data_create(1, NULL);
    c->limits = pcre2_match_context_create(NULL);
    bool ok = false;
    if (c->data && c->limits) {
        (void)pcre2_set_match_limit(c->limits, MATCH_LIMIT);
        (void)pcre2_set_heap_limit(c->limits, MATCH_HEAP_KIB);
        ok = eval(c, s->root, root, NULL);
    } else {
        exhaust(c, "could not be checked: memory is out");
    }
    pcre2_match_context_free(c->limits);
    pcre2_match_data_free(c->data);
    return ok && !c->exhausted;
}

bool schema_check(const struct schema *s, struct str value, struct schema_faults *ret_faults)
{
    struct schema_work work = {0};
    return schema_check_within(s, value, &work, ret_faults);
}

bool schema_check_within(const struct schema *s, struct str value, struct schema_work *work,
                         struct schema_faults *ret_faults)
{
    struct arena arena;
    struct json *root;
    struct check c = {.faults = ret_faults, .work = work};
    bool ok = false;
    ret_faults->n = 0;
    arena_init(&arena, VALUE_ARENA_MAX);
    enum err err = json_parse(&arena, value, LIMIT_JSON_DEPTH, LIMIT_JSON_DEPTH, &root, NULL);
    if (err)
        exhaust(&c, err == ERR_NO_MEMORY ? "has more values than can be checked" : "is no JSON");
    else
        ok = check_parsed(s, &c, root);
    if (c.exhausted) {
        ret_faults->n = ret_faults->n < LIMIT_SCHEMA_FAULTS ? ret_faults->n : LIMIT_SCHEMA_FAULTS - 1;
        c.exhausted = false;
        fault(&c, NULL, "", "%s", c.why_exhausted);
    }
    arena_done(&arena);
    return ok;
}
