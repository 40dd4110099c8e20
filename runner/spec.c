#include "runner/spec.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/crypto.h"
#include "common/data_source.h"
#include "common/secret.h"
#include "runner/result_check.h"
#include "runner/storage.h"
#include "runner/workdir.h"

enum { ENV_MAX = 2 * LIMIT_ENV_COUNT + 40, DEFINITION_LEVELS = 6 };
static const char *const no_words[] = {NULL};
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

struct env {
    struct arena *arena;
    const char **words;
    struct secret_want *wants; /* of each word; no name: it is whole */
    size_t n;
    bool failed;
};

static void env_put(struct env *e, struct str key, char *word, struct secret_want want)
{
    size_t i = 0;
    if (!word || e->n >= ENV_MAX) {
        e->failed = true; /* a program must not run without what it was promised */
        return;
    }
    while (i < e->n && strncmp(e->words[i], word, key.len + 1) != 0)
        i++;
    want.at = i;
    e->words[i] = word;
    e->wants[i] = want;
    if (i == e->n)
        e->n++;
}

/* Sets a variable; a later one of the same name wins. */
static void env_set(struct env *e, struct str key, struct str value)
{
    env_put(e, key, arena_printf(e->arena, "%.*s=%.*s", STR_ARG(key), STR_ARG(value)), (struct secret_want){0});
}

static struct str text_of(const struct json *o, const char *key);

/* A variable whose declaration has a value, or names a secret: that one is asked for when the attempt starts. */
static void env_declare(struct env *e, struct str key, const struct json *declaration)
{
    struct secret_want want = {.key = key};
    const struct json *secret = json_get(declaration, "secret");
    if (!secret)
        env_set(e, key, text_of(declaration, "value"));
    else if (secret_ref_parse(secret->string, &want.name, &want.version))
        env_put(e, key, arena_printf(e->arena, "%.*s=", STR_ARG(key)), want);
    else
        e->failed = true;
}

static void env_data_source(struct env *e, const struct json *source)
{
    const struct json *fields = json_get(source, "fields");
    for (const struct json *f = fields ? fields->child : NULL; f; f = f->next) {
        char buf[DATA_SOURCE_VARIABLE_MAX];
        struct str key =
            arena_str(e->arena, data_source_variable(text_of(source, "engine"), text_of(source, "name"), f->key, buf));
        if (key.ptr)
            env_declare(e, key, f);
        else
            e->failed = true;
    }
}

/* Which of the variables want a secret, after all. */
static void collect_wants(struct env *e, struct secrets *ret_secrets)
{
    ret_secrets->env = e->words;
    ret_secrets->wants = e->wants;
    for (size_t i = 0; i < e->n; i++)
        if (e->wants[i].name.len > 0)
            e->wants[ret_secrets->count++] = e->wants[i];
}

static struct str text_of(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_STRING ? v->string : STR("");
}

static const char *const *command_of(struct arena *a, const struct json *def)
{
    const struct json *command = json_get(def, "command");
    const char **words = command ? arena_zalloc(a, (command->count + 1) * sizeof *words) : NULL;
    size_t n = 0;
    for (const struct json *w = words ? command->child : NULL; w; w = w->next)
        words[n++] = w->string.ptr ? w->string.ptr : "";
    return n > 0 ? words : NULL;
}

static bool wants_any(const struct env *e)
{
    bool any = false;
    for (size_t i = 0; i < e->n; i++)
        any = any || e->wants[i].name.len > 0;
    return any;
}

static bool declares(const struct json *env_list, struct str key)
{
    bool found = false;
    for (const struct json *v = env_list ? env_list->child : NULL; v; v = v->next)
        found = found || str_eq(text_of(v, "key"), key);
    return found;
}

/* A run's variables win. But who sets a variable of a program may decide what it does with its secrets (LD_PRELOAD, BASH_ENV, the address of a service): one that is given secrets takes only what its own env
 * declares. */
static void env_of_run(struct env *e, const struct json *def, struct str text, const char **ret_why)
{
    struct json *root = NULL;
    bool guarded = wants_any(e);
    if (text.len == 0)
        return;
    if (json_parse(e->arena, text, LIMIT_JSON_DEPTH, 2, &root, NULL) != ERR_OK) {
        e->failed = true;
        return;
    }
    for (const struct json *v = root->child; v && !e->failed; v = v->next) {
        if (guarded && !declares(json_get(def, "env"), v->key)) {
            e->failed = true;
            *ret_why = arena_printf(e->arena,
                                    "the run's env sets %.*s, which the agent's env does not declare; with "
                                    "secrets it takes no others",
                                    (int)(v->key.len > 128 ? 128 : v->key.len), v->key.ptr);
            return;
        }
        env_set(e, v->key, v->string);
    }
}

static const char *const *env_of(struct attempt *a, const struct json *def, const struct script_claim_runs *row,
                                 struct str token, const char **ret_why)
{
    struct env e = {.arena = &a->arena,
                    .words = arena_alloc(&a->arena, (ENV_MAX + 1) * sizeof *e.words),
                    .wants = arena_alloc(&a->arena, (ENV_MAX + 1) * sizeof *e.wants)};
    if (!e.words || !e.wants)
        return NULL;
    if (a->workdir[0]) { /* local; an image has a PATH of its own */
        env_set(&e, STR("PATH"), STR(DEFAULT_PATH));
        env_set(&e, STR("HOME"), str_of(a->workdir));
        env_set(&e, STR("TMPDIR"), str_of(a->workdir));
    }
    const struct json *list = json_get(def, "env");
    for (const struct json *v = list ? list->child : NULL; v; v = v->next)
        env_declare(&e, text_of(v, "key"), v);
    list = json_get(def, "dataSources");
    for (const struct json *v = list ? list->child : NULL; v; v = v->next)
        env_data_source(&e, v);
    env_of_run(&e, def, row->env, ret_why);
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)row->attempt);
    env_set(&e, STR("ERRAND_RUN_ID"), row->run); /* last: nobody overrides ours */
    env_set(&e, STR("ERRAND_ATTEMPT"), str_of(number));
    env_set(&e, STR("ERRAND_API_BASE"), str_of(a->shard->worker->config->api_base));
    env_set(&e, STR("ERRAND_RUNNER_TOKEN"), token);
    e.words[e.n] = NULL;
    collect_wants(&e, &a->secrets);
    return e.failed ? NULL : e.words;
}

/* Where nothing reads it, only what may be refused of it counts. */
static bool takes_env(const struct attempt *a, const struct json *def, const struct script_claim_runs *row)
{
    const struct json *env = json_get(def, "env"), *sources = json_get(def, "dataSources");
    return !a->executor->silent || (env && env->child) || (sources && sources->child) || row->env.len > 2;
}

/* {"runId","attempt","agent","input","lastSeq","dependencies"?,"llmSettings"?} */
static struct str input_line(struct attempt *a, const struct script_claim_runs *row, const struct json *llm)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, row->input.len + row->dependencies.len + row->def.len + 4096);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "runId", row->run);
    json_kv_int(&w, "attempt", row->attempt);
    json_kv_str(&w, "agent", row->agent);
    json_kv_raw(&w, "input", row->input);
    json_kv_int(&w, "lastSeq", row->first_seq - 1);
    if (row->dependencies.len > 0)
        json_kv_raw(&w, "dependencies", row->dependencies);
    if (llm)
        json_kv_raw(&w, "llmSettings", llm->raw);
    json_object_end(&w);
    struct str line = arena_str(&a->arena, strbuf_str(&out));
    strbuf_done(&out);
    return line;
}

static int64_t number_of(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_INT ? v->integer : 0;
}

/* As C text in the arena; NULL where the definition does not say it. */
static const char *word_of(const struct json *def, const char *key)
{
    struct str s = text_of(def, key);
    return s.len > 0 ? s.ptr : NULL;
}

static struct job_limits limits_of(const struct json *def)
{
    const struct json *r = json_get(def, "resources"), *cpus = json_get(r, "cpus");
    double n = !cpus ? 0 : cpus->type == JSON_INT ? (double)cpus->integer : cpus->number;
    return (struct job_limits){.memory_bytes = number_of(r, "memoryMb") << 20,
                               .cpu_milli = llround(n * 1000),
                               .pids = number_of(r, "pids"),
                               .disk_bytes = number_of(r, "diskMb") << 20};
}

static enum job_network network_of(const struct json *def)
{
    struct str s = text_of(def, "network");
    return str_eqz(s, "none") ? NETWORK_NONE : str_eqz(s, "filtered") ? NETWORK_FILTERED : NETWORK_HOST;
}

/* The words of an array, NULL-terminated; never NULL but when memory is out. */
static const char *const *words_of(struct arena *a, const struct json *list)
{
    const char **words = arena_zalloc(a, ((list ? list->count : 0) + 1) * sizeof *words);
    size_t n = 0;
    for (const struct json *w = words && list ? list->child : NULL; w; w = w->next)
        words[n++] = w->string.ptr ? w->string.ptr : "";
    return words;
}

static bool choose_executor(struct attempt *a, struct str name, const char **ret_why)
{
    a->executor = executor_find(name);
    if (a->executor && worker_may_execute(a->shard->worker, a->executor))
        return true;
    *ret_why = "this runner may not use that executor; ERRAND_EXECUTORS names those that it may";
    if (!a->executor)
        a->executor = &executor_process; /* for its name in events */
    return false;
}

static void make_token(struct attempt *a, int64_t attempt)
{
    char secret[44];
    crypto_token(secret);
    snprintf(a->token, sizeof a->token, "ert_%lld_%s", (long long)attempt, secret);
    crypto_sha256_hex(str_of(a->token), a->token_sha);
}

enum err spec_build(struct attempt *a, const struct script_claim_runs *row, struct str *ret_protocol,
                    const char **ret_why)
{
    struct json *def;
    make_token(a, row->attempt);
    if (!choose_executor(a, row->executor, ret_why))
        return ERR_FORBIDDEN;
    if (json_parse(&a->arena, row->def, LIMIT_JSON_DEPTH, DEFINITION_LEVELS, &def, NULL) != ERR_OK)
        return ERR_INTERNAL;
    *ret_protocol = text_of(def, "protocol");
    result_check_init(a, def);
    if (a->executor->local && !workdir_make(&a->shard->worker->workdirs, str_of(a->run_id.s), a->number, a->workdir)) {
        *ret_why =
            arena_printf(&a->arena, "can't make a folder in %s: %s", a->shard->worker->workdirs.path, strerror(errno));
        return ERR_IO;
    }
    *ret_why = "out of memory";
    const struct json *deps = json_get(def, "allowRuntimeDeps");
    a->runtime_deps = deps && deps->boolean;
    const char *private = a->executor->local ? a->workdir : NULL, *workdir = word_of(def, "workdir");
    a->spec = (struct job_spec){
        .run_id = str_of(a->run_id.s),
        .workspace = arena_str(&a->arena, row->ws),
        .agent = arena_str(&a->arena, row->agent),
        .provider = text_of(def, "provider"),
        .attempt = row->attempt,
        .command = command_of(&a->arena, def),
        .env = takes_env(a, def, row) ? env_of(a, def, row, str_of(a->token), ret_why) : no_words,
        .workdir = workdir ? workdir : private,
        .private = private,
        .code_digest = text_of(def, "bundle"),
        .image = word_of(def, "image"),
        .url = word_of(def, "url"),
        .region = word_of(def, "region"),
        .model = word_of(def, "model"),
        .system = word_of(def, "system"),
        .limits = limits_of(def),
        .network = network_of(def),
        .allow_hosts = words_of(&a->arena, json_get(def, "allowHosts")),
        .input_line = input_line(a, row, json_get(def, "llmSettings")),
        .stdin_open = str_eqz(text_of(def, "stdin"), "open"),
        .remote_events = a->remote,
        .input = arena_str(&a->arena, row->input),
        .protocol = *ret_protocol,
        .definition = arena_str(&a->arena, row->def),
        .grace_ms = a->grace_ms,
        .timeout_ms = a->timeout_ms,
    };
    if (a->spec.env && a->secrets.env && !storage_env(a))
        a->spec.env = NULL;
    return a->spec.env && a->spec.input_line.ptr && a->spec.allow_hosts && a->spec.definition.ptr ? ERR_OK
                                                                                                  : ERR_NO_MEMORY;
}

bool spec_set_env(struct attempt *a, const char *key, struct str value)
{
    const char **words = a->secrets.env;
    char *word = arena_printf(&a->arena, "%s=%.*s", key, STR_ARG(value));
    size_t len = strlen(key), i = 0;
    while (words[i] && (strncmp(words[i], key, len) != 0 || words[i][len] != '='))
        i++;
    if (!word || i >= ENV_MAX)
        return false;
    if (!words[i])
        words[i + 1] = NULL;
    words[i] = word;
    return true;
}

enum err spec_adopt(struct attempt *a, struct str workspace, struct str def, struct str executor,
                    const struct json **ret_def)
{
    struct json *root;
    a->executor = executor_find(executor);
    if (!a->executor || !worker_may_execute(a->shard->worker, a->executor))
        return ERR_FORBIDDEN;
    enum err err = json_parse(&a->arena, def, LIMIT_JSON_DEPTH, DEFINITION_LEVELS, &root, NULL);
    if (err)
        return err;
    result_check_init(a, root);
    a->spec = (struct job_spec){.run_id = str_of(a->run_id.s),
                                .workspace = arena_str(&a->arena, workspace),
                                .agent = str_of(a->agent ? a->agent : ""),
                                .attempt = a->number,
                                .image = word_of(root, "image"),
                                .url = word_of(root, "url"),
                                .region = word_of(root, "region"),
                                .limits = limits_of(root),
                                .network = network_of(root),
                                .allow_hosts = words_of(&a->arena, json_get(root, "allowHosts")),
                                .remote_events = a->remote,
                                .protocol = text_of(root, "protocol"),
                                .definition = root->raw,
                                .grace_ms = a->grace_ms,
                                .timeout_ms = a->timeout_ms,
                                .adoptable = true};
    *ret_def = root;
    return a->spec.workspace.ptr && a->spec.allow_hosts ? ERR_OK : ERR_NO_MEMORY;
}

void spec_data_source(struct attempt *a, const struct json *source,
                      void (*fn)(struct attempt *a, const struct json *declaration, struct str name))
{
    const struct json *fields = json_get(source, "fields");
    for (const struct json *f = fields ? fields->child : NULL; f; f = f->next) {
        char buf[DATA_SOURCE_VARIABLE_MAX];
        struct str name =
            arena_str(&a->arena, data_source_variable(text_of(source, "engine"), text_of(source, "name"), f->key, buf));
        if (name.ptr)
            fn(a, f, name);
    }
}
