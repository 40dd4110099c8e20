#include "common/event.h"

#include "common/json.h"
#include "common/limits.h"

enum { ASKS_ARENA_MAX = 8 << 20 };

#define KIND_NAME(name, wire) [name] = wire,
static const char *const kind_names[EVENT_KIND_COUNT] = {EVENT_KIND_TABLE(KIND_NAME)};
#undef KIND_NAME

const char *event_kind_name(enum event_kind kind)
{
    PRE(kind >= 0 && kind < EVENT_KIND_COUNT);
    return kind_names[kind];
}

enum event_kind event_kind_of(struct str word)
{
    for (int i = 0; i < EVENT_KIND_COUNT; i++)
        if (str_eqz(word, kind_names[i]))
            return (enum event_kind)i;
    return EVENT_KIND_COUNT;
}

static char *put(char *to, struct str s)
{
    memcpy(to, s.ptr, s.len);
    return to + s.len;
}

static char *put_number(char *to, int64_t n)
{
    char digits[24], *at = digits + sizeof digits;
    uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;
    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (n < 0)
        *--at = '-';
    return put(to, (struct str){at, (size_t)(digits + sizeof digits - at)});
}

void event_write(struct strbuf *out, int64_t seq, int64_t t_ms, enum event_kind kind, struct str data)
{
    char head[128], *end = head;
    end = put(end, STR("{\"seq\":"));
    end = put_number(end, seq);
    end = put(end, STR(",\"tMs\":"));
    end = put_number(end, t_ms);
    end = put(end, STR(",\"kind\":\""));
    end = put(end, str_of(event_kind_name(kind)));
    end = put(end, STR("\",\"data\":"));
    size_t len = (size_t)(end - head);
    char *to = data.len < SIZE_MAX - sizeof head - 1 ? strbuf_grow(out, len + data.len + 1) : NULL;
    if (!to)
        return;
    to = put(to, (struct str){head, len});
    to = put(to, data);
    *to = '}';
    out->len += len + data.len + 1;
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
