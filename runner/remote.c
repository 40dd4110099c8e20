#include "runner/remote.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/limits.h"

enum { HANDLE_MAX = 4096, HEADER_VALUE_MAX = 1900 };

/* ---- all of one executor ---- */

enum err remotes_open(struct remotes *all, const struct executor_context *x)
{
    *all = (struct remotes){.x = x, .client = http_client_new(x->loop, x->config->allow_private_addresses)};
    if (!all->client)
        return ERR_NO_MEMORY;
    http_client_trust(all->client, x->config->ca_file);
    return ERR_OK;
}

void remotes_close(struct remotes *all)
{
    http_client_free(all->client);
    all->client = NULL;
}

struct remote *remotes_find(const struct remotes *all, const struct job_spec *spec)
{
    struct remote *r = all->first;
    while (r && (r->attempt != spec->attempt || !str_eqz(spec->run_id, r->run_id)))
        r = r->next;
    return r;
}

enum job_status remotes_status(const struct remotes *all, struct str handle)
{
    struct arena arena;
    struct json *root = NULL;
    enum job_status status = JOB_TERMINATED;
    char attempt[24];
    arena_init(&arena, 65536);
    if (json_parse(&arena, handle, 4, 2, &root, NULL) == ERR_OK) {
        const struct json *run = json_get(root, "runId"), *number = json_get(root, "attempt");
        for (const struct remote *r = all->first; r && run && number; r = r->next) {
            snprintf(attempt, sizeof attempt, "%lld", (long long)r->attempt);
            if (str_eqz(run->string, r->run_id) && str_eqz(number->string, attempt) && !r->over)
                status = r->stopping ? JOB_STOPPING : JOB_RUNNING;
        }
    }
    arena_done(&arena);
    return status;
}

/* ---- the end ---- */

static void remote_free(void *p)
{
    struct remote *r = p;
    const struct remote_kind *kind = r->kind;
    void *job = r->job;
    strbuf_done(&r->piece);
    free(r->handle);
    kind->free(job); /* r is a part of it */
}

static void gone(struct remote *r, const struct job_exit *how)
{
    if (r->over)
        return;
    r->over = true;
    loop_timer_stop(&r->timer);
    if (r->flow)
        http_flow_close(r->flow);
    r->flow = NULL;
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    r->events->gone(r->ctx, how);
    loop_defer_free(r->all->x->loop, remote_free, r);
}

void remote_done(struct remote *r)
{
    gone(r, &(struct job_exit){.started = r->begun});
}

/* What it wishes of a retry, where its output can say that. */
static void claim(struct remote *r, const char *class, int64_t retry_ms, const char *message)
{
    struct strbuf data;
    struct json_writer w;
    if (r->plain || r->over)
        return;
    strbuf_init(&data, 8 * REMOTE_WHY_MAX);
    json_writer_init(&w, &data);
    json_object_begin(&w);
    json_kv_str(&w, "status", STR("error"));
    json_key(&w, "error");
    json_object_begin(&w);
    json_kv_str(&w, "class", str_of(class));
    json_kv_str(&w, "message", str_of(message));
    json_object_end(&w);
    if (retry_ms == REMOTE_NO_RETRY)
        json_kv_bool(&w, "noRetry", true);
    else if (retry_ms >= 0)
        json_kv_int(&w, "retryAfterMs", retry_ms < (int64_t)LIMIT_DELAY_MS ? retry_ms : (int64_t)LIMIT_DELAY_MS);
    json_object_end(&w);
    remote_event(r, EVENT_RUNTIME_TERMINAL, strbuf_str(&data));
    strbuf_done(&data);
}

void remote_fail(struct remote *r, const char *class, int64_t retry_ms, const char *message)
{
    claim(r, class, retry_ms, message);
    gone(r, &(struct job_exit){.started = r->begun, .class = class, .message = message});
}

/* ---- the request ---- */

static bool same_word(struct str s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

/* An encoding that nobody asked for could be a bomb, and is no stream of lines. */
static bool encoding_is_plain(struct remote *r, const struct http_flow_head *head)
{
    struct str content = http_flow_field(head, "Content-Encoding"),
               transfer = http_flow_field(head, "Transfer-Encoding");
    r->has_length = transfer.len > 0 || http_flow_field(head, "Content-Length").len > 0;
    return (content.len == 0 || same_word(content, "identity")) &&
           (transfer.len == 0 || same_word(transfer, "chunked"));
}

static void on_head(void *ctx, const struct http_flow_head *head)
{
    struct remote *r = ctx;
    r->status = head->status;
    r->retry_after_s = head->retry_after_s;
    bool plain = encoding_is_plain(r, head);
    struct str id = http_flow_field(head, "request-id");
    snprintf(r->request_id, sizeof r->request_id, "%.*s", (int)(id.len < 64 ? id.len : 64), id.len ? id.ptr : "");
    if (head->status != 200)
        return;
    if (!plain)
        remote_fail(r, "start_failed", REMOTE_NO_RETRY,
                    "its answer is compressed, which was not asked for (Accept-Encoding: identity)");
    else
        r->kind->head(r->job, head);
}

static void on_body(void *ctx, struct str bytes)
{
    struct remote *r = ctx;
    if (r->status == 200) {
        r->kind->body(r->job, bytes);
        return;
    }
    size_t room = REMOTE_PIECE_MAX - r->piece.len;
    strbuf_add(&r->piece, (struct str){bytes.ptr, bytes.len < room ? bytes.len : room});
    if (r->piece.len < REMOTE_PIECE_MAX)
        return;
    http_flow_close(r->flow); /* enough to say what was wrong */
    r->flow = NULL;
    r->kind->end(r->job, ERR_OK, NULL);
}

static void on_end(void *ctx, enum err err, const char *error)
{
    struct remote *r = ctx;
    r->flow = NULL;
    r->kind->end(r->job, r->status != 0 && r->status != 200 ? ERR_OK : err, error);
}

static const struct http_flow_fns flow_fns = {on_head, on_body, on_end};

void remote_send(struct remote *r, struct http_call *call)
{
    call->timeout_ms = 0; /* the attempt's own timer runs */
    call->idle_ms = r->all->x->config->remote_idle_ms;
    call->max_response = SIZE_MAX; /* it is handed on, and what is kept of it is bounded by its lines */
    r->status = 0;
    r->retry_after_s = -1;
    r->has_length = false;
    r->request_id[0] = 0;
    strbuf_reset(&r->piece);
    r->flow = http_client_flow(r->all->client, call, &flow_fns, r);
    if (r->paused)
        http_flow_pause(r->flow, true);
}

static void on_timer(void *ctx)
{
    struct remote *r = ctx;
    if (r->stopping) {
        gone(r, &(struct job_exit){.started = r->begun, .signaled = true, .code = SIGTERM});
        return;
    }
    if (r->handle) {
        char *handle = r->handle;
        r->handle = NULL;
        r->begun = true;
        r->events->started(r->ctx, str_of(handle));
        free(handle);
    }
    if (!r->over && !r->stopping)
        r->kind->send(r->job);
}

static char *handle_of(const struct remote *r, const char *what, struct str value)
{
    struct strbuf out;
    struct json_writer w;
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)r->attempt);
    strbuf_init(&out, HANDLE_MAX);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "runId", str_of(r->run_id));
    json_kv_str(&w, "attempt", str_of(number));
    if (value.len < HANDLE_MAX / 8)
        json_kv_str(&w, what, value);
    json_object_end(&w);
    return strbuf_take(&out);
}

bool remote_begin(struct remote *r, struct remotes *all, const struct job_spec *spec, const struct remote_kind *kind,
                  void *job, const struct job_events *events, void *ctx, const char *what, struct str value)
{
    *r = (struct remote){
        .all = all,
        .next = all->first,
        .link = &all->first,
        .kind = kind,
        .job = job,
        .events = events,
        .ctx = ctx,
        .attempt = spec->attempt,
        .retry_after_s = -1,
        .plain = spec->remote_events || !str_eqz(spec->protocol, "events"),
    };
    snprintf(r->run_id, sizeof r->run_id, "%.*s", STR_ARG(spec->run_id));
    r->handle = handle_of(r, what, value);
    if (!r->handle)
        return false;
    strbuf_init(&r->piece, REMOTE_PIECE_MAX);
    if (r->next)
        r->next->link = &r->next;
    all->first = r;
    loop_timer_init(&r->timer, all->x->loop, on_timer, r);
    loop_timer_set(&r->timer, 0);
    return true;
}

int64_t remote_backoff(struct remote *r, int64_t base_ms, int64_t cap_ms)
{
    int64_t ms = base_ms;
    for (int i = 0; i < r->tries && ms < cap_ms; i++)
        ms *= 2;
    r->tries++;
    ms = ms < cap_ms ? ms : cap_ms;
    return ms / 2 + (int64_t)randombytes_uniform((uint32_t)(ms / 2 + 1));
}

void remote_again(struct remote *r, int64_t delay_ms)
{
    if (!r->stopping && !r->over)
        loop_timer_set(&r->timer, delay_ms);
}

void remote_stop(struct remote *r)
{
    if (r->stopping || r->over)
        return;
    r->stopping = true;
    if (r->flow)
        http_flow_close(r->flow);
    r->flow = NULL;
    loop_timer_set(&r->timer, 0);
}

void remote_read_output(struct remote *r, bool on)
{
    r->paused = !on;
    if (r->flow)
        http_flow_pause(r->flow, !on);
}

/* ---- what it shows ---- */

void remote_output(struct remote *r, struct str bytes)
{
    if (!r->over)
        r->events->output(r->ctx, JOB_STDOUT, bytes);
}

void remote_event(struct remote *r, enum event_kind kind, struct str data)
{
    struct strbuf line;
    strbuf_init(&line, data.len + 128);
    strbuf_addf(&line, "{\"kind\":\"%s\",\"data\":", event_kind_name(kind));
    strbuf_add(&line, data);
    strbuf_addz(&line, "}\n");
    if (!strbuf_failed(&line))
        remote_output(r, strbuf_str(&line));
    strbuf_done(&line);
}

/* ---- small things ---- */

void remote_text(struct str text, size_t max, struct strbuf *out)
{
    struct strbuf clean;
    text.len = text.len < max ? text.len : max;
    text.len = utf8_complete_len(text);
    strbuf_init(&clean, 4 * REMOTE_WHY_MAX);
    utf8_sanitize(&clean, text);
    for (size_t i = 0; i < clean.len; i++)
        if ((unsigned char)clean.ptr[i] < ' ' || clean.ptr[i] == 127)
            clean.ptr[i] = ' ';
    strbuf_add(out, strbuf_str(&clean));
    strbuf_done(&clean);
}

struct str remote_env(const struct job_spec *spec, const char *key)
{
    size_t len = strlen(key);
    for (const char *const *e = spec->env; *e; e++)
        if (strncmp(*e, key, len) == 0 && (*e)[len] == '=')
            return str_of(*e + len + 1);
    return STR_NONE;
}

bool remote_header_safe(struct str value)
{
    bool ok = value.len > 0 && value.len <= HEADER_VALUE_MAX;
    for (size_t i = 0; ok && i < value.len; i++)
        ok = value.ptr[i] > ' ' && value.ptr[i] < 127;
    return ok;
}

bool remote_url_safe(const struct remotes *all, const char *url)
{
    return strncasecmp(url, "https://", 8) == 0 ||
           (all->x->config->allow_private_addresses && strncasecmp(url, "http://", 7) == 0);
}
