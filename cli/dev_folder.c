#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/dev.h"
#include "cli/where.h"
#include "common/crypto.h"
#include "common/vault.h"

/* Makes a private folder, or takes one that is there and is private already: the permissions of what somebody else made stay. */
static bool make_folder(const char *path)
{
    struct stat st;
    bool made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST) {
        cli_say("%s can't be made: %s", path, strerror(errno));
        return false;
    }
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid()) {
        cli_say("%s is no folder of yours", path);
        return false;
    }
    if (!made && (st.st_mode & 077) != 0) {
        cli_say("%s exists and is not private; choose a new one, or chmod 700 it", path);
        return false;
    }
    if (made && chmod(path, 0700) != 0) {
        cli_say("%s can't be made private: %s", path, strerror(errno));
        return false;
    }
    return true;
}

static bool take_lock(struct dev *d)
{
    char path[PATH_MAX + 16], pid[32] = "?";
    snprintf(path, sizeof(path), "%s/lock", d->folder);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock_fd < 0) {
        cli_say("%s can't be made: %s", path, strerror(errno));
        return false;
    }
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        (void)where_read_line(d->folder, "lock", pid, sizeof(pid));
        close(d->lock_fd);
        d->lock_fd = -1;
        cli_say("errand dev runs in this folder already, as process %s: end it there with Ctrl-C, or use another --dir "
                "and --port",
                pid);
        return false;
    }
    int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    return ftruncate(d->lock_fd, 0) == 0 && write(d->lock_fd, pid, (size_t)n) == n;
}

bool dev_folder_write(const struct dev *d, const char *name, const char *line)
{
    char path[PATH_MAX + 64], temporary[PATH_MAX + 80];
    snprintf(path, sizeof(path), "%s/%s", d->folder, name);
    snprintf(temporary, sizeof(temporary), "%s.new", path);
    (void)unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && dprintf(fd, "%s\n", line) > 0;
    if (fd >= 0)
        ok = close(fd) == 0 && ok;
    if (!ok || rename(temporary, path) != 0) {
        cli_say("%s can't be written: %s", path, strerror(errno));
        return false;
    }
    return true;
}

static bool read_or_make_key(const struct dev *d, char *ret_key, size_t cap)
{
    if (where_read_line(d->folder, "key", ret_key, cap))
        return true;
    char token[44];
    crypto_token(token);
    snprintf(ret_key, cap, "errand_root_%s", token);
    return dev_folder_write(d, "key", ret_key);
}

bool dev_folder_master_key(const struct dev *d, char *ret_key, size_t cap)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/master-key", d->folder);
    if (where_read_line(d->folder, "master-key", ret_key, cap))
        return true;
    if (access(path, F_OK) == 0) { /* a new one would leave what is sealed under it closed for good */
        cli_say("%s can't be read, or holds no key", path);
        return false;
    }
    char text[VAULT_KEY_TEXT];
    vault_keygen(text);
    snprintf(ret_key, cap, "%s", text);
    explicit_bzero(text, sizeof(text));
    return dev_folder_write(d, "master-key", ret_key);
}

/* A socket's path has to fit sockaddr_un; where it does not, a short private folder holds it. */
static bool place_socket(struct dev *d)
{
    snprintf(d->socket, sizeof(d->socket), "%.*s/redis.sock", PATH_MAX - 16, d->folder);
    if (strlen(d->socket) < sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return true;
    snprintf(d->socket_folder, sizeof(d->socket_folder), "/tmp/errand-dev-XXXXXX");
    if (!mkdtemp(d->socket_folder)) {
        cli_say("no folder for Redis' socket can be made in /tmp: %s", strerror(errno));
        d->socket_folder[0] = '\0';
        return false;
    }
    snprintf(d->socket, sizeof(d->socket), "%s/redis.sock", d->socket_folder);
    return true;
}

bool dev_folder_open(struct dev *d, const char *path, char *ret_key, size_t key_cap)
{
    static const char *const parts[] = {"redis", "logs", "work"};
    d->lock_fd = -1;
    umask(077);
    if (!make_folder(path))
        return false;
    if (!realpath(path, d->folder)) {
        cli_say("%s can't be found: %s", path, strerror(errno));
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        char part[PATH_MAX + 16];
        snprintf(part, sizeof(part), "%s/%s", d->folder, parts[i]);
        if (!make_folder(part))
            return false;
    }
    return take_lock(d) && read_or_make_key(d, ret_key, key_cap) && place_socket(d);
}

void dev_folder_close(struct dev *d)
{
    static const char *const names[] = {"url", "redis-url"};
    if (d->lock_fd < 0)
        return;
    /* Only while it runs do these lead anywhere; key and data stay. */
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[PATH_MAX + 16];
        snprintf(path, sizeof(path), "%s/%s", d->folder, names[i]);
        (void)unlink(path);
    }
    if (d->socket_folder[0]) {
        (void)unlink(d->socket);
        (void)rmdir(d->socket_folder);
    }
    close(d->lock_fd);
    d->lock_fd = -1;
}
