/* JSON out: commas, escapes, and that the output is always valid JSON, whatever the strings hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>

#include "common/json.h"
#include "common/limits.h"

#define FFFD "\xef\xbf\xbd"

static void expect(const struct strbuf *out, const char *wanted)
{
    assert_false(strbuf_failed(out));
    if (!str_eqz(strbuf_str(out), wanted))
        fail_msg("%.*s instead of %s", STR_ARG(strbuf_str(out)), wanted);
    assert_true(json_valid(strbuf_str(out), LIMIT_JSON_DEPTH));
}

static void test_commas_stand_between_values_and_nowhere_else(void **state)
{
    (void)state;
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4096);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "a", STR("x"));
    json_kv_int(&w, "b", -7);
    json_kv_bool(&w, "c", true);
    json_kv_raw(&w, "d", STR("[1,2]"));
    json_key(&w, "e");
    json_array_begin(&w);
    json_array_begin(&w);
    json_array_end(&w);
    json_object_begin(&w);
    json_object_end(&w);
    json_null(&w);
    json_bool(&w, false);
    json_int(&w, 0);
    json_str(&w, STR(""));
    json_raw(&w, STR("{}"));
    json_array_end(&w);
    json_key_str(&w, STR("f\"g"));
    json_double(&w, 0.5);
    json_object_end(&w);
    expect(&out, "{\"a\":\"x\",\"b\":-7,\"c\":true,\"d\":[1,2],\"e\":[[],{},null,false,0,\"\",{}],\"f\\\"g\":0.5}");
    assert_int_equal(w.depth, 0);
    strbuf_done(&out);
}

static void test_what_stood_in_one_level_counts_not_for_the_next_of_its_depth(void **state)
{
    (void)state;
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4096);
    json_writer_init(&w, &out);
    json_array_begin(&w);
    for (int i = 0; i < 2; i++) {
        json_array_begin(&w);
        json_int(&w, 1);
        json_int(&w, 2);
        json_array_end(&w);
        json_object_begin(&w);
        json_kv_int(&w, "a", 3);
        json_object_end(&w);
    }
    json_array_end(&w);
    expect(&out, "[[1,2],{\"a\":3},[1,2],{\"a\":3}]");
    strbuf_done(&out);
}

static void test_what_is_empty_is_left_out_or_null(void **state)
{
    (void)state;
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4096);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str_opt(&w, "none", STR_NONE);
    json_kv_time(&w, "never", 0);
    json_kv_time(&w, "before", -1);
    json_kv_str(&w, "empty", STR_NONE);
    json_kv_raw(&w, "raw", STR(""));
    json_kv_str_opt(&w, "some", STR("x"));
    json_kv_time(&w, "at", 1);
    json_object_end(&w);
    expect(&out, "{\"empty\":\"\",\"raw\":null,\"some\":\"x\",\"at\":\"1970-01-01T00:00:00.001Z\"}");
    strbuf_done(&out);
}

static void test_every_control_character_is_escaped(void **state)
{
    (void)state;
    for (int c = 0; c < 0x80; c++) {
        struct strbuf out;
        struct arena a;
        struct json *v = NULL;
        char byte = (char)c;
        strbuf_init(&out, 64);
        arena_init(&a, 4096);
        json_quote(&out, (struct str){&byte, 1});
        for (size_t i = 0; i < out.len; i++)
            assert_true((unsigned char)out.ptr[i] >= 0x20);
        assert_int_equal(json_parse(&a, strbuf_str(&out), 1, 1, &v, NULL), ERR_OK);
        assert_true(str_eq(v->string, (struct str){&byte, 1}));
        if (c >= 0x20 && c != '"' && c != '\\')
            assert_int_equal(out.len, 3);
        arena_done(&a);
        strbuf_done(&out);
    }
}

static void test_escapes_have_their_short_forms(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 256);
    json_quote(&out, STR("a\"b\\c/\n\r\t\b\f\x1f\x7f\0z"));
    expect(&out, "\"a\\\"b\\\\c/\\n\\r\\t\\u0008\\u000c\\u001f\x7f\\u0000z\"");
    strbuf_done(&out);
}

/* ---- UTF-8 ---- */

static const struct {
    struct str in;
    const char *out;
} utf8_cases[] = {
    {STR(""), ""},
    {STR("abc"), "abc"},
    {STR("\xc3\xbc"), "\xc3\xbc"},
    {STR("\xe2\x82\xac"), "\xe2\x82\xac"},
    {STR("\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80"},
    /* the borders of what is valid */
    {STR("\xc2\x80\xdf\xbf"), "\xc2\x80\xdf\xbf"},
    {STR("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"), "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"},
    {STR("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"), "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
    /* and beyond them: each byte that begins nothing valid is one U+FFFD */
    {STR("\x80"), FFFD},
    {STR("a\xffz"), "a" FFFD "z"},
    {STR("\xc0\xaf"), FFFD FFFD},                            /* overlong */
    {STR("\xc1\xbf"), FFFD FFFD},                            /* overlong */
    {STR("\xe0\x9f\xbf"), FFFD FFFD FFFD},                   /* overlong */
    {STR("\xf0\x8f\xbf\xbf"), FFFD FFFD FFFD FFFD},          /* overlong */
    {STR("\xed\xa0\x80"), FFFD FFFD FFFD},                   /* a surrogate */
    {STR("\xf4\x90\x80\x80"), FFFD FFFD FFFD FFFD},          /* above U+10FFFF */
    {STR("\xf5\x80\x80\x80"), FFFD FFFD FFFD FFFD},          /* no lead byte */
    {STR("\xc3"), FFFD},                                     /* cut off */
    {STR("\xe2\x82"), FFFD FFFD},                            /* cut off */
    {STR("\xf0\x9f\x98"), FFFD FFFD FFFD},                   /* cut off */
    {STR("\xe2\x82x"), FFFD FFFD "x"},                       /* broken off */
    {STR("\xc3\xc3\xbc"), FFFD "\xc3\xbc"},                  /* the next one is whole */
    {STR("\xf0\x9f\xe2\x82\xac"), FFFD FFFD "\xe2\x82\xac"}, /* the same */
};

static void test_invalid_utf8_becomes_the_replacement_character(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(utf8_cases); i++) {
        struct strbuf clean, quoted, wanted;
        /* in a block of just its size, so that a read past its end is seen */
        struct str in = utf8_cases[i].in;
        char *block = malloc(in.len ? in.len : 1);
        assert_non_null(block);
        memcpy(block, in.ptr, in.len);
        strbuf_init(&clean, 256);
        strbuf_init(&quoted, 256);
        strbuf_init(&wanted, 256);
        utf8_sanitize(&clean, (struct str){block, in.len});
        json_quote(&quoted, (struct str){block, in.len});
        strbuf_addf(&wanted, "\"%s\"", utf8_cases[i].out);
        if (!str_eqz(strbuf_str(&clean), utf8_cases[i].out))
            fail_msg("utf8_sanitize, case %zu", i);
        expect(&quoted, wanted.ptr);
        free(block);
        strbuf_done(&clean);
        strbuf_done(&quoted);
        strbuf_done(&wanted);
    }
}

static void test_the_complete_length_keeps_back_only_what_may_still_become_whole(void **state)
{
    (void)state;
    static const struct {
        struct str in;
        size_t len;
    } cases[] = {
        {STR(""), 0},
        {STR("a"), 1},
        {STR("\xc3\xbc"), 2},
        {STR("a\xc3"), 1},
        {STR("a\xe2"), 1},
        {STR("a\xe2\x82"), 1},
        {STR("a\xe2\x82\xac"), 4},
        {STR("a\xf0"), 1},
        {STR("a\xf0\x9f"), 1},
        {STR("a\xf0\x9f\x98"), 1},
        {STR("a\xf0\x9f\x98\x80"), 5},
        {STR("\xf0\x9f\x98"), 0},
        {STR("\xe2"), 0},
        {STR("\xe2z"), 2},            /* never becomes one */
        {STR("\x80"), 1},             /* no lead byte before it */
        {STR("\x80\x80\x80\x80"), 4}, /* the same */
        {STR("a\xff"), 2},
        {STR("a\xf8\x80"), 3}, /* no lead byte */
        {STR("\xe2\x82\xac\xe2"), 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = utf8_complete_len(cases[i].in);
        if (len != cases[i].len)
            fail_msg("case %zu: %zu instead of %zu", i, len, cases[i].len);
    }
}

/* ---- numbers ---- */

static void expect_double(double d, const char *wanted)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 64);
    json_writer_init(&w, &out);
    json_double(&w, d);
    expect(&out, wanted);
    strbuf_done(&out);
}

static void test_doubles_read_back_as_they_were(void **state)
{
    (void)state;
    static const double numbers[] = {0.1, 1.0 / 3, 1e308, 5e-324, -2.5, 9007199254740993.0, 123456.789};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        struct strbuf out;
        struct json_writer w;
        struct arena a;
        struct json *v = NULL;
        arena_init(&a, 4096);
        strbuf_init(&out, 64);
        json_writer_init(&w, &out);
        json_double(&w, numbers[i]);
        assert_int_equal(json_parse(&a, strbuf_str(&out), 1, 1, &v, NULL), ERR_OK);
        assert_memory_equal(&v->number, &numbers[i], sizeof(double));
        strbuf_done(&out);
        arena_done(&a);
    }
}

static void test_what_is_no_number_is_null(void **state)
{
    (void)state;
    expect_double((double)NAN, "null");
    expect_double((double)INFINITY, "null");
    expect_double(-(double)INFINITY, "null");
    expect_double(0.0, "0");
}

static void test_integers_are_written_to_their_ends(void **state)
{
    (void)state;
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 256);
    json_writer_init(&w, &out);
    json_array_begin(&w);
    json_int(&w, INT64_MAX);
    json_int(&w, INT64_MIN);
    json_array_end(&w);
    assert_true(str_eqz(strbuf_str(&out), "[9223372036854775807,-9223372036854775808]"));
    strbuf_done(&out);
}

/* ---- bounds ---- */

static void test_62_levels_keep_their_commas(void **state)
{
    (void)state;
    enum { LEVELS = 62 };
    struct strbuf out, wanted;
    struct json_writer w;
    strbuf_init(&out, 4096);
    strbuf_init(&wanted, 4096);
    json_writer_init(&w, &out);
    for (int i = 0; i < LEVELS; i++) {
        json_array_begin(&w);
        json_int(&w, i);
        strbuf_addf(&wanted, "[%d,", i);
    }
    json_array_begin(&w); /* the 63rd, and empty */
    strbuf_addz(&wanted, "[");
    for (int i = 0; i <= LEVELS; i++) {
        json_array_end(&w);
        if (i < LEVELS)
            json_null(&w);
        strbuf_addz(&wanted, i < LEVELS ? "],null" : "]");
    }
    expect(&out, wanted.ptr);
    strbuf_done(&out);
    strbuf_done(&wanted);
}

static void test_a_full_buffer_fails_for_good(void **state)
{
    (void)state;
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 8);
    json_writer_init(&w, &out);
    json_array_begin(&w);
    json_str(&w, STR("123456789"));
    json_array_end(&w);
    assert_true(strbuf_failed(&out) && out.len <= 8);
    strbuf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commas_stand_between_values_and_nowhere_else),
        cmocka_unit_test(test_what_stood_in_one_level_counts_not_for_the_next_of_its_depth),
        cmocka_unit_test(test_what_is_empty_is_left_out_or_null),
        cmocka_unit_test(test_every_control_character_is_escaped),
        cmocka_unit_test(test_escapes_have_their_short_forms),
        cmocka_unit_test(test_invalid_utf8_becomes_the_replacement_character),
        cmocka_unit_test(test_the_complete_length_keeps_back_only_what_may_still_become_whole),
        cmocka_unit_test(test_doubles_read_back_as_they_were),
        cmocka_unit_test(test_what_is_no_number_is_null),
        cmocka_unit_test(test_integers_are_written_to_their_ends),
        cmocka_unit_test(test_62_levels_keep_their_commas),
        cmocka_unit_test(test_a_full_buffer_fails_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
