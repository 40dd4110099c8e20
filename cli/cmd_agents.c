/* errand agents: the registered definitions. */
#include <stdlib.h>

#include "cli/agents_code.h"
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

/* ---- versions ---- */

static void version_row(struct table *t, const struct json *v)
{
    table_addf(t, "%lld", (long long)json_number(v, "version", 0));
    table_add(t, json_text(v, "executor"));
    table_add(t, json_text(v, "updatedAt"));
    table_add(t, json_text(v, "bundle"));
}

static int versions(struct cli *cli, const char *name)
{
    static const char *const head[] = {"VERSION", "EXECUTOR", "STORED", "BUNDLE"};
    struct strbuf path;
    strbuf_init(&path, 8192);
    strbuf_addz(&path, "/v1/agents/");
    url_encode(&path, str_of(name));
    strbuf_addz(&path, "/versions");
    int status = ask_list(cli, &(struct listing){.path = path.ptr,
                                                 .member = "versions",
                                                 .head = head,
                                                 .columns = ARRAY_LEN(head),
                                                 .status_column = SIZE_MAX,
                                                 .row = version_row});
    strbuf_done(&path);
    return status;
}

/* The version before the newest; 0 when there is none. */
static void take_previous(struct cli *cli, void *ctx, const struct json *answer)
{
    const struct json *list = json_get(answer, "versions");
    (void)cli;
    if (list && list->type == JSON_ARRAY && list->child && list->child->next)
        *(int64_t *)ctx = json_number(list->child->next, "version", 0);
}

static int rollback(struct cli *cli, const struct command *command, const char *name, const char *word)
{
    int64_t version = 0;
    char body[64], *end = NULL;
    if (word) {
        version = strtoll(word, &end, 10);
        if (*end || version < 1 || version > INT32_MAX)
            return cli_usage_error(command, "'%s' is no version; 'errand agents versions %s' lists them", word, name);
    } else {
        int status =
            ask(cli, &(struct question){.method = "GET", .prefix = "/v1/agents/", .name = name, .suffix = "/versions"},
                take_previous, &version);
        if (status != EXIT_OK)
            return status;
        if (version == 0) {
            cli_say("%s has one version only", name);
            return EXIT_USAGE;
        }
    }
    snprintf(body, sizeof(body), "{\"version\":%lld}", (long long)version);
    return call(cli, "POST", name, str_of(body), "/rollback", print_put);
}

/* ---- the command ---- */

enum verb { LIST, SHOW, PUT, PUSH, VERSIONS, ROLLBACK, EXPORT, IMPORT, DELETE, VERBS };

static const struct {
    const char *name, *needs;
    size_t least, most; /* words behind it */
} verbs[VERBS] = {
    [LIST] = {"list", "nothing", 0, 0},
    [SHOW] = {"show", "a NAME", 1, 1},
    [PUT] = {"put", "a FILE", 1, 1},
    [PUSH] = {"push", "a DIR", 1, 1},
    [VERSIONS] = {"versions", "a NAME", 1, 1},
    [ROLLBACK] = {"rollback", "a NAME", 1, 2},
    [EXPORT] = {"export", "a NAME and a FILE", 2, 2},
    [IMPORT] = {"import", "a FILE", 1, 1},
    [DELETE] = {"delete", "a NAME", 1, 1},
};

static int delete_agent(struct cli *cli, const char *name)
{
    int status = call(cli, "DELETE", name, STR_NONE, "", NULL);
    if (status == EXIT_OK && cli->json)
        printf("{\"deleted\":true}\n");
    else if (status == EXIT_OK)
        printf("%s deleted\n", name);
    return status;
}

static int show(struct cli *cli, const char *name, int64_t version)
{
    char query[48] = "";
    if (version)
        snprintf(query, sizeof(query), "?version=%lld", (long long)version);
    return call(cli, "GET", name, STR_NONE, query, ask_print);
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
         .help = "put, push, import: the name to register it under (default: the file's)"},
        {.name = "version",
         .type = OPTION_INT,
         .target = &version,
         .value = "N",
         .help = "show, export: this version (default: the newest)",
         .min = 1,
         .max = INT32_MAX},
    };
    const char *words[3] = {0}, *names[VERBS];
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = words, .words_max = 3};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    for (size_t i = 0; i < VERBS; i++)
        names[i] = verbs[i].name;
    size_t given = o.word_count > 0 ? o.word_count - 1 : 0;
    enum verb verb = words[0] ? (enum verb)ask_verb(command, words[0], names, VERBS) : LIST;
    if (verb == VERBS)
        return EXIT_USAGE;
    if (given > verbs[verb].most)
        return cli_usage_error(command, "unexpected '%s'", words[verbs[verb].most + 1]);
    if (given < verbs[verb].least)
        return cli_usage_error(command, "%s needs %s", verbs[verb].name, verbs[verb].needs);
    switch (verb) {
    case SHOW:
        return show(cli, words[1], version);
    case PUT:
        return put(cli, command, words[1], name);
    case PUSH:
        return agents_push(cli, command, words[1], name);
    case VERSIONS:
        return versions(cli, words[1]);
    case ROLLBACK:
        return rollback(cli, command, words[1], words[2]);
    case EXPORT:
        return agents_export(cli, words[1], version, words[2]);
    case IMPORT:
        return agents_import(cli, command, words[1], name);
    case DELETE:
        return delete_agent(cli, words[1]);
    case LIST:
    case VERBS:
        break;
    }
    return list(cli);
}
