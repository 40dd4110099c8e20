/* How errand-exec outlives its runner (--adopt): the agent's output passes through rings that keep what the runner has not acknowledged yet; when the runner is gone, a successor may connect to a Unix socket within a time,
 * and goes on at the byte up to which the output is stored. Nothing here blocks for longer than a moment. One a process.
 *
 *   The runner's pipes (1, 2) ◀── ring ◀── the agent's pipes           normal
 *   nobody                        ring ◀── the agent's pipes           orphaned: full rings stop the agent
 *   the successor's sockets   ◀── ring ◀── the agent's pipes           adopted
 *
 * The successor opens three connections, whose first lines are `control`, `out N` and `err N`: from byte N on, counted from the agent's start. It is let in when all three are there, of the same user, and the bytes still are. */
#ifndef ERRAND_RUNNER_ERRAND_EXEC_ADOPT_H
#define ERRAND_RUNNER_ERRAND_EXEC_ADOPT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ADOPT_POLLS = 8, ADOPT_STREAMS = 2, ADOPT_GUESTS = 3, ADOPT_RING_MAX = 2 << 20 };

struct adopt_ring {
    char *buf;
    size_t cap;
    int64_t base, sent, end; /* offsets: acknowledged, given to the runner, read from the agent */
    int from, to;            /* the agent's pipe; the runner's. -1: at its end; nobody reads */
};

struct adopt_guest {
    int fd; /* -1: none */
    char line[40];
    size_t len;
    bool said; /* its line is whole */
};

struct adopt {
    const char *path; /* NULL: not to be adopted */
    int64_t wait_ms, deadline_ms;
    struct adopt_ring rings[ADOPT_STREAMS];
    struct adopt_guest guests[ADOPT_GUESTS];
    int listener; /* -1: nobody is waited for */
    bool fed;     /* the agent has all of its input */
    bool orphan;
};

/* Puts pipes of its own in the place of descriptors 1 and 2, before the agent is started. False: errno. */
bool adopt_init(struct adopt *a, const char *path, int64_t wait_ms);
/* What is to be polled, at most ADOPT_POLLS; then what came of it. */
size_t adopt_polls(const struct adopt *a, struct pollfd *fds);
void adopt_turn(struct adopt *a);
/* The runner has stored the events of the output up to here. */
void adopt_ack(struct adopt *a, int64_t out, int64_t err);
/* The runner is gone: false when nobody can take its place. */
bool adopt_orphan(struct adopt *a, int64_t now_ms);
/* A successor is there: its control socket (given away), the environment sent on it; -1: none yet. */
int adopt_successor(struct adopt *a);
/* Whether output is still to be given to the runner, or a successor may still come for it. */
bool adopt_busy(const struct adopt *a);
/* Nothing of the tree is left: who else may hold its pipes is not waited for. */
void adopt_last(struct adopt *a);
/* No successor any more. */
void adopt_give_up(struct adopt *a);

#endif
