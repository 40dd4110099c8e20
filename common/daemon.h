/* What both daemons do before they serve: configuration, the checks that it needs, logs, descriptors. */
#ifndef ERRAND_COMMON_DAEMON_H
#define ERRAND_COMMON_DAEMON_H

#include "common/config.h"

/* Reads the configuration of program (FOR_API, FOR_RUNNER) and sets the process up; name: errand-api. -1 to go on (config_done is the caller's then), else the exit status: --help and --version were printed, or what is wrong. */
int daemon_start(struct config *ret_config, int program, const char *name, int argc, char **argv);
/* Says on standard error what is wrong; 2. */
int daemon_usage_error(const char *name, const char *message);
/* The port as a line of the file, which appears whole or not at all. */
bool daemon_write_port(const char *path, int port);

#endif
