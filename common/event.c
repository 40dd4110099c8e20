#include "common/event.h"

#include "common/json.h"
#include "common/limits.h"

enum { ASKS_ARENA_MAX = 8 << 20 };

#define KIND_NAME(name, wire) [name] = {wire, sizeof wire - 1},
static const struct str kind_names[EVENT_KIND_COUNT] = {EVENT_KIND_TABLE(KIND_NAME)};
#undef KIND_NAME

const char *event_kind_name(enum event_kind kind)
{
    PRE(kind >= 0 && kind < EVENT_KIND_COUNT);
    return kind_names[kind].ptr;
}

enum event_kind event_kind_of(struct str word)
{
    for (int i = 0; i < EVENT_KIND_COUNT; i++)
        if (str_eq(word, kind_names[i]))
            return (enum event_kind)i;
    return EVENT_KIND_COUNT;
}

/* The line's parts before the data. */
enum { HEAD_PARTS = 7 };
struct head_parts {
    char seq[DECIMAL_MAX], t_ms[DECIMAL_MAX];
    struct str parts[HEAD_PARTS];
    size_t len;
};

static void head_parts(int64_t seq, int64_t t_ms, enum event_kind kind, struct head_parts *h)
{
    PRE(kind >= 0 && kind < EVENT_KIND_COUNT);
    const struct str parts[HEAD_PARTS] = {STR("{\"seq\":"),    {h->seq, decimal(h->seq, seq)},
                                          STR(",\"tMs\":"),    {h->t_ms, decimal(h->t_ms, t_ms)},
                                          STR(",\"kind\":\""), kind_names[kind],
                                          STR("\",\"data\":")};
    h->len = 0;
    for (size_t i = 0; i < HEAD_PARTS; i++) {
        h->parts[i] = parts[i];
        h->len += parts[i].len;
    }
}

size_t event_len(int64_t seq, int64_t t_ms, enum event_kind kind, struct str data)
{
    struct head_parts h;
    head_parts(seq, t_ms, kind, &h);
    return h.len + data.len + 1;
}

void event_write(struct strbuf *out, int64_t seq, int64_t t_ms, enum event_kind kind, struct str data)
{
    struct head_parts h;
    head_parts(seq, t_ms, kind, &h);
    char *at = strbuf_grow(out, h.len + data.len + 1);
    if (!at)
        return;
    for (size_t i = 0; i < HEAD_PARTS; i++) {
        memcpy(at, h.parts[i].ptr, h.parts[i].len);
        at += h.parts[i].len;
    }
    if (data.len > 0)
        memcpy(at, data.ptr, data.len);
    at[data.len] = '}';
    out->len += h.len + data.len + 1;
}

static void stamp_make(struct event_stamp *stamp, int64_t seq, int64_t t_ms, enum event_kind kind)
{
    struct head_parts h;
    head_parts(seq, t_ms, kind, &h);
    PRE(h.len < sizeof stamp->text);
    char *at = stamp->text;
    *at++ = '\n';
    for (size_t i = 0; i < HEAD_PARTS; i++) {
        memcpy(at, h.parts[i].ptr, h.parts[i].len);
        at += h.parts[i].len;
    }
    stamp->seq = seq;
    stamp->t_ms = t_ms;
    stamp->kind = kind;
    stamp->len = h.len;
    stamp->digits = h.parts[1].len;
}

/* One more, in place. False: that takes another digit. */
static bool stamp_count(struct event_stamp *stamp)
{
    char *first = stamp->text + sizeof "\n{\"seq\":" - 1, *digit = first + stamp->digits - 1;
    while (digit > first && *digit == '9')
        *digit-- = '0';
    if (*digit == '9')
        return false;
    ++*digit;
    stamp->seq++;
    return true;
}

void event_write_stamped(struct strbuf *out, bool more, int64_t seq, int64_t t_ms, enum event_kind kind,
                         struct str data, struct event_stamp *stamp)
{
    bool like_last = stamp->len > 0 && stamp->t_ms == t_ms && stamp->kind == kind && seq > 1 && stamp->seq == seq - 1;
    if (!like_last || !stamp_count(stamp))
        stamp_make(stamp, seq, t_ms, kind);
    char *at = strbuf_grow(out, EVENT_HEAD_ROOM + data.len + 1);
    if (!at)
        return;
    memcpy(at, stamp->text + (more ? 0 : 1), EVENT_HEAD_ROOM - 1); /* of a length that is known: no call */
    at += stamp->len + (more ? 1 : 0);
    memcpy(at, data.ptr, data.len);
    at[data.len] = '}';
    at[data.len + 1] = 0;
    out->len = (size_t)(at - out->ptr) + data.len + 1;
}

bool event_asks_input(enum event_kind kind, struct str data)
{
    struct arena arena;
    struct json *root;
    if (kind != EVENT_NOTIFICATION || !memmem(data.ptr, data.len, "\"input_request\"", 15))
        return false;
    arena_init(&arena, ASKS_ARENA_MAX);
    bool asks = json_parse(&arena, data, LIMIT_JSON_DEPTH, 1, &root, NULL) == ERR_OK;
    const struct json *type = asks ? json_get(root, "type") : NULL;
    asks = type && type->type == JSON_STRING && str_eqz(type->string, "input_request");
    arena_done(&arena);
    return asks;
}

static bool skip(struct str *s, struct str what)
{
    if (!str_starts(*s, what))
        return false;
    s->ptr += what.len;
    s->len -= what.len;
    return true;
}

static bool number(struct str *s, int64_t *ret_n)
{
    int64_t n = 0;
    size_t i = 0;
    while (i < s->len && i < 17 && s->ptr[i] >= '0' && s->ptr[i] <= '9')
        n = n * 10 + (s->ptr[i++] - '0');
    s->ptr += i;
    s->len -= i;
    *ret_n = n;
    return i > 0 && i < 17;
}

enum err event_peek(struct str line, struct event_head *ret_head)
{
    struct event_head h;
    struct str s = line;
    if (!skip(&s, STR("{\"seq\":")) || !number(&s, &h.seq) || !skip(&s, STR(",\"tMs\":")) || !number(&s, &h.t_ms) ||
        !skip(&s, STR(",\"kind\":\"")))
        return ERR_INTERNAL;
    const char *quote = memchr(s.ptr, '"', s.len);
    if (!quote)
        return ERR_INTERNAL;
    struct str word = {s.ptr, (size_t)(quote - s.ptr)};
    h.kind = event_kind_of(word);
    s.ptr += word.len;
    s.len -= word.len;
    if (h.kind == EVENT_KIND_COUNT || !skip(&s, STR("\",\"data\":")) || s.len < 3 || s.ptr[0] != '{' ||
        s.ptr[s.len - 1] != '}')
        return ERR_INTERNAL;
    h.data = (struct str){s.ptr, s.len - 1};
    *ret_head = h;
    return ERR_OK;
}
