#include "cli/submission.h"

#include <stdlib.h>

#include "cli/client.h"
#include "cli/definition.h"
#include "cli/output.h"
#include "common/limits.h"

char *submission_input(const char *given, size_t *ret_len)
{
    bool file = given[0] == '@', standard = strcmp(given, "-") == 0;
    char *text = file       ? cli_read_file(given + 1, LIMIT_INPUT, ret_len)
                 : standard ? cli_read_file("-", LIMIT_INPUT, ret_len)
                            : strdup(given);
    if (!text)
        return NULL;
    if (!file && !standard)
        *ret_len = strlen(text);
    struct arena arena;
    arena_init(&arena, 64U << 20);
    struct json *root = NULL;
    const char *why = NULL;
    enum err err = json_parse(&arena, (struct str){text, *ret_len}, LIMIT_JSON_DEPTH, 1, &root, &why);
    arena_done(&arena);
    if (err) {
        cli_say("the input is not valid JSON: %s. A text needs its quotes: --input '\"text\"'; a file an @: --input "
                "@file.json",
                why ? why : "it can't be read");
        free(text);
        return NULL;
    }
    return text;
}

/* Other bytes would make the whole submission invalid, for a reason that does not name them. */
static bool is_utf8(const struct command *command, const char *option, const char *pair, size_t name_len)
{
    struct str text = str_of(pair);
    struct strbuf clean;
    strbuf_init(&clean, text.len * 3 + 1);
    utf8_sanitize(&clean, text);
    bool same = str_eq(strbuf_str(&clean), text);
    if (!same) {
        strbuf_reset(&clean);
        utf8_sanitize(&clean, (struct str){pair, name_len});
        (void)cli_usage_error(command, "--%s %s is not UTF-8", option, clean.ptr);
    }
    strbuf_done(&clean);
    return same;
}

/* KEY=VALUE pairs as an object's members; a key given twice keeps its last value. */
static bool write_pairs(struct json_writer *w, const struct command *command, const char *option,
                        const struct option_list *list)
{
    json_object_begin(w);
    for (size_t i = 0; i < list->count; i++) {
        const char *equals = strchr(list->values[i], '=');
        if (!equals || equals == list->values[i]) {
            (void)cli_usage_error(command, "--%s takes NAME=VALUE, not '%s'", option, list->values[i]);
            return false;
        }
        size_t key_len = (size_t)(equals - list->values[i]);
        if (!is_utf8(command, option, list->values[i], key_len))
            return false;
        bool later = false;
        for (size_t k = i + 1; k < list->count; k++)
            later = later || strncmp(list->values[k], list->values[i], key_len + 1) == 0;
        if (later)
            continue;
        json_key_str(w, (struct str){list->values[i], key_len});
        json_str(w, str_of(equals + 1));
    }
    json_object_end(w);
    return true;
}

static bool write_agent(struct json_writer *w, const struct submission_options *o, const char *agent)
{
    if (!o->file) {
        json_kv_str(w, "agent", str_of(agent));
        return true;
    }
    struct strbuf definition;
    char name[LIMIT_NAME + 1];
    strbuf_init(&definition, LIMIT_DEFINITION * 2);
    bool ok = definition_read(o->file, agent, &definition, name, sizeof(name));
    if (ok)
        json_kv_raw(w, "agent", strbuf_str(&definition));
    strbuf_done(&definition);
    return ok;
}

static void write_list(struct json_writer *w, const char *key, const struct option_list *list)
{
    if (list->count == 0)
        return;
    json_key(w, key);
    json_array_begin(w);
    for (size_t i = 0; i < list->count; i++)
        json_str(w, str_of(list->values[i]));
    json_array_end(w);
}

static bool write_concurrency(struct json_writer *w, const struct command *command, const struct submission_options *o)
{
    if (!o->concurrency_key && (o->concurrency >= 0 || o->on_limit)) {
        (void)cli_usage_error(command, "--%s needs --concurrency-key", o->on_limit ? "on-limit" : "concurrency");
        return false;
    }
    if (!o->concurrency_key)
        return true;
    json_key(w, "concurrencyKey");
    json_object_begin(w);
    json_kv_str(w, "key", str_of(o->concurrency_key));
    if (o->concurrency >= 0)
        json_kv_int(w, "limit", o->concurrency);
    json_kv_str_opt(w, "onLimit", str_of(o->on_limit));
    json_object_end(w);
    return true;
}

bool submission_write(const struct command *command, const struct submission_options *o, const char *agent,
                      struct strbuf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    if (!write_agent(&w, o, agent))
        return false;
    if (o->input) {
        size_t len = 0;
        char *input = submission_input(o->input, &len);
        if (!input)
            return false;
        json_kv_raw(&w, "input", (struct str){input, len});
        free(input);
    }
    if (o->env.count) {
        json_key(&w, "env");
        if (!write_pairs(&w, command, "env", &o->env))
            return false;
    }
    if (o->labels.count) {
        json_key(&w, "labels");
        if (!write_pairs(&w, command, "label", &o->labels))
            return false;
    }
    json_kv_str_opt(&w, "queue", str_of(o->queue));
    json_kv_str_opt(&w, "priority", str_of(o->priority));
    json_kv_str_opt(&w, "parentRunId", str_of(o->parent));
    if (o->delay_ms >= 0)
        json_kv_int(&w, "delayMs", o->delay_ms);
    if (o->timeout_ms >= 0)
        json_kv_int(&w, "timeoutMs", o->timeout_ms);
    if (o->max_attempts >= 0)
        json_kv_int(&w, "maxAttempts", o->max_attempts);
    if (o->stall_ms >= 0)
        json_kv_int(&w, "stallMs", o->stall_ms);
    if (o->start_within_ms >= 0)
        json_kv_int(&w, "startWithinMs", o->start_within_ms);
    write_list(&w, "dependsOn", &o->depends_on);
    json_kv_str_opt(&w, "onDependencyFailure", str_of(o->on_dependency_failure));
    write_list(&w, "requires", &o->require);
    if (!write_concurrency(&w, command, o))
        return false;
    json_object_end(&w);
    return true;
}

void submission_init(struct submission_options *s)
{
    memset(s, 0, sizeof *s);
    s->delay_ms = s->timeout_ms = s->stall_ms = s->start_within_ms = s->max_attempts = s->concurrency = -1;
}

void submission_table(struct submission_options *s, struct option table[SUBMISSION_OPTIONS])
{
    const struct option lines[SUBMISSION_OPTIONS] = {
        {.name = "input",
         .letter = 'i',
         .type = OPTION_STRING,
         .target = &s->input,
         .value = "JSON|@FILE|-",
         .help = "the agent's input: JSON, a file with JSON, or - for standard input"},
        {.name = "file",
         .type = OPTION_STRING,
         .target = &s->file,
         .value = "AGENT.json",
         .help = "an agent definition for this run alone"},
        {.name = "env",
         .letter = 'e',
         .type = OPTION_LIST,
         .target = &s->env,
         .value = "NAME=VALUE",
         .help = "a variable for the agent; may be repeated"},
        {.name = "label",
         .letter = 'l',
         .type = OPTION_LIST,
         .target = &s->labels,
         .value = "NAME=VALUE",
         .help = "a label of the run; may be repeated"},
        {.name = "queue",
         .type = OPTION_STRING,
         .target = &s->queue,
         .value = "QUEUE",
         .help = "the queue to wait in (default: the agent's)"},
        {.name = "priority",
         .type = OPTION_STRING,
         .target = &s->priority,
         .value = "high|normal|low",
         .help = "its place among the waiting"},
        {.name = "delay",
         .type = OPTION_DURATION,
         .target = &s->delay_ms,
         .value = "TIME",
         .help = "start no earlier than this from now: 30s, 5m, 2h",
         .max = LIMIT_DELAY_MS},
        {.name = "timeout",
         .type = OPTION_DURATION,
         .target = &s->timeout_ms,
         .value = "TIME",
         .help = "end an attempt that takes longer",
         .min = 1,
         .max = LIMIT_RUN_TIMEOUT_MS},
        {.name = "max-attempts",
         .type = OPTION_INT,
         .target = &s->max_attempts,
         .value = "N",
         .help = "how often it may fail, in all",
         .min = 1,
         .max = LIMIT_ATTEMPTS},
        {.name = "parent",
         .type = OPTION_STRING,
         .target = &s->parent,
         .value = "ID",
         .help = "the run it belongs to: a stop of that one stops it too"},
        {.name = "depends-on",
         .type = OPTION_LIST,
         .target = &s->depends_on,
         .value = "ID",
         .help = "wait for the end of that run; may be repeated"},
        {.name = "on-dependency-failure",
         .type = OPTION_STRING,
         .target = &s->on_dependency_failure,
         .value = "fail|run",
         .help = "what to do when one of them does not succeed"},
        {.name = "concurrency-key",
         .type = OPTION_STRING,
         .target = &s->concurrency_key,
         .value = "KEY",
         .help = "so many runs with this key are executed at once"},
        {.name = "concurrency",
         .type = OPTION_INT,
         .target = &s->concurrency,
         .value = "N",
         .help = "how many of them (default: 1)",
         .min = 1,
         .max = LIMIT_CONCURRENCY},
        {.name = "on-limit",
         .type = OPTION_STRING,
         .target = &s->on_limit,
         .value = "queue|reject|replace",
         .help = "what to do when that many are there"},
        {.name = "require",
         .type = OPTION_LIST,
         .target = &s->require,
         .value = "TAG",
         .help = "a tag that the runner must have; may be repeated"},
        {.name = "start-within",
         .type = OPTION_DURATION,
         .target = &s->start_within_ms,
         .value = "TIME",
         .help = "give it up when it has not started by then",
         .min = 1,
         .max = LIMIT_DELAY_MS},
        {.name = "stall",
         .type = OPTION_DURATION,
         .target = &s->stall_ms,
         .value = "TIME",
         .help = "end an attempt that says nothing for so long",
         .min = 1,
         .max = LIMIT_RUN_TIMEOUT_MS},
    };
    memcpy(table, lines, sizeof lines);
}
