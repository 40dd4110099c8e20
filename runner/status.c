#include "runner/status.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/http.h"
#include "common/daemon.h"
#include "common/metrics.h"

struct status_server {
    struct worker *worker;
    struct http_server *server;
};

static enum err on_head(void *ctx, struct http_req *req, size_t *ret_max_body, const char **ret_detail)
{
    (void)ctx;
    *ret_max_body = 0;
    *ret_detail = NULL;
    bool known = str_eqz(req->path, "/metrics") || str_eqz(req->path, "/healthz") || str_eqz(req->path, "/readyz");
    if (!known)
        return ERR_NOT_FOUND;
    return req->method == HTTP_GET_ || req->method == HTTP_HEAD_ ? ERR_OK : ERR_METHOD_NOT_ALLOWED;
}

static void on_request(void *ctx, struct http_req *req)
{
    struct status_server *s = ctx;
    const char *why;
    if (str_eqz(req->path, "/metrics")) {
        struct strbuf out;
        strbuf_init(&out, 1 << 20);
        metrics_write(&out, "runner");
        http_reply(req, 200, "text/plain; version=0.0.4; charset=utf-8", strbuf_str(&out));
        strbuf_done(&out);
    } else if (str_eqz(req->path, "/healthz")) {
        http_reply(req, 200, "text/plain", STR("ok\n"));
    } else {
        bool ready = worker_ready(s->worker, &why);
        http_reply(req, ready ? 200 : 503, "text/plain", ready ? STR("ready\n") : str_of(why));
    }
}

static void on_error(void *ctx, struct http_req *req, enum err err, const char *detail)
{
    (void)ctx;
    http_reply(req, err_status(err), "text/plain", str_of(detail ? detail : err_sentence(err)));
}

enum err status_start(struct worker *w, struct status_server **ret_server, struct strbuf *ret_message)
{
    const char *address = w->config->metrics_listen, *why = "";
    *ret_server = NULL;
    if (!address[0])
        return ERR_OK;
    struct status_server *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NO_MEMORY;
    s->worker = w;
    struct http_app app = {s, on_head, on_request, on_error};
    enum err err = http_server_new(w->loop, address, false, &app, &s->server, &why);
    if (!err && w->config->port_file[0] && !daemon_write_port(w->config->port_file, http_server_port(s->server))) {
        err = ERR_IO;
        why = "can't write port-file";
    }
    if (err) {
        strbuf_addf(ret_message, "metrics-listen %s: %s", address, why);
        free(s);
        return err;
    }
    *ret_server = s;
    return ERR_OK;
}

void status_stop(struct status_server *s)
{
    if (!s)
        return;
    http_server_free(s->server);
    free(s);
}
