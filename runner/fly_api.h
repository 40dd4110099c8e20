/* Requests to the Machines API, one after the other as its rate limits let them: one a second for each action and machine, three at once (create: for each app). What is answered 429 waits as long as it says and is sent again; so nobody else has to know of limits.
 * Belongs to the loop's thread; never blocks. */
#ifndef ERRAND_RUNNER_FLY_API_H
#define ERRAND_RUNNER_FLY_API_H

#include "common/http_client.h"
#include "runner/fly_parts.h"

enum { FLY_TOKEN_MAX = 2000 };
enum fly_action { FLY_CREATE, FLY_LIST, FLY_GET, FLY_WAIT, FLY_STOP, FLY_DELETE, FLY_LEASE, FLY_ACTION_COUNT };

/* When the next request of an action is due (GCRA): one of a machine, and one of the app. */
struct fly_limits {
    int64_t due_ms[FLY_ACTION_COUNT];
};
/* How long the next one has to wait, monotonic milliseconds; it is counted. */
int64_t fly_limits_take(struct fly_limits *l, enum fly_action action, int64_t now_ms);

struct fly_api {
    struct loop *loop;
    struct http_client *client;
    const char *url, *app, *token; /* url without a slash at its end; borrowed */
    struct fly_limits of_app;
    struct fly_ask *asks; /* those that are not answered */
};

struct fly_request {
    enum fly_action action;
    struct fly_limits *limits; /* the machine's; NULL: the app's */
    const char *method, *path; /* path: behind /v1/apps/APP */
    const char *nonce;         /* of the lease; NULL for none */
    struct str body;
    int64_t timeout_ms;
};

/* Copies all of it. fn is called once, never from inside; with ERR_CANCELED when the API is closed. */
void fly_ask(struct fly_api *api, const struct fly_request *r, http_answer_fn fn, void *ctx);
/* Ends all that is open. */
void fly_api_close(struct fly_api *api);

#endif
