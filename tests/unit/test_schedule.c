/* A schedule's ticks between its beginning and its end, and what becomes of ticks that nobody ran in time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/limits.h"
#include "common/schedule.h"

static int64_t ms_of(const char *iso)
{
    int64_t ms;
    if (!clock_parse_iso(str_of(iso), &ms))
        fail_msg("no time: %s", iso);
    return ms;
}

static struct schedule made(struct schedule_spec spec)
{
    struct schedule s;
    char why[CRON_WHY_MAX + 64];
    if (spec.zone.len == 0)
        spec.zone = STR("UTC");
    if (!schedule_init(&s, &spec, why))
        fail_msg("%s", why);
    return s;
}

static void test_ticks_lie_between_start_and_end(void **state)
{
    (void)state;
    int64_t start = ms_of("2026-01-01T00:00:00Z"), end = ms_of("2026-01-03T00:00:00Z");
    struct schedule s = made((struct schedule_spec){.cron = STR("0 0 * * *"), .start_ms = start, .end_ms = end});
    assert_int_equal(schedule_next(&s, ms_of("2020-01-01T00:00:00Z")), start); /* a tick may be at the start itself */
    assert_int_equal(schedule_next(&s, start), ms_of("2026-01-02T00:00:00Z"));
    assert_int_equal(schedule_next(&s, ms_of("2026-01-02T00:00:00Z")), end); /* and at the end */
    assert_int_equal(schedule_next(&s, end), 0);
    schedule_done(&s);
    s = made((struct schedule_spec){.every_ms = 7000, .anchor_ms = start, .start_ms = start, .end_ms = start + 8000});
    assert_int_equal(schedule_next(&s, 0), start);
    assert_int_equal(schedule_next(&s, start), start + 7000);
    assert_int_equal(schedule_next(&s, start + 7000), 0);
    schedule_done(&s);
    s = made((struct schedule_spec){.every_ms = 7000, .anchor_ms = start}); /* counted from when it was made */
    assert_int_equal(schedule_next(&s, start), start + 7000);
    schedule_done(&s);
}

static void test_what_is_none_is_refused(void **state)
{
    (void)state;
    struct schedule s;
    char why[CRON_WHY_MAX + 64];
    assert_false(schedule_init(&s, &(struct schedule_spec){.cron = STR("61 * * * *"), .zone = STR("UTC")}, why));
    assert_string_equal(why, "cron: minute must be from 0 to 59, not \"61\"");
    schedule_done(&s);
    assert_false(schedule_init(&s, &(struct schedule_spec){.cron = STR("1 * * * *"), .zone = STR("Mars/Base")}, why));
    assert_string_equal(why, "timeZone \"Mars/Base\" is no zone of the IANA database; it is a name like Europe/London");
    schedule_done(&s);
    assert_int_equal(catch_up_of(STR("all")), CATCH_UP_ALL);
    assert_int_equal(catch_up_of(STR("some")), CATCH_UP_COUNT);
}

static void assert_step(const struct schedule *s, enum catch_up policy, int64_t tick, int64_t until, int64_t now,
                        struct schedule_step wanted)
{
    struct schedule_step is = schedule_step(s, policy, tick, until, now);
    assert_int_equal(is.tick_ms, wanted.tick_ms);
    assert_int_equal(is.next_ms, wanted.next_ms);
    assert_int_equal(is.missed, wanted.missed);
    assert_int_equal(is.until_ms, wanted.until_ms);
}

static void test_a_tick_in_time_runs_whatever_the_policy(void **state)
{
    (void)state;
    struct schedule s = made((struct schedule_spec){.every_ms = 10000, .anchor_ms = 0});
    for (int policy = 0; policy < CATCH_UP_COUNT; policy++)
        for (int64_t late = 0; late < SCHEDULE_LATE_MS; late += 9999)
            assert_step(&s, (enum catch_up)policy, 500000, 0, 500000 + late,
                        (struct schedule_step){.tick_ms = 500000, .next_ms = 510000});
    schedule_done(&s);
}

/* Ticks each 10 s; it is 1000 s, the last one that ran was at 500 s: 510 … 940 were missed, 950 … are in time. */
static void test_missed_ticks(void **state)
{
    (void)state;
    struct schedule s = made((struct schedule_spec){.every_ms = 10000, .anchor_ms = 0});
    int64_t now = 1000000, tick = 510000;
    assert_step(&s, CATCH_UP_SKIP, tick, 0, now, (struct schedule_step){.next_ms = 950000, .missed = 44});
    assert_step(&s, CATCH_UP_LAST, tick, 0, now,
                (struct schedule_step){.tick_ms = 940000, .next_ms = 950000, .missed = 43});
    assert_step(&s, CATCH_UP_ALL, tick, 0, now,
                (struct schedule_step){.tick_ms = tick, .next_ms = 520000, .until_ms = 940000});
    assert_step(&s, CATCH_UP_ALL, 520000, 940000, now + 5000,
                (struct schedule_step){.tick_ms = 520000, .next_ms = 530000});
    schedule_done(&s);
    /* one missed tick; the end is behind it */
    s = made((struct schedule_spec){.every_ms = 10000, .anchor_ms = 0, .end_ms = tick + 5000});
    assert_step(&s, CATCH_UP_SKIP, tick, 0, now, (struct schedule_step){.missed = 1});
    assert_step(&s, CATCH_UP_LAST, tick, 0, now, (struct schedule_step){.tick_ms = tick});
    assert_step(&s, CATCH_UP_ALL, tick, 0, now, (struct schedule_step){.tick_ms = tick, .until_ms = 940000});
    schedule_done(&s);
}

/* A day of ticks each second, and a week of irregular ones: the newest thousand. */
static void test_catching_up_is_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *cron;
        int64_t days;
    } rows[] = {{"* * * * * *", 1}, {"*/7 * * * * *", 1}, {"* 3,17 * * 1-5", 60}, {"*/10 1,2 * * * *", 3}};
    int64_t begin = ms_of("2026-01-01T00:00:00Z");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct schedule s = made((struct schedule_spec){.cron = str_of(rows[i].cron), .zone = STR("Europe/London")});
        int64_t now = begin + rows[i].days * 86400000 + 123, late = now - SCHEDULE_LATE_MS, total = 0;
        int64_t first = schedule_next(&s, begin), newest[LIMIT_CATCH_UP] = {0};
        for (int64_t at = first; at <= late; at = schedule_next(&s, at))
            newest[total++ % LIMIT_CATCH_UP] = at;
        bool over = total > LIMIT_CATCH_UP;
        struct schedule_step step = schedule_step(&s, CATCH_UP_ALL, first, 0, now);
        assert_int_equal(step.tick_ms, over ? newest[total % LIMIT_CATCH_UP] : first);
        assert_int_equal(step.missed, over ? LIMIT_CATCH_UP : 0);
        assert_int_equal(step.next_ms, schedule_next(&s, step.tick_ms));
        step = schedule_step(&s, CATCH_UP_LAST, first, 0, now);
        assert_int_equal(step.tick_ms, newest[(total - 1) % LIMIT_CATCH_UP]);
        schedule_done(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks_lie_between_start_and_end),
        cmocka_unit_test(test_what_is_none_is_refused),
        cmocka_unit_test(test_a_tick_in_time_runs_whatever_the_policy),
        cmocka_unit_test(test_missed_ticks),
        cmocka_unit_test(test_catching_up_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
