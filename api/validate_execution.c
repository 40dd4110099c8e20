/* What a definition says of how it is executed: which fields go with which executor, and what each needs. Contract: executors.md. */
#include <math.h>
#include <stdio.h>

#include "api/validate_fields.h"
#include "common/schema.h"

/* Which fields an executor takes. */
enum {
    TAKES_COMMAND = 1,
    NEEDS_COMMAND = 2,
    TAKES_IMAGE = 4, /* and needs it */
    TAKES_URL = 8,
    NEEDS_URL = 16,
    TAKES_MODEL = 32, /* and needs it */
    TAKES_BUNDLE = 64,
    TAKES_NETWORK = 128,
    TAKES_RESOURCES = 256,
    TAKES_POOL = 512,
    TAKES_REGION = 1024,
    TAKES_INPUT = 2048,
    WRITES_EVENTS = 4096 /* by itself, by default */
};

static const struct kind {
    const char *name;
    unsigned what;
} kinds[] = {
    {"process", TAKES_COMMAND | NEEDS_COMMAND | TAKES_BUNDLE | TAKES_RESOURCES | TAKES_INPUT},
    {"sandbox", TAKES_COMMAND | NEEDS_COMMAND | TAKES_BUNDLE | TAKES_RESOURCES | TAKES_INPUT | TAKES_NETWORK},
    {"pool", TAKES_COMMAND | NEEDS_COMMAND | TAKES_BUNDLE | TAKES_RESOURCES | TAKES_NETWORK | TAKES_POOL},
    {"container", TAKES_COMMAND | TAKES_IMAGE | TAKES_RESOURCES | TAKES_NETWORK | TAKES_INPUT | WRITES_EVENTS},
    {"fly", TAKES_COMMAND | TAKES_IMAGE | TAKES_RESOURCES | TAKES_REGION | WRITES_EVENTS},
    {"http", TAKES_URL | NEEDS_URL},
    {"anthropic", TAKES_URL | TAKES_MODEL},
    {"noop", 0},
};

static const struct kind *kind_of(struct str executor)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eqz(executor, kinds[i].name))
            return &kinds[i];
    return NULL;
}

bool execution_remote_default(struct str executor)
{
    return kind_of(executor)->what & WRITES_EVENTS;
}

bool execution_takes_input(struct str executor)
{
    return kind_of(executor)->what & TAKES_INPUT;
}

bool take_system(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || v->string.len > LIMIT_DEFINITION / 2)
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string of at most %d bytes", name, LIMIT_DEFINITION / 2);
    *(struct str *)out = v->string;
    return true;
}

bool take_bundle(struct check *c, const struct json *v, const char *name, void *out)
{
    struct str s = v->type == JSON_STRING ? v->string : STR_NONE;
    bool ok = s.len == 71 && str_starts(s, STR("sha256:"));
    for (size_t i = 7; ok && i < s.len; i++)
        ok = (s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'f');
    if (!ok)
        return refuse(c, ERR_INVALID_FIELD,
                      "%s must be a bundle's digest, sha256: and 64 hexadecimal digits, as `errand agents push` and "
                      "POST /v1/bundles give it",
                      name);
    *(struct str *)out = s;
    return true;
}

static bool take_cpus(struct check *c, const struct json *v, const char *name, void *out)
{
    double n = v->type == JSON_INT ? (double)v->integer : v->type == JSON_DOUBLE ? v->number : -1;
    if (!(n >= 0.01 && n <= 1024))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a number of processors from 0.01 to 1024", name);
    *(int64_t *)out = llround(n * 1000);
    return true;
}

static const struct field resource_fields[] = {
    {"cpus", take_cpus, offsetof(struct resources, cpu_milli), 0, 0},
    {"memoryMb", NULL, offsetof(struct resources, memory_mb), 8, 16777216},
    {"pids", NULL, offsetof(struct resources, pids), 1, 4194304},
    {"diskMb", NULL, offsetof(struct resources, disk_mb), 1, 16777216},
};

bool take_resources(struct check *c, const struct json *v, const char *name, void *out)
{
    struct check inside = {c->arena, arena_printf(c->arena, "%s%s.", c->at, name), c->fault};
    if (v->type != JSON_OBJECT)
        return refuse(c, ERR_INVALID_FIELD, "%s must be {\"cpus\", \"memoryMb\", \"pids\", \"diskMb\"}", name);
    return inside.at && take_object(&inside, v, resource_fields, ARRAY_LEN(resource_fields), out);
}

static const struct field pool_fields[] = {
    {"base", take_text, offsetof(struct pool, base), 0, 0},
    {"min", NULL, offsetof(struct pool, min), 0, LIMIT_SLOTS},
    {"max", NULL, offsetof(struct pool, max), 1, LIMIT_SLOTS},
    {"idleMs", NULL, offsetof(struct pool, idle_ms), 1, LIMIT_RUN_TIMEOUT_MS},
    {"maxRuns", NULL, offsetof(struct pool, max_runs), 1, 1000000000},
};

bool take_pool(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const bases[] = {"process", "sandbox"};
    struct check inside = {c->arena, arena_printf(c->arena, "%s%s.", c->at, name), c->fault};
    struct pool p = {.base = STR("process"), .max = 8, .idle_ms = 300000, .max_runs = 1000};
    if (v->type != JSON_OBJECT)
        return refuse(c, ERR_INVALID_FIELD, "%s must be {\"base\", \"min\", \"max\", \"idleMs\", \"maxRuns\"}", name);
    if (!inside.at || !take_object(&inside, v, pool_fields, ARRAY_LEN(pool_fields), &p) ||
        !one_of(&inside, p.base, "base", bases, ARRAY_LEN(bases)))
        return false;
    if (p.min > p.max)
        return refuse(&inside, ERR_INVALID_FIELD, "min must be at most max (%lld)", (long long)p.max);
    *(struct pool *)out = p;
    return true;
}

/* {"perModel": {"<provider>/<model>": {…}}}: what stands in an entry is the agent's and its provider's affair. */
bool take_llm_settings(struct check *c, const struct json *v, const char *name, void *out)
{
    const struct json *per_model = v->type == JSON_OBJECT && v->count == 1 ? json_get(v, "perModel") : NULL;
    if (!per_model || per_model->type != JSON_OBJECT || per_model->repeated_key)
        return refuse(c, ERR_INVALID_FIELD, "%s must be {\"perModel\": {\"<provider>/<model>\": {…}}}", name);
    for (const struct json *m = per_model->child; m; m = m->next) {
        const char *slash = m->key.len ? memchr(m->key.ptr, '/', m->key.len) : NULL;
        bool named = slash && slash > m->key.ptr && slash < m->key.ptr + m->key.len - 1 && m->key.len <= LIMIT_KEY;
        if (!named || m->type != JSON_OBJECT)
            return refuse(c, ERR_INVALID_FIELD,
                          "%s.perModel: each key must be \"<provider>/<model>\", each value an object of settings",
                          name);
    }
    *(struct str *)out = v->raw;
    return true;
}

bool take_schema(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_OBJECT)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an object", name);
    struct schema *s;
    struct schema_fault fault;
    enum err err = schema_compile(v->raw, &s, &fault);
    if (err == ERR_INVALID_FIELD)
        return refuse(c, err, "%s%s%s %s", name, fault.pointer[0] ? " at " : "", fault.pointer, fault.message);
    if (err)
        return refuse(c, err, "%s is more than this node has memory for", name);
    schema_unref(s);
    *(struct str *)out = v->raw;
    return true;
}

/* A field that the executor knows nothing of is refused rather than ignored. */
static bool check_takes(struct check *c, const struct kind *k, unsigned bit, bool given, const char *field)
{
    struct strbuf list;
    if (!given || (k->what & bit))
        return true;
    strbuf_init(&list, 256);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (kinds[i].what & bit)
            strbuf_addf(&list, "%s%s", list.len > 0 ? ", " : "", kinds[i].name);
    refuse(c, ERR_INVALID_FIELD, "%s does not go with the executor %s, only with: %s", field, k->name,
           list.len ? list.ptr : "none");
    strbuf_done(&list);
    return false;
}

static bool check_network(struct check *c, const struct kind *k, struct execution *x)
{
    static const char *const words[] = {"host", "none", "filtered"};
    if (!check_takes(c, k, TAKES_NETWORK, x->network.len > 0, "network"))
        return false;
    if (x->network.len > 0 && !one_of(c, x->network, "network", words, ARRAY_LEN(words)))
        return false;
    if (x->hosts.count > 0 && !str_eqz(x->network, "filtered"))
        return refuse(c, ERR_INVALID_FIELD, "allowHosts goes with network \"filtered\" only");
    if (str_eqz(x->network, "filtered") && str_eqz(str_of(k->name), "container"))
        return refuse(c, ERR_INVALID_FIELD, "network must be \"host\" or \"none\" with the executor container");
    return true;
}

static bool is_url(struct str s)
{
    return (str_starts(s, STR("https://")) && s.len > 8) || (str_starts(s, STR("http://")) && s.len > 7);
}

bool check_execution(struct check *c, struct str executor, bool has_command, struct str provider, struct execution *x)
{
    const struct kind *k = kind_of(executor);
    if (!k)
        return refuse(c, ERR_INVALID_FIELD,
                      "executor must be process, sandbox, pool, container, fly, http, anthropic or noop");
    if (!check_takes(c, k, TAKES_COMMAND, has_command, "command") ||
        !check_takes(c, k, TAKES_IMAGE, x->image.len > 0, "image") ||
        !check_takes(c, k, TAKES_URL, x->url.len > 0, "url") ||
        !check_takes(c, k, TAKES_MODEL, x->model.len > 0, "model") ||
        !check_takes(c, k, TAKES_MODEL, x->system.len > 0, "system") ||
        !check_takes(c, k, TAKES_REGION, x->region.len > 0, "region") ||
        !check_takes(c, k, TAKES_BUNDLE, x->bundle.len > 0, "bundle") ||
        !check_takes(c, k, TAKES_POOL, x->pool.max > 0, "pool") ||
        !check_takes(c, k, TAKES_RESOURCES,
                     x->resources.cpu_milli + x->resources.memory_mb + x->resources.pids + x->resources.disk_mb > 0,
                     "resources") ||
        !check_network(c, k, x))
        return false;
    if ((k->what & NEEDS_COMMAND) && !has_command)
        return refuse(c, ERR_MISSING_FIELD,
                      "command is required: an array of words, for example [\"python3\", \"agent.py\"]");
    if ((k->what & TAKES_IMAGE) && x->image.len == 0)
        return refuse(c, ERR_MISSING_FIELD, "image is required with the executor %s", k->name);
    if ((k->what & NEEDS_URL) && x->url.len == 0)
        return refuse(c, ERR_MISSING_FIELD, "url is required with the executor %s", k->name);
    if ((k->what & TAKES_MODEL) && x->model.len == 0)
        return refuse(c, ERR_MISSING_FIELD, "model is required with the executor %s", k->name);
    if (x->url.len > 0 && !is_url(x->url))
        return refuse(c, ERR_INVALID_FIELD, "url must begin with https:// or http://");
    if ((k->what & TAKES_MODEL) && provider.len > 0 && !str_eqz(provider, k->name))
        return refuse(c, ERR_RUNTIME_NOT_IMPLEMENTED, "provider \"%.*s\" has no runtime of its own here; \"%s\" has",
                      STR_ARG(provider), k->name);
    if (x->runtime_deps && x->bundle.len == 0)
        return refuse(c, ERR_INVALID_FIELD, "allowRuntimeDeps goes with a bundle, whose requirements it speaks of");
    if (x->strict_output && x->output_schema.len == 0)
        return refuse(c, ERR_INVALID_FIELD, "strictOutput goes with an outputSchema");
    if ((k->what & TAKES_POOL) && x->pool.max == 0)
        x->pool = (struct pool){.base = STR("process"), .max = 8, .idle_ms = 300000, .max_runs = 1000};
    bool open_pool = (k->what & TAKES_POOL) && str_eqz(x->pool.base, "process");
    if (open_pool && x->network.len > 0 && !str_eqz(x->network, "host"))
        return refuse(c, ERR_INVALID_FIELD, "network \"%.*s\" needs pool.base \"sandbox\"", STR_ARG(x->network));
    if ((k->what & TAKES_NETWORK) && x->network.len == 0)
        x->network = open_pool ? STR("host") : STR("none");
    return true;
}

static bool has_word(struct str text, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = text.ptr; at && (at = memmem(at, (size_t)(text.ptr + text.len - at), word, len)); at++) {
        bool begins = at == text.ptr || at[-1] == ' ', ends = at + len == text.ptr + text.len || at[len] == ' ';
        if (begins && ends)
            return true;
    }
    return false;
}

bool check_pool(struct check *c, struct str protocol, struct str source, const struct words *needs,
                const struct execution *x)
{
    static const char *const contained[] = {"process_isolation", "network_isolation", "network_filtering",
                                            "filesystem_isolation"};
    if (x->pool.max == 0)
        return true;
    if (!str_eqz(protocol, "events"))
        return refuse(
            c, ERR_INVALID_FIELD,
            "protocol must be \"events\" with the executor pool: only there a worker can say that a run is over");
    if (!str_eqz(source, "stdout"))
        return refuse(c, ERR_INVALID_FIELD, "eventSource must be \"stdout\" with the executor pool");
    for (size_t i = 0; i < ARRAY_LEN(contained); i++)
        if (str_eqz(x->pool.base, "process") && has_word(needs->text, contained[i]))
            return refuse(c, ERR_INVALID_FIELD, "requiresCapabilities: %s needs pool.base \"sandbox\"", contained[i]);
    return true;
}

struct str execution_needs(struct arena *a, const struct words *asked, const struct execution *x)
{
    const struct {
        bool wanted;
        const char *word;
    } implied[] = {{x->resources.memory_mb > 0, "memory_limit"},
                   {x->resources.cpu_milli > 0, "cpu_limit"},
                   {str_eqz(x->network, "none"), "network_isolation"},
                   {str_eqz(x->network, "filtered"), "network_filtering"},
                   {x->pool.max > 0 && str_eqz(x->pool.base, "sandbox"), "process_isolation"},
                   {x->runtime_deps, "deps_install"}};
    struct strbuf text;
    strbuf_init(&text, 4096);
    strbuf_add(&text, asked->text);
    for (size_t i = 0; i < ARRAY_LEN(implied); i++)
        if (implied[i].wanted && !has_word(asked->text, implied[i].word))
            strbuf_addf(&text, "%s%s", text.len > 0 ? " " : "", implied[i].word);
    struct str copy = arena_str(a, strbuf_str(&text));
    strbuf_done(&text);
    return copy;
}

static void write_number(struct json_writer *w, const char *key, int64_t n)
{
    if (n > 0)
        json_kv_int(w, key, n);
}

static void write_raw(struct json_writer *w, const char *key, struct str raw)
{
    if (raw.len > 0)
        json_kv_raw(w, key, raw);
}

void execution_write(struct json_writer *w, const struct execution *x)
{
    const struct resources *r = &x->resources;
    json_kv_str_opt(w, "image", x->image);
    json_kv_str_opt(w, "url", x->url);
    json_kv_str_opt(w, "model", x->model);
    json_kv_str_opt(w, "system", x->system);
    json_kv_str_opt(w, "region", x->region);
    json_kv_str_opt(w, "bundle", x->bundle);
    if (x->runtime_deps)
        json_kv_bool(w, "allowRuntimeDeps", true);
    json_kv_str_opt(w, "network", x->network);
    if (x->hosts.count > 0)
        json_kv_raw(w, "allowHosts", x->hosts.raw);
    if (r->cpu_milli + r->memory_mb + r->pids + r->disk_mb > 0) {
        json_key(w, "resources");
        json_object_begin(w);
        if (r->cpu_milli > 0) {
            char cpus[32];
            snprintf(cpus, sizeof cpus, "%.6g", (double)r->cpu_milli / 1000);
            json_kv_raw(w, "cpus", str_of(cpus));
        }
        write_number(w, "memoryMb", r->memory_mb);
        write_number(w, "pids", r->pids);
        write_number(w, "diskMb", r->disk_mb);
        json_object_end(w);
    }
    if (x->pool.max > 0) {
        json_key(w, "pool");
        json_object_begin(w);
        json_kv_str(w, "base", x->pool.base);
        json_kv_int(w, "min", x->pool.min);
        json_kv_int(w, "max", x->pool.max);
        json_kv_int(w, "idleMs", x->pool.idle_ms);
        json_kv_int(w, "maxRuns", x->pool.max_runs);
        json_object_end(w);
    }
    write_raw(w, "llmSettings", x->llm);
    write_raw(w, "inputSchema", x->input_schema);
    write_raw(w, "outputSchema", x->output_schema);
    if (x->strict_output)
        json_kv_bool(w, "strictOutput", true);
}
