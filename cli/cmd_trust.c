/* errand trust: whose tokens are exchanged for which keys. */
#include <stdlib.h>

#include "cli/ask.h"
#include "common/limits.h"

static void row(struct table *t, const struct json *p)
{
    table_add(t, json_text(p, "name"));
    table_add(t, json_text(p, "issuer"));
    table_add(t, json_text(p, "audience"));
    ask_joined(t, json_get(p, "scopes"), "-");
    table_add(t, json_text(p, "updatedAt"));
}

static int list(struct cli *cli)
{
    static const char *const head[] = {"POLICY", "ISSUER", "AUDIENCE", "SCOPES", "UPDATED"};
    return ask_list(cli, &(struct listing){.path = "/v1/trust",
                                           .member = "policies",
                                           .head = head,
                                           .columns = ARRAY_LEN(head),
                                           .status_column = SIZE_MAX,
                                           .row = row});
}

static int put(struct cli *cli, const char *name, const char *file)
{
    size_t len = 0;
    char *text = cli_read_file(file, LIMIT_TRUST_POLICY, &len);
    if (!text)
        return EXIT_USAGE;
    struct question q = {.method = "PUT", .prefix = "/v1/trust/", .name = name, .body = {text, len}};
    int status = ask(cli, &q, ask_print, NULL);
    free(text);
    return status;
}

enum { LIST, SHOW, PUT, DELETE, VERBS };

int cmd_trust(struct cli *cli, const struct command *command, int argc, char **argv)
{
    const char *words[3] = {0};
    struct options o = {.words = words, .words_max = 3};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const char *const verbs[VERBS] = {"list", "show", "put", "delete"};
    size_t verb = ask_verb(command, words[0] ? words[0] : "list", verbs, VERBS);
    if (verb == VERBS)
        return EXIT_USAGE;
    size_t wanted = verb == LIST ? 0 : verb == PUT ? 2 : 1;
    if (wanted < 2 && words[wanted + 1])
        return cli_usage_error(command, "unexpected '%s'", words[wanted + 1]);
    if (wanted > 0 && !words[wanted])
        return cli_usage_error(command, "%s needs a NAME%s", words[0], verb == PUT ? " and a FILE" : "");
    if (verb == LIST)
        return list(cli);
    if (verb == PUT)
        return put(cli, words[1], words[2]);
    struct question q = {.method = verb == SHOW ? "GET" : "DELETE", .prefix = "/v1/trust/", .name = words[1]};
    status = ask(cli, &q, ask_print, NULL);
    if (verb == DELETE && status == EXIT_OK)
        printf(cli->json ? "{\"deleted\":true}\n" : "%s deleted: its tokens are not exchanged any more\n", words[1]);
    return status;
}
