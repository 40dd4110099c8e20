/* What `errand bench` needs of a deployment before it begins, and how it leaves it. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/interrupt.h"
#include "cli/output.h"

enum { CLEAN_MS = 60000, AGAIN_MS = 30 };

static bool has_scope(const struct json *scopes, const char *wanted)
{
    for (const struct json *s = scopes ? scopes->child : NULL; s; s = s->next) {
        if (s->type == JSON_STRING && (str_eqz(s->string, wanted) || str_eqz(s->string, "*")))
            return true;
    }
    return false;
}

bool bench_allowed(struct bench *b, int *ret_status)
{
    static const char *const always[] = {"runs:create", "runs:read", "runs:stop", "runs:delete"};
    struct arena arena;
    struct strbuf lacks;
    const struct json *who = NULL;
    arena_init(&arena, 1U << 20);
    strbuf_init(&lacks, 1000);
    bool ok = bench_call(b, 0, "GET", "/v1/whoami", STR_NONE, &arena, &who, ret_status);
    const struct json *scopes = json_get(who, "scopes");
    for (size_t i = 0; ok && i < ARRAY_LEN(always) - (b->asked.keep ? 2 : 0); i++) {
        if (!has_scope(scopes, always[i]))
            strbuf_addf(&lacks, " %s", always[i]);
    }
    if (ok && !b->asked.agent && !has_scope(scopes, "agents:write"))
        strbuf_addz(&lacks, " agents:write (or --agent NAME, of an agent that is registered)");
    if (lacks.len > 0) {
        cli_say("the key lacks what bench needs:%s", lacks.ptr);
        *ret_status = EXIT_UNREACHABLE;
        ok = false;
    }
    strbuf_done(&lacks);
    arena_done(&arena);
    return ok;
}

bool bench_agent(struct bench *b, struct str definition, int *ret_status)
{
    char path[200];
    if (b->asked.agent) {
        snprintf(b->agent, sizeof b->agent, "%s", b->asked.agent);
        return true;
    }
    snprintf(b->agent, sizeof b->agent, "errand-bench-%s", b->id);
    snprintf(path, sizeof path, "/v1/agents/%s", b->agent);
    for (size_t i = 0; i < b->workspace_count; i++) {
        if (!bench_call(b, i, "PUT", path, definition, NULL, NULL, ret_status))
            return false;
        b->made_agent = true;
    }
    return true;
}

/* One action on all runs with the label, page by page. Returns how many were found, -1 after a complaint. */
static int64_t bulk(struct bench *b, size_t workspace, const char *action, int64_t deadline_us)
{
    char cursor[160] = "null", body[600];
    int64_t matched = 0;
    for (bool more = true; more;) {
        struct arena arena;
        const struct json *answer = NULL;
        int status;
        snprintf(body, sizeof body,
                 "{\"action\":\"%s\",\"filter\":{\"labels\":{\"" BENCH_LABEL
                 "\":\"%s\"},\"since\":\"%s\"},\"cursor\":%s}",
                 action, b->id, b->began, cursor);
        arena_init(&arena, 8U << 20);
        bool ok = bench_call(b, workspace, "POST", "/v1/runs/bulk", str_of(body), &arena, &answer, &status);
        struct str next = json_text(answer, "cursor");
        matched += json_number(answer, "matched", 0);
        more = ok && next.len > 0;
        if (more)
            snprintf(cursor, sizeof cursor, "\"%.*s\"", STR_ARG(next));
        arena_done(&arena);
        if (!ok || load_now_us() > deadline_us || interrupt_count() > 1)
            return -1;
    }
    return matched;
}

/* Until none is found: those that execute end some time after they were stopped, and what a node was still about when the load ended comes late. */
static bool clean_runs(struct bench *b, size_t workspace)
{
    int64_t deadline_us = load_now_us() + INT64_C(1000) * CLEAN_MS;
    for (;;) {
        int64_t left = bulk(b, workspace, "stop", deadline_us);
        if (left > 0)
            left = bulk(b, workspace, "delete", deadline_us);
        if (left <= 0)
            return left == 0;
        (void)poll(NULL, 0, AGAIN_MS);
    }
}

static void clean_workspace(struct bench *b, size_t workspace)
{
    bool gone = !b->made_runs || clean_runs(b, workspace);
    if (!gone)
        cli_say("runs are left: errand bulk stop --label " BENCH_LABEL
                "=%s, then errand bulk delete --label " BENCH_LABEL "=%s",
                b->id, b->id);
    char path[200];
    int status;
    snprintf(path, sizeof path, "/v1/agents/%s", b->agent);
    /* A node that did not answer is not waited for again. */
    if (b->made_agent && (!gone || !bench_call(b, workspace, "DELETE", path, STR_NONE, NULL, NULL, &status)))
        cli_say("its agent is left: errand agents delete %s", b->agent);
}

/* Its files, and itself: nothing of ours runs any more that could write there. */
static void remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *d; (d = readdir(dir));)
        (void)unlinkat(dirfd(dir), d->d_name, 0);
    closedir(dir);
    if (rmdir(folder) != 0)
        cli_say("%s is left: %s", folder, strerror(errno));
}

void bench_clean(struct bench *b)
{
    for (size_t i = 0; i < b->workspace_count && !b->asked.keep; i++)
        clean_workspace(b, i);
    b->made_runs = b->made_agent = false;
    if (b->folder[0])
        remove_folder(b->folder);
    b->folder[0] = '\0';
}
