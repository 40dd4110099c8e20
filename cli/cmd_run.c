/* errand run, rerun, follow: submitting, and watching what was submitted. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/definition.h"
#include "cli/follow.h"
#include "cli/ids.h"
#include "cli/output.h"
#include "common/crypto.h"
#include "common/limits.h"

struct run_options {
    const char *input, *file, *queue, *priority, *idempotency_key, *parent;
    struct option_list env, labels;
    int64_t delay_ms, timeout_ms, max_attempts; /* -1: not given */
    bool follow, wait;
};

/* The input as JSON text, checked; malloc'd. NULL after a complaint. */
static char *read_input(const char *given, size_t *ret_len)
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

static bool write_agent(struct json_writer *w, const struct run_options *o, const char *agent)
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

static bool write_submission(const struct command *command, const struct run_options *o, const char *agent,
                             struct strbuf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    if (!write_agent(&w, o, agent))
        return false;
    if (o->input) {
        size_t len = 0;
        char *input = read_input(o->input, &len);
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
    json_object_end(&w);
    return true;
}

/* Sends a submission and goes on as asked. */
static int submit(struct cli *cli, const struct request *request, bool follow, bool wait)
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    struct response response;
    client_send(client, request, &response);
    struct arena arena;
    arena_init(&arena, 4U << 20);
    char id[64] = "";
    int status = EXIT_OK;
    struct json *answer = response_ok(&response) ? client_json(&response, &arena, 4) : NULL;
    struct str run_id = json_text(answer, "runId");
    if (!response_ok(&response)) {
        status = client_complain(client, &response);
    } else if (!answer || !run_id_ok(run_id)) {
        cli_say("the node's answer names no run");
        status = EXIT_UNREACHABLE;
    } else {
        snprintf(id, sizeof(id), "%.*s", STR_ARG(run_id));
        if (cli->json && !follow && !wait)
            printf("%.*s\n", (int)answer->raw.len, answer->raw.ptr);
        else if (!follow && !wait)
            printf("%s\n", id);
        if (cli->live)
            fprintf(stderr, follow || wait ? "run %s\n" : "errand follow %s\n", id);
    }
    arena_done(&arena);
    response_done(&response);
    if (status == EXIT_OK && follow)
        return follow_run(cli, id, -1);
    return status == EXIT_OK && wait ? wait_run(cli, id) : status;
}

/* A key of our own lets a submission be sent again after a lost answer without making a second run. */
static const char *key_or_new(const char *given, char buf[64])
{
    char token[44];
    if (given)
        return given;
    crypto_token(token);
    snprintf(buf, 64, "cli-%s", token);
    return buf;
}

int cmd_run(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct run_options r = {.delay_ms = -1, .timeout_ms = -1, .max_attempts = -1};
    const struct option table[] = {
        {.name = "input",
         .letter = 'i',
         .type = OPTION_STRING,
         .target = &r.input,
         .value = "JSON|@FILE|-",
         .help = "the agent's input: JSON, a file with JSON, or - for standard input"},
        {.name = "file",
         .type = OPTION_STRING,
         .target = &r.file,
         .value = "AGENT.json",
         .help = "an agent definition for this run alone"},
        {.name = "env",
         .letter = 'e',
         .type = OPTION_LIST,
         .target = &r.env,
         .value = "NAME=VALUE",
         .help = "a variable for the agent; may be repeated"},
        {.name = "label",
         .letter = 'l',
         .type = OPTION_LIST,
         .target = &r.labels,
         .value = "NAME=VALUE",
         .help = "a label of the run; may be repeated"},
        {.name = "queue",
         .type = OPTION_STRING,
         .target = &r.queue,
         .value = "QUEUE",
         .help = "the queue to wait in (default: the agent's)"},
        {.name = "priority",
         .type = OPTION_STRING,
         .target = &r.priority,
         .value = "high|normal|low",
         .help = "its place among the waiting"},
        {.name = "delay",
         .type = OPTION_DURATION,
         .target = &r.delay_ms,
         .value = "TIME",
         .help = "start no earlier than this from now: 30s, 5m, 2h",
         .max = LIMIT_DELAY_MS},
        {.name = "timeout",
         .type = OPTION_DURATION,
         .target = &r.timeout_ms,
         .value = "TIME",
         .help = "end an attempt that takes longer",
         .min = 1,
         .max = LIMIT_RUN_TIMEOUT_MS},
        {.name = "max-attempts",
         .type = OPTION_INT,
         .target = &r.max_attempts,
         .value = "N",
         .help = "how often it may fail, in all",
         .min = 1,
         .max = LIMIT_ATTEMPTS},
        {.name = "parent",
         .type = OPTION_STRING,
         .target = &r.parent,
         .value = "ID",
         .help = "the run it belongs to: a stop of that one stops it too"},
        {.name = "idempotency-key",
         .type = OPTION_STRING,
         .target = &r.idempotency_key,
         .value = "KEY",
         .help = "the same key and submission give the same run for 24 h"},
        {.name = "follow",
         .letter = 'f',
         .type = OPTION_FLAG,
         .target = &r.follow,
         .help = "show its events until it ends; the exit status tells how"},
        {.name = "wait",
         .letter = 'w',
         .type = OPTION_FLAG,
         .target = &r.wait,
         .help = "wait for its end and print the result alone"},
    };
    const char *agent = NULL;
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = &agent, .words_max = 1};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    if (!agent && !r.file)
        return cli_usage_error(
            command, "which agent? errand run AGENT ('errand agents list' names them), or --file for a definition");
    if (r.idempotency_key && !*r.idempotency_key)
        return cli_usage_error(command, "--idempotency-key is empty");
    if (r.idempotency_key && (strlen(r.idempotency_key) > LIMIT_IDEMPOTENCY_KEY || strpbrk(r.idempotency_key, "\r\n")))
        return cli_usage_error(command, "--idempotency-key is too long or has a line end");
    struct strbuf body;
    strbuf_init(&body, LIMIT_BODY * 2);
    char own_key[64];
    status = EXIT_USAGE;
    if (write_submission(command, &r, agent, &body) && !strbuf_failed(&body)) {
        struct request request = {.method = "POST",
                                  .path = "/v1/runs",
                                  .body = strbuf_str(&body),
                                  .idempotency_key = key_or_new(r.idempotency_key, own_key)};
        status = submit(cli, &request, r.follow, r.wait);
    }
    strbuf_done(&body);
    return status;
}

int cmd_rerun(struct cli *cli, const struct command *command, int argc, char **argv)
{
    bool follow = false, wait = false;
    const struct option table[] = {
        {.name = "follow",
         .letter = 'f',
         .type = OPTION_FLAG,
         .target = &follow,
         .help = "show its events until it ends; the exit status tells how"},
        {.name = "wait",
         .letter = 'w',
         .type = OPTION_FLAG,
         .target = &wait,
         .help = "wait for its end and print the result alone"},
    };
    const char *id = NULL;
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = &id, .words_max = 1};
    int status;
    if (!cli_options(cli, command, &o, 1, argc, argv, &status))
        return status;
    if (!run_id_ok(str_of(id)))
        return run_id_complain(command, id);
    char path[128], own_key[64];
    snprintf(path, sizeof(path), "/v1/runs/%s/rerun", id);
    return submit(cli, &(struct request){.method = "POST", .path = path, .idempotency_key = key_or_new(NULL, own_key)},
                  follow, wait);
}

int cmd_follow(struct cli *cli, const struct command *command, int argc, char **argv)
{
    int64_t after = -1;
    const struct option table[] = {
        {.name = "after",
         .type = OPTION_INT,
         .target = &after,
         .value = "SEQ",
         .help = "only events behind this seq",
         .min = -1,
         .max = SEQ_MAX},
    };
    const char *id = NULL;
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = &id, .words_max = 1};
    int status;
    if (!cli_options(cli, command, &o, 1, argc, argv, &status))
        return status;
    return run_id_ok(str_of(id)) ? follow_run(cli, id, after) : run_id_complain(command, id);
}
