/* The quick way for a line of events knows what nearly all lines are, and says of them what the whole parser and redaction say. */
#include "runner/event_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/limits.h"

#define TOKEN "ert_1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

static const struct redact_secret secrets[] = {{STR("TOKEN"), STR(TOKEN)},
                                               {STR("S"), STR("a\"b c\\d efgh")},
                                               {STR("N"), STR("31337")},
                                               {STR("LONG"), STR("xylophone")}};

static struct redactor *redactor(size_t n)
{
    struct redactor *r;
    assert_int_equal(redactor_new(secrets, n, &r), ERR_OK);
    return r;
}

#define EVENT(data) "{\"kind\":\"notification\",\"data\":" data "}"
#define YES         true
#define NO          false

static const struct {
    const char *line;
    bool quick;
    const char *data, *text; /* where it is quick */
} rows[] = {
    {EVENT("{}"), YES, "{}", NULL},
    {EVENT("{\"i\":12,\"text\":\"some words\"}"), YES, "{\"i\":12,\"text\":\"some words\"}", "some words"},
    {"{ \"kind\" : \"assistant_text\" ,\t\"data\" : { \"text\" : \"a b\" , \"n\" : [ 1 , -2.5 , true , false , null ] "
     "} } ",
     YES, "{\"text\":\"a b\",\"n\":[1,-2.5,true,false,null]}", "a b"},
    {"{\"data\":{\"a\":{\"b\":[]}},\"kind\":\"tool_request\"}", YES, "{\"a\":{\"b\":[]}}", NULL},
    {EVENT("{\"text\":\"line\\nand \\\"quotes\\\" \\\\ \\/ \\t\"}"), YES,
     "{\"text\":\"line\\nand \\\"quotes\\\" \\\\ \\/ \\t\"}", "line\nand \"quotes\" \\ / \t"},
    {EVENT("{ \"text\":\"\\\" { : , \"}"), YES, "{\"text\":\"\\\" { : , \"}", "\" { : , "},
    {EVENT("{\"text\":\"gr\xc3\xbc\xc3\x9f dich \xe2\x82\xac \xf0\x9f\x98\x80\"}"), YES,
     "{\"text\":\"gr\xc3\xbc\xc3\x9f dich \xe2\x82\xac \xf0\x9f\x98\x80\"}",
     "gr\xc3\xbc\xc3\x9f dich \xe2\x82\xac \xf0\x9f\x98\x80"},
    {EVENT("{\"name\":\"colour\",\"value\":\"dark red\"}"), YES, "{\"name\":\"colour\",\"value\":\"dark red\"}", NULL},
    {EVENT("{\"text\":\"one\",\"text\":\"two\"}"), YES, "{\"text\":\"one\",\"text\":\"two\"}", "one"},
    {EVENT("{\"in\":{\"text\":\"deeper\"}}"), YES, "{\"in\":{\"text\":\"deeper\"}}", NULL},
    {EVENT("{\"n\":123456789012345678}"), YES, "{\"n\":123456789012345678}", NULL},
    /* what others have to look at */
    {EVENT("{\"text\":\"\\u00e9\"}"), NO, NULL, NULL},
    {EVENT("{\"n\":1e5}"), NO, NULL, NULL},
    {EVENT("{\"n\":1234567890123456789}"), NO, NULL, NULL},
    {EVENT("{\"password\":\"x\"}"), NO, NULL, NULL},
    {EVENT("{\"name\":\"API_KEY\",\"value\":\"x\"}"), NO, NULL, NULL},
    {EVENT("{\"text\":\"" TOKEN "\"}"), NO, NULL, NULL},
    {EVENT("{\"text\":\"it says a\\\"b c\\\\d efgh\"}"), NO, NULL, NULL},
    {EVENT("{\"text\":\"Xxylophone\"}"), NO, NULL, NULL},
    {EVENT("{\"text\":\"xylophone\"}"), NO, NULL, NULL},
    {EVENT("{\"xylophone\":1}"), NO, NULL, NULL},
    {EVENT("{\"n\":31337}"), NO, NULL, NULL},
    {EVENT("{\"text\":\"the token: 0123456789abcdef\"}"), NO, NULL, NULL},
    {EVENT("{\"text\":\"BEARER\"}"), NO, NULL, NULL},
    {EVENT("{\"text\":\"http:\\/\\/user:0123456789@db.example.com\"}"), NO, NULL, NULL}, /* only as it is meant */
    {EVENT("{\"text\":\"eyJhbGciOiJIUzI1NiJ9\"}"), NO, NULL, NULL},
    {EVENT("{\"text\":1,\"text\":\"x\"}"), NO, NULL, NULL},
    {"{\"kind\":\"runtime_terminal\",\"data\":{}}", NO, NULL, NULL},
    {"{\"kind\":\"runtime_started\",\"data\":{}}", NO, NULL, NULL},
    {"{\"kind\":\"other\",\"data\":{}}", NO, NULL, NULL},
    {"{\"kind\":\"notification\",\"data\":[]}", NO, NULL, NULL},
    {"{\"kind\":\"notification\",\"data\":{},\"more\":1}", NO, NULL, NULL},
    {"{\"kind\":\"notification\",\"kind\":\"notification\"}", NO, NULL, NULL},
    {"{\"data\":{},\"data\":{}}", NO, NULL, NULL},
    {"{\"kind\":\"notification\"}", NO, NULL, NULL},
    /* what is no JSON */
    {EVENT("{\"a\":01}"), NO, NULL, NULL},
    {EVENT("{\"a\":1.}"), NO, NULL, NULL},
    {EVENT("{\"a\":-}"), NO, NULL, NULL},
    {EVENT("{\"a\":nulll}"), NO, NULL, NULL},
    {EVENT("{\"a\":1,}"), NO, NULL, NULL},
    {EVENT("{\"a\" 1}"), NO, NULL, NULL},
    {EVENT("{\"a\":[1 2]}"), NO, NULL, NULL},
    {EVENT("{\"a\":[1}"), NO, NULL, NULL},
    {EVENT("{\"a\":\"\x01\"}"), NO, NULL, NULL},
    {EVENT("{\"a\":\"\\x\"}"), NO, NULL, NULL},
    {EVENT("{\"a\":\"\xc3\"}"), NO, NULL, NULL},
    {EVENT("{\"a\":\"\xed\xa0\x80\"}"), NO, NULL, NULL},
    {EVENT("{\"a\":\"x"), NO, NULL, NULL},
    {EVENT("{}") "x", NO, NULL, NULL},
    {"{", NO, NULL, NULL},
    {"", NO, NULL, NULL},
};

static void test_rows(void **state)
{
    struct redactor *r = redactor(ARRAY_LEN(secrets));
    struct strbuf scratch;
    struct event_line_head head = {0};
    (void)state;
    strbuf_init(&scratch, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct event_line l = {.scratch = &scratch, .head = &head};
        bool quick = event_line_read(str_of(rows[i].line), r, &l);
        if (quick != rows[i].quick || (quick && !str_eqz(l.data, rows[i].data)) ||
            (quick && (rows[i].text ? !str_eqz(l.text, rows[i].text) : l.text.ptr != NULL)))
            fail_msg("%s: %d %.*s", rows[i].line, quick, STR_ARG(l.data));
    }
    strbuf_done(&scratch);
    redactor_free(r);
}

/* A secret anywhere, at any distance from the ends, behind and before anything. */
static void test_no_place_is_passed_over(void **state)
{
    static const char *const words[] = {TOKEN, "xylophone", "31337", "PaSsWd", "sk-", "://", "eyJ"};
    struct redactor *r = redactor(ARRAY_LEN(secrets));
    char text[64];
    (void)state;
    for (size_t w = 0; w < ARRAY_LEN(words); w++) {
        size_t n = strlen(words[w]) < 32 ? strlen(words[w]) : strlen(TOKEN);
        for (size_t before = 0; before < 10; before++)
            for (size_t behind = 0; behind < 5 && before + n + behind < sizeof text; behind++) {
                memset(text, '.', sizeof text);
                memcpy(text + before, words[w], n);
                assert_false(redact_quick(r, (struct str){text, before + n + behind}));
                text[before] = '.';
                text[before + 1] = '!';
                if (n < 10) /* the rest of the token has spellings of its own */
                    assert_true(redact_quick(r, (struct str){text, before + n + behind}));
            }
    }
    redactor_free(r);
}

/* ---- by chance ---- */

static uint64_t seed;

static uint32_t chance(uint32_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static const char *one_of(const char *const *list, size_t n)
{
    return list[chance((uint32_t)n)];
}

static void space(struct strbuf *b)
{
    if (chance(12) == 0)
        strbuf_addc(b, " \t\n\r"[chance(4)]);
}

static void text(struct strbuf *b)
{
    static const char *const parts[] = {
        "a", "b",    " ",  "word ", "\\n", "\\\"", "\\\\", "\xc3\xa9", "\xe2\x82\xac", "{",       "}",   ":",  ",",
        "[", "the ", "er", "to",    "se",  "ke",   "31",   "xyl",      "as",           "\\u0041", "tok", "\\t"};
    strbuf_addc(b, '"');
    for (uint32_t n = chance(12); n > 0; n--)
        strbuf_addz(b, one_of(parts, ARRAY_LEN(parts)));
    if (chance(20) == 0)
        strbuf_addz(b, chance(2) ? "xylophone" : "31337");
    strbuf_addc(b, '"');
}

static void any_value(struct strbuf *b, int level)
{
    static const char *const scalars[] = {"1", "0", "-3", "12.5", "true", "false", "null", "1e3", "01", "31337", "-"};
    static const char *const keys[] = {"text",   "a",        "name", "value",      "key",     "k2",
                                       "tokens", "password", "id",   "te\\u0078t", "\xc3\xa9"};
    uint32_t what = chance(level > 3 ? 6 : 10);
    space(b);
    if (what < 4) {
        text(b);
    } else if (what < 6) {
        strbuf_addz(b, one_of(scalars, chance(8) ? 7 : ARRAY_LEN(scalars)));
    } else {
        bool object = what < 9 || level == 0;
        strbuf_addc(b, object ? '{' : '[');
        for (uint32_t n = chance(4), i = 0; i < n; i++) {
            if (i > 0)
                strbuf_addc(b, ',');
            if (object) {
                space(b);
                strbuf_addf(b, "\"%s\"", one_of(keys, chance(6) ? 6 : ARRAY_LEN(keys)));
                space(b);
                strbuf_addc(b, ':');
            }
            any_value(b, level + 1);
            space(b);
        }
        space(b);
        strbuf_addc(b, object ? '}' : ']');
    }
}

static bool same_as_whole(struct str line, struct redactor *r, struct event_line *l)
{
    struct arena arena;
    struct json *root, *members;
    struct strbuf shown;
    arena_init(&arena, 32 << 20);
    bool ok = json_parse(&arena, line, LIMIT_JSON_DEPTH - 2, 1, &root, NULL) == ERR_OK;
    const struct json *kind = ok ? json_get(root, "kind") : NULL, *data = ok ? json_get(root, "data") : NULL;
    ok = kind && data && event_kind_of(kind->string) == l->kind && str_eq(data->raw, l->data);
    strbuf_init(&shown, 4 << 20);
    redact_json(r, l->data, &shown);
    ok = ok && str_eq(strbuf_str(&shown), l->data);
    strbuf_done(&shown);
    ok = ok && json_parse(&arena, data->raw, LIMIT_JSON_DEPTH, 1, &members, NULL) == ERR_OK;
    const struct json *t = ok ? json_get(members, "text") : NULL;
    bool is_text = t && t->type == JSON_STRING;
    ok = ok && is_text == (l->text.ptr != NULL) && (!is_text || str_eq(t->string, l->text));
    arena_done(&arena);
    return ok;
}

static void test_what_it_knows_is_so(void **state)
{
    struct redactor *all[] = {redactor(0), redactor(1), redactor(ARRAY_LEN(secrets))};
    struct strbuf line, scratch;
    struct event_line_head head = {0};
    int known = 0, tries = 60000;
    (void)state;
    seed = 7;
    strbuf_init(&line, 1 << 20);
    strbuf_init(&scratch, 4 << 20);
    for (int i = 0; i < tries; i++) {
        struct event_line l = {.scratch = &scratch, .head = &head};
        struct redactor *r = all[chance(ARRAY_LEN(all))];
        strbuf_reset(&line);
        strbuf_addz(&line, chance(2) ? "{\"kind\":\"assistant_text\",\"data\":{\"text\":"
                                     : "{\"kind\":\"notification\",\"data\":{\"a\":");
        any_value(&line, 0);
        strbuf_addz(&line, "}}");
        if (chance(3) == 0) /* something is wrong with it, perhaps */
            line.ptr[chance((uint32_t)line.len)] = (char)chance(256);
        if (!event_line_read(strbuf_str(&line), r, &l))
            continue;
        known++;
        if (!same_as_whole(strbuf_str(&line), r, &l))
            fail_msg("%.*s", STR_ARG(strbuf_str(&line)));
    }
    assert_true(known > tries / 5);
    strbuf_done(&line);
    strbuf_done(&scratch);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        redactor_free(all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_no_place_is_passed_over),
                                       cmocka_unit_test(test_what_it_knows_is_so)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
