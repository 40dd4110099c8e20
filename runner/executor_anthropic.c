/* The executor `anthropic`: a streaming call of the Messages API; the model's answer is the run's events. Nothing of ours runs but the call itself. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/limits.h"
#include "runner/anthropic_events.h"
#include "runner/anthropic_request.h"
#include "runner/remote.h"

#define API_VERSION "anthropic-version: 2023-06-01"

enum {
    TRIES_MAX = 5,
    BACKOFF_MS = 500,
    BACKOFF_CAP_MS = 8000,
    RETRY_AFTER_MAX_MS = 60000, /* what is to be waited for longer is another attempt's affair */
    URL_MAX = 2048,
    KEY_LINE_MAX = 2048
};

struct executor_self {
    struct remotes all;
};

struct job {
    struct remote remote;
    char url[URL_MAX];
    char key[KEY_LINE_MAX]; /* "x-api-key: …"; wiped at the end */
    struct strbuf body;
    struct strbuf why; /* why no request can be made */
    struct sse sse;
    struct anthropic_events events;
};

/* ---- its end ---- */

static void succeed(struct job *job)
{
    struct strbuf data, result;
    struct json_writer w;
    strbuf_init(&result, LIMIT_RESULT);
    strbuf_init(&data, LIMIT_RESULT + 1024);
    anthropic_events_result(&job->events, &result);
    json_writer_init(&w, &data);
    json_object_begin(&w);
    json_kv_str(&w, "status", STR("success"));
    json_kv_raw(&w, "result", strbuf_str(&result));
    json_object_end(&w);
    remote_event(&job->remote, EVENT_RUNTIME_TERMINAL, strbuf_str(&data));
    strbuf_done(&data);
    strbuf_done(&result);
    remote_done(&job->remote);
}

/* What went wrong, as the messages of errors have it: "429 rate_limit_error: … (request req_…)". */
static void describe(const struct job *job, struct str type, struct str message, struct strbuf *out)
{
    const struct remote *r = &job->remote;
    strbuf_addz(out, "the Messages API answered ");
    if (r->status != 200)
        strbuf_addf(out, "%d ", r->status);
    remote_text(type, 80, out);
    if (message.len > 0) {
        strbuf_addz(out, ": ");
        remote_text(message, 500, out);
    }
    if (r->request_id[0]) {
        strbuf_addz(out, " (request ");
        remote_text(str_of(r->request_id), sizeof r->request_id, out);
        strbuf_addc(out, ')');
    }
}

static void note_retry(struct job *job, const char *why, int64_t after_ms)
{
    struct strbuf data;
    struct json_writer w;
    strbuf_init(&data, 4 * REMOTE_WHY_MAX);
    json_writer_init(&w, &data);
    json_object_begin(&w);
    json_kv_str(&w, "type", STR("retry"));
    json_kv_str(&w, "reason", str_of(why));
    json_kv_int(&w, "tries", job->remote.tries);
    json_kv_int(&w, "afterMs", after_ms);
    json_object_end(&w);
    remote_event(&job->remote, EVENT_NOTIFICATION, strbuf_str(&data));
    strbuf_done(&data);
}

/* After output began it can't be asked again: somebody has read the beginning of another answer. */
static void note_stream_error(struct job *job, const char *why)
{
    struct strbuf data;
    struct json_writer w;
    strbuf_init(&data, 4 * REMOTE_WHY_MAX);
    json_writer_init(&w, &data);
    json_object_begin(&w);
    json_kv_str(&w, "message", str_of(why));
    json_object_end(&w);
    remote_event(&job->remote, EVENT_STREAM_ERROR, strbuf_str(&data));
    strbuf_done(&data);
}

/* Tries again where that may help and nothing was shown yet; else it is the end. */
static void try_again(struct job *job, bool passes, const char *class, const char *why)
{
    struct remote *r = &job->remote;
    int64_t wished = r->retry_after_s >= 0 ? r->retry_after_s * 1000 : -1;
    if (job->events.began) {
        note_stream_error(job, why);
        remote_fail(r, "agent_error", passes ? wished : REMOTE_NO_RETRY, why);
    } else if (!passes) {
        remote_fail(r, class, REMOTE_NO_RETRY, why);
    } else if (r->tries + 1 >= TRIES_MAX || wished > RETRY_AFTER_MAX_MS) {
        remote_fail(r, "agent_error", wished, why);
    } else {
        int64_t own = remote_backoff(r, BACKOFF_MS, BACKOFF_CAP_MS), after = wished > own ? wished : own;
        note_retry(job, why, after);
        anthropic_events_reset(&job->events);
        remote_again(r, after);
    }
}

/* ---- the answer ---- */

static bool on_frame(void *ctx, const struct sse_frame *frame)
{
    struct job *job = ctx;
    anthropic_events_take(&job->events, frame);
    return job->events.state == ANTHROPIC_OPEN;
}

static void anthropic_head(void *ctx, const struct http_flow_head *head)
{
    struct job *job = ctx;
    if (!str_starts(head->content_type, STR("text/event-stream")))
        remote_fail(&job->remote, "start_failed", REMOTE_NO_RETRY,
                    "the Messages API's answer is no text/event-stream: is anthropic-url, or the agent's url, right?");
}

static void stream_failed(struct job *job)
{
    struct strbuf why;
    struct str type = strbuf_str(&job->events.error_type);
    strbuf_init(&why, REMOTE_WHY_MAX);
    describe(job, type, strbuf_str(&job->events.error), &why);
    try_again(job, anthropic_error_passes(type), "agent_error", why.ptr);
    strbuf_done(&why);
}

/* Closes the connection before the job may go on: with another try, or to its end. */
static void close_flow(struct remote *r)
{
    if (r->flow)
        http_flow_close(r->flow);
    r->flow = NULL;
}

static void anthropic_body(void *ctx, struct str bytes)
{
    struct job *job = ctx;
    bool more = sse_feed(&job->sse, bytes);
    if (more)
        return;
    close_flow(&job->remote);
    if (job->events.state == ANTHROPIC_DONE) {
        succeed(job);
    } else if (job->events.state == ANTHROPIC_FAILED) {
        stream_failed(job);
    } else {
        remote_fail(&job->remote, "agent_error", REMOTE_NO_RETRY, "the stream has a frame of more than 1 MiB");
    }
}

/* {"type":"error","error":{"type","message"}} of a refusal; else its first bytes as they are. */
static void refused(struct job *job)
{
    struct remote *r = &job->remote;
    struct arena arena;
    struct json *root = NULL;
    struct strbuf why;
    struct str type = STR_NONE, message = strbuf_str(&r->piece);
    arena_init(&arena, 1 << 20);
    if (json_parse(&arena, message, 16, 3, &root, NULL) == ERR_OK) {
        const struct json *error = json_get(root, "error"), *t = json_get(error, "type"),
                          *m = json_get(error, "message");
        if (t && t->type == JSON_STRING && m && m->type == JSON_STRING) {
            type = t->string;
            message = m->string;
        }
    }
    strbuf_init(&why, REMOTE_WHY_MAX);
    describe(job, type, message, &why);
    int s = r->status;
    try_again(job, s == 408 || s == 409 || s == 429 || s >= 500, "start_failed", why.ptr);
    strbuf_done(&why);
    arena_done(&arena);
}

static void anthropic_end(void *ctx, enum err err, const char *error)
{
    struct job *job = ctx;
    struct remote *r = &job->remote;
    char why[REMOTE_WHY_MAX];
    if (r->status != 0 && r->status != 200) {
        refused(job);
        return;
    }
    snprintf(why, sizeof why, "the Messages API's answer broke off: %s", error ? error : "it ended before its end");
    if (r->status == 0)
        snprintf(why, sizeof why, "the Messages API could not be asked: %s", error ? error : "no answer");
    bool passes = err != ERR_FORBIDDEN && err != ERR_BODY_TOO_LARGE;
    try_again(job, passes, r->status == 0 ? "start_failed" : "agent_error", why);
}

/* ---- the request ---- */

static void anthropic_send(void *ctx)
{
    struct job *job = ctx;
    if (job->why.len > 0) {
        remote_fail(&job->remote, "start_failed", REMOTE_NO_RETRY, job->why.ptr);
        return;
    }
    const struct str headers[] = {str_of(job->key), STR(API_VERSION), STR("content-type: application/json"),
                                  STR("accept: text/event-stream"), STR("accept-encoding: identity")};
    struct http_call call = {.method = "POST",
                             .url = job->url,
                             .headers = headers,
                             .header_count = ARRAY_LEN(headers),
                             .body = strbuf_str(&job->body),
                             .https_only = !job->remote.all->x->config->allow_private_addresses};
    sse_reset(&job->sse);
    remote_send(&job->remote, &call);
}

static void anthropic_free(void *ctx)
{
    struct job *job = ctx;
    sodium_memzero(job->key, sizeof job->key);
    strbuf_done(&job->body);
    strbuf_done(&job->why);
    sse_done(&job->sse);
    anthropic_events_done(&job->events);
    free(job);
}

static const struct remote_kind kind = {anthropic_send, anthropic_head, anthropic_body, anthropic_end, anthropic_free};

static void on_event(void *ctx, enum event_kind event, struct str data)
{
    struct job *job = ctx;
    remote_event(&job->remote, event, data);
}

static void set_url(struct job *job, const struct remotes *all, const char *own)
{
    struct str base = str_of(own ? own : all->x->config->anthropic_url);
    while (base.len > 0 && base.ptr[base.len - 1] == '/')
        base.len--;
    int n = snprintf(job->url, sizeof job->url, "%.*s/v1/messages", STR_ARG(base));
    if (n >= (int)sizeof job->url || strpbrk(job->url, "?#"))
        strbuf_addz(&job->why, "the URL of the Messages API must have no query and at most 2000 bytes");
    else if (!remote_url_safe(all, job->url))
        strbuf_addz(&job->why, "the URL of the Messages API must begin with https://: it is sent a key");
}

static void set_key(struct job *job, struct str key)
{
    if (key.len == 0)
        strbuf_addz(&job->why, "no ANTHROPIC_API_KEY: the agent's env must name the secret that holds it, as "
                               "{\"key\": \"ANTHROPIC_API_KEY\", \"secret\": \"…\"}");
    else if (!remote_header_safe(key))
        strbuf_addz(&job->why, "ANTHROPIC_API_KEY holds bytes that no key has: spaces, line ends, or too many");
    else
        snprintf(job->key, sizeof job->key, "x-api-key: %.*s", STR_ARG(key));
}

/* What is wrong with the job becomes the attempt's error, not to be tried again. */
static void make_request(struct job *job, const struct remotes *all, const struct job_spec *spec)
{
    const struct anthropic_job what = {str_of(spec->model), str_of(spec->system), spec->input, spec->definition};
    if (!str_eqz(spec->protocol, "events") || spec->remote_events) {
        strbuf_addz(&job->why, "the executor anthropic goes with the protocol events and the event source stdout only");
        return;
    }
    if (!anthropic_request(&what, &job->body, &job->why))
        return;
    set_key(job, remote_env(spec, "ANTHROPIC_API_KEY"));
    if (job->why.len == 0)
        set_url(job, all, spec->url);
}

static struct job *anthropic_start(struct executor_self *self, const struct job_spec *spec,
                                   const struct job_events *events, void *ctx, const char **ret_why)
{
    struct remote *already = remotes_find(&self->all, spec);
    if (already)
        return already->job;
    struct job *job = calloc(1, sizeof *job);
    *ret_why = "out of memory";
    if (!job)
        return NULL;
    strbuf_init(&job->body, spec->input.len + spec->definition.len + 65536);
    strbuf_init(&job->why, REMOTE_WHY_MAX - 1);
    sse_init(&job->sse, ANTHROPIC_FRAME_MAX, on_frame, job);
    anthropic_events_init(&job->events, on_event, job);
    make_request(job, &self->all, spec);
    if (remote_begin(&job->remote, &self->all, spec, &kind, job, events, ctx, "model", str_of(spec->model)))
        return job;
    anthropic_free(job);
    return NULL;
}

/* ---- the executor ---- */

static enum err anthropic_open(const struct executor_context *x, struct executor_self **ret_self,
                               struct strbuf *ret_why)
{
    struct executor_self *self = calloc(1, sizeof *self);
    enum err err = self ? remotes_open(&self->all, x) : ERR_NO_MEMORY;
    if (!err && !remote_url_safe(&self->all, x->config->anthropic_url)) {
        strbuf_addz(ret_why, "anthropic-url must begin with https:// (or http:// with allow-private-addresses)");
        err = ERR_CONFIG;
        remotes_close(&self->all);
    }
    if (err)
        free(self);
    else
        *ret_self = self;
    return err;
}

static void anthropic_close(struct executor_self *self)
{
    if (self)
        remotes_close(&self->all);
    free(self);
}

static bool anthropic_supports(const struct executor_self *self, const char *capability)
{
    (void)self;
    return strcmp(capability, "timeout") == 0; /* the call ends in time; there is nothing here to contain */
}

static void anthropic_stop(struct job *job, int64_t grace_ms)
{
    (void)grace_ms;
    remote_stop(&job->remote);
}

static void anthropic_read_output(struct job *job, bool on)
{
    remote_read_output(&job->remote, on);
}

static void anthropic_status(struct executor_self *self, struct str handle, job_status_fn fn, void *ctx)
{
    fn(ctx, &(struct job_snapshot){.status = remotes_status(&self->all, handle)});
}

const struct executor executor_anthropic = {
    .name = "anthropic",
    .open = anthropic_open,
    .close = anthropic_close,
    .supports = anthropic_supports,
    .start = anthropic_start,
    .stop = anthropic_stop,
    .read_output = anthropic_read_output,
    .status = anthropic_status,
};
