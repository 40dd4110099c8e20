#include "common/cron.h"

#include <stdarg.h>
#include <stdio.h>

/* From a 29 February that is a given day of the week to the next one over a century that has none: 40 years. */
enum { HORIZON_DAYS = 15000, DAY_S = 86400 };
#define YEAR_9999_END INT64_C(253402300800) /* s */

/* ---- the calendar ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

struct date {
    int64_t year;
    int month, day; /* from 1 */
};

/* Days since 1970-01-01 as a date of the Gregorian calendar (by eras of 400 years that begin on 1 March). */
static struct date date_of(int64_t days)
{
    days += 719468;
    int64_t era = floor_div(days, 146097);
    int of_era = (int)(days - era * 146097);
    int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * year + year / 4 - year / 100);
    int month = (5 * of_year + 2) / 153;
    return (struct date){era * 400 + year + (month >= 10), month < 10 ? month + 3 : month - 9,
                         of_year - (153 * month + 2) / 5 + 1};
}

static int month_days(int64_t year, int month)
{
    static const signed char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* ---- parsing ---- */

static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                          "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
static const char *const weekday_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };
static const struct field {
    const char *name;
    int min, max;
    const char *const *words; /* of min, min + 1, … */
    int word_count;
} fields[FIELDS] = {
    {"second", 0, 59, NULL, 0},
    {"minute", 0, 59, NULL, 0},
    {"hour", 0, 23, NULL, 0},
    {"day of month", 1, 31, NULL, 0},
    {"month", 1, 12, month_names, ARRAY_LEN(month_names)},
    {"day of week", 0, 7, weekday_names, ARRAY_LEN(weekday_names)},
};

struct parser {
    struct cron *cron;
    char *why;
};

static bool refuse(struct parser *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool refuse(struct parser *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(p->why, CRON_WHY_MAX, fmt, args);
    va_end(args);
    return false;
}

static struct str cut(struct str *rest, char at)
{
    const char *found = rest->len ? memchr(rest->ptr, at, rest->len) : NULL;
    struct str head = {rest->ptr, found ? (size_t)(found - rest->ptr) : rest->len};
    rest->ptr += head.len + (found ? 1 : 0);
    rest->len -= head.len + (found ? 1 : 0);
    return head;
}

static bool number(struct str s, int *ret_n)
{
    int n = 0;
    if (s.len == 0 || s.len > 4)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (s.ptr[i] - '0');
    }
    *ret_n = n;
    return true;
}

/* A number of the field, or one of its words in any case. */
static bool value(struct parser *p, const struct field *f, struct str s, int *ret_n)
{
    for (int i = 0; i < f->word_count; i++) {
        bool same = s.len == 3;
        for (size_t k = 0; same && k < 3; k++)
            same = (s.ptr[k] & ~0x20) == f->words[i][k];
        if (same) {
            *ret_n = f->min + i;
            return true;
        }
    }
    if (!number(s, ret_n) || *ret_n < f->min || *ret_n > f->max)
        return refuse(p, "%s must be from %d to %d%s%s%s%s, not \"%.*s\"", f->name, f->min, f->max,
                      f->words ? " or " : "", f->words ? f->words[0] : "", f->words ? " to " : "",
                      f->words ? f->words[f->word_count - 1] : "", (int)(s.len > 20 ? 20 : s.len), s.ptr);
    return true;
}

static bool is_star(int which, struct str s)
{
    return str_eqz(s, "*") || (str_eqz(s, "?") && (which == DAY || which == WEEKDAY));
}

/* One item of a list: a value, a range or *, each but the single value with or without a step. */
static bool item(struct parser *p, int which, struct str s, uint64_t *mask)
{
    const struct field *f = &fields[which];
    struct str rest = s, range = cut(&rest, '/');
    bool stepped = range.len < s.len, star = is_star(which, range), ranged = false;
    int from = f->min, to = f->max, step = 1;
    if (which == DAY && str_eqz(s, "L")) {
        p->cron->last_day = true;
        return true;
    }
    if (!star) {
        struct str high = range, low = cut(&high, '-');
        ranged = low.len < range.len;
        if (!value(p, f, low, &from) || (ranged && !value(p, f, high, &to)))
            return false;
        if (ranged && which == WEEKDAY && to == 0)
            to = 7; /* FRI-SUN */
        if (!ranged && !stepped)
            to = from;
        if (from > to)
            return refuse(p, "%s has the range \"%.*s\", which ends before it begins", f->name,
                          (int)(range.len > 20 ? 20 : range.len), range.ptr);
    }
    if (stepped && (!number(rest, &step) || step < 1 || step > f->max))
        return refuse(p, "%s must have a step from 1 to %d behind the /, not \"%.*s\"", f->name, f->max,
                      (int)(rest.len > 20 ? 20 : rest.len), rest.ptr);
    if (which == WEEKDAY && !ranged && to == f->max && (star || stepped))
        to = 6; /* 7 is Sunday again */
    for (int n = from; n <= to; n += step)
        *mask |= UINT64_C(1) << (which == WEEKDAY ? n % 7 : n);
    return true;
}

static bool list(struct parser *p, int which, struct str s, uint64_t *mask)
{
    *mask = 0;
    if (s.len == 0 || s.ptr[s.len - 1] == ',')
        return refuse(p, "%s has an empty item in its list", fields[which].name);
    while (s.len > 0) {
        struct str one = cut(&s, ',');
        if (one.len == 0)
            return refuse(p, "%s has an empty item in its list", fields[which].name);
        if (!item(p, which, one, mask))
            return false;
    }
    return true;
}

static struct str of_macro(struct str text)
{
    static const char *const macros[][2] = {
        {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
        {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},
    };
    for (size_t i = 0; i < ARRAY_LEN(macros); i++)
        if (str_eqz(text, macros[i][0]))
            return str_of(macros[i][1]);
    return text;
}

/* The words of the text into six fields, the first "0" where only five were given; 0 when it is another number of words. */
static size_t split(struct str text, struct str words[FIELDS])
{
    struct str found[FIELDS];
    size_t n = 0, i = 0;
    while (i < text.len) {
        size_t begin = i;
        while (i < text.len && text.ptr[i] != ' ' && text.ptr[i] != '\t')
            i++;
        if (i > begin && n == FIELDS)
            return 0;
        if (i > begin)
            found[n++] = (struct str){text.ptr + begin, i - begin};
        i++;
    }
    if (n < FIELDS - 1)
        return 0;
    words[SECOND] = STR("0");
    memcpy(words + FIELDS - n, found, n * sizeof *found);
    return n;
}

/* Whether some month of the field has a day of the field. */
static bool ever(const struct cron *c)
{
    if (c->either_day || c->last_day)
        return true;
    for (int month = 1; month <= 12; month++)
        for (int day = 1; (c->months >> month & 1) && day <= month_days(2000, month); day++)
            if (c->days >> day & 1)
                return true;
    return false;
}

bool cron_parse(struct str text, struct cron *ret_cron, char ret_why[CRON_WHY_MAX])
{
    struct cron c = {.seconds = 0};
    struct parser p = {&c, ret_why};
    struct str words[FIELDS];
    uint64_t masks[FIELDS];
    if (text.len > 0 && text.ptr[0] == '@' && of_macro(text).ptr == text.ptr)
        return refuse(&p, "\"%.*s\" is none of @yearly @monthly @weekly @daily @hourly",
                      (int)(text.len > 20 ? 20 : text.len), text.ptr);
    if (split(of_macro(text), words) == 0)
        return refuse(&p, "it must have 5 fields (minute, hour, day of month, month, day of week), or 6 with the "
                          "second before them");
    for (int i = 0; i < FIELDS; i++)
        if (!list(&p, i, words[i], &masks[i]))
            return false;
    c.seconds = masks[SECOND];
    c.minutes = masks[MINUTE];
    c.hours = (uint32_t)masks[HOUR];
    c.days = (uint32_t)masks[DAY];
    c.months = (uint32_t)masks[MONTH];
    c.weekdays = (uint32_t)masks[WEEKDAY];
    c.every_hour = words[HOUR].ptr[0] == '*' && !memchr(words[HOUR].ptr, ',', words[HOUR].len);
    bool any_day = words[DAY].ptr[0] == '*' || words[DAY].ptr[0] == '?';
    bool any_weekday = words[WEEKDAY].ptr[0] == '*' || words[WEEKDAY].ptr[0] == '?';
    c.either_day = !any_day && !any_weekday;
    if (!ever(&c))
        return refuse(&p, "day of month and month never meet: there is no such day");
    *ret_cron = c;
    return true;
}

/* ---- ticks. Local times are seconds since 1970-01-01 00:00 on that wall. ---- */

static bool day_matches(const struct cron *c, int64_t day, struct date d)
{
    int weekday = (int)(day + 4 - floor_div(day + 4, 7) * 7); /* 1970-01-01 was a Thursday */
    bool by_day = (c->days >> d.day & 1) || (c->last_day && d.day == month_days(d.year, d.month));
    bool by_weekday = c->weekdays >> weekday & 1;
    return c->either_day ? by_day || by_weekday : by_day && by_weekday;
}

/* The first second of a day, from `from` on, that is in the fields of times; -1 when there is none. */
static int64_t second_of_day(const struct cron *c, int64_t from)
{
    int64_t hour = from / 3600, minute = from / 60 % 60, second = from % 60;
    for (; hour < 24; hour++, minute = 0, second = 0) {
        if (!(c->hours >> hour & 1))
            continue;
        for (; minute < 60; minute++, second = 0) {
            if (!(c->minutes >> minute & 1))
                continue;
            for (; second < 60; second++)
                if (c->seconds >> second & 1)
                    return hour * 3600 + minute * 60 + second;
        }
    }
    return -1;
}

/* The first local time in [from, below) that matches. */
static bool next_local(const struct cron *c, int64_t from, int64_t below, int64_t *ret_local)
{
    int64_t day = floor_div(from, DAY_S), of_day = from - day * DAY_S;
    while (day * DAY_S < below) {
        struct date d = date_of(day);
        if (!(c->months >> d.month & 1)) {
            day += month_days(d.year, d.month) - d.day + 1;
        } else {
            int64_t second = day_matches(c, day, d) ? second_of_day(c, of_day) : -1;
            if (second >= 0) {
                *ret_local = day * DAY_S + second;
                return *ret_local < below;
            }
            day++;
        }
        of_day = 0;
    }
    return false;
}

int64_t cron_next(const struct cron *c, const struct zone *z, int64_t after_ms)
{
    int64_t time = floor_div(after_ms, 1000) + 1, horizon = time + (int64_t)HORIZON_DAYS * DAY_S, local;
    if (horizon > YEAR_9999_END)
        horizon = YEAR_9999_END;
    while (time < horizon) {
        struct zone_span s = zone_span_at(z, time);
        if (time == s.begin && s.before < s.offset && next_local(c, time + s.before, time + s.offset, &local))
            return time * 1000; /* for what the gap swallowed */
        int64_t from = time + s.offset, end = s.end < horizon ? s.end : horizon;
        if (!c->every_hour && s.before > s.offset && from < s.begin + s.before)
            from = s.begin + s.before; /* these had their turn before the clock went back */
        if (next_local(c, from, end + s.offset, &local))
            return (local - s.offset) * 1000;
        time = end;
    }
    return -1;
}

int64_t every_next(int64_t anchor_ms, int64_t every_ms, int64_t after_ms)
{
    PRE(every_ms > 0);
    return after_ms < anchor_ms ? anchor_ms : anchor_ms + ((after_ms - anchor_ms) / every_ms + 1) * every_ms;
}
