/* Which events of a resumed stream are handed on: each once, however far back the remote begins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "runner/event_ids.h"

static struct event_ids ids;

static int start(void **state)
{
    (void)state;
    memset(&ids, 0, sizeof ids);
    event_ids_resume(&ids); /* as the first connection does */
    return 0;
}

static bool take(int n)
{
    char id[24];
    snprintf(id, sizeof id, "event-%d", n);
    return event_ids_take(&ids, str_of(id));
}

static void test_each_is_taken_once_from_wherever_it_begins(void **state)
{
    (void)state;
    for (int from = 1; from <= 11; from++) {
        start(NULL);
        for (int i = 1; i <= 10; i++)
            assert_true(take(i));
        assert_true(event_ids_can_resume(&ids));
        event_ids_resume(&ids);
        int taken = 0;
        for (int i = from; i <= 20; i++)
            taken += take(i);
        assert_int_equal(taken, 10);
        assert_string_equal(ids.last, "event-20");
    }
}

static void test_from_the_beginning_behind_more_than_are_kept(void **state)
{
    (void)state;
    for (int i = 1; i <= 1000; i++)
        assert_true(take(i));
    event_ids_resume(&ids);
    for (int i = 1; i <= 1000; i++)
        assert_false(take(i));
    assert_true(take(1001));
}

static void test_a_replay_may_break_off_too(void **state)
{
    (void)state;
    for (int i = 1; i <= 10; i++)
        assert_true(take(i));
    event_ids_resume(&ids);
    for (int i = 3; i <= 6; i++)
        assert_false(take(i));
    assert_true(ids.replaying);
    assert_true(event_ids_can_resume(&ids));
    assert_string_equal(ids.last, "event-10");
    event_ids_resume(&ids);
    assert_true(take(11));
}

static void test_without_an_id_nothing_is_resumed(void **state)
{
    (void)state;
    char longest[EVENT_ID_MAX + 2];
    assert_false(event_ids_can_resume(&ids));
    assert_true(event_ids_take(&ids, STR("")));
    assert_false(event_ids_can_resume(&ids));
    assert_true(take(1));
    assert_true(event_ids_can_resume(&ids));
    assert_true(event_ids_take(&ids, STR_NONE));
    assert_false(event_ids_can_resume(&ids)); /* the one without would be lost, or come twice */
    assert_true(take(2));
    assert_true(event_ids_can_resume(&ids));
    assert_true(event_ids_take(&ids, STR("ü")));
    assert_false(event_ids_can_resume(&ids));
    memset(longest, 'x', sizeof longest);
    assert_true(event_ids_take(&ids, (struct str){longest, EVENT_ID_MAX + 1}));
    assert_false(event_ids_can_resume(&ids));
    assert_true(event_ids_take(&ids, (struct str){longest, EVENT_ID_MAX}));
    assert_true(event_ids_can_resume(&ids));
}

#define TEST(f) cmocka_unit_test_setup(f, start)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_is_taken_once_from_wherever_it_begins),
        TEST(test_from_the_beginning_behind_more_than_are_kept),
        TEST(test_a_replay_may_break_off_too),
        TEST(test_without_an_id_nothing_is_resumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
