/* Redactors of remote attempts, for the ingress: those that posted within the last minute, bounded in number and bytes, one thread's own. An attempt's secrets do not change. */
#ifndef ERRAND_API_REDACTORS_H
#define ERRAND_API_REDACTORS_H

#include "api/routes.h"
#include "common/redact.h"

struct redactors;

/* NULL when memory is out. */
struct redactors *redactors_new(void);
/* Takes NULL. */
void redactors_free(struct redactors *cache);
/* From the node's poll: what nobody asked for lately is forgotten, with the secrets that are in it. */
void redactors_tick(struct redactors *cache);
/* Calls next with the redactor of the call's attempt, once: at once where it is known, else when its secrets were read (one round trip). NULL and why: they could not be had (attempt_secrets says why), and nothing may be stored.
 * Borrowed until the loop's next turn. */
typedef void (*redactors_fn)(struct call *c, enum err err, struct redactor *r, void *ctx);
void redactors_get(struct call *c, void *ctx, redactors_fn next);

#endif
