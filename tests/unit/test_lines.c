/* Bytes of an agent's output to lines: the same lines however the bytes come, whole up to the bound, in pieces beyond it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/json.h"
#include "runner/lines.h"

/* What came out: "<text>" a line, "(<text>)" a piece. */
static void on_line(void *ctx, struct str line, bool piece)
{
    struct strbuf *seen = ctx;
    strbuf_addc(seen, piece ? '(' : '<');
    strbuf_add(seen, line);
    strbuf_addc(seen, piece ? ')' : '>');
}

/* Feeds bytes in pieces of `step`, each in a block of just its size, so that a read past its end is seen. */
static void feed(struct lines *l, struct str bytes, size_t step, line_fn fn, void *ctx)
{
    for (size_t at = 0; at < bytes.len; at += step) {
        size_t n = step < bytes.len - at ? step : bytes.len - at;
        char *block = malloc(n);
        assert_non_null(block);
        memcpy(block, bytes.ptr + at, n);
        lines_feed(l, (struct str){block, n}, fn, ctx);
        free(block);
    }
}

static void run(struct strbuf *seen, struct str bytes, size_t step)
{
    struct lines l;
    strbuf_init(seen, 64U << 20);
    lines_init(&l, LINE_MAX_BYTES);
    feed(&l, bytes, step, on_line, seen);
    lines_end(&l, on_line, seen);
    lines_done(&l);
}

static void expect(struct str bytes, size_t step, const char *wanted)
{
    struct strbuf seen;
    run(&seen, bytes, step);
    if (!str_eqz(strbuf_str(&seen), wanted))
        fail_msg("in pieces of %zu: %s instead of %s", step, strbuf_str(&seen).ptr, wanted);
    strbuf_done(&seen);
}

static void test_lines_are_the_same_at_every_cut(void **state)
{
    (void)state;
    static const struct {
        struct str bytes;
        const char *lines;
    } cases[] = {
        {STR(""), ""},
        {STR("\n"), "<>"},
        {STR("a"), "<a>"},
        {STR("a\nb\n"), "<a><b>"},
        {STR("a\n\n\nb"), "<a><><><b>"},
        {STR("a\r\nb\r\n"), "<a><b>"},
        {STR("a\r\r\nb\rc\n"), "<a\r><b\rc>"},
        {STR("\r\n"), "<>"},
        {STR("gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80\nx"),
         "<gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80><x>"},
        {STR("\xff\xfe\n\xc3"), "<\xff\xfe><\xc3>"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t step = 1; step <= cases[i].bytes.len + 1; step++)
            expect(cases[i].bytes, step, cases[i].lines);
}

static void test_nul_bytes_are_bytes_of_a_line(void **state)
{
    (void)state;
    struct strbuf seen;
    run(&seen, STR("a\0b\n\0"), 2);
    assert_true(str_eq(strbuf_str(&seen), STR("<a\0b><\0>")));
    strbuf_done(&seen);
}

/* ---- long lines ---- */

/* What the pieces of one line say together, and whether each keeps its promises. */
struct long_line {
    struct strbuf text;
    size_t pieces, lines, longest;
    bool cut_in_a_character;
};

static void on_long_line(void *ctx, struct str line, bool piece)
{
    struct long_line *l = ctx;
    strbuf_add(&l->text, line);
    if (piece)
        l->pieces++;
    else
        l->lines++;
    if (line.len > l->longest)
        l->longest = line.len;
    if (piece && utf8_complete_len(line) != line.len)
        l->cut_in_a_character = true;
    if (piece && line.len > 0 && ((unsigned char)line.ptr[0] & 0xc0) == 0x80)
        l->cut_in_a_character = true;
}

static void run_long(struct long_line *seen, struct str bytes, size_t step)
{
    struct lines l;
    *seen = (struct long_line){.pieces = 0};
    strbuf_init(&seen->text, 64U << 20);
    lines_init(&l, LINE_MAX_BYTES);
    feed(&l, bytes, step, on_long_line, seen);
    lines_end(&l, on_long_line, seen);
    lines_done(&l);
}

/* `lead` bytes of ASCII, then the character again and again, to `len` bytes at most, then `end`. */
static void build(struct strbuf *out, size_t len, size_t lead, const char *character, const char *end)
{
    size_t width = strlen(character);
    strbuf_init(out, 64U << 20);
    for (size_t i = 0; i < lead; i++)
        strbuf_addc(out, 'a');
    while (out->len + width <= len)
        strbuf_addz(out, character);
    while (out->len < len)
        strbuf_addc(out, 'z');
    strbuf_addz(out, end);
}

static void test_a_line_at_the_bound_is_whole_and_one_byte_more_comes_in_pieces(void **state)
{
    (void)state;
    static const size_t steps[] = {1 << 20, LINE_MAX_BYTES, LINE_PIECE_BYTES, LINE_PIECE_BYTES - 1, 777};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct strbuf bytes;
        struct long_line seen;
        build(&bytes, LINE_MAX_BYTES, 0, "x", "\n");
        run_long(&seen, strbuf_str(&bytes), steps[i]);
        assert_true(seen.lines == 1 && seen.pieces == 0 && seen.longest == LINE_MAX_BYTES);
        strbuf_done(&seen.text);
        strbuf_done(&bytes);
        build(&bytes, LINE_MAX_BYTES + 1, 0, "x", "\n");
        run_long(&seen, strbuf_str(&bytes), steps[i]);
        assert_true(seen.lines == 0 && seen.pieces == 9 && seen.longest == LINE_PIECE_BYTES);
        assert_int_equal(seen.text.len, LINE_MAX_BYTES + 1);
        strbuf_done(&seen.text);
        strbuf_done(&bytes);
    }
}

/* Lengths and leads around every border of a piece, so that a character stands across it. */
static void test_pieces_are_cut_between_characters(void **state)
{
    (void)state;
    static const char *const characters[] = {"\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    static const size_t steps[] = {1 << 20, LINE_PIECE_BYTES, LINE_PIECE_BYTES + 1, 4096, 1021};
    static const size_t border = LINE_MAX_BYTES + LINE_PIECE_BYTES;
    const size_t leads[] = {0, 1, 2, 3, border - 1, border - 2, border - 3};
    for (size_t c = 0; c < ARRAY_LEN(characters); c++)
        for (size_t k = 0; k < ARRAY_LEN(leads); k++)
            for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
                struct strbuf bytes;
                struct long_line seen;
                build(&bytes, LINE_MAX_BYTES + 3 * LINE_PIECE_BYTES, leads[k], characters[c], "\n");
                run_long(&seen, strbuf_str(&bytes), steps[i]);
                if (seen.cut_in_a_character)
                    fail_msg("character %zu, lead %zu, step %zu: cut in a character", c, leads[k], steps[i]);
                assert_true(seen.lines == 0 && seen.longest <= LINE_PIECE_BYTES);
                assert_true(str_eq(strbuf_str(&seen.text), (struct str){bytes.ptr, bytes.len - 1}));
                strbuf_done(&seen.text);
                strbuf_done(&bytes);
            }
}

static void test_long_lines_are_the_same_at_every_step(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 3; extra++) {
        struct strbuf bytes, whole;
        build(&bytes, LINE_MAX_BYTES + 2 * LINE_PIECE_BYTES + extra, 1, "\xe2\x82\xac", "\nshort\n");
        run(&whole, strbuf_str(&bytes), bytes.len);
        for (size_t step = 997; step < bytes.len; step = step * 2 - 3) {
            struct strbuf cut;
            run(&cut, strbuf_str(&bytes), step);
            if (!str_eq(strbuf_str(&whole), strbuf_str(&cut)))
                fail_msg("%zu bytes more, in steps of %zu: other pieces", extra, step);
            strbuf_done(&cut);
        }
        assert_true(str_eq((struct str){whole.ptr + whole.len - 7, 7}, STR("<short>")));
        strbuf_done(&whole);
        strbuf_done(&bytes);
    }
}

static void test_a_carriage_return_behind_a_long_line_is_no_part_of_it(void **state)
{
    (void)state;
    static const size_t lens[] = {LINE_MAX_BYTES + 1, LINE_MAX_BYTES + LINE_PIECE_BYTES - 1,
                                  LINE_MAX_BYTES + LINE_PIECE_BYTES};
    static const size_t steps[] = {1 << 20, 1024, 1};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++)
        for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
            struct strbuf bytes;
            struct long_line seen;
            build(&bytes, lens[i], 0, "x", "\r\n");
            run_long(&seen, strbuf_str(&bytes), steps[k]);
            assert_int_equal(seen.text.len, lens[i]);
            assert_null(memchr(seen.text.ptr, '\r', seen.text.len));
            strbuf_done(&seen.text);
            strbuf_done(&bytes);
        }
}

static void test_a_long_line_is_not_held(void **state)
{
    (void)state;
    struct lines l;
    struct long_line seen = {.pieces = 0};
    char block[1000];
    memset(block, 'x', sizeof block);
    strbuf_init(&seen.text, 64U << 20);
    lines_init(&l, LINE_MAX_BYTES);
    for (size_t sent = 0; sent < 4U << 20; sent += sizeof block) {
        lines_feed(&l, (struct str){block, sizeof block}, on_long_line, &seen);
        assert_true(l.pending.len <= LINE_MAX_BYTES);
    }
    assert_true(seen.text.len + l.pending.len >= 4U << 20 && l.pending.len <= LINE_PIECE_BYTES);
    lines_feed(&l, STR("\nnext\n"), on_long_line, &seen);
    assert_int_equal(seen.lines, 1); /* the one behind it is a line again */
    assert_null(l.pending.ptr);      /* silent: nothing is held */
    strbuf_done(&seen.text);
    lines_done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_the_same_at_every_cut),
        cmocka_unit_test(test_nul_bytes_are_bytes_of_a_line),
        cmocka_unit_test(test_a_line_at_the_bound_is_whole_and_one_byte_more_comes_in_pieces),
        cmocka_unit_test(test_pieces_are_cut_between_characters),
        cmocka_unit_test(test_long_lines_are_the_same_at_every_step),
        cmocka_unit_test(test_a_carriage_return_behind_a_long_line_is_no_part_of_it),
        cmocka_unit_test(test_a_long_line_is_not_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
