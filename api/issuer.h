/* The keys of token issuers, as a thread of a node holds them. Only who was named by a stored policy is ever asked: the caller sees to that. A key set is kept as long as its answer says (5 minutes to a day); a token
 * whose key is not in it lets it be asked for again, at most once a minute; an issuer that does not answer leaves its old keys valid for an hour behind their time, then none. One question to an issuer is open at a time,
 * and everybody who wants its keys waits for that one, 10 s at most. Never blocks. */
#ifndef ERRAND_API_ISSUER_H
#define ERRAND_API_ISSUER_H

#include "api/jwk.h"
#include "common/http_client.h"

struct issuers;

/* ERR_OK: keys may verify (whether the token's is among them is for jwks_verify). ERR_ISSUER_UNAVAILABLE: there are none, *why says what is wrong with it (static). ERR_OVERLOADED: too many wait. ERR_CANCELED.
 * keys: only while the callback runs. */
typedef void (*issuer_fn)(void *ctx, enum err err, const struct jwks *keys);

/* http: borrowed, as is the loop. https_only: else also http. now_ms: a monotonic clock. NULL when memory is out. */
struct issuers *issuers_new(struct loop *l, struct http_client *http, bool https_only, int64_t (*now_ms)(void));
/* Whoever waits is told ERR_CANCELED. The client's calls must be over (http_client_free first). Takes NULL. */
void issuers_free(struct issuers *s);
/* The keys of an issuer for a token of that kid and algorithm. jwks_uri "": its description (issuer/.well-known/openid-configuration) says where they are, which must be the same scheme, host and port, and https like it.
 * fn is called exactly once, never from inside. All copied but t, which is only looked at here. */
void issuer_keys(struct issuers *s, struct str issuer, struct str jwks_uri, const struct jwt *t, issuer_fn fn,
                 void *ctx);

/* Scheme, host and port of a URL ("https://example.com:8443"); "" for what is no absolute http or https URL of printable characters, or has user info or a fragment. */
struct str issuer_origin(struct str url);

#endif
