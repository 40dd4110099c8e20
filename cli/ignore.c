#include "cli/ignore.h"

enum { PARTS_MAX = IGNORE_PATTERN / 2 + 2 };

/* ---- matching ---- */

/* The character of a pattern at *at, an escape's being the one behind it; *at moves behind it. */
static char literal(struct str pattern, size_t *at)
{
    if (pattern.ptr[*at] == '\\' && *at + 1 < pattern.len)
        (*at)++;
    return pattern.ptr[(*at)++];
}

static bool one_character(struct str name, size_t *at)
{
    if (*at >= name.len)
        return false;
    for ((*at)++; *at < name.len && ((unsigned char)name.ptr[*at] & 0xC0) == 0x80;)
        (*at)++;
    return true;
}

/* One part against one name. Only the last star is tried again: what an earlier one takes more, a later one can give back. */
static bool part_matches(struct str pattern, struct str name)
{
    size_t p = 0, n = 0, star = SIZE_MAX, star_n = 0;
    while (n < name.len || p < pattern.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = ++p;
            star_n = n;
            continue;
        }
        size_t next_p = p, next_n = n;
        bool fits = false;
        if (p < pattern.len && pattern.ptr[p] == '?') {
            next_p++;
            fits = one_character(name, &next_n);
        } else if (p < pattern.len && n < name.len) {
            fits = literal(pattern, &next_p) == name.ptr[next_n++];
        }
        if (fits) {
            p = next_p;
            n = next_n;
        } else if (star != SIZE_MAX && star_n < name.len) {
            p = star;
            n = ++star_n;
        } else {
            return false;
        }
    }
    return true;
}

/* The name that begins at `at`, and where the next one does (behind the end: there is none). */
static struct str name_at(struct str path, size_t at, size_t *ret_next)
{
    const char *slash = memchr(path.ptr + at, '/', path.len - at);
    size_t len = slash ? (size_t)(slash - path.ptr) - at : path.len - at;
    *ret_next = at + len + 1;
    return (struct str){path.ptr + at, len};
}

static bool any_folders(struct str part)
{
    return str_eqz(part, "**");
}

/* The same a level higher: parts for characters, `**` for the star. */
static bool rule_matches(const struct ignore_rule *r, struct str path)
{
    size_t p = 0, at = 0, star = SIZE_MAX, star_at = 0, next;
    while (at < path.len || p < r->count) {
        if (p < r->count && any_folders(r->parts[p])) {
            star = ++p;
            star_at = at;
            continue;
        }
        if (p < r->count && at < path.len && part_matches(r->parts[p], name_at(path, at, &next))) {
            p++;
            at = next;
        } else if (star != SIZE_MAX && star_at < path.len) {
            (void)name_at(path, star_at, &star_at);
            p = star;
            at = star_at;
        } else {
            return false;
        }
    }
    return true;
}

bool ignore_matches(const struct ignore *g, struct str path, bool folder)
{
    for (size_t i = g->count; path.len > 0 && i-- > 0;) {
        const struct ignore_rule *r = &g->rules[i];
        if ((folder || !r->folders_only) && rule_matches(r, path))
            return !r->negated;
    }
    return false;
}

/* ---- parsing ---- */

/* A line without what ends it, and without blanks at its end that no backslash keeps. */
static struct str trim(struct str line)
{
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    while (line.len > 0 && line.ptr[line.len - 1] == ' ') {
        size_t slashes = 0;
        while (slashes + 1 < line.len && line.ptr[line.len - 2 - slashes] == '\\')
            slashes++;
        if (slashes % 2 == 1)
            break;
        line.len--;
    }
    return line;
}

static const char *fault_of(struct str pattern)
{
    if (pattern.len > IGNORE_PATTERN)
        return "is longer than 1,024 bytes";
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.ptr[i] == 0)
            return "holds a NUL byte";
        if (pattern.ptr[i] == '[')
            return "has a set of characters ([…]), which is not known here; write \\[ for the character itself";
        if (pattern.ptr[i] == '\\' && ++i == pattern.len)
            return "ends with a backslash that nothing follows";
    }
    return NULL;
}

/* pattern: without `!`, at least one byte. */
static enum err compile(struct arena *a, struct str pattern, struct ignore_rule *ret_rule)
{
    struct str parts[PARTS_MAX];
    size_t n = 0, next;
    bool escaped = pattern.len > 1 && pattern.ptr[pattern.len - 2] == '\\';
    ret_rule->folders_only = pattern.ptr[pattern.len - 1] == '/' && !escaped;
    if (ret_rule->folders_only)
        pattern.len--;
    bool anchored = pattern.len > 0 && memchr(pattern.ptr, '/', pattern.len);
    if (!anchored)
        parts[n++] = STR("**");
    for (size_t at = 0; at < pattern.len; at = next) {
        struct str part = name_at(pattern, at, &next);
        bool again = n > 0 && any_folders(part) && any_folders(parts[n - 1]);
        if (part.len > 0 && !again)
            parts[n++] = part;
    }
    if (anchored && n > 0 && any_folders(parts[n - 1]))
        parts[n++] = STR("*"); /* below it, not itself */
    ret_rule->parts = arena_alloc(a, (n ? n : 1) * sizeof *parts);
    if (!ret_rule->parts)
        return ERR_NO_MEMORY;
    memcpy(ret_rule->parts, parts, n * sizeof *parts);
    ret_rule->count = n;
    return ERR_OK;
}

enum err ignore_parse(struct arena *a, struct str text, struct ignore *ret_ignore, const char **ret_why)
{
    struct ignore g = {.rules = arena_zalloc(a, IGNORE_RULES * sizeof *g.rules)};
    struct str rest = arena_str(a, text);
    if (!g.rules || (text.len > 0 && !rest.ptr))
        return ERR_NO_MEMORY;
    for (int number = 1; rest.len > 0; number++) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.ptr) : rest.len;
        struct str line = trim((struct str){rest.ptr, len});
        rest.ptr += len + (end ? 1 : 0);
        rest.len -= len + (end ? 1 : 0);
        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        struct ignore_rule rule = {.negated = line.ptr[0] == '!'};
        if (rule.negated)
            line = (struct str){line.ptr + 1, line.len - 1};
        const char *fault = line.len == 0 ? "is a '!' without a pattern" : fault_of(line);
        if (!fault && g.count == IGNORE_RULES)
            fault = "is one pattern more than the 1,000 that may be";
        if (fault) {
            *ret_why = arena_printf(a, "line %d %s", number, fault);
            return ERR_INVALID_FIELD;
        }
        enum err err = compile(a, line, &rule);
        if (err)
            return err;
        if (rule.count > 0) /* "/" alone says nothing */
            g.rules[g.count++] = rule;
    }
    *ret_ignore = g;
    return ERR_OK;
}
