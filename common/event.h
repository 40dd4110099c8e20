/* RunnerEvents as stored and read: one canonical JSON line each, `{"seq":N,"tMs":N,"kind":"K","data":{…}}`. Contract: runner-events.md. Pure, never blocks. */
#ifndef ERRAND_COMMON_EVENT_H
#define ERRAND_COMMON_EVENT_H

#include "common/err.h"
#include "common/strbuf.h"

#define EVENT_KIND_TABLE(X)                                                                                            \
    X(EVENT_RUNTIME_STARTED, "runtime_started")                                                                        \
    X(EVENT_ASSISTANT_TEXT, "assistant_text")                                                                          \
    X(EVENT_TOOL_REQUEST, "tool_request")                                                                              \
    X(EVENT_TOOL_RESPONSE, "tool_response")                                                                            \
    X(EVENT_SKILL_LOADED, "skill_loaded")                                                                              \
    X(EVENT_FILE_UPLOADED, "file_uploaded")                                                                            \
    X(EVENT_NOTIFICATION, "notification")                                                                              \
    X(EVENT_STREAM_ERROR, "stream_error")                                                                              \
    X(EVENT_RUNTIME_TERMINAL, "runtime_terminal")
#define EVENT_KIND_ENUM(name, wire) name,
enum event_kind { EVENT_KIND_TABLE(EVENT_KIND_ENUM) EVENT_KIND_COUNT };
#undef EVENT_KIND_ENUM

const char *event_kind_name(enum event_kind kind);
/* EVENT_KIND_COUNT when the word is no kind. */
enum event_kind event_kind_of(struct str word);
/* Appends the canonical line WITHOUT a newline; data is a JSON object without insignificant white space. */
void event_write(struct strbuf *out, int64_t seq, int64_t t_ms, enum event_kind kind, struct str data);
/* The same for who writes many, one behind the other: the head of the line that was written last, of which mostly the seq alone changes. Zeroed at first. more: a newline before it. */
enum { EVENT_HEAD_ROOM = 96 };
struct event_stamp {
    int64_t seq, t_ms;
    enum event_kind kind;
    size_t len, digits; /* behind the newline: of the head; of the seq */
    char text[EVENT_HEAD_ROOM];
};
void event_write_stamped(struct strbuf *out, bool more, int64_t seq, int64_t t_ms, enum event_kind kind,
                         struct str data, struct event_stamp *stamp);

/* How long that line is. */
size_t event_len(int64_t seq, int64_t t_ms, enum event_kind kind, struct str data);

/* Whether an event's data is a notification's with type "input_request": the agent waits for a line. Pure. */
bool event_asks_input(enum event_kind kind, struct str data);

struct event_head {
    int64_t seq;
    int64_t t_ms;
    enum event_kind kind;
    struct str data; /* raw object, borrowed from the line */
};
/* Reads a canonical line's head (what event_write wrote, or a script built). ERR_INTERNAL when it is none. */
MUST_CHECK enum err event_peek(struct str line, struct event_head *ret_head);

#endif
