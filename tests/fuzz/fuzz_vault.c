/* Sealed texts as Redis may give them: none but what was sealed opens, and what does not open gives nothing. */
#include <stdio.h>
#include <stdlib.h>

#include "common/crypto.h"
#include "common/secret.h"
#include "common/vault.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vault *make(void)
{
    static const struct config c = {.master_key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddee01",
                                    .master_key_old = ""};
    struct vault *v = NULL;
    struct strbuf msg;
    strbuf_init(&msg, 100);
    PRE(crypto_start() == ERR_OK && vault_new(&c, &v, &msg) == ERR_OK && v);
    strbuf_done(&msg);
    return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vault *v = make();
    struct str text = {(const char *)data, size}, name;
    struct strbuf sealed, out;
    int64_t version;
    strbuf_init(&sealed, VAULT_SEALED_LEN(size));
    strbuf_init(&out, size + 1);
    /* As a sealed text it is a forgery. */
    POST(vault_open(v, STR("fuzz"), text, &out) != ERR_OK && out.len == 0);
    /* As a plain text it comes back. */
    POST(vault_seal(v, STR("fuzz"), text, &sealed) == ERR_OK && sealed.len == VAULT_SEALED_LEN(size));
    POST(vault_open(v, STR("fuzz"), strbuf_str(&sealed), &out) == ERR_OK && str_eq(strbuf_str(&out), text));
    vault_wipe(&out);
    /* Written over a part of a sealed text, it is seen, unless it is what was there. */
    size_t n = size < sealed.len ? size : sealed.len;
    bool same = n == 0 || memcmp(sealed.ptr + sealed.len - n, data, n) == 0;
    if (n > 0)
        memcpy(sealed.ptr + sealed.len - n, data, n);
    strbuf_init(&out, size + 1);
    POST(same || (vault_open(v, STR("fuzz"), strbuf_str(&sealed), &out) != ERR_OK && out.len == 0));
    (void)!secret_ref_parse(text, &name, &version);
    vault_wipe(&out);
    strbuf_done(&sealed);
    vault_free(v);
    return 0;
}
