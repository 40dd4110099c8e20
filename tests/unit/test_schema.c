/* JSON Schema: a table of schemas with what meets them, what does not (each fault: where, and which keyword) and what is refused; bounds of work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/schema.h"
#include "common/schema_cache.h"

enum { LINE_MAX_BYTES = 1 << 16 };

static struct schema *compiled(const char *text)
{
    struct schema *s = NULL;
    struct schema_fault f = {.keyword = ""};
    enum err err = schema_compile(str_of(text), &s, &f);
    if (err)
        fail_msg("%s is refused at '%s': %s", text, f.pointer, f.message);
    return s;
}

/* As cases.jsonl writes them: "POINTER KEYWORD; POINTER KEYWORD"; the same pointer again is left out. */
static void told(const struct schema_faults *faults, char *buf, size_t size)
{
    size_t len = 0;
    buf[0] = 0;
    for (size_t i = 0; i < faults->n && len < size; i++) {
        const struct schema_fault *f = &faults->list[i];
        assert_true(f->message[0] != 0 && json_valid(str_of("0"), 1));
        bool same = i > 0 && f->pointer[0] == 0 && faults->list[i - 1].pointer[0] == 0;
        len += (size_t)snprintf(buf + len, size - len, "%s%s%s%s", i > 0 ? "; " : "", f->pointer, same ? "" : " ",
                                f->keyword);
    }
}

static size_t run_values(const struct schema *s, const struct json *schema, const struct json *good,
                         const struct json *bad)
{
    struct schema_faults *faults = malloc(sizeof *faults);
    char buf[4096];
    size_t n = 0;
    assert_non_null(faults);
    for (const struct json *v = good->child; v; v = v->next, n++)
        if (!schema_check(s, v->raw, faults)) {
            told(faults, buf, sizeof buf);
            fail_msg("%.*s does not take %.*s: %s", STR_ARG(schema->raw), STR_ARG(v->raw), buf);
        }
    for (const struct json *pair = bad->child; pair; pair = pair->next, n++) {
        const struct json *v = pair->child;
        if (schema_check(s, v->raw, faults))
            fail_msg("%.*s takes %.*s", STR_ARG(schema->raw), STR_ARG(v->raw));
        told(faults, buf, sizeof buf);
        if (!str_eqz(v->next->string, buf))
            fail_msg("%.*s says of %.*s: '%s', not '%.*s'", STR_ARG(schema->raw), STR_ARG(v->raw), buf,
                     STR_ARG(v->next->string));
    }
    free(faults);
    return n;
}

static void test_table(void **state)
{
    (void)state;
    static char line[LINE_MAX_BYTES];
    FILE *f = fopen(SOURCE_DIR "/tests/unit/schema/cases.jsonl", "r");
    size_t cases = 0, refused = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        struct arena arena;
        struct json *root = NULL;
        struct schema *s = NULL;
        struct schema_fault fault;
        arena_init(&arena, 16 << 20);
        line[strcspn(line, "\n")] = 0;
        assert_int_equal(json_parse(&arena, str_of(line), 128, 128, &root, NULL), ERR_OK);
        const struct json *schema = json_get(root, "schema"), *where = json_get(root, "refused");
        enum err err = schema_compile(schema->raw, &s, &fault);
        if (where) {
            if (err != ERR_INVALID_FIELD || !str_eqz(where->string, fault.pointer) || fault.message[0] == 0)
                fail_msg("%s: refused (%d) at '%s': %s", line, err, fault.pointer, fault.message);
            refused++;
        } else {
            if (err)
                fail_msg("%s: refused at '%s': %s", line, fault.pointer, fault.message);
            cases += run_values(s, schema, json_get(root, "good"), json_get(root, "bad"));
        }
        schema_unref(s);
        arena_done(&arena);
    }
    (void)fclose(f);
    printf("%zu values, %zu refused schemas\n", cases, refused);
    assert_true(cases > 300 && refused > 50);
}

/* Fills a text with n copies. */
static struct str many(struct strbuf *b, const char *begin, const char *item, size_t n, const char *end)
{
    strbuf_init(b, 64 << 20);
    strbuf_addz(b, begin);
    for (size_t i = 0; i < n; i++)
        strbuf_addf(b, "%s%s", i > 0 ? "," : "", item);
    strbuf_addz(b, end);
    return strbuf_str(b);
}

static void expect(const char *schema, struct str value, bool ok, const char *says)
{
    struct schema *s = compiled(schema);
    struct schema_faults *faults = malloc(sizeof *faults);
    assert_non_null(faults);
    int64_t begin = clock_mono_ms();
    bool is = schema_check(s, value, faults);
    int64_t took = clock_mono_ms() - begin;
    if (is != ok)
        fail_msg("%s: %s", schema, is ? "taken" : faults->list[0].message);
    if (says)
        if (!strstr(faults->list[faults->n - 1].message, says))
            fail_msg("%s: %s", schema, faults->list[faults->n - 1].message);
    assert_true(faults->n <= LIMIT_SCHEMA_FAULTS);
    if (took > 5000) /* generous: with sanitizers, on a busy machine */
        fail_msg("%s took %lld ms", schema, (long long)took);
    free(faults);
    schema_unref(s);
}

static void test_work_is_bounded(void **state)
{
    (void)state;
    struct strbuf b;
    struct str evil = STR("\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\"");
    expect("{\"pattern\":\"^(a+)+$\"}", evil, false, "pattern too long");
    expect("{\"not\":{\"pattern\":\"^(a|a)*$\"}}", evil, false, "too long");
    expect("{\"anyOf\":[{\"pattern\":\"^(([a-z])+.)+[A-Z]([a-z])+$\"},true]}", evil, false, "too long");
    expect("{\"items\":{\"pattern\":\"^(a|b|ab)*c\"}}", many(&b, "[", "\"abababababababababababab\"", 40000, "]"),
           false, "");
    strbuf_done(&b);
    expect("{\"items\":{\"type\":\"integer\"}}", many(&b, "[", "0", 500000, "]"), true, NULL);
    strbuf_done(&b);
    expect("{\"uniqueItems\":true}", many(&b, "[", "[]", 300000, "]"), false, "twice");
    strbuf_done(&b);
    expect("{\"type\":\"array\",\"items\":{\"type\":\"string\"}}", many(&b, "[", "0", 500000, "]"), false,
           "must be string");
    strbuf_done(&b);
    expect("{\"items\":{\"enum\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]}}",
           many(&b, "[", "20", 300000, "]"), false, "more steps");
    strbuf_done(&b);
    /* each level asks twice: 2^n but for the bound */
    expect("{\"$defs\":{\"a\":{\"allOf\":[{\"properties\":{\"x\":{\"$ref\":\"#/$defs/a\"}}},"
           "{\"properties\":{\"x\":{\"$ref\":\"#/$defs/a\"}}}]}},\"$ref\":\"#/$defs/a\"}",
           STR("{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{"
               "\"x\":{\"x\":{\"x\":{"
               "\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{}}}}}}}}}}}}}}}}}}}}}}}}}"),
           false, "more steps");
}

static void test_faults_are_bounded(void **state)
{
    (void)state;
    struct schema *s = compiled("{\"items\":{\"type\":\"string\"}}");
    struct schema_faults *f = malloc(sizeof *f);
    struct strbuf b, out;
    assert_non_null(f);
    assert_false(schema_check(s, many(&b, "[", "1", 100, "]"), f));
    assert_int_equal(f->n, LIMIT_SCHEMA_FAULTS);
    assert_string_equal(f->list[15].pointer, "/15");
    strbuf_init(&out, 1 << 20);
    schema_faults_write(f, &out);
    assert_true(json_valid(strbuf_str(&out), 3));
    strbuf_done(&out);
    strbuf_done(&b);
    schema_unref(s);
    /* A pointer that would be too long is one of a place above; what is shown of a long name is cut between characters. */
    s = compiled("{\"additionalProperties\":{\"additionalProperties\":false}}");
    strbuf_init(&b, 1 << 20);
    strbuf_addz(&b, "{\"a\":{\"");
    for (int i = 0; i < 2000; i++)
        strbuf_addz(&b, "é");
    strbuf_addz(&b, "\":1}}");
    assert_false(schema_check(s, strbuf_str(&b), f));
    assert_int_equal(f->n, 1);
    assert_string_equal(f->list[0].pointer, "/a");
    assert_string_equal(f->list[0].keyword, "additionalProperties");
    assert_int_equal(utf8_complete_len(str_of(f->list[0].message)), strlen(f->list[0].message));
    strbuf_done(&b);
    schema_unref(s);
    free(f);
}

/* Its reader may take the other one. */
static void test_a_key_that_stands_twice_is_a_fault(void **state)
{
    (void)state;
    expect("{\"properties\":{\"a\":{\"type\":\"integer\"}}}", STR("{\"a\":1,\"a\":\"x\"}"), false, "same key twice");
    expect("{\"properties\":{\"a\":{\"type\":\"object\"}}}", STR("{\"a\":{\"b\":1,\"b\":2}}"), false, "same key twice");
    expect("{\"type\":\"object\"}", STR("{\"a\":{\"b\":1}}"), true, NULL);
    expect("{\"type\":\"object\"}", STR("{\"a\":"), false, "is no JSON");
}

static void test_deep(void **state)
{
    (void)state;
    struct strbuf b;
    struct schema *s = NULL;
    struct schema_fault fault;
    strbuf_init(&b, 1 << 20);
    for (int i = 0; i < 100; i++)
        strbuf_addz(&b, "[");
    for (int i = 0; i < 100; i++)
        strbuf_addz(&b, "]");
    expect("{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", strbuf_str(&b), true, NULL);
    /* a chain of 20 schemas at each of 100 levels */
    struct strbuf chain;
    strbuf_init(&chain, 1 << 20);
    strbuf_addz(&chain, "{\"$ref\":\"#/$defs/a0\",\"$defs\":{");
    for (int i = 0; i < 20; i++)
        strbuf_addf(&chain, "\"a%d\":{\"$ref\":\"#/$defs/a%d\"},", i, i + 1);
    strbuf_addz(&chain, "\"a20\":{\"items\":{\"$ref\":\"#/$defs/a0\"}}}}");
    expect(chain.ptr, strbuf_str(&b), false, "deeper");
    strbuf_done(&chain);
    strbuf_reset(&b);
    for (int i = 0; i < 70; i++)
        strbuf_addz(&b, "{\"not\":");
    strbuf_addz(&b, "true");
    for (int i = 0; i < 70; i++)
        strbuf_addz(&b, "}");
    assert_int_equal(schema_compile(strbuf_str(&b), &s, &fault), ERR_INVALID_FIELD);
    strbuf_reset(&b);
    strbuf_addz(&b, "{\"$defs\":{");
    for (int i = 0; i < 400; i++)
        strbuf_addf(&b, "\"a%d\":{\"$ref\":\"#/$defs/a%d\"},", i, i + 1);
    strbuf_addz(&b, "\"a400\":{}},\"$ref\":\"#/$defs/a0\"}");
    assert_int_equal(schema_compile(strbuf_str(&b), &s, &fault), ERR_INVALID_FIELD);
    strbuf_done(&b);
}

static void test_patterns_are_counted(void **state)
{
    (void)state;
    struct strbuf b;
    struct schema *s = NULL;
    struct schema_fault fault;
    struct str text = many(&b, "{\"allOf\":[", "{\"pattern\":\"a\"}", LIMIT_SCHEMA_PATTERNS + 1, "]}");
    assert_int_equal(schema_compile(text, &s, &fault), ERR_INVALID_FIELD);
    assert_string_equal(fault.pointer, "/allOf/256/pattern");
    strbuf_done(&b);
    text = many(&b, "{\"allOf\":[", "{\"pattern\":\"a\"}", LIMIT_SCHEMA_PATTERNS, "]}");
    assert_int_equal(schema_compile(text, &s, &fault), ERR_OK);
    assert_true(schema_bytes(s) > LIMIT_SCHEMA_PATTERNS * 64);
    assert_ptr_equal(schema_ref(s), s);
    schema_unref(s);
    schema_unref(s);
    strbuf_done(&b);
}

static void test_the_cache_forgets_what_is_used_least(void **state)
{
    (void)state;
    struct schema_cache *c = schema_cache_new();
    struct schema *s = NULL, *first = NULL;
    struct schema_fault fault;
    struct str digest;
    char key[32];
    assert_non_null(c);
    assert_null(schema_cache_find(NULL, STR("a"), NULL));
    for (int i = 0; i <= SCHEMA_CACHE_ENTRIES; i++) {
        snprintf(key, sizeof key, "key %d", i);
        assert_int_equal(schema_cache_put(c, str_of(key), str_of(key), STR("{\"type\":\"null\"}"), &s, &fault), ERR_OK);
        if (i == 0)
            first = schema_ref(s); /* lives on where it is used */
        assert_non_null(schema_cache_find(c, STR("key 1"), NULL) || i == 0 ? c : NULL);
    }
    assert_null(schema_cache_find(c, STR("key 0"), NULL));
    assert_non_null(schema_cache_find(c, STR("key 1"), &digest));
    assert_true(str_eqz(digest, "key 1"));
    assert_int_equal(schema_cache_put(c, STR("key 1"), STR("new"), STR("{}"), &s, &fault), ERR_OK);
    assert_ptr_equal(schema_cache_find(c, STR("key 1"), &digest), s);
    assert_true(str_eqz(digest, "new"));
    assert_int_equal(schema_cache_put(c, STR("key 1"), STR("bad"), STR("{\"x\":1}"), &s, &fault), ERR_INVALID_FIELD);
    assert_non_null(schema_cache_find(c, STR("key 1"), &digest));
    schema_cache_free(c);
    schema_cache_free(NULL);
    schema_unref(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_work_is_bounded),
        cmocka_unit_test(test_faults_are_bounded),
        cmocka_unit_test(test_a_key_that_stands_twice_is_a_fault),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_patterns_are_counted),
        cmocka_unit_test(test_the_cache_forgets_what_is_used_least),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
