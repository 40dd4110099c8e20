/* errand bench ingress: batches of events posted to remote runs, one run a connection. An attempt's token is told to its agent alone. So bench makes these runs itself only where the runner is on this machine: their
 * agent writes its token into a folder that only this user (and root) may look into. For other deployments --tokens names a file with a run's id and its token on each line. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/ids.h"
#include "cli/interrupt.h"
#include "cli/output.h"

enum {
    BATCH_DEFAULT = 256,
    BYTES_DEFAULT = 100,
    BATCHES_DEFAULT = 200,
    SEQ_DIGITS = 10,
    TOKEN_MAX = 200,
    TOKEN_MS = 10000,
    ENVELOPE = 120,      /* bytes of an event besides its text, at most */
    RUN_EVENTS = 900000, /* of a run, where nothing else is configured */
    RUN_BYTES = 60 << 20,
};
#define FIRST_SEQ INT64_C(1000000000) /* so that each number has as many digits */

struct poster {
    char run[40], token[TOKEN_MAX];
    struct strbuf request;
    size_t *marks;     /* where the numbers stand in it */
    int64_t seq, left; /* the next event's number; how many the run may still take */
};

struct ingress {
    struct bench *b;
    struct bench_result *r;
    struct bench_loop loop;
    struct poster *all;
    size_t count;
    int64_t batch, bytes;
    bool used; /* the runs were begun, and written to */
};

/* ---- runs and tokens ---- */

static bool read_token(const char *path, char ret_token[TOKEN_MAX])
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fgets(ret_token, TOKEN_MAX, f) != NULL;
    fclose(f);
    ret_token[strcspn(ret_token, "\r\n")] = '\0';
    return ok && *ret_token;
}

static bool wait_token(struct ingress *s, struct poster *p, const char *path, int *ret_status)
{
    int64_t until_us = load_now_us() + INT64_C(1000) * TOKEN_MS;
    while (!read_token(path, p->token)) {
        if (load_now_us() > until_us) {
            cli_say("the agent of %s did not write its token to %s: bench makes such runs itself only where the runner "
                    "is on "
                    "this machine and may write there; --tokens FILE names runs and their tokens",
                    p->run, s->b->folder);
            *ret_status = EXIT_UNREACHABLE;
            return false;
        }
        if (interrupt_wait(5)) {
            *ret_status = EXIT_DETACHED;
            return false;
        }
    }
    (void)unlink(path);
    return true;
}

static bool begin_run(struct ingress *s, size_t i, int *ret_status)
{
    char more[400], path[300];
    struct poster *p = &s->all[i];
    snprintf(path, sizeof path, "%s/token%zu", s->b->folder, i);
    snprintf(more, sizeof more, ",\"env\":{\"OUT\":\"%s\"}", path);
    return bench_start_run(s->b, more, p->run, ret_status) &&
           bench_wait_run(s->b, p->run, "running", 30000, ret_status) && wait_token(s, p, path, ret_status);
}

static void stop_run(struct ingress *s, struct poster *p)
{
    char path[100];
    int status;
    snprintf(path, sizeof path, "/v1/runs/%s/stop?wait=10", p->run);
    (void)bench_call(s->b, 0, "POST", path, STR_NONE, NULL, NULL, &status);
}

/* What the run has: where its numbers and times go on. */
static bool read_manifest(struct ingress *s, struct poster *p, int64_t *ret_t_ms, int *ret_status)
{
    struct strbuf request, answer;
    struct arena arena;
    struct json *root = NULL;
    char path[100], problem[400];
    const char *why = NULL;
    strbuf_init(&request, 65536);
    strbuf_init(&answer, 1U << 20);
    arena_init(&arena, 2U << 20);
    snprintf(path, sizeof path, "/v1/runs/%s/runner/manifest", p->run);
    bench_request(s->b, &request, 0, "GET", path, STR_NONE, p->token);
    int status = load_call(s->b->load, strbuf_str(&request), BENCH_CALL_MS, &answer, &why);
    bool ok = status == 200 && json_parse(&arena, strbuf_str(&answer), 64, 4, &root, &why) == ERR_OK;
    if (ok) {
        int64_t next = json_number(root, "nextSeq", 1), last_ms = json_number(root, "lastTMs", 0),
                now_ms = clock_wall_ms();
        p->seq = next > FIRST_SEQ ? next : FIRST_SEQ;
        *ret_t_ms = last_ms > now_ms ? last_ms : now_ms;
    } else {
        bench_problem(problem, sizeof problem, status, strbuf_str(&answer));
        cli_say("the token of %s: %s", p->run, status ? problem : why);
        *ret_status = EXIT_UNREACHABLE;
    }
    arena_done(&arena);
    strbuf_done(&request);
    strbuf_done(&answer);
    return ok;
}

/* ---- requests ---- */

static bool make_request(struct ingress *s, struct poster *p, int *ret_status)
{
    struct strbuf body;
    char path[100];
    int64_t t_ms = 0;
    if (!read_manifest(s, p, &t_ms, ret_status))
        return false;
    strbuf_init(&body, LOAD_BODY_MAX);
    strbuf_addf(&body, "{\"v\":1,\"runId\":\"%s\",\"events\":[", p->run);
    for (int64_t i = 0; i < s->batch; i++) {
        strbuf_addz(&body, i > 0 ? ",{\"seq\":" : "{\"seq\":");
        p->marks[i] = body.len;
        strbuf_addf(&body, "0000000000,\"tMs\":%lld,\"kind\":\"assistant_text\",\"data\":{\"text\":\"",
                    (long long)t_ms);
        for (int64_t x = 0; x < s->bytes; x++)
            strbuf_addc(&body, 'x');
        strbuf_addz(&body, "\"}}");
    }
    strbuf_addz(&body, "]}");
    snprintf(path, sizeof path, "/v1/runs/%s/runner/events", p->run);
    strbuf_reset(&p->request);
    bench_request(s->b, &p->request, 0, "POST", path, strbuf_str(&body), p->token);
    for (int64_t i = 0; i < s->batch; i++)
        p->marks[i] += p->request.len - body.len;
    bool ok = !strbuf_failed(&body) && !strbuf_failed(&p->request);
    if (!ok)
        *ret_status = cli_usage_error(s->b->command, "a batch of that size is too long");
    strbuf_done(&body);
    return ok;
}

/* New runs for each repetition: one takes only so many events. */
static int before(void *ctx)
{
    struct ingress *s = ctx;
    int status = EXIT_OK;
    int64_t by_bytes = RUN_BYTES / (s->bytes + ENVELOPE);
    for (size_t i = 0; i < s->count; i++) {
        struct poster *p = &s->all[i];
        if (s->b->folder[0] && s->used)
            stop_run(s, p);
        if (s->b->folder[0] && !begin_run(s, i, &status))
            return status;
        if (!make_request(s, p, &status))
            return status;
        p->left = by_bytes < RUN_EVENTS ? by_bytes : RUN_EVENTS;
    }
    s->used = true;
    return EXIT_OK;
}

static bool next_events(void *ctx, struct load_conn *c, struct str *ret_request)
{
    struct ingress *s = ctx;
    struct poster *p = &s->all[c->index];
    if (p->left < s->batch)
        return false;
    p->left -= s->batch;
    for (int64_t i = 0; i < s->batch; i++) {
        char *end = p->request.ptr + p->marks[i] + SEQ_DIGITS;
        int64_t n = p->seq++;
        for (int d = 0; d < SEQ_DIGITS; d++, n /= 10)
            *--end = (char)('0' + n % 10);
    }
    *ret_request = strbuf_str(&p->request);
    return true;
}

static int64_t worth(void *ctx, struct load_conn *c, int status, struct str body)
{
    const struct ingress *s = ctx;
    (void)c;
    (void)body;
    return status == 202 ? s->batch : -1;
}

/* ---- the whole ---- */

/* A line: a run's id, a blank, its token. */
static bool take_tokens(struct ingress *s, const char *file, int *ret_status)
{
    size_t len = 0, n = 0;
    char *text = cli_read_file(file, 1U << 20, &len), *rest = NULL;
    *ret_status = EXIT_USAGE;
    if (!text)
        return false;
    for (char *line = strtok_r(text, "\r\n", &rest); line && n < s->count; line = strtok_r(NULL, "\r\n", &rest)) {
        char *blank = strchr(line, ' ');
        struct str id = {line, blank ? (size_t)(blank - line) : 0};
        if (!blank || !run_id_ok(id) || strlen(blank + 1) >= TOKEN_MAX || !blank[1]) {
            cli_say("%s: each line is a run's id, a blank, and its token", file);
            n = 0;
            break;
        }
        snprintf(s->all[n].run, sizeof s->all[n].run, "%.*s", STR_ARG(id));
        snprintf(s->all[n].token, sizeof s->all[n].token, "%s", blank + 1);
        n++;
    }
    explicit_bzero(text, len);
    free(text);
    if (n > 0)
        s->count = n;
    return n > 0;
}

static bool make_agent(struct ingress *s, int *ret_status)
{
    const char *temporary = getenv("TMPDIR");
    if (!bench_served(s->b, "process", ret_status))
        return false;
    snprintf(s->b->folder, sizeof s->b->folder, "%.150s/errand-bench-XXXXXX",
             temporary && *temporary == '/' ? temporary : "/tmp");
    if (!mkdtemp(s->b->folder) || strpbrk(s->b->folder, "\"\\")) {
        cli_say("no folder can be made in %s: %s", temporary ? temporary : "/tmp", strerror(errno));
        s->b->folder[0] = '\0';
        *ret_status = EXIT_USAGE;
        return false;
    }
    return bench_agent(s->b,
                       STR("{\"executor\":\"process\",\"protocol\":\"text\",\"eventSource\":\"remote\",\"graceMs\":100,"
                           "\"command\":[\"/bin/sh\",\"-c\","
                           "\"umask 077; printf '%s\\\\n' \\\"$ERRAND_RUNNER_TOKEN\\\" > \\\"$OUT.part\\\" && mv "
                           "\\\"$OUT.part\\\" \\\"$OUT\\\" && "
                           "exec sleep 900\"]}"),
                       ret_status);
}

static int post_all(struct ingress *s)
{
    struct bench *b = s->b;
    int64_t batches = b->asked.requests > 0      ? b->asked.requests
                      : b->asked.duration_ms > 0 ? 0
                                                 : BATCHES_DEFAULT * (int64_t)s->count;
    s->loop = (struct bench_loop){.b = b,
                                  .r = s->r,
                                  .before = before,
                                  .next = next_events,
                                  .worth = worth,
                                  .ctx = s,
                                  .limit = batches,
                                  .duration_us = b->asked.duration_ms * 1000};
    return bench_loop_run(&s->loop, s->count, b->asked.warmup >= 0 ? b->asked.warmup : batches / 10 + 1);
}

int bench_ingress(struct bench *b, struct bench_result *r)
{
    struct ingress s = {.b = b, .r = r, .batch = b->asked.batch > 0 ? b->asked.batch : BATCH_DEFAULT};
    int status = EXIT_OK;
    s.count = (size_t)(b->asked.connections > 0 ? b->asked.connections : 1);
    s.bytes = b->asked.bytes >= 0 ? b->asked.bytes : BYTES_DEFAULT;
    if (s.batch > 256)
        return cli_usage_error(b->command, "a batch has at most 256 events");
    s.all = calloc(s.count, sizeof *s.all);
    bool ok = s.all != NULL;
    for (size_t i = 0; ok && i < s.count; i++) {
        strbuf_init(&s.all[i].request, LOAD_BODY_MAX);
        s.all[i].marks = calloc((size_t)s.batch, sizeof *s.all[i].marks);
        ok = s.all[i].marks != NULL;
    }
    r->unit = "events/s";
    bench_what(r, "events posted in batches of %lld by %zu", (long long)s.batch, s.count);
    snprintf(r->note, sizeof r->note,
             s.count == 1 ? "one at a time: the way there and back" : "Redis, or the way there");
    size_t made = s.count;
    if (ok && (b->asked.tokens ? take_tokens(&s, b->asked.tokens, &status) : make_agent(&s, &status)))
        status = post_all(&s);
    bench_extra(r, "connections", (double)s.count);
    bench_extra(r, "batch", (double)s.batch);
    bench_extra(r, "bytes", (double)s.bytes);
    for (size_t i = 0; s.all && i < made; i++) {
        explicit_bzero(s.all[i].token, sizeof s.all[i].token);
        strbuf_done(&s.all[i].request);
        free(s.all[i].marks);
    }
    free(s.all);
    return status;
}
