/* API keys and sessions as this thread knows them: a cache over Redis, at most a second old, in which a changed key is forgotten at once (each change is published), and the streams that were opened with it are cut.
 * Where the message is lost a counter, read each second, tells that something changed. Owned by the node; one thread. */
#ifndef ERRAND_API_KEYS_H
#define ERRAND_API_KEYS_H

#include "api/node.h"
#include "common/api_key.h"
#include "common/cidr.h"
#include "common/scope.h"

enum { PROOF_LEN = 16 }; /* characters of a secret's hash that tell it from the one before or after it */

/* What a key may do. Lives in the cache: good until the callback or call that gave it returns. */
struct principal {
    char id[API_KEY_ID_LEN + 1];
    char workspace[LIMIT_NAME + 1];
    char hash[SHA256_HEX_LEN + 1], old_hash[SHA256_HEX_LEN + 1]; /* of its secret, and of the one before it */
    int64_t old_until_ms;                                        /* Redis' clock: when that one ends */
    int64_t until_ms;                                            /* when the key or the session ends; 0: never */
    uint64_t scopes;                                             /* SCOPE_BITs */
    struct str agents, queues, cidrs;                            /* comma lists that narrow it; empty: not narrowed */
    int64_t rate, rate_per_ms, rate_burst;                       /* requests; rate 0: no limit */
    int64_t concurrency;                                         /* runs executed at a time; 0: no limit */
    bool revoked;
    uint64_t reading;                  /* which reading of Redis it is of: the same number, the same record */
    char session_proof[PROOF_LEN + 1]; /* of a session: with which of the key's secrets it was begun */
    char *lists;                       /* what the three above point into */
};

struct keys;
/* Whether the secret with that beginning of a hash is a good one of the key; *until_ms is lowered to the end of its overlap, where it is the former one. */
MUST_CHECK bool keys_proof_good(const struct principal *p, const char *proof, int64_t now_ms, int64_t *until_ms);
/* Begins to listen for changes; NULL when memory is out. */
struct keys *keys_new(struct node *n);
/* Writes what keys_used noted. */
void keys_flush(struct keys *k);
void keys_free(struct keys *k);

/* Of one look-up: id is a key's, or, with session, the SHA-256 (hex) of a session's token. */
struct key_query {
    struct str id;
    bool session;
    struct str source; /* who asks, as text: its failures are counted by it */
};
/* found: NULL when there is no such key or session. failures: of the source within the last minute; 0 where the answer came from the cache. err: Redis could not be asked. */
typedef void (*key_found_fn)(void *ctx, enum err err, const struct principal *found, int64_t failures);
/* What the cache knows, fresh enough: true, and NULL for "there is none". */
bool keys_cached(struct keys *k, const struct key_query *q, const struct principal **ret_found);
/* Whether it was a good one within the last minute, as far as this thread knows: that it is asked for again is nobody's guess. */
bool keys_was_good(struct keys *k, const struct key_query *q);
/* Asks Redis, one round trip; fn is called once, never from inside. False, and no call, where there is no room for more strangers. */
MUST_CHECK bool keys_ask(struct keys *k, const struct key_query *q, key_found_fn fn, void *ctx);
/* Notes that it was used now: written later, many at once. */
void keys_used(struct keys *k, struct str id);
/* This thread changed a key: it knows before the message comes, so that who is answered finds it changed. */
void keys_changed(struct keys *k, struct str id);
/* Each second, from the node's poll. */
void keys_tick(struct keys *k);

/* A stream that lives as long as its key. Embedded in its owner, zeroed. */
struct key_hold {
    void (*cut)(struct key_hold *h); /* the key ended, or may do something else now; the hold is released already */
    struct key_entry *entry;
    struct key_hold *next, **link;
    int64_t until_ms; /* Redis' clock; 0: never */
    char proof[PROOF_LEN + 1];
};
/* The credential that opens it: id, session as in key_query; until_ms: when it ends at the latest, 0 for never; proof: of its secret; scopes: what it goes on by. */
struct key_claim {
    struct str id;
    bool session;
    int64_t until_ms;
    const char *proof;
    uint64_t scopes;
};
/* False: the key has ended, or may not any more (or memory is out); cut it. */
MUST_CHECK bool keys_hold(struct keys *k, const struct key_claim *claim, struct key_hold *h);
/* Takes a released one, too. */
void keys_release(struct key_hold *h);

#endif
