/* The quick way for a line of the `events` protocol that is what nearly all are: an object with `kind` and `data`, of which nothing is redacted. One pass says what the whole parser and redaction would say. Pure. */
#ifndef ERRAND_RUNNER_EVENT_LINE_H
#define ERRAND_RUNNER_EVENT_LINE_H

#include "common/event.h"
#include "common/redact.h"

/* How lines of an agent begin: mostly as the one before. Zeroed at first; of one redactor. */
struct event_line_head {
    size_t len; /* up to data */
    size_t
        text_len; /* up to data's first member's value, behind its quote, where that member is `text`; 0: it is not */
    bool spaced;  /* with white space between, behind `len` */
    enum event_kind kind;
    char bytes[96];
};

struct event_line {
    enum event_kind kind;
    struct str data; /* canonical: without white space between tokens */
    struct str text; /* the member `text` of data, as it is meant; ptr NULL where there is none, or it is no string */
    struct str raw;  /* the same as it stands in data; ptr NULL where that is not known */
    bool leave_text; /* the caller's: of assistant_text it may be left to him to look at the text … */
    bool text_left;  /* … and was: of data that is redacted as it is, but for what redact_quick says of text */
    struct strbuf *scratch;       /* the caller's: what is not as it came is put there */
    struct event_line_head *head; /* the caller's, of one agent */
};

/* True: a valid line, an event that an agent may write, short enough, and redact_json(data) is data. data, text and raw are borrowed from the line, or from scratch until its next use. False: nothing is known of it. */
bool event_line_read(struct str line, struct redactor *r, struct event_line *l);

#endif
