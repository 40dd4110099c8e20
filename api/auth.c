#include "api/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "api/audit.h"
#include "api/auth_fail.h"
#include "api/keys.h"
#include "api/origin.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/metrics.h"

enum { STREAM_TOKEN_MS = 3600000 };

#define NO_KEY "send a valid key as Authorization: Bearer KEY or x-api-key: KEY"

/* What a call's look-up needs when its answer comes. */
struct asking {
    struct call *call;
    struct str secret; /* of an API key; empty for others */
    bool session;
};

/* The credential of a header: Authorization: Bearer X, or x-api-key: X. */
static struct str credential(const struct http_req *req)
{
    struct str a = http_header(req, "authorization");
    if (a.len > 7 && strncasecmp(a.ptr, "bearer ", 7) == 0) {
        a.ptr += 7;
        a.len -= 7;
        while (a.len > 0 && a.ptr[0] == ' ')
            a.ptr++, a.len--;
        return a;
    }
    return a.ptr ? STR_NONE : http_header(req, "x-api-key");
}

/* ---- stream tokens ---- */

static void sign(const struct node *n, struct str workspace, struct str key, struct str proof, struct str run_id,
                 int64_t expiry, char hex[SHA256_HEX_LEN + 1])
{
    char text[1024], digits[DECIMAL_MAX];
    size_t len = 0;
    const struct str space = STR(" "), date = {digits, decimal(digits, expiry)};
    const struct str parts[] = {STR("stream "), date, space, workspace, space, key, space, proof, space, run_id};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].len > sizeof text - len) { /* no run's id is that long */
            len = 0;
            break;
        }
        if (parts[i].len > 0)
            memcpy(text + len, parts[i].ptr, parts[i].len);
        len += parts[i].len;
    }
    crypto_hmac_hex(str_of(n->secret), (struct str){text, len}, hex);
}

struct str auth_stream_token(struct call *c, struct str run_id)
{
    if (!c->node->secret[0])
        return STR_NONE;
    char hex[SHA256_HEX_LEN + 1];
    int64_t expiry = node_now_ms(c->node) + STREAM_TOKEN_MS;
    sign(c->node, c->workspace, c->created_by, str_of(c->proof), run_id, expiry, hex);
    char digits[DECIMAL_MAX];
    const struct str tilde = STR("~"), date = {digits, decimal(digits, expiry)};
    const struct str parts[] = {
        date, tilde, c->workspace, tilde, c->created_by, tilde, str_of(c->proof), tilde, {hex, SHA256_HEX_LEN}};
    return arena_join(&c->req->arena, parts, ARRAY_LEN(parts));
}

/* The next part of a token, up to `~` or its end. */
static struct str token_part(struct str *rest)
{
    const char *tilde = rest->len > 0 ? memchr(rest->ptr, '~', rest->len) : NULL;
    struct str part = {rest->ptr, tilde ? (size_t)(tilde - rest->ptr) : rest->len};
    rest->ptr += part.len + (tilde ? 1 : 0);
    rest->len -= part.len + (tilde ? 1 : 0);
    return part;
}

/* Fills in workspace and created_by; the key is still to be looked up. */
static bool stream_token_valid(struct call *c, struct str token)
{
    struct str digits = token_part(&token), workspace = token_part(&token), key = token_part(&token),
               proof = token_part(&token), mac = token;
    char number[16] = {0}, hex[SHA256_HEX_LEN + 1];
    if (!c->node->secret[0] || digits.len == 0 || digits.len >= sizeof number || !keys_name_valid(workspace) ||
        (!api_key_id_valid(key) && !str_eqz(key, "root")) || proof.len >= sizeof c->proof)
        return false;
    memcpy(number, digits.ptr, digits.len);
    int64_t expiry = strtoll(number, NULL, 10);
    sign(c->node, workspace, key, proof, call_param(c, 0), expiry, hex);
    if (!crypto_equal(mac, str_of(hex)) || expiry <= node_now_ms(c->node))
        return false;
    c->workspace = workspace;
    c->created_by = key;
    c->scopes = SCOPE_BIT(SCOPE_RUNS_READ);
    c->until_ms = expiry;
    c->by_token = true;
    snprintf(c->proof, sizeof c->proof, "%.*s", STR_ARG(proof));
    return true;
}

/* `ert_<attempt>_<43 characters>` */
static bool parse_runner_token(struct call *c, struct str token)
{
    struct str rest = token;
    if (!str_starts(token, STR("ert_")) || token.len > 64)
        return false;
    rest.ptr += 4;
    rest.len -= 4;
    int64_t attempt = 0;
    size_t digits = 0;
    while (digits < rest.len && digits < 9 && rest.ptr[digits] >= '0' && rest.ptr[digits] <= '9')
        attempt = attempt * 10 + (rest.ptr[digits++] - '0');
    if (digits == 0 || digits >= rest.len || rest.ptr[digits] != '_' || rest.len - digits - 1 != TOKEN_LEN)
        return false;
    c->runner_token = token;
    c->runner_attempt = attempt;
    return true;
}

/* ---- judging ---- */

void auth_failed(struct call *c)
{
    if (c->node->failures)
        auth_fail_count(c->node->failures, &c->client);
}

/* No valid credentials: counted, and a source that had too many is told to wait. */
static enum err unauthorized(struct call *c, const char *why, const char **ret_detail)
{
    int wait_s = c->node->failures ? auth_fail_blocked_s(c->node->failures, &c->client) : 0;
    auth_failed(c);
    *ret_detail = why;
    if (wait_s == 0)
        return ERR_UNAUTHORIZED;
    c->req->retry_after_s = wait_s;
    *ret_detail = "too many requests of this address had no valid credentials; wait, and check the key";
    return ERR_RATE_LIMITED;
}

static enum err forbidden(struct call *c, const char *why, const char **ret_detail)
{
    metric_add(METRIC_AUTH_FORBIDDEN, 1);
    audit_refused(c, ERR_FORBIDDEN, c->created_by, c->workspace);
    *ret_detail = why;
    return ERR_FORBIDDEN;
}

/* The same of a key that is known: its workspace's audit log has it. */
static enum err unauthorized_key(struct call *c, const struct principal *p, const char *why, const char **ret_detail)
{
    if (p)
        audit_refused(c, ERR_UNAUTHORIZED, str_of(p->id), str_of(p->workspace));
    return unauthorized(c, why, ret_detail);
}

/* Whether what came is good for the key, and until when what is opened with it is: with the key, the session, the token, or the overlap in which a former secret is still good. */
static bool credential_fits(struct call *c, const struct principal *p, const struct asking *a)
{
    char hash[SHA256_HEX_LEN + 1];
    int64_t now_ms = node_now_ms(c->node);
    if (p->until_ms > 0 && (c->until_ms == 0 || p->until_ms < c->until_ms))
        c->until_ms = p->until_ms;
    if (a->secret.len > 0) {
        crypto_sha256_hex(a->secret, hash);
        if (!crypto_equal(str_of(hash), str_of(p->hash)) && !crypto_equal(str_of(hash), str_of(p->old_hash)))
            return false;
        snprintf(c->proof, sizeof c->proof, "%.*s", PROOF_LEN, hash);
    } else if (a->session) {
        snprintf(c->proof, sizeof c->proof, "%s", p->session_proof);
    }
    return keys_proof_good(p, c->proof, now_ms, &c->until_ms);
}

static bool take_principal(struct call *c, const struct principal *p)
{
    struct arena *a = &c->req->arena;
    c->workspace = arena_str(a, str_of(p->workspace));
    c->created_by = arena_str(a, str_of(p->id));
    c->agents = p->agents.len > 0 ? arena_str(a, p->agents) : STR_NONE;
    c->queues = p->queues.len > 0 ? arena_str(a, p->queues) : STR_NONE;
    c->cidrs = p->cidrs.len > 0 ? arena_str(a, p->cidrs) : STR_NONE;
    c->scopes = c->by_token ? c->scopes : p->scopes;
    c->concurrency = p->concurrency;
    c->rate = p->rate;
    c->rate_per_ms = p->rate_per_ms;
    c->rate_burst = p->rate_burst;
    return c->workspace.ptr && c->created_by.ptr && (c->agents.ptr || p->agents.len == 0) &&
           (c->queues.ptr || p->queues.len == 0) && (c->cidrs.ptr || p->cidrs.len == 0);
}

/* What is wrong with a key for this call, from where it comes. */
static enum err judge(struct call *c, const struct principal *p, const struct asking *a, const char **ret_detail)
{
    struct str named = http_header(c->req, "x-errand-workspace");
    if (!p || p->revoked || !credential_fits(c, p, a))
        return unauthorized_key(c, p,
                                a->session    ? "the session has ended; POST /v1/session begins another"
                                : c->by_token ? "the key that this token was given to has ended"
                                              : "this key is not known (any more); check it with `errand keys list`",
                                ret_detail);
    if (p->until_ms > 0 && p->until_ms <= node_now_ms(c->node))
        return unauthorized_key(
            c, p, a->session ? "the session has ended; POST /v1/session begins another" : "the key has expired",
            ret_detail);
    if (c->by_token && !str_eqz(c->workspace, p->workspace))
        return unauthorized_key(c, p, "the token is not valid for this run", ret_detail);
    c->reading = p->reading;
    if (!take_principal(c, p))
        return ERR_NO_MEMORY;
    if (p->cidrs.len > 0 && (c->client_unknown || !cidr_words_hold(p->cidrs, &c->client)))
        return forbidden(c, "this key may not be used from this address (cidrs)", ret_detail);
    if (named.ptr && !str_eq(named, c->workspace))
        return forbidden(c, "this key belongs to one workspace; leave X-Errand-Workspace out", ret_detail);
    if (c->route->scope != SCOPE_ANY && !call_may(c, c->route->scope))
        return forbidden(c, call_text(c, "the key does not have the scope %s", scope_word(c->route->scope)),
                         ret_detail);
    keys_used(c->node->keys, c->created_by);
    return ERR_OK;
}

static void on_found(void *ctx, enum err err, const struct principal *found, int64_t failures)
{
    struct asking *a = ctx;
    struct call *c = a->call;
    const char *detail = NULL;
    if (!err) {
        auth_fail_learn(c->node->failures, &c->client, failures, 0);
        err = judge(c, found, a, &detail);
    }
    http_head_decided(c->req, err, c->route->max_body, detail);
}

/* id: a key's, or the digest of a session's token. */
static enum err look_up(struct call *c, struct str id, struct str secret, bool session, const char **ret_detail)
{
    const struct principal *found;
    char source[64];
    struct ip of = ip_source(&c->client);
    struct asking *a = arena_zalloc(&c->req->arena, sizeof *a);
    if (!a)
        return ERR_NO_MEMORY;
    ip_text(&of, source, sizeof source);
    *a = (struct asking){c, secret, session};
    struct key_query q = {id, session, str_of(source)};
    c->credential = id;
    c->session = session;
    c->asking = a;
    if (keys_cached(c->node->keys, &q, &found))
        return judge(c, found, a, ret_detail);
    if (!keys_was_good(c->node->keys, &q) && !auth_fail_may_ask(c->node->failures, &c->client))
        return unauthorized(c, NO_KEY, ret_detail);
    if (!keys_ask(c->node->keys, &q, on_found, a))
        return ERR_OVERLOADED;
    c->req->deciding = true;
    return ERR_OK;
}

static void on_found_again(void *ctx, enum err err, const struct principal *found, int64_t failures)
{
    struct asking *a = ctx;
    const char *detail = NULL;
    (void)failures;
    if (!err)
        err = judge(a->call, found, a, &detail);
    if (err)
        call_problem(a->call, err, detail);
    else
        routes_go_on(a->call);
}

void auth_check_again(struct call *c)
{
    const struct principal *found;
    struct key_query q = {c->credential, c->session, STR("")};
    bool cached = keys_cached(c->node->keys, &q, &found);
    bool ended = c->until_ms > 0 && c->until_ms <= node_now_ms(c->node);
    if (cached && found && found->reading == c->reading &&
        !ended) { /* nothing was read since: it would be judged the same */
        routes_go_on(c);
        return;
    }
    c->until_ms = c->by_token ? c->until_ms : 0;
    if (cached)
        on_found_again(c->asking, ERR_OK, found, 0);
    else if (!keys_ask(c->node->keys, &q, on_found_again, c->asking))
        call_problem(c, ERR_OVERLOADED, NULL);
}

bool auth_hold(struct call *c, struct key_hold *h)
{
    struct key_claim claim = {.id = c->credential,
                              .session = c->session,
                              .until_ms = c->until_ms,
                              .proof = c->proof,
                              .scopes = c->by_token ? 0 : c->scopes};
    return keys_hold(c->node->keys, &claim, h);
}

/* ---- the kinds of credentials ---- */

static enum err check_root(struct call *c, const char **ret_detail)
{
    struct str workspace = http_header(c->req, "x-errand-workspace");
    c->workspace = workspace.ptr ? workspace : STR("default");
    c->created_by = STR("root");
    c->scopes = SCOPES_ALL;
    if (!keys_name_valid(c->workspace)) {
        *ret_detail = "X-Errand-Workspace must be letters, digits, '.', '_' or '-', at most 128";
        return ERR_INVALID_PARAMETER;
    }
    return ERR_OK;
}

static enum err check_key(struct call *c, struct str key, const char **ret_detail)
{
    struct str id, secret;
    if (crypto_equal(key, str_of(c->node->config->root_key))) /* a root key is never empty */
        return check_root(c, ret_detail);
    if (api_key_parse(key, &id, &secret))
        return look_up(c, id, secret, false, ret_detail);
    return unauthorized(
        c, api_key_looks_like(key) ? "this is no whole API key (its checksum does not fit): copy it again" : NO_KEY,
        ret_detail);
}

const char *auth_cookie_name(const struct node *n)
{
    return n->config->session_cookie_secure ? "__Host-errand" : "errand";
}

struct str auth_cookie(const struct call *c)
{
    struct str cookies = http_header(c->req, "cookie"), name = str_of(auth_cookie_name(c->node));
    while (cookies.len > 0 && cookies.ptr) {
        const char *end = memchr(cookies.ptr, ';', cookies.len);
        struct str one = {cookies.ptr, end ? (size_t)(end - cookies.ptr) : cookies.len};
        cookies.ptr += one.len + (end ? 1 : 0);
        cookies.len -= one.len + (end ? 1 : 0);
        while (one.len > 0 && one.ptr[0] == ' ')
            one.ptr++, one.len--;
        if (str_starts(one, name) && one.len > name.len && one.ptr[name.len] == '=')
            return (struct str){one.ptr + name.len + 1, one.len - name.len - 1};
    }
    return STR_NONE;
}

/* A browser sends cookies for whoever asks it to: what changes something must come from a page of ours. */
static enum err check_session(struct call *c, struct str token, const char **ret_detail)
{
    enum http_method method = c->req->method;
    struct str type = http_header(c->req, "content-type"), length = http_header(c->req, "content-length");
    bool body = (length.len > 0 && !str_eqz(length, "0")) || http_header(c->req, "transfer-encoding").ptr;
    if (token.len != TOKEN_LEN)
        return unauthorized(c, "the session's cookie is malformed; POST /v1/session begins another", ret_detail);
    if (method != HTTP_GET_ && method != HTTP_HEAD_ && !origin_is_ours(c->node, c->req))
        return forbidden(c, "with a session's cookie, Origin must be this server's or one of cors-origins", ret_detail);
    if (body && !(str_starts(type, STR("application/json")) &&
                  (type.len == 16 || type.ptr[16] == ';' || type.ptr[16] == ' '))) {
        *ret_detail = "with a session's cookie the body's Content-Type must be application/json";
        return ERR_UNSUPPORTED_MEDIA_TYPE;
    }
    char hex[SHA256_HEX_LEN + 1];
    crypto_sha256_hex(token, hex);
    struct str digest = arena_str(&c->req->arena, str_of(hex));
    return digest.ptr ? look_up(c, digest, STR_NONE, true, ret_detail) : ERR_NO_MEMORY;
}

static enum err check_runner(struct call *c, struct str token, const char **ret_detail)
{
    if (parse_runner_token(c, token))
        return ERR_OK;
    if (token.len > 0 && crypto_equal(token, str_of(c->node->config->root_key)))
        return forbidden(c, "this needs the attempt's own runner token, not an API key", ret_detail);
    return unauthorized(c,
                        api_key_looks_like(token) ? "this needs the attempt's own runner token, not an API key"
                                                  : "send the attempt's runner token as Authorization: Bearer TOKEN",
                        ret_detail);
}

static enum err check_stream_token(struct call *c, struct str token, const char **ret_detail)
{
    if (!stream_token_valid(c, token))
        return unauthorized(
            c, "the token is not valid for this run, or its hour is over; ask for the run's streamUrl again",
            ret_detail);
    return str_eqz(c->created_by, "root") ? ERR_OK : look_up(c, c->created_by, STR_NONE, false, ret_detail);
}

enum err auth_check(struct call *c, const char **ret_detail)
{
    struct str key = credential(c->req), token, cookie = STR_NONE;
    if (c->route->auth == AUTH_NONE)
        return ERR_OK;
    if (http_header_count(c->req, "authorization") + http_header_count(c->req, "x-api-key") > 1)
        return unauthorized(c, "send one credential, not several", ret_detail);
    if (c->route->auth == AUTH_RUNNER)
        return check_runner(c, key, ret_detail);
    if (key.len == 0 && c->route->auth == AUTH_STREAM && http_query(c->req, "token", 0, &token))
        return check_stream_token(c, token, ret_detail);
    if (!http_header(c->req, "authorization").ptr && !http_header(c->req, "x-api-key").ptr)
        cookie = auth_cookie(c);
    if (cookie.ptr)
        return check_session(c, cookie, ret_detail);
    if (key.len > 0 && parse_runner_token(c, key))
        return forbidden(c, "a runner token is good for its attempt's events, manifest and storage only", ret_detail);
    return key.len > 0 ? check_key(c, key, ret_detail) : unauthorized(c, NO_KEY, ret_detail);
}
