/* errand login, logout: a key that is kept for this person, and found by every later command. */
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/credentials.h"
#include "cli/where.h"
#include "common/api_key.h"

enum { LINE_BYTES = 4096 };

/* A line of standard input, without echo where that is a terminal. False after a complaint. */
static bool read_secret(const char *prompt, char *ret_line, size_t cap)
{
    struct termios before, quiet;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    if (terminal) {
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
        fprintf(stderr, "%s", prompt);
    }
    char *got = fgets(ret_line, (int)cap, stdin);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    if (!got) {
        cli_say("no key came on standard input");
        return false;
    }
    ret_line[strcspn(ret_line, "\r\n")] = 0;
    return true;
}

static void show(struct cli *cli, void *ctx, const struct json *answer)
{
    (void)ctx;
    if (cli->json)
        printf("%.*s\n", STR_ARG(answer->raw));
    else
        printf("logged in to workspace %.*s with key %.*s\n", STR_ARG(json_text(answer, "workspace")),
               STR_ARG(json_text(answer, "key")));
}

/* Asks the API whose key it is, and keeps it when that is known. */
static int store(struct cli *cli, const struct where *w, const char *key)
{
    struct strbuf message;
    struct str urls = str_of(w->url), one;
    strbuf_init(&message, 8192);
    cli->client = client_new(w->url, key);
    if (!cli->client) {
        cli_say("out of memory");
        return EXIT_USAGE;
    }
    struct question q = {.method = "GET", .prefix = "/v1/whoami", .name = "", .suffix = ""};
    int status = ask(cli, &q, show, NULL);
    while (status == EXIT_OK && str_next_word(&urls, &one)) {
        char url[1024];
        snprintf(url, sizeof url, "%.*s", STR_ARG(one));
        if (credentials_store(url, key, &message) != ERR_OK) {
            cli_say("%s", message.ptr ? message.ptr : "the key could not be stored");
            status = EXIT_USAGE;
        }
    }
    strbuf_done(&message);
    return status;
}

static bool find_where(struct cli *cli, struct where *w)
{
    const char *why = "";
    if (where_find(cli->url, w, &why) == ERR_OK)
        return true;
    cli_say("%s", why);
    return false;
}

int cmd_login(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct options o = {0};
    struct where w;
    struct str id, secret;
    char key[LINE_BYTES];
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    if (!find_where(cli, &w) || !read_secret("API key: ", key, sizeof key))
        return EXIT_USAGE;
    if (str_starts(str_of(key), STR("errand_root_"))) {
        cli_say("that is a root key; make a key of your own with it: errand keys create NAME --scope '*'");
        status = EXIT_USAGE;
    } else if (!api_key_parse(str_of(key), &id, &secret)) {
        cli_say("this is no whole API key (its form or its checksum does not fit): copy it again");
        status = EXIT_USAGE;
    } else {
        status = store(cli, &w, key);
    }
    crypto_wipe(key, sizeof key);
    return status;
}

int cmd_logout(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct options o = {0};
    struct where w;
    struct strbuf message;
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    if (!find_where(cli, &w))
        return EXIT_USAGE;
    struct str urls = str_of(w.url), one;
    strbuf_init(&message, 8192);
    while (status == EXIT_OK && str_next_word(&urls, &one)) {
        char url[1024];
        snprintf(url, sizeof url, "%.*s", STR_ARG(one));
        if (credentials_store(url, NULL, &message) != ERR_OK) {
            cli_say("%s", message.ptr ? message.ptr : "the key could not be removed");
            status = EXIT_USAGE;
        }
    }
    strbuf_done(&message);
    if (status == EXIT_OK)
        printf(cli->json ? "{\"loggedOut\":true}\n"
                         : "logged out of %s; the key itself is still valid: errand keys revoke ends it\n",
               w.url);
    return status;
}
