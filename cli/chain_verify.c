#include "cli/chain_verify.h"

#include <stdarg.h>
#include <stdio.h>

#include "cli/output.h"
#include "common/clock.h"

bool chain_verify_init(struct chain_verify *v, const char *expect)
{
    *v = (struct chain_verify){.expect_n = -1, .expect_met = true};
    if (!expect)
        return true;
    const char *colon = strchr(expect, ':');
    struct str digits = {expect, colon ? (size_t)(colon - expect) : 0};
    if (!colon || !chain_number(digits, &v->expect_n) || strlen(colon + 1) != SHA256_HEX_LEN)
        return false;
    for (size_t i = 0; i < SHA256_HEX_LEN; i++)
        if (hex_value(colon[1 + i]) < 0)
            return false;
    memcpy(v->expect_h, colon + 1, SHA256_HEX_LEN);
    v->expect_met = false;
    return true;
}

static bool PRINTF_LIKE(2, 3) misfit(struct chain_verify *v, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(v->why, sizeof v->why, fmt, args);
    va_end(args);
    return false;
}

/* "entry 5", "entries 5 to 9". */
static const char *entries_text(char text[64], int64_t from, int64_t to)
{
    if (from == to)
        snprintf(text, 64, "entry %lld", (long long)from);
    else
        snprintf(text, 64, "entries %lld to %lld", (long long)from, (long long)to);
    return text;
}

/* The chain has come to an entry that is expected. */
static bool check_expected(struct chain_verify *v)
{
    if (v->n != v->expect_n)
        return true;
    v->expect_met = strcmp(v->h, v->expect_h) == 0;
    return v->expect_met || misfit(v,
                                   "entry %lld or one before it is not what it was: the log was written anew since "
                                   "its head was noted",
                                   (long long)v->n);
}

static bool take_begin(struct chain_verify *v, const struct json *o)
{
    struct str ws = json_text(o, "workspace"), h = json_text(o, "h");
    const struct json *filtered = json_get(o, "filtered");
    if (v->begun)
        return misfit(v, "line %lld: it begins a second time", (long long)v->lines);
    v->before = v->n = v->sealed = json_number(o, "n", -1);
    if (ws.len == 0 || ws.len > LIMIT_NAME || h.len != SHA256_HEX_LEN || v->n < 0)
        return misfit(v, "line 1 does not say where the log begins");
    if (!filtered || filtered->type != JSON_BOOL || filtered->boolean)
        return misfit(v, "this export has some of the entries only, and can't be verified: leave out who, what and "
                         "after");
    memcpy(v->workspace, ws.ptr, ws.len);
    v->workspace[ws.len] = 0;
    chain_begin(ws, v->h);
    if (v->n > 0) {
        struct str at = json_text(o, "at");
        memcpy(v->h, h.ptr, SHA256_HEX_LEN);
        snprintf(v->before_at, sizeof v->before_at, "%.*s", at.len < sizeof v->before_at ? (int)at.len : 0, at.ptr);
    }
    v->begun = true;
    return check_expected(v);
}

static bool take_entry(struct chain_verify *v, const struct json *o)
{
    char text[64];
    const struct json *detail = json_get(o, "detail");
    struct chain_entry e = {.n = json_number(o, "n", -1),
                            .who = json_text(o, "who"),
                            .from = json_text(o, "from"),
                            .what = json_text(o, "what"),
                            .object = json_text(o, "object"),
                            .request = json_text(o, "request"),
                            .outcome = json_text(o, "outcome"),
                            .detail = detail ? detail->raw : STR("")};
    if (e.n == v->n && v->entries > 0)
        return misfit(v, "entry %lld stands twice: one of them was inserted", (long long)e.n);
    if (e.n <= v->n)
        return misfit(v, "entry %lld stands behind entry %lld: entries were put into another order, or inserted",
                      (long long)e.n, (long long)v->n);
    if (e.n > v->n + 1)
        return misfit(v, "%s: removed (entry %lld follows)", entries_text(text, v->n + 1, e.n - 1), (long long)e.n);
    if (!clock_parse_iso(json_text(o, "at"), &e.t_ms) || e.t_ms < v->t_ms)
        return misfit(v, "entry %lld has no time, or one before that of the entry before it", (long long)e.n);
    if (v->n == v->sealed)
        v->unsealed_since_ms = e.t_ms;
    v->n = e.n;
    v->t_ms = e.t_ms;
    v->entries++;
    chain_add(v->h, &e);
    return check_expected(v);
}

static bool take_seal(struct chain_verify *v, const struct json *o)
{
    char text[64];
    int64_t n = json_number(o, "n", -1), from = json_number(o, "from", -1);
    struct str h = json_text(o, "h");
    v->seals++;
    if (n > v->n)
        return misfit(v, "%s: removed (a seal speaks of entry %lld)", entries_text(text, v->n + 1, n), (long long)n);
    if (n < v->n || n <= v->sealed)
        return misfit(v, "the seal of entry %lld stands behind entry %lld, where it does not belong", (long long)n,
                      (long long)v->n);
    if (from != v->sealed + 1)
        return misfit(v,
                      "the seal of entry %lld begins at entry %lld, the one before it ends at %lld: a seal was "
                      "removed or inserted",
                      (long long)n, (long long)from, (long long)v->sealed);
    if (!str_eqz(h, v->h))
        return misfit(v, "%s: not what was sealed (changed, or removed or inserted and numbered anew)",
                      entries_text(text, from, n));
    v->sealed = n;
    v->unsealed_since_ms = 0;
    return true;
}

static bool take_end(struct chain_verify *v, const struct json *o)
{
    if (json_number(o, "entries", -1) != v->entries || json_number(o, "seals", -1) != v->seals)
        return misfit(v, "the export says that it has %lld entries and %lld seals, and has %lld and %lld",
                      (long long)json_number(o, "entries", -1), (long long)json_number(o, "seals", -1),
                      (long long)v->entries, (long long)v->seals);
    v->ended = true;
    return true;
}

static bool take(struct chain_verify *v, const struct json *o)
{
    static const struct {
        const char *kind;
        bool (*fn)(struct chain_verify *v, const struct json *o);
    } kinds[] = {{"begin", take_begin}, {"entry", take_entry}, {"seal", take_seal}, {"end", take_end}};
    struct str kind = json_text(o, "kind");
    if (o->repeated_key)
        return misfit(v, "line %lld names something twice", (long long)v->lines);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!str_eqz(kind, kinds[i].kind))
            continue;
        if (!v->begun && i > 0)
            return misfit(v, "line 1 does not say where the log begins: it is no export of an audit log, or not a "
                             "whole one");
        if (v->ended)
            return misfit(v, "line %lld stands behind the end", (long long)v->lines);
        return kinds[i].fn(v, o);
    }
    return misfit(v, "line %lld is none of an audit log's", (long long)v->lines);
}

bool chain_verify_line(struct chain_verify *v, struct str line)
{
    struct arena arena;
    struct json *o = NULL;
    if (v->why[0])
        return false;
    v->lines++;
    arena_init(&arena, 64 * CHAIN_LINE_MAX);
    bool fits = line.len <= CHAIN_LINE_MAX && json_parse(&arena, line, LIMIT_JSON_DEPTH, 2, &o, NULL) == ERR_OK &&
                o->type == JSON_OBJECT;
    fits = fits ? take(v, o) : misfit(v, "line %lld is no JSON object", (long long)v->lines);
    arena_done(&arena);
    return fits;
}

bool chain_verify_end(struct chain_verify *v)
{
    if (v->why[0])
        return false;
    if (!v->ended)
        return misfit(v, "the export was cut short: its last line is missing");
    if (v->expect_met)
        return true;
    if (v->expect_n < v->before)
        return misfit(v, "the log begins at entry %lld, behind the expected entry %lld: it was trimmed, or cut",
                      (long long)v->before + 1, (long long)v->expect_n);
    return misfit(v, "the log ends at entry %lld, before the expected entry %lld: it was cut, or is another one",
                  (long long)v->n, (long long)v->expect_n);
}

void chain_verify_head(const struct chain_verify *v, char ret_head[CHAIN_HEAD_MAX + 1])
{
    snprintf(ret_head, CHAIN_HEAD_MAX + 1, "%lld:%s", (long long)v->n, v->h);
}
