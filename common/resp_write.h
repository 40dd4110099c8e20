/* Commands as Redis reads them (RESP), appended to a buffer. Pure, never blocks. */
#ifndef ERRAND_COMMON_RESP_WRITE_H
#define ERRAND_COMMON_RESP_WRITE_H

#include "common/strbuf.h"

/* One command of argc words, which may hold any bytes. Failure is the buffer's. */
void resp_write_command(struct strbuf *out, size_t argc, const struct str *argv);

#endif
