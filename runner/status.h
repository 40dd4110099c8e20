/* A runner's own small HTTP server: /metrics, /healthz, /readyz. Off unless metrics-listen is set. */
#ifndef ERRAND_RUNNER_STATUS_H
#define ERRAND_RUNNER_STATUS_H

#include "runner/worker.h"

struct status_server;
/* *ret_server is NULL when it is off. ERR_CONFIG or ERR_IO with a sentence. */
MUST_CHECK enum err status_start(struct worker *w, struct status_server **ret_server, struct strbuf *ret_message);
void status_stop(struct status_server *s);

#endif
