#include "cli/definition.h"

#include <limits.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "common/limits.h"

/* The absolute path of a folder named in the definition; false after a complaint. */
static bool resolve_workdir(const char *file, struct str workdir, char ret_path[PATH_MAX])
{
    char folder[PATH_MAX], path[PATH_MAX * 2];
    if (!realpath(file, folder)) {
        cli_say("%s can't be found", file);
        return false;
    }
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder ? 1 : 0] = '\0';
    snprintf(path, sizeof(path), "%s/%.*s", folder, (int)(workdir.len < PATH_MAX ? workdir.len : PATH_MAX),
             workdir.ptr);
    if (!realpath(path, ret_path)) {
        cli_say("the workdir of %s does not exist: %s", file, path);
        return false;
    }
    return true;
}

/* What becomes of a workdir; false after a complaint. bundled: the folder will be somewhere else, and is where the command starts anyway. */
static bool write_workdir(const char *path, struct str workdir, bool bundled, struct json_writer *w)
{
    char absolute[PATH_MAX];
    bool relative = workdir.len > 0 && workdir.ptr[0] != '/';
    if (relative && bundled && (str_eqz(workdir, ".") || str_eqz(workdir, "./")))
        return true;
    if (relative && bundled) { /* a folder of the bundle, which the API checks */
        json_key(w, "workdir");
        json_str(w, workdir);
        return true;
    }
    if (relative && strcmp(path, "-") == 0) {
        cli_say("a definition from standard input needs an absolute workdir");
        return false;
    }
    if (relative && !resolve_workdir(path, workdir, absolute))
        return false;
    json_key(w, "workdir");
    json_str(w, relative ? str_of(absolute) : workdir);
    return true;
}

static bool write_definition(const char *path, const struct json *root, const char *name, const char *bundle,
                             struct strbuf *out)
{
    struct json_writer w;
    bool bundled = bundle || json_get(root, "bundle");
    json_writer_init(&w, out);
    json_object_begin(&w);
    if (name)
        json_kv_str(&w, "name", str_of(name));
    for (const struct json *m = root->child; m; m = m->next) {
        if ((name && str_eqz(m->key, "name")) || (bundle && str_eqz(m->key, "bundle")))
            continue;
        if (str_eqz(m->key, "workdir") && m->type == JSON_STRING) {
            if (!write_workdir(path, m->string, bundled, &w))
                return false;
            continue;
        }
        json_key_str(&w, m->key);
        json_raw(&w, m->raw);
    }
    if (bundle)
        json_kv_str(&w, "bundle", str_of(bundle));
    json_object_end(&w);
    return true;
}

bool definition_write(const char *file, struct str text, const char *name, const char *bundle, struct strbuf *out,
                      char *ret_name, size_t name_cap)
{
    struct arena arena;
    arena_init(&arena, 16U << 20);
    struct json *root = NULL;
    const char *why = NULL;
    bool ok = false;
    if (json_parse(&arena, text, LIMIT_JSON_DEPTH, 2, &root, &why) != ERR_OK)
        cli_say("%s is not valid JSON: %s", file, why ? why : "it can't be read");
    else if (root->type != JSON_OBJECT)
        cli_say("%s is no agent definition: it has to be a JSON object", file);
    else
        ok = write_definition(file, root, name, bundle, out);
    if (ok) {
        struct str found = name ? str_of(name) : json_text(root, "name");
        snprintf(ret_name, name_cap, "%.*s", (int)(found.len < name_cap ? found.len : name_cap - 1),
                 found.ptr ? found.ptr : "");
    }
    arena_done(&arena);
    return ok;
}

bool definition_read_bundled(const char *path, const char *name, const char *bundle, struct strbuf *out, char *ret_name,
                             size_t name_cap)
{
    size_t len = 0;
    char *text = cli_read_file(path, LIMIT_DEFINITION, &len);
    bool ok = text && definition_write(path, (struct str){text, len}, name, bundle, out, ret_name, name_cap);
    free(text);
    return ok;
}

bool definition_read(const char *path, const char *name, struct strbuf *out, char *ret_name, size_t name_cap)
{
    return definition_read_bundled(path, name, NULL, out, ret_name, name_cap);
}
