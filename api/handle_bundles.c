/* Bundles: the code of agents, an archive that is sent in chunks, named by the SHA-256 of its bytes, and kept once a workspace. What is in it is the runner's affair; a node only sees to its length and its digest.
 * Who knows a digest may name it: only a list tells digests, and narrowed keys get none. */
#include <stdlib.h>

#include "api/audit.h"
#include "api/handlers.h"
#include "api/validate_fields.h"
#include "common/crypto.h"

enum { VERIFIED_AT_ONCE = 8 }; /* a thread holds one chunk of each */

struct begin {
    struct call *call;
    struct str digest;
    int64_t bytes, files, unpacked; /* -1: not said */
};

static struct str hex_of(struct str digest)
{
    return (struct str){digest.ptr + 7, digest.len - 7};
}

static bool digest_valid(struct str s)
{
    bool ok = s.len == 7 + SHA256_HEX_LEN && str_starts(s, STR("sha256:"));
    for (size_t i = 7; ok && i < s.len; i++)
        ok = (s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'f');
    return ok;
}

/* The digest of the path; answered when it is none. */
static bool path_digest(struct call *c, struct str *ret_hex)
{
    if (digest_valid(call_param(c, 0))) {
        *ret_hex = hex_of(call_param(c, 0));
        return true;
    }
    call_problem(c, ERR_BUNDLE_NOT_FOUND, "a bundle's digest is sha256: and 64 hexadecimal digits in lower case");
    return false;
}

/* The chunk's number of the path; answered when it is none. */
static bool path_chunk(struct call *c, unsigned *ret_n)
{
    struct str s = call_param(c, 1);
    bool ok = s.len > 0 && s.len <= 4 && (s.len == 1 || s.ptr[0] != '0');
    unsigned n = 0;
    for (size_t i = 0; ok && i < s.len; i++) {
        ok = s.ptr[i] >= '0' && s.ptr[i] <= '9';
        n = n * 10 + (unsigned)(s.ptr[i] - '0');
    }
    if (ok)
        *ret_n = n;
    else
        call_problem(c, ERR_INVALID_PARAMETER, "a chunk's number is an integer from 0");
    return ok;
}

/* Whether Redis has room for megabytes; answered when it has not. */
static bool has_room(struct call *c)
{
    const struct shard *s = call_shard(c);
    if (s->memory_pressure || s->evicting)
        call_problem(c, s->evicting ? ERR_REDIS_UNAVAILABLE : ERR_MEMORY_PRESSURE, NULL);
    return !s->memory_pressure && !s->evicting;
}

/* ---- POST /v1/bundles ---- */

static void on_begin(void *ctx, enum err err, const struct script_bundle_begin_reply *reply)
{
    struct begin *b = ctx;
    struct call *c = b->call;
    if (err) {
        call_problem(c, err,
                     err == ERR_LIMIT_EXCEEDED ? "this workspace has as many bundles as it may; delete one that no "
                                                 "agent uses, or let it expire"
                                               : NULL);
        return;
    }
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 65536);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "digest", b->digest);
    json_kv_bool(&w, "complete", reply->complete);
    if (!reply->complete) {
        json_kv_int(&w, "chunkBytes", LIMIT_BUNDLE_CHUNK);
        json_kv_int(&w, "chunks", reply->chunks);
        json_key(&w, "missing");
        json_array_begin(&w);
        for (size_t i = 0; i < reply->missing_len; i++)
            json_raw(&w, reply->missing[i]);
        json_array_end(&w);
    }
    json_object_end(&w);
    call_json(c, 200, &out);
}

static void begin(struct call *c)
{
    struct begin *b = c->user;
    struct script_bundle_begin_args args = {.ws = c->workspace,
                                            .hex = hex_of(b->digest),
                                            .bytes = b->bytes,
                                            .files = b->files,
                                            .unpacked = b->unpacked,
                                            .chunk_bytes = LIMIT_BUNDLE_CHUNK,
                                            .max_bundles = LIMIT_BUNDLES};
    script_call_bundle_begin(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_begin, b);
}

static bool take_begin(struct begin *b, struct fault *ret_fault)
{
    static const struct field fields[] = {
        {"digest", take_bundle, offsetof(struct begin, digest), 0, 0},
        {"bytes", NULL, offsetof(struct begin, bytes), 1, LIMIT_BUNDLE},
        {"files", NULL, offsetof(struct begin, files), 0, LIMIT_BUNDLE_FILES},
        {"unpackedBytes", NULL, offsetof(struct begin, unpacked), 0, LIMIT_BUNDLE_UNPACKED},
    };
    struct arena *a = &b->call->req->arena;
    struct check check = {a, "", ret_fault};
    const struct json *root;
    if (!validate_body(a, b->call->req->body, &root, ret_fault))
        return false;
    if (root->type != JSON_OBJECT)
        return refuse(&check, ERR_INVALID_FIELD, "the body must be {\"digest\", \"bytes\"}");
    if (!take_object(&check, root, fields, ARRAY_LEN(fields), b))
        return false;
    if (b->digest.len == 0)
        return refuse(&check, ERR_MISSING_FIELD, "digest is required");
    return b->bytes > 0 || refuse(&check, ERR_MISSING_FIELD, "bytes is required: the length of the archive");
}

void handle_bundle_begin(struct call *c)
{
    struct fault fault = {ERR_OK, NULL};
    struct begin *b = arena_zalloc(&c->req->arena, sizeof *b);
    if (!b) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    *b = (struct begin){.call = c, .bytes = -1, .files = -1, .unpacked = -1};
    c->user = b;
    if (!take_begin(b, &fault))
        call_problem(c, fault.err, fault.detail);
    else if (has_room(c))
        audit_then(c, b->digest, begin);
}

/* ---- PUT /v1/bundles/{digest}/chunks/{n} ---- */

static void on_chunk(void *ctx, enum err err, const struct script_bundle_chunk_reply *reply)
{
    struct call *c = ctx;
    const char *detail = NULL;
    if (err == ERR_BUNDLE_NOT_FOUND)
        detail = "POST /v1/bundles begins an upload; one that does not go on for a day expires";
    else if (err == ERR_INVALID_PARAMETER && reply)
        detail = call_text(c, "the bundle's chunks are 0 to %lld", (long long)reply->chunks - 1);
    else if (err == ERR_INVALID_FIELD && reply)
        detail = call_text(c, "this chunk must have %lld bytes, not %zu", (long long)reply->bytes, c->req->body.len);
    if (err)
        call_problem(c, err, detail);
    else
        call_done(c, ERR_OK);
}

void handle_bundle_chunk_put(struct call *c)
{
    struct script_bundle_chunk_args args = {.ws = c->workspace, .data = c->req->body};
    unsigned n;
    if (!path_digest(c, &args.hex) || !path_chunk(c, &n) || !has_room(c))
        return;
    args.n = n;
    script_call_bundle_chunk(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_chunk, c);
}

/* ---- POST /v1/bundles/{digest}/complete ---- */

struct verify {
    struct call *call;
    struct str hex;
    int64_t bytes, seen, puts;
    unsigned chunks, next;
    bool good;
    struct crypto_sha256 sha;
};

static void verify_end(struct verify *v, enum err err, const char *detail)
{
    struct call *c = v->call;
    c->node->verifying--;
    if (err) {
        call_problem(c, err, detail);
        return;
    }
    struct strbuf out;
    strbuf_init(&out, 256);
    strbuf_addf(&out, "{\"digest\":\"%.*s\",\"complete\":true}", STR_ARG(call_param(c, 0)));
    call_json(c, 200, &out);
}

static void on_done(void *ctx, enum err err, const struct script_bundle_done_reply *reply)
{
    struct verify *v = ctx;
    (void)reply;
    if (!err && !v->good)
        verify_end(v, ERR_BUNDLE_MISMATCH, "the chunks were thrown away: begin again, and send all of them");
    else
        verify_end(v, err, err == ERR_BUNDLE_INCOMPLETE ? "a chunk was replaced meanwhile; try again" : NULL);
}

static void verify_next(struct verify *v);

static void on_verified_chunk(void *ctx, enum err err, const redisReply *reply)
{
    struct verify *v = ctx;
    struct str data = err ? STR_NONE : redis_str(reply);
    if (err || !reply || reply->type != REDIS_REPLY_STRING) {
        verify_end(v, err ? err : ERR_BUNDLE_INCOMPLETE,
                   err ? NULL : "chunks are missing; POST /v1/bundles lists them");
        return;
    }
    crypto_sha256_add(&v->sha, data);
    v->seen += (int64_t)data.len;
    v->next++;
    verify_next(v);
}

/* One chunk a turn of the loop: hashing it takes a millisecond or two. */
static void verify_next(struct verify *v)
{
    struct call *c = v->call;
    struct shard *s = call_shard(c);
    if (v->next < v->chunks) {
        struct key key = keys_bundle_chunk(shard_prefix(s), c->workspace, v->hex, v->next);
        redis_command(s->commands, 2, (const struct str[]){STR("GET"), key_str(&key)}, on_verified_chunk, v);
        return;
    }
    char hex[SHA256_HEX_LEN + 1];
    crypto_sha256_end(&v->sha, hex);
    v->good = v->seen == v->bytes && str_eqz(v->hex, hex);
    struct script_bundle_done_args args = {.ws = c->workspace, .hex = v->hex, .puts = v->puts, .good = v->good};
    script_call_bundle_done(s->commands, shard_prefix(s), &args, on_done, v);
}

static void on_to_verify(void *ctx, enum err err, const struct script_bundle_get_reply *reply)
{
    struct verify *v = ctx;
    if (err || reply->complete) {
        verify_end(v, err, NULL);
        return;
    }
    v->bytes = reply->bytes;
    v->chunks = (unsigned)reply->chunks;
    v->puts = reply->puts;
    crypto_sha256_begin(&v->sha);
    verify_next(v);
}

static void verify(struct call *c)
{
    struct verify *v = c->user;
    struct script_bundle_get_args args = {.ws = c->workspace, .hex = v->hex};
    c->node->verifying++;
    script_call_bundle_get(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_to_verify, v);
}

void handle_bundle_complete(struct call *c)
{
    struct str hex;
    if (!path_digest(c, &hex) || !call_body_empty(c))
        return;
    struct verify *v = arena_zalloc(&c->req->arena, sizeof *v);
    if (!v || c->node->verifying >= VERIFIED_AT_ONCE) {
        call_problem(c, v ? ERR_OVERLOADED : ERR_NO_MEMORY, v ? "this node verifies other bundles; try again" : NULL);
        return;
    }
    v->call = c;
    v->hex = hex;
    c->user = v;
    audit_then(c, call_param(c, 0), verify);
}

/* ---- GET ---- */

static void write_bundle(struct call *c, const struct script_bundle_get_reply *b)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4096);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "digest", call_param(c, 0));
    json_kv_bool(&w, "complete", b->complete);
    json_kv_int(&w, "bytes", b->bytes);
    json_kv_int(&w, "chunks", b->chunks);
    json_kv_int(&w, "chunkBytes", b->chunk_bytes);
    json_kv_bool(&w, "inUse", b->refs > 0);
    if (b->files >= 0)
        json_kv_int(&w, "files", b->files);
    if (b->unpacked >= 0)
        json_kv_int(&w, "unpackedBytes", b->unpacked);
    json_kv_time(&w, "createdAt", b->created_ms);
    json_object_end(&w);
    call_json(c, 200, &out);
}

static void on_get(void *ctx, enum err err, const struct script_bundle_get_reply *reply)
{
    struct call *c = ctx;
    if (err)
        call_problem(c, err, NULL);
    else
        write_bundle(c, reply);
}

void handle_bundle_get(struct call *c)
{
    struct script_bundle_get_args args = {.ws = c->workspace};
    if (path_digest(c, &args.hex))
        script_call_bundle_get(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_get, c);
}

static void on_chunk_data(void *ctx, enum err err, const redisReply *reply)
{
    struct call *c = ctx;
    if (err || !reply || reply->type != REDIS_REPLY_STRING)
        call_problem(c, err ? err : ERR_BUNDLE_NOT_FOUND, NULL);
    else
        http_reply(c->req, 200, "application/octet-stream", redis_str(reply));
}

static void on_chunk_of(void *ctx, enum err err, const struct script_bundle_get_reply *reply)
{
    struct call *c = ctx;
    struct shard *s = call_shard(c);
    unsigned n = 0;
    if (err || !reply->complete) {
        call_problem(c, err ? err : ERR_BUNDLE_NOT_FOUND, err ? NULL : "its upload is not complete");
    } else if (path_chunk(c, &n) && n >= reply->chunks) {
        call_problem(c, ERR_INVALID_PARAMETER,
                     call_text(c, "the bundle's chunks are 0 to %lld", (long long)reply->chunks - 1));
    } else {
        struct key key = keys_bundle_chunk(shard_prefix(s), c->workspace, hex_of(call_param(c, 0)), n);
        redis_command(s->commands, 2, (const struct str[]){STR("GET"), key_str(&key)}, on_chunk_data, c);
    }
}

void handle_bundle_chunk_get(struct call *c)
{
    struct script_bundle_get_args args = {.ws = c->workspace};
    unsigned n;
    if (path_digest(c, &args.hex) && path_chunk(c, &n))
        script_call_bundle_get(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_chunk_of, c);
}

static void on_list(void *ctx, enum err err, const struct script_bundle_list_reply *reply)
{
    struct call *c = ctx;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    struct call_page page;
    call_page_begin(&page, "bundles", 1 << 20);
    for (size_t i = 0; i < reply->bundles_len; i++) {
        const struct script_bundle_list_bundles *b = &reply->bundles[i];
        json_object_begin(&page.w);
        json_kv_str(&page.w, "digest", str_of(call_text(c, "sha256:%.*s", STR_ARG(b->hex))));
        json_kv_bool(&page.w, "complete", b->complete);
        json_kv_int(&page.w, "bytes", b->bytes);
        json_kv_bool(&page.w, "inUse", b->refs > 0);
        json_kv_time(&page.w, "createdAt", b->created_ms);
        json_object_end(&page.w);
    }
    call_page_end(c, &page, reply->next.len ? str_of(call_text(c, "sha256:%.*s", STR_ARG(reply->next))) : STR_NONE);
}

void handle_bundle_list(struct call *c)
{
    struct script_bundle_list_args args = {.ws = c->workspace, .after = STR("")};
    struct str after;
    if (c->agents.len > 0 || c->queues.len > 0) {
        call_problem(c, ERR_FORBIDDEN,
                     "a key that is narrowed to agents or queues can't list bundles, which hold the "
                     "code of others");
        return;
    }
    if (http_query(c->req, "after", 0, &after)) {
        if (!digest_valid(after)) {
            call_problem(c, ERR_INVALID_PARAMETER, "after must be the cursor of an earlier page");
            return;
        }
        args.after = hex_of(after);
    }
    if (call_query_int(c, "limit", 1, LIMIT_PAGE, LIMIT_PAGE, &args.limit))
        script_call_bundle_list(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_list, c);
}

/* ---- DELETE ---- */

static void on_delete(void *ctx, enum err err, const struct script_bundle_delete_reply *reply)
{
    struct call *c = ctx;
    (void)reply;
    if (err == ERR_BUNDLE_IN_USE)
        call_problem(c, err,
                     "a version of an agent, a run that is kept, or a schedule names it; it goes a day after "
                     "the last of them");
    else
        call_done(c, err);
}

static void delete (struct call *c)
{
    struct script_bundle_delete_args args = {.ws = c->workspace, .hex = hex_of(call_param(c, 0))};
    script_call_bundle_delete(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_delete, c);
}

void handle_bundle_delete(struct call *c)
{
    struct str hex;
    if (path_digest(c, &hex))
        audit_then(c, call_param(c, 0), delete);
}
