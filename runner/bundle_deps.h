/* Installs what a bundle requires into its unpacked folder, before that is sealed: requirements.txt into a venv, package-lock.json into node_modules. Each tool is a command under errand-exec, with a private home, none of
 * the runner's environment, and a time limit; none of them may run what packages bring (wheels only, no scripts). */
#ifndef ERRAND_RUNNER_BUNDLE_DEPS_H
#define ERRAND_RUNNER_BUNDLE_DEPS_H

#include "common/config.h"
#include "common/loop.h"

#define DEPS_VENV ".errand-venv"

struct deps;

struct deps_plan {
    const struct config *config;
    struct loop *loop;
    const char *exec_path;
    const char *code; /* unpacked, writable */
    const char *home; /* an empty folder, the caller's to remove (errand-exec does, where the runner dies) */
    void (*output)(void *ctx, struct str bytes);
    /* Once. Otherwise than ERR_OK why is a sentence, borrowed. */
    void (*done)(void *ctx, enum err err, const char *why);
    void *ctx;
};

/* Whether the tools are really there: makes a venv, asks npm for its version. Blocks for some seconds. NULL, or what is missing (static). */
const char *deps_probe(void);
/* Copies the plan's texts. Calls back later, never from inside. NULL when memory is out. */
struct deps *deps_start(const struct deps_plan *plan);
/* Ends it; done comes with ERR_CANCELED. */
void deps_stop(struct deps *d);

#endif
