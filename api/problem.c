#include "api/problem.h"

#include <stdio.h>

#include "common/json.h"

enum { DETAIL_MAX = 4096 };

void problem_reply_with(struct http_req *req, enum err err, int status, const char *detail, const char *members)
{
    struct strbuf out;
    struct json_writer w;
    struct str text = str_of(detail ? detail : err_sentence(err));
    if (text.len > DETAIL_MAX) {
        text.len = DETAIL_MAX;
        text.len = utf8_complete_len(text);
    }
    strbuf_init(&out, 1 << 20);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    char *type = arena_printf(&req->arena, "https://errand.example/problems/%s", err_code(err));
    json_kv_str(&w, "type", str_of(type ? type : "about:blank"));
    json_kv_str(&w, "title", str_of(err_sentence(err)));
    json_kv_int(&w, "status", status);
    json_kv_str(&w, "detail", text);
    json_kv_str(&w, "code", str_of(err_code(err)));
    char urn[48]; /* where no path was understood: the request itself, as in X-Request-Id */
    snprintf(urn, sizeof urn, "urn:errand:request:%016llx", (unsigned long long)req->id);
    struct str path = req->path.len > 512 ? (struct str){req->path.ptr, 512} : req->path;
    json_kv_str(&w, "instance", path.len > 0 ? path : str_of(urn));
    if (members) {
        strbuf_addc(&out, ',');
        strbuf_addz(&out, members);
    }
    json_object_end(&w);
    if (err_retryable(err)) {
        char *seconds = arena_printf(&req->arena, "%d", req->retry_after_s > 0 ? req->retry_after_s : 1);
        http_reply_header(req, "Retry-After", str_of(seconds ? seconds : "1"));
    }
    if (status == 401)
        http_reply_header(req, "WWW-Authenticate", STR("Bearer"));
    http_reply(req, status, "application/problem+json", strbuf_str(&out));
    strbuf_done(&out);
}

void problem_reply(struct http_req *req, enum err err, const char *detail)
{
    problem_reply_with(req, err, err_status(err), detail, NULL);
}
