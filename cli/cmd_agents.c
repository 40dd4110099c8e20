/* errand agents: the registered definitions. */
#include <unistd.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/definition.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/limits.h"

/* Sends a request about one agent and gives the answer to fn (NULL: none is printed). */
static int call(struct cli *cli, const char *method, const char *name, struct str body, const char *query,
                void (*fn)(const struct cli *cli, const struct json *answer))
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    struct strbuf path;
    strbuf_init(&path, 8192);
    strbuf_addz(&path, "/v1/agents/");
    url_encode(&path, str_of(name));
    strbuf_addz(&path, query);
    struct response response;
    client_send(client, &(struct request){.method = method, .path = path.ptr, .body = body}, &response);
    int status = EXIT_OK;
    if (!response_ok(&response)) {
        status = client_complain(client, &response);
    } else if (fn && response.body.len) {
        struct arena arena;
        arena_init(&arena, 64U << 20);
        const struct json *answer = client_json(&response, &arena, 130);
        if (answer)
            fn(cli, answer);
        else
            status = EXIT_UNREACHABLE;
        arena_done(&arena);
    }
    response_done(&response);
    strbuf_done(&path);
    return status;
}

static void add_agents(const struct cli *cli, const struct json *agents, struct table *t)
{
    for (const struct json *a = agents && agents->type == JSON_ARRAY ? agents->child : NULL; a; a = a->next) {
        if (cli->json) {
            printf("%.*s\n", (int)a->raw.len, a->raw.ptr);
            continue;
        }
        table_add(t, json_text(a, "name"));
        table_addf(t, "%lld", (long long)json_number(a, "version", 0));
        table_add(t, json_text(a, "executor"));
        table_add(t, json_text(a, "updatedAt"));
    }
}

/* One page behind the name in after, which then gets the next page's ("" at the end). */
static int list_page(struct cli *cli, struct client *client, struct strbuf *after, struct table *t)
{
    struct strbuf path;
    struct response response;
    struct arena arena;
    strbuf_init(&path, 4096);
    arena_init(&arena, 64U << 20);
    strbuf_addf(&path, "/v1/agents?limit=%d", LIMIT_PAGE);
    if (after->len) {
        strbuf_addz(&path, "&after=");
        url_encode(&path, strbuf_str(after));
    }
    client_send(client, &(struct request){.method = "GET", .path = path.ptr}, &response);
    int status = response_ok(&response) ? EXIT_OK : client_complain(client, &response);
    const struct json *answer = status == EXIT_OK ? client_json(&response, &arena, 4) : NULL;
    if (status == EXIT_OK && !answer)
        status = EXIT_UNREACHABLE;
    strbuf_reset(after);
    add_agents(cli, json_get(answer, "agents"), t);
    strbuf_add(after, json_text(answer, "cursor"));
    arena_done(&arena);
    response_done(&response);
    strbuf_done(&path);
    return status;
}

static int list(struct cli *cli)
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    struct strbuf after;
    struct table t;
    strbuf_init(&after, 1024);
    table_init(&t, 4);
    static const char *const head[] = {"AGENT", "VERSION", "EXECUTOR", "UPDATED"};
    for (size_t i = 0; i < ARRAY_LEN(head); i++)
        table_add(&t, str_of(head[i]));
    int status;
    do
        status = list_page(cli, client, &after, &t);
    while (status == EXIT_OK && after.len > 0);
    if (status == EXIT_OK && !cli->json)
        table_print(&t, cli, SIZE_MAX);
    else
        strbuf_done(&t.cells);
    strbuf_done(&after);
    return status;
}

static void print_agent(const struct cli *cli, const struct json *answer)
{
    struct strbuf out, safe;
    strbuf_init(&out, 4U << 20);
    strbuf_init(&safe, 8U << 20);
    if (cli->json)
        strbuf_add(&out, answer->raw);
    else
        json_pretty(&out, answer, 0);
    safe_text(&safe, strbuf_str(&out), true, isatty(STDOUT_FILENO));
    printf("%s\n", safe.ptr ? safe.ptr : "");
    strbuf_done(&out);
    strbuf_done(&safe);
}

static void print_put(const struct cli *cli, const struct json *answer)
{
    if (cli->json)
        printf("%.*s\n", (int)answer->raw.len, answer->raw.ptr);
    else
        printf("%.*s version %lld\n", STR_ARG(json_text(answer, "name")), (long long)json_number(answer, "version", 0));
}

static int put(struct cli *cli, const struct command *command, const char *file, const char *name)
{
    struct strbuf body;
    char found[LIMIT_NAME + 2];
    strbuf_init(&body, LIMIT_DEFINITION * 2);
    int status = EXIT_USAGE;
    if (definition_read(file, name, &body, found, sizeof(found))) {
        if (found[0])
            status = call(cli, "PUT", found, strbuf_str(&body), "", print_put);
        else
            status = cli_usage_error(command, "%s has no \"name\"; give one with --name", file);
    }
    strbuf_done(&body);
    return status;
}

int cmd_agents(struct cli *cli, const struct command *command, int argc, char **argv)
{
    const char *name = NULL;
    int64_t version = 0;
    const struct option table[] = {
        {.name = "name",
         .type = OPTION_STRING,
         .target = &name,
         .value = "NAME",
         .help = "put: the name to register it under (default: the file's)"},
        {.name = "version",
         .type = OPTION_INT,
         .target = &version,
         .value = "N",
         .help = "show: this version (default: the newest)",
         .min = 1,
         .max = INT32_MAX},
    };
    const char *words[2] = {0};
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = words, .words_max = 2};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    const char *verb = words[0] ? words[0] : "list";
    static const char *const verbs[] = {"list", "show", "put", "delete"};
    char query[48] = "";
    if (strcmp(verb, "list") == 0)
        return words[1] ? cli_usage_error(command, "unexpected '%s'", words[1]) : list(cli);
    size_t known = 1;
    while (known < ARRAY_LEN(verbs) && strcmp(verb, verbs[known]) != 0)
        known++;
    if (known == ARRAY_LEN(verbs)) {
        const char *near = nearest_word(verb, verbs, ARRAY_LEN(verbs));
        return cli_usage_error(command, "unknown '%s'%s%s", verb, near ? "; did you mean " : "", near ? near : "");
    }
    if (!words[1])
        return cli_usage_error(command, "%s needs %s", verb, strcmp(verb, "put") == 0 ? "a FILE" : "a NAME");
    if (strcmp(verb, "put") == 0)
        return put(cli, command, words[1], name);
    if (strcmp(verb, "show") == 0) {
        if (version)
            snprintf(query, sizeof(query), "?version=%lld", (long long)version);
        return call(cli, "GET", words[1], STR_NONE, query, print_agent);
    }
    status = call(cli, "DELETE", words[1], STR_NONE, "", NULL);
    if (status == EXIT_OK && cli->json)
        printf("{\"deleted\":true}\n");
    else if (status == EXIT_OK)
        printf("%s deleted\n", words[1]);
    return status;
}
