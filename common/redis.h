/* A connection to one Redis on the loop, over hiredis: reconnects by itself with jittered backoff, answers every request exactly once, times requests out.
 * Three kinds, never shared: commands, subscriptions, blocking calls. hiredis stays inside redis.c (and redisReply in signatures).
 * Host names are resolved by the loop. On connecting: AUTH, SELECT, CLIENT SETNAME, INFO server (for the server's run id); only then it is "up". */
#ifndef ERRAND_COMMON_REDIS_H
#define ERRAND_COMMON_REDIS_H

#include <hiredis/hiredis.h>

#include "common/err.h"
#include "common/loop.h"

enum redis_kind { REDIS_COMMANDS, REDIS_SUBSCRIBE, REDIS_BLOCKING };

struct redis;

/* Called on every change: up == true after a connection was made and checked; false when it was lost. Between false and true, requests fail at once. */
typedef void (*redis_state_fn)(void *ctx, struct redis *r, bool up);
/* err is ERR_OK with a reply (valid during the call only), or why there is none: ERR_REDIS_UNAVAILABLE (not connected, lost, LOADING, READONLY, MASTERDOWN …), ERR_TIMEOUT (the connection is cut too: what Redis
 * did with the command is unknown), ERR_MEMORY_PRESSURE (Redis answered OOM), ERR_INTERNAL (any other error reply); in these two reply is the error reply. NOSCRIPT and "Function not found" are
 * passed as ERR_OK with the error reply. Never called from inside the call that asked. */
typedef void (*redis_reply_fn)(void *ctx, enum err err, const redisReply *reply);

struct redis_options {
    struct loop *loop;
    enum redis_kind kind;
    const char *url;         /* redis://[user:password@]host[:port][/db] or unix:///path[?db=n]; copied */
    const char *user;        /* whose password that is; NULL or "" for Redis' default user; copied */
    const char *password;    /* used, with its user, where the URL has none; NULL or "" for none; copied */
    const char *name;        /* for CLIENT SETNAME and logs, e.g. "errand-api:node1"; copied */
    int64_t timeout_ms;      /* per command; 0: 5000. Blocking calls have their own: redis_command_timeout */
    size_t max_pending;      /* requests without an answer; 0: 100000. Past it: ERR_OVERLOADED */
    redis_state_fn on_state; /* may be NULL */
    void *ctx;
};

/* Checks the URL's form: ERR_CONFIG and a sentence. */
MUST_CHECK enum err redis_url_check(const char *url, const char **ret_why);
/* Starts connecting; never blocks. NULL only when memory is out or the URL is bad. */
struct redis *redis_new(const struct redis_options *o);
/* Ends it: every request without an answer is called back with ERR_CANCELED (before this returns), then memory goes after the turn. No callback comes later; nothing may be asked any more, not even by those
 * callbacks. Subscriptions end with it. May be called from inside any callback of the same connection. */
void redis_free(struct redis *r);
bool redis_is_up(const struct redis *r);
/* The server's run id (40 hex digits) of the present or last connection; "" before the first. It changes when Redis restarts. */
const char *redis_run_id(const struct redis *r);
/* Raised at each connection made: tells "the same connection still" from "another". */
uint64_t redis_generation(const struct redis *r);
/* Requests without an answer, what is held counting as one. */
size_t redis_pending(const struct redis *r);
/* A pointer that its user keeps with the connection; NULL at first. */
void redis_set_note(struct redis *r, void *note);
void *redis_note(const struct redis *r);
/* Memory that lives as long as the connection's struct, for the module that calls scripts: size zeroed bytes, made by the first call (later ones have the same size). NULL when memory is out. */
void *redis_kept(struct redis *r, size_t size);

/* Sends one command. argv[i] may hold any bytes, copied before this returns. fn may be NULL. Commands of one turn leave in one write, in order. */
void redis_command(struct redis *r, size_t argc, const struct str *argv, redis_reply_fn fn, void *ctx);
/* The same with a timeout of its own (ms; 0: none), for blocking calls. */
void redis_command_timeout(struct redis *r, int64_t timeout_ms, size_t argc, const struct str *argv, redis_reply_fn fn,
                           void *ctx);
/* Sends what was asked so far now, not at the end of the turn: where this turn has long work to do, and Redis may work meanwhile. Calls nobody back. */
void redis_flush(struct redis *r);

/* Something is kept back, to be joined with what may come behind it: release is called, once, before anything else is sent over this connection, when the turn's output leaves, and at the connection's end; it sends what
 * was kept. One at a time: nobody may hold while another does. */
void redis_hold(struct redis *r, void (*release)(void *ctx), void *ctx);
/* Has it sent now. Does nothing where nothing is kept. */
void redis_release(struct redis *r);

/* Subscriptions, on a REDIS_SUBSCRIBE connection. One subscription per channel and connection is shared by nobody: the caller keeps one struct per channel. After a reconnect everything is subscribed again. */
struct redis_sub;
/* confirmed: the channel is (again) subscribed — read on now, for messages may have been missed. Otherwise a message came. */
typedef void (*redis_sub_fn)(void *ctx, bool confirmed, struct str message);
/* NULL when memory is out. The channel is copied. */
struct redis_sub *redis_subscribe(struct redis *r, struct str channel, redis_sub_fn fn, void *ctx);
/* No call after this. NULL is fine. May be called from inside fn. */
void redis_unsubscribe(struct redis_sub *s);

/* Reading replies: helpers that never trust a shape. */
struct str redis_str(const redisReply *r);                 /* of strings, statuses, errors; else empty */
int64_t redis_int(const redisReply *r, int64_t otherwise); /* of integers and numeric strings */
const redisReply *redis_at(const redisReply *r, size_t i); /* array element, or NULL */
/* Value of a field in a flat [field, value, …] array; NULL when it is not there. */
const redisReply *redis_field(const redisReply *flat, const char *field);

#endif
