/* A Redis URL taken apart: redis://[user:password@]host[:port][/db] or unix:///path[?db=n]. Used by redis.c. */
#ifndef ERRAND_COMMON_REDIS_URL_H
#define ERRAND_COMMON_REDIS_URL_H

#include "common/err.h"

struct redis_url {
    char *text;       /* owns what the others point into, NUL-terminated each */
    const char *path; /* of a Unix socket; NULL for TCP */
    const char *host;
    const char *user;     /* NULL for none */
    const char *password; /* NULL for none */
    int port;
    int db;
};

/* ERR_CONFIG (*ret_why: static) for what is no such URL, ERR_NO_MEMORY. */
MUST_CHECK enum err redis_url_parse(const char *url, struct redis_url *ret_url, const char **ret_why);
void redis_url_done(struct redis_url *u);
/* The URL of shard i of a comma list: the i mod n-th, NUL-terminated in buf; false when buf is too small. */
bool redis_url_of_shard(const char *list, unsigned shard, char *buf, size_t size);

#endif
