/* The bytes of what agents stored, between this machine and the API: up in one request or in parts; down, verified, never half a file. */
#ifndef ERRAND_CLI_ARTIFACTS_H
#define ERRAND_CLI_ARTIFACTS_H

#include "cli/cli.h"

/* Stores a file ("-": standard input) under the name. type: NULL: application/octet-stream. Returns the exit status, after the answer or a complaint was printed. */
int artifact_put(struct cli *cli, const struct command *command, const char *kind, const char *file, const char *name,
                 const char *type);
/* Fetches it into the file, which gets its name when all of it is there and its digest fits; or to standard output (file: NULL), where what came before a failure has been written. Returns the exit status. */
int artifact_get(struct cli *cli, const char *kind, const char *name, const char *file);

#endif
