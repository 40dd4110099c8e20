/* Batches of events from remote runtimes, validated and cut to stream entries. Pure: no I/O; fuzzed. Contract: runner-events.md, "Batch envelope" and "Validation", in its order. */
#ifndef ERRAND_API_BATCH_H
#define ERRAND_API_BATCH_H

#include "common/event.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/redact.h"
#include "common/schema.h"

struct batch_entry {
    int64_t first, last, t;
    int64_t n;
    struct str lines; /* canonical events, one a line */
};

struct event_batch {
    int64_t first, last; /* seq, a claim included */
    int64_t first_t, last_t;
    size_t count; /* events, a claim included */
    struct batch_entry entries[LIMIT_BATCH_EVENTS];
    size_t entry_count;
    bool asks; /* one of them asks for input */
    /* a runtime_terminal: kept as the claim */
    struct str claim_line; /* "" for none */
    int64_t claim_seq, claim_t;
    struct str claim_status, claim_result, claim_error; /* raw JSON but the status */
    struct str claim_retry;                             /* as `finish` takes it: `no`, a delay in ms, or "" */
    /* of a claimed success, after it was checked */
    struct str claim_warnings; /* raw JSON, or "" */
    struct str schema_checked; /* digest of the definition that it was checked against */
};

/* Everything of *ret_batch is in the arena. ndjson: events alone, one a line. On a refusal *ret_detail (in the arena) names the index and the field. */
MUST_CHECK enum err batch_parse(struct arena *a, struct str body, bool ndjson, struct str run_id,
                                struct event_batch *ret_batch, const char **ret_detail);
/* Redacts all that the batch holds, before anything of it is stored: events, and the claim's line, result and error (its status and what it says of retries stay: they are words of the contract). The texts of
 * its assistant_text events are looked at as one text, so that a secret which is split over two events of the batch is found; over two batches it is not, because no node keeps state between requests. What comes
 * out depends on the batch and the redactor alone: a batch that is sent again is the same again. ERR_NO_MEMORY: nothing may be stored. */
MUST_CHECK enum err batch_redact(struct arena *a, struct redactor *r, struct event_batch *b);

/* The claimed result does not meet its agent's outputSchema: warnings; strict: the claim is an error from here on (its line, and with it what counts as the same batch, stays). ERR_NO_MEMORY. */
MUST_CHECK enum err batch_claim_faults(struct arena *a, const struct schema_faults *faults, bool strict,
                                       struct event_batch *b);

#endif
