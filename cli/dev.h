/* The parts of `errand dev`: its folder, its children, its ports. One thread; waits are ended by Ctrl-C and by the end of a child. */
#ifndef ERRAND_CLI_DEV_H
#define ERRAND_CLI_DEV_H

#include <limits.h>
#include <sys/types.h>

#include "cli/cli.h"

#define DEV_NODES_MAX    16
#define DEV_CHILDREN_MAX (2 * DEV_NODES_MAX + 2)
#define DEV_ARGS_MAX     40
#define DEV_ENV_MAX      16

/* One program that is kept running.
 *   DOWN ──due──▶ UP ──it ended──▶ DOWN (started again after its backoff; a `once` child stays ENDED) */
enum child_state { CHILD_DOWN, CHILD_UP, CHILD_ENDED };

struct child {
    char name[32];
    const char *argv[DEV_ARGS_MAX + 1]; /* borrowed */
    const char *env[DEV_ENV_MAX + 1];   /* NAME=VALUE on top of ours; borrowed */
    bool once;                          /* its output goes to the terminal, and it is not started again */
    bool logged;                        /* once, but its output goes to its log */
    enum child_state state;
    pid_t pid;
    int status;         /* as waitpid gave it, of the last end */
    int64_t started_ms; /* monotonic */
    int64_t due_ms;     /* of DOWN: when to start it */
    int64_t backoff_ms;
    unsigned ends;
};

struct dev {
    struct cli *cli;
    char folder[PATH_MAX];  /* .errand, absolute */
    char socket[PATH_MAX];  /* of Redis */
    char socket_folder[64]; /* where the socket is when the folder's path is too long for one; else "" */
    int lock_fd;
    int child_fd; /* signalfd for SIGCHLD */
    bool quiet;   /* ends of children are expected: they are not reported, nobody is started again */
    struct child children[DEV_CHILDREN_MAX];
    size_t count;
};

/* dev_folder.c: makes .errand with its subfolders, takes its lock, reads or makes the key. False after a complaint. */
MUST_CHECK bool dev_folder_open(struct dev *d, const char *path, char *ret_key, size_t key_cap);
/* The folder's master key, made where there is none. False after a complaint. */
MUST_CHECK bool dev_folder_master_key(const struct dev *d, char *ret_key, size_t cap);
/* Writes a file of the folder (0600), whole or not at all. */
MUST_CHECK bool dev_folder_write(const struct dev *d, const char *name, const char *line);
void dev_folder_close(struct dev *d);

/* dev_children.c */
MUST_CHECK bool dev_children_begin(struct dev *d);
/* A new child, not started yet. */
struct child *dev_child_add(struct dev *d, const char *name);
void dev_child_arg(struct child *c, const char *arg);
void dev_child_env(struct child *c, const char *name_value);
/* Starts what is due, takes in who ended, waits up to ms. False once the person asked to end. */
bool dev_turn(struct dev *d, int64_t ms);
/* Ends the children from the last added to the first of those whose name begins with prefix: SIGTERM, and after grace_ms or a second Ctrl-C SIGKILL. */
void dev_children_end(struct dev *d, const char *prefix, int64_t grace_ms);
/* The last lines of a child's log, on standard error. */
void dev_show_log(const struct dev *d, const struct child *c);

/* dev_examples.c: runs a program to its end, and forgets it. False, without a status, once the person asked to end. */
struct dev_once {
    const char *name;        /* of its log; begins with "example" or "runner", as whom it is ended */
    const char *const *args; /* up to NULL */
    const char *const *env;  /* NAME=VALUE up to NULL */
    bool logged;             /* its output is not for the terminal */
};
MUST_CHECK bool dev_run_once(struct dev *d, const struct dev_once *what, int *ret_status);
/* The last line of a log, without its end; "" when there is none. */
void dev_last_line(const struct dev *d, const char *name, char *ret_line, size_t cap);

/* What the examples are shown with. */
struct dev_show {
    const char *program;   /* the client */
    const char *folder;    /* of the examples */
    const char *client[3]; /* its address and key as NAME=VALUE, up to NULL */
    const char *executors; /* that the runners have */
};
/* Registers the examples: those whose code is at their place, and where there are sandboxes those that ship with their code. False after a complaint. */
MUST_CHECK bool dev_put_examples(struct dev *d, const struct dev_show *s);
/* Runs some of them one after the other, shown on this terminal by clients of their own. Returns the worst exit status, or EXIT_DETACHED once the person asked to end. */
int dev_show_examples(struct dev *d, const struct dev_show *s);

/* dev_ports.c: whether 127.0.0.1:port can be listened on. When not, who has it, in words. */
bool dev_port_free(int port, char *ret_who, size_t cap);
/* A port that is free now; 0 when there is none. */
int dev_port_any(void);

#endif
