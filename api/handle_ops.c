#include "api/audit.h"
#include "api/handlers.h"
#include "api/openapi.h"
#include "api/problem.h"
#include "api/settings.h"
#include "common/json.h"
#include "common/metrics.h"

enum { SHARD_ROWS = 1000 };

void handle_healthz(struct call *c)
{
    http_reply(c->req, 200, "application/json", STR("{\"status\":\"ok\"}"));
}

void handle_readyz(struct call *c)
{
    const char *why;
    if (node_ready(c->node, &why))
        http_reply(c->req, 200, "application/json", STR("{\"status\":\"ready\"}"));
    else
        call_problem(c, c->node->draining ? ERR_DRAINING : ERR_REDIS_UNAVAILABLE, why);
}

void handle_metrics(struct call *c)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    metrics_write(&out, "api");
    http_reply(c->req, 200, "text/plain; version=0.0.4; charset=utf-8", strbuf_str(&out));
    strbuf_done(&out);
}

void handle_openapi(struct call *c)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    openapi_write(&out);
    call_json(c, 200, &out);
}

/* ---- what is gathered from every shard ---- */

struct gather {
    struct call *call;
    unsigned open;
    enum err err;
    struct strbuf out;
    struct json_writer w;
};

static struct gather *gather_begin(struct call *c, const char *key)
{
    struct gather *g = arena_zalloc(&c->req->arena, sizeof *g);
    if (!g)
        return NULL;
    g->call = c;
    g->open = c->node->shard_count;
    strbuf_init(&g->out, 4 << 20);
    json_writer_init(&g->w, &g->out);
    json_object_begin(&g->w);
    json_key(&g->w, key);
    json_array_begin(&g->w);
    return g;
}

/* One shard answered; true when it was the last, and all were well. */
static bool gather_end(struct gather *g, enum err err)
{
    g->err = err ? err : g->err;
    if (--g->open > 0)
        return false;
    json_array_end(&g->w);
    if (!g->err)
        return true;
    strbuf_done(&g->out);
    call_problem(g->call, g->err, NULL);
    return false;
}

/* `a,b` → ["a","b"] */
static void write_words(struct json_writer *w, const char *key, struct str list)
{
    json_key(w, key);
    json_array_begin(w);
    struct str word;
    while (str_next_word(&list, &word))
        json_str(w, word);
    json_array_end(w);
}

static void write_runner(struct json_writer *w, const struct script_runners_runners *row)
{
    const redisReply *f = row->info;
    json_object_begin(w);
    json_kv_str(w, "id", row->id);
    json_kv_str(w, "name", redis_str(redis_field(f, "name")));
    json_kv_str(w, "host", redis_str(redis_field(f, "host")));
    json_kv_str(w, "version", redis_str(redis_field(f, "version")));
    json_kv_str(w, "state", redis_str(redis_field(f, "state")));
    write_words(w, "queues", redis_str(redis_field(f, "queues")));
    write_words(w, "tags", redis_str(redis_field(f, "tags")));
    write_words(w, "executors", redis_str(redis_field(f, "executors")));
    json_kv_int(w, "slots", redis_int(redis_field(f, "slots"), 0));
    json_kv_int(w, "busy", row->held);
    struct str capabilities = redis_str(redis_field(f, "capabilities"));
    json_kv_raw(w, "capabilities", capabilities.len ? capabilities : STR("{}"));
    json_kv_time(w, "startedAt", redis_int(redis_field(f, "registered"), 0));
    json_kv_bool(w, "draining", str_eqz(redis_str(redis_field(f, "state")), "draining") || redis_field(f, "drain"));
    json_kv_int(w, "leaseMs", row->lease_ms);
    json_object_end(w);
}

static void on_runners(void *ctx, enum err err, const struct script_runners_reply *reply)
{
    struct gather *g = ctx;
    for (size_t i = 0; !err && i < reply->runners_len; i++)
        write_runner(&g->w, &reply->runners[i]);
    if (gather_end(g, err)) {
        json_object_end(&g->w);
        call_json(g->call, 200, &g->out);
    }
}

void handle_runners(struct call *c)
{
    struct gather *g = gather_begin(c, "runners");
    if (!g) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    struct script_runners_args args = {.limit = SHARD_ROWS};
    for (unsigned i = 0; i < c->node->shard_count; i++)
        script_call_runners(c->node->shards[i].commands, shard_prefix(&c->node->shards[i]), &args, on_runners, g);
}

/* ---- draining a runner ---- */

struct drain {
    struct call *call;
    unsigned open;
    enum err err;
    int64_t found;
};

static void on_drained(void *ctx, enum err err, const struct script_runner_drain_reply *reply)
{
    struct drain *d = ctx;
    struct call *c = d->call;
    d->err = err ? err : d->err;
    d->found += err ? 0 : reply->found;
    if (--d->open > 0)
        return;
    if (d->found == 0) { /* one shard that asked it is enough: it is one process */
        call_problem(c, d->err ? d->err : ERR_RUNNER_NOT_FOUND, NULL);
        return;
    }
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 65536);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "id", call_param(c, 0));
    json_kv_bool(&w, "draining", true);
    json_object_end(&w);
    call_json(c, 202, &out);
}

static void drain(struct call *c)
{
    struct script_runner_drain_args args = {.id = call_param(c, 0), .limit = SHARD_ROWS};
    for (unsigned i = 0; i < c->node->shard_count; i++)
        script_call_runner_drain(c->node->shards[i].commands, shard_prefix(&c->node->shards[i]), &args, on_drained,
                                 c->user);
}

void handle_runner_drain(struct call *c)
{
    if (!call_body_empty(c))
        return;
    struct drain *d = arena_zalloc(&c->req->arena, sizeof *d);
    if (!d) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    d->call = c;
    d->open = c->node->shard_count;
    c->user = d;
    audit_then(c, call_param(c, 0), drain);
}
