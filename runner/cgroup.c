#include "runner/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "runner/cgroup_parts.h"

enum { CPU_PERIOD_US = 100000, CPU_QUOTA_MIN_US = 1000, AGAIN_MAX_MS = 500, TRIES_MAX = 60, DEPTH_MAX = 16 };

/* ---- files ---- */

bool cgroup_write(const char *dir, const char *file, const char *text)
{
    char path[CGROUP_PATH + 128];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int why = errno;
    close(fd);
    errno = why;
    return ok;
}

bool cgroup_read(const char *dir, const char *file, char *ret_text, size_t cap)
{
    char path[CGROUP_PATH + 128];
    ret_text[0] = 0;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t len = 0;
    ssize_t n;
    while (len < cap - 1 && (n = read(fd, ret_text + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    ret_text[len] = 0;
    return len > 0;
}

int64_t cgroup_number(const char *text, const char *word)
{
    size_t len = word ? strlen(word) : 0;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (word && (strncmp(line, word, len) != 0 || line[len] != ' '))
            continue;
        const char *digits = word ? line + len + 1 : line;
        return *digits >= '0' && *digits <= '9' ? (int64_t)strtoll(digits, NULL, 10) : -1;
    }
    return -1;
}

void cgroup_name(struct str run_id, int64_t attempt, char ret[CGROUP_NAME])
{
    int n = snprintf(ret, CGROUP_NAME, "%.64s-%lld", "", (long long)attempt);
    size_t len = run_id.len < 64 ? run_id.len : 64;
    memmove(ret + len, ret, (size_t)n + 1);
    for (size_t i = 0; i < len; i++) {
        char c = run_id.ptr[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                     c == '_' || (c == '.' && i > 0);
        ret[i] = plain ? c : '_';
    }
}

/* ---- limits ---- */

static bool write_number(const char *dir, const char *file, int64_t n)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)n);
    return cgroup_write(dir, file, text);
}

static bool has_file(const char *dir, const char *file)
{
    char path[CGROUP_PATH + 128];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return access(path, F_OK) == 0;
}

/* What it may not use of memory it may not use of swap either, where swap is counted at all. */
static bool limit_memory(bool v2, const char *dir, int64_t bytes)
{
    if (!v2)
        return write_number(dir, "memory.limit_in_bytes", bytes) &&
               (!has_file(dir, "memory.memsw.limit_in_bytes") ||
                write_number(dir, "memory.memsw.limit_in_bytes", bytes));
    return write_number(dir, "memory.max", bytes) &&
           (!has_file(dir, "memory.swap.max") || cgroup_write(dir, "memory.swap.max", "0")) &&
           (!has_file(dir, "memory.oom.group") || cgroup_write(dir, "memory.oom.group", "1"));
}

static bool limit_cpu(bool v2, const char *dir, int64_t milli)
{
    char text[64];
    int64_t quota = milli * (CPU_PERIOD_US / 1000);
    quota = quota < CPU_QUOTA_MIN_US ? CPU_QUOTA_MIN_US : quota; /* the kernel takes no less */
    snprintf(text, sizeof text, "%lld %d", (long long)quota, CPU_PERIOD_US);
    if (v2)
        return cgroup_write(dir, "cpu.max", text);
    return write_number(dir, "cpu.cfs_period_us", CPU_PERIOD_US) && write_number(dir, "cpu.cfs_quota_us", quota);
}

bool cgroup_limit(const struct cgroup_hierarchy *h, const char *dir, const struct job_limits *limits)
{
    if ((h->has & HAS_MEMORY) && limits->memory_bytes > 0 && !limit_memory(h->v2, dir, limits->memory_bytes))
        return false;
    if ((h->has & HAS_CPU) && limits->cpu_milli > 0 && !limit_cpu(h->v2, dir, limits->cpu_milli))
        return false;
    return !(h->has & HAS_PIDS) || limits->pids <= 0 || write_number(dir, "pids.max", limits->pids);
}

/* ---- a group ---- */

struct cgroup *cgroup_new(struct cgroups *c)
{
    struct cgroup *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    *g = (struct cgroup){.owner = c, .cpu_us = -1, .at_us = -1};
    for (size_t i = 0; i < CGROUP_HIERARCHIES; i++)
        g->lock[i] = -1;
    return g;
}

static void group_done(struct cgroup *g)
{
    for (size_t i = 0; i < CGROUP_HIERARCHIES; i++) {
        free(g->dir[i]);
        if (g->lock[i] >= 0)
            close(g->lock[i]);
    }
    free(g);
}

static unsigned wanted_of(const struct job_limits *limits)
{
    return (limits->memory_bytes > 0 ? HAS_MEMORY : 0U) | (limits->cpu_milli > 0 ? HAS_CPU : 0U) |
           (limits->pids > 0 ? HAS_PIDS : 0U);
}

static bool make_in(struct cgroup *g, size_t i, const char *name, const struct job_limits *limits)
{
    const struct cgroup_hierarchy *h = &g->owner->at[i];
    char dir[CGROUP_PATH + CGROUP_NAME];
    snprintf(dir, sizeof dir, "%s/%s", h->home, name);
    if (mkdir(dir, 0755) != 0)
        return false;
    g->dir[i] = strdup(dir);
    if (!g->dir[i]) {
        rmdir(dir);
        return false;
    }
    return cgroup_limit(h, dir, limits);
}

/* Being born into a group of version 2 costs nothing, being moved into one of version 1 a little: without limits only version 2 is used. */
struct cgroup *cgroup_make(struct cgroups *c, struct str run_id, int64_t attempt, const struct job_limits *limits,
                           const char **ret_why)
{
    char name[CGROUP_NAME];
    unsigned wanted = wanted_of(limits);
    *ret_why = NULL;
    if (wanted & ~c->has) {
        *ret_why = wanted & ~c->has & HAS_MEMORY ? "this runner can't limit memory"
                   : wanted & ~c->has & HAS_CPU  ? "this runner can't limit processors"
                                                 : "this runner can't limit the number of processes";
        return NULL;
    }
    struct cgroup *g = cgroup_new(c);
    bool any = false, ok = g != NULL, timed = false;
    cgroup_name(run_id, attempt, name);
    for (size_t i = 0; i < c->count; i++)
        timed = timed || (c->at[i].v2 && c->at[i].lock >= 0);
    for (size_t i = 0; ok && i < c->count; i++) {
        const struct cgroup_hierarchy *h = &c->at[i];
        bool counts = wanted && !timed && (h->has & HAS_CPU_TIME);
        if (h->lock < 0 || !(h->v2 || (h->has & wanted) || counts))
            continue;
        ok = make_in(g, i, name, limits);
        any = any || ok;
    }
    if (ok && any) {
        g->cpu_us = 0;
        g->at_us = clock_mono_us();
        return g;
    }
    if (!ok && wanted)
        *ret_why = "its control group could not be made";
    cgroup_free(g);
    return NULL;
}

void cgroup_options(const struct cgroup *g, const char **words, size_t *n, size_t cap)
{
    for (size_t i = 0; g && i < CGROUP_HIERARCHIES; i++) {
        if (!g->dir[i])
            continue;
        PRE(*n + 2 <= cap);
        words[(*n)++] = "--cgroup";
        words[(*n)++] = g->dir[i];
    }
}

bool cgroup_oom(const struct cgroup *g)
{
    char text[1024];
    for (size_t i = 0; g && i < g->owner->count; i++) {
        const struct cgroup_hierarchy *h = &g->owner->at[i];
        if (!g->dir[i] || !(h->has & HAS_MEMORY))
            continue;
        cgroup_read(g->dir[i], h->v2 ? "memory.events" : "memory.oom_control", text, sizeof text);
        if (cgroup_number(text, "oom_kill") > 0)
            return true;
    }
    return false;
}

static int64_t memory_of(bool v2, const char *dir)
{
    char text[4096];
    if (!cgroup_read(dir, v2 ? "memory.current" : "memory.usage_in_bytes", text, sizeof text))
        return -1;
    int64_t used = cgroup_number(text, NULL);
    cgroup_read(dir, "memory.stat", text, sizeof text);
    int64_t idle = cgroup_number(text, v2 ? "inactive_file" : "total_inactive_file");
    return used >= 0 && idle > 0 && idle <= used ? used - idle : used;
}

static int64_t cpu_us_of(bool v2, const char *dir)
{
    char text[1024];
    cgroup_read(dir, v2 ? "cpu.stat" : "cpuacct.usage", text, sizeof text);
    int64_t n = cgroup_number(text, v2 ? "usage_usec" : NULL);
    return n < 0 || v2 ? n : n / 1000;
}

void cgroup_stats(struct cgroup *g, struct job_stats *ret)
{
    int64_t cpu_us = -1, now_us = clock_mono_us();
    for (size_t i = 0; g && i < g->owner->count; i++) {
        const struct cgroup_hierarchy *h = &g->owner->at[i];
        if (!g->dir[i])
            continue;
        if (h->has & HAS_MEMORY)
            ret->memory_bytes = memory_of(h->v2, g->dir[i]);
        if (cpu_us < 0 && (h->has & HAS_CPU_TIME))
            cpu_us = cpu_us_of(h->v2, g->dir[i]);
    }
    if (!g || cpu_us < 0)
        return;
    if (g->at_us >= 0 && now_us > g->at_us && cpu_us >= g->cpu_us)
        ret->cpu_percent = 100.0 * (double)(cpu_us - g->cpu_us) / (double)(now_us - g->at_us);
    g->cpu_us = cpu_us;
    g->at_us = now_us;
}

/* ---- its end ---- */

typedef void (*folder_fn)(const char *dir);

static void each_below(const char *dir, folder_fn fn)
{
    char path[CGROUP_PATH + CGROUP_NAME];
    DIR *d = opendir(dir);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        int n = snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (n > 0 && (size_t)n < sizeof path)
            fn(path);
    }
    if (d)
        closedir(d);
}

/* A process that is still in the group whose list named it: the number may be somebody else's by now. */
static void kill_member(pid_t pid, const char *name)
{
    char dir[32], text[4096];
    int fd = pidfd_open(pid, 0);
    if (fd < 0)
        return;
    snprintf(dir, sizeof dir, "/proc/%d", (int)pid);
    if (cgroup_read(dir, "cgroup", text, sizeof text) && strstr(text, name))
        (void)pidfd_send_signal(fd, SIGKILL, NULL, 0);
    close(fd);
}

void cgroup_kill(const char *dir)
{
    char text[65536];
    if (cgroup_write(dir, "cgroup.kill", "1"))
        return; /* with all below */
    const char *name = strrchr(dir, '/');
    if (cgroup_read(dir, "cgroup.procs", text, sizeof text)) {
        for (char *p = text; *p; p += strspn(p, "\n")) {
            pid_t pid = (pid_t)strtol(p, &p, 10);
            if (pid > 1 && pid != getpid()) /* 0: of a pid namespace that is not seen from here */
                kill_member(pid, name);
            if (*p && *p != '\n')
                break;
        }
    }
    each_below(dir, cgroup_kill);
}

static void remove_below(const char *dir)
{
    (void)cgroup_remove(dir);
}

bool cgroup_remove(const char *dir)
{
    if (rmdir(dir) == 0 || errno == ENOENT)
        return true;
    if (strlen(dir) > CGROUP_PATH)
        return false;
    each_below(dir, remove_below);
    return rmdir(dir) == 0 || errno == ENOENT;
}

static void unlink_dying(struct cgroup *g)
{
    struct cgroups *c = g->owner;
    if (g->prev)
        g->prev->next = g->next;
    else
        c->dying = g->next;
    if (g->next)
        g->next->prev = g->prev;
}

/* An adopted group's folder goes with the last group in it. */
static void remove_home(struct cgroup *g, size_t i)
{
    char *slash = g->lock[i] >= 0 ? strrchr(g->dir[i], '/') : NULL;
    if (slash) {
        *slash = 0;
        (void)rmdir(g->dir[i]);
    }
}

/* True when nothing of it is left (or it is given up). */
static bool end_group(struct cgroup *g)
{
    bool gone = true;
    for (size_t i = 0; i < CGROUP_HIERARCHIES; i++) {
        if (!g->dir[i])
            continue;
        bool removed = cgroup_remove(g->dir[i]);
        if (!removed) {
            cgroup_kill(g->dir[i]);
            removed = cgroup_remove(g->dir[i]);
        }
        if (!removed && g->tries + 1 >= TRIES_MAX)
            LOG_WARN("a control group can't be removed; the next start of a runner tries again",
                     LOG_Z("path", g->dir[i]));
        gone = gone && (removed || g->tries + 1 >= TRIES_MAX);
        if (removed) {
            remove_home(g, i);
            free(g->dir[i]);
            g->dir[i] = NULL;
        }
    }
    g->tries++;
    return gone;
}

static void on_again(void *ctx)
{
    struct cgroup *g = ctx;
    if (end_group(g)) {
        unlink_dying(g);
        group_done(g);
        return;
    }
    int64_t wait_ms = 2LL << (g->tries < 9 ? g->tries : 9);
    loop_timer_set(&g->again, wait_ms > AGAIN_MAX_MS ? AGAIN_MAX_MS : wait_ms);
}

void cgroup_free(struct cgroup *g)
{
    if (!g)
        return;
    g->next = g->owner->dying;
    if (g->next)
        g->next->prev = g;
    g->owner->dying = g;
    loop_timer_init(&g->again, g->owner->loop, on_again, g);
    on_again(g);
}

void cgroup_leave(struct cgroup *g)
{
    if (g)
        group_done(g);
}

void cgroups_wait_dying(struct cgroups *c, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;
    while (c->dying) {
        struct cgroup *g = c->dying;
        if (!end_group(g) && clock_mono_ms() < until) {
            usleep(2000);
            continue;
        }
        loop_timer_stop(&g->again);
        unlink_dying(g);
        group_done(g);
    }
}
