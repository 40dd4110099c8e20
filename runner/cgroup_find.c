/* Which control group hierarchies there are, and where in them this process is: from /proc/self/mountinfo and /proc/self/cgroup. Pure. */
#include <stdio.h>

#include "runner/cgroup_parts.h"

static struct str next_line(struct str *text)
{
    const char *end = text->len ? memchr(text->ptr, '\n', text->len) : NULL;
    struct str line = {text->ptr, end ? (size_t)(end - text->ptr) : text->len};
    size_t used = line.len + (end ? 1 : 0);
    text->ptr += used;
    text->len -= used;
    return line;
}

/* The next field, up to a separator, which is passed over. */
static struct str next_field(struct str *line, char separator)
{
    const char *end = line->len ? memchr(line->ptr, separator, line->len) : NULL;
    struct str field = {line->ptr, end ? (size_t)(end - line->ptr) : line->len};
    size_t used = field.len + (end ? 1 : 0);
    line->ptr += used;
    line->len -= used;
    return field;
}

static unsigned controllers_of(struct str words)
{
    static const struct {
        const char *name;
        unsigned bit;
    } known[] = {{"memory", HAS_MEMORY}, {"cpu", HAS_CPU}, {"pids", HAS_PIDS}, {"cpuacct", HAS_CPU_TIME}};
    unsigned has = 0;
    struct str word;
    while (str_next_word(&words, &word))
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            if (str_eqz(word, known[i].name))
                has |= known[i].bit;
    return has;
}

/* The group of this process in the hierarchy: of version 2 where has is 0, of one of its controllers otherwise. Lines are "4:cpu,cpuacct:/path", and "0::/path" for version 2. */
static struct str path_in(struct str cgroup, bool v2, unsigned has)
{
    while (cgroup.len > 0) {
        struct str line = next_line(&cgroup), number = next_field(&line, ':'), words = next_field(&line, ':');
        if (v2 ? str_eqz(number, "0") && words.len == 0 : (controllers_of(words) & has) != 0)
            return line;
    }
    return STR_NONE;
}

static bool has_dots(struct str path)
{
    while (path.len > 0) {
        struct str part = next_field(&path, '/');
        if (str_eqz(part, "..") || str_eqz(part, "."))
            return true;
    }
    return false;
}

/* One mount: "36 35 98:0 ROOT POINT options … - TYPE source SUPEROPTIONS". */
static bool take_mount(struct str line, struct str cgroup, const char *root, struct cgroup_hierarchy *ret)
{
    struct str field[5];
    for (size_t i = 0; i < ARRAY_LEN(field); i++)
        field[i] = next_field(&line, ' ');
    struct str from = field[3], point = field[4], options = next_field(&line, ' ');
    while (line.len > 0 && !str_eqz(next_field(&line, ' '), "-"))
        ;
    struct str type = next_field(&line, ' ');
    (void)next_field(&line, ' ');
    bool v2 = str_eqz(type, "cgroup2");
    unsigned has = v2 ? HAS_CPU_TIME : controllers_of(line);
    if ((!v2 && !str_eqz(type, "cgroup")) || !has || memchr(point.ptr, '\\', point.len) ||
        str_starts(options, STR("ro,")))
        return false;
    struct str path = *root ? str_of(root) : path_in(cgroup, v2, has);
    /* The mount may show a part of the hierarchy only (a container's own); what is outside of it can't be named. */
    if (!*root && from.len > 1 && str_starts(path, from))
        path = (struct str){path.ptr + from.len, path.len - from.len};
    else if (!*root && from.len > 1)
        path = STR_NONE;
    if (has_dots(path))
        path = STR_NONE;
    while (path.len > 0 && path.ptr[path.len - 1] == '/')
        path.len--;
    *ret = (struct cgroup_hierarchy){.v2 = v2, .has = has, .lock = -1};
    int n = snprintf(ret->own, sizeof ret->own, "%.*s%.*s", STR_ARG(point), STR_ARG(path));
    return n > 0 && (size_t)n < sizeof ret->own;
}

size_t cgroup_find(struct str mountinfo, struct str cgroup, const char *root,
                   struct cgroup_hierarchy ret[CGROUP_HIERARCHIES])
{
    size_t count = 0;
    unsigned seen = 0;
    bool seen_v2 = false;
    while (mountinfo.len > 0 && count < CGROUP_HIERARCHIES) {
        struct cgroup_hierarchy h;
        if (!take_mount(next_line(&mountinfo), cgroup, root, &h))
            continue;
        if (h.v2 ? seen_v2 : (seen & h.has) != 0)
            continue; /* mounted a second time */
        seen_v2 = seen_v2 || h.v2;
        seen |= h.v2 ? 0 : h.has;
        ret[count++] = h;
    }
    return count;
}
