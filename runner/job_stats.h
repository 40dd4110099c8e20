/* Resource statistics of a job as JSON. Contract: executors.md; what is not known is absent. */
#ifndef ERRAND_RUNNER_JOB_STATS_H
#define ERRAND_RUNNER_JOB_STATS_H

#include "runner/attempt.h"

/* {"cpuPercent"?, "memoryMb"?, "networkRxBytes"?, "networkTxBytes"?}; false: nothing is known. */
MUST_CHECK bool job_stats_write(const struct job_stats *stats, struct strbuf *out);
/* The notification of an attempt whose events this runner writes. stats: what job_stats_write wrote. */
void job_stats_event(struct attempt *a, struct str stats);

#endif
