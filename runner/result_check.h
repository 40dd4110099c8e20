/* An attempt's result against its agent's outputSchema, when it ends: warnings, or (strictOutput) an error output_invalid. What is checked is what is stored: the result as it was redacted. A remote runtime's claim is
 * checked where it is taken in (api/handle_ingress.c), so that a reaper that honours it need not. */
#ifndef ERRAND_RUNNER_RESULT_CHECK_H
#define ERRAND_RUNNER_RESULT_CHECK_H

#include "runner/attempt.h"

/* What the definition says of its result; def: parsed. */
void result_check_init(struct attempt *a, const struct json *def);
void result_check_done(struct attempt *a);
/* Once, when the attempt has ended: fills a->warnings or a->output_fault (then outcome_of says so). */
void result_check(struct attempt *a);

#endif
