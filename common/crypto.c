#include "common/crypto.h"

/* SHA-256 is OpenSSL's, which uses what the CPU has for it: a quarter of libsodium's time. Its plain functions, because EVP's contexts would have to be allocated, copied and freed. */
#define OPENSSL_API_COMPAT 0x10100000L
#include <openssl/sha.h>
#include <sodium.h>

enum err crypto_start(void)
{
    return sodium_init() < 0 ? ERR_INTERNAL : ERR_OK;
}

void crypto_random(void *buf, size_t len)
{
    randombytes_buf(buf, len);
}

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct crypto_sha256), "the state fits");
enum { BLOCK = SHA256_CBLOCK };

static SHA256_CTX *state_of(struct crypto_sha256 *s)
{
    return (SHA256_CTX *)(void *)s->state;
}

static void end(struct crypto_sha256 *s, unsigned char hash[SHA256_DIGEST_LENGTH])
{
    PRE(SHA256_Final(hash, state_of(s)) == 1);
}

static void write_hex(const unsigned char hash[SHA256_DIGEST_LENGTH], char ret_hex[SHA256_HEX_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        ret_hex[2 * i] = digits[hash[i] >> 4];
        ret_hex[2 * i + 1] = digits[hash[i] & 15];
    }
    ret_hex[SHA256_HEX_LEN] = 0;
}

void crypto_sha256_begin(struct crypto_sha256 *s)
{
    PRE(SHA256_Init(state_of(s)) == 1);
}

void crypto_sha256_add(struct crypto_sha256 *s, struct str data)
{
    if (data.len > 0)
        PRE(SHA256_Update(state_of(s), data.ptr, data.len) == 1);
}

void crypto_sha256_end(struct crypto_sha256 *s, char ret_hex[SHA256_HEX_LEN + 1])
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    end(s, hash);
    write_hex(hash, ret_hex);
}

void crypto_sha256_hex(struct str data, char ret_hex[SHA256_HEX_LEN + 1])
{
    struct crypto_sha256 s;
    crypto_sha256_begin(&s);
    crypto_sha256_add(&s, data);
    crypto_sha256_end(&s, ret_hex);
}

void crypto_sha256_hex_parts(const struct str *parts, size_t n, char ret_hex[SHA256_HEX_LEN + 1])
{
    struct crypto_sha256 s;
    crypto_sha256_begin(&s);
    for (size_t i = 0; i < n; i++) {
        char len[8];
        for (int byte = 0; byte < 8; byte++)
            len[byte] = (char)(unsigned char)((uint64_t)parts[i].len >> (8 * byte));
        crypto_sha256_add(&s, (struct str){len, sizeof len});
        crypto_sha256_add(&s, parts[i]);
    }
    crypto_sha256_end(&s, ret_hex);
}

/* RFC 2104. */
void crypto_hmac_hex(struct str key, struct str data, char ret_hex[SHA256_HEX_LEN + 1])
{
    unsigned char pad[BLOCK] = {0}, hash[SHA256_DIGEST_LENGTH];
    struct crypto_sha256 s;
    if (key.len > BLOCK) {
        crypto_sha256_begin(&s);
        crypto_sha256_add(&s, key);
        end(&s, pad);
    } else if (key.len > 0) {
        memcpy(pad, key.ptr, key.len);
    }
    for (size_t i = 0; i < BLOCK; i++)
        pad[i] ^= 0x36;
    crypto_sha256_begin(&s);
    crypto_sha256_add(&s, (struct str){(const char *)pad, BLOCK});
    crypto_sha256_add(&s, data);
    end(&s, hash);
    for (size_t i = 0; i < BLOCK; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    crypto_sha256_begin(&s);
    crypto_sha256_add(&s, (struct str){(const char *)pad, BLOCK});
    crypto_sha256_add(&s, (struct str){(const char *)hash, sizeof hash});
    crypto_sha256_end(&s, ret_hex);
    sodium_memzero(pad, sizeof pad);
    sodium_memzero(&s, sizeof s);
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
