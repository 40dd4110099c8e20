/* What a delivery says, from what is stored of its run: its body as JSON. */
#ifndef ERRAND_API_HOOK_BODY_OUT_H
#define ERRAND_API_HOOK_BODY_OUT_H

#include "common/strbuf.h"
#include "lua/scripts.h"

/* {"type", "timestamp" (of what happened, not of the attempt), "data": the run's summary with its result where it is short, or with `event`}. A run that was removed meanwhile: its id, and "removed": true. */
void hook_body_write(struct strbuf *out, const struct script_hook_take_deliveries *d);
/* The line of the event with that seq, of a stream entry's lines; empty when it is not there. */
struct str hook_event_line(struct str lines, int64_t seq);

#endif
