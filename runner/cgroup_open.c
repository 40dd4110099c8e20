/* Opening: a folder of this runner's own in each hierarchy, and a group in it that is really made, limited and entered. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "runner/cgroup_parts.h"

enum { TOUCHED = 1 << 20, CLOSE_WAIT_MS = 1000, LOCK_TRIES = 5, PROBE_WAIT_MS = 2000 };

#define LEAF "errand.self-"

/* What a group is tried with. */
static const struct job_limits probe_limits = {.memory_bytes = 64 << 20, .cpu_milli = 500, .pids = 32};

/* ---- version 2: controllers are handed down folder by folder ---- */

static const struct {
    const char *name, *on;
    unsigned bit;
} controllers[] = {{"memory", "+memory", HAS_MEMORY}, {"cpu", "+cpu", HAS_CPU}, {"pids", "+pids", HAS_PIDS}};

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = text; (p = strstr(p, word)); p += len)
        if ((p == text || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\n' || p[len] == 0))
            return true;
    return false;
}

/* A group of version 2 that has processes can't hand controllers down. This process leaves its own one for a leaf of it, and goes back where that does not help (others are in it). */
static bool step_aside(const char *own, const char *on)
{
    char leaf[CGROUP_PATH + 32];
    snprintf(leaf, sizeof leaf, "%s/" LEAF "%d", own, (int)getpid());
    if (mkdir(leaf, 0755) != 0)
        return false;
    if (cgroup_write(leaf, "cgroup.procs", "0") && cgroup_write(own, "cgroup.subtree_control", on))
        return true;
    (void)cgroup_write(own, "cgroup.procs", "0");
    (void)rmdir(leaf);
    return false;
}

/* Leaves of runners that have ended; those of living ones can't be removed. */
static void remove_leaves(const char *own)
{
    char leaf[CGROUP_PATH + 256];
    DIR *d = opendir(own);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        if (strncmp(e->d_name, LEAF, strlen(LEAF)) != 0)
            continue;
        snprintf(leaf, sizeof leaf, "%s/%.128s", own, e->d_name);
        (void)rmdir(leaf);
    }
    if (d)
        closedir(d);
}

static unsigned hand_down(const char *dir, bool own)
{
    char has[1024], handed[1024];
    unsigned bits = 0;
    cgroup_read(dir, "cgroup.controllers", has, sizeof has);
    cgroup_read(dir, "cgroup.subtree_control", handed, sizeof handed);
    for (size_t i = 0; i < ARRAY_LEN(controllers); i++) {
        if (!has_word(has, controllers[i].name))
            continue;
        if (has_word(handed, controllers[i].name) || cgroup_write(dir, "cgroup.subtree_control", controllers[i].on) ||
            (own && errno == EBUSY && step_aside(dir, controllers[i].on)))
            bits |= controllers[i].bit;
    }
    return bits;
}

/* ---- folders ---- */

static bool make_path(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        bool ok = mkdir(path, 0755) == 0 || errno == EEXIST || errno == EROFS || errno == EACCES;
        *p = '/';
        if (!ok)
            return false;
    }
    return mkdir(path, 0755) == 0 || errno == EEXIST;
}

/* A folder of a name that nobody has, with the lock on it. A sweep of another runner may take it away between its making and its locking. */
static bool make_home(struct cgroup_hierarchy *h)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        int n = snprintf(h->home, sizeof h->home, "%.*s/%d-%08x", CGROUP_PATH - 32, h->node, (int)getpid(),
                         randombytes_random());
        if (n < 0 || (size_t)n >= sizeof h->home || (mkdir(h->node, 0755) != 0 && errno != EEXIST))
            return false;
        if (mkdir(h->home, 0755) != 0) {
            if (errno ==
                ENOENT) /* the last other runner of this node left just now, and took the node's folder along */
                continue;
            return false;
        }
        struct stat ours, there;
        int fd = open(h->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &ours) == 0 && stat(h->home, &there) == 0 &&
            ours.st_ino == there.st_ino) {
            h->lock = fd;
            return true;
        }
        if (fd >= 0)
            close(fd);
    }
    return false;
}

static void leave(struct cgroup_hierarchy *h)
{
    if (h->lock < 0)
        return;
    (void)cgroup_remove(h->home);
    close(h->lock);
    h->lock = -1;
    h->has = 0;
    (void)rmdir(h->node); /* while other runners of this name live it stays */
}

static bool open_hierarchy(struct cgroup_hierarchy *h, const char *node, bool given)
{
    char name[CGROUP_NAME];
    cgroup_name(str_of(node), 0, name);
    name[strlen(name) - 2] = 0; /* without the number */
    int n = snprintf(h->node, sizeof h->node, "%.400s/errand-%.64s", h->own, name);
    if (n < 0 || (size_t)n >= sizeof h->node || (given && !make_path(h->own)) || !make_home(h))
        return false;
    if (!h->v2)
        return true;
    remove_leaves(h->own);
    h->has = HAS_CPU_TIME | (hand_down(h->own, true) & hand_down(h->node, false) & hand_down(h->home, false));
    return true;
}

/* ---- trying ---- */

static bool reads_back(const char *dir, const char *file, int64_t n)
{
    char text[64];
    return cgroup_read(dir, file, text, sizeof text) && cgroup_number(text, NULL) == n;
}

/* Sets each limit by itself, and reads it back. */
static void try_limits(struct cgroup_hierarchy *h, const char *dir)
{
    const struct {
        unsigned bit;
        const char *file;
        int64_t value;
    } tries[] = {{HAS_MEMORY, h->v2 ? "memory.max" : "memory.limit_in_bytes", probe_limits.memory_bytes},
                 {HAS_CPU, h->v2 ? "cpu.max" : "cpu.cfs_quota_us", probe_limits.cpu_milli * 100},
                 {HAS_PIDS, "pids.max", probe_limits.pids}};
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        struct cgroup_hierarchy one = {.v2 = h->v2, .has = h->has & tries[i].bit};
        if (one.has && (!cgroup_limit(&one, dir, &probe_limits) || !reads_back(dir, tries[i].file, tries[i].value)))
            h->has &= ~tries[i].bit;
    }
}

/* In a process of its own: enters, uses memory, says so, and waits to be killed. Nothing here may allocate. */
static _Noreturn void probe_child(const struct cgroups *c, int fd)
{
    char path[CGROUP_PATH + 64];
    for (size_t i = 0; i < c->count; i++) {
        if (c->at[i].lock < 0)
            continue;
        snprintf(path, sizeof path, "%.490s/try", c->at[i].home);
        (void)cgroup_write(path, "cgroup.procs", "0");
    }
    void *memory = mmap(NULL, TOUCHED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED)
        memset(memory, 1, TOUCHED);
    (void)!write(fd, "", 1);
    for (;;)
        pause();
}

static bool is_in(const char *dir, pid_t pid)
{
    char text[256];
    return cgroup_read(dir, "cgroup.procs", text, sizeof text) && cgroup_number(text, NULL) == pid;
}

/* What the groups say of the process in them: a hierarchy that it is not in is of no use, and what does not count does not limit. */
static void look_at_child(struct cgroups *c, pid_t pid)
{
    char dir[CGROUP_PATH + 8], text[64];
    for (size_t i = 0; i < c->count; i++) {
        struct cgroup_hierarchy *h = &c->at[i];
        snprintf(dir, sizeof dir, "%s/try", h->home);
        if (h->lock < 0)
            continue;
        if (!is_in(dir, pid))
            h->has = 0;
        if (h->has & HAS_MEMORY) {
            cgroup_read(dir, h->v2 ? "memory.current" : "memory.usage_in_bytes", text, sizeof text);
            if (cgroup_number(text, NULL) < TOUCHED)
                h->has &= ~(unsigned)HAS_MEMORY;
        }
        if ((h->has & HAS_PIDS) && !reads_back(dir, "pids.current", 1))
            h->has &= ~(unsigned)HAS_PIDS;
    }
}

static void try_child(struct cgroups *c)
{
    int ends[2];
    char byte;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    pid_t pid = fork();
    if (pid == 0)
        probe_child(c, ends[1]);
    close(ends[1]);
    if (pid > 0 && read(ends[0], &byte, 1) == 1)
        look_at_child(c, pid);
    else
        for (size_t i = 0; i < c->count; i++)
            c->at[i].has = 0;
    close(ends[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
}

static void try_all(struct cgroups *c)
{
    char dir[CGROUP_PATH + 8];
    for (size_t i = 0; i < c->count; i++) {
        struct cgroup_hierarchy *h = &c->at[i];
        snprintf(dir, sizeof dir, "%s/try", h->home);
        if (h->lock >= 0 && mkdir(dir, 0755) != 0)
            leave(h);
        if (h->lock >= 0)
            try_limits(h, dir);
    }
    try_child(c);
    for (size_t i = 0; i < c->count; i++) {
        struct cgroup_hierarchy *h = &c->at[i];
        snprintf(dir, sizeof dir, "%s/try", h->home);
        for (int ms = 0; h->lock >= 0 && rmdir(dir) != 0 && errno == EBUSY && ms < PROBE_WAIT_MS; ms++)
            usleep(1000);
        if (!h->has)
            leave(h);
        c->has |= h->has;
    }
}

/* ---- opening and closing ---- */

static void say_why(struct cgroups *c)
{
    size_t len = strlen(c->why);
    if (c->why[0] || (c->has & (HAS_MEMORY | HAS_CPU | HAS_PIDS)) == (HAS_MEMORY | HAS_CPU | HAS_PIDS))
        return;
    snprintf(c->why + len, sizeof c->why - len, "no control group can limit:");
    for (size_t i = 0; i < ARRAY_LEN(controllers); i++) {
        len = strlen(c->why);
        if (!(c->has & controllers[i].bit))
            snprintf(c->why + len, sizeof c->why - len, " %s", controllers[i].name);
    }
    len = strlen(c->why);
    snprintf(c->why + len, sizeof c->why - len,
             " (the runner's own groups must be writable, and delegated to it; see docs/operations.md)");
}

static void open_all(struct cgroups *c, const struct config *config)
{
    static const char *const files[] = {"mountinfo", "cgroup"};
    char *text[ARRAY_LEN(files)] = {calloc(1, 1 << 18), calloc(1, 1 << 14)};
    bool given = config->cgroup_root[0] != 0;
    if (text[0] && text[1] && cgroup_read("/proc/self", files[0], text[0], 1 << 18) &&
        cgroup_read("/proc/self", files[1], text[1], 1 << 14))
        c->count = cgroup_find(str_of(text[0]), str_of(text[1]), config->cgroup_root, c->at);
    free(text[0]);
    free(text[1]);
    for (size_t i = 0; i < c->count; i++)
        if (!open_hierarchy(&c->at[i], config->node, given))
            leave(&c->at[i]);
    try_all(c);
}

enum err cgroups_open(const struct config *config, struct loop *loop, struct cgroups **ret)
{
    struct cgroups *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NO_MEMORY;
    c->loop = loop;
    if (strcmp(config->cgroup_root, "none") == 0)
        snprintf(c->why, sizeof c->why, "cgroup-root is none");
    else
        open_all(c, config);
    say_why(c);
    if (c->why[0])
        LOG_INFO("control groups", LOG_Z("missing", c->why));
    *ret = c;
    return ERR_OK;
}

void cgroups_close(struct cgroups *c)
{
    if (!c)
        return;
    cgroups_wait_dying(c, CLOSE_WAIT_MS);
    for (size_t i = 0; i < c->count; i++)
        leave(&c->at[i]);
    free(c);
}

bool cgroups_has(const struct cgroups *c, enum cgroup_controller what)
{
    return c->has & (1U << what);
}

const char *cgroups_why(const struct cgroups *c)
{
    return c->why;
}
