/* The rows of a list of queues, gathered shard by shard: counts by name, and the slots of the nodes that serve each. Everything lives in the request's arena. Pure. */
#ifndef ERRAND_API_QUEUE_ROWS_H
#define ERRAND_API_QUEUE_ROWS_H

#include "common/arena.h"

struct queue_row {
    struct str name;
    int64_t waiting, scheduled, running, max_waiting; /* max_waiting: 0 for none */
    bool paused, draining;
    int64_t oldest_ms;                         /* Redis time since when the oldest waits; 0: none does */
    int64_t success, error, stopped, ended_ms; /* runs that ended in the last minutes, and the sum of their durations */
    int64_t slots, busy;
};

/* The runners of one name and one list of queues: as a rule a single node, which every shard knows; of several, each shard knows each. */
struct queue_node {
    struct str name, queues;         /* queues: comma list */
    int64_t slots, busy;             /* the most that a shard knew of */
    int64_t shard_slots, shard_busy; /* what the shard knows that is being read */
    unsigned shard;
};

struct queue_rows {
    struct arena *arena;
    struct queue_row *rows; /* by name */
    size_t count, max;
    bool closed; /* no further names: one was asked for */
    bool out_of_memory;
    struct queue_node *nodes; /* by name and queues */
    size_t node_count, node_room;
};

/* At most max rows, the first by name. only: the one that is wanted ("" for all), whose row is there from the start. */
MUST_CHECK bool queue_rows_init(struct queue_rows *q, struct arena *a, size_t max, struct str only);
/* The row of that name, made when it is not there (pointers of earlier calls are then void); NULL when it is none that is wanted, or when memory is out. */
struct queue_row *queue_rows_get(struct queue_rows *q, struct str name);
/* Takes in a runner as a shard knows it; those of one shard follow each other. False when memory is out. */
MUST_CHECK bool queue_rows_add_runner(struct queue_rows *q, unsigned shard, struct str name, struct str queues,
                                      int64_t slots, int64_t busy);
/* After all shards: adds the nodes' slots to the rows of the queues that they serve, and makes rows for those that have none. A node counts once, though each shard knows it. False when memory is out. */
MUST_CHECK bool queue_rows_take_slots(struct queue_rows *q);

/* Slots that are needed so that what waits now starts within a minute: those that are busy, and as many as the waiting runs fill for a minute (each one, while no run's duration is known); at least one when something
 * waits. A paused queue needs no more than are busy. */
int64_t queue_desired_slots(const struct queue_row *r);
/* How many a minute, to two decimals. */
double queue_rate(int64_t n, double minutes);

#endif
