/* Requests to servers that somebody outside chose (webhook receivers, key sets of token issuers): libcurl's multi interface on a loop, with bounds on everything.
 *
 * Redirects are not followed (a 3xx is an answer like any other), only http and https are spoken, no proxy of the environment, no cookies, no netrc, no user info in a URL; certificates are verified.
 * Unless the client allows private addresses, each address is looked at when it is about to be connected to (common/address.h): that is behind the resolution of its name, so a DNS answer that changes gets around nothing.
 *
 * A client belongs to the thread of its loop and never blocks: names are resolved in threads of libcurl. */
#ifndef ERRAND_COMMON_HTTP_CLIENT_H
#define ERRAND_COMMON_HTTP_CLIENT_H

#include "common/loop.h"

struct http_client;

struct http_call {
    const char *method;        /* GET, POST, … */
    const char *url;           /* absolute; https, or http where https_only is not set */
    const struct str *headers; /* each a line "Name: value", without its end */
    size_t header_count;
    struct str body;
    int64_t timeout_ms;  /* for the whole of it, name resolution included; at most 10 s of it to connect. PRE: > 0 */
    size_t max_response; /* bytes of the answer's body; a longer one is an error */
    bool https_only;
};

/* What came back. Lives only while the callback runs. */
struct http_answer {
    int status; /* 0 when there was no whole answer */
    struct str body;
    struct str content_type; /* as sent; empty when there was none */
    int64_t max_age_s;       /* of Cache-Control; 0 for no-store and no-cache; -1 when it says nothing */
    int64_t retry_after_s;   /* of Retry-After, as seconds from now; -1 when it says nothing */
    const char *error;       /* where status is 0: one sentence, static, without the URL; else NULL */
};

/* err: ERR_OK (a whole answer, of whatever status); ERR_FORBIDDEN (the address is private, or the URL is none that may be called); ERR_TIMEOUT; ERR_BODY_TOO_LARGE; ERR_CANCELED; ERR_NO_MEMORY; ERR_IO (all else: connection, TLS, protocol).
 * answer is never NULL. */
typedef void (*http_answer_fn)(void *ctx, enum err err, const struct http_answer *answer);

/* NULL when memory is out. The loop must outlive it. */
struct http_client *http_client_new(struct loop *l, bool allow_private);
/* Cancels what is open: each callback once, with ERR_CANCELED. Not from inside a callback. Takes NULL. */
void http_client_free(struct http_client *c);
/* A file of certificates (PEM) to trust instead of the system's; NULL or "" for the system's. Copied; for calls that are sent later. */
void http_client_trust(struct http_client *c, const char *ca_file);
/* Copies all of the call. fn is called exactly once, never from inside this call; it may send again. */
void http_client_send(struct http_client *c, const struct http_call *call, http_answer_fn fn, void *ctx);
/* Calls that are open. */
size_t http_client_open(const struct http_client *c);

#endif
