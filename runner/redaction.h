/* The choke point: everything that an attempt shows — events, log lines, result, error, handle — passes here on its way from the agent to the outbox, the log tail and `finish`. Owns the attempt's redactor and
 * what is kept back. Never blocks. Nothing passes before redaction_init. */
#ifndef ERRAND_RUNNER_REDACTION_H
#define ERRAND_RUNNER_REDACTION_H

#include "common/redact.h"
#include "runner/adapter.h"
#include "runner/event_line.h"

struct redaction {
    struct redactor *redactor;
    struct redact_stream *out, *err; /* standard output (as text, or its lines that are no events), standard error */
    struct redact_stream *delta;     /* data.text of assistant_text, from one event to the next */
    struct lines plain;              /* lines of standard output that are no events, redacted */
    bool in_piece;                   /* the last of them was a piece of a line */
    struct strbuf scratch, changed;
    struct event_line_head head;
    int64_t undecided; /* as the owner last saw it */
};

/* Copies the secrets. Replaces those of an earlier call, before anything passed. ERR_NO_MEMORY, ERR_INTERNAL: nothing may be started then. */
MUST_CHECK enum err redaction_init(struct redaction *r, const struct redact_secret *secrets, size_t n);
/* Takes a zeroed one. */
void redaction_done(struct redaction *r);

/* Bytes of a stream of output, in pieces as they come; last: its end. What may go on is borrowed until the next call. */
struct str redaction_out(struct redaction *r, struct str bytes, bool last);
struct str redaction_err(struct redaction *r, struct str bytes, bool last);
/* Whether anything waits for what follows it; and, after a pause, what of it may go on without (see redact_stream_pause): of output that is text, and of text deltas. */
bool redaction_holds(const struct redaction *r);
struct str redaction_out_pause(struct redaction *r);
void redaction_delta_pause(struct redaction *r, adapter_event_fn fn, void *ctx);
/* A line of standard output that is no event, or a piece of one: goes on as notifications when what it may belong to is decided. */
void redaction_plain(struct redaction *r, struct str line, bool piece, adapter_event_fn fn, void *ctx);
/* An event of the agent's. Text deltas are looked at as one text: the end of one may wait for the next. */
void redaction_event(struct redaction *r, enum event_kind kind, struct str data, adapter_event_fn fn, void *ctx);
/* The same from a whole line of the `events` protocol, where a quick look suffices. False: it does not, and nothing was done. */
bool redaction_quick(struct redaction *r, struct str line, adapter_event_fn fn, void *ctx);
/* One that is longer than an event may be: redacted as a whole, then split. */
void redaction_big(struct redaction *r, enum event_kind kind, struct str data, adapter_event_fn fn, void *ctx);
/* The agent is gone: what was kept back goes on. */
void redaction_end(struct redaction *r, adapter_event_fn fn, void *ctx);
/* The agent's own word on its end: result and message. Once. */
void redaction_claim(struct redaction *r, struct adapter_claim *claim);
/* One text, into a buffer of `size` bytes, NUL-terminated and cut between characters. text may be the buffer. */
void redaction_message(struct redaction *r, struct str text, char *ret_text, size_t size);
/* One JSON value; borrowed until the next call. */
struct str redaction_json(struct redaction *r, struct str json);
/* How often it could not decide since the last time this was asked. */
int64_t redaction_undecided(struct redaction *r);

#endif
