/* The log tail: bounded, the newest lines stay, and what is stored is JSON whatever was printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/limits.h"
#include "runner/log_tail.h"

static const struct json *written(const struct log_tail *t, struct arena *a)
{
    struct strbuf out;
    struct json *root = NULL;
    strbuf_init(&out, 1 << 20);
    log_tail_write(t, &out);
    assert_true(out.len <= LIMIT_LOG_BYTES + 2);
    struct str text = arena_str(a, strbuf_str(&out));
    strbuf_done(&out);
    assert_int_equal(json_parse(a, text, 4, 3, &root, NULL), ERR_OK);
    return root;
}

static void test_lines_as_they_came(void **state)
{
    (void)state;
    struct log_tail t;
    struct arena a;
    arena_init(&a, 8 << 20);
    log_tail_init(&t);
    assert_int_equal(written(&t, &a)->count, 0);
    log_tail_add(&t, 5, "stderr", STR("one\ntwo \"quoted\" \xff"));
    log_tail_add(&t, 6, "stdout", STR(""));
    const struct json *lines = written(&t, &a);
    assert_int_equal(lines->count, 2);
    assert_true(str_eqz(json_get(lines->child, "text")->string, "one\ntwo \"quoted\" \xef\xbf\xbd"));
    assert_true(str_eqz(json_get(lines->child, "stream")->string, "stderr"));
    assert_int_equal(json_get(lines->child->next, "tMs")->integer, 6);
    log_tail_done(&t);
    arena_done(&a);
}

/* Whatever grows when it is escaped: the bound is on what is stored. */
static void test_the_oldest_lines_go(void **state)
{
    (void)state;
    static const char *const fills[] = {"x", "\x01", "\"", "\xe2\x82\xac"};
    for (size_t f = 0; f < ARRAY_LEN(fills); f++) {
        struct log_tail t;
        log_tail_init(&t);
        for (int64_t i = 0; i < 200; i++) {
            struct strbuf text;
            struct arena a;
            strbuf_init(&text, 1 << 20);
            while (text.len < 9000)
                strbuf_addz(&text, fills[f]);
            log_tail_add(&t, i, "stderr", strbuf_str(&text));
            strbuf_done(&text);
            arena_init(&a, 8 << 20);
            const struct json *line = written(&t, &a)->child;
            assert_non_null(line);
            for (; line->next; line = line->next)
                assert_int_equal(json_get(line, "tMs")->integer + 1, json_get(line->next, "tMs")->integer);
            assert_int_equal(json_get(line, "tMs")->integer, i); /* the newest is always there */
            struct str kept = json_get(line, "text")->string;
            assert_true(kept.len <= 4096 && kept.len > 4096 - 4 && utf8_complete_len(kept) == kept.len);
            arena_done(&a);
        }
        log_tail_done(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_as_they_came),
        cmocka_unit_test(test_the_oldest_lines_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
