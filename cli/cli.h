/* What the commands of `errand` share: where the API is, how output looks, exit statuses, the table of commands. The CLI may block; it is one thread. */
#ifndef ERRAND_CLI_CLI_H
#define ERRAND_CLI_CLI_H

#include <stdio.h>

#include "cli/options.h"

/* Exit statuses (contract runs.md, "CLI"). */
enum exit_status {
    EXIT_OK = 0,
    EXIT_RUN_ERROR = 1, /* the run ended in error; of doctor: something is wrong */
    EXIT_USAGE = 2,     /* the request is wrong: an option, an input, an id that nothing has */
    EXIT_STOPPED = 3,
    EXIT_UNREACHABLE = 4, /* no node answers, or none takes the key */
    EXIT_DETACHED = 130,
};

struct client;

struct cli {
    const char *program; /* argv[0] */
    bool json;           /* --json: one JSON value a line on standard output, nothing else there */
    bool color;          /* standard output is a terminal, and NO_COLOR is not set */
    bool live;           /* standard error is a terminal: a status line may stand there */
    bool status_shown;   /* it does */
    bool no_color;       /* NO_COLOR is set */
    int write_error; /* errno of the first write to standard output that failed, -1 when it is not known; 0: none did */
    int width;       /* columns of that terminal, else 80 */
    const char *url; /* --url; NULL: look it up */
    struct client *client; /* made by cli_client */
};

struct command {
    const char *name;
    const char *arguments; /* in its usage line */
    const char *summary;   /* one line */
    const char *text;      /* what more there is to say, and examples */
    /* argc, argv: what follows the command's name. Returns the exit status. */
    int (*run)(struct cli *cli, const struct command *command, int argc, char **argv);
};

/* Ends with an empty row. */
extern const struct command cli_commands[];

/* Opens what of the descriptors 0, 1 and 2 the process was started without, so that no file or socket of its own gets such a number. Reading or writing one that was opened here fails. */
void cli_open_standard(void);
/* All of `errand`. */
int cli_main(int argc, char **argv);

/* Parses a command's options together with those that each command takes (--json, --url). Returns true to go on; false with the exit status in *ret_status, after help or a complaint was printed. min_words: how many words it needs. */
MUST_CHECK bool cli_options(struct cli *cli, const struct command *command, struct options *o, size_t min_words,
                            int argc, char **argv, int *ret_status);
/* A usage complaint about this command on standard error. Returns EXIT_USAGE. */
int cli_usage_error(const struct command *command, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* "errand: …" on standard error. */
void cli_say(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Writes out what standard output holds. False once something could not be written, with the reason in cli->write_error: EPIPE when its reader has gone. */
bool cli_flush(struct cli *cli);

/* The client for the API that was meant, made on the first call: --url, or ERRAND_URL, or the .errand folder here or above, or the default. NULL after a complaint (exit with EXIT_USAGE). Freed by cli_main. */
struct client *cli_client(struct cli *cli);
/* The whole of a file, or of standard input for "-", up to max bytes. Returns malloc'd, NUL-terminated memory; NULL after a complaint. */
char *cli_read_file(const char *path, size_t max, size_t *ret_len);

/* One for each command. */
int cmd_run(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_follow(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_show(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_list(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_stop(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_rerun(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_redrive(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_tree(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_bulk(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_delete(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_input(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_logs(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_agents(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_bundles(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_artifacts(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_webhooks(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_schedules(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_secrets(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_runners(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_queues(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_workspaces(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_keys(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_login(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_logout(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_audit(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_trust(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_token(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_limits(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_doctor(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_keygen(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_bench(struct cli *cli, const struct command *command, int argc, char **argv);
int cmd_dev(struct cli *cli, const struct command *command, int argc, char **argv);

#endif
