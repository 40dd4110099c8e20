#include "common/clock.h"

#include <time.h>

#define YEAR_10000_MS INT64_C(253402300800000) /* the first ms that four digits of a year can't say */

static int64_t (*wall_source)(void); /* tests only */
static int64_t (*mono_source)(void);

static int64_t read_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
    return (wall_source ? wall_source() : read_us(CLOCK_REALTIME)) / 1000;
}

int64_t clock_mono_us(void)
{
    return mono_source ? mono_source() : read_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

void clock_set_source(int64_t (*wall_us)(void), int64_t (*mono_us)(void))
{
    wall_source = wall_us;
    mono_source = mono_us;
}

static void put_digits(char *at, int n, int value)
{
    for (; n > 0; value /= 10)
        at[--n] = (char)('0' + value % 10);
}

void clock_iso(int64_t ms, char buf[CLOCK_ISO_LEN + 1])
{
    if (ms < 0)
        ms = 0;
    if (ms >= YEAR_10000_MS)
        ms = YEAR_10000_MS - 1;
    time_t s = (time_t)(ms / 1000);
    struct tm t;
    gmtime_r(&s, &t);
    memcpy(buf, "0000-00-00T00:00:00.000Z", CLOCK_ISO_LEN + 1); /* by hand: a record has half a dozen of them */
    put_digits(buf, 4, t.tm_year + 1900);
    put_digits(buf + 5, 2, t.tm_mon + 1);
    put_digits(buf + 8, 2, t.tm_mday);
    put_digits(buf + 11, 2, t.tm_hour);
    put_digits(buf + 14, 2, t.tm_min);
    put_digits(buf + 17, 2, t.tm_sec);
    put_digits(buf + 20, 3, (int)(ms % 1000));
}

/* Reads exactly n digits; -1 when there are not so many. */
static int digits(struct str *s, int n)
{
    int value = 0;
    if (s->len < (size_t)n)
        return -1;
    for (int i = 0; i < n; i++) {
        char c = s->ptr[i];
        if (c < '0' || c > '9')
            return -1;
        value = value * 10 + (c - '0');
    }
    s->ptr += n;
    s->len -= (size_t)n;
    return value;
}

static bool take(struct str *s, const char *any_of)
{
    if (s->len == 0 || s->ptr[0] == 0 || !strchr(any_of, s->ptr[0]))
        return false;
    s->ptr++;
    s->len--;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* `.123456` → 123; further digits are cut. */
static bool parse_fraction(struct str *s, int *ret_ms)
{
    int ms = 0, n = 0;
    for (int d; (d = digits(s, 1)) >= 0; n++)
        if (n < 3)
            ms = ms * 10 + d;
    for (int i = n; i < 3; i++)
        ms *= 10;
    *ret_ms = ms;
    return n > 0 && n <= 9;
}

static bool parse_offset(struct str *s, int *ret_minutes)
{
    *ret_minutes = 0;
    if (take(s, "Zz"))
        return true;
    int sign = s->len > 0 && s->ptr[0] == '-' ? -1 : 1;
    if (!take(s, "+-"))
        return false;
    int hours = digits(s, 2);
    if (hours < 0 || hours > 23 || !take(s, ":"))
        return false;
    int minutes = digits(s, 2);
    *ret_minutes = sign * (hours * 60 + minutes);
    return minutes >= 0 && minutes <= 59;
}

bool clock_parse_iso(struct str s, int64_t *ret_ms)
{
    int year = digits(&s, 4);
    if (year < 1970 || !take(&s, "-"))
        return false;
    int month = digits(&s, 2);
    if (month < 1 || month > 12 || !take(&s, "-"))
        return false;
    int day = digits(&s, 2);
    if (day < 1 || day > days_in_month(year, month) || !take(&s, "Tt "))
        return false;
    int hour = digits(&s, 2);
    if (hour < 0 || hour > 23 || !take(&s, ":"))
        return false;
    int minute = digits(&s, 2);
    if (minute < 0 || minute > 59 || !take(&s, ":"))
        return false;
    int second = digits(&s, 2), ms = 0, offset = 0;
    if (second < 0 || second > 60) /* 60: a leap second, taken as the next one's first */
        return false;
    if (take(&s, ".") && !parse_fraction(&s, &ms))
        return false;
    if (!parse_offset(&s, &offset) || s.len > 0)
        return false;
    struct tm t = {.tm_year = year - 1900,
                   .tm_mon = month - 1,
                   .tm_mday = day,
                   .tm_hour = hour,
                   .tm_min = minute,
                   .tm_sec = second};
    int64_t at = ((int64_t)timegm(&t) - offset * 60) * 1000 + ms;
    if (at < 0 || at >= YEAR_10000_MS)
        return false;
    *ret_ms = at;
    return true;
}
