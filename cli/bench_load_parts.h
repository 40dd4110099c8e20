/* Inside the load engine: its state, its addresses, and reading answers. */
#ifndef ERRAND_CLI_BENCH_LOAD_PARTS_H
#define ERRAND_CLI_BENCH_LOAD_PARTS_H

#include <sys/socket.h>

#include "cli/bench_load.h"

#define LOAD_READ (256U << 10) /* one read takes at most so much */

struct load_address {
    struct sockaddr_storage address;
    socklen_t len;
    int family;
};

struct load {
    struct load_address addresses[LOAD_URLS_MAX];
    size_t address_count;
    char host[280]; /* of the first URL */

    struct load_conn *conns;
    size_t count;
    uint32_t *wanted; /* ring of indexes: to be opened */
    size_t wanted_first, wanted_count, opening;
    bool pace_until_answer;

    const struct load_fns *fns;
    void *ctx;
    void (*alarm)(void *ctx);
    int epoll, timer;
    bool stop;
    unsigned ignored; /* interrupts */
    bool progress;    /* something came in this turn */
    int64_t bytes;
    char *buffer; /* LOAD_READ */
};

struct load_head {
    int status;
    size_t len;     /* with the empty line */
    int64_t length; /* of the body; 0 for a stream */
    bool stream;    /* without a length: chunked, or until the end of the connection */
    bool chunked, closes;
};

/* False while it is not there to its end. A status of 0 when it is none. */
bool load_head_parse(struct str bytes, struct load_head *ret_head);

enum load_stream_end { LOAD_STREAM_ON, LOAD_STREAM_DONE, LOAD_STREAM_STOPPED, LOAD_STREAM_BROKEN };

/* Takes the chunks' framing off and gives the rest to the stream callback. */
enum load_stream_end load_stream_feed(struct load_conn *c, struct str bytes);

#endif
