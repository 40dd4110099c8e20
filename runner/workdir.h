/* The private folder of an attempt: made before it starts, removed when nothing of it is left (by errand-exec, where the runner is gone by then). */
#ifndef ERRAND_RUNNER_WORKDIR_H
#define ERRAND_RUNNER_WORKDIR_H

#include "common/config.h"
#include "common/id.h"
#include "common/loop.h"

enum { WORKDIR_MAX = 512 };

/* Where they are made: option work-dir, else the system's temporary folder. Static, or the environment's. */
const char *workdir_base(const struct config *config);
/* Whether folders can be made there; ERR_CONFIG with a sentence otherwise. */
MUST_CHECK enum err workdir_check(const struct config *config, struct strbuf *ret_message);
/* Makes one, 0700. False, with errno, and an empty path, where that can't be done. */
MUST_CHECK bool workdir_make(const struct config *config, const struct id *run_id, char path[WORKDIR_MAX]);
/* Removes it with everything in it, as far as that can be done, on the loop's pool: a large one takes its time. "" is none. */
void workdir_remove(struct loop *l, const char *path);

#endif
