#include "cli/pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/ignore.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/limits.h"

#define IGNORE_FILE ".errandignore"
#define LEVEL       "9" /* of zstd */

enum { NAMED = 5 /* of the largest */, DEPTH = 64 /* runners take no more */, MEMORY = 128 << 20 };

struct entry {
    const char *path; /* from the root */
    size_t path_len;
    const char *target; /* of a link; else NULL */
    int64_t size;       /* of a file */
    bool folder, executable;
};

struct packing {
    int root;
    const char *folder;
    struct arena arena;
    struct ignore ignore;
    struct entry *entries;
    size_t count, cap;
    int64_t unpacked;
    struct strbuf *why;
};

static enum err PRINTF_LIKE(2, 3) refuse(struct packing *p, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    strbuf_reset(p->why);
    strbuf_addz(p->why, text);
    return ERR_INVALID_FIELD;
}

static enum err unreadable(struct packing *p, const char *path)
{
    int error = errno;
    strbuf_reset(p->why);
    strbuf_addf(p->why, "%s/%s can't be read: %s", p->folder, path, strerror(error));
    return ERR_IO;
}

bool pack_link_stays_inside(struct str path, struct str target)
{
    size_t depth = 0, up = 0, at = 0;
    bool named = false;
    if (target.len == 0 || target.ptr[0] == '/' || memchr(target.ptr, 0, target.len))
        return false;
    for (size_t i = 0; i < path.len; i++)
        depth += path.ptr[i] == '/';
    while (at < target.len) {
        const char *slash = memchr(target.ptr + at, '/', target.len - at);
        struct str part = {target.ptr + at, slash ? (size_t)(slash - target.ptr) - at : target.len - at};
        at += part.len + 1;
        /* Behind a name, which may be a link to somewhere less deep, `..` could lead out. */
        if (str_eqz(part, "..") && (named || ++up > depth))
            return false;
        named = named || (part.len > 0 && !str_eqz(part, ".") && !str_eqz(part, ".."));
    }
    return true;
}

/* ---- what is there ---- */

static enum err read_ignore(struct packing *p)
{
    char *text = malloc(IGNORE_BYTES + 1);
    int fd = openat(p->root, IGNORE_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    size_t len = 0;
    ssize_t n = 0;
    enum err err = text ? ERR_OK : ERR_NO_MEMORY;
    if (fd < 0 && errno == ENOENT)
        goto end;
    if (fd < 0) {
        err = unreadable(p, IGNORE_FILE);
        goto end;
    }
    while (!err && len <= IGNORE_BYTES && (n = read(fd, text + len, IGNORE_BYTES + 1 - len)) > 0)
        len += (size_t)n;
    if (!err && n < 0)
        err = unreadable(p, IGNORE_FILE);
    else if (!err && len > IGNORE_BYTES)
        err = refuse(p, "%s is longer than 65,536 bytes", IGNORE_FILE);
    const char *fault = NULL;
    if (!err && (err = ignore_parse(&p->arena, (struct str){text, len}, &p->ignore, &fault)) == ERR_INVALID_FIELD)
        err = refuse(p, IGNORE_FILE ": %s", fault);
end:
    if (fd >= 0)
        close(fd);
    free(text);
    return err;
}

static bool always_left_out(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return strcmp(name, ".git") == 0 || strcmp(name, ".errand") == 0 || strcmp(path, IGNORE_FILE) == 0;
}

static enum err read_link(struct packing *p, struct entry *e)
{
    char target[LIMIT_BUNDLE_PATH + 1];
    ssize_t n = readlinkat(p->root, e->path, target, sizeof target);
    if (n < 0)
        return unreadable(p, e->path);
    if (n > LIMIT_BUNDLE_PATH)
        return refuse(p, "the link %s leads to a path of more than 1,024 bytes", e->path);
    if (!pack_link_stays_inside((struct str){e->path, e->path_len}, (struct str){target, (size_t)n}))
        return refuse(p,
                      "the link %s may lead out of the folder: a link in a bundle must be relative, with \"..\" at its "
                      "beginning only; list it in " IGNORE_FILE ", or put what it leads to in its place",
                      e->path);
    e->target = arena_strdup(&p->arena, (struct str){target, (size_t)n});
    return e->target ? ERR_OK : ERR_NO_MEMORY;
}

/* Most entries, or most bytes, first. */
static int by_size(const void *a, const void *b)
{
    const struct entry *x = *(const struct entry *const *)a, *y = *(const struct entry *const *)b;
    return x->size < y->size ? 1 : x->size > y->size ? -1 : strcmp(x->path, y->path);
}

static enum err too_large(struct packing *p, const char *what, int limit)
{
    const struct entry **all = calloc(p->count ? p->count : 1, sizeof *all);
    if (!all)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < p->count; i++)
        all[i] = &p->entries[i];
    qsort(all, p->count, sizeof *all, by_size);
    strbuf_reset(p->why);
    strbuf_addf(p->why, "%s over %d bytes; list in " IGNORE_FILE " what is not needed. The largest files:", what,
                limit);
    for (size_t i = 0; i < NAMED && i < p->count && all[i]->size > 0; i++)
        strbuf_addf(p->why, "%s %s (%lld bytes)", i ? "," : "", all[i]->path, (long long)all[i]->size);
    free((void *)all);
    return ERR_INVALID_FIELD;
}

/* Where most of the entries that were seen are: folders at the root. */
static enum err too_many(struct packing *p)
{
    struct entry *tops = calloc(p->count, sizeof *tops);
    size_t n = 0;
    if (!tops)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < p->count; i++) {
        const struct entry *e = &p->entries[i];
        const char *slash = strchr(e->path, '/');
        size_t len = slash ? (size_t)(slash - e->path) : e->path_len, t = 0;
        if (!slash && e->folder)
            tops[n++] = (struct entry){.path = e->path, .path_len = e->path_len};
        while (slash && t < n && (tops[t].path_len != len || memcmp(tops[t].path, e->path, len) != 0))
            t++;
        if (slash && t < n)
            tops[t].size++;
    }
    strbuf_reset(p->why);
    strbuf_addf(p->why, "%s has more than %d entries; list in " IGNORE_FILE " what is not needed.", p->folder,
                LIMIT_BUNDLE_FILES);
    size_t most = 0;
    for (size_t t = 1; t < n; t++)
        most = tops[t].size > tops[most].size ? t : most;
    if (n > 0)
        strbuf_addf(p->why, " Most of those that were looked at are in %s/ (%lld)", tops[most].path,
                    (long long)tops[most].size);
    free(tops);
    return ERR_INVALID_FIELD;
}

static enum err keep(struct packing *p, const struct entry *e)
{
    if (p->count == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 256;
        struct entry *more = realloc(p->entries, cap * sizeof *more);
        if (!more)
            return ERR_NO_MEMORY;
        p->entries = more;
        p->cap = cap;
    }
    p->entries[p->count++] = *e;
    p->unpacked += e->size;
    return p->count > LIMIT_BUNDLE_FILES ? too_many(p) : ERR_OK;
}

/* Runners refuse other names, which nobody could read in a message. */
static bool is_text(struct str s)
{
    struct strbuf clean;
    strbuf_init(&clean, 3 * s.len + 1);
    utf8_sanitize(&clean, s);
    bool same = str_eq(strbuf_str(&clean), s);
    strbuf_done(&clean);
    for (size_t i = 0; i < s.len; i++)
        same = same && (unsigned char)s.ptr[i] >= ' ' && s.ptr[i] != 0x7f;
    return same;
}

static enum err check_path(struct packing *p, struct str path)
{
    size_t depth = 1;
    if (path.len > LIMIT_BUNDLE_PATH)
        return refuse(p, "a path is longer than 1,024 bytes: %.200s…", path.ptr);
    for (size_t i = 0; i < path.len; i++)
        depth += path.ptr[i] == '/';
    if (depth > DEPTH)
        return refuse(p, "a path is deeper than 64 folders: %.200s…", path.ptr);
    return is_text(path) ? ERR_OK : refuse(p, "a name is not UTF-8, or has control characters: %.200s", path.ptr);
}

static enum err look_at(struct packing *p, struct str above, const char *name)
{
    struct stat st;
    struct entry e = {.path = above.len ? arena_printf(&p->arena, "%.*s/%s", STR_ARG(above), name)
                                        : arena_strdup(&p->arena, str_of(name))};
    if (!e.path)
        return ERR_NO_MEMORY;
    e.path_len = strlen(e.path);
    if (always_left_out(e.path))
        return ERR_OK;
    if (fstatat(p->root, e.path, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return unreadable(p, e.path);
    e.folder = S_ISDIR(st.st_mode);
    if (ignore_matches(&p->ignore, (struct str){e.path, e.path_len}, e.folder))
        return ERR_OK;
    enum err err = check_path(p, (struct str){e.path, e.path_len});
    if (err)
        return err;
    if (S_ISREG(st.st_mode)) {
        e.size = st.st_size;
        e.executable = st.st_mode & S_IXUSR;
    } else if (S_ISLNK(st.st_mode)) {
        if ((err = read_link(p, &e)))
            return err;
    } else if (!e.folder) {
        return refuse(p, "%s is no file, folder or link; list it in " IGNORE_FILE, e.path);
    }
    return keep(p, &e);
}

static enum err read_folder(struct packing *p, struct str path)
{
    int fd = openat(p->root, path.len ? path.ptr : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        enum err err = unreadable(p, path.len ? path.ptr : ".");
        if (fd >= 0)
            close(fd);
        return err;
    }
    enum err err = ERR_OK;
    for (const struct dirent *d; !err && (errno = 0, d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            err = look_at(p, path, d->d_name);
    if (!err && errno)
        err = unreadable(p, path.len ? path.ptr : ".");
    closedir(dir);
    return err;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

/* Breadth first: one folder is open at a time, however deep they are. */
static enum err find_entries(struct packing *p)
{
    enum err err = read_folder(p, STR(""));
    for (size_t i = 0; !err && i < p->count; i++)
        if (p->entries[i].folder)
            err = read_folder(p, (struct str){p->entries[i].path, p->entries[i].path_len});
    if (!err && p->unpacked > LIMIT_BUNDLE_UNPACKED)
        err = too_large(p, "the files are, in all,", LIMIT_BUNDLE_UNPACKED);
    if (!err && p->count == 0)
        err = refuse(p, "%s has nothing in it that could be packed", p->folder);
    if (!err)
        qsort(p->entries, p->count, sizeof *p->entries, by_path);
    return err;
}

/* ---- the archive ---- */

static la_ssize_t on_write(struct archive *a, void *ctx, const void *data, size_t len)
{
    struct strbuf *out = ctx;
    strbuf_add(out, (struct str){data, len});
    if (!strbuf_failed(out))
        return (la_ssize_t)len;
    archive_set_error(a, ENOSPC, "over the limit");
    return ARCHIVE_FATAL;
}

static enum err write_content(struct packing *p, struct archive *a, const struct entry *e)
{
    static const size_t piece = 65536;
    int fd = openat(p->root, e->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char *buf = malloc(piece);
    int64_t left = e->size;
    ssize_t n = 0;
    enum err err = fd < 0 ? unreadable(p, e->path) : buf ? ERR_OK : ERR_NO_MEMORY;
    /* One byte more is asked for: a file that grows meanwhile is found out. */
    while (!err && (n = read(fd, buf, piece)) > 0) {
        left -= n;
        if (left >= 0 && archive_write_data(a, buf, (size_t)n) != n)
            err = ERR_BODY_TOO_LARGE;
        if (left < 0)
            break;
    }
    if (!err && n < 0)
        err = unreadable(p, e->path);
    else if (!err && left != 0)
        err = refuse(p, "%s was changed while it was packed; try again", e->path);
    if (fd >= 0)
        close(fd);
    free(buf);
    return err;
}

static enum err write_entry(struct packing *p, struct archive *a, const struct entry *e)
{
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return ERR_NO_MEMORY;
    archive_entry_set_pathname(entry, e->path);
    archive_entry_set_filetype(entry, e->folder ? AE_IFDIR : e->target ? AE_IFLNK : AE_IFREG);
    archive_entry_set_perm(entry, e->target ? 0777 : e->folder || e->executable ? 0755 : 0644);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_size(entry, e->size);
    if (e->target)
        archive_entry_set_symlink(entry, e->target);
    enum err err = archive_write_header(a, entry) == ARCHIVE_OK ? ERR_OK : ERR_BODY_TOO_LARGE;
    archive_entry_free(entry);
    return err || e->size == 0 ? err : write_content(p, a, e);
}

/* ERR_BODY_TOO_LARGE when the archive is over its limit. GNU's tar: names are bytes, whatever the locale is. */
static enum err write_archive(struct packing *p, struct strbuf *out)
{
    struct archive *a = archive_write_new();
    if (!a)
        return ERR_NO_MEMORY;
    bool ok = archive_write_set_format_gnutar(a) == ARCHIVE_OK && archive_write_add_filter_zstd(a) == ARCHIVE_OK &&
              archive_write_set_filter_option(a, "zstd", "compression-level", LEVEL) == ARCHIVE_OK &&
              archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK &&
              archive_write_open(a, out, NULL, on_write, NULL) == ARCHIVE_OK;
    enum err err = ok ? ERR_OK : ERR_INTERNAL;
    for (size_t i = 0; !err && i < p->count; i++)
        err = write_entry(p, a, &p->entries[i]);
    if (!err && archive_write_close(a) != ARCHIVE_OK)
        err = ERR_BODY_TOO_LARGE;
    if (err == ERR_BODY_TOO_LARGE && !strbuf_failed(out))
        err = refuse(p, "the archive can't be made: %s", archive_error_string(a) ? archive_error_string(a) : "?");
    if (err == ERR_INTERNAL)
        err = refuse(p, "the archive can't be made: %s", "libarchive has no zstd here");
    if (err)
        archive_write_fail(a);
    archive_write_free(a);
    return err;
}

enum err pack_folder(const char *folder, struct pack *ret_pack, struct strbuf *ret_why)
{
    struct packing p = {.root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), .folder = folder, .why = ret_why};
    struct pack out = {0};
    enum err err = ERR_OK;
    arena_init(&p.arena, MEMORY);
    strbuf_init(&out.archive, LIMIT_BUNDLE);
    if (p.root < 0) {
        int error = errno;
        strbuf_addf(ret_why, "%s is no folder that can be read: %s", folder, strerror(error));
        err = ERR_IO;
    }
    if (!err)
        err = read_ignore(&p);
    if (!err)
        err = find_entries(&p);
    if (!err)
        err = write_archive(&p, &out.archive);
    if (err == ERR_BODY_TOO_LARGE)
        err = too_large(&p, "the archive is", LIMIT_BUNDLE);
    if (!err) {
        char hex[SHA256_HEX_LEN + 1];
        crypto_sha256_hex(strbuf_str(&out.archive), hex);
        snprintf(out.digest, sizeof out.digest, "sha256:%s", hex);
        out.files = (int64_t)p.count;
        out.unpacked = p.unpacked;
        *ret_pack = out;
    } else {
        strbuf_done(&out.archive);
    }
    if (p.root >= 0)
        close(p.root);
    free(p.entries);
    arena_done(&p.arena);
    return err;
}

void pack_done(struct pack *p)
{
    strbuf_done(&p->archive);
}
