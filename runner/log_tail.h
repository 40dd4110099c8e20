/* The tail of an attempt's log: its newest lines, at most LIMIT_LOG_BYTES of them as JSON. Pure. */
#ifndef ERRAND_RUNNER_LOG_TAIL_H
#define ERRAND_RUNNER_LOG_TAIL_H

#include "common/strbuf.h"

struct log_tail {
    struct strbuf lines; /* JSON objects, a newline between */
};

void log_tail_init(struct log_tail *t);
void log_tail_done(struct log_tail *t);
/* Adds {"tMs", "stream", "text"}; the oldest lines go where room is needed. A text over 4 KiB is cut between characters. */
void log_tail_add(struct log_tail *t, int64_t t_ms, const char *stream, struct str text);
/* Appends all lines as a JSON array: at most LIMIT_LOG_BYTES + 2 bytes. */
void log_tail_write(const struct log_tail *t, struct strbuf *out);

#endif
