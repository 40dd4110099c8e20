/* Whether the kernel killed something of a container for its memory limit, as the kernel says it: on the cgroup hierarchy of version 1 some engines (Podman 4) don't find out. Engines do on version 2, and this has nothing to do there. */
#ifndef ERRAND_RUNNER_CONTAINER_OOM_H
#define ERRAND_RUNNER_CONTAINER_OOM_H

#include "common/loop.h"

struct container_oom;

/* pid: a process of the container, on this machine. NULL where it can't be watched. */
struct container_oom *container_oom_watch(struct loop *l, int64_t pid);
/* Also when the container is gone. Takes NULL. */
bool container_oom_seen(struct container_oom *o);
void container_oom_close(struct container_oom *o);
/* Whether there is something to watch here. */
bool container_oom_possible(void);

#endif
