/* Trust policies: what a pattern matches, which policies are refused because they would take everybody's tokens, which tokens one takes; and what a token exchange may be sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/issuer.h"
#include "api/token_request.h"
#include "api/trust.h"
#include "common/limits.h"
#include "common/scope.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 64U << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

/* ---- patterns ---- */

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {
        {"refs/heads/main", "refs/heads/main", true},
        {"refs/heads/main", "refs/heads/main2", false},
        {"refs/heads/main", "refs/heads/mai", false},
        {"refs/heads/main", "Refs/heads/main", false},
        {"refs/heads/*", "refs/heads/main", true},
        {"refs/heads/*", "refs/heads/", true},
        {"refs/heads/*", "refs/pull/1/merge", false},
        {"refs/heads/*", "refs/heads/feature/x", false},
        {"refs/heads/**", "refs/heads/feature/x", true},
        {"refs/heads/**", "refs/pull/1/merge", false},
        {"refs/*/main", "refs/heads/main", true},
        {"refs/*/main", "refs/heads/a/main", false},
        {"refs/**/main", "refs/heads/a/main", true},
        {"refs/tags/v*.*", "refs/tags/v1.2", true},
        {"refs/tags/v*.*", "refs/tags/v1", false},
        {"*", "", true},
        {"*", "abc", true},
        {"*", "a/b", false},
        {"*", "a:b", false},
        {"**", "a/b:c", true},
        {"**", "", true},
        {"a", "", false},
        {"", "a", false},
        {"example/*", "example/app", true},
        {"example/*", "example-evil/app", false},
        {"example/*", "example/app/more", false},
        {"repo:example/*:ref:refs/heads/main", "repo:example/app:ref:refs/heads/main", true},
        /* whoever may name an environment must not be able to write a ref */
        {"repo:example/*:ref:refs/heads/main", "repo:example/app:environment:x:ref:refs/heads/main", false},
        {"repo:example/**:ref:refs/heads/main", "repo:example/app:environment:x:ref:refs/heads/main", true},
        {"a*b*c", "aXbYc", true},
        {"a*b*c", "abc", true},
        {"a*b*c", "acb", false},
        {"a**a", "aa", true},
        {"a**a", "a", false},
        {"*a*a*", "aa", true},
        {"*/*", "a/b", true},
        {"*/*", "a/b/c", false},
        {"*/**", "a/b/c", true},
        {"**/*", "a/b/c", true},
        {"?", "a", false},
        {"[a]", "a", false},
        {"a.c", "abc", false},
        {"\\*", "*", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (trust_glob(str_of(rows[i].pattern), str_of(rows[i].text)) != rows[i].matches)
            fail_msg("\"%s\" against \"%s\"", rows[i].pattern, rows[i].text);
}

/* The same by trying everything. */
static bool slowly(const char *p, const char *t)
{
    if (*p == '*') {
        bool twice = p[1] == '*';
        const char *rest = p + 1 + twice;
        for (;; t++) {
            if (slowly(rest, t))
                return true;
            if (!*t || (!twice && (*t == '/' || *t == ':')))
                return false;
        }
    }
    return *p == *t && (!*p || slowly(p + 1, t + 1));
}

static void test_patterns_as_by_trying_everything(void **state)
{
    (void)state;
    static const char letters[] = "ab/:*";
    size_t matched = 0;
    for (unsigned n = 0; n < 200000; n++) {
        char p[8] = "", t[8] = "";
        unsigned bits = n * 2654435761U;
        for (size_t i = 0; i < 1 + bits % 6; i++)
            p[i] = letters[(bits >> (3 + 2 * i)) % 5];
        bits = (n ^ 0x9e37) * 40503U * 2654435761U;
        for (size_t i = 0; i < (bits >> 28) % 7; i++)
            t[i] = letters[(bits >> (2 * i)) % 4];
        if (strstr(p, "***"))
            continue;
        bool is = trust_glob(str_of(p), str_of(t));
        matched += is;
        if (is != slowly(p, t))
            fail_msg("\"%s\" against \"%s\"", p, t);
    }
    assert_true(matched > 1000);
}

/* ---- policies ---- */

static bool policy(const char *json, bool allow_http, struct trust *t, struct fault *f)
{
    const struct json *root;
    *f = (struct fault){ERR_OK, ""};
    return validate_body(&arena, str_of(json), &root, f) && trust_read(&arena, root, allow_http, t, f);
}

#define GITHUB "https://token.actions.githubusercontent.com"
#define GOOD   "\"issuer\":\"" GITHUB "\",\"audience\":\"errand\",\"scopes\":[\"runs:create\",\"runs:read\"]"
#define OTHER  "\"issuer\":\"https://issuer.example.com\",\"audience\":\"errand\",\"scopes\":[\"runs:create\"]"

static void test_policies(void **state)
{
    (void)state;
    static const struct {
        const char *json, *why; /* NULL: taken */
    } rows[] = {
        {"{" GOOD ",\"claims\":{\"repository\":\"example/app\"}}", NULL},
        {"{" GOOD ",\"claims\":{\"repository\":\"example/*\",\"ref\":[\"refs/heads/main\",\"refs/tags/"
         "v*\"]},\"agents\":[\"a\"],\"queues\":[\"q\",\"r\"],\"ttlMs\":3600000}",
         NULL},
        {"{" GOOD ",\"claims\":{\"repository_owner\":\"example\"}}", NULL},
        {"{" GOOD ",\"claims\":{\"sub\":\"repo:example/app:ref:refs/heads/main\"}}", NULL},
        {"{" GOOD ",\"claims\":{\"sub\":\"repo:example/**\"}}", NULL},
        {"{" OTHER ",\"claims\":{\"sub\":\"x*\"}}", NULL},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\"},\"jwksUri\":\"https://keys.example.com/a?b=c\"}", NULL},
        /* everybody's */
        {"{" GOOD "}", "claims"},
        {"{" GOOD ",\"claims\":{}}", "claims"},
        {"{" GOOD ",\"claims\":{\"ref\":\"refs/heads/main\"}}", "repository"},
        {"{" GOOD ",\"claims\":{\"repository\":\"**\"}}", "repository"},
        {"{" GOOD ",\"claims\":{\"repository\":\"*/*\"}}", "repository"},
        {"{" GOOD ",\"claims\":{\"repository\":\"*/app\"}}", "repository"},
        {"{" GOOD ",\"claims\":{\"repository\":\"exam*/app\"}}", "repository"},
        {"{" GOOD ",\"claims\":{\"repository\":\"/*\"}}", "repository"},
        {"{" GOOD ",\"claims\":{\"repository\":[\"example/app\",\"*/app\"]}}", "repository"},
        {"{" GOOD ",\"claims\":{\"repository_owner\":\"exam*\"}}", "repository"},
        {"{" GOOD ",\"claims\":{\"sub\":\"repo:*\"}}", "repository"},
        {"{" GOOD ",\"claims\":{\"sub\":\"repo:**\"}}", "repository"},
        {"{" GOOD ",\"claims\":{\"sub\":\"repo:exam**\"}}", "repository"},
        {"{" GOOD ",\"claims\":{\"sub\":\"repo:/**\"}}", "repository"},
        {"{\"issuer\":\"" GITHUB
         "/enterprise\",\"audience\":\"a\",\"scopes\":[\"runs:read\"],\"claims\":{\"ref\":\"x\"}}",
         "repository"},
        {"{\"issuer\":\"" GITHUB
         ".example.com\",\"audience\":\"a\",\"scopes\":[\"runs:read\"],\"claims\":{\"ref\":\"x\"}}",
         NULL},
        {"{\"issuer\":\"https://"
         "gitlab.com\",\"audience\":\"a\",\"scopes\":[\"runs:read\"],\"claims\":{\"ref\":\"main\"}}",
         "project_path"},
        {"{\"issuer\":\"https://"
         "gitlab.com\",\"audience\":\"a\",\"scopes\":[\"runs:read\"],\"claims\":{\"project_path\":\"group/*\"}}",
         NULL},
        {"{" OTHER "}", "claims"},
        {"{" OTHER ",\"claims\":{\"sub\":\"*\"}}", "claims"},
        {"{" OTHER ",\"claims\":{\"sub\":\"**\"}}", "claims"},
        {"{" OTHER ",\"claims\":{\"sub\":[\"x\",\"**\"]}}", "claims"},
        /* fields */
        {"[]", "object"},
        {"{\"audience\":\"a\",\"scopes\":[\"runs:read\"],\"claims\":{\"sub\":\"x\"}}", "issuer is required"},
        {"{\"issuer\":\"https://e.example\",\"scopes\":[\"runs:read\"],\"claims\":{\"sub\":\"x\"}}",
         "audience is required"},
        {"{\"issuer\":\"https://e.example\",\"audience\":\"a\",\"claims\":{\"sub\":\"x\"}}", "scopes is required"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\"},\"scope\":[]}", "scope is not a field"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\",\"sub\":\"y\"}}", "each once"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\"},\"claims\":{\"sub\":\"y\"}}", "twice"},
        {"{" OTHER ",\"claims\":{\"sub\":1}}", "claims.sub"},
        {"{" OTHER ",\"claims\":{\"sub\":\"\"}}", "claims.sub"},
        {"{" OTHER ",\"claims\":{\"sub\":\"a***\"}}", "claims.sub"},
        {"{" OTHER ",\"claims\":{\"sub\":[]}}", "claims"},
        {"{" OTHER ",\"claims\":{\"sub\":[[\"x\"]]}}", "claims.sub"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\\u0000y\"}}", "claims.sub"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\",\"iss\":\"y\"}}", "claims.iss"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\",\"aud\":\"y\"}}", "claims.aud"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\"},\"ttlMs\":3600001}", "ttlMs"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\"},\"ttlMs\":59999}", "ttlMs"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\"},\"agents\":[]}", "agents"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\"},\"agents\":[\"a b\"]}", "agents"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\"},\"agents\":[\"a,b\"]}", "agents"},
        {"{" OTHER ",\"claims\":{\"sub\":\"x\"},\"queues\":\"q\"}", "queues"},
        {"{\"issuer\":\"https://e.example\",\"audience\":\"a\",\"scopes\":[],\"claims\":{\"sub\":\"x\"}}", "scopes"},
        {"{\"issuer\":\"https://e.example\",\"audience\":\"a\",\"scopes\":[\"runs:*\"],\"claims\":{\"sub\":\"x\"}}",
         "runs:*"},
        {"{\"issuer\":\"https://e.example\",\"audience\":\"a\",\"scopes\":[\"keys:admin\"],\"claims\":{\"sub\":\"x\"}}",
         "keys:admin"},
        {"{\"issuer\":\"https://"
         "e.example\",\"audience\":\"a\",\"scopes\":[\"trust:admin\"],\"claims\":{\"sub\":\"x\"}}",
         "trust:admin"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct trust t;
        struct fault f;
        bool ok = policy(rows[i].json, false, &t, &f);
        if (ok != (rows[i].why == NULL) || (!ok && !strstr(f.detail, rows[i].why)))
            fail_msg("%s: %d, \"%s\"", rows[i].json, ok, f.detail);
    }
}

static void test_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url, *origin;
    } rows[] = {
        {"https://issuer.example.com", "https://issuer.example.com"},
        {"https://issuer.example.com/a/b", "https://issuer.example.com"},
        {"https://issuer.example.com:8443/a?b", "https://issuer.example.com:8443"},
        {"https://issuer.example.com?a", "https://issuer.example.com"},
        {"http://127.0.0.1:80/", "http://127.0.0.1:80"},
        {"https://", ""},
        {"https:///a", ""},
        {"ftp://a", ""},
        {"issuer.example.com", ""},
        {"https://a@b", ""},
        {"https://a:b@c/", ""},
        {"https://a/#b", ""},
        {"https://a\\@b", ""},
        {"https://a b", ""},
        {"https://a\nb", ""},
        {"https://\xc3\xa4", ""},
        {"HTTPS://a", ""},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!str_eqz(issuer_origin(str_of(rows[i].url)), rows[i].origin))
            fail_msg("%s", rows[i].url);
    struct trust t;
    struct fault f;
    static const char http[] =
        "{\"issuer\":\"http://"
        "127.0.0.1:8080\",\"audience\":\"a\",\"scopes\":[\"runs:read\"],\"claims\":{\"sub\":\"x\"}}";
    assert_false(policy(http, false, &t, &f));
    assert_true(policy(http, true, &t, &f));
    assert_false(policy("{\"issuer\":\"https://"
                        "a.example?x=1\",\"audience\":\"a\",\"scopes\":[\"runs:read\"],\"claims\":{\"sub\":\"x\"}}",
                        true, &t, &f));
    assert_false(
        policy("{" OTHER ",\"claims\":{\"sub\":\"x\"},\"jwksUri\":\"http://keys.example.com/\"}", false, &t, &f));
}

static void test_what_a_policy_grants(void **state)
{
    (void)state;
    struct trust t;
    struct fault f;
    assert_true(policy("{" GOOD ",\"claims\":{\"repository\":\"example/app\"}}", false, &t, &f));
    assert_true(t.scopes == (SCOPE_BIT(SCOPE_RUNS_CREATE) | SCOPE_BIT(SCOPE_RUNS_READ)) && t.ttl_ms == 900000);
    assert_true(t.agents.len == 0 && t.queues.len == 0 && t.cidrs.len == 0 && t.jwks_uri.len == 0);
    assert_true(policy("{" GOOD ",\"claims\":{\"repository\":\"example/"
                       "app\"},\"agents\":[\"a\",\"b\"],\"queues\":[\"q\"],\"cidrs\":[\"192.0.2.0/24\"]}",
                       false, &t, &f));
    assert_true(str_eqz(t.agents, "a,b") && str_eqz(t.queues, "q") && str_eqz(t.cidrs, "192.0.2.0/24"));
}

/* ---- tokens ---- */

static bool takes(const char *policy_claims, const char *token_claims)
{
    struct trust t;
    struct fault f;
    struct json *claims;
    const char *json =
        arena_printf(&arena, "{" OTHER ",\"claims\":{\"sub\":\"s*\"%s%s}}", *policy_claims ? "," : "", policy_claims);
    if (!policy(json, false, &t, &f))
        fail_msg("%s: %s", json, f.detail);
    const char *text =
        arena_printf(&arena, "{\"iss\":\"https://issuer.example.com\",\"sub\":\"s1\",\"aud\":\"errand\"%s%s}",
                     *token_claims ? "," : "", token_claims);
    assert_int_equal(json_parse(&arena, str_of(text), 8, 3, &claims, NULL), ERR_OK);
    struct jwt token = {
        .claims = claims, .issuer = json_get(claims, "iss")->string, .subject = json_get(claims, "sub")->string};
    return trust_takes(&t, &token);
}

static void test_which_tokens_are_taken(void **state)
{
    (void)state;
    assert_true(takes("", ""));
    assert_true(takes("\"ref\":\"refs/heads/*\"", "\"ref\":\"refs/heads/main\""));
    assert_false(takes("\"ref\":\"refs/heads/*\"", "\"ref\":\"refs/pull/1/merge\""));
    assert_false(takes("\"ref\":\"refs/heads/*\"", ""));
    assert_true(takes("\"ref\":[\"a\",\"b\"]", "\"ref\":\"b\""));
    assert_false(takes("\"ref\":[\"a\",\"b\"]", "\"ref\":\"c\""));
    assert_true(takes("\"environment\":\"**\"", "\"environment\":\"\""));
    assert_false(takes("\"environment\":\"**\"", ""));
    /* what is no string matches nothing */
    static const char *const others[] = {"true", "1", "null", "[\"true\"]", "{\"a\":\"true\"}", "1.5"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_false(takes("\"x\":\"**\"", arena_printf(&arena, "\"x\":%s", others[i])));
        assert_false(takes("\"x\":\"true\"", arena_printf(&arena, "\"x\":%s", others[i])));
    }
    /* all of them must hold */
    assert_false(takes("\"a\":\"1\",\"b\":\"2\"", "\"a\":\"1\",\"b\":\"3\""));
    assert_true(takes("\"a\":\"1\",\"b\":\"2\"", "\"b\":\"2\",\"a\":\"1\""));
    /* as long as a claim may be, and longer */
    char *text = arena_alloc(&arena, LIMIT_CLAIM + 2);
    memset(text, 'x', LIMIT_CLAIM + 1);
    assert_true(takes("\"a\":\"**\"", arena_printf(&arena, "\"a\":\"%.*s\"", LIMIT_CLAIM, text)));
    assert_false(takes("\"a\":\"**\"", arena_printf(&arena, "\"a\":\"%.*s\"", LIMIT_CLAIM + 1, text)));
}

static void test_issuer_and_audience(void **state)
{
    (void)state;
    struct trust t;
    struct fault f;
    struct json *claims;
    assert_true(policy("{" OTHER ",\"claims\":{\"sub\":\"s\"}}", false, &t, &f));
    static const struct {
        const char *issuer, *aud;
        bool taken;
    } rows[] = {
        {"https://issuer.example.com", "\"errand\"", true},
        {"https://issuer.example.com", "[\"x\",\"errand\"]", true},
        {"https://issuer.example.com/", "\"errand\"", false},
        {"https://issuer.example.co", "\"errand\"", false},
        {"https://issuer.example.com", "\"Errand\"", false},
        {"https://issuer.example.com", "[\"x\"]", false},
        {"https://issuer.example.com", "\"\"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text = arena_printf(&arena, "{\"sub\":\"s\",\"aud\":%s}", rows[i].aud);
        assert_int_equal(json_parse(&arena, str_of(text), 8, 3, &claims, NULL), ERR_OK);
        struct jwt token = {.claims = claims, .issuer = str_of(rows[i].issuer)};
        if (trust_takes(&t, &token) != rows[i].taken)
            fail_msg("row %zu", i);
    }
}

/* ---- requests ---- */

#define FORM  "application/x-www-form-urlencoded"
#define GRANT "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange"
#define TYPE  "urn:ietf:params:oauth:token-type:"

static void test_requests(void **state)
{
    (void)state;
    static const struct {
        const char *type, *body;
        const char *token, *workspace, *policy; /* token NULL: refused */
    } rows[] = {
        {"application/json", "{\"token\":\"t\"}", "t", "default", ""},
        {"", "{\"token\":\"t\",\"policy\":\"p\",\"workspace\":\"w\"}", "t", "w", "p"},
        {"",
         "{\"grant_type\":\"urn:ietf:params:oauth:grant-type:token-exchange\",\"subject_token\":\"t\",\"subject_token_"
         "type\":\"" TYPE "jwt\",\"audience\":\"w\"}",
         "t", "w", ""},
        {FORM, GRANT "&subject_token=a.b-c_d&subject_token_type=urn:ietf:params:oauth:token-type:id_token", "a.b-c_d",
         "default", ""},
        {FORM "; charset=utf-8", "token=t&workspace=w&policy=p%2Dq&scope=runs:create+runs%3Aread", "t", "w", "p-q"},
        {"Application/X-WWW-Form-Urlencoded", "token=t", "t", "default", ""},
        {FORM "x", "token=t", NULL, NULL, NULL},
        {FORM, "", NULL, NULL, NULL},
        {FORM, "token", NULL, NULL, NULL},
        {FORM, "token=", NULL, NULL, NULL},
        {FORM, "token=a&token=b", NULL, NULL, NULL},
        {FORM, "token=a&t%6Fken=b", NULL, NULL, NULL},
        {FORM, "token=%", NULL, NULL, NULL},
        {FORM, "token=%4", NULL, NULL, NULL},
        {FORM, "token=%zz", NULL, NULL, NULL},
        {FORM, "token=a%00b", NULL, NULL, NULL},
        {FORM, "token=a&&policy=b", NULL, NULL, NULL},
        {FORM, "token=a&actor_token=b", NULL, NULL, NULL},
        {FORM, "{\"token\":\"t\"}", NULL, NULL, NULL},
        {"", "token=t", NULL, NULL, NULL},
        {"", "{}", NULL, NULL, NULL},
        {"", "[]", NULL, NULL, NULL},
        {"", "\"t\"", NULL, NULL, NULL},
        {"", "{\"token\":1}", NULL, NULL, NULL},
        {"", "{\"token\":\"t\",\"subject_token\":\"u\"}", NULL, NULL, NULL},
        {"", "{\"subject_token\":\"u\"}", NULL, NULL, NULL},
        {"", "{\"token\":\"t\",\"grant_type\":\"authorization_code\"}", NULL, NULL, NULL},
        {"", "{\"token\":\"t\",\"subject_token_type\":\"" TYPE "saml2\"}", NULL, NULL, NULL},
        {"", "{\"token\":\"t\",\"requested_token_type\":\"" TYPE "refresh_token\"}", NULL, NULL, NULL},
        {"", "{\"token\":\"t\",\"workspace\":\"a\",\"audience\":\"b\"}", NULL, NULL, NULL},
        {"", "{\"token\":\"t\",\"workspace\":\"../b\"}", NULL, NULL, NULL},
        {"", "{\"token\":\"t\",\"policy\":\"a:b\"}", NULL, NULL, NULL},
        {"", "{\"token\":\"t\",\"scope\":\"runs:everything\"}", NULL, NULL, NULL},
        {"", "{\"token\":\"t\",\"scope\":\"runs:read,runs:stop\"}", NULL, NULL, NULL},
        {"", "{\"token\":\"t\",\"more\":1}", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct token_request r;
        struct fault f;
        bool ok = token_request_read(&arena, str_of(rows[i].type), str_of(rows[i].body), &r, &f);
        if (ok != (rows[i].token != NULL) ||
            (ok && (!str_eqz(r.token, rows[i].token) || !str_eqz(r.workspace, rows[i].workspace) ||
                    !str_eqz(r.policy, rows[i].policy))))
            fail_msg("row %zu: %s gives %d", i, rows[i].body, ok);
    }
}

static void test_scopes_of_a_request(void **state)
{
    (void)state;
    struct token_request r;
    struct fault f;
    assert_true(token_request_read(&arena, STR(FORM), STR("token=t&scope=runs:create+runs%3Aread"), &r, &f));
    assert_true(r.scopes == (SCOPE_BIT(SCOPE_RUNS_CREATE) | SCOPE_BIT(SCOPE_RUNS_READ)));
    assert_true(token_request_read(&arena, STR(FORM), STR("token=t"), &r, &f));
    assert_true(r.scopes == 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_patterns),
        TEST(test_patterns_as_by_trying_everything),
        TEST(test_policies),
        TEST(test_urls),
        TEST(test_what_a_policy_grants),
        TEST(test_which_tokens_are_taken),
        TEST(test_issuer_and_audience),
        TEST(test_requests),
        TEST(test_scopes_of_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
