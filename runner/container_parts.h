/* What the executor `container` says to the engine and reads from it: request bodies, answers, the frames of its output. Pure; never blocks. Docker Engine API 1.41 and later, as Docker and Podman serve it. */
#ifndef ERRAND_RUNNER_CONTAINER_PARTS_H
#define ERRAND_RUNNER_CONTAINER_PARTS_H

#include "common/strbuf.h"
#include "runner/executor.h"
#include "runner/images.h"

enum {
    CONTAINER_ID_MAX = 80,          /* a container's or an image's id, with its NUL */
    CONTAINER_ANSWER_MAX = 4 << 20, /* bytes of an answer of the engine */
    CONTAINER_LOG_WHOLE = 4 << 20,  /* bytes of output of which the engine's log is certain to have all */
    CONTAINER_PIDS = 512            /* where the definition says nothing */
};

/* ---- output: frames of a stream's bytes, {stream, 0, 0, 0, length as 4 bytes big-endian} and as many bytes ---- */

struct frames {
    unsigned char head[8];
    size_t head_len;
    uint32_t left; /* bytes of the frame that are still to come */
    bool broken;
};
typedef void (*frames_fn)(void *ctx, enum job_stream stream, struct str bytes);
/* Hands on what is in it, in pieces as they came. False, and from then on, where the bytes are no frames. */
bool docker_frames_feed(struct frames *f, struct str bytes, frames_fn fn, void *ctx);

/* ---- requests ---- */

/* Who a container belongs to: its labels errand.run, errand.attempt, errand.node, errand.prefix, errand.runner. */
struct container_owner {
    struct str run_id, node, prefix, runner;
    int64_t attempt;
};

/* errand-<run>-<attempt>: the same for each try, so that the engine itself refuses a second one. */
void container_name(struct str run_id, int64_t attempt, char *out, size_t cap);
/* The body of POST /containers/create but for its Image, which is not known yet. swap_limit: the engine can limit swap. */
void container_create_body(const struct job_spec *spec, const struct container_owner *owner, bool swap_limit,
                           struct strbuf *out);
/* The query of a filter by labels, percent-encoded: {"label":["errand.node=…","errand.prefix=…"]}. */
void container_filter(const struct container_owner *owner, struct strbuf *out);

/* ---- answers ---- */

struct container_state {
    char id[CONTAINER_ID_MAX], image[CONTAINER_ID_MAX];
    char run_id[40];
    int64_t attempt;
    bool node_ours, prefix_ours;
    bool created, running; /* neither: it has ended */
    bool oom;
    int64_t exit_code, pid;
    int64_t memory, nano_cpus, pids; /* limits as the engine took them; 0 for none */
    bool read_only, no_network, privileged;
};
/* The answer of GET /containers/ID/json. */
MUST_CHECK bool container_read_state(struct str body, const struct container_owner *owner, struct container_state *ret);
/* What it was started with, of the same answer: "KEY=value", each ended by NUL. */
MUST_CHECK bool container_read_env(struct str body, struct strbuf *out);
/* What the engine took of the limits is not what was asked for: a sentence, static; NULL where all is well. */
const char *container_limits_fault(const struct container_state *s, const struct job_limits *asked, bool no_network);
/* The container of a stored handle. */
MUST_CHECK bool container_handle_id(struct str handle, char ret_id[CONTAINER_ID_MAX]);
/* The id of an image, or of a container that was created ("Id"). False where there is none. */
MUST_CHECK bool container_read_id(struct str body, char ret_id[CONTAINER_ID_MAX]);
/* The engine's own sentence in an answer ("message"), cut to cap; where it has none, the status. */
void container_read_error(struct str body, int status, char *out, size_t cap);

struct container_usage {
    int64_t cpu_ns, memory, rx, tx; /* below 0: not known */
};
MUST_CHECK bool container_read_usage(struct str body, struct container_usage *ret);

struct container_info {
    bool memory_limit, swap_limit, cpu_limit, pids_limit;
};
MUST_CHECK bool container_read_info(struct str body, struct container_info *ret);

/* An exit status as engines report it: above 128 it stands for a signal, as shells say it. */
void container_exit(int64_t code, struct job_exit *ret);

#endif
