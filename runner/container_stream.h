/* The bytes of a container, both ways: a connection to the engine's socket that becomes a raw stream (attach), or that carries its log. libcurl has no way for that, so it is one request of a fixed form over a pipe of the loop.
 * Belongs to the loop's thread; never blocks. Callbacks come from the loop, never from inside a call. */
#ifndef ERRAND_RUNNER_CONTAINER_STREAM_H
#define ERRAND_RUNNER_CONTAINER_STREAM_H

#include "common/loop.h"
#include "runner/container_parts.h"

struct container_stream;

struct container_stream_fns {
    /* The engine agreed: what is printed from now on comes. */
    void (*open)(void *ctx);
    void (*bytes)(void *ctx, enum job_stream stream, struct str bytes);
    /* Its end, once, and the last call. why: static; NULL where the engine ended it after open. */
    void (*end)(void *ctx, const char *why);
};

/* attach: a container's stdin, stdout and stderr. Else its log from since_ns (wall clock; 0: all of it) on, and what follows where `follow`; no input then.
 * version: of the API, "1.41". NULL: memory, or the socket's path is too long. */
struct container_stream *container_stream_attach(struct loop *l, const char *socket, const char *version,
                                                 const char *id, const struct container_stream_fns *fns, void *ctx);
struct container_stream *container_stream_log(struct loop *l, const char *socket, const char *version, const char *id,
                                              int64_t since_ns, bool follow, const struct container_stream_fns *fns,
                                              void *ctx);
/* Bytes for its stdin; last: then the end of it. Before open they wait. False: too much waits to be read, or there is no stdin. */
bool container_stream_write(struct container_stream *s, struct str bytes, bool last);
void container_stream_read(struct container_stream *s, bool on);
/* No callback comes any more. Takes NULL. */
void container_stream_close(struct container_stream *s);

#endif
