/* A submission as `errand run` takes it from its command line: the options, and the body of POST /v1/runs that they make. */
#ifndef ERRAND_CLI_SUBMISSION_H
#define ERRAND_CLI_SUBMISSION_H

#include "cli/cli.h"
#include "common/json.h"

struct submission_options {
    const char *input, *file, *queue, *priority, *parent;
    const char *concurrency_key, *on_limit, *on_dependency_failure;
    struct option_list env, labels, depends_on, require;
    int64_t delay_ms, timeout_ms, stall_ms, start_within_ms, max_attempts, concurrency; /* -1: not given */
};

enum { SUBMISSION_OPTIONS = 18 };

/* Nothing given yet. */
void submission_init(struct submission_options *s);
/* Their lines of an option table. */
void submission_table(struct submission_options *s, struct option table[SUBMISSION_OPTIONS]);
/* agent: its name; NULL where --file has a definition. False after a complaint. */
MUST_CHECK bool submission_write(const struct command *command, const struct submission_options *s, const char *agent,
                                 struct strbuf *out);

/* An input as --input takes it (JSON, @FILE, -), checked; malloc'd. NULL after a complaint. */
char *submission_input(const char *given, size_t *ret_len);

#endif
