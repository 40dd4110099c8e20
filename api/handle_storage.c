/* What agents store (workflows, artifacts, vectors): the same things that their Redis users reach under data:WS:KIND:NAME. A small one is a string there; a large one comes in parts and is a list of them. */
#include <stdio.h>
#include <stdlib.h>

#include "api/audit.h"
#include "api/storage_call.h"
#include "common/clock.h"
#include "common/crypto.h"

enum { HASHED_AT_ONCE = 8, CONTENT_MAX = 128, LOOKS = 10, PAGE_MAX = 4096, STRING_MAX = 4 << 20 };

static bool has_room(struct call *c, const struct shard *s)
{
    if (s->memory_pressure || s->evicting)
        call_problem(c, s->evicting ? ERR_REDIS_UNAVAILABLE : ERR_MEMORY_PRESSURE, NULL);
    return !s->memory_pressure && !s->evicting;
}

static struct str content_type(struct call *c)
{
    struct str type = http_header(c->req, "content-type");
    return type.len > 0 && type.len <= CONTENT_MAX ? type : STR("application/octet-stream");
}

static void add_about(struct call *c, struct str digest, int64_t ms)
{
    char text[CLOCK_ISO_LEN + 1];
    if (digest.len > 0)
        http_reply_header(c->req, "ETag", str_of(call_text(c, "\"sha256:%.*s\"", STR_ARG(digest))));
    if (ms <= 0)
        return;
    clock_iso(ms, text);
    http_reply_header(c->req, "X-Errand-Stored-At", str_of(text));
}

/* ---- PUT ---- */

struct put {
    struct storage_call *s;
    struct str upload;   /* empty: all of it is in this request */
    int64_t part, parts; /* -1: not said */
    int64_t next, bytes;
    struct crypto_sha256 sha;
    char digest[SHA256_HEX_LEN + 1];
};

static void answer_put(struct put *p, bool created)
{
    struct call *c = p->s->call;
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4096);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "kind", str_of(p->s->kind));
    json_kv_str(&w, "name", p->s->name);
    json_kv_int(&w, "bytes", p->bytes);
    json_kv_str(&w, "digest", str_of(call_text(c, "sha256:%s", p->digest)));
    json_kv_str(&w, "contentType", content_type(c));
    json_object_end(&w);
    call_json(c, created ? 201 : 200, &out);
}

static const char *put_detail(enum err err)
{
    return err == ERR_LIMIT_EXCEEDED
               ? "the workspace stores as many things of this kind, or has as many uploads under way, as it may"
           : err == ERR_STORAGE_PART ? "parts come in order, from 0, and within an hour of each other"
                                     : NULL;
}

static void on_put(void *ctx, enum err err, const struct script_storage_put_reply *reply)
{
    struct put *p = ctx;
    if (err)
        call_problem(p->s->call, err, put_detail(err));
    else
        answer_put(p, reply->created != 0);
}

static void put_whole(struct put *p)
{
    struct storage_call *s = p->s;
    struct str data = s->call->req->body;
    crypto_sha256_hex(data, p->digest);
    p->bytes = (int64_t)data.len;
    struct script_storage_put_args args = {.ws = s->workspace,
                                           .kind = str_of(s->kind),
                                           .name = s->name,
                                           .content = content_type(s->call),
                                           .digest = str_of(p->digest),
                                           .data = data,
                                           .max_objects = LIMIT_STORAGE_OBJECTS};
    script_call_storage_put(s->shard->commands, shard_prefix(s->shard), &args, on_put, p);
}

static void on_part(void *ctx, enum err err, const struct script_storage_part_reply *reply)
{
    struct put *p = ctx;
    struct strbuf out;
    if (err) {
        call_problem(p->s->call, err, put_detail(err));
        return;
    }
    strbuf_init(&out, 128);
    strbuf_addf(&out, "{\"parts\":%lld}", (long long)reply->have);
    call_json(p->s->call, 202, &out);
}

static void put_part(struct put *p)
{
    struct storage_call *s = p->s;
    struct script_storage_part_args args = {.ws = s->workspace,
                                            .kind = str_of(s->kind),
                                            .name = s->name,
                                            .upload = p->upload,
                                            .n = p->part,
                                            .data = s->call->req->body,
                                            .max_uploads = LIMIT_UPLOADS};
    script_call_storage_part(s->shard->commands, shard_prefix(s->shard), &args, on_part, p);
}

/* ---- the end of an upload: its parts are hashed one after the other, then it takes its place ---- */

static void hash_end(struct put *p)
{
    p->s->call->node->hashing--;
}

static void on_commit(void *ctx, enum err err, const struct script_storage_commit_reply *reply)
{
    struct put *p = ctx;
    hash_end(p);
    if (err)
        call_problem(p->s->call, err, put_detail(err));
    else
        answer_put(p, reply->created != 0);
}

static void hash_next(struct put *p);

static void on_hash_part(void *ctx, enum err err, const redisReply *reply)
{
    struct put *p = ctx;
    if (err || reply->type != REDIS_REPLY_STRING) {
        hash_end(p);
        call_problem(p->s->call, err ? err : ERR_STORAGE_PART, put_detail(err ? err : ERR_STORAGE_PART));
        return;
    }
    crypto_sha256_add(&p->sha, redis_str(reply));
    p->bytes += (int64_t)redis_str(reply).len;
    p->next++;
    hash_next(p);
}

static void hash_next(struct put *p)
{
    struct storage_call *s = p->s;
    if (p->next < p->parts) {
        struct key key = keys_upload(shard_prefix(s->shard), s->workspace, s->kind, p->upload, s->name);
        char n[24];
        snprintf(n, sizeof n, "%lld", (long long)p->next);
        redis_command(s->shard->commands, 3, (const struct str[]){STR("LINDEX"), key_str(&key), str_of(n)},
                      on_hash_part, p);
        return;
    }
    crypto_sha256_end(&p->sha, p->digest);
    struct script_storage_commit_args args = {.ws = s->workspace,
                                              .kind = str_of(s->kind),
                                              .name = s->name,
                                              .upload = p->upload,
                                              .parts = p->parts,
                                              .bytes = p->bytes,
                                              .content = content_type(s->call),
                                              .digest = str_of(p->digest),
                                              .max_objects = LIMIT_STORAGE_OBJECTS};
    script_call_storage_commit(s->shard->commands, shard_prefix(s->shard), &args, on_commit, p);
}

static void put_commit(struct put *p)
{
    struct node *node = p->s->call->node;
    if (node->hashing >= HASHED_AT_ONCE) {
        call_problem(p->s->call, ERR_OVERLOADED, "this node hashes other uploads; try again");
        return;
    }
    node->hashing++;
    crypto_sha256_begin(&p->sha);
    hash_next(p);
}

static bool upload_id_valid(struct str id)
{
    for (size_t i = 0; i < id.len; i++) {
        char ch = id.ptr[i];
        bool letter = (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
        if (!letter && ch != '-' && ch != '_')
            return false;
    }
    return id.len > 0 && id.len <= LIMIT_UPLOAD_ID;
}

/* upload=ID&part=N stores a part; upload=ID&parts=N, without a body, ends it; neither: the body is all of it. */
static bool read_put(struct put *p)
{
    struct call *c = p->s->call;
    if (!call_query_int(c, "part", 0, LIMIT_STORAGE_PARTS - 1, -1, &p->part) ||
        !call_query_int(c, "parts", 1, LIMIT_STORAGE_PARTS, -1, &p->parts))
        return false;
    bool given = http_query(c->req, "upload", 0, &p->upload);
    const char *fault = NULL;
    if (given && !upload_id_valid(p->upload))
        fault = "upload must be an id of letters, digits, '-' and '_', at most 64";
    else if (given == (p->part < 0 && p->parts < 0) || (p->part >= 0 && p->parts >= 0))
        fault = "upload goes with part (its number, from 0) or, when all are there, with parts (how many)";
    else if (p->parts > 0 && c->req->body.len > 0)
        fault = "the request that ends an upload has no body";
    else if (p->part >= 0 && c->req->body.len == 0)
        fault = "a part has at least one byte";
    if (fault)
        call_problem(c, ERR_INVALID_PARAMETER, fault);
    return !fault;
}

static void put_audited(struct call *c)
{
    struct put *p = c->user;
    if (p->parts > 0)
        put_commit(p);
    else
        put_whole(p);
}

static void put(struct storage_call *s)
{
    struct put *p = arena_zalloc(&s->call->req->arena, sizeof *p);
    if (!p) {
        call_problem(s->call, ERR_NO_MEMORY, NULL);
        return;
    }
    p->s = s;
    if (!read_put(p) || !has_room(s->call, s->shard))
        return;
    s->call->user = p;
    if (p->part >= 0)
        put_part(p);
    else if (s->call->route->auth == AUTH_RUNNER)
        put_audited(s->call); /* an agent's own doing: its run's record says whose it is */
    else
        audit_then(s->call, s->name, put_audited);
}

void handle_storage_put(struct call *c)
{
    storage_begin(c, true, put);
}

/* ---- GET, DELETE ---- */

static void on_get(void *ctx, enum err err, const struct script_storage_get_reply *reply)
{
    struct storage_call *s = ctx;
    struct call *c = s->call;
    char digest[SHA256_HEX_LEN + 1];
    bool list = !err && str_eqz(reply->type, "list"), string = !err && str_eqz(reply->type, "string");
    if (!err && !list && (!string || reply->bytes != (int64_t)reply->data.len))
        err = ERR_STORAGE_TYPE;
    if (err) {
        call_problem(c, err,
                     err == ERR_STORAGE_TYPE ? "only strings of at most 4 MiB, and what was stored over HTTP, can be "
                                               "downloaded"
                                             : NULL);
        return;
    }
    struct str type = reply->content.len > 0 ? reply->content : STR("application/octet-stream");
    const char *content = call_text(c, "%.*s", STR_ARG(type));
    http_reply_header(c->req, "X-Content-Type-Options", STR("nosniff")); /* it is an agent's: no page of ours */
    http_reply_header(c->req, "Content-Disposition", STR("attachment"));
    if (string)
        crypto_sha256_hex(reply->data, digest); /* of what is there, also where an agent wrote over it */
    add_about(c, string ? str_of(digest) : reply->digest, reply->ms);
    if (string)
        http_reply(c->req, 200, content, reply->data);
    else
        storage_send(s, content, reply);
}

static void get(struct storage_call *s)
{
    struct script_storage_get_args args = {
        .ws = s->workspace, .kind = str_of(s->kind), .name = s->name, .max = STRING_MAX};
    script_call_storage_get(s->shard->commands, shard_prefix(s->shard), &args, on_get, s);
}

void handle_storage_get(struct call *c)
{
    storage_begin(c, true, get);
}

static void on_deleted(void *ctx, enum err err, const struct script_storage_delete_reply *reply)
{
    struct storage_call *s = ctx;
    (void)reply;
    call_done(s->call, err);
}

static void delete_audited(struct call *c)
{
    struct storage_call *s = c->user;
    struct script_storage_delete_args args = {.ws = s->workspace, .kind = str_of(s->kind), .name = s->name};
    script_call_storage_delete(s->shard->commands, shard_prefix(s->shard), &args, on_deleted, s);
}

static void delete (struct storage_call *s)
{
    s->call->user = s;
    if (s->call->route->auth == AUTH_RUNNER)
        delete_audited(s->call);
    else
        audit_then(s->call, s->name, delete_audited);
}

void handle_storage_delete(struct call *c)
{
    storage_begin(c, true, delete);
}

/* ---- lists: a walk over the names that there are, a page examines a bounded part of them ---- */

struct walk {
    struct storage_call *s;
    struct str names[PAGE_MAX];
    size_t n;
    int64_t limit, looks;
    char cursor[24];
};

static void walk_on(struct walk *w);

static void on_about(void *ctx, enum err err, const struct script_storage_about_reply *reply)
{
    struct walk *w = ctx;
    struct call *c = w->s->call;
    if (err) {
        call_problem(c, err, NULL);
        return;
    }
    struct call_page page;
    call_page_begin(&page, "items", 4 << 20);
    for (size_t i = 0; i < reply->rows_len; i++) {
        const struct script_storage_about_rows *row = &reply->rows[i];
        bool known = !str_eqz(row->type, "other");
        json_object_begin(&page.w);
        json_kv_str(&page.w, "name", row->name);
        json_kv_str(&page.w, "type", known ? STR("file") : STR("data"));
        if (known)
            json_kv_int(&page.w, "bytes", row->bytes);
        if (known)
            json_kv_str(&page.w, "contentType", row->content.len ? row->content : STR("application/octet-stream"));
        if (row->digest.len > 0)
            json_kv_str(&page.w, "digest", str_of(call_text(c, "sha256:%.*s", STR_ARG(row->digest))));
        json_kv_time(&page.w, "storedAt", row->ms);
        json_object_end(&page.w);
    }
    call_page_end(c, &page, strcmp(w->cursor, "0") == 0 ? STR_NONE : str_of(w->cursor));
}

static int by_name(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* SCAN may tell a name twice. */
static void sort_names(struct walk *w)
{
    size_t kept = 0;
    qsort(w->names, w->n, sizeof *w->names, by_name);
    for (size_t i = 0; i < w->n; i++)
        if (kept == 0 || !str_eq(w->names[kept - 1], w->names[i]))
            w->names[kept++] = w->names[i];
    w->n = kept;
}

static void on_scan(void *ctx, enum err err, const redisReply *reply)
{
    struct walk *w = ctx;
    struct storage_call *s = w->s;
    const redisReply *found = redis_at(reply, 1);
    if (err) {
        call_problem(s->call, err, NULL);
        return;
    }
    struct key prefix = keys_data(shard_prefix(s->shard), s->workspace, s->kind, STR(""));
    snprintf(w->cursor, sizeof w->cursor, "%.*s", STR_ARG(redis_str(redis_at(reply, 0))));
    for (size_t i = 0; found && i < found->elements && w->n < PAGE_MAX; i++) {
        struct str key = redis_str(found->element[i]);
        if (key.len > prefix.len)
            w->names[w->n++] =
                arena_str(&s->call->req->arena, (struct str){key.ptr + prefix.len, key.len - prefix.len});
    }
    if (strcmp(w->cursor, "0") != 0 && (int64_t)w->n < w->limit && --w->looks > 0) {
        walk_on(w);
        return;
    }
    sort_names(w);
    struct script_storage_about_args args = {
        .ws = s->workspace, .kind = str_of(s->kind), .names = w->names, .names_len = w->n};
    script_call_storage_about(s->shard->commands, shard_prefix(s->shard), &args, on_about, w);
}

/* What means something in a pattern loses that. */
static struct str pattern_of(struct arena *a, struct str prefix)
{
    char *text = arena_alloc(a, 2 * prefix.len + 2);
    size_t n = 0;
    for (size_t i = 0; text && i < prefix.len; i++) {
        if (strchr("[]*?\\", prefix.ptr[i]))
            text[n++] = '\\';
        text[n++] = prefix.ptr[i];
    }
    if (text)
        text[n++] = '*';
    return (struct str){text, n};
}

static void walk_on(struct walk *w)
{
    struct storage_call *s = w->s;
    struct key prefix = keys_data(shard_prefix(s->shard), s->workspace, s->kind, STR(""));
    struct str pattern = pattern_of(&s->call->req->arena, key_str(&prefix));
    const struct str argv[] = {STR("SCAN"), str_of(w->cursor), STR("MATCH"), pattern, STR("COUNT"), STR("1000")};
    redis_command(s->shard->commands, ARRAY_LEN(argv), argv, on_scan, w);
}

static void list(struct storage_call *s)
{
    struct walk *w = arena_zalloc(&s->call->req->arena, sizeof *w);
    struct str after;
    if (!w) {
        call_problem(s->call, ERR_NO_MEMORY, NULL);
        return;
    }
    w->s = s;
    w->looks = LOOKS;
    snprintf(w->cursor, sizeof w->cursor, "0");
    if (!call_query_int(s->call, "limit", 1, LIMIT_PAGE, LIMIT_PAGE, &w->limit))
        return;
    if (http_query(s->call->req, "after", 0, &after)) {
        snprintf(w->cursor, sizeof w->cursor, "%.*s", (int)(after.len < 21 ? after.len : 21), after.ptr);
        if (after.len == 0 || after.len > 20 || strspn(w->cursor, "0123456789") != after.len) {
            call_problem(s->call, ERR_INVALID_PARAMETER, "after must be the cursor of an earlier page");
            return;
        }
    }
    walk_on(w);
}

void handle_storage_list(struct call *c)
{
    storage_begin(c, false, list);
}
