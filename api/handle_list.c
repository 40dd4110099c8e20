/* GET /v1/runs: pages of the script `list` put together, newest first. */
#include "api/filter.h"
#include "api/handlers.h"
#include "api/record.h"

enum { EXAMINE_STEP = 250, LIST_BYTES = 8 << 20 };

/* A list under way: goes on until the limit, the examined bound, or the end. */
struct list_call {
    struct call *call;
    struct shard *shard;
    struct run_filter filter;
    struct str cursor;
    int64_t limit, found, examined;
    struct strbuf out;
    struct json_writer w;
};

static void list_step(struct list_call *l);

static void list_end(struct list_call *l, struct str next)
{
    json_array_end(&l->w);
    json_key(&l->w, "cursor");
    if (next.len > 0)
        json_str(&l->w, next);
    else
        json_null(&l->w);
    json_object_end(&l->w);
    call_json(l->call, 200, &l->out);
}

static void on_list(void *ctx, enum err err, const struct script_list_reply *reply)
{
    struct list_call *l = ctx;
    if (err) {
        strbuf_done(&l->out);
        call_problem(l->call, err, NULL);
        return;
    }
    for (size_t i = 0; i < reply->runs_len; i++) {
        const struct script_list_runs *row = &reply->runs[i];
        struct record r = {row->run, row->record, row->last_seq, row->event_count, row->event_bytes};
        record_write(&l->w, &r, RECORD_SUMMARY);
        if (l->out.len > LIST_BYTES && (i + 1 < reply->runs_len || reply->next.len > 0)) { /* a short page */
            list_end(l, str_of(call_text(l->call, "%lld:%.*s", (long long)row->created_us, STR_ARG(row->run))));
            return;
        }
    }
    l->found += (int64_t)reply->runs_len;
    l->examined += reply->examined;
    if (reply->next.len == 0 || l->found >= l->limit || l->examined >= LIMIT_PAGE_EXAMINED) {
        list_end(l, reply->next);
        return;
    }
    l->cursor = arena_str(&l->call->req->arena, reply->next);
    list_step(l);
}

static void list_step(struct list_call *l)
{
    struct script_list_args args = filter_args(l->call, &l->filter);
    args.cursor = l->cursor;
    args.limit = l->limit - l->found;
    args.examine = EXAMINE_STEP;
    script_call_list(l->shard->commands, shard_prefix(l->shard), &args, on_list, l);
}

void handle_list(struct call *c)
{
    struct list_call *l = arena_zalloc(&c->req->arena, sizeof *l);
    if (!l) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    l->call = c;
    l->shard = node_shard_of_workspace(c->node, c->workspace);
    if (http_query(c->req, "cursor", 0, &l->cursor) && !filter_cursor_valid(l->cursor)) {
        call_problem(c, ERR_INVALID_PARAMETER, "cursor must be what an earlier page gave");
        return;
    }
    if (!call_query_int(c, "limit", 1, LIMIT_PAGE, 50, &l->limit) || !filter_from_query(c, &l->filter))
        return;
    strbuf_init(&l->out, 2 * LIST_BYTES);
    json_writer_init(&l->w, &l->out);
    json_object_begin(&l->w);
    json_key(&l->w, "runs");
    json_array_begin(&l->w);
    list_step(l);
}
