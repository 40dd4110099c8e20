/* Numbers by name: counts that an audit makes itself, and the set of what it has seen. A row without a kept name takes 24 bytes. */
#ifndef ERRAND_CLI_AUDIT_TALLY_H
#define ERRAND_CLI_AUDIT_TALLY_H

#include "common/base.h"

struct tally_row {
    uint64_t hash; /* of the name; 0: free */
    int64_t n;
    char *name; /* NULL where it was not to be kept */
};

struct tally {
    struct tally_row *rows;
    size_t used, cap; /* cap: a power of two */
};

void tally_done(struct tally *t);
/* The name's number, 0 at first; NULL when memory is out. Lives until the next call. */
int64_t *tally_at(struct tally *t, const char *name, bool keep_name);
/* Its number without making a row; 0 where it has none. */
int64_t tally_get(const struct tally *t, const char *name);
/* FNV-1a of a text, mixed. */
uint64_t tally_hash(const char *text);

#endif
