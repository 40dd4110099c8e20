#include "api/jwk.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdlib.h>

#include "common/limits.h"

enum {
    DEPTH = 16,
    EXPAND = 5, /* the set, its list, the keys, their members, and the elements of key_ops */
    RSA_BITS_MIN = 2048,
    RSA_BITS_MAX = 8192,
    COORDINATE = 32, /* bytes of a number of P-256 */
    DER_MAX = 80,    /* a signature of P-256 in DER */
    KID_MAX = 256,
};

struct jwk {
    enum jwt_alg alg;
    char *kid; /* "" when it has none */
    EVP_PKEY *key;
};

struct jwks {
    size_t count;
    struct jwk keys[];
};

/* ---- reading ---- */

static struct str text_of(const struct json *o, const char *name)
{
    const struct json *v = json_get(o, name);
    return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

/* Absent, or that very text. */
static bool says_nothing_else(const struct json *o, const char *name, const char *wanted)
{
    const struct json *v = json_get(o, name);
    return !v || (v->type == JSON_STRING && str_eqz(v->string, wanted));
}

static bool may_verify(const struct json *o)
{
    const struct json *ops = json_get(o, "key_ops");
    if (!says_nothing_else(o, "use", "sig") || (ops && ops->type != JSON_ARRAY))
        return false;
    bool found = !ops;
    for (const struct json *e = ops ? ops->child : NULL; e && !found; e = e->next)
        found = e->type == JSON_STRING && str_eqz(e->string, "verify");
    return found;
}

static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

/* Bounds on a number that was sent: whole bytes, the first of them not 0 (RFC 7518 wants the shortest form). */
static bool number_within(struct str bytes, size_t max)
{
    return bytes.len > 0 && bytes.len <= max && bytes.ptr[0] != 0;
}

static bool exponent_sane(const BIGNUM *e)
{
    return BN_is_odd(e) && BN_num_bits(e) <= 32 && BN_get_word(e) >= 65537;
}

static EVP_PKEY *rsa_key(struct arena *a, const struct json *o)
{
    struct str n, e;
    EVP_PKEY *key = NULL;
    if (!jwt_base64url(a, text_of(o, "n"), &n) || !jwt_base64url(a, text_of(o, "e"), &e) ||
        !number_within(n, RSA_BITS_MAX / 8) || !number_within(e, 4))
        return NULL;
    BIGNUM *modulus = BN_bin2bn((const unsigned char *)n.ptr, (int)n.len, NULL);
    BIGNUM *exponent = BN_bin2bn((const unsigned char *)e.ptr, (int)e.len, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (modulus && exponent && build && BN_num_bits(modulus) >= RSA_BITS_MIN && BN_is_odd(modulus) &&
        exponent_sane(exponent) && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
        key = make_key("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(modulus);
    BN_free(exponent);
    return key;
}

/* OpenSSL takes no point that is not on the curve. */
static EVP_PKEY *ec_key(struct arena *a, const struct json *o)
{
    struct str x, y;
    EVP_PKEY *key = NULL;
    unsigned char point[1 + 2 * COORDINATE] = {4};
    if (!str_eqz(text_of(o, "crv"), "P-256") || !jwt_base64url(a, text_of(o, "x"), &x) ||
        !jwt_base64url(a, text_of(o, "y"), &y) || x.len != COORDINATE || y.len != COORDINATE)
        return NULL;
    memcpy(point + 1, x.ptr, COORDINATE);
    memcpy(point + 1 + COORDINATE, y.ptr, COORDINATE);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (build && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point) == 1)
        key = make_key("EC", build);
    OSSL_PARAM_BLD_free(build);
    return key;
}

/* False when it is none that a token may be signed with. */
static bool read_key(struct arena *a, const struct json *o, struct jwk *out)
{
    const struct json *kid = json_get(o, "kid");
    if (o->type != JSON_OBJECT || o->repeated_key || !may_verify(o) ||
        (kid && (kid->type != JSON_STRING || kid->string.len > KID_MAX || memchr(kid->string.ptr, 0, kid->string.len))))
        return false;
    struct str kty = text_of(o, "kty");
    *out = (struct jwk){.alg = str_eqz(kty, "EC") ? JWT_ES256 : JWT_RS256};
    if (str_eqz(kty, "RSA") && says_nothing_else(o, "alg", "RS256"))
        out->key = rsa_key(a, o);
    else if (str_eqz(kty, "EC") && says_nothing_else(o, "alg", "ES256"))
        out->key = ec_key(a, o);
    out->kid = out->key ? strdup(kid ? kid->string.ptr : "") : NULL;
    if (!out->kid)
        EVP_PKEY_free(out->key);
    return out->kid != NULL;
}

static enum err read_set(struct arena *a, struct str text, struct jwks **ret_keys, const char **ret_why)
{
    struct json *root;
    *ret_why = "the key set is too large";
    if (text.len > LIMIT_JWKS)
        return ERR_INVALID_JSON;
    *ret_why = "the key set is not valid JSON";
    enum err err = json_parse(a, text, DEPTH, EXPAND, &root, NULL);
    if (err)
        return err;
    const struct json *list = json_get(root, "keys");
    *ret_why = "the key set has no list of keys, or too many";
    if (root->repeated_key || !list || list->type != JSON_ARRAY || list->count > LIMIT_JWKS_KEYS)
        return ERR_INVALID_JSON;
    struct jwks *k = calloc(1, sizeof *k + list->count * sizeof k->keys[0]);
    if (!k)
        return ERR_NO_MEMORY;
    for (const struct json *o = list->child; o; o = o->next)
        k->count += read_key(a, o, &k->keys[k->count]);
    *ret_why = "the key set has no key for RS256 or ES256";
    if (k->count == 0) {
        jwks_free(k);
        return ERR_INVALID_JSON;
    }
    *ret_keys = k;
    return ERR_OK;
}

enum err jwks_read(struct str text, struct jwks **ret_keys, const char **ret_why)
{
    struct arena a;
    arena_init(&a, 16U << 20);
    enum err err = read_set(&a, text, ret_keys, ret_why);
    arena_done(&a);
    ERR_clear_error(); /* TLS of this thread would take what is left of a refused key for its own */
    return err;
}

void jwks_free(struct jwks *k)
{
    for (size_t i = 0; k && i < k->count; i++) {
        EVP_PKEY_free(k->keys[i].key);
        free(k->keys[i].kid);
    }
    free(k);
}

size_t jwks_count(const struct jwks *k)
{
    return k->count;
}

/* ---- verifying ---- */

static const struct jwk *key_of(const struct jwks *k, const struct jwt *t)
{
    const struct jwk *found = NULL;
    for (size_t i = 0; k && i < k->count; i++) {
        const struct jwk *key = &k->keys[i];
        if (key->alg != t->alg || (t->kid.len > 0 && !str_eqz(t->kid, key->kid)))
            continue;
        if (found) /* which of them is meant can't be told */
            return NULL;
        found = key;
    }
    return found;
}

bool jwks_has(const struct jwks *k, const struct jwt *t)
{
    return key_of(k, t) != NULL;
}

static bool verify(EVP_PKEY *key, struct str text, const unsigned char *signature, size_t len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", NULL, NULL, key, NULL) == 1 &&
              EVP_DigestVerify(ctx, signature, len, (const unsigned char *)text.ptr, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

/* JWS has r and s one behind the other, 32 bytes each; OpenSSL wants them in DER. */
static bool verify_es256(EVP_PKEY *key, const struct jwt *t)
{
    unsigned char der[DER_MAX], *at = der;
    if (t->signature.len != 2 * COORDINATE)
        return false;
    const unsigned char *raw = (const unsigned char *)t->signature.ptr;
    BIGNUM *r = BN_bin2bn(raw, COORDINATE, NULL), *s = BN_bin2bn(raw + COORDINATE, COORDINATE, NULL);
    ECDSA_SIG *sig = ECDSA_SIG_new();
    if (!r || !s || !sig || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return false;
    }
    int len = i2d_ECDSA_SIG(sig, NULL);
    bool ok =
        len > 0 && len <= DER_MAX && i2d_ECDSA_SIG(sig, &at) == len && verify(key, t->signed_text, der, (size_t)len);
    ECDSA_SIG_free(sig);
    return ok;
}

bool jwks_verify(const struct jwks *k, const struct jwt *t)
{
    const struct jwk *key = key_of(k, t);
    bool ok = false;
    if (key && t->alg == JWT_ES256)
        ok = verify_es256(key->key, t);
    else if (key && (int)t->signature.len == EVP_PKEY_get_size(key->key))
        ok = verify(key->key, t->signed_text, (const unsigned char *)t->signature.ptr, t->signature.len);
    ERR_clear_error();
    return ok;
}
