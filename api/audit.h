/* The audit log's writing side: who did what, from where. An entry is written before what it speaks of is done, and what can't be written isn't done; when the call is refused after that, a second entry says so.
 * docs/architecture.md has the keys; api/sealer.c makes the chain. */
#ifndef ERRAND_API_AUDIT_H
#define ERRAND_API_AUDIT_H

#include "api/routes.h"

struct audit_refusals;

/* Writes that the caller does the route's operation to object (a name or an id, cut at LIMIT_AUDIT_OBJECT), then calls next; answers the call when it can't. To be called once, when the request was found to be valid and before its
 * first write. c must stay as it is until next, which finds in c->user what was left there. */
void audit_then(struct call *c, struct str object, void (*next)(struct call *c));
/* The same with more to say: JSON without white space, at most LIMIT_AUDIT_DETAIL bytes, no secret in it. */
void audit_then_with(struct call *c, struct str object, struct str detail, void (*next)(struct call *c));
/* What was announced is done: a problem that is still answered is not its refusal. */
void audit_done(struct call *c);
/* The call is answered with that problem: writes it where the call was announced. Called by call_problem. */
void audit_outcome(struct call *c, enum err err);
/* Authentication or a scope refused the request, in the name of a key (its id) of a workspace: written at most twice a minute for each of them and the code: at once, and at the minute's end with the number of those that followed.
 * Without a key (who empty) nothing is written. call_problem calls it for what handlers forbid. */
void audit_refused(struct call *c, enum err err, struct str who, struct str workspace);

/* One a node. NULL when memory is out. */
struct audit_refusals *audit_refusals_new(struct node *n);
/* Writes at once what was counted. True when there was something. */
bool audit_refusals_flush(struct audit_refusals *r);
void audit_refusals_free(struct audit_refusals *r);

#endif
