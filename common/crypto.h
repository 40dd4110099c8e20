/* The little cryptography Errand needs, over libsodium, and libcrypto for SHA-256. crypto_start() once before anything else. Never blocks after that. */
#ifndef ERRAND_COMMON_CRYPTO_H
#define ERRAND_COMMON_CRYPTO_H

#include "common/err.h"

#define SHA256_HEX_LEN 64

/* ERR_INTERNAL when the system has no randomness. */
MUST_CHECK enum err crypto_start(void);
void crypto_random(void *buf, size_t len);
/* Lower-case hex of SHA-256, NUL-terminated. */
void crypto_sha256_hex(struct str data, char ret_hex[SHA256_HEX_LEN + 1]);
/* The same over several slices one after the other, each preceded by its length (so that boundaries count). */
void crypto_sha256_hex_parts(const struct str *parts, size_t n, char ret_hex[SHA256_HEX_LEN + 1]);
/* SHA-256 of what comes piece by piece: begin, add (any number of times), end. Plain memory; nothing to free. */
struct crypto_sha256 {
    _Alignas(8) unsigned char state[128];
};
void crypto_sha256_begin(struct crypto_sha256 *s);
void crypto_sha256_add(struct crypto_sha256 *s, struct str data);
void crypto_sha256_end(struct crypto_sha256 *s, char ret_hex[SHA256_HEX_LEN + 1]);
/* HMAC-SHA-256 as lower-case hex. key: any length. */
void crypto_hmac_hex(struct str key, struct str data, char ret_hex[SHA256_HEX_LEN + 1]);
/* 32 random bytes as 43 characters of base64url, NUL-terminated. */
void crypto_token(char ret_token[44]);
/* Constant time in the contents (not in the lengths). */
bool crypto_equal(struct str a, struct str b);
/* Overwrites what is not needed any more, so that the compiler can't leave it out. */
void crypto_wipe(void *buf, size_t len);
/* Uniform in [0, bound); 0 for bound 0. */
uint64_t crypto_uniform(uint64_t bound);

#endif
