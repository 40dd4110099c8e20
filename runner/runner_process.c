#include "runner/runner_process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static size_t read_file(const char *path, char *out, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, cap - 1) : -1;
    out[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
    return strcspn(out, "\n");
}

/* Field 22 of its stat, counted behind the command's name, which may hold anything up to its last parenthesis. */
static void name_of(long pid, char ret_name[RUNNER_PROCESS_MAX])
{
    char path[64], stat[1024], boot[64];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    read_file(path, stat, sizeof stat);
    char *at = strrchr(stat, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    size_t len = read_file("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    boot[len] = 0;
    if (at)
        snprintf(ret_name, RUNNER_PROCESS_MAX, "%ld.%lld.%.40s", pid, strtoll(at + 1, NULL, 10), boot);
    else
        ret_name[0] = 0;
}

void runner_process_name(char ret_name[RUNNER_PROCESS_MAX])
{
    name_of(getpid(), ret_name);
}

bool runner_process_alive(struct str name)
{
    char text[RUNNER_PROCESS_MAX], now[RUNNER_PROCESS_MAX];
    if (name.len == 0 || name.len >= sizeof text)
        return false;
    memcpy(text, name.ptr, name.len);
    text[name.len] = 0;
    long pid = strtol(text, NULL, 10);
    if (pid <= 0)
        return false;
    name_of(pid, now);
    return now[0] && str_eqz(name, now);
}
