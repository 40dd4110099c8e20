#include "runner/proc_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATH_LEN = 80, CPU_FIELDS = 4, FIRST_CPU_FIELD = 14 };

static bool read_small(const char *path, char *buf, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, cap - 1);
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = 0;
    return fd >= 0 && n >= 0;
}

/* Adds the children of one thread: "12 34 ". False when they are too many; a thread that has gone has none. */
static bool add_children(const char *path, pid_t pids[PROC_TREE_MAX], size_t *count)
{
    char buf[8192];
    (void)read_small(path, buf, sizeof buf);
    for (char *p = buf, *end; *p; p = end + strspn(end, " \n")) {
        pid_t pid = (pid_t)strtol(p, &end, 10);
        if (end == p)
            break;
        if (*count == PROC_TREE_MAX)
            return false;
        pids[(*count)++] = pid;
    }
    return true;
}

static bool add_children_of(pid_t pid, pid_t pids[PROC_TREE_MAX], size_t *count)
{
    char path[PATH_LEN];
    bool room = true;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    const struct dirent *e;
    while (d && room && (e = readdir(d))) {
        if (e->d_name[0] < '0' || e->d_name[0] > '9')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/children", (int)pid, e->d_name);
        room = add_children(path, pids, count);
    }
    if (d)
        closedir(d);
    return room;
}

static void add_usage(pid_t pid, struct proc_usage *u)
{
    char path[PATH_LEN], text[1024], *end;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    char *at = read_small(path, text, sizeof text) ? strrchr(text, ')') : NULL;
    for (int field = 2; at && field < FIRST_CPU_FIELD; field++)
        at = strchr(at + 1, ' ');
    int64_t ticks = 0;
    for (int i = 0; at && i < CPU_FIELDS; i++, at = end)
        ticks += strtoll(at, &end, 10);
    u->cpu_us += ticks * 1000000 / sysconf(_SC_CLK_TCK);
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    if (!read_small(path, text, sizeof text) || !(at = strchr(text, ' ')))
        return;
    u->memory_bytes += strtoll(at, NULL, 10) * sysconf(_SC_PAGESIZE);
}

bool proc_tree_usage(pid_t above, struct proc_usage *ret)
{
    pid_t pids[PROC_TREE_MAX];
    size_t count = 0;
    char path[PATH_LEN];
    struct proc_usage u = {0};
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)above, (int)above);
    if (access(path, R_OK) != 0 || !add_children_of(above, pids, &count)) /* not every kernel has the lists */
        return false;
    for (size_t i = 0; i < count; i++) {
        add_usage(pids[i], &u);
        if (!add_children_of(pids[i], pids, &count))
            return false;
    }
    *ret = u;
    return true;
}
