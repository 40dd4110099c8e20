/* A folder as a bundle: tar + zstd, the same bytes for the same content, wherever and whenever it is packed: entries in order of their paths, without times, owners and extended attributes, modes 0644 or 0755, one thread, one level.
 * (The bytes also depend on the versions of libarchive and libzstd.)
 *
 * Left out: what .errandignore says, .errandignore itself, and everything called .git or .errand (the folder of `errand dev`, which has a key in it). Packed: files, folders, and links that stay inside. Anything else is refused by name. */
#ifndef ERRAND_CLI_PACK_H
#define ERRAND_CLI_PACK_H

#include "common/err.h"
#include "common/strbuf.h"

struct pack {
    struct strbuf archive;
    char digest[72];         /* sha256:HEX of the archive */
    int64_t files, unpacked; /* entries, and bytes of their contents */
};

/* Reads the folder; may take seconds. ERR_INVALID_FIELD with a sentence in ret_why for a folder that can't be a bundle, ERR_IO for what can't be read, ERR_NO_MEMORY. On success to be given to pack_done. */
MUST_CHECK enum err pack_folder(const char *folder, struct pack *ret_pack, struct strbuf *ret_why);
void pack_done(struct pack *p);
/* Whether a link at that path (from the root) with that target stays inside, whatever other links its target leads through: relative, `..` only at its beginning, and not above the root. Pure. */
bool pack_link_stays_inside(struct str path, struct str target);

#endif
