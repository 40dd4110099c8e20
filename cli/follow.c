#include "cli/follow.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/render.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/sse.h"

#define IDLE_MS      20000  /* four heartbeats of the stream */
#define GIVE_UP_MS   600000 /* without any connection */
#define FIRST_TRIES  3      /* rounds over all nodes before a first connection is given up */
#define RECORD_ARENA (64U << 20)

struct follow {
    struct cli *cli;
    struct client *client;
    const char *run_id;
    struct sse sse;
    struct render render;
    int64_t last_seq;
    struct strbuf record; /* the final record, once it came */
    bool done;
    char status[32]; /* for the status line */
    int64_t began_ms;
    int64_t started_wall_ms; /* of the run; 0 while it waits */
    int64_t lost_ms;         /* when the connection was lost; 0 while there is one */
    bool connected_once, connected;
    unsigned failures; /* in a row */
};

int exit_of_status(struct str status)
{
    return str_eqz(status, "error") ? EXIT_RUN_ERROR : str_eqz(status, "stopped") ? EXIT_STOPPED : EXIT_OK;
}

bool is_terminal(struct str status)
{
    return str_eqz(status, "success") || str_eqz(status, "error") || str_eqz(status, "stopped");
}

int64_t retry_delay_ms(unsigned n)
{
    int64_t ms = n >= 6 ? 5000 : INT64_C(100) << n;
    return ms / 2 + (int64_t)crypto_uniform((uint64_t)ms / 2 + 1);
}

/* ---- a record ---- */

void print_result(struct str record_json, bool skip_text)
{
    struct arena arena;
    arena_init(&arena, RECORD_ARENA);
    struct json *record = NULL;
    if (json_parse(&arena, record_json, 512, 130, &record, NULL) == ERR_OK) {
        const struct json *result = json_get(record, "result");
        struct strbuf out;
        strbuf_init(&out, RECORD_ARENA);
        bool text = result && result->type == JSON_STRING;
        if (text && !skip_text)
            safe_text(&out, result->string, true, isatty(STDOUT_FILENO));
        else if (result && !text && result->type != JSON_NULL)
            json_pretty(&out, result, 0);
        if (out.len) {
            fwrite(out.ptr, 1, out.len, stdout);
            if (out.ptr[out.len - 1] != '\n')
                putchar('\n');
        }
        strbuf_done(&out);
    }
    arena_done(&arena);
}

/* A second line for a record whose result was too long. */
static void add_truncated(struct strbuf *out, const struct json *record)
{
    const struct json *truncated = json_get(record, "resultTruncated");
    if (truncated && truncated->type == JSON_BOOL && truncated->boolean)
        strbuf_addf(out, "\n  " RESULT_TRUNCATED "; 'errand follow %.*s' shows the output",
                    STR_ARG(json_text(record, "runId")));
}

void print_outcome(struct cli *cli, struct str record_json)
{
    struct arena arena;
    arena_init(&arena, RECORD_ARENA);
    struct json *record = NULL;
    struct strbuf out;
    strbuf_init(&out, 1U << 20);
    if (json_parse(&arena, record_json, 512, 4, &record, NULL) == ERR_OK) {
        struct str status = json_text(record, "status");
        const struct json *error = json_get(record, "error");
        bool color = cli->color && cli->live;
        struct cli look = *cli;
        look.color = color;
        enum tone tone = status_tone(status);
        strbuf_addf(&out, "%s%s %.*s%s", tone_on(&look, tone),
                    exit_of_status(status) == EXIT_OK        ? "✔"
                    : exit_of_status(status) == EXIT_STOPPED ? "■"
                                                             : "✘",
                    STR_ARG(status), tone_off(&look, tone));
        int64_t from = json_time(record, "createdAt"), to = json_time(record, "completedAt");
        if (from && to) {
            strbuf_addz(&out, " in ");
            duration_write(&out, to - from);
        }
        if (json_number(record, "attempt", 1) > 1)
            strbuf_addf(&out, ", attempt %lld", (long long)json_number(record, "attempt", 1));
        strbuf_addz(&out, "  run ");
        strbuf_add(&out, json_text(record, "runId"));
        if (error && error->type == JSON_OBJECT) {
            strbuf_addz(&out, "\n  ");
            safe_line(&out, json_text(error, "class"), 64, true);
            strbuf_addz(&out, ": ");
            safe_line(&out, json_text(error, "message"), 4000, true);
        }
        add_truncated(&out, record);
        strbuf_addc(&out, '\n');
    }
    (void)cli_flush(cli);
    (void)!write(STDERR_FILENO, out.ptr ? out.ptr : "", out.len);
    strbuf_done(&out);
    arena_done(&arena);
}

/* ---- the stream ---- */

static void show_status(struct follow *f)
{
    if (f->render.mid_line && f->render.terminal)
        return;
    struct strbuf elapsed;
    strbuf_init(&elapsed, 64);
    int64_t since = f->started_wall_ms ? clock_wall_ms() - f->started_wall_ms : clock_mono_ms() - f->began_ms;
    duration_write(&elapsed, since);
    if (f->lost_ms)
        status_show(f->cli, "connection lost %lld s ago, trying %s", (long long)((clock_mono_ms() - f->lost_ms) / 1000),
                    client_url(f->client));
    else
        status_show(f->cli, "%s · %s · Ctrl-C leaves it running", f->status[0] ? f->status : "connecting",
                    elapsed.ptr ? elapsed.ptr : "");
    strbuf_done(&elapsed);
}

/* While a stream is waited for. That the reader has gone is noticed here too: with nothing to write no write fails. */
static bool on_stream_tick(void *ctx)
{
    struct follow *f = ctx;
    show_status(f);
    if (output_gone() && !f->cli->write_error)
        f->cli->write_error = EPIPE;
    return !f->cli->write_error;
}

static bool on_poll_tick(void *ctx)
{
    show_status(ctx);
    return true;
}

static void on_summary(struct follow *f, struct str data)
{
    struct arena arena;
    arena_init(&arena, RECORD_ARENA);
    struct json *run = NULL;
    if (json_parse(&arena, data, 512, 2, &run, NULL) == ERR_OK) {
        struct str status = json_text(run, "status");
        snprintf(f->status, sizeof(f->status), "%.*s", STR_ARG(status));
        f->started_wall_ms = json_time(run, "startedAt");
    }
    arena_done(&arena);
}

/* What an event says about the run's status, for the status line. */
static void take_status(struct follow *f, struct str kind, const struct json *event)
{
    const struct json *retry = json_get(json_get(event, "data"), "willRetry");
    if (str_eqz(kind, "runtime_started")) {
        snprintf(f->status, sizeof(f->status), "running");
        f->started_wall_ms = json_number(event, "tMs", 0);
    } else if (str_eqz(kind, "stream_error") && retry && retry->type == JSON_BOOL && retry->boolean) {
        snprintf(f->status, sizeof(f->status), "waiting to retry");
    }
}

static void on_event(struct follow *f, const struct sse_frame *frame)
{
    struct arena arena;
    arena_init(&arena, RECORD_ARENA);
    struct json *event = NULL;
    if (json_parse(&arena, frame->data, 512, 4, &event, NULL) == ERR_OK) {
        int64_t seq = json_number(event, "seq", -1);
        if (seq > f->last_seq) {
            f->last_seq = seq;
            take_status(f, frame->event, event);
            if (f->cli->json)
                printf("%.*s\n", STR_ARG(frame->data));
            else
                render_event(&f->render, frame->event, json_get(event, "data"));
        }
    }
    arena_done(&arena);
}

static void on_gap(struct follow *f, struct str data)
{
    if (f->cli->json) {
        printf("{\"gap\":%.*s}\n", STR_ARG(data));
        return;
    }
    render_break(&f->render);
    printf("… events are missing here: %.*s\n", STR_ARG(data));
}

static bool on_frame(void *ctx, const struct sse_frame *frame)
{
    struct follow *f = ctx;
    f->connected = f->connected_once = true;
    f->failures = 0;
    if (f->lost_ms && !f->cli->live)
        cli_say("connected again, to %s", client_url(f->client));
    f->lost_ms = 0;
    status_clear(f->cli);
    if (str_eqz(frame->event, "run")) {
        on_summary(f, frame->data);
    } else if (str_eqz(frame->event, "gap")) {
        on_gap(f, frame->data);
    } else if (str_eqz(frame->event, "done")) {
        strbuf_reset(&f->record);
        strbuf_add(&f->record, frame->data);
        f->done = true;
        return false;
    } else {
        on_event(f, frame);
    }
    return true;
}

static bool on_bytes(void *ctx, struct str bytes)
{
    struct follow *f = ctx;
    bool go_on = sse_feed(&f->sse, bytes);
    /* What came in one piece leaves in one piece. */
    bool written = cli_flush(f->cli);
    show_status(f);
    return go_on && written;
}

/* The final record by an ordinary request. */
static int fetch_record(struct follow *f)
{
    char path[128];
    struct response response;
    snprintf(path, sizeof(path), "/v1/runs/%s", f->run_id);
    client_send(f->client, &(struct request){.method = "GET", .path = path}, &response);
    int status = EXIT_OK;
    if (response_ok(&response)) {
        strbuf_reset(&f->record);
        strbuf_add(&f->record, strbuf_str(&response.body));
        f->done = true;
    } else {
        status = client_complain(f->client, &response);
    }
    response_done(&response);
    return status;
}

/* Whether to try again after this answer; otherwise *ret_status is the end. */
static bool try_again(struct follow *f, const struct response *response, int *ret_status)
{
    int status = response->status;
    bool hopeless = status >= 400 && status < 500 && status != 408 && status != 429;
    if (hopeless) {
        *ret_status = client_complain(f->client, response);
        return false;
    }
    if (f->connected_once && !f->lost_ms) {
        f->lost_ms = clock_mono_ms();
        /* The status line, which tells it on a terminal, does not show in the middle of a text. */
        if (f->cli->live && f->render.terminal)
            render_break(&f->render);
        if (!f->cli->live)
            cli_say("the connection to %s was lost (%s); going on by myself", client_url(f->client),
                    response->why[0] ? response->why : "the node ended it");
    }
    bool never = !f->connected_once && f->failures + 1 >= FIRST_TRIES * client_url_count(f->client);
    bool too_long = f->lost_ms && clock_mono_ms() - f->lost_ms > GIVE_UP_MS;
    if (never || too_long) {
        *ret_status = client_complain(f->client, response);
        return false;
    }
    int64_t delay = retry_delay_ms(f->failures++);
    if (response->retry_after_ms > delay)
        delay = response->retry_after_ms > 5000 ? 5000 : response->retry_after_ms;
    client_next_url(f->client);
    show_status(f);
    (void)interrupt_wait(delay);
    return true;
}

static int detach(struct follow *f)
{
    status_clear(f->cli);
    (void)cli_flush(f->cli);
    fprintf(stderr, "%sdetached; the run goes on.  errand follow %s  |  errand stop %s\n",
            f->render.mid_line && f->render.terminal ? "\n" : "", f->run_id, f->run_id);
    return EXIT_DETACHED;
}

static int read_stream(struct follow *f)
{
    char path[128], position[32];
    snprintf(path, sizeof(path), "/v1/runs/%s/stream", f->run_id);
    for (;;) {
        snprintf(position, sizeof(position), "%lld", (long long)f->last_seq);
        struct stream_request request = {.path = path,
                                         .last_event_id = f->last_seq >= 0 ? position : NULL,
                                         .idle_ms = IDLE_MS,
                                         .fn = on_bytes,
                                         .tick = on_stream_tick,
                                         .ctx = f};
        struct response response;
        int status = EXIT_OK;
        sse_reset(&f->sse);
        show_status(f);
        client_stream(f->client, &request, &response);
        status_clear(f->cli);
        bool more = false;
        if (f->done)
            status = EXIT_OK;
        else if (response.interrupted || interrupted())
            status = detach(f);
        else if (f->cli->write_error)
            status = f->cli->write_error == EPIPE ? EXIT_DETACHED : EXIT_RUN_ERROR; /* cli_main says why */
        else if (response.status == 204)
            status = fetch_record(f);
        else
            more = try_again(f, &response, &status);
        response_done(&response);
        if (more && interrupted()) {
            more = false;
            status = detach(f);
        }
        if (!more)
            return status;
    }
}

static int report_end(struct follow *f)
{
    struct arena arena;
    arena_init(&arena, RECORD_ARENA);
    struct json *record = NULL;
    int status = EXIT_UNREACHABLE;
    if (json_parse(&arena, strbuf_str(&f->record), 512, 2, &record, NULL) == ERR_OK)
        status = exit_of_status(json_text(record, "status"));
    arena_done(&arena);
    if (f->cli->json) {
        printf("%.*s\n", (int)f->record.len, f->record.ptr);
        return status;
    }
    render_break(&f->render);
    print_result(strbuf_str(&f->record), f->render.text_seen);
    print_outcome(f->cli, strbuf_str(&f->record));
    return status;
}

static bool follow_init(struct follow *f, struct cli *cli, const char *run_id, int64_t after)
{
    *f = (struct follow){
        .cli = cli, .client = cli_client(cli), .run_id = run_id, .last_seq = after, .began_ms = clock_mono_ms()};
    f->render = (struct render){.cli = cli, .terminal = isatty(STDOUT_FILENO)};
    if (!f->client)
        return false;
    strbuf_init(&f->record, CLIENT_ANSWER_MAX);
    sse_init(&f->sse, SSE_FRAME_MAX, on_frame, f);
    interrupt_begin();
    return true;
}

int follow_run(struct cli *cli, const char *run_id, int64_t after)
{
    struct follow f;
    if (!follow_init(&f, cli, run_id, after))
        return EXIT_USAGE;
    int status = read_stream(&f);
    if (f.done)
        status = report_end(&f);
    sse_done(&f.sse);
    strbuf_done(&f.record);
    return status;
}

/* ---- waiting without the events ---- */

/* How long the next poll may wait. A person at a terminal sees that the run is there at once, and that it started soon. */
static int poll_seconds(const struct follow *f)
{
    if (!f->cli->live || strcmp(f->status, "running") == 0)
        return 30;
    return f->connected_once ? 1 : 0;
}

/* One long poll. Returns true when there is more to wait for. */
static bool poll_once(struct follow *f, int *ret_status)
{
    char path[128];
    struct response response;
    snprintf(path, sizeof(path), "/v1/runs/%s?wait=%d", f->run_id, poll_seconds(f));
    client_send(
        f->client,
        &(struct request){.method = "GET", .path = path, .timeout_ms = 60000, .tick = on_poll_tick, .tick_ctx = f},
        &response);
    status_clear(f->cli);
    bool more = false;
    if (response.interrupted) {
        *ret_status = detach(f);
    } else if (response_ok(&response)) {
        f->connected_once = true;
        f->failures = 0;
        f->lost_ms = 0;
        on_summary(f, strbuf_str(&response.body));
        f->done = is_terminal(str_of(f->status));
        more = !f->done;
        strbuf_reset(&f->record);
        strbuf_add(&f->record, strbuf_str(&response.body));
    } else {
        more = try_again(f, &response, ret_status);
    }
    response_done(&response);
    return more;
}

int wait_run(struct cli *cli, const char *run_id)
{
    struct follow f;
    if (!follow_init(&f, cli, run_id, -1))
        return EXIT_USAGE;
    int status = EXIT_OK;
    bool more = true;
    while (more) {
        show_status(&f);
        more = poll_once(&f, &status);
        if (more && interrupted()) {
            more = false;
            status = detach(&f);
        }
    }
    if (f.done)
        status = report_end(&f);
    sse_done(&f.sse);
    strbuf_done(&f.record);
    return status;
}
