#include "runner/bundle_unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/arena.h"
#include "runner/tree.h"

enum { READ_BLOCK = 65536, ENTRY_OVERHEAD = 8192, LINKS_MAX = 64 << 20 };

struct link {
    struct link *next;
    const char *path, *target;
};

/* Two readers, one on the other: `packed` undoes zstd and nothing else, `tar` reads what comes out, through on_read, which counts it. So a bomb is noticed wherever it hides: in files, in headers, behind the end. */
struct unpack {
    struct archive *packed, *tar;
    int root;
    const struct unpack_bounds *bounds;
    int64_t stream, bytes, files;
    struct arena arena;
    struct link *links, **tail;         /* made last: nothing is ever written through one */
    char folder[LIMIT_BUNDLE_PATH + 1]; /* the folder that is open in folder_fd */
    int folder_fd;
    char *why;
};

static enum err PRINTF_LIKE(3, 4) refuse(struct unpack *u, struct str name, const char *fmt, ...)
{
    char shown[BUNDLE_SHOWN + 8], text[UNPACK_WHY - 180];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    if (name.ptr)
        snprintf(u->why, UNPACK_WHY, "the bundle is refused: \"%s\": %s", bundle_shown(name, shown), text);
    else
        snprintf(u->why, UNPACK_WHY, "the bundle is refused: %s", text);
    return ERR_INVALID_FIELD;
}

static enum err failed(struct unpack *u, const char *path, const char *what)
{
    char shown[BUNDLE_SHOWN + 8];
    snprintf(u->why, UNPACK_WHY, "the bundle can't be unpacked: \"%s\": %s: %s", bundle_shown(str_of(path), shown),
             what, strerror(errno));
    return ERR_IO;
}

/* ---- reading ---- */

static la_ssize_t on_read(struct archive *tar, void *ctx, const void **ret_block)
{
    struct unpack *u = ctx;
    size_t len;
    la_int64_t offset;
    int status = archive_read_data_block(u->packed, ret_block, &len, &offset);
    if (status == ARCHIVE_EOF)
        return 0;
    if (status != ARCHIVE_OK) {
        archive_set_error(tar, EIO, "%s", archive_error_string(u->packed));
        return -1;
    }
    u->stream += (int64_t)len;
    if (u->stream > u->bounds->bytes + (u->bounds->files + 16) * ENTRY_OVERHEAD) {
        archive_set_error(tar, EFBIG, "it unpacks to more than it may");
        return -1;
    }
    return (la_ssize_t)len;
}

static const char *said(struct archive *a)
{
    const char *text = archive_error_string(a);
    return text ? text : "it can't be read";
}

static enum err open_readers(struct unpack *u, int fd, struct str bytes)
{
    struct str none = STR_NONE;
    if (archive_read_support_filter_zstd(u->packed) != ARCHIVE_OK)
        return refuse(u, none, "this runner's libarchive has no zstd");
    if (archive_read_support_format_raw(u->packed) != ARCHIVE_OK ||
        archive_read_support_format_tar(u->tar) != ARCHIVE_OK)
        return refuse(u, none, "%s", said(u->tar));
    int status = fd >= 0 ? archive_read_open_fd(u->packed, fd, READ_BLOCK)
                         : archive_read_open_memory(u->packed, bytes.ptr, bytes.len);
    struct archive_entry *whole;
    if (status != ARCHIVE_OK || archive_filter_code(u->packed, 0) != ARCHIVE_FILTER_ZSTD)
        return refuse(u, none, "it is no tar archive compressed with zstd");
    if (archive_read_next_header(u->packed, &whole) != ARCHIVE_OK)
        return refuse(u, none, "%s", said(u->packed));
    if (archive_read_open(u->tar, u, NULL, on_read, NULL) != ARCHIVE_OK)
        return refuse(u, none, "it is no tar archive compressed with zstd: %s", said(u->tar));
    return ERR_OK;
}

/* ---- folders ---- */

static enum err count_entry(struct unpack *u, struct str name)
{
    if (u->files >= u->bounds->files)
        return refuse(u, name, "with it there are more than %lld files, folders and links",
                      (long long)u->bounds->files);
    u->files++;
    return ERR_OK;
}

/* Opens a folder within another, making it where it is not there. Links are never followed. */
static enum err enter(struct unpack *u, int at, const char *name, struct str path, int *ret_fd)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        enum err err = count_entry(u, path);
        if (err)
            return err;
        if (mkdirat(at, name, 0700) != 0)
            return failed(u, path.ptr, "can't make its folder");
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return refuse(u, path, "it lies below something that is no folder");
    if (fd < 0)
        return failed(u, path.ptr, "can't open its folder");
    *ret_fd = fd;
    return ERR_OK;
}

/* The folder of the first n names stays open until another one is wanted: archives go folder by folder. */
static enum err enter_folder(struct unpack *u, const struct bundle_path *p, size_t n, struct str path, int *ret_fd)
{
    char folder[LIMIT_BUNDLE_PATH + 1] = "";
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(folder + len, sizeof folder - len, "%s/", p->names[i]);
    if (u->folder_fd >= 0 && strcmp(folder, u->folder) == 0) {
        *ret_fd = u->folder_fd;
        return ERR_OK;
    }
    int fd = fcntl(u->root, F_DUPFD_CLOEXEC, 3);
    enum err err = fd >= 0 ? ERR_OK : failed(u, path.ptr, "can't open its folder");
    for (size_t i = 0; i < n && !err; i++) {
        int next = -1;
        err = enter(u, fd, p->names[i], path, &next);
        close(fd);
        fd = next;
    }
    if (err)
        return err;
    if (u->folder_fd >= 0)
        close(u->folder_fd);
    u->folder_fd = fd;
    memcpy(u->folder, folder, sizeof folder);
    *ret_fd = fd;
    return ERR_OK;
}

/* ---- entries ---- */

static enum err write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        bytes += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static enum err copy_data(struct unpack *u, int fd, struct str path, int64_t size)
{
    const void *block;
    size_t len;
    la_int64_t offset;
    int64_t written = 0;
    int status;
    while ((status = archive_read_data_block(u->tar, &block, &len, &offset)) == ARCHIVE_OK) {
        if (offset != written)
            return refuse(u, path, "it is a sparse file");
        if (written + (int64_t)len > size)
            return refuse(u, path, "it is longer than it says");
        if (write_all(fd, block, len))
            return failed(u, path.ptr, "can't write it");
        written += (int64_t)len;
    }
    if (status != ARCHIVE_EOF)
        return refuse(u, path, "%s", said(u->tar));
    return written == size ? ERR_OK : refuse(u, path, "it is shorter than it says");
}

/* One that can't be made since something of its name is there. */
static enum err not_made(struct unpack *u, struct str path)
{
    return errno == EEXIST ? refuse(u, path, "it comes twice") : failed(u, path.ptr, "can't make it");
}

static enum err take_file(struct unpack *u, struct archive_entry *e, int folder, const char *name, struct str path)
{
    int64_t size = archive_entry_size(e);
    if (archive_entry_sparse_count(e) > 0)
        return refuse(u, path, "it is a sparse file");
    if (size < 0 || size > u->bounds->bytes - u->bytes)
        return refuse(u, path, "with it the bundle unpacks to more than %lld bytes", (long long)u->bounds->bytes);
    u->bytes += size;
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return not_made(u, path);
    enum err err = copy_data(u, fd, path, size);
    if (!err && fchmod(fd, archive_entry_perm(e) & 0100 ? 0555 : 0444) != 0)
        err = failed(u, path.ptr, "can't set its mode");
    if (close(fd) != 0 && !err)
        err = failed(u, path.ptr, "can't write it");
    return err;
}

static enum err take_folder(struct unpack *u, const struct bundle_path *p, struct str path)
{
    int fd;
    return enter_folder(u, p, p->count, path, &fd);
}

/* Noted; links are made when all else is there. */
static enum err take_link(struct unpack *u, struct archive_entry *e, const struct bundle_path *p, struct str path)
{
    const char *target = archive_entry_symlink(e);
    const char *fault = bundle_link_check(p, str_of(target));
    if (fault)
        return refuse(u, path, "%s", fault);
    struct link *l = arena_alloc(&u->arena, sizeof *l);
    if (!l)
        return refuse(u, path, "there are too many links");
    *l = (struct link){NULL, arena_strdup(&u->arena, path), arena_strdup(&u->arena, str_of(target))};
    if (!l->path || !l->target)
        return refuse(u, path, "there are too many links");
    *u->tail = l;
    u->tail = &l->next;
    return ERR_OK;
}

/* To a file that was unpacked before, found name by name, as everything else. */
static enum err take_hard_link(struct unpack *u, struct archive_entry *e, const struct bundle_path *p, struct str path)
{
    struct bundle_path to;
    struct stat st;
    int from_fd = -1, fd;
    if (archive_entry_size_is_set(e) && archive_entry_size(e) > 0)
        return refuse(u, path, "it is a hard link with contents of its own");
    const char *fault = bundle_path_parse(str_of(archive_entry_hardlink(e)), &to);
    if (fault || to.count == 0)
        return refuse(u, path, "of the file that it is a hard link to: %s", fault ? fault : "it is a folder");
    int64_t files = u->files;
    enum err err = enter_folder(u, &to, to.count - 1, path, &fd);
    if (!err && u->files != files)
        err = refuse(u, path, "it is a hard link to something that is not in the bundle before it");
    if (!err)
        from_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* the next one closes it */
    if (!err && from_fd < 0)
        err = failed(u, path.ptr, "can't open the folder of what it links to");
    const char *from = to.names[to.count - 1], *name = p->names[p->count - 1];
    if (!err && (fstatat(from_fd, from, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)))
        err = refuse(u, path, "it is a hard link to something that is no file in the bundle before it");
    if (!err)
        err = enter_folder(u, p, p->count - 1, path, &fd);
    if (!err && linkat(from_fd, from, fd, name, 0) != 0)
        err = not_made(u, path);
    if (from_fd >= 0)
        close(from_fd);
    return err;
}

static const char *forbidden_type(mode_t type)
{
    switch (type) {
    case AE_IFCHR:
    case AE_IFBLK:
        return "it is a device";
    case AE_IFIFO:
        return "it is a fifo";
    case AE_IFSOCK:
        return "it is a socket";
    default:
        return "it is neither a file, a folder nor a link";
    }
}

static enum err take_entry(struct unpack *u, struct archive_entry *e)
{
    struct bundle_path p;
    struct str path = str_of(archive_entry_pathname(e));
    mode_t type = archive_entry_filetype(e);
    bool hard = archive_entry_hardlink(e) != NULL;
    const char *fault = bundle_path_parse(path, &p);
    if (fault)
        return refuse(u, path.ptr ? path : STR(""), "%s", fault);
    if (p.count == 0) /* "./", the root: it is there */
        return type == AE_IFDIR && !hard ? ERR_OK : refuse(u, path, "it has no name");
    if (!hard && type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK)
        return refuse(u, path, "%s", forbidden_type(type));
    if (type != AE_IFLNK && (archive_entry_perm(e) & 07000))
        return refuse(u, path, "it has a setuid, setgid or sticky bit");
    if (type == AE_IFDIR && !hard)
        return take_folder(u, &p, path); /* counted where it is made */
    int folder;
    enum err err = count_entry(u, path);
    if (!err && hard)
        return take_hard_link(u, e, &p, path);
    if (!err)
        err = enter_folder(u, &p, p.count - 1, path, &folder);
    if (err)
        return err;
    return type == AE_IFLNK ? take_link(u, e, &p, path) : take_file(u, e, folder, p.names[p.count - 1], path);
}

/* ---- links ---- */

/* What leads to nothing stays: nothing can come there, for the folder is sealed. */
static enum err check_link(struct unpack *u, const struct link *l)
{
    enum err err = tree_link_inside(u->root, l->path);
    if (err == ERR_FORBIDDEN)
        return refuse(u, str_of(l->path), "its link leads outside of the bundle, through other links");
    if (err == ERR_LIMIT_EXCEEDED)
        return refuse(u, str_of(l->path), "its link leads to itself");
    return err ? failed(u, l->path, "can't find out where its link leads") : ERR_OK;
}

static enum err make_links(struct unpack *u)
{
    enum err err = ERR_OK;
    for (const struct link *l = u->links; l && !err; l = l->next) {
        struct bundle_path p;
        int folder;
        PRE(!bundle_path_parse(str_of(l->path), &p));
        err = enter_folder(u, &p, p.count - 1, str_of(l->path), &folder);
        if (!err && symlinkat(l->target, folder, p.names[p.count - 1]) != 0)
            err = not_made(u, str_of(l->path));
    }
    for (const struct link *l = u->links; l && !err; l = l->next)
        err = check_link(u, l);
    return err;
}

/* ---- all of it ---- */

static enum err unpack_all(struct unpack *u)
{
    struct archive_entry *e;
    int status;
    enum err err = ERR_OK;
    while (!err && (status = archive_read_next_header(u->tar, &e)) == ARCHIVE_OK)
        err = take_entry(u, e);
    if (!err && status != ARCHIVE_EOF)
        err = refuse(u, STR_NONE, "%s", said(u->tar));
    /* To the end of the compressed stream: what comes behind it, or is missing, shows there. */
    const void *rest;
    la_ssize_t n = 0;
    while (!err && (n = on_read(u->tar, u, &rest)) > 0)
        ;
    if (!err && n < 0)
        err = refuse(u, STR_NONE, "behind its last file: %s", said(u->tar));
    if (!err && u->files == 0)
        err = refuse(u, STR_NONE, "there is nothing in it");
    return err ? err : make_links(u);
}

enum err bundle_unpack(int fd, struct str bytes, int root, const struct unpack_bounds *bounds, char ret_why[UNPACK_WHY])
{
    struct unpack u = {.packed = archive_read_new(),
                       .tar = archive_read_new(),
                       .root = root,
                       .bounds = bounds,
                       .folder_fd = -1,
                       .why = ret_why};
    /* Names are UTF-8 in archives; libarchive would put them into the locale's encoding. Only this thread's is changed. */
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL), before = utf8 ? uselocale(utf8) : NULL;
    u.tail = &u.links;
    arena_init(&u.arena, LINKS_MAX);
    snprintf(ret_why, UNPACK_WHY, "out of memory");
    enum err err = u.packed && u.tar && utf8 ? open_readers(&u, fd, bytes) : ERR_NO_MEMORY;
    if (!err)
        err = unpack_all(&u);
    if (u.folder_fd >= 0)
        close(u.folder_fd);
    if (u.tar)
        archive_read_free(u.tar);
    if (u.packed)
        archive_read_free(u.packed);
    arena_done(&u.arena);
    if (utf8) {
        uselocale(before);
        freelocale(utf8);
    }
    return err;
}
