/* What any node does for one shard, each second, whichever is first: moves runs that are due (promote), takes runs back from lost runners (reap), removes what is over its retention (sweep), runs the ticks of schedules (ticker). */
#ifndef ERRAND_COMMON_CHORES_H
#define ERRAND_COMMON_CHORES_H

#include "common/config.h"
#include "common/redis.h"
#include "common/ticker.h"

enum { CHORES_LOSSES_MAX = 3 }; /* lost runners that a run survives */

struct chores {
    const struct config *config;
    struct redis *commands;
    struct redis_sub *due;
    struct str prefix;
    struct loop_timer promote, reap;
    bool promoting, reaping, sweeping;
    bool promote_again; /* something came due since promote was sent */
    struct ticker ticker;
};

/* Borrows all it is given. subscriptions may be NULL: then a new earliest due time is seen within a second, else at once. */
void chores_start(struct chores *c, struct loop *l, const struct config *config, struct redis *commands,
                  struct redis *subscriptions, struct str prefix, unsigned shard);
/* The command connection is up (again): looks at once, so that this Redis process has its number before anything else is written to it. */
void chores_on_up(struct chores *c);
/* Before the connections are freed; answers that still come do no harm. */
void chores_stop(struct chores *c);

#endif
