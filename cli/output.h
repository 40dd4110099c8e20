/* How things look: colours and a live status line on a terminal only, text of agents without its control characters there, tables, JSON indented for people. */
#ifndef ERRAND_CLI_OUTPUT_H
#define ERRAND_CLI_OUTPUT_H

#include "cli/cli.h"
#include "common/json.h"

enum tone { TONE_PLAIN, TONE_DIM, TONE_BOLD, TONE_GOOD, TONE_WARN, TONE_BAD, TONE_TOOL };

/* The escape sequence that begins or ends a tone; "" without colour. Static. */
const char *tone_on(const struct cli *cli, enum tone tone);
const char *tone_off(const struct cli *cli, enum tone tone);
/* The tone of a run's status; "none", of what a runner should have, is a warning. */
enum tone status_tone(struct str status);

/* Shows a line on standard error that the next output replaces. Nothing happens unless cli->live. It is cut to the terminal's width. */
void status_show(struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
void status_clear(struct cli *cli);
/* Whether nobody reads standard output any more: a pipe or socket whose other end was closed. */
bool output_gone(void);

/* Copies what a terminal may be shown: printable text, tabs, and line ends if lines is true (else they become spaces). Without a terminal everything is kept but, when lines is false, line ends. */
void safe_text(struct strbuf *out, struct str text, bool lines, bool terminal);
/* The same, cut to max_width characters with "…". */
void safe_line(struct strbuf *out, struct str text, size_t max_width, bool terminal);

/* "0.4 s", "12 s", "3 m 07 s", "2 h 15 m". */
void duration_write(struct strbuf *out, int64_t ms);
/* How long ago a wall time (ms) was, as of now_ms. */
void age_write(struct strbuf *out, int64_t then_ms, int64_t now_ms);

/* JSON with two blanks a level and one member a line; strings and numbers as they were sent. Values that have no tree are written as they are. */
void json_pretty(struct strbuf *out, const struct json *value, int level);

/* A member that is a string, else an empty slice; an integer, else `otherwise`; a time in ms, else 0. */
struct str json_text(const struct json *object, const char *key);
int64_t json_number(const struct json *object, const char *key, int64_t otherwise);
int64_t json_time(const struct json *object, const char *key);

/* A table: cells are added row by row, the first row is the head; columns get as wide as they have to. */
struct table {
    size_t columns;
    struct strbuf cells; /* each followed by NUL */
    size_t count;
};
void table_init(struct table *t, size_t columns);
void table_add(struct table *t, struct str cell);
void table_addf(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Prints to standard output and frees. status_column: coloured by status_tone; SIZE_MAX for none. */
void table_print(struct table *t, const struct cli *cli, size_t status_column);

#endif
