/* Ids of the events of a stream that may be resumed: which ones were handed on, so that none comes twice. Bounded: it knows the first one and the newest 256. Pure. */
#ifndef ERRAND_RUNNER_EVENT_IDS_H
#define ERRAND_RUNNER_EVENT_IDS_H

#include "common/base.h"

enum { EVENT_IDS_KEPT = 256, EVENT_ID_MAX = 1024 };

struct event_ids {
    char last[EVENT_ID_MAX + 1];
    size_t last_len;
    uint64_t first, ring[EVENT_IDS_KEPT];
    uint64_t count;
    bool resumed;   /* the next one is the first behind a reconnect */
    bool replaying; /* what comes is known, up to the last one */
    bool gap;       /* the last event had no id that could be resumed from */
};

/* The connection begins anew. */
void event_ids_resume(struct event_ids *ids);
/* Whether the event is to be handed on; it is noted as handed on then. An empty id: it has none. */
MUST_CHECK bool event_ids_take(struct event_ids *ids, struct str id);
/* Whether a stream that broke off now can be resumed without loss. */
bool event_ids_can_resume(const struct event_ids *ids);

#endif
