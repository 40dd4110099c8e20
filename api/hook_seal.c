#include "api/hook_seal.h"

#include <stdio.h>

#include "common/limits.h"

enum { CONTEXT_MAX = 2 * LIMIT_NAME + LIMIT_WEBHOOK_URL + 32 };

static struct str context_of(struct str ws, struct str hook, struct str url, char buf[CONTEXT_MAX])
{
    int len = snprintf(buf, CONTEXT_MAX, "webhook %.*s/%.*s %.*s", STR_ARG(ws), STR_ARG(hook),
                       str_eqz(hook, HOOK_RUNS) ? (int)url.len : 0, url.ptr ? url.ptr : "");
    PRE(len > 0 && len < CONTEXT_MAX);
    return (struct str){buf, (size_t)len};
}

void hook_context(struct str ws, struct str hook, struct strbuf *out)
{
    char buf[CONTEXT_MAX];
    strbuf_add(out, context_of(ws, hook, STR(""), buf));
}

enum err hook_seal(const struct vault *v, struct arena *a, struct str ws, struct str hook, struct str url,
                   struct str secret, struct str *ret_sealed)
{
    char buf[CONTEXT_MAX];
    struct strbuf out;
    strbuf_init(&out, 1024);
    enum err err = vault_seal(v, context_of(ws, hook, url, buf), secret, &out);
    struct str copy = err ? STR_NONE : arena_str(a, strbuf_str(&out));
    strbuf_done(&out);
    if (!err && !copy.ptr)
        err = ERR_NO_MEMORY;
    if (!err)
        *ret_sealed = copy;
    return err;
}

enum err hook_open(const struct vault *v, struct str ws, struct str hook, struct str url, struct str sealed,
                   struct strbuf *out)
{
    char buf[CONTEXT_MAX];
    return vault_open(v, context_of(ws, hook, url, buf), sealed, out);
}
