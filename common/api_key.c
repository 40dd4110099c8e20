#include "common/api_key.h"

#include <stdio.h>
#include <stdlib.h>

#define PREFIX "errand_"
static const char base62[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

static void random_text(char *at, size_t len, uint64_t alphabet)
{
    for (size_t i = 0; i < len; i++)
        at[i] = base62[crypto_uniform(alphabet)];
}

/* 32 bits of the SHA-256 of all before it, in base62. */
static void checksum(struct str body, char ret_sum[API_KEY_SUM_LEN])
{
    char hex[SHA256_HEX_LEN + 1], head[9] = {0};
    crypto_sha256_hex(body, hex);
    memcpy(head, hex, 8);
    unsigned long n = strtoul(head, NULL, 16);
    for (int i = API_KEY_SUM_LEN - 1; i >= 0; i--, n /= 62)
        ret_sum[i] = base62[n % 62];
}

void api_key_make(struct str id, struct api_key *ret_key)
{
    char secret[API_KEY_SECRET_LEN];
    PRE(id.len == 0 || api_key_id_valid(id));
    random_text(ret_key->id, API_KEY_ID_LEN, 36);
    ret_key->id[API_KEY_ID_LEN] = 0;
    if (id.len > 0)
        snprintf(ret_key->id, sizeof ret_key->id, "%.*s", STR_ARG(id));
    random_text(secret, sizeof secret, 62);
    int len = snprintf(ret_key->text, sizeof ret_key->text, PREFIX "%s_%.*s", ret_key->id, API_KEY_SECRET_LEN, secret);
    checksum((struct str){ret_key->text, (size_t)len}, ret_key->text + len);
    ret_key->text[API_KEY_LEN] = 0;
    crypto_sha256_hex((struct str){secret, sizeof secret}, ret_key->hash);
    crypto_wipe(secret, sizeof secret);
}

bool api_key_looks_like(struct str text)
{
    return str_starts(text, STR(PREFIX));
}

bool api_key_id_valid(struct str id)
{
    if (id.len != API_KEY_ID_LEN)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!((id.ptr[i] >= '0' && id.ptr[i] <= '9') || (id.ptr[i] >= 'a' && id.ptr[i] <= 'z')))
            return false;
    return true;
}

static bool is_base62(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool api_key_parse(struct str text, struct str *ret_id, struct str *ret_secret)
{
    const size_t id_at = sizeof PREFIX - 1, secret_at = id_at + API_KEY_ID_LEN + 1,
                 sum_at = secret_at + API_KEY_SECRET_LEN;
    char sum[API_KEY_SUM_LEN];
    if (text.len != API_KEY_LEN || !api_key_looks_like(text) || text.ptr[secret_at - 1] != '_')
        return false;
    struct str id = {text.ptr + id_at, API_KEY_ID_LEN}, secret = {text.ptr + secret_at, API_KEY_SECRET_LEN};
    if (!api_key_id_valid(id))
        return false;
    for (size_t i = 0; i < secret.len; i++)
        if (!is_base62(secret.ptr[i]))
            return false;
    checksum((struct str){text.ptr, sum_at}, sum);
    if (memcmp(sum, text.ptr + sum_at, sizeof sum) != 0) /* no secret: anybody can compute it */
        return false;
    *ret_id = id;
    *ret_secret = secret;
    return true;
}
