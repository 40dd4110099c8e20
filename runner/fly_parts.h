/* What the executor `fly` says to the Machines API and reads from it. Pure; never blocks. */
#ifndef ERRAND_RUNNER_FLY_PARTS_H
#define ERRAND_RUNNER_FLY_PARTS_H

#include "common/json.h"
#include "runner/executor.h"
#include "runner/images.h"
#include "runner/runner_process.h"

enum { FLY_ID_MAX = 64, FLY_APP_MAX = 64, FLY_NONCE_MAX = 128, FLY_ANSWER_MAX = 8 << 20 };

/*   created ─▶ starting ─▶ started ─▶ stopping ─▶ stopped ─▶ destroying ─▶ destroyed
 *   with replacing, suspending and suspended beside them, and failed from any. Unknown words are taken for one that is on its way. */
enum fly_state { FLY_PROVISIONING, FLY_STARTED, FLY_STOPPING, FLY_STOPPED, FLY_DESTROYED, FLY_FAILED };
enum fly_state fly_state_of(struct str word);
/* As the contract's job statuses. */
enum job_status fly_status_of(enum fly_state state);

struct fly_owner {
    struct str run_id, node, prefix, runner;
    int64_t attempt;
};
/* errand-<run>-<attempt>. */
void fly_name(struct str run_id, int64_t attempt, char *out, size_t cap);
/* A guest's size: whole shared processors (1, 2, 4, 8, 16), memory in steps of 256 MiB, 256 to 2,048 of them for each processor; never less than what was asked for. False: no machine is so large. */
bool fly_guest(const struct job_limits *l, int64_t *ret_cpus, int64_t *ret_memory_mb);
/* The body of POST /machines. region: NULL for the nearest. False: out of bounds (fly_guest). */
MUST_CHECK bool fly_create_body(const struct job_spec *spec, const struct fly_owner *owner, const char *region,
                                struct strbuf *out);

struct fly_exit {
    bool known, oom, requested_stop, signaled;
    int code;
};
struct fly_machine {
    char id[FLY_ID_MAX], name[128], region[32], run_id[40], runner[RUNNER_PROCESS_MAX];
    int64_t attempt;
    bool node_ours, prefix_ours;
    enum fly_state state;
    struct fly_exit exit; /* of its newest exit event */
};
/* An object of the API (its answer, or an element of a list). */
MUST_CHECK bool fly_read_machine(const struct json *o, const struct fly_owner *owner, struct fly_machine *ret);
/* What it was started with: "KEY=value", each ended by NUL. */
MUST_CHECK bool fly_read_env(const struct json *o, struct strbuf *out);
/* Parses an answer; the root, or NULL. The arena is the caller's, initialised. */
const struct json *fly_parse(struct arena *a, struct str body);
/* The nonce of POST lease. */
MUST_CHECK bool fly_read_nonce(struct str body, char ret_nonce[FLY_NONCE_MAX]);
/* The API's own sentence ("error"), or the status; cut to cap. */
void fly_read_error(struct str body, int status, char *out, size_t cap);

/* {"appName","machineId","region"}. */
void fly_write_handle(const char *app, const struct fly_machine *m, struct strbuf *out);
MUST_CHECK bool fly_read_handle(struct str handle, char ret_app[FLY_APP_MAX], char ret_id[FLY_ID_MAX]);
/* Of what goes into a path of the API: letters, digits, '-'. */
bool fly_word_valid(struct str s);

/* How it ended, of a machine that did; message: static, NULL for none. */
void fly_job_exit(const struct fly_machine *m, struct job_exit *ret, const char **ret_message);

#endif
