/* THE table of routes: what this node answers, with which right, how large a body. The OpenAPI description is made from it. */
#ifndef ERRAND_API_ROUTES_H
#define ERRAND_API_ROUTES_H

#include "api/node.h"
#include "common/cidr.h"
#include "common/json.h"
#include "common/schema.h"
#include "common/scope.h"
#include "common/script.h"

enum route_auth {
    AUTH_NONE,
    AUTH_KEY,    /* an API key, or a session */
    AUTH_STREAM, /* an API key, or a run's stream token in ?token= */
    AUTH_RUNNER, /* an attempt's runner token */
};

struct call;
struct asking;
typedef void (*route_fn)(struct call *c);

struct route {
    enum http_method method;
    const char *pattern; /* `{name}` takes one segment */
    route_fn fn;
    enum route_auth auth;
    enum scope scope;       /* of AUTH_KEY and AUTH_STREAM: what the key must be allowed to do */
    size_t max_body;        /* 0: takes none */
    const char *parameters; /* allowed query parameters, each followed by a space */
    const char *id;         /* operationId; NULL: an alias that the description does not list */
    const char *summary;
};
extern const struct route routes[];
extern const size_t routes_len;

/* One request as a handler sees it; lives in its request's arena. */
struct call {
    struct http_req *req;
    struct node *node;
    const struct route *route;
    struct ip client; /* where it comes from */
    struct str workspace;
    struct str created_by;                 /* key id, or root */
    uint64_t scopes;                       /* SCOPE_BITs */
    struct str agents, queues, cidrs;      /* comma lists that narrow the key; empty: not narrowed */
    int64_t concurrency;                   /* of the key: runs executed at a time; 0: no limit */
    int64_t rate, rate_per_ms, rate_burst; /* of the key: requests; rate 0: no limit */
    int64_t until_ms;                      /* when what opened it ends (Redis' clock); 0: never */
    struct str credential;                 /* key id, or a session's digest; empty for root */
    uint64_t reading;                      /* of the key's record that it was judged by */
    struct asking *asking;                 /* how the credential was looked up */
    bool session, by_token;                /* came with a session's cookie; with a stream token */
    bool counted;                          /* its rate limit counts it already, or will */
    bool client_unknown;                   /* behind a proxy that does not say it clearly: in no network */
    char proof
        [17]; /* the beginning of the hash of the secret that it came with, or its session or token was made with; empty for root */
    struct script_guard guard; /* rate, as a script carries it */
    struct str runner_token;   /* AUTH_RUNNER: the whole token */
    int64_t runner_attempt;
    struct str audit_object; /* what the audit log was told that something is done to */
    bool audited;            /* it was told, and a problem that is answered now is to be told, too */
    struct schema_work work; /* spent on checking inputs: bounded by request, however many runs a batch has */
    void *user;              /* the handler's own */
};

/* The first (second …) `{…}` of the path. */
static inline struct str call_param(const struct call *c, size_t i)
{
    return c->req->params[i];
}
/* Whether its key has the scope. */
static inline bool call_may(const struct call *c, enum scope scope)
{
    return (c->scopes & SCOPE_BIT(scope)) != 0;
}
/* Whether its key is not narrowed to other agents; to other queues. */
bool call_agent_allowed(const struct call *c, struct str agent);
bool call_queue_allowed(const struct call *c, struct str queue);
/* Goes on with a request whose credentials are good. */
void routes_go_on(struct call *c);
struct http_app routes_app(struct node *n);
/* A query parameter as a number from min to max; otherwise when it is not there. False (answered already) when it is something else. */
bool call_query_int(struct call *c, const char *name, int64_t min, int64_t max, int64_t otherwise, int64_t *ret_n);
/* Whether the body says nothing: none, or {}. False: answered. */
bool call_body_empty(struct call *c);
/* Formats into the request's arena; never NULL. */
const char *call_text(struct call *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The address of the client, without its port. */
struct str call_client(const struct call *c);
/* The shard of the call's workspace. */
struct shard *call_shard(struct call *c);
/* Whether the path's first parameter may be a name. Otherwise answered: with otherwise, or 400 where a PUT would make it. what: "an agent". */
bool call_name_valid(struct call *c, const char *what, enum err otherwise);
/* The end of a request that answers nothing: 204, or the problem. */
void call_done(struct call *c, enum err err);
void call_problem(struct call *c, enum err err, const char *detail);
void call_json(struct call *c, int status, struct strbuf *body_take);
/* A page of a list, `{"member": […], "cursor": …}`: begin it, write its elements with w, end it: that answers. max: bytes of all; next: where the next page begins, empty for null. */
struct call_page {
    struct strbuf out;
    struct json_writer w;
};
void call_page_begin(struct call_page *p, const char *member, size_t max);
void call_page_end(struct call *c, struct call_page *p, struct str next);

#endif
