/* What is stored of a batch is redacted: events, texts that a secret lies across, the claim; and the same batch is always the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/batch.h"

#define VALUE     "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
#define EV(s, d)  "{\"seq\":" #s ",\"tMs\":1,\"kind\":\"notification\",\"data\":" d "}"
#define SAY(s, d) "{\"seq\":" #s ",\"tMs\":1,\"kind\":\"assistant_text\",\"data\":" d "}"

static struct redactor *redactor(const char *name, const char *value)
{
    struct redactor *r;
    assert_int_equal(redactor_new(&(struct redact_secret){str_of(name), str_of(value)}, 1, &r), ERR_OK);
    return r;
}

static void parse(struct arena *a, struct redactor *r, const char *lines, struct event_batch *b)
{
    const char *detail = NULL;
    arena_init(a, 64 << 20);
    assert_int_equal(batch_parse(a, str_of(lines), true, STR("r"), b, &detail), ERR_OK);
    assert_int_equal(batch_redact(a, r, b), ERR_OK);
}

static void lines_are(const char *lines, const char *want)
{
    static struct event_batch b;
    struct arena a;
    struct redactor *r = redactor("T", VALUE);
    struct strbuf all;
    strbuf_init(&all, 1 << 20);
    parse(&a, r, lines, &b);
    for (size_t i = 0; i < b.entry_count; i++) {
        strbuf_add(&all, b.entries[i].lines);
        strbuf_addc(&all, '\n');
    }
    assert_string_equal(all.ptr ? all.ptr : "", want);
    strbuf_done(&all);
    arena_done(&a);
    redactor_free(r);
}

static void test_events(void **state)
{
    (void)state;
    lines_are(EV(1, "{\"a\":\"x " VALUE "\",\"n\":1.50,\"e\":\"\\u0041\"}"),
              EV(1, "{\"a\":\"x [SECRET:T]\",\"n\":1.50,\"e\":\"\\u0041\"}") "\n");
    lines_are(EV(1, "{\"password\":\"abcdefgh\"}") "\n" EV(2, "{}"),
              EV(1, "{\"password\":\"[REDACTED:password]\"}") "\n" EV(2, "{}") "\n");
}

static void test_texts_that_a_secret_lies_across(void **state)
{
    (void)state;
    lines_are(SAY(1, "{\"text\":\"a 0123456789\"}") "\n" EV(2, "{}") "\n" SAY(
                  3, "{\"i\":1.0,\"text\":\"abcdefghijklmnopqrst\"}") "\n" SAY(4, "{\"text\":\"uvwxyzABCDEFG z\"}"),
              SAY(1, "{\"text\":\"a [SECRET:T]\"}") "\n" EV(2, "{}") "\n" SAY(3, "{\"i\":1.0,\"text\":\"\"}") "\n" SAY(
                  4, "{\"text\":\" z\"}") "\n");
    lines_are(SAY(1, "{\"text\":\"\"}") "\n" SAY(2, "{\"text\":7}") "\n" SAY(3, "{\"x\":\"0123\"}") "\n" SAY(
                  4, "{\"text\":\"\\u0041\"}"),
              SAY(1, "{\"text\":\"\"}") "\n" SAY(2, "{\"text\":7}") "\n" SAY(3, "{\"x\":\"0123\"}") "\n" SAY(
                  4, "{\"text\":\"\\u0041\"}") "\n");
}

/* What is clean is passed on without walking it: whatever stands around a secret, and however it is written, it is not. */
static void test_what_is_not_clean_is_walked(void **state)
{
    (void)state;
    lines_are(
        SAY(1, "{\"text\":\"a\\nb \\u0041 \\ud83d\\ude00 \\\"q\\\" \\\\\",\"n\":[1,{\"x\":\"\\/\"}]}") "\n" EV(2, "{}"),
        SAY(1, "{\"text\":\"a\\nb \\u0041 \\ud83d\\ude00 \\\"q\\\" \\\\\",\"n\":[1,{\"x\":\"\\/\"}]}") "\n" EV(
            2, "{}") "\n");
    lines_are(EV(1, "{\"pass\\u0077ord\":\"abcdefgh\"}"), EV(1, "{\"pass\\u0077ord\":\"[REDACTED:password]\"}") "\n");
    lines_are(EV(1, "{\"a\":\"01234\\u0035"
                    "6789abcdefghijklmnopqrstuvwxyzABCDEFG\"}"),
              EV(1, "{\"a\":\"[SECRET:T]\"}") "\n");
    lines_are(EV(1, "{}") "\n" EV(2, "{\"a\":\"" VALUE "\"}") "\n" SAY(3, "{\"text\":\"kept\"}"),
              EV(1, "{}") "\n" EV(2, "{\"a\":\"[SECRET:T]\"}") "\n" SAY(3, "{\"text\":\"kept\"}") "\n");
}

/* The text is found wherever it stands, in whatever form. */
static void test_texts_in_every_form(void **state)
{
    (void)state;
    static const char *const before[] = {
        "{\"text\":\"x 0123456789\"}", "{\"messageId\":\"m\",\"text\":\"x 0123456789\"}",
        "{\"n\":{\"text\":\"no\"},\"text\":\"x 0123456789\"}", "{\"te\\u0078t\":\"x 0123456789\",\"text\":\"no\"}",
        "{\"text\":\"x 01234\\u00356789\",\"b\":\"\\\"\"}"};
    for (size_t i = 0; i < ARRAY_LEN(before); i++) {
        char lines[1024];
        struct event_batch *b = calloc(1, sizeof *b);
        struct arena a;
        struct redactor *r = redactor("T", VALUE);
        assert_non_null(b);
        snprintf(lines, sizeof lines, "{\"seq\":1,\"tMs\":1,\"kind\":\"assistant_text\",\"data\":%s}\n%s", before[i],
                 SAY(2, "{\"text\":\"abcdefghijklmnopqrstuvwxyzABCDEFG y\"}"));
        parse(&a, r, lines, b);
        assert_int_equal(b->entry_count, 1);
        assert_non_null(memmem(b->entries[0].lines.ptr, b->entries[0].lines.len, "\"x [SECRET:T]\"", 14));
        assert_non_null(memmem(b->entries[0].lines.ptr, b->entries[0].lines.len, "\" y\"", 4));
        arena_done(&a);
        redactor_free(r);
        free(b);
    }
}

static void test_the_claim(void **state)
{
    static struct event_batch b;
    struct arena a;
    struct redactor *r = redactor("T", VALUE);
    struct strbuf in;
    (void)state;
    strbuf_init(&in, 8192);
    strbuf_addz(&in, "{\"seq\":1,\"tMs\":1,\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"error\",\"noRetry\":"
                     "true,\"result\":{\"t\":\"" VALUE "\"},\"error\":{\"message\":\"");
    for (int i = 0; i < LIMIT_ERROR_MESSAGE - 10; i++)
        strbuf_addc(&in, 'm');
    strbuf_addz(&in, VALUE "\"}}}");
    parse(&a, r, in.ptr, &b);
    assert_true(str_eqz(b.claim_result, "{\"t\":\"[SECRET:T]\"}"));
    assert_true(str_eqz(b.claim_status, "error") && str_eqz(b.claim_retry, "no"));
    assert_null(memmem(b.claim_line.ptr, b.claim_line.len, VALUE, 10));
    assert_null(memmem(b.claim_error.ptr, b.claim_error.len, VALUE, 5)); /* redacted first, cut then */
    arena_done(&a);
    redactor_free(r);
    r = redactor("WORD", "success"); /* words of the contract are not what is redacted */
    parse(
        &a, r,
        "{\"seq\":1,\"tMs\":1,\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"success\",\"result\":\"success\"}}",
        &b);
    assert_true(str_eqz(b.claim_status, "success") && str_eqz(b.claim_result, "\"[SECRET:WORD]\""));
    arena_done(&a);
    redactor_free(r);
    strbuf_done(&in);
}

/* Markers are longer than the secret: entries are cut anew, and an event that outgrows its bound is withheld. */
static void test_bounds(void **state)
{
    static struct event_batch b;
    struct arena a;
    struct redactor *r = redactor("A_RATHER_LONG_NAME", "abcdef");
    struct strbuf in;
    (void)state;
    strbuf_init(&in, 4 << 20);
    for (int e = 0; e < 20; e++) {
        strbuf_addf(&in, "{\"seq\":%d,\"tMs\":1,\"kind\":\"notification\",\"data\":{\"x\":\"", e);
        for (int i = 0; i < (e == 19 ? 30000 : 1000); i++)
            strbuf_addz(&in, "abcdef ");
        strbuf_addz(&in, "\"}}\n");
    }
    parse(&a, r, in.ptr, &b);
    int64_t n = 0;
    for (size_t i = 0; i < b.entry_count; i++) {
        assert_true(b.entries[i].lines.len <= LIMIT_ENTRY || b.entries[i].n == 1);
        assert_null(memmem(b.entries[i].lines.ptr, b.entries[i].lines.len, "abcdef", 6));
        n += b.entries[i].n;
    }
    assert_int_equal(n, 20);
    const struct batch_entry *last = &b.entries[b.entry_count - 1];
    assert_non_null(memmem(last->lines.ptr, last->lines.len, "{\"redacted\":\"[REDACTED:undecided]\"}", 34));
    arena_done(&a);
    redactor_free(r);
    strbuf_done(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_texts_that_a_secret_lies_across),
        cmocka_unit_test(test_what_is_not_clean_is_walked),
        cmocka_unit_test(test_texts_in_every_form),
        cmocka_unit_test(test_the_claim),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
