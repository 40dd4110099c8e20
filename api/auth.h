/* Who asks: API keys, stream tokens, runner tokens. */
#ifndef ERRAND_API_AUTH_H
#define ERRAND_API_AUTH_H

#include "api/routes.h"

/* Checks the credentials that the call's route wants and fills in workspace, created_by, runner_*. ERR_UNAUTHORIZED, ERR_FORBIDDEN, ERR_INVALID_PARAMETER (a malformed X-Errand-Workspace), *ret_detail static. */
MUST_CHECK enum err auth_check(struct call *c, const char **ret_detail);
/* A token for reading one run for an hour: `<expiry>~<workspace>~<hmac>`, into the arena; empty while the secret is not known. */
struct str auth_stream_token(struct node *n, struct arena *a, struct str workspace, struct str run_id);

#endif
