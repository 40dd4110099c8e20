/* An issuer's public keys (RFC 7517), and whether one of them signed a token. A key takes part only as what it says it is: RSA of 2,048 to 8,192 bits for RS256, EC on P-256 for ES256, meant for
 * signatures, and for that algorithm where it names one; all others of a set are passed over. So no token chooses how a key is used. Over OpenSSL's EVP. Pure, never blocks. */
#ifndef ERRAND_API_JWK_H
#define ERRAND_API_JWK_H

#include "api/jwt.h"

struct jwks;

/* Reads a key set of at most LIMIT_JWKS bytes and LIMIT_JWKS_KEYS keys. ERR_INVALID_JSON, with *ret_why (static), when it is none or has no key that can be used; ERR_NO_MEMORY. */
MUST_CHECK enum err jwks_read(struct str text, struct jwks **ret_keys, const char **ret_why);
/* Takes NULL. */
void jwks_free(struct jwks *k);
size_t jwks_count(const struct jwks *k);
/* Whether there is a key that this token could be signed with: the one of its kid, or, where it names none, the only one of its algorithm. Takes NULL. */
bool jwks_has(const struct jwks *k, const struct jwt *t);
/* Whether that key signed it. False for anything else. Takes NULL. */
bool jwks_verify(const struct jwks *k, const struct jwt *t);

#endif
