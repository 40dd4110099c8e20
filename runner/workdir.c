#include "runner/workdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "runner/tree.h"

enum { LOCK_TRIES = 5, SUFFIX = 6, USED_MOST = 200000 };

/* "errand-NODE-", with nothing in it that a file's name may not have. */
static void prefix_of(const struct config *config, char ret[96])
{
    snprintf(ret, 96, "errand-%.64s-", config->node);
    for (char *p = ret; *p; p++)
        if (*p == '/')
            *p = '_';
}

const char *workdir_base(const struct config *config)
{
    const char *temporary = getenv("TMPDIR");
    return config->work_dir[0] ? config->work_dir : temporary ? temporary : "/tmp";
}

/* A folder of ours that nobody holds, opened and locked; -1 otherwise. */
static int lock_folder(const char *path)
{
    struct stat opened, there;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    /* It may have been swept away between its making and this. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &opened) == 0 && opened.st_uid == geteuid() &&
        stat(path, &there) == 0 && opened.st_ino == there.st_ino)
        return fd;
    close(fd);
    return -1;
}

enum err workdirs_open(const struct config *config, struct workdirs *w, struct strbuf *ret_message)
{
    char prefix[96];
    prefix_of(config, prefix);
    for (int i = 0; i < LOCK_TRIES; i++) {
        snprintf(w->path, sizeof w->path, "%.300s/%sXXXXXX", workdir_base(config), prefix);
        if (!mkdtemp(w->path))
            break;
        w->lock = lock_folder(w->path);
        if (w->lock >= 0)
            return ERR_OK;
    }
    w->path[0] = 0;
    strbuf_addf(ret_message, "work-dir: can't make a folder in %s: %s", workdir_base(config), strerror(errno));
    return ERR_CONFIG;
}

void workdirs_close(struct workdirs *w)
{
    if (!w->path[0])
        return;
    (void)rmdir(w->path);
    close(w->lock);
    for (size_t i = 0; i < w->adopted_count; i++)
        close(w->adopted[i]);
    w->path[0] = 0;
}

void workdirs_hold(struct workdirs *w, const char *path)
{
    char folder[WORKDIR_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 0, path);
    int fd = slash && w->adopted_count < ARRAY_LEN(w->adopted)
                 ? open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                 : -1;
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        w->adopted[w->adopted_count++] = fd;
    else if (fd >= 0)
        close(fd); /* held already, for another attempt of the same runner */
}

bool workdir_make(const struct workdirs *w, struct str run_id, int64_t attempt, char path[WORKDIR_MAX])
{
    int n = snprintf(path, WORKDIR_MAX, "%s/%.*s-%lld-XXXXXX", w->path, STR_ARG(run_id), (long long)attempt);
    if (n > 0 && n < WORKDIR_MAX && mkdtemp(path))
        return true;
    path[0] = 0;
    return false;
}

/* ---- removing ---- */

struct removal {
    uv_work_t work;
    int lock; /* of the dead runner's folder that it is in, let go afterwards; -1: none */
    int64_t most;
    char path[];
};

static void removed(uv_work_t *work, int status)
{
    struct removal *r = work->data;
    (void)status;
    if (r->lock >= 0)
        close(r->lock);
    free(r);
}

static void remove_work(uv_work_t *work)
{
    const struct removal *r = work->data;
    tree_remove_some(r->path, r->most);
}

static void remove_later(struct loop *l, const char *path, int lock, int64_t most)
{
    size_t len = strlen(path) + 1;
    struct removal *r = calloc(1, sizeof *r + len);
    if (!r) {
        if (lock >= 0)
            close(lock);
        return;
    }
    r->work.data = r;
    r->lock = lock;
    r->most = most;
    memcpy(r->path, path, len);
    if (uv_queue_work(loop_uv(l), &r->work, remove_work, removed) != 0)
        removed(&r->work, 0);
}

void workdir_remove(struct loop *l, const char *path)
{
    if (path[0])
        remove_later(l, path, -1, INT64_MAX);
}

void workdir_remove_used(struct loop *l, const char *path)
{
    remove_later(l, path, -1, USED_MOST);
}

/* ---- what dead runners left ---- */

static bool is_kept(const char *name, const struct job_owner *keep, size_t n)
{
    char prefix[128];
    for (size_t i = 0; i < n; i++) {
        int len = snprintf(prefix, sizeof prefix, "%.*s-%lld-", STR_ARG(keep[i].run_id), (long long)keep[i].attempt);
        if (len > 0 && (size_t)len < sizeof prefix && strncmp(name, prefix, (size_t)len) == 0)
            return true;
    }
    return false;
}

/* One that still has an attempt to be kept loses the others only. */
static void sweep_folder(struct loop *l, const char *path, int lock, const struct job_owner *keep, size_t n)
{
    char inner[WORKDIR_MAX + 256];
    bool whole = true;
    for (int pass = 0; pass < 2; pass++) {
        DIR *d = n > 0 ? opendir(path) : NULL;
        const struct dirent *e;
        while (d && (e = readdir(d))) {
            bool kept = is_kept(e->d_name, keep, n);
            whole = whole && !kept;
            snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
            if (pass == 1 && !whole && !kept && e->d_name[0] != '.')
                remove_later(l, inner, -1, INT64_MAX);
        }
        if (d)
            closedir(d);
    }
    if (whole)
        remove_later(l, path, lock, INT64_MAX);
    else
        close(lock);
}

void workdirs_sweep(const struct workdirs *w, const struct config *config, struct loop *l, const struct job_owner *keep,
                    size_t n)
{
    char prefix[96], path[WORKDIR_MAX];
    prefix_of(config, prefix);
    size_t len = strlen(prefix);
    int64_t count = 0;
    DIR *d = opendir(workdir_base(config));
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        /* The length tells node "a" from node "a-b". */
        if (strncmp(e->d_name, prefix, len) != 0 || strlen(e->d_name) != len + SUFFIX)
            continue;
        snprintf(path, sizeof path, "%.300s/%.160s", workdir_base(config), e->d_name);
        int lock = strcmp(path, w->path) == 0 ? -1 : lock_folder(path);
        if (lock < 0)
            continue;
        sweep_folder(l, path, lock, keep, n);
        count++;
    }
    if (d)
        closedir(d);
    if (count > 0)
        LOG_INFO("removing folders that earlier runners of this node left", LOG_I("folders", count));
}
