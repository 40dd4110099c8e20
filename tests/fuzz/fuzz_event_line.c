/* The quick way for a line of events: where it knows something, the whole parser and redaction say the same. Byte 0: which secrets the attempt has. */
#include <stdlib.h>

#include "common/json.h"
#include "common/limits.h"
#include "runner/event_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_as_whole(struct str line, struct redactor *r, const struct event_line *l)
{
    struct arena arena;
    struct json *root, *members;
    struct strbuf shown;
    arena_init(&arena, 32 << 20);
    POST(json_parse(&arena, line, LIMIT_JSON_DEPTH - 2, 1, &root, NULL) == ERR_OK);
    const struct json *kind = json_get(root, "kind"), *value = json_get(root, "data");
    POST(kind && kind->type == JSON_STRING && event_kind_of(kind->string) == l->kind && l->kind < EVENT_KIND_COUNT);
    POST(l->kind != EVENT_RUNTIME_STARTED && l->kind != EVENT_RUNTIME_TERMINAL);
    POST(value && value->type == JSON_OBJECT && str_eq(value->raw, l->data));
    strbuf_init(&shown, 4 << 20);
    redact_json(r, l->data, &shown);
    POST(str_eq(strbuf_str(&shown), l->data));
    strbuf_done(&shown);
    POST(json_parse(&arena, value->raw, LIMIT_JSON_DEPTH, 1, &members, NULL) == ERR_OK);
    const struct json *text = json_get(members, "text");
    bool is_text = text && text->type == JSON_STRING;
    POST(is_text == (l->text.ptr != NULL) && (!is_text || str_eq(text->string, l->text)));
    arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct redact_secret secrets[] = {
        {STR("TOKEN"), STR("ert_1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG")},
        {STR("S"), STR("a\"b c\\d")},
        {STR("N"), STR("31337")},
        {STR("X"), STR("qq")}};
    struct redactor *r;
    struct strbuf scratch;
    struct event_line_head head = {0};
    struct event_line l = {.scratch = &scratch, .head = &head};
    if (size < 1 || size > 30000 || redactor_new(secrets, data[0] % 5, &r) != ERR_OK)
        return 0;
    char *copy = malloc(size); /* of its own size: what is read beyond it shows */
    PRE(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    strbuf_init(&scratch, 1 << 20);
    for (int again = 0; again < 2; again++) /* with and without what was learned of its keys */
        if (event_line_read((struct str){copy, size - 1}, r, &l))
            same_as_whole((struct str){copy, size - 1}, r, &l);
    free(copy);
    strbuf_done(&scratch);
    redactor_free(r);
    return 0;
}
