/* The executor `http`: the job is posted to a remote agent, whose streamed answer is its output. NDJSON is taken as the lines of a program would be; a frame of Server-Sent Events is such a line, too, and where
 * its frames have ids, a stream that breaks off is resumed with Last-Event-ID. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/limits.h"
#include "common/sse.h"
#include "runner/event_ids.h"
#include "runner/http_request.h"
#include "runner/lines.h"
#include "runner/remote.h"
#include "runner/sse_line.h"

enum {
    FRAME_MAX = LIMIT_RESULT + LIMIT_EVENT, /* the longest line that the adapter looks at */
    TRIES_MAX = 5,                          /* to resume it, without an event in between */
    BACKOFF_MS = 100,
    BACKOFF_CAP_MS = 10000,
    WISH_MAX_MS = 30000, /* what is waited at most where the remote says how long */
    TOKEN_LINE_MAX = 2048,
    LINE_MAX_HEAD = 160
};

struct executor_self {
    struct remotes all;
};

struct job {
    struct remote remote;
    char *url;
    char token[TOKEN_LINE_MAX]; /* "Authorization: Bearer …", or empty; wiped at the end */
    char key[LINE_MAX_HEAD], run[LINE_MAX_HEAD], attempt[LINE_MAX_HEAD];
    struct strbuf body; /* wiped at the end: it may hold the runner token */
    const char *why;    /* why it is not posted; static */
    bool events;        /* the protocol is `events`: its end can be told by a line */
    bool text;          /* … `text` */
    bool log;           /* its answer is only log */
    bool sse, answered; /* answered: status 200 came once */
    bool terminal;      /* a runtime_terminal was handed on */
    struct lines lines; /* to find that one */
    struct sse frames;
    struct event_ids ids;
};

/* ---- its end ---- */

/* A claim line ends the attempt, whatever the remote would still say. */
static void on_line(void *ctx, struct str line, bool piece)
{
    struct job *job = ctx;
    struct arena arena;
    struct json *root = NULL;
    if (piece || line.len == 0 || line.ptr[0] != '{' || !memmem(line.ptr, line.len, "runtime_terminal", 16))
        return;
    arena_init(&arena, 4 * FRAME_MAX);
    if (json_parse(&arena, line, LIMIT_JSON_DEPTH - 2, 1, &root, NULL) == ERR_OK) {
        const struct json *kind = json_get(root, "kind"), *data = json_get(root, "data");
        job->terminal = kind && kind->type == JSON_STRING && data && data->type == JSON_OBJECT &&
                        str_eqz(kind->string, event_kind_name(EVENT_RUNTIME_TERMINAL));
    }
    arena_done(&arena);
}

static void fail_with(struct job *job, const char *class, int64_t retry_ms, const char *what, const char *detail)
{
    char why[REMOTE_WHY_MAX];
    snprintf(why, sizeof why, "%s%s%.600s", what, detail && *detail ? ": " : "", detail ? detail : "");
    remote_fail(&job->remote, class, retry_ms, why);
}

/* ---- frames ---- */

static bool on_frame(void *ctx, const struct sse_frame *frame)
{
    struct job *job = ctx;
    struct strbuf line;
    if (!event_ids_take(&job->ids, frame->id))
        return true;
    job->remote.tries = 0; /* it goes on */
    if (job->text) {
        remote_output(&job->remote, frame->data);
        return true;
    }
    strbuf_init(&line, 8 * FRAME_MAX);
    if (job->events)
        sse_line(frame, &line);
    else {
        strbuf_add(&line, frame->data);
        strbuf_addc(&line, '\n');
    }
    struct str whole = strbuf_str(&line);
    remote_output(&job->remote, whole);
    if (job->events && whole.len > 0)
        on_line(job, (struct str){whole.ptr, whole.len - 1}, false);
    strbuf_done(&line);
    return !job->terminal;
}

/* ---- the answer ---- */

static bool type_is(struct str type, const char *name)
{
    size_t n = strlen(name);
    return type.len >= n && strncasecmp(type.ptr, name, n) == 0 &&
           (type.len == n || type.ptr[n] == ';' || type.ptr[n] == ' ');
}

static bool is_lines(struct str type)
{
    static const char *const names[] = {"application/x-ndjson", "application/ndjson", "application/jsonl",
                                        "application/x-jsonlines"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (type_is(type, names[i]))
            return true;
    return false;
}

static void http_head(void *ctx, const struct http_flow_head *head)
{
    struct job *job = ctx;
    struct strbuf shown;
    bool sse = type_is(head->content_type, "text/event-stream"), known = sse || is_lines(head->content_type);
    if ((known || job->text || job->log) && (!job->answered || sse == job->sse)) {
        job->sse = sse;
        job->answered = true;
        return;
    }
    strbuf_init(&shown, REMOTE_WHY_MAX);
    remote_text(head->content_type, 100, &shown);
    fail_with(job, job->answered ? "agent_error" : "start_failed", REMOTE_NO_RETRY,
              "the agent's answer must be of type application/x-ndjson or text/event-stream, and of the same one when "
              "it is resumed; it is",
              shown.len > 0 ? shown.ptr : "of none");
    strbuf_done(&shown);
}

/* Lines are handed on as they are, up to the claim. */
static void take_lines(struct job *job, struct str bytes)
{
    size_t used = 0;
    while (job->events && used < bytes.len && !job->terminal) {
        const char *newline = memchr(bytes.ptr + used, '\n', bytes.len - used);
        size_t n = newline ? (size_t)(newline - bytes.ptr) + 1 - used : bytes.len - used;
        lines_feed(&job->lines, (struct str){bytes.ptr + used, n}, on_line, job);
        used += n;
    }
    remote_output(&job->remote, (struct str){bytes.ptr, job->events ? used : bytes.len});
}

static void http_body(void *ctx, struct str bytes)
{
    struct job *job = ctx;
    if (!job->sse)
        take_lines(job, bytes);
    else if (!sse_feed(&job->frames, bytes) && !job->terminal)
        fail_with(job, "agent_error", REMOTE_NO_RETRY, "the agent's answer has an event that is longer than any may be",
                  NULL);
    if (job->terminal)
        remote_done(&job->remote);
}

static void resume(struct job *job, const char *why)
{
    struct remote *r = &job->remote;
    struct strbuf data;
    struct json_writer w;
    int64_t wish = r->retry_after_s > 0 ? r->retry_after_s * 1000 : job->frames.retry_ms;
    if (r->tries >= TRIES_MAX) {
        fail_with(job, "agent_error", -1, "the agent's answer broke off, and could not be resumed", why);
        return;
    }
    int64_t own = remote_backoff(r, BACKOFF_MS, BACKOFF_CAP_MS);
    wish = wish < WISH_MAX_MS ? wish : WISH_MAX_MS;
    strbuf_init(&data, 8 * REMOTE_WHY_MAX);
    json_writer_init(&w, &data);
    json_object_begin(&w);
    json_kv_str(&w, "type", STR("reconnect"));
    json_kv_str(&w, "reason", str_of(why));
    json_kv_str(&w, "lastEventId", (struct str){job->ids.last, job->ids.last_len});
    json_object_end(&w);
    if (job->events)
        remote_event(r, EVENT_NOTIFICATION, strbuf_str(&data));
    strbuf_done(&data);
    remote_again(r, wish > own ? wish : own);
}

/* Status 200, and no more of it will come. */
static void ended(struct job *job, enum err err, const char *error)
{
    bool cut = job->sse && (job->frames.has_data || job->frames.line.len > 0 || job->ids.replaying);
    const char *what = err   ? error
                       : cut ? "it ended within an event"
                             : "it ended without saying its length, and without a runtime_terminal";
    if (!err && !cut && (job->remote.has_length || job->log)) { /* a log has no end that matters */
        if (!job->sse && job->events)
            lines_end(&job->lines, on_line, job);
        remote_done(&job->remote);
    } else if (job->sse && event_ids_can_resume(&job->ids)) {
        resume(job, what);
    } else {
        fail_with(job, err == ERR_TIMEOUT ? "timeout" : "agent_error", -1, "the agent's answer broke off", what);
    }
}

/* Another status than 200. */
static void refused(struct job *job)
{
    struct remote *r = &job->remote;
    int s = r->status;
    bool passes = s == 408 || s == 425 || s == 429 || s >= 500;
    char what[96];
    struct strbuf piece;
    if (job->answered && s == 204) { /* the word of SSE for: there is nothing more */
        remote_done(r);
        return;
    }
    strbuf_init(&piece, REMOTE_WHY_MAX);
    remote_text(strbuf_str(&r->piece), 400, &piece);
    snprintf(what, sizeof what, "the agent answered with status %d%s", s,
             s >= 300 && s < 400 ? "; redirects are not followed"
             : s < 300           ? " in place of 200"
                                 : "");
    if (job->answered && passes)
        resume(job, what);
    else
        fail_with(job, job->answered ? "agent_error" : "start_failed",
                  !passes                 ? REMOTE_NO_RETRY
                  : r->retry_after_s >= 0 ? r->retry_after_s * 1000
                                          : -1,
                  what, piece.ptr);
    strbuf_done(&piece);
}

static void http_end(void *ctx, enum err err, const char *error)
{
    struct job *job = ctx;
    struct remote *r = &job->remote;
    if (r->status == 200)
        ended(job, err, error);
    else if (r->status != 0)
        refused(job);
    else if (job->answered)
        resume(job, error);
    else
        fail_with(job, err == ERR_TIMEOUT ? "timeout" : "start_failed", err == ERR_FORBIDDEN ? REMOTE_NO_RETRY : -1,
                  "the agent could not be called", error);
}

/* ---- the request ---- */

static void http_send(void *ctx)
{
    struct job *job = ctx;
    char last[EVENT_ID_MAX + 32];
    if (job->why) {
        fail_with(job, "start_failed", REMOTE_NO_RETRY, job->why, NULL);
        return;
    }
    struct str headers[10] = {STR("Content-Type: application/json"),
                              STR("Accept-Encoding: identity"),
                              str_of(job->key),
                              str_of(job->run),
                              str_of(job->attempt),
                              job->text ? STR("Accept: text/plain, text/event-stream, */*;q=0.1")
                                        : STR("Accept: application/x-ndjson, text/event-stream")};
    size_t n = 6;
    if (job->token[0])
        headers[n++] = str_of(job->token);
    if (job->ids.count > 0) {
        snprintf(last, sizeof last, "Last-Event-ID: %s", job->ids.last);
        headers[n++] = str_of(last);
    }
    struct http_call call = {
        .method = "POST", .url = job->url, .headers = headers, .header_count = n, .body = strbuf_str(&job->body)};
    sse_reset(&job->frames);
    event_ids_resume(&job->ids);
    remote_send(&job->remote, &call);
}

static void http_free(void *ctx)
{
    struct job *job = ctx;
    sodium_memzero(job->token, sizeof job->token);
    if (job->body.ptr)
        sodium_memzero(job->body.ptr, job->body.len);
    strbuf_done(&job->body);
    lines_done(&job->lines);
    sse_done(&job->frames);
    free(job->url);
    free(job);
}

static const struct remote_kind kind = {http_send, http_head, http_body, http_end, http_free};

static void make_request(struct job *job, const struct remotes *all, const struct job_spec *spec)
{
    struct str token = remote_env(spec, HTTP_TOKEN_VARIABLE);
    snprintf(job->key, sizeof job->key, "Idempotency-Key: %.*s:%lld", STR_ARG(spec->run_id), (long long)spec->attempt);
    snprintf(job->run, sizeof job->run, "X-Errand-Run-Id: %.*s", STR_ARG(spec->run_id));
    snprintf(job->attempt, sizeof job->attempt, "X-Errand-Attempt: %lld", (long long)spec->attempt);
    if (!job->url)
        job->why = "the agent's definition has no url";
    else if (!http_request_body(spec, &job->body))
        job->why = "the job could not be written";
    else if (token.len > 0 && !remote_header_safe(token))
        job->why = "HTTP_TOKEN holds bytes that no header can have: spaces, line ends, or more than 1900 of them";
    else if ((token.len > 0 || spec->remote_events) && !remote_url_safe(all, job->url))
        job->why = "a token is sent over https only: the agent's url must begin with https://";
    else if (token.len > 0)
        snprintf(job->token, sizeof job->token, "Authorization: Bearer %.*s", STR_ARG(token));
}

/* What stands behind it may be a secret of somebody's. */
static struct str without_query(const char *url)
{
    return (struct str){url ? url : "", url ? strcspn(url, "?#") : 0};
}

static struct job *http_start(struct executor_self *self, const struct job_spec *spec, const struct job_events *events,
                              void *ctx, const char **ret_why)
{
    struct remote *already = remotes_find(&self->all, spec);
    if (already)
        return already->job;
    struct job *job = calloc(1, sizeof *job);
    *ret_why = "out of memory";
    if (!job)
        return NULL;
    job->url = spec->url ? strdup(spec->url) : NULL;
    job->log = spec->remote_events;
    job->events = !job->log && str_eqz(spec->protocol, "events");
    job->text = !job->log && str_eqz(spec->protocol, "text");
    strbuf_init(&job->body, 8 * (spec->input_line.len + LIMIT_DEFINITION) + ((size_t)1 << 20));
    lines_init(&job->lines, FRAME_MAX);
    sse_init(&job->frames, FRAME_MAX, on_frame, job);
    make_request(job, &self->all, spec);
    if (remote_begin(&job->remote, &self->all, spec, &kind, job, events, ctx, "url", without_query(spec->url)))
        return job;
    http_free(job);
    return NULL;
}

/* ---- the executor ---- */

static enum err http_open(const struct executor_context *x, struct executor_self **ret_self, struct strbuf *ret_why)
{
    struct executor_self *self = calloc(1, sizeof *self);
    enum err err = self ? remotes_open(&self->all, x) : ERR_NO_MEMORY;
    (void)ret_why;
    if (err)
        free(self);
    else
        *ret_self = self;
    return err;
}

static void http_close(struct executor_self *self)
{
    if (self)
        remotes_close(&self->all);
    free(self);
}

static bool http_supports(const struct executor_self *self, const char *capability)
{
    (void)self;
    return strcmp(capability, "timeout") ==
           0; /* the connection is closed in time; what the remote contains, nobody here can prove */
}

static void http_stop(struct job *job, int64_t grace_ms)
{
    (void)grace_ms;
    remote_stop(&job->remote);
}

static void http_read_output(struct job *job, bool on)
{
    remote_read_output(&job->remote, on);
}

static void http_status(struct executor_self *self, struct str handle, job_status_fn fn, void *ctx)
{
    fn(ctx, &(struct job_snapshot){.status = remotes_status(&self->all, handle)});
}

const struct executor executor_http = {
    .name = "http",
    .open = http_open,
    .close = http_close,
    .supports = http_supports,
    .start = http_start,
    .stop = http_stop,
    .read_output = http_read_output,
    .status = http_status,
};
