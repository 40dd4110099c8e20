/* An agent definition in a file. */
#ifndef ERRAND_CLI_DEFINITION_H
#define ERRAND_CLI_DEFINITION_H

#include "common/err.h"
#include "common/strbuf.h"

/* Reads a definition, and writes it to out as the API takes it: a "workdir" that is not absolute is taken from the file's own folder ("." is that folder). name: replaces the one in the file; NULL keeps it.
 * False after a complaint on standard error. ret_name gets the name ("" when there is none), NUL-terminated. */
MUST_CHECK bool definition_read(const char *path, const char *name, struct strbuf *out, char *ret_name,
                                size_t name_cap);

/* The same for an agent that is pushed with its code: `bundle` takes the place of what the file says of it, a workdir "." (the folder of the file, which will be the bundle's) is left out, and another one that is not absolute stays: it is one of the bundle. */
MUST_CHECK bool definition_read_bundled(const char *path, const char *name, const char *bundle, struct strbuf *out,
                                        char *ret_name, size_t name_cap);
/* The same of a definition's text. file: what messages call it. bundle: NULL keeps what it says. */
MUST_CHECK bool definition_write(const char *file, struct str text, const char *name, const char *bundle,
                                 struct strbuf *out, char *ret_name, size_t name_cap);

#endif
