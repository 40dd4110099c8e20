#include "runner/outcome.h"

#include <stdio.h>

static void error_outcome(struct outcome *o, const char *class, const char *message)
{
    o->status = "error";
    o->error_class = class;
    snprintf(o->message, sizeof o->message, "%s", message);
}

void outcome_of(const struct attempt *a, struct outcome *o)
{
    char text[900];
    *o = (struct outcome){.status = "success", .error_class = ""};
    const char *said = a->adapter.claim.message.len ? a->adapter.claim.message.ptr : "";
    switch (a->end) {
    case END_STOP:
        o->status = "stopped";
        return;
    case END_TIMEOUT:
        snprintf(text, sizeof text, "it took longer than %lld ms", (long long)a->timeout_ms);
        error_outcome(o, "timeout", text);
        return;
    case END_STALL:
        snprintf(text, sizeof text, "no event came for %lld ms", (long long)a->stall_ms);
        error_outcome(o, "timeout", text);
        return;
    case END_EVENT_LIMIT:
        error_outcome(o, "event_limit", "the run has more events, or more bytes of events, than it may");
        return;
    case END_STORAGE_FULL:
        error_outcome(o, "storage_full", "Redis stayed full while its output waited");
        return;
    case END_START_FAILED:
        error_outcome(o, "start_failed", a->start_why);
        return;
    case END_NONE:
    case END_CLAIMED:
    case END_DRAIN:
    case END_LEFT:
    case END_LOST:
        break;
    }
    if (a->how.class) {
        error_outcome(o, a->how.class, a->how_message[0] ? a->how_message : a->how.class);
    } else if (!a->how.started) {
        error_outcome(o, "start_failed", a->how_message[0] ? a->how_message : "it could not be started");
    } else if (a->how.signaled) {
        snprintf(text, sizeof text, "killed by signal %d (%s)", a->how.code, strsignal(a->how.code));
        error_outcome(o, "signal", text);
    } else if (a->how.code != 0) {
        snprintf(text, sizeof text, "exit status %d%s%.800s", a->how.code, *said ? ": " : "", said);
        error_outcome(o, "exit_nonzero", text);
    } else if (a->adapter.claim.too_long) {
        error_outcome(o, "output_invalid", "its runtime_terminal line is longer than any result may be");
    } else if (a->adapter.claim.stopped) {
        o->status = "stopped";
    } else if (a->adapter.claim.error) {
        error_outcome(o, "agent_error", *said ? said : "the agent reported an error");
    } else if (a->output_fault) {
        error_outcome(o, "output_invalid", a->output_fault);
    }
}

void outcome_error(const struct outcome *o, struct strbuf *out)
{
    struct json_writer w;
    struct str message = str_of(o->message);
    if (!o->error_class[0])
        return;
    message.len = utf8_complete_len(message); /* it may have been cut */
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str(&w, "class", str_of(o->error_class));
    json_kv_str(&w, "message", message);
    json_object_end(&w);
}

bool outcome_result(const struct attempt *a, struct strbuf *out)
{
    bool text = a->adapter.text && !a->remote;
    if (a->output_fault)
        return true; /* what does not meet its schema is nobody's result */
    if (text && a->adapter.result_truncated)
        return false;
    if (text)
        json_quote(out, strbuf_str(&a->adapter.result_text));
    else
        strbuf_add(out, strbuf_str(&a->adapter.claim.result));
    if (out->len <= LIMIT_RESULT && !strbuf_failed(out) && !strbuf_failed(&a->adapter.claim.result))
        return true;
    strbuf_reset(out);
    return false;
}

void outcome_retry(const struct attempt *a, char text[OUTCOME_RETRY_MAX])
{
    if (a->adapter.claim.no_retry)
        snprintf(text, OUTCOME_RETRY_MAX, "no");
    else if (a->adapter.claim.retry_ms >= 0)
        snprintf(text, OUTCOME_RETRY_MAX, "%lld", (long long)a->adapter.claim.retry_ms);
    else
        text[0] = 0;
}
