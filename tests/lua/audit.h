/* The strict audit that tests of scripts end with, in both directions: every run is in just the structures that its
 * status says, and every entry of a structure names a run that says so. Beside it: "nothing was written", and the few
 * attempts and batches that several files need (more in rig.h). */
#ifndef ERRAND_TESTS_LUA_AUDIT_H
#define ERRAND_TESTS_LUA_AUDIT_H

#include "rig.h"

#define NOBODY "00000000-0000-4000-8000-000000000000"
#define TOKEN  "sha" /* what rig_started stores as the attempt's token */

/* What the audit of `errand doctor` (cli/audit.h) finds, a line "key: what" each. */
const char *audit_findings(struct harness *h);
/* Fails unless that is nothing. */
void audit_check(struct harness *h);
/* Fails unless all that is left is what runs may leave behind: bells, runners and their leases, the reaper's tick,
 * Idempotency-Keys, statistics, the pace of a rate. */
void audit_nothing_left(struct harness *h);

/* That a call answers with that code and leaves every key as it was. */
#define audit_refuses(h, call, wanted)                                                                                 \
    do {                                                                                                               \
        const char *audit_before_ = rig_dump(h);                                                                       \
        harness_assert_err((call), wanted);                                                                            \
        assert_string_equal(rig_dump(h), audit_before_);                                                               \
    } while (0)

/* Submits, registers inc, claims; the run is `provisioning`. o may be NULL. */
const struct script_claim_runs *audit_claimed(struct harness *h, const char *inc, const struct rig_run *o);
/* The same, and started: `running`. */
const struct script_claim_runs *audit_running(struct harness *h, const char *inc, const struct rig_run *o);
/* The run's id, NUL-terminated. */
const char *audit_id(struct harness *h, const struct script_claim_runs *row);
enum err audit_hand_back(struct harness *h, const char *inc, const struct script_claim_runs *row);
enum err audit_handle(struct harness *h, const struct script_claim_runs *row, const char *handle, const char *stats);
/* One batch of a remote attempt: the events first … last of one entry (none when first is 0), all at time t_ms;
 * claim: NULL, or the status that it claims with the seq behind them. ret_reply may be NULL. */
enum err audit_batch(struct harness *h, const struct script_claim_runs *row, int64_t first, int64_t last, int64_t t_ms,
                     const char *claim, const struct script_append_reply **ret_reply);
/* The same from arguments that a test has changed. */
struct script_append_args audit_batch_args(struct harness *h, const struct script_claim_runs *row, int64_t first,
                                           int64_t last, int64_t t_ms, const char *claim);
/* A field of the run's event entry i (negative: from the end); the id where field is NULL. */
const char *audit_event(struct harness *h, const char *run, int i, const char *field);
/* Makes a delayed run due now. */
void audit_due(struct harness *h, const char *run);
/* What is published on channels that match the pattern (under the shard's prefix) between these two calls: a line
 * "channel message" each; audit_heard ends the listening. */
redisContext *audit_listen(struct harness *h, const char *pattern);
const char *audit_heard(struct harness *h, redisContext *ear);

#endif
