/* Workspaces' settings. A workspace is there when something names it, so one without settings answers with the defaults. */
#include <stdlib.h>

#include "api/audit.h"
#include "api/handlers.h"
#include "api/settings.h"
#include "common/json.h"

/* What a workspace may be told, as the hash calls it too. */
static const struct setting table[] = {
    {"weight", SETTING_NUMBER, 100},
    {"concurrency", SETTING_NUMBER, LIMIT_CONCURRENCY},
    {"queueMax", SETTING_NUMBER, 1000000000},
    {"bytesMax", SETTING_NUMBER, INT64_C(1000000000000000)},
    {"retentionMs", SETTING_NUMBER, LIMIT_RETENTION_MS},
    {"retentionCount", SETTING_NUMBER, LIMIT_RETENTION_COUNT},
    {"eventsRetentionMs", SETTING_NUMBER, LIMIT_RETENTION_MS},
    {"resultRetentionMs", SETTING_NUMBER, LIMIT_RETENTION_MS},
};
enum { SETTINGS = ARRAY_LEN(table), WEIGHT = 0, CONCURRENCY = 1 };

static void write_workspace(struct json_writer *w, struct str name, const redisReply *info, int64_t waiting,
                            int64_t bytes)
{
    json_object_begin(w);
    json_kv_str(w, "name", name);
    for (size_t i = 0; i < SETTINGS; i++) {
        int64_t n = redis_int(redis_field(info, table[i].name), i == WEIGHT ? 1 : 0);
        if (n > 0)
            json_kv_int(w, table[i].name, n);
    }
    json_kv_time(w, "createdAt", redis_int(redis_field(info, "created"), 0));
    json_key(w, "usage");
    json_object_begin(w);
    json_kv_int(w, "waiting", waiting);
    json_kv_int(w, "bytes", bytes);
    json_object_end(w);
    json_object_end(w);
}

static void answer(struct call *c, const redisReply *info, int64_t waiting, int64_t bytes)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 65536);
    json_writer_init(&w, &out);
    write_workspace(&w, call_param(c, 0), info, waiting, bytes);
    call_json(c, 200, &out);
}

static struct shard *shard_of(struct call *c)
{
    return node_shard_of_workspace(c->node, call_param(c, 0));
}

static void on_get(void *ctx, enum err err, const struct script_ws_get_reply *reply)
{
    if (err)
        call_problem(ctx, err, NULL);
    else
        answer(ctx, reply->info, reply->waiting, reply->bytes);
}

void handle_workspace_get(struct call *c)
{
    if (!call_name_valid(c, "a workspace", ERR_INVALID_FIELD))
        return;
    struct script_ws_get_args args = {.ws = call_param(c, 0)};
    script_call_ws_get(shard_of(c)->commands, shard_prefix(shard_of(c)), &args, on_get, c);
}

static void on_put(void *ctx, enum err err, const struct script_ws_put_reply *reply)
{
    if (err)
        call_problem(ctx, err, err == ERR_LIMIT_EXCEEDED ? "too many workspaces have settings; delete some" : NULL);
    else
        answer(ctx, reply->info, reply->waiting, reply->bytes);
}

static void put(struct call *c)
{
    const int64_t *values = c->user;
    struct str fields[2 * SETTINGS];
    size_t n = 0;
    for (size_t i = 0; i < SETTINGS; i++) {
        if (values[i] == 0)
            continue;
        fields[n++] = str_of(table[i].name);
        fields[n++] = str_of(call_text(c, "%lld", (long long)values[i]));
    }
    struct script_ws_put_args args = {.ws = call_param(c, 0),
                                      .concurrency = values[CONCURRENCY],
                                      .max_workspaces = LIMIT_WORKSPACES,
                                      .fields = fields,
                                      .fields_len = n};
    script_call_ws_put(shard_of(c)->commands, shard_prefix(shard_of(c)), &args, on_put, c);
}

void handle_workspace_put(struct call *c)
{
    int64_t *values = arena_zalloc(&c->req->arena, SETTINGS * sizeof *values);
    if (!values) {
        call_problem(c, ERR_NO_MEMORY, NULL);
    } else if (call_name_valid(c, "a workspace", ERR_INVALID_FIELD) && settings_read(c, table, SETTINGS, values)) {
        c->user = values;
        audit_then(c, call_param(c, 0), put);
    }
}

static void on_delete(void *ctx, enum err err, const struct script_ws_delete_reply *reply)
{
    (void)reply;
    call_done(ctx, err);
}

static void delete (struct call *c)
{
    struct script_ws_delete_args args = {.ws = call_param(c, 0)};
    script_call_ws_delete(shard_of(c)->commands, shard_prefix(shard_of(c)), &args, on_delete, c);
}

void handle_workspace_delete(struct call *c)
{
    if (call_name_valid(c, "a workspace", ERR_INVALID_FIELD))
        audit_then(c, call_param(c, 0), delete);
}

/* ---- the list: a page of each shard, merged by name ---- */

enum { PAGE_ROWS = 8192 }; /* of all shards together, what a request's memory holds; shards are at most 256 */

struct page_row {
    struct str name, json;
};

struct page {
    struct call *call;
    int64_t limit;
    unsigned open;
    bool more;
    enum err err;
    struct page_row *rows; /* limit of each shard */
    size_t count;
};

static int by_name(const void *a, const void *b)
{
    const struct page_row *x = a, *y = b;
    size_t n = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = memcmp(x->name.ptr, y->name.ptr, n);
    return order ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

static void page_answer(struct page *p)
{
    struct strbuf out;
    struct json_writer w;
    size_t shown = p->count < (size_t)p->limit ? p->count : (size_t)p->limit;
    if (p->count > 0)
        qsort(p->rows, p->count, sizeof *p->rows, by_name);
    strbuf_init(&out, 1 << 20);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_key(&w, "workspaces");
    json_array_begin(&w);
    for (size_t i = 0; i < shown; i++)
        json_raw(&w, p->rows[i].json);
    json_array_end(&w);
    json_key(&w, "cursor");
    if (shown > 0 && (p->more || shown < p->count))
        json_str(&w, p->rows[shown - 1].name);
    else
        json_null(&w);
    json_object_end(&w);
    call_json(p->call, 200, &out);
}

static void keep_row(struct page *p, const struct script_ws_list_workspaces *row)
{
    struct arena *a = &p->call->req->arena;
    struct strbuf text;
    struct json_writer w;
    strbuf_init(&text, 65536);
    json_writer_init(&w, &text);
    write_workspace(&w, row->name, row->info, row->waiting, row->bytes);
    struct page_row kept = {arena_str(a, row->name), arena_str(a, strbuf_str(&text))};
    strbuf_done(&text);
    if (kept.name.ptr && kept.json.ptr)
        p->rows[p->count++] = kept;
    else
        p->err = ERR_NO_MEMORY;
}

static void on_list(void *ctx, enum err err, const struct script_ws_list_reply *reply)
{
    struct page *p = ctx;
    for (size_t i = 0; !err && i < reply->workspaces_len; i++)
        keep_row(p, &reply->workspaces[i]);
    p->more = p->more || (!err && reply->more);
    p->err = err ? err : p->err;
    if (--p->open > 0)
        return;
    if (p->err)
        call_problem(p->call, p->err, NULL);
    else
        page_answer(p);
}

void handle_workspace_list(struct call *c)
{
    struct script_ws_list_args args = {.after = STR("")};
    if (http_query(c->req, "after", 0, &args.after) && !keys_name_valid(args.after)) {
        call_problem(c, ERR_INVALID_PARAMETER, "after must be the cursor of an earlier page");
        return;
    }
    if (!call_query_int(c, "limit", 1, LIMIT_PAGE, LIMIT_PAGE, &args.limit))
        return;
    unsigned shards = c->node->shard_count;
    if (args.limit > PAGE_ROWS / shards)
        args.limit = PAGE_ROWS / shards; /* of many shards a page is short, and has its cursor */
    struct page *p = arena_zalloc(&c->req->arena, sizeof *p);
    struct page_row *rows = arena_alloc(&c->req->arena, (size_t)args.limit * shards * sizeof *rows);
    if (!p || !rows) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    *p = (struct page){.call = c, .limit = args.limit, .open = shards, .rows = rows};
    for (unsigned i = 0; i < shards; i++)
        script_call_ws_list(c->node->shards[i].commands, shard_prefix(&c->node->shards[i]), &args, on_list, p);
}
