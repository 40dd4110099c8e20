/* Trust policies: whose tokens are exchanged for keys, and what those keys may do. A policy names an issuer, an audience and at least one claim besides; a token is taken when all of them hold.
 * Pure; everything borrows from the arena of the JSON that was read. */
#ifndef ERRAND_API_TRUST_H
#define ERRAND_API_TRUST_H

#include "api/jwt.h"
#include "api/validate.h"

struct trust {
    struct str issuer, audience;
    struct str jwks_uri;       /* "" where the issuer's own description says it */
    const struct json *claims; /* an object: claim → pattern, or list of patterns */
    uint64_t scopes;
    struct str agents, queues, cidrs; /* comma lists that narrow the keys; "" for all */
    int64_t ttl_ms;
};

/* Reads a policy as PUT takes it and as it is stored. allow_http: issuers may be http (tests). False and *ret_fault when it is refused, also because it would take tokens of everybody. */
MUST_CHECK bool trust_read(struct arena *a, const struct json *root, bool allow_http, struct trust *ret_trust,
                           struct fault *ret_fault);
/* Whether it takes the token, whose signature and times are right: issuer, audience, each claim. Claims that are no strings match nothing. */
bool trust_takes(const struct trust *t, const struct jwt *token);
/* Whether the pattern matches all of the text: `*` stands for any characters but '/' and ':', `**` for any characters. Time is bounded by the product of their lengths. */
bool trust_glob(struct str pattern, struct str text);
#endif
