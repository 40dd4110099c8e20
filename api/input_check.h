/* A run's input against its agent's inputSchema. The scripts that accept runs (submit, schedule_put, schedule_trigger) can't check it: they refuse with `schema_unchecked` unless they are told the digest of the very
 * definition that it was checked against, and say which it is. What was compiled is kept by thread, so that only the first submit of an agent (and of each new version) asks twice. */
#ifndef ERRAND_API_INPUT_CHECK_H
#define ERRAND_API_INPUT_CHECK_H

#include "api/routes.h"
#include "api/validate.h"

enum { SCHEMA_TRIES = 4 /* when the agent changes meanwhile */ };

/* The definition that the input was checked against as far as this node knows, for the first asking: of an inline one (def) its digest, when the input meets it; of a named agent the digest that was seen last, when
 * the input meets that; else "". False: an inline definition's schema is not met (*ret_faults, a JSON array in the arena). */
MUST_CHECK bool input_check_first(struct call *c, const struct definition *def, struct str agent, struct str input,
                                  struct str *ret_digest, struct str *ret_faults);
/* After schema_unchecked: whether the input meets the schema of this definition, a named agent's (agent may be ""). False: *ret_faults. */
MUST_CHECK bool input_check(struct call *c, struct str agent, struct str digest, struct str schema, struct str input,
                            struct str *ret_faults);
/* Answers input_invalid. */
void input_refuse(struct call *c, struct str faults);
/* A sentence about the first of the faults. In the arena. */
const char *input_detail(struct call *c, struct str faults);

#endif
