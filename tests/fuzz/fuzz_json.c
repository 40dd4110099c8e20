/* The JSON reader and writer: what is accepted keeps its meaning: its raw text is valid, holds no white space outside strings, reads back the same, and strings survive being written. */
#include <stdlib.h>

#include "common/json.h"
#include "common/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Outside of strings. */
static bool holds_white_space(struct str raw)
{
    bool in_string = false;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == ' ' || c == '\t' || c == '\n' || c == '\r'))
            return true;
    }
    return false;
}

/* The same tree: types, numbers, strings, keys, order. */
static bool same(const struct json *a, const struct json *b)
{
    if (a->type != b->type || a->count != b->count || a->integer != b->integer || a->boolean != b->boolean ||
        a->repeated_key != b->repeated_key || !str_eq(a->raw, b->raw) || !str_eq(a->string, b->string) ||
        !str_eq(a->key, b->key) || memcmp(&a->number, &b->number, sizeof a->number) != 0)
        return false;
    const struct json *x = a->child, *y = b->child;
    while (x && y && same(x, y))
        x = x->next, y = y->next;
    return !x && !y;
}

static void check(struct arena *a, const struct json *v, int depth)
{
    POST(depth <= LIMIT_JSON_DEPTH && v->raw.len > 0);
    size_t n = 0;
    for (const struct json *c = v->child; c; c = c->next, n++) {
        check(a, c, depth + 1);
        POST(c->raw.ptr > v->raw.ptr && c->raw.ptr + c->raw.len < v->raw.ptr + v->raw.len);
    }
    if (v->type == JSON_INT)
        POST((double)v->integer == v->number);
    POST(!v->child || n == v->count);
    if (v->type == JSON_STRING) {
        struct strbuf text;
        struct json *again;
        strbuf_init(&text, 64U << 20);
        json_quote(&text, v->string);
        POST(json_parse(a, strbuf_str(&text), 1, 1, &again, NULL) == ERR_OK && str_eq(again->string, v->string));
        strbuf_done(&text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct json *root, *again;
    char *text = malloc(size ? size : 1);
    PRE(text != NULL);
    memcpy(text, data, size);
    arena_init(&a, 256 << 20);
    if (json_parse(&a, (struct str){text, size}, LIMIT_JSON_DEPTH, 6, &root, NULL) == ERR_OK) {
        POST(json_valid((struct str){text, size}, LIMIT_JSON_DEPTH) && root->raw.len <= size);
        check(&a, root, 1);
        POST(json_parse(&a, root->raw, LIMIT_JSON_DEPTH, 6, &again, NULL) == ERR_OK && same(again, root));
        POST(!holds_white_space(root->raw));
    }
    size_t complete = utf8_complete_len((struct str){text, size});
    POST(complete <= size && size - complete <= 3);
    struct strbuf clean, twice;
    strbuf_init(&clean, 64U << 20);
    strbuf_init(&twice, 64U << 20);
    utf8_sanitize(&clean, (struct str){text, size});
    utf8_sanitize(&twice, strbuf_str(&clean));
    POST(str_eq(strbuf_str(&clean), strbuf_str(&twice)));
    strbuf_done(&clean);
    strbuf_done(&twice);
    free(text);
    arena_done(&a);
    return 0;
}
