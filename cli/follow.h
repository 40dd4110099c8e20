/* Watching a run until it ends: its event stream with reconnecting by itself, or only its end. */
#ifndef ERRAND_CLI_FOLLOW_H
#define ERRAND_CLI_FOLLOW_H

#include "cli/cli.h"
#include "common/strbuf.h"

/* Prints a run's events after the seq `after` (-1: all), live, until it ends, then how it ended. The connection may be lost at any time: it goes on behind the last event seen, on the next node. Returns the exit status. */
int follow_run(struct cli *cli, const char *run_id, int64_t after);
/* Waits for its end and prints only the result. Returns the exit status. */
int wait_run(struct cli *cli, const char *run_id);
/* The exit status that tells a run's status; EXIT_OK for one that has not ended. */
int exit_of_status(struct str status);
/* Whether a run with this status has ended. */
bool is_terminal(struct str status);
/* Prints a record's result: a text as it is, everything else as indented JSON. Nothing when there is none. */
void print_result(struct str record_json, bool skip_text);
/* What a result that was not kept is said to be; followed by 'errand follow ID'. */
#define RESULT_TRUNCATED "the result was over 1 MiB and was not kept"
/* One line about a record's end on standard error, and what went wrong in further ones. */
void print_outcome(struct cli *cli, struct str record_json);

/* The delay before the n-th try in a row (n from 0): doubling from 100 ms to 5 s, between half of it and all of it. */
int64_t retry_delay_ms(unsigned n);

#endif
