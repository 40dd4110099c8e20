/* Who asks: API keys, browser sessions, stream tokens, runner tokens. */
#ifndef ERRAND_API_AUTH_H
#define ERRAND_API_AUTH_H

#include "api/routes.h"

/* Checks the credentials that the call's route wants and fills in what they are: workspace, created_by, scopes … Decides at once, or, where Redis must be asked first (one round trip; what it said is good for a second),
 * sets the request's `deciding` and decides it later. ERR_UNAUTHORIZED, ERR_FORBIDDEN, ERR_RATE_LIMITED (too many failures), ERR_INVALID_PARAMETER (a malformed X-Errand-Workspace), ERR_REDIS_UNAVAILABLE; *ret_detail lives
 * as long as the request. */
MUST_CHECK enum err auth_check(struct call *c, const char **ret_detail);
/* Judges the call's key again, by what is known of it now, and goes on with the request (routes_go_on), or answers it. */
void auth_check_again(struct call *c);
/* Lets what the call opens end with its key. Only of calls that have a credential; false: it has ended. */
struct key_hold;
MUST_CHECK bool auth_hold(struct call *c, struct key_hold *h);
/* A token for reading one run for an hour, as long as the key (and its present secret) lives: `<expiry>~<workspace>~<key>~<proof>~<hmac>`, into the arena; empty while the secret is not known. */
struct str auth_stream_token(struct call *c, struct str run_id);
/* Counts the call as a failed authentication of its source. */
void auth_failed(struct call *c);
/* The name of the cookie that holds a session. Static. */
const char *auth_cookie_name(const struct node *n);
/* The session's token in the request's cookie; empty when there is none. */
struct str auth_cookie(const struct call *c);

#endif
