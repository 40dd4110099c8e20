/* Rows of queues: merged by name over shards, bounded, each node counted once, and the slots that are wanted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/queue_rows.h"

static struct arena arena;
static struct queue_rows rows;

static int start(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 20);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static const struct queue_row *row(const char *name)
{
    for (size_t i = 0; i < rows.count; i++)
        if (str_eqz(rows.rows[i].name, name))
            return &rows.rows[i];
    return NULL;
}

static void test_rows_are_by_name_and_made_once(void **state)
{
    static const char *const names[] = {"c", "a", "ab", "b", "a", "c"};
    (void)state;
    assert_true(queue_rows_init(&rows, &arena, 10, STR_NONE));
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        queue_rows_get(&rows, str_of(names[i]))->waiting++;
    assert_int_equal(rows.count, 4);
    for (size_t i = 0; i < rows.count; i++)
        assert_true(str_eqz(rows.rows[i].name, ((const char *const[]){"a", "ab", "b", "c"})[i]));
    assert_int_equal(row("a")->waiting, 2);
    assert_int_equal(row("b")->waiting, 1);
}

static void test_the_first_by_name_are_kept(void **state)
{
    (void)state;
    assert_true(queue_rows_init(&rows, &arena, 2, STR_NONE));
    queue_rows_get(&rows, STR("m"))->waiting = 1;
    queue_rows_get(&rows, STR("x"))->waiting = 2;
    assert_null(queue_rows_get(&rows, STR("z"))); /* behind all that there is room for */
    queue_rows_get(&rows, STR("b"))->waiting = 3; /* drops x */
    assert_null(queue_rows_get(&rows, STR("x")));
    assert_true(rows.count == 2 && row("b")->waiting == 3 && row("m")->waiting == 1 && !rows.out_of_memory);
    assert_non_null(queue_rows_get(&rows, STR("a"))); /* drops m */
    assert_true(rows.count == 2 && row("a")->waiting == 0 && row("b") && !row("m"));
}

static void test_one_row_that_was_asked_for(void **state)
{
    (void)state;
    assert_true(queue_rows_init(&rows, &arena, 1, STR("b")));
    assert_true(rows.count == 1 && queue_rows_get(&rows, STR("b")) == &rows.rows[0]);
    assert_null(queue_rows_get(&rows, STR("a")));
    assert_true(queue_rows_add_runner(&rows, 0, STR("n"), STR("a,b"), 4, 1));
    assert_true(queue_rows_take_slots(&rows));
    assert_true(rows.count == 1 && rows.rows[0].slots == 4 && rows.rows[0].busy == 1);
}

static void add(unsigned shard, const char *name, const char *queues, int64_t slots, int64_t busy)
{
    assert_true(queue_rows_add_runner(&rows, shard, str_of(name), str_of(queues), slots, busy));
}

static void test_a_node_counts_once(void **state)
{
    (void)state;
    assert_true(queue_rows_init(&rows, &arena, 10, STR_NONE));
    for (unsigned shard = 0; shard < 3; shard++) {
        add(shard, "n1", "a,b", 8, shard); /* the shards heard of it at different times */
        add(shard, "host", "a", 4, 1);     /* two processes of one name */
        add(shard, "host", "a", 4, 2);
        add(shard, "host", "c", 2, 5); /* never more busy than it has */
        if (shard == 1)
            add(shard, "new", "b", 16, 0); /* is not known to the others yet */
    }
    assert_true(queue_rows_take_slots(&rows));
    assert_int_equal(rows.count, 3);
    assert_true(row("a")->slots == 16 && row("a")->busy == 5);
    assert_true(row("b")->slots == 24 && row("b")->busy == 2);
    assert_true(row("c")->slots == 2 && row("c")->busy == 2);
}

static void test_many_nodes(void **state)
{
    (void)state;
    assert_true(queue_rows_init(&rows, &arena, 10, STR_NONE));
    for (unsigned shard = 0; shard < 2; shard++) {
        for (int i = 299; i >= 0; i--) {
            char name[16];
            snprintf(name, sizeof name, "n%d", i);
            add(shard, name, "a", 2, 1);
        }
    }
    assert_true(queue_rows_take_slots(&rows));
    assert_true(row("a")->slots == 600 && row("a")->busy == 300);
}

static void test_memory_that_is_out_is_said(void **state)
{
    struct arena small;
    (void)state;
    arena_init(&small, 2048);
    assert_true(queue_rows_init(&rows, &small, 4, STR_NONE));
    bool ok = true;
    for (unsigned i = 0; ok && i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%u", i);
        ok = queue_rows_add_runner(&rows, 0, str_of(name), STR("a"), 1, 0);
    }
    assert_false(ok);
    arena_done(&small);
    arena_init(&small, 4096);
    assert_false(queue_rows_init(&rows, &small, 1000, STR_NONE));
    arena_done(&small);
}

static void test_wanted_slots(void **state)
{
    static const struct {
        const char *what;
        int64_t waiting, busy, ended, average, wanted;
        bool paused;
    } cases[] = {
        {"nothing", 0, 0, 0, 0, 0, false},
        {"nothing waits", 0, 5, 10, 1000, 5, false},
        {"a second each", 120, 4, 10, 1000, 6, false},
        {"rounded up", 121, 4, 10, 1000, 7, false},
        {"half a minute each", 10, 0, 3, 30000, 5, false},
        {"a minute each", 10, 2, 1, 60000, 12, false},
        {"longer than a minute", 10, 2, 1, 3600000, 12, false},
        {"hardly any time", 10, 0, 1, 0, 1, false},
        {"hardly any time, and busy", 10, 3, 1, 0, 3, false},
        {"one waits", 1, 0, 1, 5, 1, false},
        {"none has ended yet", 10, 2, 0, 0, 12, false},
        {"paused", 10, 2, 0, 0, 2, true},
        {"huge", 1000000000, 1000000, 1000000, 604800000, 1001000000, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct queue_row r = {.waiting = cases[i].waiting,
                              .busy = cases[i].busy,
                              .success = cases[i].ended,
                              .ended_ms = cases[i].ended * cases[i].average,
                              .paused = cases[i].paused};
        if (queue_desired_slots(&r) != cases[i].wanted)
            fail_msg("%s: %lld instead of %lld", cases[i].what, (long long)queue_desired_slots(&r),
                     (long long)cases[i].wanted);
    }
    assert_true(queue_rate(0, 5.5) == 0 && queue_rate(11, 5.5) == 2 && queue_rate(1, 6) == 0.17);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows_are_by_name_and_made_once),
        TEST(test_the_first_by_name_are_kept),
        TEST(test_one_row_that_was_asked_for),
        TEST(test_a_node_counts_once),
        TEST(test_many_nodes),
        TEST(test_memory_that_is_out_is_said),
        TEST(test_wanted_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
