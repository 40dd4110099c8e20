/* Event streams to readers (Server-Sent Events) and event pages. Contract: runner-events.md, "Reading". */
#ifndef ERRAND_API_SSE_H
#define ERRAND_API_SSE_H

#include "api/routes.h"

/* Turns the call into a stream of the run's events behind `after` (-1: all). from_header: the position came as Last-Event-ID, so a reader at the end of an ended run gets 204. */
void sse_open(struct call *c, struct str run_id, int64_t after, bool from_header);

#endif
