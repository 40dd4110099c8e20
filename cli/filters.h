/* The options that say which runs are meant, for `list` as query parameters and for `bulk` as a body's filter. */
#ifndef ERRAND_CLI_FILTERS_H
#define ERRAND_CLI_FILTERS_H

#include "cli/cli.h"
#include "common/clock.h"

enum { FILTER_OPTIONS = 9 };

struct filters {
    const char *agent, *queue, *schedule, *since, *until;
    struct option_list statuses, labels;
    bool mine, dead;
};

/* Writes the rows of a command's option table. They point into f. */
void filters_options(struct filters *f, struct option rows[FILTER_OPTIONS]);
bool filters_empty(const struct filters *f);
/* As query parameters, each with an & before it. False after a complaint. */
MUST_CHECK bool filters_query(struct strbuf *out, const struct command *command, const struct filters *f);
/* As a JSON object. False after a complaint. */
MUST_CHECK bool filters_json(struct strbuf *out, const struct command *command, const struct filters *f);
/* A time as the API takes it, of one that is written out or says how long ago (24h). False after a complaint that names the option. */
MUST_CHECK bool filters_time(const struct command *command, const char *name, const char *given,
                             char ret_iso[CLOCK_ISO_LEN + 1]);

#endif
