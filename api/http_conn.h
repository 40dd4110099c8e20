/* One client connection as a state machine over an abstract transport, so that it is tested and fuzzed without sockets: bytes in, requests out to the app, answers and streams back.
 * Owns its requests, its input and its output queue. Never blocks. http_server gives it a socket. */
#ifndef ERRAND_API_HTTP_CONN_H
#define ERRAND_API_HTTP_CONN_H

#include <sys/uio.h>

#include "api/http.h"
#include "api/http_parse.h"

/*   HEAD ──▶ DECIDING ──▶ BODY ──▶ HANDLING ──▶ HEAD (next request)
 *    │         │ └───────────────▶    │  └─────▶ STREAM ──▶ FLUSHING ──▶ HEAD, or CLOSED
 *    └─────────┴─────────────┴────────┴────────▶ FLUSHING ──▶ LINGERING ──▶ CLOSED  (an answer after which the connection ends)
 *   every state ──▶ CLOSED                                                          (gone, cut, timed out)
 * DECIDING: the app was given the head and says, now or later, whether the request is wanted; nothing is read meanwhile.
 */
#define HTTP_CONN_STATES(X)  X(HEAD) X(DECIDING) X(BODY) X(HANDLING) X(STREAM) X(FLUSHING) X(LINGERING) X(CLOSED)
#define HTTP_CONN_ENUM(name) HTTP_CONN_##name,
enum http_conn_state { HTTP_CONN_STATES(HTTP_CONN_ENUM) HTTP_CONN_STATE_COUNT };
#undef HTTP_CONN_ENUM
/* Whether the table has the edge. */
bool http_conn_edge(enum http_conn_state from, enum http_conn_state to);

struct http_transport {
    /* Bytes taken, 0 when full, -1 when dead. more: the rest follows at once, so that these need not travel by themselves. */
    ssize_t (*writev)(void *t, const struct iovec *iov, int n, bool more);
    void (*watch)(void *t, bool read, bool write); /* what it should be told of */
    void (*need_flush)(void *t);                   /* http_conn_flush is to be called before the loop sleeps */
    void (*bound_kernel)(
        void *t,
        bool
            wide); /* a stream begins, or rests: bound the kernel's send buffer; wide: of one that takes what it is given as fast as it comes */
    void (*shutdown_write)(void *t);
    void (*close)(void *t, bool reset); /* the last call; http_conn_free follows after the turn */
};

/* NULL when memory is out. peer: copied. */
struct http_conn *http_conn_new(struct loop *l, const struct http_app *app, const struct http_transport *ops,
                                void *transport, const char *peer);
void http_conn_on_bytes(struct http_conn *c, struct str bytes);
/* The client ended its side, or the socket failed. */
void http_conn_on_eof(struct http_conn *c, bool failed);
void http_conn_on_writable(struct http_conn *c);
void http_conn_flush(struct http_conn *c);
/* Ends it now (its request's on_gone is called). */
void http_conn_kill(struct http_conn *c);
/* No request after the present one. Closes an idle one. */
void http_conn_drain(struct http_conn *c);
enum http_conn_state http_conn_state(const struct http_conn *c);
/* Bytes of input and output it holds. */
size_t http_conn_held(const struct http_conn *c);

#endif
