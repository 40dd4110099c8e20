/* errand token: a CI job's OIDC token for a short-lived key. In GitHub Actions it gets that token itself; elsewhere it is in a file. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/where.h"
#include "common/limits.h"

struct wish {
    const char *policy, *workspace, *audience, *scope, *file;
    bool as_export;
};

/* Asks the runner of a GitHub Actions job for a token with that audience, into out. False after a complaint. */
static bool token_of_github(const struct wish *w, struct strbuf *out)
{
    const char *url = getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), *secret = getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
    if (!url || !*url || !secret || !*secret) {
        cli_say("there is no token: give one with --token-file, or, in GitHub Actions, give the job `permissions: "
                "id-token: write`");
        return false;
    }
    const char *host = strstr(url, "://"), *path = host ? strchr(host + 3, '/') : NULL;
    bool safe = strncmp(url, "https://", 8) == 0 || strncmp(url, "http://127.0.0.1:", 17) == 0;
    if (!safe || !path || memchr(url, ',', (size_t)(path - url)) || strpbrk(secret, "\r\n")) {
        cli_say("ACTIONS_ID_TOKEN_REQUEST_URL has to be an https:// URL");
        return false;
    }
    struct strbuf base, target;
    struct response response;
    bool ok = false;
    strbuf_init(&base, 2048);
    strbuf_init(&target, 8192);
    strbuf_add(&base, (struct str){url, (size_t)(path - url)});
    strbuf_addz(&target, path);
    if (w->audience) {
        strbuf_addz(&target, strchr(path, '?') ? "&audience=" : "?audience=");
        url_encode(&target, str_of(w->audience));
    }
    struct client *client = strbuf_failed(&base) || strbuf_failed(&target) ? NULL : client_new(base.ptr, secret);
    if (client) {
        client_send(client, &(struct request){.method = "GET", .path = target.ptr}, &response);
        struct arena arena;
        struct json *root = NULL;
        arena_init(&arena, 1U << 20);
        if (response_ok(&response) && json_parse(&arena, strbuf_str(&response.body), 8, 2, &root, NULL) == ERR_OK)
            strbuf_add(out, json_text(root, "value"));
        ok = out->len > 0 && !strbuf_failed(out);
        arena_done(&arena);
        response_done(&response);
    }
    if (!ok)
        cli_say("GitHub gave no id token%s%s", client && response.status == 0 ? ": " : "",
                client && response.status == 0 ? response.why : "");
    client_free(client);
    strbuf_done(&base);
    strbuf_done(&target);
    return ok;
}

static bool token_of_file(const char *file, struct strbuf *out)
{
    size_t len = 0;
    char *text = cli_read_file(file, LIMIT_TOKEN + 2, &len);
    if (!text)
        return false;
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    strbuf_add(out, (struct str){text, len});
    explicit_bzero(text, len);
    free(text);
    if (len == 0)
        cli_say("%s holds no token", file);
    return len > 0;
}

static void make_body(const struct wish *w, struct str token, struct strbuf *out)
{
    struct json_writer j;
    json_writer_init(&j, out);
    json_object_begin(&j);
    json_kv_str(&j, "token", token);
    json_kv_str_opt(&j, "policy", str_of(w->policy));
    json_kv_str_opt(&j, "workspace", str_of(w->workspace));
    json_kv_str_opt(&j, "scope", str_of(w->scope));
    json_object_end(&j);
}

static int print_key(struct cli *cli, const struct wish *w, const struct response *response)
{
    struct arena arena;
    arena_init(&arena, 1U << 20);
    const struct json *answer = client_json(response, &arena, 2);
    struct str key = json_text(answer, "access_token");
    int status = EXIT_OK;
    if (!answer || key.len == 0 || strpbrk(key.ptr, "'\r\n"))
        status = EXIT_UNREACHABLE;
    else if (cli->json)
        printf("%.*s\n", STR_ARG(answer->raw));
    else
        printf(w->as_export ? "export ERRAND_KEY='%.*s'\n" : "%.*s\n", STR_ARG(key));
    arena_done(&arena);
    return status;
}

/* No key goes along: there may be none yet, or an old one. */
static int exchange(struct cli *cli, const struct wish *w, struct str token)
{
    struct where where;
    const char *why;
    if (where_find(cli->url, &where, &why) != ERR_OK) {
        cli_say("%s", why);
        return EXIT_USAGE;
    }
    explicit_bzero(where.key, sizeof where.key);
    struct client *client = client_new(where.url, "");
    if (!client) {
        cli_say("out of memory");
        return EXIT_USAGE;
    }
    struct strbuf body;
    struct response response;
    strbuf_init(&body, LIMIT_TOKEN_BODY);
    make_body(w, token, &body);
    client_send(client, &(struct request){.method = "POST", .path = "/v1/token", .body = strbuf_str(&body)}, &response);
    int status = response_ok(&response) ? print_key(cli, w, &response) : client_complain(client, &response);
    response_done(&response);
    strbuf_done(&body);
    client_free(client);
    return status;
}

int cmd_token(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct wish w = {0};
    const struct option table[] = {
        {.name = "policy",
         .type = OPTION_STRING,
         .target = &w.policy,
         .value = "NAME",
         .help = "the trust policy (default: the one that takes the token)"},
        {.name = "workspace",
         .type = OPTION_STRING,
         .target = &w.workspace,
         .value = "NAME",
         .help = "whose policy it is (default: \"default\")"},
        {.name = "token-file",
         .type = OPTION_STRING,
         .target = &w.file,
         .value = "FILE",
         .help = "the token to exchange; - for standard input (default: asks GitHub Actions for one)"},
        {.name = "audience",
         .type = OPTION_STRING,
         .target = &w.audience,
         .value = "TEXT",
         .help = "GitHub Actions: the audience to ask for (default: GitHub's)"},
        {.name = "scope",
         .type = OPTION_STRING,
         .target = &w.scope,
         .value = "SCOPES",
         .help = "fewer scopes than the policy grants, with spaces between them"},
        {.name = "export",
         .type = OPTION_FLAG,
         .target = &w.as_export,
         .help = "print a line for a shell: export ERRAND_KEY=…"},
    };
    struct options o = {.table = table, .count = ARRAY_LEN(table)};
    struct strbuf token;
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    if (w.file && w.audience)
        return cli_usage_error(command,
                               "--audience is for the token that GitHub gives; the one of --token-file has its own");
    strbuf_init(&token, LIMIT_TOKEN + 2);
    bool ok = w.file ? token_of_file(w.file, &token) : token_of_github(&w, &token);
    status = ok ? exchange(cli, &w, strbuf_str(&token)) : EXIT_USAGE;
    if (token.ptr)
        explicit_bzero(token.ptr, token.len);
    strbuf_done(&token);
    return status;
}
