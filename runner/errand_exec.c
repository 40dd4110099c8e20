/* errand-exec: the last line of "stop means stop". It stands between a runner and an agent, holds the agent's whole process tree as its subreaper, and ends that tree when told to, when the agent's own process ended, and
 * when the runner is gone, however it went. Small and static on purpose: it must outlive everything that can go wrong around it.
 *
 *   errand-exec [--grace-ms N] [--workdir DIR] [--private DIR] [--cgroup DIR]… [--keep-fds N] [--inside 1] [--rlimit-NAME N]… -- CMD ARGS…
 *
 * Of each control group named the command becomes a member before it is executed; errand-exec itself stays outside, so that what limits or kills the group spares it.
 * --adopt PATH: when the runner is gone, a successor is waited for at that Unix socket for --adopt-ms, before the tree is killed (errand_exec_adopt.h). Further lines from the runner then: `fed` (the agent has all of its
 * input; before that nobody can take it over) and `ack OUT ERR` (bytes of output whose events are stored).
 * The private folder is the runner's to remove; where the runner is gone when the tree is, it is removed here.
 * --keep-fds: descriptors 4 to 3+N are the command's, too; without it nothing but 0, 1, 2 reaches it.
 * --inside: CMD is bubblewrap, which starts `errand-exec inside` (errand_exec_inside.h). That one says when the agent runs and how it ended, on a pipe whose writing end is descriptor 5+N; bubblewrap, which would die of a
 * SIGTERM and take the agent with it, gets none.
 *
 * Descriptors 0, 1, 2 are the agent's; 3 is a stream socket to the runner. Lines to the runner:
 *   started PID STARTTIME BOOTID    the command runs (start time as in /proc/PID/stat, which with the boot id makes the pid unambiguous)
 *   failed ERRNO MESSAGE            it could not be started; nothing follows
 *   exited CODE | signaled SIG      the command's own process ended; what it left behind is being ended
 *   gone                            nothing is left of the tree; nothing follows
 * Lines from the runner: `stop GRACE_MS` (SIGTERM to all, SIGKILL to the rest after the grace time) and `kill`. The end of the socket means `kill`.
 *
 *   STARTING ──exec done──▶ RUNNING ──stop, or the command ended──▶ TERMINATING ──grace over──▶ KILLING
 *       └────────────────────── kill, runner gone: from anywhere ───────────────────────────────────▲
 *   From any of them, no child left ──▶ GONE.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runner/errand_exec_adopt.h"
#include "runner/errand_exec_groups.h"
#include "runner/errand_exec_inside.h"
#include "runner/errand_exec_tree.h"
#include "runner/tree.h"

#define CONTROL_FD   3
#define KEEP_FDS_MAX 16
#define OWN_POLLS    4
#define GRACE_MAX_MS 86400000
#define TICK_MIN_MS  5
#define TICK_MAX_MS  200

/* The outermost limit that each option sets, soft and hard. */
struct limit_option {
    const char *name;
    int resource;
    bool given;
    rlim_t value;
};

struct options {
    int64_t grace_ms;
    const char *workdir;
    const char *private; /* NULL: none */
    const char *adopt;   /* NULL: it dies with its runner */
    int64_t adopt_ms;
    int keep_fds;
    bool inside;
    char **command;
    struct limit_option limits[8];
    const char *cgroups[GROUPS_MAX];
    size_t cgroup_count;
};

enum state { STARTING, RUNNING, TERMINATING, KILLING, GONE };

struct job {
    enum state state;
    pid_t command_pid;         /* 0 once it was reaped */
    int exec_fd;               /* reads what went wrong before exec; -1 once that is known */
    int inside_fd;             /* reads what is said from within the sandbox; -1: there is none, or it said all */
    bool told_start, told_end; /* of the agent within it */
    int signal_fd;
    bool control_open;
    int64_t grace_ms;
    int64_t kill_at_ms; /* monotonic; TERMINATING: when the grace is over; KILLING: the next look */
    int64_t tick_ms;    /* of KILLING: between looks */
    char in[64];        /* the line from the runner that is still incomplete */
    size_t in_len;
    bool in_skip;  /* that line was too long: drop it up to its end */
    char out[768]; /* lines that the socket did not take yet; everything that is ever said fits */
    size_t out_len;
    char ended[32]; /* how the command ended, once it did: said again to a successor */
    struct adopt adopt;
};

/* What the child reports when it can't become the command. */
struct start_failure {
    int error;
    char step[16];
};

static const char USAGE[] =
    "usage: errand-exec [--grace-ms N] [--workdir DIR] [--private DIR] [--adopt PATH] [--adopt-ms N] "
    "[--cgroup DIR]... [--keep-fds N] [--inside 1] "
    "[--rlimit-nofile|core|as|nproc|cpu|fsize|data|stack N]... -- "
    "CMD ARGS...\n"
    "Runs CMD for errand-runner, with a control socket as descriptor 3, and ends its whole process tree.\n";

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- options ---- */

static bool parse_number(const char *text, uint64_t max, uint64_t *ret_value)
{
    if (*text < '0' || *text > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || v > max)
        return false;
    *ret_value = v;
    return true;
}

static bool parse_option(struct options *o, const char *name, const char *value)
{
    uint64_t n = 0;
    if (strcmp(name, "--workdir") == 0) {
        o->workdir = value;
        return true;
    }
    if (strcmp(name, "--private") == 0) {
        o->private = value;
        return true;
    }
    if (strcmp(name, "--cgroup") == 0) {
        if (o->cgroup_count == GROUPS_MAX)
            return false;
        o->cgroups[o->cgroup_count++] = value;
        return true;
    }
    if (strcmp(name, "--adopt") == 0) {
        o->adopt = value;
        return true;
    }
    if (strcmp(name, "--adopt-ms") == 0) {
        if (!parse_number(value, GRACE_MAX_MS, &n))
            return false;
        o->adopt_ms = (int64_t)n;
        return true;
    }
    if (strcmp(name, "--grace-ms") == 0) {
        if (!parse_number(value, GRACE_MAX_MS, &n))
            return false;
        o->grace_ms = (int64_t)n;
        return true;
    }
    if (strcmp(name, "--keep-fds") == 0 || strcmp(name, "--inside") == 0) {
        if (!parse_number(value, name[2] == 'k' ? KEEP_FDS_MAX : 1, &n))
            return false;
        if (name[2] == 'k')
            o->keep_fds = (int)n;
        else
            o->inside = n == 1;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(o->limits); i++) {
        struct limit_option *l = &o->limits[i];
        if (strcmp(name, l->name) == 0) {
            if (!parse_number(value, UINT64_MAX, &n))
                return false;
            l->given = true;
            l->value = (rlim_t)n;
            return true;
        }
    }
    return false;
}

static bool parse_options(struct options *o, int argc, char **argv)
{
    *o = (struct options){.grace_ms = 10000,
                          .limits = {{.name = "--rlimit-nofile", .resource = RLIMIT_NOFILE},
                                     {.name = "--rlimit-core", .resource = RLIMIT_CORE},
                                     {.name = "--rlimit-as", .resource = RLIMIT_AS},
                                     {.name = "--rlimit-nproc", .resource = RLIMIT_NPROC},
                                     {.name = "--rlimit-cpu", .resource = RLIMIT_CPU},
                                     {.name = "--rlimit-fsize", .resource = RLIMIT_FSIZE},
                                     {.name = "--rlimit-data", .resource = RLIMIT_DATA},
                                     {.name = "--rlimit-stack", .resource = RLIMIT_STACK}}};
    int i = 1;
    while (i < argc && strcmp(argv[i], "--") != 0) {
        if (i + 1 >= argc || !parse_option(o, argv[i], argv[i + 1]))
            return false;
        i += 2;
    }
    if (i + 1 >= argc)
        return false;
    o->command = argv + i + 1;
    return true;
}

/* ---- the command ---- */

static _Noreturn void give_up(int fd, const char *step)
{
    struct start_failure f = {.error = errno};
    snprintf(f.step, sizeof(f.step), "%s", step);
    (void)!write(fd, &f, sizeof(f));
    _exit(127);
}

static void set_limits(const struct options *o, int fd)
{
    for (size_t i = 0; i < ARRAY_LEN(o->limits); i++) {
        const struct limit_option *l = &o->limits[i];
        if (!l->given)
            continue;
        struct rlimit now, wanted = {l->value, l->value};
        /* A limit is an upper bound: where the system allows less already, less it is. */
        if (getrlimit((__rlimit_resource_t)l->resource, &now) == 0 && now.rlim_max < wanted.rlim_max)
            wanted.rlim_cur = wanted.rlim_max = now.rlim_max;
        if (setrlimit((__rlimit_resource_t)l->resource, &wanted) != 0)
            give_up(fd, "setrlimit");
    }
}

static void reset_signals(void)
{
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The pipe from within a sandbox takes the two numbers behind those that are kept. */
static int report_end(const struct options *o)
{
    return CONTROL_FD + o->keep_fds + 2;
}

static _Noreturn void become_command(const struct options *o, int fd, pid_t parent)
{
    /* Should somebody kill errand-exec itself, at least its own child goes with it. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    (void)setsid();
    umask(077);
    if (o->workdir && chdir(o->workdir) != 0)
        give_up(fd, "workdir");
    /* A set-uid program would be beyond the reach of our signals. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        give_up(fd, "no_new_privs");
    set_limits(o, fd);
    reset_signals();
    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
        give_up(fd, "close_range");
    for (int kept = CONTROL_FD + 1; kept <= CONTROL_FD + o->keep_fds; kept++)
        (void)fcntl(kept, F_SETFD, 0);
    if (o->inside)
        (void)fcntl(report_end(o), F_SETFD, 0);
    execvp(o->command[0], o->command);
    give_up(fd, "exec");
}

/* ---- what is said to the runner ---- */

static void flush(struct job *j)
{
    while (j->out_len > 0 && j->control_open) {
        ssize_t n = send(CONTROL_FD, j->out, j->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            j->control_open = false;
            return;
        }
        j->out_len -= (size_t)n;
        memmove(j->out, j->out + n, j->out_len);
    }
}

static void say(struct job *j, const char *line)
{
    size_t len = strlen(line);
    if (len < sizeof(j->out) - j->out_len) {
        memcpy(j->out + j->out_len, line, len);
        j->out_len += len;
    }
    flush(j);
}

static void say_started(struct job *j)
{
    char boot[64] = "-", line[160];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, boot, sizeof(boot) - 1);
        close(fd);
        boot[n > 0 ? n : 0] = '\0';
        boot[strcspn(boot, "\n")] = '\0';
    }
    struct proc_stat s = {0};
    (void)proc_stat_read(j->command_pid, &s);
    snprintf(line, sizeof(line), "started %d %llu %s\n", (int)j->command_pid, s.start_time, boot);
    say(j, line);
}

/* In a sandbox's words, what follows `option` behind the word `inside`: "--" leads to the agent's command. */
static const char *agent_word(const struct options *o, const char *option, const char *fallback)
{
    char **w = o->command;
    while (o->inside && *w && strcmp(*w, "inside") != 0)
        w++;
    while (o->inside && *w && strcmp(*w, option) != 0)
        w++;
    return o->inside && *w && w[1] ? w[1] : fallback;
}

static void say_failed(struct job *j, const struct options *o, const struct start_failure *f)
{
    const char *of = strncmp(f->step, "workdir", sizeof(f->step)) == 0 ? agent_word(o, "--workdir", o->workdir)
                                                                       : agent_word(o, "--", o->command[0]);
    char line[512];
    int n =
        snprintf(line, sizeof(line) - 1, "failed %d %.15s %.300s: %.100s", f->error, f->step, of, strerror(f->error));
    for (int i = 0; i < n; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    }
    line[n] = '\n';
    line[n + 1] = '\0';
    say(j, line);
}

/* ---- the states ---- */

static void enter_killing(struct job *j)
{
    if (j->state == KILLING || j->state == GONE)
        return;
    j->state = KILLING;
    j->tick_ms = TICK_MIN_MS;
    tree_kill();
    j->kill_at_ms = now_ms() + j->tick_ms;
}

static void enter_terminating(struct job *j, int64_t grace_ms)
{
    if (j->state == KILLING || j->state == GONE)
        return;
    if (grace_ms <= 0) {
        enter_killing(j);
        return;
    }
    int64_t kill_at_ms = now_ms() + grace_ms;
    bool first = j->state != TERMINATING;
    /* Of several deadlines the earliest holds: a later order never lengthens somebody's life. */
    if (first || kill_at_ms < j->kill_at_ms)
        j->kill_at_ms = kill_at_ms;
    j->state = TERMINATING;
    if (first)
        tree_terminate();
}

static void on_command_end(struct job *j, int status)
{
    j->command_pid = 0;
    if (j->told_end) /* the sandbox's end, behind its agent's */
        return;
    if (j->told_start) /* it ended without a word from within: somebody killed the helper, and the agent with it */
        snprintf(j->ended, sizeof(j->ended), "signaled %d\n", SIGKILL);
    else if (WIFSIGNALED(status))
        snprintf(j->ended, sizeof(j->ended), "signaled %d\n", WTERMSIG(status));
    else
        snprintf(j->ended, sizeof(j->ended), "exited %d\n", WEXITSTATUS(status));
    say(j, j->ended);
}

/* Takes in every child that ended. A subreaper without a child has no descendant at all. */
static void reap(struct job *j)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid == 0)
            break;
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0) {
            if (j->state != GONE)
                say(j, "gone\n");
            j->state = GONE;
            return;
        }
        if (pid == j->command_pid)
            on_command_end(j, status);
    }
    if (j->command_pid == 0 && j->state == RUNNING)
        enter_terminating(j, j->grace_ms);
}

/* The command runs, or said why it can't. */
static void on_exec_result(struct job *j, const struct options *o)
{
    struct start_failure f = {0};
    ssize_t n = read(j->exec_fd, &f, sizeof(f));
    if (n < 0 && errno == EINTR)
        return;
    close(j->exec_fd);
    j->exec_fd = -1;
    if (n == (ssize_t)sizeof(f)) {
        while (waitpid(j->command_pid, NULL, 0) < 0 && errno == EINTR)
            ;
        say_failed(j, o, &f);
        j->state = GONE;
        return;
    }
    if (o->inside) /* only bubblewrap runs yet */
        return;
    say_started(j);
    if (j->state == STARTING)
        j->state = RUNNING;
}

/* The sandbox could not be made, or its agent not be started: what there is of it goes. */
static void on_inside_failed(struct job *j, const struct options *o, const struct inside_word *w)
{
    struct start_failure f = {.error = w->value};
    memcpy(f.step, w->step, sizeof(w->step));
    say_failed(j, o, &f);
    j->told_end = true;
    enter_killing(j);
}

/* A word from within the sandbox, or its end. */
static void on_inside(struct job *j, const struct options *o)
{
    struct inside_word w = {.what = INSIDE_FAILED, .step = "sandbox", .value = ECANCELED};
    ssize_t n = read(j->inside_fd, &w, sizeof(w));
    if (n < 0 && errno == EINTR)
        return;
    if (n != (ssize_t)sizeof(w)) {
        close(j->inside_fd);
        j->inside_fd = -1;
        if (!j->told_start && !j->told_end)
            on_inside_failed(j, o, &w);
        return;
    }
    if (w.what == INSIDE_FAILED) {
        on_inside_failed(j, o, &w);
    } else if (w.what == INSIDE_RUNNING) {
        j->told_start = true;
        say_started(j);
        if (j->state == STARTING)
            j->state = RUNNING;
    } else {
        snprintf(j->ended, sizeof(j->ended), "%s %d\n", w.what == INSIDE_SIGNALED ? "signaled" : "exited",
                 (int)w.value);
        say(j, j->ended);
        j->told_end = true;
        if (j->state == RUNNING) /* its children have their time, as those of any agent */
            enter_terminating(j, j->grace_ms);
    }
}

static void on_order(struct job *j, const char *line)
{
    uint64_t grace_ms;
    long long out, err;
    if (strcmp(line, "fed") == 0)
        j->adopt.fed = true;
    else if (sscanf(line, "ack %lld %lld", &out, &err) == 2) /* NOLINT(cert-err34-c): the runner's own line */
        adopt_ack(&j->adopt, out, err);
    else if (strcmp(line, "kill") == 0)
        enter_killing(j);
    else if (strncmp(line, "stop ", 5) == 0 && parse_number(line + 5, GRACE_MAX_MS, &grace_ms))
        enter_terminating(j, (int64_t)grace_ms);
}

static void on_control(struct job *j)
{
    char buf[256];
    ssize_t n = recv(CONTROL_FD, buf, sizeof(buf), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        j->control_open = false;
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (buf[i] == '\n') {
            j->in[j->in_len] = '\0';
            if (!j->in_skip)
                on_order(j, j->in);
            j->in_len = 0;
            j->in_skip = false;
        } else if (j->in_len < sizeof(j->in) - 1) {
            j->in[j->in_len++] = buf[i];
        } else {
            j->in_skip = true;
        }
    }
}

/* The runner is gone: so is the tree, unless a successor may come. */
static void on_orphaned(struct job *j)
{
    if (j->state == TERMINATING || j->state == KILLING || !adopt_orphan(&j->adopt, now_ms()))
        enter_killing(j);
}

/* A successor may have come, or come too late. */
static void while_orphan(struct job *j)
{
    int fd = adopt_successor(&j->adopt);
    if (fd >= 0) {
        (void)dup3(fd, CONTROL_FD, O_CLOEXEC);
        close(fd);
        j->control_open = true;
        j->in_len = j->out_len = 0;
        if (j->ended[0])
            say(j, j->ended);
        if (j->state == GONE)
            say(j, "gone\n");
    } else if (now_ms() >= j->adopt.deadline_ms) {
        adopt_give_up(&j->adopt);
        enter_killing(j);
    }
}

static int poll_timeout(const struct job *j)
{
    if (j->adopt.orphan) {
        int64_t left = j->adopt.deadline_ms - now_ms();
        return left < 0 ? 0 : (int)left;
    }
    if (j->state != TERMINATING && j->state != KILLING)
        return -1;
    int64_t left = j->kill_at_ms - now_ms();
    return left < 0 ? 0 : (int)left;
}

static void on_time(struct job *j)
{
    if ((j->state != TERMINATING && j->state != KILLING) || now_ms() < j->kill_at_ms)
        return;
    if (j->state == TERMINATING) {
        enter_killing(j);
    } else {
        /* Who was born or adopted meanwhile. Rarer each time, for what is left then waits in the kernel. */
        j->tick_ms = j->tick_ms * 2 > TICK_MAX_MS ? TICK_MAX_MS : j->tick_ms * 2;
        tree_kill();
        j->kill_at_ms = now_ms() + j->tick_ms;
    }
}

/* The exec's outcome is not known, or what the sandbox says of its agent's end was not read: nobody is reaped before that, for bubblewrap's own status says neither. */
static bool is_undecided(const struct job *j)
{
    return j->exec_fd >= 0 || (j->inside_fd >= 0 && !j->told_end);
}

static void turn(struct job *j, const struct options *o)
{
    /* While the exec is undecided nobody is reaped: /proc still has to say when the command began. */
    bool starting = is_undecided(j);
    short control_events = (short)(POLLIN | (j->out_len > 0 ? POLLOUT : 0));
    struct pollfd fds[OWN_POLLS + ADOPT_POLLS] = {{.fd = j->control_open ? CONTROL_FD : -1, .events = control_events},
                                                  {.fd = starting ? -1 : j->signal_fd, .events = POLLIN},
                                                  {.fd = j->exec_fd, .events = POLLIN},
                                                  {.fd = j->exec_fd >= 0 ? -1 : j->inside_fd, .events = POLLIN}};
    int ready = poll(fds, OWN_POLLS + adopt_polls(&j->adopt, fds + OWN_POLLS), poll_timeout(j));
    if (ready < 0)
        return;
    adopt_turn(&j->adopt);
    if (fds[2].revents)
        on_exec_result(j, o);
    if (fds[3].revents)
        on_inside(j, o);
    if (j->state != GONE && !is_undecided(j)) {
        struct signalfd_siginfo info[16];
        while (read(j->signal_fd, info, sizeof(info)) > 0)
            ;
        reap(j);
    }
    if (fds[0].revents & POLLOUT)
        flush(j);
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
        on_control(j);
    if (j->adopt.orphan)
        while_orphan(j);
    else if (!j->control_open && j->adopt.path)
        on_orphaned(j);
    if (j->state == GONE) {
        adopt_last(&j->adopt);
        return;
    }
    if (!j->control_open && !j->adopt.orphan)
        enter_killing(j);
    on_time(j);
}

/* ---- set-up ---- */

/* Blocks everything that can be blocked: only SIGKILL ends this process before its work is done. */
static int take_signals(void)
{
    (void)signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would hide every exit status */
    sigset_t all, child;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    return signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The agent's pipes must end with the agent's tree, so this process keeps no end of them. */
static void let_go_of_stdio(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2; fd++) {
        if (null < 0 || dup2(null, fd) < 0)
            close(fd);
    }
    if (null > 2)
        close(null);
}

static bool start(struct job *j, const struct options *o)
{
    int ends[2];
    struct groups groups;
    size_t entered;
    if (!groups_open(o->cgroups, o->cgroup_count, &groups) || pipe2(ends, O_CLOEXEC) != 0)
        return false;
    pid_t self = getpid();
    pid_t pid = groups_fork(&groups, &entered);
    if (pid < 0) {
        close(ends[0]);
        close(ends[1]);
        return false;
    }
    if (pid == 0) {
        if (!groups_enter(&groups, entered))
            give_up(ends[1], "cgroup");
        become_command(o, ends[1], self);
    }
    close(ends[1]);
    groups_close(&groups);
    j->exec_fd = ends[0];
    j->command_pid = pid;
    if (o->inside)
        tree_spare(pid);
    return true;
}

int main(int argc, char **argv)
{
    struct options o;
    if (argc > 1 && strcmp(argv[1], "inside") == 0)
        return inside_main(argc - 1, argv + 1);
    if (!parse_options(&o, argc, argv)) {
        (void)!write(2, USAGE, sizeof(USAGE) - 1);
        return 2;
    }
    if (fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC) != 0) {
        static const char text[] = "errand-exec: descriptor 3 has to be a socket to the runner\n";
        (void)!write(2, text, sizeof(text) - 1);
        return 2;
    }
    (void)close_range((unsigned)(CONTROL_FD + 1 + o.keep_fds), ~0U, 0);
    int inside[2] = {-1, -1};
    if (o.inside && (pipe2(inside, O_CLOEXEC) != 0 || inside[1] != report_end(&o)))
        return 2;
    while (fcntl(0, F_GETFD) < 0 || fcntl(1, F_GETFD) < 0 || fcntl(2, F_GETFD) < 0) {
        /* A missing one would be taken by a descriptor of our own, and closed with the agent's. */
        if (open("/dev/null", O_RDWR) < 0)
            return 2;
    }
    (void)setsid();
    umask(077);
    struct job j = {
        .state = STARTING, .exec_fd = -1, .control_open = true, .grace_ms = o.grace_ms, .inside_fd = inside[0]};
    j.signal_fd = take_signals();
    bool adoptable = adopt_init(&j.adopt, o.adopt, o.adopt_ms);
    /* Not dumpable: the agent has the same user, and must neither trace this process nor read its environment. */
    bool ready = j.signal_fd >= 0 && adoptable && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 &&
                 prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && start(&j, &o);
    if (!ready) {
        struct start_failure f = {.error = errno, .step = "prepare"};
        say_failed(&j, &o, &f);
        j.state = GONE;
    }
    let_go_of_stdio();
    (void)close_range((unsigned)(CONTROL_FD + 1), (unsigned)(CONTROL_FD + o.keep_fds), 0);
    if (o.inside)
        close(inside[1]);
    while (j.state != GONE || (j.out_len > 0 && j.control_open) || adopt_busy(&j.adopt))
        turn(&j, &o);
    if (!j.control_open && o.private)
        tree_remove(o.private);
    return 0;
}
