/* Commands that are one request and its answer: a list as a table, a thing as JSON, a change as a line. */
#ifndef ERRAND_CLI_ASK_H
#define ERRAND_CLI_ASK_H

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/output.h"

/* What is asked: a method and `prefix` + name (percent-encoded) + `suffix`. Changes may be sent twice without harm. */
struct question {
    const char *method, *prefix, *name, *suffix;
    struct str body;             /* JSON; {NULL, 0} for none */
    const char *idempotency_key; /* where sending it twice would do harm; NULL for none */
    bool once;                   /* or where it is not to be sent again once it may have arrived */
};

/* Asks, and gives the answer to fn (NULL: nothing is printed). Returns the exit status. */
int ask(struct cli *cli, const struct question *q, void (*fn)(struct cli *cli, void *ctx, const struct json *answer),
        void *ctx);
/* An fn for ask: the whole answer, one line with --json, else indented. */
void ask_print(struct cli *cli, void *ctx, const struct json *answer);

/* A list: its elements as they are with --json, else as a table, one row by `row`. */
struct listing {
    const char *path, *member; /* with its query, percent-encoded; of the answer, the list */
    const char *const *head;
    size_t columns;
    size_t status_column; /* coloured; SIZE_MAX for none */
    void (*row)(struct table *t, const struct json *element);
    bool pages; /* the answer has a cursor, that goes into `after` */
};
int ask_list(struct cli *cli, const struct listing *l);

/* The word's place among the verbs; count after a complaint that names the nearest one. */
size_t ask_verb(const struct command *command, const char *word, const char *const *verbs, size_t count);
/* The texts of an array, separated by commas; `none` for an empty one. */
void ask_joined(struct table *t, const struct json *array, const char *none);

#endif
