#include "runner/container_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"

enum { ARENA_MAX = 16 << 20, LEVELS = 32, TMP_MB = 64, WORK_MB = 256, LOG_MB = 8, SHM_MB = 16 };

/* ---- frames ---- */

static bool head_valid(const unsigned char *h)
{
    return h[0] <= 2 && h[1] == 0 && h[2] == 0 && h[3] == 0;
}

bool docker_frames_feed(struct frames *f, struct str bytes, frames_fn fn, void *ctx)
{
    while (bytes.len > 0 && !f->broken) {
        if (f->left == 0) {
            f->head[f->head_len++] = (unsigned char)*bytes.ptr++;
            bytes.len--;
            if (f->head_len < sizeof f->head)
                continue;
            f->head_len = 0;
            f->broken = !head_valid(f->head);
            f->left = (uint32_t)f->head[4] << 24 | (uint32_t)f->head[5] << 16 | (uint32_t)f->head[6] << 8 | f->head[7];
            continue;
        }
        size_t n = bytes.len < f->left ? bytes.len : f->left;
        fn(ctx, f->head[0] == 2 ? JOB_STDERR : JOB_STDOUT, (struct str){bytes.ptr, n});
        bytes.ptr += n;
        bytes.len -= n;
        f->left -= (uint32_t)n;
    }
    return !f->broken;
}

/* ---- requests ---- */

void container_name(struct str run_id, int64_t attempt, char *out, size_t cap)
{
    snprintf(out, cap, "errand-%.*s-%lld", (int)(run_id.len > 64 ? 64 : run_id.len), run_id.ptr, (long long)attempt);
}

static void put_words(struct json_writer *w, const char *key, const char *const *words)
{
    json_key(w, key);
    json_array_begin(w);
    for (size_t i = 0; words && words[i]; i++)
        json_str(w, str_of(words[i]));
    json_array_end(w);
}

static void put_tmpfs(struct json_writer *w, const char *path, int64_t bytes, const char *more)
{
    char text[96];
    snprintf(text, sizeof text, "rw,nosuid,nodev,mode=1777,size=%lld%s", (long long)bytes, more);
    json_kv_str(w, path, str_of(text));
}

/* The root file system is read-only; /work and /tmp are in memory, and share what the definition allows. /run and /var/tmp are named because Podman would mount them without a bound. */
static void put_files(struct json_writer *w, int64_t disk_bytes)
{
    json_kv_bool(w, "ReadonlyRootfs", true);
    json_key(w, "Tmpfs");
    json_object_begin(w);
    put_tmpfs(w, "/work", disk_bytes > 0 ? disk_bytes - disk_bytes / 4 : (int64_t)WORK_MB << 20, ",exec");
    put_tmpfs(w, "/tmp", disk_bytes > 0 ? disk_bytes / 4 : (int64_t)TMP_MB << 20, "");
    put_tmpfs(w, "/run", 65536, "");
    put_tmpfs(w, "/var/tmp", 65536, "");
    json_object_end(w);
    json_kv_int(w, "ShmSize", (int64_t)SHM_MB << 20);
}

static void put_host_config(struct json_writer *w, const struct job_spec *spec, bool swap_limit)
{
    const struct job_limits *l = &spec->limits;
    json_key(w, "HostConfig");
    json_object_begin(w);
    if (l->memory_bytes > 0)
        json_kv_int(w, "Memory", l->memory_bytes);
    if (l->memory_bytes > 0 && swap_limit)
        json_kv_int(w, "MemorySwap", l->memory_bytes); /* the sum of both: no swap */
    if (l->cpu_milli > 0)
        json_kv_int(w, "NanoCpus", l->cpu_milli * 1000000);
    json_kv_int(w, "PidsLimit", l->pids > 0 ? l->pids : CONTAINER_PIDS);
    put_files(w, l->disk_bytes);
    put_words(w, "CapDrop", (const char *const[]){"ALL", NULL});
    put_words(w, "SecurityOpt", (const char *const[]){"no-new-privileges", NULL});
    json_kv_bool(w, "Privileged", false);
    json_kv_str(w, "IpcMode", STR("private"));
    json_kv_str(w, "NetworkMode", spec->network == NETWORK_HOST ? STR("host") : STR("none"));
    json_kv_raw(w, "RestartPolicy", STR("{\"Name\":\"no\"}"));
    json_key(w, "LogConfig"); /* what the engine keeps for a runner that comes back (adopt), and no more */
    json_object_begin(w);
    json_kv_str(w, "Type", STR("json-file"));
    char size[40];
    snprintf(size, sizeof size, "{\"max-size\":\"%dm\"}", LOG_MB);
    json_kv_raw(w, "Config", str_of(size));
    json_object_end(w);
    json_object_end(w);
}

static void put_labels(struct json_writer *w, const struct container_owner *owner)
{
    char attempt[24];
    snprintf(attempt, sizeof attempt, "%lld", (long long)owner->attempt);
    json_key(w, "Labels");
    json_object_begin(w);
    json_kv_str(w, "errand.run", owner->run_id);
    json_kv_str(w, "errand.attempt", str_of(attempt));
    json_kv_str(w, "errand.node", owner->node);
    json_kv_str(w, "errand.prefix", owner->prefix);
    json_kv_str(w, "errand.runner", owner->runner);
    json_object_end(w);
}

void container_create_body(const struct job_spec *spec, const struct container_owner *owner, bool swap_limit,
                           struct strbuf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    if (spec->command)
        put_words(&w, "Cmd", spec->command);
    if (spec->command)
        put_words(&w, "Entrypoint", (const char *const[]){NULL}); /* the command is the whole of it, not the image's */
    put_words(&w, "Env", spec->env);
    if (spec->workdir)
        json_kv_str(&w, "WorkingDir", str_of(spec->workdir));
    json_kv_bool(&w, "Tty", false);
    json_kv_bool(&w, "OpenStdin", true);
    json_kv_bool(&w, "StdinOnce", true);
    json_kv_bool(&w, "AttachStdin", true);
    json_kv_bool(&w, "AttachStdout", true);
    json_kv_bool(&w, "AttachStderr", true);
    put_labels(&w, owner);
    put_host_config(&w, spec, swap_limit);
    json_object_end(&w);
}

static void percent(struct strbuf *out, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
        if (plain)
            strbuf_addc(out, (char)c);
        else
            strbuf_addf(out, "%%%02X", c);
    }
}

void container_filter(const struct container_owner *owner, struct strbuf *out)
{
    struct strbuf json, label;
    struct json_writer w;
    strbuf_init(&json, 4096);
    strbuf_init(&label, 1024);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_key(&w, "label");
    json_array_begin(&w);
    strbuf_addf(&label, "errand.node=%.*s", STR_ARG(owner->node));
    json_str(&w, strbuf_str(&label));
    strbuf_reset(&label);
    strbuf_addf(&label, "errand.prefix=%.*s", STR_ARG(owner->prefix));
    json_str(&w, strbuf_str(&label));
    json_array_end(&w);
    json_object_end(&w);
    percent(out, strbuf_str(&json));
    strbuf_done(&json);
    strbuf_done(&label);
}

/* ---- answers ---- */

static const struct json *read_answer(struct arena *a, struct str body)
{
    struct json *root;
    arena_init(a, ARENA_MAX);
    return body.len <= CONTAINER_ANSWER_MAX && json_parse(a, body, LIMIT_JSON_DEPTH, LEVELS, &root, NULL) == ERR_OK &&
                   root->type == JSON_OBJECT
               ? root
               : NULL;
}

static struct str text_of(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

static int64_t int_of(const struct json *o, const char *key, int64_t otherwise)
{
    const struct json *v = json_get(o, key);
    bool fits = v && v->type == JSON_DOUBLE && v->number > -9e18 && v->number < 9e18; /* ns and bytes beyond 2^53 */
    return fits ? (int64_t)v->number : v && v->type == JSON_INT ? v->integer : otherwise;
}

static bool bool_of(const struct json *o, const char *key)
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

/* Ids go into paths: letters, digits, and the colon of a digest. */
static bool copy_id(struct str s, char out[CONTAINER_ID_MAX])
{
    for (size_t i = 0; i < s.len; i++)
        if (hex_value(s.ptr[i]) < 0 && !strchr("sha256:", s.ptr[i]))
            return false;
    return copy(s, out, CONTAINER_ID_MAX);
}

static void read_limits(const struct json *host, struct container_state *s)
{
    s->memory = int_of(host, "Memory", 0);
    s->nano_cpus = int_of(host, "NanoCpus", 0);
    s->pids = int_of(host, "PidsLimit", 0);
    s->read_only = bool_of(host, "ReadonlyRootfs");
    s->privileged = bool_of(host, "Privileged");
    s->no_network = str_eqz(text_of(host, "NetworkMode"), "none");
}

bool container_read_state(struct str body, const struct container_owner *owner, struct container_state *ret)
{
    struct arena a;
    const struct json *root = read_answer(&a, body), *state = json_get(root, "State");
    const struct json *labels = json_get(json_get(root, "Config"), "Labels");
    struct container_state s = {.attempt = 0};
    bool ok = root && copy_id(text_of(root, "Id"), s.id) && state;
    if (ok) {
        struct str status = text_of(state, "Status"), attempt = text_of(labels, "errand.attempt");
        (void)copy_id(text_of(root, "Image"), s.image);
        (void)copy(text_of(labels, "errand.run"), s.run_id, sizeof s.run_id);
        s.attempt = attempt.len > 0 ? strtoll(attempt.ptr, NULL, 10) : 0;
        s.node_ours = str_eq(text_of(labels, "errand.node"), owner->node);
        s.prefix_ours = str_eq(text_of(labels, "errand.prefix"), owner->prefix);
        s.running = bool_of(state, "Running") || bool_of(state, "Restarting") || bool_of(state, "Paused");
        s.created = !s.running &&
                    (str_eqz(status, "created") || str_eqz(status, "configured") || str_eqz(status, "initialized"));
        s.oom = bool_of(state, "OOMKilled");
        s.exit_code = int_of(state, "ExitCode", -1);
        s.pid = int_of(state, "Pid", 0);
        read_limits(json_get(root, "HostConfig"), &s);
        *ret = s;
    }
    arena_done(&a);
    return ok;
}

bool container_read_env(struct str body, struct strbuf *out)
{
    struct arena a;
    const struct json *list = json_get(json_get(read_answer(&a, body), "Config"), "Env");
    bool ok = list && list->type == JSON_ARRAY;
    for (const struct json *w = ok ? list->child : NULL; w; w = w->next) {
        strbuf_add(out, w->string);
        strbuf_addc(out, 0);
    }
    arena_done(&a);
    return ok && !strbuf_failed(out);
}

const char *container_limits_fault(const struct container_state *s, const struct job_limits *asked, bool no_network)
{
    if (asked->memory_bytes > 0 && s->memory != asked->memory_bytes)
        return "the engine did not take the memory limit";
    if (asked->cpu_milli > 0 && s->nano_cpus != asked->cpu_milli * 1000000)
        return "the engine did not take the processor limit";
    if (s->pids <= 0 || (asked->pids > 0 && s->pids != asked->pids))
        return "the engine did not take the limit of processes";
    if (!s->read_only)
        return "the engine did not make the root file system read-only";
    if (no_network && !s->no_network)
        return "the engine did not take the network away";
    return s->privileged ? "the engine made the container a privileged one" : NULL;
}

bool container_handle_id(struct str handle, char ret_id[CONTAINER_ID_MAX])
{
    struct arena a;
    bool ok = copy_id(text_of(read_answer(&a, handle), "containerId"), ret_id);
    arena_done(&a);
    return ok;
}

bool container_read_id(struct str body, char ret_id[CONTAINER_ID_MAX])
{
    struct arena a;
    bool ok = copy_id(text_of(read_answer(&a, body), "Id"), ret_id);
    arena_done(&a);
    return ok;
}

void container_read_error(struct str body, int status, char *out, size_t cap)
{
    struct arena a;
    struct str message = text_of(read_answer(&a, body), "message");
    if (message.len > 0)
        snprintf(out, cap, "%.*s", (int)(message.len > 600 ? 600 : message.len), message.ptr);
    else
        snprintf(out, cap, "the engine answered with status %d", status);
    arena_done(&a);
}

static void add_network(const struct json *networks, struct container_usage *u)
{
    for (const struct json *n = networks && networks->type == JSON_OBJECT ? networks->child : NULL; n; n = n->next) {
        u->rx = (u->rx < 0 ? 0 : u->rx) + int_of(n, "rx_bytes", 0);
        u->tx = (u->tx < 0 ? 0 : u->tx) + int_of(n, "tx_bytes", 0);
    }
}

bool container_read_usage(struct str body, struct container_usage *ret)
{
    struct arena a;
    const struct json *root = read_answer(&a, body);
    struct container_usage u = {-1, -1, -1, -1};
    if (root) {
        u.cpu_ns = int_of(json_get(json_get(root, "cpu_stats"), "cpu_usage"), "total_usage", -1);
        u.memory = int_of(json_get(root, "memory_stats"), "usage", -1);
        add_network(json_get(root, "networks"), &u);
        *ret = u;
    }
    arena_done(&a);
    return root != NULL && (u.cpu_ns >= 0 || u.memory >= 0);
}

bool container_read_info(struct str body, struct container_info *ret)
{
    struct arena a;
    const struct json *root = read_answer(&a, body);
    if (root)
        *ret = (struct container_info){bool_of(root, "MemoryLimit"), bool_of(root, "SwapLimit"),
                                       bool_of(root, "CpuCfsQuota"), bool_of(root, "PidsLimit")};
    arena_done(&a);
    return root != NULL;
}

void container_exit(int64_t code, struct job_exit *ret)
{
    ret->started = true;
    ret->signaled = code > 128 && code <= 128 + 31;
    ret->code = (int)(ret->signaled ? code - 128 : code & 255);
}
