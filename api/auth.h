/* Who asks: API keys, browser sessions, stream tokens, runner tokens. */
#ifndef ERRAND_API_AUTH_H
#define ERRAND_API_AUTH_H

#include "api/routes.h"

/* Checks the credentials that the call's route wants and fills in what they are: workspace, created_by, scopes … Decides at once, or, where Redis must be asked first (one round trip; what it said is good for a second),
 * sets the request's `deciding` and decides it later. ERR_UNAUTHORIZED, ERR_FORBIDDEN, ERR_RATE_LIMITED (too many failures), ERR_INVALID_PARAMETER (a malformed X-Errand-Workspace), ERR_REDIS_UNAVAILABLE; *ret_detail lives
 * as long as the request. */
MUST_CHECK enum err auth_check(struct call *c, const char **ret_detail);
/* A token for reading one run for an hour, as long as the key lives: `<expiry>~<workspace>~<key>~<hmac>`, into the arena; empty while the secret is not known. */
struct str auth_stream_token(struct call *c, struct str run_id);
/* Counts the call as a failed authentication of its source. */
void auth_failed(struct call *c);
/* The name of the cookie that holds a session. Static. */
const char *auth_cookie_name(const struct node *n);
/* The session's token in the request's cookie; empty when there is none. */
struct str auth_cookie(const struct call *c);

#endif
