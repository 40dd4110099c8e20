/* Names of Redis keys, built here and nowhere else in C (lua/include/keys.lua is the scripts' half; tests/lua/test_keys.c compares the two).
 * A shard's prefix is `errand:{N}:`, the global one `errand:{g}:`; every name is a prefix and a path. Pure. */
#ifndef ERRAND_COMMON_KEYS_H
#define ERRAND_COMMON_KEYS_H

#include "common/base.h"

#define KEYS_PREFIX_MAX 64 /* bytes of the configured prefix */
#define KEY_MAX         512

struct key {
    char s[KEY_MAX]; /* NUL-terminated */
    size_t len;
};

static inline struct str key_str(const struct key *k)
{
    return (struct str){k->s, k->len};
}

/* Whether it may name an agent, a queue or a workspace: letters, digits, '.', '_', '-', beginning with a letter or digit, at most LIMIT_NAME. */
bool keys_name_valid(struct str name);
/* `errand:{3}:`; prefix is the configured one (`errand:`). */
struct key keys_shard(struct str prefix, unsigned shard);
struct key keys_global(struct str prefix);
/* Of a shard (shard_prefix from keys_shard): */
struct key keys_run(struct str shard_prefix, struct str run_id);    /* run:ID */
struct key keys_events(struct str shard_prefix, struct str run_id); /* run:ID:events */
struct key keys_wake(struct str shard_prefix, struct str run_id);   /* run:ID:wake, a channel */
struct key keys_data(struct str shard_prefix, struct str workspace, const char *kind,
                     struct str name); /* data:WS:KIND:NAME, what agents keep; name: at most LIMIT_STORAGE_NAME */
struct key keys_upload(struct str shard_prefix, struct str workspace, const char *kind, struct str upload,
                       struct str name); /* upload:WS:KIND:UPLOAD:NAME, parts that are not whole yet */
struct key keys_stdin(struct str shard_prefix, struct str run_id);    /* run:ID:stdin, lines for its standard input */
struct key keys_logs(struct str shard_prefix, struct str run_id);     /* run:ID:logs, the log tail */
struct key keys_bell(struct str shard_prefix, struct str queue);      /* bell:QUEUE */
struct key keys_ctl(struct str shard_prefix, struct str incarnation); /* ctl:INC, a channel */
struct key keys_due(struct str shard_prefix);                         /* due, a channel: a new earliest delayed run */
struct key keys_quota(struct str shard_prefix, struct str key_id);    /* quota:KEY: of its rate limit */
struct key keys_hook_wake(struct str shard_prefix);                   /* hookw, a channel: a delivery is due */
struct key keys_bundle(struct str shard_prefix, struct str workspace, struct str hex); /* bundle:WS:HEX */
/* bundle:WS:HEX:N, the n-th chunk of its archive */
struct key keys_bundle_chunk(struct str shard_prefix, struct str workspace, struct str hex, unsigned n);
struct key keys_signing_secret(struct str global_prefix); /* secret */
struct key keys_version(struct str global_prefix);        /* keyver: raised with each change of a key */
struct key keys_news(struct str global_prefix);           /* keynews, a channel */

#endif
