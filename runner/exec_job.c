#include "runner/exec_job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"
#include "runner/exec_spawn.h"
#include "runner/proc_tree.h"

enum {
    READ_SIZE = 65536,   /* a pipe's; what leaves and what comes meanwhile has its turn behind each */
    PIPE_LOUD = 1 << 20, /* of an agent that fills it: it writes on while what it wrote is looked at */
    CONTROL_LINE = 1024,
    EOF_WAIT_MS = 2000,
    LOOK_MS = 10,
    LOOKS_MAX = 5,
    PIPES = EXEC_STDIO,
    DRAIN_TIMES = 256,
    CONTROL = 3,
    ADOPT_AGAIN_MS = 50, /* it may not have noticed yet that it was left */
    ADOPT_TRIES = 60,
    ENVIRONMENT_MAX = 8 << 20 /* more than execve takes */
};

/* Over when errand-exec has exited and every pipe is at its end: output, and the control socket that tells how the agent ended. */
struct exec_job {
    struct loop *loop;
    const struct job_events *events;
    void *ctx;
    uv_poll_t child; /* readable when errand-exec has ended */
    int pidfd;
    pid_t tree; /* errand-exec's process id; 0: it is not our child */
    bool watched;
    struct loop_timer look;
    uv_pipe_t pipes[PIPES]; /* stdin, stdout, stderr, control */
    uv_shutdown_t stdin_shutdown;
    size_t input_waiting; /* bytes that it has not read yet */
    bool input_over;
    struct loop_timer eof_wait; /* somebody outside the tree may hold a pipe */
    char control[CONTROL_LINE];
    size_t control_len;
    struct job_exit how;
    int64_t cpu_us, seen_us; /* of its tree, at the last look, or its start */
    int64_t pid;             /* of the command; 0 before it has started */
    char message[256];
    int open;              /* handles not closed yet */
    int waiting_eof;       /* pipes not at their end */
    int64_t stop_grace_ms; /* the stop that was asked for; -1: none */
    bool exited, ended;
    bool reading;         /* whether our side wants output */
    bool keeps;           /* it can outlive us */
    int looks;            /* how often the wait for its pipes was prolonged */
    bool loud;            /* its standard output was full once */
    bool filled[CONTROL]; /* of a stream, the buffer: libuv asks for another in the same turn */
    /* adopted: */
    bool adopted;
    char path[108], private[512];
    int64_t at[CONTROL]; /* of stdout and stderr: where we go on */
    int connected, tries;
    uv_connect_t connects[PIPES];
    struct loop_timer again;
    char *env; /* what it was started with, while it comes */
    size_t env_len, env_left;
    bool begun; /* it was told that the agent started, or that it never will: no output comes before that */
};

static void job_free(void *p)
{
    struct exec_job *job = p;
    if (job->env)
        sodium_memzero(job->env, job->env_len);
    free(job->env);
    free(job);
}

static void on_closed(uv_handle_t *h)
{
    struct exec_job *job = h->data;
    if (--job->open == 0)
        loop_defer_free(job->loop, job_free, job);
}

static void close_handle(uv_handle_t *h)
{
    if (!uv_is_closing(h))
        uv_close(h, on_closed);
}

static void close_child(struct exec_job *job)
{
    if (job->watched)
        close_handle((uv_handle_t *)&job->child);
    job->watched = false;
    loop_timer_stop(&job->look);
    if (job->pidfd >= 0)
        close(job->pidfd);
    job->pidfd = -1;
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf);
static void on_output(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

void exec_job_read_output(struct exec_job *job, bool on)
{
    job->reading = on;
    for (int i = 1; i <= 2; i++) {
        uv_stream_t *s = (uv_stream_t *)&job->pipes[i];
        if (uv_is_closing((uv_handle_t *)s) || !job->begun)
            continue;
        if (on)
            uv_read_start(s, on_alloc, on_output);
        else
            uv_read_stop(s);
    }
}

static void begin_output(struct exec_job *job)
{
    if (job->begun)
        return;
    job->begun = true;
    exec_job_read_output(job, job->reading);
}

static void close_all(struct exec_job *job)
{
    loop_timer_stop(&job->eof_wait);
    loop_timer_stop(&job->again);
    for (int i = 0; i < PIPES; i++)
        close_handle((uv_handle_t *)&job->pipes[i]);
    close_child(job);
}

static void end_if_over(struct exec_job *job)
{
    if (!job->exited || job->waiting_eof > 0 || job->ended)
        return;
    job->ended = true;
    job->events->gone(job->ctx, &job->how);
    close_all(job);
}

/* Whether something stands in its pipes, or they are at their end, and we have not looked yet. */
static bool is_unread(const struct exec_job *job)
{
    struct pollfd fds[PIPES];
    nfds_t n = 0;
    for (int i = 1; i < PIPES; i++) {
        uv_os_fd_t fd;
        const uv_handle_t *h = (const uv_handle_t *)&job->pipes[i];
        if (!uv_is_closing(h) && uv_is_active(h) && uv_fileno(h, &fd) == 0)
            fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    return poll(fds, n, 0) > 0;
}

static void on_eof_wait(void *ctx)
{
    struct exec_job *job = ctx;
    /* Held up by us, not by somebody else: we do not want it, or we stood still, and the time was over before we looked. */
    if (!job->reading || (is_unread(job) && ++job->looks <= LOOKS_MAX)) {
        loop_timer_set(&job->eof_wait, EOF_WAIT_MS);
        return;
    }
    job->waiting_eof = 0;
    end_if_over(job);
}

/* False: errand-exec has not ended yet. */
static bool take_exit(struct exec_job *job)
{
    int status;
    pid_t pid = waitpid(job->tree, &status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR))
        return false;
    job->exited = true;
    if (pid < 0 || status != 0) {
        /* errand-exec itself was killed: what it held it could not end any more. The subreaper above it is gone, so nothing better is known. */
        int signal = pid > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        LOG_WARN("errand-exec ended badly", LOG_I("status", pid > 0 && !signal ? WEXITSTATUS(status) : 0),
                 LOG_I("signal", signal));
        if (!job->how.code && !job->how.message) {
            job->how.signaled = true;
            job->how.code = signal ? signal : SIGKILL;
        }
    }
    loop_timer_set(&job->eof_wait, EOF_WAIT_MS);
    end_if_over(job); /* else the control socket's end, and the output's, are still to be read */
    return true;
}

static void on_exit_exec(uv_poll_t *h, int why, int events)
{
    (void)why;
    (void)events;
    struct exec_job *job = h->data;
    if (!job->exited && take_exit(job) && !uv_is_closing((uv_handle_t *)h))
        uv_poll_stop(h);
}

/* Where there are no pidfds (a kernel before 5.3, a tool that stands in for it), it is looked at from time to time. */
static void on_look(void *ctx)
{
    struct exec_job *job = ctx;
    if (!take_exit(job))
        loop_timer_set(&job->look, LOOK_MS);
}

/* ---- the control socket ---- */

static void on_written(uv_write_t *req, int status)
{
    (void)status;
    free(req);
}

static void control_send(struct exec_job *job, const char *line)
{
    uv_write_t *req = malloc(sizeof *req + strlen(line));
    if (!req || uv_is_closing((uv_handle_t *)&job->pipes[CONTROL])) {
        free(req);
        return;
    }
    char *copy = (char *)(req + 1);
    memcpy(copy, line, strlen(line));
    uv_buf_t buf = uv_buf_init(copy, (unsigned)strlen(line));
    if (uv_write(req, (uv_stream_t *)&job->pipes[CONTROL], &buf, 1, on_written) != 0)
        free(req);
}

static void tell_started(struct exec_job *job, const char *rest)
{
    long pid = 0;
    unsigned long long start = 0;
    char boot[64] = "";
    char handle[1024];
    if (sscanf(rest, "%ld %llu %63s", &pid, &start, boot) < 2) /* NOLINT(cert-err34-c): errand-exec's own line */
        LOG_WARN("errand-exec said something odd", LOG_Z("line", rest));
    int len =
        snprintf(handle, sizeof handle, "{\"pid\":\"%ld\",\"startTime\":\"%llu\",\"bootId\":\"%s\"", pid, start, boot);
    struct strbuf paths;
    struct json_writer w;
    strbuf_init(&paths, sizeof handle - 256);
    json_writer_init(&w, &paths);
    json_object_begin(&w);
    json_kv_str(&w, "adopt", str_of(job->path));
    json_kv_str(&w, "folder", str_of(job->private));
    json_object_end(&w);
    bool keeps = job->keeps && !strbuf_failed(&paths);
    snprintf(handle + len, sizeof handle - (size_t)len, keeps ? ",%s" : "}", keeps ? paths.ptr + 1 : "");
    strbuf_done(&paths);
    job->how.started = true;
    job->pid = pid;
    job->events->started(job->ctx, str_of(handle));
    begin_output(job);
}

static void on_control_line(struct exec_job *job, char *line)
{
    if (strncmp(line, "started ", 8) == 0) {
        tell_started(job, line + 8);
    } else if (strncmp(line, "failed ", 7) == 0) {
        const char *text = strchr(line + 7, ' ');
        snprintf(job->message, sizeof job->message, "%s", text ? text + 1 : "it could not be started");
        job->how.message = job->message;
    } else if (strncmp(line, "exited ", 7) == 0) {
        job->how.code = (int)strtol(line + 7, NULL, 10);
    } else if (strncmp(line, "signaled ", 9) == 0) {
        job->how.signaled = true;
        job->how.code = (int)strtol(line + 9, NULL, 10);
    } else if (strncmp(line, "env ", 4) == 0 && job->adopted && !job->env) {
        job->env_len = strtoul(line + 4, NULL, 10);
        job->env = job->env_len > 0 && job->env_len <= ENVIRONMENT_MAX ? malloc(job->env_len) : NULL;
        job->env_left = job->env ? job->env_len : 0;
    } /* `gone`: its exit says the same */
}

/* The environment that a successor is sent, between lines. */
static size_t take_environment(struct exec_job *job, const char *bytes, size_t n)
{
    size_t part = n < job->env_left ? n : job->env_left;
    memcpy(job->env + job->env_len - job->env_left, bytes, part);
    job->env_left -= part;
    if (job->env_left == 0) {
        job->how.started = true;
        job->events->adopted(job->ctx, (struct str){job->env, job->env_len}, job->private);
        begin_output(job);
    }
    return part;
}

static void adopt_failed(struct exec_job *job);

static void on_control_end(struct exec_job *job)
{
    if (job->adopted && !job->how.started) { /* it never said what of its output is secret: none of it is shown */
        adopt_failed(job);
        return;
    }
    if (job->waiting_eof > 0)
        job->waiting_eof--;
    if (job->adopted && !job->exited) { /* errand-exec is nobody's child of ours: this is how its end shows */
        job->exited = true;
        loop_timer_set(&job->eof_wait, EOF_WAIT_MS);
    }
    begin_output(job);
    end_if_over(job);
}

static void on_control(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct exec_job *job = s->data;
    if (n < 0) {
        uv_read_stop(s);
        on_control_end(job);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (job->env_left > 0) {
            i += (ssize_t)take_environment(job, buf->base + i, (size_t)(n - i)) - 1;
            continue;
        }
        char c = buf->base[i];
        if (c != '\n') {
            if (job->control_len < sizeof job->control - 1)
                job->control[job->control_len++] = c;
            continue;
        }
        job->control[job->control_len] = 0;
        job->control_len = 0;
        on_control_line(job, job->control);
    }
}

/* ---- output ---- */

/* What fills its buffer libuv would read on at once, as long as there is more: a loud agent would keep everything else waiting. Without a buffer it leaves that for the next turn. */
static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    static _Thread_local char shared[READ_SIZE]; /* what is read is used up in the callback: one buffer serves all */
    struct exec_job *job = h->data;
    ptrdiff_t i = (uv_pipe_t *)h - job->pipes;
    bool again = i < CONTROL && job->filled[i];
    (void)size;
    if (i < CONTROL)
        job->filled[i] = false;
    *buf = uv_buf_init(shared, again ? 0 : sizeof shared);
}

/* Not where a successor may come for what is not stored: it is kept, up to a bound that counts what is in the pipe. */
static void widen(struct exec_job *job)
{
    uv_os_fd_t fd;
    job->loud = true;
    if (!job->keeps && uv_fileno((uv_handle_t *)&job->pipes[1], &fd) == 0)
        (void)fcntl(fd, F_SETPIPE_SZ, PIPE_LOUD); /* where the user may have no more of it, it stays as it is */
}

static void on_output(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct exec_job *job = s->data;
    ptrdiff_t i = (uv_pipe_t *)s - job->pipes;
    if (n > 0) {
        job->filled[i] = n == READ_SIZE;
        if (job->filled[i] && i == 1 && !job->loud)
            widen(job);
        job->events->output(job->ctx, i == 1 ? JOB_STDOUT : JOB_STDERR, (struct str){buf->base, (size_t)n});
        return;
    }
    if (n < 0 && n != UV_ENOBUFS) {
        uv_read_stop(s);
        if (job->waiting_eof > 0)
            job->waiting_eof--;
        if (!uv_is_closing((uv_handle_t *)s)) /* its end is known; reading again must not find it again */
            close_handle((uv_handle_t *)s);
        end_if_over(job);
    }
}

void exec_job_drain_errors(struct exec_job *job)
{
    uv_handle_t *h = (uv_handle_t *)&job->pipes[2];
    char bytes[4096]; /* on_alloc's may be in use: this is called while output is looked at */
    uv_os_fd_t fd;
    if (uv_is_closing(h) || !job->begun || uv_fileno(h, &fd) != 0)
        return;
    ssize_t n = 1;
    for (int times = 0; n > 0 && times < DRAIN_TIMES; times++)
        if ((n = read(fd, bytes, sizeof bytes)) > 0) /* not blocking; its end is libuv's to find */
            job->events->output(job->ctx, JOB_STDERR, (struct str){bytes, (size_t)n});
}

static bool pipe_holds(const struct exec_job *job, int i)
{
    const uv_handle_t *h = (const uv_handle_t *)&job->pipes[i];
    uv_os_fd_t fd;
    int n = 0;
    return !uv_is_closing(h) && uv_fileno(h, &fd) == 0 && ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

bool exec_job_has_output(const struct exec_job *job)
{
    return pipe_holds(job, 1) || pipe_holds(job, 2);
}

/* ---- input ---- */

struct input_write {
    uv_write_t req;
    struct exec_job *job;
    size_t len;
    char bytes[];
};

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)status;
    close_handle((uv_handle_t *)req->handle);
}

/* It has all of its input: from now on somebody else could go on with it. */
static void say_fed(struct exec_job *job)
{
    if (job->keeps && job->input_over && job->input_waiting == 0)
        control_send(job, "fed\n");
}

static void on_input_written(uv_write_t *req, int status)
{
    struct input_write *w = req->data;
    struct exec_job *job = w->job;
    job->input_waiting -= w->len;
    say_fed(job);
    if (status < 0)
        close_handle((uv_handle_t *)&job->pipes[0]); /* an agent that does not read its input is its own affair */
    crypto_wipe(w->bytes, w->len);                   /* a pool's workers are handed secrets */
    free(w);
}

static bool write_line(struct exec_job *job, struct str line)
{
    struct input_write *w = malloc(sizeof *w + line.len + 1);
    if (!w)
        return false;
    w->req.data = w;
    w->job = job;
    w->len = line.len + 1;
    memcpy(w->bytes, line.ptr, line.len);
    w->bytes[line.len] = '\n';
    uv_buf_t buf = uv_buf_init(w->bytes, (unsigned)w->len);
    if (uv_write(&w->req, (uv_stream_t *)&job->pipes[0], &buf, 1, on_input_written) != 0) {
        free(w);
        return false;
    }
    job->input_waiting += w->len;
    return true;
}

/* End of file, behind what still waits. */
static void close_input(struct exec_job *job)
{
    uv_stream_t *s = (uv_stream_t *)&job->pipes[0];
    job->input_over = true;
    say_fed(job);
    if (!uv_is_closing((uv_handle_t *)s) && uv_shutdown(&job->stdin_shutdown, s, on_shutdown) != 0)
        close_handle((uv_handle_t *)s);
}

bool exec_job_input(struct exec_job *job, struct str line, bool last)
{
    if (job->input_over || uv_is_closing((uv_handle_t *)&job->pipes[0]) ||
        job->input_waiting + line.len + 1 > EXEC_INPUT_MAX)
        return false;
    if (line.ptr && !write_line(job, line))
        return false;
    if (last)
        close_input(job);
    return true;
}

/* ---- starting and stopping ---- */

static void on_adopt_again(void *ctx);

static struct exec_job *job_new(struct loop *l, const struct job_events *events, void *ctx)
{
    struct exec_job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->loop = l;
    job->events = events;
    job->ctx = ctx;
    job->stop_grace_ms = -1;
    job->seen_us = clock_mono_us();
    job->child.data = job;
    job->pidfd = -1;
    loop_timer_init(&job->eof_wait, l, on_eof_wait, job);
    loop_timer_init(&job->again, l, on_adopt_again, job);
    loop_timer_init(&job->look, l, on_look, job);
    for (int i = 0; i < PIPES; i++) {
        uv_pipe_init(loop_uv(l), &job->pipes[i], 0);
        job->pipes[i].data = job;
        job->open++;
    }
    return job;
}

/* Standard input and output as real pipes (sockets are nothing that /dev/stdin and its like can open). ret_child: errand-exec's ends, to be closed after the start. */
static int open_pipes(struct exec_job *job, int ret_child[PIPES])
{
    for (int i = 0; i < PIPES; i++) {
        int ends[2]; /* to read from, to write to; of the control socket either */
        int status = i == CONTROL ? uv_socketpair(SOCK_STREAM, 0, ends, UV_NONBLOCK_PIPE, 0)
                                  : uv_pipe(ends, i != 0 ? UV_NONBLOCK_PIPE : 0, i == 0 ? UV_NONBLOCK_PIPE : 0);
        if (status < 0)
            return status;
        ret_child[i] = ends[i == 0 ? 0 : 1];
        int ours = ends[i == 0 ? 1 : 0];
        if ((status = uv_pipe_open(&job->pipes[i], ours)) < 0) {
            close(ours);
            return status;
        }
    }
    return 0;
}

/* Told when errand-exec has ended; it stays a zombie, with its number, until then. */
static int watch(struct exec_job *job)
{
    job->pidfd = pidfd_open(job->tree, 0);
    if (job->pidfd < 0 && errno == ENOSYS) {
        loop_timer_set(&job->look, LOOK_MS);
        return 0;
    }
    int status = job->pidfd < 0 ? -errno : uv_poll_init(loop_uv(job->loop), &job->child, job->pidfd);
    if (status == 0) {
        job->open++;
        job->watched = true;
        status = uv_poll_start(&job->child, UV_READABLE, on_exit_exec);
    }
    if (status == 0)
        return 0;
    kill(job->tree, SIGKILL);
    while (waitpid(job->tree, NULL, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static int spawn(struct exec_job *job, const struct exec_plan *plan)
{
    int child[PIPES] = {-1, -1, -1, -1};
    int status = open_pipes(job, child);
    if (status == 0) {
        job->tree = exec_spawn(plan, job->keeps, child);
        status = job->tree < 0 ? (int)job->tree : watch(job);
    }
    for (int i = 0; i < PIPES; i++)
        if (child[i] >= 0)
            close(child[i]);
    return status;
}

struct exec_job *exec_job_start(struct loop *l, const struct exec_plan *plan, const struct job_events *events,
                                void *ctx, const char **ret_why)
{
    struct exec_job *job = job_new(l, events, ctx);
    if (!job) {
        *ret_why = "out of memory";
        return NULL;
    }
    if (plan->adopt_path && strlen(plan->adopt_path) < sizeof job->path &&
        strlen(plan->private) < sizeof job->private) {
        job->keeps = true;
        snprintf(job->path, sizeof job->path, "%s", plan->adopt_path);
        snprintf(job->private, sizeof job->private, "%s", plan->private);
    }
    int status = spawn(job, plan);
    if (status < 0) {
        *ret_why = uv_strerror(status);
        job->ended = true;
        loop_timer_stop(&job->eof_wait);
        for (int i = 0; i < PIPES; i++)
            close_handle((uv_handle_t *)&job->pipes[i]);
        close_child(job);
        return NULL;
    }
    job->waiting_eof = 3;
    job->reading = true;
    uv_read_start((uv_stream_t *)&job->pipes[CONTROL], on_alloc, on_control);
    if (plan->input_line.len > 0 && !write_line(job, plan->input_line))
        close_handle((uv_handle_t *)&job->pipes[0]);
    else if (!plan->stdin_open)
        close_input(job);
    return job;
}

static void send_stop(struct exec_job *job)
{
    char line[48];
    if (job->stop_grace_ms == 0)
        snprintf(line, sizeof line, "kill\n");
    else
        snprintf(line, sizeof line, "stop %lld\n", (long long)job->stop_grace_ms);
    control_send(job, line);
}

void exec_job_stop(struct exec_job *job, int64_t grace_ms)
{
    if (job->stop_grace_ms >= 0 && grace_ms >= job->stop_grace_ms)
        return;
    job->stop_grace_ms = grace_ms;
    if (!job->adopted || job->connected == CONTROL)
        send_stop(job);
}

/* ---- left, and adopted ---- */

void exec_job_leave(struct exec_job *job)
{
    job->ended = true;
    close_all(job);
}

void exec_job_stored(struct exec_job *job, int64_t out, int64_t err)
{
    char line[64];
    snprintf(line, sizeof line, "ack %lld %lld\n", (long long)out, (long long)err);
    if (job->keeps && !job->exited)
        control_send(job, line);
}

static void adopt_failed(struct exec_job *job)
{
    job->how.message = "nobody waits to be adopted there, or not from that byte on";
    job->ended = true;
    job->events->gone(job->ctx, &job->how);
    close_all(job);
}

/* The place is in a folder where others may make things, too. */
static bool is_own_user(const uv_stream_t *s)
{
    struct ucred who;
    socklen_t len = sizeof who;
    uv_os_fd_t fd;
    return uv_fileno((const uv_handle_t *)s, &fd) == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
           who.uid == geteuid();
}

static void on_connect(uv_connect_t *req, int status)
{
    struct exec_job *job = req->data;
    if (job->ended)
        return;
    if (status == 0 && !is_own_user(req->handle)) {
        adopt_failed(job);
        return;
    }
    if (status < 0) {
        if (++job->tries > ADOPT_TRIES * CONTROL)
            adopt_failed(job);
        else
            loop_timer_set(&job->again, ADOPT_AGAIN_MS);
        return;
    }
    if (++job->connected < CONTROL)
        return;
    static const char *const words[] = {NULL, "out", "err", "control"};
    job->waiting_eof = 3;
    for (int i = 1; i < PIPES; i++) {
        char line[48];
        if (i == CONTROL)
            snprintf(line, sizeof line, "control\n");
        else if (job->at[i] >= 0)
            snprintf(line, sizeof line, "%s %lld\n", words[i], (long long)job->at[i]);
        else
            snprintf(line, sizeof line, "%s *\n", words[i]);
        uv_buf_t buf = uv_buf_init(line, (unsigned)strlen(line));
        (void)uv_try_write((uv_stream_t *)&job->pipes[i], &buf, 1); /* of a new socket it takes a line at once */
    }
    if (job->stop_grace_ms >= 0)
        send_stop(job); /* it was asked for meanwhile */
    uv_read_start((uv_stream_t *)&job->pipes[CONTROL], on_alloc, on_control);
}

static void on_adopt_again(void *ctx)
{
    struct exec_job *job = ctx;
    for (int i = 1; i < PIPES; i++) {
        if (uv_is_readable((uv_stream_t *)&job->pipes[i]))
            continue; /* connected */
        job->connects[i].data = job;
        uv_pipe_connect(&job->connects[i], &job->pipes[i], job->path, on_connect);
    }
}

struct exec_job *exec_job_adopt(struct loop *l, struct str handle, int64_t out_at, int64_t err_at,
                                const struct job_events *events, void *ctx, const char **ret_why)
{
    struct arena a;
    struct json *root;
    struct exec_job *job = job_new(l, events, ctx);
    if (!job) {
        *ret_why = "out of memory";
        return NULL;
    }
    arena_init(&a, 65536);
    if (json_parse(&a, handle, 4, 2, &root, NULL) == ERR_OK) {
        const struct json *path = json_get(root, "adopt"), *folder = json_get(root, "folder"),
                          *pid = json_get(root, "pid");
        if (path && path->type == JSON_STRING && path->string.len < sizeof job->path)
            snprintf(job->path, sizeof job->path, "%.*s", STR_ARG(path->string));
        if (folder && folder->type == JSON_STRING && folder->string.len < sizeof job->private)
            snprintf(job->private, sizeof job->private, "%.*s", STR_ARG(folder->string));
        job->pid = pid && pid->type == JSON_STRING ? strtoll(pid->string.ptr, NULL, 10) : 0;
    }
    arena_done(&a);
    job->adopted = job->keeps = job->input_over = job->reading = true;
    job->at[1] = out_at;
    job->at[2] = err_at;
    if (job->path[0]) {
        loop_timer_set(&job->again, 0);
        return job;
    }
    *ret_why = "its handle names no place where it could be adopted";
    job->ended = true;
    close_all(job);
    return NULL;
}

int64_t exec_job_tree(const struct exec_job *job)
{
    return job->tree;
}

int64_t exec_job_pid(const struct exec_job *job)
{
    return job->pid;
}

void exec_job_measure(struct exec_job *job, struct cgroup *group, struct job_stats *ret)
{
    struct proc_usage u;
    int64_t now_us = clock_mono_us();
    *ret = (struct job_stats){.cpu_percent = -1, .memory_bytes = -1, .network_rx_bytes = -1, .network_tx_bytes = -1};
    cgroup_stats(group, ret);
    if ((ret->cpu_percent >= 0 && ret->memory_bytes >= 0) || job->exited || !proc_tree_usage(job->tree, &u))
        return;
    if (ret->memory_bytes < 0)
        ret->memory_bytes = u.memory_bytes;
    /* Less than before: something that was not waited for has gone, and took its time with it. */
    if (ret->cpu_percent < 0 && now_us > job->seen_us && u.cpu_us >= job->cpu_us)
        ret->cpu_percent = 100.0 * (double)(u.cpu_us - job->cpu_us) / (double)(now_us - job->seen_us);
    job->cpu_us = u.cpu_us;
    job->seen_us = now_us;
}

/* From the stored handle: the process is there if its start time and the machine's boot id are the same. */
enum job_status exec_job_status(struct str handle)
{
    struct arena a;
    struct json *root;
    char path[64], text[1024];
    arena_init(&a, 65536);
    enum job_status status = JOB_TERMINATED;
    if (json_parse(&a, handle, 4, 2, &root, NULL) == ERR_OK) {
        const struct json *pid = json_get(root, "pid"), *start = json_get(root, "startTime");
        snprintf(path, sizeof path, "/proc/%ld/stat",
                 pid && pid->type == JSON_STRING ? strtol(pid->string.ptr, NULL, 10) : 0L);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
        text[n > 0 ? n : 0] = 0;
        if (fd >= 0)
            close(fd);
        /* field 22, counted behind the command's name, which may hold anything up to its last parenthesis */
        char *at = strrchr(text, ')');
        for (int field = 2; at && field < 22; field++)
            at = strchr(at + 1, ' ');
        if (at && start && start->type == JSON_STRING && strncmp(at + 1, start->string.ptr, start->string.len) == 0)
            status = JOB_RUNNING;
    }
    arena_done(&a);
    return status;
}
