/* The secrets of an attempt: which variables of its environment want them, and their values from the moment Redis gave them until the attempt is forgotten. Values are in memory of their own, overwritten when it
 * is freed; nothing of them is logged, stored, or put into an argument. */
#ifndef ERRAND_RUNNER_SECRETS_H
#define ERRAND_RUNNER_SECRETS_H

#include "common/err.h"
#include "common/limits.h"
#include "common/redact.h"
#include "common/strbuf.h"

struct attempt;
struct vault;

struct secret_want {
    size_t at; /* place in env */
    struct str key, name;
    int64_t version; /* 0: the newest */
};

struct secrets {
    const char **env; /* the attempt's environment; what wants a secret gets its word here */
    struct secret_want *wants;
    size_t count;
    struct strbuf *buffers;       /* of each want: its name, NUL, "KEY=VALUE" */
    struct redact_secret *values; /* name and value of each want; NULL until they are known */
};

struct script_secret_get_reply;
/* The preparation (attempt.h): asks for all of them in one round trip, and puts them into the environment. */
bool secrets_wanted(const struct attempt *a);
void secrets_ask(struct attempt *a, void (*fn)(struct attempt *a, enum err err));
/* Opens what came into the environment. On an error ret_why has a sentence that names the secret. Pure but for memory. */
MUST_CHECK enum err secrets_open(struct secrets *s, const struct vault *v, const struct script_secret_get_reply *reply,
                                 char *ret_why, size_t why_cap);
/* Overwrites and frees the values. */
void secrets_done(struct secrets *s);

#endif
