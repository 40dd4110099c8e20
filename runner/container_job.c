#include "runner/container_job_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ASK_MS = 30000,
    PULL_MS = 600000,
    TRIES = 5,      /* of what must be answered before it runs */
    AGAIN_MS = 200, /* the first wait before another try; doubled each time */
    AGAIN_MAX_MS = 5000
};

static const unsigned edges[CONTAINER_PHASE_COUNT] = {
#define TO(name) (1u << CONTAINER_##name)
    [CONTAINER_IMAGE] = TO(PULL) | TO(CREATE) | TO(GONE),
    [CONTAINER_PULL] = TO(IMAGE) | TO(GONE),
    [CONTAINER_CREATE] = TO(INSPECT) | TO(REMOVE) | TO(GONE),
    [CONTAINER_INSPECT] = TO(CREATE) | TO(ATTACH) | TO(LOOK) | TO(REMOVE) | TO(GONE),
    [CONTAINER_ATTACH] = TO(START) | TO(REMOVE),
    [CONTAINER_START] = TO(LOOK) | TO(REMOVE),
    [CONTAINER_LOOK] = TO(RUNNING) | TO(REMOVE),
    [CONTAINER_RUNNING] = TO(LAST) | TO(GONE),
    [CONTAINER_LAST] = TO(REMOVE) | TO(GONE),
    [CONTAINER_REMOVE] = TO(GONE),
    [CONTAINER_GONE] = 0,
#undef TO
};

bool container_edge(enum container_phase from, enum container_phase to)
{
    return (edges[from] >> to) & 1;
}

void container_go(struct job *job, enum container_phase to)
{
    PRE(container_edge(job->phase, to));
    job->phase = to;
    job->tries = 0;
}

/* ---- asking the engine ---- */

void container_ask(struct executor_self *self, const struct container_ask *ask, http_answer_fn fn, void *ctx)
{
    char url[800];
    snprintf(url, sizeof url, "http://engine/v%s%s", self->version, ask->path);
    const struct str headers[] = {STR("Content-Type: application/json")};
    struct http_call call = {.method = ask->method,
                             .url = url,
                             .headers = headers,
                             .header_count = ask->body.len > 0 ? 1 : 0,
                             .body = ask->body,
                             .timeout_ms = ask->timeout_ms ? ask->timeout_ms : ASK_MS,
                             .max_response = ask->max_response ? ask->max_response : CONTAINER_ANSWER_MAX,
                             .unix_socket = self->socket};
    http_client_send(self->client, &call, fn, ctx);
}

struct container_owner container_owner_of(const struct executor_self *self, struct str run_id, int64_t attempt)
{
    return (struct container_owner){.run_id = run_id,
                                    .node = str_of(self->x->config->node),
                                    .prefix = str_of(self->x->config->prefix),
                                    .runner = str_of(self->runner),
                                    .attempt = attempt};
}

static void job_free(void *p)
{
    struct job *job = p;
    if (job->body.ptr)
        explicit_bzero(job->body.ptr, job->body.len);
    strbuf_done(&job->body);
    strbuf_done(&job->input);
    free(job);
}

void container_free_if_quiet(struct job *job)
{
    if (job->phase == CONTAINER_GONE && job->told && job->asking == 0)
        loop_defer_free(job->self->x->loop, job_free, job);
}

void container_send(struct job *job, const char *method, http_answer_fn fn, struct str body, int64_t timeout_ms,
                    const char *fmt, ...)
{
    struct container_ask a = {.method = method, .body = body, .timeout_ms = timeout_ms};
    va_list list;
    va_start(list, fmt);
    vsnprintf(a.path, sizeof a.path, fmt, list);
    va_end(list);
    job->asking++;
    container_ask(job->self, &a, fn, job);
}

/* An answer came: false when nobody waits for it any more. */
bool container_answered(struct job *job, enum container_phase phase)
{
    job->asking--;
    container_free_if_quiet(job);
    return job->phase == phase;
}

/* Another try, later each time. */
void container_try_again(struct job *job)
{
    int64_t wait = (int64_t)AGAIN_MS << (job->tries < 5 ? job->tries : 5);
    job->tries++;
    loop_timer_set(&job->again, wait < AGAIN_MAX_MS ? wait : AGAIN_MAX_MS);
}

/* ---- the end ---- */

static void tell_gone(void *p)
{
    struct job *job = p;
    loop_timer_stop(&job->again);
    loop_timer_stop(&job->kill);
    loop_timer_stop(&job->reopen);
    container_stream_close(job->stream);
    container_oom_close(job->oom);
    job->stream = NULL;
    job->oom = NULL;
    job->how.message = job->why[0] ? job->why : NULL;
    job->told = true;
    if (!job->left)
        job->events->gone(job->ctx, &job->how);
    container_free_if_quiet(job);
}

void container_unlink(struct job *job)
{
    *job->link = job->next;
    if (job->next)
        job->next->link = job->link;
}

void container_gone(struct job *job)
{
    container_go(job, CONTAINER_GONE);
    container_unlink(job);
    loop_defer(job->self->x->loop, tell_gone, job);
}

static void on_removed(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    if (!container_answered(job, CONTAINER_REMOVE))
        return;
    if (!err && (a->status == 204 || a->status == 200 || a->status == 404))
        container_gone(job);
    else
        container_try_again(job); /* until the engine knows it no more: before that it may still run */
}

void container_ask_remove(struct job *job)
{
    container_send(job, "DELETE", on_removed, STR_NONE, 0, "/containers/%s?force=true&v=true",
                   job->id[0] ? job->id : job->name);
}

void container_remove(struct job *job)
{
    loop_timer_stop(&job->again);
    container_go(job, CONTAINER_REMOVE);
    container_ask_remove(job);
}

/* It could not be started, for a reason that why says. */
void container_fail(struct job *job, bool may_be_there)
{
    job->how.class = job->stop_grace_ms >= 0 ? NULL : "start_failed";
    if (may_be_there)
        container_remove(job);
    else
        container_gone(job);
}

/* ---- its image ---- */

static void on_image(void *ctx, enum err err, const struct http_answer *a);

void container_ask_image(struct job *job)
{
    container_send(job, "GET", on_image, STR_NONE, 0, "/images/%s/json", job->image);
}

static void on_pulled(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    if (!container_answered(job, CONTAINER_PULL))
        return;
    if (err || a->status != 200) {
        if (err)
            snprintf(job->why, sizeof job->why, "the image was not fetched: %s", a->error ? a->error : "no answer");
        else
            container_read_error(a->body, a->status, job->why, sizeof job->why);
        container_fail(job, false);
        return;
    }
    container_go(job, CONTAINER_IMAGE); /* whether it is there now tells whether that worked */
    container_ask_image(job);
}

static void pull(struct job *job)
{
    struct container_ask a = {.method = "POST", .timeout_ms = PULL_MS, .max_response = 64 << 20};
    snprintf(a.path, sizeof a.path, "/images/create?fromImage=%s", job->image);
    job->pulled = true;
    container_go(job, CONTAINER_PULL);
    job->asking++;
    container_ask(job->self, &a, on_pulled, job);
}

static void on_image(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    if (!container_answered(job, CONTAINER_IMAGE))
        return;
    if (!err && a->status == 200 && container_read_id(a->body, job->image_id)) {
        container_go(job, CONTAINER_CREATE);
        container_ask_create(job);
    } else if (!err && a->status == 404 && job->self->x->config->container_pull && !job->pulled) {
        pull(job);
    } else if (!err && a->status == 404) {
        snprintf(job->why, sizeof job->why, "the image %.400s is not on this machine%s", job->image,
                 job->pulled ? "" : ", and container-pull is off");
        container_fail(job, false);
    } else if (job->tries < TRIES) {
        container_try_again(job);
    } else {
        snprintf(job->why, sizeof job->why, "the engine could not be asked for the image: %s",
                 err ? a->error : "it answered with an error");
        container_fail(job, false);
    }
}

/* ---- made ---- */

void container_ask_inspect(struct job *job, http_answer_fn fn)
{
    container_send(job, "GET", fn, STR_NONE, 0, "/containers/%s/json", job->id[0] ? job->id : job->name);
}

/* Whatever it answers but a new id, the container may be there: an earlier try's, or this one's whose answer was lost. Its name tells. */
static void on_created(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    if (!container_answered(job, CONTAINER_CREATE))
        return;
    bool made = !err && a->status == 201 && container_read_id(a->body, job->id);
    if (!made && !err)
        container_read_error(a->body, a->status, job->why, sizeof job->why);
    else if (!made)
        snprintf(job->why, sizeof job->why, "the engine did not answer: %s", a->error ? a->error : "");
    int tries = job->tries;
    container_go(job, CONTAINER_INSPECT);
    job->tries = made ? 0 : tries;
    container_ask_inspect(job, container_on_inspected);
}

void container_ask_create(struct job *job)
{
    struct strbuf text;
    strbuf_init(&text, job->body.max + 256);
    strbuf_addf(&text, "{\"Image\":\"%s\",", job->image_id);
    strbuf_add(&text, (struct str){job->body.ptr + 1, job->body.len - 1});
    container_send(job, "POST", on_created, strbuf_str(&text), 0, "/containers/create?name=%s", job->name);
    explicit_bzero(text.ptr, text.len);
    strbuf_done(&text);
}

/* Its successor's first word. False: it can't be known what it was given, so nothing of it may be shown. */
static bool tell_adopted(struct job *job, struct str body)
{
    struct strbuf env;
    strbuf_init(&env, 1 << 20);
    bool ok = !job->adopted || container_read_env(body, &env);
    if (ok && job->adopted && job->events->adopted)
        job->events->adopted(job->ctx, strbuf_str(&env), "");
    if (env.ptr)
        explicit_bzero(env.ptr, env.len);
    strbuf_done(&env);
    return ok;
}

static void take_state(struct job *job, const struct container_state *s)
{
    struct str run = str_of(job->run_id);
    const char *fault = NULL;
    bool ours = str_eqz(run, s->run_id) && s->attempt == job->attempt;
    if ((!ours && !job->adopted) || !s->prefix_ours) { /* an adopted one was named by its id */
        snprintf(job->why, sizeof job->why, "the container %s is there, but it is not this attempt's", job->name);
        container_fail(job, false);
        return;
    }
    snprintf(job->id, sizeof job->id, "%s", s->id);
    if (!job->adopted)
        fault = container_limits_fault(s, &job->limits, job->no_network);
    if (fault || (container_is_stopping(job) && !job->adopted)) {
        snprintf(job->why, sizeof job->why, "%s", fault ? fault : "");
        container_fail(job, true);
        return;
    }
    job->why[0] = 0;
    if (s->created && !job->adopted)
        container_attach(job);
    else
        container_watch(job, s);
}

void container_on_inspected(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    struct container_state s;
    if (!container_answered(job, CONTAINER_INSPECT))
        return;
    struct container_owner owner = container_owner_of(job->self, str_of(job->run_id), job->attempt);
    if (!err && a->status == 200 && container_read_state(a->body, &owner, &s) && tell_adopted(job, a->body)) {
        take_state(job, &s);
    } else if (!err && a->status == 404 && job->adopted) {
        container_gone(job); /* nobody knows how it ended */
    } else if (container_is_stopping(job)) {
        container_fail(job, true);
    } else if (++job->tries <= TRIES && !err && a->status == 404) {
        int tries = job->tries;
        container_go(job, CONTAINER_CREATE); /* nothing was made: once more, unless the engine means it */
        job->tries = tries;
        if (tries > 1)
            container_fail(job, true);
        else
            loop_timer_set(&job->again, AGAIN_MS);
    } else if (job->tries <= TRIES || job->adopted) {
        container_try_again(job);
    } else {
        container_fail(job, true);
    }
}

/* ---- begin ---- */

static struct job *job_new(struct executor_self *self, const struct job_spec *spec, const struct job_events *events,
                           void *ctx)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    *job = (struct job){.self = self,
                        .events = events,
                        .ctx = ctx,
                        .attempt = spec->attempt,
                        .limits = spec->limits,
                        .no_network = spec->network != NETWORK_HOST,
                        .stdin_open = spec->stdin_open,
                        .reading = true,
                        .stop_grace_ms = -1};
    container_name(spec->run_id, spec->attempt, job->name, sizeof job->name);
    snprintf(job->run_id, sizeof job->run_id, "%.*s", (int)(spec->run_id.len < 39 ? spec->run_id.len : 39),
             spec->run_id.ptr);
    job->next = self->jobs;
    job->link = &self->jobs;
    if (job->next)
        job->next->link = &job->next;
    self->jobs = job;
    loop_timer_init(&job->again, self->x->loop, container_on_again, job);
    loop_timer_init(&job->kill, self->x->loop, container_on_kill_due, job);
    loop_timer_init(&job->reopen, self->x->loop, container_on_reopen, job);
    return job;
}

struct job *container_job_start(struct executor_self *self, const struct job_spec *spec,
                                const struct job_events *events, void *ctx, const char **ret_why)
{
    if (!images_allow(str_of(self->x->config->images), str_of(spec->image))) {
        *ret_why = "the image is not one that this runner may use (its option images names those)";
        return NULL;
    }
    *ret_why = "out of memory";
    struct job *job = job_new(self, spec, events, ctx);
    if (!job)
        return NULL;
    snprintf(job->image, sizeof job->image, "%s", spec->image);
    strbuf_init(&job->body, 1 << 20);
    strbuf_init(&job->input, spec->input_line.len + 2);
    strbuf_add(&job->input, spec->input_line);
    strbuf_addc(&job->input, '\n');
    struct container_owner owner = container_owner_of(self, str_of(job->run_id), job->attempt);
    container_create_body(spec, &owner, self->info.swap_limit, &job->body);
    if (strbuf_failed(&job->body) || strbuf_failed(&job->input)) {
        container_unlink(job);
        job_free(job);
        return NULL;
    }
    container_ask_image(job);
    return job;
}

struct job *container_job_adopt(struct executor_self *self, struct str handle, const struct job_spec *spec,
                                const struct job_events *events, void *ctx, const char **ret_why)
{
    char id[CONTAINER_ID_MAX];
    if (!container_handle_id(handle, id)) {
        *ret_why = "the handle names no container";
        return NULL;
    }
    if (spec->out_at >= 0 && spec->out_at + spec->err_at > CONTAINER_LOG_WHOLE) {
        *ret_why = "it printed more than the engine's log keeps";
        return NULL;
    }
    struct job *job = job_new(self, spec, events, ctx);
    if (!job) {
        *ret_why = "out of memory";
        return NULL;
    }
    snprintf(job->id, sizeof job->id, "%s", id);
    job->adopted = true;
    job->seen[0] = spec->out_at; /* below 0: what was printed while nobody listened is let go */
    job->seen[1] = spec->err_at > 0 ? spec->err_at : 0;
    job->phase = CONTAINER_INSPECT;
    container_ask_inspect(job, container_on_inspected);
    return job;
}
