/* Live reading of runs: whoever wants a run's events, replayed or live, attaches here. Per run and thread there is one subscription (none where it has ended), and one read in flight,
 * however many readers there are; a message only says "read on". What was read is parsed and encoded once and shared. Design: docs/architecture.md, "Read". */
#ifndef ERRAND_API_LIVE_H
#define ERRAND_API_LIVE_H

#include "api/node.h"

struct live_run;
struct live_reader;

/* Entries that stand behind each other in a run's stream, encoded as SSE frames when first wanted. Valid during the delivery. */
struct live_span {
    int64_t id_ms, id_seq;   /* the stream id of the last one */
    int64_t first, last;     /* seq */
    const struct str *lines; /* of each entry: the events, one a line */
    size_t count;            /* entries */
    size_t bytes, events;    /* of all lines */
    struct http_buf *frames; /* of all; NULL until somebody asked */
};
/* Their frames; a reader that has events up to `after` gets a copy of its own without them. A reference for the caller, NULL when nothing is left or memory is out. */
struct http_buf *live_span_frames(struct live_span *s, int64_t after);

struct live_reader_fns {
    /* How many bytes it takes now, a span more at most; 0: none. A reader that was not ready calls live_resume when it is again. */
    size_t (*room)(struct live_reader *r);
    /* Entries behind its position, or around it. May detach, where it can't take them. */
    void (*deliver)(struct live_reader *r, struct live_span *s);
    /* The run's terminal entry was delivered: nothing more comes. Detached already. */
    void (*ended)(struct live_reader *r);
    /* The run is gone, or this node shuts down. Detached already. */
    void (*lost)(struct live_reader *r);
    /* Redis restarted: its position is to be found anew. Detached already; attaches again. NULL where the position does not matter. */
    void (*moved)(struct live_reader *r);
};

/* Embedded in its owner. */
struct live_reader {
    const struct live_reader_fns *fns;
    struct live_run *run; /* NULL when detached */
    struct live_reader *prev, *next;
    int64_t pos_ms, pos_seq; /* stream id it has read up to */
    bool caught_up;          /* it has seen all there was at the last read, and nothing happened since */
    uint64_t served;         /* the last of its run's reads that began at its position */
};

struct live *live_new(struct node *n);
void live_free(struct live *l);
/* Begins to read behind the stream id `start` ("ms-seq"). ended_bytes: what the events of a run that has ended have in all (nothing new can be missed then, so reading need not wait for the
 * subscription); LIVE_NOT_ENDED of one that has not, or where it is unknown. ERR_NO_MEMORY. */
enum { LIVE_NOT_ENDED = -1 };
MUST_CHECK enum err live_attach(struct live *l, struct shard *s, struct str run_id, struct str start,
                                int64_t ended_bytes, const struct live_reader_fns *fns, struct live_reader *r);
/* A reader that wants all of a run is about to attach, once its record was looked at: the first read leaves together with that look, and is for whoever has attached when it comes. PRE: the look was sent already, over
 * the shard's connection for commands. */
void live_expect(struct live *l, struct shard *s, struct str run_id);
/* Where only the terminal entry is wanted. */
#define LIVE_START_AT_END STR("9007199254740991-0")
void live_detach(struct live_reader *r);
void live_resume(struct live_reader *r);
/* The shard's command connection is back; restarted: to another Redis process. */
void live_on_reconnect(struct live *l, struct shard *s, bool restarted);
/* A node that shuts down: every reader is lost. */
void live_cut_all(struct live *l);

#endif
