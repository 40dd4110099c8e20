#include <strings.h>

#include "api/batch.h"
#include "api/handlers.h"
#include "api/problem.h"
#include "api/redactors.h"
#include "common/crypto.h"
#include "common/metrics.h"
#include "common/schema_cache.h"

static struct shard *shard_of_call(struct call *c)
{
    struct shard *s = node_shard_of_run(c->node, call_param(c, 0));
    if (!s)
        call_problem(c, ERR_RUN_NOT_FOUND, NULL);
    return s;
}

/* Every answer, refusals too, tells where the stream stands. */
static const char *standing(struct call *c, const struct script_append_reply *r)
{
    return call_text(c, "\"runId\":\"%.*s\",\"accepted\":%lld,\"nextSeq\":%lld,\"lastTMs\":%lld,\"stop\":%s",
                     STR_ARG(call_param(c, 0)), (long long)r->accepted, (long long)r->next_seq, (long long)r->last_t_ms,
                     r->stop ? "true" : "false");
}

static void append(struct call *c, struct event_batch *b);

/* What a claimed result is short of, by its agent's outputSchema: warnings with it, or, where that is strict, an error in its place. */
static enum err check_claim(struct call *c, struct event_batch *b, struct str digest, struct str text, bool strict)
{
    struct schema_faults faults = {.n = 1};
    struct str key = str_of(call_text(c, "o:%.*s", STR_ARG(digest))); /* an inputSchema's is the digest alone */
    struct schema *s = schema_cache_find(c->node->schemas, key, NULL);
    enum err err = s ? ERR_OK : schema_cache_put(c->node->schemas, key, STR(""), text, &s, &faults.list[0]);
    if (err && err != ERR_INVALID_FIELD)
        return err;
    if (err) /* stored by an older version of this program */
        faults.list[0] = (struct schema_fault){
            .keyword = "", .message = "can't be checked: the agent's outputSchema is none that is understood here"};
    else if (schema_check(s, b->claim_result.len > 0 ? b->claim_result : STR("null"), &faults))
        return ERR_OK;
    return batch_claim_faults(&c->req->arena, &faults, strict, b);
}

/* The definition has an outputSchema. */
static void check_and_append(struct call *c, const struct script_append_reply *reply)
{
    struct event_batch *b = c->user;
    bool again = b->schema_checked.len > 0; /* a run's definition stays the same */
    b->schema_checked = arena_str(&c->req->arena, reply->def);
    enum err err = again ? ERR_INTERNAL : check_claim(c, b, b->schema_checked, reply->schema, reply->strict != 0);
    if (err)
        problem_reply_with(c->req, err, err_status(err), NULL, standing(c, reply));
    else
        append(c, b);
}

static void on_append(void *ctx, enum err err, const struct script_append_reply *reply)
{
    struct call *c = ctx;
    if (err == ERR_SCHEMA_UNCHECKED && reply) {
        check_and_append(c, reply);
        return;
    }
    if (err) {
        problem_reply_with(c->req, err, err_status(err), NULL, reply ? standing(c, reply) : NULL);
        return;
    }
    struct strbuf out;
    strbuf_init(&out, 4096);
    strbuf_addf(&out, "{%s%s}", standing(c, reply), reply->duplicate ? ",\"duplicate\":true" : "");
    metric_add(METRIC_EVENTS_INGESTED, reply->accepted);
    call_json(c, reply->duplicate ? 200 : 202, &out);
}

static void append(struct call *c, struct event_batch *b)
{
    struct shard *s = shard_of_call(c);
    struct script_append_entries *entries = arena_alloc(&c->req->arena, (b->entry_count + 1) * sizeof *entries);
    char sha[SHA256_HEX_LEN + 1];
    if (!s)
        return;
    if (!entries) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    for (size_t i = 0; i < b->entry_count; i++) {
        const struct batch_entry *e = &b->entries[i];
        /* bytes: of the events, without the newlines between them */
        entries[i] =
            (struct script_append_entries){e->first, e->last, e->t, e->n, (int64_t)e->lines.len - (e->n - 1), e->lines};
    }
    crypto_sha256_hex(c->runner_token, sha);
    struct script_append_args args = {
        .run = call_param(c, 0),
        .attempt = c->runner_attempt,
        .token_sha = str_of(sha),
        .first = b->first,
        .last = b->last,
        .first_t = b->first_t,
        .last_t = b->last_t,
        .entries = entries,
        .entries_len = b->entry_count,
        .claim_line = b->claim_line,
        .claim_seq = b->claim_seq,
        .claim_t = b->claim_t,
        .claim_status = b->claim_status,
        .claim_result = b->claim_result,
        .claim_error = b->claim_error,
        .claim_retry = b->claim_retry,
        .claim_warnings = b->claim_warnings,
        .schema_checked = b->schema_checked,
        .events_max = c->node->config->run_events_max,
        .bytes_max = c->node->config->run_bytes_max,
        .asks = b->asks,
    };
    script_call_append(s->commands, shard_prefix(s), &args, on_append, c);
}

/* A batch that is refused by itself. Its answer tells where the stream stands, too: an empty batch asks for that, and is never stored. */
struct refusal {
    struct call *call;
    enum err err;
    const char *detail;
};

static void on_standing(void *ctx, enum err err, const struct script_append_reply *reply)
{
    struct refusal *r = ctx;
    (void)err; /* where the run can't be asked, the refusal stands alone */
    problem_reply_with(r->call->req, r->err, err_status(r->err), r->detail, reply ? standing(r->call, reply) : NULL);
}

static void refuse(struct call *c, enum err err, const char *detail)
{
    struct shard *s = node_shard_of_run(c->node, call_param(c, 0));
    struct refusal *r = arena_alloc(&c->req->arena, sizeof *r);
    char sha[SHA256_HEX_LEN + 1];
    if (!s || !r) {
        call_problem(c, err, detail);
        return;
    }
    *r = (struct refusal){c, err, detail};
    crypto_sha256_hex(c->runner_token, sha);
    struct script_append_args args = {.run = call_param(c, 0), .attempt = c->runner_attempt, .token_sha = str_of(sha)};
    script_call_append(s->commands, shard_prefix(s), &args, on_standing, r);
}

/* Nothing of a batch is stored that did not pass here. */
static void redact_and_append(struct call *c, enum err err, struct redactor *r, void *ctx)
{
    struct event_batch *b = ctx;
    if (!err)
        err = batch_redact(&c->req->arena, r, b);
    if (err) /* where the stream stands is told all the same */
        refuse(
            c, err,
            err == ERR_SECRET_NOT_FOUND
                ? "a version of a secret that this attempt was given is gone, so its events can't be redacted any more"
                : NULL);
    else
        append(c, b);
}

void handle_ingress(struct call *c)
{
    struct event_batch *b = arena_alloc(&c->req->arena, sizeof *b);
    struct str type = http_header(c->req, "content-type");
    bool ndjson = type.len >= 20 && strncasecmp(type.ptr, "application/x-ndjson", 20) == 0;
    const char *detail;
    c->user = b;
    if (!b) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    enum err err = batch_parse(&c->req->arena, c->req->body, ndjson, call_param(c, 0), b, &detail);
    if (err)
        refuse(c, err, detail);
    else
        redactors_get(c, b, redact_and_append);
}

/* ---- manifest ---- */

static void on_manifest(void *ctx, enum err err, const struct script_manifest_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4 << 20);
    json_writer_init(&w, &out);
    const redisReply *f = reply->record;
    struct str env = redis_str(redis_field(f, "env"));
    json_object_begin(&w);
    json_kv_str(&w, "runId", call_param(c, 0));
    json_kv_int(&w, "attempt", c->runner_attempt);
    json_kv_str(&w, "workspaceId", redis_str(redis_field(f, "ws")));
    json_kv_str(&w, "agent", redis_str(redis_field(f, "agent")));
    json_kv_raw(&w, "definition", reply->def);
    json_kv_raw(&w, "input", redis_str(redis_field(f, "input")));
    json_kv_raw(&w, "env", env.len ? env : STR("{}"));
    if (reply->dependencies.len > 0)
        json_kv_raw(&w, "dependencies", reply->dependencies);
    json_kv_int(&w, "timeoutMs", redis_int(redis_field(f, "timeoutMs"), 0));
    json_kv_int(&w, "nextSeq", reply->next_seq);
    json_kv_int(&w, "lastTMs", reply->last_t_ms);
    json_kv_bool(&w, "stop", reply->stop != 0);
    json_key(&w, "limits");
    json_object_begin(&w);
    json_kv_int(&w, "eventBytes", LIMIT_EVENT);
    json_kv_int(&w, "batchEvents", LIMIT_BATCH_EVENTS);
    json_kv_int(&w, "batchBytes", LIMIT_BATCH_BODY);
    json_kv_int(&w, "runEvents", c->node->config->run_events_max);
    json_kv_int(&w, "runEventBytes", c->node->config->run_bytes_max);
    json_object_end(&w);
    json_object_end(&w);
    call_json(c, 200, &out);
}

void handle_manifest(struct call *c)
{
    char sha[SHA256_HEX_LEN + 1];
    struct shard *s = shard_of_call(c);
    if (!s)
        return;
    crypto_sha256_hex(c->runner_token, sha);
    struct script_manifest_args args = {
        .run = call_param(c, 0), .attempt = c->runner_attempt, .token_sha = str_of(sha)};
    script_call_manifest(s->commands, shard_prefix(s), &args, on_manifest, c);
}
