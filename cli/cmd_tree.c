/* errand tree: a run and its descendants. */
#include <unistd.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/ids.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/limits.h"

enum { INDENT_MAX = 20 }; /* levels that are shown as such: a deep tree still fits */

static void add_row(struct table *t, const struct json *run, int64_t now_ms)
{
    struct strbuf text;
    int64_t depth = json_number(run, "depth", 0), started = json_time(run, "startedAt"),
            completed = json_time(run, "completedAt");
    strbuf_init(&text, 4096);
    for (int64_t i = 1; i < depth && i < INDENT_MAX; i++)
        strbuf_addz(&text, "  ");
    if (depth > 0)
        strbuf_addz(&text, depth > INDENT_MAX ? "… " : "└ ");
    strbuf_add(&text, json_text(run, "runId"));
    table_add(t, strbuf_str(&text));
    table_add(t, json_text(run, "agent"));
    table_add(t, json_text(run, "status"));
    strbuf_reset(&text);
    if (started)
        duration_write(&text, (completed ? completed : now_ms) - started);
    table_add(t, strbuf_str(&text));
    strbuf_reset(&text);
    safe_line(&text, json_text(json_get(run, "error"), "class"), 40, true);
    table_add(t, strbuf_str(&text));
    strbuf_done(&text);
}

static void print_tree(const struct cli *cli, const struct json *answer)
{
    static const char *const head[] = {"RUN", "AGENT", "STATUS", "TOOK", "ERROR"};
    const struct json *runs = json_get(answer, "runs"), *truncated = json_get(answer, "truncated");
    struct table t;
    table_init(&t, ARRAY_LEN(head));
    for (size_t i = 0; i < ARRAY_LEN(head); i++)
        table_add(&t, str_of(head[i]));
    int64_t now_ms = clock_wall_ms();
    for (const struct json *r = runs && runs->type == JSON_ARRAY ? runs->child : NULL; r; r = r->next) {
        if (cli->json)
            printf("%.*s\n", (int)r->raw.len, r->raw.ptr);
        else
            add_row(&t, r, now_ms);
    }
    if (cli->json)
        strbuf_done(&t.cells);
    else
        table_print(&t, cli, 2);
    if (truncated && truncated->type == JSON_BOOL && truncated->boolean)
        cli_say("there are more; 'errand tree' of one of these runs shows what is below it");
}

int cmd_tree(struct cli *cli, const struct command *command, int argc, char **argv)
{
    int64_t limit = LIMIT_TREE;
    const struct option table[] = {
        {.name = "limit",
         .letter = 'n',
         .type = OPTION_INT,
         .target = &limit,
         .value = "N",
         .help = "how many runs at most (default 1000)",
         .min = 1,
         .max = LIMIT_TREE},
    };
    const char *id = NULL;
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = &id, .words_max = 1};
    int status;
    if (!cli_options(cli, command, &o, 1, argc, argv, &status))
        return status;
    if (!run_id_ok(str_of(id)))
        return run_id_complain(command, id);
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    char path[128];
    struct response response;
    snprintf(path, sizeof(path), "/v1/runs/%s/tree?limit=%lld", id, (long long)limit);
    client_send(client, &(struct request){.method = "GET", .path = path}, &response);
    struct arena arena;
    arena_init(&arena, 256U << 20);
    const struct json *answer = response_ok(&response) ? client_json(&response, &arena, 5) : NULL;
    if (!response_ok(&response))
        status = client_complain(client, &response);
    else if (!answer)
        status = EXIT_UNREACHABLE;
    else
        print_tree(cli, answer);
    arena_done(&arena);
    response_done(&response);
    return answer ? EXIT_OK : status;
}
