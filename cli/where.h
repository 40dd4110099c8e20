/* Where things are: the API and its key, the folder .errand of `errand dev`, the programs beside this one, the examples. Reads files, environment and /proc; blocks no longer than that. */
#ifndef ERRAND_CLI_WHERE_H
#define ERRAND_CLI_WHERE_H

#include <limits.h>

#include "common/err.h"

#define DEFAULT_URL "http://127.0.0.1:7070"

struct where {
    char url[1024];        /* comma list of base URLs, without trailing slashes */
    char key[512];         /* "" when there is none */
    char folder[PATH_MAX]; /* the .errand that served, or "" */
    const char *url_from;  /* in words, for doctor; static */
    const char *key_from;
};

/* flag_url: of --url, or NULL. Errors: ERR_CONFIG with a sentence for a URL that is none. The key of a .errand folder is sent only to that folder's own URLs; localhost in flag_url or ERRAND_URL stands for 127.0.0.1 there, and is replaced by it. */
MUST_CHECK enum err where_find(const char *flag_url, struct where *ret_where, const char **ret_why);
/* The nearest .errand folder here or above that belongs to this user and nobody else can write to. False when there is none. */
bool where_dev_folder(char ret_path[PATH_MAX]);
/* One line of a file in a folder, without its end; false when there is none or it is longer than cap - 1. */
bool where_read_line(const char *folder, const char *name, char *ret_line, size_t cap);
/* The path of a program beside this one, or found in PATH. False when neither has it. */
bool where_program(const char *name, char ret_path[PATH_MAX]);
/* The folder of the examples: ERRAND_EXAMPLES, or beside the build folder, or installed. */
bool where_examples(char ret_path[PATH_MAX]);

#endif
