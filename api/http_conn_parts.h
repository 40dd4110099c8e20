/* A connection's own parts, shared by http_conn.c (its states, what comes in, what goes out) and http_reply.c (how a request is answered), and by nobody else. */
#ifndef ERRAND_API_HTTP_CONN_PARTS_H
#define ERRAND_API_HTTP_CONN_PARTS_H

#include "api/http_conn.h"

enum { HTTP_WIDE_AFTER = 4 }; /* times that a stream filled the kernel's buffer and it was taken */

struct out {
    struct out *next;
    struct http_buf *buf;
    bool framed; /* send wire instead of data */
};

struct http_conn {
    struct loop *loop;
    const struct http_app *app;
    const struct http_transport *ops;
    void *transport;
    enum http_conn_state state;
    struct strbuf in; /* of which in_at bytes are parsed */
    size_t in_at;
    struct http_req *req;
    struct http_head head;
    struct http_chunked chunked;
    struct strbuf body;
    size_t max_body;
    struct out *out, **out_tail;
    size_t out_offset; /* taken of the first */
    size_t queued;
    size_t low_water;
    size_t ignored;
    int64_t progress_ms;
    const struct http_stream_fns *stream;
    struct loop_timer timer;
    unsigned filled; /* how often a stream filled the kernel's buffer since it rested */
    bool framed;     /* where the request ends is known */
    bool is_short;   /* all of the stream comes now */
    bool stays;      /* FLUSHING the end of a stream, behind which another request may come */
    bool http_1_0, close_after, linger_after, processing, write_blocked, draining, half_closed;
    char peer[48];
};

/* Sets what the transport tells of, by the state. */
void conn_watch(struct http_conn *c);
/* PRE: the table has the edge. */
void conn_move(struct http_conn *c, enum http_conn_state to);
/* The request was answered; it goes after the turn. c: NULL where the client has gone. */
void conn_drop_req(struct http_conn *c, struct http_req *req);
/* Ends the connection at once; its memory goes after the turn. */
void conn_close(struct http_conn *c, bool reset);
/* Sets the deadline that the present state has. */
void conn_arm(struct http_conn *c);
/* Goes on with what was read, as far as it reaches. One request is handled at a time. */
void conn_process(struct http_conn *c);
void conn_forget_input(struct http_conn *c);
/* Queues a buffer, whose reference it takes. */
void conn_enqueue(struct http_conn *c, struct http_buf *b, bool framed);
/* Drops what is queued behind the first buffer. PRE: there is one. */
void conn_drop_behind(struct http_conn *c);

#endif
