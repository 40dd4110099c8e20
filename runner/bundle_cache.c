#include "runner/bundle_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crypto.h"
#include "common/log.h"
#include "runner/tree.h"

enum { WS_HEX = 32, CACHES_MAX = 64, MARK_MAX = 128 };
#define MARK "complete"

struct bundle_cache {
    struct loop *loop;
    struct bundle_entry *entries;
    int64_t max_bytes, bytes, clock; /* clock: rises with each use */
    unsigned serial;
    int lock;
    char path[BUNDLE_CACHE_PATH / 2], boot[48];
};

/* ---- removing ---- */

static void on_removed(uv_work_t *work, int status)
{
    (void)status;
    free(work->data);
    free(work);
}

static void remove_work(uv_work_t *work)
{
    tree_remove(work->data);
}

void bundle_cache_remove(struct bundle_cache *c, const char *path)
{
    char gone[BUNDLE_CACHE_PATH];
    snprintf(gone, sizeof gone, "%s/gone-%u", c->path, c->serial++);
    if (rename(path, gone) != 0) {
        if (errno != ENOENT)
            LOG_WARN("a folder of the bundle cache can't be removed", LOG_Z("path", path),
                     LOG_Z("error", strerror(errno)));
        return;
    }
    uv_work_t *work = calloc(1, sizeof *work);
    if (!work)
        return; /* the next start finds it */
    work->data = strdup(gone);
    if (!work->data || uv_queue_work(loop_uv(c->loop), work, remove_work, on_removed) != 0)
        on_removed(work, 0);
}

/* ---- entries ---- */

static struct bundle_entry *entry_new(struct bundle_cache *c, const char *ws, const char *name)
{
    struct bundle_entry *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->cache = c;
    snprintf(e->folder, sizeof e->folder, "%s/%s/%s", c->path, ws, name);
    snprintf(e->code, sizeof e->code, "%.700s/code", e->folder);
    e->next = c->entries;
    c->entries = e;
    return e;
}

static void entry_drop(struct bundle_entry *e)
{
    struct bundle_entry **at = &e->cache->entries;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    free(e);
}

/* What is used stays, whatever it takes: the bound then holds again when its users are gone. */
static void evict(struct bundle_cache *c)
{
    while (c->bytes > c->max_bytes) {
        struct bundle_entry *oldest = NULL;
        for (struct bundle_entry *e = c->entries; e; e = e->next)
            if (e->complete && e->pins == 0 && (!oldest || e->used < oldest->used))
                oldest = e;
        if (!oldest)
            return;
        LOG_INFO("bundle removed from the cache", LOG_Z("path", oldest->folder), LOG_I("bytes", oldest->bytes));
        bundle_cache_remove(c, oldest->folder);
        c->bytes -= oldest->bytes;
        entry_drop(oldest);
    }
}

struct bundle_entry *bundle_cache_take(struct bundle_cache *c, struct str workspace, struct str hex, bool deps)
{
    char ws[SHA256_HEX_LEN + 1], name[SHA256_HEX_LEN + 8], folder[BUNDLE_CACHE_PATH];
    crypto_sha256_hex(workspace, ws);
    ws[WS_HEX] = 0;
    snprintf(name, sizeof name, "%.*s%s", (int)(hex.len > SHA256_HEX_LEN ? SHA256_HEX_LEN : hex.len), hex.ptr,
             deps ? "+deps" : "");
    snprintf(folder, sizeof folder, "%s/%s/%s", c->path, ws, name);
    struct bundle_entry *e = c->entries;
    while (e && strcmp(e->folder, folder) != 0)
        e = e->next;
    if (!e)
        e = entry_new(c, ws, name);
    if (!e)
        return NULL;
    e->pins++;
    e->used = ++c->clock;
    return e;
}

struct bundle_entry *bundle_cache_hold(struct bundle_cache *c, const char *code)
{
    for (struct bundle_entry *e = c->entries; e; e = e->next) {
        if (!e->complete || strcmp(e->code, code) != 0)
            continue;
        e->pins++;
        return e;
    }
    return NULL;
}

void bundle_entry_release(struct bundle_entry *e)
{
    char mark[BUNDLE_CACHE_PATH + 16];
    PRE(e->pins > 0);
    e->used = ++e->cache->clock;
    if (--e->pins > 0)
        return;
    if (!e->complete) {
        if (!e->making)
            entry_drop(e);
        return;
    }
    snprintf(mark, sizeof mark, "%s/" MARK, e->folder);
    (void)utimensat(AT_FDCWD, mark, NULL, 0); /* so that the next start knows what was used last */
    evict(e->cache);
}

bool bundle_cache_work(struct bundle_cache *c, char path[BUNDLE_CACHE_PATH])
{
    snprintf(path, BUNDLE_CACHE_PATH, "%s/work-%u", c->path, c->serial++);
    return mkdir(path, 0700) == 0;
}

enum err bundle_entry_place(struct bundle_entry *e, const char *work)
{
    char ws[BUNDLE_CACHE_PATH];
    snprintf(ws, sizeof ws, "%.*s", (int)(strrchr(e->folder, '/') - e->folder), e->folder);
    if (mkdir(ws, 0700) != 0 && errno != EEXIST)
        return ERR_IO;
    return rename(work, e->folder) == 0 ? ERR_OK : ERR_IO;
}

enum err bundle_entry_complete(struct bundle_entry *e, int64_t bytes)
{
    char mark[BUNDLE_CACHE_PATH + 16], draft[BUNDLE_CACHE_PATH + 16], text[MARK_MAX];
    snprintf(mark, sizeof mark, "%s/" MARK, e->folder);
    snprintf(draft, sizeof draft, "%s/draft", e->folder);
    int len = snprintf(text, sizeof text, "%s %lld\n", e->cache->boot, (long long)bytes);
    int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool written = fd >= 0 && write(fd, text, (size_t)len) == len;
    if (fd >= 0)
        written = close(fd) == 0 && written;
    if (!written || rename(draft, mark) != 0)
        return ERR_IO;
    e->complete = true;
    e->bytes = bytes;
    e->cache->bytes += bytes;
    evict(e->cache);
    return ERR_OK;
}

void bundle_entry_fail(struct bundle_entry *e)
{
    PRE(!e->complete);
    bundle_cache_remove(e->cache, e->folder);
    e->making = NULL;
    if (e->pins == 0)
        entry_drop(e);
}

int64_t bundle_cache_bytes(const struct bundle_cache *c)
{
    return c->bytes;
}

/* ---- what is there at the start ---- */

static bool is_hex(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    return true;
}

static bool is_entry_name(const char *s)
{
    return is_hex(s, SHA256_HEX_LEN) && (!s[SHA256_HEX_LEN] || strcmp(s + SHA256_HEX_LEN, "+deps") == 0);
}

/* Complete, and of this boot: after a crash of the machine nobody knows what reached the disk. */
static bool read_mark(const struct bundle_cache *c, const char *folder, int64_t *ret_bytes, int64_t *ret_used)
{
    char path[BUNDLE_CACHE_PATH + 16], text[MARK_MAX], boot[48];
    struct stat st;
    long long bytes = -1;
    snprintf(path, sizeof path, "%s/" MARK, folder);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    bool ok = n > 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    if (!ok || sscanf(text, "%47s %lld", boot, &bytes) != 2) /* NOLINT(cert-err34-c): bounded by what was written */
        return false;
    *ret_bytes = bytes;
    *ret_used = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
    return bytes >= 0 && strcmp(boot, c->boot) == 0;
}

static void find_entries(struct bundle_cache *c, const char *ws)
{
    char folder[BUNDLE_CACHE_PATH], path[BUNDLE_CACHE_PATH];
    snprintf(folder, sizeof folder, "%s/%s", c->path, ws);
    DIR *dir = opendir(folder);
    const struct dirent *d;
    while (dir && (d = readdir(dir))) {
        int64_t bytes, used;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%.400s/%.300s", folder, d->d_name);
        struct bundle_entry *e = NULL;
        if (is_entry_name(d->d_name) && read_mark(c, path, &bytes, &used))
            e = entry_new(c, ws, d->d_name);
        if (!e) {
            bundle_cache_remove(c, path);
            continue;
        }
        e->complete = true;
        e->bytes = bytes;
        e->used = used;
        c->bytes += bytes;
        if (used > c->clock)
            c->clock = used;
    }
    if (dir)
        closedir(dir);
}

/* Serial numbers go on behind those that an earlier runner gave to what is still to be removed. */
static void find_serial(struct bundle_cache *c)
{
    DIR *dir = opendir(c->path);
    const struct dirent *d;
    while (dir && (d = readdir(dir))) {
        const char *dash = strchr(d->d_name, '-');
        unsigned long n = dash ? strtoul(dash + 1, NULL, 10) : 0;
        if (dash && n < 1UL << 31 && n >= c->serial)
            c->serial = (unsigned)n + 1;
    }
    if (dir)
        closedir(dir);
}

static void find_all(struct bundle_cache *c)
{
    char path[BUNDLE_CACHE_PATH];
    find_serial(c);
    DIR *dir = opendir(c->path);
    const struct dirent *d;
    unsigned before = c->serial;
    while (dir && (d = readdir(dir))) {
        const char *name = d->d_name;
        bool gone = strncmp(name, "gone-", 5) == 0; /* of which there are new ones, made by this loop */
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lock") == 0 ||
            (gone && strtoul(name + 5, NULL, 10) >= before))
            continue;
        snprintf(path, sizeof path, "%s/%.300s", c->path, name);
        if (strlen(name) == WS_HEX && is_hex(name, WS_HEX))
            find_entries(c, name);
        else
            bundle_cache_remove(c, path);
    }
    if (dir)
        closedir(dir);
    /* Too much of it goes when the next one comes or is let go: runs that are adopted in a moment still hold theirs by then. */
}

/* ---- opening ---- */

/* A node's name as a file's. */
static void safe_name(const char *node, char out[65])
{
    size_t n = 0;
    for (; node[n] && n < 64; n++)
        out[n] = (node[n] >= '0' && node[n] <= '9') || (node[n] >= 'a' && node[n] <= 'z') ||
                         (node[n] >= 'A' && node[n] <= 'Z') || (node[n] == '.' && n > 0)
                     ? node[n]
                     : '_';
    out[n] = 0;
}

/* Ours alone, and nobody else's: in a temporary folder anybody may have made one of that name. */
static const char *folder_fault(const char *path)
{
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return strerror(errno);
    if (lstat(path, &st) != 0)
        return strerror(errno);
    if (!S_ISDIR(st.st_mode))
        return "it is no folder";
    if (st.st_uid != geteuid())
        return "it belongs to another user";
    return st.st_mode & 077 ? "other users may enter it (it must have mode 0700)" : NULL;
}

/* Beside the private folders of attempts. A dot in front, so that what looks for those passes it over. */
static void default_base(const struct config *config, const char *node, char *out, size_t size)
{
    const char *temporary = getenv("TMPDIR"), *at = config->work_dir[0] ? config->work_dir
                                                    : temporary         ? temporary
                                                                        : "/tmp";
    snprintf(out, size, "%.250s/.errand-bundles-%ld-%s", at, (long)geteuid(), node);
}

/* The first of NAME, NAME-2, NAME-3 … that no living runner holds. */
static enum err take_folder(struct bundle_cache *c, const struct config *config, struct strbuf *ret_why)
{
    char node[65], base[BUNDLE_CACHE_PATH / 2], suffix[16] = "", path[BUNDLE_CACHE_PATH];
    safe_name(config->node, node);
    if (config->bundle_cache_dir[0]) {
        (void)mkdir(config->bundle_cache_dir, 0700); /* where it can't be made, the next one says why */
        snprintf(base, sizeof base, "%.250s/%s", config->bundle_cache_dir, node);
    } else {
        default_base(config, node, base, sizeof base);
    }
    for (int i = 1; i <= CACHES_MAX; i++) {
        if (i > 1)
            snprintf(suffix, sizeof suffix, "-%d", i);
        snprintf(c->path, sizeof c->path, "%.360s%s", base, suffix);
        const char *fault = folder_fault(c->path);
        if (fault) {
            strbuf_addf(ret_why, "bundle-cache-dir: %s: %s", c->path, fault);
            return ERR_CONFIG;
        }
        snprintf(path, sizeof path, "%s/lock", c->path);
        c->lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (c->lock >= 0 && flock(c->lock, LOCK_EX | LOCK_NB) == 0)
            return ERR_OK;
        if (c->lock < 0 || errno != EWOULDBLOCK) {
            strbuf_addf(ret_why, "bundle-cache-dir: %s can't be locked: %s", path, strerror(errno));
            return ERR_CONFIG;
        }
        close(c->lock);
        c->lock = -1;
    }
    strbuf_addf(ret_why, "bundle-cache-dir: %d runners have a cache of this node's name", CACHES_MAX);
    return ERR_CONFIG;
}

static void read_boot(struct bundle_cache *c)
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, c->boot, sizeof c->boot - 1) : -1;
    if (fd >= 0)
        close(fd);
    c->boot[n > 0 ? n : 0] = 0;
    c->boot[strcspn(c->boot, "\n ")] = 0;
    if (!c->boot[0]) /* then nothing is found again, ever */
        crypto_token(c->boot);
}

enum err bundle_cache_open(const struct config *config, struct loop *l, struct bundle_cache **ret_cache,
                           struct strbuf *ret_why)
{
    struct bundle_cache *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NO_MEMORY;
    c->loop = l;
    c->lock = -1;
    c->max_bytes = config->bundle_cache_bytes;
    enum err err = take_folder(c, config, ret_why);
    if (err) {
        bundle_cache_close(c);
        return err;
    }
    read_boot(c);
    find_all(c);
    *ret_cache = c;
    return ERR_OK;
}

void bundle_cache_close(struct bundle_cache *c)
{
    if (!c)
        return;
    for (struct bundle_entry *e = c->entries, *next; e; e = next) {
        PRE(e->pins == 0);
        next = e->next;
        free(e);
    }
    if (c->lock >= 0)
        close(c->lock);
    free(c);
}
