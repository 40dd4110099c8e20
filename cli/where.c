#include "cli/where.h"

#include "cli/credentials.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

bool where_read_line(const char *folder, const char *name, char *ret_line, size_t cap)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    char buf[2048];
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    if (n <= 0)
        return false;
    buf[n] = '\0';
    size_t len = strcspn(buf, "\r\n");
    if (len == 0 || len >= cap)
        return false;
    memcpy(ret_line, buf, len);
    ret_line[len] = '\0';
    return true;
}

/* A folder that somebody else made could send our input to a server of theirs. */
static bool is_own_folder(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 022) == 0;
}

bool where_dev_folder(char ret_path[PATH_MAX])
{
    char here[PATH_MAX - 16];
    if (!getcwd(here, sizeof(here)))
        return false;
    for (;;) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/.errand", strcmp(here, "/") == 0 ? "" : here);
        if (is_own_folder(path)) {
            memcpy(ret_path, path, strlen(path) + 1);
            return true;
        }
        char *slash = strrchr(here, '/');
        if (!slash || strcmp(here, "/") == 0)
            return false;
        slash[slash == here ? 1 : 0] = '\0';
    }
}

static bool is_http(struct str url)
{
    for (size_t i = 0; i < url.len; i++) {
        if ((unsigned char)url.ptr[i] <= ' ' || url.ptr[i] == '"')
            return false;
    }
    return (str_starts(url, STR("http://")) && url.len > 7) || (str_starts(url, STR("https://")) && url.len > 8);
}

/* Copies a comma list of URLs, without spaces around and slashes behind them. */
static bool copy_urls(const char *list, char *out, size_t cap)
{
    size_t used = 0;
    while (*list) {
        size_t len = strcspn(list, ",");
        struct str url = {list, len};
        list += len + (list[len] == ',');
        while (url.len && *url.ptr == ' ') {
            url.ptr++;
            url.len--;
        }
        while (url.len && (url.ptr[url.len - 1] == ' ' || url.ptr[url.len - 1] == '/'))
            url.len--;
        if (url.len == 0)
            continue;
        if (!is_http(url) || used + url.len + 2 > cap)
            return false;
        if (used)
            out[used++] = ',';
        memcpy(out + used, url.ptr, url.len);
        used += url.len;
        out[used] = '\0';
    }
    return used > 0;
}

/* Whether each URL of the list stands in the other list. */
static bool urls_within(const char *list, const char *other)
{
    while (*list) {
        size_t len = strcspn(list, ",");
        bool found = false;
        for (const char *o = other; *o && !found; o += strcspn(o, ","), o += *o == ',')
            found = strcspn(o, ",") == len && strncmp(o, list, len) == 0;
        if (!found)
            return false;
        list += len + (list[len] == ',');
    }
    return true;
}

/* Writes 127.0.0.1 where a host of the list is localhost; one is as long as the other. */
static void name_this_machine(char *list)
{
    static const char from[] = "http://localhost", to[] = "http://127.0.0.1";
    _Static_assert(sizeof(from) == sizeof(to), "written in place");
    for (char *url = list; *url; url += strcspn(url, ","), url += *url == ',') {
        /* Another host's name may begin like it; strchr finds the end of the list too. */
        if (strncmp(url, from, strlen(from)) == 0 && strchr(":/,", url[strlen(from)]))
            memcpy(url, to, strlen(to));
    }
}

/* Takes the folder's key when each URL is one of the folder's own. What "localhost" is may depend on who listens: the key goes to the address that the folder names. */
static bool take_folder_key(struct where *w, const char *dev_url)
{
    char same[sizeof(w->url)];
    memcpy(same, w->url, sizeof(same));
    name_this_machine(same);
    if (!w->folder[0] || !dev_url[0] || !urls_within(same, dev_url) ||
        !where_read_line(w->folder, "key", w->key, sizeof(w->key)))
        return false;
    memcpy(w->url, same, sizeof(same));
    return true;
}

enum err where_find(const char *flag_url, struct where *ret_where, const char **ret_why)
{
    struct where w = {.url_from = "default", .key_from = "nowhere"};
    char line[1024], dev_url[1024] = "";
    if (where_dev_folder(w.folder)) {
        if (where_read_line(w.folder, "url", line, sizeof(line)) && !copy_urls(line, dev_url, sizeof(dev_url)))
            dev_url[0] = '\0';
    }
    const char *env_url = getenv("ERRAND_URL"), *env_key = getenv("ERRAND_KEY");
    const char *chosen = DEFAULT_URL;
    if (flag_url) {
        chosen = flag_url;
        w.url_from = "--url";
    } else if (env_url && *env_url) {
        chosen = env_url;
        w.url_from = "ERRAND_URL";
    } else if (dev_url[0]) {
        chosen = dev_url;
        w.url_from = ".errand/url";
    } else if (credentials_last_url(line, sizeof(line))) {
        chosen = line;
        w.url_from = "errand login";
    }
    if (!copy_urls(chosen, w.url, sizeof(w.url))) {
        *ret_why =
            "the address of the API has to be http://HOST:PORT or https://HOST, or several of them separated by commas";
        return ERR_CONFIG;
    }
    if (env_key && *env_key) {
        if (strlen(env_key) >= sizeof(w.key) || strpbrk(env_key, "\r\n")) {
            *ret_why = "ERRAND_KEY is no key";
            return ERR_CONFIG;
        }
        snprintf(w.key, sizeof(w.key), "%s", env_key);
        w.key_from = "ERRAND_KEY";
    } else if (take_folder_key(&w, dev_url)) {
        w.key_from = ".errand/key";
    } else if (credentials_find(w.url, w.key, sizeof(w.key))) {
        w.key_from = "errand login";
    }
    *ret_where = w;
    return ERR_OK;
}

static bool own_folder_of_program(char ret_path[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", ret_path, PATH_MAX - 1);
    if (n <= 0)
        return false;
    ret_path[n] = '\0';
    char *slash = strrchr(ret_path, '/');
    if (!slash)
        return false;
    *slash = '\0';
    return true;
}

bool where_program(const char *name, char ret_path[PATH_MAX])
{
    char folder[PATH_MAX], path[PATH_MAX * 2];
    if (own_folder_of_program(folder)) {
        snprintf(path, sizeof(path), "%s/%s", folder, name);
        if (strlen(path) < PATH_MAX && access(path, X_OK) == 0) {
            memcpy(ret_path, path, strlen(path) + 1);
            return true;
        }
    }
    const char *list = getenv("PATH");
    for (const char *p = list ? list : "/usr/bin:/bin"; *p;) {
        size_t len = strcspn(p, ":");
        snprintf(path, sizeof(path), "%.*s/%s", (int)len, p, name);
        /* Only absolute folders: a relative one would depend on where the program is started. */
        if (*p == '/' && strlen(path) < PATH_MAX && access(path, X_OK) == 0) {
            memcpy(ret_path, path, strlen(path) + 1);
            return true;
        }
        p += len + (p[len] == ':');
    }
    return false;
}

bool where_examples(char ret_path[PATH_MAX])
{
    const char *given = getenv("ERRAND_EXAMPLES");
    if (given && *given)
        return realpath(given, ret_path) != NULL;
    char folder[PATH_MAX], path[PATH_MAX + 64];
    if (!own_folder_of_program(folder))
        return false;
    static const char *const places[] = {"/../examples", "/../share/errand/examples"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        snprintf(path, sizeof(path), "%s%s", folder, places[i]);
        if (realpath(path, ret_path))
            return true;
    }
    return false;
}
