/* Waiting for a run's end: long polls. A waiter reads nothing but the terminal entry. */
#ifndef ERRAND_API_WAIT_H
#define ERRAND_API_WAIT_H

#include "api/record.h"
#include "api/routes.h"

enum wait_form {
    WAIT_SHOW,   /* the record, ended or not */
    WAIT_SUBMIT, /* 200 with the record, 202 with the summary when time ran out */
    WAIT_STOP,   /* {runId, status}: 200 when it has ended, 202 else */
    WAIT_REST,   /* the bare result, 502 for an error, 202 with the summary when time ran out */
};

/* Answers the call when the run has ended, or after wait_s seconds (0: at once, as it is). */
void wait_for_end(struct call *c, struct str run_id, int64_t wait_s, enum wait_form form);

#endif
