/* The engine. Two readers go over the same text: the automaton of the secrets, and that of the shapes' anchors with PCRE2 behind it. Each tells spans that are to be replaced, and up to where it has decided; what
 * both have decided goes out, with the spans that overlap replaced as one. So it does not matter where the text was cut. */
#include <sodium.h>
#include <stdlib.h>

#include "common/redact_parts.h"

enum { STREAM_MAX = 512 << 20, KEEP_SLACK = 4096, PIECE = 65536, PAUSE_MAX = 3 };

struct span {
    size_t start, end;
    struct str marker;
    bool goes_on; /* of a tail: it belongs to what ends where it begins */
};

struct spans {
    struct span *list;
    size_t n, first, cap;
};

struct tail {
    bool on;
    size_t at;    /* the next byte to look at */
    size_t until; /* what was covered last ends here */
    char quote;
    unsigned slashes, run; /* before the quote; just read */
    struct str marker;
};

struct redact_stream {
    struct redactor *r;
    struct strbuf buf;
    size_t base;    /* place of buf's first byte in the whole text */
    size_t done;    /* in buf: what is before it went out, or is covered */
    size_t decided; /* in buf: what is before it was judged, when a piece was last looked at */
    size_t skip;    /* in buf: what is before it is covered by the last marker */
    size_t secrets_at, shapes_at;
    uint32_t secrets_state;
    struct spans secrets, shapes;
    struct tail tails[TAIL_COUNT];
    bool tailed; /* some tail is on, or was where it counts */
    bool pem;
    size_t pem_at;
    size_t jwt_dead;
    bool dead; /* it could not decide: nothing goes out any more */
    bool said; /* the marker that says so went out */
};

/* ---- spans ---- */

static bool push(struct spans *l, struct span s)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 16;
        struct span *list = realloc(l->list, cap * sizeof *list);
        if (!list)
            return false;
        l->list = list;
        l->cap = cap;
    }
    l->list[l->n++] = s;
    return true;
}

/* Spans of secrets come in the order of their ends. Those that overlap become one, under the name of the one that begins first, of those the longest. */
static bool push_secret(struct spans *l, struct span s)
{
    while (l->n > l->first && s.start < l->list[l->n - 1].end) {
        const struct span *last = &l->list[l->n - 1];
        if (last->start < s.start) {
            s.start = last->start;
            s.marker = last->marker;
        }
        l->n--;
    }
    return push(l, s);
}

/* What goes on comes first: what begins there lies within it. */
static bool comes_before(const struct span *a, const struct span *b)
{
    return a->start < b->start || (a->start == b->start && a->goes_on && !b->goes_on);
}

/* Shapes come in the order of their anchors: mostly of their starts. */
static bool push_shape(struct spans *l, struct span s)
{
    if (!push(l, s))
        return false;
    for (size_t i = l->n - 1; i > l->first && comes_before(&l->list[i], &l->list[i - 1]); i--) {
        struct span swap = l->list[i];
        l->list[i] = l->list[i - 1];
        l->list[i - 1] = swap;
    }
    return true;
}

static struct span *first_of(struct spans *l)
{
    return l->first < l->n ? &l->list[l->first] : NULL;
}

static void pop(struct spans *l)
{
    if (++l->first == l->n)
        l->first = l->n = 0;
}

static void shift(struct spans *l, size_t by)
{
    size_t kept = 0;
    for (size_t i = l->first; i < l->n; i++) {
        l->list[kept] = l->list[i];
        l->list[kept].start -= by < l->list[i].start ? by : l->list[i].start;
        l->list[kept].end -= by < l->list[i].end ? by : l->list[i].end;
        kept++;
    }
    l->first = 0;
    l->n = kept;
}

/* ---- secrets ---- */

/* Short values that end at `at` and stand alone. */
static bool find_alone(struct redact_stream *s, size_t at)
{
    const struct ac *a = s->r->secrets;
    const char *p = s->buf.ptr;
    if (at < s->buf.len && !redact_edge(p[at], false))
        return true;
    for (uint32_t n = ac_words(a, s->secrets_state); n; n = ac_more(a, n)) {
        int32_t word = a->nodes[n].word;
        size_t start = at - a->nodes[n].depth;
        if (!(word & 1) || !(start + s->base == 0 || redact_edge(p[start - 1], true)))
            continue;
        return push_secret(&s->secrets, (struct span){start, at, s->r->secret_markers[word >> 1], false});
    }
    return true;
}

/* Where a secret may have begun that is not whole yet. */
static bool scan_secrets(struct redact_stream *s, bool final, size_t *ret_decided)
{
    const struct ac *a = s->r->secrets;
    struct str text = strbuf_str(&s->buf);
    for (;;) {
        if (ac_words(a, s->secrets_state) && (s->secrets_at < text.len || final) && !find_alone(s, s->secrets_at))
            return false;
        if (s->secrets_state == AC_ROOT)
            s->secrets_at = ac_skip(a, text, s->secrets_at);
        if (s->secrets_at >= text.len)
            break;
        s->secrets_state = ac_step(a, s->secrets_state, (unsigned char)text.ptr[s->secrets_at++]);
        for (uint32_t n = ac_words(a, s->secrets_state); n; n = ac_more(a, n)) {
            int32_t word = a->nodes[n].word;
            if (word & 1)
                continue;
            struct span found = {s->secrets_at - a->nodes[n].depth, s->secrets_at, s->r->secret_markers[word >> 1],
                                 false};
            if (!push_secret(&s->secrets, found))
                return false;
            break; /* shorter ones that end here lie within */
        }
    }
    *ret_decided = final ? text.len : text.len - a->nodes[s->secrets_state].depth;
    return true;
}

/* ---- tails ---- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0;
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

static bool value_ends(char c)
{
    return is_blank(c) || c == '"' || c == '\'' || c == '`' || c == '<' || c == '>' || c == '&';
}

/* Moves on over what a quoted value is made of. A quote that as many backslashes stand before as before the opening one closes it. */
static void run_quoted(struct tail *t, struct str text)
{
    for (; t->at < text.len; t->at++) {
        char c = text.ptr[t->at];
        if (c == '\\') {
            t->run++;
            continue;
        }
        bool closes = c == t->quote && (t->run < t->slashes || t->run % (2 * (t->slashes + 1)) == t->slashes);
        if (closes || c == '\n' || c == '\r') {
            t->on = false;
            if (closes)
                t->at -= t->run < t->slashes ? t->run : t->slashes;
            return;
        }
        t->run = 0;
    }
}

/* An unquoted value ends at white space, quotes, brackets and &; also at such an end that is escaped. */
static void run_value(struct tail *t, struct str text, bool final)
{
    for (; t->at < text.len; t->at++) {
        char c = text.ptr[t->at];
        if (value_ends(c)) {
            t->on = false;
            return;
        }
        if (c != '\\')
            continue;
        if (t->at + 1 == text.len && !final)
            return; /* what it escapes decides */
        if (t->at + 1 < text.len && (value_ends(text.ptr[t->at + 1]) || strchr("nrt", text.ptr[t->at + 1]))) {
            t->on = false;
            return;
        }
    }
}

static void run_class(struct tail *t, enum redact_tail kind, struct str text)
{
    for (; t->at < text.len; t->at++) {
        char c = text.ptr[t->at];
        bool in = kind == TAIL_LINE ? c != '\n' && c != '\r' && c != '"' && c != '\''
                                    : is_word(c) || (kind == TAIL_TOKEN && c && strchr(".+/=~", c));
        if (!in) {
            t->on = false;
            return;
        }
    }
}

/* Covers what there is of a tail. */
static bool run_tail(struct redact_stream *s, int slot, bool final)
{
    struct tail *t = &s->tails[slot];
    enum redact_tail kind = slot < TAIL_QUOTED ? (enum redact_tail)slot : TAIL_QUOTED;
    struct str text = strbuf_str(&s->buf);
    size_t from = t->until;
    if (kind == TAIL_QUOTED)
        run_quoted(t, text);
    else if (kind == TAIL_VALUE)
        run_value(t, text, final);
    else
        run_class(t, kind, text);
    size_t until = t->at;
    if (kind == TAIL_QUOTED && t->on && !final) /* backslashes may belong to the quote that closes it */
        until -= t->run < until - from ? t->run : until - from;
    if (until < from)
        until = from;
    t->until = until;
    return until == from || push_shape(&s->shapes, (struct span){from, until, t->marker, true});
}

static bool start_tail(struct redact_stream *s, const struct redact_hit *h, struct str marker, bool final)
{
    if (h->tail == TAIL_NONE)
        return true;
    if (h->tail == TAIL_PEM) {
        s->pem = true;
        s->pem_at = h->end;
        return true;
    }
    int slot = (int)h->tail;
    if (h->tail == TAIL_QUOTED)
        slot += (h->quote == '"' ? 0 : h->quote == '\'' ? 1 : 2) * REDACT_SLASHES + (int)(h->slashes % REDACT_SLASHES);
    struct tail *t = &s->tails[slot];
    if (t->on || h->end < t->until)
        return true; /* it runs already, or ran over this place: it ends where that one did */
    s->tailed = true;
    *t = (struct tail){
        .on = true, .at = h->start, .until = h->end, .quote = h->quote, .slashes = h->slashes, .marker = marker};
    if (h->tail != TAIL_QUOTED) /* a quoted one's first bytes may hold the closing quote's backslashes */
        t->at = h->end;
    return run_tail(s, slot, final);
}

/* Forgets them, when none is on and none ran over a place that is still to be looked at. */
static void forget_tails(struct redact_stream *s)
{
    for (int k = 0; k < TAIL_COUNT; k++)
        if (s->tails[k].on || s->tails[k].until > s->shapes_at)
            return;
    memset(s->tails, 0, sizeof s->tails);
    s->tailed = false;
}

/* ---- shapes ---- */

struct scan {
    size_t hold;  /* what stands from here on must wait */
    size_t again; /* the next scan begins here */
    bool final;
};

static bool end_pem(struct redact_stream *s, size_t end)
{
    struct span rest = {s->pem_at, end, s->r->kind_markers[KIND_PRIVATE_KEY], true};
    s->pem = false;
    s->pem_at = end;
    return rest.end <= rest.start || push_shape(&s->shapes, rest);
}

/* One anchor at one place. False: it could not be decided. */
static bool look(struct redact_stream *s, int32_t anchor, size_t start, struct scan *c)
{
    struct redact_hit h;
    s->r->match.jwt_dead = s->jwt_dead;
    enum redact_word w = shapes_eval(s->r->shapes, &s->r->match, anchor, strbuf_str(&s->buf), start, c->final, &h);
    s->jwt_dead = s->r->match.jwt_dead;
    switch (w) {
    case WORD_NO:
        return true;
    case WORD_UNDECIDED:
        return false;
    case WORD_SOFT:
    case WORD_HOLD:
        c->again = start < c->again ? start : c->again;
        if (w == WORD_HOLD && h.start < c->hold)
            c->hold = h.start;
        return true;
    case WORD_YES:
        break;
    }
    if (h.tail == TAIL_PEM_END)
        return !s->pem || start < s->pem_at || end_pem(s, h.end);
    if (s->pem)
        return true;
    struct str marker = s->r->kind_markers[h.kind], rest = strbuf_str(&s->buf);
    rest.ptr += h.start;
    rest.len -= h.start;
    if ((marker.ptr[0] & 0x80) && str_starts(rest, marker))
        return true; /* it was redacted before */
    return push_shape(&s->shapes, (struct span){h.start, h.end, marker, false}) && start_tail(s, &h, marker, c->final);
}

/* Where an anchor may have begun that is part of a secret itself and not whole yet. */
static size_t unfinished(const struct redact_stream *s, uint32_t state)
{
    const struct ac *a = shapes_anchors(s->r->shapes);
    struct str text = strbuf_str(&s->buf);
    for (; state != AC_ROOT; state = a->nodes[state].fail) {
        size_t start = text.len - a->nodes[state].depth;
        if ((a->nodes[state].marks & SHAPE_ANYWHERE) ||
            ((a->nodes[state].marks & SHAPE_AT_EDGE) && shapes_may_begin(text, start)))
            return start;
    }
    return text.len;
}

static bool scan_shapes(struct redact_stream *s, bool final, size_t *ret_decided)
{
    const struct ac *a = shapes_anchors(s->r->shapes);
    struct str text = strbuf_str(&s->buf);
    struct scan c = {text.len, text.len, final};
    uint32_t state = AC_ROOT;
    size_t at = s->shapes_at;
    for (int k = 0; s->tailed && k < TAIL_COUNT; k++)
        if (s->tails[k].on && !run_tail(s, k, final))
            return false;
    while (at < text.len && c.hold == text.len) {
        if (state == AC_ROOT)
            at = ac_skip(a, text, at);
        if (at >= text.len)
            break;
        state = ac_step(a, state, (unsigned char)text.ptr[at++]);
        for (uint32_t n = ac_words(a, state); n && c.hold == text.len; n = ac_more(a, n))
            if (!look(s, a->nodes[n].word, at - a->nodes[n].depth, &c))
                return false;
    }
    if (c.hold == text.len && !final) {
        size_t partial = text.len - a->nodes[state].depth;
        c.again = partial < c.again ? partial : c.again;
        c.hold = unfinished(s, state);
    }
    if (s->pem) {
        struct span body = {s->pem_at, c.hold, s->r->kind_markers[KIND_PRIVATE_KEY], true};
        if (body.end > body.start && !push_shape(&s->shapes, body))
            return false;
        s->pem_at = body.end > s->pem_at ? body.end : s->pem_at;
    }
    for (int k = 0; s->tailed && k < TAIL_COUNT; k++)
        if (s->tails[k].on && s->tails[k].until < c.hold)
            c.hold = s->tails[k].until;
    s->shapes_at = c.again;
    *ret_decided = final ? text.len : c.hold;
    return true;
}

/* ---- out ---- */

static void put(struct redact_stream *s, size_t to, const struct redact_sink *sink)
{
    size_t from = s->skip > s->done ? s->skip : s->done;
    if (to > from && !s->r->mute)
        sink->text(sink->ctx, s->base + from, (struct str){s->buf.ptr + from, to - from});
    if (to > s->done)
        s->done = to;
}

static void put_marker(struct redact_stream *s, struct str marker, const struct redact_sink *sink)
{
    if (!s->r->mute)
        sink->marker(sink->ctx, s->base + s->done, marker);
}

/* Everything before `decided` goes out. Of spans that begin together the secret's name counts. */
static void emit(struct redact_stream *s, size_t decided, const struct redact_sink *sink)
{
    for (;;) {
        struct span *a = first_of(&s->secrets), *b = first_of(&s->shapes);
        bool secret = a && (!b || a->start < b->start || (a->start == b->start && !b->goes_on));
        struct span *n = secret ? a : b;
        if (!n || n->start >= decided)
            break;
        bool covered = n->start < s->skip || n->end <= s->done || (n->goes_on && n->start <= s->skip);
        if (!covered) {
            put(s, n->start, sink);
            put_marker(s, n->marker, sink);
        }
        s->skip = n->end > s->skip ? n->end : s->skip;
        pop(secret ? &s->secrets : &s->shapes);
    }
    put(s, decided, sink);
}

static void rebase(size_t *place, size_t by)
{
    *place -= by < *place ? by : *place;
}

/* A stream that is silent holds little memory. */
static void shrink(struct strbuf *b)
{
    struct strbuf small;
    if (b->cap <= 4 * KEEP_SLACK || b->len > KEEP_SLACK)
        return;
    strbuf_init(&small, b->max);
    strbuf_add(&small, strbuf_str(b));
    if (strbuf_failed(&small))
        return;
    sodium_memzero(b->ptr, b->cap);
    strbuf_done(b);
    *b = small;
}

/* Drops what was read; some of it stays as what the shapes look back at. */
static void compact(struct redact_stream *s)
{
    size_t keep = s->done < s->shapes_at ? s->done : s->shapes_at;
    keep = keep < s->secrets_at ? keep : s->secrets_at;
    keep -= keep < REDACT_CONTEXT ? keep : REDACT_CONTEXT;
    if (keep < KEEP_SLACK && keep < s->buf.len / 2)
        return;
    strbuf_consume(&s->buf, keep);
    shrink(&s->buf);
    s->base += keep;
    rebase(&s->done, keep);
    rebase(&s->decided, keep);
    rebase(&s->skip, keep);
    rebase(&s->secrets_at, keep);
    rebase(&s->shapes_at, keep);
    rebase(&s->pem_at, keep);
    rebase(&s->jwt_dead, keep);
    for (int k = 0; s->tailed && k < TAIL_COUNT; k++) {
        rebase(&s->tails[k].at, keep);
        rebase(&s->tails[k].until, keep);
    }
    shift(&s->secrets, keep);
    shift(&s->shapes, keep);
}

/* ---- the stream ---- */

/* Forgets everything but its memory. */
static void begin(struct redact_stream *s)
{
    bool tails = s->tailed;
    s->base = s->done = s->skip = s->secrets_at = s->shapes_at = s->pem_at = s->jwt_dead = 0;
    s->secrets_state = AC_ROOT;
    s->pem = s->dead = s->said = s->tailed = false;
    s->secrets.n = s->secrets.first = s->shapes.n = s->shapes.first = 0;
    strbuf_reset(&s->buf);
    if (tails)
        memset(s->tails, 0, sizeof s->tails);
}

enum err redact_stream_new(struct redactor *r, struct redact_stream **ret_stream)
{
    struct redact_stream *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NO_MEMORY;
    s->r = r;
    strbuf_init(&s->buf, STREAM_MAX);
    *ret_stream = s;
    return ERR_OK;
}

void redact_stream_free(struct redact_stream *s)
{
    if (!s)
        return;
    if (s->buf.ptr)
        sodium_memzero(s->buf.ptr, s->buf.cap);
    strbuf_done(&s->buf);
    free(s->secrets.list);
    free(s->shapes.list);
    free(s);
}

size_t redact_stream_held(const struct redact_stream *s)
{
    size_t from = s->skip > s->done ? s->skip : s->done;
    return s->buf.len > from ? s->buf.len - from : 0;
}

/* It can't be decided: what has not gone out never does. */
static void give_up(struct redact_stream *s, const struct redact_sink *sink)
{
    if (!s->dead)
        redactor_count_undecided(s->r);
    s->dead = true;
    if (!s->said)
        put_marker(s, s->r->kind_markers[KIND_UNDECIDED], sink);
    s->said = true;
}

static void run_piece(struct redact_stream *s, struct str in, bool final, const struct redact_sink *sink)
{
    size_t secrets = 0, shapes = 0;
    if (s->dead)
        return;
    strbuf_add(&s->buf, in);
    if (strbuf_failed(&s->buf) || !scan_secrets(s, final, &secrets) || !scan_shapes(s, final, &shapes)) {
        give_up(s, sink);
        return;
    }
    s->decided = secrets < shapes ? secrets : shapes;
    emit(s, s->decided, sink);
    compact(s);
    if (s->tailed)
        forget_tails(s);
}

void redact_run(struct redact_stream *s, struct str in, bool last, const struct redact_sink *sink)
{
    while (in.len > PIECE) {
        run_piece(s, (struct str){in.ptr, PIECE}, false, sink);
        in.ptr += PIECE;
        in.len -= PIECE;
    }
    if (in.len > 0 || last)
        run_piece(s, in, last, sink);
    if (last)
        begin(s);
}

/* Nothing is under way but what may be the beginning of a word. */
static bool is_quiet(struct redact_stream *s)
{
    return !s->dead && !s->tailed && !s->pem && !first_of(&s->secrets) && !first_of(&s->shapes) && s->skip <= s->done;
}

/* What run_piece would come to where no word stands in it, from what the scans began to look at on. */
bool redact_run_quick(struct redact_stream *s, struct str in, struct str *ret_shown, bool *ret_whole)
{
    const struct ac *secrets = s->r->secrets, *anchors = shapes_anchors(s->r->shapes);
    uint32_t secret, shape;
    if (in.len == 0 || in.len > REDACT_QUICK_MAX || !is_quiet(s))
        return false;
    if (s->done > KEEP_SLACK) /* now: what was shown the last time is not borrowed any more */
        compact(s);
    size_t before = s->buf.len, from = s->done, begun = s->secrets_at - secrets->nodes[s->secrets_state].depth;
    strbuf_add(&s->buf, in);
    struct str text = strbuf_str(&s->buf);
    if (strbuf_failed(&s->buf) || !redact_quick_look(s->r, text, begun, s->shapes_at, &secret, &shape)) {
        s->buf.len = before;
        return false;
    }
    s->secrets_state = secret;
    s->secrets_at = text.len;
    s->shapes_at = text.len - anchors->nodes[shape].depth;
    size_t hold = shape == AC_ROOT ? text.len : unfinished(s, shape);
    begun = text.len - secrets->nodes[secret].depth;
    s->decided = hold < begun ? hold : begun;
    s->done = s->decided > from ? s->decided : from;
    *ret_shown = (struct str){text.ptr + from, s->done - from};
    *ret_whole = from == before && s->done == text.len;
    return true;
}

/* Whether there is not even an anchor in it. */
bool redact_clean(const struct redactor *r, struct str text)
{
    const struct ac *const both[] = {r->secrets, shapes_anchors(r->shapes)};
    for (size_t k = 0; k < ARRAY_LEN(both); k++) {
        uint32_t state = AC_ROOT;
        for (size_t at = 0; at < text.len;) {
            if (state == AC_ROOT && (at = ac_skip(both[k], text, at)) >= text.len)
                break;
            state = ac_step(both[k], state, (unsigned char)text.ptr[at++]);
            if (ac_words(both[k], state))
                return false;
        }
    }
    return true;
}

bool redact_text_clean(const struct redactor *r, struct str text)
{
    return !r->mute && redact_clean(r, text);
}

static void to_strbuf(void *ctx, size_t at, struct str text)
{
    (void)at;
    strbuf_add(ctx, text);
}

void redact_stream_feed(struct redact_stream *s, struct str in, struct strbuf *out)
{
    struct redact_sink sink = {to_strbuf, to_strbuf, out};
    redact_run(s, in, false, &sink);
}

void redact_stream_pause(struct redact_stream *s, struct strbuf *out)
{
    struct redact_sink sink = {to_strbuf, to_strbuf, out};
    size_t secret = s->r->secrets->nodes[s->secrets_state].depth;
    bool covers =
        s->dead || s->pem || first_of(&s->secrets) || first_of(&s->shapes) || (secret > 0 && !s->r->token_only);
    for (int k = 0; k < TAIL_COUNT; k++)
        covers = covers || s->tails[k].on;
    /* Counted from what was judged, not from what went out: or a pause after each letter would let all of it through. */
    if (!covers && s->buf.len - s->decided <= PAUSE_MAX)
        put(s, s->buf.len, &sink);
}

void redact_stream_end(struct redact_stream *s, struct strbuf *out)
{
    struct redact_sink sink = {to_strbuf, to_strbuf, out};
    redact_run(s, STR(""), true, &sink);
}

void redact_text(struct redactor *r, struct str in, struct strbuf *out)
{
    struct redact_sink sink = {to_strbuf, to_strbuf, out};
    redact_run(r->own, in, true, &sink);
}
