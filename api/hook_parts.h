/* The two halves of hooks.h, one of each a shard: the sender and the follower. */
#ifndef ERRAND_API_HOOK_PARTS_H
#define ERRAND_API_HOOK_PARTS_H

#include "api/hooks.h"
#include "common/http_client.h"

enum {
    HOOKS_OPEN_MAX =
        64, /* deliveries under way of a node: a receiver has at most four of them (lua/include/hook.lua) */
    HOOK_TAKE_MAX = 16,
    HOOK_LOOK_MS = 1000, /* the net under lost messages */
};

struct hook_shard {
    struct hooks *hooks;
    struct shard *shard;
    struct redis_sub *sub;
    struct loop_timer take, follow;
    bool taking, take_again, following;
    size_t reading; /* reads of event streams under way */
};

struct hooks {
    struct node *node;
    struct hook_shard *shards;
    size_t open; /* deliveries under way */
    bool draining, stopped;
};

/* The timer's functions; ctx: a struct hook_shard. */
void hook_take_due(void *ctx);
void hook_follow_due(void *ctx);
/* There is room again: looks at every shard. */
void hooks_room(struct hooks *h);

#endif
