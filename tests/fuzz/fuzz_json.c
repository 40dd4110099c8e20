/* The JSON reader and writer: what is accepted keeps its meaning: its raw text is valid, holds no white space outside strings, reads back the same, and strings survive being written. */
#include <stdlib.h>

#include "common/json.h"
#include "common/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct arena *a, const struct json *v, int depth)
{
    POST(depth <= LIMIT_JSON_DEPTH && v->raw.len > 0);
    size_t n = 0;
    for (const struct json *c = v->child; c; c = c->next, n++) {
        check(a, c, depth + 1);
        POST(v->type != JSON_OBJECT || json_get(v, "") != c || c->key.len == 0);
    }
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
        POST(json_parse(&a, root->raw, LIMIT_JSON_DEPTH, 6, &again, NULL) == ERR_OK && str_eq(again->raw, root->raw));
    }
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
