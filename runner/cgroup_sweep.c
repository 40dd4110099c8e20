/* What dead runners of this node left in their folders: ended, or taken over. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "runner/cgroup_parts.h"

enum { SWEEP_MS = 1000, NAMES_MAX = 4096 };

/* The folder, open and locked, of a runner that is dead; -1 when it lives. shared: another attempt of it may have been taken over already. */
static int lock_dead(const char *dir, int how)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, how | LOCK_NB) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool is_kept(const char *name, const struct job_owner *keep, size_t n)
{
    char kept[CGROUP_NAME];
    for (size_t i = 0; i < n; i++) {
        cgroup_name(keep[i].run_id, keep[i].attempt, kept);
        if (strcmp(kept, name) == 0)
            return true;
    }
    return false;
}

/* One group of a dead runner. How many it ended. */
static size_t sweep_group(const char *dir, int64_t until_ms)
{
    if (cgroup_remove(dir))
        return 0;
    do {
        cgroup_kill(dir);
        if (cgroup_remove(dir))
            return 1;
        usleep(2000);
    } while (clock_mono_ms() < until_ms);
    LOG_WARN("a control group of an earlier runner can't be removed", LOG_Z("path", dir));
    return 1;
}

static size_t sweep_home(const char *home, const struct job_owner *keep, size_t n, int64_t until_ms)
{
    char path[CGROUP_PATH + CGROUP_NAME];
    size_t ended = 0;
    DIR *d = opendir(home);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.' || is_kept(e->d_name, keep, n))
            continue;
        int len = snprintf(path, sizeof path, "%s/%s", home, e->d_name);
        if (len > 0 && (size_t)len < sizeof path)
            ended += sweep_group(path, until_ms);
    }
    if (d)
        closedir(d);
    (void)rmdir(home);
    return ended;
}

/* Calls for each other runner's folder in a hierarchy. */
static size_t sweep_hierarchy(const struct cgroup_hierarchy *h, const struct job_owner *keep, size_t n,
                              int64_t until_ms)
{
    char home[CGROUP_PATH + CGROUP_NAME];
    size_t ended = 0;
    DIR *d = opendir(h->node);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        int len = snprintf(home, sizeof home, "%s/%s", h->node, e->d_name);
        if (e->d_type != DT_DIR || e->d_name[0] == '.' || len < 0 || (size_t)len >= sizeof home ||
            strcmp(home, h->home) == 0)
            continue;
        int lock = lock_dead(home, LOCK_EX);
        if (lock < 0)
            continue;
        ended += sweep_home(home, keep, n, until_ms);
        close(lock);
    }
    if (d)
        closedir(d);
    return ended;
}

void cgroups_sweep(struct cgroups *c, const struct job_owner *keep, size_t n)
{
    size_t ended = 0;
    int64_t until_ms = clock_mono_ms() + SWEEP_MS;
    for (size_t i = 0; i < c->count; i++)
        if (c->at[i].lock >= 0)
            ended += sweep_hierarchy(&c->at[i], keep, n, until_ms);
    if (ended > 0)
        LOG_WARN("ended what an earlier runner of this node had left running", LOG_I("groups", (int64_t)ended));
}

static void adopt_in(struct cgroup *g, size_t i, const char *name)
{
    const struct cgroup_hierarchy *h = &g->owner->at[i];
    char home[CGROUP_PATH + CGROUP_NAME], dir[CGROUP_PATH + 2 * CGROUP_NAME];
    DIR *d = opendir(h->node);
    const struct dirent *e;
    while (d && !g->dir[i] && (e = readdir(d))) {
        int len = snprintf(home, sizeof home, "%s/%s", h->node, e->d_name);
        if (e->d_type != DT_DIR || e->d_name[0] == '.' || len < 0 || (size_t)len >= CGROUP_PATH ||
            strcmp(home, h->home) == 0)
            continue;
        snprintf(dir, sizeof dir, "%s/%s", home, name);
        if (access(dir, F_OK) != 0 || (g->lock[i] = lock_dead(home, LOCK_SH)) < 0)
            continue;
        g->dir[i] = strdup(dir);
    }
    if (d)
        closedir(d);
}

struct cgroup *cgroup_adopt(struct cgroups *c, struct str run_id, int64_t attempt)
{
    char name[CGROUP_NAME];
    bool any = false;
    struct cgroup *g = cgroup_new(c);
    cgroup_name(run_id, attempt, name);
    for (size_t i = 0; g && i < c->count; i++) {
        if (c->at[i].lock >= 0)
            adopt_in(g, i, name);
        any = any || g->dir[i];
    }
    if (any)
        return g;
    cgroup_free(g);
    return NULL;
}
