/* A schedule's ticks as they follow from what was asked: a cron expression or an interval, from a beginning to an end; and what becomes of ticks that nobody ran in time. Pure: the caller says what the time is. */
#ifndef ERRAND_COMMON_SCHEDULE_H
#define ERRAND_COMMON_SCHEDULE_H

#include "common/cron.h"

/* What was asked. Times in ms since the Unix epoch. */
struct schedule_spec {
    struct str cron; /* "" where every_ms is given */
    struct str zone;
    int64_t every_ms;
    int64_t anchor_ms; /* intervals are counted from here */
    int64_t start_ms;  /* no tick before; 0: none */
    int64_t end_ms;    /* no tick behind; 0: none */
};

struct schedule {
    struct schedule_spec spec;
    struct cron cron;
    struct zone *zone;
};

/* Borrows nothing of the spec but its numbers. False with a sentence (which begins with the API's name of the field) when the expression or the zone is none. */
MUST_CHECK bool schedule_init(struct schedule *s, const struct schedule_spec *spec, char ret_why[CRON_WHY_MAX + 64]);
void schedule_done(struct schedule *s);
/* The first tick strictly after a time; 0 when there is none any more. */
int64_t schedule_next(const struct schedule *s, int64_t after_ms);

enum catch_up { CATCH_UP_SKIP, CATCH_UP_LAST, CATCH_UP_ALL, CATCH_UP_COUNT };
enum { SCHEDULE_LATE_MS = 60000 };
/* skip, last, all; CATCH_UP_COUNT for another word. */
enum catch_up catch_up_of(struct str word);

/* What to do about a tick that has come. */
struct schedule_step {
    int64_t tick_ms;  /* the one to run; 0: none */
    int64_t next_ms;  /* the one that follows; 0: none */
    int64_t missed;   /* how many are passed over, at most LIMIT_CATCH_UP */
    int64_t until_ms; /* catching up goes to this one, to be remembered; 0: no change */
};
/* A tick less than SCHEDULE_LATE_MS late runs. Of later ones: none, the newest, or each one by one, at most the newest LIMIT_CATCH_UP. until_ms: what an earlier step said, 0 for none. */
struct schedule_step schedule_step(const struct schedule *s, enum catch_up policy, int64_t tick_ms, int64_t until_ms,
                                   int64_t now_ms);

#endif
