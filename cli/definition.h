/* An agent definition in a file. */
#ifndef ERRAND_CLI_DEFINITION_H
#define ERRAND_CLI_DEFINITION_H

#include "common/err.h"
#include "common/strbuf.h"

/* Reads a definition, and writes it to out as the API takes it: a "workdir" that is not absolute is taken from the file's own folder ("." is that folder). name: replaces the one in the file; NULL keeps it.
 * False after a complaint on standard error. ret_name gets the name ("" when there is none), NUL-terminated. */
MUST_CHECK bool definition_read(const char *path, const char *name, struct strbuf *out, char *ret_name,
                                size_t name_cap);

#endif
