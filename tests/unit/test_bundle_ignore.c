/* Patterns of .errandignore. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/ignore.h"
#include "common/clock.h"
#include "common/strbuf.h"

struct row {
    const char *text, *path;
    bool folder, out;
};

static bool left_out(const char *text, const char *path, bool folder)
{
    struct arena a;
    struct ignore g;
    const char *why = NULL;
    arena_init(&a, 1 << 20);
    if (ignore_parse(&a, str_of(text), &g, &why) != ERR_OK)
        fail_msg("'%s': %s", text, why ? why : "no memory");
    bool out = ignore_matches(&g, str_of(path), folder);
    arena_done(&a);
    return out;
}

static void test_patterns(void **state)
{
    static const struct row rows[] = {
        /* a name, in any folder */
        {"a.log", "a.log", false, true},
        {"a.log", "x/y/a.log", false, true},
        {"a.log", "a.logs", false, false},
        {"a.log", "xa.log", false, false},
        {"", "a", false, false},
        {"# a\n\n   \n", "# a", false, false},
        /* * and ? */
        {"*.log", "a.log", false, true},
        {"*.log", ".log", false, true},
        {"*.log", "d/a.log", false, true},
        {"*.log", "a.log/b", false, false},
        {"a*b*c", "aXbYc", false, true},
        {"a*b*c", "abc", false, true},
        {"a*b*c", "aXbYcd", false, false},
        {"*ab", "aab", false, true},
        {"a?c", "abc", false, true},
        {"a?c", "a/c", false, false},
        {"a?c", "ac", false, false},
        {"a?c",
         "a\xc3\xa4"
         "c",
         false, true},
        {"a**c", "abbc", false, true},
        {"a**c", "a/c", false, false},
        {"*", "x", false, true},
        {"/*", "x/y", false, false},
        {"/*", "x", true, true},
        /* folders only */
        {"build/", "build", true, true},
        {"build/", "build", false, false},
        {"build/", "x/build", true, true},
        {"a/b/", "a/b", true, true},
        {"a/b/", "x/a/b", true, false},
        /* from the root */
        {"/a", "a", false, true},
        {"/a", "x/a", false, false},
        {"a/b", "a/b", false, true},
        {"a/b", "x/a/b", false, false},
        {"a/*.c", "a/x.c", false, true},
        {"a/*.c", "a/b/x.c", false, false},
        {"a//b", "a/b", false, true},
        /* any number of folders */
        {"**/a", "a", false, true},
        {"**/a", "x/y/a", false, true},
        {"**/a/b", "x/a/b", false, true},
        {"**/a/b", "x/a/y/b", false, false},
        {"a/**", "a", true, false},
        {"a/**", "a/x", false, true},
        {"a/**", "a/x/y", false, true},
        {"a/**/b", "a/b", false, true},
        {"a/**/b", "a/x/y/b", false, true},
        {"a/**/b", "ab", false, false},
        {"a/**/b/**/c", "a/1/b/2/b/3/c", false, true},
        {"a/**/b/**/c", "a/1/2/c", false, false},
        {"**", "x/y", false, true},
        {"**/**/a", "a", false, true},
        {"/", "a", false, false},
        /* the last one decides */
        {"*.log\n!keep.log", "keep.log", false, false},
        {"*.log\n!keep.log", "x/a.log", false, true},
        {"!keep.log\n*.log", "keep.log", false, true},
        {"*\n!*.py\n!*/", "d/a.py", false, false},
        {"*\n!*.py\n!*/", "d/a.c", false, true},
        {"*\n!*.py\n!*/", "d", true, false},
        /* characters themselves, and blanks */
        {"\\#a", "#a", false, true},
        {"\\!a", "!a", false, true},
        {"a\\*", "a*", false, true},
        {"a\\*", "ab", false, false},
        {"\\[a", "[a", false, true},
        {"a  ", "a", false, true},
        {"a\\ ", "a ", false, true},
        {"a\\\\ ", "a\\", false, true},
        {"a b", "a b", false, true},
        {"a\r\nb\r\n", "a", false, true},
        {"a\r\nb", "b", false, true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (left_out(rows[i].text, rows[i].path, rows[i].folder) != rows[i].out)
            fail_msg("'%s' and '%s'%s: should%s be left out", rows[i].text, rows[i].path, rows[i].folder ? "/" : "",
                     rows[i].out ? "" : " not");
}

static void test_what_is_not_known_is_refused_by_line(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {{"a\n*.[ch]\n", "line 2"}, {"!", "line 1"}, {"a\n\n\nb\\", "line 4"}};
    struct arena a;
    struct ignore g = {0};
    const char *why = NULL;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        arena_init(&a, 1 << 20);
        assert_int_equal(ignore_parse(&a, str_of(rows[i].text), &g, &why), ERR_INVALID_FIELD);
        assert_memory_equal(why, rows[i].why, strlen(rows[i].why));
        arena_done(&a);
    }
    arena_init(&a, 1 << 20);
    assert_int_equal(ignore_parse(&a, (struct str){"a\0b", 3}, &g, &why), ERR_INVALID_FIELD);
    char *many = calloc(1, 2 * IGNORE_RULES + 3), *wide = malloc(IGNORE_PATTERN + 1);
    assert_true(many && wide);
    for (int i = 0; i <= IGNORE_RULES; i++)
        many[(ptrdiff_t)2 * i] = 'a', many[(ptrdiff_t)2 * i + 1] = '\n';
    assert_int_equal(ignore_parse(&a, str_of(many), &g, &why), ERR_INVALID_FIELD);
    memset(wide, 'a', IGNORE_PATTERN + 1);
    assert_int_equal(ignore_parse(&a, (struct str){wide, IGNORE_PATTERN + 1}, &g, &why), ERR_INVALID_FIELD);
    assert_int_equal(ignore_parse(&a, (struct str){wide, IGNORE_PATTERN}, &g, &why), ERR_OK);
    free(many);
    free(wide);
    arena_done(&a);
}

/* The one that is expensive where a matcher tries everything again. */
static void test_no_pattern_takes_long(void **state)
{
    struct strbuf pattern, path;
    (void)state;
    strbuf_init(&pattern, IGNORE_PATTERN);
    strbuf_init(&path, 1024);
    for (int i = 0; i < 170; i++)
        strbuf_addz(&pattern, i % 2 ? "**/" : "*a*a/");
    for (int i = 0; i < 250; i++)
        strbuf_addz(&path, "aab/");
    strbuf_addz(&pattern, "z");
    strbuf_addz(&path, "y");
    int64_t before = clock_mono_ms();
    for (int i = 0; i < 20; i++)
        assert_false(left_out(pattern.ptr, path.ptr, false));
    assert_true(clock_mono_ms() - before < 2000);
    strbuf_done(&pattern);
    strbuf_done(&path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_what_is_not_known_is_refused_by_line),
        cmocka_unit_test(test_no_pattern_takes_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
