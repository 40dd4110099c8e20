/* Many words in one pass: found wherever they stand, whichever way their beginnings are looked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/ac.h"

enum { WORDS = 24, TEXT = 400, ROUNDS = 400 };

static uint32_t seed = 12345;

static unsigned chance(unsigned n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

static unsigned char lower(char c, bool fold)
{
    return (unsigned char)(fold && c >= 'A' && c <= 'Z' ? c + 32 : c);
}

/* How often a word of the list ends in the text: by looking everywhere. */
static size_t count_plainly(char (*words)[8], const size_t *lens, size_t n, bool fold, struct str text)
{
    size_t count = 0;
    for (size_t end = 1; end <= text.len; end++)
        for (size_t w = 0; w < n; w++) {
            bool same = lens[w] <= end;
            for (size_t i = 0; same && i < lens[w]; i++)
                same = lower(text.ptr[end - lens[w] + i], fold) == (unsigned char)words[w][i];
            count += same;
        }
    return count;
}

static size_t count_by(const struct ac *a, struct str text)
{
    uint32_t state = AC_ROOT;
    size_t count = 0;
    for (size_t at = 0; at < text.len;) {
        if (state == AC_ROOT && (at = ac_skip(a, text, at)) >= text.len)
            break;
        state = ac_step(a, state, (unsigned char)text.ptr[at++]);
        for (uint32_t n = ac_words(a, state); n; n = ac_more(a, n))
            count++;
    }
    return count;
}

static void run(bool fold, unsigned alphabet)
{
    char words[WORDS][8] = {{0}}, text[TEXT];
    size_t lens[WORDS], n = 0;
    struct ac *a;
    assert_int_equal(ac_new(WORDS * 8, fold, &a), ERR_OK);
    for (size_t tries = 1 + chance(WORDS); tries > 0; tries--) {
        char word[8] = {0};
        size_t len = 1 + chance(8);
        bool known = false;
        for (size_t i = 0; i < len; i++)
            word[i] = (char)('a' + chance(alphabet));
        for (size_t w = 0; w < n; w++)
            known = known || (lens[w] == len && memcmp(words[w], word, len) == 0);
        if (known)
            continue;
        memcpy(words[n], word, sizeof word);
        lens[n] = len;
        ac_add(a, (struct str){word, len}, (int32_t)n, 0);
        n++;
    }
    assert_int_equal(ac_finish(a), ERR_OK);
    bool able = a->wide; /* this CPU */
    for (size_t len = chance(40); len <= TEXT; len += 1 + chance(60)) {
        for (size_t i = 0; i < len; i++) {
            unsigned c = chance(4) == 0 ? chance(256) : 'a' + chance(alphabet + 2);
            text[i] = (char)(chance(8) == 0 && c >= 'a' && c <= 'z' ? c - 32 : c);
        }
        struct str s = {text, len};
        assert_int_equal(count_by(a, s), count_plainly(words, lens, n, fold, s));
        a->wide = !a->wide && able;
        assert_int_equal(count_by(a, s), count_plainly(words, lens, n, fold, s));
    }
    ac_free(a);
}

static void test_every_word_is_found(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++)
        run(i % 2, 2 + chance(20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_word_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
