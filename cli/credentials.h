/* Keys that `errand login` stored: a file of lines `URL KEY`, 0600, in a folder of this user's own (XDG_CONFIG_HOME or ~/.config, errand/credentials). */
#ifndef ERRAND_CLI_CREDENTIALS_H
#define ERRAND_CLI_CREDENTIALS_H

#include <limits.h>

#include "common/err.h"
#include "common/strbuf.h"

/* The path of the file; false when there is no home. */
bool credentials_path(char ret_path[PATH_MAX]);
/* The key that is stored for one of the URLs (comma list); false when there is none, or the file is not this user's alone. */
bool credentials_find(const char *urls, char *ret_key, size_t cap);
/* The URL that was logged in to last; false when there is none. */
bool credentials_last_url(char *ret_url, size_t cap);
/* Stores the key of a URL, instead of the one that was there; NULL takes it out. ERR_IO with a sentence that names the file. Written beside and renamed, so that it is never half there. */
MUST_CHECK enum err credentials_store(const char *url, const char *key, struct strbuf *ret_message);

#endif
