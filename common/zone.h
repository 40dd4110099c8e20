/* Time zones of the IANA database, over cctz (in zone.cc), which reads the system's tzdata. All one needs to know of a zone are its spans: times in which its offset to
 * UTC stays the same. Finding a zone may read a small file the first time; nothing else blocks. */
#ifndef ERRAND_COMMON_ZONE_H
#define ERRAND_COMMON_ZONE_H

#include "common/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ZONE_NAME_MAX 64

struct zone;

/* The zone of that name ("Europe/London"); NULL when the database has none. Names that mean another zone on another machine (localtime) are none. */
struct zone *zone_new(struct str name);
void zone_free(struct zone *z);

/* Seconds since the Unix epoch. A local time in seconds is time + offset: the clock on the wall as if it were UTC's. */
struct zone_span {
    int64_t begin; /* INT64_MIN: for ever */
    int64_t end;   /* the first second behind it; INT64_MAX: for ever */
    int64_t offset;
    int64_t before; /* the offset before begin */
};
/* The span that a time is in. */
struct zone_span zone_span_at(const struct zone *z, int64_t time);

#ifdef __cplusplus
}
#endif
#endif
