/* Unpacked bundles on this machine's disk: CACHE/<workspace hash>/<digest>[+deps]/code, read-only, with a file `complete` beside it. One runner has a cache for itself (it holds its lock); an entry is of one
 * workspace; what nobody uses goes, the longest unused first, when all together take more than bundle-cache-bytes. Entries belong to the loop's thread; removing happens on its pool. */
#ifndef ERRAND_RUNNER_BUNDLE_CACHE_H
#define ERRAND_RUNNER_BUNDLE_CACHE_H

#include "common/config.h"
#include "common/loop.h"

enum { BUNDLE_CACHE_PATH = 768 };

struct bundle_cache;
struct bundle_making;

struct bundle_entry {
    struct bundle_entry *next;
    struct bundle_cache *cache;
    struct bundle_making *making; /* who makes it, until it is complete; bundles.c's */
    bool complete;
    int pins; /* who uses it, or waits for it: it stays */
    int64_t bytes, used;
    char folder[BUNDLE_CACHE_PATH]; /* what is removed */
    char code[BUNDLE_CACHE_PATH];   /* what a program sees */
};

/* Makes or takes the folder of this runner, removes what an earlier one did not complete, and finds what it did. May block for a moment. ERR_CONFIG or ERR_NO_MEMORY with a sentence. */
MUST_CHECK enum err bundle_cache_open(const struct config *config, struct loop *l, struct bundle_cache **ret_cache,
                                      struct strbuf *ret_why);
/* PRE: nothing is pinned. Takes NULL. The folder stays. */
void bundle_cache_close(struct bundle_cache *c);
/* The entry of a digest (64 hex digits), pinned; a new one is not complete. deps: the one with its dependencies installed, which is another. NULL when memory is out. */
struct bundle_entry *bundle_cache_take(struct bundle_cache *c, struct str workspace, struct str hex, bool deps);
/* The complete entry whose code is there, pinned; NULL when there is none. */
struct bundle_entry *bundle_cache_hold(struct bundle_cache *c, const char *code);
void bundle_entry_release(struct bundle_entry *e);
/* An empty folder, 0700, to make an entry in. False, with errno. */
MUST_CHECK bool bundle_cache_work(struct bundle_cache *c, char path[BUNDLE_CACHE_PATH]);
/* Renames such a folder to where the entry is to be. */
MUST_CHECK enum err bundle_entry_place(struct bundle_entry *e, const char *work);
/* It is as it will be, and takes so many bytes. */
MUST_CHECK enum err bundle_entry_complete(struct bundle_entry *e, int64_t bytes);
/* It could not be made: nothing of it stays, and whoever asks next begins anew. It is still pinned by those who wait for it. */
void bundle_entry_fail(struct bundle_entry *e);
/* Removes a folder of the cache, some time later; nothing finds it from now on. */
void bundle_cache_remove(struct bundle_cache *c, const char *path);
/* Bytes of all complete entries. */
int64_t bundle_cache_bytes(const struct bundle_cache *c);

#endif
