/* Bodies of /v1/webhooks → typed structs, and what a webhook's URL may be. Everything borrows from the request's arena. A refusal names the field and what to do. */
#ifndef ERRAND_API_HOOK_BODY_H
#define ERRAND_API_HOOK_BODY_H

#include "api/validate_fields.h"

struct hook_body {
    struct str url;
    struct str events, agents; /* words with a blank between two; agents "": all */
    struct str description;
    struct str secret; /* "" for a new one; of a new webhook only */
    bool enabled;
};

/* create: a secret may be given. allow_private: private addresses and http may be named. */
MUST_CHECK bool hook_body_read(struct arena *a, const struct json *root, bool create, bool allow_private,
                               struct hook_body *ret_body, struct fault *ret_fault);
/* {"secret"?, "overlapMs"?} of a rotation. */
MUST_CHECK bool hook_rotation_read(struct arena *a, const struct json *root, struct str *ret_secret,
                                   int64_t *ret_overlap_ms, struct fault *ret_fault);
/* An absolute https URL (http too where allow_private), without user info and fragment, at most LIMIT_WEBHOOK_URL, whose host is no private address; *ret_why (static) what is wrong. What its name leads to is looked at when it is
 * called. */
MUST_CHECK bool hook_url_valid(struct str url, bool allow_private, const char **ret_why);
/* A URL into a struct str, to be looked at with hook_url_valid: what it may be depends on the node. */
bool take_hook_url(struct check *c, const struct json *v, const char *name, void *out);
/* A secret as webhook_secret_valid wants it, into a struct str. */
bool take_hook_secret(struct check *c, const struct json *v, const char *name, void *out);

#endif
