/* JSON in: what is refused and why, what numbers, strings and raw texts become, and what is expanded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/limits.h"

/* Parses a copy in a block of just its size, which is gone before the tree is looked at. */
static enum err parse(struct arena *a, struct str text, int max_expand, struct json **ret_root, const char **ret_why)
{
    char *block = malloc(text.len ? text.len : 1);
    assert_non_null(block);
    memcpy(block, text.ptr, text.len);
    enum err err = json_parse(a, (struct str){block, text.len}, LIMIT_JSON_DEPTH, max_expand, ret_root, ret_why);
    assert_int_equal(json_valid((struct str){block, text.len}, LIMIT_JSON_DEPTH), err == ERR_OK);
    free(block);
    return err;
}

static struct json *good(struct arena *a, struct str text, int max_expand)
{
    struct json *root = NULL;
    const char *why = NULL;
    arena_init(a, 64 << 20);
    if (parse(a, text, max_expand, &root, &why) != ERR_OK)
        fail_msg("%.*s: %s", STR_ARG(text), why);
    return root;
}

/* ---- refusals ---- */

static const struct {
    const char *name;
    struct str text;
    const char *why; /* a part of it */
} refused[] = {
    {"nothing", STR(""), "empty"},
    {"white space alone", STR(" \n\t "), "empty"},
    {"a byte order mark", STR("\xef\xbb\xbf{}"), "byte order mark"},
    {"UTF-16", STR("{\0}\0"), ""},
    {"a word", STR("hello"), ""},
    {"a literal with a tail", STR("nullx"), ""},
    {"a literal in capitals", STR("True"), ""},
    {"NaN", STR("NaN"), ""},
    {"Infinity", STR("[-Infinity]"), ""},
    {"an array that is not closed", STR("[1,2"), ""},
    {"an object that is not closed", STR("{\"a\":1"), ""},
    {"closed by the other bracket", STR("[1}"), ""},
    {"a bracket too many", STR("[]]"), ""},
    {"something behind it", STR("{} x"), ""},
    {"a second value", STR("1 2"), ""},
    {"a NUL behind it", STR("{}\0"), ""},
    {"a comma at the end", STR("[1,]"), ""},
    {"a comma at the end of an object", STR("{\"a\":1,}"), ""},
    {"a comma alone", STR("[,]"), ""},
    {"no comma", STR("[1 2]"), ""},
    {"a key without quotes", STR("{a:1}"), ""},
    {"a number as a key", STR("{1:1}"), ""},
    {"a key without a value", STR("{\"a\"}"), ""},
    {"no colon", STR("{\"a\" 1}"), ""},
    {"single quotes", STR("['a']"), ""},
    {"a comment", STR("[1] // x"), ""},
    /* numbers */
    {"a leading zero", STR("01"), "number"},
    {"a leading zero, long", STR("[0123456789012345678901]"), "number"},
    {"a leading plus", STR("+1"), ""},
    {"a point without digits", STR("1."), "number"},
    {"a point at the front", STR(".5"), ""},
    {"a minus alone", STR("-"), "number"},
    {"an exponent without digits", STR("1e"), "number"},
    {"hexadecimal", STR("0x10"), ""},
    {"too large for a double", STR("1e309"), "number"},
    {"too large and negative", STR("[-1e999]"), "number"},
    {"two points in many digits", STR("[12345678901234567890.1.2]"), "number"},
    /* strings */
    {"a string that is not closed", STR("\"abc"), "not closed"},
    {"closed by an escaped quote", STR("\"abc\\\""), "not closed"},
    {"an unknown escape", STR("\"\\x\""), "string"},
    {"an escape of three digits", STR("\"\\u12g4\""), "string"},
    {"a newline", STR("\"a\nb\""), "control character"},
    {"a NUL", STR("\"a\0b\""), "control character"},
    {"a high surrogate alone", STR("\"\\ud800\""), "string"},
    {"a high surrogate and a letter", STR("\"\\ud800a\""), "string"},
    {"a high surrogate and another", STR("\"\\ud800\\ud800\""), "string"},
    {"a high surrogate and no surrogate", STR("\"\\ud800\\u0041\""), "string"},
    {"a low surrogate alone", STR("\"\\udc00\""), "string"},
    {"the pair the wrong way round", STR("\"\\ude00\\ud83d\""), "string"},
    {"a lone surrogate in a key", STR("{\"\\udfff\":1}"), "string"},
    /* UTF-8 */
    {"a byte that is no UTF-8", STR("\"\xff\""), "UTF-8"},
    {"a character cut off", STR("\"\xe2\x82\""), "UTF-8"},
    {"an overlong one", STR("\"\xc0\xaf\""), "UTF-8"},
    {"a surrogate in UTF-8", STR("\"\xed\xa0\x80\""), "UTF-8"},
    {"above U+10FFFF", STR("\"\xf4\x90\x80\x80\""), "UTF-8"},
    {"not UTF-8 in a key", STR("{\"\x80\":1}"), "UTF-8"},
};

static void test_every_malformed_text_is_refused_with_its_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct arena a;
        struct json *root = NULL;
        const char *why = NULL;
        arena_init(&a, 1 << 20);
        enum err err = parse(&a, refused[i].text, 4, &root, &why);
        if (err != ERR_INVALID_JSON || root)
            fail_msg("%s: %s", refused[i].name, err_code(err));
        if (!why || !strstr(why, refused[i].why))
            fail_msg("%s: says \"%s\"", refused[i].name, why ? why : "nothing");
        arena_done(&a);
    }
}

static void nest(struct strbuf *out, int levels, bool objects)
{
    strbuf_init(out, 1 << 20);
    for (int i = 0; i < levels; i++)
        strbuf_addz(out, objects ? "{\"a\":" : "[");
    strbuf_addz(out, objects ? "0" : "");
    for (int i = 0; i < levels; i++)
        strbuf_addz(out, objects ? "}" : "]");
}

static void test_depth_counts_the_outermost_value_as_one(void **state)
{
    (void)state;
    for (int objects = 0; objects < 2; objects++)
        for (int levels = 1; levels <= 5; levels++)
            for (int max = 1; max <= 5; max++) {
                struct strbuf text;
                nest(&text, levels, objects);
                assert_int_equal(json_valid(strbuf_str(&text), max), levels <= max);
                strbuf_done(&text);
            }
    assert_true(json_valid(STR("[\"[[[[\",\"\\\"[[[[\"]"), 1)); /* brackets in strings are none */
    assert_true(json_valid(STR("[[],[],{}]"), 2));              /* and what is closed counts no more */
}

static void test_128_levels_pass_and_129_do_not(void **state)
{
    (void)state;
    for (int levels = LIMIT_JSON_DEPTH - 1; levels <= LIMIT_JSON_DEPTH + 1; levels++) {
        struct strbuf text;
        struct arena a;
        struct json *root = NULL;
        const char *why = NULL;
        nest(&text, levels, true);
        arena_init(&a, 1 << 20);
        enum err err = parse(&a, strbuf_str(&text), LIMIT_JSON_DEPTH, &root, &why);
        assert_int_equal(err, levels <= LIMIT_JSON_DEPTH ? ERR_OK : ERR_INVALID_JSON);
        if (err)
            assert_non_null(strstr(why, "deep"));
        arena_done(&a);
        strbuf_done(&text);
    }
}

static void test_a_million_brackets_are_refused_without_recursion(void **state)
{
    (void)state;
    struct strbuf text;
    strbuf_init(&text, 4 << 20);
    for (int i = 0; i < 1 << 20; i++)
        strbuf_addc(&text, '[');
    assert_false(json_valid(strbuf_str(&text), LIMIT_JSON_DEPTH));
    strbuf_done(&text);
}

static void test_a_refusal_leaves_the_outputs_alone(void **state)
{
    (void)state;
    struct arena a;
    struct json mark, *root = &mark;
    arena_init(&a, 1 << 20);
    assert_int_equal(json_parse(&a, STR("[1,"), 8, 8, &root, NULL), ERR_INVALID_JSON);
    assert_ptr_equal(root, &mark);
    arena_done(&a);
    arena_init(&a, 64); /* too little for the tree */
    assert_int_equal(json_parse(&a, STR("[1,2,3,4,5,6,7,8]"), 8, 8, &root, NULL), ERR_NO_MEMORY);
    assert_ptr_equal(root, &mark);
    arena_done(&a);
}

/* ---- repeated keys ---- */

static void test_repeated_keys_are_flagged_where_they_stand(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool repeated;
    } cases[] = {
        {"{}", false},
        {"{\"a\":1}", false},
        {"{\"a\":1,\"b\":1}", false},
        {"{\"a\":1,\"a\":2}", true},
        {"{\"a\":1,\"b\":2,\"a\":3}", true},
        {"{\"a\":1,\"\\u0061\":2}", true},
        {"{\"\":1,\"\":2}", true},
        {"{\"a\":1,\"A\":2}", false},
        {"{\"a\":1,\"a \":2}", false},
        {"{\"a\\u0000\":1,\"a\":2}", false},
        {"{\"a\":{\"a\":1},\"b\":{\"a\":1}}", false},
        {"{\"x\":{\"a\":1,\"a\":1}}", false}, /* the inner one is, the outer one not */
        {"{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0}", false},
        {"{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"1\":0}", true},
        {"{\"9\":0,\"1\":0,\"22\":0,\"2\":0,\"3\":0,\"4\":0,\"\":0,\"5\":0,\"6\":0,\"2\":0}", true},
        {"{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"9\":0}",
         true}, /* the last when sorted */
        {"{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"\":0,\"\":0}",
         true}, /* the first */
        {"{\"9\":0,\"1\":0,\"22\":0,\"2\":0,\"3\":0,\"4\":0,\"\":0,\"5\":0,\"6\":0,\"222\":0}", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a;
        const struct json *root = good(&a, str_of(cases[i].text), 4);
        if (root->repeated_key != cases[i].repeated)
            fail_msg("%s", cases[i].text);
        arena_done(&a);
    }
    struct arena a;
    const struct json *root = good(&a, STR("{\"x\":{\"a\":1,\"a\":2}}"), 4);
    assert_true(json_get(root, "x")->repeated_key);
    assert_int_equal(json_get(json_get(root, "x"), "a")->integer, 1); /* the first of them */
    assert_int_equal(json_get(root, "x")->count, 2);                  /* both are kept */
    arena_done(&a);
}

/* ---- numbers ---- */

static void test_integers_are_integers_however_they_are_spelled(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t integer;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"-0.0", 0},
        {"0e5", 0},
        {"1", 1},
        {"-1", -1},
        {"1.0", 1},
        {"1e2", 100},
        {"1E+2", 100},
        {"100e-2", 1},
        {"0.1e1", 1},
        {"1.50e1", 15},
        {"-1.5e3", -1500},
        {"1e-400", 0}, /* the nearest double is what counts */
        {"12.000000000000000000000000", 12},
        {"9007199254740991", 9007199254740991},
        {"-9007199254740991", -9007199254740991},
        {"9007199254740992", 9007199254740992},
        {"-9007199254740992", -9007199254740992},
        {"9007199254740992.0", 9007199254740992},
        {"9.007199254740992e15", 9007199254740992},
        {"10000000000000000000000000000000000000000000000000000000000000000000000000e-73", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a;
        const struct json *v = good(&a, str_of(cases[i].text), 1);
        if (v->type != JSON_INT || v->integer != cases[i].integer || v->number != (double)cases[i].integer)
            fail_msg("%s: type %d, %lld", cases[i].text, (int)v->type, (long long)v->integer);
        assert_true(str_eqz(v->raw, cases[i].text)); /* its spelling stays */
        arena_done(&a);
    }
}

static void test_other_numbers_are_doubles(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double number;
    } cases[] = {
        {"0.5", 0.5},
        {"1e16", 1e16},
        {"9007199254740994", 9007199254740994.0},
        {"9223372036854775807", 9223372036854775807.0},
        {"18446744073709551615", 18446744073709551615.0},
        {"18446744073709551616", 18446744073709551616.0},
        {"-9223372036854775809", -9223372036854775809.0},
        {"123456789012345678901234567890", 123456789012345678901234567890.0},
        {"1e308", 1e308},
        {"1.7976931348623157e308", 1.7976931348623157e308},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a;
        const struct json *v = good(&a, str_of(cases[i].text), 1);
        if (v->type != JSON_DOUBLE || v->number != cases[i].number || v->integer != 0)
            fail_msg("%s: type %d, %.17g", cases[i].text, (int)v->type, v->number);
        arena_done(&a);
    }
}

/* Digits alone, without an exponent: DBL_MAX has 309 of them. */
static void test_long_integers_pass_while_a_double_holds_them(void **state)
{
    (void)state;
    static const struct {
        char first;
        size_t digits;
        bool passes;
    } cases[] = {{'1', 19, true},   {'9', 20, true},   {'9', 308, true},  {'1', 309, true},
                 {'2', 309, false}, {'9', 309, false}, {'1', 310, false}, {'1', 4000, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int minus = 0; minus < 2; minus++) {
            struct strbuf text;
            struct arena a;
            struct json *root = NULL;
            strbuf_init(&text, 8192);
            strbuf_addf(&text, "[%s%c", minus ? "-" : "", cases[i].first);
            for (size_t k = 1; k < cases[i].digits; k++)
                strbuf_addc(&text, '0');
            strbuf_addz(&text, ",0.5]");
            arena_init(&a, 1 << 20);
            enum err err = parse(&a, strbuf_str(&text), 2, &root, NULL);
            if ((err == ERR_OK) != cases[i].passes)
                fail_msg("%c and %zu digits: %s", cases[i].first, cases[i].digits, err_code(err));
            if (!err) {
                assert_int_equal(root->child->type, JSON_DOUBLE);
                assert_int_equal(root->child->raw.len, cases[i].digits + (size_t)minus);
                assert_true(root->child->next->number == 0.5);
            }
            arena_done(&a);
            strbuf_done(&text);
        }
}

/* ---- strings ---- */

static void test_strings_are_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct str string;
    } cases[] = {
        {"\"\"", STR("")},
        {"\"a\"", STR("a")},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", STR("\"\\/\b\f\n\r\t")},
        {"\"\\u0041\\u00fc\\u20AC\\uFFFF\"", STR("A\xc3\xbc\xe2\x82\xac\xef\xbf\xbf")},
        {"\"\\ud83d\\ude00\"", STR("\xf0\x9f\x98\x80")},
        {"\"\\uDBFF\\uDFFF\"", STR("\xf4\x8f\xbf\xbf")},
        {"\"\\u0000\"", STR("\0")},
        {"\"a\\u0000b\"", STR("a\0b")},
        {"\"\xc3\xbc\xf0\x9f\x98\x80\"", STR("\xc3\xbc\xf0\x9f\x98\x80")},
        {"\"\\\\u0041\"", STR("\\u0041")},
        {"\"\x7f\"", STR("\x7f")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a;
        const struct json *v = good(&a, str_of(cases[i].text), 1);
        if (v->type != JSON_STRING || !str_eq(v->string, cases[i].string))
            fail_msg("%s", cases[i].text);
        assert_int_equal(v->string.ptr[v->string.len], 0);
        assert_true(str_eqz(v->raw, cases[i].text)); /* its escapes stay */
        arena_done(&a);
    }
}

/* ---- trees ---- */

static void test_raw_is_what_was_sent_without_white_space(void **state)
{
    (void)state;
    struct arena a;
    const struct json *root =
        good(&a, STR(" {\t\"b\" : [ 1.50 ,\r\n true, null ] , \"a \\\" b\" : \" x \\u00fc \", \"b\":{ } }\n "), 4);
    assert_true(str_eqz(root->raw, "{\"b\":[1.50,true,null],\"a \\\" b\":\" x \\u00fc \",\"b\":{}}"));
    assert_int_equal(root->count, 3);
    assert_true(root->repeated_key);
    const struct json *list = json_get(root, "b"), *text = json_get(root, "a \" b");
    assert_true(list->type == JSON_ARRAY && list->count == 3 && str_eqz(list->raw, "[1.50,true,null]"));
    assert_true(str_eqz(list->child->raw, "1.50") && list->child->number == 1.5);
    assert_true(list->child->next->type == JSON_BOOL && list->child->next->boolean);
    assert_true(list->child->next->next->type == JSON_NULL && !list->child->next->next->next);
    assert_true(str_eqz(text->raw, "\" x \\u00fc \"") && str_eqz(text->string, " x \xc3\xbc "));
    assert_true(str_eqz(text->next->raw, "{}") && text->next->count == 0);
    arena_done(&a);
}

static void test_what_is_deeper_than_max_expand_has_raw_alone(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": {\"b\": [ {\"c\": \"]}\"} , 2]}, \"d\": \"x\"}";
    for (int max = 0; max <= 5; max++) {
        struct arena a;
        const struct json *root = good(&a, str_of(text), max);
        const struct json *one = json_get(root, "a"), *two = json_get(one, "b"), *three = two ? two->child : NULL;
        assert_true(str_eqz(root->raw, "{\"a\":{\"b\":[{\"c\":\"]}\"},2]},\"d\":\"x\"}"));
        assert_int_equal(one != NULL, max >= 1);
        assert_int_equal(two != NULL, max >= 2);
        assert_int_equal(three != NULL, max >= 3);
        assert_int_equal(json_get(three, "c") != NULL, max >= 4);
        if (one)
            assert_true(str_eqz(one->raw, "{\"b\":[{\"c\":\"]}\"},2]}") && str_eqz(json_get(root, "d")->string, "x"));
        if (two)
            assert_true(two->type == JSON_ARRAY && str_eqz(two->raw, "[{\"c\":\"]}\"},2]"));
        if (three)
            assert_true(three->type == JSON_OBJECT && str_eqz(three->raw, "{\"c\":\"]}\"}"));
        arena_done(&a);
    }
}

static void test_what_is_not_expanded_costs_no_nodes(void **state)
{
    (void)state;
    struct strbuf text;
    struct arena a;
    strbuf_init(&text, 8 << 20);
    strbuf_addz(&text, "{\"data\":[0");
    for (int i = 0; i < 500000; i++)
        strbuf_addz(&text, ",0");
    strbuf_addz(&text, "]}");
    const struct json *root = good(&a, strbuf_str(&text), 1);
    assert_true(a.used < text.len + 4096);
    assert_int_equal(json_get(root, "data")->raw.len, text.len - 9);
    arena_done(&a);
    strbuf_done(&text);
}

static void test_getting_from_what_is_no_object_gives_nothing(void **state)
{
    (void)state;
    struct arena a;
    assert_null(json_get(NULL, "a"));
    assert_null(json_get(good(&a, STR("[\"a\"]"), 2), "a"));
    arena_done(&a);
    const struct json *root = good(&a, STR("{\"ab\":1,\"a\\u0000b\":2}"), 2);
    assert_null(json_get(root, "a"));
    assert_int_equal(json_get(root, "ab")->integer, 1);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_malformed_text_is_refused_with_its_reason),
        cmocka_unit_test(test_depth_counts_the_outermost_value_as_one),
        cmocka_unit_test(test_128_levels_pass_and_129_do_not),
        cmocka_unit_test(test_a_million_brackets_are_refused_without_recursion),
        cmocka_unit_test(test_a_refusal_leaves_the_outputs_alone),
        cmocka_unit_test(test_repeated_keys_are_flagged_where_they_stand),
        cmocka_unit_test(test_integers_are_integers_however_they_are_spelled),
        cmocka_unit_test(test_other_numbers_are_doubles),
        cmocka_unit_test(test_long_integers_pass_while_a_double_holds_them),
        cmocka_unit_test(test_strings_are_decoded),
        cmocka_unit_test(test_raw_is_what_was_sent_without_white_space),
        cmocka_unit_test(test_what_is_deeper_than_max_expand_has_raw_alone),
        cmocka_unit_test(test_what_is_not_expanded_costs_no_nodes),
        cmocka_unit_test(test_getting_from_what_is_no_object_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
