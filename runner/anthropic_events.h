/* The Messages API's stream → events. Pure: frames in, events out through a callback; no clock, no I/O.
 *
 *   text                      → assistant_text {"text"}, delta by delta
 *   tool_use, server_tool_use → tool_request {"id","name","input"} when its input is whole; "partialInput" in place of "input" where that is no JSON
 *   …_tool_result             → tool_response {"id","content"}
 *   usage                     → notification {"type":"usage", …}, and in the result
 *   anything else             → notification, with what it said: thinking, signatures, citations, and what is not known yet
 */
#ifndef ERRAND_RUNNER_ANTHROPIC_EVENTS_H
#define ERRAND_RUNNER_ANTHROPIC_EVENTS_H

#include "common/event.h"
#include "common/sse.h"

/* data: a JSON object without a newline in it, borrowed. */
typedef void (*anthropic_event_fn)(void *ctx, enum event_kind kind, struct str data);

enum anthropic_state {
    ANTHROPIC_OPEN,   /* more is to come */
    ANTHROPIC_DONE,   /* message_stop came */
    ANTHROPIC_FAILED, /* an error came, or what no stream of theirs is; error_type and error say which */
};

struct anthropic_block {
    bool open, tool, server; /* server: a tool that is not called by the agent */
    int64_t index;
    struct strbuf id, name, input;
};

struct anthropic_events {
    enum anthropic_state state;
    bool began; /* some of the answer was handed on: it can't be asked for again without anybody's noticing */
    struct anthropic_block block;
    struct strbuf text;  /* of the result */
    struct strbuf tools; /* the members of its array toolUses, raw */
    bool text_truncated, tools_truncated;
    struct strbuf stop_reason; /* raw JSON; empty before it is known */
    int64_t usage[4];          /* -1: not said */
    struct strbuf error_type, error;
    anthropic_event_fn fn;
    void *ctx;
};

/* The longest data of a frame that is taken. */
enum { ANTHROPIC_FRAME_MAX = 1 << 20 };

void anthropic_events_init(struct anthropic_events *a, anthropic_event_fn fn, void *ctx);
void anthropic_events_done(struct anthropic_events *a);
/* For another try: forgets all of the stream so far. PRE: it has not begun. */
void anthropic_events_reset(struct anthropic_events *a);
/* A frame, in the order of the stream. After DONE or FAILED it is not looked at. */
void anthropic_events_take(struct anthropic_events *a, const struct sse_frame *frame);
/* {"text","stopReason","usage","toolUses"}, at most LIMIT_RESULT bytes: what would be too long is left out, and "textTruncated" or "toolUsesTruncated" says so. */
void anthropic_events_result(const struct anthropic_events *a, struct strbuf *out);
/* Whether an error of this type may be gone a moment later. */
bool anthropic_error_passes(struct str type);

#endif
