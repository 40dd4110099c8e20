#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/dev.h"

static int bind_port(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0)
        return -1;
    /* So that connections of a node that just ended do not count as somebody's. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 1) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int dev_port_any(void)
{
    int fd = bind_port(0);
    struct sockaddr_in a = {0};
    socklen_t len = sizeof(a);
    int port = fd >= 0 && getsockname(fd, (struct sockaddr *)&a, &len) == 0 ? ntohs(a.sin_port) : 0;
    if (fd >= 0)
        close(fd);
    return port;
}

/* The n-th word of a line, counted from 0; NULL when there are fewer. */
static const char *nth_word(const char *line, int n)
{
    for (line += strspn(line, " "); *line && n > 0; n--) {
        line += strcspn(line, " ");
        line += strspn(line, " ");
    }
    return *line ? line : NULL;
}

/* The inode of the socket that listens on the port; 0 when there is none. Lines are "sl: local:port remote:port state tx:rx tr:when retrnsmt uid timeout inode …", ports and states in hexadecimal. */
static unsigned long listening_inode(const char *table, int port)
{
    FILE *f = fopen(table, "re");
    char line[512] = "";
    unsigned long found = 0;
    while (f && !found && fgets(line, sizeof(line), f)) {
        const char *local = nth_word(line, 1), *state = nth_word(line, 3), *inode = nth_word(line, 9);
        const char *colon = local ? strchr(local, ':') : NULL;
        if (colon && state && inode && strtol(colon + 1, NULL, 16) == port && strncmp(state, "0A ", 3) == 0)
            found = strtoul(inode, NULL, 10);
    }
    if (f)
        fclose(f);
    return found;
}

static bool process_has_socket(const char *pid, unsigned long inode)
{
    char path[300], link[64], wanted[64];
    snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    bool found = false;
    while (dir && !found && (entry = readdir(dir))) {
        snprintf(path, sizeof(path), "/proc/%.20s/fd/%.20s", pid, entry->d_name);
        ssize_t n = readlink(path, link, sizeof(link) - 1);
        link[n > 0 ? n : 0] = '\0';
        found = strcmp(link, wanted) == 0;
    }
    if (dir)
        closedir(dir);
    return found;
}

static void name_owner(unsigned long inode, char *ret_who, size_t cap)
{
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    snprintf(ret_who, cap, "a process of another user");
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !process_has_socket(entry->d_name, inode))
            continue;
        char path[64], name[64] = "?";
        snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(name, sizeof(name), f))
            name[strcspn(name, "\n")] = '\0';
        if (f)
            fclose(f);
        snprintf(ret_who, cap, "process %.20s (%s)", entry->d_name, name);
        break;
    }
    if (dir)
        closedir(dir);
}

bool dev_port_free(int port, char *ret_who, size_t cap)
{
    int fd = bind_port(port);
    if (fd >= 0) {
        close(fd);
        return true;
    }
    unsigned long inode = listening_inode("/proc/net/tcp", port);
    if (!inode)
        inode = listening_inode("/proc/net/tcp6", port);
    if (inode)
        name_owner(inode, ret_who, cap);
    else
        snprintf(ret_who, cap, "nobody that can be seen from here; it may not be permitted");
    return false;
}
