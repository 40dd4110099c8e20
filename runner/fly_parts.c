#include "runner/fly_parts.h"

#include <stdio.h>
#include <stdlib.h>

enum { LEVELS = 12, MEMORY_STEP = 256, MEMORY_PER_CPU = 2048, CPUS_MAX = 16 };

enum fly_state fly_state_of(struct str word)
{
    static const struct {
        const char *word;
        enum fly_state state;
    } all[] = {{"started", FLY_STARTED},     {"stopping", FLY_STOPPING},  {"suspending", FLY_STOPPING},
               {"destroying", FLY_STOPPING}, {"stopped", FLY_STOPPED},    {"suspended", FLY_STOPPED},
               {"destroyed", FLY_DESTROYED}, {"replaced", FLY_DESTROYED}, {"failed", FLY_FAILED}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (str_eqz(word, all[i].word))
            return all[i].state;
    return FLY_PROVISIONING; /* created, starting, replacing, updating, launch_… */
}

enum job_status fly_status_of(enum fly_state state)
{
    switch (state) {
    case FLY_PROVISIONING:
        return JOB_PROVISIONING;
    case FLY_STARTED:
        return JOB_RUNNING;
    case FLY_STOPPING:
        return JOB_STOPPING;
    case FLY_STOPPED:
    case FLY_DESTROYED:
        return JOB_TERMINATED;
    case FLY_FAILED:
        break;
    }
    return JOB_FAILED;
}

void fly_name(struct str run_id, int64_t attempt, char *out, size_t cap)
{
    snprintf(out, cap, "errand-%.*s-%lld", (int)(run_id.len > 40 ? 40 : run_id.len), run_id.ptr, (long long)attempt);
}

bool fly_guest(const struct job_limits *l, int64_t *ret_cpus, int64_t *ret_memory_mb)
{
    int64_t cpus = 1, wanted = l->memory_bytes > 0 ? (l->memory_bytes - 1) / (1 << 20) + 1 : 0;
    int64_t memory = (wanted + MEMORY_STEP - 1) / MEMORY_STEP * MEMORY_STEP;
    while (cpus <= CPUS_MAX && (cpus * 1000 < l->cpu_milli || cpus * MEMORY_PER_CPU < memory))
        cpus *= 2;
    if (cpus > CPUS_MAX)
        return false;
    *ret_cpus = cpus;
    *ret_memory_mb = memory < cpus * MEMORY_STEP ? cpus * MEMORY_STEP : memory;
    return true;
}

static void put_env(struct json_writer *w, const char *const *env)
{
    json_key(w, "env");
    json_object_begin(w);
    for (size_t i = 0; env[i]; i++) {
        const char *equals = strchr(env[i], '=');
        if (!equals)
            continue;
        json_key_str(w, (struct str){env[i], (size_t)(equals - env[i])});
        json_str(w, str_of(equals + 1));
    }
    json_object_end(w);
}

static void put_command(struct json_writer *w, const char *const *command)
{
    json_key(w, "init");
    json_object_begin(w);
    json_key(w, "exec");
    json_array_begin(w);
    for (size_t i = 0; command[i]; i++)
        json_str(w, str_of(command[i]));
    json_array_end(w);
    json_object_end(w);
}

static void put_metadata(struct json_writer *w, const struct fly_owner *owner)
{
    char attempt[24];
    snprintf(attempt, sizeof attempt, "%lld", (long long)owner->attempt);
    json_key(w, "metadata");
    json_object_begin(w);
    json_kv_str(w, "errand_run", owner->run_id);
    json_kv_str(w, "errand_attempt", str_of(attempt));
    json_kv_str(w, "errand_node", owner->node);
    json_kv_str(w, "errand_prefix", owner->prefix);
    json_kv_str(w, "errand_runner", owner->runner);
    json_object_end(w);
}

static void put_guest(struct json_writer *w, int64_t cpus, int64_t memory_mb)
{
    json_key(w, "guest");
    json_object_begin(w);
    json_kv_str(w, "cpu_kind", STR("shared"));
    json_kv_int(w, "cpus", cpus);
    json_kv_int(w, "memory_mb", memory_mb);
    json_object_end(w);
}

bool fly_create_body(const struct job_spec *spec, const struct fly_owner *owner, const char *region, struct strbuf *out)
{
    struct json_writer w;
    char name[80], stop[80];
    int64_t cpus, memory_mb;
    if (!fly_guest(&spec->limits, &cpus, &memory_mb))
        return false;
    fly_name(owner->run_id, owner->attempt, name, sizeof name);
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str(&w, "name", str_of(name));
    if (region && *region)
        json_kv_str(&w, "region", str_of(region));
    json_key(&w, "config");
    json_object_begin(&w);
    json_kv_str(&w, "image", str_of(spec->image));
    put_env(&w, spec->env);
    if (spec->command)
        put_command(&w, spec->command);
    put_guest(&w, cpus, memory_mb);
    json_kv_bool(&w, "auto_destroy", true);
    json_kv_raw(&w, "restart", STR("{\"policy\":\"no\"}"));
    put_metadata(&w, owner);
    snprintf(stop, sizeof stop, "{\"timeout\":\"%lldms\",\"signal\":\"SIGTERM\"}", (long long)spec->grace_ms);
    json_kv_raw(&w, "stop_config", str_of(stop));
    json_object_end(&w);
    json_object_end(&w);
    return !strbuf_failed(out);
}

/* ---- answers ---- */

static struct str text_of(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

static int64_t int_of(const struct json *o, const char *key, int64_t otherwise)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_INT ? v->integer : otherwise;
}

static bool is_true(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_BOOL && v->boolean;
}

static bool copy(struct str s, char *out, size_t cap)
{
    if (s.len == 0 || s.len >= cap || memchr(s.ptr, 0, s.len))
        return false;
    memcpy(out, s.ptr, s.len);
    out[s.len] = 0;
    return true;
}

bool fly_word_valid(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return s.len > 0 && s.len < FLY_ID_MAX;
}

static bool copy_word(struct str s, char *out, size_t cap)
{
    return fly_word_valid(s) && copy(s, out, cap);
}

const struct json *fly_parse(struct arena *a, struct str body)
{
    struct json *root;
    return body.len <= FLY_ANSWER_MAX && json_parse(a, body, LIMIT_JSON_DEPTH, LEVELS, &root, NULL) == ERR_OK ? root
                                                                                                              : NULL;
}

/* The guest's own word first, where it has one: exit_code is what the machine made of it. */
static void read_exit(const struct json *events, struct fly_exit *ret)
{
    int64_t newest = -1;
    for (const struct json *e = events && events->type == JSON_ARRAY ? events->child : NULL; e; e = e->next) {
        const struct json *x = json_get(json_get(e, "request"), "exit_event");
        int64_t at = int_of(e, "timestamp", 0);
        if (!str_eqz(text_of(e, "type"), "exit") || !x || x->type != JSON_OBJECT || at < newest)
            continue;
        int64_t signal = int_of(x, "guest_signal", -1), code = int_of(x, "guest_exit_code", -1);
        signal = signal > 0 ? signal : int_of(x, "signal", -1);
        code = code >= 0 ? code : int_of(x, "exit_code", -1);
        newest = at;
        *ret = (struct fly_exit){.known = true,
                                 .oom = is_true(x, "oom_killed"),
                                 .requested_stop = is_true(x, "requested_stop"),
                                 .signaled = signal > 0 && signal < 65,
                                 .code = (int)(signal > 0 && signal < 65 ? signal : code & 255)};
    }
}

bool fly_read_machine(const struct json *o, const struct fly_owner *owner, struct fly_machine *ret)
{
    struct fly_machine m = {.attempt = 0};
    const struct json *metadata = json_get(json_get(o, "config"), "metadata");
    if (!o || o->type != JSON_OBJECT || !copy_word(text_of(o, "id"), m.id, sizeof m.id) || text_of(o, "state").len == 0)
        return false;
    m.state = fly_state_of(text_of(o, "state"));
    (void)copy(text_of(o, "name"), m.name, sizeof m.name);
    (void)copy_word(text_of(o, "region"), m.region, sizeof m.region);
    (void)copy(text_of(metadata, "errand_run"), m.run_id, sizeof m.run_id);
    (void)copy(text_of(metadata, "errand_runner"), m.runner, sizeof m.runner);
    struct str attempt = text_of(metadata, "errand_attempt");
    m.attempt = attempt.len > 0 ? strtoll(attempt.ptr, NULL, 10) : 0;
    m.node_ours = str_eq(text_of(metadata, "errand_node"), owner->node);
    m.prefix_ours = str_eq(text_of(metadata, "errand_prefix"), owner->prefix);
    read_exit(json_get(o, "events"), &m.exit);
    *ret = m;
    return true;
}

bool fly_read_env(const struct json *o, struct strbuf *out)
{
    const struct json *env = json_get(json_get(o, "config"), "env");
    bool ok = env && env->type == JSON_OBJECT;
    for (const struct json *v = ok ? env->child : NULL; v; v = v->next) {
        strbuf_add(out, v->key);
        strbuf_addc(out, '=');
        strbuf_add(out, v->string);
        strbuf_addc(out, 0);
    }
    return ok && !strbuf_failed(out);
}

bool fly_read_nonce(struct str body, char ret_nonce[FLY_NONCE_MAX])
{
    struct arena a;
    arena_init(&a, 1 << 20);
    struct str nonce = text_of(json_get(fly_parse(&a, body), "data"), "nonce");
    bool ok = fly_word_valid(nonce) && copy(nonce, ret_nonce, FLY_NONCE_MAX);
    arena_done(&a);
    return ok;
}

void fly_read_error(struct str body, int status, char *out, size_t cap)
{
    struct arena a;
    arena_init(&a, 16 << 20);
    struct str message = text_of(fly_parse(&a, body), "error");
    if (message.len > 0)
        snprintf(out, cap, "%.*s (status %d)", (int)(message.len > 500 ? 500 : message.len), message.ptr, status);
    else
        snprintf(out, cap, "the Machines API answered with status %d", status);
    arena_done(&a);
}

void fly_write_handle(const char *app, const struct fly_machine *m, struct strbuf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str(&w, "appName", str_of(app));
    json_kv_str(&w, "machineId", str_of(m->id));
    json_kv_str(&w, "region", str_of(m->region));
    json_object_end(&w);
}

bool fly_read_handle(struct str handle, char ret_app[FLY_APP_MAX], char ret_id[FLY_ID_MAX])
{
    struct arena a;
    arena_init(&a, 1 << 20);
    const struct json *root = fly_parse(&a, handle);
    bool ok = copy_word(text_of(root, "appName"), ret_app, FLY_APP_MAX) &&
              copy_word(text_of(root, "machineId"), ret_id, FLY_ID_MAX);
    arena_done(&a);
    return ok;
}

void fly_job_exit(const struct fly_machine *m, struct job_exit *ret, const char **ret_message)
{
    *ret = (struct job_exit){.started = true};
    *ret_message = NULL;
    if (!m->exit.known) { /* it went without a word: its host was lost, or somebody destroyed it */
        ret->class = m->state == FLY_FAILED ? "start_failed" : "signal";
        *ret_message = m->state == FLY_FAILED ? "the machine failed" : "the machine is gone, and left no exit status";
    } else if (m->exit.oom) {
        ret->class = "oom_killed";
        *ret_message = "the machine ran out of memory";
    }
    ret->signaled = m->exit.signaled;
    ret->code = m->exit.code;
}
