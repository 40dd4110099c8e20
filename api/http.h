/* What a handler sees of HTTP: a request, and the ways to answer it. The connection layer (http_conn) owns sockets, parsing, timeouts and bounds; a handler answers each request exactly once,
 * now or later. A request lives until it was answered, also when its client has gone (the answer is then dropped), so a handler's callbacks may always touch it. One thread. */
#ifndef ERRAND_API_HTTP_H
#define ERRAND_API_HTTP_H

#include "common/arena.h"
#include "common/err.h"
#include "common/limits.h"
#include "common/loop.h"
#include "common/strbuf.h"

struct http_conn;
struct http_server;

enum http_method { HTTP_GET_, HTTP_HEAD_, HTTP_POST_, HTTP_PUT_, HTTP_DELETE_, HTTP_OPTIONS_, HTTP_OTHER_ };

struct http_header {
    struct str name;  /* as sent; compare with http_header() */
    struct str value; /* without surrounding white space */
};

struct http_req {
    enum http_method method;
    struct str method_word;
    struct str target; /* as sent */
    struct str path;   /* percent-decoded, no query, begins with '/'; never holds NUL, "." or ".." segments (refused) */
    struct str query;  /* raw, without '?' */
    size_t query_index, query_at; /* where http_query_name goes on: asking for one after the other is linear */
    struct http_header *headers;
    size_t header_count;
    struct str body;    /* whole; empty when there was none */
    struct arena arena; /* the request's memory: everything above is in it, but the body */
    struct strbuf body_memory;
    struct str peer;     /* client address for logs */
    uint64_t id;         /* request id, in logs and X-Request-Id */
    int64_t received_us; /* monotonic, when its last byte was in */
    bool keep_alive;
    bool deciding;     /* on_head decides later: http_head_decided */
    int retry_after_s; /* of an answer that asks to come again; 0: 1 */
    /* for the layer above: */
    const void *route;    /* set by on_head */
    struct str params[4]; /* path parameters, in order */
    void *user;           /* the handler's own */
    /* Called once when the client went away before the answer was complete (long polls and streams give up what they wait for). NULL for none. Not called after the answer was complete. */
    void (*on_gone)(struct http_req *req);
    struct strbuf reply_headers; /* what http_reply_header added */
    struct http_conn *conn;      /* NULL once the client is gone */
    struct loop *loop;
};

/* What the layer above gives to the server. */
struct http_app {
    void *ctx;
    /* The head is in (body is not): finds the route and says how large a body it takes. Returns ERR_OK, or an error that is answered at once (404, 405, 401 …; the body is then not read and the connection closed after the answer
     * unless there was none). Also where `Expect: 100-continue` is decided: only an OK head gets 100. An app that has to ask somebody first sets req->deciding and calls http_head_decided later. */
    enum err (*on_head)(void *ctx, struct http_req *req, size_t *ret_max_body, const char **ret_detail);
    /* The whole request is in. */
    void (*on_request)(void *ctx, struct http_req *req);
    /* Writes the answer to an error found by the layers below or by on_head: problem+json by http_reply. */
    void (*on_error)(void *ctx, struct http_req *req, enum err err, const char *detail);
};

/* The header's value; of several the first; {NULL,0} when it is not there. name in lower case, compared without case. */
struct str http_header(const struct http_req *req, const char *name);
/* How often a header of that name stands in the request. */
size_t http_header_count(const struct http_req *req, const char *name);
/* A query parameter, percent- and plus-decoded into the request's arena; index counts repeated ones from 0. False when it is not there; ERR in *ret_err for a bad encoding. */
bool http_query(struct http_req *req, const char *name, size_t index, struct str *ret_value);
/* The name of the i-th query parameter; false past the end (to refuse unknown ones). */
bool http_query_name(struct http_req *req, size_t i, struct str *ret_name);

/* on_head's answer, later: the same as it would have returned. Exactly once, never from inside on_head; also for a client that has gone. */
void http_head_decided(struct http_req *req, enum err err, size_t max_body, const char *detail);

/* Adds a header to the answer (before the reply call). Both copied into the request's arena; a CR or LF in a value is a broken precondition. */
void http_reply_header(struct http_req *req, const char *name, struct str value);
/* Answers with a whole body (copied). content_type NULL for none. HEAD requests get the headers only. The request is freed some time after. */
void http_reply(struct http_req *req, int status, const char *content_type, struct str body);

/* ---- streams: an answer without an end, chunked (HTTP/1.1) or until close (1.0) ---- */

/* Bytes shared by many streams: encoded once, sent by writev without a copy, freed with the last reference. The bytes are a whole number of SSE frames. */
struct http_buf {
    uint32_t refs;
    uint32_t len;
    char *data; /* len bytes of payload, with room for the chunk framing kept around it by http_buf_new */
    char *wire; /* the same with chunk framing ("1a2b\r\n" … "\r\n") */
    uint32_t wire_len;
};
/* One reference. fill data (payload_len bytes), which stands inside wire. NULL when memory is out. */
struct http_buf *http_buf_new(size_t payload_len);
/* Where less than the room was filled; before anybody else has a reference. */
void http_buf_shorten(struct http_buf *b, size_t payload_len);
struct http_buf *http_buf_ref(struct http_buf *b);
void http_buf_unref(struct http_buf *b);

struct http_stream_fns {
    /* Everything queued so far went to the kernel down to low_water bytes: more may come. */
    void (*on_drain)(struct http_req *req);
};
/* Sends the head (with headers added before) and turns the connection into a stream: request bytes that still come are ignored up to a bound. From here on on_gone tells the end. The request's arena and head are released
 * (path, headers … are empty afterwards; user, id, peer stay): an idle stream costs under 4 KiB in all. HEAD: answers the head only and ends; returns false then (the req is gone for the handler). */
bool http_stream_begin(struct http_req *req, int status, const char *content_type, const struct http_stream_fns *fns,
                       size_t low_water);
/* Queues a buffer (takes a reference of its own). Sent with what else is queued in one writev at the end of the turn. */
void http_stream_send(struct http_req *req, struct http_buf *b);
/* All of it comes now, and is no more than the kernel takes of a stream that is read as fast as it comes: it may take that at once. */
void http_stream_is_short(struct http_req *req);
/* Little is to come for now: a send buffer that the kernel was given while much came is as small as at the start again. */
void http_stream_rests(struct http_req *req);
/* Bytes queued and not yet taken by the kernel. */
size_t http_stream_queued(const struct http_req *req);
/* Monotonic ms when the kernel last took bytes of this stream (or when nothing was waiting). */
int64_t http_stream_progress_ms(const struct http_req *req);
/* Ends it well (last chunk; then the connection takes another request, where the client may send one and sent nothing meanwhile) once everything queued is out; the req is gone for the handler (no on_gone). */
void http_stream_end(struct http_req *req);
/* Cuts it at once, without the end of the chunked body; the req is gone for the handler (no on_gone). */
void http_stream_cut(struct http_req *req);
/* The same behind the buffer that is being written (what is queued behind it is dropped), if the client takes it in time. */
void http_stream_cut_whole(struct http_req *req);

/* ---- the server ---- */
/* Listens (SO_REUSEPORT when reuse_port) on "host:port"; port 0 takes a free one. ERR_CONFIG for a bad address, ERR_IO when it can't be bound (*ret_why says why; static or in errno's words). */
MUST_CHECK enum err http_server_new(struct loop *l, const char *address, bool reuse_port, const struct http_app *app,
                                    struct http_server **ret_server, const char **ret_why);
int http_server_port(const struct http_server *s);
/* Graceful: stops accepting, closes idle connections, lets answers under way finish (with Connection: close), calls done(ctx) when none is left. Streams are the app's to cut. */
void http_server_drain(struct http_server *s, void (*done)(void *ctx), void *ctx);
/* Closes everything at once and frees after the turn. */
void http_server_free(struct http_server *s);
size_t http_server_connections(const struct http_server *s);

#endif
