/* HTTP to the API, blocking, over libcurl. Holds several base URLs and goes on to the next one when a node can't be reached; what one answered stays the first choice.
 * Interrupts (see interrupt.h) are noticed while it waits. */
#ifndef ERRAND_CLI_CLIENT_H
#define ERRAND_CLI_CLIENT_H

#include "common/arena.h"
#include "common/err.h"
#include "common/json.h"
#include "common/strbuf.h"

#define CLIENT_URLS_MAX   16
#define CLIENT_ANSWER_MAX (64U << 20)

struct client;

struct response {
    int status;             /* 0: no node answered */
    struct strbuf body;     /* NUL-terminated when there is one */
    int64_t retry_after_ms; /* -1 when it was not said */
    bool interrupted;       /* given up because the person asked for it */
    char why[256];          /* status 0: what went wrong with the last node, in words */
    char etag[96];          /* as it was sent, with its quotes; "" for none, or a longer one */
};

/* urls: comma list, checked by where_find. key: "" for none. Both copied. NULL when memory is out. */
struct client *client_new(const char *urls, const char *key);
void client_free(struct client *c);
/* The base URL that answered last (or comes first). Borrowed until the next request. */
const char *client_url(const struct client *c);
size_t client_url_count(const struct client *c);
/* From here on the next URL comes first. */
void client_next_url(struct client *c);
bool client_has_key(const struct client *c);

struct request {
    const char *method;
    const char *path;         /* with its query, percent-encoded */
    struct str body;          /* JSON; {NULL, 0} for none */
    const char *content_type; /* of the body; NULL: JSON */
    const char *
        idempotency_key; /* NULL for none; a POST without one is not repeated once it may have arrived, unless it is repeatable */
    int64_t timeout_ms; /* for the answer; 0: 30 s */
    bool repeatable;    /* a POST that may be sent twice without harm */
    bool once;          /* one node, one try */
    bool (*tick)(
        void *ctx); /* called about twice a second while it waits, ends it when it returns false; may be NULL */
    void *tick_ctx;
};

/* Sends it, to each URL in turn until one answers; repeats answers 429 and 503 as their Retry-After says, for up to 10 s. ret_response is filled in any case, and is to be given to response_done. */
void client_send(struct client *c, const struct request *request, struct response *ret_response);
void response_done(struct response *r);
/* 2xx. */
bool response_ok(const struct response *r);
/* Says on standard error why there is no good answer, and what to do. Returns the exit status for it. */
int client_complain(const struct client *c, const struct response *r);
/* The same about one of several things: its name stands before the reason. */
int client_complain_about(const struct client *c, const struct response *r, const char *about);
/* Parses the body into the arena; NULL after a complaint. max_expand as in json_parse. */
struct json *client_json(const struct response *r, struct arena *arena, int max_expand);

/* A streaming GET: bytes are given to fn as they come. Ends at the end of the answer, when fn or tick returns false, when nothing came for idle_ms, or on an interrupt. tick is called about twice a second (may be NULL). */
struct stream_request {
    const char *path;
    const char *accept;        /* NULL: text/event-stream */
    const char *last_event_id; /* NULL for none */
    int64_t idle_ms;
    bool (*fn)(void *ctx, struct str bytes); /* only of a 200 answer; other bodies are kept in ret_response */
    bool (*tick)(void *ctx);
    void *ctx;
};
/* One node, one try. ret_response->status is 0 when the connection broke before a head came; `why` says what ended a stream that broke. */
void client_stream(struct client *c, const struct stream_request *request, struct response *ret_response);

/* Appends text percent-encoded as a query value or path segment. */
void url_encode(struct strbuf *out, struct str text);

#endif
