/* Bundles of attempts: the preparation (attempt.h) that has a local attempt's code on this machine before it starts. A digest is fetched, unpacked and, where that is asked for, given its dependencies once; whoever wants the same
 * meanwhile waits for it. Everything belongs to the loop's thread. */
#ifndef ERRAND_RUNNER_BUNDLES_H
#define ERRAND_RUNNER_BUNDLES_H

#include "common/err.h"
#include "common/strbuf.h"

struct attempt;
struct bundles;
struct bundle_entry;
struct executor_context;

/* Opens the cache; where runtime-deps is on, finds out by trying whether it can be done (some seconds). stopped: see bundles_stop. ERR_CONFIG or ERR_NO_MEMORY with a sentence. */
MUST_CHECK enum err bundles_open(const struct executor_context *x, void (*stopped)(void *ctx), void *ctx,
                                 struct bundles **ret_bundles, struct strbuf *ret_why);
/* Ends what is being made; nothing new is begun. True: something is still under way, and stopped() is called when it is not any more. Takes NULL. */
bool bundles_stop(struct bundles *b);
/* After the loop. Takes NULL. */
void bundles_close(struct bundles *b);
/* deps_install, deps_uninstall: for the local executors. Takes NULL. */
bool bundles_support(const struct bundles *b, const char *capability);

/* Keeps a bundle that an attempt was given (spec.code) beyond that attempt: for workers that live longer. NULL: it is not there. */
struct bundle_entry *bundles_hold(struct bundles *b, const char *code);
void bundles_let_go(struct bundle_entry *e);

/* The preparation. Sets spec.code, spec.workdir and the environment. */
bool bundle_wanted(const struct attempt *a);
void bundle_ask(struct attempt *a, void (*fn)(struct attempt *a, enum err err));
/* Its events may be written: what installing said becomes notifications. */
void bundle_tell(struct attempt *a);
/* Nothing of the attempt is left. */
void bundle_release(struct attempt *a);

#endif
