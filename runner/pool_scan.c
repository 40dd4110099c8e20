#include "runner/pool_scan.h"

#include "common/json.h"
#include "common/limits.h"

enum { ARENA_MAX = 32 << 20, LINE_LONGEST = LIMIT_RESULT + LIMIT_EVENT, HEAD = 256 }; /* as in adapter.c */

void pool_scan_init(struct pool_scan *s)
{
    *s = (struct pool_scan){0};
    strbuf_init(&s->line, LINE_LONGEST + 1);
}

void pool_scan_done(struct pool_scan *s)
{
    strbuf_done(&s->line);
}

void pool_scan_reset(struct pool_scan *s)
{
    pool_scan_done(s); /* a worker that waits holds no memory */
    pool_scan_init(s);
}

static bool has(struct str text, const char *word)
{
    return memmem(text.ptr, text.len, word, strlen(word)) != NULL;
}

/* The status that a runtime_terminal says: one level of its data. */
static enum pool_line terminal_of(struct arena *arena, const struct json *data)
{
    struct json *root = NULL;
    const struct json *status =
        json_parse(arena, data->raw, LIMIT_JSON_DEPTH, 1, &root, NULL) == ERR_OK ? json_get(root, "status") : NULL;
    bool error = status && status->type == JSON_STRING && !str_eqz(status->string, "stopped") &&
                 !str_eqz(status->string, "success");
    return error ? POOL_LINE_FAILURE : POOL_LINE_SUCCESS;
}

static enum pool_line judge(struct str line)
{
    struct arena arena;
    struct json *root = NULL, *inner = NULL;
    enum pool_line found = POOL_LINE_OTHER;
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    /* Most lines are none of ours: only one that has the word, or may spell it with escapes, is parsed. */
    if (line.len == 0 || line.ptr[0] != '{' ||
        !(has(line, "runtime_terminal") || has(line, "worker_ready") || has(line, "\\u")))
        return POOL_LINE_OTHER;
    arena_init(&arena, ARENA_MAX);
    bool is_json = json_parse(&arena, line, LIMIT_JSON_DEPTH - 2, 1, &root, NULL) == ERR_OK;
    const struct json *kind = is_json ? json_get(root, "kind") : NULL, *data = is_json ? json_get(root, "data") : NULL;
    if (kind && kind->type == JSON_STRING && data && data->type == JSON_OBJECT) {
        if (str_eqz(kind->string, "runtime_terminal")) {
            found = terminal_of(&arena, data);
        } else if (str_eqz(kind->string, "notification") &&
                   json_parse(&arena, data->raw, LIMIT_JSON_DEPTH, 1, &inner, NULL) == ERR_OK) {
            const struct json *type = json_get(inner, "type");
            if (type && type->type == JSON_STRING && str_eqz(type->string, "worker_ready"))
                found = POOL_LINE_READY;
        }
    }
    arena_done(&arena);
    return found;
}

/* It outgrew every bound: the adapter says so of the run, if it was to be its end. */
static void outgrow(struct pool_scan *s)
{
    struct str head = strbuf_str(&s->line);
    head.len = head.len < HEAD ? head.len : HEAD;
    s->claims = head.len > 0 && head.ptr[0] == '{' && has(head, "\"runtime_terminal\"");
    s->overlong = s->was_overlong = true;
    strbuf_done(&s->line);
}

static enum pool_line end_line(struct pool_scan *s)
{
    enum pool_line found = !s->overlong ? judge(strbuf_str(&s->line)) : s->claims ? POOL_LINE_FAILURE : POOL_LINE_OTHER;
    s->overlong = s->claims = false;
    strbuf_done(&s->line);
    return found;
}

static void keep(struct pool_scan *s, struct str part)
{
    if (s->overlong)
        return;
    size_t room = LINE_LONGEST + 1 - s->line.len;
    strbuf_add(&s->line, (struct str){part.ptr, part.len < room ? part.len : room});
    if (s->line.len > LINE_LONGEST || strbuf_failed(&s->line))
        outgrow(s);
}

size_t pool_scan_feed(struct pool_scan *s, struct str bytes, enum pool_line *ret_line)
{
    const char *newline = bytes.len > 0 ? memchr(bytes.ptr, '\n', bytes.len) : NULL;
    struct str part = {bytes.ptr, newline ? (size_t)(newline - bytes.ptr) : bytes.len};
    if (newline && s->line.len == 0 && !s->overlong && part.len <= LINE_LONGEST) { /* whole: no copy */
        *ret_line = judge(part);
        return part.len + 1;
    }
    if (part.len > 0)
        keep(s, part);
    *ret_line = newline ? end_line(s) : POOL_LINE_PARTIAL;
    return part.len + (newline ? 1 : 0);
}

enum pool_line pool_scan_end(struct pool_scan *s)
{
    return s->line.len > 0 || s->overlong ? end_line(s) : POOL_LINE_OTHER;
}
