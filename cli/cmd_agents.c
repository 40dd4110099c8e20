/* errand agents: the registered definitions. */
#include "cli/ask.h"
#include "cli/definition.h"
#include "common/limits.h"

static void row(struct table *t, const struct json *a)
{
    table_add(t, json_text(a, "name"));
    table_addf(t, "%lld", (long long)json_number(a, "version", 0));
    table_add(t, json_text(a, "executor"));
    table_add(t, json_text(a, "updatedAt"));
}

static int list(struct cli *cli)
{
    static const char *const head[] = {"AGENT", "VERSION", "EXECUTOR", "UPDATED"};
    return ask_list(cli, &(struct listing){.path = "/v1/agents",
                                           .member = "agents",
                                           .head = head,
                                           .columns = ARRAY_LEN(head),
                                           .status_column = SIZE_MAX,
                                           .row = row,
                                           .pages = true});
}

/* Asks about one agent and gives the answer to fn (NULL: none is printed). */
static int call(struct cli *cli, const char *method, const char *name, struct str body, const char *query,
                void (*fn)(struct cli *cli, void *ctx, const struct json *answer))
{
    return ask(
        cli, &(struct question){.method = method, .prefix = "/v1/agents/", .name = name, .suffix = query, .body = body},
        fn, NULL);
}

static void print_put(struct cli *cli, void *ctx, const struct json *answer)
{
    (void)ctx;
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
    if (ask_verb(command, verb, verbs, ARRAY_LEN(verbs)) == ARRAY_LEN(verbs))
        return EXIT_USAGE;
    if (!words[1])
        return cli_usage_error(command, "%s needs %s", verb, strcmp(verb, "put") == 0 ? "a FILE" : "a NAME");
    if (strcmp(verb, "put") == 0)
        return put(cli, command, words[1], name);
    if (strcmp(verb, "show") == 0) {
        if (version)
            snprintf(query, sizeof(query), "?version=%lld", (long long)version);
        return call(cli, "GET", words[1], STR_NONE, query, ask_print);
    }
    status = call(cli, "DELETE", words[1], STR_NONE, "", NULL);
    if (status == EXIT_OK && cli->json)
        printf("{\"deleted\":true}\n");
    else if (status == EXIT_OK)
        printf("%s deleted\n", words[1]);
    return status;
}
