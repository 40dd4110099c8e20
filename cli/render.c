#include "cli/render.h"

#include <stdarg.h>
#include <stdlib.h>

#include "cli/output.h"

#define DETAIL_MIN 40

void render_break(struct render *r)
{
    if (r->mid_line)
        putchar('\n');
    r->mid_line = false;
}

static size_t detail_width(const struct render *r)
{
    /* On a terminal one event is one line; in a file it may be as long as is still good to read. */
    if (!r->terminal)
        return 1000;
    return r->cli->width > DETAIL_MIN + 24 ? (size_t)(r->cli->width - 24) : DETAIL_MIN;
}

/* One line: a mark, what it is about, and a detail cut to the width. */
static void line(struct render *r, enum tone tone, const char *mark, struct str what, struct str detail)
{
    struct strbuf out;
    strbuf_init(&out, 1U << 20);
    render_break(r);
    strbuf_addf(&out, "%s%s", tone_on(r->cli, tone), mark);
    if (what.len) {
        strbuf_addc(&out, ' ');
        safe_line(&out, what, 80, r->terminal);
    }
    if (detail.len) {
        strbuf_addc(&out, ' ');
        safe_line(&out, detail, detail_width(r), r->terminal);
    }
    strbuf_addf(&out, "%s\n", tone_off(r->cli, tone));
    fwrite(out.ptr ? out.ptr : "", 1, out.len, stdout);
    strbuf_done(&out);
}

static void on_text(struct render *r, const struct json *data)
{
    struct str text = json_text(data, "text");
    if (text.len == 0)
        return;
    struct strbuf out;
    strbuf_init(&out, 4U << 20);
    safe_text(&out, text, true, r->terminal);
    fwrite(out.ptr ? out.ptr : "", 1, out.len, stdout);
    if (out.ptr && out.len)
        r->mid_line = out.ptr[out.len - 1] != '\n';
    r->text_seen = true;
    strbuf_done(&out);
}

/* A member's value: a text itself, everything else as JSON. */
static struct str shown(const struct json *data, const char *const *keys)
{
    for (; *keys; keys++) {
        const struct json *v = json_get(data, *keys);
        if (v && v->type != JSON_NULL)
            return v->type == JSON_STRING ? v->string : v->raw;
    }
    return STR_NONE;
}

static struct str tool_name(const struct json *data)
{
    static const char *const keys[] = {"name", "tool", NULL};
    return shown(data, keys);
}

static void on_tool_request(struct render *r, const struct json *data)
{
    static const char *const keys[] = {"input", "arguments", "args", NULL};
    struct str name = tool_name(data);
    line(r, TONE_TOOL, "→", name, name.len ? shown(data, keys) : data->raw);
}

static void on_tool_response(struct render *r, const struct json *data)
{
    static const char *const keys[] = {"error", "output", "result", "content", NULL};
    struct str name = tool_name(data), detail = shown(data, keys);
    bool failed = json_get(data, "error") != NULL;
    line(r, failed ? TONE_WARN : TONE_DIM, "←", name, name.len || detail.len ? detail : data->raw);
}

static void on_notification(struct render *r, const struct json *data)
{
    static const char *const keys[] = {"message", "text", "line", NULL};
    struct str stream = json_text(data, "stream");
    /* Figures for machines: --json has them. */
    if (str_eqz(json_text(data, "type"), "resource_stats"))
        return;
    struct str detail = shown(data, keys);
    line(r, TONE_DIM, str_eqz(stream, "stderr") ? "!" : "·", STR_NONE, detail.len ? detail : data->raw);
}

static void on_started(struct render *r, const struct json *data)
{
    char text[160];
    struct str executor = json_text(data, "executor");
    snprintf(text, sizeof(text), "attempt %lld started%s%.*s", (long long)json_number(data, "attempt", 0),
             executor.len ? ", executor " : "", (int)(executor.len < 64 ? executor.len : 64),
             executor.ptr ? executor.ptr : "");
    line(r, TONE_DIM, "▶", STR_NONE, str_of(text));
}

static void on_stream_error(struct render *r, const struct json *data)
{
    const struct json *error = json_get(data, "error"), *retry = json_get(data, "willRetry");
    struct str class = json_text(error, "class"), message = json_text(error, "message");
    struct strbuf out;
    strbuf_init(&out, 1U << 20);
    if (retry && retry->type == JSON_BOOL && retry->boolean)
        strbuf_addf(&out, "attempt %lld failed and will be retried: ", (long long)json_number(data, "attempt", 0));
    strbuf_add(&out, class);
    if (class.len && message.len)
        strbuf_addz(&out, ": ");
    strbuf_add(&out, message);
    line(r, TONE_WARN, "!", STR_NONE, error ? strbuf_str(&out) : data->raw);
    strbuf_done(&out);
}

static void on_other(struct render *r, struct str kind, const struct json *data)
{
    line(r, TONE_DIM, "·", kind, data->raw);
}

void render_event(struct render *r, struct str kind, const struct json *data)
{
    static const struct {
        const char *kind;
        void (*fn)(struct render *r, const struct json *data);
    } kinds[] = {{"assistant_text", on_text},         {"tool_request", on_tool_request},
                 {"tool_response", on_tool_response}, {"notification", on_notification},
                 {"runtime_started", on_started},     {"stream_error", on_stream_error}};
    if (!data || data->type != JSON_OBJECT)
        return;
    if (str_eqz(kind, "runtime_terminal")) {
        render_break(r); /* how it ended is said once, from the final record */
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eqz(kind, kinds[i].kind)) {
            kinds[i].fn(r, data);
            return;
        }
    }
    on_other(r, kind, data);
}
