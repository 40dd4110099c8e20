#include "runner/adopt.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "runner/attempt.h"
#include "runner/worker_shard.h"

enum { LOOKS = 1000, AGAIN_MS = 200 };

static size_t read_small(const char *path, char *buf, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buf, cap - 1) : -1;
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

void adopt_proc(pid_t pid, char text[ADOPT_PROC_MAX])
{
    char path[64], stat[1024], boot[64], space[64];
    text[0] = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_small(path, stat, sizeof stat) == 0)
        return;
    /* field 22, counted behind the command's name, which may hold anything up to its last parenthesis */
    char *at = strrchr(stat, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    read_small("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    boot[strcspn(boot, "\n")] = 0;
    ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    space[n > 0 ? n : 0] = 0;
    if (at)
        snprintf(text, ADOPT_PROC_MAX, "%d %lld %s %s", (int)pid, strtoll(at + 1, NULL, 10), space, boot);
}

/* Whether that process is gone, as far as can be told from here: not of one on another machine, of an earlier boot, or in another container, where a process id means something else. */
static bool is_gone(struct str proc)
{
    char now[ADOPT_PROC_MAX];
    adopt_proc(getpid(), now);
    const char *place = strchr(now, ' ');
    place = place ? strchr(place + 1, ' ') : NULL;
    size_t len = place ? strlen(place) : 0;
    if (len < 3 || proc.len < len + 3 || memcmp(proc.ptr + proc.len - len, place, len) != 0)
        return false;
    adopt_proc((pid_t)strtol(proc.ptr, NULL, 10), now);
    return !str_eqz(proc, now);
}

/* What was found, and which of it is under way. */
struct taking {
    struct worker_shard *shard;
    size_t n, at;
    struct left {
        struct id run, inc;
        int64_t epoch, attempt;
        char executor[32];
        struct str handle;
    } * runs;
};

static void next(struct taking *t);

static void done(struct worker_shard *s, struct taking *t)
{
    for (size_t i = 0; t && i < t->n; i++)
        free((char *)(uintptr_t)t->runs[i].handle.ptr);
    if (t)
        free(t->runs);
    free(t);
    s->adopting = false;
    shard_may_claim_more(s);
}

static void on_adopted(void *ctx, enum err err, const struct script_adopt_reply *reply)
{
    struct taking *t = ctx;
    struct left *l = &t->runs[t->at++];
    t->shard->adopt_sent = false;
    const struct script_adoptable_runs row = {.run = str_of(l->run.s),
                                              .epoch = l->epoch,
                                              .attempt = l->attempt,
                                              .executor = str_of(l->executor),
                                              .handle = l->handle,
                                              .inc = str_of(l->inc.s)};
    if (!err)
        attempt_adopt(t->shard, &row, reply);
    shard_beat_if_due(t->shard);
    next(t);
}

static void next(struct taking *t)
{
    struct worker_shard *s = t->shard;
    if (t->at >= t->n || s->worker->draining) {
        done(s, t);
        return;
    }
    struct left *l = &t->runs[t->at];
    struct script_adopt_args args = {.inc = str_of(s->incarnation.s),
                                     .run = str_of(l->run.s),
                                     .epoch = l->epoch,
                                     .old = str_of(l->inc.s),
                                     .rid = str_of(redis_run_id(s->commands))};
    s->adopt_sent = true;
    script_call_adopt(s->commands, worker_prefix(s), &args, on_adopted, t);
}

static bool copy(struct left *l, const struct script_adoptable_runs *row)
{
    char *handle = malloc(row->handle.len + 1);
    if (!handle || !id_parse(row->run, &l->run) || !id_parse(row->inc, &l->inc) ||
        row->executor.len >= sizeof l->executor) {
        free(handle);
        return false;
    }
    memcpy(handle, row->handle.ptr, row->handle.len);
    l->handle = (struct str){handle, row->handle.len};
    l->epoch = row->epoch;
    l->attempt = row->attempt;
    snprintf(l->executor, sizeof l->executor, "%.*s", STR_ARG(row->executor));
    return true;
}

static void on_found(void *ctx, enum err err, const struct script_adoptable_reply *reply)
{
    struct worker_shard *s = ctx;
    struct taking *t = err ? NULL : calloc(1, sizeof *t);
    if (!t || reply->runs_len == 0) { /* where Redis could not be asked, the lease decides */
        free(t);
        done(s, NULL);
        return;
    }
    t->shard = s;
    t->runs = calloc(reply->runs_len, sizeof *t->runs);
    for (size_t i = 0; t->runs && i < reply->runs_len; i++)
        if (is_gone(reply->runs[i].proc) && copy(&t->runs[t->n], &reply->runs[i]))
            t->n++;
    LOG_INFO("runs were left by an earlier process", LOG_I("runs", (int64_t)t->n));
    next(t);
}

void adopt_begin(struct worker_shard *s)
{
    struct script_adoptable_args args = {
        .name = str_of(s->worker->config->node), .inc = str_of(s->incarnation.s), .looks = LOOKS, .max = LIMIT_SLOTS};
    script_call_adoptable(s->commands, worker_prefix(s), &args, on_found, s);
}
