/* $ref: where it leads, and that it leads on. */
#include "common/schema_node.h"

/* One part of a JSON pointer in a URI fragment: %XX, then ~0 and ~1. False: malformed. */
static bool unescape(struct str part, struct strbuf *out)
{
    for (size_t i = 0; i < part.len; i++) {
        char ch = part.ptr[i];
        if (ch == '%') {
            int high = i + 2 < part.len ? hex_value(part.ptr[i + 1]) : -1,
                low = i + 2 < part.len ? hex_value(part.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            ch = (char)(high << 4 | low);
            i += 2;
        }
        strbuf_addc(out, ch);
    }
    size_t to = 0;
    for (size_t i = 0; i < out->len; i++, to++) {
        char ch = out->ptr[i];
        if (ch == '~') {
            char next = i + 1 < out->len ? out->ptr[i + 1] : 0;
            if (next != '0' && next != '1')
                return false;
            ch = next == '0' ? '~' : '/';
            i++;
        }
        out->ptr[to] = ch;
    }
    out->len = to;
    return true;
}

static const struct json *step_into(const struct json *v, struct str name)
{
    size_t index = 0;
    if (v->type == JSON_OBJECT) {
        for (const struct json *m = v->child; m; m = m->next)
            if (str_eq(m->key, name))
                return m;
        return NULL;
    }
    bool number = v->type == JSON_ARRAY && name.len > 0 && name.len < 7 && (name.len == 1 || name.ptr[0] != '0');
    for (size_t i = 0; number && i < name.len; i++) {
        number = name.ptr[i] >= '0' && name.ptr[i] <= '9';
        index = index * 10 + (size_t)(name.ptr[i] - '0');
    }
    const struct json *m = number ? v->child : NULL;
    while (m && index-- > 0)
        m = m->next;
    return m;
}

/* The place that "#/…" speaks of, or NULL. */
static const struct json *follow(const struct json *root, struct str ref)
{
    const struct json *v = root;
    struct strbuf name;
    strbuf_init(&name, LIMIT_DEFINITION);
    for (size_t at = 1; v && at < ref.len;) {
        const char *slash = memchr(ref.ptr + at + 1, '/', ref.len - at - 1);
        size_t end = slash ? (size_t)(slash - ref.ptr) : ref.len;
        strbuf_reset(&name);
        bool good = unescape((struct str){ref.ptr + at + 1, end - at - 1}, &name);
        v = good ? step_into(v, strbuf_str(&name)) : NULL;
        at = end;
    }
    strbuf_done(&name);
    return v;
}

bool schema_resolve(struct schema *s, struct schema_fault *fault)
{
    char shown[SHOWN_MAX];
    for (struct node *n = s->nodes; n; n = n->next) {
        if (n->ref_text.len == 0)
            continue;
        const struct json *to = follow(s->root->at, n->ref_text);
        for (struct node *m = to ? s->nodes : NULL; m && !n->ref; m = m->next)
            if (m->at == to)
                n->ref = m;
        if (!n->ref)
            return schema_refuse(fault, NULL, "$ref %s names no schema of this document",
                                 schema_shown(n->ref_text, shown));
    }
    return true;
}

static void longer(struct node *child, int *chain);

/* Over how many schemas n hands on the very value that it is applied to; more than may, where that leads back to n and would never end. */
static int chain_of(struct node *n)
{
    enum { NEW, OPEN, DONE };
    struct node *const singles[] = {n->ref, n->not_, n->if_, n->then_, n->else_};
    const struct node_list *const lists[] = {&n->all_of, &n->any_of, &n->one_of};
    int chain = 0;
    if (n->mark == OPEN)
        return LIMIT_SCHEMA_CHAIN + 1;
    if (n->mark == DONE)
        return n->chain;
    n->mark = OPEN;
    for (size_t i = 0; i < ARRAY_LEN(singles); i++)
        longer(singles[i], &chain);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (size_t k = 0; k < lists[i]->n; k++)
            longer(lists[i]->items[k], &chain);
    for (size_t k = 0; k < n->dependents.n; k++)
        longer(n->dependents.items[k].node, &chain);
    n->mark = DONE;
    n->chain = chain;
    return chain;
}

static void longer(struct node *child, int *chain)
{
    int own = child && *chain <= LIMIT_SCHEMA_CHAIN ? 1 + chain_of(child) : 0;
    *chain = own > *chain ? own : *chain;
}

bool schema_check_chains(struct schema *s, struct schema_fault *fault)
{
    for (struct node *n = s->nodes; n; n = n->next)
        if (chain_of(n) > LIMIT_SCHEMA_CHAIN)
            return schema_refuse(
                fault, NULL,
                "a $ref leads back to where it stands without going into the value (or over more than %d "
                "schemas)",
                LIMIT_SCHEMA_CHAIN);
    return true;
}
