/* The vault: seals what is kept in Redis and must not be read there (secrets, keys of webhooks), under a master key that Redis never sees. XChaCha20-Poly1305, a random nonce for each seal; the
 * context (what the text is: whose, which name, which version) is authenticated with it, so that a sealed text that was changed, or put in another's place, does not open.
 * One key seals, older ones only open. Keys live in locked memory of their own. Never blocks; every function takes a NULL vault, and answers ERR_NO_MASTER_KEY. */
#ifndef ERRAND_COMMON_VAULT_H
#define ERRAND_COMMON_VAULT_H

#include "common/config.h"
#include "common/strbuf.h"

struct vault;

enum {
    VAULT_KEY_ID_LEN = 8,
    VAULT_KEY_BYTES = 32,
    /* Bytes of `errand_master_` and the key as base64url, NUL included. */
    VAULT_KEY_TEXT = 64,
};
/* How long the sealed form of `plain` bytes is: "v1.", the key's id, ".", base64url of nonce, cipher text and tag. */
#define VAULT_SEALED_LEN(plain) (3 + VAULT_KEY_ID_LEN + 1 + (((size_t)(plain) + 24 + 16) * 4 + 2) / 3)

/* From the options master-key and master-key-old. Without a master key: ERR_OK, and *ret_vault = NULL. ERR_CONFIG with a sentence (never a key's text), or ERR_NO_MEMORY. */
MUST_CHECK enum err vault_new(const struct config *c, struct vault **ret_vault, struct strbuf *ret_message);
void vault_free(struct vault *v);
/* Appends the sealed text: printable ASCII. ERR_NO_MASTER_KEY; ERR_NO_MEMORY when it does not fit out. */
MUST_CHECK enum err vault_seal(const struct vault *v, struct str context, struct str plain, struct strbuf *out);
/* Appends the plain text, once, in one piece; the caller ends it with vault_wipe. ERR_NO_MASTER_KEY: sealed under a key that this process was not given. ERR_SEAL_BROKEN: no sealed text, or changed, or of
 * another context; out is as it was. ERR_NO_MEMORY when it does not fit. */
MUST_CHECK enum err vault_open(const struct vault *v, struct str context, struct str sealed, struct strbuf *out);
/* The id of the key that seals; empty for a NULL vault. Lives as long as the vault. Says nothing about the key. */
struct str vault_key_id(const struct vault *v);
/* The id of the key that a text is sealed under, borrowed from it; empty when it is no sealed text. */
struct str vault_key_id_of(struct str sealed);
/* Overwrites what the buffer holds, and frees it. */
void vault_wipe(struct strbuf *b);
/* A new master key as options take it, NUL-terminated. */
void vault_keygen(char ret_text[VAULT_KEY_TEXT]);

#endif
