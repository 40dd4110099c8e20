#include "common/crypto.h"

#include <sodium.h>

enum err crypto_start(void)
{
    return sodium_init() < 0 ? ERR_INTERNAL : ERR_OK;
}

void crypto_random(void *buf, size_t len)
{
    randombytes_buf(buf, len);
}

void crypto_sha256_hex(struct str data, char ret_hex[SHA256_HEX_LEN + 1])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, (const unsigned char *)(data.ptr ? data.ptr : ""), data.len);
    sodium_bin2hex(ret_hex, SHA256_HEX_LEN + 1, hash, sizeof hash);
}

void crypto_sha256_hex_parts(const struct str *parts, size_t n, char ret_hex[SHA256_HEX_LEN + 1])
{
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    for (size_t i = 0; i < n; i++) {
        unsigned char len[8];
        for (int byte = 0; byte < 8; byte++)
            len[byte] = (unsigned char)((uint64_t)parts[i].len >> (8 * byte));
        crypto_hash_sha256_update(&state, len, sizeof len);
        if (parts[i].len > 0)
            crypto_hash_sha256_update(&state, (const unsigned char *)parts[i].ptr, parts[i].len);
    }
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(&state, hash);
    sodium_bin2hex(ret_hex, SHA256_HEX_LEN + 1, hash, sizeof hash);
}

_Static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(struct crypto_sha256), "libsodium's state fits");

void crypto_sha256_begin(struct crypto_sha256 *s)
{
    crypto_hash_sha256_init((crypto_hash_sha256_state *)(void *)s->state);
}

void crypto_sha256_add(struct crypto_sha256 *s, struct str data)
{
    if (data.len > 0)
        crypto_hash_sha256_update((crypto_hash_sha256_state *)(void *)s->state, (const unsigned char *)data.ptr,
                                  data.len);
}

void crypto_sha256_end(struct crypto_sha256 *s, char ret_hex[SHA256_HEX_LEN + 1])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final((crypto_hash_sha256_state *)(void *)s->state, hash);
    sodium_bin2hex(ret_hex, SHA256_HEX_LEN + 1, hash, sizeof hash);
}

void crypto_hmac_hex(struct str key, struct str data, char ret_hex[SHA256_HEX_LEN + 1])
{
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, (const unsigned char *)(key.ptr ? key.ptr : ""), key.len);
    if (data.len > 0)
        crypto_auth_hmacsha256_update(&state, (const unsigned char *)data.ptr, data.len);
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_final(&state, mac);
    sodium_bin2hex(ret_hex, SHA256_HEX_LEN + 1, mac, sizeof mac);
}

void crypto_token(char ret_token[44])
{
    unsigned char bytes[32];
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2base64(ret_token, 44, bytes, sizeof bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bytes, sizeof bytes);
}

bool crypto_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || sodium_memcmp(a.ptr, b.ptr, a.len) == 0);
}

void crypto_wipe(void *buf, size_t len)
{
    sodium_memzero(buf, len);
}

uint64_t crypto_uniform(uint64_t bound)
{
    if (bound == 0)
        return 0;
    /* Values under the remainder of 2^64 / bound would make the small results likelier. */
    uint64_t reject_below = (UINT64_MAX - bound + 1) % bound;
    for (;;) {
        uint64_t r;
        randombytes_buf(&r, sizeof r);
        if (r >= reject_below)
            return r % bound;
    }
}
