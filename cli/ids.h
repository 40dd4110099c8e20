/* Run ids as people type them. */
#ifndef ERRAND_CLI_IDS_H
#define ERRAND_CLI_IDS_H

#include "cli/cli.h"

/* Whether it is a run's id, and so may stand in a path as it is. */
bool run_id_ok(struct str id);
/* A usage complaint about one that is not. Returns EXIT_USAGE. */
int run_id_complain(const struct command *command, const char *id);

#endif
