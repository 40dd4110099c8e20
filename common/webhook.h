/* What a webhook's receiver sees beside the body: its secret, the signature, and when it is told again. As "Standard Webhooks" (standardwebhooks.com) says, so that its libraries verify it. Pure; never blocks. */
#ifndef ERRAND_COMMON_WEBHOOK_H
#define ERRAND_COMMON_WEBHOOK_H

#include "common/err.h"

enum {
    WEBHOOK_KEY_MIN = 24,
    WEBHOOK_KEY_MAX = 64,
    /* "whsec_" and the key's base64, NUL included */
    WEBHOOK_SECRET_MAX = 6 + (WEBHOOK_KEY_MAX + 2) / 3 * 4 + 1,
    /* "v1," and base64 of 32 bytes, NUL included */
    WEBHOOK_SIGNATURE_MAX = 3 + 44 + 1,
    WEBHOOK_ATTEMPTS = 8,
};

/* A new secret of 32 random bytes, NUL-terminated. */
void webhook_secret_new(char ret_secret[WEBHOOK_SECRET_MAX]);
/* "whsec_" and base64 (padded, nothing else in it) of 24 to 64 bytes. */
bool webhook_secret_valid(struct str secret);
/* `v1,<base64 of HMAC-SHA256 over ID.TIMESTAMP.BODY>`, NUL-terminated. timestamp: seconds. ERR_INVALID_FIELD where the secret is none. */
MUST_CHECK enum err webhook_sign(struct str secret, struct str id, int64_t timestamp, struct str body,
                                 char ret_signature[WEBHOOK_SIGNATURE_MAX]);

/* How long to wait behind the attempt that just failed, ms; -1: it was the last one.
 * tries: attempts so far, this one included. base_ms: the first wait (5 s by default; all others are multiples: 1 min, 5 min, 30 min, 2 h, 5 h, 16 h; in all never more than 24 h). age_ms: since the first attempt was due.
 * retry_after_s: what the receiver asked for, -1 for nothing; kept within what is left of the 24 h. dice: uniformly random; takes up to a fifth off. */
int64_t webhook_retry_ms(int64_t tries, int64_t base_ms, int64_t age_ms, int64_t retry_after_s, uint32_t dice);

#endif
