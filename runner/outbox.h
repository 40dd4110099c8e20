/* An attempt's events on their way to Redis: numbered, batched, appended oldest first, each immutable once sent. What waits goes together, in one transaction; the next when that is answered. The fence (docs/architecture.md) is Redis' own refusal of an entry id.
 * Owns its batches. Bounded: past output_buffer bytes it asks its owner to stop reading. */
#ifndef ERRAND_RUNNER_OUTBOX_H
#define ERRAND_RUNNER_OUTBOX_H

#include "common/event.h"
#include "runner/worker.h"

struct batch;

struct outbox_fns {
    void (*fenced)(void *ctx);          /* this attempt may no longer write: it is over */
    void (*full)(void *ctx, bool full); /* too much is held: read on only when it is false again */
    void (*drained)(void *ctx);         /* everything was answered */
    void (*stop_asked)(void *ctx);      /* `started` said that a stop was asked for */
    void (*too_much)(void *ctx);        /* more events or bytes than a run may have; what came is dropped */
    void (*storage_full)(void *ctx);    /* Redis stayed full for full_ms */
    void (*stored)(void *ctx, int64_t out, int64_t err); /* all events of the output up to a mark are stored */
};

struct outbox {
    struct worker_shard *shard;
    struct id run_id;
    int64_t epoch, next_seq, last_t_ms, count, bytes;
    const struct outbox_fns *fns;
    void *ctx;
    struct batch *first, **tail; /* kept (answered lately), then in flight, then waiting */
    struct batch *next_out;      /* the first that is not answered */
    struct batch *last_out;      /* in flight: the last one that is */
    enum err group_err;          /* why what is in flight as one will be refused; ERR_OK: nothing is known */
    struct strbuf open_lines;    /* the batch that still takes events: room for its head, then its lines */
    int64_t open_first, open_last, open_t, open_n;
    int64_t open_out, open_err; /* its mark; -1: none */
    int64_t mark_out, mark_err; /* what holds for all events so far; -1: nothing does */
    size_t held;                /* bytes not answered */
    size_t kept;                /* bytes answered, kept for a while */
    struct loop_timer flush, retry;
    int64_t full_since_ms; /* when Redis first said OOM; 0: it does not */
    bool in_flight, paused, over, limit_said;
    bool many; /* the last batch was large: so will be the next */
    struct event_stamp stamp;
    int64_t wall_ms, wall_turn; /* the time as last read, and the turn of the loop in which that was */
    int64_t since_us;           /* monotonic: about when it was claimed */
    char redis[41];             /* run id of the Redis process that events were last sent to */
};

void outbox_init(struct outbox *o, struct worker_shard *s, const struct id *run_id, int64_t epoch, int64_t first_seq,
                 int64_t last_t_ms, int64_t count, int64_t bytes, const struct outbox_fns *fns, void *ctx);
/* Frees everything; answers still to come are ignored (the owner outlives them: see outbox_quiet). */
void outbox_done(struct outbox *o);
/* No answer is still to come. */
bool outbox_quiet(const struct outbox *o);
/* The attempt's first event, through the `started` script. data: of runtime_started. */
void outbox_started(struct outbox *o, int64_t attempt, struct str data, struct str token_sha, struct str handle);
void outbox_add(struct outbox *o, enum event_kind kind, struct str data);
/* One that is not of the attempt's output: what was marked still holds. */
void outbox_add_aside(struct outbox *o, enum event_kind kind, struct str data);
/* What was added so far is all that so many bytes of the output become: noted with the newest event, if that is not under way yet. */
void outbox_mark(struct outbox *o, int64_t out, int64_t err);
/* Sends what is there at once. */
void outbox_flush(struct outbox *o);
bool outbox_empty(const struct outbox *o);
/* The shard is fresh on a new connection: sends again what Redis may have lost, then goes on. */
void outbox_reconnected(struct outbox *o);
/* The shard is fresh again on the same connection. */
void outbox_kick(struct outbox *o);
/* Fenced or given up: nothing is sent any more. */
void outbox_abandon(struct outbox *o);

#endif
