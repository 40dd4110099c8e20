#include "common/schedule.h"

#include <stdio.h>

#include "common/limits.h"

bool schedule_init(struct schedule *s, const struct schedule_spec *spec, char ret_why[CRON_WHY_MAX + 64])
{
    char why[CRON_WHY_MAX];
    *s = (struct schedule){.spec = *spec};
    if (spec->cron.len > 0 && !cron_parse(spec->cron, &s->cron, why)) {
        snprintf(ret_why, CRON_WHY_MAX + 64, "cron: %s", why);
        return false;
    }
    s->zone = zone_new(spec->zone);
    if (!s->zone)
        snprintf(ret_why, CRON_WHY_MAX + 64,
                 "timeZone \"%.*s\" is no zone of the IANA database; it is a name like Europe/London",
                 (int)(spec->zone.len > ZONE_NAME_MAX ? ZONE_NAME_MAX : spec->zone.len), spec->zone.ptr);
    return s->zone != NULL;
}

void schedule_done(struct schedule *s)
{
    zone_free(s->zone);
}

int64_t schedule_next(const struct schedule *s, int64_t after_ms)
{
    const struct schedule_spec *spec = &s->spec;
    int64_t after = after_ms < spec->start_ms ? spec->start_ms - 1 : after_ms;
    int64_t next =
        spec->every_ms > 0 ? every_next(spec->anchor_ms, spec->every_ms, after) : cron_next(&s->cron, s->zone, after);
    return next > 0 && (spec->end_ms == 0 || next <= spec->end_ms) ? next : 0;
}

/* ---- catching up ---- */

enum catch_up catch_up_of(struct str word)
{
    static const char *const words[CATCH_UP_COUNT] = {"skip", "last", "all"};
    int i = 0;
    while (i < CATCH_UP_COUNT && !str_eqz(word, words[i]))
        i++;
    return (enum catch_up)i;
}

/* How many ticks lie in (after, to], at most max. */
static int64_t count(const struct schedule *s, int64_t after, int64_t to, int64_t max)
{
    int64_t n = 0;
    for (int64_t at = schedule_next(s, after); n < max && at > 0 && at <= to; at = schedule_next(s, at))
        n++;
    return n;
}

/* The n-th newest tick up to a time, of more than n. Ticks are only found forwards, so the time before it is searched for in which not many more than n lie. */
static int64_t nth_newest(const struct schedule *s, int64_t to, int64_t n)
{
    int64_t width = 1000, most = 4 * n + 4;
    while (count(s, to - width, to, n) < n)
        width *= 2;
    int64_t lo = to - width, hi = to - width / 2, found = count(s, lo, to, most);
    while (found >= most && hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2, here = count(s, mid, to, most);
        if (here < n) {
            hi = mid;
        } else {
            lo = mid;
            found = here;
        }
    }
    int64_t at = schedule_next(s, lo);
    for (; found > n; found--)
        at = schedule_next(s, at);
    return at;
}

struct schedule_step schedule_step(const struct schedule *s, enum catch_up policy, int64_t tick_ms, int64_t until_ms,
                                   int64_t now_ms)
{
    int64_t late = now_ms - SCHEDULE_LATE_MS, most = LIMIT_CATCH_UP;
    struct schedule_step step = {.tick_ms = tick_ms};
    if (tick_ms > late || tick_ms <= until_ms) { /* in time, or its turn */
        step.next_ms = schedule_next(s, tick_ms);
        return step;
    }
    int64_t missed = count(s, tick_ms - 1, late, most + 1);
    switch (policy) {
    case CATCH_UP_LAST:
        step.tick_ms = missed > 1 ? nth_newest(s, late, 1) : tick_ms;
        step.missed = (missed > most ? most : missed) - 1;
        break;
    case CATCH_UP_ALL:
        step.tick_ms = missed > most ? nth_newest(s, late, most) : tick_ms;
        step.missed = missed > most ? most : 0;
        step.until_ms = late;
        break;
    case CATCH_UP_SKIP:
    case CATCH_UP_COUNT:
        step.tick_ms = 0;
        step.missed = missed > most ? most : missed;
        break;
    }
    step.next_ms = schedule_next(s, step.tick_ms > 0 ? step.tick_ms : late);
    return step;
}
