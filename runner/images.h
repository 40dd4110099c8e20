/* Which images this runner may execute: a run names one, but never chooses among all. Pure; never blocks. Contract: executors.md. */
#ifndef ERRAND_RUNNER_IMAGES_H
#define ERRAND_RUNNER_IMAGES_H

#include "common/base.h"

enum { IMAGE_MAX = 512 };

/* Whether it is a reference as engines take it: [host[:port]/]path[:tag][@sha256:HEX], at most IMAGE_MAX bytes, nothing in it that a URL or a path would read otherwise. */
bool image_valid(struct str image);
/* Whether a list of patterns (commas between them; an exact reference, or `prefix` and `/` and `*` for all below it) has it. An empty list has none; an image that is not valid is in none. */
bool images_allow(struct str list, struct str image);
/* Checks the list: false with the pattern that can't be one. */
bool images_list_valid(struct str list, struct str *ret_bad);

#endif
