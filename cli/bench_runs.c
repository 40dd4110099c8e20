/* Single runs of `errand bench`: begun, and waited for. */
#include "cli/bench.h"
#include "cli/follow.h"
#include "cli/ids.h"
#include "cli/interrupt.h"
#include "cli/output.h"

enum { TAKEN_MS = 15000, POLL_MS = 20 };

const char *bench_queue(const struct bench *b)
{
    return b->asked.queue ? b->asked.queue : "default";
}

static bool has_word(const struct json *list, const char *word)
{
    for (const struct json *e = list ? list->child : NULL; e; e = e->next) {
        if (e->type == JSON_STRING && str_eqz(e->string, word))
            return true;
    }
    return false;
}

/* How many live runners have the executor (NULL: any) and serve the queue; -1 when the key may not ask. */
static int count_runners(struct bench *b, const char *executor)
{
    struct arena arena;
    const struct json *answer = NULL;
    char why[400];
    int count = -1;
    arena_init(&arena, 16U << 20);
    if (bench_try(b, 0, "GET", "/v1/runners", STR_NONE, &arena, &answer, why, sizeof why) == 200) {
        const struct json *list = json_get(answer, "runners");
        count = 0;
        for (const struct json *r = list ? list->child : NULL; r; r = r->next)
            count += str_eqz(json_text(r, "state"), "live") && has_word(json_get(r, "queues"), bench_queue(b)) &&
                     (!executor || has_word(json_get(r, "executors"), executor));
    }
    arena_done(&arena);
    return count;
}

const char *bench_executor(struct bench *b)
{
    if (b->asked.executor)
        return b->asked.executor;
    return count_runners(b, "noop") > 0 ? "noop" : "process";
}

bool bench_served(struct bench *b, const char *executor, int *ret_status)
{
    if (b->asked.agent)
        executor = NULL; /* its own, which is not known here */
    if (count_runners(b, executor) != 0)
        return true;
    cli_say(
        "no runner%s%s serves the queue %s: 'errand runners' shows who serves what; --queue, --executor and --agent "
        "choose",
        executor ? " with the executor " : "", executor ? executor : "", bench_queue(b));
    *ret_status = EXIT_UNREACHABLE;
    return false;
}

bool bench_start_run(struct bench *b, const char *more, char ret_id[40], int *ret_status)
{
    struct strbuf body;
    struct arena arena;
    const struct json *answer = NULL;
    strbuf_init(&body, LOAD_BODY_MAX);
    arena_init(&arena, 1U << 20);
    bench_submission(b, &body, bench_queue(b), more);
    b->made_runs = true;
    bool ok = bench_call(b, 0, "POST", "/v1/runs", strbuf_str(&body), &arena, &answer, ret_status);
    struct str id = json_text(answer, "runId");
    if (ok && !run_id_ok(id)) {
        cli_say("what answers is no Errand node");
        *ret_status = EXIT_UNREACHABLE;
        ok = false;
    }
    if (ok)
        snprintf(ret_id, 40, "%.*s", STR_ARG(id));
    arena_done(&arena);
    strbuf_done(&body);
    return ok;
}

/* Why a run is not where it should be. */
static void complain(const struct bench *b, const struct json *record, const char *wanted)
{
    struct str status = json_text(record, "status");
    const struct json *waits = json_get(json_get(record, "waitingFor"), "runner"), *error = json_get(record, "error");
    if (is_terminal(status))
        cli_say("a run of the agent %s ended as %.*s (%.*s: %.*s) instead of %s", b->agent, STR_ARG(status),
                STR_ARG(json_text(error, "class")), STR_ARG(json_text(error, "message")), wanted);
    else if (waits || str_eqz(status, "queued"))
        cli_say(
            "no runner takes runs of the agent %s in the queue %s: 'errand runners' shows who serves what; --queue and "
            "--executor or --agent choose",
            b->agent, bench_queue(b));
    else
        cli_say("a run of the agent %s stays %.*s", b->agent, STR_ARG(status));
}

bool bench_wait_run(struct bench *b, const char *id, const char *wanted, int64_t timeout_ms, int *ret_status)
{
    char path[100];
    int64_t until_us = load_now_us() + timeout_ms * 1000, begun_us = load_now_us();
    bool to_end = strcmp(wanted, "success") == 0, there = false;
    snprintf(path, sizeof path, "/v1/runs/%s%s", id, to_end ? "?wait=5" : "");
    for (;;) {
        struct arena arena;
        const struct json *record = NULL;
        arena_init(&arena, 16U << 20);
        bool ok = bench_call(b, 0, "GET", path, STR_NONE, &arena, &record, ret_status);
        struct str status = json_text(record, "status");
        there = ok && str_eqz(status, wanted);
        /* One that nobody takes is not waited for as long as one that takes its time. */
        bool late = load_now_us() > until_us ||
                    (str_eqz(status, "queued") && load_now_us() - begun_us > INT64_C(1000) * TAKEN_MS);
        if (ok && !there && (late || is_terminal(status))) {
            complain(b, record, wanted);
            *ret_status = EXIT_UNREACHABLE;
            ok = false;
        }
        arena_done(&arena);
        if (!ok || there)
            return there;
        if (interrupt_wait(to_end ? 1 : POLL_MS)) {
            *ret_status = EXIT_DETACHED;
            return false;
        }
    }
}

bool bench_probe(struct bench *b, const char *executor, int *ret_status)
{
    char id[40];
    return bench_served(b, executor, ret_status) && bench_start_run(b, "", id, ret_status) &&
           bench_wait_run(b, id, "success", 60000, ret_status);
}
