/* errand stop, delete and redrive: one request for each id, the worst status of them all at the end. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/follow.h"
#include "cli/ids.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "common/crypto.h"

#define IDS_MAX 1000

static int stop_one(struct cli *cli, struct client *client, const char *id, bool wait)
{
    char path[128];
    snprintf(path, sizeof(path), "/v1/runs/%s/stop%s", id, wait ? "?wait=30" : "");
    for (;;) {
        struct response response;
        if (wait)
            status_show(cli, "stopping %s", id);
        client_send(client, &(struct request){.method = "POST", .path = path, .timeout_ms = 60000, .repeatable = true},
                    &response);
        status_clear(cli);
        struct arena arena;
        arena_init(&arena, 4U << 20);
        int status = EXIT_OK;
        bool again = false;
        const struct json *answer = response_ok(&response) ? client_json(&response, &arena, 4) : NULL;
        if (!response_ok(&response)) {
            status = client_complain_about(client, &response, id);
        } else if (!answer) {
            status = EXIT_UNREACHABLE;
        } else {
            struct str now = json_text(answer, "status");
            again = wait && !is_terminal(now);
            if (!again && cli->json)
                printf("%.*s\n", (int)answer->raw.len, answer->raw.ptr);
            else if (!again)
                printf("%s %.*s\n", id, STR_ARG(now));
        }
        arena_done(&arena);
        response_done(&response);
        /* A node under stress may answer early: then not in a tight loop. */
        if (!again || interrupt_wait(20))
            return status;
    }
}

static int delete_one(struct cli *cli, struct client *client, const char *id, bool unused)
{
    (void)unused;
    char path[128];
    snprintf(path, sizeof(path), "/v1/runs/%s", id);
    struct response response;
    client_send(client, &(struct request){.method = "DELETE", .path = path}, &response);
    int status = EXIT_OK;
    if (!response_ok(&response))
        status = client_complain_about(client, &response, id);
    else if (cli->json)
        printf("{\"runId\":\"%s\",\"deleted\":true}\n", id);
    else
        printf("%s deleted\n", id);
    response_done(&response);
    return status;
}

/* With a key of its own, so that a lost answer is asked for again: the run that was made is the answer then, not that there is no dead letter any more. */
static int redrive_one(struct cli *cli, struct client *client, const char *id, bool unused)
{
    (void)unused;
    char path[128], token[44], key[64];
    crypto_token(token);
    snprintf(key, sizeof(key), "cli-%s", token);
    snprintf(path, sizeof(path), "/v1/runs/%s/redrive", id);
    struct response response;
    client_send(client, &(struct request){.method = "POST", .path = path, .idempotency_key = key}, &response);
    struct arena arena;
    arena_init(&arena, 4U << 20);
    int status = EXIT_OK;
    const struct json *answer = response_ok(&response) ? client_json(&response, &arena, 4) : NULL;
    if (!response_ok(&response))
        status = client_complain_about(client, &response, id);
    else if (!answer)
        status = EXIT_UNREACHABLE;
    else if (cli->json)
        printf("%.*s\n", (int)answer->raw.len, answer->raw.ptr);
    else
        printf("%s redriven as %.*s\n", id, STR_ARG(json_text(answer, "runId")));
    arena_done(&arena);
    response_done(&response);
    return status;
}

static int each(struct cli *cli, const struct command *command, const struct options *o,
                int (*fn)(struct cli *, struct client *, const char *, bool), bool wait)
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    int worst = EXIT_OK;
    for (size_t i = 0; i < o->word_count; i++) {
        int status =
            run_id_ok(str_of(o->words[i])) ? fn(cli, client, o->words[i], wait) : run_id_complain(command, o->words[i]);
        worst = status > worst ? status : worst;
    }
    return worst;
}

int cmd_stop(struct cli *cli, const struct command *command, int argc, char **argv)
{
    bool wait = false;
    const struct option table[] = {
        {.name = "wait",
         .letter = 'w',
         .type = OPTION_FLAG,
         .target = &wait,
         .help = "end only when nothing of the process tree is left"},
    };
    const char *ids[IDS_MAX];
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = ids, .words_max = IDS_MAX};
    int status;
    if (!cli_options(cli, command, &o, 1, argc, argv, &status))
        return status;
    return each(cli, command, &o, stop_one, wait);
}

int cmd_delete(struct cli *cli, const struct command *command, int argc, char **argv)
{
    const char *ids[IDS_MAX];
    struct options o = {.words = ids, .words_max = IDS_MAX};
    int status;
    if (!cli_options(cli, command, &o, 1, argc, argv, &status))
        return status;
    return each(cli, command, &o, delete_one, false);
}

int cmd_redrive(struct cli *cli, const struct command *command, int argc, char **argv)
{
    const char *ids[IDS_MAX];
    struct options o = {.words = ids, .words_max = IDS_MAX};
    int status;
    if (!cli_options(cli, command, &o, 1, argc, argv, &status))
        return status;
    return each(cli, command, &o, redrive_one, false);
}
