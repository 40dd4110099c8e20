/* errand bundles: the code of agents that the workspace keeps. `errand agents push` makes them. */
#include "cli/ask.h"
#include "common/crypto.h"

static void row(struct table *t, const struct json *b)
{
    const struct json *complete = json_get(b, "complete"), *used = json_get(b, "inUse");
    bool whole = complete && complete->type == JSON_BOOL && complete->boolean;
    table_add(t, json_text(b, "digest"));
    table_addf(t, "%lld", (long long)json_number(b, "bytes", 0));
    table_addf(t, "%s", !whole ? "uploading" : used && used->type == JSON_BOOL && used->boolean ? "in use" : "unused");
    table_add(t, json_text(b, "createdAt"));
}

static int list(struct cli *cli)
{
    static const char *const head[] = {"BUNDLE", "BYTES", "STATE", "CREATED"};
    return ask_list(cli, &(struct listing){.path = "/v1/bundles",
                                           .member = "bundles",
                                           .head = head,
                                           .columns = ARRAY_LEN(head),
                                           .status_column = SIZE_MAX,
                                           .row = row,
                                           .pages = true});
}

static int delete_one(struct cli *cli, const char *digest)
{
    int status = ask(cli, &(struct question){.method = "DELETE", .prefix = "/v1/bundles/", .name = digest}, NULL, NULL);
    if (status == EXIT_OK && cli->json)
        printf("{\"deleted\":true}\n");
    else if (status == EXIT_OK)
        printf("%s deleted\n", digest);
    return status;
}

enum verb { LIST, SHOW, DELETE, VERBS };

int cmd_bundles(struct cli *cli, const struct command *command, int argc, char **argv)
{
    static const char *const verbs[VERBS] = {"list", "show", "delete"};
    const char *words[2] = {0};
    char digest[7 + SHA256_HEX_LEN + 1];
    struct options o = {.words = words, .words_max = 2};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    enum verb verb = words[0] ? (enum verb)ask_verb(command, words[0], verbs, VERBS) : LIST;
    if (verb == VERBS)
        return EXIT_USAGE;
    if (verb == LIST)
        return words[1] ? cli_usage_error(command, "unexpected '%s'", words[1]) : list(cli);
    if (!words[1])
        return cli_usage_error(command, "%s needs a DIGEST", verbs[verb]);
    /* The hexadecimal alone will do: it is what people copy. */
    bool bare = strlen(words[1]) == SHA256_HEX_LEN;
    snprintf(digest, sizeof(digest), "%s%s", bare ? "sha256:" : "", words[1]);
    if (strlen(digest) != sizeof(digest) - 1 || strncmp(digest, "sha256:", 7) != 0 ||
        strspn(digest + 7, "0123456789abcdef") != SHA256_HEX_LEN || strlen(words[1]) >= sizeof(digest))
        return cli_usage_error(command, "'%s' is no digest of a bundle; 'errand bundles list' shows them", words[1]);
    if (verb == SHOW)
        return ask(cli, &(struct question){.method = "GET", .prefix = "/v1/bundles/", .name = digest}, ask_print, NULL);
    return delete_one(cli, digest);
}
