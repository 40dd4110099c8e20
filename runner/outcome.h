/* How an attempt ended, as `finish` is told: status, error, result, and what the agent asked for. Contract: runner-events.md, "How an attempt ends". Pure. */
#ifndef ERRAND_RUNNER_OUTCOME_H
#define ERRAND_RUNNER_OUTCOME_H

#include "runner/attempt.h"

enum { OUTCOME_RETRY_MAX = 24 };

struct outcome {
    const char *status;      /* success, error, stopped; static */
    const char *error_class; /* "" unless error; static */
    char message[LIMIT_ERROR_MESSAGE + 1];
};

/* In the contract's order: what we ended it for, how the process ended, what it claimed. */
void outcome_of(const struct attempt *a, struct outcome *ret_o);
/* {"class","message"}; nothing where there was no error. */
void outcome_error(const struct outcome *o, struct strbuf *out);
/* The result as raw JSON, "" for none; false: there is one, but it is over its limit (out is empty then). */
MUST_CHECK bool outcome_result(const struct attempt *a, struct strbuf *out);
/* What the agent asked for in its error: `no`, a delay in ms, or "". */
void outcome_retry(const struct attempt *a, char text[OUTCOME_RETRY_MAX]);

#endif
