#include "runner/adapter_tool.h"

#include <stdlib.h>

#include "common/limits.h"

enum {
    DATA_MAX = 8 << 20,
    EVENT_OVERHEAD = 128,
    HEAD_MAX = 49152,
    SPLIT_ARENA_MAX = 64 << 20,
    SKILLS_MAX = 16,
    SKILL_NAME_MAX = 256
};

const struct json *tool_open(struct arena *arena, const struct json *value)
{
    struct json *root = NULL;
    bool holds = value && (value->type == JSON_OBJECT || value->type == JSON_ARRAY);
    return holds && json_parse(arena, value->raw, LIMIT_JSON_DEPTH, 1, &root, NULL) == ERR_OK ? root : NULL;
}

struct str tool_string(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_STRING ? v->string : STR("");
}

bool tool_is(const struct json *o, const char *key, const char *word)
{
    return str_eqz(tool_string(o, key), word);
}

bool tool_true(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_BOOL && v->boolean;
}

/* ---- events ---- */

void tool_begin(struct tool_event *e)
{
    strbuf_init(&e->data, DATA_MAX);
    json_writer_init(&e->w, &e->data);
    json_object_begin(&e->w);
}

void tool_end(struct adapter *a, struct tool_event *e, enum event_kind kind)
{
    json_object_end(&e->w);
    struct str data = strbuf_str(&e->data);
    if (strbuf_failed(&e->data)) /* no line is so long: memory is out */
        data = STR("{\"lost\":\"out of memory\"}");
    if (data.len + EVENT_OVERHEAD <= LIMIT_EVENT)
        a->fn(a->ctx, kind, data);
    else if (a->big)
        a->big(a->ctx, kind, data);
    else
        adapter_split(kind, data, a->fn, a->ctx);
    strbuf_done(&e->data);
}

static bool named(struct str key, const char *const *names)
{
    for (; *names; names++)
        if (str_eqz(key, *names))
            return true;
    return false;
}

void tool_rest(struct tool_event *e, const char *key, const struct json *o, const char *const *names)
{
    bool any = false;
    for (const struct json *m = o ? o->child : NULL; m; m = m->next) {
        if (named(m->key, names))
            continue;
        if (!any) {
            json_key(&e->w, key);
            json_object_begin(&e->w);
        }
        any = true;
        json_key_str(&e->w, m->key);
        json_raw(&e->w, m->raw);
    }
    if (any)
        json_object_end(&e->w);
}

void tool_id(struct tool_event *e, const struct json *o, const char *id_key)
{
    const struct json *id = json_get(o, id_key);
    if (id && id->type != JSON_NULL)
        json_kv_raw(&e->w, "id", id->raw);
}

static struct str cut(struct str text)
{
    if (text.len > LINE_PIECE_BYTES) {
        text.len = LINE_PIECE_BYTES;
        text.len = utf8_complete_len(text);
    }
    return text;
}

void tool_text(struct adapter *a, struct str text, const char *member, struct str value)
{
    while (text.len > 0) {
        struct tool_event e;
        struct str piece = cut(text);
        tool_begin(&e);
        json_kv_str(&e.w, "text", piece);
        if (value.len > 0 && value.len < HEAD_MAX / 8)
            json_kv_str(&e.w, member, value);
        tool_end(a, &e, EVENT_ASSISTANT_TEXT);
        text.ptr += piece.len;
        text.len -= piece.len;
    }
}

void tool_text_rest(struct adapter *a, const struct json *block)
{
    static const char *const known[] = {"type", "text", NULL};
    bool any = false;
    for (const struct json *m = block->child; m; m = m->next)
        any = any || (!named(m->key, known) && m->type != JSON_NULL);
    if (!any)
        return;
    struct tool_event e;
    tool_begin(&e);
    json_kv_str(&e.w, "protocol", str_of(a->protocol->name));
    tool_rest(&e, "block", block, known);
    tool_end(a, &e, EVENT_NOTIFICATION);
}

void tool_note(struct adapter *a, const char *type, const char *key, struct str raw)
{
    struct tool_event e;
    tool_begin(&e);
    if (type)
        json_kv_str(&e.w, "type", str_of(type));
    json_kv_str(&e.w, "protocol", str_of(a->protocol->name));
    json_kv_raw(&e.w, key, raw);
    tool_end(a, &e, EVENT_NOTIFICATION);
}

/* ---- what is longer than an event may be ---- */

struct pieces {
    enum event_kind kind;
    const struct json *root, *longest; /* the member that is cut */
    struct str text;                   /* what of it is cut: a string as it is, anything else as JSON */
    bool is_json;
    adapter_event_fn fn;
    void *ctx;
};

static void send_piece(const struct pieces *p, struct str piece, size_t part, size_t parts)
{
    struct strbuf data;
    struct json_writer w;
    strbuf_init(&data, LIMIT_EVENT - EVENT_OVERHEAD);
    json_writer_init(&w, &data);
    json_object_begin(&w);
    for (const struct json *m = p->root ? p->root->child : NULL; m; m = m->next) {
        json_key_str(&w, m->key);
        if (m == p->longest)
            json_str(&w, piece);
        else
            json_raw(&w, m->raw);
    }
    if (!p->root) {
        json_kv_str(&w, "kind", str_of(event_kind_name(p->kind)));
        json_kv_str(&w, "text", piece);
    }
    if (p->is_json)
        json_kv_str(&w, "encoding", STR("json"));
    json_kv_bool(&w, "partial", true);
    json_kv_int(&w, "part", (int64_t)part);
    json_kv_int(&w, "parts", (int64_t)parts);
    json_object_end(&w);
    POST(!strbuf_failed(&data));
    p->fn(p->ctx, p->root ? p->kind : EVENT_NOTIFICATION, strbuf_str(&data));
    strbuf_done(&data);
}

static void send_pieces(const struct pieces *p)
{
    size_t parts = 0, part = 0;
    for (struct str rest = p->text; rest.len > 0; parts++) {
        struct str piece = cut(rest);
        rest.ptr += piece.len;
        rest.len -= piece.len;
    }
    for (struct str rest = p->text; rest.len > 0;) {
        struct str piece = cut(rest);
        send_piece(p, piece, ++part, parts);
        rest.ptr += piece.len;
        rest.len -= piece.len;
    }
}

void adapter_split(enum event_kind kind, struct str data, adapter_event_fn fn, void *ctx)
{
    struct arena arena;
    struct json *root = NULL;
    struct pieces p = {.kind = kind, .text = data, .is_json = true, .fn = fn, .ctx = ctx};
    size_t longest = 0;
    arena_init(&arena, SPLIT_ARENA_MAX);
    if (json_parse(&arena, data, LIMIT_JSON_DEPTH, 1, &root, NULL) == ERR_OK)
        for (const struct json *m = root->child; m; m = m->next)
            if (m->raw.len > longest) {
                longest = m->raw.len;
                p.longest = m;
            }
    if (p.longest && data.len - longest <= HEAD_MAX) {
        p.root = root;
        p.is_json = p.longest->type != JSON_STRING;
        p.text = p.is_json ? p.longest->raw : p.longest->string;
    }
    send_pieces(&p);
    arena_done(&arena);
}

/* ---- skills ---- */

struct tool_skill {
    struct tool_skill *next;
    size_t id_len, name_len;
    char text[]; /* id, name */
};

/* Takes out the last of the list, or the one of that id. */
static struct tool_skill *take_skill(struct tool_skills *s, struct str id, bool last)
{
    for (struct tool_skill **at = &s->first; *at; at = &(*at)->next) {
        struct tool_skill *one = *at;
        if (last ? one->next == NULL : str_eq((struct str){one->text, one->id_len}, id)) {
            *at = one->next;
            s->n--;
            return one;
        }
    }
    return NULL;
}

void tool_skill_asked(struct tool_skills *s, struct str id, struct str name)
{
    bool fits = id.len > 0 && id.len <= SKILL_NAME_MAX && name.len > 0 && name.len <= SKILL_NAME_MAX;
    struct tool_skill *one = fits ? malloc(sizeof *one + id.len + name.len) : NULL;
    if (!one)
        return; /* its call is told as any tool's */
    if (s->n >= SKILLS_MAX)
        free(take_skill(s, STR(""), true));
    *one = (struct tool_skill){s->first, id.len, name.len};
    memcpy(one->text, id.ptr, id.len);
    memcpy(one->text + id.len, name.ptr, name.len);
    s->first = one;
    s->n++;
}

void tool_skill_answered(struct adapter *a, struct tool_skills *s, struct str id, bool is_error)
{
    struct tool_skill *one = take_skill(s, id, false);
    if (one && !is_error) {
        struct tool_event e;
        tool_begin(&e);
        json_kv_str(&e.w, "id", id);
        json_kv_str(&e.w, "name", (struct str){one->text + one->id_len, one->name_len});
        tool_end(a, &e, EVENT_SKILL_LOADED);
    }
    free(one);
}

void tool_skills_done(struct tool_skills *s)
{
    while (s->first)
        free(take_skill(s, STR(""), true));
}
