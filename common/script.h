/* Calls Lua scripts, as functions of Redis (FCALL): what their includes make is made once, when Redis loads a library. The typed wrappers generated from the headers of the files in lua/ (build/lua/scripts.h) are the only
 * callers of script_call. "Function not found": loaded (FUNCTION LOAD) and tried once more. Where Redis does not take a library (it is full, or the user may not: a runner's, for who can load functions can replace those that
 * others call), the same text is called as a script (EVALSHA, and SCRIPT LOAD at NOSCRIPT), which costs more and does the same.
 * Calls of one script that may be grouped (GROUP in its header), and leave in the same turn with nothing between them, go as one command: order, replies and codes are as if each went alone, what all of them read and count
 * is read and counted once. Scripts reply {code, …}: a code other than "ok" becomes the enum err of that name. */
#ifndef ERRAND_COMMON_SCRIPT_H
#define ERRAND_COMMON_SCRIPT_H

#include "common/redis.h"

/* One transition in both of its forms: the library is `#!lua name=function`, text, registrations; the script is begin, text, end. Each but text is a line (without its end). */
struct script {
    const char *name;
    const char *function;         /* errand_NAME_HASH, of the library too; HASH: what the text's SHA-1 begins with */
    const char *guarded_function; /* for a call that carries a guard */
    const char *group_function;   /* for several calls in one; NULL: each goes alone */
    const char *text;
    size_t text_len;
    const char *begin, *end, *registrations;
    const char *sha1; /* of the script, hex */
    int index;        /* in the table of all, whose length is SCRIPTS_MAX at most */
    bool read_only;   /* FCALL_RO */
    bool guarded;     /* may carry a guard */
};

enum { SCRIPTS_MAX = 160 };

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

/* key: the shard's prefix, the script's only key (everything a script touches begins with it and so lives in one slot). argv: copied. fn is called exactly once, never from inside. Calls of one group are answered one after the other: who frees the connection in fn is called back for the rest of its group even then, with what Redis answered. */
void script_call(struct redis *r, const struct script *s, struct str key, size_t argc, const struct str *argv,
                 script_reply_fn fn, void *ctx);
/* Loads the libraries of the table that Redis does not have, so that the first calls don't pay; on the first connection that r made it also removes those of other versions of Errand. Failures are harmless: a call finds
 * out for itself, and who still needs what was removed loads it again. */
void script_load_all(struct redis *r, const struct script *const *scripts, size_t n);

#endif
