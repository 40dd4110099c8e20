#include "common/script.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/strbuf.h"

enum { SCRIPT_FORM_MS = 5000 }; /* what could not be called as a function is called as a script for so long */
/* Of a group: so many that what they share is shared well, so few that no other waits for long. */
enum { GROUP_CALLS = 16, GROUP_BYTES = 65536 };

struct call;

/* What a connection knows of the functions in its Redis, and the calls that wait for others to come along. */
struct forms {
    bool told;                      /* in the log, that Redis does not take them */
    int64_t script_ms[SCRIPTS_MAX]; /* monotonic: until then this one is called as a script */
    struct call *held[GROUP_CALLS]; /* of one script, with one key */
    size_t held_count, held_bytes;
};

/* One call: its arguments are kept until it is answered, because what Redis does not know is loaded, and then asked for once more. */
struct call {
    struct redis *redis;
    const struct script *script;
    const struct script_guard *guard; /* that it carries; NULL for none */
    script_reply_fn fn;
    void *ctx;
    size_t argc;
    struct str *argv; /* points into the same allocation */
    size_t bytes;     /* of the arguments */
    bool as_script;   /* EVALSHA */
    bool loaded;      /* for this form */
};

static void call_done(struct call *c, enum err err, const redisReply *reply)
{
    c->fn(c->ctx, err, reply);
    free(c);
}

/* ---- loading ---- */

/* Asks Redis to load one of the two forms of the text. */
static void load(struct redis *r, const struct script *s, bool as_script, redis_reply_fn fn, void *ctx)
{
    struct strbuf text;
    strbuf_init(&text, s->text_len + 4096);
    strbuf_addz(&text, as_script ? s->begin : "#!lua name=");
    strbuf_addz(&text, as_script ? "\n" : s->function);
    strbuf_addz(&text, as_script ? "" : "\n");
    strbuf_add(&text, (struct str){s->text, s->text_len});
    strbuf_addz(&text, as_script ? s->end : s->registrations);
    strbuf_addc(&text, '\n');
    PRE(!strbuf_failed(&text));
    const struct str command[] = {as_script ? STR("SCRIPT") : STR("FUNCTION"), STR("LOAD"), strbuf_str(&text)};
    redis_command(r, ARRAY_LEN(command), command, fn, ctx);
    strbuf_done(&text);
}

/* Whether Redis has the library now: loaded, or by another node at the same time. */
static bool library_is_there(enum err err, const redisReply *reply)
{
    return !err || (reply && str_starts(redis_str(reply), STR("ERR Library ")) &&
                    memmem(redis_str(reply).ptr, redis_str(reply).len, "already exists", 14));
}

static void call_send(struct call *c);

static void call_as_script(struct call *c)
{
    c->as_script = true;
    c->loaded = false;
    call_send(c);
}

/* Redis does not have the function, and does not get it from us: not asked about it for a while. */
static void no_function(struct redis *r, const struct script *s, enum err err, const redisReply *reply)
{
    struct forms *forms = redis_kept(r, sizeof *forms);
    if (!forms)
        return;
    forms->script_ms[s->index] = clock_mono_ms() + SCRIPT_FORM_MS;
    struct str why = reply ? redis_str(reply) : str_of(err_code(err));
    if (!forms->told) /* a runner may not load: it only waits for an API node to do it */
        LOG_AT(str_starts(why, STR("NOPERM")) ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
               "redis does not take functions from us; until it has them, scripts are called in their place",
               LOG_Z("script", s->name), LOG_S("answer", why));
    forms->told = true;
}

static void on_library(void *ctx, enum err err, const redisReply *reply)
{
    struct call *c = ctx;
    if (library_is_there(err, reply)) {
        call_send(c);
    } else if (err == ERR_TIMEOUT || err == ERR_CANCELED) {
        call_done(c, err, NULL);
    } else {
        no_function(c->redis, c->script, err, reply);
        call_as_script(c);
    }
}

static void on_script(void *ctx, enum err err, const redisReply *reply)
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

/* ---- calling ---- */

/* Where an error reply says that nothing was executed because Redis does not know the text, or does not want it in this form: asks in another way, and returns true. */
static bool call_again(struct call *c, const redisReply *reply)
{
    struct str why = redis_str(reply);
    bool unknown = str_starts(why, c->as_script ? STR("NOSCRIPT") : STR("ERR Function not found"));
    if (unknown && !c->loaded) {
        c->loaded = true;
        load(c->redis, c->script, c->as_script, c->as_script ? on_script : on_library, c);
        return true;
    }
    if (c->as_script)
        return false;
    bool began = memmem(why.ptr, why.len, "@user_function", 14);
    if (!began &&
        str_starts(why, STR("OOM"))) { /* the function as a whole; as a script it may do what needs no memory */
        call_as_script(c);
        return true;
    }
    if (unknown || (!began && (str_starts(why, STR("NOPERM")) || str_starts(why, STR("ERR unknown command"))))) {
        no_function(c->redis, c->script, ERR_OK, reply);
        call_as_script(c);
        return true;
    }
    return false;
}

/* Takes one call's reply. */
static void answered(struct call *c, enum err err, const redisReply *reply)
{
    if (!err && (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0))
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
                  LOG_S("code", redis_str(redis_at(reply, 0))), LOG_S("reply", redis_str(redis_at(reply, 1))));
    if (c->guard && code != ERR_INTERNAL && reply->elements > 2)
        c->guard->told(c->guard->ctx, code == ERR_RATE_LIMITED, redis_int(redis_at(reply, reply->elements - 2), 0),
                       redis_int(redis_at(reply, reply->elements - 1), 0));
    call_done(c, code, code == ERR_INTERNAL ? NULL : reply);
}

static void on_reply(void *ctx, enum err err, const redisReply *reply)
{
    struct call *c = ctx;
    if (!(reply && reply->type == REDIS_REPLY_ERROR && call_again(c, reply)))
        answered(c, err, reply);
}

static void call_send(struct call *c)
{
    const struct script *s = c->script;
    bool read_only = s->read_only && !c->guard; /* with a guard it writes, whatever it does itself */
    if (c->as_script) {
        c->argv[0] = read_only ? STR("EVALSHA_RO") : STR("EVALSHA");
        c->argv[1] = str_of(s->sha1);
    } else {
        c->argv[0] = read_only ? STR("FCALL_RO") : STR("FCALL");
        c->argv[1] = str_of(c->guard ? s->guarded_function : s->function);
    }
    redis_command(c->redis, c->argc, c->argv, on_reply, c);
}

enum { HEAD_FIXED = 3, HEAD = 4, HEAD_MAX = 5, GUARD_ARGS = 3 };

/* ---- several calls as one ---- */

struct group {
    size_t n;
    struct call *calls[GROUP_CALLS];
};

/* Whether the reply says that nothing of it was executed: that Redis does not know the function, or refuses it as a whole. */
static bool never_began(const redisReply *reply)
{
    struct str why = redis_str(reply);
    return reply && reply->type == REDIS_REPLY_ERROR && !memmem(why.ptr, why.len, "@user_function", 14) &&
           (str_starts(why, STR("ERR Function not found")) || str_starts(why, STR("OOM")) ||
            str_starts(why, STR("NOPERM")) || str_starts(why, STR("ERR unknown command")));
}

static void on_group_reply(void *ctx, enum err err, const redisReply *reply)
{
    struct group *g = ctx;
    bool again = never_began(reply), whole = !err && reply && reply->elements == g->n;
    /* Those that go again first: a callback may end what they need. Each knows what to do then. */
    for (size_t i = 0; i < g->n; i++) {
        if (again || (whole && str_eqz(redis_str(redis_at(redis_at(reply, i), 0)), "again"))) {
            call_send(g->calls[i]);
            g->calls[i] = NULL;
        }
    }
    for (size_t i = 0; i < g->n; i++)
        if (g->calls[i])
            answered(g->calls[i], err, whole ? redis_at(reply, i) : reply);
    free(g);
}

/* FCALL function 1 key, then of each call the number of its arguments, and these. */
static void group_send(struct call *const *calls, size_t n)
{
    size_t argc = HEAD;
    for (size_t i = 0; i < n; i++)
        argc += 1 + calls[i]->argc - HEAD;
    struct group *g = malloc(sizeof *g);
    struct str *argv = malloc(argc * sizeof *argv);
    char counts[GROUP_CALLS][24];
    PRE(g && argv);
    g->n = n;
    memcpy(argv, calls[0]->argv, HEAD * sizeof *argv);
    argv[0] = STR("FCALL");
    argv[1] = str_of(calls[0]->script->group_function);
    size_t at = HEAD;
    for (size_t i = 0; i < n; i++) {
        size_t own = calls[i]->argc - HEAD;
        g->calls[i] = calls[i];
        argv[at++] = (struct str){counts[i], (size_t)snprintf(counts[i], sizeof counts[i], "%zu", own)};
        memcpy(argv + at, calls[i]->argv + HEAD, own * sizeof *argv);
        at += own;
    }
    redis_command(calls[0]->redis, argc, argv, on_group_reply, g);
    free(argv);
}

static void on_release(void *ctx)
{
    struct forms *forms = ctx;
    size_t n = forms->held_count;
    struct call *calls[GROUP_CALLS];
    memcpy(calls, forms->held, n * sizeof *calls);
    forms->held_count = forms->held_bytes = 0;
    if (n == 1)
        call_send(calls[0]);
    else
        group_send(calls, n);
}

/* Sends it with those that come behind it in this turn. */
static void hold(struct forms *forms, struct call *c)
{
    const struct call *first = forms->held_count ? forms->held[0] : NULL;
    if (first && (first->script != c->script || !str_eq(first->argv[HEAD_FIXED], c->argv[HEAD_FIXED]) ||
                  forms->held_bytes + c->bytes > GROUP_BYTES || forms->held_count == GROUP_CALLS))
        redis_release(c->redis);
    if (!forms->held_count)
        redis_hold(c->redis, on_release, forms);
    forms->held[forms->held_count++] = c;
    forms->held_bytes += c->bytes;
}

/* FCALL function 1 key args…, or FCALL function 2 key guard's-key args… limit per burst, copied into one allocation (but its first two words, which are its form's). NULL when memory is out. */
static struct call *call_new(const struct script *s, const struct script_guard *g, struct str key, size_t argc,
                             const struct str *argv)
{
    const struct str head[HEAD_MAX] = {STR_NONE, STR_NONE, g ? STR("2") : STR("1"), key, g ? g->key : STR_NONE};
    char digits[GUARD_ARGS][24];
    struct str tail[GUARD_ARGS];
    size_t heads = g ? HEAD_MAX : HEAD, tails = g ? GUARD_ARGS : 0, total = heads + argc + tails, bytes = 0;
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
    *c = (struct call){.script = s, .guard = g, .bytes = bytes, .argc = total, .argv = (struct str *)(void *)(c + 1)};
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
    PRE(s->index < SCRIPTS_MAX);
    struct forms *forms = redis_kept(r, sizeof *forms);
    c->as_script = forms && forms->script_ms[s->index] > 0 && forms->script_ms[s->index] > clock_mono_ms();
    if (forms && s->group_function && !guard && !c->as_script && redis_is_up(r))
        hold(forms, c);
    else
        call_send(c);
}

void script_guard_next(struct redis *r, struct script_guard *g)
{
    redis_set_note(r, g);
}

/* ---- at a connection's start ---- */

struct load_all {
    struct redis *redis;
    const struct script *const *scripts;
    size_t n, at;
    bool as_scripts; /* Redis takes no libraries from us */
    bool there[SCRIPTS_MAX];
};

static void load_next(struct load_all *l);

static void on_next_loaded(void *ctx, enum err err, const redisReply *reply)
{
    struct load_all *l = ctx;
    bool ok = l->as_scripts ? !err : library_is_there(err, reply);
    if (!ok && (l->as_scripts || err == ERR_TIMEOUT || err == ERR_CANCELED)) {
        free(l);
        return;
    }
    if (ok) {
        l->at++;
    } else {
        l->as_scripts = true;
        no_function(l->redis, l->scripts[l->at], err, reply);
    }
    load_next(l);
}

/* One after the other: so many at once would keep Redis from all others for long. */
static void load_next(struct load_all *l)
{
    while (l->at < l->n && l->there[l->at])
        l->at++;
    if (l->at == l->n) {
        free(l);
        return;
    }
    const struct script *s = l->scripts[l->at];
    if (l->as_scripts)
        no_function(l->redis, s, ERR_OK, NULL);
    load(l->redis, s, l->as_scripts, on_next_loaded, l);
}

/* Whether a library's name is one that some version of Errand gives: errand_NAME_ and 16 hex digits. */
static bool is_of_errand(struct str name)
{
    enum { HASH = 16 };
    if (!str_starts(name, STR("errand_")) || name.len < strlen("errand__") + HASH)
        return false;
    for (size_t i = name.len - HASH; i < name.len; i++)
        if (!strchr("0123456789abcdef", name.ptr[i]))
            return false;
    return name.ptr[name.len - HASH - 1] == '_';
}

static void on_list(void *ctx, enum err err, const redisReply *reply)
{
    struct load_all *l = ctx;
    if (err == ERR_INTERNAL) { /* it may not ask */
        l->as_scripts = true;
        no_function(l->redis, l->scripts[0], err, reply);
    } else if (err) {
        free(l);
        return;
    }
    for (size_t i = 0; !err && i < reply->elements; i++) {
        struct str name = redis_str(redis_field(redis_at(reply, i), "library_name"));
        size_t at = 0;
        while (at < l->n && !str_eqz(name, l->scripts[at]->function))
            at++;
        if (at < l->n)
            l->there[at] = true;
        else if (redis_generation(l->redis) == 1 && is_of_errand(name))
            redis_command(l->redis, 3, (const struct str[]){STR("FUNCTION"), STR("DELETE"), name}, NULL, NULL);
    }
    load_next(l);
}

void script_load_all(struct redis *r, const struct script *const *scripts, size_t n)
{
    PRE(n <= SCRIPTS_MAX);
    struct load_all *l = malloc(sizeof *l);
    if (!l)
        return;
    *l = (struct load_all){.redis = r, .scripts = scripts, .n = n};
    const struct str list[] = {STR("FUNCTION"), STR("LIST"), STR("LIBRARYNAME"), STR("errand_*")};
    redis_command(r, ARRAY_LEN(list), list, on_list, l);
}
