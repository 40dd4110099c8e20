/* What an attempt's agent prints, on its way to events and log lines: everything passes a->redaction (runner/redaction.h) before it is either. */
#ifndef ERRAND_RUNNER_OUTPUT_H
#define ERRAND_RUNNER_OUTPUT_H

#include "runner/attempt.h"

/* The executor's: bytes of a stream. ctx: the attempt. */
void output_take(void *ctx, enum job_stream stream, struct str bytes);
/* The adapter's: an event; one that is longer than an event may be; a line that is none. ctx: the attempt. */
void output_event(void *ctx, enum event_kind kind, struct str data);
void output_big(void *ctx, enum event_kind kind, struct str data);
void output_plain(void *ctx, struct str line, bool piece);
/* A line, before it is parsed: whether a quick look was enough. */
bool output_quick(void *ctx, struct str line);
/* The timer's, after a pause: the last letters of a text are not kept back while nothing follows. ctx: the attempt. */
void output_pause(void *ctx);
/* The end of its output: what was kept back comes out. */
void output_end(struct attempt *a);

#endif
