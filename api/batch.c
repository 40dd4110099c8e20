#include "api/batch.h"

#include <stdarg.h>
#include <stdio.h>

/* Levels that get trees. An event has none where it is written as it is stored, and else one of its own. Not what is within data: an event of 256 KiB may have so many members that their nodes would exceed the
 * request's memory. */
enum {
    EVENT_LEVELS = 1,
    ENVELOPE_LEVELS = 2,
    CLAIM_LEVELS = 2 /* data, and its error */,
    EVENT_HEAD_MAX = 128,
    SCRATCH_MAX = 64 << 20
};

struct parse {
    struct arena *arena;
    const char **detail;
    struct strbuf lines; /* of the entry being filled */
    struct batch_entry entry;
    struct event_batch *out;
};

static enum err refuse(struct parse *p, enum err err, const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum err refuse(struct parse *p, enum err err, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    *p->detail = arena_strdup(p->arena, str_of(text));
    return err;
}

static enum err entry_close(struct parse *p)
{
    if (p->entry.n == 0)
        return ERR_OK;
    p->entry.lines = arena_str(p->arena, strbuf_str(&p->lines));
    if (!p->entry.lines.ptr || strbuf_failed(&p->lines))
        return ERR_NO_MEMORY;
    p->out->entries[p->out->entry_count++] = p->entry;
    p->entry = (struct batch_entry){0};
    strbuf_reset(&p->lines);
    return ERR_OK;
}

/* An event whose line of that length comes next belongs to the present entry: at most 64 KiB, or one event. */
static enum err entry_next(struct parse *p, int64_t seq, int64_t t_ms, size_t len)
{
    if (p->entry.n > 0 && p->lines.len + 1 + len > LIMIT_ENTRY) {
        enum err err = entry_close(p);
        if (err)
            return err;
    }
    if (p->entry.n == 0)
        p->entry.first = seq;
    else
        strbuf_addc(&p->lines, '\n');
    p->entry.last = seq;
    p->entry.t = t_ms;
    p->entry.n++;
    return ERR_OK;
}

static enum err entry_add(struct parse *p, int64_t seq, int64_t t_ms, struct str line)
{
    enum err err = entry_next(p, seq, t_ms, line.len);
    if (!err)
        strbuf_add(&p->lines, line);
    return err;
}

/* The error of a claim, as it is kept: its message under the agent's class. */
static enum err write_claim_error(struct parse *p, const struct json *error)
{
    const struct json *message = json_get(error, "message");
    struct strbuf text;
    struct json_writer w;
    struct str said = message && message->type == JSON_STRING ? message->string : STR("the agent reported an error");
    if (said.len > LIMIT_ERROR_MESSAGE) {
        said.len = LIMIT_ERROR_MESSAGE;
        said.len = utf8_complete_len(said);
    }
    strbuf_init(&text, 8 * LIMIT_ERROR_MESSAGE); /* an escape is six bytes at most */
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_kv_str(&w, "class", STR("agent_error")); /* the agent said so itself */
    json_kv_str(&w, "message", said);
    json_object_end(&w);
    POST(!strbuf_failed(&text));
    p->out->claim_error = arena_str(p->arena, strbuf_str(&text));
    strbuf_done(&text);
    return p->out->claim_error.ptr ? ERR_OK : ERR_NO_MEMORY;
}

/* What it says of another attempt: noRetry, retryAfterMs. What is out of range is not said. */
static struct str read_retry(struct arena *a, const struct json *data)
{
    const struct json *no = json_get(data, "noRetry"), *after = json_get(data, "retryAfterMs");
    if (no && no->type == JSON_BOOL && no->boolean)
        return STR("no");
    if (after && after->type == JSON_INT && after->integer >= 0 && after->integer <= (int64_t)LIMIT_DELAY_MS)
        return str_of(arena_printf(a, "%lld", (long long)after->integer));
    return STR("");
}

/* What a runtime_terminal's data claims: {status, result?, error?, noRetry?, retryAfterMs?}. data is valid JSON: it was read with its event. */
static enum err read_claim(struct parse *p, size_t i, struct str raw_data, int64_t seq, int64_t t_ms, struct str line)
{
    struct event_batch *b = p->out;
    struct json *data;
    if (json_parse(p->arena, raw_data, LIMIT_JSON_DEPTH, CLAIM_LEVELS, &data, NULL) != ERR_OK)
        return ERR_NO_MEMORY;
    const struct json *status = json_get(data, "status"), *result = json_get(data, "result");
    bool known =
        status && status->type == JSON_STRING &&
        (str_eqz(status->string, "success") || str_eqz(status->string, "error") || str_eqz(status->string, "stopped"));
    if (!known)
        return refuse(p, ERR_INVALID_EVENT, "events[%zu].data.status must be \"success\", \"error\" or \"stopped\"", i);
    b->claim_line = arena_str(p->arena, line);
    b->claim_seq = seq;
    b->claim_t = t_ms;
    b->claim_status = status->string;
    b->claim_result = result ? result->raw : STR("");
    b->claim_error = STR("");
    b->claim_retry = read_retry(p->arena, data);
    if (!b->claim_line.ptr)
        return ERR_NO_MEMORY;
    return str_eqz(status->string, "error") ? write_claim_error(p, json_get(data, "error")) : ERR_OK;
}

static bool integer_in(const struct json *v, int64_t max)
{
    return v && v->type == JSON_INT && v->integer >= 0 && v->integer <= max;
}

/* An event written as it is stored, with its members in that order: nothing is to be made of it. e: without a tree. */
static bool read_as_stored(struct str e, struct event_head *ret_head)
{
    return event_peek(e, ret_head) == ERR_OK && json_nested_len(ret_head->data) == ret_head->data.len;
}

/* Any other one. */
static enum err read_members(struct parse *p, size_t i, struct str raw, struct event_head *ret_head)
{
    struct json *e;
    if (json_parse(p->arena, raw, LIMIT_JSON_DEPTH, EVENT_LEVELS, &e, NULL) != ERR_OK)
        return ERR_NO_MEMORY; /* it is valid: that was seen */
    if (e->repeated_key)
        return refuse(p, ERR_INVALID_EVENT, "events[%zu] repeats one of its keys", i);
    const struct json *seq = json_get(e, "seq"), *t = json_get(e, "tMs"), *kind = json_get(e, "kind"),
                      *data = json_get(e, "data");
    if (!integer_in(seq, SEQ_MAX))
        return refuse(p, ERR_INVALID_EVENT, "events[%zu].seq must be a non-negative integer", i);
    if (!integer_in(t, SEQ_CLOSED))
        return refuse(p, ERR_INVALID_EVENT, "events[%zu].tMs must be a non-negative integer", i);
    enum event_kind k = kind && kind->type == JSON_STRING ? event_kind_of(kind->string) : EVENT_KIND_COUNT;
    if (k == EVENT_KIND_COUNT)
        return refuse(p, ERR_INVALID_EVENT, "events[%zu].kind must be one of the nine kinds", i);
    if (!data || data->type != JSON_OBJECT)
        return refuse(p, ERR_INVALID_EVENT, "events[%zu].data must be an object", i);
    *ret_head = (struct event_head){seq->integer, t->integer, k, data->raw};
    return ERR_OK;
}

/* A claim's line is looked at apart. */
static enum err take_claim(struct parse *p, size_t i, int64_t seq, int64_t t_ms, struct str data)
{
    struct strbuf line;
    strbuf_init(&line, LIMIT_EVENT);
    event_write(&line, seq, t_ms, EVENT_RUNTIME_TERMINAL, data);
    enum err err = strbuf_failed(&line) ? ERR_NO_MEMORY : read_claim(p, i, data, seq, t_ms, strbuf_str(&line));
    strbuf_done(&line);
    return err;
}

/* One event through all of its own rules. e: without a tree. */
static enum err take_event(struct parse *p, size_t i, const struct json *e)
{
    struct event_batch *b = p->out;
    struct event_head h;
    if (e->type != JSON_OBJECT)
        return refuse(p, ERR_INVALID_EVENT, "events[%zu] must be an object", i);
    enum err err = ERR_OK;
    bool as_stored = read_as_stored(e->raw, &h) && h.seq <= SEQ_MAX && h.t_ms <= SEQ_CLOSED;
    if (!as_stored)
        err = read_members(p, i, e->raw, &h);
    if (err)
        return err;
    if (b->claim_line.len > 0)
        return refuse(p, ERR_INVALID_EVENT, "events[%zu] stands behind a runtime_terminal", i);
    size_t len = as_stored ? e->raw.len : event_len(h.seq, h.t_ms, h.kind, h.data);
    if (len > LIMIT_EVENT)
        err = refuse(p, ERR_EVENT_TOO_LARGE, "events[%zu] is over %d bytes", i, LIMIT_EVENT);
    else if (b->count > 0 && h.seq <= b->last)
        err = refuse(p, ERR_SEQ_NOT_MONOTONIC, "events[%zu].seq must be above the one before", i);
    else if (b->count > 0 && h.t_ms < b->last_t)
        err = refuse(p, ERR_T_MS_NOT_MONOTONIC, "events[%zu].tMs must not be below the one before", i);
    else if (h.kind == EVENT_RUNTIME_TERMINAL)
        err = take_claim(p, i, h.seq, h.t_ms, h.data);
    else if (as_stored)
        err = entry_add(p, h.seq, h.t_ms, e->raw);
    else if (!(err = entry_next(p, h.seq, h.t_ms, len)))
        event_write(&p->lines, h.seq, h.t_ms, h.kind, h.data);
    b->asks = b->asks || (!err && event_asks_input(h.kind, h.data));
    if (b->count == 0) {
        b->first = h.seq;
        b->first_t = h.t_ms;
    }
    b->last = h.seq;
    b->last_t = h.t_ms;
    b->count++;
    return err;
}

static enum err parse_envelope(struct parse *p, struct str body, struct str run_id)
{
    struct json *root;
    const char *why = "it is malformed";
    enum err err = json_parse(p->arena, body, LIMIT_JSON_DEPTH, ENVELOPE_LEVELS, &root, &why);
    if (err)
        return err == ERR_NO_MEMORY ? err : refuse(p, ERR_INVALID_ENVELOPE, "the body is not valid JSON: %s", why);
    if (root->type != JSON_OBJECT)
        return refuse(p, ERR_INVALID_ENVELOPE, "the body must be an object");
    if (root->repeated_key)
        return refuse(p, ERR_INVALID_ENVELOPE, "the envelope repeats one of its keys");
    const struct json *v = json_get(root, "v"), *run = json_get(root, "runId"), *events = json_get(root, "events");
    if (!v || v->type != JSON_INT || v->integer != 1)
        return refuse(p, ERR_VERSION_MISMATCH, "v must be 1");
    if (!run || run->type != JSON_STRING || run->string.len == 0 || !str_eq(run->string, run_id))
        return refuse(p, ERR_MISSING_RUN_ID, "runId must be the run's id, the same as the path's");
    if (!events || events->type != JSON_ARRAY || events->count == 0)
        return refuse(p, ERR_EMPTY_BATCH, "events must be an array of 1 to %d events", LIMIT_BATCH_EVENTS);
    if (events->count > LIMIT_BATCH_EVENTS)
        return refuse(p, ERR_BATCH_TOO_LARGE, "events must be an array of 1 to %d events", LIMIT_BATCH_EVENTS);
    size_t i = 0;
    for (const struct json *e = events->child; e && !err; e = e->next)
        err = take_event(p, i++, e);
    return err;
}

static struct str trim(struct str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t' || s.ptr[0] == '\r'))
        s.ptr++, s.len--;
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t' || s.ptr[s.len - 1] == '\r'))
        s.len--;
    return s;
}

/* The next line that is not empty; false at the end. */
static bool next_line(struct str *rest, struct str *ret_line)
{
    while (rest->len > 0) {
        const char *newline = memchr(rest->ptr, '\n', rest->len);
        struct str line = {rest->ptr, newline ? (size_t)(newline - rest->ptr) : rest->len};
        rest->ptr += line.len + (newline ? 1 : 0);
        rest->len -= line.len + (newline ? 1 : 0);
        *ret_line = trim(line);
        if (ret_line->len > 0)
            return true;
    }
    return false;
}

static enum err parse_lines(struct parse *p, struct str body)
{
    struct str rest = body, line;
    size_t count = 0;
    while (next_line(&rest, &line))
        count++;
    if (count == 0)
        return refuse(p, ERR_EMPTY_BATCH, "the body holds no event");
    if (count > LIMIT_BATCH_EVENTS)
        return refuse(p, ERR_BATCH_TOO_LARGE, "a batch has at most %d events", LIMIT_BATCH_EVENTS);
    rest = body;
    enum err err = ERR_OK;
    for (size_t i = 0; !err && next_line(&rest, &line); i++) {
        struct json *e;
        /* Two levels less: the same data must pass in an envelope, too. */
        err = json_parse(p->arena, line, LIMIT_JSON_DEPTH - 2, 0, &e, NULL);
        if (err == ERR_INVALID_JSON)
            err = refuse(p, ERR_INVALID_EVENT, "events[%zu] is not valid JSON", i);
        else if (!err)
            err = take_event(p, i, e);
    }
    return err;
}

enum err batch_parse(struct arena *a, struct str body, bool ndjson, struct str run_id, struct event_batch *ret_batch,
                     const char **ret_detail)
{
    struct parse p = {.arena = a, .detail = ret_detail, .out = ret_batch};
    *ret_batch = (struct event_batch){.claim_line = STR(""), .claim_warnings = STR(""), .schema_checked = STR("")};
    *ret_detail = NULL;
    strbuf_init(&p.lines, LIMIT_ENTRY + LIMIT_EVENT);
    strbuf_grow(&p.lines, body.len < LIMIT_ENTRY ? body.len : LIMIT_ENTRY); /* at once what it comes to, about */
    enum err err = ndjson ? parse_lines(&p, body) : parse_envelope(&p, body, run_id);
    if (!err)
        err = entry_close(&p);
    strbuf_done(&p.lines);
    return err;
}

/* ---- redaction ---- */

struct shown {
    struct event_head head;
    struct str line;
    struct str text;   /* of an assistant_text: its text, decoded; "" for none */
    size_t at, end;    /* where that stands in the texts of the batch */
    struct strbuf out; /* what is shown of it */
    bool changed;
};

struct texts {
    struct shown *events;
    size_t n, at; /* at: the event that came out last */
};

/* The event whose text holds this place. */
static struct shown *holder(struct texts *t, size_t place)
{
    while (t->at + 1 < t->n && (t->events[t->at].text.len == 0 || place >= t->events[t->at].end))
        t->at++;
    return &t->events[t->at];
}

static void on_shown_text(void *ctx, size_t at, struct str text)
{
    while (text.len > 0) {
        struct shown *e = holder(ctx, at);
        size_t n = e->end > at && e->end - at < text.len ? e->end - at : text.len;
        strbuf_add(&e->out, (struct str){text.ptr, n});
        text.ptr += n;
        text.len -= n;
        at += n;
    }
}

static void on_shown_marker(void *ctx, size_t at, struct str marker)
{
    strbuf_add(&holder(ctx, at)->out, marker);
}

/* data with the text that may be shown. */
static struct str with_text(struct arena *a, const struct shown *e)
{
    struct strbuf out;
    struct json_writer w;
    struct json *root;
    if (json_parse(a, e->head.data, LIMIT_JSON_DEPTH, 1, &root, NULL) != ERR_OK)
        return STR_NONE;
    const struct json *text = json_get(root, "text");
    strbuf_init(&out, 2 * LIMIT_EVENT);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    for (const struct json *m = root->child; m; m = m->next) {
        json_key_str(&w, m->key);
        if (m == text)
            json_str(&w, strbuf_str(&e->out));
        else
            json_raw(&w, m->raw);
    }
    json_object_end(&w);
    struct str data =
        strbuf_failed(&out) ? STR("{\"redacted\":\"[REDACTED:undecided]\"}") : arena_str(a, strbuf_str(&out));
    strbuf_done(&out);
    return data;
}

/* Texts that nothing could even begin in, taken together, stay. */
static enum err redact_texts(struct arena *a, struct redactor *r, struct shown *events, size_t n)
{
    struct redact_stream *stream;
    struct texts t = {.events = events, .n = n};
    struct redact_sink sink = {on_shown_text, on_shown_marker, &t};
    struct strbuf all;
    size_t at = 0;
    strbuf_init(&all, SCRATCH_MAX);
    for (size_t i = 0; i < n; i++) {
        struct shown *e = &events[i];
        e->at = at;
        at += e->text.len;
        e->end = at;
        strbuf_add(&all, e->text);
    }
    bool clean = !strbuf_failed(&all) && redact_text_clean(r, strbuf_str(&all));
    strbuf_done(&all);
    enum err err = clean ? ERR_OK : redact_stream_new(r, &stream);
    if (clean || err)
        return err;
    for (size_t i = 0; i < n; i++)
        strbuf_init(&events[i].out, 2 * LIMIT_EVENT);
    for (size_t i = 0; i < n; i++)
        if (events[i].text.len > 0)
            redact_run(stream, events[i].text, false, &sink);
    redact_run(stream, STR(""), true, &sink);
    redact_stream_free(stream);
    for (size_t i = 0; i < n && !err; i++) {
        struct shown *e = &events[i];
        e->changed = e->text.len > 0 && !str_eq(strbuf_str(&e->out), e->text);
        if (e->changed)
            e->head.data = with_text(a, e);
        err = e->head.data.ptr ? ERR_OK : ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++)
        strbuf_done(&events[i].out);
    return err;
}

/* The event's line as it is stored. Markers may be longer than what they stand for: one that outgrows its bound is withheld. */
static void redacted_line(struct redactor *r, const struct event_head *head, struct strbuf *out)
{
    struct strbuf data;
    strbuf_init(&data, 4 * LIMIT_EVENT);
    redact_json(r, head->data, &data);
    bool fits = !strbuf_failed(&data) && data.len + EVENT_HEAD_MAX <= LIMIT_EVENT;
    event_write(out, head->seq, head->t_ms, head->kind,
                fits ? strbuf_str(&data) : STR("{\"redacted\":\"[REDACTED:undecided]\"}"));
    strbuf_done(&data);
}

/* Result and error anew, from what may be shown of the claim. */
static enum err redact_claim(struct parse *p, struct redactor *r)
{
    struct event_batch *b = p->out;
    struct event_head head;
    struct json *data;
    struct strbuf line;
    if (b->claim_line.len == 0)
        return ERR_OK;
    POST(event_peek(b->claim_line, &head) == ERR_OK);
    strbuf_init(&line, 2 * LIMIT_EVENT);
    redacted_line(r, &head, &line);
    b->claim_line = arena_str(p->arena, strbuf_str(&line));
    bool failed = strbuf_failed(&line);
    strbuf_done(&line);
    if (failed || !b->claim_line.ptr || event_peek(b->claim_line, &head) != ERR_OK ||
        json_parse(p->arena, head.data, LIMIT_JSON_DEPTH, CLAIM_LEVELS, &data, NULL) != ERR_OK)
        return ERR_NO_MEMORY;
    const struct json *result = json_get(data, "result");
    b->claim_result = result ? result->raw : STR("");
    return b->claim_error.len > 0 ? write_claim_error(p, json_get(data, "error")) : ERR_OK;
}

/* The next line of an entry; false at its end. */
static bool take_line(struct str *rest, struct str *ret_line)
{
    if (rest->len == 0)
        return false;
    const char *newline = memchr(rest->ptr, '\n', rest->len);
    *ret_line = (struct str){rest->ptr, newline ? (size_t)(newline - rest->ptr) : rest->len};
    rest->ptr += ret_line->len + (newline ? 1 : 0);
    rest->len -= ret_line->len + (newline ? 1 : 0);
    return true;
}

/* The end of a string behind its opening quote, in valid JSON. */
static size_t string_end(struct str json, size_t at)
{
    for (;;) {
        const char *quote = memchr(json.ptr + at, '"', json.len - at);
        PRE(quote);
        size_t end = (size_t)(quote - json.ptr), slashes = 0;
        while (end - slashes > at && json.ptr[end - slashes - 1] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return end;
        at = end + 1;
    }
}

/* The first member "text" of an event's data, as it stands between its quotes: found without a tree where that is easily done, which it mostly is. False: it takes a tree to know. */
static bool text_at_once(struct str data, struct str *ret_raw)
{
    size_t at = 1;
    *ret_raw = STR("");
    while (at < data.len && data.ptr[at] == '"') {
        size_t end = string_end(data, ++at);
        struct str key = {data.ptr + at, end - at};
        at = end + 2; /* the colon */
        if (memchr(key.ptr, '\\', key.len) || at >= data.len || data.ptr[at] != '"')
            return false;
        end = string_end(data, ++at);
        if (str_eq(key, STR("text"))) {
            *ret_raw = (struct str){data.ptr + at, end - at};
            return true;
        }
        at = end + 1;
        at += at < data.len && data.ptr[at] == ',';
    }
    return true;
}

static enum err read_text(struct arena *a, struct shown *e)
{
    struct str raw;
    struct json *root;
    e->text = STR("");
    if (e->head.kind != EVENT_ASSISTANT_TEXT)
        return ERR_OK;
    if (text_at_once(e->head.data, &raw) && !(raw.len > 0 && memchr(raw.ptr, '\\', raw.len))) {
        e->text = raw;
        return ERR_OK;
    }
    if (json_parse(a, e->head.data, LIMIT_JSON_DEPTH, 1, &root, NULL) != ERR_OK)
        return ERR_NO_MEMORY;
    const struct json *text = json_get(root, "text");
    if (text && text->type == JSON_STRING)
        e->text = text->string;
    return ERR_OK;
}

static enum err read_events(struct event_batch *b, struct arena *scratch, struct shown *events, size_t *ret_n)
{
    enum err err = ERR_OK;
    size_t n = 0;
    for (size_t i = 0; i < b->entry_count; i++) {
        struct str rest = b->entries[i].lines;
        while (!err && take_line(&rest, &events[n].line)) {
            PRE(n < b->count);
            POST(event_peek(events[n].line, &events[n].head) == ERR_OK);
            err = read_text(scratch, &events[n++]);
        }
    }
    *ret_n = n;
    return err;
}

/* What is stored of one event. */
static enum err redact_event(struct parse *p, struct redactor *r, const struct shown *e)
{
    struct strbuf line;
    if (!e->changed && redact_json_clean(r, e->head.data))
        return entry_add(p, e->head.seq, e->head.t_ms, e->line);
    strbuf_init(&line, 2 * LIMIT_EVENT);
    redacted_line(r, &e->head, &line);
    enum err err = strbuf_failed(&line) ? ERR_NO_MEMORY : entry_add(p, e->head.seq, e->head.t_ms, strbuf_str(&line));
    strbuf_done(&line);
    return err;
}

/* scratch: for what is needed only meanwhile. */
static enum err redact_entries(struct parse *p, struct redactor *r, struct arena *scratch)
{
    struct event_batch *b = p->out;
    struct shown *events = arena_zalloc(scratch, (b->count + 1) * sizeof *events);
    size_t n = 0;
    bool same = true;
    if (!events)
        return ERR_NO_MEMORY;
    enum err err = read_events(b, scratch, events, &n);
    if (!err)
        err = redact_texts(scratch, r, events, n);
    for (size_t i = 0; i < b->entry_count && same; i++)
        same = redact_json_clean(r, b->entries[i].lines);
    for (size_t i = 0; i < n && same; i++)
        same = !events[i].changed;
    if (err || same)
        return err;
    b->entry_count = 0;
    for (size_t i = 0; i < n && !err; i++)
        err = redact_event(p, r, &events[i]);
    return err ? err : entry_close(p);
}

enum err batch_redact(struct arena *a, struct redactor *r, struct event_batch *b)
{
    struct parse p = {.arena = a, .out = b};
    struct arena scratch;
    arena_init(&scratch, SCRATCH_MAX);
    strbuf_init(&p.lines, LIMIT_ENTRY + LIMIT_EVENT);
    enum err err = redact_entries(&p, r, &scratch);
    strbuf_done(&p.lines);
    arena_done(&scratch);
    return err ? err : redact_claim(&p, r);
}

enum err batch_claim_faults(struct arena *a, const struct schema_faults *faults, bool strict, struct event_batch *b)
{
    struct strbuf text;
    struct json_writer w;
    char message[OUTPUT_INVALID_MAX];
    strbuf_init(&text, 1 << 20);
    if (strict) {
        json_writer_init(&w, &text);
        json_object_begin(&w);
        json_kv_str(&w, "class", STR("output_invalid"));
        json_kv_str(&w, "message", str_of(schema_output_message(faults, message)));
        json_object_end(&w);
    } else {
        schema_faults_write(faults, &text);
    }
    struct str copy = strbuf_failed(&text) ? STR_NONE : arena_str(a, strbuf_str(&text));
    strbuf_done(&text);
    if (!copy.ptr)
        return ERR_NO_MEMORY;
    *(strict ? &b->claim_error : &b->claim_warnings) = copy;
    if (strict) {
        b->claim_status = STR("error");
        b->claim_result = STR("");
    }
    return ERR_OK;
}
