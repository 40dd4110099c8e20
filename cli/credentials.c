#include "cli/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crypto.h"

enum { FILE_BYTES = 65536 };

bool credentials_path(char ret_path[PATH_MAX])
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    bool own = config && config[0] == '/';
    int len = own ? snprintf(ret_path, PATH_MAX, "%s/errand/credentials", config)
                  : snprintf(ret_path, PATH_MAX, "%s/.config/errand/credentials", home ? home : "");
    return (own || (home && home[0] == '/')) && len < PATH_MAX - 16;
}

/* The file's text; empty when it is not there. False, after a complaint, where somebody else could have read or written it. */
static bool read_all(struct strbuf *out)
{
    char path[PATH_MAX];
    struct stat st;
    strbuf_init(out, FILE_BYTES);
    int fd = credentials_path(path) ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0)
        return true;
    bool ours = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 077) == 0 &&
                st.st_size < FILE_BYTES;
    char *room = ours ? strbuf_grow(out, (size_t)st.st_size + 1) : NULL;
    ssize_t n = room ? read(fd, room, (size_t)st.st_size) : 0;
    if (n > 0)
        out->len += (size_t)n;
    close(fd);
    if (!ours)
        fprintf(stderr, "errand: %s is left out: it has to be yours, with mode 0600\n", path);
    return ours;
}

/* The next line's two words; false at the end. */
static bool next_line(struct str *text, struct str *ret_url, struct str *ret_key)
{
    while (text->len > 0) {
        const char *end = memchr(text->ptr, '\n', text->len);
        struct str line = {text->ptr, end ? (size_t)(end - text->ptr) : text->len};
        text->ptr += line.len + (end ? 1 : 0);
        text->len -= line.len + (end ? 1 : 0);
        const char *space = line.len > 0 ? memchr(line.ptr, ' ', line.len) : NULL;
        if (!space)
            continue;
        *ret_url = (struct str){line.ptr, (size_t)(space - line.ptr)};
        *ret_key = (struct str){space + 1, line.len - ret_url->len - 1};
        return true;
    }
    return false;
}

bool credentials_find(const char *urls, char *ret_key, size_t cap)
{
    struct strbuf file;
    struct str url, key, one, list = str_of(urls);
    bool found = false;
    (void)read_all(&file);
    while (!found && str_next_word(&list, &one)) {
        struct str rest = strbuf_str(&file);
        while (!found && next_line(&rest, &url, &key))
            found = str_eq(url, one) && key.len > 0 && key.len < cap;
    }
    if (found)
        snprintf(ret_key, cap, "%.*s", STR_ARG(key));
    crypto_wipe(file.ptr ? file.ptr : (char[1]){0}, file.cap);
    strbuf_done(&file);
    return found;
}

bool credentials_last_url(char *ret_url, size_t cap)
{
    struct strbuf file;
    struct str url, key, rest, last = STR_NONE;
    (void)read_all(&file);
    rest = strbuf_str(&file);
    while (next_line(&rest, &url, &key))
        last = url;
    bool found = last.len > 0 && last.len < cap;
    if (found)
        snprintf(ret_url, cap, "%.*s", STR_ARG(last));
    crypto_wipe(file.ptr ? file.ptr : (char[1]){0}, file.cap);
    strbuf_done(&file);
    return found;
}

static enum err refuse(struct strbuf *msg, const char *path)
{
    strbuf_addf(msg, "can't write %s: %s", path, strerror(errno));
    return ERR_IO;
}

/* The folders above the file, 0700 where they are made here. */
static bool make_folders(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *at = strchr(folder + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = 0;
        if (mkdir(folder, 0700) != 0 && errno != EEXIST)
            return false;
        *at = '/';
    }
    return true;
}

static bool write_file(const char *path, struct str text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    bool ok = fchmod(fd, 0600) == 0 && write(fd, text.ptr, text.len) == (ssize_t)text.len && fsync(fd) == 0;
    int why = errno;
    close(fd);
    errno = why;
    return ok;
}

enum err credentials_store(const char *url, const char *key, struct strbuf *ret_message)
{
    char path[PATH_MAX], fresh[PATH_MAX + 16];
    struct strbuf file, text;
    struct str other, other_key, rest;
    if (!credentials_path(path)) {
        strbuf_addz(ret_message, "there is no home to store a key in: set HOME, or give the key as ERRAND_KEY");
        return ERR_IO;
    }
    if (!read_all(&file)) { /* what it has would be lost */
        strbuf_addz(ret_message, "nothing was stored: correct or remove that file first");
        strbuf_done(&file);
        return ERR_IO;
    }
    strbuf_init(&text, FILE_BYTES);
    rest = strbuf_str(&file);
    while (next_line(&rest, &other, &other_key))
        if (!str_eqz(other, url))
            strbuf_addf(&text, "%.*s %.*s\n", STR_ARG(other), STR_ARG(other_key));
    if (key)
        strbuf_addf(&text, "%s %s\n", url, key);
    snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
    enum err err = ERR_OK;
    if (strbuf_failed(&text) || !make_folders(path) || !write_file(fresh, strbuf_str(&text)) ||
        rename(fresh, path) != 0) {
        err = refuse(ret_message, path);
        unlink(fresh);
    }
    crypto_wipe(file.ptr ? file.ptr : (char[1]){0}, file.cap);
    crypto_wipe(text.ptr ? text.ptr : (char[1]){0}, text.cap);
    strbuf_done(&file);
    strbuf_done(&text);
    return err;
}
