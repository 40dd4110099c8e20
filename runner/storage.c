#include "runner/storage.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/crypto.h"
#include "common/log.h"
#include "common/redis_url.h"
#include "lua/scripts.h"
#include "runner/spec.h"

enum { REPLICAS_MAX = 8, LOOK_MS = 2000, STALE_MAX = 32, STALE_LOOKS = 500, URL_MAX = 1400 };

/* A server that has the users: the primary, or one of its replicas as ROLE names them. */
struct server {
    struct storage *storage;
    struct redis *redis; /* NULL: this place is free */
    char url[300];
    bool seen; /* ROLE named it last time */
};

struct storage {
    struct worker_shard *shard;
    char agents_url[1100];                   /* what agents are told, without credentials */
    struct server servers[1 + REPLICAS_MAX]; /* the first is the primary */
    struct loop_timer look;
    int64_t stale_from; /* where the next look for users that were left begins */
    bool looking;
};

/* One order to all servers that are up. Over when the last has answered; the storage may be gone by then. */
struct order {
    struct attempt *attempt; /* NULL: of somebody who died */
    struct storage *storage;
    prepared_fn fn; /* when a user is made */
    struct id run_id;
    int64_t number;
    int waiting;
    enum err err;
};

static const struct config *config_of(const struct storage *st)
{
    return st->shard->worker->config;
}

/* ---- orders ---- */

static void order_done(struct order *o)
{
    struct attempt *a = o->attempt;
    if (o->fn && o->err && o->err != ERR_REDIS_UNAVAILABLE)
        snprintf(a->start_why, sizeof a->start_why, "its Redis user can't be made (storage-redis-url is set): %s",
                 err_sentence(o->err));
    if (o->fn)
        o->fn(a, o->err);
    free(o);
}

static void on_ordered(void *ctx, enum err err, const redisReply *reply)
{
    struct order *o = ctx;
    if (err == ERR_INTERNAL && reply)
        LOG_ERROR("Redis refused to make or remove an attempt's user", LOG_S("error", redis_str(reply)));
    if (err)
        o->err = err == ERR_INTERNAL || err == ERR_FORBIDDEN ? ERR_FORBIDDEN : ERR_REDIS_UNAVAILABLE;
    if (--o->waiting > 0)
        return;
    order_done(o);
}

static void set_user(struct storage *st, struct redis *r, const struct attempt *a, redis_reply_fn fn, void *ctx)
{
    struct storage_rules rules;
    struct str argv[STORAGE_RULES_MAX + 3];
    char name[256];
    storage_rules_of(worker_prefix(st->shard), str_of(a->storage_ws), a->storage_password, &rules);
    argv[0] = STR("ACL");
    argv[1] = STR("SETUSER");
    argv[2] = storage_user_name(worker_prefix(st->shard), str_of(a->run_id.s), a->number, name);
    memcpy(argv + 3, rules.words, rules.n * sizeof *argv);
    redis_command(r, rules.n + 3, argv, fn, ctx);
    sodium_memzero(&rules, sizeof rules);
}

/* ---- making ---- */

static void on_begun(void *ctx, enum err err, const struct script_storage_begin_reply *reply)
{
    struct order *o = ctx;
    struct attempt *a = o->attempt;
    struct storage *st = o->storage;
    (void)reply;
    if (err || a->state != ATTEMPT_STARTING || !redis_is_up(st->servers[0].redis)) {
        o->err = err == ERR_FENCED ? ERR_FENCED
                                   : ERR_REDIS_UNAVAILABLE; /* one that ended meanwhile is not asked for again */
        order_done(o);
        return;
    }
    a->storage_made = true;
    for (size_t i = 0; i < ARRAY_LEN(st->servers); i++) {
        if (!st->servers[i].redis || !redis_is_up(st->servers[i].redis))
            continue; /* a replica that is away gets it when it is back */
        o->waiting++;
        set_user(st, st->servers[i].redis, a, on_ordered, o);
    }
}

bool storage_wanted(const struct attempt *a)
{
    return a->shard->storage && (a->executor->local || a->executor->remote_default);
}

static bool tell_agent(struct attempt *a)
{
    char name[256], url[URL_MAX];
    struct str user = storage_user_name(worker_prefix(a->shard), str_of(a->run_id.s), a->number, name);
    bool ok = storage_url(a->shard->storage->agents_url, user, a->storage_password, url, sizeof url) &&
              spec_set_env(a, "ERRAND_STORAGE_REDIS_URL", str_of(url)) &&
              spec_set_env(a, "ERRAND_STORAGE_USER", user) &&
              spec_set_env(a, "ERRAND_STORAGE_PASSWORD", str_of(a->storage_password));
    if (ok && str_starts(str_of(a->shard->storage->agents_url), STR("unix://"))) {
        const char *path = a->shard->storage->agents_url + 7;
        a->spec.storage_socket = arena_printf(&a->arena, "%.*s", (int)strcspn(path, "?"), path);
        ok = a->spec.storage_socket != NULL;
    }
    sodium_memzero(url, sizeof url);
    return ok;
}

void storage_ask(struct attempt *a, prepared_fn fn)
{
    struct order *o = calloc(1, sizeof *o);
    PRE(o);
    *o = (struct order){.attempt = a, .storage = a->shard->storage, .fn = fn};
    if (!a->storage_password[0])
        crypto_token(a->storage_password);
    snprintf(a->storage_ws, sizeof a->storage_ws, "%.*s", STR_ARG(a->spec.workspace));
    if (!tell_agent(a) || attempt_redact(a) != ERR_OK) {
        o->err = ERR_NO_MEMORY;
        snprintf(a->start_why, sizeof a->start_why, "out of memory");
    }
    struct script_storage_begin_args args = {
        .inc = str_of(a->shard->incarnation.s), .run = str_of(a->run_id.s), .epoch = a->epoch, .attempt = a->number};
    script_call_storage_begin(a->shard->commands, worker_prefix(a->shard), &args, on_begun, o);
}

/* ---- removing ---- */

static void on_removed(void *ctx, enum err err, const redisReply *reply)
{
    struct order *o = ctx;
    (void)reply;
    if (err)
        o->err = err;
    if (--o->waiting > 0)
        return;
    if (!o->err) { /* else a later look finds it */
        struct script_storage_end_args args = {.run = str_of(o->run_id.s), .attempt = o->number};
        script_call_storage_end(o->storage->shard->commands, worker_prefix(o->storage->shard), &args, NULL, NULL);
    }
    free(o);
}

static void remove_user(struct storage *st, struct str run_id, int64_t number)
{
    struct order *o = calloc(1, sizeof *o);
    char name[256];
    if (!o || !id_parse(run_id, &o->run_id)) {
        free(o);
        return;
    }
    o->storage = st;
    o->number = number;
    const struct str argv[] = {STR("ACL"), STR("DELUSER"),
                               storage_user_name(worker_prefix(st->shard), run_id, number, name)};
    for (size_t i = 0; i < ARRAY_LEN(st->servers); i++) {
        if (!st->servers[i].redis)
            continue;
        o->waiting++; /* one that is away fails, and it is tried again */
        redis_command(st->servers[i].redis, ARRAY_LEN(argv), argv, on_removed, o);
    }
}

void storage_release(struct attempt *a)
{
    if (!a->storage_made)
        return;
    a->storage_made = false;
    remove_user(a->shard->storage, str_of(a->run_id.s), a->number);
}

/* ---- looking: replicas that come and go, users that somebody left ---- */

static void on_stale(void *ctx, enum err err, const struct script_storage_stale_reply *reply)
{
    struct storage *st = ctx;
    for (size_t i = 0; !err && i < reply->users_len; i++)
        remove_user(st, reply->users[i].run, reply->users[i].attempt);
    st->stale_from = err ? 0 : reply->next;
}

static void on_state(void *ctx, struct redis *r, bool up);

static struct redis *connect_to(struct server *v, const char *url)
{
    const struct config *config = config_of(v->storage);
    bool own = config->storage_admin_user[0] || config->storage_admin_password[0];
    char name[128];
    snprintf(name, sizeof name, "errand-runner:%.60s:storage", config->node);
    return redis_new(&(struct redis_options){.loop = v->storage->shard->worker->loop,
                                             .kind = REDIS_COMMANDS,
                                             .url = url,
                                             .user = own ? config->storage_admin_user : config->redis_user,
                                             .password = own ? config->storage_admin_password : config->redis_password,
                                             .name = name,
                                             .on_state = on_state,
                                             .ctx = v});
}

static void take_replica(struct storage *st, const redisReply *row)
{
    char url[300];
    struct str host = redis_str(redis_at(row, 0)), port = redis_str(redis_at(row, 1));
    struct server *place = NULL;
    bool v6 = host.len > 0 && memchr(host.ptr, ':', host.len);
    snprintf(url, sizeof url, "redis://%s%.*s%s:%.*s/0", v6 ? "[" : "", STR_ARG(host), v6 ? "]" : "", STR_ARG(port));
    for (size_t i = 1; i < ARRAY_LEN(st->servers); i++) {
        struct server *v = &st->servers[i];
        if (v->redis && strcmp(v->url, url) == 0) {
            v->seen = true;
            return;
        }
        place = !v->redis && !place ? v : place;
    }
    if (!place || host.len == 0)
        return;
    snprintf(place->url, sizeof place->url, "%s", url);
    place->redis = connect_to(place, url);
    place->seen = true;
}

static void on_role(void *ctx, enum err err, const redisReply *reply)
{
    struct storage *st = ctx;
    st->looking = false;
    const redisReply *list = redis_at(reply, 2);
    if (err || !str_eqz(redis_str(redis_at(reply, 0)), "master") || !list || list->type != REDIS_REPLY_ARRAY)
        return;
    for (size_t i = 1; i < ARRAY_LEN(st->servers); i++)
        st->servers[i].seen = false;
    for (size_t i = 0; i < list->elements; i++)
        take_replica(st, list->element[i]);
    for (size_t i = 1; i < ARRAY_LEN(st->servers); i++) {
        struct server *v = &st->servers[i];
        if (!v->redis || v->seen)
            continue;
        redis_free(v->redis);
        v->redis = NULL;
    }
}

static void on_look(void *ctx)
{
    struct storage *st = ctx;
    struct redis *commands = st->shard->commands;
    loop_timer_set(&st->look, LOOK_MS / 2 + (int64_t)crypto_uniform(LOOK_MS / 2));
    if (!redis_is_up(st->servers[0].redis) || !redis_is_up(commands))
        return;
    struct script_storage_stale_args args = {.max = STALE_MAX, .from = st->stale_from, .looks = STALE_LOOKS};
    script_call_storage_stale(commands, worker_prefix(st->shard), &args, on_stale, st);
    if (st->looking)
        return;
    st->looking = true;
    redis_command(st->servers[0].redis, 1, (const struct str[]){STR("ROLE")}, on_role, st);
}

static void on_again(void *ctx, enum err err, const redisReply *reply)
{
    (void)ctx;
    (void)reply;
    if (err)
        LOG_WARN("an attempt's Redis user could not be made again", LOG_E(err));
}

void storage_again(struct attempt *a)
{
    struct storage *st = a->shard->storage;
    for (size_t i = 0; i < ARRAY_LEN(st->servers); i++)
        if (st->servers[i].redis && redis_is_up(st->servers[i].redis))
            set_user(st, st->servers[i].redis, a, on_again, NULL);
}

/* A server that is back may have lost its users: Redis keeps them in memory. */
static void on_state(void *ctx, struct redis *r, bool up)
{
    struct server *v = ctx;
    struct worker_shard *s = v->storage->shard;
    for (struct attempt *a = up ? s->worker->attempts : NULL; a; a = a->next)
        if (a->shard == s && a->storage_made)
            set_user(v->storage, r, a, on_again, NULL);
}

/* ---- start and end ---- */

enum err storage_start(struct worker_shard *s, struct storage **ret_storage, struct strbuf *ret_message)
{
    const struct config *config = s->worker->config;
    char url[1100];
    const char *why = "it is too long";
    *ret_storage = NULL;
    if (!config->storage_redis_url[0])
        return ERR_OK;
    struct storage *st = calloc(1, sizeof *st);
    if (!st)
        return ERR_NO_MEMORY;
    st->shard = s;
    if (!redis_url_of_shard(config->storage_redis_url, s->number, st->agents_url, sizeof st->agents_url) ||
        redis_url_check(st->agents_url, &why) || !redis_url_of_shard(config->redis_url, s->number, url, sizeof url)) {
        strbuf_addf(ret_message, "storage-redis-url: %s", why);
        free(st);
        return ERR_CONFIG;
    }
    if (strchr(st->agents_url, '@')) {
        strbuf_addz(ret_message, "storage-redis-url: it must have no credentials: each attempt gets its own");
        free(st);
        return ERR_CONFIG;
    }
    for (size_t i = 0; i < ARRAY_LEN(st->servers); i++)
        st->servers[i].storage = st;
    st->servers[0].redis = connect_to(&st->servers[0], url);
    if (!st->servers[0].redis) {
        free(st);
        return ERR_NO_MEMORY;
    }
    loop_timer_init(&st->look, s->worker->loop, on_look, st);
    loop_timer_set(&st->look, (int64_t)crypto_uniform(LOOK_MS));
    *ret_storage = st;
    return ERR_OK;
}

void storage_stop(struct storage *st)
{
    if (!st)
        return;
    loop_timer_stop(&st->look);
    for (size_t i = 0; i < ARRAY_LEN(st->servers); i++)
        if (st->servers[i].redis)
            redis_free(st->servers[i].redis);
    loop_defer_free(st->shard->worker->loop, free, st);
}

bool storage_env(struct attempt *a)
{
    static const char *const kinds[][2] = {{"ERRAND_STORAGE_WORKFLOWS_PREFIX", "workflows:"},
                                           {"ERRAND_STORAGE_ARTIFACTS_PREFIX", "artifacts:"},
                                           {"ERRAND_STORAGE_VECTORS_PREFIX", "vectors:"},
                                           {"ERRAND_STORAGE_ROOT_PREFIX", ""}};
    char text[1200];
    bool ok = true;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        snprintf(text, sizeof text, "%.*sdata:%.*s:%s", STR_ARG(worker_prefix(a->shard)), STR_ARG(a->spec.workspace),
                 kinds[i][1]);
        ok = ok && spec_set_env(a, kinds[i][0], str_of(text));
    }
    snprintf(text, sizeof text, "%s/v1/storage", a->shard->worker->config->api_base);
    return ok && spec_set_env(a, "ERRAND_STORAGE_URL", str_of(text));
}
