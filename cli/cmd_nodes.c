/* errand runners, queues, limits, keygen: short lists, and a key. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/limits.h"

/* GETs a list and prints its elements: as they are with --json, else as a table, one row by fn. */
static int print_list(struct cli *cli, const char *path, const char *member, size_t columns, const char *const *head,
                      size_t status_column, void (*row)(struct table *t, const struct json *element))
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    struct response response;
    client_send(client, &(struct request){.method = "GET", .path = path}, &response);
    int status = response_ok(&response) ? EXIT_OK : client_complain(client, &response);
    if (status == EXIT_OK) {
        struct arena arena;
        arena_init(&arena, 64U << 20);
        const struct json *answer = client_json(&response, &arena, 8), *list = json_get(answer, member);
        struct table t;
        table_init(&t, columns);
        for (size_t i = 0; i < columns; i++)
            table_add(&t, str_of(head[i]));
        for (const struct json *e = list && list->type == JSON_ARRAY ? list->child : NULL; e; e = e->next) {
            if (cli->json)
                printf("%.*s\n", (int)e->raw.len, e->raw.ptr);
            else
                row(&t, e);
        }
        if (cli->json)
            strbuf_done(&t.cells);
        else
            table_print(&t, cli, status_column);
        if (!answer)
            status = EXIT_UNREACHABLE;
        arena_done(&arena);
    }
    response_done(&response);
    return status;
}

/* The texts of an array, separated by commas; "none" for an empty one. */
static void add_joined(struct table *t, const struct json *array)
{
    struct strbuf out;
    strbuf_init(&out, 65536);
    for (const struct json *e = array && array->type == JSON_ARRAY ? array->child : NULL; e; e = e->next) {
        strbuf_add(&out, e->type == JSON_STRING ? e->string : e->raw);
        if (e->next)
            strbuf_addz(&out, ", ");
    }
    table_add(t, out.len ? strbuf_str(&out) : STR("none"));
    strbuf_done(&out);
}

static void runner_row(struct table *t, const struct json *r)
{
    const struct json *draining = json_get(r, "draining");
    struct strbuf age;
    strbuf_init(&age, 64);
    age_write(&age, json_time(r, "startedAt"), clock_wall_ms());
    table_add(t, json_text(r, "name"));
    table_add(t, json_text(r, "id"));
    table_addf(t, "%lld/%lld", (long long)json_number(r, "busy", 0), (long long)json_number(r, "slots", 0));
    add_joined(t, json_get(r, "queues"));
    add_joined(t, json_get(r, "executors"));
    table_add(t, strbuf_str(&age));
    table_add(t, draining && draining->type == JSON_BOOL && draining->boolean ? STR("draining") : STR("live"));
    strbuf_done(&age);
}

static void queue_row(struct table *t, const struct json *q)
{
    table_add(t, json_text(q, "name"));
    table_addf(t, "%lld", (long long)json_number(q, "waiting", json_number(q, "queued", 0)));
}

int cmd_runners(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct options o = {0};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const char *const head[] = {"RUNNER", "ID", "BUSY", "QUEUES", "EXECUTORS", "STARTED", "STATE"};
    return print_list(cli, "/v1/runners", "runners", ARRAY_LEN(head), head, 4, runner_row);
}

int cmd_queues(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct options o = {0};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const char *const head[] = {"QUEUE", "WAITING"};
    return print_list(cli, "/v1/queues", "queues", ARRAY_LEN(head), head, SIZE_MAX, queue_row);
}

int cmd_limits(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct options o = {0};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const struct {
        const char *name;
        int64_t value;
        const char *unit, *what;
    } limits[] = {
#define LIMIT_ROW(name, value, unit, what) {#name, value, unit, what},
        LIMIT_TABLE(LIMIT_ROW)
#undef LIMIT_ROW
    };
    struct table t;
    table_init(&t, 3);
    table_add(&t, STR("LIMIT"));
    table_add(&t, STR("UNIT"));
    table_add(&t, STR("OF"));
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        if (cli->json) {
            printf("{\"name\":\"%s\",\"value\":%lld,\"unit\":\"%s\",\"of\":\"%s\"}\n", limits[i].name,
                   (long long)limits[i].value, limits[i].unit, limits[i].what);
            continue;
        }
        table_addf(&t, "%lld", (long long)limits[i].value);
        table_add(&t, str_of(limits[i].unit));
        table_add(&t, str_of(limits[i].what));
    }
    if (cli->json)
        strbuf_done(&t.cells);
    else
        table_print(&t, cli, SIZE_MAX);
    return EXIT_OK;
}

int cmd_keygen(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct options o = {0};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    char token[44];
    crypto_token(token);
    printf(cli->json ? "{\"key\":\"errand_root_%s\"}\n" : "errand_root_%s\n", token);
    explicit_bzero(token, sizeof(token));
    return EXIT_OK;
}
