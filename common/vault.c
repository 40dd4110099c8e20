#include "common/vault.h"

#include <sodium.h>

#include "common/crypto.h"

enum {
    KEYS_MAX = 16, /* the current one, and those being retired */
    NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    HEADER = 3 + VAULT_KEY_ID_LEN + 1, /* "v1.<key id>." */
};
_Static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == VAULT_KEY_BYTES, "one size of keys");
_Static_assert(NONCE == 24 && TAG == 16, "VAULT_SEALED_LEN says so");

#define KEY_PREFIX "errand_master_"

struct vault_key {
    char id[VAULT_KEY_ID_LEN + 1];
    unsigned char bytes[VAULT_KEY_BYTES];
};

/* In memory of sodium_malloc: locked, left out of core dumps, between guard pages, wiped when it is freed. */
struct vault {
    size_t count;
    struct vault_key keys[KEYS_MAX]; /* [0] seals */
};

/* ---- keys ---- */

/* 64 hexadecimal digits, or base64 of 32 bytes in either alphabet, padded or not. */
static bool parse_key(struct str text, unsigned char ret_key[VAULT_KEY_BYTES])
{
    static const int variants[] = {sodium_base64_VARIANT_URLSAFE_NO_PADDING, sodium_base64_VARIANT_ORIGINAL_NO_PADDING,
                                   sodium_base64_VARIANT_URLSAFE, sodium_base64_VARIANT_ORIGINAL};
    size_t len = 0;
    if (str_starts(text, STR(KEY_PREFIX))) {
        text.ptr += sizeof KEY_PREFIX - 1;
        text.len -= sizeof KEY_PREFIX - 1;
    }
    if (text.len == 2 * (size_t)VAULT_KEY_BYTES)
        return sodium_hex2bin(ret_key, VAULT_KEY_BYTES, text.ptr, text.len, NULL, &len, NULL) == 0 &&
               len == VAULT_KEY_BYTES;
    for (size_t i = 0; i < ARRAY_LEN(variants); i++) {
        const char *end = NULL;
        if (sodium_base642bin(ret_key, VAULT_KEY_BYTES, text.ptr, text.len, NULL, &len, &end, variants[i]) == 0 &&
            len == VAULT_KEY_BYTES && end == text.ptr + text.len)
            return true;
    }
    return false;
}

/* One byte 32 times is what is left of a key that a template never filled. */
static bool is_constant(const unsigned char key[VAULT_KEY_BYTES])
{
    unsigned char differs = 0;
    for (size_t i = 1; i < VAULT_KEY_BYTES; i++)
        differs |= (unsigned char)(key[i] ^ key[0]);
    return differs == 0;
}

/* Adds a key. NULL, or what is wrong with it. */
static const char *add_key(struct vault *v, struct str text)
{
    struct vault_key *k = &v->keys[v->count];
    char hex[SHA256_HEX_LEN + 1];
    if (!parse_key(text, k->bytes))
        return "must be 32 bytes as base64 or as 64 hexadecimal digits; `errand keygen --master` makes one";
    if (is_constant(k->bytes))
        return "is one byte 32 times, which is no key; `errand keygen --master` makes one";
    const struct str parts[] = {STR("errand master key id 1"), {(const char *)k->bytes, VAULT_KEY_BYTES}};
    crypto_sha256_hex_parts(parts, ARRAY_LEN(parts), hex);
    memcpy(k->id, hex, VAULT_KEY_ID_LEN);
    k->id[VAULT_KEY_ID_LEN] = 0;
    for (size_t i = 0; i < v->count; i++) {
        if (memcmp(v->keys[i].id, k->id, VAULT_KEY_ID_LEN) != 0)
            continue;
        /* The same one twice, as it is half way through a rotation. Two that only share the id (one chance in four billion) can't be told apart later. */
        return sodium_memcmp(v->keys[i].bytes, k->bytes, VAULT_KEY_BYTES) == 0
                   ? NULL
                   : "has the id of another; make a new one";
    }
    v->count++;
    return NULL;
}

static const char *add_keys(struct vault *v, const struct config *c, const char **ret_option)
{
    *ret_option = "master-key";
    const char *why = add_key(v, str_of(c->master_key));
    if (why)
        return why;
    *ret_option = "master-key-old";
    struct str list = str_of(c->master_key_old), word;
    while (!why && str_next_word(&list, &word))
        why = v->count < KEYS_MAX ? add_key(v, word) : "names more than 15 keys";
    return why;
}

enum err vault_new(const struct config *c, struct vault **ret_vault, struct strbuf *ret_message)
{
    const char *option = "master-key", *why;
    if (!c->master_key[0]) {
        if (c->master_key_old[0]) { /* they only open: somebody took the one for the other */
            strbuf_addz(ret_message, "master-key-old is set, but no master-key");
            return ERR_CONFIG;
        }
        *ret_vault = NULL;
        return ERR_OK;
    }
    struct vault *v = sodium_malloc(sizeof *v);
    if (!v)
        return ERR_NO_MEMORY;
    v->count = 0;
    why = add_keys(v, c, &option);
    if (why) {
        strbuf_addf(ret_message, "%s %s", option, why);
        vault_free(v);
        return ERR_CONFIG;
    }
    sodium_mprotect_readonly(v);
    *ret_vault = v;
    return ERR_OK;
}

void vault_free(struct vault *v)
{
    sodium_free(v);
}

void vault_keygen(char ret_text[VAULT_KEY_TEXT])
{
    char token[44];
    crypto_token(token);
    memcpy(ret_text, KEY_PREFIX, sizeof KEY_PREFIX - 1);
    memcpy(ret_text + sizeof KEY_PREFIX - 1, token, sizeof token);
    sodium_memzero(token, sizeof token);
}

struct str vault_key_id(const struct vault *v)
{
    return v ? (struct str){v->keys[0].id, VAULT_KEY_ID_LEN} : STR_NONE;
}

struct str vault_key_id_of(struct str sealed)
{
    if (sealed.len <= HEADER || !str_starts(sealed, STR("v1.")) || sealed.ptr[HEADER - 1] != '.')
        return STR_NONE;
    for (size_t i = 3; i < HEADER - 1; i++)
        if (!strchr("0123456789abcdef", sealed.ptr[i]) || !sealed.ptr[i])
            return STR_NONE;
    return (struct str){sealed.ptr + 3, VAULT_KEY_ID_LEN};
}

static const struct vault_key *find_key(const struct vault *v, struct str id)
{
    for (size_t i = 0; i < v->count; i++)
        if (str_eq(id, (struct str){v->keys[i].id, VAULT_KEY_ID_LEN}))
            return &v->keys[i];
    return NULL;
}

/* ---- sealing and opening ---- */

/* What is authenticated beside the text: the header (so that a seal can't be taken for another key's, or another format's), and the context. */
static void write_associated(struct strbuf *b, struct str header, struct str context)
{
    strbuf_init(b, header.len + context.len);
    strbuf_add(b, header);
    strbuf_add(b, context);
}

enum err vault_seal(const struct vault *v, struct str context, struct str plain, struct strbuf *out)
{
    if (!v)
        return ERR_NO_MASTER_KEY;
    const struct vault_key *k = &v->keys[0];
    char header[HEADER + 1] = "v1.";
    memcpy(header + 3, k->id, VAULT_KEY_ID_LEN);
    header[HEADER - 1] = '.';
    size_t raw_len = NONCE + plain.len + TAG, text_len = VAULT_SEALED_LEN(plain.len) - HEADER;
    struct strbuf associated, raw;
    write_associated(&associated, (struct str){header, HEADER}, context);
    strbuf_init(&raw, raw_len);
    unsigned char *bytes = (unsigned char *)strbuf_grow(&raw, raw_len);
    char *at = bytes && !associated.failed ? strbuf_grow(out, HEADER + text_len) : NULL;
    if (at) {
        randombytes_buf(bytes, NONCE);
        crypto_aead_xchacha20poly1305_ietf_encrypt(bytes + NONCE, NULL, (const unsigned char *)plain.ptr, plain.len,
                                                   (const unsigned char *)associated.ptr, associated.len, NULL, bytes,
                                                   k->bytes);
        memcpy(at, header, HEADER);
        sodium_bin2base64(at + HEADER, text_len + 1, bytes, raw_len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
        out->len += HEADER + text_len;
    }
    strbuf_done(&associated);
    strbuf_done(&raw);
    return at ? ERR_OK : ERR_NO_MEMORY;
}

/* Nonce, cipher text and tag as bytes. False when the text is not exactly the base64url of at least a nonce and a tag. */
static bool decode(struct str text, struct strbuf *raw)
{
    const char *end = NULL;
    size_t len = 0;
    /* libsodium 1.0.18 reads each byte from 128 on as a '_': one seal would have many texts. */
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] > 127)
            return false;
    unsigned char *bytes = (unsigned char *)strbuf_grow(raw, text.len);
    if (!bytes || sodium_base642bin(bytes, text.len, text.ptr, text.len, NULL, &len, &end,
                                    sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
        return false;
    raw->len = len;
    return end == text.ptr + text.len && len >= NONCE + TAG;
}

enum err vault_open(const struct vault *v, struct str context, struct str sealed, struct strbuf *out)
{
    struct str id = vault_key_id_of(sealed);
    if (!v)
        return ERR_NO_MASTER_KEY;
    if (id.len == 0)
        return ERR_SEAL_BROKEN;
    const struct vault_key *k = find_key(v, id);
    if (!k)
        return ERR_NO_MASTER_KEY;
    struct strbuf associated, raw;
    write_associated(&associated, (struct str){sealed.ptr, HEADER}, context);
    strbuf_init(&raw, sealed.len);
    enum err err = ERR_SEAL_BROKEN;
    if (associated.failed || !decode((struct str){sealed.ptr + HEADER, sealed.len - HEADER}, &raw)) {
        err = associated.failed || raw.failed ? ERR_NO_MEMORY : ERR_SEAL_BROKEN;
    } else {
        /* The tag is compared before anything is decrypted: on failure nothing of the text was written. */
        const unsigned char *bytes = (const unsigned char *)raw.ptr;
        size_t plain_len = raw.len - NONCE - TAG;
        char *at = strbuf_grow(out, plain_len);
        if (!at)
            err = ERR_NO_MEMORY;
        else if (crypto_aead_xchacha20poly1305_ietf_decrypt((unsigned char *)at, NULL, NULL, bytes + NONCE,
                                                            raw.len - NONCE, (const unsigned char *)associated.ptr,
                                                            associated.len, bytes, k->bytes) == 0)
            err = ERR_OK;
        out->len += err ? 0 : plain_len;
        if (at)
            out->ptr[out->len] = 0;
    }
    strbuf_done(&associated);
    strbuf_done(&raw);
    return err;
}

void vault_wipe(struct strbuf *b)
{
    if (b->ptr)
        sodium_memzero(b->ptr, b->cap);
    strbuf_done(b);
}
