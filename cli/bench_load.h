/* The load engine of `errand bench`: one thread, epoll, plain HTTP/1.1 over keep-alive connections. A request is one write of bytes that stand ready, an answer one read; nothing is allocated or copied for
 * either unless it comes in pieces. It waits in epoll_wait only, so what it can't do in time shows as its share of CPU. Belongs to one thread; callbacks may call everything here. */
#ifndef ERRAND_CLI_BENCH_LOAD_H
#define ERRAND_CLI_BENCH_LOAD_H

#include "common/err.h"
#include "common/strbuf.h"

#define LOAD_URLS_MAX 16
#define LOAD_BODY_MAX (16U << 20) /* of one answer */

struct load;

/* CLOSED → CONNECTING → READY → ASKED → READY …; ASKED → STREAM, where the answer has no length; each → CLOSED. */
enum load_state { LOAD_CLOSED, LOAD_CONNECTING, LOAD_READY, LOAD_ASKED, LOAD_STREAM };

struct load_conn {
    struct load *load;
    size_t index; /* among the connections; the URL is that modulo the number of URLs */
    void *user;
    int64_t asked_us; /* when the request under way was given to load_send */

    int fd;
    enum load_state state;
    enum load_state lost_in; /* of a connection that was closed from outside: the state that it was in */
    bool opening;            /* counts among those that are opened at a time */
    bool wants_out;          /* epoll watches for room */
    bool closes;             /* the answer says so */
    bool chunked;            /* of a stream */
    uint8_t chunk_part;      /* of its framing: see bench_load.c */
    int64_t chunk_left;
    struct str out;    /* what of the request is still to be written; borrowed */
    struct strbuf in;  /* an answer that came in pieces */
    struct strbuf own; /* for a request of its own; the engine only frees it */
};

struct load_fns {
    /* It is open and nothing is under way: load_send, or leave it. Called after each answer too. */
    void (*ready)(void *ctx, struct load_conn *c);
    /* The body is valid during the call. */
    void (*answer)(void *ctx, struct load_conn *c, int status, struct str body);
    /* What comes of an answer without a length, its framing taken off; false closes it. May be NULL: thrown away. */
    bool (*stream)(void *ctx, struct load_conn *c, struct str bytes);
    /* It was closed from outside, and is CLOSED: why in words, or NULL for the proper end of a stream. load_open opens it again. */
    void (*gone)(void *ctx, struct load_conn *c, const char *why);
};

enum load_end {
    LOAD_STOPPED, /* load_stop was called */
    LOAD_TIME,    /* until_us passed */
    LOAD_SILENT,  /* nothing came for too long */
    LOAD_INTERRUPTED,
};

/* urls: comma list of http://HOST[:PORT]; names are looked up here (blocks). On ERR_CONFIG ret_message has a sentence. loopback: each address is one of this machine. */
MUST_CHECK enum err load_new(const char *urls, struct load **ret_load, bool *ret_loopback, struct strbuf *ret_message);
void load_free(struct load *l);
/* HOST[:PORT] of the first URL, for the Host field. */
const char *load_host(const struct load *l);
size_t load_urls(const struct load *l);
/* Makes room for so many connections, all CLOSED, and raises the limit of open files. Those from before are closed. ERR_LIMIT_EXCEEDED: the system gives not so many files, *ret_files says how many. */
MUST_CHECK enum err load_connections(struct load *l, size_t count, size_t *ret_files);
size_t load_count(const struct load *l);
struct load_conn *load_conn_at(struct load *l, size_t index);

void load_set(struct load *l, const struct load_fns *fns, void *ctx);
/* Wants c open: at most 64 at a time are on their way to that, the others wait for their turn. until_answer: a stream counts as on its way until its answer begins. */
void load_open(struct load_conn *c);
void load_pace(struct load *l, bool until_answer);
/* PRE: READY. The bytes stay as they are until the answer. */
void load_send(struct load_conn *c, struct str request);
void load_close(struct load_conn *c);
/* From here on everything waits for fn to be called at this time (monotonic µs); 0: never. */
void load_alarm(struct load *l, int64_t at_us, void (*fn)(void *ctx));
/* Runs until one of the above; silent_ms: how long nothing may come (0: for ever). */
enum load_end load_run(struct load *l, int64_t until_us, int64_t silent_ms);
/* From here on load_run ends at a second interrupt only: what is under way may come to its end. */
void load_drain(struct load *l);
/* Ends load_run after this turn. */
void load_stop(struct load *l);
/* How many bytes were read so far. */
int64_t load_bytes(const struct load *l);
int64_t load_now_us(void);

/* One request, waited for (up to timeout_ms, and until a second Ctrl-C), on a connection of its own to the first URL that answers. body gets the answer's. Returns its status; 0 with *ret_why when none came. */
int load_call(struct load *l, struct str request, int64_t timeout_ms, struct strbuf *body, const char **ret_why);

#endif
