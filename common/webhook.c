#include "common/webhook.h"

#include <sodium.h>
#include <stdio.h>

#define PREFIX STR("whsec_")

/* In units of the first wait. Together 17,077 of them, 23 h 43 min where that is 5 s: what comes behind an attempt that took its time still fits. */
static const int64_t waits[WEBHOOK_ATTEMPTS - 1] = {1, 12, 60, 360, 1440, 3600, 11520};
#define WINDOW 17280 /* 24 h */

void webhook_secret_new(char ret_secret[WEBHOOK_SECRET_MAX])
{
    unsigned char key[32];
    randombytes_buf(key, sizeof key);
    memcpy(ret_secret, PREFIX.ptr, PREFIX.len);
    sodium_bin2base64(ret_secret + PREFIX.len, WEBHOOK_SECRET_MAX - PREFIX.len, key, sizeof key,
                      sodium_base64_VARIANT_ORIGINAL);
    sodium_memzero(key, sizeof key);
}

static bool key_of(struct str secret, unsigned char ret_key[WEBHOOK_KEY_MAX], size_t *ret_len)
{
    if (!str_starts(secret, PREFIX) || secret.len >= WEBHOOK_SECRET_MAX)
        return false;
    return sodium_base642bin(ret_key, WEBHOOK_KEY_MAX, secret.ptr + PREFIX.len, secret.len - PREFIX.len, NULL, ret_len,
                             NULL, sodium_base64_VARIANT_ORIGINAL) == 0 &&
           *ret_len >= WEBHOOK_KEY_MIN;
}

bool webhook_secret_valid(struct str secret)
{
    unsigned char key[WEBHOOK_KEY_MAX];
    size_t len = 0;
    bool ok = key_of(secret, key, &len);
    sodium_memzero(key, sizeof key);
    return ok;
}

enum err webhook_sign(struct str secret, struct str id, int64_t timestamp, struct str body,
                      char ret_signature[WEBHOOK_SIGNATURE_MAX])
{
    unsigned char key[WEBHOOK_KEY_MAX], mac[crypto_auth_hmacsha256_BYTES];
    size_t len = 0;
    char middle[32];
    if (!key_of(secret, key, &len)) {
        sodium_memzero(key, sizeof key);
        return ERR_INVALID_FIELD;
    }
    int middle_len = snprintf(middle, sizeof middle, ".%lld.", (long long)timestamp);
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, key, len);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)id.ptr, id.len);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)middle, (unsigned long long)middle_len);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)(body.len ? body.ptr : ""), body.len);
    crypto_auth_hmacsha256_final(&state, mac);
    sodium_memzero(key, sizeof key);
    sodium_memzero(&state, sizeof state);
    snprintf(ret_signature, WEBHOOK_SIGNATURE_MAX, "v1,");
    sodium_bin2base64(ret_signature + 3, WEBHOOK_SIGNATURE_MAX - 3, mac, sizeof mac, sodium_base64_VARIANT_ORIGINAL);
    return ERR_OK;
}

int64_t webhook_retry_ms(int64_t tries, int64_t base_ms, int64_t age_ms, int64_t retry_after_s, uint32_t dice)
{
    int64_t left = WINDOW * base_ms - age_ms;
    if (tries < 1 || tries >= WEBHOOK_ATTEMPTS || left <= 0)
        return -1;
    int64_t wait = waits[tries - 1] * base_ms, fifth = wait / 5;
    wait -= fifth > 0 ? (int64_t)(dice % ((uint64_t)fifth + 1)) : 0;
    if (retry_after_s >= 0 && retry_after_s * 1000 > wait)
        wait = retry_after_s * 1000;
    return wait < left ? wait : left;
}
