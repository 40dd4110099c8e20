/* The bytes of an answer: its head, and a body that is there already. Used by http_conn alone. */
#ifndef ERRAND_API_HTTP_ANSWER_H
#define ERRAND_API_HTTP_ANSWER_H

#include "api/http.h"

struct http_answer {
    int status;
    const char *content_type; /* NULL for none */
    int64_t length;           /* what Content-Length says; -1 for none */
    bool keep_alive, chunked;
};

/* Head and body (copied) as one buffer, which is not to be framed. NULL when memory is out, or the headers that were added outgrew their bound. */
struct http_buf *http_answer_buf(const struct http_req *req, const struct http_answer *a, struct str body);

#endif
