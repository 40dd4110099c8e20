/* SSE frames of stored events. A stored line says its seq and its kind at fixed places, so nothing is parsed: both are copied as they stand. Pure, never blocks. */
#ifndef ERRAND_API_FRAMES_H
#define ERRAND_API_FRAMES_H

#include "api/http.h"

/* Canonical lines as an entry of a run's stream holds them, one event each. */
struct frames_source {
    const struct str *parts; /* whole lines each */
    size_t count;
    size_t events; /* how many lines there should be: room is made for them at once */
};
/* One frame an event whose seq is above `after` (-1: all), in order; lines of another shape are passed over. One reference for the caller. NULL when there is none, or memory is out. */
struct http_buf *frames_new(const struct frames_source *from, int64_t after);

#endif
