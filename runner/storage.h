/* Redis users of attempts: each attempt gets one of its own, which may do what is on a list of commands to the keys of its workspace's storage (workflows, artifacts, vectors), and nothing else. It is made before the
 * attempt starts on the shard's Redis and on its replicas, made anew when one of those came back without it, and removed when nothing of the attempt is left. What a runner that died left, any runner removes.
 * On where `storage-redis-url` is set. Contract: executors.md, "Storage access". Nothing here blocks. */
#ifndef ERRAND_RUNNER_STORAGE_H
#define ERRAND_RUNNER_STORAGE_H

#include "common/redis.h"
#include "common/strbuf.h"
#include "runner/attempt.h"

struct storage;

/* Of one shard. *ret_storage is NULL where the option is not set. ERR_CONFIG with a sentence. */
MUST_CHECK enum err storage_start(struct worker_shard *s, struct storage **ret_storage, struct strbuf *ret_message);
/* Takes NULL. */
void storage_stop(struct storage *st);

/* The preparation (attempt.h). */
bool storage_wanted(const struct attempt *a);
void storage_ask(struct attempt *a, prepared_fn fn);
/* Nothing of the attempt is left: its user goes. */
void storage_release(struct attempt *a);
/* Of an adopted attempt: makes its user once more, for Redis may have been restarted while nobody looked. */
void storage_again(struct attempt *a);
/* The variables that every attempt gets: prefixes, and where the API serves its storage. False: memory is out. */
MUST_CHECK bool storage_env(struct attempt *a);

/* Appends the words of ACL SETUSER behind its name: reset, password, commands, keys. For the attempt's user and for tests. */
enum { STORAGE_RULES_MAX = 200 };
struct storage_rules {
    struct str words[STORAGE_RULES_MAX];
    size_t n;
    char password[64];
    char keys[3][1200];
};
/* prefix: of the shard. password: 43 characters. */
void storage_rules_of(struct str prefix, struct str workspace, const char *password, struct storage_rules *ret_rules);
/* The user's name; buf takes it. */
struct str storage_user_name(struct str prefix, struct str run_id, int64_t attempt, char buf[256]);
/* `url` with the credentials put in; false when it does not fit. */
MUST_CHECK bool storage_url(const char *url, struct str user, const char *password, char *buf, size_t cap);

#endif
