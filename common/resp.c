#include "common/resp.h"

#include <stdlib.h>

enum {
    DEPTH = 8,
    ROOM_MIN = 16384,
    ROOM_MAX = 131072,    /* of one read */
    KEPT = 524288,        /* of a buffer, and of nodes, from one reply to the next */
    BULK_MAX = 536870912, /* Redis' own bound */
    ELEMENTS_MAX = 1 << 24,
    CHUNK_MIN = 4096,
};

/* Memory for nodes; the newest chunk is the largest. */
struct chunk {
    struct chunk *next;
    size_t size, used;
    max_align_t data[];
};

/* An array that is not complete; its node's `elements` says how many of them are begun. */
struct level {
    redisReply *array;
    size_t total;
};

struct resp {
    char *buf;
    size_t cap;
    size_t start; /* of the reply under way */
    size_t at;    /* of what is not parsed yet */
    size_t end;   /* of what was read */
    size_t room;  /* how much to read at once */
    size_t need;  /* bytes behind `at` without which there is no going on */
    struct chunk *chunks;
    redisReply *root; /* of the reply under way */
    struct level levels[DEPTH];
    int depth;
    bool done; /* the reply was handed out */
    const char *broken;
};

struct resp *resp_new(void)
{
    struct resp *r = calloc(1, sizeof *r);
    if (r)
        r->room = ROOM_MIN;
    return r;
}

static void chunks_free(struct resp *r)
{
    for (struct chunk *c = r->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    r->chunks = NULL;
}

void resp_free(struct resp *r)
{
    if (!r)
        return;
    chunks_free(r);
    free(r->buf);
    free(r);
}

/* ---- nodes ---- */

static void *nodes_get(struct resp *r, size_t size)
{
    struct chunk *c = r->chunks;
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (!c || c->size - c->used < size) {
        size_t room = c ? 2 * c->size : CHUNK_MIN;
        room = room < size ? size : room;
        c = malloc(sizeof *c + room);
        if (!c)
            return NULL;
        *c = (struct chunk){.next = r->chunks, .size = room};
        r->chunks = c;
    }
    void *p = (char *)c->data + c->used;
    c->used += size;
    return p;
}

/* The last reply's life ends: its largest chunk serves the next one. */
static void reply_drop(struct resp *r)
{
    r->done = false;
    r->root = NULL;
    r->start = r->at;
    struct chunk *c = r->chunks;
    if (c && c->size > KEPT) {
        chunks_free(r);
    } else if (c) {
        while (c->next) {
            struct chunk *older = c->next;
            c->next = older->next;
            free(older);
        }
        c->used = 0;
    }
    if (r->start < r->end)
        return;
    r->start = r->at = r->end = 0;
    if (r->cap > KEPT) {
        free(r->buf);
        r->buf = NULL;
        r->cap = 0;
    }
}

/* ---- the buffer ---- */

/* The strings that are there already go where the buffer went. Depth is bounded. */
static void follow(redisReply *node, const char *from, char *to)
{
    if (!node)
        return;
    if (node->str)
        node->str = to + (node->str - from);
    for (size_t i = 0; i < node->elements; i++)
        follow(node->element[i], from, to);
}

/* Room for so many bytes behind what is there. */
static bool make_room(struct resp *r, size_t room)
{
    size_t held = r->end - r->start;
    if (r->cap - r->end >= room)
        return true;
    if (r->cap >= held + room) {
        memmove(r->buf, r->buf + r->start, held);
        follow(r->root, r->buf + r->start, r->buf);
    } else {
        size_t cap = r->cap ? r->cap : ROOM_MIN;
        while (cap < held + room)
            cap *= 2;
        char *buf = malloc(cap);
        if (!buf)
            return false;
        if (held > 0)
            memcpy(buf, r->buf + r->start, held);
        follow(r->root, r->buf + r->start, buf);
        free(r->buf);
        r->buf = buf;
        r->cap = cap;
    }
    r->at -= r->start;
    r->end = held;
    r->start = 0;
    return true;
}

char *resp_room(struct resp *r, size_t *ret_len)
{
    if (r->done)
        reply_drop(r);
    size_t missing = r->need > r->end - r->at ? r->need - (r->end - r->at) : 0;
    size_t room = missing < r->room ? r->room : missing < ROOM_MAX ? missing : ROOM_MAX;
    if (r->cap - r->end < ROOM_MIN || (r->cap - r->end < room && r->start == r->end))
        if (!make_room(r, room))
            return NULL;
    *ret_len = r->cap - r->end < room ? r->cap - r->end : room;
    return r->buf + r->end;
}

void resp_filled(struct resp *r, size_t n)
{
    PRE(n <= r->cap - r->end);
    r->end += n;
    if (n >= r->room && r->room < ROOM_MAX)
        r->room *= 2;
}

void resp_rest(struct resp *r)
{
    if (r->done)
        reply_drop(r);
    if (r->root || r->start < r->end)
        return;
    chunks_free(r);
    free(r->buf);
    r->buf = NULL;
    r->cap = 0;
    r->room = ROOM_MIN;
}

/* ---- parsing ---- */

static enum resp_found broken(struct resp *r, const char *why)
{
    r->broken = why;
    return RESP_BROKEN;
}

/* The line behind its first byte, without its end; false while the end is not there. */
static bool take_line(struct resp *r, struct str *ret_line)
{
    const char *from = r->buf + r->at + 1, *end = r->buf + r->end, *p = from;
    while (p < end && (p = memchr(p, '\r', (size_t)(end - p))) && p + 1 < end && p[1] != '\n')
        p++;
    if (!p || p + 1 >= end)
        return false;
    *ret_line = (struct str){from, (size_t)(p - from)};
    return true;
}

static bool number_of(struct str s, long long *ret_n)
{
    bool minus = s.len > 0 && s.ptr[0] == '-';
    unsigned long long n = 0, most = (unsigned long long)INT64_MAX + minus;
    if (s.len == minus)
        return false;
    for (size_t i = minus; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.ptr[i] - '0';
        if (digit > 9 || n > (most - digit) / 10)
            return false;
        n = 10 * n + digit;
    }
    *ret_n = minus ? (long long)(0 - n) : (long long)n;
    return true;
}

/* Nearly every number: short, without a sign. Its length with the line's end; 0 where it is another, or not all there. */
static size_t short_number(const char *from, const char *end, long long *ret_n)
{
    enum { DIGITS = 18 };
    long long n = 0;
    const char *p = from;
    while (p < end && p - from < DIGITS && (unsigned char)(*p - '0') <= 9)
        n = 10 * n + (*p++ - '0');
    if (p == from || end - p < 2 || p[0] != '\r' || p[1] != '\n')
        return 0;
    *ret_n = n;
    return (size_t)(p - from) + 2;
}

/* A node, with its children's where it is an array: in the array under way, or as the root. */
static redisReply *node_add(struct resp *r, int type, size_t children)
{
    redisReply *node, *kids = NULL;
    if (r->depth > 0) {
        redisReply *array = r->levels[r->depth - 1].array;
        node = array->element[array->elements];
    } else {
        node = nodes_get(r, sizeof *node);
    }
    if (!node)
        return NULL;
    *node = (redisReply){.type = type};
    if (children > 0) {
        kids = nodes_get(r, children * (sizeof *kids + sizeof(redisReply *)));
        if (!kids)
            return NULL;
        node->element = (redisReply **)(void *)(kids + children);
        for (size_t i = 0; i < children; i++)
            node->element[i] = kids + i;
    }
    if (r->depth > 0)
        r->levels[r->depth - 1].array->elements++;
    else
        r->root = node;
    return node;
}

static void set_text(redisReply *node, char *text, size_t len)
{
    node->str = text;
    node->len = len;
    text[len] = 0; /* over the line's end */
}

static enum resp_found take_array(struct resp *r, long long count, size_t header)
{
    redisReply *node =
        count > ELEMENTS_MAX || count < -1 || r->depth == DEPTH
            ? NULL
            : node_add(r, count < 0 ? REDIS_REPLY_NIL : REDIS_REPLY_ARRAY, count > 0 ? (size_t)count : 0);
    if (!node)
        return broken(r, "an array of Redis is too large or too deep");
    r->at += header;
    if (count > 0)
        r->levels[r->depth++] = (struct level){node, (size_t)count};
    return RESP_REPLY;
}

static enum resp_found take_bulk(struct resp *r, long long len, size_t header)
{
    if (len > BULK_MAX || len < -1)
        return broken(r, "a string of Redis has a wrong length");
    size_t whole = header + (len < 0 ? 0 : (size_t)len + 2);
    if (r->end - r->at < whole) {
        r->need = whole;
        return RESP_MORE;
    }
    char *text = r->buf + r->at + header;
    if (len >= 0 && memcmp(text + len, "\r\n", 2) != 0)
        return broken(r, "a string of Redis does not end where it should");
    redisReply *node = node_add(r, len < 0 ? REDIS_REPLY_NIL : REDIS_REPLY_STRING, 0);
    if (!node)
        return broken(r, "memory is out");
    if (len >= 0)
        set_text(node, text, (size_t)len);
    r->at += whole;
    return RESP_REPLY;
}

static enum resp_found take_text(struct resp *r, char type, struct str line)
{
    redisReply *node = node_add(r, type == '+' ? REDIS_REPLY_STATUS : REDIS_REPLY_ERROR, 0);
    if (!node)
        return broken(r, "memory is out");
    set_text(node, r->buf + r->at + 1, line.len);
    r->at += line.len + 3;
    return RESP_REPLY;
}

static enum resp_found take_integer(struct resp *r, long long n, size_t header)
{
    redisReply *node = node_add(r, REDIS_REPLY_INTEGER, 0);
    if (!node)
        return broken(r, "memory is out");
    node->integer = n;
    r->at += header;
    return RESP_REPLY;
}

/* One value; of an array only its head. */
static enum resp_found take_value(struct resp *r)
{
    struct str line;
    long long n = 0;
    if (r->at == r->end)
        return RESP_MORE;
    char type = r->buf[r->at];
    bool text = type == '+' || type == '-';
    if (!text && type != ':' && type != '$' && type != '*')
        return broken(r, "Redis does not speak RESP2");
    size_t header = text ? 0 : short_number(r->buf + r->at + 1, r->buf + r->end, &n);
    if (header == 0) {
        if (!take_line(r, &line))
            return RESP_MORE;
        if (text)
            return take_text(r, type, line);
        if (!number_of(line, &n))
            return broken(r, type == ':' ? "an integer of Redis is none" : "a length of Redis is no number");
        header = line.len + 2;
    }
    return type == ':'   ? take_integer(r, n, header + 1)
           : type == '$' ? take_bulk(r, n, header + 1)
                         : take_array(r, n, header + 1);
}

enum resp_found resp_next(struct resp *r, const redisReply **ret_reply, const char **ret_why)
{
    if (r->done)
        reply_drop(r);
    r->need = 0;
    enum resp_found found = r->broken ? RESP_BROKEN : RESP_REPLY;
    while (found == RESP_REPLY) {
        found = take_value(r);
        while (found == RESP_REPLY && r->depth > 0 &&
               r->levels[r->depth - 1].array->elements == r->levels[r->depth - 1].total)
            r->depth--;
        if (r->depth == 0)
            break;
    }
    if (found == RESP_BROKEN)
        *ret_why = r->broken;
    if (found == RESP_REPLY) {
        r->done = true;
        *ret_reply = r->root;
    }
    return found;
}
