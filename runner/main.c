/* errand-runner: configuration, signals, and its small HTTP server for metrics. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/crypto.h"
#include "common/log.h"
#include "common/version.h"
#include "runner/status.h"
#include "runner/worker.h"

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
    worker_drain(&p->worker);
}

static void on_stopped(struct worker *w)
{
    loop_stop(w->loop);
}

static int usage_error(const char *message)
{
    fprintf(stderr, "errand-runner: %s\n", message);
    return 2;
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
    executor_process_set_path(p->exec_path);
    return access(p->exec_path, X_OK) == 0 ? NULL : "errand-exec is not beside this program; set exec-path";
}

static void raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static const char *check_config(const struct config *c, enum log_level *ret_level)
{
    if (!log_level_parse(str_of(c->log_level), ret_level))
        return "log-level must be debug, info, warn or error";
    if (strcmp(c->log_format, "json") != 0 && strcmp(c->log_format, "logfmt") != 0)
        return "log-format must be json or logfmt";
    if (strlen(c->prefix) > KEYS_PREFIX_MAX)
        return "prefix must be at most 64 bytes";
    if (c->heartbeat_ms * 2 > c->lease_ms)
        return "lease-ms must be at least twice heartbeat-ms";
    return crypto_start() == ERR_OK ? NULL : "the system has no randomness";
}

static int run(struct process *p)
{
    struct strbuf msg;
    strbuf_init(&msg, 4096);
    enum err err = worker_start(&p->worker, &p->config, &msg);
    if (!err)
        err = status_start(&p->worker, &p->status, &msg);
    if (err) {
        usage_error(msg.len ? msg.ptr : err_sentence(err));
        _exit(err == ERR_CONFIG ? 2 : 1);
    }
    strbuf_done(&msg);
    p->worker.stopped = on_stopped;
    uv_loop_t *uv = loop_uv(p->worker.loop);
    signal(SIGPIPE, SIG_IGN);
    uv_signal_init(uv, &p->term);
    uv_signal_init(uv, &p->interrupt);
    p->term.data = p->interrupt.data = p;
    uv_signal_start(&p->term, on_signal, SIGTERM);
    uv_signal_start(&p->interrupt, on_signal, SIGINT);
    LOG_INFO("started", LOG_I("slots", p->worker.slots), LOG_Z("queues", p->config.queues),
             LOG_Z("executors", p->config.executors), LOG_I("pid", getpid()));
    if (!worker_may_execute(&p->worker, "process"))
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
    struct strbuf msg;
    enum config_action action;
    enum log_level level = LOG_LEVEL_INFO;
    strbuf_init(&msg, 65536);
    if (config_load(&p.config, FOR_RUNNER, argc, argv, &action, &msg))
        return usage_error(msg.len ? msg.ptr : "the configuration is not valid");
    if (action == CONFIG_HELP)
        config_help(FOR_RUNNER, "errand-runner", &msg);
    if (action == CONFIG_VERSION)
        strbuf_addz(&msg, "errand-runner " ERRAND_VERSION "\n");
    if (action != CONFIG_RUN) {
        fputs(msg.ptr, stdout);
        strbuf_done(&msg);
        return 0;
    }
    const char *why = check_config(&p.config, &level);
    if (!why)
        why = find_exec(&p);
    if (why)
        return usage_error(why);
    char host[65] = "";
    gethostname(host, sizeof host - 1);
    if (!p.config.node[0])
        p.config.node = host;
    log_setup(level, strcmp(p.config.log_format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT, "runner",
              str_of(p.config.node));
    raise_file_limit();
    int status = run(&p);
    config_done(&p.config);
    strbuf_done(&msg);
    return status;
}
