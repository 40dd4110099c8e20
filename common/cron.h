/* When a schedule ticks: cron expressions in a time zone, and plain intervals. Pure: what the time is, the caller says.
 *
 * An expression has 5 fields — minute, hour, day of month, month, day of week — or 6, seconds first; or is one of @yearly @annually @monthly @weekly @daily @midnight @hourly. A field is a list of
 * numbers, names (JAN … DEC, SUN … SAT), ranges a-b, and * (in the fields of days also ?), the last two with a step (/n); L is the last day of the month. Sunday is 0 and 7. Where neither field
 * of days begins with *, a day that one of them names is enough; else it must be in both.
 *
 * Clocks that change: a local time that does not exist ticks at the first moment behind the gap (once, together with what ticks there anyway). One that exists twice ticks the first time only;
 * both times where the hour field is * or a step of *, because such a schedule means real time. */
#ifndef ERRAND_COMMON_CRON_H
#define ERRAND_COMMON_CRON_H

#include "common/zone.h"

#define CRON_WHY_MAX 160

struct cron {
    uint64_t seconds, minutes; /* bit n: n is in the field */
    uint32_t hours, days, months, weekdays;
    bool last_day;   /* L */
    bool either_day; /* one of the two fields of days is enough */
    bool every_hour; /* the hour field is * or a step of it */
};

/* False, with a sentence that names the field, when it is malformed or never matches (30 February). */
MUST_CHECK bool cron_parse(struct str text, struct cron *ret_cron, char ret_why[CRON_WHY_MAX]);
/* The first tick strictly after a time (ms, 0 or later); -1 when there is none until the year 9999. Looks 41 years ahead: no expression that cron_parse takes rests longer. */
int64_t cron_next(const struct cron *c, const struct zone *z, int64_t after_ms);

/* The first of anchor, anchor + every, anchor + 2 every, … strictly after a time. */
int64_t every_next(int64_t anchor_ms, int64_t every_ms, int64_t after_ms);

#endif
