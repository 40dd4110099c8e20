/* What the sandbox's files share (sandbox.h). */
#ifndef ERRAND_RUNNER_SANDBOX_PARTS_H
#define ERRAND_RUNNER_SANDBOX_PARTS_H

#include "common/arena.h"
#include "runner/cgroup.h"
#include "runner/net_proxy.h"
#include "runner/sandbox.h"

enum { SANDBOX_WORDS_MAX = 700, SANDBOX_TMP_BYTES = 64 << 20 };

/* What is handed in as a memory file and copied into the sandbox: bubblewrap reads all of the machine's mounts for each bind mount that it makes, a quarter of a millisecond each; a copy costs a tenth of that. */
enum sandbox_file {
    FILE_PASSWD,
    FILE_GROUP,
    FILE_HOSTS,
    FILE_LD_CACHE,
    FILE_LOCALTIME,
    FILE_SERVICES,
    FILE_MIME_TYPES,
    SANDBOX_FILES
};
extern const char *const sandbox_file_paths[SANDBOX_FILES];

struct sandbox {
    const struct executor_context *x;
    char bwrap[64]; /* the program */
    bool
        root; /* this runner is root: bubblewrap mounts as root, and the helper inside changes its identity; else all goes through a user namespace */
    int helper; /* errand-exec, opened */
    int filter; /* memory files: the seccomp program, and what stands in /etc; -1: the machine has none */
    int files[SANDBOX_FILES];
};

/* The numbers that descriptors have for bubblewrap and the helper; -1: not there. */
struct sandbox_numbers {
    int helper, filter, env, listen, code;
    int files[SANDBOX_FILES];
};

struct sandbox_plan {
    struct sandbox *sandbox;
    struct arena arena;
    const char *words[SANDBOX_WORDS_MAX + 1];
    size_t word_count;
    const char *options[24]; /* of errand-exec */
    const char *private;
    int fds[EXEC_FDS_MAX]; /* ours; what the command has as 4, 5 … */
    size_t fd_count;
    struct net_proxy *proxy;
    struct cgroup *cgroup;
    bool failed;
};

/* An unnamed file in memory with these bytes, sealed: nobody changes it any more. -1: there is none. */
int sandbox_memory_file(const char *name, struct str bytes);
/* bubblewrap's whole command line, with what runs inside, into plan->words. */
void sandbox_words(struct sandbox_plan *p, const struct job_spec *spec, const struct sandbox_numbers *numbers);

#endif
