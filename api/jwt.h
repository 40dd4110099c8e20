/* JSON Web Tokens (RFC 7519) as issuers of OIDC tokens sign them: compact JWS (RFC 7515), RS256 or ES256, nothing else. Reading a token checks its form alone; whose signature it carries is
 * for api/jwk.h, and what it says is to be believed only behind that. Strict: what has two readings is refused. Pure, bounded, never blocks; everything borrows from the arena. */
#ifndef ERRAND_API_JWT_H
#define ERRAND_API_JWT_H

#include "common/arena.h"
#include "common/json.h"

enum jwt_alg { JWT_RS256, JWT_ES256 };

struct jwt {
    enum jwt_alg alg;
    struct str kid;            /* "" when it names none */
    struct str signed_text;    /* what the signature is over: header.payload, as sent */
    struct str signature;      /* bytes */
    const struct json *claims; /* an object whose own keys are each there once */
    struct str issuer, subject;
    int64_t expires_s, issued_s, not_before_s; /* Unix seconds; not_before_s 0: none */
};

/* Strict base64url (RFC 7515): no padding, no white space, no bits left over in the last character. False when it is something else, or when memory is out. The bytes are in the arena. */
MUST_CHECK bool jwt_base64url(struct arena *a, struct str text, struct str *ret_bytes);
/* Reads a token of at most LIMIT_TOKEN bytes: three parts; header and claims are JSON objects without repeated keys; alg is RS256 or ES256; no crit; iss, sub, aud, exp and iat are there and of their types.
 * Keys that a header brings along (jwk, jku, x5u, x5c) are never looked at. ERR_INVALID_TOKEN with *ret_why, a static sentence about the token alone; ERR_NO_MEMORY. */
MUST_CHECK enum err jwt_read(struct arena *a, struct str token, struct jwt *ret_jwt, const char **ret_why);
/* Whether it is valid at now_ms, with a minute for clocks that differ, and not made for longer than LIMIT_TOKEN_AGE_MS. ERR_INVALID_TOKEN with *ret_why. */
MUST_CHECK enum err jwt_check_times(const struct jwt *t, int64_t now_ms, const char **ret_why);
/* Whether the audience is the token's aud, or one of them. */
bool jwt_is_for(const struct jwt *t, struct str audience);
/* A claim that is a string; {NULL, 0} for one that is none or not there. */
struct str jwt_claim(const struct jwt *t, const char *name);

#endif
