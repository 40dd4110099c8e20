/* GET /v1/runs/{id}/tree: a run and its descendants in pre-order. The script `children` walks a bounded number of steps a call and gives back its path, which goes into the next call. */
#include <stdlib.h>

#include "api/handlers.h"
#include "api/record.h"

enum { TREE_PAGE = 100, TREE_BYTES = 8 << 20 };

struct tree_call {
    struct call *call;
    struct shard *shard;
    int64_t limit, found;
    struct strbuf out;
    struct json_writer w;
};

static void tree_end(struct tree_call *t, bool truncated)
{
    json_array_end(&t->w);
    json_kv_bool(&t->w, "truncated", truncated);
    json_object_end(&t->w);
    call_json(t->call, 200, &t->out);
}

static void on_children(void *ctx, enum err err, const struct script_children_reply *reply);

static void tree_step(struct tree_call *t, struct str root, const struct script_children_path *path, size_t path_len)
{
    int64_t left = t->limit - t->found + 1; /* one beyond the limit, to tell whether something is left out */
    struct script_children_args args = {.ws = t->call->workspace,
                                        .root = root,
                                        .limit = left < TREE_PAGE ? left : TREE_PAGE,
                                        .path = path,
                                        .path_len = path_len};
    script_call_children(t->shard->commands, shard_prefix(t->shard), &args, on_children, t);
}

/* The path is as long as the tree is deep: at most what was shown. */
static void tree_go_on(struct tree_call *t, const struct script_children_reply *reply)
{
    struct script_children_path *path = calloc(reply->rest_len, sizeof *path);
    PRE(path);
    for (size_t i = 0; i < reply->rest_len; i++)
        path[i] = (struct script_children_path){reply->rest[i].run, reply->rest[i].after};
    tree_step(t, STR(""), path, reply->rest_len);
    free(path);
}

static void on_children(void *ctx, enum err err, const struct script_children_reply *reply)
{
    struct tree_call *t = ctx;
    if (err) {
        strbuf_done(&t->out);
        call_problem(t->call, err, NULL);
        return;
    }
    for (size_t i = 0; i < reply->runs_len; i++) {
        const struct script_children_runs *row = &reply->runs[i];
        if (t->found == t->limit || t->out.len > TREE_BYTES) {
            tree_end(t, true);
            return;
        }
        struct record r = {row->run, row->record, row->last_seq, row->event_count, row->event_bytes};
        record_write_node(&t->w, &r, row->depth);
        t->found++;
    }
    if (reply->rest_len == 0)
        tree_end(t, false);
    else
        tree_go_on(t, reply);
}

void handle_tree(struct call *c)
{
    struct tree_call *t = arena_zalloc(&c->req->arena, sizeof *t);
    if (!t) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    t->call = c;
    t->shard = node_shard_of_run(c->node, call_param(c, 0));
    if (!t->shard) {
        call_problem(c, ERR_RUN_NOT_FOUND, NULL);
        return;
    }
    if (!call_query_int(c, "limit", 1, LIMIT_TREE, LIMIT_TREE, &t->limit))
        return;
    strbuf_init(&t->out, 2 * TREE_BYTES);
    json_writer_init(&t->w, &t->out);
    json_object_begin(&t->w);
    json_kv_str(&t->w, "root", call_param(c, 0));
    json_key(&t->w, "runs");
    json_array_begin(&t->w);
    tree_step(t, call_param(c, 0), NULL, 0);
}
