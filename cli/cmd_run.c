/* errand run, rerun, follow: submitting, and watching what was submitted. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/follow.h"
#include "cli/ids.h"
#include "cli/output.h"
#include "cli/submission.h"
#include "common/crypto.h"
#include "common/limits.h"

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
    struct submission_options s;
    const char *idempotency_key = NULL;
    bool follow = false, wait = false;
    submission_init(&s);
    struct option table[SUBMISSION_OPTIONS + 3];
    submission_table(&s, table);
    const struct option own[] = {
        {.name = "idempotency-key",
         .type = OPTION_STRING,
         .target = &idempotency_key,
         .value = "KEY",
         .help = "the same key and submission give the same run for 24 h"},
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
    _Static_assert(ARRAY_LEN(own) + SUBMISSION_OPTIONS == ARRAY_LEN(table), "one table");
    memcpy(table + SUBMISSION_OPTIONS, own, sizeof own);
    const char *agent = NULL;
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = &agent, .words_max = 1};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    if (!agent && !s.file)
        return cli_usage_error(
            command, "which agent? errand run AGENT ('errand agents list' names them), or --file for a definition");
    if (idempotency_key && !*idempotency_key)
        return cli_usage_error(command, "--idempotency-key is empty");
    if (idempotency_key && (strlen(idempotency_key) > LIMIT_IDEMPOTENCY_KEY || strpbrk(idempotency_key, "\r\n")))
        return cli_usage_error(command, "--idempotency-key is too long or has a line end");
    struct strbuf body;
    strbuf_init(&body, LIMIT_BODY * 2);
    char own_key[64];
    status = EXIT_USAGE;
    if (submission_write(command, &s, agent, &body) && !strbuf_failed(&body)) {
        struct request request = {.method = "POST",
                                  .path = "/v1/runs",
                                  .body = strbuf_str(&body),
                                  .idempotency_key = key_or_new(idempotency_key, own_key)};
        status = submit(cli, &request, follow, wait);
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
