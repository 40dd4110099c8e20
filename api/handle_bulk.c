/* POST /v1/runs/bulk: an action on every run that a filter finds, one bounded page a call. A page is read and dealt with in pieces: of each piece the node keeps ids only, and each run is dealt with by the
 * script that a single one would be, so that no call is long and a page that was cut short (the client went, the node died) may be asked for again.
 * A rerun alone would not bear that: under an Idempotency-Key each source has a key of its own, and runs made since the first page, its own copies among them, are left alone. */
#include <stdio.h>

#include "api/audit.h"
#include "api/filter.h"
#include "api/handlers.h"
#include "api/rerun.h"
#include "common/crypto.h"

enum { PIECE = 250, IN_FLIGHT = 100, IN_FLIGHT_SUBMITS = 16 /* an input may be a MiB */ };

enum bulk_action { BULK_STOP, BULK_RERUN, BULK_DELETE, BULK_REDRIVE, BULK_ACTIONS };
static const char *const action_names[BULK_ACTIONS] = {"stop", "rerun", "delete", "redrive"};

struct bulk_item {
    struct bulk *bulk;
    struct id run;
    char key[LIMIT_IDEMPOTENCY_KEY + 1 + ID_LEN];
};

struct bulk_failure {
    struct id run;
    enum err err;
};

struct bulk {
    struct call *call;
    struct shard *shard;
    enum bulk_action action;
    struct run_filter filter;
    struct str key; /* Idempotency-Key; "" for none */
    char digest[65], filter_digest[65];
    char cursor[80], next[80]; /* where the piece under way began, and where the one behind it begins ("": nowhere) */
    int64_t limit, examined, matched, done, skipped;
    struct bulk_item items[PIECE]; /* of the piece under way: what is to be done */
    size_t count, started, open;
    struct bulk_failure failed[LIMIT_BULK];
    size_t failed_count;
    bool gone; /* the client is: nothing more is begun */
};

static void next_piece(struct bulk *b);

/* ---- the answer ---- */

static void write_failed(struct json_writer *w, const struct bulk *b)
{
    json_key(w, "failed");
    json_array_begin(w);
    for (size_t i = 0; i < b->failed_count; i++) {
        json_object_begin(w);
        json_kv_str(w, "runId", str_of(b->failed[i].run.s));
        json_kv_str(w, "code", str_of(err_code(b->failed[i].err)));
        json_object_end(w);
    }
    json_array_end(w);
}

static void answer(struct bulk *b, const char *cursor)
{
    struct strbuf out;
    struct json_writer w;
    b->call->req->on_gone = NULL;
    strbuf_init(&out, 1 << 20);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_int(&w, "examined", b->examined);
    json_kv_int(&w, "matched", b->matched);
    json_kv_int(&w, "done", b->done);
    json_kv_int(&w, "skipped", b->skipped);
    write_failed(&w, b);
    json_key(&w, "cursor");
    if (*cursor)
        json_str(&w, str_of(cursor));
    else
        json_null(&w);
    json_object_end(&w);
    call_json(b->call, 200, &out);
}

/* ---- one run ---- */

static void item_start(struct bulk_item *item);

/* Begins what may be begun; with nothing open any more the piece is dealt with. */
static void items_go_on(struct bulk *b)
{
    bool submits = b->action == BULK_RERUN || b->action == BULK_REDRIVE;
    size_t most = submits ? IN_FLIGHT_SUBMITS : IN_FLIGHT;
    while (!b->gone && b->started < b->count && b->open < most) {
        b->open++;
        item_start(&b->items[b->started++]);
    }
    if (b->open > 0)
        return;
    memcpy(b->cursor, b->next, sizeof b->cursor);
    if (b->gone || !*b->cursor || b->examined >= b->limit)
        answer(b, b->cursor);
    else
        next_piece(b);
}

/* err: ERR_OK when it was done. What another call did meanwhile, or an earlier one of this page, is no failure. */
static void item_end(struct bulk_item *item, enum err err, bool already)
{
    struct bulk *b = item->bulk;
    if (err == ERR_RUN_NOT_FOUND || err == ERR_RUN_ACTIVE || err == ERR_NOT_DEAD_LETTER || already)
        b->skipped++;
    else if (err)
        b->failed[b->failed_count++] = (struct bulk_failure){item->run, err};
    else
        b->done++;
    b->open--;
    items_go_on(b);
}

static void on_stop(void *ctx, enum err err, const struct script_stop_reply *reply)
{
    item_end(ctx, err, !err && reply->already);
}

static void on_delete(void *ctx, enum err err, const struct script_delete_reply *reply)
{
    (void)reply;
    item_end(ctx, err, false);
}

static void on_submit(void *ctx, enum err err, const struct submitted *s)
{
    (void)s;
    item_end(ctx, err, false);
}

static void item_submit(struct bulk_item *item)
{
    struct bulk *b = item->bulk;
    struct rerun_order order = {.call = b->call,
                                .run_id = str_of(item->run.s),
                                .redrive = b->action == BULK_REDRIVE,
                                .idem_key = STR(""),
                                .idem_digest = b->digest,
                                .fn = on_submit,
                                .ctx = item};
    if (b->key.len > 0) { /* no header value holds a newline: such a key is no client's */
        memcpy(item->key, b->key.ptr, b->key.len);
        item->key[b->key.len] = '\n';
        memcpy(item->key + b->key.len + 1, item->run.s, ID_LEN);
        order.idem_key = (struct str){item->key, b->key.len + 1 + ID_LEN};
    }
    rerun_run(&order);
}

static void item_start(struct bulk_item *item)
{
    struct bulk *b = item->bulk;
    struct str run = str_of(item->run.s);
    struct script_stop_args stop = {.ws = b->call->workspace,
                                    .run = run,
                                    .max = LIMIT_STOP_TREE,
                                    .rid = str_of(redis_run_id(b->shard->commands)),
                                    .retention_ms = b->call->node->config->retention_ms};
    struct script_delete_args delete = {.ws = b->call->workspace, .run = run};
    switch (b->action) {
    case BULK_STOP:
        script_call_stop(b->shard->commands, shard_prefix(b->shard), &stop, on_stop, item);
        break;
    case BULK_DELETE:
        script_call_delete(b->shard->commands, shard_prefix(b->shard), &delete, on_delete, item);
        break;
    case BULK_RERUN:
    case BULK_REDRIVE:
    case BULK_ACTIONS:
        item_submit(item);
        break;
    }
}

/* ---- one piece ---- */

/* Whether a run of that status is one for the action. */
static bool fits_action(enum bulk_action action, struct str status)
{
    bool ended = str_eqz(status, "success") || str_eqz(status, "error") || str_eqz(status, "stopped");
    return action == BULK_REDRIVE || (action == BULK_STOP) != ended;
}

static void on_piece(void *ctx, enum err err, const struct script_list_reply *reply)
{
    struct bulk *b = ctx;
    if (!err && (reply->runs_len > PIECE || reply->next.len >= sizeof b->next))
        err = ERR_INTERNAL;
    if (err && b->examined == 0) {
        b->call->req->on_gone = NULL;
        call_problem(b->call, err, NULL);
        return;
    }
    if (err) { /* what was done is said, and where to go on */
        answer(b, b->cursor);
        return;
    }
    b->examined += reply->examined;
    b->matched += (int64_t)reply->runs_len;
    b->count = b->started = 0;
    for (size_t i = 0; i < reply->runs_len; i++) {
        struct bulk_item *item = &b->items[b->count];
        item->bulk = b;
        if (fits_action(b->action, redis_str(redis_field(reply->runs[i].record, "status"))) &&
            id_parse(reply->runs[i].run, &item->run))
            b->count++;
        else
            b->skipped++;
    }
    snprintf(b->next, sizeof b->next, "%.*s", STR_ARG(reply->next));
    items_go_on(b);
}

static void next_piece(struct bulk *b)
{
    int64_t left = b->limit - b->examined;
    struct script_list_args args = filter_args(b->call, &b->filter);
    args.cursor = str_of(b->cursor);
    args.limit = args.examine = left < PIECE ? left : PIECE;
    args.brief = 1;
    script_call_list(b->shard->commands, shard_prefix(b->shard), &args, on_piece, b);
}

/* ---- the request ---- */

static void on_gone(struct http_req *req)
{
    struct call *c = req->user;
    struct bulk *b = c->user;
    b->gone = true;
}

static void on_key(void *ctx, enum err err, const struct script_bulk_reply *reply)
{
    struct bulk *b = ctx;
    if (err) {
        b->call->req->on_gone = NULL;
        call_problem(b->call, err,
                     err == ERR_IDEMPOTENCY_MISMATCH ? "this Idempotency-Key was used with another body" : NULL);
        return;
    }
    if (!*b->cursor) /* no run's id is below "0", so none of that microsecond is behind this position */
        snprintf(b->cursor, sizeof b->cursor, "%lld:0", (long long)reply->start_us);
    next_piece(b);
}

static bool refuse(struct fault *fault, enum err err, const char *detail)
{
    *fault = (struct fault){err, detail};
    return false;
}

static bool take_action(struct bulk *b, const struct json *v, struct fault *fault)
{
    if (!v)
        return refuse(fault, ERR_MISSING_FIELD, "action is required: stop, rerun, delete or redrive");
    b->action = BULK_STOP;
    while (v->type == JSON_STRING && b->action < BULK_ACTIONS && !str_eqz(v->string, action_names[b->action]))
        b->action++;
    if (v->type != JSON_STRING || b->action == BULK_ACTIONS)
        return refuse(fault, ERR_INVALID_FIELD, "action must be stop, rerun, delete or redrive");
    return true;
}

static bool take_page(struct bulk *b, const struct json *cursor, const struct json *limit, struct fault *fault)
{
    b->limit = LIMIT_BULK;
    if (limit && (limit->type != JSON_INT || limit->integer < 1 || limit->integer > LIMIT_BULK))
        return refuse(fault, ERR_INVALID_FIELD,
                      call_text(b->call, "limit must be an integer from 1 to %d", LIMIT_BULK));
    if (limit)
        b->limit = limit->integer;
    if (!cursor || cursor->type == JSON_NULL)
        return true;
    if (cursor->type != JSON_STRING || !filter_cursor_valid(cursor->string))
        return refuse(fault, ERR_INVALID_FIELD, "cursor must be what an earlier page gave; leave it out to begin");
    snprintf(b->cursor, sizeof b->cursor, "%.*s", STR_ARG(cursor->string));
    return true;
}

static bool read_body(struct bulk *b, struct fault *fault)
{
    struct call *c = b->call;
    const struct json *root;
    char unused[65];
    if (!validate_body(&c->req->arena, c->req->body, &root, fault) ||
        !submit_idempotency(c, "bulk", &b->key, unused, fault))
        return false;
    if (root->type != JSON_OBJECT || root->repeated_key)
        return refuse(fault, ERR_INVALID_FIELD, "the body must be an object, each of its fields once");
    for (const struct json *m = root->child; m; m = m->next)
        if (!str_eqz(m->key, "action") && !str_eqz(m->key, "filter") && !str_eqz(m->key, "cursor") &&
            !str_eqz(m->key, "limit"))
            return refuse(fault, ERR_UNKNOWN_FIELD,
                          call_text(c, "%.*s is not a field of a bulk action; it has action, filter, cursor and limit",
                                    (int)(m->key.len > 64 ? 64 : m->key.len), m->key.ptr));
    const struct json *filter = json_get(root, "filter");
    if (!take_action(b, json_get(root, "action"), fault))
        return false;
    if (!filter)
        return refuse(fault, ERR_MISSING_FIELD, "filter is required: an object; {} means every run");
    const struct str parts[] = {STR("bulk"), c->workspace, str_of(action_names[b->action]), filter->raw};
    crypto_sha256_hex_parts(parts, ARRAY_LEN(parts), b->digest);
    crypto_sha256_hex(filter->raw, b->filter_digest);
    return filter_from_json(c, filter, &b->filter, fault) &&
           take_page(b, json_get(root, "cursor"), json_get(root, "limit"), fault);
}

static void begin(struct call *c)
{
    struct bulk *b = c->user;
    c->req->on_gone = on_gone;
    struct script_bulk_args args = {.ws = c->workspace, .idem_key = b->key, .idem_digest = str_of(b->digest)};
    if (b->key.len > 0)
        script_call_bulk(b->shard->commands, shard_prefix(b->shard), &args, on_key, b);
    else
        next_piece(b);
}

void handle_bulk(struct call *c)
{
    struct bulk *b = arena_zalloc(&c->req->arena, sizeof *b);
    struct fault fault;
    if (!b) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    b->call = c;
    b->shard = node_shard_of_workspace(c->node, c->workspace);
    if (!read_body(b, &fault)) {
        call_problem(c, fault.err, fault.detail);
        return;
    }
    static const enum scope scopes[BULK_ACTIONS] = {SCOPE_RUNS_STOP, SCOPE_RUNS_CREATE, SCOPE_RUNS_DELETE,
                                                    SCOPE_RUNS_CREATE};
    if (!call_may(c, scopes[b->action])) {
        call_problem(c, ERR_FORBIDDEN,
                     call_text(c, "the key does not have the scope %s, which \"%s\" needs",
                               scope_word(scopes[b->action]), action_names[b->action]));
        return;
    }
    if (b->action == BULK_REDRIVE)
        b->filter.dead = true; /* nothing else can be redriven: the others need not be looked at */
    c->user = b;
    audit_then_with(c, str_of(action_names[b->action]),
                    str_of(call_text(c, "{\"filter\":\"%s\",\"limit\":%lld}", b->filter_digest, (long long)b->limit)),
                    begin);
}
