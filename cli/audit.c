#include "cli/audit.h"

#include <stdlib.h>

#include "cli/audit_parts.h"

#define WORK_MAX (1024U << 20) /* of a batch: its replies are bounded by AUDIT_BATCH event entries */

/* ---- keys, in batches ---- */

static void hand_over(struct audit *a, const char **paths, size_t *n,
                      void (*fn)(struct audit *a, const char *const *paths, size_t n))
{
    if (*n > 0)
        fn(a, paths, *n);
    *n = 0;
    arena_done(&a->names);
}

void audit_scan(struct audit *a, const char *start, void (*fn)(struct audit *a, const char *const *paths, size_t n))
{
    char cursor[32] = "0";
    char pattern[256];
    const char *paths[AUDIT_BATCH];
    size_t n = 0;
    snprintf(pattern, sizeof(pattern), "%.*s%s*", STR_ARG(a->prefix), start);
    do {
        redisReply *r = redisCommand(a->c, "SCAN %s MATCH %s COUNT 1000", cursor, pattern);
        if (!r || r->type != REDIS_REPLY_ARRAY || r->elements != 2) {
            audit_fail(a, ERR_REDIS_UNAVAILABLE);
            freeReplyObject(r);
            return;
        }
        snprintf(cursor, sizeof(cursor), "%s", reply_item(r, 0));
        const redisReply *keys = r->element[1];
        for (size_t i = 0; i < keys->elements; i++) {
            const char *name = keys->element[i]->str;
            struct str path = {name + a->prefix.len, keys->element[i]->len - a->prefix.len};
            paths[n] = arena_strdup(&a->names, path);
            if (!paths[n])
                audit_fail(a, ERR_NO_MEMORY);
            else if (++n == AUDIT_BATCH)
                hand_over(a, paths, &n, fn);
        }
        freeReplyObject(r);
    } while (strcmp(cursor, "0") != 0 && a->err == ERR_OK);
    hand_over(a, paths, &n, fn);
}

/* ---- pass 1 ---- */

/* Runs, and what uses definitions or has counters of its own. */
static void first_look(struct audit *a, const char *const *paths, size_t n)
{
    const char *ids[AUDIT_BATCH], *defs[AUDIT_BATCH];
    size_t found = 0, defs_len = 0;
    for (size_t i = 0; i < n; i++) {
        const char *path = paths[i];
        if (strncmp(path, "run:", 4) == 0 && !strchr(path + 4, ':'))
            ids[found++] = path + 4;
        else if (strncmp(path, "agent:", 6) == 0)
            audit_counters_agent(a, path);
        else if (strncmp(path, "schedule:", 9) == 0)
            audit_counters_schedule(a, path);
        else if (strncmp(path, "use:", 4) == 0)
            audit_counters_use(a, path);
        else if (strncmp(path, "def:", 4) == 0)
            defs[defs_len++] = path;
        else if (strncmp(path, "bundle:", 7) == 0)
            audit_counters_bundle(a, path);
    }
    audit_counters_defs(a, defs, defs_len);
    audit_runs(a, ids, found);
}

/* ---- all ---- */

static void audit_done(struct audit *a)
{
    audit_release(a);
    arena_done(&a->names);
    free((void *)a->replies);
    free(a->expects);
    for (size_t i = 0; i < a->doubts_len; i++)
        free(a->doubts[i]);
    free((void *)a->doubts);
    tally_done(&a->runs);
    tally_done(&a->counters);
}

enum err audit_shard(redisContext *c, struct str prefix, const struct audit_options *o, audit_found_fn found, void *ctx,
                     struct audit_counts *ret_counts)
{
    static const struct audit_options none;
    struct audit a = {.c = c, .prefix = prefix, .options = o ? *o : none, .found = found, .found_ctx = ctx};
    arena_init(&a.work, WORK_MAX);
    arena_init(&a.names, WORK_MAX);
    audit_counters_begin(&a);
    audit_scan(&a, "[abdrsu]", first_look);
    audit_counters_end(&a);
    audit_runs_doubted(&a);
    audit_scan(&a, "", audit_keys);
    *ret_counts = a.counts;
    audit_done(&a);
    return a.err;
}
