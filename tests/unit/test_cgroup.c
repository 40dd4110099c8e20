/* Control groups: what is found in the texts of /proc, and what a real group on this machine does. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runner/cgroup_parts.h"

static void expect_paths(const char *mounts, const char *own, const char *root, const char *const *paths, size_t n)
{
    struct cgroup_hierarchy at[CGROUP_HIERARCHIES];
    size_t count = cgroup_find(str_of(mounts), str_of(own), root, at);
    assert_int_equal(count, n);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(at[i].own, paths[i]);
}

static void test_find_v2(void **state)
{
    (void)state;
    const char *mounts = "22 1 0:20 / /proc rw - proc proc rw\n"
                         "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const char *path[] = {"/sys/fs/cgroup/system.slice/errand-runner.service"};
    expect_paths(mounts, "0::/system.slice/errand-runner.service\n", "", path, 1);
    const char *top[] = {"/sys/fs/cgroup"}, *given[] = {"/sys/fs/cgroup/errand/a"};
    expect_paths(mounts, "0::/\n", "", top, 1);
    expect_paths(mounts, "0::/\n", "/errand/a/", given, 1);
    expect_paths(mounts, "0::/../outside\n", "", top, 1);
    expect_paths("", "0::/\n", "", NULL, 0);
    expect_paths("broken\n\n30 23\n30 23 0:26 / /sys/fs/cgroup rw -\n", "", "", NULL, 0);
    expect_paths("30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw\n", "0::/\n", "", NULL, 0);
}

static void test_find_v1(void **state)
{
    (void)state;
    const char *mounts = "31 30 0:27 / /c/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
                         "32 30 0:28 /docker/abc /c/memory rw - cgroup cgroup rw,memory\n"
                         "33 30 0:29 / /c/pids rw - cgroup cgroup rw,pids\n"
                         "34 30 0:29 / /again/pids rw - cgroup cgroup rw,pids\n"
                         "35 30 0:30 / /c/systemd rw - cgroup cgroup rw,name=systemd\n"
                         "36 30 0:31 / /c/unified rw - cgroup2 cgroup2 rw\n";
    const char *paths[] = {"/c/cpu,cpuacct/x", "/c/memory/y", "/c/pids", "/c/unified/z"};
    expect_paths(mounts, "4:cpu,cpuacct:/x\n3:memory:/docker/abc/y\n2:pids:/\n1:name=systemd:/s\n0::/z\n", "", paths,
                 4);
    const char *elsewhere[] = {"/c/cpu,cpuacct", "/c/memory", "/c/pids", "/c/unified"};
    expect_paths(mounts, "3:memory:/system.slice\n", "", elsewhere, 4);
}

static void test_numbers(void **state)
{
    (void)state;
    assert_int_equal(cgroup_number("low 0\noom 3\noom_kill 2\n", "oom_kill"), 2);
    assert_int_equal(cgroup_number("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", "oom_kill"), 7);
    assert_int_equal(cgroup_number("max\n", NULL), -1);
    assert_int_equal(cgroup_number("12 100000\n", NULL), 12);
    assert_int_equal(cgroup_number("", "x"), -1);
    char name[CGROUP_NAME];
    cgroup_name(STR("../a b/1"), 3, name);
    assert_string_equal(name, "_._a_b_1-3");
}

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect_file(const char *dir, const char *name, const char *text)
{
    char found[256];
    cgroup_read(dir, name, found, sizeof found);
    assert_string_equal(found, text);
}

/* What is written to and read from a group of version 2, on plain files: not every machine that tests this has its controllers there. */
static void test_files_of_version_2(void **state)
{
    (void)state;
    char dir[] = "/tmp/errand-unit-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct cgroups c = {.count = 1, .at = {{.v2 = true, .has = HAS_MEMORY | HAS_CPU | HAS_PIDS | HAS_CPU_TIME}}};
    struct cgroup g = {.owner = &c, .dir = {dir}, .cpu_us = 0, .at_us = 0};
    const struct job_limits limits = {.memory_bytes = 1 << 20, .cpu_milli = 250, .pids = 7};
    static const char *const files[] = {"cpu.max", "pids.max", "memory.max", "memory.swap.max", "memory.oom.group"};
    assert_false(cgroup_limit(&c.at[0], dir, &limits)); /* a limit that can't be written is told */
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        put_file(dir, files[i], "");
    assert_true(cgroup_limit(&c.at[0], dir, &limits));
    expect_file(dir, "memory.max", "1048576");
    expect_file(dir, "memory.swap.max", "0");
    expect_file(dir, "memory.oom.group", "1");
    expect_file(dir, "cpu.max", "25000 100000");
    expect_file(dir, "pids.max", "7");
    put_file(dir, "memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n");
    assert_false(cgroup_oom(&g));
    put_file(dir, "memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 1\n");
    assert_true(cgroup_oom(&g));
    put_file(dir, "memory.current", "5000000\n");
    put_file(dir, "memory.stat", "anon 3\ninactive_file 1000000\n");
    put_file(dir, "cpu.stat", "usage_usec 1000000\nuser_usec 9\n");
    struct job_stats stats = {.cpu_percent = -1, .memory_bytes = -1, .network_rx_bytes = -1};
    cgroup_stats(&g, &stats);
    assert_int_equal(stats.memory_bytes, 4000000);
    assert_true(stats.cpu_percent > 0 && stats.network_rx_bytes == -1);
    static const char *const more[] = {"memory.events", "memory.current", "memory.stat", "cpu.stat"};
    char path[256];
    for (size_t i = 0; i < ARRAY_LEN(files) + ARRAY_LEN(more); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, i < ARRAY_LEN(files) ? files[i] : more[i - ARRAY_LEN(files)]);
        unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

struct rig {
    struct config config;
    struct loop *loop;
    struct cgroups *groups;
};

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    char name[64];
    snprintf(name, sizeof name, "unit-%d", (int)getpid());
    r->config.cgroup_root = "";
    r->config.node = strdup(name);
    r->loop = loop_new();
    *state = r;
    return cgroups_open(&r->config, r->loop, &r->groups) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    cgroups_close(r->groups);
    loop_free(r->loop);
    free((char *)(uintptr_t)r->config.node);
    free(r);
    return 0;
}

#define NEEDS(r, bit)                                                                                                  \
    if (!((r)->groups->has & (bit))) {                                                                                 \
        print_message("skipped: %s\n", cgroups_why((r)->groups));                                                      \
        skip();                                                                                                        \
    }

/* A child in the group; it does `what`. */
static pid_t child_in(const struct cgroup *g, void (*what)(void))
{
    const char *words[2 * CGROUP_HIERARCHIES];
    size_t n = 0;
    cgroup_options(g, words, &n, ARRAY_LEN(words));
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 1; i < n; i += 2)
            if (!cgroup_write(words[i], "cgroup.procs", "0"))
                _exit(9);
        close_range(3, ~0U, 0); /* the locks of its runner, which a program started by it would not have either */
        what();
        _exit(0);
    }
    return pid;
}

/* They are all there, and have let go of this process' descriptors. */
static void wait_for_members(const struct cgroup *g, int n)
{
    const char *words[2 * CGROUP_HIERARCHIES];
    char text[1024];
    size_t count = 0;
    int lines = 0;
    cgroup_options(g, words, &count, ARRAY_LEN(words));
    while (lines < n) {
        lines = 0;
        cgroup_read(words[count - 1], "cgroup.procs", text, sizeof text);
        for (const char *p = text; (p = strchr(p, '\n')); p++)
            lines++;
    }
}

static void bomb(void)
{
    for (;;) {
        volatile char *p = malloc(1 << 20);
        for (size_t i = 0; p && i < 1 << 20; i += 4096)
            p[i] = 1;
    }
}

static void forks(void)
{
    for (int i = 0; i < 3; i++)
        if (fork() == 0)
            for (;;)
                pause();
    for (;;)
        pause();
}

static void burn(void)
{
    for (;;)
        ;
}

static void test_memory(void **state)
{
    struct rig *r = *state;
    NEEDS(r, HAS_MEMORY)
    const char *why;
    const struct job_limits limits = {.memory_bytes = 32 << 20};
    struct cgroup *g = cgroup_make(r->groups, STR("memory"), 1, &limits, &why);
    assert_non_null(g);
    assert_false(cgroup_oom(g));
    int status;
    pid_t pid = child_in(g, bomb);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_true(cgroup_oom(g));
    cgroup_free(g);
}

/* What was never waited for is killed with the group, and the group is gone from every hierarchy. */
static void test_free_kills(void **state)
{
    struct rig *r = *state;
    NEEDS(r, HAS_PIDS)
    const char *why, *words[2 * CGROUP_HIERARCHIES];
    const struct job_limits limits = {.pids = 8};
    struct cgroup *g = cgroup_make(r->groups, STR("kill"), 1, &limits, &why);
    assert_non_null(g);
    size_t n = 0;
    char dirs[CGROUP_HIERARCHIES][CGROUP_PATH + CGROUP_NAME];
    cgroup_options(g, words, &n, ARRAY_LEN(words));
    for (size_t i = 0; i < n / 2; i++)
        snprintf(dirs[i], sizeof dirs[i], "%s", words[2 * i + 1]);
    pid_t pid = child_in(g, forks);
    wait_for_members(g, 4);
    cgroup_free(g);
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    cgroups_wait_dying(r->groups, 5000);
    for (size_t i = 0; i < n / 2; i++)
        assert_int_not_equal(access(dirs[i], F_OK), 0);
}

static void test_cpu(void **state)
{
    struct rig *r = *state;
    NEEDS(r, HAS_CPU)
    const char *why;
    const struct job_limits limits = {.cpu_milli = 200};
    struct cgroup *g = cgroup_make(r->groups, STR("cpu"), 1, &limits, &why);
    struct job_stats stats = {.cpu_percent = -1, .memory_bytes = -1};
    pid_t pid = child_in(g, burn);
    usleep(500000);
    cgroup_stats(g, &stats);
    assert_true(stats.cpu_percent > 1 && stats.cpu_percent < 45); /* two periods' worth of one too many at most */
    cgroup_free(g);
    int status;
    waitpid(pid, &status, 0);
}

/* Nothing asked for: a group of version 2 where there is one, else none; never an error. */
static void test_without_limits(void **state)
{
    struct rig *r = *state;
    const char *why = "?";
    const struct job_limits limits = {0};
    struct cgroup *g = cgroup_make(r->groups, STR("plain"), 1, &limits, &why);
    assert_null(why);
    cgroup_free(g);
    struct cgroups none = {.loop = r->loop};
    const struct job_limits memory = {.memory_bytes = 1};
    assert_null(cgroup_make(&none, STR("x"), 1, &memory, &why));
    assert_non_null(why);
    assert_null(cgroup_make(&none, STR("x"), 1, &limits, &why));
    assert_null(why);
}

/* A sweep leaves the folder of a runner that lives, and ends what a dead one left, but for what is kept; that is then taken over. */
static void test_sweep(void **state)
{
    struct rig *r = *state;
    NEEDS(r, HAS_PIDS)
    const char *why, *words[2 * CGROUP_HIERARCHIES];
    struct cgroups *other;
    const struct job_limits limits = {.pids = 8};
    assert_int_equal(cgroups_open(&r->config, r->loop, &other), ERR_OK);
    struct cgroup *left = cgroup_make(other, STR("left"), 1, &limits, &why),
                  *kept = cgroup_make(other, STR("kept"), 2, &limits, &why);
    size_t n = 0;
    cgroup_options(left, words, &n, ARRAY_LEN(words));
    char dir[CGROUP_PATH + CGROUP_NAME];
    snprintf(dir, sizeof dir, "%s", words[1]);
    pid_t child = child_in(left, forks), survivor = child_in(kept, forks);
    wait_for_members(left, 4);
    wait_for_members(kept, 4);
    cgroups_sweep(r->groups, NULL, 0);
    assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
    for (size_t i = 0; i < other->count; i++) { /* its runner dies: the locks go */
        if (other->at[i].lock >= 0)
            close(other->at[i].lock);
        other->at[i].lock = -1;
    }
    cgroups_sweep(r->groups, (struct job_owner[]){{STR("kept"), 2}}, 1);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_not_equal(access(dir, F_OK), 0);
    assert_int_equal(waitpid(survivor, NULL, WNOHANG), 0);
    struct cgroup *adopted = cgroup_adopt(r->groups, STR("kept"), 2);
    assert_non_null(adopted);
    assert_null(cgroup_adopt(r->groups, STR("left"), 1));
    cgroups_sweep(r->groups, NULL, 0); /* taken over: not a dead runner's any more */
    assert_int_equal(waitpid(survivor, NULL, WNOHANG), 0);
    cgroup_free(adopted);
    waitpid(survivor, &status, 0);
    assert_true(WIFSIGNALED(status));
    cgroups_wait_dying(r->groups, 5000);
    cgroup_free(left);
    cgroup_free(kept);
    for (size_t i = 0; i < other->count; i++)
        assert_int_not_equal(access(other->at[i].home, F_OK), 0);
    cgroups_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_v2),
        cmocka_unit_test(test_find_v1),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_files_of_version_2),
        cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_free_kills, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cpu, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sweep, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
