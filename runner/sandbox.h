/* What a command needs to run under bubblewrap: namespaces, a read-only root, a seccomp filter, limits, and the network that its definition asks for. The executors sandbox and pool (over `sandbox`) stand on it.
 *
 *   struct sandbox *s;                                          once a runner, in open(): really starts one, and says what is missing
 *   struct sandbox_plan *p = sandbox_plan_new(s, spec, note, ctx, &why);   an attempt's, or a worker's
 *   struct exec_plan e = {.command = spec->command, .env = spec->env, .input_line = …, .stdin_open = …, .grace_ms = …};
 *   sandbox_plan_apply(p, &e);                                  sets exec_path, command, options, env, workdir, private and fds
 *   job = exec_job_start(loop, &e, …);
 *   sandbox_plan_begun(p);                                      closes this side's descriptors, whether it started or not
 *   … sandbox_plan_group, sandbox_plan_oom …
 *   sandbox_plan_free(p);                                       when the job is gone (or was not started): its proxy and cgroup end here
 *
 * Inside: user, pid, mount, ipc, uts, cgroup and (but for network "host") network namespaces of its own; no capability, no_new_privs; user and group `sandbox-uid`, also where the runner is root. It sees /usr and its
 * links, some of /etc, its own /proc, /dev and /tmp, what `sandbox-paths` names, its code, and its private folder; each under the path that it has outside. With a disk quota (its own or `sandbox-disk-mb`) the private
 * folder is a tmpfs of that size, empty at the start whatever stands in it outside; without one it is the folder itself.
 *
 * Its environment reaches it in a memory file: bubblewrap itself, outside, is started without any of it (LD_PRELOAD). Everything belongs to the loop's thread; only sandbox_open blocks. */
#ifndef ERRAND_RUNNER_SANDBOX_H
#define ERRAND_RUNNER_SANDBOX_H

#include "runner/exec_job.h"

struct sandbox;
struct sandbox_plan;

/* A line for the run's log tail, without its end: what the proxy refused, and why. */
typedef void (*sandbox_note_fn)(void *ctx, struct str line);

/* Starts a sandbox and waits for its end (some seconds at most). ERR_CONFIG: ret_why is a sentence that says what is missing. x must outlive it. */
MUST_CHECK enum err sandbox_open(const struct executor_context *x, struct sandbox **ret_sandbox,
                                 struct strbuf *ret_why);
/* When none of its plans is left. Takes NULL. */
void sandbox_close(struct sandbox *s);
/* As executor.supports. */
bool sandbox_supports(const struct sandbox *s, const char *capability);

/* Of spec it reads run_id, attempt, private, workdir, code, storage_socket, limits, network, allow_hosts, command and env; all is copied. Makes the cgroup and, for network "filtered", the proxy. NULL: *ret_why says why (static). */
struct sandbox_plan *sandbox_plan_new(struct sandbox *s, const struct job_spec *spec, sandbox_note_fn note, void *ctx,
                                      const char **ret_why);
void sandbox_plan_apply(const struct sandbox_plan *p, struct exec_plan *plan);
void sandbox_plan_begun(struct sandbox_plan *p);
/* Takes NULL. What is left of it is killed; nobody is noted anything any more. */
void sandbox_plan_free(struct sandbox_plan *p);
/* Whether the kernel killed something of it for its memory. */
bool sandbox_plan_oom(const struct sandbox_plan *p);
/* Its control group, for exec_job_measure; NULL: it has none. */
struct cgroup *sandbox_plan_group(const struct sandbox_plan *p);

#endif
