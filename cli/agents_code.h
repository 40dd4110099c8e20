/* The verbs of `errand agents` that carry code: push, export, import. Each returns the exit status. */
#ifndef ERRAND_CLI_AGENTS_CODE_H
#define ERRAND_CLI_AGENTS_CODE_H

#include "cli/cli.h"

/* Packs the folder, uploads what is missing of it, and stores its agent.json with the bundle's digest. name: NULL: the file's. */
int agents_push(struct cli *cli, const struct command *command, const char *folder, const char *name);
/* version: 0: the newest. */
int agents_export(struct cli *cli, const char *name, int64_t version, const char *file);
int agents_import(struct cli *cli, const struct command *command, const char *file, const char *name);

#endif
