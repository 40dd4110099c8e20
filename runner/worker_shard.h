/* A runner's dealings with one shard: registration, claims with the bell, heartbeats and reconciliation, orders. */
#ifndef ERRAND_RUNNER_WORKER_SHARD_H
#define ERRAND_RUNNER_WORKER_SHARD_H

#include "lua/scripts.h"
#include "runner/worker.h"

MUST_CHECK enum err shard_start(struct worker *w, unsigned number, struct strbuf *ret_message);
void shard_done(struct worker_shard *s);
/* Sends a heartbeat now (or right behind the one in flight). */
void shard_beat(struct worker_shard *s);
/* Sends the one that had to wait. */
void shard_beat_if_due(struct worker_shard *s);
/* A slot is free, or an attempt over. */
void shard_may_claim_more(struct worker_shard *s);

/* worker.c, for this file: */
void worker_attempt_begin(struct worker_shard *s, const struct script_claim_runs *row);
void worker_attempt_add(struct attempt *a);
void worker_stop_if_done(struct worker *w);

#endif
