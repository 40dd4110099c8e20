/* The private folders of attempts: each made before its attempt starts, removed when nothing of that is left (by errand-exec, where the runner is gone by then). They are in a folder of this runner's, WORK-DIR/errand-NODE-RANDOM,
 * on which it holds a lock (flock) for as long as it lives: whose lock can be had is a dead runner's, and is swept. */
#ifndef ERRAND_RUNNER_WORKDIR_H
#define ERRAND_RUNNER_WORKDIR_H

#include "runner/executor.h"

enum { WORKDIR_MAX = 512 };

struct workdirs {
    char path[WORKDIR_MAX]; /* "" where none was made */
    int lock;
    int adopted[8]; /* folders of dead runners that have attempts of ours, open and locked */
    size_t adopted_count;
};

/* Where they are made: option work-dir, else the system's temporary folder. Static, or the environment's. */
const char *workdir_base(const struct config *config);

/* Makes this runner's folder, 0700, where option work-dir says, else in the system's temporary folder. ERR_CONFIG with a sentence where that can't be done. */
MUST_CHECK enum err workdirs_open(const struct config *config, struct workdirs *w, struct strbuf *ret_message);
/* Has what dead runners of this node left removed, on the loop's pool, but for the folders of the attempts in keep. */
void workdirs_sweep(const struct workdirs *w, const struct config *config, struct loop *l, const struct job_owner *keep,
                    size_t n);
/* Removes the folder, where it is empty. Takes a zeroed one. */
void workdirs_close(struct workdirs *w);

/* Makes one for an attempt, 0700. False, with errno, and an empty path, where that can't be done. */
MUST_CHECK bool workdir_make(const struct workdirs *w, struct str run_id, int64_t attempt, char path[WORKDIR_MAX]);
/* An attempt was taken over with the folder that a dead runner made for it: nobody else sweeps that as long as this runner lives. */
void workdirs_hold(struct workdirs *w, const char *path);
/* Removes it with everything in it, as far as that can be done, on the loop's pool: a large one takes its time. "" is none. */
void workdir_remove(struct loop *l, const char *path);
/* The same of a folder in which an agent is still at work: it can't keep the pool's thread busy for ever. What is left goes with the folder that it is in. */
void workdir_remove_used(struct loop *l, const char *path);

#endif
