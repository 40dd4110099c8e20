/* A file for `errand agents import`: refused with a reason, or exactly what belongs together and within its bounds. */
#include <stdlib.h>

#include "cli/export_file.h"
#include "common/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct export_file f;
    const char *why = NULL;
    if (export_read((struct str){(const char *)data, size}, &f, &why) != ERR_OK) {
        POST(why && *why);
        return 0;
    }
    POST(f.definition.len > 0 && f.definition.len <= LIMIT_DEFINITION && f.archive.len <= size);
    POST((f.archive.len > 0) == (f.digest[0] != 0));
    if (f.archive.len > 0) {
        char hex[SHA256_HEX_LEN + 1];
        crypto_sha256_hex(strbuf_str(&f.archive), hex);
        POST(strcmp(hex, f.digest + 7) == 0 && memmem(f.definition.ptr, f.definition.len, "bundle", 6));
    }
    export_done(&f);
    return 0;
}
