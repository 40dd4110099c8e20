/* Time, replaceable for tests. Wall time only labels events and logs; what decides something comes from Redis TIME or the monotonic clock. */
#ifndef ERRAND_COMMON_CLOCK_H
#define ERRAND_COMMON_CLOCK_H

#include "common/base.h"

#define CLOCK_ISO_LEN 24 /* 2026-01-02T03:04:05.678Z */

/* Milliseconds since the Unix epoch. */
int64_t clock_wall_ms(void);
/* Milliseconds of a clock that never steps. */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
/* Replaces all clocks by fn's (microseconds; NULL: the real ones again). Tests only. */
void clock_set_source(int64_t (*wall_us)(void), int64_t (*mono_us)(void));
/* ISO 8601 UTC with milliseconds into buf (at least CLOCK_ISO_LEN + 1 bytes), NUL-terminated. ms from 0 to year 9999. */
void clock_iso(int64_t ms, char buf[CLOCK_ISO_LEN + 1]);
/* Parses RFC 3339 (any offset, optional fraction, years 1970 to 9999); false when it is no such time. */
bool clock_parse_iso(struct str s, int64_t *ret_ms);

#endif
