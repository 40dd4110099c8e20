/* Ids. A run's id is a random UUID (RFC 9562, version 4) whose first byte is its shard. Incarnations are UUIDs too. */
#ifndef ERRAND_COMMON_ID_H
#define ERRAND_COMMON_ID_H

#include "common/err.h"

#define ID_LEN    36
#define TOKEN_LEN 43 /* 32 bytes in unpadded base64url */

struct id {
    char s[ID_LEN + 1]; /* lower case, NUL-terminated */
};

struct id id_new(void);
/* shard: 0 … 255. */
struct id id_new_run(unsigned shard);
/* A canonical lower-case UUID, or false. */
bool id_parse(struct str s, struct id *ret_id);
/* The first byte. */
unsigned id_shard(const struct id *id);
/* The shard (0 … shards-1) of a workspace: hash of its name, the same on every node and in every version. shards: 1 … 256. */
unsigned id_workspace_shard(struct str workspace, unsigned shards);

#endif
