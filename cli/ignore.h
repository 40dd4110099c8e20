/* What .errandignore leaves out of a bundle: a subset of gitignore's patterns, one a line; the last one that matches decides.
 *
 *     # a comment; empty lines say nothing; blanks at the end are not part of a pattern
 *     *.log            `*` any characters but '/', `?` one such character: a name in any folder
 *     build/           a '/' at the end: folders only, with all that is in them
 *     /data   a/b.txt  a '/' before the end: from the bundle's root only
 *     ** /x  x/ **     (without the blank) a path's part `**`: any number of folders; at the end: everything below
 *     !keep.log        takes back what an earlier pattern left out; not below a folder that is left out, which is not looked into
 *     \#  \!  \*       the character itself
 *
 * Sets of characters ([a-z]) are refused rather than misread. Pure. */
#ifndef ERRAND_CLI_IGNORE_H
#define ERRAND_CLI_IGNORE_H

#include "common/arena.h"
#include "common/err.h"

enum { IGNORE_BYTES = 65536, IGNORE_RULES = 1000, IGNORE_PATTERN = 1024 };

struct ignore_rule {
    struct str *parts; /* between the slashes */
    size_t count;
    bool negated, folders_only;
};

struct ignore {
    struct ignore_rule *rules;
    size_t count;
};

/* Everything is copied into the arena. ERR_INVALID_FIELD with a sentence (in the arena) that names the line; ERR_NO_MEMORY. */
MUST_CHECK enum err ignore_parse(struct arena *a, struct str text, struct ignore *ret_ignore, const char **ret_why);
/* Whether a path (from the root, without a '/' at either end) is left out by a pattern of its own. The folders above it are the caller's affair. */
bool ignore_matches(const struct ignore *g, struct str path, bool folder);

#endif
