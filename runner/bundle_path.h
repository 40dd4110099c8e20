/* Names in a bundle's archive: what may be one, and how it is shown. Pure. */
#ifndef ERRAND_RUNNER_BUNDLE_PATH_H
#define ERRAND_RUNNER_BUNDLE_PATH_H

#include "common/base.h"
#include "common/limits.h"

enum { BUNDLE_DEPTH = 64, BUNDLE_NAME = 255, BUNDLE_SHOWN = 128 };

/* A checked path, cut into its names. */
struct bundle_path {
    char text[LIMIT_BUNDLE_PATH + 1]; /* names with NULs between; nothing else is in it */
    const char *names[BUNDLE_DEPTH];
    size_t count; /* 0: the root itself */
};

/* Cuts a path that stands in an archive: relative, no "..", no "." but "./" in front, no empty name, valid UTF-8 without control characters, bounded. A slash at its end is passed over. NULL when it is one, else why not (static). */
const char *bundle_path_parse(struct str path, struct bundle_path *ret_path);
/* What a symbolic link in the folder of `at` may point to: relative, and never above the root, name by name. NULL, or why not (static). */
const char *bundle_link_check(const struct bundle_path *at, struct str target);
/* For messages: bounded, control characters and what is no UTF-8 replaced. */
const char *bundle_shown(struct str path, char buf[BUNDLE_SHOWN + 8]);

#endif
