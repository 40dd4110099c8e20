/* The requests of `errand bench` that prepare and clean up: one at a time, waited for. */
#include "cli/bench.h"
#include "cli/output.h"
#include "common/version.h"

void bench_request(const struct bench *b, struct strbuf *out, size_t workspace, const char *method, const char *path,
                   struct str body, const char *token)
{
    const char *key = token ? token : b->key;
    strbuf_addf(out, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, load_host(b->load));
    if (*key)
        strbuf_addf(out, "Authorization: Bearer %s\r\n", key);
    if (b->workspaces[workspace].len > 0 && !token)
        strbuf_addf(out, "X-Errand-Workspace: %.*s\r\n", STR_ARG(b->workspaces[workspace]));
    if (body.len > 0)
        strbuf_addf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
    else if (strcmp(method, "POST") == 0)
        strbuf_add(out, STR("Content-Length: 0\r\n"));
    strbuf_add(out, STR("\r\n"));
    strbuf_add(out, body);
}

void bench_problem(char *out, size_t cap, int status, struct str body)
{
    struct arena arena;
    struct json *problem = NULL;
    arena_init(&arena, 4U << 20);
    if (body.len == 0 || json_parse(&arena, body, 128, 4, &problem, NULL) != ERR_OK)
        problem = NULL;
    struct str code = json_text(problem, "code"), detail = json_text(problem, "detail");
    if (code.len > 0)
        snprintf(out, cap, "the node answered %d %.*s: %.*s", status, STR_ARG(code), STR_ARG(detail));
    else
        snprintf(out, cap, "the node answered %d%s%.*s", status, body.len ? ": " : "",
                 body.len > 120 ? 120 : (int)body.len, body.ptr ? body.ptr : "");
    arena_done(&arena);
}

int bench_try(struct bench *b, size_t workspace, const char *method, const char *path, struct str body,
              struct arena *arena, const struct json **ret_answer, char *ret_why, size_t cap)
{
    struct strbuf request, answer;
    const char *why = NULL;
    strbuf_init(&request, LOAD_BODY_MAX);
    strbuf_init(&answer, LOAD_BODY_MAX);
    bench_request(b, &request, workspace, method, path, body, NULL);
    int status = load_call(b->load, strbuf_str(&request), BENCH_CALL_MS, &answer, &why);
    struct json *root = NULL;
    if (status == 0) {
        snprintf(ret_why, cap, "no node answers at %s: %s", load_host(b->load), why);
    } else if (status >= 300) {
        bench_problem(ret_why, cap, status, strbuf_str(&answer));
    } else if (arena && json_parse(arena, strbuf_str(&answer), 512, 130, &root, &why) != ERR_OK) {
        snprintf(ret_why, cap, "the answer is not JSON (%s): is this an Errand node?", why);
        status = 0;
    } else if (arena) {
        *ret_answer = root;
    }
    explicit_bzero(request.ptr, request.len);
    strbuf_done(&request);
    strbuf_done(&answer);
    return status;
}

bool bench_call(struct bench *b, size_t workspace, const char *method, const char *path, struct str body,
                struct arena *arena, const struct json **ret_answer, int *ret_status)
{
    char why[500];
    int status = bench_try(b, workspace, method, path, body, arena, ret_answer, why, sizeof why);
    bool ok = status >= 200 && status < 300;
    if (!ok)
        cli_say("%s %s: %s", method, path, why);
    if (!ok)
        *ret_status = status >= 400 && status < 500 && status != 401 && status != 403 ? EXIT_USAGE : EXIT_UNREACHABLE;
    return ok;
}
