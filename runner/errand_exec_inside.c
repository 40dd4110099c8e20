#include "runner/errand_exec_inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"

#define ENV_WORDS_MAX 8192
#define LISTEN_MAX    64
#define CAPS_MAX      64

struct inside {
    int report, filter, env, listen, share;
    uid_t identity; /* 0: stays who it is */
    const char *own, *workdir;
    char **command;
};

static void say(int report, char what, const char *step, int value)
{
    struct inside_word w = {.what = what, .value = value};
    snprintf(w.step, sizeof(w.step), "%s", step);
    if (write(report, &w, sizeof(w)) != (ssize_t)sizeof(w))
        _exit(127); /* nobody is there to end this any more */
}

static _Noreturn void fail(const struct inside *in, const char *step)
{
    say(in->report, INSIDE_FAILED, step, errno);
    _exit(127);
}

static bool parse(struct inside *in, int argc, char **argv)
{
    *in = (struct inside){.report = -1, .filter = -1, .env = -1, .listen = -1, .share = -1};
    int i = 1;
    for (; i + 1 < argc && strcmp(argv[i], "--") != 0; i += 2) {
        int number = (int)strtol(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--report") == 0)
            in->report = number;
        else if (strcmp(argv[i], "--filter") == 0)
            in->filter = number;
        else if (strcmp(argv[i], "--env") == 0)
            in->env = number;
        else if (strcmp(argv[i], "--listen") == 0)
            in->listen = number;
        else if (strcmp(argv[i], "--share") == 0)
            in->share = number;
        else if (strcmp(argv[i], "--identity") == 0)
            in->identity = (uid_t)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--own") == 0)
            in->own = argv[i + 1];
        else if (strcmp(argv[i], "--workdir") == 0)
            in->workdir = argv[i + 1];
        else
            return false;
    }
    in->command = i + 1 < argc ? argv + i + 1 : NULL;
    return in->report >= 0 && in->command;
}

/* All of a descriptor, in memory that stays. NULL when it can't be had. */
static char *map(int fd, size_t *ret_len)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return NULL;
    *ret_len = (size_t)st.st_size;
    void *p = mmap(NULL, *ret_len + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void take_environment(const struct inside *in)
{
    static char *words[ENV_WORDS_MAX + 1];
    size_t len, n = 0;
    char *text = map(in->env, &len);
    if (!text)
        fail(in, "environment");
    for (char *at = text; at < text + len; at += strlen(at) + 1) {
        if (n == ENV_WORDS_MAX) {
            errno = E2BIG;
            fail(in, "environment");
        }
        words[n++] = at;
    }
    environ = words;
}

/* The proxy's front door: a socket of this network namespace, accepted from outside of it. */
static void hand_out_listener(const struct inside *in)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(INSIDE_PORT)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, LISTEN_MAX) != 0)
        fail(in, "proxy");
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = 'l';
    struct iovec iov = {&byte, 1};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    if (sendmsg(in->listen, &m, MSG_NOSIGNAL) != 1)
        fail(in, "proxy");
    close(fd);
    close(in->listen);
}

/* ---- rights ---- */

static uid_t new_owner; /* nftw has no argument for its callback */

static int own_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return lchown(path, new_owner, new_owner);
}

static int share_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    mode_t more = st->st_mode & 0100 ? 0055 : 0044;
    (void)ftw;
    if (type == FTW_SL || (st->st_mode & more) == more)
        return 0;
    return chmod(path, (st->st_mode & 07777) | more);
}

/* Once a folder: the first one leaves its mark, which is the mode of the folder itself, set last. It goes by a descriptor, for the sandbox has it read-only. */
static void share(const struct inside *in)
{
    char path[40];
    struct stat st;
    snprintf(path, sizeof(path), "/proc/self/fd/%d/.", in->share);
    if (fstat(in->share, &st) != 0 ||
        ((st.st_mode & 0055) != 0055 && nftw(path, share_one, 16, FTW_PHYS | FTW_MOUNT | FTW_DEPTH) != 0))
        fail(in, "code");
    close(in->share);
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* From root to somebody who owns nothing but the private folder; the user namespace then knows that one alone. */
static void become(const struct inside *in)
{
    char map_line[48];
    uid_t id = in->identity;
    new_owner = id;
    if (in->own && nftw(in->own, own_one, 16, FTW_PHYS | FTW_MOUNT) != 0)
        fail(in, "private folder");
    if (in->share >= 0)
        share(in);
    if (setgroups(0, NULL) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0)
        fail(in, "identity");
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* else its own /proc/self belongs to root */
    snprintf(map_line, sizeof(map_line), "%u %u 1", (unsigned)id, (unsigned)id);
    if (unshare(CLONE_NEWUSER) != 0 || !write_file("/proc/self/setgroups", "deny") ||
        !write_file("/proc/self/gid_map", map_line) || !write_file("/proc/self/uid_map", map_line))
        fail(in, "user namespace");
}

static void drop_capabilities(const struct inside *in)
{
    for (int cap = 0; cap < CAPS_MAX; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* fails where there is none to drop, and above the last one */
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    if (syscall(SYS_capset, &head, none) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        fail(in, "capabilities");
}

static void load_filter(const struct inside *in)
{
    size_t len;
    char *bytes = map(in->filter, &len);
    if (!bytes)
        fail(in, "seccomp");
    struct sock_fprog program = {.len = (unsigned short)(len / sizeof(struct sock_filter)),
                                 .filter = (struct sock_filter *)(void *)bytes};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        fail(in, "seccomp");
}

/* ---- the command ---- */

static _Noreturn void run_command(const struct inside *in, int failure)
{
    sigset_t none;
    const char *step = "exec";
    (void)setsid();
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0) {
        if (in->workdir && chdir(in->workdir) != 0)
            step = "workdir";
        else
            execvp(in->command[0], in->command);
    }
    struct inside_word w = {.what = INSIDE_FAILED, .value = errno};
    snprintf(w.step, sizeof(w.step), "%s", step);
    (void)!write(failure, &w, sizeof(w));
    _exit(127);
}

static pid_t start(const struct inside *in)
{
    int ends[2];
    struct inside_word w;
    if (pipe2(ends, O_CLOEXEC) != 0)
        fail(in, "pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail(in, "fork");
    if (pid == 0)
        run_command(in, ends[1]);
    close(ends[1]);
    ssize_t n;
    while ((n = read(ends[0], &w, sizeof(w))) < 0 && errno == EINTR)
        ;
    close(ends[0]);
    if (n == (ssize_t)sizeof(w)) {
        errno = w.value;
        fail(in, w.step);
    }
    say(in->report, INSIDE_RUNNING, "", 0);
    return pid;
}

/* The agent's pipes are the agent's. */
static void let_go_of_stdio(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2; fd++)
        if (null < 0 || dup2(null, fd) < 0)
            close(fd);
}

/* Takes in who ended, and tells of the command. False: nobody is left. */
static bool reap(const struct inside *in, pid_t command)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid == 0)
            return true;
        if (pid < 0 && errno != EINTR)
            return false;
        if (pid != command)
            continue;
        if (WIFSIGNALED(status))
            say(in->report, INSIDE_SIGNALED, "", WTERMSIG(status));
        else
            say(in->report, INSIDE_EXITED, "", WEXITSTATUS(status));
    }
}

/* Until nobody is left, or errand-exec outside, which alone reads the pipe: with the first process of its namespace everything in it dies. (bubblewrap's own way, a signal at its parent's death, is not let through to another user.) */
static void attend(const struct inside *in, pid_t command, int signals)
{
    struct signalfd_siginfo info[16];
    while (reap(in, command)) {
        struct pollfd fds[] = {{.fd = signals, .events = POLLIN}, {.fd = in->report}};
        (void)poll(fds, ARRAY_LEN(fds), -1);
        if (fds[1].revents)
            return;
        (void)!read(signals, info, sizeof(info));
    }
}

int inside_main(int argc, char **argv)
{
    struct inside in;
    sigset_t all, child;
    if (!parse(&in, argc, argv))
        return 2;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    if (in.env >= 0)
        take_environment(&in);
    if (in.listen >= 0)
        hand_out_listener(&in);
    if (in.identity > 0)
        become(&in);
    /* A change of identity forgets both. Not dumpable: the agent has the same user, and must neither trace this process nor open what it has open. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    drop_capabilities(&in);
    umask(077);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        fail(&in, "signalfd");
    if (in.filter >= 0)
        load_filter(&in);
    pid_t command = start(&in);
    let_go_of_stdio();
    attend(&in, command, signals);
    return 0;
}
