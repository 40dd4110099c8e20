/* What strangers may send to be exchanged for a key: requests as JSON and as a form, tokens, key sets, and the policies that they meet. What is accepted keeps its promises; nothing verifies with a key of its own. */
#include <stdlib.h>

#include "api/issuer.h"
#include "api/token_request.h"
#include "api/trust.h"
#include "common/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char policy_text[] =
    "{\"issuer\":\"https://issuer.example.com\",\"audience\":\"errand\",\"claims\":{\"sub\":[\"repo:example/*:ref:**\","
    "\"a**b*c\"],\"ref\":\"refs/heads/*\"},\"scopes\":[\"runs:create\"]}";

static void check_token(struct arena *a, struct str text, const struct jwks *keys)
{
    struct jwt t;
    const char *why = NULL;
    const struct json *root;
    struct fault fault;
    struct trust policy;
    enum err err = jwt_read(a, text, &t, &why);
    POST(err == ERR_OK || err == ERR_NO_MEMORY || why != NULL);
    if (err)
        return;
    POST(text.len <= LIMIT_TOKEN && t.claims && !t.claims->repeated_key && t.signed_text.ptr == text.ptr &&
         t.signed_text.len < text.len && t.issuer.len > 0 && t.subject.len > 0 && t.expires_s > 0 && t.issued_s > 0);
    if (jwt_check_times(&t, t.issued_s * 1000, &why) == ERR_OK)
        POST(t.expires_s > t.issued_s && t.expires_s - t.issued_s <= LIMIT_TOKEN_AGE_MS / 1000);
    POST(!jwks_verify(keys, &t)); /* the one key's private half is nowhere */
    PRE(validate_body(a, (struct str){policy_text, sizeof policy_text - 1}, &root, &fault) &&
        trust_read(a, root, false, &policy, &fault));
    if (trust_takes(&policy, &t))
        POST(str_eqz(t.issuer, "https://issuer.example.com") && jwt_is_for(&t, STR("errand")) &&
             str_starts(jwt_claim(&t, "ref"), STR("refs/heads/")));
}

static void check_policy(struct arena *a, struct str text)
{
    const struct json *root;
    struct fault fault = {ERR_OK, NULL};
    struct trust t;
    if (!validate_body(a, text, &root, &fault))
        return;
    if (!trust_read(a, root, false, &t, &fault)) {
        POST(fault.err != ERR_OK && (fault.detail || fault.err == ERR_NO_MEMORY));
        return;
    }
    POST(t.issuer.len > 0 && t.audience.len > 0 && t.claims->child && t.scopes && t.ttl_ms <= LIMIT_TRUST_TTL_MS);
    POST(issuer_origin(t.issuer).len > 0 && str_starts(t.issuer, STR("https://")));
}

/* Each rest of the text is a pattern for the whole of it: one that ends with what stands there. */
static void check_glob(struct str text)
{
    if (text.len < 2 || text.len > LIMIT_TRUST_TEXT)
        return;
    size_t half = text.len / 2;
    struct str pattern = {text.ptr, half}, rest = {text.ptr + half, text.len - half};
    bool stars = memchr(text.ptr, '*', half) != NULL;
    POST(trust_glob(pattern, pattern) || stars); /* without stars a pattern matches itself, and nothing else */
    POST(stars || trust_glob(pattern, rest) == str_eq(pattern, rest));
    POST(trust_glob(STR("**"), rest));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char set[] =
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":"
        "\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}]}";
    struct jwks *keys, *theirs;
    struct token_request request;
    struct fault fault;
    struct arena a;
    struct str bytes;
    const char *why;
    char *text = malloc(size ? size : 1);
    PRE(text != NULL);
    memcpy(text, data, size);
    struct str all = {text, size};
    arena_init(&a, 64U << 20);
    PRE(jwks_read((struct str){set, sizeof set - 1}, &keys, &why) == ERR_OK);
    check_token(&a, all, keys);
    check_policy(&a, all);
    check_glob(all);
    if (token_request_read(&a, STR(""), all, &request, &fault) ||
        token_request_read(&a, STR("application/x-www-form-urlencoded"), all, &request, &fault)) {
        POST(request.token.len > 0 && request.workspace.len > 0 && request.workspace.len <= LIMIT_NAME);
        check_token(&a, request.token, keys);
    }
    if (jwks_read(all, &theirs, &why) == ERR_OK) {
        POST(jwks_count(theirs) > 0 && jwks_count(theirs) <= LIMIT_JWKS_KEYS);
        jwks_free(theirs);
    }
    if (jwt_base64url(&a, all, &bytes))
        POST(bytes.len == size * 6 / 8);
    jwks_free(keys);
    arena_done(&a);
    free(text);
    return 0;
}
