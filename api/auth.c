#include "api/auth.h"

#include <stdlib.h>
#include <strings.h>

#include "common/clock.h"
#include "common/crypto.h"

enum { STREAM_TOKEN_MS = 3600000 };

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

static void sign(const struct node *n, struct str workspace, struct str run_id, int64_t expiry,
                 char hex[SHA256_HEX_LEN + 1])
{
    struct strbuf text;
    strbuf_init(&text, 1024);
    strbuf_addf(&text, "stream %lld %.*s %.*s", (long long)expiry, STR_ARG(workspace), STR_ARG(run_id));
    crypto_hmac_hex(str_of(n->secret), strbuf_str(&text), hex);
    strbuf_done(&text);
}

struct str auth_stream_token(struct node *n, struct arena *a, struct str workspace, struct str run_id)
{
    if (!n->secret[0])
        return STR_NONE;
    char hex[SHA256_HEX_LEN + 1];
    int64_t expiry = node_now_ms(n) + STREAM_TOKEN_MS;
    sign(n, workspace, run_id, expiry, hex);
    return str_of(arena_printf(a, "%lld~%.*s~%s", (long long)expiry, STR_ARG(workspace), hex));
}

static bool stream_token_valid(struct call *c, struct str token)
{
    const char *first = memchr(token.ptr, '~', token.len);
    const char *second = first ? memchr(first + 1, '~', token.len - (size_t)(first + 1 - token.ptr)) : NULL;
    if (!second || !c->node->secret[0] || first - token.ptr > 15)
        return false;
    char digits[16] = {0};
    memcpy(digits, token.ptr, (size_t)(first - token.ptr));
    int64_t expiry = strtoll(digits, NULL, 10);
    struct str workspace = {first + 1, (size_t)(second - first - 1)},
               mac = {second + 1, token.len - (size_t)(second + 1 - token.ptr)};
    char hex[SHA256_HEX_LEN + 1];
    if (!keys_name_valid(workspace))
        return false;
    sign(c->node, workspace, call_param(c, 0), expiry, hex);
    if (!crypto_equal(mac, str_of(hex)) || expiry <= node_now_ms(c->node))
        return false;
    c->workspace = workspace;
    c->created_by = STR("stream");
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

static enum err check_key(struct call *c, struct str key, const char **ret_detail)
{
    struct str root = str_of(c->node->config->root_key);
    if (key.len == 0 || !crypto_equal(key, root)) { /* no key is none, whatever the root key is */
        *ret_detail = "send a valid key as Authorization: Bearer KEY or x-api-key: KEY";
        return ERR_UNAUTHORIZED;
    }
    struct str workspace = http_header(c->req, "x-errand-workspace");
    c->workspace = workspace.ptr ? workspace : STR("default");
    c->created_by = STR("root");
    if (!keys_name_valid(c->workspace)) {
        *ret_detail = "X-Errand-Workspace must be letters, digits, '.', '_' or '-', at most 128";
        return ERR_INVALID_PARAMETER;
    }
    return ERR_OK;
}

enum err auth_check(struct call *c, const char **ret_detail)
{
    struct str key = credential(c->req), token;
    if (c->route->auth == AUTH_NONE)
        return ERR_OK;
    if (c->route->auth == AUTH_RUNNER) {
        if (parse_runner_token(c, key))
            return ERR_OK;
        bool api_key = key.len > 0 && crypto_equal(key, str_of(c->node->config->root_key));
        *ret_detail = api_key ? "this needs the attempt's own runner token, not an API key"
                              : "send the attempt's runner token as Authorization: Bearer TOKEN";
        return api_key ? ERR_FORBIDDEN : ERR_UNAUTHORIZED;
    }
    if (key.len == 0 && c->route->auth == AUTH_STREAM && http_query(c->req, "token", 0, &token)) {
        if (stream_token_valid(c, token))
            return ERR_OK;
        *ret_detail = "the token is not valid for this run, or its hour is over; ask for the run's streamUrl again";
        return ERR_UNAUTHORIZED;
    }
    if (key.len > 0 && parse_runner_token(c, key)) {
        *ret_detail = "a runner token is good for its attempt's events and manifest only";
        return ERR_FORBIDDEN;
    }
    return check_key(c, key, ret_detail);
}
