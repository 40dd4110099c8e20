/* Failed authentications, counted by source address: all nodes together in Redis; which sources are over the limit each thread learns by its own answers. One over the limit is still let in with a good
 * credential (or a few people behind one address could lock out all others), but is told 429 instead of 401, and few of its credentials are looked up. */
#ifndef ERRAND_API_AUTH_FAIL_H
#define ERRAND_API_AUTH_FAIL_H

#include "api/node.h"
#include "common/cidr.h"

struct auth_fail;
struct auth_fail *auth_fail_new(struct node *n);
void auth_fail_free(struct auth_fail *f);
/* Counts one. */
void auth_fail_count(struct auth_fail *f, const struct ip *source);
/* What a look-up said of a source. */
void auth_fail_learn(struct auth_fail *f, const struct ip *source, int64_t failures, int64_t left_ms);
/* Seconds for which the source is over the limit; 0: it is not. */
int auth_fail_blocked_s(struct auth_fail *f, const struct ip *source);
/* Whether a credential of a source that is over the limit is looked up: some a second are. */
bool auth_fail_may_ask(struct auth_fail *f, const struct ip *source);

#endif
