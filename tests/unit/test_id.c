#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/id.h"

static void test_a_new_id_is_canonical_and_its_own(void **state)
{
    (void)state;
    struct id before = {{0}};
    for (int i = 0; i < 1000; i++) {
        struct id id = id_new(), back;
        assert_int_equal(strlen(id.s), ID_LEN);
        assert_true(id_parse(str_of(id.s), &back));
        assert_string_equal(back.s, id.s);
        assert_string_not_equal(before.s, id.s);
        assert_int_equal(id.s[14], '4'); /* random, RFC 9562 */
        assert_non_null(strchr("89ab", id.s[19]));
        before = id;
    }
}

static void test_a_runs_first_byte_is_its_shard(void **state)
{
    (void)state;
    for (unsigned shard = 0; shard < 256; shard++) {
        struct id id = id_new_run(shard), other = id_new_run(shard), back;
        assert_int_equal(id_shard(&id), shard);
        assert_true(id_parse(str_of(id.s), &back));
        assert_string_not_equal(id.s, other.s);
    }
}

/* Random bytes are fetched for many ids at once: a child must not go on with its parent's. */
static void test_a_forked_child_makes_ids_of_its_own(void **state)
{
    (void)state;
    int ends[2];
    struct id of_child;
    (void)id_new();
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct id id = id_new();
        _exit(write(ends[1], id.s, sizeof id.s) == sizeof id.s ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], of_child.s, sizeof of_child.s), sizeof of_child.s);
    assert_string_not_equal(id_new().s, of_child.s);
    close(ends[0]);
    close(ends[1]);
}

static void test_only_canonical_lower_case_is_an_id(void **state)
{
    (void)state;
    static const char *const rows[] = {"",
                                       "x",
                                       "00000000-0000-4000-8000-00000000000",
                                       "00000000-0000-4000-8000-0000000000000",
                                       "0000000A-0000-4000-8000-000000000000",
                                       "0000000g-0000-4000-8000-000000000000",
                                       "00000000_0000-4000-8000-000000000000",
                                       "00000000-00000-400-8000-000000000000",
                                       "{0000000-0000-4000-8000-00000000000}",
                                       "00000000-0000-4000-8000-00000000000 ",
                                       "000000000000400080000000000000000000",
                                       "00000000-0000-4000-8000-00000000000\xff"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct id id = {"untouched"};
        if (id_parse(str_of(rows[i]), &id))
            fail_msg("taken: %s", rows[i]);
        assert_string_equal(id.s, "untouched");
    }
    struct id id;
    char with_nul[] = "00000000-0000-4000-8000-000000000000";
    assert_true(id_parse(str_of(with_nul), &id));
    with_nul[35] = 0;
    assert_false(id_parse((struct str){with_nul, ID_LEN}, &id));
    assert_true(id_parse((struct str){"abcdef01-2345-6789-abcd-ef0123456789 and more", ID_LEN}, &id));
    assert_string_equal(id.s, "abcdef01-2345-6789-abcd-ef0123456789");
    assert_int_equal(id_shard(&id), 0xab);
}

/* Data lies where this function says: its values may never change. */
static void test_a_workspace_keeps_its_shard_for_ever(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned of_256, of_7;
    } rows[] = {{"", 37, 2}, {"default", 254, 6}, {"a", 140, 5}, {"foobar", 232, 6}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(id_workspace_shard(str_of(rows[i].name), 256), rows[i].of_256);
        assert_int_equal(id_workspace_shard(str_of(rows[i].name), 7), rows[i].of_7);
    }
}

static void test_workspaces_spread_over_all_shards(void **state)
{
    (void)state;
    unsigned count[16] = {0};
    for (int i = 0; i < 1600; i++) {
        char name[32];
        int len = snprintf(name, sizeof name, "team-%d", i);
        unsigned shard = id_workspace_shard((struct str){name, (size_t)len}, 16);
        assert_true(shard < 16);
        count[shard]++;
        assert_int_equal(id_workspace_shard((struct str){name, (size_t)len}, 1), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(count); i++)
        assert_in_range(count[i], 50, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_id_is_canonical_and_its_own),
        cmocka_unit_test(test_a_runs_first_byte_is_its_shard),
        cmocka_unit_test(test_a_forked_child_makes_ids_of_its_own),
        cmocka_unit_test(test_only_canonical_lower_case_is_an_id),
        cmocka_unit_test(test_a_workspace_keeps_its_shard_for_ever),
        cmocka_unit_test(test_workspaces_spread_over_all_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
