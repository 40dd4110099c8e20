/* Answers that say what went wrong: problem+json (RFC 9457) with `code` from the one error table. */
#ifndef ERRAND_API_PROBLEM_H
#define ERRAND_API_PROBLEM_H

#include "api/http.h"

/* Answers err; detail (NULL: none) says which field and what to do. Adds Retry-After for what may work later, WWW-Authenticate to a 401. */
void problem_reply(struct http_req *req, enum err err, const char *detail);
/* The same with a status of its own and further members: `"runId":"…"` (raw JSON members, or NULL). */
void problem_reply_with(struct http_req *req, enum err err, int status, const char *detail, const char *members);

#endif
