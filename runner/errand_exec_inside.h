/* `errand-exec inside`: the first process within a sandbox. bubblewrap starts it as pid 1 of the sandbox's namespaces; it gives up what is left of its rights, loads the seccomp filter, starts the command, and says to the
 * errand-exec outside, on a pipe, what became of it: bubblewrap's own exit status tells no signal from a number. When the last process of the sandbox has ended, so does this one.
 *
 *   errand-exec inside --report FD [--filter FD] [--env FD] [--listen FD] [--identity ID] [--own DIR] [--share FD] [--workdir DIR] -- CMD ARGS…
 *
 * --report: the pipe. --filter: a BPF program to load. --env: the command's environment, words that end with a zero byte. --listen: a Unix socket on which a socket that listens on INSIDE_PORT of the sandbox's
 * loopback is handed out, for the runner's proxy to accept from. --identity, where bubblewrap was started by root: becomes this user and group for good, behind a user namespace that has no other. --own: a folder
 * that is given to it before. --share: an open folder that everybody shall be able to read, which is its agent's code: what the runner unpacked as root. Part of errand-exec, which is static: nothing of the agent's environment reaches a loader. */
#ifndef ERRAND_RUNNER_ERRAND_EXEC_INSIDE_H
#define ERRAND_RUNNER_ERRAND_EXEC_INSIDE_H

#include <stdint.h>

/* Where the proxy of network "filtered" is found within the sandbox. */
enum { INSIDE_PORT = 3128 };

/* What comes through the pipe, one write each. */
enum inside_what { INSIDE_RUNNING = 'r', INSIDE_FAILED = 'f', INSIDE_EXITED = 'e', INSIDE_SIGNALED = 's' };
struct inside_word {
    char what;
    char step[15]; /* of FAILED */
    int32_t value; /* exit code, signal, errno */
};

/* argv[0] is "inside". Returns the status to exit with. */
int inside_main(int argc, char **argv);

#endif
