/* Submitting a run again from its record: `rerun` and `redrive`, of one run or in bulk. */
#ifndef ERRAND_API_RERUN_H
#define ERRAND_API_RERUN_H

#include "api/submit.h"

struct rerun_order {
    struct call *call;
    struct str run_id;   /* the source */
    bool redrive;        /* the source must be a dead letter, and is none afterwards */
    struct str idem_key; /* "" for none; must live until fn is called */
    const char *idem_digest;
    submit_fn fn;
    void *ctx;
};

/* Reads the source and submits it again with the same definition, input and bounds; not with its parent, its times, or what it waited for. fn is called once, later. order is copied; ctx, key and digest are not.
 * Errors: run_not_found, not_dead_letter, and those of a submit. */
void rerun_run(const struct rerun_order *order);

#endif
