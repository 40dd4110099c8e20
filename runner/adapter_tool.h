/* What the adapters of tools with a stream-JSON of their own (goose, claude) share: one JSON object a line → events. Pure, as adapter.h says.
 * What fits no kind becomes `notification` {"protocol", "line" or "block"}: nothing is dropped. */
#ifndef ERRAND_RUNNER_ADAPTER_TOOL_H
#define ERRAND_RUNNER_ADAPTER_TOOL_H

#include "common/json.h"
#include "runner/adapter.h"

/* A protocol. line: one line that is a JSON object, with one level of it; everything in the arena goes afterwards. */
struct adapter_protocol {
    const char *name;
    const char *
        last_line; /* what the head of its last line, with the result, holds: one that is over every bound is no silent success */
    void (*line)(struct adapter *a, struct arena *arena, const struct json *root);
    void (*end)(struct adapter *a);  /* of its output; may be NULL */
    void (*done)(struct adapter *a); /* frees a->state */
};
extern const struct adapter_protocol adapter_goose, adapter_claude;

/* One level of an object or an array; NULL when it is neither, or is not there. */
const struct json *tool_open(struct arena *arena, const struct json *value);
/* A member that is a string; "" otherwise. */
struct str tool_string(const struct json *o, const char *key);
bool tool_is(const struct json *o, const char *key, const char *word);
bool tool_true(const struct json *o, const char *key);

/* An event under way: begin, members by e->w, end. */
struct tool_event {
    struct strbuf data;
    struct json_writer w;
};
void tool_begin(struct tool_event *e);
void tool_end(struct adapter *a, struct tool_event *e, enum event_kind kind);
/* The members of o but those named, as an object under the key; nothing when there are none. names: NULL-terminated. */
void tool_rest(struct tool_event *e, const char *key, const struct json *o, const char *const *names);
/* Adds "id" (from the member called id_key), when there is one. */
void tool_id(struct tool_event *e, const struct json *o, const char *id_key);
/* assistant_text, in as many pieces as it takes; member and value: one more of each, unless value is empty. */
void tool_text(struct adapter *a, struct str text, const char *member, struct str value);
/* What a block of text has beside its text, as a notification. */
void tool_text_rest(struct adapter *a, const struct json *block);
/* notification {"type"?, "protocol", "line" or "block" (called key)}. */
void tool_note(struct adapter *a, const char *type, const char *key, struct str raw);

/* Calls of tools that load a skill: said when the call has succeeded. The newest few are remembered. */
struct tool_skills {
    struct tool_skill *first;
    size_t n;
};
void tool_skill_asked(struct tool_skills *s, struct str id, struct str name);
/* skill_loaded {"id", "name"}, when it was one and no error. */
void tool_skill_answered(struct adapter *a, struct tool_skills *s, struct str id, bool is_error);
void tool_skills_done(struct tool_skills *s);

#endif
