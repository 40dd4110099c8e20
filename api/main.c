/* errand-api: configuration, threads, signals. */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/node.h"
#include "common/daemon.h"
#include "common/log.h"

#define NAME "errand-api"
enum { ROOT_KEY_MIN = 32 };

struct thread {
    struct node node;
    uv_thread_t id;
    uv_async_t drain; /* the signal comes to the first thread only */
};

struct process {
    struct config config;
    struct thread *threads;
    int count;
    uv_signal_t term, interrupt;
};

static void on_drain(uv_async_t *h)
{
    struct thread *t = h->data;
    node_drain(&t->node);
}

static void on_signal(uv_signal_t *h, int number)
{
    struct process *p = h->data;
    LOG_INFO("signal", LOG_I("number", number));
    if (p->threads[0].node.draining) /* asked twice: at once */
        _exit(0);
    for (int i = 0; i < p->count; i++)
        uv_async_send(&p->threads[i].drain);
}

static void run_thread(void *ctx)
{
    struct thread *t = ctx;
    loop_run(t->node.loop);
}

/* glibc raises these by itself after the first large block, and then keeps what a burst of requests left. What a replay has queued stays below the second one: else each turn of it gives memory back and takes it again. */
static void bound_heap(void)
{
    mallopt(M_MMAP_THRESHOLD, 262144);
    mallopt(M_TRIM_THRESHOLD, 1572864);
}

static const char *check_root_key(const struct config *c)
{
    if (strlen(c->root_key) >= ROOT_KEY_MIN)
        return NULL;
    return c->root_key[0]
               ? "ERRAND_ROOT_KEY must have at least 32 characters; `errand keygen` makes one"
               : "there is no root key: set ERRAND_ROOT_KEY (or ERRAND_ROOT_KEY_FILE); `errand keygen` makes one";
}

static enum err start_threads(struct process *p, struct strbuf *msg)
{
    static char address[256]; /* port 0: the first thread's port is everybody's */
    for (int i = 0; i < p->count; i++) {
        struct thread *t = &p->threads[i];
        enum err err = node_start(&t->node, &p->config, i == 0, msg);
        if (err)
            return err;
        uv_async_init(loop_uv(t->node.loop), &t->drain, on_drain);
        t->drain.data = t;
        if (i == 0) {
            const char *colon = strrchr(p->config.listen, ':');
            snprintf(address, sizeof address, "%.*s:%d", (int)(colon - p->config.listen), p->config.listen,
                     http_server_port(t->node.server));
            p->config.listen = address;
        }
    }
    return ERR_OK;
}

static void watch_signals(struct process *p)
{
    uv_loop_t *uv = loop_uv(p->threads[0].node.loop);
    signal(SIGPIPE, SIG_IGN);
    uv_signal_init(uv, &p->term);
    uv_signal_init(uv, &p->interrupt);
    p->term.data = p->interrupt.data = p;
    uv_signal_start(&p->term, on_signal, SIGTERM);
    uv_signal_start(&p->interrupt, on_signal, SIGINT);
}

static int serve(struct process *p)
{
    struct strbuf msg;
    strbuf_init(&msg, 4096);
    enum err err = start_threads(p, &msg);
    int port = err ? 0 : http_server_port(p->threads[0].node.server);
    if (!err && p->config.port_file[0] && !daemon_write_port(p->config.port_file, port)) {
        strbuf_addf(&msg, "can't write port-file %s", p->config.port_file);
        err = ERR_IO;
    }
    if (err) {
        daemon_usage_error(NAME, msg.len ? msg.ptr : err_sentence(err));
        _exit(err == ERR_CONFIG ? 2 : 1); /* half-started threads are not worth unwinding */
    }
    strbuf_done(&msg);
    config_forget_master_keys(&p->config);
    watch_signals(p);
    LOG_INFO("serving", LOG_Z("address", p->config.listen), LOG_I("port", port), LOG_I("threads", p->count),
             LOG_I("pid", getpid()));
    for (int i = 1; i < p->count; i++)
        PRE(uv_thread_create(&p->threads[i].id, run_thread, &p->threads[i]) == 0);
    loop_run(p->threads[0].node.loop);
    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
    for (int i = 0; i < p->count; i++) {
        if (i > 0)
            uv_thread_join(&p->threads[i].id);
        uv_close((uv_handle_t *)&p->threads[i].drain, NULL);
        node_done(&p->threads[i].node);
    }
    LOG_INFO("stopped");
    return 0;
}

int main(int argc, char **argv)
{
    struct process p = {.count = 0};
    int status = daemon_start(&p.config, FOR_API, NAME, argc, argv);
    if (status >= 0)
        return status;
    const char *why = check_root_key(&p.config);
    if (why) {
        config_done(&p.config);
        return daemon_usage_error(NAME, why);
    }
    bound_heap();
    p.count = (int)p.config.threads;
    p.threads = calloc((size_t)p.count, sizeof *p.threads);
    PRE(p.threads);
    status = serve(&p);
    free(p.threads);
    config_done(&p.config);
    return status;
}
