/* Webhooks as they are asked for: a URL that is taken is https to a host, without user info and fragment; a body that is taken says where to and of what; a secret that is taken signs. */
#include <stdlib.h>

#include "api/hook_body.h"
#include "common/webhook.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_url(struct str url)
{
    const char *why = NULL;
    if (!hook_url_valid(url, false, &why)) {
        POST(why && *why);
        hook_url_valid(url, true, &why) ? (void)0 : POST(why && *why);
        return;
    }
    POST(url.len > 8 && url.len <= LIMIT_WEBHOOK_URL && strncasecmp(url.ptr, "https:", 6) == 0);
    POST(!memchr(url.ptr, '#', url.len) && !memchr(url.ptr, ' ', url.len) && !memchr(url.ptr, '\n', url.len));
    const char *host = url.ptr + 8, *end = memchr(host, '/', url.len - 8);
    POST(!memchr(host, '@', end ? (size_t)(end - host) : url.len - 8) || memchr(host, '?', url.len - 8));
    POST(hook_url_valid(url, true, &why));
}

static void check_body(struct str text)
{
    struct arena a;
    const struct json *root;
    struct fault fault;
    struct hook_body body;
    struct str secret;
    int64_t overlap_ms;
    arena_init(&a, 4 << 20);
    if (validate_body(&a, text, &root, &fault)) {
        if (hook_body_read(&a, root, true, true, &body, &fault))
            POST(body.url.len > 0 && body.events.len > 0);
        else
            POST(fault.err != ERR_OK && (fault.detail || fault.err == ERR_NO_MEMORY));
        if (hook_rotation_read(&a, root, &secret, &overlap_ms, &fault))
            POST(overlap_ms >= 0 && overlap_ms <= LIMIT_WEBHOOK_OVERLAP_MS);
    }
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    char signature[WEBHOOK_SIGNATURE_MAX];
    if (size == 0)
        return 0;
    check_url(text);
    check_body(text);
    if (webhook_secret_valid(text))
        POST(webhook_sign(text, STR("id"), 1, text, signature) == ERR_OK);
    return 0;
}
