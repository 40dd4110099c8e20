/* Data sources of an agent: which variable a field becomes. Pure. */
#ifndef ERRAND_COMMON_DATA_SOURCE_H
#define ERRAND_COMMON_DATA_SOURCE_H

#include "common/base.h"
#include "common/limits.h"

enum { DATA_SOURCE_VARIABLE_MAX = 3 * LIMIT_DATA_SOURCE + 16 };

/* DS_<ENGINE>_<NAME>__<FIELD>, in capitals, each byte that is no letter or digit as '_'. Each part has at most LIMIT_DATA_SOURCE bytes. NUL-terminated; the slice borrows from buf. */
struct str data_source_variable(struct str engine, struct str name, struct str field,
                                char buf[DATA_SOURCE_VARIABLE_MAX]);

#endif
