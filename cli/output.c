#include "cli/output.h"

#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"

const char *tone_on(const struct cli *cli, enum tone tone)
{
    static const char *const codes[] = {"", "\033[2m", "\033[1m", "\033[32m", "\033[33m", "\033[31m", "\033[36m"};
    return cli->color ? codes[tone] : "";
}

const char *tone_off(const struct cli *cli, enum tone tone)
{
    return cli->color && tone != TONE_PLAIN ? "\033[0m" : "";
}

enum tone status_tone(struct str status)
{
    static const struct {
        const char *status;
        enum tone tone;
    } tones[] = {{"success", TONE_GOOD},  {"error", TONE_BAD}, {"stopped", TONE_WARN},
                 {"stopping", TONE_WARN}, {"none", TONE_WARN}, {"running", TONE_TOOL}};
    for (size_t i = 0; i < ARRAY_LEN(tones); i++) {
        if (str_eqz(status, tones[i].status))
            return tones[i].tone;
    }
    return TONE_PLAIN;
}

/* Bytes of the UTF-8 character at the beginning of s (1 for a stray byte). */
static size_t character_len(struct str s)
{
    unsigned char c = (unsigned char)*s.ptr;
    size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
    return len <= s.len ? len : 1;
}

static bool is_control(struct str s, size_t len)
{
    unsigned char c = (unsigned char)s.ptr[0];
    /* C0, DEL, and C1, which some terminals obey too. */
    return (len == 1 && (c < 0x20 || c == 0x7f)) || (len == 2 && c == 0xc2 && (unsigned char)s.ptr[1] < 0xa0);
}

static bool is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

/* How many bytes at the beginning of text are shown as they are; *width, the characters that may still be shown, is lowered by theirs. */
static size_t plain_len(struct str text, bool lines, bool terminal, size_t *width)
{
    size_t n = 0;
    while (n<text.len && * width> 0) {
        struct str rest = {text.ptr + n, text.len - n};
        size_t len = character_len(rest);
        char c = *rest.ptr;
        bool control = terminal && c != '\n' && c != '\t' && is_control(rest, len);
        if (control || (is_line_end(c) && !lines))
            break;
        n += len;
        --*width;
    }
    return n;
}

static void add_safe(struct strbuf *out, struct str text, bool lines, bool terminal, size_t max_width)
{
    size_t width = max_width;
    while (text.len > 0) {
        size_t n = plain_len(text, lines, terminal, &width);
        strbuf_add(out, (struct str){text.ptr, n});
        text = (struct str){text.ptr + n, text.len - n};
        if (text.len == 0)
            return;
        if (width == 0) {
            strbuf_addz(out, "…");
            return;
        }
        /* One that is not shown as it is. */
        if (is_line_end(*text.ptr) && !lines) {
            strbuf_addc(out, ' ');
            width--;
        }
        n = character_len(text);
        text = (struct str){text.ptr + n, text.len - n};
    }
}

void safe_text(struct strbuf *out, struct str text, bool lines, bool terminal)
{
    add_safe(out, text, lines, terminal, SIZE_MAX);
}

void safe_line(struct strbuf *out, struct str text, size_t max_width, bool terminal)
{
    add_safe(out, text, false, terminal, max_width);
}

void status_show(struct cli *cli, const char *fmt, ...)
{
    if (!cli->live)
        return;
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    struct strbuf line;
    strbuf_init(&line, 4096);
    strbuf_addz(&line, cli->no_color ? "\r\033[K" : "\r\033[K\033[2m");
    safe_line(&line, str_of(text), (size_t)(cli->width > 10 ? cli->width - 2 : 8), true);
    strbuf_addz(&line, cli->no_color ? "" : "\033[0m");
    (void)cli_flush(cli);
    (void)!write(STDERR_FILENO, line.ptr, line.len);
    cli->status_shown = true;
    strbuf_done(&line);
}

bool output_gone(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP)) != 0;
}

void status_clear(struct cli *cli)
{
    /* Only what stands there: the line may hold an agent's text that has not ended. */
    if (cli->status_shown)
        (void)!write(STDERR_FILENO, "\r\033[K", 4);
    cli->status_shown = false;
}

void duration_write(struct strbuf *out, int64_t ms)
{
    if (ms < 0)
        ms = 0;
    if (ms < 9950)
        strbuf_addf(out, "%.1f s", (double)ms / 1000);
    else if (ms < 60000)
        strbuf_addf(out, "%lld s", (long long)(ms / 1000));
    else if (ms < 3600000)
        strbuf_addf(out, "%lld m %02lld s", (long long)(ms / 60000), (long long)(ms / 1000 % 60));
    else
        strbuf_addf(out, "%lld h %02lld m", (long long)(ms / 3600000), (long long)(ms / 60000 % 60));
}

void age_write(struct strbuf *out, int64_t then_ms, int64_t now_ms)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}};
    int64_t age = now_ms > then_ms ? now_ms - then_ms : 0;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (age >= units[i].ms) {
            strbuf_addf(out, "%lld%s ago", (long long)(age / units[i].ms), units[i].unit);
            return;
        }
    }
    strbuf_addz(out, "now");
}

static void new_line(struct strbuf *out, int level)
{
    strbuf_addc(out, '\n');
    for (int i = 0; i < level; i++)
        strbuf_addz(out, "  ");
}

void json_pretty(struct strbuf *out, const struct json *value, int level)
{
    bool object = value->type == JSON_OBJECT, array = value->type == JSON_ARRAY;
    if ((!object && !array) || !value->child || level > 100) {
        strbuf_add(out, value->raw);
        return;
    }
    strbuf_addc(out, object ? '{' : '[');
    for (const struct json *v = value->child; v; v = v->next) {
        new_line(out, level + 1);
        if (object) {
            json_quote(out, v->key);
            strbuf_addz(out, ": ");
        }
        json_pretty(out, v, level + 1);
        if (v->next)
            strbuf_addc(out, ',');
    }
    new_line(out, level);
    strbuf_addc(out, object ? '}' : ']');
}

struct str json_text(const struct json *object, const char *key)
{
    const struct json *v = json_get(object, key);
    return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

int64_t json_number(const struct json *object, const char *key, int64_t otherwise)
{
    const struct json *v = json_get(object, key);
    return v && v->type == JSON_INT ? v->integer : otherwise;
}

int64_t json_time(const struct json *object, const char *key)
{
    int64_t ms;
    return clock_parse_iso(json_text(object, key), &ms) ? ms : 0;
}

void table_init(struct table *t, size_t columns)
{
    *t = (struct table){.columns = columns};
    strbuf_init(&t->cells, 32U << 20);
}

void table_add(struct table *t, struct str cell)
{
    /* NUL separates cells, so none may be in one. */
    for (size_t i = 0; i < cell.len; i++)
        strbuf_addc(&t->cells, cell.ptr[i] ? cell.ptr[i] : ' ');
    strbuf_addc(&t->cells, '\0');
    t->count++;
}

void table_addf(struct table *t, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    table_add(t, str_of(text));
}

static size_t shown_width(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void table_print(struct table *t, const struct cli *cli, size_t status_column)
{
    size_t widths[16] = {0};
    const char *cell = t->cells.ptr;
    for (size_t i = 0; i < t->count; i++, cell += strlen(cell) + 1) {
        size_t w = shown_width(cell), *column = &widths[i % t->columns];
        *column = w > *column ? w : *column;
    }
    cell = t->cells.ptr;
    for (size_t i = 0; i < t->count; i++, cell += strlen(cell) + 1) {
        size_t column = i % t->columns;
        bool last = column + 1 == t->columns, head = i < t->columns;
        enum tone tone = head ? TONE_DIM : column == status_column ? status_tone(str_of(cell)) : TONE_PLAIN;
        struct strbuf safe;
        strbuf_init(&safe, 1U << 20);
        safe_text(&safe, str_of(cell), false, isatty(STDOUT_FILENO));
        fprintf(stdout, "%s%s%s%*s%s", tone_on(cli, tone), safe.ptr ? safe.ptr : "", tone_off(cli, tone),
                last ? 0 : (int)(widths[column] - shown_width(cell) + 2), "", last ? "\n" : "");
        strbuf_done(&safe);
    }
    strbuf_done(&t->cells);
}
