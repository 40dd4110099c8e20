/* Redaction: the corpus, in texts, streams and JSON; secrets in every encoding, cut at every place; what is not redacted stays. */
#include "common/redact.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/metrics.h"
#include "redact_corpus.h"

/* ---- the corpus' templates ---- */

static void fill(struct strbuf *out, char kind, size_t n)
{
    static const char alnum[] = "q7Zk2Lw9Xb4Rt6Yp1Ns8Dv3Fh5JcMgQe0UaTiOoKyHzWxEr";
    for (size_t i = 0; i < n; i++) {
        char c = alnum[(i * 7 + n) % (sizeof alnum - 1)];
        if (kind == 'h')
            c = "0123456789abcdef"[(i * 5 + n) % 16];
        else if (kind == 'u')
            c = "A7B2C9D4E6"[(i * 3 + n) % 10];
        else if (kind == 'd')
            c = (char)('0' + (i * 7 + n) % 10);
        else if (kind == 'b' && i % 9 == 4)
            c = i % 2 ? '-' : '_';
        strbuf_addc(out, c);
    }
}

static void add_base64(struct strbuf *out, const char *text, int variant)
{
    char b64[256];
    sodium_bin2base64(b64, sizeof b64, (const unsigned char *)text, strlen(text), variant);
    strbuf_addz(out, b64);
}

static struct strbuf expand(const char *t)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 16);
    for (; *t; t++) {
        if (*t == '~')
            continue;
        if (strncmp(t, "{J1}", 4) == 0)
            add_base64(&out, "{\"alg\":\"HS256\",\"typ\":\"JWT\"}", sodium_base64_VARIANT_URLSAFE_NO_PADDING);
        else if (strncmp(t, "{J2}", 4) == 0)
            add_base64(&out, "{\"sub\":\"1234567890\",\"name\":\"somebody\"}",
                       sodium_base64_VARIANT_URLSAFE_NO_PADDING);
        else if (strncmp(t, "{J3}", 4) == 0)
            fill(&out, 'b', 43);
        else if (strncmp(t, "{B}", 3) == 0)
            add_base64(&out, "user:pass1", sodium_base64_VARIANT_ORIGINAL);
        else if (*t == '{' && strchr("ahubd", t[1]) && t[2] >= '1' && t[2] <= '9')
            fill(&out, t[1], strtoul(t + 2, NULL, 10));
        else {
            strbuf_addc(&out, *t);
            continue;
        }
        t += strcspn(t, "}");
    }
    return out;
}

/* ---- helpers ---- */

static struct redactor *redactor(const struct redact_secret *secrets, size_t n)
{
    struct redactor *r;
    assert_int_equal(redactor_new(secrets, n, &r), ERR_OK);
    return r;
}

static struct redactor *with(const char *name, const char *value)
{
    return redactor(&(struct redact_secret){str_of(name), str_of(value)}, 1);
}

static struct strbuf text(struct redactor *r, struct str in)
{
    struct strbuf out;
    strbuf_init(&out, 64 << 20);
    redact_text(r, in, &out);
    assert_false(strbuf_failed(&out));
    return out;
}

static struct strbuf json(struct redactor *r, struct str in)
{
    struct strbuf out;
    strbuf_init(&out, 64 << 20);
    redact_json(r, in, &out);
    assert_false(strbuf_failed(&out));
    return out;
}

static void same(struct str got, struct str want, const char *what)
{
    if (!str_eq(got, want)) {
        print_message("%s\n   got: %.*s\n  want: %.*s\n", what, STR_ARG(got), STR_ARG(want));
        fail();
    }
}

static void text_is(struct redactor *r, const char *in, const char *want)
{
    struct strbuf got = text(r, str_of(in));
    same(strbuf_str(&got), str_of(want), in);
    strbuf_done(&got);
}

static void json_is(struct redactor *r, const char *in, const char *want)
{
    struct strbuf got = json(r, str_of(in));
    same(strbuf_str(&got), str_of(want), in);
    assert_true(json_valid(strbuf_str(&got), 200));
    strbuf_done(&got);
}

/* In two pieces, cut at every place, and in pieces of one byte. */
static void every_cut(struct redactor *r, struct str in, struct str want)
{
    struct redact_stream *s;
    struct strbuf out;
    assert_int_equal(redact_stream_new(r, &s), ERR_OK);
    strbuf_init(&out, 1 << 20);
    for (size_t cut = 0; cut <= in.len; cut++) {
        strbuf_reset(&out);
        redact_stream_feed(s, (struct str){in.ptr, cut}, &out);
        redact_stream_feed(s, (struct str){in.ptr + cut, in.len - cut}, &out);
        redact_stream_end(s, &out);
        same(strbuf_str(&out), want, "cut in two");
    }
    for (size_t step = 1; step < 4; step++) {
        strbuf_reset(&out);
        for (size_t i = 0; i < in.len; i += step)
            redact_stream_feed(s, (struct str){in.ptr + i, in.len - i < step ? in.len - i : step}, &out);
        redact_stream_end(s, &out);
        same(strbuf_str(&out), want, "in small pieces");
    }
    assert_int_equal(redact_stream_held(s), 0);
    strbuf_done(&out);
    redact_stream_free(s);
}

/* ---- tests ---- */

static void test_corpus(void **state)
{
    struct redactor *r = redactor(NULL, 0);
    size_t cases = 0, failed = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(redact_corpus); i++, cases++) {
        const struct redact_case *c = &redact_corpus[i];
        struct strbuf in = expand(c->in), want = expand(c->want ? c->want : c->in);
        struct strbuf got = text(r, strbuf_str(&in)), again = text(r, strbuf_str(&got));
        if (!str_eq(strbuf_str(&got), strbuf_str(&want)) || !str_eq(strbuf_str(&got), strbuf_str(&again))) {
            print_message("%s\n    in: %s\n   got: %s\n again: %s\n  want: %s\n", c->in, in.ptr, got.ptr, again.ptr,
                          want.ptr);
            failed++;
        }
        strbuf_done(&in);
        strbuf_done(&want);
        strbuf_done(&got);
        strbuf_done(&again);
    }
    assert_int_equal(failed, 0);
    assert_true(cases >= 200);
    redactor_free(r);
}

static void test_corpus_cut_everywhere(void **state)
{
    struct redactor *r = redactor(NULL, 0);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(redact_corpus); i++) {
        struct strbuf in = expand(redact_corpus[i].in), want = text(r, strbuf_str(&in));
        every_cut(r, strbuf_str(&in), strbuf_str(&want));
        strbuf_done(&in);
        strbuf_done(&want);
    }
    redactor_free(r);
}

/* In a string of JSON what is replaced is the same, and the string is otherwise as it was. */
static void test_corpus_in_json(void **state)
{
    struct redactor *r = redactor(NULL, 0);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(redact_corpus); i++) {
        struct strbuf in = expand(redact_corpus[i].in), mid, want, got;
        strbuf_init(&mid, 1 << 20);
        strbuf_init(&want, 1 << 20);
        utf8_sanitize(&mid, strbuf_str(&in));
        struct strbuf out = text(r, strbuf_str(&mid));
        strbuf_reset(&in);
        strbuf_addz(&in, "{ \"a\" : [1.50,");
        json_quote(&in, strbuf_str(&mid));
        strbuf_addz(&in, "\t], \"b\": 1e3 }");
        strbuf_addz(&want, "{ \"a\" : [1.50,");
        json_quote(&want, strbuf_str(&out));
        strbuf_addz(&want, "\t], \"b\": 1e3 }");
        got = json(r, strbuf_str(&in));
        same(strbuf_str(&got), strbuf_str(&want), redact_corpus[i].in);
        assert_true(json_valid(strbuf_str(&got), 200));
        strbuf_done(&in);
        strbuf_done(&mid);
        strbuf_done(&want);
        strbuf_done(&out);
        strbuf_done(&got);
    }
    redactor_free(r);
}

/* ---- secrets ---- */

#define VALUE "p/ss+\"w\xc3\xb6rd\\<1>\n2 &x"

static void hex_of(struct strbuf *out, struct str v, const char *before, const char *digits)
{
    for (size_t i = 0; i < v.len; i++)
        strbuf_addf(out, "%s%c%c", before, digits[(unsigned char)v.ptr[i] >> 4], digits[(unsigned char)v.ptr[i] & 15]);
}

static void test_encodings(void **state)
{
    static const char lower[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";
    static const int variants[] = {sodium_base64_VARIANT_ORIGINAL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING,
                                   sodium_base64_VARIANT_URLSAFE, sodium_base64_VARIANT_URLSAFE_NO_PADDING};
    struct redactor *r = with("PW", VALUE);
    struct strbuf in;
    (void)state;
    strbuf_init(&in, 1 << 16);
    for (size_t v = 0; v < ARRAY_LEN(variants); v++) {
        strbuf_reset(&in);
        add_base64(&in, VALUE, variants[v]);
        every_cut(r, strbuf_str(&in), STR("[SECRET:PW]"));
    }
    strbuf_reset(&in);
    hex_of(&in, STR(VALUE), "", lower);
    every_cut(r, strbuf_str(&in), STR("[SECRET:PW]"));
    strbuf_reset(&in);
    hex_of(&in, STR(VALUE), "", upper);
    every_cut(r, strbuf_str(&in), STR("[SECRET:PW]"));
    strbuf_reset(&in);
    hex_of(&in, STR(VALUE), "%", lower);
    every_cut(r, strbuf_str(&in), STR("[SECRET:PW]"));
    strbuf_reset(&in);
    hex_of(&in, STR(VALUE), "%", upper);
    every_cut(r, strbuf_str(&in), STR("[SECRET:PW]"));
    static const char *const spelled[] = {
        VALUE,
        "p%2Fss%2B%22w%C3%B6rd%5C%3C1%3E%0A2%20%26x",
        "p%2fss%2b%22w%c3%b6rd%5c%3c1%3e%0a2%20%26x",
        "p%2Fss%2B%22w%C3%B6rd%5C%3C1%3E%0A2+%26x",
        "p/ss%2B%22w%C3%B6rd%5C%3C1%3E%0A2%20%26x",
        "p/ss+%22w%C3%B6rd%5C%3C1%3E%0A2%20&x",
        "p/ss+\\\"w\xc3\xb6rd\\\\<1>\\n2 &x",
        "p\\/ss+\\\"w\xc3\xb6rd\\\\<1>\\n2 &x",
        "p/ss+\\\"w\\u00f6rd\\\\<1>\\n2 &x",
        "p/ss+\\\"w\\u00F6rd\\\\<1>\\n2 &x",
        "p\\/ss+\\\"w\\u00f6rd\\\\<1>\\n2 &x",
        "p/ss+\\\"w\xc3\xb6rd\\\\\\u003c1\\u003e\\n2 \\u0026x",
        "p/ss+\\\"w\xc3\xb6rd\\\\\\u003C1\\u003E\\n2 \\u0026x",
        "p/ss+\\\\\\\"w\xc3\xb6rd\\\\\\\\<1>\\\\n2 &x",
        "p/ss+\"w\xc3\xb6rd\\<1>\r\n2 &x",
    };
    for (size_t i = 0; i < ARRAY_LEN(spelled); i++) {
        strbuf_reset(&in);
        strbuf_addf(&in, "a %s z", spelled[i]);
        every_cut(r, strbuf_str(&in), STR("a [SECRET:PW] z"));
    }
    for (int upper_case = 0; upper_case < 2; upper_case++) {
        strbuf_reset(&in);
        hex_of(&in, STR("p/ss+\"w\xf6rd\\<1>\n2 &x"), "\\u00", upper_case ? upper : lower);
        every_cut(r, strbuf_str(&in), STR("[SECRET:PW]"));
    }
    strbuf_done(&in);
    redactor_free(r);
}

/* In a longer text that was encoded as a whole, whatever stands before and behind it. */
static void test_base64_at_every_alignment(void **state)
{
    struct redactor *r = with("PW", "Tr0ub4dor&3");
    char plain[64];
    struct strbuf in;
    (void)state;
    strbuf_init(&in, 4096);
    for (int before = 0; before < 7; before++)
        for (int behind = 0; behind < 4; behind++)
            for (int url = 0; url < 2; url++) {
                snprintf(plain, sizeof plain, "%.*sTr0ub4dor&3%.*s", before, "user:::", behind, "yyyy");
                strbuf_reset(&in);
                add_base64(&in, plain, url ? sodium_base64_VARIANT_URLSAFE : sodium_base64_VARIANT_ORIGINAL);
                struct strbuf got = text(r, strbuf_str(&in));
                assert_non_null(strstr(got.ptr, "[SECRET:PW]"));
                assert_true(got.len < strlen("[SECRET:PW]") + 20);
                every_cut(r, strbuf_str(&in), strbuf_str(&got));
                strbuf_done(&got);
            }
    strbuf_done(&in);
    redactor_free(r);
}

static void test_base64_in_lines(void **state)
{
    char value[201], b64[400];
    struct strbuf in, fills;
    (void)state;
    strbuf_init(&fills, 400);
    fill(&fills, 'a', 200);
    memcpy(value, fills.ptr, 201);
    struct redactor *r = with("LONG", value);
    sodium_bin2base64(b64, sizeof b64, (const unsigned char *)value, 200, sodium_base64_VARIANT_ORIGINAL);
    strbuf_init(&in, 1024);
    for (size_t width = 64; width <= 76; width += 12) {
        strbuf_reset(&in);
        for (size_t i = 0; i < strlen(b64); i += width)
            strbuf_addf(&in, "%.*s\n", (int)width, b64 + i);
        struct strbuf got = text(r, strbuf_str(&in));
        for (size_t i = 0; i + 24 < strlen(b64); i += 8)
            assert_null(memmem(got.ptr, got.len, b64 + i, 24));
        strbuf_done(&got);
    }
    strbuf_done(&in);
    strbuf_done(&fills);
    redactor_free(r);
}

static void test_short_values_count_only_whole(void **state)
{
    struct redactor *r = with("PIN", "1234");
    (void)state;
    text_is(r, "1234", "[SECRET:PIN]");
    text_is(r, "pin 1234, or 1234.", "pin [SECRET:PIN], or [SECRET:PIN].");
    text_is(r, "PIN=1234\n\"1234\"", "PIN=[SECRET:PIN]\n\"[SECRET:PIN]\"");
    text_is(r, "12345 91234 a1234 1234b /1234/", "12345 91234 a1234 1234b /1234/");
    text_is(r, "MTIzNA== 31323334", "[SECRET:PIN] [SECRET:PIN]");
    every_cut(r, STR("a 1234 12345 1234"), STR("a [SECRET:PIN] 12345 [SECRET:PIN]"));
    json_is(r, "{\"a\":1234,\"b\":\"1234\",\"c\":[\"x 1234 y\",12345,1234.5]}",
            "{\"a\":\"[SECRET:PIN]\",\"b\":\"[SECRET:PIN]\",\"c\":[\"x [SECRET:PIN] y\",12345,1234.5]}");
    redactor_free(r);
    r = with("FLAG", "true");
    json_is(r, "{\"a\":true,\"b\":false}", "{\"a\":\"[SECRET:FLAG]\",\"b\":false}");
    redactor_free(r);
}

static void test_empty_values_are_passed_over(void **state)
{
    struct redact_secret list[] = {{STR("EMPTY"), STR("")}, {STR("BLANK"), STR(" \n")}, {STR("PW"), STR("sesame99")}};
    struct redactor *r = redactor(list, 3);
    (void)state;
    text_is(r, "open sesame99 please", "open [SECRET:PW] please");
    redactor_free(r);
}

static void test_values_over_lines(void **state)
{
    struct redactor *r = with("CONF", "first line of it\nsecond line of it\n}\n");
    (void)state;
    text_is(r, "first line of it\nsecond line of it\n}", "[SECRET:CONF]");
    text_is(r, "1: first line of it\n2: second line of it\n3: }\n", "1: [SECRET:CONF]\n2: [SECRET:CONF]\n3: }\n");
    text_is(r, "first line of it\r\nsecond line of it\r\n}\r\n", "[SECRET:CONF]\r\n");
    redactor_free(r);
    r = with("FILE", "  padded-value-1\n");
    text_is(r, "x=padded-value-1;", "x=[SECRET:FILE];");
    redactor_free(r);
}

static void test_overlaps(void **state)
{
    struct redact_secret list[] = {{STR("A"), STR("abcdefgh")},
                                   {STR("B"), STR("efghijkl")},
                                   {STR("C"), STR("abcdefghij")},
                                   {STR("D"), STR("zzzzzz")}};
    struct redactor *r = redactor(list, 4);
    (void)state;
    every_cut(r, STR("-abcdefgh-"), STR("-[SECRET:A]-"));
    every_cut(r, STR("-abcdefghij-"), STR("-[SECRET:C]-"));
    every_cut(r, STR("-abcdefghijkl-"), STR("-[SECRET:C]-"));
    every_cut(r, STR("-efghijklabcdefgh-"), STR("-[SECRET:B][SECRET:A]-"));
    every_cut(r, STR("-zzzzzzzzz-"), STR("-[SECRET:D]-"));
    every_cut(r, STR("abcdefgabcdefgefghijk"), STR("abcdefgabcdefgefghijk"));
    redactor_free(r);
}

/* The secret's name says more than the shape's kind. */
static void test_secrets_come_before_shapes(void **state)
{
    struct redactor *r = with("DB", "hunter2xyz");
    (void)state;
    every_cut(r, STR("password=hunter2xyz z"), STR("password=[SECRET:DB] z"));
    every_cut(r, STR("postgres://u:hunter2xyz@h/x"), STR("postgres://u:[SECRET:DB]@h/x"));
    every_cut(r, STR("Authorization: Bearer hunter2xyz"), STR("Authorization: Bearer [SECRET:DB]"));
    every_cut(r, STR("password=hunter2xyzAndMore z"), STR("password=[SECRET:DB] z"));
    json_is(r, "{\"password\":\"hunter2xyz\"}", "{\"password\":\"[SECRET:DB]\"}");
    redactor_free(r);
}

/* Values that could become part of a marker, or make one: another marker is chosen, and nothing of the value comes out. */
static void test_markers_never_make_a_secret(void **state)
{
    static const char *const values[] = {"[SECRET:", "SECRET:X", "REDACTED",   "]tail-of-it", "head-of-it[",
                                         "X][SECRE", "*#_?~-x0", "[SECRET:X]", "github_token"};
    struct strbuf in;
    (void)state;
    strbuf_init(&in, 4096);
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        for (size_t k = 0; k < ARRAY_LEN(values); k++) {
            struct redact_secret list[] = {
                {STR("X"), str_of(values[i])}, {STR("Y"), str_of(values[k])}, {STR("Z"), STR("abcdef")}};
            struct redactor *r = redactor(list, 3);
            strbuf_reset(&in);
            strbuf_addf(&in, "%sabcdef%s head-of-itabcdef abcdeftail-of-it password=%s123456 %.4sabcdef%s", values[i],
                        values[k], values[k], values[i], values[i] + 4);
            struct strbuf got = text(r, strbuf_str(&in));
            assert_null(memmem(got.ptr, got.len, values[i], strlen(values[i])));
            assert_null(memmem(got.ptr, got.len, values[k], strlen(values[k])));
            struct strbuf again = text(r, strbuf_str(&got));
            same(strbuf_str(&again), strbuf_str(&got), values[i]);
            strbuf_done(&got);
            strbuf_done(&again);
            redactor_free(r);
        }
    strbuf_done(&in);
}

/* ---- JSON ---- */

static void test_json(void **state)
{
    struct redactor *r = with("DB", "hunter2/xyz");
    (void)state;
    json_is(r, "{\"a\":\"x hunter2\\/xyz y\",\"b\" : [ 1.0, -0, 1e5, \"\\u0041\\n\" ] }",
            "{\"a\":\"x [SECRET:DB] y\",\"b\" : [ 1.0, -0, 1e5, \"\\u0041\\n\" ] }");
    json_is(r, "{\"a\":\"hunter2\\u002fxy\\u007a\"}", "{\"a\":\"[SECRET:DB]\"}");
    json_is(r, "{\"hunter2/xyz\":1,\"b\":{\"hunter2\\/xyz\":2}}", "{\"[SECRET:DB]\":1,\"b\":{\"[SECRET:DB]#2\":2}}");
    json_is(r, "{\"hunter2/xyz\":1,\"hunter2\\/xyz\":2}", "{\"[SECRET:DB]\":1,\"[SECRET:DB]#2\":2}");
    json_is(r, "\"hunter2/xyz\"", "\"[SECRET:DB]\"");
    json_is(r, "{\"password\":\"abcdefgh\",\"n\":1}", "{\"password\":\"[REDACTED:password]\",\"n\":1}");
    json_is(r, "{\"password\":12345678,\"token\":true,\"secret\":null,\"pin\":12345678}",
            "{\"password\":\"[REDACTED:password]\",\"token\":true,\"secret\":null,\"pin\":12345678}");
    json_is(r, "{\"secrets\":[\"abcdefgh\",\"short\",{\"x\":\"abcdefgh\"}]}",
            "{\"secrets\":[\"[REDACTED:secret]\",\"short\",{\"x\":\"abcdefgh\"}]}");
    json_is(r, "{\"secret\":{\"x\":\"abcdefgh\",\"password\":\"abcdefgh\"}}",
            "{\"secret\":{\"x\":\"abcdefgh\",\"password\":\"[REDACTED:password]\"}}");
    json_is(r, "{\"env\":[{\"name\":\"API_KEY\",\"value\":\"abcdefgh\"},{\"name\":\"MODE\",\"value\":\"abcdefgh\"}]}",
            "{\"env\":[{\"name\":\"API_KEY\",\"value\":\"[REDACTED:api_key]\"},{\"name\":\"MODE\",\"value\":"
            "\"abcdefgh\"}]}");
    json_is(r, "{\"password\":\"${PASSWORD}\",\"token_count\":\"1234567\",\"partition_key\":\"abcdefgh\"}",
            "{\"password\":\"${PASSWORD}\",\"token_count\":\"1234567\",\"partition_key\":\"abcdefgh\"}");
    json_is(r, "{\"t\":\"{\\\"password\\\":\\\"abcdefgh\\\",\\\"k\\\":1}\"}",
            "{\"t\":\"{\\\"password\\\":\\\"[REDACTED:password]\\\",\\\"k\\\":1}\"}");
    json_is(r, "{\"headers\":{\"Cookie\":\"sid=1; b=2\",\"Authorization\":\"Bearer abc123\"}}",
            "{\"headers\":{\"Cookie\":\"[REDACTED:cookie]\",\"Authorization\":\"[REDACTED:authorization]\"}}");
    redactor_free(r);
    r = with("NUM", "12345678");
    json_is(r, "[12345678,-12345678.5,\"12345678\",1234567]",
            "[\"[SECRET:NUM]\",\"[SECRET:NUM]\",\"[SECRET:NUM]\",1234567]");
    redactor_free(r);
}

/* A secret that is JSON itself, and lies across tokens. */
static void test_json_across_tokens(void **state)
{
    struct redactor *r = with("DOC", "{\"user\":\"me\",\"n\":[1,2]}");
    (void)state;
    json_is(r, "{\"a\":{\"user\":\"me\",\"n\":[1,2]},\"b\":1}", "{\"a\":\"[SECRET:DOC]\",\"b\":1}");
    json_is(r, "{\"user\":\"me\",\"n\":[1,2]}", "{\"redacted\":\"[SECRET:DOC]\"}");
    json_is(r, "[{\"user\":\"me\",\"n\":[1,2]}]", "[\"[SECRET:DOC]\"]");
    json_is(r, "{\"t\":\"{\\\"user\\\":\\\"me\\\",\\\"n\\\":[1,2]}\"}", "{\"t\":\"[SECRET:DOC]\"}");
    redactor_free(r);
    r = with("PAIR", "\"a\":\"b\",\"c\"");
    json_is(r, "{\"x\":{\"a\":\"b\",\"c\":1},\"y\":2}", "{\"x\":\"[SECRET:PAIR]\",\"y\":2}");
    redactor_free(r);
    r = with("RAW", "ab\\ncdef");
    json_is(r, "{\"x\":\"ab\\ncdef\",\"y\":\"ab\\\\ncdef\"}", "{\"x\":\"[SECRET:RAW]\",\"y\":\"[SECRET:RAW]\"}");
    redactor_free(r);
}

static void test_json_that_is_none_is_withheld(void **state)
{
    static const char *const bad[] = {"{\"a\":", "[1,2",  "\"abc", "{\"a\" 1}", "{\"a\":1} x",
                                      "",        "{1:2}", "[1 2]", "\"\\"};
    struct redactor *r = redactor(NULL, 0);
    int64_t before = metric_value(METRIC_REDACTION_UNDECIDED);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        json_is(r, bad[i], bad[i][0] == '{' ? "{\"redacted\":\"[REDACTED:undecided]\"}" : "\"[REDACTED:undecided]\"");
    assert_int_equal(redactor_undecided(r), ARRAY_LEN(bad));
    assert_int_equal(metric_value(METRIC_REDACTION_UNDECIDED) - before, ARRAY_LEN(bad));
    redactor_free(r);
}

/* ---- never open ---- */

static void test_undecided_is_withheld(void **state)
{
    struct redactor *r = redactor(NULL, 0);
    struct redact_stream *s;
    struct strbuf in = expand("start -----BE~GIN RSA PRIV~ATE KEY-----\nabc"), out;
    (void)state;
    redactor_limit(r, 1);
    struct strbuf got = text(r, strbuf_str(&in));
    same(strbuf_str(&got), STR("[REDACTED:undecided]"), "the whole text");
    assert_int_equal(redactor_undecided(r), 1);
    assert_int_equal(redact_stream_new(r, &s), ERR_OK);
    strbuf_init(&out, 4096);
    redact_stream_feed(s, STR("clean "), &out);
    redact_stream_feed(s, strbuf_str(&in), &out);
    redact_stream_feed(s, STR(" more"), &out);
    same(strbuf_str(&out), STR("clean [REDACTED:undecided]"), "from there on");
    redact_stream_end(s, &out);
    redact_stream_free(s);
    assert_int_equal(redactor_undecided(r), 2);
    struct strbuf quoted;
    strbuf_init(&quoted, 4096);
    strbuf_addz(&quoted, "{\"a\":");
    json_quote(&quoted, strbuf_str(&in));
    strbuf_addz(&quoted, "}");
    struct strbuf whole = json(r, strbuf_str(&quoted));
    same(strbuf_str(&whole), STR("{\"a\":\"[REDACTED:undecided]\"}"), "in JSON");
    redactor_limit(r, 100000);
    text_is(r, "fine again", "fine again");
    strbuf_done(&in);
    strbuf_done(&out);
    strbuf_done(&got);
    strbuf_done(&quoted);
    strbuf_done(&whole);
    redactor_free(r);
}

/* What has nothing of a secret goes out at once; what is kept back is bounded. */
static void test_what_is_kept_back(void **state)
{
    struct redactor *r = with("ERRAND_RUNNER_TOKEN", "qRt_1_0123456789abcdef0123456789abcdef0123");
    struct redact_stream *s;
    struct strbuf out, many;
    (void)state;
    assert_int_equal(redact_stream_new(r, &s), ERR_OK);
    strbuf_init(&out, 1 << 24);
    strbuf_init(&many, 1 << 24);
    static const char *const plain[] = {"hello",   "the tokens",      "a password",
                                        "passing", "this is the key", "https://example.com/",
                                        "line\n",  "x = 1",           "good morning"};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        strbuf_reset(&out);
        redact_stream_feed(s, str_of(plain[i]), &out);
        same(strbuf_str(&out), str_of(plain[i]), "at once");
        redact_stream_end(s, &out);
    }
    static const char *const endless[] = {
        "gh",      "eyJ",       "-----BEGIN ", "://", "password=",           "a",   "token ",
        "Bearer ", "Cookie: a", "\\",          "sk-", "\"password\":\"\\\\", "%71", "-----END "};
    for (size_t i = 0; i < ARRAY_LEN(endless); i++) {
        strbuf_reset(&out);
        strbuf_reset(&many);
        while (many.len < 40000)
            strbuf_addz(&many, endless[i]);
        for (size_t at = 0; at < many.len; at += 97) {
            redact_stream_feed(s, (struct str){many.ptr + at, many.len - at < 97 ? many.len - at : 97}, &out);
            assert_true(redact_stream_held(s) < 6000);
        }
        redact_stream_end(s, &out);
    }
    strbuf_done(&out);
    strbuf_done(&many);
    redact_stream_free(s);
    redactor_free(r);
}

static size_t count(struct str text, const char *part)
{
    size_t n = 0, len = strlen(part);
    for (const char *at = text.ptr; (at = memmem(at, text.len - (size_t)(at - text.ptr), part, len)); at += len)
        n++;
    return n;
}

/* in, with a pause at `cut`, into out. */
static void paused(struct redact_stream *s, struct str in, size_t cut, struct strbuf *out)
{
    strbuf_reset(out);
    redact_stream_feed(s, (struct str){in.ptr, cut}, out);
    redact_stream_pause(s, out);
    redact_stream_feed(s, (struct str){in.ptr + cut, in.len - cut}, out);
    redact_stream_end(s, out);
}

/* A pause lets through at most three bytes of a shape's public beginning; the rest is found as ever. */
static void test_a_pause_at_every_place(void **state)
{
    struct redactor *r = redactor(NULL, 0);
    struct redact_stream *s;
    struct strbuf out;
    size_t shown = 0;
    (void)state;
    assert_int_equal(redact_stream_new(r, &s), ERR_OK);
    strbuf_init(&out, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(redact_corpus); i++) {
        struct strbuf in = expand(redact_corpus[i].in), want = text(r, strbuf_str(&in));
        for (size_t cut = 0; cut <= in.len; cut++) {
            paused(s, strbuf_str(&in), cut, &out);
            size_t more = out.len - want.len;
            shown += more > 0;
            if (out.len < want.len || more > 3 ||
                count(strbuf_str(&out), "[REDACTED:") != count(strbuf_str(&want), "[REDACTED:"))
                same(strbuf_str(&out), strbuf_str(&want), "a pause");
        }
        strbuf_done(&in);
        strbuf_done(&want);
    }
    assert_true(shown > 0); /* or this would test nothing */
    strbuf_done(&out);
    redact_stream_free(s);
    redactor_free(r);
}

/* Nor does a pause after each piece let more through than one. */
static void test_pauses_without_end(void **state)
{
    struct redactor *r = redactor(NULL, 0);
    struct redact_stream *s;
    struct strbuf out;
    (void)state;
    assert_int_equal(redact_stream_new(r, &s), ERR_OK);
    strbuf_init(&out, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(redact_corpus); i++) {
        struct strbuf in = expand(redact_corpus[i].in), want = text(r, strbuf_str(&in));
        size_t marks = count(strbuf_str(&want), "[REDACTED:");
        for (size_t step = 1; step <= 3; step++) {
            strbuf_reset(&out);
            for (size_t at = 0; at < in.len; at += step) {
                redact_stream_feed(s, (struct str){in.ptr + at, in.len - at < step ? in.len - at : step}, &out);
                redact_stream_pause(s, &out);
            }
            redact_stream_end(s, &out);
            if (count(strbuf_str(&out), "[REDACTED:") != marks || out.len > want.len + 3 * marks ||
                (marks == 0 && out.len != want.len))
                same(strbuf_str(&out), strbuf_str(&want), "pauses");
        }
        strbuf_done(&in);
        strbuf_done(&want);
    }
    strbuf_done(&out);
    redact_stream_free(s);
    redactor_free(r);
}

/* Of a secret that was given nothing is let through. */
static void test_a_pause_within_a_secret(void **state)
{
    struct redactor *r = with("PW", "hunter-2-sesame");
    struct redact_stream *s;
    struct strbuf out;
    static const char *const texts[] = {"it is hunter-2-sesame.", "it is aHVudGVyLTItc2VzYW1l.",
                                        "68756e7465722d322d736573616d65",
                                        "%68%75%6e%74%65%72%2d%32%2d%73%65%73%61%6d%65"};
    (void)state;
    assert_int_equal(redact_stream_new(r, &s), ERR_OK);
    strbuf_init(&out, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct strbuf want = text(r, str_of(texts[i]));
        assert_int_equal(count(strbuf_str(&want), "[SECRET:PW]"), 1);
        for (size_t cut = 0; cut <= strlen(texts[i]); cut++) {
            paused(s, str_of(texts[i]), cut, &out);
            same(strbuf_str(&out), strbuf_str(&want), texts[i]);
        }
        strbuf_done(&want);
    }
    strbuf_done(&out);
    redact_stream_free(s);
    redactor_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pause_at_every_place),
        cmocka_unit_test(test_pauses_without_end),
        cmocka_unit_test(test_a_pause_within_a_secret),
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_corpus_cut_everywhere),
        cmocka_unit_test(test_corpus_in_json),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_base64_at_every_alignment),
        cmocka_unit_test(test_base64_in_lines),
        cmocka_unit_test(test_short_values_count_only_whole),
        cmocka_unit_test(test_empty_values_are_passed_over),
        cmocka_unit_test(test_values_over_lines),
        cmocka_unit_test(test_overlaps),
        cmocka_unit_test(test_secrets_come_before_shapes),
        cmocka_unit_test(test_markers_never_make_a_secret),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_across_tokens),
        cmocka_unit_test(test_json_that_is_none_is_withheld),
        cmocka_unit_test(test_undecided_is_withheld),
        cmocka_unit_test(test_what_is_kept_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
