/* Blocking Redis for the CLI's own needs: `errand doctor` asks it how it is, `errand dev` whether it is up. */
#ifndef ERRAND_CLI_REDIS_SYNC_H
#define ERRAND_CLI_REDIS_SYNC_H

#include <hiredis/hiredis.h>

#include "common/strbuf.h"

/* As whom to connect where the URL has no password; "" or NULL for none, and for Redis' default user. */
struct redis_login {
    const char *user, *password;
};
/* Connects, authenticates, selects; each step within timeout_ms. NULL with a sentence in why. */
redisContext *redis_sync_connect(const char *url, const struct redis_login *login, int64_t timeout_ms,
                                 struct strbuf *why);
/* The value of "name:" in an INFO text, copied into buf; false when it is not there. */
bool redis_info_value(struct str info, const char *name, char *buf, size_t cap);

#endif
