#include "api/trust.h"

#include "api/issuer.h"
#include "api/key_body.h"

enum { TTL_MIN_MS = 60000, TTL_DEFAULT_MS = 900000 };

/* With these a key that is to be short-lived could make one that is not. */
static const uint64_t never_granted = SCOPE_BIT(SCOPE_KEYS_ADMIN) | SCOPE_BIT(SCOPE_TRUST_ADMIN);

/* ---- patterns ---- */

/* One character of the text further: which places of the pattern can be reached. `*` is a place of its own, that stays; of `**` both. */
static bool stays(struct str pattern, size_t i, char c)
{
    if (i >= pattern.len || pattern.ptr[i] != '*')
        return false;
    bool twice = (i + 1 < pattern.len && pattern.ptr[i + 1] == '*') || (i > 0 && pattern.ptr[i - 1] == '*');
    return twice || (c != '/' && c != ':');
}

/* Stars match nothing too: what is reached behind them. */
static void pass_stars(struct str pattern, bool *at)
{
    for (size_t i = 0; i < pattern.len; i++)
        if (at[i] && pattern.ptr[i] == '*')
            at[i + 1] = true;
}

bool trust_glob(struct str pattern, struct str text)
{
    bool at[LIMIT_TRUST_TEXT + 1] = {true};
    if (pattern.len > LIMIT_TRUST_TEXT || text.len > LIMIT_CLAIM)
        return false;
    pass_stars(pattern, at);
    for (size_t n = 0; n < text.len; n++) {
        bool any = false;
        for (size_t i = pattern.len + 1; i-- > 0;) { /* from behind: what a place gives is taken by the next one */
            bool from_left = i > 0 && at[i - 1] && pattern.ptr[i - 1] != '*' && pattern.ptr[i - 1] == text.ptr[n];
            at[i] = (at[i] && stays(pattern, i, text.ptr[n])) || from_left;
            any = any || at[i];
        }
        if (!any)
            return false;
        pass_stars(pattern, at);
    }
    return at[pattern.len];
}

static bool matches(const struct json *wanted, struct str value)
{
    if (wanted->type == JSON_STRING)
        return trust_glob(wanted->string, value);
    for (const struct json *e = wanted->child; e; e = e->next)
        if (trust_glob(e->string, value))
            return true;
    return false;
}

bool trust_takes(const struct trust *t, const struct jwt *token)
{
    if (!str_eq(t->issuer, token->issuer) || !jwt_is_for(token, t->audience))
        return false;
    for (const struct json *m = t->claims->child; m; m = m->next) {
        const struct json *v = json_get(token->claims, m->key.ptr);
        if (!v || v->type != JSON_STRING || !matches(m, v->string))
            return false;
    }
    return t->claims->child != NULL;
}

/* ---- the fields ---- */

static bool take_text_of_policy(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || v->string.len == 0 || v->string.len > LIMIT_TRUST_TEXT ||
        memchr(v->string.ptr, 0, v->string.len))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string of 1 to %d bytes", name, LIMIT_TRUST_TEXT);
    *(struct str *)out = v->string;
    return true;
}

static bool pattern_valid(struct check *c, const struct json *claim, const struct json *v)
{
    if (v->type == JSON_STRING && v->string.len > 0 && v->string.len <= LIMIT_TRUST_TEXT &&
        !memchr(v->string.ptr, 0, v->string.len) && !memmem(v->string.ptr, v->string.len, "***", 3))
        return true;
    return refuse(c, ERR_INVALID_FIELD,
                  "claims.%.*s must be a pattern of 1 to %d bytes or a list of such; * stands for any characters but / "
                  "and :, ** for any characters",
                  (int)(claim->key.len > 64 ? 64 : claim->key.len), claim->key.ptr, LIMIT_TRUST_TEXT);
}

static bool take_claims(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const others[] = {"iss", "aud", "exp", "nbf", "iat", "jti"};
    if (v->type != JSON_OBJECT || v->repeated_key || v->count > LIMIT_TRUST_CLAIMS)
        return refuse(c, ERR_INVALID_FIELD, "%s must be an object of at most %d claims, each once", name,
                      LIMIT_TRUST_CLAIMS);
    for (const struct json *m = v->child; m; m = m->next) {
        if (m->key.len == 0 || m->key.len > 128 || memchr(m->key.ptr, 0, m->key.len))
            return refuse(c, ERR_INVALID_FIELD, "%s: a claim's name is 1 to 128 bytes without NUL", name);
        for (size_t i = 0; i < ARRAY_LEN(others); i++)
            if (str_eqz(m->key, others[i]))
                return refuse(c, ERR_INVALID_FIELD,
                              "%s.%s is nothing to match: issuer and audience are fields of the policy, times are "
                              "always checked",
                              name, others[i]);
        if (m->type != JSON_ARRAY) {
            if (!pattern_valid(c, m, m))
                return false;
            continue;
        }
        if (m->count == 0 || m->count > LIMIT_TRUST_PATTERNS)
            return refuse(c, ERR_INVALID_FIELD, "%s: a list of patterns has 1 to %d", name, LIMIT_TRUST_PATTERNS);
        for (const struct json *e = m->child; e; e = e->next)
            if (!pattern_valid(c, m, e))
                return false;
    }
    *(const struct json **)out = v;
    return true;
}

static const struct field fields[] = {
#define AT(member) offsetof(struct trust, member)
    {"issuer", take_text_of_policy, AT(issuer), 0, 0},
    {"audience", take_text_of_policy, AT(audience), 0, 0},
    {"jwksUri", take_text_of_policy, AT(jwks_uri), 0, 0},
    {"claims", take_claims, AT(claims), 0, 0},
    {"scopes", take_scopes, AT(scopes), 0, 0},
    {"agents", take_names, AT(agents), 0, 0},
    {"queues", take_names, AT(queues), 0, 0},
    {"cidrs", take_cidrs, AT(cidrs), 0, 0},
    {"ttlMs", NULL, AT(ttl_ms), TTL_MIN_MS, LIMIT_TRUST_TTL_MS},
#undef AT
};

/* ---- a policy must not take everybody's tokens ---- */

/* Issuers that sign tokens for whoever asks, and the claims that say for whom. */
static const struct {
    const char *issuer;
    const char *claims[6];
} public_issuers[] = {
    {"https://token.actions.githubusercontent.com",
     {"repository", "repository_id", "repository_owner", "repository_owner_id", "sub"}},
    {"https://gitlab.com", {"project_path", "project_id", "namespace_path", "namespace_id", "sub"}},
    {"https://agent.buildkite.com", {"organization_slug", "organization_id", "sub"}},
    {"https://accounts.google.com", {"sub", "email", "hd"}},
};

/* Whether a pattern says whose it is: it has no star, or none before the first '/' (`example/ *`, `repo:example/ **`). strict: as is needed where everybody has tokens. */
static bool pattern_binds(struct str p, bool strict)
{
    size_t literal = 0;
    if (!strict) {
        while (literal < p.len && p.ptr[literal] == '*')
            literal++;
        return literal < p.len;
    }
    while (literal < p.len && p.ptr[literal] != '*')
        literal++;
    const char *slash = memchr(p.ptr, '/', literal);
    return literal == p.len || (slash && slash > p.ptr && slash[-1] != ':');
}

static bool claim_binds(const struct json *claim, bool strict)
{
    if (!claim)
        return false;
    if (claim->type == JSON_STRING)
        return pattern_binds(claim->string, strict);
    for (const struct json *e = claim->child; e; e = e->next)
        if (!pattern_binds(e->string, strict))
            return false;
    return true;
}

static bool check_bound(struct check *c, const struct trust *t)
{
    for (size_t i = 0; i < ARRAY_LEN(public_issuers); i++) {
        struct str known = str_of(public_issuers[i].issuer);
        if (!str_starts(t->issuer, known) || (t->issuer.len > known.len && t->issuer.ptr[known.len] != '/'))
            continue;
        const char *const *names = public_issuers[i].claims;
        for (size_t n = 0; names[n]; n++)
            if (claim_binds(json_get(t->claims, names[n]), true))
                return true;
        return refuse(
            c, ERR_INVALID_FIELD,
            "claims: %s signs tokens for everybody; say whose are taken by %s, %s or %s, without * before its "
            "first /",
            public_issuers[i].issuer, names[0], names[1], names[2]);
    }
    for (const struct json *m = t->claims ? t->claims->child : NULL; m; m = m->next)
        if (claim_binds(m, false))
            return true;
    return refuse(c, ERR_INVALID_FIELD,
                  "claims must name at least one claim besides issuer and audience, with more than stars: else every "
                  "token of that issuer is taken");
}

static bool check_url(struct check *c, const char *name, struct str url, bool allow_http)
{
    bool ok = issuer_origin(url).len > 0 && (allow_http || str_starts(url, STR("https://")));
    return ok || refuse(c, ERR_INVALID_FIELD, "%s must be an https:// URL without user info or fragment", name);
}

bool trust_read(struct arena *a, const struct json *root, bool allow_http, struct trust *ret_trust,
                struct fault *ret_fault)
{
    struct trust t = {.jwks_uri = STR(""), .ttl_ms = TTL_DEFAULT_MS};
    struct check c = {a, "", ret_fault};
    if (root->type != JSON_OBJECT)
        return refuse(&c, ERR_INVALID_FIELD, "a trust policy must be an object");
    if (!take_object(&c, root, fields, ARRAY_LEN(fields), &t))
        return false;
    if (t.issuer.len == 0 || t.audience.len == 0 || t.scopes == 0)
        return refuse(&c, ERR_MISSING_FIELD, "%s is required",
                      t.issuer.len == 0     ? "issuer"
                      : t.audience.len == 0 ? "audience"
                                            : "scopes");
    for (unsigned i = 0; i < SCOPE_COUNT; i++)
        if (t.scopes & never_granted & SCOPE_BIT(i))
            return refuse(&c, ERR_INVALID_FIELD,
                          "scopes: %s is not granted to a token: its key could make others that live longer",
                          scope_word((enum scope)i));
    if (!check_url(&c, "issuer", t.issuer, allow_http) ||
        (t.jwks_uri.len > 0 && !check_url(&c, "jwksUri", t.jwks_uri, allow_http)) || !check_bound(&c, &t))
        return false;
    if (memchr(t.issuer.ptr, '?', t.issuer.len))
        return refuse(&c, ERR_INVALID_FIELD, "issuer must be a URL without a query");
    *ret_trust = t;
    return true;
}
