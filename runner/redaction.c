#include "runner/redaction.h"

#include <string.h>

#include "common/json.h"
#include "common/limits.h"

#define WITHHELD STR("{\"redacted\":\"[REDACTED:undecided]\"}")
enum { SCRATCH_MAX = 16 << 20, ARENA_MAX = 32 << 20, EVENT_OVERHEAD = 128, QUICK_MAX = 32768 };

enum err redaction_init(struct redaction *r, const struct redact_secret *secrets, size_t n)
{
    struct redaction fresh = {0};
    strbuf_init(&fresh.scratch, SCRATCH_MAX);
    strbuf_init(&fresh.changed, SCRATCH_MAX);
    lines_init(&fresh.plain, LINE_MAX_BYTES);
    enum err err = redactor_new(secrets, n, &fresh.redactor);
    if (!err)
        err = redact_stream_new(fresh.redactor, &fresh.out);
    if (!err)
        err = redact_stream_new(fresh.redactor, &fresh.err);
    if (!err)
        err = redact_stream_new(fresh.redactor, &fresh.delta);
    if (err) {
        redaction_done(&fresh);
        return err;
    }
    redaction_done(r);
    *r = fresh;
    return ERR_OK;
}

void redaction_done(struct redaction *r)
{
    redact_stream_free(r->out);
    redact_stream_free(r->err);
    redact_stream_free(r->delta);
    redactor_free(r->redactor);
    lines_done(&r->plain);
    strbuf_done(&r->scratch);
    strbuf_done(&r->changed);
    *r = (struct redaction){0};
}

int64_t redaction_undecided(struct redaction *r)
{
    int64_t before = r->undecided;
    r->undecided = r->redactor ? redactor_undecided(r->redactor) : 0;
    return r->undecided - before;
}

/* ---- output ---- */

static struct str pass(struct redaction *r, struct redact_stream *s, struct str bytes, bool last)
{
    strbuf_reset(&r->scratch);
    redact_stream_feed(s, bytes, &r->scratch);
    if (last)
        redact_stream_end(s, &r->scratch);
    return strbuf_str(&r->scratch);
}

struct str redaction_out(struct redaction *r, struct str bytes, bool last)
{
    return pass(r, r->out, bytes, last);
}

struct str redaction_err(struct redaction *r, struct str bytes, bool last)
{
    return pass(r, r->err, bytes, last);
}

bool redaction_holds(const struct redaction *r)
{
    return redact_stream_held(r->out) > 0 || redact_stream_held(r->err) > 0 || redact_stream_held(r->delta) > 0 ||
           r->plain.pending.len > 0 || r->plain.overlong;
}

static struct str pause_text(struct redaction *r, struct redact_stream *s)
{
    strbuf_reset(&r->scratch);
    redact_stream_pause(s, &r->scratch);
    return strbuf_str(&r->scratch);
}

struct str redaction_out_pause(struct redaction *r)
{
    return pause_text(r, r->out);
}

struct target {
    adapter_event_fn fn;
    void *ctx;
};

static void on_plain_line(void *ctx, struct str line, bool piece)
{
    const struct target *t = ctx;
    if (line.len > 0)
        adapter_notify_line("stdout", line, piece, t->fn, t->ctx);
}

/* Where pieces end is not told: what follows them begins a new line, unless it is one of them. */
void redaction_plain(struct redaction *r, struct str line, bool piece, adapter_event_fn fn, void *ctx)
{
    struct target t = {fn, ctx};
    strbuf_reset(&r->scratch);
    if (r->in_piece && !piece)
        redact_stream_feed(r->out, STR("\n"), &r->scratch);
    redact_stream_feed(r->out, line, &r->scratch);
    if (!piece)
        redact_stream_feed(r->out, STR("\n"), &r->scratch);
    r->in_piece = piece;
    lines_feed(&r->plain, strbuf_str(&r->scratch), on_plain_line, &t);
}

/* ---- events ---- */

struct str redaction_json(struct redaction *r, struct str json)
{
    strbuf_reset(&r->scratch);
    redact_json(r->redactor, json, &r->scratch);
    return strbuf_str(&r->scratch);
}

/* Markers may be longer than what they stand for: an event that outgrows its bound is withheld. */
static void send_event(struct redaction *r, enum event_kind kind, struct str data, const struct target *t)
{
    struct str shown = redaction_json(r, data);
    if (strbuf_failed(&r->scratch) || shown.len + EVENT_OVERHEAD > LIMIT_EVENT)
        shown = WITHHELD;
    t->fn(t->ctx, kind, shown);
}

/* data with another text. */
static void send_delta(struct redaction *r, const struct json *data, const struct json *text, struct str shown,
                       const struct target *t)
{
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, SCRATCH_MAX);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    for (const struct json *m = data->child; m; m = m->next) {
        json_key_str(&w, m->key);
        if (m == text)
            json_str(&w, shown);
        else
            json_raw(&w, m->raw);
    }
    json_object_end(&w);
    send_event(r, EVENT_ASSISTANT_TEXT, strbuf_failed(&out) ? STR("") : strbuf_str(&out), t);
    strbuf_done(&out);
}

/* What came out of a delta's text: `same` of its bytes from the beginning, or, where it differs, another text. */
struct delta {
    struct str text;
    size_t same;
    bool differs;
    struct strbuf shown;
};

static void on_delta(void *ctx, size_t at, struct str piece)
{
    struct delta *d = ctx;
    (void)at;
    if (!d->differs && piece.len <= d->text.len - d->same && memcmp(d->text.ptr + d->same, piece.ptr, piece.len) == 0) {
        d->same += piece.len;
        return;
    }
    if (!d->differs)
        strbuf_add(&d->shown, (struct str){d->text.ptr, d->same});
    d->differs = true;
    strbuf_add(&d->shown, piece);
}

/* True: all of it came out, and nothing else. */
static bool feed_delta(struct redaction *r, struct delta *d)
{
    const struct redact_sink sink = {on_delta, on_delta, d};
    strbuf_init(&d->shown, SCRATCH_MAX);
    redact_run(r->delta, d->text, false, &sink);
    return !d->differs && d->same == d->text.len;
}

static struct str shown_of(const struct delta *d)
{
    return d->differs ? strbuf_str(&d->shown) : (struct str){d->text.ptr, d->same};
}

/* One of which nothing is left but its place waits with it. */
static void send_changed(struct redaction *r, const struct json *data, const struct json *text, struct str shown,
                         const struct target *t)
{
    if (shown.len > 0 || data->count > 1)
        send_delta(r, data, text, shown, t);
}

/* What of a delta may be shown. */
static void pass_delta(struct redaction *r, struct str data, const struct target *t)
{
    struct arena arena;
    struct json *root = NULL;
    arena_init(&arena, ARENA_MAX);
    const struct json *text =
        json_parse(&arena, data, LIMIT_JSON_DEPTH, 1, &root, NULL) == ERR_OK ? json_get(root, "text") : NULL;
    if (!text || text->type != JSON_STRING) {
        send_event(r, EVENT_ASSISTANT_TEXT, data, t);
    } else {
        struct delta d = {.text = text->string};
        if (feed_delta(r, &d))
            send_event(r, EVENT_ASSISTANT_TEXT, data, t);
        else
            send_changed(r, root, text, shown_of(&d), t);
        strbuf_done(&d.shown);
    }
    arena_done(&arena);
}

/* Its text was fed already; what came out of it. */
static void send_fed(struct redaction *r, struct str data, struct str shown, const struct target *t)
{
    struct arena arena;
    struct json *root = NULL;
    arena_init(&arena, ARENA_MAX);
    const struct json *text =
        json_parse(&arena, data, LIMIT_JSON_DEPTH, 1, &root, NULL) == ERR_OK ? json_get(root, "text") : NULL;
    if (text)
        send_changed(r, root, text, shown, t);
    else /* no memory */
        t->fn(t->ctx, EVENT_ASSISTANT_TEXT, WITHHELD);
    arena_done(&arena);
}

/* The same where all else of data stays as it is, and nothing of what comes of it is redacted: it is put together without being parsed. */
static bool send_spliced(struct redaction *r, const struct event_line *l, struct str shown, const struct target *t)
{
    static const struct str nothing = {"{\"text\":\"\"}", 11};
    struct str data = l->data;
    if (!l->raw.ptr)
        return false;
    if (shown.len == 0 && data.len == nothing.len + l->raw.len)
        return true; /* its place waits with it */
    size_t before = (size_t)(l->raw.ptr - data.ptr) - 1, behind = before + l->raw.len + 2;
    strbuf_reset(&r->changed);
    strbuf_add(&r->changed, (struct str){data.ptr, before});
    json_quote(&r->changed, shown);
    strbuf_add(&r->changed, (struct str){data.ptr + behind, data.len - behind});
    if (strbuf_failed(&r->changed) || r->changed.len + EVENT_OVERHEAD > LIMIT_EVENT ||
        !redact_quick(r->redactor, strbuf_str(&r->changed)))
        return false;
    t->fn(t->ctx, EVENT_ASSISTANT_TEXT, strbuf_str(&r->changed));
    return true;
}

bool redaction_quick(struct redaction *r, struct str line, adapter_event_fn fn, void *ctx)
{
    struct event_line l; /* event_line_read sets the rest */
    struct target t = {fn, ctx};
    struct str shown;
    bool whole;
    l.scratch = &r->scratch;
    l.head = &r->head;
    l.leave_text = true;
    if (line.len > QUICK_MAX || !event_line_read(line, r->redactor, &l))
        return false;
    if (l.kind != EVENT_ASSISTANT_TEXT || !l.text.ptr) {
        fn(ctx, l.kind, l.data);
    } else if (redact_run_quick(r->delta, l.text, &shown, &whole)) {
        if (whole)
            fn(ctx, l.kind, l.data);
        else if (!send_spliced(r, &l, shown, &t))
            send_fed(r, l.data, shown, &t);
    } else {
        struct delta d = {.text = l.text};
        if (feed_delta(r, &d) && !l.text_left)
            fn(ctx, l.kind, l.data);
        else
            send_fed(r, l.data, shown_of(&d), &t);
        strbuf_done(&d.shown);
    }
    return true;
}

void redaction_event(struct redaction *r, enum event_kind kind, struct str data, adapter_event_fn fn, void *ctx)
{
    struct target t = {fn, ctx};
    if (kind == EVENT_ASSISTANT_TEXT)
        pass_delta(r, data, &t);
    else
        send_event(r, kind, data, &t);
}

void redaction_big(struct redaction *r, enum event_kind kind, struct str data, adapter_event_fn fn, void *ctx)
{
    struct strbuf shown;
    strbuf_init(&shown, SCRATCH_MAX);
    redact_json(r->redactor, data, &shown);
    if (strbuf_failed(&shown))
        fn(ctx, kind, WITHHELD);
    else if (shown.len + EVENT_OVERHEAD <= LIMIT_EVENT)
        fn(ctx, kind, strbuf_str(&shown));
    else
        adapter_split(kind, strbuf_str(&shown), fn, ctx);
    strbuf_done(&shown);
}

/* What a text still has, as a delta of its own. */
static void rest_of_delta(struct redaction *r, void (*rest_of)(struct redact_stream *s, struct strbuf *out),
                          const struct target *t)
{
    struct strbuf rest, data;
    struct json_writer w;
    strbuf_init(&rest, SCRATCH_MAX);
    strbuf_init(&data, SCRATCH_MAX);
    rest_of(r->delta, &rest);
    json_writer_init(&w, &data);
    json_object_begin(&w);
    json_kv_str(&w, "text", strbuf_str(&rest));
    json_object_end(&w);
    if (rest.len > 0)
        send_event(r, EVENT_ASSISTANT_TEXT, strbuf_str(&data), t);
    strbuf_done(&rest);
    strbuf_done(&data);
}

void redaction_delta_pause(struct redaction *r, adapter_event_fn fn, void *ctx)
{
    struct target t = {fn, ctx};
    rest_of_delta(r, redact_stream_pause, &t);
}

void redaction_end(struct redaction *r, adapter_event_fn fn, void *ctx)
{
    struct target t = {fn, ctx};
    strbuf_reset(&r->scratch);
    redact_stream_end(r->out, &r->scratch);
    lines_feed(&r->plain, strbuf_str(&r->scratch), on_plain_line, &t);
    lines_end(&r->plain, on_plain_line, &t);
    rest_of_delta(r, redact_stream_end, &t);
}

/* ---- the end ---- */

static void replace(struct strbuf *text, struct str with, bool whole)
{
    bool fits = whole && with.len <= text->max;
    strbuf_reset(text);
    strbuf_add(text, with);
    text->failed = !fits; /* a result that outgrew its bound is left out, as any that is too long */
}

void redaction_claim(struct redaction *r, struct adapter_claim *claim)
{
    if (!strbuf_failed(&claim->result) && claim->result.len > 0) {
        struct str shown = redaction_json(r, strbuf_str(&claim->result));
        replace(&claim->result, shown, !strbuf_failed(&r->scratch));
    }
    if (claim->message.len > 0) {
        strbuf_reset(&r->scratch);
        redact_text(r->redactor, strbuf_str(&claim->message), &r->scratch);
        struct str shown = strbuf_str(&r->scratch);
        if (shown.len > LIMIT_ERROR_MESSAGE) {
            shown.len = LIMIT_ERROR_MESSAGE;
            shown.len = utf8_complete_len(shown);
        }
        replace(&claim->message, shown, true);
    }
}

void redaction_message(struct redaction *r, struct str text, char *ret_text, size_t size)
{
    strbuf_reset(&r->scratch);
    if (r->redactor)
        redact_text(r->redactor, text, &r->scratch);
    struct str shown = strbuf_str(&r->scratch);
    if (shown.len >= size) {
        shown.len = size - 1;
        shown.len = utf8_complete_len(shown);
    }
    if (shown.len > 0)
        memcpy(ret_text, shown.ptr, shown.len);
    ret_text[shown.len] = 0;
}
