/* Folders as a whole: made read-only, measured, removed. Everything here blocks (for the loop's thread pool), follows no link, and but for removing goes at most TREE_DEPTH levels deep. */
#ifndef ERRAND_RUNNER_TREE_H
#define ERRAND_RUNNER_TREE_H

#include "common/err.h"

enum { TREE_DEPTH = 200 };

/* Whether a link, by its path below root, leads nowhere but into root, through all other links: ERR_OK (also where it leads to nothing). ERR_FORBIDDEN: it leaves it. ERR_LIMIT_EXCEEDED: it leads to itself.
 * ERR_IO, with errno. */
MUST_CHECK enum err tree_link_inside(int root, const char *path);
/* Takes write permission from everything in it and from itself, and adds up what it takes on disk, in bytes. `outside` names a folder directly in it whose links may lead anywhere, NULL for none; all others must
 * stay inside. ERR_FORBIDDEN: one does not, or something is neither file, folder nor link; ERR_LIMIT_EXCEEDED: it is too deep; ERR_IO. */
MUST_CHECK enum err tree_seal(const char *path, const char *outside, int64_t *ret_bytes);
/* Removes it, sealed or not, as far as that can be done: it passes no mount, and leads nowhere else, whatever somebody who may write there does meanwhile. Any depth. */
void tree_remove(const char *path);
/* The same, but looks at so many entries at most: where somebody may go on making new ones. */
void tree_remove_some(const char *path, int64_t most);

#endif
