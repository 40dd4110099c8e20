/* Removing what an agent left: whatever it made of its folder, all of it goes, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/loop.h"
#include "runner/tree.h"
#include "runner/workdir.h"

enum { FILES = 40, ROUNDS = 300, DEEP = 3000 };

/* A folder of the runner's, with the agent's, `mine`, and one that is none of its business, `other`. */
struct place {
    char base[64], mine[80], other[80];
};

static void fill(const char *folder)
{
    char path[128];
    assert_true(mkdir(folder, 0755) == 0 || errno == EEXIST);
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/f%d", folder, i);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        close(fd);
    }
}

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->base, sizeof p->base, "/tmp/errand-remove-XXXXXX");
    assert_non_null(mkdtemp(p->base));
    snprintf(p->mine, sizeof p->mine, "%s/mine", p->base);
    snprintf(p->other, sizeof p->other, "%s/other", p->base);
    assert_int_equal(mkdir(p->mine, 0700), 0);
    fill(p->other);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    tree_remove(p->base);
    bool gone = access(p->base, F_OK) != 0;
    free(p);
    return gone ? 0 : -1;
}

static bool is_whole(const char *folder)
{
    char path[128];
    struct stat st;
    bool whole = stat(folder, &st) == 0 && (st.st_mode & 0777) == 0755;
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/f%d", folder, i);
        whole = whole && lstat(path, &st) == 0;
    }
    return whole;
}

/* As the runner removes the folder of an attempt. */
static void remove_now(const char *path)
{
    struct loop *l = loop_new();
    assert_non_null(l);
    workdir_remove(l, path);
    loop_run(l);
    loop_free(l);
}

static void test_links_are_not_followed(void **state)
{
    const struct place *p = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/link", p->mine);
    assert_int_equal(symlink(p->other, path), 0);
    remove_now(p->mine);
    assert_int_not_equal(access(p->mine, F_OK), 0);
    assert_true(is_whole(p->other));
    assert_int_equal(symlink(p->other, p->mine), 0);
    remove_now(p->mine);
    assert_true(is_whole(p->other));
}

struct swapper {
    char folder[128], link[128];
    atomic_bool over;
};

static void *swap(void *ctx)
{
    struct swapper *s = ctx;
    while (!atomic_load(&s->over))
        (void)renameat2(AT_FDCWD, s->folder, AT_FDCWD, s->link, RENAME_EXCHANGE);
    return NULL;
}

/* A worker of a pool lives on while what its last run left is removed: a folder that becomes a link meanwhile leads nowhere. */
static void test_an_agent_at_work_in_it_leads_nobody_out(void **state)
{
    const struct place *p = *state;
    struct swapper s = {.over = false};
    pthread_t thread;
    snprintf(s.folder, sizeof s.folder, "%s/a", p->mine);
    snprintf(s.link, sizeof s.link, "%s/b", p->mine);
    for (int i = 0; i < ROUNDS; i++) {
        assert_true(mkdir(p->mine, 0700) == 0 || errno == EEXIST);
        fill(s.folder);
        assert_int_equal(symlink(p->other, s.link), 0);
        atomic_store(&s.over, false);
        assert_int_equal(pthread_create(&thread, NULL, swap, &s), 0);
        remove_now(p->mine);
        atomic_store(&s.over, true);
        pthread_join(thread, NULL);
        assert_true(is_whole(p->other));
        tree_remove(p->mine);
        assert_int_not_equal(access(p->mine, F_OK), 0);
    }
}

/* Deeper than any path may be long, and than descriptors would last. */
static void test_depth_is_no_way_to_stay(void **state)
{
    const struct place *p = *state;
    char name[128], first[256];
    int fd = open(p->mine, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    memset(name, 'd', 100);
    name[100] = 0;
    for (int i = 0; i < DEEP; i++) {
        assert_int_equal(mkdirat(fd, name, 0700), 0);
        int below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(below >= 0);
        close(fd);
        fd = below;
    }
    close(fd);
    snprintf(first, sizeof first, "%s/f", p->mine);
    fill(first);
    remove_now(p->mine);
    assert_int_not_equal(access(p->mine, F_OK), 0);
}

/* Folders that may be neither read nor entered. */
static void test_modes_are_no_way_to_stay(void **state)
{
    const struct place *p = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/closed", p->mine);
    fill(path);
    pid_t pid = fork(); /* for root no mode is an obstacle */
    assert_true(pid >= 0);
    if (pid == 0) {
        bool ok =
            chmod(p->base, 0777) == 0 &&
            (geteuid() != 0 || (chown(p->mine, 4711, 4711) == 0 && chown(path, 4711, 4711) == 0 && setuid(4711) == 0));
        ok = ok && chmod(path, 0) == 0 && chmod(p->mine, 0500) == 0;
        tree_remove(p->mine);
        _exit(ok ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_not_equal(access(p->mine, F_OK), 0);
}

/* An agent that is root, as under the executor process it may be, and leaves a mount behind: also one of the same file system, which no device number tells. */
static void test_mounts_are_not_passed(void **state)
{
    const struct place *p = *state;
    char at[128];
    snprintf(at, sizeof at, "%s/mounted", p->mine);
    assert_int_equal(mkdir(at, 0700), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount(p->other, at, NULL, MS_BIND, NULL) != 0)
            _exit(77);
        tree_remove(p->mine);
        bool whole = is_whole(p->other);
        if (mount(p->other, p->mine, NULL, MS_BIND, NULL) != 0)
            _exit(77);
        tree_remove(p->mine);
        _exit(whole && is_whole(p->other) ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WEXITSTATUS(status) == 77) {
        print_message("nothing can be mounted here\n");
        skip();
    }
    assert_int_equal(status, 0);
    assert_true(is_whole(p->other));
}

/* While somebody goes on writing there it ends all the same. */
static void test_a_bound_ends_it(void **state)
{
    const struct place *p = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/f", p->mine);
    fill(path);
    tree_remove_some(p->mine, FILES / 2);
    assert_int_equal(access(p->mine, F_OK), 0);
    tree_remove_some(p->mine, FILES + 2);
    assert_int_not_equal(access(p->mine, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_links_are_not_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_agent_at_work_in_it_leads_nobody_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_depth_is_no_way_to_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_modes_are_no_way_to_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mounts_are_not_passed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bound_ends_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
