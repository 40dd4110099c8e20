#include "runner/pool_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TEXT = 4096 };

/* The file's beginning as text; false where it can't be read. */
static bool read_text(const char *path, char text[TEXT])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, TEXT - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return n >= 0 && n < TEXT - 1;
}

bool pool_tree_supported(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    return access(path, R_OK) == 0;
}

/* Ended, or gone meanwhile. */
static bool is_over(long pid)
{
    char path[64], text[TEXT];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    (void)read_text(path, text);
    const char *at = strrchr(text, ')');
    return !at || at[1] != ' ' || strchr("ZXx", at[2]);
}

static void add_children_of_thread(const char *path, struct pool_tree *t)
{
    char text[TEXT], *at = text, *end;
    if (!read_text(path, text)) {
        t->unknown = t->unknown || access(path, F_OK) == 0; /* else the thread has ended */
        return;
    }
    for (long pid; (pid = strtol(at, &end, 10)) > 0 && end != at; at = end) {
        if (is_over(pid))
            continue;
        if (t->n == POOL_TREE_MAX) {
            t->unknown = true;
            return;
        }
        t->pids[t->n++] = (int32_t)pid;
    }
}

static void add_children(long pid, struct pool_tree *t)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        snprintf(path, sizeof path, "/proc/%ld/task/%.16s/children", pid, entry->d_name);
        add_children_of_thread(path, t);
    }
    if (dir)
        closedir(dir);
}

void pool_tree_read(int64_t root, struct pool_tree *ret_tree)
{
    struct pool_tree *t = ret_tree;
    t->n = 0;
    t->unknown = root <= 0;
    if (root > 0)
        add_children((long)root, t);
    t->unknown = t->unknown || t->n == 0; /* errand-exec has the worker below it, if it can be seen at all */
    for (size_t i = 0; i < t->n && !t->unknown; i++)
        add_children(t->pids[i], t);
}

bool pool_tree_has_more(const struct pool_tree *now, const struct pool_tree *before)
{
    if (now->unknown || before->unknown)
        return true;
    for (size_t i = 0; i < now->n; i++) {
        size_t k = 0;
        while (k < before->n && before->pids[k] != now->pids[i])
            k++;
        if (k == before->n)
            return true;
    }
    return false;
}
