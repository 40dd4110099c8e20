/* Finds descendants by /proc/PID/task/TID/children, which costs what the tree itself is large; where the kernel has no such file, by the parent of every process. A subreaper inherits whoever daemonises, so a chain of
 * parents leads from each descendant to this process, whatever sessions and groups they made. Lists read while processes fork and die may miss some: callers come again until there is no child left. */
#include "runner/errand_exec_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#define TREE_MAX  65536   /* descendants looked at in one pass; more are met in the next */
#define PID_LIMIT 4194304 /* the kernel's own bound on pid_max */
#define FREEZE_MS 1000    /* a process in an uninterruptible wait does not stop: don't wait for it */
#define PATH_LEN  64

struct found {
    pid_t pid;
    pid_t parent;
};

/* Static, so that nothing can fail for want of memory; pages are taken only as far as they are touched. One tree a process. */
static struct found tree[TREE_MAX];
static size_t tree_len;
static pid_t spared;
static unsigned char terminated[PID_LIMIT / 8];

static bool read_small(const char *path, char *buf, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, buf, cap - 1);
    close(fd);
    if (n <= 0)
        return false;
    buf[n] = '\0';
    return true;
}

bool proc_stat_read(pid_t pid, struct proc_stat *ret_stat)
{
    char path[PATH_LEN], buf[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!read_small(path, buf, sizeof(buf)))
        return false;
    /* The name stands in parentheses and may hold anything, parentheses too: what follows the last one is regular. */
    char *p = strrchr(buf, ')');
    if (!p || p[1] != ' ')
        return false;
    char state = p[2];
    p += 3;
    struct proc_stat s = {.state = state, .parent = (pid_t)strtol(p, &p, 10)};
    for (int field = 5; field < 22; field++)
        (void)strtoll(p, &p, 10);
    s.start_time = strtoull(p, NULL, 10);
    *ret_stat = s;
    return true;
}

static void tree_add(pid_t pid, pid_t parent)
{
    if (tree_len < TREE_MAX && pid > 1 && pid < PID_LIMIT)
        tree[tree_len++] = (struct found){pid, parent};
}

/* Adds the pids of one `children` file, which is "12 34 56 ". False when it can't be opened. */
static bool add_children_of_thread(pid_t pid, const char *tid)
{
    char path[PATH_LEN + 32], buf[4096];
    snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    pid_t number = 0;
    ssize_t n;
    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] >= '0' && buf[i] <= '9') {
                number = number * 10 + (buf[i] - '0');
            } else if (number > 0) {
                tree_add(number, pid);
                number = 0;
            }
        }
    }
    if (number > 0)
        tree_add(number, pid);
    close(fd);
    return true;
}

static void add_children(pid_t pid)
{
    char path[PATH_LEN];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
            (void)add_children_of_thread(pid, entry->d_name);
    }
    closedir(dir);
}

/* Without CONFIG_PROC_CHILDREN: all processes with their parents, then those dropped which do not lead here. */
static void walk_by_parents(void)
{
    DIR *dir = opendir("/proc");
    if (!dir)
        return;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        struct proc_stat s;
        if (pid > 1 && proc_stat_read(pid, &s))
            tree_add(pid, s.parent);
    }
    closedir(dir);
    /* What is reached moves to the front, [0, reached), in the order of generations; `done` of them had their children looked for. */
    size_t reached = 0;
    pid_t parent = getpid();
    for (size_t done = 0;; done++) {
        for (size_t i = reached; i < tree_len; i++) {
            if (tree[i].parent == parent) {
                struct found f = tree[i];
                tree[i] = tree[reached];
                tree[reached++] = f;
            }
        }
        if (done == reached)
            break;
        parent = tree[done].pid;
    }
    tree_len = reached;
}

/* Signals exactly the process that was found: the pidfd pins it, and what still has the right parent behind the pidfd's opening is no stranger that got a reused number. */
static bool signal_found(const struct found *f, int sig, int also)
{
    int fd = pidfd_open(f->pid, 0);
    if (fd < 0) {
        if (errno != ENOSYS && errno != EMFILE && errno != ENFILE)
            return false;
        return kill(f->pid, sig) == 0 && (also == 0 || kill(f->pid, also) == 0);
    }
    struct proc_stat s;
    bool ours = proc_stat_read(f->pid, &s) && (s.parent == f->parent || s.parent == getpid());
    bool sent = ours && pidfd_send_signal(fd, sig, NULL, 0) == 0;
    if (sent && also != 0)
        (void)pidfd_send_signal(fd, also, NULL, 0);
    close(fd);
    return sent;
}

/* Empties the tree, then adds the direct children. False where the kernel has no `children` file. */
static bool add_own_children(void)
{
    char self[16];
    snprintf(self, sizeof(self), "%d", (int)getpid());
    tree_len = 0;
    return add_children_of_thread(getpid(), self);
}

typedef void (*visit_fn)(const struct found *f, size_t *count);

/* Visits each descendant before its children are read, so that what a visit stopped can't have more of them than those read then. Returns what the visits counted. */
static size_t walk(visit_fn visit)
{
    size_t count = 0;
    bool has_children_file = add_own_children();
    if (!has_children_file)
        walk_by_parents();
    for (size_t i = 0; i < tree_len; i++) {
        visit(&tree[i], &count);
        if (has_children_file)
            add_children(tree[i].pid);
    }
    return count;
}

static bool was_terminated(pid_t pid)
{
    return terminated[pid / 8] & (1U << (pid % 8));
}

static void visit_terminate(const struct found *f, size_t *count)
{
    if (was_terminated(f->pid) || f->pid == spared)
        return;
    terminated[f->pid / 8] |= (unsigned char)(1U << (f->pid % 8));
    /* A process that is stopped would sleep through its chance to clean up. */
    if (signal_found(f, SIGTERM, SIGCONT))
        ++*count;
}

void tree_spare(pid_t pid)
{
    spared = pid;
}

void tree_terminate(void)
{
    size_t count = walk(visit_terminate);
    /* Who lost its parent during the walk has come up to this process: only such trees are looked for again. A full second walk would hit the helpers that an agent starts in order to clean up. */
    if (!add_own_children())
        return;
    for (size_t i = 0, direct = tree_len; i < tree_len; i++) {
        if (i < direct && was_terminated(tree[i].pid))
            continue;
        visit_terminate(&tree[i], &count);
        add_children(tree[i].pid);
    }
}

static void visit_freeze(const struct found *f, size_t *count)
{
    struct proc_stat s;
    if (!proc_stat_read(f->pid, &s) || strchr("TtZXx", s.state))
        return;
    if (signal_found(f, SIGSTOP, 0))
        ++*count;
}

static void visit_kill(const struct found *f, size_t *count)
{
    if (signal_found(f, SIGKILL, 0))
        ++*count;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void tree_kill(void)
{
    int64_t until = now_ms() + FREEZE_MS;
    while (walk(visit_freeze) > 0 && now_ms() < until)
        ;
    (void)walk(visit_kill);
}
