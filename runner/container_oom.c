#include "runner/container_oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MEMORY_ROOT "/sys/fs/cgroup/memory"

struct container_oom {
    uv_poll_t poll;
    int event;
    char folder[512];
    uint64_t count; /* events: one for each time the limit struck, and one for the end of the group */
    bool seen;
};

bool container_oom_possible(void)
{
    return access(MEMORY_ROOT "/cgroup.procs", F_OK) == 0;
}

/* The count tells, and the folder: the group's own end is an event, too, but then it is not there any more. */
static void take(struct container_oom *o)
{
    uint64_t n = 0;
    if (read(o->event, &n, sizeof n) != sizeof n)
        return;
    o->count += n;
    o->seen = o->seen || o->count > 1 || access(o->folder, F_OK) == 0;
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    take(poll->data);
}

static bool find_group(int64_t pid, char *out, size_t cap)
{
    char path[64], line[512];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%lld/cgroup", (long long)pid);
    FILE *f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        char *at = strstr(line, ":memory:/");
        line[strcspn(line, "\n")] = 0;
        found = at && !strstr(at, "..") && at[9] && /* never the root: its limit is the machine's */
                (size_t)snprintf(out, cap, MEMORY_ROOT "%s", at + 8) < cap;
    }
    if (f)
        fclose(f);
    return found;
}

static bool ask_kernel(const struct container_oom *o)
{
    char path[600], text[64];
    snprintf(path, sizeof path, "%s/memory.oom_control", o->folder);
    int control = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/cgroup.event_control", o->folder);
    int ask = control >= 0 ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    int len = snprintf(text, sizeof text, "%d %d", o->event, control);
    bool ok = ask >= 0 && write(ask, text, (size_t)len) == len;
    if (control >= 0)
        close(control);
    if (ask >= 0)
        close(ask);
    return ok;
}

struct container_oom *container_oom_watch(struct loop *l, int64_t pid)
{
    struct container_oom *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pid <= 0 || o->event < 0 || !find_group(pid, o->folder, sizeof o->folder) || !ask_kernel(o) ||
        uv_poll_init(loop_uv(l), &o->poll, o->event) != 0) {
        if (o->event >= 0)
            close(o->event);
        free(o);
        return NULL;
    }
    o->poll.data = o;
    uv_poll_start(&o->poll, UV_READABLE, on_event);
    return o;
}

bool container_oom_seen(struct container_oom *o)
{
    if (o)
        take(o);
    return o && o->seen;
}

static void on_closed(uv_handle_t *h)
{
    struct container_oom *o = h->data;
    close(o->event);
    free(o);
}

void container_oom_close(struct container_oom *o)
{
    if (o)
        uv_close((uv_handle_t *)&o->poll, on_closed);
}
