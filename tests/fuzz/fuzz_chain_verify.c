/* Exports of audit logs, as files that anybody wrote: each line is taken or refused, a refusal says why and stays, and nothing is verified that has no beginning and no end. */
#include "cli/chain_verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct chain_verify v;
    char head[CHAIN_HEAD_MAX + 1];
    struct str rest = {(const char *)data, size};
    bool fits = true;
    if (crypto_start() || !chain_verify_init(&v, NULL))
        return 0;
    while (rest.len > 0) {
        const char *newline = memchr(rest.ptr, '\n', rest.len);
        size_t n = newline ? (size_t)(newline - rest.ptr) : rest.len;
        bool line_fits = chain_verify_line(&v, (struct str){rest.ptr, n});
        POST(fits || !line_fits);
        POST(line_fits == !v.why[0]);
        fits = line_fits;
        n += newline ? 1 : 0;
        rest.ptr += n;
        rest.len -= n;
    }
    bool whole = chain_verify_end(&v);
    POST(!whole || (fits && v.begun && v.ended));
    POST(whole == !v.why[0]);
    chain_verify_head(&v, head);
    POST(strlen(head) <= CHAIN_HEAD_MAX);
    return 0;
}
