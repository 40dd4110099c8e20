#include "api/node.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/audit.h"
#include "api/auth_fail.h"
#include "api/hooks.h"
#include "api/issuer.h"
#include "api/keys.h"
#include "api/live.h"
#include "api/redactors.h"
#include "api/routes.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/redis_url.h"
#include "common/schema_cache.h"
#include "common/vault.h"
#include "lua/scripts.h"

enum { POLL_MS = 1000, FLUSH_MS = 200, PRESSURE_PERCENT = 90, HEAP_SLACK = 1 << 20 };

/* ---- what is asked of Redis now and then ---- */

static void on_secret_set(void *ctx, enum err err, const redisReply *reply);

static void on_secret(void *ctx, enum err err, const redisReply *reply)
{
    struct node *n = ctx;
    struct str s = err ? STR_NONE : redis_str(reply);
    if (s.len > 0 && s.len < sizeof n->secret) {
        memcpy(n->secret, s.ptr, s.len);
        n->secret[s.len] = 0;
    } else if (!err &&
               reply->type == REDIS_REPLY_NIL) { /* the first node of a deployment makes it; SET NX lets one win */
        char token[44];
        struct key global = keys_global(str_of(n->config->prefix)), key = keys_signing_secret(key_str(&global));
        crypto_token(token);
        redis_command(n->shards[0].commands, 4,
                      (const struct str[]){STR("SET"), key_str(&key), str_of(token), STR("NX")}, on_secret_set, n);
    }
}

static void ask_secret(struct node *n)
{
    struct key global = keys_global(str_of(n->config->prefix)), key = keys_signing_secret(key_str(&global));
    redis_command(n->shards[0].commands, 2, (const struct str[]){STR("GET"), key_str(&key)}, on_secret, n);
}

static void on_secret_set(void *ctx, enum err err, const redisReply *reply)
{
    (void)reply;
    if (!err)
        ask_secret(ctx);
}

/* `field:123` in INFO's text; -1 when it is not there. */
static int64_t info_number(struct str info, const char *field)
{
    const char *at = info.len ? memmem(info.ptr, info.len, field, strlen(field)) : NULL;
    return at ? strtoll(at + strlen(field), NULL, 10) : -1;
}

static void on_memory(void *ctx, enum err err, const redisReply *reply)
{
    struct shard *s = ctx;
    if (err)
        return;
    struct str info = redis_str(reply);
    int64_t used = info_number(info, "\nused_memory:"), max = info_number(info, "\nmaxmemory:");
    bool pressure = max > 0 && used >= max / 100 * PRESSURE_PERCENT;
    bool evicting = !memmem(info.ptr, info.len, "maxmemory_policy:noeviction", 27) && !s->node->config->allow_eviction;
    if (pressure != s->memory_pressure)
        LOG_WARN(pressure ? "redis is nearly full: submits are refused" : "redis has room again",
                 LOG_I("shard", s->number), LOG_I("used", used), LOG_I("max", max));
    if (evicting && !s->evicting)
        LOG_ERROR("redis may evict keys, which would lose runs; set maxmemory-policy noeviction, or allow-eviction",
                  LOG_I("shard", s->number));
    s->memory_pressure = pressure;
    s->evicting = evicting;
}

/* A burst leaves free memory between what lives on; it goes back to the system when it is as much as what is used. */
static void trim_heap(void)
{
    struct mallinfo2 m = mallinfo2();
    if (m.fordblks > HEAP_SLACK && m.fordblks > m.uordblks)
        malloc_trim(0);
}

static void on_time(void *ctx, enum err err, const redisReply *reply)
{
    struct node *n = ctx;
    int64_t s = err ? 0 : redis_int(redis_at(reply, 0), 0);
    if (s > 0) {
        n->redis_ms = s * 1000 + redis_int(redis_at(reply, 1), 0) / 1000;
        n->redis_mono_ms = clock_mono_ms();
    }
}

static void ask_time(struct node *n)
{
    if (redis_is_up(n->shards[0].commands))
        redis_command(n->shards[0].commands, 1, (const struct str[]){STR("TIME")}, on_time, n);
}

static void on_poll(void *ctx)
{
    struct node *n = ctx;
    if (!n->secret[0] && redis_is_up(n->shards[0].commands))
        ask_secret(n);
    for (unsigned i = 0; i < n->shard_count; i++)
        if (redis_is_up(n->shards[i].commands))
            redis_command(n->shards[i].commands, 2, (const struct str[]){STR("INFO"), STR("memory")}, on_memory,
                          &n->shards[i]);
    loop_timer_set(&n->poll, POLL_MS);
    keys_tick(n->keys);
    redactors_tick(n->redactors);
    ask_time(n);
    trim_heap();
}

int64_t node_now_ms(const struct node *n)
{
    return n->redis_ms > 0 ? n->redis_ms + clock_mono_ms() - n->redis_mono_ms : clock_wall_ms();
}

static void on_state(void *ctx, struct redis *r, bool up)
{
    struct shard *s = ctx;
    if (!up)
        return;
    if (r == s->commands) {
        script_load_all(r, scripts_all, scripts_all_len);
        chores_on_up(&s->chores);
        redis_command(r, 2, (const struct str[]){STR("INFO"), STR("memory")}, on_memory, s);
        if (s->number == 0 && !s->node->secret[0])
            ask_secret(s->node);
        if (s->number == 0)
            ask_time(s->node);
        bool restarted = s->run_id[0] && strcmp(s->run_id, redis_run_id(r)) != 0;
        snprintf(s->run_id, sizeof s->run_id, "%s", redis_run_id(r));
        live_on_reconnect(s->node->live, s, restarted);
    }
}

/* ---- start and end ---- */

static enum err connect_shard(struct node *n, unsigned i, struct strbuf *msg)
{
    char url[1100], name[128];
    const char *why = "it is too long";
    if (!redis_url_of_shard(n->config->redis_url, i, url, sizeof url) || redis_url_check(url, &why)) {
        strbuf_addf(msg, "redis-url: %s", why);
        return ERR_CONFIG;
    }
    struct shard *s = &n->shards[i];
    s->node = n;
    s->number = i;
    s->prefix = keys_shard(str_of(n->config->prefix), i);
    snprintf(name, sizeof name, "errand-api:%.60s:%u", n->config->node, i);
    struct redis_options o = {.loop = n->loop,
                              .kind = REDIS_COMMANDS,
                              .url = url,
                              .user = n->config->redis_user,
                              .password = n->config->redis_password,
                              .name = name,
                              .on_state = on_state,
                              .ctx = s};
    s->commands = redis_new(&o);
    o.kind = REDIS_SUBSCRIBE;
    s->subscriptions = redis_new(&o);
    o.kind = REDIS_COMMANDS;
    if (n->config->min_replicas > 0)
        s->durability = redis_new(&o);
    if (!s->commands || !s->subscriptions)
        return ERR_NO_MEMORY;
    if (n->first) {
        chores_start(&s->chores, n->loop, n->config, s->commands, NULL, shard_prefix(s), i);
        sealer_start(&s->sealer, n->loop, n->config, s->commands, shard_prefix(s));
    }
    return ERR_OK;
}

enum err node_start(struct node *n, const struct config *config, bool first, struct strbuf *ret_message)
{
    *n = (struct node){.config = config, .first = first, .shard_count = (unsigned)config->shards};
    n->loop = loop_new();
    n->shards = calloc(n->shard_count, sizeof *n->shards);
    n->live = n->loop ? live_new(n) : NULL;
    n->refusals = n->loop ? audit_refusals_new(n) : NULL;
    n->http = n->loop ? http_client_new(n->loop, config->allow_private_addresses) : NULL;
    n->issuers = n->http ? issuers_new(n->loop, n->http, !config->allow_private_addresses, clock_mono_ms) : NULL;
    if (!n->shards || !n->live || !n->refusals || !n->issuers)
        return ERR_NO_MEMORY;
    http_client_trust(n->http, config->ca_file);
    loop_timer_init(&n->poll, n->loop, on_poll, n);
    enum err vault_err = vault_new(config, &n->vault, ret_message);
    if (vault_err)
        return vault_err;
    for (unsigned i = 0; i < n->shard_count; i++) {
        enum err err = connect_shard(n, i, ret_message);
        if (err)
            return err;
    }
    n->keys = keys_new(n);
    n->failures = auth_fail_new(n);
    n->hooks = first ? hooks_new(n) : NULL;
    n->redactors = redactors_new();
    n->schemas = schema_cache_new();
    if (!n->keys || !n->failures || !n->redactors || !n->schemas || (first && !n->hooks))
        return ERR_NO_MEMORY;
    struct http_app app = routes_app(n);
    const char *why = "";
    enum err err = http_server_new(n->loop, config->listen, config->threads > 1, &app, &n->server, &why);
    if (err) {
        strbuf_addf(ret_message, "can't listen on %s: %s", config->listen, why);
        return err;
    }
    loop_timer_set(&n->poll, POLL_MS);
    return ERR_OK;
}

static void stop_now(void *ctx)
{
    struct node *n = ctx;
    loop_timer_stop(&n->drain_limit);
    loop_stop(n->loop);
}

/* Nobody is connected any more. What was just said to Redis is still to leave. */
static void on_drained(void *ctx)
{
    struct node *n = ctx;
    if (n->flushing)
        loop_timer_set(&n->drain_limit, FLUSH_MS);
    else
        stop_now(n);
}

void node_drain(struct node *n)
{
    if (n->draining)
        return;
    n->draining = true;
    LOG_INFO("draining", LOG_I("connections", http_server_connections(n->server)));
    live_cut_all(n->live);
    keys_flush(n->keys);
    n->flushing = audit_refusals_flush(n->refusals);
    hooks_drain(n->hooks);
    loop_timer_init(&n->drain_limit, n->loop, stop_now, n);
    loop_timer_set(&n->drain_limit, n->config->drain_ms);
    http_server_drain(n->server, on_drained, n);
}

void node_done(struct node *n)
{
    loop_timer_stop(&n->poll);
    loop_timer_stop(&n->drain_limit);
    http_server_free(n->server);
    live_free(n->live);
    audit_refusals_free(n->refusals);
    hooks_stop(n->hooks);
    http_client_free(n->http);
    issuers_free(n->issuers);
    for (unsigned i = 0; i < n->shard_count; i++) {
        if (n->first) {
            chores_stop(&n->shards[i].chores);
            sealer_stop(&n->shards[i].sealer);
        }
        redis_free(n->shards[i].commands);
        redis_free(n->shards[i].subscriptions);
        redis_free(n->shards[i].durability);
    }
    loop_free(n->loop); /* runs what was deferred: callbacks of the connections above still see the shards */
    keys_free(n->keys);
    auth_fail_free(n->failures);
    hooks_free(n->hooks);
    redactors_free(n->redactors);
    schema_cache_free(n->schemas);
    free(n->shards);
    vault_free(n->vault);
}

bool node_ready(const struct node *n, const char **ret_why)
{
    *ret_why = NULL;
    if (n->draining)
        *ret_why = "this node is shutting down";
    else if (!n->secret[0])
        *ret_why = "the signing secret was not read from Redis yet";
    for (unsigned i = 0; i < n->shard_count && !*ret_why; i++) {
        if (!redis_is_up(n->shards[i].commands) || !redis_is_up(n->shards[i].subscriptions))
            *ret_why = "Redis can't be reached";
        else if (n->shards[i].evicting)
            *ret_why = "Redis may evict keys";
    }
    return !*ret_why;
}

struct shard *node_shard_of_workspace(struct node *n, struct str workspace)
{
    return &n->shards[id_workspace_shard(workspace, n->shard_count)];
}

struct shard *node_shard_of_run(struct node *n, struct str run_id)
{
    struct id id;
    if (!id_parse(run_id, &id) || id_shard(&id) >= n->shard_count)
        return NULL;
    return &n->shards[id_shard(&id)];
}
