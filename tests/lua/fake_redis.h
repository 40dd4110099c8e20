/* A server on a Unix socket in the test's own loop that says what the test tells it to: for answers that a real Redis does not give. */
#ifndef ERRAND_TESTS_LUA_FAKE_REDIS_H
#define ERRAND_TESTS_LUA_FAKE_REDIS_H

#include "harness.h"

#define FAKE_RUN_ID "0123456789abcdef0123456789abcdef01234567"
/* The right answers to CLIENT SETNAME, PING and INFO server. */
#define FAKE_GREETING "+OK\r\n+PONG\r\n$49\r\nrun_id:" FAKE_RUN_ID "\r\n\r\n"

struct fake_redis {
    struct loop *loop;
    char path[96], url[128];
    uv_pipe_t server;
    uv_pipe_t *client;    /* the newest connection; NULL for none */
    const char *greeting; /* sent when INFO was asked for; NULL: nothing */
    const char *answer;   /* sent for whatever comes later, once a read; NULL: nothing */
    bool drop_at_once;    /* closes every connection as soon as it is made */
    bool drop_after;      /* closes behind an answer */
    bool greeted;
    int connections;      /* so far */
    int64_t connected_ms; /* when the last one was made */
    size_t received;      /* bytes behind the greeting */
};

void fake_redis_start(struct fake_redis *f, struct harness *h);
void fake_redis_send(struct fake_redis *f, const char *bytes, size_t len);
void fake_redis_drop(struct fake_redis *f);
/* Closes everything; the loop must turn once more before f goes (this does it). */
void fake_redis_stop(struct fake_redis *f);

#endif
