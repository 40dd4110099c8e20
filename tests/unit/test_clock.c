#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"

static int64_t fake_us;

static int64_t read_fake(void)
{
    return fake_us;
}

static void test_time_is_written_in_utc_with_milliseconds(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {951827696789, "2000-02-29T12:34:56.789Z"},
        {1767322984005, "2026-01-02T03:03:04.005Z"},
        {4102444800000, "2100-01-01T00:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {253402300800000, "9999-12-31T23:59:59.999Z"}, /* what has no such form is written as the nearest */
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
        {INT64_MIN, "1970-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[CLOCK_ISO_LEN + 1];
        clock_iso(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void test_what_was_written_is_read_back(void **state)
{
    (void)state;
    /* Steps of a prime number of milliseconds pass over leap days, ends of years and every hour. */
    for (int64_t ms = 0; ms < 253402300800000; ms += 98765432101) {
        char text[CLOCK_ISO_LEN + 1];
        int64_t back = -1;
        clock_iso(ms, text);
        assert_true(clock_parse_iso(str_of(text), &back));
        assert_int_equal(back, ms);
    }
}

static void test_the_forms_of_rfc_3339_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"2026-01-02T03:03:04Z", 1767322984000},
        {"2026-01-02t03:03:04z", 1767322984000},
        {"2026-01-02 03:03:04Z", 1767322984000},
        {"2026-01-02T03:03:04.5Z", 1767322984500},
        {"2026-01-02T03:03:04.05Z", 1767322984050},
        {"2026-01-02T03:03:04.123999999Z", 1767322984123},
        {"2026-01-02T03:03:04+00:00", 1767322984000},
        {"2026-01-02T03:03:04-00:00", 1767322984000},
        {"2026-01-02T05:33:04+02:30", 1767322984000},
        {"2026-01-01T18:03:04-09:00", 1767322984000},
        {"2024-02-29T00:00:00Z", 1709164800000},
        {"2000-02-29T00:00:00Z", 951782400000},
        {"2016-12-31T23:59:60Z", 1483228800000}, /* a leap second */
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T02:00:00+02:00", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms = -1;
        if (!clock_parse_iso(str_of(rows[i].text), &ms))
            fail_msg("not read: %s", rows[i].text);
        assert_int_equal(ms, rows[i].ms);
    }
}

static void test_what_is_no_such_time_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {"",
                                       "2026",
                                       "2026-01-02",
                                       "2026-01-02T03:03Z",
                                       "2026-01-02T03:03:04", /* no offset */
                                       "2026-00-02T03:03:04Z",
                                       "2026-13-02T03:03:04Z",
                                       "2026-01-00T03:03:04Z",
                                       "2026-01-32T03:03:04Z",
                                       "2026-02-29T03:03:04Z",
                                       "2100-02-29T03:03:04Z",
                                       "2026-04-31T03:03:04Z",
                                       "2026-01-02T24:00:00Z",
                                       "2026-01-02T03:60:04Z",
                                       "2026-01-02T03:03:61Z",
                                       "2026-01-02T03:03:04.Z",
                                       "2026-01-02T03:03:04.1234567890Z",
                                       "2026-01-02T03:03:04+24:00",
                                       "2026-01-02T03:03:04+02:60",
                                       "2026-01-02T03:03:04+0200",
                                       "2026-01-02T03:03:04+02",
                                       "2026-01-02T03:03:04ZZ",
                                       "2026-01-02T03:03:04Z ",
                                       " 2026-01-02T03:03:04Z",
                                       "2026-1-2T03:03:04Z",
                                       "+026-01-02T03:03:04Z",
                                       "-026-01-02T03:03:04Z",
                                       "2026-01-02X03:03:04Z",
                                       "1969-12-31T23:59:59Z",
                                       "1970-01-01T00:00:00+00:01", /* before the epoch */
                                       "9999-12-31T23:59:59-00:01",
                                       "9999-12-31T23:59:60Z", /* past the last year */
                                       "10000-01-01T00:00:00Z",
                                       "20260102T030304Z",
                                       "1767322984000",
                                       "now"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms = 77;
        if (clock_parse_iso(str_of(rows[i]), &ms))
            fail_msg("read: %s", rows[i]);
        assert_int_equal(ms, 77); /* untouched */
    }
    int64_t ms;
    char with_nul[] = "2026-01-02T03:03:04Z";
    with_nul[10] = 0;
    assert_false(clock_parse_iso((struct str){with_nul, sizeof with_nul - 1}, &ms));
}

static void test_it_reads_no_byte_past_its_slice(void **state)
{
    (void)state;
    static const char whole[] = "2026-01-02T03:03:04.005+02:30";
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        char *exact = malloc(len ? len : 1); /* ASan sees one byte more */
        int64_t ms;
        assert_non_null(exact);
        memcpy(exact, whole, len);
        assert_false(clock_parse_iso((struct str){exact, len}, &ms));
        free(exact);
    }
}

static void test_the_clocks_can_be_replaced(void **state)
{
    (void)state;
    clock_set_source(read_fake, read_fake);
    fake_us = 1234567;
    assert_int_equal(clock_wall_ms(), 1234);
    assert_int_equal(clock_mono_ms(), 1234);
    assert_int_equal(clock_mono_us(), 1234567);
    clock_set_source(NULL, NULL);
    assert_true(clock_wall_ms() > 1700000000000);
    int64_t before = clock_mono_us();
    assert_true(clock_mono_us() >= before && before > 1234567);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_is_written_in_utc_with_milliseconds),
        cmocka_unit_test(test_what_was_written_is_read_back),
        cmocka_unit_test(test_the_forms_of_rfc_3339_are_read),
        cmocka_unit_test(test_what_is_no_such_time_is_refused),
        cmocka_unit_test(test_it_reads_no_byte_past_its_slice),
        cmocka_unit_test(test_the_clocks_can_be_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
