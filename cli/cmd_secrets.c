/* errand secrets: written and never shown. A value comes from a file, from standard input, or from the terminal without echo; never from the command line, which every user of the machine can read. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/interrupt.h"
#include "common/limits.h"

/* ---- the value ---- */

/* One line of the terminal; false when it was ended with Ctrl-C, or there is none. */
static bool read_line(int fd, char *line, size_t max)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN}};
    for (size_t len = 0; len <= max;) {
        char c;
        (void)poll(fds, ARRAY_LEN(fds), -1);
        if (interrupted())
            return false;
        if (!(fds[0].revents & (POLLIN | POLLHUP)))
            continue;
        if (read(fd, &c, 1) != 1 || c == '\n')
            return true;
        line[len++] = c;
    }
    return true;
}

/* A line from the terminal, which does not show it. malloc'd; NULL after a complaint. */
static char *prompt(const char *name)
{
    struct termios before, silent;
    char *line = calloc(1, LIMIT_SECRET + 2);
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (!line || fd < 0 || tcgetattr(fd, &before) != 0) {
        cli_say("there is no terminal to ask for the value: give it on standard input, or with --value-file");
        free(line);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    interrupt_begin(); /* and no suspension either, while the terminal is silent */
    void (*suspend)(int) = signal(SIGTSTP, SIG_IGN);
    silent = before;
    silent.c_lflag &= (tcflag_t) ~(ECHO | ECHONL);
    (void)tcsetattr(fd, TCSAFLUSH, &silent);
    dprintf(fd, "value of %s (not shown): ", name);
    bool whole = read_line(fd, line, LIMIT_SECRET);
    (void)tcsetattr(fd, TCSAFLUSH, &before);
    (void)signal(SIGTSTP, suspend);
    (void)!write(fd, "\n", 1);
    close(fd);
    if (whole)
        return line;
    cli_say("nothing was stored");
    explicit_bzero(line, LIMIT_SECRET + 2);
    free(line);
    return NULL;
}

/* The value, without the one line end that files have behind their last line. malloc'd; NULL after a complaint. */
static char *read_value(const char *name, const char *file, size_t *ret_len)
{
    char *value;
    if (!file && isatty(STDIN_FILENO)) {
        value = prompt(name);
        *ret_len = value ? strlen(value) : 0;
        return value;
    }
    value = cli_read_file(file ? file : "-", LIMIT_SECRET + 1, ret_len);
    if (value && *ret_len > 0 && value[*ret_len - 1] == '\n')
        --*ret_len;
    return value;
}

static void print_version(struct cli *cli, void *ctx, const struct json *answer)
{
    (void)ctx;
    if (cli->json)
        printf("%.*s\n", STR_ARG(answer->raw));
    else
        printf("%.*s version %lld\n", STR_ARG(json_text(answer, "name")), (long long)json_number(answer, "version", 0));
}

static bool is_utf8(struct str text)
{
    struct strbuf clean;
    strbuf_init(&clean, text.len * 3 + 1);
    utf8_sanitize(&clean, text);
    bool same = str_eq(strbuf_str(&clean), text);
    if (clean.ptr)
        explicit_bzero(clean.ptr, clean.cap);
    strbuf_done(&clean);
    return same;
}

static int set(struct cli *cli, const char *name, const char *file)
{
    size_t len = 0;
    char *value = read_value(name, file, &len);
    if (!value)
        return EXIT_USAGE;
    int status = EXIT_USAGE;
    struct strbuf body;
    struct json_writer w;
    strbuf_init(&body, (size_t)LIMIT_SECRET * 6 + 64);
    /* In one piece, so that nothing of it is left in memory that was given back. */
    (void)strbuf_grow(&body, len * 6 + 32);
    json_writer_init(&w, &body);
    json_object_begin(&w);
    json_kv_str(&w, "value", (struct str){value, len});
    json_object_end(&w);
    if (len == 0)
        cli_say("the value is empty");
    else if (len > LIMIT_SECRET)
        cli_say("the value is longer than %d bytes", LIMIT_SECRET);
    else if (memchr(value, 0, len) || !is_utf8((struct str){value, len}))
        cli_say("the value is no text (UTF-8, without NUL): encode it, as with base64");
    else
        status = ask(
            cli, &(struct question){.method = "PUT", .prefix = "/v1/secrets/", .name = name, .body = strbuf_str(&body)},
            print_version, NULL);
    explicit_bzero(value, len);
    free(value);
    if (body.ptr)
        explicit_bzero(body.ptr, body.cap);
    strbuf_done(&body);
    return status;
}

/* ---- list, show, delete ---- */

static void add_row(struct table *t, const struct json *s)
{
    table_add(t, json_text(s, "name"));
    table_addf(t, "%lld", (long long)json_number(s, "version", 0));
    table_add(t, json_text(s, "createdAt"));
    table_add(t, json_text(s, "updatedAt"));
}

static int list(struct cli *cli)
{
    static const char *const head[] = {"SECRET", "VERSION", "CREATED", "UPDATED"};
    static const struct listing secrets = {.path = "/v1/secrets",
                                           .member = "secrets",
                                           .head = head,
                                           .columns = ARRAY_LEN(head),
                                           .status_column = SIZE_MAX,
                                           .row = add_row,
                                           .pages = true};
    return ask_list(cli, &secrets);
}

static int remove_one(struct cli *cli, const char *name)
{
    int status = ask(cli, &(struct question){.method = "DELETE", .prefix = "/v1/secrets/", .name = name}, NULL, NULL);
    if (status == EXIT_OK)
        printf(cli->json ? "{\"deleted\":true}\n" : "%s deleted\n", name);
    return status;
}

/* ---- rekey ---- */

struct rekeying {
    int64_t examined, resealed, failed;
    struct strbuf cursor; /* "" at the end */
};

static void take_page(struct cli *cli, void *ctx, const struct json *answer)
{
    struct rekeying *r = ctx;
    const struct json *failures = json_get(answer, "failures");
    if (cli->json)
        printf("%.*s\n", STR_ARG(answer->raw));
    r->examined += json_number(answer, "examined", 0);
    r->resealed += json_number(answer, "resealed", 0);
    r->failed += json_number(answer, "failed", 0);
    for (const struct json *f = failures && !cli->json ? failures->child : NULL; f; f = f->next)
        cli_say("%.*s %.*s: %.*s", STR_ARG(json_text(f, "key")), STR_ARG(json_text(f, "field")),
                STR_ARG(json_text(f, "code")));
    strbuf_reset(&r->cursor);
    strbuf_add(&r->cursor, json_text(answer, "cursor"));
}

static int rekey(struct cli *cli)
{
    struct rekeying r = {0};
    int status;
    strbuf_init(&r.cursor, 1024);
    interrupt_begin();
    do {
        struct strbuf body;
        struct json_writer w;
        strbuf_init(&body, 2048);
        json_writer_init(&w, &body);
        json_object_begin(&w);
        json_kv_str_opt(&w, "cursor", strbuf_str(&r.cursor));
        json_object_end(&w);
        status = ask(
            cli,
            &(struct question){.method = "POST", .prefix = "/v1/secrets/", .name = "rekey", .body = strbuf_str(&body)},
            take_page, &r);
        strbuf_done(&body);
    } while (status == EXIT_OK && r.cursor.len > 0 && !interrupted());
    if (status == EXIT_OK && r.cursor.len > 0) {
        cli_say("interrupted; begin again, and what was done is passed over");
        status = EXIT_DETACHED;
    }
    if (!cli->json)
        printf("%lld values examined, %lld sealed anew, %lld failed\n", (long long)r.examined, (long long)r.resealed,
               (long long)r.failed);
    if (status == EXIT_OK && r.failed > 0) {
        cli_say("what failed is not under the current master key: keep the old one");
        status = EXIT_RUN_ERROR;
    }
    strbuf_done(&r.cursor);
    return status;
}

/* ---- the command ---- */

int cmd_secrets(struct cli *cli, const struct command *command, int argc, char **argv)
{
    const char *file = NULL;
    const struct option table[] = {
        {.name = "value-file",
         .type = OPTION_STRING,
         .target = &file,
         .value = "FILE|-",
         .help = "set: where the value is; - is standard input (default: the terminal, without echo)"},
    };
    const char *words[2] = {0};
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = words, .words_max = 2};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const char *const verbs[] = {"list", "set", "show", "delete", "rekey"};
    enum { LIST, SET, SHOW, DELETE, REKEY, VERBS };
    size_t verb = ask_verb(command, words[0] ? words[0] : "list", verbs, VERBS);
    if (verb == VERBS)
        return EXIT_USAGE;
    if (file && verb != SET)
        return cli_usage_error(command, "--value-file is for set");
    if ((verb == LIST || verb == REKEY) && words[1])
        return cli_usage_error(command, "unexpected '%s'", words[1]);
    if (verb != LIST && verb != REKEY && !words[1])
        return cli_usage_error(command, "%s needs a NAME", verbs[verb]);
    switch (verb) {
    case SET:
        return set(cli, words[1], file);
    case SHOW:
        return ask(cli, &(struct question){.method = "GET", .prefix = "/v1/secrets/", .name = words[1]}, ask_print,
                   NULL);
    case DELETE:
        return remove_one(cli, words[1]);
    case REKEY:
        return rekey(cli);
    default:
        return list(cli);
    }
}
