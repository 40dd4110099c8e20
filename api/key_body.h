/* What is said of a key: the body of POST and PUT /v1/keys, checked; and keys as they are made and shown. */
#ifndef ERRAND_API_KEY_BODY_H
#define ERRAND_API_KEY_BODY_H

#include "api/routes.h"
#include "api/validate_fields.h"
#include "common/api_key.h"
#include "lua/scripts.h"

/* Borrows from the request's arena. */
struct key_settings {
    struct str name;
    uint64_t scopes;                  /* SCOPE_BITs */
    struct str agents, queues, cidrs; /* comma lists; "" for all */
    struct rate rate;                 /* of requests; limit 0: none */
    int64_t concurrency;              /* 0: none */
    int64_t expires_ms;               /* Redis' clock; 0: never */
    int64_t kept_ms;                  /* how long its record is shown behind its end; 0: 30 days */
    struct str details;               /* JSON object of where it comes from; "" for none */
};

/* Reads and checks a body; the call's own key bounds what may be given. False: answered. */
MUST_CHECK bool key_body_read(struct call *c, struct key_settings *ret_settings);
/* Whether a key with `own` scopes and narrowing may give these settings; false and *ret_fault otherwise. Shared with trust policies, which give keys, too. */
MUST_CHECK bool key_may_give(struct call *c, const struct key_settings *s, struct fault *ret_fault);
/* An array of words into a comma list in the arena; the names of agents and queues, networks, scopes. For tables of struct field, into a struct str (scopes: into a uint64_t). */
bool take_names(struct check *c, const struct json *v, const char *name, void *out);
bool take_cidrs(struct check *c, const struct json *v, const char *name, void *out);
bool take_scopes(struct check *c, const struct json *v, const char *name, void *out);

/* Makes a key: fn is called once, later; key is only good until it returns, and is wiped then. by: key id, or what else made it. ERR_LIMIT_EXCEEDED when the workspace has as many as it may. */
typedef void (*key_made_fn)(void *ctx, enum err err, const struct api_key *key, const redisReply *record);
void key_make(struct node *n, struct str workspace, struct str by, const struct key_settings *s, key_made_fn fn,
              void *ctx);
/* The fields of a record, for scripts: name, value, … in the arena; hash "" leaves the secret as it is. Returns how many. */
enum { KEY_FIELDS = 20 };
size_t key_fields(struct arena *a, const struct key_settings *s, struct str ret_fields[KEY_FIELDS]);
/* Writes a key as it is shown. secret: the whole key, shown once; "" for none. */
void key_write(struct json_writer *w, const struct node *n, struct str id, const redisReply *record, struct str secret);

#endif
