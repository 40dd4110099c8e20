#include "runner/bundle_path.h"

#include <stdio.h>

#include "common/json.h"

static bool is_text(struct str s)
{
    struct strbuf clean;
    strbuf_init(&clean, 3 * s.len + 3);
    utf8_sanitize(&clean, s);
    bool same = str_eq(strbuf_str(&clean), s);
    strbuf_done(&clean);
    for (size_t i = 0; i < s.len; i++)
        same = same && (unsigned char)s.ptr[i] >= ' ' && s.ptr[i] != 0x7f;
    return same;
}

static const char *text_fault(struct str s)
{
    if (s.len == 0)
        return "it has no name";
    if (s.len > LIMIT_BUNDLE_PATH)
        return "its path is too long";
    return is_text(s) ? NULL : "its name is not UTF-8, or has control characters";
}

const char *bundle_path_parse(struct str path, struct bundle_path *ret_path)
{
    ret_path->count = 0;
    const char *fault = text_fault(path);
    if (fault)
        return fault;
    if (path.ptr[0] == '/')
        return "its path is absolute";
    memcpy(ret_path->text, path.ptr, path.len);
    ret_path->text[path.len] = 0;
    char *at = ret_path->text, *end = at + path.len;
    while (at < end) {
        char *slash = memchr(at, '/', (size_t)(end - at));
        size_t len = (size_t)((slash ? slash : end) - at);
        at[len] = 0;
        bool leading = at == ret_path->text && strcmp(at, ".") == 0; /* "./a" is how tar says "a" */
        if (len == 0)
            return "its path has an empty name";
        if (strcmp(at, "..") == 0)
            return "its path has a \"..\"";
        if (!leading && strcmp(at, ".") == 0)
            return "its path has a \".\"";
        if (len > BUNDLE_NAME)
            return "a name in its path is too long";
        if (ret_path->count == BUNDLE_DEPTH)
            return "it lies too deep";
        if (!leading)
            ret_path->names[ret_path->count++] = at;
        at += len + 1;
    }
    return NULL;
}

const char *bundle_link_check(const struct bundle_path *at, struct str target)
{
    const char *fault = text_fault(target);
    if (fault)
        return "its link's target is empty, too long, or no text";
    if (target.ptr[0] == '/')
        return "its link points to an absolute path";
    size_t depth = at->count - 1; /* of the folder that it stands in */
    for (size_t i = 0; i < target.len;) {
        const char *slash = memchr(target.ptr + i, '/', target.len - i);
        struct str name = {target.ptr + i, slash ? (size_t)(slash - target.ptr) - i : target.len - i};
        if (str_eqz(name, "..")) {
            if (depth == 0)
                return "its link points outside of the bundle";
            depth--;
        } else if (name.len > 0 && !str_eqz(name, ".")) {
            depth++;
        }
        i += name.len + 1;
    }
    return NULL;
}

const char *bundle_shown(struct str path, char buf[BUNDLE_SHOWN + 8])
{
    struct strbuf clean;
    bool cut = path.len > BUNDLE_SHOWN;
    if (cut)
        path.len = BUNDLE_SHOWN;
    strbuf_init(&clean, sizeof(char) * 4 * (BUNDLE_SHOWN + 8));
    utf8_sanitize(&clean, path);
    struct str shown = strbuf_str(&clean);
    if (shown.len > BUNDLE_SHOWN) {
        cut = true;
        shown.len = BUNDLE_SHOWN;
    }
    shown.len = utf8_complete_len(shown);
    snprintf(buf, BUNDLE_SHOWN + 8, "%.*s%s", STR_ARG(shown), cut ? "…" : "");
    for (char *c = buf; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || *c == '"')
            *c = '?';
    strbuf_done(&clean);
    return buf;
}
