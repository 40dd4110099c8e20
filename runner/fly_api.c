#include "runner/fly_api.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"

enum {
    RATE_MS = 1100,
    BURST = 3,
    ASK_MS = 30000,
    PATH_MAX_LEN = 400,
    RETRY_MAX_S = 60
}; /* a little slower than allowed: clocks differ */

int64_t fly_limits_take(struct fly_limits *l, enum fly_action action, int64_t now_ms)
{
    int64_t due = l->due_ms[action] > now_ms ? l->due_ms[action] : now_ms;
    int64_t wait = due - now_ms - (int64_t)(BURST - 1) * RATE_MS;
    l->due_ms[action] = due + RATE_MS;
    return wait > 0 ? wait : 0;
}

struct fly_ask {
    struct fly_ask *next, **link;
    struct fly_api *api;
    enum fly_action action;
    const char *method;
    char url[PATH_MAX_LEN + 600], nonce[FLY_NONCE_MAX + 40];
    char *body;
    size_t body_len;
    int64_t timeout_ms;
    struct loop_timer due;
    bool sent;
    http_answer_fn fn;
    void *ctx;
};

static void ask_free(void *p)
{
    struct fly_ask *a = p;
    if (a->body)
        explicit_bzero(a->body, a->body_len);
    free(a->body);
    free(a);
}

static void done(struct fly_ask *a, enum err err, const struct http_answer *answer)
{
    loop_timer_stop(&a->due);
    *a->link = a->next;
    if (a->next)
        a->next->link = a->link;
    a->fn(a->ctx, err, answer);
    loop_defer_free(a->api->loop, ask_free, a);
}

static void on_answer(void *ctx, enum err err, const struct http_answer *answer)
{
    struct fly_ask *a = ctx;
    a->sent = false;
    if (!err && answer->status == 429) {
        int64_t wait_s = answer->retry_after_s < 1 ? 1 : answer->retry_after_s;
        loop_timer_set(&a->due, (wait_s < RETRY_MAX_S ? wait_s : RETRY_MAX_S) * 1000);
    } else {
        done(a, err, answer);
    }
}

static void on_due(void *ctx)
{
    struct fly_ask *a = ctx;
    char authorization[FLY_TOKEN_MAX + 32];
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", a->api->token);
    const struct str headers[] = {str_of(authorization), STR("Content-Type: application/json"), str_of(a->nonce)};
    struct http_call call = {
        .method = a->method,
        .url = a->url,
        .headers = headers,
        .header_count = a->nonce[0] ? 3 : 2,
        .body = {a->body, a->body_len},
        .timeout_ms = a->timeout_ms,
        .max_response = FLY_ANSWER_MAX,
        .fresh = a->action == FLY_CREATE}; /* a second one of nobody's making might be done after the first one's end */
    a->sent = true;
    http_client_send(a->api->client, &call, on_answer, a);
    explicit_bzero(authorization, sizeof authorization);
}

void fly_ask(struct fly_api *api, const struct fly_request *r, http_answer_fn fn, void *ctx)
{
    struct fly_ask *a = calloc(1, sizeof *a);
    PRE(a); /* a few bytes, and its callback must come */
    *a = (struct fly_ask){.next = api->asks,
                          .link = &api->asks,
                          .api = api,
                          .action = r->action,
                          .method = r->method,
                          .fn = fn,
                          .ctx = ctx};
    if (a->next)
        a->next->link = &a->next;
    api->asks = a;
    a->timeout_ms = r->timeout_ms > 0 ? r->timeout_ms : ASK_MS;
    a->body_len = r->body.len;
    a->body = r->body.len > 0 ? malloc(r->body.len) : NULL;
    PRE(a->body || r->body.len == 0);
    if (a->body)
        memcpy(a->body, r->body.ptr, r->body.len);
    snprintf(a->url, sizeof a->url, "%.256s/v1/apps/%s%s", api->url, api->app, r->path);
    if (r->nonce && *r->nonce)
        snprintf(a->nonce, sizeof a->nonce, "fly-machine-lease-nonce: %s", r->nonce);
    loop_timer_init(&a->due, api->loop, on_due, a);
    loop_timer_set(&a->due, fly_limits_take(r->limits ? r->limits : &api->of_app, r->action, clock_mono_ms()));
}

void fly_api_close(struct fly_api *api)
{
    http_client_free(api->client); /* those that are sent are answered by this */
    while (api->asks)
        done(api->asks, ERR_CANCELED, &(struct http_answer){.max_age_s = -1, .retry_after_s = -1, .error = "Given up"});
}
