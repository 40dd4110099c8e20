#include "runner/workdir.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *workdir_base(const struct config *config)
{
    const char *temporary = getenv("TMPDIR");
    return config->work_dir[0] ? config->work_dir : temporary ? temporary : "/tmp";
}

enum err workdir_check(const struct config *config, struct strbuf *ret_message)
{
    char path[WORKDIR_MAX];
    snprintf(path, sizeof path, "%.400s/errand-check-XXXXXX", workdir_base(config));
    if (mkdtemp(path)) {
        rmdir(path);
        return ERR_OK;
    }
    strbuf_addf(ret_message, "work-dir: can't make a folder in %s: %s", workdir_base(config), strerror(errno));
    return ERR_CONFIG;
}

bool workdir_make(const struct config *config, const struct id *run_id, char path[WORKDIR_MAX])
{
    snprintf(path, WORKDIR_MAX, "%.400s/errand-%.8s-XXXXXX", workdir_base(config), run_id->s + 9);
    if (mkdtemp(path))
        return true;
    path[0] = 0;
    return false;
}

static void removed(uv_work_t *work, int status)
{
    (void)status;
    free(work->data);
    free(work);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path); /* best effort: the agent may have made it unremovable */
    return 0;
}

static void remove_tree(uv_work_t *work)
{
    nftw(work->data, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void workdir_remove(struct loop *l, const char *path)
{
    uv_work_t *work = path[0] ? calloc(1, sizeof *work) : NULL;
    if (!work)
        return;
    work->data = strdup(path);
    if (uv_queue_work(loop_uv(l), work, remove_tree, removed) != 0)
        removed(work, 0);
}
