#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/dev.h"
#include "cli/interrupt.h"
#include "common/clock.h"

#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS   10000
#define HEALTHY_MS       30000      /* who ran for this long begins with the first backoff again */
#define LOG_MAX          (16 << 20) /* a log larger than this is put aside when its program starts */

bool dev_children_begin(struct dev *d)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    interrupt_begin();
    d->child_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return d->child_fd >= 0;
}

struct child *dev_child_add(struct dev *d, const char *name)
{
    PRE(d->count < DEV_CHILDREN_MAX);
    struct child *c = &d->children[d->count++];
    *c = (struct child){.backoff_ms = BACKOFF_FIRST_MS};
    snprintf(c->name, sizeof(c->name), "%s", name);
    return c;
}

void dev_child_arg(struct child *c, const char *arg)
{
    size_t n = 0;
    while (c->argv[n])
        n++;
    PRE(n < DEV_ARGS_MAX);
    c->argv[n] = arg;
}

void dev_child_env(struct child *c, const char *name_value)
{
    size_t n = 0;
    while (c->env[n])
        n++;
    PRE(n < DEV_ENV_MAX);
    c->env[n] = name_value;
}

/* What this process was given for itself must not reach a node: only what the child's own list says. */
static bool is_own_variable(const char *entry)
{
    static const char *const names[] = {"ERRAND_URL=",
                                        "ERRAND_KEY=",
                                        "ERRAND_ROOT_KEY=",
                                        "ERRAND_ROOT_KEY_FILE=",
                                        "ERRAND_MASTER_KEY=",
                                        "ERRAND_MASTER_KEY_FILE=",
                                        "ERRAND_MASTER_KEY_OLD=",
                                        "ERRAND_MASTER_KEY_OLD_FILE=",
                                        "ERRAND_CONFIG=",
                                        "ERRAND_LISTEN=",
                                        "ERRAND_NODE=",
                                        "ERRAND_REDIS_URL=",
                                        "ERRAND_PREFIX=",
                                        "ERRAND_PORT_FILE=",
                                        "ERRAND_REDIS_USER=",
                                        "ERRAND_REDIS_PASSWORD=",
                                        "ERRAND_REDIS_PASSWORD_FILE=",
                                        "ERRAND_METRICS_LISTEN=",
                                        "ERRAND_SHARDS=",
                                        "ERRAND_QUEUES=",
                                        "ERRAND_CHECK_EXECUTORS=",
                                        "ERRAND_WORK_DIR="};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strncmp(entry, names[i], strlen(names[i])) == 0)
            return true;
    }
    return false;
}

/* The child's environment: ours, without what is our own, the child's on top. malloc'd array, borrowed strings. */
static char **build_environment(const struct child *c)
{
    size_t n = 0, count = 0;
    while (environ[n])
        n++;
    char **env = calloc(n + DEV_ENV_MAX + 1, sizeof(*env));
    if (!env)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        bool replaced = is_own_variable(environ[i]);
        for (size_t k = 0; c->env[k] && !replaced; k++)
            replaced = strncmp(environ[i], c->env[k], strcspn(c->env[k], "=") + 1) == 0;
        if (!replaced)
            env[count++] = environ[i];
    }
    for (size_t k = 0; c->env[k]; k++)
        env[count++] = (char *)(uintptr_t)c->env[k];
    return env;
}

static int open_log(const struct dev *d, const struct child *c)
{
    char path[PATH_MAX + 64], old[PATH_MAX + 80];
    struct stat st;
    snprintf(path, sizeof(path), "%s/logs/%s.log", d->folder, c->name);
    snprintf(old, sizeof(old), "%s.1", path);
    if (stat(path, &st) == 0 && st.st_size > LOG_MAX)
        (void)rename(path, old);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* In the child, after fork. */
static _Noreturn void become(const struct child *c, int log_fd, char *const *env, pid_t parent)
{
    /* Should the supervisor be killed, nothing of it may stay. */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127);
    /* A session of its own keeps the terminal's Ctrl-C from reaching it: the order of the end is the supervisor's. */
    (void)setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        (void)dup2(null, 0);
    if (log_fd >= 0) {
        (void)dup2(log_fd, 1);
        (void)dup2(log_fd, 2);
    }
    (void)close_range(3, ~0U, 0);
    execve(c->argv[0], (char *const *)(uintptr_t)c->argv, env);
    dprintf(2, "%s can't be started: %s\n", c->argv[0], strerror(errno));
    _exit(127);
}

static void start_child(struct dev *d, struct child *c)
{
    bool to_terminal = c->once && !c->logged;
    int log_fd = to_terminal ? -1 : open_log(d, c);
    char **env = build_environment(c);
    pid_t parent = getpid(), pid = -1;
    fflush(NULL);
    if (env && (to_terminal || log_fd >= 0))
        pid = fork();
    if (pid == 0)
        become(c, log_fd, env, parent);
    if (log_fd >= 0)
        close(log_fd);
    free(env);
    c->started_ms = clock_mono_ms();
    if (pid < 0) {
        cli_say("%s can't be started: %s", c->name, strerror(errno));
        c->due_ms = c->started_ms + BACKOFF_MAX_MS;
        return;
    }
    c->pid = pid;
    c->state = CHILD_UP;
}

static void on_child_end(struct dev *d, struct child *c, int status)
{
    int64_t now = clock_mono_ms();
    c->pid = 0;
    c->status = status;
    c->ends++;
    c->state = c->once || d->quiet ? CHILD_ENDED : CHILD_DOWN;
    if (c->state == CHILD_ENDED)
        return;
    if (now - c->started_ms > HEALTHY_MS)
        c->backoff_ms = BACKOFF_FIRST_MS;
    c->due_ms = now + c->backoff_ms;
    cli_say("%s ended (%s %d); starting it again in %.1f s (its log: %s/logs/%s.log)", c->name,
            WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
            (double)c->backoff_ms / 1000, d->folder, c->name);
    c->backoff_ms = c->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : c->backoff_ms * 2;
}

static void take_in_ended(struct dev *d)
{
    for (size_t i = 0; i < d->count; i++) {
        struct child *c = &d->children[i];
        int status;
        if (c->state == CHILD_UP && waitpid(c->pid, &status, WNOHANG) == c->pid)
            on_child_end(d, c, status);
    }
}

static void start_due(struct dev *d)
{
    int64_t now = clock_mono_ms();
    for (size_t i = 0; i < d->count && !d->quiet; i++) {
        if (d->children[i].state == CHILD_DOWN && d->children[i].due_ms <= now)
            start_child(d, &d->children[i]);
    }
}

/* Until a child ends, Ctrl-C comes, or ms are over. */
static void wait_for_signal(const struct dev *d, int64_t ms)
{
    struct pollfd fds[] = {{.fd = d->child_fd, .events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN}};
    struct signalfd_siginfo info;
    (void)poll(fds, ARRAY_LEN(fds), (int)(ms < 0 ? 0 : ms > 60000 ? 60000 : ms));
    while (read(d->child_fd, &info, sizeof(info)) > 0)
        ;
}

bool dev_turn(struct dev *d, int64_t ms)
{
    take_in_ended(d);
    start_due(d);
    int64_t now = clock_mono_ms(), until = now + ms;
    for (size_t i = 0; i < d->count; i++) {
        if (d->children[i].state == CHILD_DOWN && d->children[i].due_ms < until)
            until = d->children[i].due_ms;
    }
    if (!interrupted())
        wait_for_signal(d, until - now);
    take_in_ended(d);
    return !interrupted();
}

static size_t signal_children(struct dev *d, const char *prefix, int sig)
{
    size_t up = 0;
    for (size_t i = d->count; i-- > 0;) {
        struct child *c = &d->children[i];
        if (strncmp(c->name, prefix, strlen(prefix)) != 0 || c->state != CHILD_UP)
            continue;
        up++;
        if (sig)
            (void)kill(c->pid, sig);
    }
    return up;
}

void dev_children_end(struct dev *d, const char *prefix, int64_t grace_ms)
{
    int64_t until = clock_mono_ms() + grace_ms;
    unsigned asked = interrupt_count();
    d->quiet = true;
    bool killed = false;
    take_in_ended(d);
    (void)signal_children(d, prefix, SIGTERM);
    while (signal_children(d, prefix, 0) > 0) {
        (void)interrupted();
        if (!killed && (clock_mono_ms() >= until || interrupt_count() > asked)) {
            (void)signal_children(d, prefix, SIGKILL);
            killed = true;
        }
        wait_for_signal(d, killed ? 1000 : until - clock_mono_ms());
        take_in_ended(d);
    }
}

void dev_show_log(const struct dev *d, const struct child *c)
{
    char path[PATH_MAX + 64], buf[4097];
    snprintf(path, sizeof(path), "%s/logs/%s.log", d->folder, c->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END);
    (void)lseek(fd, end > 4096 ? end - 4096 : 0, SEEK_SET);
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    buf[n > 0 ? n : 0] = '\0';
    /* The last ten lines. */
    const char *from = buf + strlen(buf);
    for (int lines = 0; from > buf; from--) {
        if (from[-1] == '\n' && ++lines > 10)
            break;
    }
    fprintf(stderr, "%s", from);
}
