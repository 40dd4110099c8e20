/* The audit log's chain, and what finds where it does not fit: every field and every boundary counts, and each way to tamper with a log has its sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/chain_verify.h"
#include "common/clock.h"
#include "common/strbuf.h"

#define T0 INT64_C(1767322984005)

static struct chain_entry entry(int64_t n)
{
    return (struct chain_entry){.n = n,
                                .t_ms = T0 + n,
                                .who = STR("root"),
                                .from = STR("192.0.2.1"),
                                .what = STR("stopRun"),
                                .object = STR("x"),
                                .request = STR("00"),
                                .outcome = STR(""),
                                .detail = STR("")};
}

static void test_ids(void **state)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "1",
                                      "1-",
                                      "-1",
                                      "1-2-3",
                                      "a-1",
                                      "1-b",
                                      "1 -2",
                                      "+1-2",
                                      "1--2",
                                      "0x1-2",
                                      "9007199254740993-1",
                                      "1-99999999999999999"};
    int64_t t = 7, n = 7;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(chain_id(str_of(bad[i]), &t, &n));
    assert_true(t == 7 && n == 7);
    assert_true(chain_id(STR("1767322984005-12"), &t, &n));
    assert_true(t == T0 && n == 12);
    assert_true(chain_id(STR("9007199254740992-9007199254740992"), &t, &n));
}

/* Known values: who verifies with another program gets the same. */
static void test_the_chain_is_as_it_is_documented(void **state)
{
    char h[SHA256_HEX_LEN + 1], by_hand[SHA256_HEX_LEN + 1];
    struct chain_entry e = entry(1);
    (void)state;
    chain_begin(STR("default"), h);
    crypto_sha256_hex(STR("\x10\0\0\0\0\0\0\0errand audit log\x07\0\0\0\0\0\0\0default"), by_hand);
    assert_string_equal(h, by_hand);
    struct strbuf text;
    strbuf_init(&text, 4096);
    const struct str parts[] = {str_of(by_hand), STR("1"),         STR("1767322984006"),
                                STR("root"),     STR("192.0.2.1"), STR("stopRun"),
                                STR("x"),        STR("00"),        STR(""),
                                STR("")};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        strbuf_addc(&text, (char)parts[i].len); /* each is shorter than 256 bytes */
        strbuf_add(&text, STR("\0\0\0\0\0\0\0"));
        strbuf_add(&text, parts[i]);
    }
    chain_add(h, &e);
    crypto_sha256_hex(strbuf_str(&text), by_hand);
    assert_string_equal(h, by_hand);
    strbuf_done(&text);
}

static void test_every_field_and_boundary_counts(void **state)
{
    struct chain_entry rows[12];
    char hashes[ARRAY_LEN(rows)][SHA256_HEX_LEN + 1];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        rows[i] = entry(5);
    rows[1].n = 6;
    rows[2].t_ms++;
    rows[3].who = STR("roo");
    rows[4].from = STR("192.0.2.2");
    rows[5].what = STR("deleteRun");
    rows[6].object = STR("y");
    rows[7].request = STR("01");
    rows[8].outcome = STR("forbidden");
    rows[9].detail = STR("{}");
    rows[10].who = STR("root1"); /* the same bytes one after the other */
    rows[10].from = STR("92.0.2.1");
    rows[11].object = STR("");
    rows[11].request = STR("x00");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        chain_begin(STR("default"), hashes[i]);
        chain_add(hashes[i], &rows[i]);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(hashes[i], hashes[j]);
    }
    char a[SHA256_HEX_LEN + 1], b[SHA256_HEX_LEN + 1];
    chain_begin(STR("a"), a);
    chain_begin(STR("b"), b);
    assert_string_not_equal(a, b);
}

/* ---- exports ---- */

enum { ENTRIES = 6, LINES = ENTRIES + 4 };

/* begin, 1, 2, 3, seal, 4, 5, 6, seal, end; and h of each entry. */
struct export
{
    char line[LINES][1024];
    char h[ENTRIES + 1][SHA256_HEX_LEN + 1];
};

static void make(struct export *x)
{
    char h[SHA256_HEX_LEN + 1];
    size_t at = 0;
    memset(x, 0, sizeof *x);
    chain_begin(STR("default"), h);
    snprintf(x->h[0], sizeof x->h[0], "%s", h);
    snprintf(x->line[at++], 1024,
             "{\"kind\":\"begin\",\"workspace\":\"default\",\"filtered\":false,\"n\":0,\"h\":\"%s\"}", h);
    for (int n = 1; n <= ENTRIES; n++) {
        struct chain_entry e = entry(n);
        char iso[CLOCK_ISO_LEN + 1];
        chain_add(h, &e);
        snprintf(x->h[n], sizeof x->h[n], "%s", h);
        clock_iso(e.t_ms, iso);
        snprintf(x->line[at++], 1024,
                 "{\"kind\":\"entry\",\"n\":%d,\"at\":\"%s\",\"who\":\"root\",\"from\":\"192.0.2.1\",\"what\":"
                 "\"stopRun\",\"object\":\"x\",\"request\":\"00\"}",
                 n, iso);
        if (n % 3 == 0)
            snprintf(x->line[at++], 1024, "{\"kind\":\"seal\",\"n\":%d,\"from\":%d,\"h\":\"%s\"}", n, n - 2, h);
    }
    snprintf(x->line[at], 1024, "{\"kind\":\"end\",\"entries\":6,\"seals\":2}");
}

static bool fits(const struct export *x, const char *expect, struct chain_verify *v)
{
    assert_true(chain_verify_init(v, expect));
    for (size_t i = 0; i < LINES; i++)
        if (x->line[i][0])
            (void)chain_verify_line(v, str_of(x->line[i]));
    return chain_verify_end(v);
}

static void assert_why(const struct export *x, const char *expect, const char *sentence)
{
    struct chain_verify v;
    if (fits(x, expect, &v))
        fail_msg("nothing was found, and should have been: %s", sentence);
    if (!strstr(v.why, sentence))
        fail_msg("%s: not %s", v.why, sentence);
}

static void swap(struct export *x, size_t i, size_t j)
{
    char kept[1024];
    memcpy(kept, x->line[i], sizeof kept);
    memcpy(x->line[i], x->line[j], sizeof kept);
    memcpy(x->line[j], kept, sizeof kept);
}

static void replace(struct export *x, size_t i, const char *from, const char *to)
{
    char *at = strstr(x->line[i], from), rest[1024];
    assert_non_null(at);
    snprintf(rest, sizeof rest, "%s", at + strlen(from));
    snprintf(at, 1024 - (size_t)(at - x->line[i]), "%s%s", to, rest);
}

static void test_a_whole_log_fits(void **state)
{
    struct export x;
    struct chain_verify v;
    char head[CHAIN_HEAD_MAX + 1], wanted[CHAIN_HEAD_MAX + 1];
    (void)state;
    make(&x);
    assert_true(fits(&x, NULL, &v));
    chain_verify_head(&v, head);
    snprintf(wanted, sizeof wanted, "6:%s", x.h[6]);
    assert_string_equal(head, wanted);
    assert_true(v.entries == 6 && v.seals == 2 && v.sealed == 6 && v.unsealed_since_ms == 0);
    for (int n = 0; n <= ENTRIES; n++) { /* any head of before is in it */
        snprintf(head, sizeof head, "%d:%s", n, x.h[n]);
        assert_true(fits(&x, head, &v));
    }
    /* The last ones are not sealed yet. */
    x.line[8][0] = 0;
    replace(&x, 9, "\"seals\":2", "\"seals\":1");
    assert_true(fits(&x, NULL, &v));
    assert_true(v.sealed == 3 && v.unsealed_since_ms == T0 + 4);
}

static void test_one_that_was_trimmed_fits(void **state)
{
    struct export x;
    struct chain_verify v;
    char head[CHAIN_HEAD_MAX + 1];
    (void)state;
    make(&x);
    snprintf(x.line[0], 1024, "{\"kind\":\"begin\",\"workspace\":\"default\",\"filtered\":false,\"n\":3,\"h\":\"%s\"}",
             x.h[3]);
    for (size_t i = 1; i <= 4; i++)
        x.line[i][0] = 0;
    snprintf(x.line[9], 1024, "{\"kind\":\"end\",\"entries\":3,\"seals\":1}");
    assert_true(fits(&x, NULL, &v));
    assert_true(v.before == 3 && v.entries == 3);
    snprintf(head, sizeof head, "3:%s", x.h[3]);
    assert_true(fits(&x, head, &v));
    snprintf(head, sizeof head, "2:%s", x.h[2]);
    assert_why(&x, head, "begins at entry 4, behind the expected entry 2");
    replace(&x, 0, x.h[3], x.h[2]); /* the seal that stays when the rest is trimmed is part of the chain */
    assert_why(&x, NULL, "entries 4 to 6: not what was sealed");
}

static void test_each_way_to_tamper_shows(void **state)
{
    struct export x;
    char head[CHAIN_HEAD_MAX + 1];
    (void)state;
#define AFTER(sentence, ...)                                                                                           \
    do {                                                                                                               \
        make(&x);                                                                                                      \
        __VA_ARGS__;                                                                                                   \
        assert_why(&x, NULL, sentence);                                                                                \
    } while (0)
    AFTER("entries 1 to 3: not what was sealed", replace(&x, 2, "root", "toor"));
    AFTER("entries 4 to 6: not what was sealed", replace(&x, 6, "\"00\"", "\"00\",\"detail\":{\"a\":1}"));
    AFTER("entries 4 to 6: not what was sealed", replace(&x, 5, "\"object\":\"x\",", ""));
    AFTER("entry 2: removed (entry 3 follows)", x.line[2][0] = 0);
    AFTER("entries 1 to 2: removed", x.line[1][0] = x.line[2][0] = 0);
    AFTER("entry 6: removed (a seal", x.line[7][0] = 0);
    AFTER("entries 4 to 6: removed (a seal", x.line[5][0] = x.line[6][0] = x.line[7][0] = 0);
    AFTER("entry 1: removed", swap(&x, 1, 2));
    AFTER("entry 4 stands behind entry 5", replace(&x, 7, "\"n\":6", "\"n\":4"));
    AFTER("entry 2 stands twice", snprintf(x.line[3], 1024, "%s", x.line[2]));
    AFTER("no time", replace(&x, 3, "\"at\":\"2026", "\"at\":\"2025"));
    AFTER("no time", replace(&x, 3, "\"at\":\"2026", "\"at\":\"soon"));
    AFTER("begins at entry 4, the one before it ends at 0", x.line[4][0] = 0);
    AFTER("not what was sealed", replace(&x, 4, x.h[3], x.h[2]));
    AFTER("stands behind entry", swap(&x, 4, 5));
    AFTER("says that it has", x.line[8][0] = 0);
    AFTER("cut short", x.line[9][0] = 0);
    AFTER("does not say where the log begins", x.line[0][0] = 0);
    AFTER("not what was sealed", replace(&x, 0, "default", "another"));
    AFTER("some of the entries only", replace(&x, 0, "false", "true"));
    AFTER("names something twice", replace(&x, 2, "\"who\":\"root\"", "\"who\":\"root\",\"who\":\"x\""));
    AFTER("none of an audit log's", replace(&x, 2, "entry", "entri"));
    AFTER("no JSON object", snprintf(x.line[2], 1024, "["));
    AFTER("behind the end", swap(&x, 8, 9), replace(&x, 8, "\"seals\":2", "\"seals\":1"));
    make(&x);
    snprintf(head, sizeof head, "5:%s", x.h[4]);
    assert_why(&x, head, "written anew");
    snprintf(head, sizeof head, "7:%s", x.h[6]);
    assert_why(&x, head, "before the expected entry 7");
}

static void test_heads(void **state)
{
    static const char *const bad[] = {"", ":", "5", "5:", "x:0", "5:00"};
    struct chain_verify v;
    char head[CHAIN_HEAD_MAX + 1];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(chain_verify_init(&v, bad[i]));
    snprintf(head, sizeof head, "1:%064d", 0);
    assert_true(chain_verify_init(&v, head));
    head[10] = 'g';
    assert_false(chain_verify_init(&v, head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_the_chain_is_as_it_is_documented),
        cmocka_unit_test(test_every_field_and_boundary_counts),
        cmocka_unit_test(test_a_whole_log_fits),
        cmocka_unit_test(test_one_that_was_trimmed_fits),
        cmocka_unit_test(test_each_way_to_tamper_shows),
        cmocka_unit_test(test_heads),
    };
    return crypto_start() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
