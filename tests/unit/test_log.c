#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/log.h"

/* Standard error goes to a file of the test's; what was logged is read back from it. */
static int file = -1, real_stderr = -1;
static char logged[65536];

static int64_t fixed_us(void)
{
    return 1767322984005000;
}

static int start(void **state)
{
    (void)state;
    FILE *f = tmpfile();
    real_stderr = dup(STDERR_FILENO);
    file = f ? dup(fileno(f)) : -1;
    if (f)
        fclose(f);
    clock_set_source(fixed_us, NULL);
    return file < 0 || real_stderr < 0 || fcntl(file, F_SETFL, O_APPEND) || dup2(file, STDERR_FILENO) < 0 ? -1 : 0;
}

static int end(void **state)
{
    (void)state;
    clock_set_source(NULL, NULL);
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(file);
    return 0;
}

/* What was logged since the last call. */
static const char *take_logged(void)
{
    ssize_t n = pread(file, logged, sizeof logged - 1, 0);
    assert_true(n >= 0);
    logged[n] = 0;
    assert_int_equal(ftruncate(file, 0), 0);
    return logged;
}

/* One line, valid JSON; the value of a key. */
static struct str json_line(struct arena *a, const char *key)
{
    struct json *root;
    size_t len = strlen(logged);
    assert_true(len > 0 && logged[len - 1] == '\n' && strchr(logged, '\n') == logged + len - 1);
    assert_int_equal(json_parse(a, (struct str){logged, len - 1}, LIMIT_JSON_DEPTH, LIMIT_JSON_DEPTH, &root, NULL),
                     ERR_OK);
    const struct json *v = json_get(root, key);
    return !v ? STR("(none)") : v->type == JSON_STRING ? v->string : v->raw;
}

static void test_a_json_line_has_its_fields_in_order(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, "api", STR("node-1"));
    LOG_WARN("run fenced", LOG_Z("runId", "r1"), LOG_I("attempt", -2), LOG_E(ERR_FENCED));
    assert_string_equal(
        take_logged(),
        "{\"time\":\"2026-01-02T03:03:04.005Z\",\"level\":\"warn\",\"component\":\"api\",\"node\":\"node-1\","
        "\"msg\":\"run fenced\",\"runId\":\"r1\",\"attempt\":-2,\"error\":\"fenced\"}\n");
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, "runner", STR_NONE);
    LOG_INFO("up");
    assert_string_equal(
        take_logged(),
        "{\"time\":\"2026-01-02T03:03:04.005Z\",\"level\":\"info\",\"component\":\"runner\",\"msg\":\"up\"}\n");
}

static void test_a_logfmt_line_quotes_what_is_not_a_plain_word(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, "api", STR_NONE);
    LOG_ERROR("all down", LOG_Z("a", "plain-1.2:3/x"), LOG_Z("b", ""), LOG_Z("c", "two words"), LOG_Z("d", "k=v"),
              LOG_Z("e", "q\"uote"), LOG_Z("f", "back\\slash"), LOG_Z("g", "ü"), LOG_Z("h", "new\nline"),
              LOG_I("n", 7));
    assert_string_equal(
        take_logged(),
        "time=2026-01-02T03:03:04.005Z level=error component=api msg=\"all down\" a=plain-1.2:3/x "
        "b=\"\" c=\"two words\" d=\"k=v\" e=\"q\\\"uote\" f=\"back\\\\slash\" g=\"ü\" h=\"new\\nline\" n=7\n");
}

static void test_what_is_below_the_level_is_not_written_nor_computed(void **state)
{
    (void)state;
    int computed = 0;
    for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++) {
        log_setup((enum log_level)level, LOG_FORMAT_JSON, "api", STR_NONE);
        computed = 0;
        LOG_DEBUG("d", LOG_I("n", computed++));
        LOG_INFO("i", LOG_I("n", computed++));
        LOG_WARN("w", LOG_I("n", computed++));
        LOG_ERROR("e", LOG_I("n", computed++));
        int lines = 0;
        for (const char *c = take_logged(); *c; c++)
            lines += *c == '\n';
        assert_int_equal(lines, 4 - level);
        assert_int_equal(computed, 4 - level);
    }
}

static void test_levels_are_read_by_name(void **state)
{
    (void)state;
    static const char *const names[] = {"debug", "info", "warn", "error"};
    enum log_level level = LOG_LEVEL_WARN;
    for (int i = 0; i < 4; i++) {
        assert_true(log_level_parse(str_of(names[i]), &level));
        assert_int_equal(level, i);
    }
    level = LOG_LEVEL_WARN;
    assert_false(log_level_parse(STR("Debug"), &level));
    assert_false(log_level_parse(STR("warning"), &level));
    assert_false(log_level_parse(STR_NONE, &level));
    assert_int_equal(level, LOG_LEVEL_WARN);
}

/* Nothing that somebody outside chose may break a line in two, or its JSON. */
static void test_hostile_values_stay_one_valid_line(void **state)
{
    (void)state;
    char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    for (int format = LOG_FORMAT_JSON; format <= LOG_FORMAT_LOGFMT; format++) {
        log_setup(LOG_LEVEL_INFO, (enum log_format)format, "api", (struct str){bytes, sizeof bytes});
        LOG_INFO("x", LOG_S("v", ((struct str){bytes, sizeof bytes})), LOG_Z("last", "there"));
        take_logged();
        size_t len = strlen(logged);
        for (size_t i = 0; i + 1 < len; i++)
            assert_true((unsigned char)logged[i] >= ' ');
        assert_int_equal(logged[len - 1], '\n');
        if (format == LOG_FORMAT_JSON) {
            struct arena a;
            arena_init(&a, 1 << 20);
            assert_true(str_eqz(json_line(&a, "last"), "there"));
            arena_done(&a);
        } else {
            assert_non_null(strstr(logged, " last=there\n"));
        }
    }
}

static void test_a_long_value_is_cut_between_characters(void **state)
{
    (void)state;
    struct arena a;
    char value[4000];
    arena_init(&a, 1 << 20);
    for (size_t shift = 0; shift < 3; shift++) {
        memset(value, 'a', shift);
        for (size_t i = shift; i + 3 <= sizeof value; i += 3)
            memcpy(value + i, "\xe2\x82\xac", 3); /* three bytes each */
        log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, "api", STR_NONE);
        LOG_INFO("x", LOG_S("v", ((struct str){value, 3999})), LOG_Z("last", "there"));
        take_logged();
        struct str v = json_line(&a, "v");
        assert_in_range(v.len, 2046, 2048);
        assert_memory_equal(v.ptr, value, v.len);
        assert_int_equal((v.len - shift) % 3, 0);
        assert_true(str_eqz(json_line(&a, "last"), "there"));
    }
    arena_done(&a);
}

static void test_a_line_is_never_longer_than_its_bound(void **state)
{
    (void)state;
    static char control[2048], plain[2048];
    memset(control, 1, sizeof control); /* each is six bytes as JSON */
    memset(plain, 'p', sizeof plain);
    struct log_field fields[600];
    for (int format = LOG_FORMAT_JSON; format <= LOG_FORMAT_LOGFMT; format++) {
        log_setup(LOG_LEVEL_INFO, (enum log_format)format, "api", STR("node"));
        for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
            size_t kind = i < 8 ? i % 2 : 2;
            fields[i] = kind == 0   ? LOG_S("control", ((struct str){control, sizeof control}))
                        : kind == 1 ? LOG_S("plain", ((struct str){plain, sizeof plain - i * 100}))
                                    : LOG_I("some_rather_long_name_of_a_number", INT64_MIN);
        }
        log_write(LOG_LEVEL_INFO, "much", fields, ARRAY_LEN(fields));
        take_logged();
        size_t len = strlen(logged);
        assert_in_range(len, 4096, 8192);
        assert_ptr_equal(strchr(logged, '\n'), logged + len - 1);
        if (format == LOG_FORMAT_JSON)
            assert_true(json_valid((struct str){logged, len - 1}, 2));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_json_line_has_its_fields_in_order, start, end),
        cmocka_unit_test_setup_teardown(test_a_logfmt_line_quotes_what_is_not_a_plain_word, start, end),
        cmocka_unit_test_setup_teardown(test_what_is_below_the_level_is_not_written_nor_computed, start, end),
        cmocka_unit_test_setup_teardown(test_levels_are_read_by_name, start, end),
        cmocka_unit_test_setup_teardown(test_hostile_values_stay_one_valid_line, start, end),
        cmocka_unit_test_setup_teardown(test_a_long_value_is_cut_between_characters, start, end),
        cmocka_unit_test_setup_teardown(test_a_line_is_never_longer_than_its_bound, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
