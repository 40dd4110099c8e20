/* What tells webhooks, on the first thread of each API node: takes deliveries that are due from each shard's outbox under a lease (script hook_take), sends them, says what came of it (hook_done); and looks through the events of runs
 * whose workspace has webhooks that want some (hook_follow, hook_events). Any number of nodes do so together: a lease, or the stored position, lets one at a time. One that dies loses nothing: its leases end. */
#ifndef ERRAND_API_HOOKS_H
#define ERRAND_API_HOOKS_H

#include "api/node.h"

struct hooks;

/* After the node's shards were connected. NULL when memory is out. */
struct hooks *hooks_new(struct node *n);
/* Takes nothing more; what is being sent may end. Takes NULL, and may be called again. */
void hooks_drain(struct hooks *h);
/* Before the node's HTTP client and its connections to Redis are freed: what is being sent is given up then (its lease ends by itself). Takes NULL. */
void hooks_stop(struct hooks *h);
/* After them: their last answers still come here. Takes NULL. */
void hooks_free(struct hooks *h);

#endif
