#include "cli/export_file.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>

#include "common/crypto.h"
#include "common/json.h"

#define DEFINITION "agent.json"
#define ARCHIVE    "bundle.tar.zst"

/* ---- writing ---- */

static la_ssize_t on_write(struct archive *a, void *ctx, const void *data, size_t len)
{
    struct strbuf *out = ctx;
    (void)a;
    strbuf_add(out, (struct str){data, len});
    return strbuf_failed(out) ? ARCHIVE_FATAL : (la_ssize_t)len;
}

static bool write_entry(struct archive *a, const char *name, struct str content)
{
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return false;
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_size(entry, (int64_t)content.len);
    bool ok = archive_write_header(a, entry) == ARCHIVE_OK &&
              archive_write_data(a, content.ptr, content.len) == (la_ssize_t)content.len;
    archive_entry_free(entry);
    return ok;
}

enum err export_write(struct str definition, struct str archive, struct strbuf *out)
{
    struct archive *a = archive_write_new();
    bool ok = a && archive_write_set_format_ustar(a) == ARCHIVE_OK &&
              archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK &&
              archive_write_open(a, out, NULL, on_write, NULL) == ARCHIVE_OK &&
              write_entry(a, DEFINITION, definition) && (archive.len == 0 || write_entry(a, ARCHIVE, archive)) &&
              archive_write_close(a) == ARCHIVE_OK && !strbuf_failed(out);
    if (a && !ok)
        archive_write_fail(a);
    archive_write_free(a);
    return ok ? ERR_OK : ERR_NO_MEMORY;
}

/* ---- reading ---- */

/* The whole of an entry, which says its own length; false when it has another. */
static bool read_content(struct archive *a, int64_t size, struct strbuf *out)
{
    char *to = strbuf_grow(out, (size_t)size);
    if (!to || archive_read_data(a, to, (size_t)size) != size)
        return false;
    out->len += (size_t)size;
    return true;
}

static const char *read_entry(struct archive *a, struct archive_entry *entry, struct export_file *f)
{
    const char *name = archive_entry_pathname(entry);
    bool definition = name && strcmp(name, DEFINITION) == 0, archive = name && strcmp(name, ARCHIVE) == 0;
    int64_t size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : -1;
    if (!definition && !archive)
        return "it holds something else than " DEFINITION " and " ARCHIVE;
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) || archive_entry_symlink(entry) ||
        archive_entry_sparse_count(entry) > 0)
        return DEFINITION " and " ARCHIVE " must be plain files";
    struct strbuf *to = definition ? &f->definition : &f->archive;
    if (to->len > 0)
        return "it holds one of its files twice";
    if (size < 1 || size > (definition ? (int64_t)LIMIT_DEFINITION : (int64_t)LIMIT_BUNDLE))
        return definition ? DEFINITION " is empty, or larger than a definition may be"
                          : ARCHIVE " is empty, or larger than a bundle may be";
    return read_content(a, size, to) ? NULL : "it is cut off";
}

/* Whether the two belong together. */
static const char *check(struct export_file *f)
{
    struct arena arena;
    struct json *root = NULL;
    const char *why = NULL;
    arena_init(&arena, 16U << 20);
    if (f->definition.len == 0)
        why = "it holds no " DEFINITION;
    else if (json_parse(&arena, strbuf_str(&f->definition), LIMIT_JSON_DEPTH, 2, &root, NULL) != ERR_OK ||
             root->type != JSON_OBJECT)
        why = DEFINITION " is no JSON object";
    const struct json *bundle = why ? NULL : json_get(root, "bundle");
    if (f->archive.len > 0) {
        char hex[SHA256_HEX_LEN + 1];
        crypto_sha256_hex(strbuf_str(&f->archive), hex);
        snprintf(f->digest, sizeof f->digest, "sha256:%s", hex);
    }
    if (!why && bundle && f->archive.len == 0)
        why = "its definition names a bundle, and it holds no " ARCHIVE;
    else if (!why && !bundle && f->archive.len > 0)
        why = "it holds " ARCHIVE ", which its definition does not name";
    else if (!why && bundle && !(bundle->type == JSON_STRING && str_eqz(bundle->string, f->digest)))
        why = ARCHIVE " is not the bundle that its definition names: it was changed, or damaged";
    arena_done(&arena);
    return why;
}

enum err export_read(struct str file, struct export_file *ret_file, const char **ret_why)
{
    struct export_file f = {.digest = ""};
    struct archive_entry *entry;
    struct archive *a = archive_read_new();
    const char *why = NULL;
    int got = ARCHIVE_FATAL;
    strbuf_init(&f.definition, LIMIT_DEFINITION + 1);
    strbuf_init(&f.archive, LIMIT_BUNDLE + 1);
    if (!a || archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_open_memory(a, file.ptr ? file.ptr : "", file.len) != ARCHIVE_OK)
        why = "it is no file that `errand agents export` wrote";
    while (!why && (got = archive_read_next_header(a, &entry)) == ARCHIVE_OK)
        why = read_entry(a, entry, &f);
    if (!why && got != ARCHIVE_EOF)
        why = "it is no file that `errand agents export` wrote";
    if (!why)
        why = check(&f);
    archive_read_free(a);
    if (why) {
        export_done(&f);
        *ret_why = why;
        return ERR_INVALID_FIELD;
    }
    *ret_file = f;
    return ERR_OK;
}

void export_done(struct export_file *f)
{
    strbuf_done(&f->definition);
    strbuf_done(&f->archive);
}
