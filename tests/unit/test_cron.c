/* Cron expressions, time zones, and what becomes of ticks where clocks change; compared with a walk through every minute by the C library's own zones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <time.h>

#include "common/clock.h"
#include "common/cron.h"

static struct cron parsed(const char *text)
{
    struct cron c;
    char why[CRON_WHY_MAX];
    if (!cron_parse(str_of(text), &c, why))
        fail_msg("%s: %s", text, why);
    return c;
}

static int64_t ms_of(const char *iso)
{
    int64_t ms;
    if (!clock_parse_iso(str_of(iso), &ms))
        fail_msg("no time: %s", iso);
    return ms;
}

static void assert_ticks(const char *text, const char *zone, const char *after, const char *const *wanted)
{
    struct cron c = parsed(text);
    struct zone *z = zone_new(str_of(zone));
    if (!z)
        fail_msg("no zone %s", zone);
    int64_t at = ms_of(after);
    for (size_t i = 0; wanted[i]; i++) {
        char is[CLOCK_ISO_LEN + 1];
        at = cron_next(&c, z, at);
        clock_iso(at, is);
        if (at != ms_of(wanted[i]))
            fail_msg("%s in %s after %s: tick %zu is %s, not %s", text, zone, after, i, is, wanted[i]);
    }
    zone_free(z);
}

struct row {
    const char *cron, *zone, *after, *ticks[8];
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_ticks(rows[i].cron, rows[i].zone, rows[i].after, rows[i].ticks);
}

static void test_fields(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"* * * * *", "UTC", "2026-01-01T00:00:00Z", {"2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"}},
        {"* * * * * *", "UTC", "2026-01-01T00:00:00.999Z", {"2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"}},
        {"*/20 * * * * *",
         "UTC",
         "2026-01-01T00:00:05Z",
         {"2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z", "2026-01-01T00:01:00Z"}},
        {"30 4 1,15 * 5",
         "UTC",
         "2026-01-01T04:30:00Z",
         {"2026-01-02T04:30:00Z", "2026-01-09T04:30:00Z", "2026-01-15T04:30:00Z"}},
        {"0 0 */10 * MON", "UTC", "2026-01-01T00:00:00Z", {"2026-05-11T00:00:00Z", "2026-06-01T00:00:00Z"}},
        {"0 0 ? * SUN", "UTC", "2026-01-01T00:00:00Z", {"2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"}},
        {"0 0 * * 7", "UTC", "2026-01-01T00:00:00Z", {"2026-01-04T00:00:00Z"}},
        {"0 0 * * FRI-SUN",
         "UTC",
         "2026-01-01T00:00:00Z",
         {"2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z", "2026-01-09T00:00:00Z"}},
        {"0 0 * * 5-7", "UTC", "2026-01-03T12:00:00Z", {"2026-01-04T00:00:00Z", "2026-01-09T00:00:00Z"}},
        {"0 9 * jan-mar/2 mon-fri", "UTC", "2026-01-30T09:00:00Z", {"2026-03-02T09:00:00Z"}},
        {"5/25 8-10/2 * * *",
         "UTC",
         "2026-01-01T00:00:00Z",
         {"2026-01-01T08:05:00Z", "2026-01-01T08:30:00Z", "2026-01-01T08:55:00Z", "2026-01-01T10:05:00Z"}},
        {"0 12 L * *",
         "UTC",
         "2028-01-31T12:00:00Z",
         {"2028-02-29T12:00:00Z", "2028-03-31T12:00:00Z", "2028-04-30T12:00:00Z"}},
        {"0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z", {"2104-02-29T00:00:00Z", "2108-02-29T00:00:00Z"}},
        {"0 0 29 2 */7", "UTC", "2088-03-01T00:00:00Z", {"2128-02-29T00:00:00Z"}},
        {"0 0 31 * *", "UTC", "2026-03-31T00:00:00Z", {"2026-05-31T00:00:00Z", "2026-07-31T00:00:00Z"}},
        {"59 59 23 31 12 *", "UTC", "1999-12-31T00:00:00Z", {"1999-12-31T23:59:59Z", "2000-12-31T23:59:59Z"}},
        {"@yearly", "UTC", "2026-01-01T00:00:00Z", {"2027-01-01T00:00:00Z"}},
        {"@monthly", "UTC", "2026-01-01T00:00:00Z", {"2026-02-01T00:00:00Z"}},
        {"@weekly", "UTC", "2026-01-01T00:00:00Z", {"2026-01-04T00:00:00Z"}},
        {"@daily", "UTC", "2026-01-01T00:00:00Z", {"2026-01-02T00:00:00Z"}},
        {"@hourly", "UTC", "2026-01-01T00:00:00Z", {"2026-01-01T01:00:00Z"}},
        {"  0\t0  * * * ", "UTC", "2026-01-01T00:00:00Z", {"2026-01-02T00:00:00Z"}},
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void test_clocks_that_change(void **state)
{
    (void)state;
    static const struct row rows[] = {
        /* London, 29 March 2026: 01:00 → 02:00 at 01:00Z; 25 October 2026: 02:00 → 01:00 at 01:00Z */
        {"30 1 * * *", "Europe/London", "2026-03-28T12:00:00Z", {"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
        {"30 1,2 * * *",
         "Europe/London",
         "2026-03-28T12:00:00Z",
         {"2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}},
        {"0 1,2 * * *", "Europe/London", "2026-03-28T12:00:00Z", {"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
        {"*/30 1 * * *", "Europe/London", "2026-03-28T12:00:00Z", {"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
        {"*/30 * * * *",
         "Europe/London",
         "2026-03-29T00:10:00Z",
         {"2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"}},
        {"30 1 * * *", "Europe/London", "2026-10-24T12:00:00Z", {"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
        {"30 1 * * *", "Europe/London", "2026-10-25T00:30:00Z", {"2026-10-26T01:30:00Z"}},
        {"30 1 * * *", "Europe/London", "2026-10-25T01:10:00Z", {"2026-10-26T01:30:00Z"}},
        {"30 * * * *",
         "Europe/London",
         "2026-10-24T23:30:00Z",
         {"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
        {"30 */1 * * *",
         "Europe/London",
         "2026-10-24T23:30:00Z",
         {"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
        {"30 0-23 * * *", "Europe/London", "2026-10-24T23:30:00Z", {"2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z"}},
        {"0 0 2 * * *", "Europe/London", "2026-10-24T12:00:00Z", {"2026-10-25T02:00:00Z"}},
        {"0 9 * * MON-FRI", "Europe/London", "2026-03-27T10:00:00Z", {"2026-03-30T08:00:00Z"}},
        /* New York, 8 March 2026: 02:00 → 03:00 at 07:00Z; 1 November 2026: 02:00 → 01:00 at 06:00Z */
        {"30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", {"2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"}},
        {"0 0-5/30 2 * * *",
         "America/New_York",
         "2026-03-08T00:00:00Z",
         {"2026-03-08T07:00:00Z", "2026-03-09T06:00:00Z"}},
        {"30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", {"2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"}},
        {"15,45 * * * *",
         "America/New_York",
         "2026-11-01T05:00:00Z",
         {"2026-11-01T05:15:00Z", "2026-11-01T05:45:00Z", "2026-11-01T06:15:00Z", "2026-11-01T06:45:00Z",
          "2026-11-01T07:15:00Z"}},
        {"*/20 1 * * *",
         "America/New_York",
         "2026-11-01T04:59:59Z",
         {"2026-11-01T05:00:00Z", "2026-11-01T05:20:00Z", "2026-11-01T05:40:00Z", "2026-11-02T06:00:00Z"}},
        /* Lord Howe, half an hour: 4 October 2026: 02:00 → 02:30 at 15:30Z the day before; 5 April 2026: 02:00 → 01:30 at 15:00Z the day before */
        {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", {"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
        {"30 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", {"2026-10-03T15:30:00Z", "2026-10-04T15:30:00Z"}},
        {"45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", {"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},
        {"45 * * * *",
         "Australia/Lord_Howe",
         "2026-04-04T14:00:00Z",
         {"2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z", "2026-04-04T16:15:00Z"}},
        /* Kolkata: no change, half an hour off */
        {"0 9 * * *", "Asia/Kolkata", "2026-03-29T00:00:00Z", {"2026-03-29T03:30:00Z", "2026-03-30T03:30:00Z"}},
        {"0 * * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", {"2026-01-01T00:30:00Z"}},
        /* Apia had no 30 December 2011: from 29 December 24:00 (10:00Z on the 30th) straight to 31 December 00:00 */
        {"0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", {"2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"}},
        {"0 12 * * *",
         "Pacific/Apia",
         "2011-12-29T00:00:00Z",
         {"2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"}},
        {"0 0 31 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", {"2011-12-30T10:00:00Z", "2012-12-30T10:00:00Z"}},
        /* A gap at midnight: Beirut, 29 March 2026: 00:00 → 01:00 at 22:00Z the day before */
        {"0 0 * * *", "Asia/Beirut", "2026-03-28T00:00:00Z", {"2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"}},
        {"59 59 23 28 3 *", "Asia/Beirut", "2026-03-28T00:00:00Z", {"2026-03-28T21:59:59Z"}},
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void test_what_is_no_expression(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "5 fields"},
        {"* * * *", "5 fields"},
        {"* * * * * * *", "5 fields"},
        {"60 * * * *", "minute must be from 0 to 59, not \"60\""},
        {"-1 * * * *", "minute must be"},
        {"* 24 * * *", "hour must be from 0 to 23, not \"24\""},
        {"* * 0 * *", "day of month must be from 1 to 31, not \"0\""},
        {"* * 32 * *", "day of month must be"},
        {"* * * 13 *", "month must be from 1 to 12 or JAN to DEC, not \"13\""},
        {"* * * JANUARY *", "month must be"},
        {"* * * * 8", "day of week must be from 0 to 7 or SUN to SAT, not \"8\""},
        {"60 * * * * *", "second must be"},
        {"a * * * *", "minute must be"},
        {"5,,6 * * * *", "minute has an empty item"},
        {"5, * * * *", "minute has an empty item"},
        {", * * * *", "minute has an empty item"},
        {"10-5 * * * *", "minute has the range \"10-5\""},
        {"5- * * * *", "minute must be"},
        {"*/0 * * * *", "minute must have a step"},
        {"*/60 * * * *", "minute must have a step"},
        {"*/x * * * *", "minute must have a step"},
        {"*/ * * * *", "minute must have a step"},
        {"? * * * *", "minute must be"},
        {"L * * * *", "minute must be"},
        {"99999 * * * *", "minute must be"},
        {"** * * * *", "minute must be"},
        {"0 0 30 2 *", "never meet"},
        {"0 0 30,31 FEB *", "never meet"},
        {"0 0 31 4,6,9,11 *", "never meet"},
        {"@often", "\"@often\" is none of"},
        {"@", "is none of"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cron c;
        char why[CRON_WHY_MAX] = "";
        if (cron_parse(str_of(rows[i].text), &c, why))
            fail_msg("taken: %s", rows[i].text);
        if (!strstr(why, rows[i].why))
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].text, why, rows[i].why);
    }
    (void)parsed("0 0 30 2 MON"); /* either day is enough */
    (void)parsed("0 0 30 2,3 *");
}

static void test_zones(void **state)
{
    (void)state;
    static const char *const good[] = {"UTC",        "Europe/London", "America/Argentina/Buenos_Aires",
                                       "Etc/GMT+12", "GMT",           "America/Port-au-Prince"};
    static const char *const bad[] = {"",
                                      "Mars/Olympus",
                                      "europe/london",
                                      "localtime",
                                      "posix/UTC",
                                      "right/UTC",
                                      "../etc/passwd",
                                      "/etc/localtime",
                                      "Europe",
                                      "Europe/",
                                      "Europe//London",
                                      "Europe/../UTC",
                                      "UTC ",
                                      "libc:localtime",
                                      "Fixed/UTC+01:00",
                                      ":UTC",
                                      "Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct zone *z = zone_new(str_of(good[i]));
        if (!z)
            fail_msg("refused: %s", good[i]);
        zone_free(z);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (zone_new(str_of(bad[i])))
            fail_msg("taken: %s", bad[i]);
    assert_null(zone_new((struct str){"Europe/London\0x", 15}));
    zone_free(NULL);
}

static void test_spans(void **state)
{
    (void)state;
    struct zone *utc = zone_new(STR("UTC")), *z = zone_new(STR("Europe/London"));
    struct zone_span s = zone_span_at(utc, 1000);
    assert_true(s.begin == INT64_MIN && s.end == INT64_MAX && s.offset == 0 && s.before == 0);
    int64_t change = ms_of("2026-03-29T01:00:00Z") / 1000;
    s = zone_span_at(z, change);
    assert_true(s.begin == change && s.offset == 3600 && s.before == 0);
    assert_int_equal(s.end, ms_of("2026-10-25T01:00:00Z") / 1000);
    s = zone_span_at(z, change - 1);
    assert_true(s.end == change && s.offset == 0 && s.before == 3600);
    s = zone_span_at(z, ms_of("2200-07-01T00:00:00Z") / 1000); /* beyond what the file lists */
    assert_int_equal(s.offset, 3600);
    zone_free(utc);
    zone_free(z);
}

static void test_it_ends_with_the_calendar(void **state)
{
    (void)state;
    struct zone *z = zone_new(STR("UTC"));
    struct cron c = parsed("0 0 1 1 *");
    assert_int_equal(cron_next(&c, z, ms_of("9998-06-01T00:00:00Z")), ms_of("9999-01-01T00:00:00Z"));
    assert_int_equal(cron_next(&c, z, ms_of("9999-01-01T00:00:00Z")), -1);
    zone_free(z);
}

/* ---- the same by walking through every minute ---- */

static bool local_matches(const struct cron *c, int64_t local)
{
    time_t t = (time_t)local;
    struct tm tm;
    gmtime_r(&t, &tm);
    bool day = c->days >> tm.tm_mday & 1, weekday = c->weekdays >> tm.tm_wday & 1;
    return (c->minutes >> tm.tm_min & 1) && (c->hours >> tm.tm_hour & 1) && (c->months >> (tm.tm_mon + 1) & 1) &&
           (c->either_day ? day || weekday : day && weekday);
}

/* Whether a UTC minute is a tick, from what the clock on the wall showed a minute before, and how far it ever got. */
static bool walked(const struct cron *c, int64_t local, int64_t *highest)
{
    bool seen = local <= *highest, tick = local_matches(c, local) && (!seen || c->every_hour);
    for (int64_t swallowed = *highest + 60; !seen && swallowed < local; swallowed += 60)
        tick = tick || local_matches(c, swallowed);
    *highest = seen ? *highest : local;
    return tick;
}

static void compare(const char *text, const char *zone, const char *from, int days)
{
    struct cron c = parsed(text);
    struct zone *z = zone_new(str_of(zone));
    int64_t begin = ms_of(from) / 1000, highest = 0, tick;
    assert_non_null(z);
    setenv("TZ", zone, 1);
    tzset();
    tick = cron_next(&c, z, begin * 1000 - 1);
    for (int64_t t = begin - 86400; t < begin + (int64_t)days * 86400; t += 60) {
        time_t now = (time_t)t;
        struct tm tm;
        localtime_r(&now, &tm);
        int64_t local = t + tm.tm_gmtoff;
        highest = highest ? highest : local - 60;
        bool is = walked(&c, local, &highest);
        if (t < begin)
            continue;
        if (is != (tick == t * 1000)) {
            char at[CLOCK_ISO_LEN + 1], next[CLOCK_ISO_LEN + 1];
            clock_iso(t * 1000, at);
            clock_iso(tick, next);
            fail_msg("%s in %s: %s at %s, next is %s", text, zone, is ? "missing" : "not expected", at, next);
        }
        if (is)
            tick = cron_next(&c, z, tick);
    }
    zone_free(z);
}

static void test_every_minute_agrees_with_a_walk(void **state)
{
    (void)state;
    static const char *const texts[] = {"* * * * *",       "*/7 * * * *",     "30 1 * * *",      "0 2 * * *",
                                        "15,45 1-3 * * *", "*/10 */2 * * *",  "59 23 * * *",     "0 0 * * *",
                                        "5 0,12 1,15 * 1", "30 2 * 3,10 SUN", "0-10 0-23 * * *", "20 2,1 */2 * 0-3"};
    static const struct {
        const char *zone, *from;
    } rows[] = {
        {"Europe/London", "2026-03-25T00:00:00Z"},       {"Europe/London", "2026-10-20T00:00:00Z"},
        {"America/New_York", "2026-03-05T00:00:00Z"},    {"America/New_York", "2026-10-28T00:00:00Z"},
        {"Australia/Lord_Howe", "2026-04-01T00:00:00Z"}, {"Australia/Lord_Howe", "2026-10-01T00:00:00Z"},
        {"Asia/Kolkata", "2026-03-25T00:00:00Z"},        {"Pacific/Apia", "2011-12-27T00:00:00Z"},
        {"Asia/Beirut", "2026-03-25T00:00:00Z"},         {"America/Havana", "2026-10-28T00:00:00Z"},
        {"Africa/Casablanca", "2026-02-10T00:00:00Z"},   {"UTC", "2028-02-25T00:00:00Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        for (size_t k = 0; k < ARRAY_LEN(rows); k++)
            compare(texts[i], rows[k].zone, rows[k].from, 10);
    compare("30 2 29 2 *", "America/New_York", "2027-12-01T00:00:00Z", 120);
}

static void test_intervals(void **state)
{
    (void)state;
    assert_int_equal(every_next(1000, 300, 0), 1000);
    assert_int_equal(every_next(1000, 300, 999), 1000);
    assert_int_equal(every_next(1000, 300, 1000), 1300);
    assert_int_equal(every_next(1000, 300, 1299), 1300);
    assert_int_equal(every_next(1000, 300, 1300), 1600);
    assert_int_equal(every_next(0, 86400000, INT64_C(1790000000000)), INT64_C(1790035200000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_clocks_that_change),
        cmocka_unit_test(test_what_is_no_expression),
        cmocka_unit_test(test_zones),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_it_ends_with_the_calendar),
        cmocka_unit_test(test_every_minute_agrees_with_a_walk),
        cmocka_unit_test(test_intervals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
