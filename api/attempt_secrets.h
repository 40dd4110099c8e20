/* The secrets that an attempt was started with, for a node that takes in the events of its remote runtime and has to redact them. */
#ifndef ERRAND_API_ATTEMPT_SECRETS_H
#define ERRAND_API_ATTEMPT_SECRETS_H

#include "api/node.h"
#include "common/redact.h"

/* secrets: name and value of each, once, valid during the call only and overwritten after it; none where the attempt has none. An error means that they are not known, and that nothing of the attempt may be
 * let through unredacted: ERR_RUN_NOT_FOUND (no such run, or not this attempt's token), ERR_SECRET_NOT_FOUND (deleted meanwhile), ERR_NO_MASTER_KEY, ERR_SEAL_BROKEN, ERR_NO_MEMORY, and what Redis says. */
typedef void (*attempt_secrets_fn)(void *ctx, enum err err, const struct redact_secret *secrets, size_t n);

/* Fetches exactly the versions that the attempt got, and opens them. token_sha: SHA-256 of its runner token, hex. One round trip. fn is called once, never from inside but where memory is out. */
void attempt_secrets(struct node *n, struct str run, int64_t attempt, struct str token_sha, attempt_secrets_fn fn,
                     void *ctx);

#endif
