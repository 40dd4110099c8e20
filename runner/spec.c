#include "runner/spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/crypto.h"
#include "runner/workdir.h"

enum { ENV_MAX = 2 * LIMIT_ENV_COUNT + 16, DEFINITION_LEVELS = 4 };
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

struct env {
    struct arena *arena;
    const char **words;
    size_t n;
};

/* Sets a variable; a later one of the same name wins. */
static void env_set(struct env *e, struct str key, struct str value)
{
    char *word = arena_printf(e->arena, "%.*s=%.*s", STR_ARG(key), STR_ARG(value));
    if (!word || e->n >= ENV_MAX)
        return;
    for (size_t i = 0; i < e->n; i++) {
        if (strncmp(e->words[i], word, key.len + 1) == 0) {
            e->words[i] = word;
            return;
        }
    }
    e->words[e->n++] = word;
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

static const char *const *env_of(struct attempt *a, const struct json *def, const struct script_claim_runs *row,
                                 struct str token)
{
    struct env e = {&a->arena, arena_zalloc(&a->arena, (ENV_MAX + 1) * sizeof(char *)), 0};
    struct json *run_env = NULL;
    if (!e.words)
        return NULL;
    env_set(&e, STR("PATH"), STR(DEFAULT_PATH));
    env_set(&e, STR("HOME"), str_of(a->workdir));
    env_set(&e, STR("TMPDIR"), str_of(a->workdir));
    const struct json *list = json_get(def, "env");
    for (const struct json *v = list ? list->child : NULL; v; v = v->next)
        env_set(&e, text_of(v, "key"), text_of(v, "value"));
    if (row->env.len > 0 && json_parse(&a->arena, row->env, LIMIT_JSON_DEPTH, 2, &run_env, NULL) == ERR_OK)
        for (const struct json *v = run_env->child; v; v = v->next)
            env_set(&e, v->key, v->string);
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)row->attempt);
    env_set(&e, STR("ERRAND_RUN_ID"), row->run); /* last: nobody overrides ours */
    env_set(&e, STR("ERRAND_ATTEMPT"), str_of(number));
    env_set(&e, STR("ERRAND_API_BASE"), str_of(a->shard->worker->config->api_base));
    env_set(&e, STR("ERRAND_RUNNER_TOKEN"), token);
    return e.words;
}

/* {"runId","attempt","agent","input","lastSeq","dependencies"?} */
static struct str input_line(struct attempt *a, const struct script_claim_runs *row)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, row->input.len + row->dependencies.len + 4096);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "runId", row->run);
    json_kv_int(&w, "attempt", row->attempt);
    json_kv_str(&w, "agent", row->agent);
    json_kv_raw(&w, "input", row->input);
    json_kv_int(&w, "lastSeq", row->first_seq - 1);
    if (row->dependencies.len > 0)
        json_kv_raw(&w, "dependencies", row->dependencies);
    json_object_end(&w);
    struct str line = arena_str(&a->arena, strbuf_str(&out));
    strbuf_done(&out);
    return line;
}

enum err spec_build(struct attempt *a, const struct script_claim_runs *row, struct str *ret_protocol,
                    const char **ret_why)
{
    struct json *def;
    char secret[44], token[80];
    if (json_parse(&a->arena, row->def, LIMIT_JSON_DEPTH, DEFINITION_LEVELS, &def, NULL) != ERR_OK)
        return ERR_INTERNAL;
    *ret_protocol = text_of(def, "protocol");
    a->executor = executor_find(row->executor);
    crypto_token(secret);
    snprintf(token, sizeof token, "ert_%lld_%s", (long long)row->attempt, secret);
    crypto_sha256_hex(str_of(token), a->token_sha);
    if (!a->executor || !worker_may_execute(a->shard->worker, a->executor->name)) {
        *ret_why = "this runner may not use that executor; ERRAND_EXECUTORS names those that it may";
        a->executor = &executor_process; /* for its name in events */
        return ERR_FORBIDDEN;
    }
    if (!workdir_make(a->shard->worker->config, &a->run_id, a->workdir)) {
        *ret_why = arena_printf(&a->arena, "can't make a folder in %s: %s", workdir_base(a->shard->worker->config),
                                strerror(errno));
        return ERR_IO;
    }
    struct str workdir = text_of(def, "workdir");
    a->spec = (struct job_spec){
        .run_id = str_of(a->run_id.s),
        .workspace = arena_str(&a->arena, row->ws),
        .agent = arena_str(&a->arena, row->agent),
        .provider = text_of(def, "provider"),
        .attempt = row->attempt,
        .command = command_of(&a->arena, def),
        .env = env_of(a, def, row, str_of(token)),
        .workdir = workdir.len ? workdir.ptr : a->workdir,
        .private = a->workdir,
        .input_line = input_line(a, row),
        .grace_ms = a->grace_ms,
    };
    *ret_why = "out of memory";
    return a->spec.command && a->spec.env && a->spec.input_line.ptr ? ERR_OK : ERR_NO_MEMORY;
}
