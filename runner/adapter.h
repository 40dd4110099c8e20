/* Protocols: what an agent prints → events. Pure: bytes in, events out through a callback; no seq, no clock, no I/O. Contract: executors.md, "Agent process protocol". */
#ifndef ERRAND_RUNNER_ADAPTER_H
#define ERRAND_RUNNER_ADAPTER_H

#include "common/event.h"
#include "runner/lines.h"

/* data: a JSON object without insignificant white space, borrowed. */
typedef void (*adapter_event_fn)(void *ctx, enum event_kind kind, struct str data);

/* A line of standard output that is no event; piece: a part of one that is too long. */
typedef void (*adapter_plain_fn)(void *ctx, struct str line, bool piece);

/* What the agent said of its own end: its first runtime_terminal line. */
struct adapter_claim {
    bool made;
    bool error;
    bool too_long;         /* it was no word that could be read: its line was over every bound */
    bool stopped;          /* it says that it stopped before its work was done */
    struct strbuf result;  /* raw JSON; empty for none */
    struct strbuf message; /* of the error, raw text; cut to its bound when it is shown */
    bool no_retry;         /* with its error: do not try again */
    int64_t retry_ms;      /* or only after this long; -1: it did not say */
};

struct adapter_protocol;

enum { ADAPTER_ARENA_MAX = 32 << 20 /* of one line */ };

struct adapter {
    bool text;                               /* protocol `text`; else `events`, or */
    const struct adapter_protocol *protocol; /* a tool's own: runner/adapter_tool.h */
    void *state;                             /* the protocol's own */
    struct lines lines;
    struct strbuf rest;        /* text: bytes of a character that is not whole yet */
    struct strbuf result_text; /* text: all of it, up to the limit */
    bool result_truncated;
    struct adapter_claim claim;
    adapter_event_fn fn;
    adapter_plain_fn plain;                    /* NULL: they become notifications as they are */
    bool (*quick)(void *ctx, struct str line); /* of `events`: takes a line, or leaves it to be parsed; NULL: parsed */
    adapter_event_fn
        big; /* of a tool's: an event that is longer than one may be, to be redacted and split; NULL: it is split as it is */
    void *ctx;
};

void adapter_init(struct adapter *a, struct str protocol, adapter_event_fn fn, void *ctx);
void adapter_done(struct adapter *a);
/* Standard output. */
void adapter_feed(struct adapter *a, struct str bytes);
/* Text that it made events of before, in another process: it belongs to the result. */
void adapter_restore_text(struct adapter *a, struct str text);
/* Its end. */
void adapter_end(struct adapter *a);
/* A line of output that is no event, as notification {"stream", "text", "partial"?}: whole where an event holds it, else in pieces, which are partial. */
void adapter_notify_line(const char *stream, struct str line, bool partial, adapter_event_fn fn, void *ctx);

/* The message of the error that it ends with. */
void adapter_claim_message(struct adapter *a, struct str text);
/* An event whose data is longer than an event may be, in parts: its longest member is cut (as text; what is no string as JSON, "encoding": "json"), and each part has "partial": true, "part" (1 …) and "parts". Where
 * what is left is too long as well, the whole data is cut: notifications {"kind", "text", "encoding", …}. */
void adapter_split(enum event_kind kind, struct str data, adapter_event_fn fn, void *ctx);

#endif
