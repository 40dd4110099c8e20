#include "api/attempt_secrets.h"

#include <stdlib.h>

#include "common/secret.h"
#include "common/vault.h"
#include "lua/scripts.h"

struct ask {
    struct node *node;
    attempt_secrets_fn fn;
    void *ctx;
};

/* Opens one into its own buffer. */
static enum err open_one(const struct vault *v, struct str ws, const struct script_secret_used_secrets *s,
                         struct strbuf *plain, struct redact_secret *ret_secret)
{
    char buf[SECRET_CONTEXT_MAX];
    strbuf_init(plain, s->sealed.len);
    if (s->sealed.len == 0)
        return ERR_SECRET_NOT_FOUND;
    enum err err = vault_open(v, secret_context(ws, s->name, s->version, buf), s->sealed, plain);
    if (!err)
        *ret_secret = (struct redact_secret){s->name, strbuf_str(plain)};
    return err;
}

static void on_used(void *ctx, enum err err, const struct script_secret_used_reply *reply)
{
    struct ask *a = ctx;
    size_t n = err ? 0 : reply->secrets_len, opened = 0;
    struct strbuf *plain = n ? calloc(n, sizeof *plain) : NULL;
    struct redact_secret *secrets = n ? calloc(n, sizeof *secrets) : NULL;
    if (n > 0 && (!plain || !secrets))
        err = ERR_NO_MEMORY;
    while (!err && opened < n) {
        err = open_one(a->node->vault, reply->ws, &reply->secrets[opened], &plain[opened], &secrets[opened]);
        opened++;
    }
    a->fn(a->ctx, err, err ? NULL : secrets, err ? 0 : n);
    for (size_t i = 0; i < opened; i++)
        vault_wipe(&plain[i]);
    free(plain);
    free(secrets);
    free(a);
}

void attempt_secrets(struct node *n, struct str run, int64_t attempt, struct str token_sha, attempt_secrets_fn fn,
                     void *ctx)
{
    struct shard *s = node_shard_of_run(n, run);
    struct ask *a = malloc(sizeof *a);
    if (!s || !a) {
        free(a);
        fn(ctx, s ? ERR_NO_MEMORY : ERR_RUN_NOT_FOUND, NULL, 0);
        return;
    }
    *a = (struct ask){n, fn, ctx};
    struct script_secret_used_args args = {.run = run, .attempt = attempt, .token_sha = token_sha};
    script_call_secret_used(s->commands, shard_prefix(s), &args, on_used, a);
}
