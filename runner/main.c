/* errand-runner: configuration, signals, and its small HTTP server for metrics. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"
#include "runner/status.h"
#include "runner/worker.h"

#define NAME "errand-runner"

struct process {
    struct config config;
    struct worker worker;
    struct status_server *status;
    uv_signal_t term, interrupt;
    char exec_path[4096];
};

static void on_signal(uv_signal_t *h, int number)
{
    struct process *p = h->data;
    LOG_INFO("signal", LOG_I("number", number));
    if (number != SIGTERM || !worker_leave(&p->worker))
        worker_drain(&p->worker);
}

static void on_stopped(struct worker *w)
{
    loop_stop(w->loop);
}

/* errand-exec stands beside this program unless the configuration says otherwise. */
static const char *find_exec(struct process *p)
{
    if (p->config.exec_path[0]) {
        snprintf(p->exec_path, sizeof p->exec_path, "%s", p->config.exec_path);
    } else {
        ssize_t n = readlink("/proc/self/exe", p->exec_path, sizeof p->exec_path - 16);
        char *slash = n > 0 ? (p->exec_path[n] = 0, strrchr(p->exec_path, '/')) : NULL;
        if (slash)
            snprintf(slash + 1, 16, "errand-exec");
    }
    return access(p->exec_path, X_OK) == 0 ? NULL : "errand-exec is not beside this program; set exec-path";
}

/* Until there is somebody to take them, signals wait: a runner that died while it tries its executors would leave what it tried them with. */
static void hold_signals(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(how, &set, NULL);
}

/* What `errand dev` and an operator ask before they rely on an executor. */
static int check_executors(struct process *p)
{
    struct strbuf msg;
    strbuf_init(&msg, 4096);
    enum err err = worker_check(&p->worker, &p->config, p->exec_path, &msg);
    if (err) {
        daemon_usage_error(NAME, msg.len ? msg.ptr : err_sentence(err));
        _exit(err == ERR_CONFIG ? 2 : 1);
    }
    strbuf_done(&msg);
    return 0;
}

static int run(struct process *p)
{
    struct strbuf msg;
    strbuf_init(&msg, 4096);
    enum err err = worker_start(&p->worker, &p->config, p->exec_path, &msg);
    if (!err)
        err = status_start(&p->worker, &p->status, &msg);
    if (err) {
        daemon_usage_error(NAME, msg.len ? msg.ptr : err_sentence(err));
        _exit(err == ERR_CONFIG ? 2 : 1);
    }
    strbuf_done(&msg);
    config_forget_master_keys(&p->config);
    p->worker.stopped = on_stopped;
    uv_loop_t *uv = loop_uv(p->worker.loop);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would hide how errand-exec ended */
    uv_signal_init(uv, &p->term);
    uv_signal_init(uv, &p->interrupt);
    p->term.data = p->interrupt.data = p;
    uv_signal_start(&p->term, on_signal, SIGTERM);
    uv_signal_start(&p->interrupt, on_signal, SIGINT);
    hold_signals(SIG_UNBLOCK);
    LOG_INFO("started", LOG_I("slots", p->worker.slots), LOG_Z("queues", p->config.queues),
             LOG_Z("executors", p->config.executors), LOG_I("pid", getpid()));
    if (!p->config.executors[0])
        LOG_WARN("this runner may execute nothing: set executors (ERRAND_EXECUTORS=process)");
    loop_run(p->worker.loop);
    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
    status_stop(p->status);
    worker_done(&p->worker);
    LOG_INFO("stopped");
    return 0;
}

int main(int argc, char **argv)
{
    static struct process p;
    setenv("UV_THREADPOOL_SIZE", "16",
           0); /* half of it resolves names: agents with slow ones are not to hold up all others */
    int status = daemon_start(&p.config, FOR_RUNNER, NAME, argc, argv);
    if (status >= 0)
        return status;
    const char *why = find_exec(&p);
    if (!why && p.config.heartbeat_ms * 2 > p.config.lease_ms)
        why = "lease-ms must be at least twice heartbeat-ms";
    if (why)
        return daemon_usage_error(NAME, why);
    hold_signals(SIG_BLOCK);
    status = p.config.check_executors ? check_executors(&p) : run(&p);
    config_done(&p.config);
    return status;
}
