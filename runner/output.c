#include "runner/output.h"

#include "common/clock.h"
#include "common/log.h"

enum { PAUSE_MS = 250 };

/* Redacted. */
static void store_event(void *ctx, enum event_kind kind, struct str data)
{
    struct attempt *a = ctx;
    outbox_add(&a->outbox, kind, data);
}

/* The adapter's. Those of the `text` protocol are of a text that was redacted before it was cut to events. */
void output_event(void *ctx, enum event_kind kind, struct str data)
{
    struct attempt *a = ctx;
    a->event_ms = clock_mono_ms();
    if (a->input.open && event_asks_input(kind, data))
        input_asked(a);
    if (a->adapter.text)
        store_event(a, kind, data);
    else
        redaction_event(&a->redaction, kind, data, store_event, a);
}

/* Of one that nothing of is redacted. */
static void quick_event(void *ctx, enum event_kind kind, struct str data)
{
    struct attempt *a = ctx;
    if (a->input.open && event_asks_input(kind, data))
        input_asked(a);
    outbox_add(&a->outbox, kind, data);
}

bool output_quick(void *ctx, struct str line)
{
    struct attempt *a = ctx;
    if (!redaction_quick(&a->redaction, line, quick_event, a))
        return false;
    a->event_ms = loop_now_ms(a->shard->worker->loop);
    return true;
}

void output_big(void *ctx, enum event_kind kind, struct str data)
{
    struct attempt *a = ctx;
    a->event_ms = clock_mono_ms();
    redaction_big(&a->redaction, kind, data, store_event, a);
}

void output_plain(void *ctx, struct str line, bool piece)
{
    struct attempt *a = ctx;
    a->event_ms = clock_mono_ms();
    redaction_plain(&a->redaction, line, piece, store_event, a);
}

static void on_stderr_line(void *ctx, struct str line, bool piece)
{
    struct attempt *a = ctx;
    a->event_ms = clock_mono_ms();
    attempt_log(a, "stderr", line);
    if (!a->remote && line.len > 0)
        adapter_notify_line("stderr", line, piece, store_event, a);
}

static void on_stdout_log_line(void *ctx, struct str line, bool piece)
{
    (void)piece;
    attempt_log(ctx, "stdout", line);
}

static void take_text(struct attempt *a, struct str bytes)
{
    a->event_ms = clock_mono_ms(); /* also while it is kept back */
    adapter_feed(&a->adapter, redaction_out(&a->redaction, bytes, false));
}

/* A successor could go on from here: nothing of what came is held anywhere but in events, and there was no word of the agent's end, which is no event. */
static void mark(struct attempt *a)
{
    bool whole = !redaction_holds(&a->redaction) && a->err_lines.pending.len == 0 && !a->err_lines.overlong &&
                 a->out_lines.pending.len == 0 && a->adapter.rest.len == 0 && !a->adapter.lines.overlong &&
                 !a->adapter.claim.made;
    if (whole)
        outbox_mark(&a->outbox, a->fed_out - (int64_t)a->adapter.lines.pending.len, a->fed_err);
}

void output_take(void *ctx, enum job_stream stream, struct str bytes)
{
    struct attempt *a = ctx;
    if (a->end == END_LOST || a->end == END_EVENT_LIMIT || a->end == END_STORAGE_FULL)
        return; /* it is read only so that the tree can end */
    if (stream == JOB_STDERR)
        a->fed_err += (int64_t)bytes.len;
    else
        a->fed_out += (int64_t)bytes.len;
    if (stream == JOB_STDERR)
        lines_feed(&a->err_lines, redaction_err(&a->redaction, bytes, false), on_stderr_line, a);
    else if (a->remote)
        lines_feed(&a->out_lines, redaction_out(&a->redaction, bytes, false), on_stdout_log_line, a);
    else if (a->adapter.text)
        take_text(a, bytes);
    else
        adapter_feed(&a->adapter, bytes); /* it cuts events; each of them is redacted as JSON */
    if (redaction_holds(&a->redaction))
        loop_timer_set(&a->pause, PAUSE_MS);
    if (a->adoptable)
        mark(a);
}

void output_pause(void *ctx)
{
    struct attempt *a = ctx;
    if (!a->job)
        return;
    if (a->remote)
        return; /* lines show nothing before they are whole */
    if (a->adapter.text)
        adapter_feed(&a->adapter, redaction_out_pause(&a->redaction));
    else
        redaction_delta_pause(&a->redaction, store_event, a);
    if (a->adoptable)
        mark(a);
}

/* The end of its output: what was kept back comes out. */
void output_end(struct attempt *a)
{
    if (a->executor->silent)
        return;
    lines_feed(&a->err_lines, redaction_err(&a->redaction, STR(""), true), on_stderr_line, a);
    lines_end(&a->err_lines, on_stderr_line, a);
    if (a->remote)
        lines_feed(&a->out_lines, redaction_out(&a->redaction, STR(""), true), on_stdout_log_line, a);
    else if (a->adapter.text)
        adapter_feed(&a->adapter, redaction_out(&a->redaction, STR(""), true));
    lines_end(&a->out_lines, on_stdout_log_line, a);
    adapter_end(&a->adapter);
    redaction_end(&a->redaction, store_event, a);
    redaction_claim(&a->redaction, &a->adapter.claim);
    int64_t undecided = redaction_undecided(&a->redaction);
    if (undecided > 0)
        LOG_WARN("redaction could not decide, and withheld output", LOG_RUN(a), LOG_I("times", undecided));
}
