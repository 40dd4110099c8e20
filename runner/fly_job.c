#include "runner/fly_job_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"

enum {
    WAIT_S = 60,       /* the API's longest wait */
    START_MS = 600000, /* until a machine that does not start is given up */
    TRIES = 6,         /* creates and looks for it that come to nothing */
    LEASE_S = 60,      /* an adopting runner may have to wait so long for a dead one's */
    LEASE_AGAIN_MS = 25000,
    LEASE_SOON_MS = 5000 /* while another's is not over */
};

static const unsigned edges[FLY_PHASE_COUNT] = {
#define TO(name) (1u << FLY_PHASE_##name)
    [FLY_PHASE_CREATE] = TO(FIND) | TO(LEASE) | TO(DESTROY) | TO(GONE),
    [FLY_PHASE_FIND] = TO(CREATE) | TO(LEASE) | TO(DESTROY) | TO(GONE),
    [FLY_PHASE_LEASE] = TO(STARTING) | TO(DESTROY),
    [FLY_PHASE_STARTING] = TO(RUNNING) | TO(DESTROY),
    [FLY_PHASE_RUNNING] = TO(DESTROY),
    [FLY_PHASE_DESTROY] = TO(GONE),
    [FLY_PHASE_GONE] = 0,
#undef TO
};

bool fly_edge(enum fly_phase from, enum fly_phase to)
{
    return (edges[from] >> to) & 1;
}

/* ---- made ---- */

static void ask_lease(struct job *job);
static void ask_find(struct job *job);

static void have_machine(struct job *job)
{
    job->tries = 0;
    job->why[0] = 0;
    if (fly_is_stopping(job) && !job->adopted) {
        fly_destroy(job);
        return;
    }
    fly_go(job, FLY_PHASE_LEASE);
    ask_lease(job);
}

static void go_find(struct job *job)
{
    fly_go(job, FLY_PHASE_FIND);
    fly_try_again(job);
}

static void on_created(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    bool missing;
    if (!fly_answered(job, FLY_PHASE_CREATE))
        return;
    if (fly_take_machine(job, err, a, &missing)) {
        have_machine(job);
        return;
    }
    if (err)
        snprintf(job->why, sizeof job->why, "the Machines API did not answer: %s", a->error ? a->error : "");
    else
        fly_read_error(a->body, a->status, job->why, sizeof job->why);
    bool refused = !err &&
                   (a->status == 400 || a->status == 401 || a->status == 403 || a->status == 404 || a->status == 412 ||
                    a->status == 422) &&
                   !strstr(job->why, "already");
    job->unanswered = job->unanswered || err || a->status >= 500;
    if (refused)
        fly_fail(job); /* nothing was made: no capacity, no such image, not allowed */
    else
        go_find(job);
}

static void ask_create(struct job *job)
{
    fly_send(job,
             (struct fly_request){
                 .action = FLY_CREATE, .method = "POST", .body = strbuf_str(&job->body), .timeout_ms = 60000},
             on_created, "/machines");
}

/* Of this attempt, by name and metadata. */
static bool find_machine(struct job *job, struct str body, bool *ret_readable)
{
    struct arena a;
    bool found = false;
    struct fly_owner owner = fly_owner_of(job->self, str_of(job->run_id), job->attempt);
    arena_init(&a, 128 << 20);
    const struct json *root = fly_parse(&a, body);
    *ret_readable = root && root->type == JSON_ARRAY;
    for (const struct json *o = *ret_readable ? root->child : NULL; o && !found; o = o->next) {
        struct fly_machine m;
        found = fly_read_machine(o, &owner, &m) && m.prefix_ours && m.attempt == job->attempt &&
                str_eqz(str_of(m.run_id), job->run_id);
        if (found)
            job->machine = m;
    }
    arena_done(&a);
    return found;
}

static void on_found(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    bool readable = false;
    if (!fly_answered(job, FLY_PHASE_FIND))
        return;
    if (!err && a->status == 200 && find_machine(job, a->body, &readable)) {
        if (job->machine.state == FLY_DESTROYED) {
            job->how.started = true;
            fly_over_by_itself(job);
        } else {
            have_machine(job);
        }
    } else if (!readable) {
        fly_try_again(job); /* without the list nothing may be made, and a stop can't be certain */
    } else if (job->tries > TRIES || (fly_is_stopping(job) && !job->unanswered)) {
        fly_fail(job);
    } else if (fly_is_stopping(job)) {
        fly_try_again(job); /* the API may still be at it: it would be nobody's */
    } else {
        fly_go(job, FLY_PHASE_CREATE);
        ask_create(job);
    }
}

static void ask_find(struct job *job)
{
    fly_send(job, (struct fly_request){.action = FLY_LIST, .method = "GET"}, on_found,
             "/machines?include_deleted=true&metadata.errand_run=%s", job->run_id);
}

/* ---- leased, started ---- */

static void on_looked(void *ctx, enum err err, const struct http_answer *a);

static void look(struct job *job)
{
    fly_send(job, (struct fly_request){.action = FLY_GET, .method = "GET"}, on_looked, "/machines/%s", job->machine.id);
}

static void on_kept(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    job->asking--;
    fly_free_if_quiet(job);
    char nonce[FLY_NONCE_MAX];
    if (!err && (a->status == 200 || a->status == 201) && fly_read_nonce(a->body, nonce))
        memcpy(job->nonce, nonce, sizeof nonce);
}

static void on_lease_due(void *ctx)
{
    struct job *job = ctx;
    char text[64];
    snprintf(text, sizeof text, "{\"ttl\":%d}", LEASE_S);
    fly_send(job,
             (struct fly_request){.action = FLY_LEASE, .method = "POST", .nonce = job->nonce, .body = str_of(text)},
             on_kept, "/machines/%s/lease", job->machine.id);
    loop_timer_set(&job->lease, job->nonce[0] ? LEASE_AGAIN_MS : LEASE_SOON_MS);
}

static void send_stop(struct job *job);

static void on_leased(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    bool got = !err && (a->status == 200 || a->status == 201) &&
               fly_read_nonce(a->body, job->nonce); /* destroying it wants it, too */
    if (!fly_answered(job, FLY_PHASE_LEASE))
        return;
    bool away = !err && a->status == 404;
    if (!got && !away) { /* somebody else's, a dead runner's: it ends by itself */
        fly_try_again(job);
        return;
    }
    loop_timer_set(&job->lease, LEASE_AGAIN_MS);
    job->begun_ms = clock_mono_ms();
    fly_go(job, FLY_PHASE_STARTING);
    job->tries = 0;
    if (fly_is_stopping(job) && !job->adopted)
        fly_destroy(job);
    else
        look(job); /* an adopted one is stopped with its grace, when it is known to run */
}

static void ask_lease(struct job *job)
{
    char text[64];
    snprintf(text, sizeof text, "{\"ttl\":%d,\"description\":\"errand\"}", LEASE_S);
    fly_send(job, (struct fly_request){.action = FLY_LEASE, .method = "POST", .body = str_of(text)}, on_leased,
             "/machines/%s/lease", job->machine.id);
}

static void go_running(struct job *job)
{
    struct strbuf handle;
    fly_go(job, FLY_PHASE_RUNNING);
    job->how.started = true;
    job->tries = 0;
    if (!job->adopted) {
        strbuf_init(&handle, 1024);
        fly_write_handle(job->self->api.app, &job->machine, &handle);
        job->events->started(job->ctx, strbuf_str(&handle));
        strbuf_done(&handle);
    }
    if (fly_is_stopping(job) && job->phase == FLY_PHASE_RUNNING)
        send_stop(job);
}

static void on_waited(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    (void)a;
    job->asking--;
    fly_free_if_quiet(job);
    if (job->phase != FLY_PHASE_STARTING && job->phase != FLY_PHASE_RUNNING)
        return;
    if (err == ERR_OK)
        look(job); /* whatever it says: how it is is told by the machine itself */
    else
        fly_try_again(job);
}

static void wait_for(struct job *job, const char *state)
{
    fly_send(job, (struct fly_request){.action = FLY_WAIT, .method = "GET", .timeout_ms = (WAIT_S + 15) * 1000},
             on_waited, "/machines/%s/wait?state=%s&timeout=%d", job->machine.id, state, WAIT_S);
}

static bool has_ended(const struct fly_machine *m)
{
    return m->state == FLY_STOPPED || m->state == FLY_DESTROYED || m->state == FLY_FAILED ||
           (m->state == FLY_STOPPING && m->exit.known);
}

static void take_ended(struct job *job)
{
    if (job->phase == FLY_PHASE_STARTING && (job->machine.state != FLY_FAILED || job->machine.exit.known))
        go_running(job); /* it was quick */
    if (job->phase != FLY_PHASE_RUNNING && job->phase != FLY_PHASE_STARTING)
        return;
    if (job->phase == FLY_PHASE_STARTING) {
        snprintf(job->why, sizeof job->why, "the machine failed before it started");
        fly_fail(job);
    } else if (job->machine.state == FLY_DESTROYED) {
        fly_over_by_itself(job);
    } else {
        fly_note_exit(job);
        fly_destroy(job);
    }
}

static void take_missing(struct job *job)
{
    bool ran = job->phase == FLY_PHASE_RUNNING;
    job->how = (struct job_exit){.started = ran, .class = ran ? "signal" : job->adopted ? NULL : "start_failed"};
    snprintf(job->why, sizeof job->why, "the machine is gone, and left no exit status");
    job->ended = true;
    fly_go(job, FLY_PHASE_DESTROY);
    fly_gone(job);
}

static void on_looked(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    bool missing;
    job->asking--;
    fly_free_if_quiet(job);
    if (job->phase != FLY_PHASE_STARTING && job->phase != FLY_PHASE_RUNNING)
        return;
    bool seen = fly_take_machine(job, err, a, &missing);
    if (missing) {
        take_missing(job);
    } else if (!seen) {
        fly_try_again(job);
    } else if (has_ended(&job->machine)) {
        take_ended(job);
    } else if (job->phase == FLY_PHASE_STARTING && job->machine.state == FLY_STARTED) {
        go_running(job);
        if (job->phase == FLY_PHASE_RUNNING)
            wait_for(job, "destroyed");
    } else if (job->phase == FLY_PHASE_STARTING && clock_mono_ms() - job->begun_ms > START_MS) {
        snprintf(job->why, sizeof job->why, "the machine did not start within %d s", START_MS / 1000);
        fly_fail(job);
    } else {
        wait_for(job, job->phase == FLY_PHASE_STARTING ? "started" : "destroyed");
    }
}

static void on_again(void *ctx)
{
    struct job *job = ctx;
    switch (job->phase) {
    case FLY_PHASE_FIND:
        ask_find(job);
        break;
    case FLY_PHASE_LEASE:
        ask_lease(job);
        break;
    case FLY_PHASE_STARTING:
    case FLY_PHASE_RUNNING:
        look(job);
        break;
    case FLY_PHASE_DESTROY:
        fly_ask_delete(job);
        break;
    case FLY_PHASE_CREATE:
    case FLY_PHASE_GONE:
    case FLY_PHASE_COUNT:
        break;
    }
}

/* ---- orders ---- */

static void on_stopped(void *ctx, enum err err, const struct http_answer *a)
{
    (void)err; /* the kill timer is behind it */
    (void)a;
    (void)fly_answered(ctx, FLY_PHASE_RUNNING);
}

static void on_kill_due(void *ctx)
{
    struct job *job = ctx;
    if (job->phase == FLY_PHASE_RUNNING || job->phase == FLY_PHASE_STARTING)
        fly_destroy(job); /* by force */
}

static void send_stop(struct job *job)
{
    char text[80];
    if (job->stop_grace_ms == 0) {
        fly_destroy(job);
        return;
    }
    snprintf(text, sizeof text, "{\"signal\":\"SIGTERM\",\"timeout\":\"%lldms\"}", (long long)job->stop_grace_ms);
    fly_send(job, (struct fly_request){.action = FLY_STOP, .method = "POST", .nonce = job->nonce, .body = str_of(text)},
             on_stopped, "/machines/%s/stop", job->machine.id);
    loop_timer_set(&job->kill, job->stop_grace_ms);
}

static void stop_later(void *ctx)
{
    struct job *job = ctx;
    if (job->phase == FLY_PHASE_RUNNING)
        send_stop(job);
    else if (job->phase == FLY_PHASE_STARTING && !job->adopted)
        fly_destroy(job);
    else if (job->phase == FLY_PHASE_LEASE && !job->adopted)
        fly_destroy(job); /* the answer that was to come is of a lease that ends with it */
}

void fly_job_stop(struct job *job, int64_t grace_ms)
{
    if (fly_is_stopping(job) && grace_ms >= job->stop_grace_ms)
        return;
    job->stop_grace_ms = grace_ms;
    stop_later(job);
}

/* A successor goes on with it, from its handle. The lease is given back, as far as there is time for it. */
void fly_job_leave(struct job *job)
{
    loop_timer_stop(&job->again);
    loop_timer_stop(&job->kill);
    loop_timer_stop(&job->lease);
    job->left = true;
    if (job->phase == FLY_PHASE_GONE)
        return; /* it ended in this very turn: what was to tell that frees it */
    fly_unlink(job);
    job->phase = FLY_PHASE_GONE; /* to nobody but us */
    job->told = true;
    if (job->nonce[0])
        fly_send(job, (struct fly_request){.action = FLY_LEASE, .method = "DELETE", .nonce = job->nonce},
                 fly_on_released, "/machines/%s/lease", job->machine.id);
    fly_free_if_quiet(job);
}

bool fly_job_owned(const struct executor_self *self, const char *machine_id)
{
    const struct job *job = self->jobs;
    while (job && strcmp(job->machine.id, machine_id) != 0)
        job = job->next;
    return job != NULL;
}

/* ---- begin ---- */

static struct job *job_new(struct executor_self *self, const struct job_spec *spec, const struct job_events *events,
                           void *ctx)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    *job = (struct job){.self = self, .events = events, .ctx = ctx, .attempt = spec->attempt, .stop_grace_ms = -1};
    fly_name(spec->run_id, spec->attempt, job->name, sizeof job->name);
    snprintf(job->run_id, sizeof job->run_id, "%.*s", (int)(spec->run_id.len < 39 ? spec->run_id.len : 39),
             spec->run_id.ptr);
    job->next = self->jobs;
    job->link = &self->jobs;
    if (job->next)
        job->next->link = &job->next;
    self->jobs = job;
    loop_timer_init(&job->again, self->x->loop, on_again, job);
    loop_timer_init(&job->kill, self->x->loop, on_kill_due, job);
    loop_timer_init(&job->lease, self->x->loop, on_lease_due, job);
    return job;
}

struct job *fly_job_start(struct executor_self *self, const struct job_spec *spec, const struct job_events *events,
                          void *ctx, const char **ret_why)
{
    const struct config *config = self->x->config;
    if (!images_allow(str_of(config->images), str_of(spec->image))) {
        *ret_why = "the image is not one that this runner may use (its option images names those)";
        return NULL;
    }
    if (!spec->remote_events) {
        *ret_why = "a machine posts its own events: eventSource must be remote";
        return NULL;
    }
    for (struct job *had = self->jobs; had; had = had->next)
        if (str_eqz(spec->run_id, had->run_id) && had->attempt == spec->attempt)
            return had; /* its machine is leased by this one: there can't be a second */
    struct strbuf body;
    strbuf_init(&body, 1 << 20);
    struct fly_owner owner = fly_owner_of(self, spec->run_id, spec->attempt);
    if (!fly_create_body(spec, &owner, spec->region ? spec->region : config->fly_region, &body)) {
        strbuf_done(&body);
        *ret_why = "no machine is as large as the definition's resources";
        return NULL;
    }
    struct job *job = job_new(self, spec, events, ctx);
    if (!job) {
        strbuf_done(&body);
        *ret_why = "out of memory";
        return NULL;
    }
    job->body = body;
    ask_create(job);
    return job;
}

struct job *fly_job_adopt(struct executor_self *self, struct str handle, const struct job_spec *spec,
                          const struct job_events *events, void *ctx, const char **ret_why)
{
    char app[FLY_APP_MAX], id[FLY_ID_MAX];
    if (!fly_read_handle(handle, app, id) || strcmp(app, self->api.app) != 0) {
        *ret_why = "the handle names no machine of this runner's app";
        return NULL;
    }
    struct job *job = job_new(self, spec, events, ctx);
    if (!job) {
        *ret_why = "out of memory";
        return NULL;
    }
    memcpy(job->machine.id, id, sizeof id);
    job->adopted = true;
    job->phase = FLY_PHASE_STARTING;
    job->begun_ms = clock_mono_ms();
    loop_timer_set(&job->lease, 0); /* the lease of a dead one may still last: that is not waited for */
    look(job);
    return job;
}
