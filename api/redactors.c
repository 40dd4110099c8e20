#include "api/redactors.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/attempt_secrets.h"
#include "api/node.h"
#include "common/clock.h"
#include "common/crypto.h"

enum { KEPT = 256, KEPT_BYTES = 64 << 20, UNUSED_MS = 60000, NAME_LEN = 160 };

/* By run, attempt and token: who guesses at a run's token gets a redactor of his own, and changes nobody else's. */
struct kept {
    char name[NAME_LEN];
    struct redactor *redactor;
    uint64_t used;   /* turn */
    int64_t used_ms; /* monotonic */
    size_t bytes;
};

struct redactors {
    struct kept list[KEPT];
    uint64_t turn;
    size_t bytes; /* of all */
};

struct redactors *redactors_new(void)
{
    return calloc(1, sizeof(struct redactors));
}

void redactors_free(struct redactors *cache)
{
    for (size_t i = 0; cache && i < KEPT; i++)
        redactor_free(cache->list[i].redactor);
    free(cache);
}

static struct kept *find(struct redactors *cache, const char *name)
{
    for (size_t i = 0; i < KEPT; i++)
        if (cache->list[i].redactor && strcmp(cache->list[i].name, name) == 0)
            return &cache->list[i];
    return NULL;
}

static void forget(struct redactors *cache, struct kept *k)
{
    cache->bytes -= k->bytes;
    redactor_free(k->redactor);
    *k = (struct kept){.name = ""};
}

static void touch(struct redactors *cache, struct kept *k)
{
    k->used = ++cache->turn;
    k->used_ms = clock_mono_ms();
}

void redactors_tick(struct redactors *cache)
{
    for (size_t i = 0; i < KEPT; i++)
        if (cache->list[i].redactor && clock_mono_ms() - cache->list[i].used_ms > UNUSED_MS)
            forget(cache, &cache->list[i]);
}

/* A free place. Those that were not asked for longest make room for it, until it fits. */
static struct kept *place(struct redactors *cache, size_t bytes)
{
    for (;;) {
        struct kept *oldest = NULL, *unused = NULL;
        for (size_t i = 0; i < KEPT; i++) {
            struct kept *k = &cache->list[i];
            if (!k->redactor)
                unused = k;
            else if (!oldest || k->used < oldest->used)
                oldest = k;
        }
        if (unused && (cache->bytes + bytes <= KEPT_BYTES || !oldest))
            return unused;
        forget(cache, oldest);
    }
}

/* secrets: what the attempt was given; its own token is added. NULL when memory is out. */
static struct redactor *make(struct redactors *cache, const char *name, struct str token,
                             const struct redact_secret *secrets, size_t n)
{
    struct redact_secret *all = calloc(n + 1, sizeof *all);
    struct redactor *r = NULL;
    if (!all)
        return NULL;
    all[0] = (struct redact_secret){STR("ERRAND_RUNNER_TOKEN"), token};
    if (n > 0)
        memcpy(all + 1, secrets, n * sizeof *all);
    if (redactor_new(all, n + 1, &r) == ERR_OK) {
        struct kept *k = place(cache, redactor_bytes(r));
        snprintf(k->name, sizeof k->name, "%s", name);
        k->redactor = r;
        k->bytes = redactor_bytes(r);
        cache->bytes += k->bytes;
        touch(cache, k);
    }
    free(all);
    return r;
}

/* A call that waits for its attempt's secrets. */
struct wanted {
    struct call *call;
    void *ctx;
    redactors_fn next;
    char name[NAME_LEN];
};

static void on_secrets(void *ctx, enum err err, const struct redact_secret *secrets, size_t n)
{
    struct wanted *w = ctx;
    struct redactors *cache = w->call->node->redactors;
    struct kept *known = find(cache, w->name); /* another call of it was quicker */
    struct redactor *r = err ? NULL : known ? known->redactor : make(cache, w->name, w->call->runner_token, secrets, n);
    w->next(w->call, err ? err : r ? ERR_OK : ERR_NO_MEMORY, r, w->ctx);
}

/* The secrets of the versions that are recorded on the attempt: that is the one place where they come in. */
void redactors_get(struct call *c, void *ctx, redactors_fn next)
{
    struct redactors *cache = c->node->redactors;
    struct wanted *w = arena_zalloc(&c->req->arena, sizeof *w);
    char sha[SHA256_HEX_LEN + 1];
    if (!w) {
        next(c, ERR_NO_MEMORY, NULL, ctx);
        return;
    }
    *w = (struct wanted){.call = c, .ctx = ctx, .next = next};
    crypto_sha256_hex(c->runner_token, sha);
    snprintf(w->name, sizeof w->name, "%.*s %lld %s", STR_ARG(call_param(c, 0)), (long long)c->runner_attempt, sha);
    struct kept *known = find(cache, w->name);
    if (known) {
        touch(cache, known);
        next(c, ERR_OK, known->redactor, ctx);
    } else {
        attempt_secrets(c->node, call_param(c, 0), c->runner_attempt, str_of(sha), on_secrets, w);
    }
}
