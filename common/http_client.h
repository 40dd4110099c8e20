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
    int64_t
        timeout_ms; /* for the whole of it, name resolution included; at most 10 s of it to connect. PRE: > 0, or a stream's: 0 is for as long as it takes */
    int64_t
        idle_ms; /* no byte for so long is an error, too (ERR_TIMEOUT); time in which it is paused does not count. 0: as long as it takes */
    size_t max_response; /* bytes of the answer's body; a longer one is an error. A stream's may be SIZE_MAX */
    bool https_only;
    const char *
        unix_socket; /* path of a socket to connect to in place of the URL's host, which is only named then; NULL: none. Whether addresses are private is not asked */
    bool
        fresh; /* a connection of its own: what is sent on a used one that ends without an answer curl sends again, of itself */
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

/* ---- answers that are handed on as they come ---- */

struct http_flow;

struct http_flow_head {
    int status;
    struct str content_type; /* as sent; empty when there was none */
    int64_t retry_after_s;   /* as in http_answer */
    const struct http_flow *of;
};
/* A field of the head as sent, the last one of that name; empty when there is none. While the callback runs. */
struct str http_flow_field(const struct http_flow_head *head, const char *name);

/* Static; none of them is called from inside a call into this module. Each may close or pause the stream. */
struct http_flow_fns {
    /* The answer's status and fields, of whatever status; once. Lives while it runs. */
    void (*head)(void *ctx, const struct http_flow_head *head);
    /* Bytes of its body, borrowed; after head. */
    void (*body)(void *ctx, struct str bytes);
    /* Its end, and the last call. err as in http_answer_fn, ERR_OK for a whole answer: one that says neither its length nor that it is chunked is whole whenever the connection ends.
     * error: why not, static; NULL with ERR_OK. */
    void (*end)(void *ctx, enum err err, const char *error);
};
/* Copies all of the call, but not fns. */
struct http_flow *http_client_flow(struct http_client *c, const struct http_call *call, const struct http_flow_fns *fns,
                                   void *ctx);
/* While it is on, no body is handed on, and nothing is read but what fits curl's buffers: the sender has to wait. */
void http_flow_pause(struct http_flow *s, bool on);
/* Closes the connection; no callback comes any more, not even `end`. s is not to be used after this. */
void http_flow_close(struct http_flow *s);

/* Calls that are open. */
size_t http_client_open(const struct http_client *c);

#endif
