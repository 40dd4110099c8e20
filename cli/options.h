/* The command line of one command: a table of options, the words beside them, and the help text that is made from the same table. Pure but for reading argv, which everything parsed borrows from. */
#ifndef ERRAND_CLI_OPTIONS_H
#define ERRAND_CLI_OPTIONS_H

#include "common/err.h"
#include "common/strbuf.h"

#define OPTION_VALUES_MAX 256 /* repeats of one option */

enum option_type {
    OPTION_FLAG,     /* bool */
    OPTION_STRING,   /* const char * */
    OPTION_INT,      /* int64_t, between min and max */
    OPTION_DURATION, /* int64_t in ms; written 500ms, 5s, 10m, 2h, 7d; a bare number is seconds */
    OPTION_LIST,     /* struct option_list: may be repeated */
};

struct option_list {
    const char *values[OPTION_VALUES_MAX];
    size_t count;
};

struct option {
    const char *name; /* without the dashes */
    char letter;      /* of the short form; '\0' for none */
    enum option_type type;
    void *target;      /* what type says; stays untouched when the option is not given */
    const char *value; /* how the help text calls its value; NULL for a flag */
    const char *help;
    int64_t min, max; /* of OPTION_INT, and of OPTION_DURATION in ms */
};

struct options {
    const struct option *table;
    size_t count;
    const char **words; /* what is no option, in order; room for words_max, owned by the caller */
    size_t words_max;
    size_t word_count;
    bool local; /* the command takes neither --json nor --url */
    bool help;  /* --help or -h was given: the rest was not looked at */
};

/* Reads argv[0 … argc-1] (no program name). `--name value`, `--name=value`, `-n value`, `--` ends the options. On ERR_INVALID_PARAMETER ret_message holds a sentence that names the option, and the nearest one when it is unknown. */
MUST_CHECK enum err options_parse(struct options *o, int argc, char *const *argv, struct strbuf *ret_message);
/* The options as the lines of a help text. */
void options_help(const struct option *table, size_t count, struct strbuf *out);
/* The candidate that a person most likely meant by word, or NULL when none is near. */
const char *nearest_word(const char *word, const char *const *candidates, size_t count);
/* Milliseconds of a written duration; false when it is none or over a year. */
bool duration_parse(const char *text, int64_t *ret_ms);

#endif
