/* What a secret is called, and what its sealed value is bound to: said once for API and runner. Pure. */
#ifndef ERRAND_COMMON_SECRET_H
#define ERRAND_COMMON_SECRET_H

#include "common/base.h"
#include "common/limits.h"

/* "secret WORKSPACE/NAME VERSION", NUL included. */
enum { SECRET_CONTEXT_MAX = 2 * LIMIT_NAME + 40 };

/* A name as POSIX has it for environment variables: letters, digits, '_', not beginning with a digit; 1 to max bytes. */
bool posix_name_valid(struct str s, size_t max);
/* "NAME" or "NAME@VERSION". ret_version: 0 where it names none, which means the newest. False for anything else; ret_name borrows from ref. */
MUST_CHECK bool secret_ref_parse(struct str ref, struct str *ret_name, int64_t *ret_version);
/* What the vault authenticates with a value: whose it is, so that none can stand in another's place. The slice borrows from buf. */
struct str secret_context(struct str workspace, struct str name, int64_t version, char buf[SECRET_CONTEXT_MAX]);

#endif
