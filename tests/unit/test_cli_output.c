/* What the CLI shows: text made safe for a terminal, times, JSON for people, URLs, definitions, where the API is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/client.h"
#include "cli/definition.h"
#include "cli/output.h"
#include "cli/redis_sync.h"
#include "cli/where.h"

static struct strbuf out;

static const char *text(void)
{
    return out.ptr ? out.ptr : "";
}

static int begin(void **state)
{
    (void)state;
    strbuf_init(&out, 1U << 20);
    return 0;
}

static int end(void **state)
{
    (void)state;
    strbuf_done(&out);
    return 0;
}

static void terminal_text(void **state)
{
    (void)state;
    /* Escape sequences lose what makes them one; C1 controls go too; text stays. */
    safe_text(&out,
              STR("a\033[2Jb\x07\xc2\x9b"
                  "31mc\td\né ☃\r\x7f"),
              true, true);
    assert_string_equal(text(), "a[2Jb31mc\td\né ☃");
    strbuf_reset(&out);
    safe_text(&out, STR("a\033[2Jb\r\n"), true, false);
    assert_string_equal(text(), "a\033[2Jb\r\n");
    strbuf_reset(&out);
    safe_text(&out, STR("a\nb"), false, false);
    assert_string_equal(text(), "a b");
    strbuf_reset(&out);
    safe_line(&out, STR("äöüß"), 3, true);
    assert_string_equal(text(), "äöü…");
    strbuf_reset(&out);
    safe_line(&out, STR("äöü"), 3, true);
    assert_string_equal(text(), "äöü");
    strbuf_reset(&out);
    /* What is left out leaves the rest together, and takes no room of the width. */
    safe_line(&out, STR("\001a\033b\r\nc\n"), 6, true);
    assert_string_equal(text(), "ab  c ");
    strbuf_reset(&out);
    safe_line(&out, STR("ab\033\033"), 2, true);
    assert_string_equal(text(), "ab…");
    strbuf_reset(&out);
    safe_text(&out, STR("\033\033"), true, true);
    assert_int_equal(out.len, 0);
    /* A character cut in half is no reason to read on behind the end. */
    safe_text(&out, (struct str){"\xe2\x98", 2}, true, true);
    assert_int_equal(out.len, 2);
}

static void times(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {{0, "0.0 s"},    {-5, "0.0 s"},       {1234, "1.2 s"},      {9949, "9.9 s"},      {9950, "9 s"},
                 {59999, "59 s"}, {60000, "1 m 00 s"}, {187000, "3 m 07 s"}, {8100000, "2 h 15 m"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        strbuf_reset(&out);
        duration_write(&out, cases[i].ms);
        assert_string_equal(text(), cases[i].text);
    }
    strbuf_reset(&out);
    age_write(&out, 1000, 91000);
    assert_string_equal(text(), "1m ago");
    strbuf_reset(&out);
    age_write(&out, 91000, 1000);
    assert_string_equal(text(), "now");
}

static void pretty(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1U << 20);
    struct json *root = NULL;
    assert_int_equal(json_parse(&arena, STR("{\"a\":[1,2.50,{}],\"b\\n\":\"x\\u0041\",\"c\":[]}"), 64, 64, &root, NULL),
                     ERR_OK);
    json_pretty(&out, root, 0);
    assert_string_equal(text(),
                        "{\n  \"a\": [\n    1,\n    2.50,\n    {}\n  ],\n  \"b\\n\": \"x\\u0041\",\n  \"c\": []\n}");
    arena_done(&arena);
}

static void encoding(void **state)
{
    (void)state;
    url_encode(&out, (struct str){"aZ0-._~/?&=%\xc3\xa4 \0", 16});
    assert_string_equal(text(), "aZ0-._~%2F%3F%26%3D%25%C3%A4%20%00");
}

static void info(void **state)
{
    (void)state;
    const struct str lines = STR("# Server\r\nredis_version:7.0.15\r\nversion:x\r\nempty:\r\nlast:1");
    char value[16];
    assert_true(redis_info_value(lines, "redis_version", value, sizeof(value)));
    assert_string_equal(value, "7.0.15");
    assert_true(redis_info_value(lines, "version", value, sizeof(value)));
    assert_string_equal(value, "x");
    assert_true(redis_info_value(lines, "empty", value, sizeof(value)));
    assert_string_equal(value, "");
    assert_true(redis_info_value(lines, "last", value, sizeof(value)));
    assert_string_equal(value, "1");
    assert_false(redis_info_value(lines, "redis", value, sizeof(value)));
    assert_false(redis_info_value(lines, "redis_version", value, 6));
}

static void write_file(const char *path, const char *content)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

/* A folder of its own, with a .errand in it; the working directory is two levels below. */
static void make_place(char folder[64])
{
    char path[256];
    snprintf(folder, 64, "/tmp/errand-unit-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/.errand", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/.errand/url", folder);
    write_file(path, "http://127.0.0.1:7001,http://127.0.0.1:7002\n");
    snprintf(path, sizeof(path), "%s/.errand/key", folder);
    write_file(path, "errand_root_x\n");
    snprintf(path, sizeof(path), "%s/a", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/a/b", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chdir(path), 0);
    unsetenv("ERRAND_URL");
    unsetenv("ERRAND_KEY");
}

static void remove_place(const char *folder)
{
    static const char *const names[] = {".errand/url", ".errand/key", ".errand", "a/b/agent.json",
                                        "a/b/work",    "a/b",         "a",       "."};
    char path[256];
    assert_int_equal(chdir("/"), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        if (unlink(path) != 0)
            (void)rmdir(i + 1 == ARRAY_LEN(names) ? folder : path);
    }
    assert_int_equal(access(folder, F_OK), -1);
}

static void where_the_api_is(void **state)
{
    (void)state;
    char folder[64], path[256];
    struct where w;
    const char *why = NULL;
    make_place(folder);
    assert_int_equal(where_find(NULL, &w, &why), ERR_OK);
    assert_string_equal(w.url, "http://127.0.0.1:7001,http://127.0.0.1:7002");
    assert_string_equal(w.key, "errand_root_x");
    /* The folder's key goes to the folder's own nodes and to nobody else. */
    assert_int_equal(where_find("http://127.0.0.1:7002/", &w, &why), ERR_OK);
    assert_string_equal(w.url, "http://127.0.0.1:7002");
    assert_string_equal(w.key, "errand_root_x");
    /* Another name of this machine is the same node, under the address that the folder knows. */
    assert_int_equal(where_find("http://localhost:7002/,http://127.0.0.1:7001", &w, &why), ERR_OK);
    assert_string_equal(w.url, "http://127.0.0.1:7002,http://127.0.0.1:7001");
    assert_string_equal(w.key, "errand_root_x");
    static const char *const others[] = {"http://example.com", "http://localhost:7003", "https://localhost:7001",
                                         "http://localhost.example.com:7001", "http://localhost"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(where_find(others[i], &w, &why), ERR_OK);
        assert_string_equal(w.url, others[i]);
        assert_string_equal(w.key, "");
    }
    setenv("ERRAND_URL", "https://a.example.com/, http://127.0.0.1:7001", 1);
    assert_int_equal(where_find(NULL, &w, &why), ERR_OK);
    assert_string_equal(w.url, "https://a.example.com,http://127.0.0.1:7001");
    assert_string_equal(w.key, "");
    setenv("ERRAND_KEY", "mine", 1);
    assert_int_equal(where_find(NULL, &w, &why), ERR_OK);
    assert_string_equal(w.key, "mine");
    static const char *const bad[] = {"ftp://x", "127.0.0.1:7070", "http://", "http://a b", "http://a\r\nb", ",", " "};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(where_find(bad[i], &w, &why), ERR_CONFIG);
    setenv("ERRAND_KEY", "a\r\nX-Header: b", 1);
    assert_int_equal(where_find(NULL, &w, &why), ERR_CONFIG);
    unsetenv("ERRAND_KEY");
    unsetenv("ERRAND_URL");
    /* What others may write to is not trusted. */
    snprintf(path, sizeof(path), "%s/.errand", folder);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(where_find(NULL, &w, &why), ERR_OK);
    assert_string_equal(w.url, "http://127.0.0.1:7070");
    assert_string_equal(w.key, "");
    assert_int_equal(chmod(path, 0700), 0);
    remove_place(folder);
}

static void definitions(void **state)
{
    (void)state;
    char folder[64], name[16], wanted[256];
    make_place(folder);
    assert_int_equal(mkdir("work", 0700), 0);
    write_file("agent.json", "{\"name\": \"x\", \"workdir\": \"./work\", \"command\": [ \"a\" ], \"n\": 1.0}");
    assert_true(definition_read("agent.json", NULL, &out, name, sizeof(name)));
    snprintf(wanted, sizeof(wanted), "{\"name\":\"x\",\"workdir\":\"%s/a/b/work\",\"command\":[\"a\"],\"n\":1.0}",
             folder);
    assert_string_equal(text(), wanted);
    assert_string_equal(name, "x");
    strbuf_reset(&out);
    write_file("agent.json", "{\"name\": \"x\", \"workdir\": \".\"}");
    assert_true(definition_read("agent.json", "other", &out, name, sizeof(name)));
    snprintf(wanted, sizeof(wanted), "{\"name\":\"other\",\"workdir\":\"%s/a/b\"}", folder);
    assert_string_equal(text(), wanted);
    assert_string_equal(name, "other");
    strbuf_reset(&out);
    write_file("agent.json", "{\"workdir\": \"/srv/x\"}");
    assert_true(definition_read("agent.json", NULL, &out, name, sizeof(name)));
    assert_string_equal(text(), "{\"workdir\":\"/srv/x\"}");
    assert_string_equal(name, "");
    static const char *const bad[] = {"{\"workdir\": \"missing\"}", "[]", "{", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_file("agent.json", bad[i]);
        assert_false(definition_read("agent.json", NULL, &out, name, sizeof(name)));
    }
    assert_false(definition_read("no-such-file", NULL, &out, name, sizeof(name)));
    remove_place(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(terminal_text, begin, end),
        cmocka_unit_test_setup_teardown(times, begin, end),
        cmocka_unit_test_setup_teardown(pretty, begin, end),
        cmocka_unit_test_setup_teardown(encoding, begin, end),
        cmocka_unit_test_setup_teardown(info, begin, end),
        cmocka_unit_test_setup_teardown(where_the_api_is, begin, end),
        cmocka_unit_test_setup_teardown(definitions, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
