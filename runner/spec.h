/* From a claim's row to what an executor is told. */
#ifndef ERRAND_RUNNER_SPEC_H
#define ERRAND_RUNNER_SPEC_H

#include "lua/scripts.h"
#include "runner/attempt.h"

/* Fills a->spec, a->executor, a->workdir (made, 0700), a->token_sha from the definition and the run; everything in a->arena. *ret_why: what can't be done, in the arena or static. */
MUST_CHECK enum err spec_build(struct attempt *a, const struct script_claim_runs *row, struct str *ret_protocol,
                               const char **ret_why);

/* The same for an attempt that was adopted: only what is needed without a start. def, in a->arena, must live as long as that. */
MUST_CHECK enum err spec_adopt(struct attempt *a, struct str workspace, struct str def, struct str executor,
                               const struct json **ret_def);
/* Each field of a data source of a definition, with the name of its variable (in a->arena). */
void spec_data_source(struct attempt *a, const struct json *source,
                      void (*fn)(struct attempt *a, const struct json *declaration, struct str name));
/* For preparations (attempt.h): sets a variable of the environment that spec_build made; nobody's own overrides it. False: no room, or memory is out. */
MUST_CHECK bool spec_set_env(struct attempt *a, const char *key, struct str value);

#endif
