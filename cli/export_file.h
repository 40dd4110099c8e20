/* The file that `errand agents export` writes and `import` reads: a tar of `agent.json`, the definition, and, where that names a bundle, `bundle.tar.zst`, its archive. Nothing else is in it. */
#ifndef ERRAND_CLI_EXPORT_FILE_H
#define ERRAND_CLI_EXPORT_FILE_H

#include "common/err.h"
#include "common/limits.h"
#include "common/strbuf.h"

enum { EXPORT_FILE_MAX = LIMIT_BUNDLE + LIMIT_DEFINITION + 65536 };

struct export_file {
    struct strbuf definition; /* JSON */
    struct strbuf archive;    /* empty without a bundle */
    char digest[72];          /* sha256:HEX of it; "" without */
};

/* Writes one. out: with a cap of EXPORT_FILE_MAX. archive: empty for none. ERR_NO_MEMORY. */
MUST_CHECK enum err export_write(struct str definition, struct str archive, struct strbuf *out);
/* Reads one, whoever made it: exactly those entries, bounded, each once, a plain file; the definition a JSON object; the archive that which it names. ERR_INVALID_FIELD with a sentence (static). On success to be given to export_done. Pure. */
MUST_CHECK enum err export_read(struct str file, struct export_file *ret_file, const char **ret_why);
void export_done(struct export_file *f);

#endif
