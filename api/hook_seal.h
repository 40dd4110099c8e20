/* The secrets of webhooks as they are stored: sealed, each for the webhook of the workspace that it signs for; a run's own one for its URL. */
#ifndef ERRAND_API_HOOK_SEAL_H
#define ERRAND_API_HOOK_SEAL_H

#include "common/arena.h"
#include "common/vault.h"

/* What a stored webhook's secrets are sealed with, into out. */
void hook_context(struct str ws, struct str hook, struct strbuf *out);

#define HOOK_RUNS                                                                                                      \
    "runs" /* the webhook that stands for those that runs bring along themselves (lua/include/hook.lua has the same) */

/* hook: its id, or HOOK_RUNS with the URL. ERR_NO_MASTER_KEY, ERR_NO_MEMORY. */
MUST_CHECK enum err hook_seal(const struct vault *v, struct arena *a, struct str ws, struct str hook, struct str url,
                              struct str secret, struct str *ret_sealed);
/* Appends the secret; the caller ends out with vault_wipe. Errors: vault_open's. */
MUST_CHECK enum err hook_open(const struct vault *v, struct str ws, struct str hook, struct str url, struct str sealed,
                              struct strbuf *out);

#endif
