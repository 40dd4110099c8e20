/* The head of a request to the filtering proxy: what is taken has a host that could be looked up, and what is sent on is one request to that host, which the same parser would find nothing behind. */
#include <stdlib.h>

#include "runner/proxy_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count(struct str in, const char *word)
{
    size_t n = 0, len = strlen(word);
    for (const char *at = in.ptr; (at = memmem(at, in.len - (size_t)(at - in.ptr), word, len)); at += len)
        n++;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const list[] = {"api.example.com", "*.example.org:8443", "[::1]", NULL};
    struct str in = {(const char *)data, size};
    struct proxy_request r;
    struct strbuf forward;
    int status = 0;
    const char *why = NULL;
    strbuf_init(&forward, PROXY_HEAD_MAX * 3);
    enum proxy_verdict v = proxy_request_parse(in, &r, &forward, &status, &why);
    POST(v != PROXY_MORE || size < PROXY_HEAD_MAX);
    POST(v != PROXY_REFUSED || (status >= 400 && status < 500 && why));
    if (v == PROXY_OK) {
        struct str out = strbuf_str(&forward);
        POST(r.host.len > 0 && r.host.len <= PROXY_HOST_MAX && r.port > 0 && r.head_len <= size && r.body_len >= 0);
        for (size_t i = 0; i < r.host.len; i++)
            POST((unsigned char)r.host.ptr[i] > ' ' && !strchr("/\\@?#[]%", r.host.ptr[i]));
        (void)proxy_allows(list, r.host, r.port);
        POST(r.connect == (out.len == 0));
        if (!r.connect) {
            POST(count(out, "\r\n\r\n") == 1 && count(out, "\r\nHost: ") == 1);
            POST(count(out, "\n") == count(out, "\r\n") && count(out, "\r") == count(out, "\r\n"));
        }
    }
    strbuf_done(&forward);
    return 0;
}
