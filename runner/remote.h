/* An attempt that is a request to a server outside, whose answer is a stream: what the executors http and anthropic have in common. No process, no folder; closing the connection is its stop.
 *
 *   remote_begin ──▶ started() ──▶ kind->send ──▶ head ──▶ body … ──▶ end ──▶ remote_gone
 *                                      ▲                                 │
 *                                      └──────── remote_again ───────────┘
 *
 * `started` comes before the request leaves: an attempt that may be executed only once has begun when its server could have heard of it. */
#ifndef ERRAND_RUNNER_REMOTE_H
#define ERRAND_RUNNER_REMOTE_H

#include "common/event.h"
#include "common/http_client.h"
#include "common/json.h"
#include "runner/executor.h"

struct remote;

enum { REMOTE_WHY_MAX = 900, REMOTE_PIECE_MAX = 4096 };

/* Static; called from the loop. */
struct remote_kind {
    void (*send)(void *job);
    /* The head of an answer with status 200. */
    void (*head)(void *job, const struct http_flow_head *head);
    void (*body)(void *job, struct str bytes);
    /* The answer's end. r->status is 0 where none came, 200 where it broke off or ended, else what was refused (with r->piece). */
    void (*end)(void *job, enum err err, const char *error);
    void (*free)(void *job);
};

/* All of one executor. */
struct remotes {
    const struct executor_context *x;
    struct http_client *client;
    struct remote *first;
};

struct remote {
    struct remotes *all;
    struct remote *next, **link;
    const struct remote_kind *kind;
    void *job;
    const struct job_events *events;
    void *ctx;
    char run_id[64];
    int64_t attempt;
    char *handle;
    struct loop_timer timer; /* its start, its next try, its end by a stop */
    struct http_flow *flow;
    int status;
    int64_t retry_after_s;
    bool has_length;     /* the answer says where it ends: whether it is whole can be known */
    struct strbuf piece; /* of the body of a refusal */
    char request_id[65]; /* theirs, for messages; empty where there is none */
    int tries;           /* without success, one after the other */
    bool plain;          /* its output is no events: a claim can't be made through it */
    bool begun, paused, stopping, over;
};

MUST_CHECK enum err remotes_open(struct remotes *all, const struct executor_context *x);
void remotes_close(struct remotes *all);
/* What was started for the attempt already, and is not over; NULL for nothing. */
struct remote *remotes_find(const struct remotes *all, const struct job_spec *spec);
/* RUNNING where this process has that call, TERMINATED otherwise: nobody else could read its answer on. */
enum job_status remotes_status(const struct remotes *all, struct str handle);

/* Copies what it needs of the spec. job is handed to all of kind; what: the handle's third member ("url", "model") and its value. Its first callback comes from the loop. False: memory is out, and nothing was kept. */
MUST_CHECK bool remote_begin(struct remote *r, struct remotes *all, const struct job_spec *spec,
                             const struct remote_kind *kind, void *job, const struct job_events *events, void *ctx,
                             const char *what, struct str value);
/* The request, with the bounds of all of them: timeout_ms 0, idle time and sizes are set here. */
void remote_send(struct remote *r, struct http_call *call);
/* kind->send once more, after a while. */
void remote_again(struct remote *r, int64_t delay_ms);
/* How long to wait before the try number r->tries (counted by this): doubled each time from base_ms, up to cap_ms, the half of it random. */
int64_t remote_backoff(struct remote *r, int64_t base_ms, int64_t cap_ms);
void remote_stop(struct remote *r);
void remote_read_output(struct remote *r, bool on);
/* A line of the protocol `events`. data: a JSON object of one line. */
void remote_event(struct remote *r, enum event_kind kind, struct str data);
void remote_output(struct remote *r, struct str bytes);

/* It ended well, or as its claim says. */
void remote_done(struct remote *r);
/* It ended badly. retry_ms: what is asked for of a retry: -1 nothing, REMOTE_NO_RETRY, or that long. The message is redacted by who takes it. */
enum { REMOTE_NO_RETRY = -2 };
void remote_fail(struct remote *r, const char *class, int64_t retry_ms, const char *message);

/* For messages: outside text as one line of printable characters, cut at max (≤ REMOTE_WHY_MAX) bytes. */
void remote_text(struct str text, size_t max, struct strbuf *out);
/* The value of a variable of the environment; ptr NULL where it is not set. */
struct str remote_env(const struct job_spec *spec, const char *key);
/* Whether it may stand in a head's line: printable ASCII, at most 1,900 bytes, at least one. */
bool remote_header_safe(struct str value);
/* Whether secrets may be sent there: https, or where private addresses are allowed http, too. */
bool remote_url_safe(const struct remotes *all, const char *url);

#endif
