/* POST /v1/runs/batch: each item is a submit of its own, sent together; one bad item refuses only itself. An Idempotency-Key is taken for the whole batch first, so that another body under it
 * is refused before anything of it is submitted; item i then has a key of its own under it, so that a repeated batch gives each item's first answer. */
#include "api/handlers.h"
#include "api/submit.h"

struct batch_item {
    struct batch *batch;
    struct submission sub;
    struct fault fault;
    struct submitted result;
    char status[16];
};

struct batch {
    struct call *call;
    const struct json *runs;
    struct str key; /* Idempotency-Key; "" for none */
    char digest[65];
    size_t count, open;
    struct batch_item *items;
    bool replayed;
};

static void write_item(struct json_writer *w, const struct batch_item *item)
{
    json_object_begin(w);
    if (item->fault.err) {
        json_key(w, "error");
        json_object_begin(w);
        json_kv_str(w, "code", str_of(err_code(item->fault.err)));
        json_kv_str(w, "detail", str_of(item->fault.detail ? item->fault.detail : err_sentence(item->fault.err)));
        json_object_end(w);
    } else {
        json_kv_str(w, "runId", str_of(item->result.run_id.s));
        json_kv_str(w, "status", str_of(item->status));
        if (!item->result.durable)
            json_kv_bool(w, "durable", false);
    }
    json_object_end(w);
}

static void answer(struct batch *b)
{
    struct strbuf out;
    struct json_writer w;
    bool again = false;
    for (size_t i = 0; i < b->count; i++)
        again = again || err_retryable(b->items[i].fault.err);
    if (again)
        http_reply_header(b->call->req, "Retry-After", STR("1"));
    if (b->replayed)
        http_reply_header(b->call->req, "Idempotency-Replayed", STR("true"));
    strbuf_init(&out, 4 << 20);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_key(&w, "results");
    json_array_begin(&w);
    for (size_t i = 0; i < b->count; i++)
        write_item(&w, &b->items[i]);
    json_array_end(&w);
    json_object_end(&w);
    call_json(b->call, 200, &out);
}

static void item_done(struct batch *b)
{
    if (--b->open == 0)
        answer(b);
}

static void on_item(void *ctx, enum err err, const struct submitted *s)
{
    struct batch_item *item = ctx;
    if (err) {
        item->fault = (struct fault){err, submit_detail(err)};
    } else {
        item->result = *s;
        memcpy(item->status, s->status.ptr, s->status.len + 1);
        item->batch->replayed = item->batch->replayed || s->replayed;
    }
    item_done(item->batch);
}

static void submit_items(struct batch *b)
{
    struct call *c = b->call;
    size_t i = 0;
    b->open = b->count + 1; /* this walk itself holds one */
    for (const struct json *run = b->runs->child; run; run = run->next, i++) {
        struct batch_item *item = &b->items[i];
        item->batch = b;
        const char *at = call_text(c, "runs[%zu].", i);
        if (!validate_submission(&c->req->arena, run, at, false, &item->sub, &item->fault)) {
            b->open--;
            continue;
        }
        struct submit_order order = {
            .call = c, .sub = &item->sub, .idem_digest = b->digest, .fn = on_item, .ctx = item};
        if (b->key.len > 0) /* no header value holds a newline: such a key is no client's */
            order.idem_key = str_of(call_text(c, "%.*s\n%zu", STR_ARG(b->key), i));
        submit_run(&order);
    }
    item_done(b);
}

static void on_key(void *ctx, enum err err, const struct script_batch_reply *reply)
{
    struct batch *b = ctx;
    (void)reply;
    if (err)
        call_problem(b->call, err,
                     err == ERR_IDEMPOTENCY_MISMATCH ? "this Idempotency-Key was used with another body" : NULL);
    else
        submit_items(b);
}

void handle_batch(struct call *c)
{
    struct fault fault;
    const struct json *root;
    struct batch *b = arena_zalloc(&c->req->arena, sizeof *b);
    if (!b) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    if (!validate_body(&c->req->arena, c->req->body, &root, &fault) ||
        !submit_idempotency(c, "batch", &b->key, b->digest, &fault)) {
        call_problem(c, fault.err, fault.detail);
        return;
    }
    const struct json *runs = json_get(root, "runs");
    if (root->type == JSON_OBJECT && root->child && root->count > (runs ? 1 : 0)) {
        const struct json *odd = root->child == runs ? root->child->next : root->child;
        call_problem(c, ERR_UNKNOWN_FIELD,
                     call_text(c, "%.*s is not a field of a batch; it has runs only",
                               (int)(odd->key.len > 64 ? 64 : odd->key.len), odd->key.ptr));
        return;
    }
    if (!runs || runs->type != JSON_ARRAY || runs->count == 0 || runs->count > LIMIT_BATCH_RUNS) {
        call_problem(c, runs ? ERR_INVALID_FIELD : ERR_MISSING_FIELD,
                     call_text(c, "runs must be an array of 1 to %d runs", LIMIT_BATCH_RUNS));
        return;
    }
    b->call = c;
    b->runs = runs;
    b->count = runs->count;
    b->items = arena_zalloc(&c->req->arena, runs->count * sizeof *b->items);
    if (!b->items) {
        call_problem(c, ERR_NO_MEMORY, NULL);
    } else if (b->key.len == 0) {
        submit_items(b);
    } else {
        struct shard *s = node_shard_of_workspace(c->node, c->workspace);
        struct script_batch_args args = {.ws = c->workspace, .idem_key = b->key, .idem_digest = str_of(b->digest)};
        script_call_batch(s->commands, shard_prefix(s), &args, on_key, b);
    }
}
