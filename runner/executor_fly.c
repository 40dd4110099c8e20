/* The executor `fly`: a Fly Machine for each attempt, through the Machines API. What is said stands in fly_parts.c, rate limits in fly_api.c, an attempt's way in fly_job.c. */
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "runner/fly_job.h"

enum { PROBE_MS = 10000, SWEEP_TRIES = 12, SWEEP_AGAIN_MS = 10000, SWEPT_MAX = 10000, STATUS_TRIES = 3 };

struct fly_sweep {
    struct executor_self *self;
    struct loop_timer again;
    int tries;
    size_t asking;
    bool left; /* something could not be destroyed yet: a dead runner's lease is on it */
    size_t count;
    struct owner {
        char run_id[40];
        int64_t attempt;
    } keep[];
};

/* ---- whether the app is there: on a loop of its own, which may wait ---- */

struct probe {
    int status;
    bool answered;
};

static void on_probed(void *ctx, enum err err, const struct http_answer *a)
{
    struct probe *p = ctx;
    p->status = err ? 0 : a->status;
    p->answered = true;
}

static enum err probe(struct executor_self *self, struct strbuf *ret_why)
{
    struct probe p = {.answered = false};
    struct fly_api api = self->api;
    api.asks = NULL;
    api.loop = loop_new();
    if (!api.loop)
        return ERR_NO_MEMORY;
    api.client = http_client_new(api.loop, true);
    if (api.client) {
        fly_ask(&api, &(struct fly_request){.action = FLY_GET, .method = "GET", .path = "", .timeout_ms = PROBE_MS},
                on_probed, &p);
        while (!p.answered)
            uv_run(loop_uv(api.loop), UV_RUN_ONCE);
        fly_api_close(&api);
    }
    loop_run(api.loop);
    loop_free(api.loop);
    if (p.status == 401 || p.status == 403 || p.status == 404) {
        strbuf_addf(ret_why, "fly: the Machines API answered %d for the app %s: fly-token must be one for fly-app",
                    p.status, self->api.app);
        return ERR_CONFIG;
    }
    if (p.status != 200)
        LOG_WARN("the Machines API could not be asked for the app; machines are made when it can",
                 LOG_I("status", p.status));
    return ERR_OK;
}

static enum err check_options(const struct config *c, struct strbuf *ret_why)
{
    struct str bad, url = str_of(c->fly_api_url);
    if (!images_list_valid(str_of(c->images), &bad))
        strbuf_addf(ret_why, "images: \"%.*s\" is no image, nor a prefix with /* behind it",
                    (int)(bad.len > 64 ? 64 : bad.len), bad.ptr);
    else if (!fly_word_valid(str_of(c->fly_app)))
        strbuf_addz(ret_why, "fly-app: the name of the app whose machines execute attempts");
    else if (!c->fly_token[0] || strlen(c->fly_token) > FLY_TOKEN_MAX || strpbrk(c->fly_token, "\r\n"))
        strbuf_addf(ret_why, "fly-token: a token for that app, at most %d bytes", FLY_TOKEN_MAX);
    else if ((!str_starts(url, STR("https://")) && !str_starts(url, STR("http://"))) || url.len > 200)
        strbuf_addz(ret_why, "fly-api-url: https://… or http://…, at most 200 bytes");
    else if (c->fly_region[0] && !fly_word_valid(str_of(c->fly_region)))
        strbuf_addz(ret_why, "fly-region: a region's code, for example lhr");
    return ret_why->len > 0 ? ERR_CONFIG : ERR_OK;
}

static enum err fly_open(const struct executor_context *x, struct executor_self **ret_self, struct strbuf *ret_why)
{
    enum err err = check_options(x->config, ret_why);
    if (err)
        return err;
    struct executor_self *self = calloc(1, sizeof *self);
    if (!self)
        return ERR_NO_MEMORY;
    self->x = x;
    runner_process_name(self->runner);
    snprintf(self->url, sizeof self->url, "%s", x->config->fly_api_url);
    for (size_t n = strlen(self->url); n > 0 && self->url[n - 1] == '/'; n--)
        self->url[n - 1] = 0;
    self->api =
        (struct fly_api){.loop = x->loop, .url = self->url, .app = x->config->fly_app, .token = x->config->fly_token};
    err = probe(self, ret_why);
    self->api.client = err ? NULL : http_client_new(x->loop, true);
    if (!err && !self->api.client)
        err = ERR_NO_MEMORY;
    if (err) {
        free(self);
        return err;
    }
    *ret_self = self;
    return ERR_OK;
}

static void fly_close(struct executor_self *self)
{
    if (!self)
        return;
    fly_api_close(&self->api);
    if (self->sweep) /* it waits for another try */
        loop_timer_stop(&self->sweep->again);
    free(self->sweep);
    free(self);
}

/* A machine is a virtual one of its own: its kernel, its memory, its processors, its network. */
static bool fly_supports(const struct executor_self *self, const char *capability)
{
    static const char *const all[] = {"timeout", "process_isolation", "filesystem_isolation", "memory_limit",
                                      "cpu_limit"}; /* a machine reaches the internet, and its app's network */
    (void)self;
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        found = found || strcmp(capability, all[i]) == 0;
    return found;
}

/* Its output stays with Fly. */
static void fly_read_output(struct job *job, bool on)
{
    (void)job;
    (void)on;
}

/* ---- status, from the handle alone ---- */

struct status_ask {
    struct executor_self *self;
    char path[FLY_ID_MAX + 16];
    job_status_fn fn;
    void *ctx;
    int tries;
};

static void ask_status(struct status_ask *s);

static void tell_status(struct status_ask *s, const struct fly_machine *m)
{
    struct job_exit how;
    const char *message = NULL;
    struct job_snapshot shot = {.status = fly_status_of(m->state)};
    if (shot.status >= JOB_TERMINATED && m->exit.known) {
        fly_job_exit(m, &how, &message);
        shot.error_class = how.class ? how.class : how.signaled ? "signal" : how.code ? "exit_nonzero" : NULL;
        shot.error_message = message;
        shot.status = shot.error_class ? JOB_FAILED : JOB_TERMINATED;
    }
    s->fn(s->ctx, &shot);
}

static void on_status(void *ctx, enum err err, const struct http_answer *a)
{
    struct status_ask *s = ctx;
    struct arena arena;
    struct fly_machine m;
    struct fly_owner owner = fly_owner_of(s->self, STR(""), 0);
    arena_init(&arena, 64 << 20);
    bool read = !err && a->status == 200 && fly_read_machine(fly_parse(&arena, a->body), &owner, &m);
    arena_done(&arena);
    if (read) {
        tell_status(s, &m);
    } else if (!err && a->status == 404) {
        s->fn(s->ctx, &(struct job_snapshot){.status = JOB_TERMINATED});
    } else if (err != ERR_CANCELED && ++s->tries < STATUS_TRIES) {
        ask_status(s);
        return;
    } else {
        s->fn(s->ctx,
              &(struct job_snapshot){.status = JOB_FAILED, .error_message = "the Machines API does not answer"});
    }
    free(s);
}

static void ask_status(struct status_ask *s)
{
    fly_ask(&s->self->api, &(struct fly_request){.action = FLY_GET, .method = "GET", .path = s->path}, on_status, s);
}

static void fly_status(struct executor_self *self, struct str handle, job_status_fn fn, void *ctx)
{
    char app[FLY_APP_MAX], id[FLY_ID_MAX];
    struct status_ask *s =
        fly_read_handle(handle, app, id) && strcmp(app, self->api.app) == 0 ? calloc(1, sizeof *s) : NULL;
    if (!s) {
        fn(ctx, &(struct job_snapshot){.status = JOB_FAILED,
                                       .error_message = "the handle names no machine of this runner's app"});
        return;
    }
    s->self = self;
    s->fn = fn;
    s->ctx = ctx;
    snprintf(s->path, sizeof s->path, "/machines/%s", id);
    ask_status(s);
}

/* ---- what an earlier runner of this node left ---- */

static void ask_sweep(struct fly_sweep *s);

static void sweep_on(struct fly_sweep *s, bool given_up)
{
    if (s->asking > 0)
        return;
    if (s->left && !given_up && ++s->tries < SWEEP_TRIES) {
        loop_timer_set(&s->again, SWEEP_AGAIN_MS);
        return;
    }
    if (s->left)
        LOG_WARN("machines that nobody owns could not be destroyed");
    s->self->sweep = NULL;
    free(s);
}

static void on_swept(void *ctx, enum err err, const struct http_answer *a)
{
    struct fly_sweep *s = ctx;
    s->asking--;
    s->left = s->left || err || (a->status != 200 && a->status != 404);
    sweep_on(s, err == ERR_CANCELED);
}

static void destroy_unowned(struct fly_sweep *s, const struct json *o, const struct fly_owner *owner)
{
    struct fly_machine m;
    char path[FLY_ID_MAX + 32];
    if (!fly_read_machine(o, owner, &m) || !m.node_ours || !m.prefix_ours || m.state == FLY_DESTROYED || !m.run_id[0])
        return;
    if (fly_job_owned(s->self, m.id) || runner_process_alive(str_of(m.runner)))
        return; /* another runner's of this node, or this one's own */
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->keep[i].run_id, m.run_id) == 0 && s->keep[i].attempt == m.attempt)
            return;
    LOG_INFO("destroying a machine that nobody owns", LOG_Z("machine", m.id), LOG_Z("runId", m.run_id));
    snprintf(path, sizeof path, "/machines/%s?force=true", m.id);
    s->asking++;
    fly_ask(&s->self->api, &(struct fly_request){.action = FLY_DELETE, .method = "DELETE", .path = path}, on_swept, s);
}

static void on_listed(void *ctx, enum err err, const struct http_answer *a)
{
    struct fly_sweep *s = ctx;
    struct arena arena;
    struct fly_owner owner = fly_owner_of(s->self, STR(""), 0);
    arena_init(&arena, 128 << 20);
    const struct json *root = !err && a->status == 200 ? fly_parse(&arena, a->body) : NULL;
    s->left = !root || root->type != JSON_ARRAY;
    size_t n = 0;
    for (const struct json *o = s->left ? NULL : root->child; o && n < SWEPT_MAX; o = o->next, n++)
        destroy_unowned(s, o, &owner);
    arena_done(&arena);
    s->asking--;
    sweep_on(s, err == ERR_CANCELED);
}

static void ask_sweep(struct fly_sweep *s)
{
    s->left = false;
    s->asking++;
    fly_ask(&s->self->api, &(struct fly_request){.action = FLY_LIST, .method = "GET", .path = "/machines"}, on_listed,
            s);
}

static void on_sweep_again(void *ctx)
{
    ask_sweep(ctx);
}

/* Where runs may be adopted it waits until those that could not be are given up. */
static void fly_sweep(struct executor_self *self, const struct job_owner *keep, size_t n)
{
    struct fly_sweep *s = calloc(1, sizeof *s + n * sizeof s->keep[0]);
    if (!s)
        return;
    s->self = self;
    self->sweep = s;
    s->count = n;
    for (size_t i = 0; i < n; i++) {
        snprintf(s->keep[i].run_id, sizeof s->keep[i].run_id, "%.*s",
                 (int)(keep[i].run_id.len < 39 ? keep[i].run_id.len : 39), keep[i].run_id.ptr);
        s->keep[i].attempt = keep[i].attempt;
    }
    loop_timer_init(&s->again, self->x->loop, on_sweep_again, s);
    loop_timer_set(&s->again, self->x->config->adopt ? 2 * self->x->config->lease_ms : 0);
}

static bool fly_console_url(struct str handle, struct strbuf *out)
{
    char app[FLY_APP_MAX], id[FLY_ID_MAX];
    if (!fly_read_handle(handle, app, id))
        return false;
    strbuf_addf(out, "https://fly.io/apps/%s/machines/%s", app, id);
    return true;
}

const struct executor executor_fly = {
    .name = "fly",
    .remote_default = true,
    .open = fly_open,
    .close = fly_close,
    .supports = fly_supports,
    .start = fly_job_start,
    .stop = fly_job_stop,
    .read_output = fly_read_output,
    .status = fly_status,
    .leave = fly_job_leave,
    .adopt = fly_job_adopt,
    .sweep = fly_sweep,
    .console_url = fly_console_url,
};
