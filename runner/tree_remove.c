/* Removing folders that agents had, maybe as root, maybe while one of them is still at work there. So nothing is named by a path: each step goes by a descriptor of the folder it is in, opened without following a link and
 * without passing a mount. errand-exec has this file, too: it needs nothing but libc. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runner/tree.h"

enum { OPEN_DEPTH = 64, NAME_TRIES = 100 };

struct removal {
    int top;        /* the folder itself */
    int64_t left;   /* entries that may still be looked at */
    unsigned moved; /* folders that lay too deep, and lie in the top one now */
    unsigned serial;
};

static int open_folder(int folder, const char *name)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                           .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH};
    return (int)syscall(SYS_openat2, folder, name, &how, sizeof how);
}

/* One that its owner may not read is given back to him. */
static int open_closed_folder(int folder, const char *name)
{
    return fchmodat(folder, name, 0700, AT_SYMLINK_NOFOLLOW) == 0 ? open_folder(folder, name) : -1;
}

/* To the top, from where its inside is in reach of few descriptors again. */
static void move_up(struct removal *r, int folder, const char *name)
{
    char to[32];
    for (int i = 0; i < NAME_TRIES; i++) {
        snprintf(to, sizeof to, "deep-%u", r->serial++);
        if (renameat2(folder, name, r->top, to, RENAME_NOREPLACE) == 0)
            r->moved++;
        else if (errno == EEXIST)
            continue;
        return;
    }
}

static void empty(struct removal *r, int fd, int depth);

static void remove_entry(struct removal *r, int folder, const char *name, int depth)
{
    if (--r->left < 0 || unlinkat(folder, name, 0) == 0 || (errno != EISDIR && errno != EPERM && errno != EACCES))
        return;
    int fd = open_folder(folder, name);
    if (fd < 0 && errno == EACCES)
        fd = open_closed_folder(folder, name);
    if (fd < 0)
        return;
    (void)fchmod(fd, 0700); /* it was sealed */
    if (depth == OPEN_DEPTH) {
        close(fd);
        move_up(r, folder, name);
        return;
    }
    empty(r, fd, depth + 1);
    (void)unlinkat(folder, name, AT_REMOVEDIR);
}

/* Takes the descriptor. */
static void empty(struct removal *r, int fd, int depth)
{
    const struct dirent *e;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return;
    }
    while (r->left > 0 && (e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            remove_entry(r, fd, e->d_name, depth);
    closedir(dir);
}

static void remove_folder(struct removal *r, int parent, const char *name)
{
    unsigned before;
    if (unlinkat(parent, name, 0) == 0 || (errno != EISDIR && errno != EPERM && errno != EACCES))
        return;
    r->top = open_folder(parent, name);
    if (r->top < 0 && errno == EACCES)
        r->top = open_closed_folder(parent, name);
    if (r->top < 0)
        return;
    (void)fchmod(r->top, 0700);
    do {
        before = r->moved;
        int again = openat(r->top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (again >= 0)
            empty(r, again, 0);
    } while (r->moved != before && r->left > 0);
    close(r->top);
    (void)unlinkat(parent, name, AT_REMOVEDIR);
}

void tree_remove_some(const char *path, int64_t most)
{
    struct removal r = {.left = most};
    char above[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(above, sizeof above, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    int parent = open(above, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return;
    remove_folder(&r, parent, slash ? slash + 1 : path);
    close(parent);
}

void tree_remove(const char *path)
{
    tree_remove_some(path, INT64_MAX);
}
