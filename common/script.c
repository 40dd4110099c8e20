#include "common/script.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"

/* One call: its arguments are kept until it is answered, because NOSCRIPT means asking once more. */
struct call {
    struct redis *redis;
    const struct script *script;
    const struct script_guard *guard; /* that it carries; NULL for none */
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
    if (c->guard && code != ERR_INTERNAL && reply->elements > 2)
        c->guard->told(c->guard->ctx, code == ERR_RATE_LIMITED, redis_int(redis_at(reply, reply->elements - 2), 0),
                       redis_int(redis_at(reply, reply->elements - 1), 0));
    call_done(c, code, code == ERR_INTERNAL ? NULL : reply);
}

static void call_send(struct call *c)
{
    redis_command(c->redis, c->argc, c->argv, on_reply, c);
}

enum { HEAD_FIXED = 3, HEAD_MAX = 5, GUARD_ARGS = 3 };

/* EVALSHA sha 1 key args…, or EVALSHA sha 2 key guard's-key args… limit per burst, copied into one allocation. NULL when memory is out. */
static struct call *call_new(const struct script *s, const struct script_guard *g, struct str key, size_t argc,
                             const struct str *argv)
{
    /* With a guard it writes, whatever the script itself does. */
    const struct str head[HEAD_MAX] = {s->read_only && !g ? STR("EVALSHA_RO") : STR("EVALSHA"), str_of(s->sha1),
                                       g ? STR("2") : STR("1"), key, g ? g->key : STR_NONE};
    char digits[GUARD_ARGS][24];
    struct str tail[GUARD_ARGS];
    size_t heads = g ? HEAD_MAX : HEAD_MAX - 1, tails = g ? GUARD_ARGS : 0, total = heads + argc + tails, bytes = 0;
    const int64_t numbers[GUARD_ARGS] = {g ? g->limit : 0, g ? g->per_ms : 0, g ? g->burst : 0};
    for (size_t i = 0; i < tails; i++) {
        int len = snprintf(digits[i], sizeof digits[i], "%lld", (long long)numbers[i]);
        tail[i] = (struct str){digits[i], (size_t)len};
    }
    for (size_t i = HEAD_FIXED; i < total; i++)
        bytes += i < heads ? head[i].len : i < heads + argc ? argv[i - heads].len : tail[i - heads - argc].len;
    struct call *c = malloc(sizeof *c + total * sizeof(struct str) + bytes);
    if (!c)
        return NULL;
    *c = (struct call){.script = s, .guard = g, .argc = total, .argv = (struct str *)(void *)(c + 1)};
    char *at = (char *)(c->argv + total);
    for (size_t i = 0; i < total; i++) {
        struct str from = i < heads ? head[i] : i < heads + argc ? argv[i - heads] : tail[i - heads - argc];
        c->argv[i] = from;
        if (i >= HEAD_FIXED) { /* those before outlive the call anyway */
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
    struct script_guard *guard = s->guarded ? redis_note(r) : NULL;
    struct call *c = call_new(s, guard, key, argc, argv);
    if (guard)
        redis_set_note(r, NULL);
    PRE(c); /* the arguments were bounded before they came here; out of memory, a node ends rather than forget a call */
    c->redis = r;
    c->fn = fn;
    c->ctx = ctx;
    call_send(c);
}

void script_guard_next(struct redis *r, struct script_guard *g)
{
    redis_set_note(r, g);
}

void script_load_all(struct redis *r, const struct script *const *scripts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct str load[] = {STR("SCRIPT"), STR("LOAD"), {scripts[i]->source, scripts[i]->source_len}};
        redis_command(r, ARRAY_LEN(load), load, NULL, NULL);
    }
}
