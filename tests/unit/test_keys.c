#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/keys.h"
#include "common/limits.h"

static const char run[] = "05aabbcc-0000-4000-8000-000000000001";

/* The names that lua/include/keys.lua gives the same keys, and that operators see. */
static void test_every_key_has_its_name(void **state)
{
    (void)state;
    struct key shard = keys_shard(STR("errand:"), 5), global = keys_global(STR("errand:"));
    struct str p = key_str(&shard), id = str_of(run);
    assert_string_equal(shard.s, "errand:{5}:");
    assert_string_equal(global.s, "errand:{g}:");
    const struct {
        struct key key;
        const char *path;
    } rows[] = {
        {keys_run(p, id), "run:05aabbcc-0000-4000-8000-000000000001"},
        {keys_events(p, id), "run:05aabbcc-0000-4000-8000-000000000001:events"},
        {keys_wake(p, id), "run:05aabbcc-0000-4000-8000-000000000001:wake"},
        {keys_logs(p, id), "run:05aabbcc-0000-4000-8000-000000000001:logs"},
        {keys_bell(p, STR("default")), "bell:default"},
        {keys_ctl(p, STR("inc")), "ctl:inc"},
        {keys_due(p), "due"},
        {keys_bundle(p, STR("team-a"), STR("00ff")), "bundle:team-a:00ff"},
        {keys_bundle_chunk(p, STR("team-a"), STR("00ff"), 127), "bundle:team-a:00ff:127"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_memory_equal(rows[i].key.s, "errand:{5}:", 11);
        assert_string_equal(rows[i].key.s + 11, rows[i].path);
        assert_int_equal(rows[i].key.len, strlen(rows[i].key.s));
    }
    assert_string_equal(keys_signing_secret(key_str(&global)).s, "errand:{g}:secret");
}

static void test_a_shard_is_one_hash_slot_tag_whatever_the_prefix(void **state)
{
    (void)state;
    assert_string_equal(keys_shard(STR_NONE, 0).s, "{0}:");
    assert_string_equal(keys_shard(STR("team a:"), 255).s, "team a:{255}:");
    assert_string_equal(keys_global(STR_NONE).s, "{g}:");
}

static void test_the_longest_names_fit(void **state)
{
    (void)state;
    char prefix[KEYS_PREFIX_MAX], name[LIMIT_NAME];
    memset(prefix, 'p', sizeof prefix);
    memset(name, 'n', sizeof name);
    struct key shard = keys_shard((struct str){prefix, sizeof prefix}, 255);
    struct key bell = keys_bell(key_str(&shard), (struct str){name, sizeof name});
    assert_int_equal(bell.len, sizeof prefix + strlen("{255}:bell:") + sizeof name);
    assert_int_equal(bell.s[bell.len], 0);
    assert_memory_equal(bell.s + bell.len - 3, "nnn", 4);
}

static void test_a_name_that_was_not_bounded_before_ends_the_program(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        static char name[KEY_MAX];
        memset(name, 'n', sizeof name);
        keys_bell(STR("p:"), (struct str){name, sizeof name});
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_key_has_its_name),
        cmocka_unit_test(test_a_shard_is_one_hash_slot_tag_whatever_the_prefix),
        cmocka_unit_test(test_the_longest_names_fit),
        cmocka_unit_test(test_a_name_that_was_not_bounded_before_ends_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
