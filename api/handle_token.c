/* POST /v1/token: a token that an issuer signed for somebody, for a key that lives for minutes. Nobody is known here before the end, so the order counts:
 *
 *     what the token says of itself → policies that name its issuer (none: refused, nobody is asked anything) → the issuer's keys → the signature → which policy takes it → once → the key
 *
 * Before the signature was checked, an answer tells nothing but what stands in the token: not which workspaces there are, nor which issuers, audiences or claims are trusted. */
#include "api/audit.h"
#include "api/auth.h"
#include "api/auth_fail.h"
#include "api/handlers.h"
#include "api/issuer.h"
#include "api/key_body.h"
#include "api/token_request.h"
#include "api/trust.h"
#include "common/crypto.h"

enum {
    LEEWAY_MS = 120000, /* how long behind its end a token is remembered: more than what its end is taken with */
    KEPT_MS = 3600000,  /* a key's record behind its end: many jobs must not fill up a workspace's keys */
};

/* Claims that are shown, to whoever holds the token and with the key. */
static const char *const shown_claims[] = {"sub",      "repository", "ref",   "environment",
                                           "workflow", "run_id",     "actor", "project_path"};

/* A policy that names the token's issuer. */
struct candidate {
    struct str name, version;
    struct trust trust;
};

struct exchange {
    struct call *call;
    struct token_request request;
    struct jwt token;
    struct candidate *candidates;
    size_t count;
    const struct candidate *policy; /* the one that takes it */
    uint64_t scopes;                /* that the key gets */
    char digest[SHA256_HEX_LEN + 1];
};

static const char too_many[] = "too many tokens of this address were not accepted; wait, and check the trust policy";

static struct str global_prefix(struct exchange *x, struct key *ret_key)
{
    *ret_key = keys_global(str_of(x->call->node->config->prefix));
    return key_str(ret_key);
}

static struct redis *global_redis(struct exchange *x)
{
    return x->call->node->shards[0].commands;
}

/* Counts against where it came from; a source that had too many is told to wait, as with keys. */
static void refuse_token(struct exchange *x, enum err err, const char *why)
{
    struct call *c = x->call;
    int wait_s = auth_fail_blocked_s(c->node->failures, &c->client);
    auth_failed(c);
    if (wait_s > 0) {
        c->req->retry_after_s = wait_s;
        call_problem(c, ERR_RATE_LIMITED, too_many);
    } else {
        call_problem(c, err, why);
    }
}

/* ---- the key ---- */

static void release(struct exchange *x);

static void write_scopes(struct json_writer *w, uint64_t scopes)
{
    struct strbuf text;
    strbuf_init(&text, 4096);
    for (unsigned i = 0; i < SCOPE_COUNT; i++)
        if (scopes & SCOPE_BIT(i))
            strbuf_addf(&text, "%s%s", text.len ? " " : "", scope_word((enum scope)i));
    json_kv_str(w, "scope", strbuf_str(&text));
    strbuf_done(&text);
}

static void on_issued(void *ctx, enum err err, const struct api_key *key, const redisReply *record)
{
    struct exchange *x = ctx;
    struct strbuf out;
    struct json_writer w;
    (void)record;
    if (err) {
        release(x);
        call_problem(x->call, err, err == ERR_LIMIT_EXCEEDED ? "this workspace has as many keys as it may" : NULL);
        return;
    }
    strbuf_init(&out, 8192);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "access_token", str_of(key->text));
    json_kv_str(&w, "token_type", STR("Bearer"));
    json_kv_int(&w, "expires_in", x->policy->trust.ttl_ms / 1000);
    json_kv_str(&w, "issued_token_type", STR("urn:ietf:params:oauth:token-type:access_token"));
    write_scopes(&w, x->scopes);
    json_kv_str(&w, "workspace", x->request.workspace);
    json_kv_str(&w, "policy", x->policy->name);
    json_object_end(&w);
    call_json(x->call, 200, &out);
}

/* Whose key it is, as `errand keys` shows it: what the token said. */
static struct str details(struct exchange *x)
{
    struct strbuf text;
    struct json_writer w;
    strbuf_init(&text, 8192);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_kv_str(&w, "issuer", x->token.issuer);
    for (size_t i = 0; i < ARRAY_LEN(shown_claims); i++) {
        struct str v = jwt_claim(&x->token, shown_claims[i]);
        if (v.len <= LIMIT_CLAIM)
            json_kv_str_opt(&w, shown_claims[i], v);
    }
    json_object_end(&w);
    struct str copy = strbuf_failed(&text) ? STR_NONE : arena_str(&x->call->req->arena, strbuf_str(&text));
    strbuf_done(&text);
    return copy;
}

/* Makes the key that the policy grants. */
static void issue(struct exchange *x)
{
    struct call *c = x->call;
    const struct trust *t = &x->policy->trust;
    struct key_settings s = {
        .name = str_of(call_text(c, "token:%.*s", STR_ARG(x->policy->name))),
        .scopes = x->scopes,
        .agents = t->agents,
        .queues = t->queues,
        .cidrs = t->cidrs,
        .expires_ms = node_now_ms(c->node) + t->ttl_ms,
        .kept_ms = KEPT_MS,
        .details = details(x),
    };
    struct str by = str_of(call_text(c, "trust:%.*s", STR_ARG(x->policy->name)));
    key_make(c->node, x->request.workspace, by, &s, on_issued, x);
}

/* ---- once ---- */

static void on_released(void *ctx, enum err err, const struct script_trust_release_reply *reply)
{
    (void)ctx, (void)err, (void)reply; /* at worst the caller gets another token */
}

static void release(struct exchange *x)
{
    struct key prefix;
    struct script_trust_release_args args = {.digest = str_of(x->digest)};
    script_call_trust_release(global_redis(x), global_prefix(x, &prefix), &args, on_released, NULL);
}

static void on_used(void *ctx, enum err err, const struct script_trust_use_reply *reply)
{
    struct exchange *x = ctx;
    (void)reply;
    if (err == ERR_TOKEN_USED)
        refuse_token(x, err, "each token is exchanged once; get a new one of its issuer");
    else if (err == ERR_TRUST_NOT_FOUND)
        refuse_token(x, ERR_INVALID_TOKEN, "the trust policy was changed meanwhile; try again");
    else if (err)
        call_problem(x->call, err, NULL);
    else
        issue(x);
}

/* The digest is of what is signed: a signature of ECDSA has a second form that is as good. */
static void use(struct exchange *x)
{
    struct key prefix;
    crypto_sha256_hex(x->token.signed_text, x->digest);
    struct script_trust_use_args args = {.ws = x->request.workspace,
                                         .name = x->policy->name,
                                         .version = x->policy->version,
                                         .digest = str_of(x->digest),
                                         .keep_ms = x->token.expires_s * 1000 - node_now_ms(x->call->node) + LEEWAY_MS};
    script_call_trust_use(global_redis(x), global_prefix(x, &prefix), &args, on_used, x);
}

static void use_then(struct call *c)
{
    use(c->user);
}

/* In the log it is the policy that acts, for whom the token speaks of. */
static void write_down(struct exchange *x)
{
    struct call *c = x->call;
    struct str about = details(x);
    c->workspace = x->request.workspace;
    c->created_by = str_of(call_text(c, "trust:%.*s", STR_ARG(x->policy->name)));
    c->user = x;
    audit_then_with(c, x->policy->name, about.len <= LIMIT_AUDIT_DETAIL ? about : STR_NONE, use_then);
}

/* ---- which policy ---- */

/* What a genuine token says of itself, to whoever holds it. */
static const char *said(struct exchange *x)
{
    struct strbuf text;
    strbuf_init(&text, 1800);
    for (size_t i = 0; i < ARRAY_LEN(shown_claims); i++) {
        struct str v = jwt_claim(&x->token, shown_claims[i]);
        if (v.len > 0 && v.len <= 200)
            strbuf_addf(&text, "%s%s is \"%.*s\"", text.len ? ", " : "", shown_claims[i], STR_ARG(v));
    }
    const char *copy =
        call_text(x->call, "the token is its issuer's, but no trust policy takes it: %.*s", STR_ARG(strbuf_str(&text)));
    strbuf_done(&text);
    return copy;
}

static void choose(struct exchange *x)
{
    size_t taken = 0;
    for (size_t i = 0; i < x->count; i++) {
        if (!trust_takes(&x->candidates[i].trust, &x->token))
            continue;
        taken++;
        x->policy = &x->candidates[i];
    }
    if (taken == 0) {
        refuse_token(x, ERR_INVALID_TOKEN, said(x));
        return;
    }
    if (taken > 1) {
        call_problem(x->call, ERR_MISSING_FIELD, "several trust policies take this token; name one in policy");
        return;
    }
    uint64_t granted = x->policy->trust.scopes;
    x->scopes = x->request.scopes ? x->request.scopes : granted;
    for (unsigned i = 0; i < SCOPE_COUNT; i++) {
        if (!(x->scopes & ~granted & SCOPE_BIT(i)))
            continue;
        call_problem(x->call, ERR_INVALID_FIELD,
                     call_text(x->call, "scope: the policy does not grant %s", scope_word((enum scope)i)));
        return;
    }
    write_down(x);
}

/* ---- whose token it is ---- */

static const char unknown[] =
    "no trust policy of this workspace names its issuer, or the signature is not its issuer's";

static void on_issuer_keys(void *ctx, enum err err, const struct jwks *keys)
{
    struct exchange *x = ctx;
    const char *why;
    if (err)
        call_problem(x->call, err, err == ERR_CANCELED ? "this node is shutting down" : NULL);
    else if (!jwks_verify(keys, &x->token))
        refuse_token(x, ERR_INVALID_TOKEN, unknown);
    else if (jwt_check_times(&x->token, node_now_ms(x->call->node), &why)) /* getting the keys took its time */
        refuse_token(x, ERR_INVALID_TOKEN, call_text(x->call, "token: %s", why));
    else
        choose(x);
}

/* A policy that can't be read (any more) takes nothing. */
static void add_candidate(struct exchange *x, const struct script_trust_find_policies *row)
{
    struct arena *a = &x->call->req->arena;
    struct candidate *one = &x->candidates[x->count];
    const struct json *root;
    struct fault fault;
    *one = (struct candidate){.name = arena_str(a, row->name), .version = arena_str(a, row->version)};
    if (one->name.ptr && one->version.ptr && validate_body(a, row->policy, &root, &fault) &&
        trust_read(a, root, x->call->node->config->allow_private_addresses, &one->trust, &fault))
        x->count++;
}

static void on_found(void *ctx, enum err err, const struct script_trust_find_reply *reply)
{
    struct exchange *x = ctx;
    struct call *c = x->call;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    x->candidates = arena_alloc(&c->req->arena, (reply->policies_len + 1) * sizeof *x->candidates);
    if (!x->candidates) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    for (size_t i = 0; i < reply->policies_len; i++)
        add_candidate(x, &reply->policies[i]);
    if (x->count == 0)
        refuse_token(x, ERR_INVALID_TOKEN, unknown);
    else
        issuer_keys(c->node->issuers, x->token.issuer, x->candidates[0].trust.jwks_uri, &x->token, on_issuer_keys, x);
}

static void find(struct exchange *x)
{
    struct key prefix;
    struct script_trust_find_args args = {
        .ws = x->request.workspace, .issuer = x->token.issuer, .name = x->request.policy, .max = LIMIT_TRUST_POLICIES};
    script_call_trust_find(global_redis(x), global_prefix(x, &prefix), &args, on_found, x);
}

/* Of a source that had too many few more are looked at. False: answered. */
static bool may_try(struct call *c)
{
    int wait_s = auth_fail_blocked_s(c->node->failures, &c->client);
    if (wait_s == 0 || auth_fail_may_ask(c->node->failures, &c->client))
        return true;
    auth_failed(c);
    c->req->retry_after_s = wait_s;
    call_problem(c, ERR_RATE_LIMITED, too_many);
    return false;
}

void handle_token(struct call *c)
{
    struct exchange *x;
    struct fault fault;
    const char *why;
    if (!may_try(c))
        return;
    x = arena_zalloc(&c->req->arena, sizeof *x);
    if (!x) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    x->call = c;
    if (!token_request_read(&c->req->arena, http_header(c->req, "content-type"), c->req->body, &x->request, &fault)) {
        call_problem(c, fault.err, fault.detail);
        return;
    }
    c->workspace = x->request.workspace;
    enum err err = jwt_read(&c->req->arena, x->request.token, &x->token, &why);
    if (!err)
        err = jwt_check_times(&x->token, node_now_ms(c->node), &why);
    if (err == ERR_INVALID_TOKEN)
        refuse_token(x, err, call_text(c, "token: %s", why));
    else if (err)
        call_problem(c, err, NULL);
    else
        find(x);
}
