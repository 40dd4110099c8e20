/* Calls Lua scripts by SHA. The typed wrappers generated from the headers of the files in lua/ (build/lua/scripts.h) are the only callers of script_call.
 * NOSCRIPT: loaded and tried once more. Scripts reply {code, …}: a code other than "ok" becomes the enum err of that name. */
#ifndef ERRAND_COMMON_SCRIPT_H
#define ERRAND_COMMON_SCRIPT_H

#include "common/redis.h"

struct script {
    const char *name;
    const char *source; /* whole, includes expanded */
    size_t source_len;
    const char *sha1; /* hex, computed at build */
    bool read_only;   /* EVALSHA_RO */
    bool guarded;     /* may carry a guard */
};

/* A rate limit that the next script on a connection carries: decided and counted in the same step. Over it the script does nothing, and the call gets ERR_RATE_LIMITED. */
struct script_guard {
    struct str key; /* where it counts, in the scripts' slot */
    int64_t limit, per_ms, burst;
    void (*told)(void *ctx, bool refused, int64_t remaining,
                 int64_t reset_ms); /* before the call's own callback, where Redis answered */
    void *ctx;
};
/* The next call of a script that may carry one on this connection carries it; borrowed until then, and, where it was carried, until the call's callback. NULL takes it back. */
void script_guard_next(struct redis *r, struct script_guard *g);

/* reply: the script's whole reply array (element 0 is the code) when err is ERR_OK or a code that the script itself gave; else NULL. */
typedef void (*script_reply_fn)(void *ctx, enum err err, const redisReply *reply);

/* key: the shard's prefix, the script's only key (everything a script touches begins with it and so lives in one slot). argv: copied. fn is called exactly once, never from inside. */
void script_call(struct redis *r, const struct script *s, struct str key, size_t argc, const struct str *argv,
                 script_reply_fn fn, void *ctx);
/* Loads every script of the table (SCRIPT LOAD), so that the first calls don't pay; failures are harmless. */
void script_load_all(struct redis *r, const struct script *const *scripts, size_t n);

#endif
