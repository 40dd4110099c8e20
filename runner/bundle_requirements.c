#include "runner/bundle_requirements.h"

#include <strings.h>

#include "common/json.h"
#include "common/limits.h"

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t span(struct str s, size_t at, const char *more)
{
    size_t n = 0;
    while (at + n < s.len && (is_alnum(s.ptr[at + n]) || (s.ptr[at + n] && strchr(more, s.ptr[at + n]))))
        n++;
    return n;
}

/* pip takes a name with such an end for a file. */
static bool is_file_name(struct str name)
{
    static const char *const ends[] = {".zip", ".whl", ".gz",  ".tgz", ".tar", ".bz2",
                                       ".xz",  ".tbz", ".txz", ".tlz", ".lz",  ".lzma"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        size_t len = strlen(ends[i]);
        if (name.len >= len && strncasecmp(name.ptr + name.len - len, ends[i], len) == 0)
            return true;
    }
    return false;
}

/* `--hash=sha256:…` or `--hash sha256:…`, any number of them, to the line's end. */
static const char *hashes_fault(struct str s, size_t at)
{
    while (at < s.len) {
        struct str rest = {s.ptr + at, s.len - at};
        if (!str_starts(rest, STR("--hash=")))
            return "the only option that it may have is --hash=";
        at += 7;
        size_t hash = span(s, at, ":");
        at += hash;
        if (hash == 0 || (at < s.len && s.ptr[at] != ' ' && s.ptr[at] != '\t'))
            return "a hash is a word like sha256:0123";
        while (at < s.len && (s.ptr[at] == ' ' || s.ptr[at] == '\t'))
            at++;
    }
    return NULL;
}

/* One requirement, without comment and white space around it: NAME[EXTRA,…] VERSIONS ; MARKER --hash=… */
static const char *requirement_fault(struct str s)
{
    size_t name = span(s, 0, "._-"), at = name;
    if (name == 0 || !is_alnum(s.ptr[0]))
        return s.ptr[0] == '-' ? "options are not taken" : "it does not begin with a package's name";
    if (is_file_name((struct str){s.ptr, name}))
        return "files are not taken, only packages' names";
    while (at < s.len && (s.ptr[at] == ' ' || s.ptr[at] == '\t'))
        at++;
    if (at < s.len && s.ptr[at] == '[') {
        at++;
        at += span(s, at, "._-, ");
        if (at >= s.len || s.ptr[at++] != ']')
            return "its list of extras does not end";
    }
    at += span(s, at, " \t=<>!~.*+,()_");
    if (at < s.len && s.ptr[at] == ';') /* a marker compares names and quoted texts */
        at += 1 + span(s, at + 1, " \t=<>!~.*+,()_'\"");
    if (at < s.len && s.ptr[at] != '-')
        return "only versions, a marker and --hash= may follow a name; no URLs, paths or variables";
    return hashes_fault(s, at);
}

static struct str trimmed(struct str s)
{
    for (; s.len > 0 && strchr(" \t\r\f\v", s.ptr[0]) && s.ptr[0]; s.ptr++)
        s.len--;
    while (s.len > 0 && s.ptr[s.len - 1] && strchr(" \t\r\f\v", s.ptr[s.len - 1]))
        s.len--;
    return s;
}

const char *requirements_fault(struct str text, int *ret_line)
{
    struct strbuf logical;
    const char *fault = NULL;
    int line = 0, first = 1;
    strbuf_init(&logical, REQUIREMENTS_MAX + 1);
    *ret_line = 1;
    if (text.len > REQUIREMENTS_MAX)
        return "it is too long";
    for (size_t at = 0; at < text.len && !fault;) {
        const char *newline = memchr(text.ptr + at, '\n', text.len - at);
        struct str l = {text.ptr + at, newline ? (size_t)(newline - text.ptr) - at : text.len - at};
        at += l.len + 1;
        line++;
        if (l.len > 0 && l.ptr[l.len - 1] == '\r')
            l.len--;
        if (logical.len == 0)
            first = line;
        bool goes_on = l.len > 0 && l.ptr[l.len - 1] == '\\' && at < text.len;
        strbuf_add(&logical, (struct str){l.ptr, l.len - (goes_on ? 1 : 0)});
        if (goes_on) {
            strbuf_addc(&logical, ' ');
            continue;
        }
        struct str whole = strbuf_str(&logical);
        for (size_t i = 0; i < whole.len; i++) /* a comment */
            if (whole.ptr[i] == '#' && (i == 0 || whole.ptr[i - 1] == ' ' || whole.ptr[i - 1] == '\t'))
                whole.len = i;
        whole = trimmed(whole);
        if (memchr(whole.len ? whole.ptr : "", '\r', whole.len))
            fault = "it has a carriage return within";
        else if (whole.len > 0)
            fault = requirement_fault(whole);
        strbuf_reset(&logical);
    }
    strbuf_done(&logical);
    *ret_line = first;
    return fault;
}

static bool has_members(const struct json *root, const char *key)
{
    const struct json *o = json_get(root, key);
    return o && o->type == JSON_OBJECT && o->count > 0;
}

bool package_wants(struct str text, bool *ret_valid)
{
    struct arena a;
    struct json *root = NULL;
    arena_init(&a, 16 * PACKAGE_JSON_MAX);
    *ret_valid = text.len <= PACKAGE_JSON_MAX && json_parse(&a, text, LIMIT_JSON_DEPTH, 2, &root, NULL) == ERR_OK &&
                 root->type == JSON_OBJECT;
    bool wants = *ret_valid && (has_members(root, "dependencies") || has_members(root, "optionalDependencies") ||
                                json_get(root, "workspaces"));
    arena_done(&a);
    return wants;
}
