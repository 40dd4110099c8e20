/* The executor `container`: an image through the Docker Engine API on its unix socket, as Docker and Podman serve it. What the engine is told stands in container_parts.c, an attempt's way in container_job.c. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "common/json.h"
#include "common/log.h"
#include "runner/container_job.h"

enum { PROBE_MS = 10000, API_MINOR_MIN = 41, API_MINOR_MAX = 47, SWEPT_MAX = 10000, STATUS_TRIES = 3 };

struct container_sweep {
    struct executor_self *self;
    struct loop_timer due;
    size_t count;
    struct owner {
        char run_id[40];
        int64_t attempt;
    } keep[];
};

/* ---- what the engine can do, found out before there is any work: on a loop of its own, which may wait ---- */

struct probe {
    struct loop *loop;
    struct executor_self self; /* with a client of that loop */
    int status;                /* of the last answer; 0: none */
    struct strbuf body;
    bool answered;
};

static void on_probed(void *ctx, enum err err, const struct http_answer *a)
{
    struct probe *p = ctx;
    p->answered = true;
    p->status = err ? 0 : a->status;
    strbuf_reset(&p->body);
    strbuf_add(&p->body, a->body);
}

static int probe_ask(struct probe *p, const char *method, struct str body, const char *path)
{
    struct container_ask ask = {.method = method, .body = body, .timeout_ms = PROBE_MS};
    snprintf(ask.path, sizeof ask.path, "%s", path);
    p->answered = false;
    container_ask(&p->self, &ask, on_probed, p);
    while (!p->answered)
        uv_run(loop_uv(p->loop), UV_RUN_ONCE);
    return p->status;
}

/* "1.41" of /version; 0 where it can't be read. */
static int minor_of(const struct json *root, const char *key)
{
    const struct json *v = json_get(root, key);
    return v && v->type == JSON_STRING && str_starts(v->string, STR("1.")) ? (int)strtol(v->string.ptr + 2, NULL, 10)
                                                                           : 0;
}

static bool probe_version(struct probe *p)
{
    struct arena a;
    struct json *root = NULL;
    arena_init(&a, 1 << 20);
    snprintf(p->self.version, sizeof p->self.version, "1.%d", API_MINOR_MIN);
    int minor = 0, least = 0;
    if (probe_ask(p, "GET", STR_NONE, "/version") == 200 &&
        json_parse(&a, strbuf_str(&p->body), LIMIT_JSON_DEPTH, 4, &root, NULL) == ERR_OK) {
        minor = minor_of(root, "ApiVersion");
        least = minor_of(root, "MinAPIVersion");
    }
    arena_done(&a);
    int use = minor < API_MINOR_MAX ? minor : API_MINOR_MAX;
    snprintf(p->self.version, sizeof p->self.version, "1.%d", use > least ? use : least);
    return minor >= API_MINOR_MIN;
}

/* A container with every limit, of a program that is in no image: the engine makes its groups, sets them, takes its network away, and then finds nothing to execute. Nothing of the image runs. */
static bool probe_try(struct probe *p, const char *image)
{
    static const char *const command[] = {"/errand-probe-of-limits", NULL}, *const env[] = {NULL};
    struct job_spec spec = {.command = command,
                            .env = env,
                            .limits = {.memory_bytes = 64 << 20, .cpu_milli = 500, .pids = 16},
                            .network = NETWORK_NONE};
    struct container_owner owner = container_owner_of(&p->self, STR("probe"), 0);
    struct strbuf rest, body;
    struct container_state state;
    char id[CONTAINER_ID_MAX], path[200], why[700] = "";
    strbuf_init(&rest, 65536);
    strbuf_init(&body, 65536);
    container_create_body(&spec, &owner, p->self.info.swap_limit, &rest);
    strbuf_addf(&body, "{\"Image\":\"%s\",%s", image, rest.ptr + 1);
    bool ok = probe_ask(p, "POST", strbuf_str(&body), "/containers/create") == 201 &&
              container_read_id(strbuf_str(&p->body), id);
    strbuf_done(&rest);
    strbuf_done(&body);
    if (!ok)
        return false;
    snprintf(path, sizeof path, "/containers/%s/json", id);
    ok = probe_ask(p, "GET", STR_NONE, path) == 200 && container_read_state(strbuf_str(&p->body), &owner, &state) &&
         !container_limits_fault(&state, &spec.limits, true);
    snprintf(path, sizeof path, "/containers/%s/start", id);
    int status = probe_ask(p, "POST", STR_NONE, path);
    container_read_error(strbuf_str(&p->body), status, why, sizeof why);
    ok =
        ok && status >= 400 && (strstr(why, "not found") || strstr(why, "no such file") || strstr(why, "No such file"));
    if (!ok)
        LOG_WARN("the engine could not make a container with limits and without a network", LOG_Z("answer", why));
    snprintf(path, sizeof path, "/containers/%s?force=true&v=true", id);
    probe_ask(p, "DELETE", STR_NONE, path);
    return ok;
}

/* The first allowed image that is named in full and is here; with none, only what the engine says of itself is known. */
static void probe_images(struct probe *p)
{
    struct str list = str_of(p->self.x->config->images), image;
    char path[IMAGE_MAX + 40], id[CONTAINER_ID_MAX];
    p->self.isolates = true;
    while (str_next_word(&list, &image)) {
        if (image.ptr[image.len - 1] == '*')
            continue;
        snprintf(path, sizeof path, "/images/%.*s/json", STR_ARG(image));
        if (strlen(path) >= sizeof((struct container_ask *)0)->path || probe_ask(p, "GET", STR_NONE, path) != 200 ||
            !container_read_id(strbuf_str(&p->body), id))
            continue;
        p->self.isolates = probe_try(p, id);
        return;
    }
}

/* The first socket of the list that an engine answers on. */
static bool probe_sockets(struct probe *p)
{
    struct str list = str_of(p->self.x->config->docker_socket), word;
    while (str_next_word(&list, &word)) {
        if (str_starts(word, STR("unix://")))
            word = (struct str){word.ptr + 7, word.len - 7};
        if (word.len == 0 || word.len >= sizeof((struct sockaddr_un *)0)->sun_path)
            continue;
        snprintf(p->self.socket, sizeof p->self.socket, "%.*s", STR_ARG(word));
        if (probe_version(p))
            return true;
    }
    return false;
}

static enum err probe(const struct executor_context *x, struct executor_self *ret_self, struct strbuf *ret_why)
{
    struct probe p = {.loop = loop_new(), .self = *ret_self};
    enum err err = ERR_OK;
    if (!p.loop)
        return ERR_NO_MEMORY;
    strbuf_init(&p.body, CONTAINER_ANSWER_MAX);
    p.self.client = http_client_new(p.loop, true);
    if (!p.self.client) {
        err = ERR_NO_MEMORY;
    } else if (!probe_sockets(&p)) {
        strbuf_addf(ret_why, "docker-socket: no engine with API 1.%d or later answers on %s", API_MINOR_MIN,
                    x->config->docker_socket);
        err = ERR_CONFIG;
    } else if (probe_ask(&p, "GET", STR_NONE, "/info") != 200 ||
               !container_read_info(strbuf_str(&p.body), &p.self.info)) {
        strbuf_addf(ret_why, "docker-socket: the engine on %s does not say what it can do (/info)", p.self.socket);
        err = ERR_CONFIG;
    } else {
        probe_images(&p);
        *ret_self = p.self;
    }
    http_client_free(p.self.client);
    strbuf_done(&p.body);
    loop_run(p.loop); /* until curl's sockets are closed */
    loop_free(p.loop);
    return err;
}

/* ---- the table's entries ---- */

static enum err container_open(const struct executor_context *x, struct executor_self **ret_self,
                               struct strbuf *ret_why)
{
    struct str bad;
    if (!images_list_valid(str_of(x->config->images), &bad)) {
        strbuf_addf(ret_why, "images: \"%.*s\" is no image, nor a prefix with /* behind it",
                    (int)(bad.len > 64 ? 64 : bad.len), bad.ptr);
        return ERR_CONFIG;
    }
    if (!x->config->images[0])
        LOG_WARN("no container can be executed: the option images names none");
    struct executor_self self = {.x = x};
    runner_process_name(self.runner);
    enum err err = probe(x, &self, ret_why);
    if (err)
        return err;
    struct executor_self *made = calloc(1, sizeof *made);
    if (!made)
        return ERR_NO_MEMORY;
    *made = self;
    made->client = http_client_new(x->loop, true);
    if (!made->client) {
        free(made);
        return ERR_NO_MEMORY;
    }
    *ret_self = made;
    LOG_INFO("container engine", LOG_Z("socket", made->socket), LOG_Z("api", made->version),
             LOG_I("memoryLimit", made->info.memory_limit && made->isolates),
             LOG_I("cpuLimit", made->info.cpu_limit && made->isolates));
    return ERR_OK;
}

static void container_close(struct executor_self *self)
{
    if (!self)
        return;
    http_client_free(self->client);
    if (self->sweep)
        loop_timer_stop(&self->sweep->due);
    free(self->sweep);
    free(self);
}

static bool container_supports(const struct executor_self *self, const char *capability)
{
    const struct {
        const char *name;
        bool has;
    } all[] = {{"timeout", true},
               {"process_isolation", self->isolates && self->info.pids_limit},
               {"filesystem_isolation", self->isolates},
               {"network_isolation", self->isolates},
               {"memory_limit", self->isolates && self->info.memory_limit},
               {"cpu_limit", self->isolates && self->info.cpu_limit}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strcmp(capability, all[i].name) == 0)
            return all[i].has;
    return false;
}

/* ---- status, from the handle alone ---- */

struct status_ask {
    struct executor_self *self;
    char id[CONTAINER_ID_MAX];
    job_status_fn fn;
    void *ctx;
    int tries;
};

static void ask_status(struct status_ask *s);

static void tell_status(struct status_ask *s, const struct container_state *state)
{
    struct job_exit how = {.started = true};
    struct job_snapshot shot = {.status = state->running   ? JOB_RUNNING
                                          : state->created ? JOB_PROVISIONING
                                                           : JOB_TERMINATED};
    if (shot.status == JOB_TERMINATED && state->exit_code != 0) {
        container_exit(state->exit_code, &how);
        shot.status = JOB_FAILED;
        shot.error_class = state->oom ? "oom_killed" : how.signaled ? "signal" : "exit_nonzero";
    }
    s->fn(s->ctx, &shot);
}

static void on_status(void *ctx, enum err err, const struct http_answer *a)
{
    struct status_ask *s = ctx;
    struct container_state state;
    struct container_owner owner = container_owner_of(s->self, STR(""), 0);
    if (!err && a->status == 200 && container_read_state(a->body, &owner, &state)) {
        tell_status(s, &state);
    } else if (!err && a->status == 404) {
        s->fn(s->ctx, &(struct job_snapshot){.status = JOB_TERMINATED});
    } else if (err != ERR_CANCELED && ++s->tries < STATUS_TRIES) {
        ask_status(s);
        return;
    } else {
        s->fn(s->ctx, &(struct job_snapshot){.status = JOB_FAILED, .error_message = "the engine does not answer"});
    }
    free(s);
}

static void ask_status(struct status_ask *s)
{
    struct container_ask ask = {.method = "GET"};
    snprintf(ask.path, sizeof ask.path, "/containers/%s/json", s->id);
    container_ask(s->self, &ask, on_status, s);
}

static void container_status(struct executor_self *self, struct str handle, job_status_fn fn, void *ctx)
{
    struct status_ask *s = calloc(1, sizeof *s);
    if (!s || !container_handle_id(handle, s->id)) {
        free(s);
        fn(ctx, &(struct job_snapshot){.status = JOB_FAILED, .error_message = "the handle names no container"});
        return;
    }
    s->self = self;
    s->fn = fn;
    s->ctx = ctx;
    ask_status(s);
}

/* ---- what an earlier runner of this node left ---- */

static void on_swept(void *ctx, enum err err, const struct http_answer *a)
{
    (void)ctx;
    if (err || (a->status != 204 && a->status != 404))
        LOG_WARN("a container that nobody owns was not removed", LOG_I("status", a->status));
}

static void remove_unowned(const struct container_sweep *s, const struct json *row)
{
    const struct json *labels = json_get(row, "Labels"), *run = json_get(labels, "errand.run"),
                      *attempt = json_get(labels, "errand.attempt"), *id = json_get(row, "Id"),
                      *runner = json_get(labels, "errand.runner");
    if (!run || run->type != JSON_STRING || !attempt || attempt->type != JSON_STRING || !id ||
        id->type != JSON_STRING || id->string.len >= CONTAINER_ID_MAX)
        return;
    for (size_t i = 0; i < id->string.len; i++)
        if (hex_value(id->string.ptr[i]) < 0)
            return;
    if (container_job_owned(s->self, id->string) ||
        (runner && runner->type == JSON_STRING && runner_process_alive(runner->string)))
        return; /* another runner's of this node, or this one's own */
    for (size_t i = 0; i < s->count; i++)
        if (str_eqz(run->string, s->keep[i].run_id) && strtoll(attempt->string.ptr, NULL, 10) == s->keep[i].attempt)
            return;
    LOG_INFO("removing a container that nobody owns", LOG_S("runId", run->string));
    struct container_ask ask = {.method = "DELETE"};
    snprintf(ask.path, sizeof ask.path, "/containers/%.*s?force=true&v=true", STR_ARG(id->string));
    container_ask(s->self, &ask, on_swept, NULL);
}

static void on_listed(void *ctx, enum err err, const struct http_answer *a)
{
    struct container_sweep *s = ctx;
    struct arena arena;
    struct json *root;
    arena_init(&arena, 64 << 20);
    if (!err && a->status == 200 && json_parse(&arena, a->body, LIMIT_JSON_DEPTH, 4, &root, NULL) == ERR_OK &&
        root->type == JSON_ARRAY) {
        size_t n = 0;
        for (const struct json *row = root->child; row && n < SWEPT_MAX; row = row->next, n++)
            remove_unowned(s, row);
    } else {
        LOG_WARN("the engine did not list its containers: what an earlier runner left is not swept");
    }
    arena_done(&arena);
    free(s);
}

static void on_sweep_due(void *ctx)
{
    struct container_sweep *s = ctx;
    struct strbuf filter;
    struct container_owner owner = container_owner_of(s->self, STR(""), 0);
    s->self->sweep = NULL;
    strbuf_init(&filter, 1024);
    container_filter(&owner, &filter);
    struct container_ask ask = {.method = "GET"};
    int len = snprintf(ask.path, sizeof ask.path, "/containers/json?all=true&filters=%s", filter.ptr);
    strbuf_done(&filter);
    if (len > 0 && (size_t)len < sizeof ask.path)
        container_ask(s->self, &ask, on_listed, s);
    else
        free(s);
}

/* Where runs may be adopted it waits until those that could not be are given up. */
static void container_sweep(struct executor_self *self, const struct job_owner *keep, size_t n)
{
    struct container_sweep *s = calloc(1, sizeof *s + n * sizeof s->keep[0]);
    if (!s)
        return;
    s->self = self;
    s->count = n;
    for (size_t i = 0; i < n; i++) {
        snprintf(s->keep[i].run_id, sizeof s->keep[i].run_id, "%.*s",
                 (int)(keep[i].run_id.len < 39 ? keep[i].run_id.len : 39), keep[i].run_id.ptr);
        s->keep[i].attempt = keep[i].attempt;
    }
    self->sweep = s;
    loop_timer_init(&s->due, self->x->loop, on_sweep_due, s);
    loop_timer_set(&s->due, self->x->config->adopt ? 2 * self->x->config->lease_ms : 0);
}

const struct executor executor_container = {
    .name = "container",
    .remote_default = true,
    .open = container_open,
    .close = container_close,
    .supports = container_supports,
    .start = container_job_start,
    .stop = container_job_stop,
    .read_output = container_job_read_output,
    .input = container_job_input,
    .measure = container_job_measure,
    .status = container_status,
    .leave = container_job_leave,
    .adopt = container_job_adopt,
    .sweep = container_sweep,
};
