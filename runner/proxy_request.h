/* What a sandboxed agent asks the filtering proxy for: the head of one HTTP/1.x proxy request, and whether an allowlist lets it through. Pure: bytes in, a verdict out; never blocks, keeps nothing.
 *
 * One request a connection: what is sent on is written anew (the host comes from the request's target, whatever its Host header says), its body has exactly the announced length, and nothing behind it is read. So there is
 * no second request to smuggle past the allowlist. */
#ifndef ERRAND_RUNNER_PROXY_REQUEST_H
#define ERRAND_RUNNER_PROXY_REQUEST_H

#include "common/strbuf.h"

enum { PROXY_HEAD_MAX = 16384, PROXY_HOST_MAX = 253 };

enum proxy_verdict { PROXY_MORE, PROXY_OK, PROXY_REFUSED };

struct proxy_request {
    bool connect;    /* CONNECT: a tunnel; else a plain request that is sent on */
    struct str host; /* as asked for, without brackets and final dot; borrowed */
    uint16_t port;
    size_t head_len;  /* bytes of the head, its empty line included */
    int64_t body_len; /* bytes that follow it; a tunnel has none */
};

/* Looks for a whole head at the front of `in`. PROXY_REFUSED: ret_status is an HTTP status and ret_why a static sentence. forward: where the head of a plain request is appended as it is to be sent on; PROXY_REFUSED with 431 when it does not fit. */
enum proxy_verdict proxy_request_parse(struct str in, struct proxy_request *ret, struct strbuf *forward,
                                       int *ret_status, const char **ret_why);

/* Whether one of the entries, NULL-terminated, names this host and port: `api.example.com`, `*.example.com` (what is below it, not itself), an address, `[v6]`, each with `:port` or else for 443 and 80. ASCII letters' case
 * does not matter; what is no such entry matches nothing. */
bool proxy_allows(const char *const *entries, struct str host, uint16_t port);

#endif
