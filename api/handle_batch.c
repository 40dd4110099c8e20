/* POST /v1/runs/batch: each item is a submit of its own, sent together; one bad item refuses only itself, and what depends on it. An item that depends on others ("#N" in its dependsOn) goes when those were
 * answered, with their ids. An Idempotency-Key is taken for the whole batch first, so that another body under it
 * is refused before anything of it is submitted; item i then has a key of its own under it, so that a repeated batch gives each item's first answer. */
#include "api/handlers.h"
#include "api/input_check.h"
#include "api/submit.h"

enum {
    FAULTS_MAX = 3 << 20 /* of the answer */,
    SEND_AT = 16 /* runs: Redis works on these while the next are written */
};

/* An item that names another of its batch. */
struct batch_ref {
    struct batch_item *from, *to;
    size_t slot; /* in from's depends */
    struct batch_ref *next_of_from, *next_to;
};

/* refused or accepted: `ended`. Before that: `sent`, or waiting for `pending` others. */
struct batch_item {
    struct batch *batch;
    struct submission sub;
    struct fault fault;
    struct str faults; /* of its input */
    struct submitted result;
    char status[16];
    struct batch_ref *refs, *dependents;
    size_t pending; /* refs that were not answered yet */
    size_t left;    /* for finding cycles */
    bool clear;     /* on no cycle */
    bool sent, ended;
    struct batch_item *next; /* of those that ended just now */
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
        if (item->faults.len > 0 &&
            w->out->len + item->faults.len < FAULTS_MAX) /* the first ones; the detail is there */
            json_kv_raw(w, "faults", item->faults);
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

/* ---- items that depend on each other ---- */

static bool refuse_ref(struct batch_item *item, struct str ref, enum err err, const char *what)
{
    struct batch *b = item->batch;
    const char *detail =
        call_text(b->call, "runs[%zu].dependsOn: %.*s %s", (size_t)(item - b->items), STR_ARG(ref), what);
    item->fault = (struct fault){err, detail};
    return false;
}

/* Notes what of the item's dependsOn are runs of this batch. False (and its fault) when one can't be. */
static bool link_item(struct batch_item *item)
{
    struct batch *b = item->batch;
    for (size_t slot = 0; slot < item->sub.depends_len; slot++) {
        struct str ref = item->sub.depends[slot];
        if (ref.len < 2 || ref.ptr[0] != '#')
            continue;
        size_t n = 0;
        for (size_t i = 1; i < ref.len && n < b->count; i++)
            n = n * 10 + (size_t)(ref.ptr[i] - '0');
        if (n >= b->count)
            return refuse_ref(item, ref, ERR_INVALID_FIELD, "is no run of this batch");
        if (&b->items[n] == item)
            return refuse_ref(item, ref, ERR_DEPENDENCY_CYCLE, "is the run itself");
        for (struct batch_ref *r = item->refs; r; r = r->next_of_from)
            if (r->to == &b->items[n]) /* "#1" and "#01" */
                return refuse_ref(item, ref, ERR_INVALID_FIELD, "stands twice");
        struct batch_ref *r = arena_zalloc(&b->call->req->arena, sizeof *r);
        if (!r)
            return refuse_ref(item, ref, ERR_NO_MEMORY, "has no room");
        *r = (struct batch_ref){item, &b->items[n], slot, item->refs, b->items[n].dependents};
        item->refs = b->items[n].dependents = r;
        item->pending++;
    }
    return true;
}

/* Takes away what depends on nothing that is left, over and over: cycles stay, and what is behind them. */
static void clear_forwards(struct batch *b, struct batch_item **stack)
{
    size_t n = 0;
    for (size_t i = 0; i < b->count; i++) {
        b->items[i].left = b->items[i].pending;
        b->items[i].clear = b->items[i].pending == 0;
        if (b->items[i].clear)
            stack[n++] = &b->items[i];
    }
    while (n > 0)
        for (struct batch_ref *r = stack[--n]->dependents; r; r = r->next_to)
            if (--r->from->left == 0) {
                r->from->clear = true;
                stack[n++] = r->from;
            }
}

/* The same from the other end: what nothing that is left depends on. Only cycles stay, and what is between two of them. */
static void clear_backwards(struct batch *b, struct batch_item **stack)
{
    size_t n = 0;
    for (size_t i = 0; i < b->count; i++) {
        b->items[i].left = 0;
        for (struct batch_ref *r = b->items[i].dependents; r; r = r->next_to)
            b->items[i].left += r->from->clear ? 0 : 1;
    }
    for (size_t i = 0; i < b->count; i++)
        if (!b->items[i].clear && b->items[i].left == 0)
            stack[n++] = &b->items[i];
    while (n > 0) {
        struct batch_item *item = stack[--n];
        item->clear = true;
        for (struct batch_ref *r = item->refs; r; r = r->next_of_from)
            if (!r->to->clear && --r->to->left == 0)
                stack[n++] = r->to;
    }
}

static void refuse_cycles(struct batch *b)
{
    struct batch_item **stack = arena_alloc(&b->call->req->arena, b->count * sizeof(struct batch_item *));
    if (stack) {
        clear_forwards(b, stack);
        clear_backwards(b, stack);
    }
    for (size_t i = 0; i < b->count; i++)
        if (!b->items[i].clear && !b->items[i].fault.err)
            b->items[i].fault = (struct fault){stack ? ERR_DEPENDENCY_CYCLE : ERR_NO_MEMORY,
                                               "dependsOn leads back to this run over others of the batch"};
}

/* ---- submitting ---- */

static void item_end(struct batch_item *item);

static void on_item(void *ctx, enum err err, const struct submitted *s)
{
    struct batch_item *item = ctx;
    if (err) {
        item->faults = s ? s->faults : STR("");
        item->fault = (struct fault){err, s ? input_detail(item->batch->call, s->faults) : submit_detail(err)};
    } else {
        item->result = *s;
        memcpy(item->status, s->status.ptr, s->status.len + 1);
        item->batch->replayed = item->batch->replayed || s->replayed;
    }
    item_end(item);
}

static void item_send(struct batch_item *item)
{
    struct batch *b = item->batch;
    struct submit_order order = {
        .call = b->call, .sub = &item->sub, .idem_digest = b->digest, .fn = on_item, .ctx = item};
    item->sent = true;
    if (b->key.len > 0) /* no header value holds a newline: such a key is no client's */
        order.idem_key = str_of(call_text(b->call, "%.*s\n%zu", STR_ARG(b->key), (size_t)(item - b->items)));
    submit_run(&order);
}

/* One of those that r->from waits for has ended: it goes when it was the last, or is refused too (true). */
static bool ref_end(const struct batch_ref *r)
{
    struct batch_item *item = r->from;
    if (item->ended)
        return false;
    if (r->to->fault.err) {
        if (!item->fault.err)
            (void)refuse_ref(item, item->sub.depends[r->slot], ERR_DEPENDENCY_REFUSED, "was refused");
        return true;
    }
    item->sub.depends[r->slot] = str_of(r->to->result.run_id.s);
    if (--item->pending == 0 && !item->fault.err)
        item_send(item);
    return false;
}

/* An item was accepted or refused. What is refused with it ends here too, one after the other. */
static void item_end(struct batch_item *item)
{
    struct batch *b = item->batch;
    item->ended = true;
    item->next = NULL;
    while (item) {
        struct batch_item *ended = item;
        item = ended->next;
        b->open--;
        for (struct batch_ref *r = ended->dependents; r; r = r->next_to)
            if (ref_end(r)) {
                r->from->ended = true;
                r->from->next = item;
                item = r->from;
            }
    }
    if (b->open == 0)
        answer(b);
}

static void submit_items(struct batch *b)
{
    struct call *c = b->call;
    size_t i = 0;
    for (const struct json *run = b->runs->child; run; run = run->next, i++) {
        const char *at = call_text(c, "runs[%zu].", i);
        b->items[i].batch = b;
        if (!validate_submission(&c->req->arena, run, at, SUBMISSION_REFS, &b->items[i].sub, &b->items[i].fault) ||
            !submit_webhook(c, at, &b->items[i].sub, &b->items[i].fault))
            b->items[i].sub.depends_len = 0;
    }
    for (i = 0; i < b->count; i++)
        (void)link_item(&b->items[i]);
    refuse_cycles(b);
    b->open = b->count + 1; /* this walk itself holds one */
    for (i = 0; i < b->count; i++)
        if (b->items[i].fault.err && !b->items[i].ended)
            item_end(&b->items[i]);
    size_t sent = 0;
    for (i = 0; i < b->count; i++) {
        if (b->items[i].ended || b->items[i].sent || b->items[i].pending > 0)
            continue;
        item_send(&b->items[i]);
        if (++sent % SEND_AT == 0)
            redis_flush(call_shard(c)->commands);
    }
    if (--b->open == 0)
        answer(b);
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
