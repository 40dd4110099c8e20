/* Reading a workspace's audit log: what handlers and the sealer share. */
#ifndef ERRAND_API_AUDIT_LOG_H
#define ERRAND_API_AUDIT_LOG_H

#include "common/chain.h"
#include "common/redis.h"

/* An entry of the stream: its id and its fields; borrows from both. False when the id is none that a script gave. */
MUST_CHECK bool audit_entry_read(struct str id, const redisReply *fields, struct chain_entry *ret_entry);

#endif
