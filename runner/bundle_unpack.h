/* A bundle's archive (tar, compressed with zstd) → a folder. The archive is whatever somebody uploaded: nothing in it decides where a byte goes but names that were checked, below a folder that is held open, through no link.
 * Blocks: for the loop's thread pool. Keeps nothing. */
#ifndef ERRAND_RUNNER_BUNDLE_UNPACK_H
#define ERRAND_RUNNER_BUNDLE_UNPACK_H

#include "common/err.h"
#include "runner/bundle_path.h"

enum { UNPACK_WHY = 320 };

struct unpack_bounds {
    int64_t bytes; /* of all files together */
    int64_t files; /* entries: files, folders (also those only implied by paths), links */
};

/* fd: the archive, read from where it stands to its end; or, where it is below 0, `bytes` is all of it. root: an empty folder, open. Files become 0444, or 0555 where their owner might execute them; folders
 * stay writable (tree_seal). ERR_INVALID_FIELD: the archive is refused, ERR_IO: this machine failed; both with one sentence that names the entry, and with what was unpacked left for the caller to remove. */
MUST_CHECK enum err bundle_unpack(int fd, struct str bytes, int root, const struct unpack_bounds *bounds,
                                  char ret_why[UNPACK_WHY]);

#endif
