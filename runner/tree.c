#include "runner/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BENEATH_TRIES = 1000, BLOCK = 4096 };

enum err tree_link_inside(int root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd;
    int tries = 0;
    do /* EAGAIN: something was renamed on this machine while the kernel looked at a ".." */
        fd = syscall(SYS_openat2, root, path, &how, sizeof how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR) && ++tries < BENEATH_TRIES);
    if (fd >= 0)
        close((int)fd);
    if (fd >= 0 || errno == ENOENT || errno == ENOTDIR)
        return ERR_OK;
    return errno == EXDEV ? ERR_FORBIDDEN : errno == ELOOP ? ERR_LIMIT_EXCEEDED : ERR_IO;
}

struct seal {
    int root;
    const char *outside;
    int64_t bytes;
    bool free_links; /* within `outside` */
    char path[PATH_MAX];
};

static enum err seal_folder(struct seal *s, int fd, size_t path_len, int depth);

static enum err seal_entry(struct seal *s, int folder, const char *name, size_t path_len, int depth)
{
    struct stat st;
    int len = snprintf(s->path + path_len, sizeof s->path - path_len, "%s%s", path_len > 0 ? "/" : "", name);
    if (len < 0 || (size_t)len >= sizeof s->path - path_len || depth >= TREE_DEPTH)
        return ERR_LIMIT_EXCEEDED;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return ERR_IO;
    s->bytes += (st.st_size + BLOCK - 1) / BLOCK * BLOCK + BLOCK;
    if (S_ISLNK(st.st_mode))
        return s->free_links ? ERR_OK : tree_link_inside(s->root, s->path);
    if (S_ISREG(st.st_mode)) /* no link, as was just seen, and nobody but us is here */
        return fchmodat(folder, name, st.st_mode & 0111 ? 0555 : 0444, 0) == 0 ? ERR_OK : ERR_IO;
    if (!S_ISDIR(st.st_mode))
        return ERR_FORBIDDEN;
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool free_before = s->free_links;
    if (depth == 0 && s->outside && strcmp(name, s->outside) == 0)
        s->free_links = true;
    enum err err = fd >= 0 ? seal_folder(s, fd, path_len + (size_t)len, depth + 1) : ERR_IO;
    s->free_links = free_before;
    return err;
}

/* Takes the descriptor. */
static enum err seal_folder(struct seal *s, int fd, size_t path_len, int depth)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return ERR_IO;
    }
    enum err err = ERR_OK;
    const struct dirent *e;
    while (!err && (e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            err = seal_entry(s, fd, e->d_name, path_len, depth);
    if (!err && fchmod(fd, 0555) != 0)
        err = ERR_IO;
    s->path[path_len] = 0;
    closedir(dir);
    return err;
}

enum err tree_seal(const char *path, const char *outside, int64_t *ret_bytes)
{
    struct seal s = {.root = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), .outside = outside};
    int fd = s.root >= 0 ? fcntl(s.root, F_DUPFD_CLOEXEC, 3) : -1;
    enum err err = fd >= 0 ? seal_folder(&s, fd, 0, 0) : ERR_IO;
    if (s.root >= 0)
        close(s.root);
    if (!err)
        *ret_bytes = s.bytes;
    return err;
}
