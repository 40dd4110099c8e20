/* HTTP/1.1 requests as bytes: a head parser (llhttp in strict mode behind checks of our own, for what it lets through) and a chunked-body decoder. Pure: no I/O, no clock; fuzzed.
 * Implements RFC 9112's refusals: what two parsers could read differently is refused, never guessed. */
#ifndef ERRAND_API_HTTP_PARSE_H
#define ERRAND_API_HTTP_PARSE_H

#include "api/http.h"

/* How long the head at the start of the buffer is, its empty line included; 0 when it is not whole yet. Leading empty lines (at most one CRLF, RFC 9112 2.2) are counted in *ret_skip.
 * Errors as soon as they show: ERR_BAD_REQUEST (*ret_why static), ERR_HEADERS_TOO_LARGE, ERR_URI_TOO_LONG. */
MUST_CHECK enum err http_head_length(struct str bytes, size_t *ret_skip, size_t *ret_len, const char **ret_why);

struct http_head {
    bool chunked;
    bool has_length;
    int64_t content_length; /* 0 when there is no body */
    bool expect_continue;
    bool http_1_0; /* never gets a transfer coding, nor a 100 */
};

/* Parses a whole head (as http_head_length found it) into req: method, target, path, query, headers, keep_alive, all in req's arena. On an error req holds what was understood (for the log).
 * ERR_BAD_REQUEST, ERR_METHOD_NOT_ALLOWED, ERR_VERSION_NOT_SUPPORTED, ERR_NOT_SUPPORTED, ERR_EXPECTATION_FAILED, ERR_HEADERS_TOO_LARGE, ERR_NO_MEMORY; *ret_why static. */
MUST_CHECK enum err http_head_parse(struct http_req *req, struct str head, struct http_head *ret_head,
                                    const char **ret_why);

/* Decodes a chunked body, fed in any pieces. Zero-initialise. */
struct http_chunked {
    int state;
    uint64_t left;    /* of the present chunk */
    unsigned digits;  /* of the present size */
    unsigned skipped; /* bytes of extensions and trailers so far: bounded */
    bool quoted_line; /* the trailer line is not empty */
};
enum { HTTP_CHUNKED_MORE, HTTP_CHUNKED_DONE };
/* Takes bytes from *in (moved on) and appends data to body. ERR_BAD_REQUEST for broken framing, ERR_BODY_TOO_LARGE past max_body (also announced by a chunk's size alone). */
MUST_CHECK enum err http_chunked_feed(struct http_chunked *c, struct str *in, struct strbuf *body, size_t max_body,
                                      int *ret_status, const char **ret_why);

#endif
