/* One thread of an API node: its loop, server, Redis connections and live subscriptions. Holds no run state. Nothing is shared between threads but the read-only configuration. */
#ifndef ERRAND_API_NODE_H
#define ERRAND_API_NODE_H

#include "api/http.h"
#include "api/sealer.h"
#include "common/chores.h"
#include "common/config.h"
#include "common/id.h"
#include "common/keys.h"
#include "common/redis.h"

struct audit_refusals;
struct live;
struct done_ask;
struct keys;
struct auth_fail;
struct http_client;
struct issuers;
struct hooks;
struct vault;
struct redactors;

struct shard {
    struct node *node;
    unsigned number;
    struct key prefix;
    struct redis *commands;
    struct redis *subscriptions;
    struct redis *durability; /* WAIT only; NULL without min_replicas */
    char run_id[48];          /* of the Redis process it was connected to last */
    bool memory_pressure;
    bool evicting;        /* Redis may evict keys, and that is not allowed */
    struct chores chores; /* of the node's first thread; and so is the sealer */
    struct sealer sealer;
};

struct node {
    const struct config *config;
    struct loop *loop;
    struct http_server *server;
    struct shard *shards;
    unsigned shard_count;
    struct live *live;
    struct done_ask *done_ask; /* the last that is not answered yet: sse.c */
    struct keys *keys;
    struct auth_fail *failures;
    struct audit_refusals *refusals; /* lately */
    unsigned hashing, sendings;      /* uploads that are hashed, and downloads in parts, under way */
    unsigned exports;                /* of audit logs, under way */
    unsigned verifying;              /* bundles, whose digest is being worked out */
    struct vault *vault;             /* NULL where no master key is configured */
    bool first;                      /* of its process' threads */
    struct http_client *http;        /* to servers that others chose */
    struct issuers *issuers;         /* whose tokens are exchanged: their keys */
    struct hooks *hooks;             /* of the first thread */
    struct redactors *redactors;     /* of remote attempts that posted lately */
    struct schema_cache *schemas;    /* of agents that were submitted to lately, and of results */
    struct loop_timer poll;
    struct loop_timer drain_limit;
    char secret[65];                 /* signs stream tokens; "" until it was read from Redis */
    int64_t redis_ms, redis_mono_ms; /* Redis' clock, and ours when it was read; 0: not yet */
    bool draining;
    bool flushing; /* the audit log's last entries are on their way */
    void (*stopped)(struct node *n);
};

/* Starts connecting and serving. first: this thread does the chores. ERR_CONFIG or ERR_IO, with a sentence. */
MUST_CHECK enum err node_start(struct node *n, const struct config *config, bool first, struct strbuf *ret_message);
/* Graceful: not ready any more, readers cut without `done`, requests under way finish, at most drain_ms; then the loop stops. */
void node_drain(struct node *n);
/* After the loop has stopped. */
void node_done(struct node *n);
/* All shards reachable, secret known, not evicting, not draining; *ret_why (static) says what is missing. */
bool node_ready(const struct node *n, const char **ret_why);

/* Redis' clock, ms: what all nodes agree on. */
int64_t node_now_ms(const struct node *n);
struct shard *node_shard_of_workspace(struct node *n, struct str workspace);
/* NULL when the id is no UUID, or names a shard that is not there. */
struct shard *node_shard_of_run(struct node *n, struct str run_id);
static inline struct str shard_prefix(const struct shard *s)
{
    return key_str(&s->prefix);
}

#endif
