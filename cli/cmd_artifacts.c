/* errand artifacts: what agents stored, and what is stored for them. */
#include "cli/artifacts.h"
#include "cli/ask.h"
#include "common/limits.h"

static void row(struct table *t, const struct json *e)
{
    int64_t bytes = json_number(e, "bytes", -1);
    table_add(t, json_text(e, "name"));
    if (bytes >= 0)
        table_addf(t, "%lld", (long long)bytes);
    else
        table_add(t, json_text(e, "type")); /* no file: "data" */
    table_add(t, json_text(e, "contentType"));
    table_add(t, json_text(e, "storedAt"));
}

static int list(struct cli *cli, const char *kind)
{
    static const char *const head[] = {"NAME", "BYTES", "TYPE", "STORED"};
    struct strbuf path;
    strbuf_init(&path, 4096);
    strbuf_addz(&path, "/v1/artifacts?kind=");
    url_encode(&path, str_of(kind));
    int status = ask_list(cli, &(struct listing){.path = path.ptr,
                                                 .member = "items",
                                                 .head = head,
                                                 .columns = ARRAY_LEN(head),
                                                 .status_column = SIZE_MAX,
                                                 .row = row,
                                                 .pages = true});
    strbuf_done(&path);
    return status;
}

static int delete_one(struct cli *cli, const char *kind, const char *name)
{
    struct strbuf query;
    strbuf_init(&query, 4096);
    strbuf_addz(&query, "?kind=");
    url_encode(&query, str_of(kind));
    int status =
        ask(cli, &(struct question){.method = "DELETE", .prefix = "/v1/artifacts/", .name = name, .suffix = query.ptr},
            NULL, NULL);
    strbuf_done(&query);
    if (status == EXIT_OK && cli->json)
        printf("{\"deleted\":true}\n");
    else if (status == EXIT_OK)
        printf("%s deleted\n", name);
    return status;
}

static int get(struct cli *cli, const struct command *command, const char *kind, const char *name, const char *file)
{
    bool standard = file && strcmp(file, "-") == 0;
    if (standard && cli->json)
        return cli_usage_error(command, "--json and the bytes themselves can't both stand on standard output");
    if (!file)
        file = name;
    if (!standard && (*file == '\0' || (file == name && strchr(name, '/'))))
        return cli_usage_error(command, "'%s' is no file's name; give one behind it", file);
    return artifact_get(cli, kind, name, standard ? NULL : file);
}

enum verb { LIST, GET, PUT, DELETE, VERBS };

int cmd_artifacts(struct cli *cli, const struct command *command, int argc, char **argv)
{
    static const char *const verbs[VERBS] = {"list", "get", "put", "delete"};
    static const char *const needs[VERBS] = {"nothing", "a NAME", "a FILE", "a NAME"};
    static const size_t most[VERBS] = {0, 2, 1, 1};
    const char *kind = "artifacts", *name = NULL, *type = NULL, *words[3] = {0};
    const struct option table[] = {
        {.name = "kind",
         .type = OPTION_STRING,
         .target = &kind,
         .value = "KIND",
         .help = "artifacts (the default), workflows or vectors"},
        {.name = "name",
         .type = OPTION_STRING,
         .target = &name,
         .value = "NAME",
         .help = "put: the name to store it under (default: the file's)"},
        {.name = "type",
         .type = OPTION_STRING,
         .target = &type,
         .value = "TYPE",
         .help = "put: its media type (default: application/octet-stream)"},
    };
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = words, .words_max = 3};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    size_t given = o.word_count > 0 ? o.word_count - 1 : 0;
    enum verb verb = words[0] ? (enum verb)ask_verb(command, words[0], verbs, VERBS) : LIST;
    if (verb == VERBS)
        return EXIT_USAGE;
    if (given > most[verb])
        return cli_usage_error(command, "unexpected '%s'", words[most[verb] + 1]);
    if (given < 1 && verb != LIST)
        return cli_usage_error(command, "%s needs %s", verbs[verb], needs[verb]);
    if (verb != PUT && (name || type))
        return cli_usage_error(command, "--%s is for put", name ? "name" : "type");
    switch (verb) {
    case GET:
        return get(cli, command, kind, words[1], words[2]);
    case PUT:
        return artifact_put(cli, command, kind, words[1], name, type);
    case DELETE:
        return delete_one(cli, kind, words[1]);
    case LIST:
    case VERBS:
        break;
    }
    return list(cli, kind);
}
