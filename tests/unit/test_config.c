#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <unistd.h>

#include "common/config.h"

extern char **environ;

static char file_path[64];
static struct config config;
static char message[2048];

/* No ERRAND_… variable of the tests' own environment may reach them. */
static int start(void **state)
{
    (void)state;
    for (bool again = true; again;) {
        again = false;
        for (char **e = environ; *e && !again; e++) {
            char name[128];
            if (strncmp(*e, "ERRAND_", 7) != 0)
                continue;
            snprintf(name, sizeof name, "%.*s", (int)strcspn(*e, "="), *e);
            again = unsetenv(name) == 0;
        }
    }
    snprintf(file_path, sizeof file_path, "/tmp/errand-config-XXXXXX");
    int fd = mkstemp(file_path);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int end(void **state)
{
    (void)state;
    config_done(&config);
    return unlink(file_path);
}

static void write_file(const char *text)
{
    FILE *f = fopen(file_path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

enum { ARGS_MAX = 8 };

/* Loads with these arguments, up to a NULL; the message is in `message`. */
static enum err load(int program, const char *const args[ARGS_MAX])
{
    char *argv[ARGS_MAX + 2] = {"errand-x"};
    int argc = 1;
    for (; argc <= ARGS_MAX && args[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)args[argc - 1];
    struct strbuf out;
    strbuf_init(&out, sizeof message - 1);
    enum config_action action = CONFIG_HELP;
    config_done(&config);
    enum err err = config_load(&config, program, argc, argv, &action, &out);
    snprintf(message, sizeof message, "%s", strbuf_str(&out).ptr);
    strbuf_done(&out);
    if (!err)
        assert_int_equal(action, CONFIG_RUN);
    return err;
}

#define LOAD(program, ...) load(program, (const char *const[ARGS_MAX]){__VA_ARGS__})

static void assert_refused(enum err err, const char *part)
{
    assert_int_equal(err, ERR_CONFIG);
    if (!strstr(message, part))
        fail_msg("\"%s\" does not say \"%s\"", message, part);
    assert_null(strchr(message, '\n')); /* one sentence */
}

static void test_without_anything_every_option_has_its_default(void **state)
{
    (void)state;
    assert_int_equal(LOAD(FOR_API, NULL), ERR_OK);
#define AS_str(field, def)                                      assert_string_equal(config.field, def)
#define AS_secret(field, def)                                   assert_string_equal(config.field, def)
#define AS_int(field, def)                                      assert_int_equal(config.field, strtoll(def, NULL, 10))
#define AS_ms(field, def)                                       AS_int(field, def)
#define AS_bytes(field, def)                                    AS_int(field, def)
#define AS_bool(field, def)                                     assert_int_equal(config.field, strcmp(def, "true") == 0)
#define CHECK(field, type, name, programs, def, min, max, help) AS_##type(field, def);
    CONFIG_TABLE(CHECK)
#undef CHECK
}

static void test_a_flag_beats_the_environment_beats_the_file(void **state)
{
    (void)state;
    write_file("shards = 2\nnode = of-file\nprefix=p:\n");
    setenv("ERRAND_CONFIG", file_path, 1);
    assert_int_equal(LOAD(FOR_API, NULL), ERR_OK);
    assert_int_equal(config.shards, 2);
    setenv("ERRAND_SHARDS", "3", 1);
    assert_int_equal(LOAD(FOR_API, NULL), ERR_OK);
    assert_int_equal(config.shards, 3);
    assert_int_equal(LOAD(FOR_API, "--shards", "4"), ERR_OK);
    assert_int_equal(config.shards, 4);
    assert_string_equal(config.node, "of-file");
    assert_string_equal(config.prefix, "p:");
    assert_int_equal(LOAD(FOR_API, "--shards=5", "--shards=6"), ERR_OK);
    assert_int_equal(config.shards, 6); /* the last one counts */
}

static void test_the_file_of_a_flag_beats_that_of_the_environment(void **state)
{
    (void)state;
    write_file("# a comment\n\n  node   =  spaced name  \r\n\t# another\nslots = 3\nlisten = 127.0.0.1:9");
    setenv("ERRAND_CONFIG", "/nonexistent", 1);
    assert_refused(LOAD(FOR_API, NULL), "/nonexistent");
    for (int i = 0; i < 2; i++) {
        char joined[128];
        snprintf(joined, sizeof joined, "--config=%s", file_path);
        /* `slots` is a runner's and `listen` an API node's: one file serves both. */
        assert_int_equal(i ? LOAD(FOR_API, "--config", file_path) : LOAD(FOR_RUNNER, joined), ERR_OK);
        assert_string_equal(config.node, "spaced name");
        assert_int_equal(config.slots, i ? 8 : 3);
        assert_string_equal(config.listen, i ? "127.0.0.1:9" : "127.0.0.1:7070");
    }
}

static void test_a_bad_file_is_refused_with_its_line(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"node = x\n\nshards\n", "line 3: `name = value`"},
        {"shards = many", "line 1: shards must be a whole number from 1 to 256"},
        {"shard = 2", "did you mean shards?"},
        {"node = x\nallow-eviction = maybe", "line 2: allow-eviction must be true or false"},
        {"= 1", "unknown option"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        write_file(rows[i][0]);
        assert_refused(LOAD(FOR_API, "--config", file_path), rows[i][1]);
    }
    char *large = malloc(70001);
    assert_non_null(large);
    memset(large, '\n', 70000);
    large[70000] = 0;
    write_file(large);
    free(large);
    assert_refused(LOAD(FOR_API, "--config", file_path), "can't read");
}

static void test_an_unknown_option_names_the_nearest(void **state)
{
    (void)state;
    assert_refused(LOAD(FOR_API, "--redis-ulr", "x"), "unknown option --redis-ulr; did you mean --redis-url?");
    assert_refused(LOAD(FOR_RUNNER, "--slot=4"), "did you mean --slots?");
    assert_refused(LOAD(FOR_API, "--something-quite-different"), "--help lists the options");
    assert_refused(LOAD(FOR_API, "--slots", "4"), "unknown option --slots"); /* a runner's */
    assert_refused(LOAD(FOR_RUNNER, "--listen", "x"), "unknown option --listen");
    char longest[200];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "--", 2);
    longest[sizeof longest - 1] = 0;
    assert_refused(LOAD(FOR_API, longest), "unknown option --xxx");
    assert_true(strlen(message) < 150);
}

static void test_what_is_no_option_at_all_is_refused(void **state)
{
    (void)state;
    assert_refused(LOAD(FOR_API, "serve"), "unexpected argument \"serve\"");
    assert_refused(LOAD(FOR_API, "-x"), "unexpected argument");
    assert_refused(LOAD(FOR_API, "--"), "unexpected argument");
    assert_refused(LOAD(FOR_API, ""), "unexpected argument");
    assert_refused(LOAD(FOR_API, "--shards"), "--shards needs a value");
    assert_refused(LOAD(FOR_API, "--config"), "--config needs a value");
}

static void test_numbers_are_whole_and_within_their_bounds(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "0", "257", "-1", "", "x", "1x", "1.5", "0x4", "1e2", "4 ", "9223372036854775808", "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_refused(LOAD(FOR_API, "--shards", bad[i]), "--shards must be a whole number from 1 to 256");
    setenv("ERRAND_LEASE_MS", "999", 1);
    assert_refused(LOAD(FOR_API, NULL),
                   "ERRAND_LEASE_MS must be a whole number from 1000 to 600000 (milliseconds), not \"999\"");
    unsetenv("ERRAND_LEASE_MS");
    assert_refused(LOAD(FOR_API, "--reader-buffer=1"), "(bytes)");
#define NUMBERS_int    1
#define NUMBERS_ms     1
#define NUMBERS_bytes  1
#define NUMBERS_str    0
#define NUMBERS_secret 0
#define NUMBERS_bool   0
    static const struct {
        const char *name;
        bool is_number;
        int program;
        int64_t min, max;
    } rows[] = {
#define ROW(field, type, name, programs, def, min, max, help) {name, NUMBERS_##type, programs, min, max},
        CONFIG_TABLE(ROW)
#undef ROW
    };
    size_t numbers = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!rows[i].is_number)
            continue;
        int program = rows[i].program == FOR_RUNNER ? FOR_RUNNER : FOR_API;
        const int64_t values[] = {rows[i].min - 1, rows[i].min, rows[i].max, rows[i].max + 1};
        for (size_t v = 0; v < ARRAY_LEN(values); v++) {
            char flag[128];
            snprintf(flag, sizeof flag, "--%s=%lld", rows[i].name, (long long)values[v]);
            assert_int_equal(LOAD(program, flag), v == 1 || v == 2 ? ERR_OK : ERR_CONFIG);
        }
        numbers++;
    }
    assert_true(numbers >= 10);
}

static void test_switches_take_words_or_nothing(void **state)
{
    (void)state;
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(LOAD(FOR_API, "--allow-eviction", yes[i]), ERR_OK);
        assert_true(config.allow_eviction);
        setenv("ERRAND_ALLOW_EVICTION", "true", 1);
        assert_int_equal(LOAD(FOR_API, "--allow-eviction", no[i], "--shards", "7"), ERR_OK);
        assert_false(config.allow_eviction);
        assert_int_equal(config.shards, 7);
        unsetenv("ERRAND_ALLOW_EVICTION");
    }
    assert_int_equal(LOAD(FOR_API, "--allow-eviction", "--shards", "7"), ERR_OK);
    assert_true(config.allow_eviction && config.shards == 7);
    assert_int_equal(LOAD(FOR_API, "--allow-eviction"), ERR_OK);
    assert_true(config.allow_eviction);
    assert_refused(LOAD(FOR_API, "--allow-eviction=maybe"), "must be true or false");
    assert_refused(LOAD(FOR_API, "--allow-eviction="), "must be true or false");
}

static void test_a_secret_comes_from_the_environment_or_a_file_never_a_flag(void **state)
{
    (void)state;
    assert_refused(LOAD(FOR_API, "--root-key=s3cret-value"), "ERRAND_ROOT_KEY_FILE");
    assert_null(strstr(message, "s3cret-value")); /* it is not repeated into logs */
    assert_refused(LOAD(FOR_API, "--root-key", "s3cret-value"), "not taken as a flag");
    setenv("ERRAND_ROOT_KEY", "of-environment", 1);
    assert_int_equal(LOAD(FOR_API, NULL), ERR_OK);
    assert_string_equal(config.root_key, "of-environment");
    unsetenv("ERRAND_ROOT_KEY");
    write_file("of-file\r\n\n");
    setenv("ERRAND_ROOT_KEY_FILE", file_path, 1);
    assert_int_equal(LOAD(FOR_API, NULL), ERR_OK);
    assert_string_equal(config.root_key, "of-file");
    setenv("ERRAND_ROOT_KEY_FILE", "/nonexistent/key", 1);
    assert_refused(LOAD(FOR_API, NULL), "ERRAND_ROOT_KEY_FILE: can't read /nonexistent/key");
    setenv("ERRAND_NODE_FILE", "/nonexistent/node", 1); /* only secrets have one */
    unsetenv("ERRAND_ROOT_KEY_FILE");
    assert_int_equal(LOAD(FOR_API, NULL), ERR_OK);
}

static void test_a_value_beyond_8_kib_is_refused(void **state)
{
    (void)state;
    char *value = malloc(8194);
    assert_non_null(value);
    memset(value, 'v', 8193);
    value[8193] = 0;
    assert_refused(LOAD(FOR_API, "--node", value), "--node is longer than 8192 bytes");
    value[8192] = 0;
    assert_int_equal(LOAD(FOR_API, "--node", value), ERR_OK);
    assert_int_equal(strlen(config.node), 8192);
    free(value);
}

static void test_help_and_version_win_over_anything_wrong(void **state)
{
    (void)state;
    static const struct {
        char *word;
        enum config_action action;
    } rows[] = {{"--help", CONFIG_HELP}, {"-h", CONFIG_HELP}, {"--version", CONFIG_VERSION}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *argv[] = {"errand-api", "--nonsense", rows[i].word, NULL};
        enum config_action action = CONFIG_RUN;
        struct strbuf out;
        strbuf_init(&out, 1000);
        assert_int_equal(config_load(&config, FOR_API, 3, argv, &action, &out), ERR_OK);
        assert_int_equal(action, rows[i].action);
        strbuf_done(&out);
    }
}

static void test_help_lists_what_the_program_takes_and_no_more(void **state)
{
    (void)state;
    for (int program = FOR_API; program <= FOR_RUNNER; program++) {
        struct strbuf out;
        strbuf_init(&out, 65536);
        config_help(program, "errand-x", &out);
        assert_false(strbuf_failed(&out));
        assert_true(str_starts(strbuf_str(&out), STR("usage: errand-x ")));
        static const struct {
            const char *name;
            int programs;
            const char *help;
        } rows[] = {
#define ROW(field, type, name, programs, def, min, max, help) {name, programs, help},
            CONFIG_TABLE(ROW)
#undef ROW
        };
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            char env[128];
            int len = snprintf(env, sizeof env, "ERRAND_%s", rows[i].name);
            for (int c = 0; c < len; c++)
                env[c] = (char)(env[c] == '-' ? '_' : env[c] >= 'a' && env[c] <= 'z' ? env[c] - 32 : env[c]);
            snprintf(env + len, sizeof env - (size_t)len, "\n");
            bool listed = strstr(out.ptr, rows[i].help) != NULL;
            assert_int_equal(listed, (rows[i].programs & program) != 0);
            if (listed && !strstr(rows[i].name, "key") && !strstr(rows[i].name, "password") &&
                !strstr(rows[i].name, "token"))
                assert_non_null(strstr(out.ptr, env));
        }
        strbuf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_without_anything_every_option_has_its_default, start, end),
        cmocka_unit_test_setup_teardown(test_a_flag_beats_the_environment_beats_the_file, start, end),
        cmocka_unit_test_setup_teardown(test_the_file_of_a_flag_beats_that_of_the_environment, start, end),
        cmocka_unit_test_setup_teardown(test_a_bad_file_is_refused_with_its_line, start, end),
        cmocka_unit_test_setup_teardown(test_an_unknown_option_names_the_nearest, start, end),
        cmocka_unit_test_setup_teardown(test_what_is_no_option_at_all_is_refused, start, end),
        cmocka_unit_test_setup_teardown(test_numbers_are_whole_and_within_their_bounds, start, end),
        cmocka_unit_test_setup_teardown(test_switches_take_words_or_nothing, start, end),
        cmocka_unit_test_setup_teardown(test_a_secret_comes_from_the_environment_or_a_file_never_a_flag, start, end),
        cmocka_unit_test_setup_teardown(test_a_value_beyond_8_kib_is_refused, start, end),
        cmocka_unit_test_setup_teardown(test_help_and_version_win_over_anything_wrong, start, end),
        cmocka_unit_test_setup_teardown(test_help_lists_what_the_program_takes_and_no_more, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
