#include "api/jwt.h"

#include "common/limits.h"

enum {
    DEPTH = 8,  /* of header and claims */
    EXPAND = 3, /* an object, its members, and the elements of a list among them */
    LEEWAY_S = 60,
    AUDIENCES = 16,
};

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool jwt_base64url(struct arena *a, struct str text, struct str *ret_bytes)
{
    if (text.len % 4 == 1)
        return false;
    char *bytes = arena_alloc(a, text.len / 4 * 3 + 3);
    size_t len = 0;
    uint32_t bits = 0;
    int held = 0;
    if (!bytes)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_of(text.ptr[i]);
        if (digit < 0)
            return false;
        bits = (bits << 6 | (uint32_t)digit) & 0xfff;
        held += 6;
        if (held >= 8) {
            held -= 8;
            bytes[len++] = (char)(bits >> held);
        }
    }
    if (bits & ((1U << held) - 1)) /* bits that say nothing: the same bytes would have a second spelling */
        return false;
    *ret_bytes = (struct str){bytes, len};
    return true;
}

static enum err refuse(const char **ret_why, const char *why)
{
    *ret_why = why;
    return ERR_INVALID_TOKEN;
}

/* Splits at the points; exactly three parts, none of them empty. */
static bool split(struct str token, struct str parts[3])
{
    size_t n = 0;
    parts[0] = (struct str){token.ptr, 0};
    for (size_t i = 0; i < token.len; i++) {
        if (token.ptr[i] != '.')
            parts[n].len++;
        else if (++n < 3)
            parts[n] = (struct str){token.ptr + i + 1, 0};
        else
            return false;
    }
    return n == 2 && parts[0].len > 0 && parts[1].len > 0 && parts[2].len > 0;
}

/* A part that is the base64url of a JSON object without repeated keys. */
static const struct json *object_of(struct arena *a, struct str part)
{
    struct str text;
    struct json *o;
    if (!jwt_base64url(a, part, &text) || json_parse(a, text, DEPTH, EXPAND, &o, NULL))
        return NULL;
    return o->type == JSON_OBJECT && !o->repeated_key ? o : NULL;
}

static bool is_text(const struct json *v, size_t max)
{
    return v && v->type == JSON_STRING && v->string.len > 0 && v->string.len <= max &&
           !memchr(v->string.ptr, 0, v->string.len);
}

static enum err read_header(const struct json *o, struct jwt *t, const char **ret_why)
{
    const struct json *alg = json_get(o, "alg"), *kid = json_get(o, "kid"), *typ = json_get(o, "typ");
    if (alg && alg->type == JSON_STRING && str_eqz(alg->string, "RS256"))
        t->alg = JWT_RS256;
    else if (alg && alg->type == JSON_STRING && str_eqz(alg->string, "ES256"))
        t->alg = JWT_ES256;
    else
        return refuse(ret_why, "its alg must be RS256 or ES256");
    if (json_get(o, "crit"))
        return refuse(ret_why, "its header has crit, and no extension is known here");
    if (kid && !is_text(kid, 256))
        return refuse(ret_why, "its kid must be a string of 1 to 256 bytes");
    /* Tokens with another use (logout+jwt, dpop+jwt, …) say so here: they are no proof of who somebody is. */
    if (typ && (typ->type != JSON_STRING || (!str_eqz(typ->string, "JWT") && !str_eqz(typ->string, "jwt"))))
        return refuse(ret_why, "its typ must be JWT");
    t->kid = kid ? kid->string : STR("");
    return ERR_OK;
}

static bool audience_valid(const struct json *aud)
{
    if (is_text(aud, LIMIT_TRUST_TEXT))
        return true;
    if (!aud || aud->type != JSON_ARRAY || aud->count == 0 || aud->count > AUDIENCES)
        return false;
    for (const struct json *e = aud->child; e; e = e->next)
        if (!is_text(e, LIMIT_TRUST_TEXT))
            return false;
    return true;
}

/* Unix seconds: an integer that is a time of this era. */
static bool take_moment(const struct json *v, int64_t *out)
{
    if (!v || v->type != JSON_INT || v->integer <= 0 || v->integer > INT64_C(100000000000))
        return false;
    *out = v->integer;
    return true;
}

static enum err read_claims(const struct json *o, struct jwt *t, const char **ret_why)
{
    const struct json *iss = json_get(o, "iss"), *sub = json_get(o, "sub"), *nbf = json_get(o, "nbf");
    if (!is_text(iss, LIMIT_TRUST_TEXT) || !is_text(sub, LIMIT_CLAIM))
        return refuse(ret_why, "iss and sub must be there, as strings");
    if (!audience_valid(json_get(o, "aud")))
        return refuse(ret_why, "aud must be there, as a string or a list of at most 16");
    if (!take_moment(json_get(o, "exp"), &t->expires_s) || !take_moment(json_get(o, "iat"), &t->issued_s))
        return refuse(ret_why, "exp and iat must be there, as whole seconds");
    if (nbf && !take_moment(nbf, &t->not_before_s))
        return refuse(ret_why, "nbf must be whole seconds");
    t->issuer = iss->string;
    t->subject = sub->string;
    t->claims = o;
    return ERR_OK;
}

enum err jwt_read(struct arena *a, struct str token, struct jwt *ret_jwt, const char **ret_why)
{
    struct jwt t = {0};
    struct str parts[3];
    if (token.len > LIMIT_TOKEN)
        return refuse(ret_why, "it is over the limit of 16,384 bytes");
    if (!split(token, parts))
        return refuse(ret_why, "it is no signed JWT: three parts with points between them");
    const struct json *header = object_of(a, parts[0]);
    if (!header)
        return refuse(ret_why, "its header is no base64url of a JSON object whose keys are each there once");
    enum err err = read_header(header, &t, ret_why);
    if (err)
        return err;
    const struct json *claims = object_of(a, parts[1]);
    if (!claims)
        return refuse(ret_why, "its claims are no base64url of a JSON object whose keys are each there once");
    err = read_claims(claims, &t, ret_why);
    if (err)
        return err;
    if (!jwt_base64url(a, parts[2], &t.signature))
        return refuse(ret_why, "its signature is no base64url");
    t.signed_text = (struct str){token.ptr, parts[0].len + 1 + parts[1].len};
    *ret_jwt = t;
    return ERR_OK;
}

enum err jwt_check_times(const struct jwt *t, int64_t now_ms, const char **ret_why)
{
    int64_t now = now_ms / 1000;
    if (now >= t->expires_s + LEEWAY_S)
        return refuse(ret_why, "it has expired");
    if (t->not_before_s > now + LEEWAY_S || t->issued_s > now + LEEWAY_S)
        return refuse(ret_why, "it is not valid yet");
    if (t->expires_s <= t->issued_s || t->expires_s - t->issued_s > LIMIT_TOKEN_AGE_MS / 1000)
        return refuse(ret_why, "it is made for longer than a day, or for no time at all");
    return ERR_OK;
}

bool jwt_is_for(const struct jwt *t, struct str audience)
{
    const struct json *aud = json_get(t->claims, "aud");
    if (aud->type == JSON_STRING)
        return str_eq(aud->string, audience);
    for (const struct json *e = aud->child; e; e = e->next)
        if (str_eq(e->string, audience))
            return true;
    return false;
}

struct str jwt_claim(const struct jwt *t, const char *name)
{
    const struct json *v = json_get(t->claims, name);
    return v && v->type == JSON_STRING ? v->string : STR_NONE;
}
