/* GET /v1/audit: a workspace's audit log as a page of JSON, or whole as NDJSON with the seals of its chain. The NDJSON is read and written page by page, as fast as its client takes it: a first line says where it begins, and a last
 * one how much it was, so that one that was cut short is known. */
#include <stdlib.h>

#include "api/audit_log.h"
#include "api/handlers.h"
#include "common/clock.h"
#include "common/json.h"

enum {
    EXAMINED = 500, /* entries looked at for a page */
    PIECE = 200,    /* entries of an export read at a time */
    PAGE_MAX = 4 << 20,
    LOW_WATER = 65536,
    LOOK_MS = 5000,
    EXPORTS = 32, /* of a node at a time */
    ID_MAX = 48
};
static const int64_t T_MAX = INT64_C(253402300799999); /* the last millisecond of the year 9999 */

struct range {
    int64_t since_ms, until_ms;
    struct str after;
    struct str who, what; /* "" for all */
};

static void write_entry(struct json_writer *w, const struct chain_entry *e, const char *kind)
{
    json_object_begin(w);
    if (kind)
        json_kv_str(w, "kind", str_of(kind));
    json_kv_int(w, "n", e->n);
    json_kv_time(w, "at", e->t_ms < T_MAX ? e->t_ms : T_MAX);
    json_kv_str(w, "who", e->who);
    json_kv_str(w, "from", e->from);
    json_kv_str(w, "what", e->what);
    json_kv_str_opt(w, "object", e->object);
    json_kv_str(w, "request", e->request);
    json_kv_str_opt(w, "outcome", e->outcome);
    if (e->detail.len > 0 && json_valid(e->detail, LIMIT_JSON_DEPTH) && !memchr(e->detail.ptr, '\n', e->detail.len))
        json_kv_raw(w, "detail", e->detail);
    else
        json_kv_str_opt(w, "detail", e->detail); /* not what we wrote */
    json_object_end(w);
}

static bool is_wanted(const struct range *r, const struct chain_entry *e)
{
    return (r->who.len == 0 || str_eq(r->who, e->who)) && (r->what.len == 0 || str_eq(r->what, e->what));
}

/* ---- a page ---- */

struct page {
    struct call *call;
    struct range range;
    int64_t limit;
};

static void on_page(void *ctx, enum err err, const struct script_audit_page_reply *reply)
{
    struct page *p = ctx;
    struct strbuf out;
    struct json_writer w;
    if (err) {
        call_problem(p->call, err, NULL);
        return;
    }
    strbuf_init(&out, PAGE_MAX);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_key(&w, "entries");
    json_array_begin(&w);
    int64_t shown = 0;
    size_t i = 0;
    for (; i < reply->entries_len && shown < p->limit; i++) {
        struct chain_entry e;
        if (!audit_entry_read(reply->entries[i].id, reply->entries[i].fields, &e) || !is_wanted(&p->range, &e))
            continue;
        write_entry(&w, &e, NULL);
        shown++;
    }
    json_array_end(&w);
    json_kv_int(&w, "begins", reply->begins);
    json_key(&w, "cursor");
    if (i > 0 && (i < reply->entries_len || reply->more))
        json_str(&w, reply->entries[i - 1].id);
    else
        json_null(&w);
    json_object_end(&w);
    call_json(p->call, 200, &out);
}

static void send_page(struct call *c, const struct range *r, int64_t limit)
{
    struct page *p = arena_zalloc(&c->req->arena, sizeof *p);
    if (!p) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    *p = (struct page){c, *r, limit};
    struct script_audit_page_args args = {.ws = c->workspace,
                                          .after = r->after,
                                          .since_ms = r->since_ms,
                                          .until_ms = r->until_ms,
                                          .count = r->who.len + r->what.len > 0 ? EXAMINED : limit};
    script_call_audit_page(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_page, p);
}

/* ---- an export ---- */

/* It outlives its call's arena: what it needs is in here. */
struct export
{
    struct http_req *req; /* NULL once the client is gone */
    struct call *call;    /* until its stream begins */
    struct node *node;
    struct shard *shard;
    struct loop_timer look;
    struct range range; /* its slices are of the copies below */
    char ws[LIMIT_NAME + 1], who[LIMIT_NAME + 1], what[LIMIT_NAME + 1], after[ID_MAX];
    bool filtered; /* by who or what: then there is no chain to see */
    bool asked;    /* the answer frees it when the client is gone meanwhile */
    bool ended;    /* all is written */
    int64_t n, entries, seals;
};

static void export_free(struct export *x)
{
    x->node->exports--;
    loop_timer_stop(&x->look);
    loop_defer_free(x->node->loop, free, x);
}

static void export_cut(struct export *x)
{
    http_stream_cut(x->req);
    x->req = NULL;
    export_free(x);
}

static void export_ask(struct export *x);

static void write_begin(struct json_writer *w, const struct export *x, const struct script_audit_page_reply *reply)
{
    char h[SHA256_HEX_LEN + 1];
    int64_t t_ms, n = 0;
    chain_begin(str_of(x->ws), h);
    bool sealed = reply->anchor.len > 0 && chain_id(reply->anchor, &t_ms, &n);
    json_object_begin(w);
    json_kv_str(w, "kind", STR("begin"));
    json_kv_str(w, "workspace", str_of(x->ws));
    json_kv_bool(w, "filtered", x->filtered);
    json_kv_int(w, "n", n); /* the entry before the first one, and its hash */
    json_kv_str(w, "h", sealed ? reply->anchor_h : str_of(h));
    if (sealed)
        json_kv_time(w, "at", t_ms < T_MAX ? t_ms : T_MAX);
    json_object_end(w);
}

static void write_seal(struct json_writer *w, const struct script_audit_page_seals *row)
{
    int64_t t_ms = 0, n = 0;
    (void)chain_id(row->id, &t_ms, &n);
    json_object_begin(w);
    json_kv_str(w, "kind", STR("seal"));
    json_kv_int(w, "n", n);
    json_kv_int(w, "from", row->from);
    json_kv_str(w, "h", row->h);
    json_object_end(w);
}

/* By number: times may have been tampered with, and a reader is to be told of the entries that were. */
static bool is_before(struct str seal, struct str entry)
{
    int64_t t_ms, seal_n = 0, entry_n = 0;
    (void)chain_id(seal, &t_ms, &seal_n);
    (void)chain_id(entry, &t_ms, &entry_n);
    return seal_n < entry_n;
}

/* Each line is a JSON value of its own. */
static void line_end(struct json_writer *w)
{
    strbuf_addc(w->out, '\n');
    json_writer_init(w, w->out);
}

/* The entries, each seal behind the last entry that it speaks of. */
static void write_lines(struct export *x, struct json_writer *w, const struct script_audit_page_reply *reply)
{
    size_t s = 0, seals = x->filtered ? 0 : reply->seals_len;
    for (size_t i = 0; i <= reply->entries_len; i++) {
        struct chain_entry e;
        for (; s < seals && (i == reply->entries_len || is_before(reply->seals[s].id, reply->entries[i].id)); s++) {
            write_seal(w, &reply->seals[s]);
            line_end(w);
            x->seals++;
        }
        if (i == reply->entries_len || !audit_entry_read(reply->entries[i].id, reply->entries[i].fields, &e))
            continue;
        x->n = e.n;
        if (!is_wanted(&x->range, &e))
            continue;
        write_entry(w, &e, "entry");
        line_end(w);
        x->entries++;
    }
    x->ended = !reply->more;
    if (!x->ended)
        return;
    json_object_begin(w);
    json_kv_str(w, "kind", STR("end"));
    json_kv_int(w, "entries", x->entries);
    json_kv_int(w, "seals", x->seals);
    json_object_end(w);
    line_end(w);
}

static void on_drain(struct http_req *req)
{
    struct export *x = req->user;
    if (!x->asked && !x->ended)
        export_ask(x);
}
static const struct http_stream_fns stream_fns = {on_drain};

static void on_gone(struct http_req *req)
{
    struct export *x = req->user;
    x->req = NULL;
    if (!x->asked) /* its answer ends it */
        export_free(x);
}

/* A client that takes nothing any more. */
static void on_look(void *ctx)
{
    struct export *x = ctx;
    if (!x->asked && clock_mono_ms() - http_stream_progress_ms(x->req) > LIMIT_WRITE_TIME_MS)
        export_cut(x);
    else
        loop_timer_set(&x->look, LOOK_MS);
}

/* The answer's head. False: nothing more is to be done. */
static bool export_begin(struct export *x)
{
    x->call = NULL; /* goes with the request's arena */
    if (!http_stream_begin(x->req, 200, "application/x-ndjson", &stream_fns, LOW_WATER)) {
        export_free(x);
        return false;
    }
    x->req->user = x;
    x->req->on_gone = on_gone;
    loop_timer_set(&x->look, LOOK_MS);
    return true;
}

static void export_send(struct export *x, const struct strbuf *text)
{
    struct http_buf *b = strbuf_failed(text) || text->len == 0 ? NULL : http_buf_new(text->len);
    if (!b) { /* nothing is left out: it is cut, and asked for again */
        export_cut(x);
        return;
    }
    memcpy(b->data, text->ptr, text->len);
    http_stream_send(x->req, b);
    http_buf_unref(b);
    if (x->ended) {
        http_stream_end(x->req);
        x->req = NULL;
        export_free(x);
    } else if (http_stream_queued(x->req) <= LOW_WATER) {
        export_ask(x);
    }
}

static void on_piece(void *ctx, enum err err, const struct script_audit_page_reply *reply)
{
    struct export *x = ctx;
    bool first = x->call != NULL;
    x->asked = false;
    if (!x->req) {
        export_free(x);
        return;
    }
    if (first && err) {
        call_problem(x->call, err, NULL);
        export_free(x);
        return;
    }
    /* What was trimmed meanwhile, behind which it wanted to go on, would look like entries that somebody removed. */
    bool overtaken = !first && !err && reply->begins > x->n + 1;
    if (err || overtaken || (!first && x->node->draining)) {
        export_cut(x);
        return;
    }
    if (first && !export_begin(x))
        return;
    struct strbuf text;
    struct json_writer w;
    strbuf_init(&text, PAGE_MAX);
    json_writer_init(&w, &text);
    if (first) {
        write_begin(&w, x, reply);
        line_end(&w);
    }
    write_lines(x, &w, reply);
    if (reply->entries_len > 0) {
        struct str last = reply->entries[reply->entries_len - 1].id;
        PRE(last.len < sizeof x->after);
        memcpy(x->after, last.ptr, last.len);
        x->after[last.len] = 0;
        x->range.after = str_of(x->after);
    }
    export_send(x, &text);
    strbuf_done(&text);
}

static void export_ask(struct export *x)
{
    x->asked = true;
    struct script_audit_page_args args = {.ws = str_of(x->ws),
                                          .after = x->range.after,
                                          .since_ms = x->range.since_ms,
                                          .until_ms = x->range.until_ms,
                                          .count = PIECE,
                                          .seals = !x->filtered};
    script_call_audit_page(x->shard->commands, shard_prefix(x->shard), &args, on_piece, x);
}

static struct str keep(char *to, struct str s)
{
    if (s.len > 0)
        memcpy(to, s.ptr, s.len); /* bounded where it was read */
    to[s.len] = 0;
    return (struct str){to, s.len};
}

static void send_export(struct call *c, const struct range *r)
{
    struct export *x = c->node->exports < EXPORTS ? calloc(1, sizeof *x) : NULL;
    if (!x) {
        call_problem(c, ERR_OVERLOADED, "this node writes as many exports as it may; try again, or another node");
        return;
    }
    c->node->exports++;
    x->req = c->req;
    x->call = c;
    x->node = c->node;
    x->shard = call_shard(c);
    x->range = *r;
    x->range.who = keep(x->who, r->who);
    x->range.what = keep(x->what, r->what);
    x->range.after = keep(x->after, r->after);
    (void)keep(x->ws, c->workspace);
    x->filtered = r->who.len + r->what.len + r->after.len > 0;
    loop_timer_init(&x->look, c->node->loop, on_look, x);
    export_ask(x);
}

/* ---- the request ---- */

static bool refuse(struct call *c, const char *detail)
{
    call_problem(c, ERR_INVALID_PARAMETER, detail);
    return false;
}

static bool read_word(struct call *c, const char *name, struct str *ret_word)
{
    *ret_word = STR("");
    if (!http_query(c->req, name, 0, ret_word))
        return true;
    if (ret_word->len > 0 && ret_word->len <= LIMIT_NAME)
        return true;
    return refuse(c, call_text(c, "%s must be 1 to %d bytes", name, LIMIT_NAME));
}

static bool read_time(struct call *c, const char *name, int64_t *ret_ms)
{
    struct str v;
    *ret_ms = 0;
    if (!http_query(c->req, name, 0, &v) || clock_parse_iso(v, ret_ms))
        return true;
    return refuse(c, call_text(c, "%s must be a time like 2026-01-31T12:00:00Z", name));
}

static bool read_range(struct call *c, struct range *r)
{
    int64_t t_ms, n;
    r->after = STR("");
    if (!read_word(c, "who", &r->who) || !read_word(c, "what", &r->what) || !read_time(c, "since", &r->since_ms) ||
        !read_time(c, "until", &r->until_ms))
        return false;
    if (http_query(c->req, "after", 0, &r->after) && !chain_id(r->after, &t_ms, &n))
        return refuse(c, "after must be the cursor of an earlier page");
    return true;
}

/* ?format= says it; else the Accept header. */
static bool wants_export(struct call *c, bool *ret_export)
{
    struct str format, accept = http_header(c->req, "accept");
    *ret_export = accept.len > 0 && memmem(accept.ptr, accept.len, "application/x-ndjson", 20);
    if (!http_query(c->req, "format", 0, &format))
        return true;
    *ret_export = str_eqz(format, "ndjson");
    return *ret_export || str_eqz(format, "json") || refuse(c, "format must be json or ndjson");
}

void handle_audit(struct call *c)
{
    struct range r;
    int64_t limit;
    bool export;
    if (!read_range(c, &r) || !wants_export(c, &export) ||
        !call_query_int(c, "limit", 1, LIMIT_PAGE, LIMIT_PAGE, &limit))
        return;
    if (export)
        send_export(c, &r);
    else
        send_page(c, &r, limit);
}
