#include "common/script.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"

/* One call: its arguments are kept until it is answered, because NOSCRIPT means asking once more. */
struct call {
    struct redis *redis;
    const struct script *script;
    script_reply_fn fn;
    void *ctx;
    size_t argc;
    struct str *argv; /* points into the same allocation */
    bool retried;
};

static void call_done(struct call *c, enum err err, const redisReply *reply)
{
    c->fn(c->ctx, err, reply);
    free(c);
}

static void call_send(struct call *c);

static void on_loaded(void *ctx, enum err err, const redisReply *reply)
{
    struct call *c = ctx;
    if (err == ERR_INTERNAL || (!err && !str_eqz(redis_str(reply), c->script->sha1))) {
        LOG_ERROR("script could not be loaded", LOG_Z("script", c->script->name), LOG_S("reply", redis_str(reply)));
        err = ERR_INTERNAL;
    }
    if (err)
        call_done(c, err, NULL);
    else
        call_send(c);
}

static void on_reply(void *ctx, enum err err, const redisReply *reply)
{
    struct call *c = ctx;
    if (!err && reply->type == REDIS_REPLY_ERROR && !c->retried) { /* the only error passed as a reply is NOSCRIPT */
        c->retried = true;
        const struct str load[] = {STR("SCRIPT"), STR("LOAD"), {c->script->source, c->script->source_len}};
        redis_command(c->redis, ARRAY_LEN(load), load, on_loaded, c);
        return;
    }
    if (!err && (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0))
        err = ERR_INTERNAL;
    if (err) {
        if (err == ERR_INTERNAL)
            LOG_ERROR("script failed", LOG_Z("script", c->script->name), LOG_S("reply", redis_str(reply)));
        call_done(c, err, NULL);
        return;
    }
    enum err code = err_from_code(redis_str(redis_at(reply, 0)));
    if (code == ERR_INTERNAL)
        LOG_ERROR("script gave an unknown code", LOG_Z("script", c->script->name),
                  LOG_S("code", redis_str(redis_at(reply, 0))));
    call_done(c, code, code == ERR_INTERNAL ? NULL : reply);
}

static void call_send(struct call *c)
{
    redis_command(c->redis, c->argc, c->argv, on_reply, c);
}

/* EVALSHA sha 1 key args…, copied into one allocation. NULL when memory is out. */
static struct call *call_new(const struct script *s, struct str key, size_t argc, const struct str *argv)
{
    const struct str head[] = {s->read_only ? STR("EVALSHA_RO") : STR("EVALSHA"), str_of(s->sha1), STR("1"), key};
    size_t total = ARRAY_LEN(head) + argc, bytes = key.len;
    for (size_t i = 0; i < argc; i++)
        bytes += argv[i].len;
    struct call *c = malloc(sizeof *c + total * sizeof(struct str) + bytes);
    if (!c)
        return NULL;
    *c = (struct call){.script = s, .argc = total, .argv = (struct str *)(void *)(c + 1)};
    char *at = (char *)(c->argv + total);
    for (size_t i = 0; i < total; i++) {
        struct str from = i < ARRAY_LEN(head) ? head[i] : argv[i - ARRAY_LEN(head)];
        c->argv[i] = from;
        if (i >= 3) { /* the first three outlive the call anyway */
            if (from.len > 0)
                memcpy(at, from.ptr, from.len);
            c->argv[i].ptr = at;
            at += from.len;
        }
    }
    return c;
}

void script_call(struct redis *r, const struct script *s, struct str key, size_t argc, const struct str *argv,
                 script_reply_fn fn, void *ctx)
{
    struct call *c = call_new(s, key, argc, argv);
    PRE(c); /* the arguments were bounded before they came here; out of memory, a node ends rather than forget a call */
    c->redis = r;
    c->fn = fn;
    c->ctx = ctx;
    call_send(c);
}

void script_load_all(struct redis *r, const struct script *const *scripts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct str load[] = {STR("SCRIPT"), STR("LOAD"), {scripts[i]->source, scripts[i]->source_len}};
        redis_command(r, ARRAY_LEN(load), load, NULL, NULL);
    }
}
