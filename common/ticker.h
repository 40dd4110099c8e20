/* Runs the ticks of one shard's schedules, on any node: whoever comes first moves a schedule on, and the script `tick` lets only one. What the time is, Redis says. */
#ifndef ERRAND_COMMON_TICKER_H
#define ERRAND_COMMON_TICKER_H

#include "common/redis.h"

struct ticker {
    struct redis *commands;
    struct str prefix;
    unsigned shard;
    struct loop_timer timer;
    bool asking;
    size_t waiting; /* calls of `tick` that were not answered yet */
    bool progress;  /* one of them moved a schedule on, here or elsewhere */
    int64_t next_ms;
};

/* Borrows all it is given. */
void ticker_start(struct ticker *t, struct loop *l, struct redis *commands, struct str prefix, unsigned shard);
/* Looks at once: a new earliest tick was announced. */
void ticker_poke(struct ticker *t);
/* Before the connection is freed; answers that still come do no harm. */
void ticker_stop(struct ticker *t);

#endif
