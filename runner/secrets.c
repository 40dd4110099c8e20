#include "runner/secrets.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/secret.h"
#include "common/vault.h"
#include "lua/scripts.h"
#include "runner/attempt.h"

enum { NAME_SHOWN = 128 };

/* Why one can't be had, for the run's error. */
static void say_why(const struct vault *v, const struct secret_want *want, struct str sealed, enum err err, char *why,
                    size_t cap)
{
    struct str name = want->name, id = vault_key_id_of(sealed);
    int shown = (int)(name.len > NAME_SHOWN ? NAME_SHOWN : name.len);
    if (err == ERR_SECRET_NOT_FOUND && want->version > 0)
        snprintf(why, cap, "version %lld of the secret %.*s is not there", (long long)want->version, shown, name.ptr);
    else if (err == ERR_SECRET_NOT_FOUND)
        snprintf(why, cap, "the secret %.*s is not there", shown, name.ptr);
    else if (err == ERR_NO_MASTER_KEY && !v)
        snprintf(why, cap, "the secret %.*s can't be opened: this runner has no master key (ERRAND_MASTER_KEY)", shown,
                 name.ptr);
    else if (err == ERR_NO_MASTER_KEY)
        snprintf(why, cap,
                 "the secret %.*s can't be opened: it is sealed under a master key (%.*s) that this runner "
                 "does not have",
                 shown, name.ptr, STR_ARG(id));
    else if (err == ERR_LIMIT_EXCEEDED)
        snprintf(why, cap, "with the secret %.*s there are more than %d bytes of secrets", shown, name.ptr,
                 LIMIT_ATTEMPT_SECRETS);
    else
        snprintf(why, cap, "the secret %.*s can't be opened: %s", shown, name.ptr, err_sentence(err));
}

/* One value into a buffer of its own, which never moves: a copy left behind would not be overwritten. */
static enum err open_one(struct secrets *s, size_t i, const struct vault *v, struct str ws,
                         const struct script_secret_get_secrets *row)
{
    const struct secret_want *want = &s->wants[i];
    struct strbuf *b = &s->buffers[i];
    char context[SECRET_CONTEXT_MAX];
    if (row->version == 0 || row->sealed.len == 0)
        return ERR_SECRET_NOT_FOUND;
    size_t before = want->name.len + 1 + want->key.len + 1;
    strbuf_init(b, before + row->sealed.len);
    if (!strbuf_grow(b, before + row->sealed.len))
        return ERR_NO_MEMORY;
    strbuf_add(b, want->name);
    strbuf_addc(b, '\0');
    strbuf_add(b, want->key);
    strbuf_addc(b, '=');
    enum err err = vault_open(v, secret_context(ws, want->name, row->version, context), row->sealed, b);
    if (err)
        return err;
    s->env[want->at] = b->ptr + want->name.len + 1;
    s->values[i] = (struct redact_secret){{b->ptr, want->name.len}, {b->ptr + before, b->len - before}};
    return memchr(b->ptr + before, 0, b->len - before) ? ERR_SEAL_BROKEN : ERR_OK; /* none was ever stored with a NUL */
}

enum err secrets_open(struct secrets *s, const struct vault *v, const struct script_secret_get_reply *reply,
                      char *ret_why, size_t why_cap)
{
    size_t bytes = 0;
    snprintf(ret_why, why_cap, "its secrets can't be read: Redis answered something else");
    if (reply->secrets_len != s->count)
        return ERR_INTERNAL;
    secrets_done(s);
    s->buffers = calloc(s->count + 1, sizeof *s->buffers);
    s->values = calloc(s->count + 1, sizeof *s->values);
    if (!s->buffers || !s->values) {
        snprintf(ret_why, why_cap, "out of memory");
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < s->count; i++) {
        enum err err = open_one(s, i, v, reply->ws, &reply->secrets[i]);
        bytes += s->values[i].value.len;
        if (!err && bytes > LIMIT_ATTEMPT_SECRETS)
            err = ERR_LIMIT_EXCEEDED;
        if (err) {
            say_why(v, &s->wants[i], reply->secrets[i].sealed, err, ret_why, why_cap);
            secrets_done(s);
            return err;
        }
    }
    return ERR_OK;
}

void secrets_done(struct secrets *s)
{
    for (size_t i = 0; s->buffers && i < s->count; i++)
        vault_wipe(&s->buffers[i]);
    free(s->buffers);
    free(s->values);
    s->buffers = NULL;
    s->values = NULL;
}

/* ---- asking ---- */

struct asking {
    struct attempt *attempt;
    prepared_fn fn;
};

static void on_secrets(void *ctx, enum err err, const struct script_secret_get_reply *reply)
{
    struct asking asking = *(struct asking *)ctx;
    struct attempt *a = asking.attempt;
    free(ctx);
    if (err && err != ERR_FENCED && err_retryable(err)) {
        err = ERR_REDIS_UNAVAILABLE;
    } else if (err) {
        snprintf(a->start_why, sizeof a->start_why, "its secrets can't be read: %s", err_sentence(err));
    } else if (a->state == ATTEMPT_STARTING) { /* else it ended meanwhile, and nobody needs them */
        err = secrets_open(&a->secrets, a->shard->worker->vault, reply, a->start_why, sizeof a->start_why);
        if (err == ERR_SEAL_BROKEN)
            LOG_ERROR("a secret in Redis was changed, or belongs elsewhere", LOG_Z("runId", a->run_id.s),
                      LOG_Z("error", a->start_why));
        if (!err && attempt_redact(a) != ERR_OK) {
            snprintf(a->start_why, sizeof a->start_why, "what it shows could not be redacted");
            err = ERR_NO_MEMORY;
        }
    }
    asking.fn(a, err);
}

bool secrets_wanted(const struct attempt *a)
{
    return a->secrets.count > 0;
}

void secrets_ask(struct attempt *a, prepared_fn fn)
{
    struct script_secret_get_wants wants[LIMIT_ENV_COUNT];
    struct asking *asking = malloc(sizeof *asking);
    PRE(a->secrets.count <= ARRAY_LEN(wants) && asking);
    *asking = (struct asking){a, fn};
    for (size_t i = 0; i < a->secrets.count; i++)
        wants[i] = (struct script_secret_get_wants){a->secrets.wants[i].name, a->secrets.wants[i].version};
    struct script_secret_get_args args = {.inc = str_of(a->shard->incarnation.s),
                                          .run = str_of(a->run_id.s),
                                          .epoch = a->epoch,
                                          .wants = wants,
                                          .wants_len = a->secrets.count};
    script_call_secret_get(a->shard->commands, worker_prefix(a->shard), &args, on_secrets, asking);
}
