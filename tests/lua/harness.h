/* For tests in C that need a Redis: a private redis-server on a Unix socket in its own directory, a loop, a connection that is up, the generated scripts as calls that return when they are answered (sync_NAME, in
 * lua/scripts_sync.h), and plain helpers for looking into Redis. Nothing waits for a time: every wait is for a condition, and fails the test after 10 s.
 *
 *     cmocka_run_group_tests(tests, harness_group_start, harness_group_stop)       *state is the struct harness
 *     cmocka_unit_test_setup(test_x, harness_test_start)                           an empty Redis, everything copied before is freed
 *
 * What the helpers return (replies, strings, copies) lives until the next harness_test_start or harness_stop. A helper that can't do its work fails the test. */
#ifndef ERRAND_TESTS_LUA_HARNESS_H
#define ERRAND_TESTS_LUA_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h> /* needs the ones above */

#include "common/loop.h"
#include "common/redis.h"

struct harness_block;
struct harness {
    struct loop *loop;
    struct redis *redis; /* commands; up after harness_start */
    struct str prefix;   /* errand:{0}: */
    char dir[64];        /* its own, removed in the end */
    char socket[96], url[128];
    int port;                                     /* of TCP on 127.0.0.1 where asked for; else 0 */
    pid_t pid;                                    /* of redis-server; 0 while it is down */
    char api_password[44], operator_password[44]; /* of errand-api and errand-operator; "" without users */
    redisContext *sync;                           /* for harness_do */
    struct harness_options *options;
    struct harness_block *blocks;
};

struct harness_options {
    bool aof;              /* appendfsync always: nothing is lost by kill and restart */
    bool tcp;              /* listens on 127.0.0.1 too */
    const char *maxmemory; /* e.g. "8mb"; NULL for none. Policy noeviction. */
    const char *password;  /* requirepass; NULL for none */
    bool users; /* those of docker/users.acl: h->redis and harness_connect are errand-api, harness_do the operator */
};

/* o may be NULL: none of it. Everything up and connected. */
struct harness *harness_start(const struct harness_options *o);
/* Ends and removes everything, also what a failed test left; NULL is fine. */
void harness_stop(struct harness *h);
/* For cmocka. With users; plain: everybody may do everything. */
int harness_group_start(void **state);
int harness_group_start_plain(void **state);
int harness_group_stop(void **state);
int harness_test_start(void **state);

/* ---- the server ---- */
void harness_redis_kill(struct harness *h);        /* SIGKILL, and waits for its end */
void harness_redis_shutdown(struct harness *h);    /* SIGTERM, and waits for its end */
void harness_redis_launch(struct harness *h);      /* waits until it answers */
void harness_redis_launch_only(struct harness *h); /* does not wait: it may be loading */
void harness_redis_pause(struct harness *h);       /* SIGSTOP */
void harness_redis_continue(struct harness *h);

/* ---- the loop ---- */
/* Runs the loop until done(ctx); fails the test, naming what, after 10 s. */
typedef bool (*harness_cond_fn)(void *ctx);
void harness_wait(struct harness *h, harness_cond_fn done, void *ctx, const char *what);
/* Until *flag, until *n is at least `least`, until every request of r is answered, until r is up (or not). */
void harness_wait_flag(struct harness *h, const bool *flag, const char *what);
void harness_wait_count(struct harness *h, const int *n, int least, const char *what);
void harness_settle(struct harness *h, struct redis *r);
void harness_wait_up(struct harness *h, struct redis *r, bool up);
/* Turns the loop once without sleeping: deferred calls, timers, what has arrived. */
void harness_turn(struct harness *h);
/* One more connection to the server, up. */
struct redis *harness_connect(struct harness *h, enum redis_kind kind);

/* A blocking connection of the test's own, as the operator where there are users; err is set where nobody answers. The caller frees. */
redisContext *harness_connect_sync(struct harness *h);

/* ---- looking into Redis: synchronous, on a connection beside the loop's. fmt is hiredis' (%s, %b, %d); every %s is one argument whatever it contains. ---- */
const redisReply *harness_do(struct harness *h, const char *fmt, ...);
/* The same where an error reply is expected or allowed. */
const redisReply *harness_try(struct harness *h, const char *fmt, ...);
/* prefix + path, e.g. harness_key(h, "run:%s:events", id). */
const char *harness_key(struct harness *h, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *harness_printf(struct harness *h, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Integer reply (or numeric string) of any command; -1 for nil. */
int64_t harness_int(struct harness *h, const char *fmt, ...);
/* NUL-terminated; NULL for nil. key: whole, as harness_key builds it. */
const char *harness_hget(struct harness *h, const char *key, const char *field);
const char *harness_get(struct harness *h, const char *key);
bool harness_exists(struct harness *h, const char *key);
/* false when it is no member. */
bool harness_zscore(struct harness *h, const char *key, const char *member, double *ret_score);
size_t harness_xlen(struct harness *h, const char *key);
/* All entries, oldest first: array of [id, [field, value, …]]. */
const redisReply *harness_xrange(struct harness *h, const char *key);
/* A field of entry i of what harness_xrange gave, NUL-terminated; NULL when it is not there. field NULL: the entry's id. */
const char *harness_entry(struct harness *h, const redisReply *entries, size_t i, const char *field);
/* Names of all keys that match, sorted, one a line: for "nothing is left". */
const char *harness_keys(struct harness *h, const char *pattern);
/* Redis' clock. */
int64_t harness_now_ms(struct harness *h);

#define harness_assert_hget(h, key, field, value)                                                                      \
    do {                                                                                                               \
        const char *harness_is_ = harness_hget(h, key, field);                                                         \
        assert_non_null(harness_is_);                                                                                  \
        assert_string_equal(harness_is_, value);                                                                       \
    } while (0)
/* By code, so that a failure names it. */
#define harness_assert_err(is, wanted) assert_string_equal(err_code(is), err_code(wanted))

/* ---- behind the generated sync_NAME ---- */
struct harness_call {
    struct harness *harness;
    const char *name;
    bool done;
    enum err err;
    const void *reply;
};
struct harness_call *harness_call_new(struct harness *h, const char *name);
void harness_call_done(struct harness_call *c, enum err err, const void *reply);
/* Runs the loop until the answer came; the reply, or NULL. */
const void *harness_call_wait(struct harness_call *c);
void *harness_copy(struct harness *h, const void *p, size_t len);
struct str harness_copy_str(struct harness *h, struct str s); /* NUL-terminated too */
const redisReply *harness_copy_flat(struct harness *h, const redisReply *r);

/* Slices for arguments from C strings: S("x"), also of variables. */
#define S(z) str_of(z)

#endif
