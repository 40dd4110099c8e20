/* From an attempt's job to the body that the executor http posts. Pure. */
#ifndef ERRAND_RUNNER_HTTP_REQUEST_H
#define ERRAND_RUNNER_HTTP_REQUEST_H

#include "runner/executor.h"

/* The variable whose value authenticates to the remote, as a bearer token. It is sent in no other way. */
#define HTTP_TOKEN_VARIABLE "HTTP_TOKEN"

/* The job's line with "env" added: the variables of the agent and of the run, but no secrets, no data sources, and nothing of this machine. Where the remote posts its events itself, what it needs for that is among
 * them (ERRAND_API_BASE, ERRAND_RUNNER_TOKEN). False: the job could not be read, or memory is out. */
MUST_CHECK bool http_request_body(const struct job_spec *spec, struct strbuf *out);

#endif
