/* errand show and logs: one run, as it is now. */
#include <unistd.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/follow.h"
#include "cli/ids.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/limits.h"

#define RECORD_ARENA (64U << 20)

/* Fetches path, and prints the answer about that run by fn. */
static int fetch(struct cli *cli, const char *path, const char *id,
                 void (*fn)(const struct cli *cli, const char *id, const struct json *answer))
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    struct response response;
    client_send(client, &(struct request){.method = "GET", .path = path}, &response);
    int status = EXIT_OK;
    if (!response_ok(&response)) {
        status = client_complain(client, &response);
    } else {
        struct arena arena;
        arena_init(&arena, RECORD_ARENA);
        const struct json *answer = client_json(&response, &arena, 130);
        if (!answer)
            status = EXIT_UNREACHABLE;
        else
            fn(cli, id, answer);
        arena_done(&arena);
    }
    response_done(&response);
    return status;
}

static void row(const struct cli *cli, const char *name, enum tone tone, struct str value)
{
    if (value.len == 0)
        return;
    struct strbuf safe;
    strbuf_init(&safe, 4U << 20);
    safe_text(&safe, value, true, isatty(STDOUT_FILENO));
    printf("%s%-12s%s %s%s%s\n", tone_on(cli, TONE_DIM), name, tone_off(cli, TONE_DIM), tone_on(cli, tone),
           safe.ptr ? safe.ptr : "", tone_off(cli, tone));
    strbuf_done(&safe);
}

static void number_row(const struct cli *cli, const char *name, const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    if (v && v->type == JSON_INT)
        row(cli, name, TONE_PLAIN, v->raw);
}

static void pretty_row(const struct cli *cli, const char *name, const struct json *value)
{
    if (!value || value->type == JSON_NULL ||
        ((value->type == JSON_OBJECT || value->type == JSON_ARRAY) && value->count == 0))
        return;
    struct strbuf out;
    strbuf_init(&out, RECORD_ARENA);
    if (value->type == JSON_STRING)
        strbuf_add(&out, value->string);
    else
        json_pretty(&out, value, 0);
    bool many = out.len > 0 && memchr(out.ptr, '\n', out.len);
    if (many) {
        printf("%s%s%s\n", tone_on(cli, TONE_DIM), name, tone_off(cli, TONE_DIM));
        struct strbuf safe;
        strbuf_init(&safe, RECORD_ARENA);
        safe_text(&safe, strbuf_str(&out), true, isatty(STDOUT_FILENO));
        printf("%s\n", safe.ptr ? safe.ptr : "");
        strbuf_done(&safe);
    } else {
        row(cli, name, TONE_PLAIN, strbuf_str(&out));
    }
    strbuf_done(&out);
}

static void error_row(const struct cli *cli, const struct json *error)
{
    if (!error || error->type != JSON_OBJECT)
        return;
    struct strbuf out;
    strbuf_init(&out, 1U << 20);
    strbuf_add(&out, json_text(error, "class"));
    strbuf_addz(&out, ": ");
    strbuf_add(&out, json_text(error, "message"));
    row(cli, "error", TONE_BAD, strbuf_str(&out));
    strbuf_done(&out);
}

static void took_row(const struct cli *cli, const struct json *record)
{
    int64_t from = json_time(record, "startedAt"), to = json_time(record, "completedAt");
    if (!from)
        return;
    struct strbuf out;
    strbuf_init(&out, 64);
    duration_write(&out, (to ? to : clock_wall_ms()) - from);
    if (!to)
        strbuf_addz(&out, " so far");
    row(cli, "took", TONE_PLAIN, strbuf_str(&out));
    strbuf_done(&out);
}

static void print_attempts(const struct cli *cli, const struct json *attempts)
{
    if (!attempts || attempts->type != JSON_ARRAY || attempts->count == 0)
        return;
    struct table t;
    table_init(&t, 5);
    static const char *const head[] = {"ATTEMPT", "STATUS", "RUNNER", "STARTED", "ERROR"};
    for (size_t i = 0; i < ARRAY_LEN(head); i++)
        table_add(&t, str_of(head[i]));
    for (const struct json *a = attempts->child; a; a = a->next) {
        const struct json *error = json_get(a, "error");
        table_addf(&t, "%lld", (long long)json_number(a, "n", 0));
        table_add(&t, json_text(a, "status"));
        table_add(&t, json_text(a, "runner"));
        table_add(&t, json_text(a, "startedAt"));
        table_addf(&t, "%.*s%s%.*s", STR_ARG(json_text(error, "class")), error ? ": " : "",
                   STR_ARG(json_text(error, "message")));
    }
    putchar('\n');
    table_print(&t, cli, 1);
}

static void truncated_row(const struct cli *cli, const char *id, const struct json *truncated)
{
    char text[256];
    if (!truncated || truncated->type != JSON_BOOL || !truncated->boolean)
        return;
    snprintf(text, sizeof(text), RESULT_TRUNCATED "; 'errand follow %s' shows the output", id);
    row(cli, "result", TONE_WARN, str_of(text));
}

static void print_record(const struct cli *cli, const char *id, const struct json *r)
{
    if (cli->json) {
        printf("%.*s\n", (int)r->raw.len, r->raw.ptr);
        return;
    }
    struct str status = json_text(r, "status");
    row(cli, "run", TONE_BOLD, json_text(r, "runId"));
    row(cli, "status", status_tone(status), status);
    error_row(cli, json_get(r, "error"));
    row(cli, "agent", TONE_PLAIN, json_text(r, "agent"));
    number_row(cli, "version", r, "agentVersion");
    row(cli, "queue", TONE_PLAIN, json_text(r, "queue"));
    row(cli, "priority", TONE_PLAIN, json_text(r, "priority"));
    row(cli, "created", TONE_PLAIN, json_text(r, "createdAt"));
    row(cli, "scheduled", TONE_PLAIN, json_text(r, "scheduledAt"));
    row(cli, "started", TONE_PLAIN, json_text(r, "startedAt"));
    row(cli, "completed", TONE_PLAIN, json_text(r, "completedAt"));
    row(cli, "stop asked", TONE_WARN, json_text(r, "stopRequestedAt"));
    took_row(cli, r);
    number_row(cli, "failures", r, "failures");
    number_row(cli, "max attempts", r, "maxAttempts");
    number_row(cli, "events", r, "eventCount");
    row(cli, "parent", TONE_PLAIN, json_text(r, "parentRunId"));
    pretty_row(cli, "labels", json_get(r, "labels"));
    pretty_row(cli, "input", json_get(r, "input"));
    pretty_row(cli, "result", json_get(r, "result"));
    truncated_row(cli, id, json_get(r, "resultTruncated"));
    print_attempts(cli, json_get(r, "attempts"));
}

static void print_logs(const struct cli *cli, const char *id, const struct json *answer)
{
    const struct json *lines = json_get(answer, "lines");
    if (!cli->json && (!lines || lines->count == 0))
        cli_say("nothing on standard error; 'errand follow %s' shows its events", id);
    for (const struct json *l = lines && lines->type == JSON_ARRAY ? lines->child : NULL; l; l = l->next) {
        if (cli->json) {
            printf("%.*s\n", (int)l->raw.len, l->raw.ptr);
            continue;
        }
        char when[CLOCK_ISO_LEN + 1];
        clock_iso(json_number(l, "tMs", 0), when);
        struct strbuf text;
        strbuf_init(&text, 4U << 20);
        safe_text(&text, json_text(l, "text"), false, isatty(STDOUT_FILENO));
        bool error = str_eqz(json_text(l, "stream"), "stderr");
        printf("%s%s %.*s%s %s\n", tone_on(cli, error ? TONE_WARN : TONE_DIM), when, STR_ARG(json_text(l, "stream")),
               tone_off(cli, TONE_DIM), text.ptr ? text.ptr : "");
        strbuf_done(&text);
    }
}

int cmd_show(struct cli *cli, const struct command *command, int argc, char **argv)
{
    const char *id = NULL;
    struct options o = {.words = &id, .words_max = 1};
    int status;
    if (!cli_options(cli, command, &o, 1, argc, argv, &status))
        return status;
    if (!run_id_ok(str_of(id)))
        return run_id_complain(command, id);
    char path[128];
    snprintf(path, sizeof(path), "/v1/runs/%s", id);
    return fetch(cli, path, id, print_record);
}

int cmd_logs(struct cli *cli, const struct command *command, int argc, char **argv)
{
    int64_t lines = 0;
    const struct option table[] = {
        {.name = "lines",
         .letter = 'n',
         .type = OPTION_INT,
         .target = &lines,
         .value = "N",
         .help = "only the newest N lines (default 100)",
         .min = 1,
         .max = LIMIT_LOG_LINES},
    };
    const char *id = NULL;
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = &id, .words_max = 1};
    int status;
    if (!cli_options(cli, command, &o, 1, argc, argv, &status))
        return status;
    if (!run_id_ok(str_of(id)))
        return run_id_complain(command, id);
    char path[128];
    if (lines)
        snprintf(path, sizeof(path), "/v1/runs/%s/logs?lines=%lld", id, (long long)lines);
    else
        snprintf(path, sizeof(path), "/v1/runs/%s/logs", id);
    return fetch(cli, path, id, print_logs);
}
