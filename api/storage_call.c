#include "api/storage_call.h"

#include "common/crypto.h"

static const char *const kinds[] = {"artifacts", "workflows", "vectors"};

static bool take_kind(struct storage_call *s, struct str word)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eqz(word, kinds[i]))
            s->kind = kinds[i];
    if (!s->kind)
        call_problem(s->call, ERR_INVALID_PARAMETER, "kind must be artifacts, workflows or vectors");
    return s->kind != NULL;
}

static bool take_name(struct storage_call *s, struct str name)
{
    bool ok = name.len > 0 && name.len <= LIMIT_STORAGE_NAME;
    s->name = name;
    if (!ok)
        call_problem(s->call, ERR_INVALID_PARAMETER,
                     call_text(s->call, "a name has 1 to %d bytes, and no slash", LIMIT_STORAGE_NAME));
    return ok;
}

static void on_workspace(void *ctx, enum err err, const struct script_storage_ws_reply *reply)
{
    struct storage_call *s = ctx;
    if (err) {
        call_problem(s->call, err, NULL);
        return;
    }
    s->workspace = arena_str(&s->call->req->arena, reply->ws);
    s->next(s);
}

/* The token says which attempt it is of, and the header which run: neither is of use alone. */
static void ask_workspace(struct storage_call *s)
{
    struct call *c = s->call;
    struct str run = http_header(c->req, "x-errand-run-id");
    char sha[SHA256_HEX_LEN + 1];
    s->shard = run.len > 0 ? node_shard_of_run(c->node, run) : NULL;
    if (!s->shard) {
        call_problem(c, run.len > 0 ? ERR_RUN_NOT_FOUND : ERR_MISSING_FIELD,
                     run.len > 0 ? NULL : "with a runner token the header X-Errand-Run-Id is required (ERRAND_RUN_ID)");
        return;
    }
    crypto_sha256_hex(c->runner_token, sha);
    struct script_storage_ws_args args = {.run = run, .attempt = c->runner_attempt, .token_sha = str_of(sha)};
    script_call_storage_ws(s->shard->commands, shard_prefix(s->shard), &args, on_workspace, s);
}

void storage_begin(struct call *c, bool with_name, void (*next)(struct storage_call *s))
{
    struct storage_call *s = arena_zalloc(&c->req->arena, sizeof *s);
    bool of_runner = c->route->auth == AUTH_RUNNER;
    struct str kind = STR("artifacts");
    if (!s) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    s->call = c;
    s->next = next;
    if (of_runner)
        kind = call_param(c, 0);
    else
        (void)http_query(c->req, "kind", 0, &kind);
    if (!take_kind(s, kind) || (with_name && !take_name(s, call_param(c, of_runner ? 1 : 0))))
        return;
    if (of_runner) {
        ask_workspace(s);
    } else if (c->agents.len > 0 || c->queues.len > 0) {
        call_problem(c, ERR_FORBIDDEN,
                     "a key that is narrowed to agents or queues does not reach what all agents store");
    } else {
        s->shard = call_shard(c);
        s->workspace = c->workspace;
        next(s);
    }
}
