/* A bundle from Redis to a folder: chunk by chunk into a file, its SHA-256 checked, and only then unpacked. Never more than one chunk in memory; files, hashing and unpacking are the loop's pool's. */
#ifndef ERRAND_RUNNER_BUNDLE_FETCH_H
#define ERRAND_RUNNER_BUNDLE_FETCH_H

#include "common/loop.h"
#include "common/redis.h"

/* Called once. ERR_OK: WORK/code has it, not sealed yet. ERR_REDIS_UNAVAILABLE: ask again. Otherwise why is a sentence, borrowed. The caller removes WORK where it failed. */
typedef void (*bundle_fetched_fn)(void *ctx, enum err err, const char *why);
/* prefix: the shard's. hex: 64 digits. work: an empty folder. All is copied; the connection must live until fn was called (it answers each command once, also when it is freed). ERR_NO_MEMORY: fn is not called. */
MUST_CHECK enum err bundle_fetch(struct loop *l, struct redis *r, struct str prefix, struct str workspace,
                                 struct str hex, const char *work, bundle_fetched_fn fn, void *ctx);

#endif
