#include "runner/fly_job_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { AGAIN_MS = 500, AGAIN_MAX_MS = 10000 }; /* the first wait before another try; doubled each time */

struct fly_owner fly_owner_of(const struct executor_self *self, struct str run_id, int64_t attempt)
{
    return (struct fly_owner){.run_id = run_id,
                              .node = str_of(self->x->config->node),
                              .prefix = str_of(self->x->config->prefix),
                              .runner = str_of(self->runner),
                              .attempt = attempt};
}

void fly_go(struct job *job, enum fly_phase to)
{
    PRE(fly_edge(job->phase, to));
    job->phase = to;
    loop_timer_stop(&job->again);
}

static void job_free(void *p)
{
    struct job *job = p;
    if (job->body.ptr)
        explicit_bzero(job->body.ptr, job->body.len);
    strbuf_done(&job->body);
    explicit_bzero(job->nonce, sizeof job->nonce);
    free(job);
}

void fly_free_if_quiet(struct job *job)
{
    if (job->phase == FLY_PHASE_GONE && job->told && job->asking == 0)
        loop_defer_free(job->self->x->loop, job_free, job);
}

bool fly_answered(struct job *job, enum fly_phase phase)
{
    job->asking--;
    fly_free_if_quiet(job);
    return job->phase == phase;
}

/* r.path is made of fmt. Of what the API bounds by machine, the limits are the job's. */
void fly_send(struct job *job, struct fly_request r, http_answer_fn fn, const char *fmt, ...)
{
    char path[400];
    va_list list;
    va_start(list, fmt);
    vsnprintf(path, sizeof path, fmt, list);
    va_end(list);
    r.path = path;
    r.limits = r.action == FLY_CREATE || r.action == FLY_LIST ? NULL : &job->limits;
    job->asking++;
    fly_ask(&job->self->api, &r, fn, job);
}

void fly_try_again(struct job *job)
{
    int64_t wait = (int64_t)AGAIN_MS << (job->tries < 6 ? job->tries : 6);
    job->tries++;
    loop_timer_set(&job->again, wait < AGAIN_MAX_MS ? wait : AGAIN_MAX_MS);
}

/* ---- the end ---- */

static void tell_gone(void *p)
{
    struct job *job = p;
    loop_timer_stop(&job->again);
    loop_timer_stop(&job->kill);
    loop_timer_stop(&job->lease);
    job->how.message = job->why[0] ? job->why : NULL;
    job->told = true;
    if (!job->left)
        job->events->gone(job->ctx, &job->how);
    fly_free_if_quiet(job);
}

void fly_unlink(struct job *job)
{
    *job->link = job->next;
    if (job->next)
        job->next->link = job->link;
}

void fly_gone(struct job *job)
{
    fly_go(job, FLY_PHASE_GONE);
    fly_unlink(job);
    loop_defer(job->self->x->loop, tell_gone, job);
}

void fly_note_exit(struct job *job)
{
    const char *message;
    if (job->ended || !job->how.started)
        return;
    fly_job_exit(&job->machine, &job->how, &message);
    job->ended = true;
    snprintf(job->why, sizeof job->why, "%s", message ? message : "");
}

/* Its successor's first word. False: it can't be known what it was given. */
static bool tell_adopted(struct job *job, const struct json *machine)
{
    struct strbuf env;
    strbuf_init(&env, 1 << 20);
    bool ok = fly_read_env(machine, &env);
    if (ok && job->events->adopted)
        job->events->adopted(job->ctx, strbuf_str(&env), "");
    if (env.ptr)
        explicit_bzero(env.ptr, env.len);
    strbuf_done(&env);
    return ok;
}

/* An answer of GET: the machine, as it is. Missing: nothing can be known of it any more. */
bool fly_take_machine(struct job *job, enum err err, const struct http_answer *a, bool *ret_missing)
{
    struct arena arena;
    struct fly_machine m;
    struct fly_owner owner = fly_owner_of(job->self, str_of(job->run_id), job->attempt);
    *ret_missing = !err && a->status == 404;
    if (err || a->status != 200)
        return false;
    arena_init(&arena, 64 << 20);
    const struct json *root = fly_parse(&arena, a->body);
    bool ok = fly_read_machine(root, &owner, &m);
    if (ok)
        job->machine = m;
    if (ok && job->adopted && !job->env_told)
        ok = job->env_told = tell_adopted(job, root);
    arena_done(&arena);
    return ok;
}

static void on_destroyed(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    bool missing;
    if (!fly_answered(job, FLY_PHASE_DESTROY))
        return;
    bool seen = fly_take_machine(job, err, a, &missing);
    if (missing || (seen && job->machine.state == FLY_DESTROYED)) {
        fly_note_exit(job);
        fly_gone(job);
    } else {
        fly_try_again(job); /* until then it may still run */
    }
}

/* That it is deleted is not yet that it is gone: it is asked for. */
static void on_deleted(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    if (!fly_answered(job, FLY_PHASE_DESTROY))
        return;
    if (!err && (a->status == 200 || a->status == 404))
        fly_send(job, (struct fly_request){.action = FLY_GET, .method = "GET"}, on_destroyed, "/machines/%s",
                 job->machine.id);
    else
        fly_try_again(job);
}

void fly_ask_delete(struct job *job)
{
    fly_send(job, (struct fly_request){.action = FLY_DELETE, .method = "DELETE", .nonce = job->nonce}, on_deleted,
             "/machines/%s?force=true", job->machine.id);
}

void fly_destroy(struct job *job)
{
    fly_go(job, FLY_PHASE_DESTROY);
    loop_timer_stop(&job->lease);
    job->tries = 0;
    fly_ask_delete(job);
}

void fly_on_released(void *ctx, enum err err, const struct http_answer *a)
{
    (void)err; /* it ends by itself */
    (void)a;
    (void)fly_answered(ctx, FLY_PHASE_GONE);
}

/* It destroyed itself: its lease is given back, which nobody waits for. */
void fly_over_by_itself(struct job *job)
{
    fly_note_exit(job);
    if (job->nonce[0])
        fly_send(job, (struct fly_request){.action = FLY_LEASE, .method = "DELETE", .nonce = job->nonce},
                 fly_on_released, "/machines/%s/lease", job->machine.id);
    fly_go(job, FLY_PHASE_DESTROY);
    fly_gone(job);
}

void fly_fail(struct job *job)
{
    if (!fly_is_stopping(job))
        job->how.class = "start_failed";
    if (job->machine.id[0])
        fly_destroy(job);
    else
        fly_gone(job);
}
