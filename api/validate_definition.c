#include <stdio.h>

#include "api/validate_fields.h"
#include "common/crypto.h"

struct raw_definition {
    struct str name, executor, protocol, event_source, workdir, stdin_mode, provider, queue, command, backoff_type;
    struct declared env, sources;
    int64_t timeout_ms, grace_ms, max_attempts, base_ms, cap_ms;
    int64_t start_within_ms, stall_ms, concurrency, slots; /* 0: none, but slots: one */
    int64_t retain_ms, retain_count, retain_events_ms, retain_result_ms;
    struct words requires, needs, retry_on, no_retry_on;
    struct execution exec;
    struct rate rate;
    bool at_most_once;
};

static bool take_command(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_ARRAY || v->count == 0 || v->count > LIMIT_COMMAND)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an array of 1 to %d words", name, LIMIT_COMMAND);
    for (const struct json *m = v->child; m; m = m->next)
        if (m->type != JSON_STRING || memchr(m->string.ptr, 0, m->string.len) || (m == v->child && m->string.len == 0))
            return refuse(c, ERR_INVALID_FIELD, "%s: each word must be a string without NUL, the first not empty",
                          name);
    *(struct str *)out = v->raw;
    return true;
}

static bool take_backoff(struct check *c, const struct json *v, const char *name, void *out)
{
    struct raw_definition *d = (struct raw_definition *)((char *)out - offsetof(struct raw_definition, backoff_type));
    static const struct field fields[] = {
        {"type", take_text, offsetof(struct raw_definition, backoff_type), 0, 0},
        {"baseMs", NULL, offsetof(struct raw_definition, base_ms), 0, 86400000},
        {"capMs", NULL, offsetof(struct raw_definition, cap_ms), 0, 604800000},
    };
    static const char *const types[] = {"exponential", "fixed"};
    if (v->type != JSON_OBJECT)
        return refuse(c, ERR_INVALID_FIELD, "%s must be {\"type\", \"baseMs\", \"capMs\"}", name);
    return take_object(c, v, fields, ARRAY_LEN(fields), d) &&
           one_of(c, d->backoff_type, "backoff.type", types, ARRAY_LEN(types));
}

static const struct field definition_fields[] = {
#define AT(member) offsetof(struct raw_definition, member)
    {"name", take_name, AT(name), 0, 0},
    {"executor", take_text, AT(executor), 0, 0},
    {"command", take_command, AT(command), 0, 0},
    {"protocol", take_text, AT(protocol), 0, 0},
    {"eventSource", take_text, AT(event_source), 0, 0},
    {"workdir", take_text, AT(workdir), 0, 0},
    {"env", take_env_list, AT(env), 0, 0},
    {"dataSources", take_data_sources, AT(sources), 0, 0},
    {"stdin", take_text, AT(stdin_mode), 0, 0},
    {"provider", take_text, AT(provider), 0, 0},
    {"timeoutMs", NULL, AT(timeout_ms), 1, LIMIT_RUN_TIMEOUT_MS},
    {"graceMs", NULL, AT(grace_ms), 0, LIMIT_GRACE_MS},
    {"maxAttempts", NULL, AT(max_attempts), 1, LIMIT_ATTEMPTS},
    {"atMostOnce", take_bool, AT(at_most_once), 0, 0},
    {"backoff", take_backoff, AT(backoff_type), 0, 0},
    {"queue", take_name, AT(queue), 0, 0},
    {"startWithinMs", NULL, AT(start_within_ms), 1, LIMIT_DELAY_MS},
    {"stallMs", NULL, AT(stall_ms), 1, LIMIT_RUN_TIMEOUT_MS},
    {"concurrency", NULL, AT(concurrency), 1, LIMIT_CONCURRENCY},
    {"rateLimit", take_rate, AT(rate), 0, 0},
    {"retryOn", take_error_classes, AT(retry_on), 0, 0},
    {"noRetryOn", take_error_classes, AT(no_retry_on), 0, 0},
    {"requires", take_tags, AT(requires), 0, 0},
    {"requiresCapabilities", take_capabilities, AT(needs), 0, 0},
    {"image", take_text, AT(exec.image), 0, 0},
    {"url", take_text, AT(exec.url), 0, 0},
    {"model", take_text, AT(exec.model), 0, 0},
    {"system", take_system, AT(exec.system), 0, 0},
    {"region", take_text, AT(exec.region), 0, 0},
    {"bundle", take_bundle, AT(exec.bundle), 0, 0},
    {"allowRuntimeDeps", take_bool, AT(exec.runtime_deps), 0, 0},
    {"network", take_text, AT(exec.network), 0, 0},
    {"allowHosts", take_hosts, AT(exec.hosts), 0, 0},
    {"resources", take_resources, AT(exec.resources), 0, 0},
    {"pool", take_pool, AT(exec.pool), 0, 0},
    {"llmSettings", take_llm_settings, AT(exec.llm), 0, 0},
    {"inputSchema", take_schema, AT(exec.input_schema), 0, 0},
    {"outputSchema", take_schema, AT(exec.output_schema), 0, 0},
    {"strictOutput", take_bool, AT(exec.strict_output), 0, 0},
    {"slots", NULL, AT(slots), 1, LIMIT_SLOTS},
    {"retentionMs", NULL, AT(retain_ms), 1, LIMIT_RETENTION_MS},
    {"retentionCount", NULL, AT(retain_count), 1, LIMIT_RETENTION_COUNT},
    {"eventsRetentionMs", NULL, AT(retain_events_ms), 1, LIMIT_RETENTION_MS},
    {"resultRetentionMs", NULL, AT(retain_result_ms), 1, LIMIT_RETENTION_MS},
#undef AT
};

/* Where the command starts: anywhere, or in its bundle. */
static bool check_workdir(struct check *c, struct str workdir, bool has_bundle)
{
    bool up = str_eqz(workdir, "..") || str_starts(workdir, STR("../")) ||
              (workdir.len > 3 && memmem(workdir.ptr, workdir.len, "/../", 4)) ||
              (workdir.len > 2 && memcmp(workdir.ptr + workdir.len - 3, "/..", 3) == 0);
    if (workdir.len == 0 || workdir.ptr[0] == '/')
        return true;
    if (!has_bundle)
        return refuse(c, ERR_INVALID_FIELD, "workdir must be an absolute path");
    if (up || workdir.len > LIMIT_BUNDLE_PATH)
        return refuse(c, ERR_INVALID_FIELD,
                      "workdir must be an absolute path, or one inside the bundle, without \"..\"");
    return true;
}

static bool check_runtime(struct check *c, struct raw_definition *d)
{
    static const char *const providers[] = {"anthropic", "openai", "gemini", "mistral", "deepseek"};
    static const char *const protocols[] = {"events", "text", "goose", "claude"}, *const sources[] = {"stdout",
                                                                                                      "remote"};
    static const char *const stdin_modes[] = {"once", "open"};
    if (d->provider.len > 0) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(providers); i++)
            known = known || str_eqz(d->provider, providers[i]);
        if (!known)
            return refuse(c, ERR_RUNTIME_NOT_IMPLEMENTED, "provider \"%.*s\" has no runtime here",
                          (int)(d->provider.len > 64 ? 64 : d->provider.len), d->provider.ptr);
    }
    if (!check_execution(c, d->executor, d->command.len > 0, d->provider, &d->exec))
        return false;
    if (!d->event_source.ptr)
        d->event_source = execution_remote_default(d->executor) ? STR("remote") : STR("stdout");
    if (!check_workdir(c, d->workdir, d->exec.bundle.len > 0))
        return false;
    if (str_eqz(d->stdin_mode, "open") && !execution_takes_input(d->executor))
        return refuse(c, ERR_INVALID_FIELD, "stdin \"open\" goes with the executors process, sandbox and container");
    if (str_eqz(d->executor, "anthropic") && (!str_eqz(d->protocol, "events") || !str_eqz(d->event_source, "stdout")))
        return refuse(c, ERR_INVALID_FIELD,
                      "the executor anthropic goes with protocol \"events\" and eventSource \"stdout\" only: what the "
                      "model answers becomes events");
    return one_of(c, d->protocol, "protocol", protocols, ARRAY_LEN(protocols)) &&
           one_of(c, d->stdin_mode, "stdin", stdin_modes, ARRAY_LEN(stdin_modes)) &&
           one_of(c, d->event_source, "eventSource", sources, ARRAY_LEN(sources)) &&
           check_pool(c, d->protocol, d->event_source, &d->needs, &d->exec);
}

static void number_opt(struct json_writer *w, const char *key, int64_t n)
{
    if (n > 0)
        json_kv_int(w, key, n);
}

static void words_opt(struct json_writer *w, const char *key, const struct words *words)
{
    if (words->count > 0)
        json_kv_raw(w, key, words->raw);
}

/* Fixed order, defaults filled in: equal definitions have equal digests. */
static struct str canonical(struct check *c, const struct raw_definition *d)
{
    struct strbuf text;
    struct json_writer w;
    strbuf_init(&text, 2 * LIMIT_DEFINITION);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_kv_str(&w, "name", d->name);
    json_kv_str(&w, "executor", d->executor);
    if (d->command.len > 0)
        json_kv_raw(&w, "command", d->command);
    json_kv_str(&w, "protocol", d->protocol);
    json_kv_str(&w, "eventSource", d->event_source);
    json_kv_str_opt(&w, "workdir", d->workdir);
    json_kv_raw(&w, "env", d->env.raw);
    if (d->sources.list && d->sources.list->count > 0)
        json_kv_raw(&w, "dataSources", d->sources.raw);
    json_kv_str(&w, "stdin", d->stdin_mode);
    json_kv_str_opt(&w, "provider", d->provider);
    json_kv_int(&w, "timeoutMs", d->timeout_ms);
    json_kv_int(&w, "graceMs", d->grace_ms);
    json_kv_int(&w, "maxAttempts", d->max_attempts);
    json_kv_bool(&w, "atMostOnce", d->at_most_once);
    json_key(&w, "backoff");
    json_object_begin(&w);
    json_kv_str(&w, "type", d->backoff_type);
    json_kv_int(&w, "baseMs", d->base_ms);
    json_kv_int(&w, "capMs", d->cap_ms);
    json_object_end(&w);
    json_kv_str(&w, "queue", d->queue);
    number_opt(&w, "startWithinMs", d->start_within_ms);
    number_opt(&w, "stallMs", d->stall_ms);
    number_opt(&w, "concurrency", d->concurrency);
    if (d->rate.limit > 0) {
        json_key(&w, "rateLimit");
        json_object_begin(&w);
        json_kv_int(&w, "limit", d->rate.limit);
        json_kv_int(&w, "perMs", d->rate.per_ms);
        json_kv_int(&w, "burst", d->rate.burst);
        json_object_end(&w);
    }
    words_opt(&w, "retryOn", &d->retry_on);
    words_opt(&w, "noRetryOn", &d->no_retry_on);
    words_opt(&w, "requires", &d->requires);
    words_opt(&w, "requiresCapabilities", &d->needs);
    number_opt(&w, "slots", d->slots);
    number_opt(&w, "retentionMs", d->retain_ms);
    number_opt(&w, "retentionCount", d->retain_count);
    number_opt(&w, "eventsRetentionMs", d->retain_events_ms);
    number_opt(&w, "resultRetentionMs", d->retain_result_ms);
    execution_write(&w, &d->exec);
    json_object_end(&w);
    struct str json = strbuf_failed(&text) ? STR_NONE : arena_str(c->arena, strbuf_str(&text));
    strbuf_done(&text);
    return json;
}

static void add_field(struct definition *def, const char *name, struct str value)
{
    PRE(def->field_count + 2 <= DEFINITION_FIELDS);
    def->fields[def->field_count++] = str_of(name);
    def->fields[def->field_count++] = value;
}

static void add_number(struct check *c, struct definition *def, const char *name, int64_t n)
{
    add_field(def, name, str_of(arena_printf(c->arena, "%lld", (long long)n)));
}

/* What most definitions do not say is left out of what is stored. */
static void add_policies(struct check *c, struct definition *def, const struct raw_definition *d)
{
    const struct {
        const char *name;
        int64_t n;
    } numbers[] = {{"startWithinMs", d->start_within_ms},
                   {"stallMs", d->stall_ms},
                   {"slots", d->slots},
                   {"retainMs", d->retain_ms},
                   {"retainCount", d->retain_count},
                   {"retainEventsMs", d->retain_events_ms},
                   {"retainResultMs", d->retain_result_ms}};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (numbers[i].n > 0)
            add_number(c, def, numbers[i].name, numbers[i].n);
    if (d->requires.count > 0)
        add_field(def, "tags", d->requires.text);
    if (str_eqz(d->stdin_mode, "open"))
        add_field(def, "stdin", d->stdin_mode);
    struct str needs = execution_needs(c->arena, &d->needs, &d->exec);
    if (needs.len > 0)
        add_field(def, "needs", needs);
    if (d->exec.bundle.len > 0)
        add_field(def, "bundle", d->exec.bundle);
    if (d->exec.input_schema.len > 0)
        add_field(def, "inputSchema", d->exec.input_schema);
    if (d->exec.output_schema.len > 0)
        add_field(def, "outputSchema", d->exec.output_schema);
    if (d->exec.strict_output)
        add_field(def, "strictOutput", STR("1"));
    if (d->retry_on.count > 0)
        add_field(def, "retryOn", d->retry_on.text);
    if (d->no_retry_on.count > 0)
        add_field(def, "noRetryOn", d->no_retry_on.text);
    /* These two always: agent_put takes a limit away where the newest definition has none. */
    add_field(def, "concurrency",
              d->concurrency > 0 ? str_of(arena_printf(c->arena, "%lld", (long long)d->concurrency)) : STR(""));
    add_field(def, "rate", rate_text(c->arena, &d->rate));
}

bool validate_definition(struct arena *a, const struct json *root, struct str name, const char *at,
                         struct definition *ret_def, struct fault *ret_fault)
{
    struct check c = {a, at, ret_fault};
    struct raw_definition d = {.executor = STR("process"),
                               .protocol = STR("events"),
                               .stdin_mode = STR("once"),
                               .queue = STR("default"),
                               .env = {STR("[]"), NULL},
                               .backoff_type = STR("exponential"),
                               .timeout_ms = 3600000,
                               .grace_ms = 10000,
                               .max_attempts = 1,
                               .base_ms = 1000,
                               .cap_ms = 300000};
    if (root->type != JSON_OBJECT)
        return refuse(&c, ERR_INVALID_FIELD, "an agent definition must be an object");
    if (!take_object(&c, root, definition_fields, ARRAY_LEN(definition_fields), &d))
        return false;
    if (name.len > 0 && d.name.len > 0 && !str_eq(name, d.name))
        return refuse(&c, ERR_INVALID_FIELD, "name differs from the path's; leave it out, or make them equal");
    if (name.len > 0)
        d.name = name;
    if (!check_runtime(&c, &d) || !check_environment(&c, &d.env, &d.sources))
        return false;
    struct definition def = {.name = d.name, .json = canonical(&c, &d)};
    if (def.json.len == 0 || def.json.len > LIMIT_DEFINITION)
        return refuse(&c, ERR_INVALID_FIELD, "the definition must be at most %d bytes", LIMIT_DEFINITION);
    crypto_sha256_hex(def.json, def.digest);
    add_field(&def, "json", def.json);
    add_field(&def, "queue", d.queue);
    add_number(&c, &def, "timeoutMs", d.timeout_ms);
    add_number(&c, &def, "graceMs", d.grace_ms);
    add_number(&c, &def, "maxAttempts", d.max_attempts);
    add_field(&def, "atMostOnce", d.at_most_once ? STR("1") : STR("0"));
    add_field(&def, "backoffType", d.backoff_type);
    add_number(&c, &def, "backoffBaseMs", d.base_ms);
    add_number(&c, &def, "backoffCapMs", d.cap_ms);
    add_field(&def, "source", d.event_source);
    add_field(&def, "executor", d.executor);
    add_policies(&c, &def, &d);
    *ret_def = def;
    return true;
}

void definition_own(struct arena *a, struct definition *def, struct str workspace)
{
    for (size_t i = 0; i < def->field_count; i += 2) {
        if (!str_eqz(def->fields[i], "bundle"))
            continue;
        struct str digest = def->fields[i + 1], parts[] = {workspace, def->json};
        def->fields[i + 1] =
            str_of(arena_printf(a, "%.*s:%.*s", STR_ARG(workspace), (int)digest.len - 7, digest.ptr + 7));
        crypto_sha256_hex_parts(parts, ARRAY_LEN(parts), def->digest);
    }
}
